// A file that exists while a piece of work goes on, and stays if the process dies in it.
#ifndef GEMMA_BASE_LOCK_FILE_HPP_
#define GEMMA_BASE_LOCK_FILE_HPP_

#include <cstdint>
#include <string>

#include "gemma/config.hpp"

GEMMA_NAMESPACE_BEGIN

/// What a LockFile says.
enum class LockState {
  nothing,     ///< no work is under way, or the file cannot be read
  held,        ///< work is under way, here or in another process
  left_behind  ///< the process ended within the work
};

/// Where the file cannot be written, or another holds it, nothing is done.
class LockFile {
 public:
  LockFile() = default;
  LockFile(const LockFile&) = delete;
  LockFile& operator=(const LockFile&) = delete;
  ~LockFile() { release(); }

  /// `path` is UTF-8, on Windows too.
  static LockState state(const std::string& path);

  /// Writes the file, with `text` in it for whoever finds it. `text` must not be empty.
  void take(const std::string& path, const std::string& text);
  /// Removes the file.
  void release();
  /// Whether take() could write the file, and release() was not called since.
  bool is_held() const { return file_ != kNone; }

 private:
  static constexpr std::intptr_t kNone = -1;

  std::string path_;
  std::intptr_t file_ = kNone;  ///< the system's own number of the open file
};

GEMMA_NAMESPACE_END

#if !defined(GEMMA_DECLARATIONS_ONLY)
#include "gemma/base/impl/lock_file-inl.hpp"
#endif

#endif  // GEMMA_BASE_LOCK_FILE_HPP_
