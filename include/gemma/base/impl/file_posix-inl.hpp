// Files on POSIX systems, WebAssembly included, which has no mmap.
#ifndef GEMMA_BASE_IMPL_FILE_POSIX_INL_HPP_
#define GEMMA_BASE_IMPL_FILE_POSIX_INL_HPP_

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <string>

#include "gemma/base/file.hpp"
#include "gemma/base/huge_pages.hpp"
#include "gemma/base/impl/file_error-inl.hpp"

#if !defined(__wasi__) && !defined(__EMSCRIPTEN__)
#include <sys/mman.h>
#define GEMMA_HAS_MMAP
#endif

GEMMA_NAMESPACE_BEGIN
namespace detail {

/// A regular file open for reading.
class SystemFile {
 public:
  explicit SystemFile(const std::string& path) : path_(path) {}
  SystemFile(const SystemFile&) = delete;
  SystemFile& operator=(const SystemFile&) = delete;
  ~SystemFile() {
    if (file_ >= 0) ::close(file_);
  }

  static PathKind kind(const std::string& path) {
    struct stat info;
    if (::stat(path.c_str(), &info) != 0) return PathKind::nothing;
    if (S_ISDIR(info.st_mode)) return PathKind::folder;
    return S_ISREG(info.st_mode) ? PathKind::file : PathKind::other;
  }

  static bool same(const std::string& a, const std::string& b) {
    struct stat first, second;
    return ::stat(a.c_str(), &first) == 0 && ::stat(b.c_str(), &second) == 0 &&
           first.st_dev == second.st_dev && first.st_ino == second.st_ino;
  }

  Status open() {
    // Opening a named pipe by mistake must not wait for a writer.
    file_ = ::open(path_.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (file_ < 0) return system_error(path_, "cannot open", errno);
    struct stat info;
    if (::fstat(file_, &info) != 0) return system_error(path_, "cannot be examined", errno);
    if (S_ISDIR(info.st_mode)) return file_error(path_, "is a folder, expected a file");
    if (!S_ISREG(info.st_mode)) return file_error(path_, "is a device or pipe, expected a file");
    size_ = static_cast<std::uint64_t>(info.st_size);
    return {};
  }

  Result<std::uint64_t> size() const { return size_; }

  Status read(std::uint8_t* data, std::size_t offset, std::size_t size) const {
    for (std::size_t done = 0; done < size;) {
      const ssize_t step = ::pread(file_, data + done, (std::min)(size - done, kMaxStep),
                                   static_cast<off_t>(offset + done));
      if (step < 0 && errno == EINTR) continue;
      if (step < 0) return system_error(path_, "cannot read", errno);
      if (step == 0) return shrunk_error(path_);
      done += static_cast<std::size_t>(step);
    }
    return {};
  }

#if defined(GEMMA_HAS_MMAP)
  /// Null if the system cannot map this file.
  const std::uint8_t* map(std::size_t size) const {
    void* data = ::mmap(huge_page_address(size), size, PROT_READ, MAP_SHARED, file_, 0);
    if (data == MAP_FAILED) return nullptr;
    advise_huge_pages(data, size);  // for what the system's cache does not hold yet
    return static_cast<const std::uint8_t*>(data);
  }
  static void unmap(const std::uint8_t* data, std::size_t size) {
    ::munmap(const_cast<std::uint8_t*>(data), size);
  }
  static void will_need(const std::uint8_t* data, std::size_t size) {
    advise(data, size, MADV_WILLNEED);
  }
  static void dont_need(const std::uint8_t* data, std::size_t size) {
    advise(data, size, MADV_DONTNEED);
  }
#else
  const std::uint8_t* map(std::size_t) const { return nullptr; }
  static void unmap(const std::uint8_t*, std::size_t) {}
  static void will_need(const std::uint8_t*, std::size_t) {}
  static void dont_need(const std::uint8_t*, std::size_t) {}
#endif

 private:
#if defined(GEMMA_HAS_MMAP)
  /// Of all pages that hold some of these bytes of a mapping.
  static void advise(const std::uint8_t* data, std::size_t size, int advice) {
    const auto page = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
    const std::uintptr_t into_page = reinterpret_cast<std::uintptr_t>(data) % page;
    (void)::madvise(const_cast<std::uint8_t*>(data - into_page), size + into_page, advice);
  }

  /// Where huge pages can begin: a hint, which another mapping may make void.
  static void* huge_page_address(std::size_t size) {
    if (size < kHugePage) return nullptr;
    const std::size_t room = size + kHugePage;
    void* free = ::mmap(nullptr, room, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (free == MAP_FAILED) return nullptr;
    ::munmap(free, room);
    const auto address = reinterpret_cast<std::uintptr_t>(free);
    return reinterpret_cast<void*>((address + kHugePage - 1) / kHugePage * kHugePage);
  }
#endif

  static constexpr std::size_t kMaxStep = std::size_t{1} << 30;  // some systems refuse 2 GiB

  const std::string& path_;
  int file_ = -1;
  std::uint64_t size_ = 0;
};

/// A new file; null, with errno EEXIST, if there is one already.
inline std::FILE* open_new_file(const std::string& path) {
  const int file = ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  return file < 0 ? nullptr : ::fdopen(file, "wb");
}

inline void remove_file(const std::string& path) { (void)std::remove(path.c_str()); }

/// Replaces what is at `to`. The system's error number, or 0.
inline int rename_file(const std::string& from, const std::string& to) {
  return std::rename(from.c_str(), to.c_str()) == 0 ? 0 : errno;
}

}  // namespace detail
GEMMA_NAMESPACE_END

#undef GEMMA_HAS_MMAP

#endif  // GEMMA_BASE_IMPL_FILE_POSIX_INL_HPP_
