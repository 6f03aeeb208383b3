// Files on Windows.
#ifndef GEMMA_BASE_IMPL_FILE_WINDOWS_INL_HPP_
#define GEMMA_BASE_IMPL_FILE_WINDOWS_INL_HPP_

#include <fcntl.h>
#include <io.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <string>

#include "gemma/base/file.hpp"
#include "gemma/base/impl/file_error-inl.hpp"
#include "gemma/base/impl/windows-inl.hpp"

GEMMA_NAMESPACE_BEGIN
namespace detail {

/// A file open for reading.
class SystemFile {
 public:
  explicit SystemFile(const std::string& path) : path_(path) {}
  SystemFile(const SystemFile&) = delete;
  SystemFile& operator=(const SystemFile&) = delete;
  ~SystemFile() {
    if (file_ != INVALID_HANDLE_VALUE) CloseHandle(file_);
  }

  static PathKind kind(const std::string& path) {
    const std::wstring wide = wide_path(path);
    const DWORD attributes =
        wide.empty() ? INVALID_FILE_ATTRIBUTES : GetFileAttributesW(wide.c_str());
    if (attributes == INVALID_FILE_ATTRIBUTES) return PathKind::nothing;
    return (attributes & FILE_ATTRIBUTE_DIRECTORY) != 0 ? PathKind::folder : PathKind::file;
  }

  static bool same(const std::string& a, const std::string& b) {
    const auto identity = [](const std::string& path, BY_HANDLE_FILE_INFORMATION& info) {
      const HANDLE file = CreateFileW(wide_path(path).c_str(), 0,
                                      FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE,
                                      nullptr, OPEN_EXISTING, 0, nullptr);
      if (file == INVALID_HANDLE_VALUE) return false;
      const bool known = GetFileInformationByHandle(file, &info) != 0;
      CloseHandle(file);
      return known;
    };
    BY_HANDLE_FILE_INFORMATION first, second;
    return identity(a, first) && identity(b, second) &&
           first.dwVolumeSerialNumber == second.dwVolumeSerialNumber &&
           first.nFileIndexHigh == second.nFileIndexHigh &&
           first.nFileIndexLow == second.nFileIndexLow;
  }

  Status open() {
    const std::wstring wide = wide_path(path_);
    if (wide.empty()) return file_error(path_, "the path is not valid UTF-8, or too long");
    const DWORD attributes = GetFileAttributesW(wide.c_str());
    if (attributes == INVALID_FILE_ATTRIBUTES) return last_error("cannot open");
    if ((attributes & FILE_ATTRIBUTE_DIRECTORY) != 0) {
      return file_error(path_, "is a folder, expected a file");
    }
    file_ = CreateFileW(wide.c_str(), GENERIC_READ, FILE_SHARE_READ | FILE_SHARE_DELETE, nullptr,
                        OPEN_EXISTING, FILE_ATTRIBUTE_NORMAL, nullptr);
    if (file_ == INVALID_HANDLE_VALUE) return last_error("cannot open");
    if (GetFileType(file_) != FILE_TYPE_DISK) {
      return file_error(path_, "is a device or pipe, expected a file");
    }
    return {};
  }

  Result<std::uint64_t> size() const {
    LARGE_INTEGER size;
    if (!GetFileSizeEx(file_, &size)) return last_error("cannot be examined");
    return static_cast<std::uint64_t>(size.QuadPart);
  }

  Status read(std::uint8_t* data, std::size_t offset, std::size_t size) const {
    for (std::size_t done = 0; done < size;) {
      const auto wanted = static_cast<DWORD>((std::min)(size - done, kMaxStep));
      DWORD step = 0;
      OVERLAPPED place = {};
      place.Offset = static_cast<DWORD>((offset + done) & 0xFFFFFFFFu);
      place.OffsetHigh = static_cast<DWORD>(static_cast<std::uint64_t>(offset + done) >> 32);
      if (!ReadFile(file_, data + done, wanted, &step, &place)) return last_error("cannot read");
      if (step == 0) return shrunk_error(path_);
      done += step;
    }
    return {};
  }

  /// Null if the system cannot map this file. The view outlives both handles.
  const std::uint8_t* map(std::size_t /*size*/) const {
    const HANDLE mapping = CreateFileMappingW(file_, nullptr, PAGE_READONLY, 0, 0, nullptr);
    if (mapping == nullptr) return nullptr;
    const void* view = MapViewOfFile(mapping, FILE_MAP_READ, 0, 0, 0);
    CloseHandle(mapping);
    return static_cast<const std::uint8_t*>(view);
  }
  static void unmap(const std::uint8_t* data, std::size_t /*size*/) { UnmapViewOfFile(data); }

  static void will_need(const std::uint8_t* data, std::size_t size) {
    // PrefetchVirtualMemory(), which Windows 7 lacks.
    struct Range {
      void* address;
      SIZE_T bytes;
    };
    using Prefetch = BOOL(WINAPI*)(HANDLE, ULONG_PTR, Range*, ULONG);
    const FARPROC found = GetProcAddress(GetModuleHandleW(L"kernel32.dll"), "PrefetchVirtualMemory");
    if (found == nullptr) return;
    Range range{const_cast<std::uint8_t*>(data), size};
    reinterpret_cast<Prefetch>(reinterpret_cast<void (*)()>(found))(GetCurrentProcess(), 1, &range, 0);
  }
  static void dont_need(const std::uint8_t* data, std::size_t size) {
    // Of pages that are not locked, this takes them from the working set, and fails.
    (void)VirtualUnlock(const_cast<std::uint8_t*>(data), size);
  }

 private:
  static constexpr std::size_t kMaxStep = std::size_t{1} << 30;  // some systems refuse 2 GiB

  Error last_error(const std::string& what) const {
    return system_error(path_, what, static_cast<int>(GetLastError()));
  }

  const std::string& path_;
  HANDLE file_ = INVALID_HANDLE_VALUE;
};

/// A new file; null, with errno EEXIST, if there is one already.
inline std::FILE* open_new_file(const std::string& path) {
  // Not by _wfopen(): before the universal C runtime its mode has no "x".
  const int file = _wopen(wide_path(path).c_str(), _O_CREAT | _O_EXCL | _O_WRONLY | _O_BINARY,
                          _S_IREAD | _S_IWRITE);
  return file < 0 ? nullptr : _fdopen(file, "wb");
}

inline void remove_file(const std::string& path) { DeleteFileW(wide_path(path).c_str()); }

/// Replaces what is at `to`. The system's error number, or 0.
inline int rename_file(const std::string& from, const std::string& to) {
  const bool done = MoveFileExW(wide_path(from).c_str(), wide_path(to).c_str(),
                                MOVEFILE_REPLACE_EXISTING) != 0;
  return done ? 0 : static_cast<int>(GetLastError());
}

}  // namespace detail
GEMMA_NAMESPACE_END

#endif  // GEMMA_BASE_IMPL_FILE_WINDOWS_INL_HPP_
