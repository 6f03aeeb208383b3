// A file in memory, read-only: mapped where the system can, so that pages are read when touched,
// else read whole.
#ifndef GEMMA_BASE_FILE_HPP_
#define GEMMA_BASE_FILE_HPP_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "gemma/base/error.hpp"
#include "gemma/base/span.hpp"

GEMMA_NAMESPACE_BEGIN

/// What is found under a path.
enum class PathKind {
  nothing,  ///< or nothing that this process may see
  file,     ///< a regular one
  folder,   ///< a directory
  other     ///< a device, a pipe, a socket
};

/// What `path` (UTF-8) leads to.
PathKind path_kind(const std::string& path);

/// Whether both paths lead to the same file, by whatever names.
bool same_file(const std::string& a, const std::string& b);

/// Whether a file can be replaced while it is mapped. The mapping then keeps the old one.
inline constexpr bool kMappedFilesCanBeReplaced =
#if defined(_WIN32)
    false;
#else
    true;
#endif

/// How to have the bytes of a file.
enum class FileAccess {
  map,     ///< pages are read when touched, and given back when memory is short
  memory,  ///< all of it is read at once
  /// As `memory` if the system holds the file in small pages, could have huge ones, and the file has at most
  /// 512 MiB and a quarter of the machine's memory; else as `map`.
  fastest
};

/// The bytes of a file. Movable; views of bytes() stay valid while the object, or the one it was
/// moved to, lives. A mapped file must not be truncated meanwhile: touching lost pages ends the
/// process.
class MappedFile {
 public:
  /// `path` is UTF-8, on Windows too. Errors: no such file, no permission, not a regular file, an
  /// empty file, too little memory.
  static Result<MappedFile> open(const std::string& path, FileAccess access = FileAccess::map);

  /// All of the file, at least one byte, 64-byte aligned.
  Bytes bytes() const { return Bytes(data_.get(), size_); }
  const std::string& path() const { return path_; }  ///< as it was given to open()
  /// False if the file was read into memory instead.
  bool is_mapped() const { return data_.get_deleter().mapped; }

  /// Asks the system to read these bytes ahead; a hint, which may do nothing.
  void advise_willneed(std::size_t offset, std::size_t length) const;
  /// The same for a part of bytes(); what is none is left alone.
  void advise_willneed(Bytes part) const;
  /// Lets go of the memory of these bytes, if the file is mapped; touched again, they are read again.
  void advise_dontneed(std::size_t offset, std::size_t length) const;
  /// The same for a part of bytes(); what is none is left alone.
  void advise_dontneed(Bytes part) const;

 private:
  bool holds(Bytes part) const;

  struct Release {
    std::size_t size = 0;
    bool mapped = false;
    void operator()(const std::uint8_t* data) const;
  };
  using Data = std::unique_ptr<const std::uint8_t, Release>;

  MappedFile(std::string path, Data data, std::size_t size)
      : path_(std::move(path)), data_(std::move(data)), size_(size) {}

  std::string path_;
  Data data_;
  std::size_t size_;
};

GEMMA_NAMESPACE_END

#if !defined(GEMMA_DECLARATIONS_ONLY)
#include "gemma/base/impl/file-inl.hpp"
#endif

#endif  // GEMMA_BASE_FILE_HPP_
