// Bodies of api.hpp.
#ifndef GEMMA_OPENCL_IMPL_API_INL_HPP_
#define GEMMA_OPENCL_IMPL_API_INL_HPP_

#include <algorithm>
#include <cstdlib>
#include <utility>

#include "gemma/base/file.hpp"
#include "gemma/opencl/api.hpp"

#if !defined(_WIN32)
#include <dirent.h>
#include <dlfcn.h>
#endif

GEMMA_NAMESPACE_BEGIN
namespace opencl {
namespace detail {

/// A function of a library whose type is not known yet.
using AnyFunction = void (*)();

#if defined(_WIN32)

inline void* open_library(const std::string& name, std::string& why) {
  const HMODULE library = LoadLibraryW(gemma::detail::wide_path(name).c_str());
  if (library == nullptr) {
    why = gemma::detail::windows_message(GetLastError());
  }
  return reinterpret_cast<void*>(library);
}

inline AnyFunction find_function(void* library, const char* name) {
  return reinterpret_cast<AnyFunction>(
      GetProcAddress(reinterpret_cast<HMODULE>(library), name));
}

#else

inline void* open_library(const std::string& name, std::string& why) {
  void* library = ::dlopen(name.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library != nullptr) return library;
  const char* text = ::dlerror();
  why = text != nullptr ? text : "the system does not say why";
  if (why.compare(0, name.size() + 2, name + ": ") == 0) why.erase(0, name.size() + 2);
  return nullptr;
}

inline AnyFunction find_function(void* library, const char* name) {
  return reinterpret_cast<AnyFunction>(::dlsym(library, name));
}

#endif

/// Loaders, or drivers that export all functions by name, in the order to try them.
inline std::vector<std::string> loader_names() {
#if defined(_WIN32)
  return {"OpenCL.dll"};
#elif defined(__APPLE__)
  return {"/System/Library/Frameworks/OpenCL.framework/OpenCL"};
#elif defined(__ANDROID__)
  return {"libOpenCL.so", "libOpenCL-pixel.so", "libOpenCL-car.so",
          "/vendor/lib64/libOpenCL.so", "/system/vendor/lib64/libOpenCL.so",
          "/vendor/lib64/egl/libGLES_mali.so", "/system/vendor/lib64/libPVROCL.so"};
#else
  return {"libOpenCL.so.1", "libOpenCL.so"};
#endif
}

/// The words of a file: an .icd file holds the name of one library.
inline std::vector<std::string> words_of(const std::string& path) {
  std::vector<std::string> words;
  const Result<MappedFile> file = MappedFile::open(path, FileAccess::memory);
  if (!file) return words;
  std::string word;
  for (const std::uint8_t byte : file->bytes()) {
    if (byte > ' ') {
      word += static_cast<char>(byte);
    } else if (!word.empty()) {
      words.push_back(std::exchange(word, {}));
    }
  }
  if (!word.empty()) words.push_back(word);
  return words;
}

#if defined(_WIN32) || defined(__APPLE__) || defined(__ANDROID__)

inline std::vector<std::string> driver_names() { return {}; }

#else

/// Libraries named by the files FOLDER/*.icd.
inline std::vector<std::string> registered_drivers(const std::string& folder) {
  std::vector<std::string> files;
  if (DIR* entries = ::opendir(folder.c_str())) {
    while (const dirent* entry = ::readdir(entries)) {
      const std::string name = entry->d_name;
      const std::string ending = ".icd";
      if (name.size() > ending.size() && name.substr(name.size() - ending.size()) == ending) {
        files.push_back(folder + '/' + name);
      }
    }
    ::closedir(entries);
  }
  std::sort(files.begin(), files.end());
  std::vector<std::string> drivers;
  for (const std::string& file : files) {
    for (std::string& word : words_of(file)) drivers.push_back(std::move(word));
  }
  return drivers;
}

/// Drivers to call without a loader. Containers often have NVIDIA's without its .icd file.
inline std::vector<std::string> driver_names() {
  // Who says which drivers the loader may use means us, too.
  if (const char* vendors = std::getenv("OCL_ICD_VENDORS")) {
    const std::string given = vendors;
    switch (path_kind(given)) {
      case PathKind::folder: return registered_drivers(given);
      case PathKind::file: return words_of(given);
      default: return {given};
    }
  }
  std::vector<std::string> names = {"libnvidia-opencl.so.1",
                                    "/usr/local/nvidia/lib64/libnvidia-opencl.so.1",
                                    "/usr/local/nvidia/lib/libnvidia-opencl.so.1",
                                    "libamdocl64.so",
                                    "/opt/rocm/lib/libamdocl64.so",
                                    "/usr/lib/x86_64-linux-gnu/intel-opencl/libigdrcl.so",
                                    "libRusticlOpenCL.so.1",
                                    "libpocl.so.2"};
  for (std::string& name : registered_drivers("/etc/OpenCL/vendors")) {
    if (std::find(names.begin(), names.end(), name) == names.end()) {
      names.push_back(std::move(name));
    }
  }
  return names;
}

#endif

/// Fills the functions that the library exports. Returns the names of those missing, or "all".
inline std::string fill_by_name(void* library, Functions& f) {
  std::string missing;
  std::size_t wanted = 0;
  std::size_t absent = 0;
#define GEMMA_OPENCL_FIND(name, result, arguments) \
  f.name = reinterpret_cast<decltype(f.name)>(find_function(library, #name));
#define GEMMA_OPENCL_CHECK(name, result, arguments)          \
  ++wanted;                                                  \
  if (f.name == nullptr) {                                   \
    missing += std::string(missing.empty() ? "" : ", ") + #name; \
    ++absent;                                                \
  }
  GEMMA_OPENCL_REQUIRED(GEMMA_OPENCL_FIND)
  GEMMA_OPENCL_OPTIONAL(GEMMA_OPENCL_FIND)
  GEMMA_OPENCL_REQUIRED(GEMMA_OPENCL_CHECK)
#undef GEMMA_OPENCL_FIND
#undef GEMMA_OPENCL_CHECK
  return absent == wanted ? "all" : missing;
}

/// Places in the table of cl_khr_icd, which never change (struct _cl_icd_dispatch of cl_icd.h).
enum class Place : std::size_t {
  clGetPlatformIDs = 0,
  clGetPlatformInfo = 1,
  clGetDeviceIDs = 2,
  clGetDeviceInfo = 3,
  clCreateContext = 4,
  clReleaseContext = 7,
  clCreateCommandQueue = 9,
  clReleaseCommandQueue = 11,
  clCreateBuffer = 14,
  clReleaseMemObject = 18,
  clCreateProgramWithSource = 26,
  clCreateProgramWithBinary = 27,
  clReleaseProgram = 29,
  clBuildProgram = 30,
  clGetProgramInfo = 32,
  clGetProgramBuildInfo = 33,
  clCreateKernel = 34,
  clReleaseKernel = 37,
  clSetKernelArg = 38,
  clGetKernelWorkGroupInfo = 40,
  clFlush = 46,
  clFinish = 47,
  clEnqueueReadBuffer = 48,
  clEnqueueWriteBuffer = 49,
  clEnqueueNDRangeKernel = 59
};

/// Fills the functions from the table that the first pointer of every object of a driver leads to.
/// False if one is missing.
inline bool fill_from_table(PlatformId platform, Functions& f) {
  const AnyFunction* table = *reinterpret_cast<const AnyFunction* const*>(platform);
  if (table == nullptr) return false;
  bool complete = true;
#define GEMMA_OPENCL_TAKE(name, result, arguments) \
  f.name = reinterpret_cast<decltype(f.name)>(table[static_cast<std::size_t>(Place::name)]);
#define GEMMA_OPENCL_CHECK(name, result, arguments) complete = complete && f.name != nullptr;
  GEMMA_OPENCL_REQUIRED(GEMMA_OPENCL_TAKE)
  GEMMA_OPENCL_OPTIONAL(GEMMA_OPENCL_TAKE)
  GEMMA_OPENCL_REQUIRED(GEMMA_OPENCL_CHECK)
#undef GEMMA_OPENCL_TAKE
#undef GEMMA_OPENCL_CHECK
  return complete;
}

using GetPlatformIds = decltype(Functions::clGetPlatformIDs);

inline Int platform_ids(GetPlatformIds get, std::vector<PlatformId>& ids) {
  constexpr UInt kMost = 64;
  UInt count = 0;
  Int code = get(0, nullptr, &count);
  if (code == kSuccess && count > 0) {
    ids.assign((std::min)(count, kMost), nullptr);
    code = get(static_cast<UInt>(ids.size()), ids.data(), nullptr);
  }
  if (code != kSuccess) ids.clear();
  return code;
}

/// Collects platforms, and why libraries had none.
class PlatformSearch {
 public:
  /// `only`: the one library that the user named, or empty.
  explicit PlatformSearch(const std::string& only) : only_(only) {}

  std::vector<Platform> found;

  /// A library that exports the functions by name. True if it is one, with platforms or without.
  bool try_loader(const std::string& name) {
    void* library = open(name);
    return library != nullptr && ask_loader(name, library);
  }

  /// A driver, by way of cl_khr_icd. Platforms that a loader listed before are not listed twice.
  bool try_driver(const std::string& name) {
    void* library = open(name);
    return library != nullptr && ask_driver(name, library);
  }

  /// A library that may be either.
  bool try_any(const std::string& name) {
    void* library = open(name);
    return library != nullptr && (ask_loader(name, library) || ask_driver(name, library));
  }

  /// Why nothing was found. Tells libraries that are no use (io) from those without a platform.
  Error error() const {
    std::string message = answered_ ? "no OpenCL platform" : "no OpenCL library";
    const char* before = ": ";
    for (const std::string& fault : faults_) message += std::exchange(before, "; ") + fault;
    if (!absent_.empty()) {
      message += std::string(before) + "not there: ";
      const char* comma = "";
      for (const std::string& name : absent_) message += std::exchange(comma, ", ") + name;
    }
    message += only_.empty() ? "; install your GPU's driver with its OpenCL part, or name its "
                               "library in GEMMA_OPENCL_LIBRARY"
                             : "; name the file of an OpenCL loader or driver, or none, so that "
                               "the usual ones are tried";
    return Error(answered_ ? ErrorCode::backend : ErrorCode::io, std::move(message));
  }

 private:
  void* open(const std::string& name) {
    std::string why;
    void* library = open_library(name, why);
    if (library != nullptr) return library;
    // What most machines lack in most places is not worth a sentence each.
    const bool absent =
        only_.empty() && why == "cannot open shared object file: No such file or directory";
    absent ? absent_.push_back(name) : faults_.push_back(name + ": " + why);
    return nullptr;
  }

  bool ask_loader(const std::string& name, void* library) {
    const auto functions = std::make_shared<Functions>();
    const std::string missing = fill_by_name(library, *functions);
    if (!missing.empty()) {
      faults_.push_back(name + (missing == "all" ? " has none of OpenCL's functions by name"
                                                 : " lacks " + missing));
      return false;
    }
    std::vector<PlatformId> ids;
    const Int code = platform_ids(functions->clGetPlatformIDs, ids);
    note_answer(name, code, ids.size());
    for (const PlatformId id : ids) found.push_back({functions, id, name});
    return true;
  }

  bool ask_driver(const std::string& name, void* library) {
    constexpr const char* kGetIds = "clIcdGetPlatformIDsKHR";
    AnyFunction get_ids = find_function(library, kGetIds);
    if (get_ids == nullptr) {
      using GetAddress = void*(GEMMA_OPENCL_CALL*)(const char*);
      const auto get_address =
          reinterpret_cast<GetAddress>(find_function(library, "clGetExtensionFunctionAddress"));
      if (get_address != nullptr) get_ids = reinterpret_cast<AnyFunction>(get_address(kGetIds));
    }
    if (get_ids == nullptr) {
      faults_.push_back(name + " has no " + kGetIds + ", by which drivers are asked");
      return false;
    }
    const auto get = reinterpret_cast<GetPlatformIds>(get_ids);
    std::vector<PlatformId> ids;
    const Int code = platform_ids(get, ids);
    note_answer(name, code, ids.size());
    for (const PlatformId id : ids) add_driver_platform(name, get, id);
    return true;
  }

  void add_driver_platform(const std::string& name, GetPlatformIds get, PlatformId id) {
    const auto same = [id](const Platform& platform) { return platform.id == id; };
    if (std::any_of(found.begin(), found.end(), same)) return;
    const auto functions = std::make_shared<Functions>();
    if (!fill_from_table(id, *functions)) {
      faults_.push_back(name + " has a platform with an incomplete table of functions");
      return;
    }
    // Newer drivers keep a mark in this place of their table.
    functions->clGetPlatformIDs = get;
    found.push_back({functions, id, name});
  }

  void note_answer(const std::string& name, Int code, std::size_t platforms) {
    answered_ = true;
    if (platforms > 0) return;
    const bool none = code == kSuccess || code == kNoPlatform;
    faults_.push_back(name + (none ? " lists none" : " fails with " + error_name(code)));
  }

  const std::string& only_;
  std::vector<std::string> absent_;
  std::vector<std::string> faults_;
  bool answered_ = false;
};

}  // namespace detail

GEMMA_INLINE Result<std::vector<Platform>> find_platforms(const std::string& library) {
  detail::PlatformSearch search(library);
  if (!library.empty()) {
    search.try_any(library);
  } else {
    for (const std::string& name : detail::loader_names()) {
      if (search.try_loader(name) && !search.found.empty()) break;
    }
    for (const std::string& name : detail::driver_names()) search.try_driver(name);
  }
  if (search.found.empty()) return search.error();
  return std::move(search.found);
}

GEMMA_INLINE std::string error_name(Int code) {
  struct Name {
    Int code;
    const char* name;
  };
  static constexpr Name kNames[] = {
      {0, "CL_SUCCESS"},
      {-1, "CL_DEVICE_NOT_FOUND"},
      {-2, "CL_DEVICE_NOT_AVAILABLE"},
      {-3, "CL_COMPILER_NOT_AVAILABLE"},
      {-4, "CL_MEM_OBJECT_ALLOCATION_FAILURE"},
      {-5, "CL_OUT_OF_RESOURCES"},
      {-6, "CL_OUT_OF_HOST_MEMORY"},
      {-7, "CL_PROFILING_INFO_NOT_AVAILABLE"},
      {-8, "CL_MEM_COPY_OVERLAP"},
      {-9, "CL_IMAGE_FORMAT_MISMATCH"},
      {-10, "CL_IMAGE_FORMAT_NOT_SUPPORTED"},
      {-11, "CL_BUILD_PROGRAM_FAILURE"},
      {-12, "CL_MAP_FAILURE"},
      {-13, "CL_MISALIGNED_SUB_BUFFER_OFFSET"},
      {-14, "CL_EXEC_STATUS_ERROR_FOR_EVENTS_IN_WAIT_LIST"},
      {-15, "CL_COMPILE_PROGRAM_FAILURE"},
      {-16, "CL_LINKER_NOT_AVAILABLE"},
      {-17, "CL_LINK_PROGRAM_FAILURE"},
      {-18, "CL_DEVICE_PARTITION_FAILED"},
      {-19, "CL_KERNEL_ARG_INFO_NOT_AVAILABLE"},
      {-30, "CL_INVALID_VALUE"},
      {-31, "CL_INVALID_DEVICE_TYPE"},
      {-32, "CL_INVALID_PLATFORM"},
      {-33, "CL_INVALID_DEVICE"},
      {-34, "CL_INVALID_CONTEXT"},
      {-35, "CL_INVALID_QUEUE_PROPERTIES"},
      {-36, "CL_INVALID_COMMAND_QUEUE"},
      {-37, "CL_INVALID_HOST_PTR"},
      {-38, "CL_INVALID_MEM_OBJECT"},
      {-42, "CL_INVALID_BINARY"},
      {-43, "CL_INVALID_BUILD_OPTIONS"},
      {-44, "CL_INVALID_PROGRAM"},
      {-45, "CL_INVALID_PROGRAM_EXECUTABLE"},
      {-46, "CL_INVALID_KERNEL_NAME"},
      {-47, "CL_INVALID_KERNEL_DEFINITION"},
      {-48, "CL_INVALID_KERNEL"},
      {-49, "CL_INVALID_ARG_INDEX"},
      {-50, "CL_INVALID_ARG_VALUE"},
      {-51, "CL_INVALID_ARG_SIZE"},
      {-52, "CL_INVALID_KERNEL_ARGS"},
      {-53, "CL_INVALID_WORK_DIMENSION"},
      {-54, "CL_INVALID_WORK_GROUP_SIZE"},
      {-55, "CL_INVALID_WORK_ITEM_SIZE"},
      {-56, "CL_INVALID_GLOBAL_OFFSET"},
      {-57, "CL_INVALID_EVENT_WAIT_LIST"},
      {-58, "CL_INVALID_EVENT"},
      {-59, "CL_INVALID_OPERATION"},
      {-61, "CL_INVALID_BUFFER_SIZE"},
      {-63, "CL_INVALID_GLOBAL_WORK_SIZE"},
      {-64, "CL_INVALID_PROPERTY"},
      {-66, "CL_INVALID_COMPILER_OPTIONS"},
      {-67, "CL_INVALID_LINKER_OPTIONS"},
      {-68, "CL_INVALID_DEVICE_PARTITION_COUNT"},
      {-72, "CL_MAX_SIZE_RESTRICTION_EXCEEDED"},
      {-1001, "CL_PLATFORM_NOT_FOUND_KHR"}};
  for (const Name& known : kNames) {
    if (known.code == code) return std::string(known.name) + " (" + std::to_string(code) + ")";
  }
  return "error " + std::to_string(code);
}

}  // namespace opencl
GEMMA_NAMESPACE_END

#endif  // GEMMA_OPENCL_IMPL_API_INL_HPP_
