// Bodies of lock_file.hpp.
#ifndef GEMMA_BASE_IMPL_LOCK_FILE_INL_HPP_
#define GEMMA_BASE_IMPL_LOCK_FILE_INL_HPP_

#include "gemma/base/file.hpp"
#include "gemma/base/lock_file.hpp"
#if !defined(_WIN32)
#include <sys/file.h>
#endif

GEMMA_NAMESPACE_BEGIN

#if defined(_WIN32)

GEMMA_INLINE LockState LockFile::state(const std::string& path) {
  const HANDLE file = CreateFileW(detail::wide_path(path).c_str(), GENERIC_READ, 0, nullptr,
                                  OPEN_EXISTING, FILE_ATTRIBUTE_NORMAL, nullptr);
  if (file == INVALID_HANDLE_VALUE) {
    return GetLastError() == ERROR_SHARING_VIOLATION ? LockState::held : LockState::nothing;
  }
  LARGE_INTEGER size{};
  const bool written = GetFileSizeEx(file, &size) != 0 && size.QuadPart > 0;
  CloseHandle(file);
  return written ? LockState::left_behind : LockState::nothing;
}

GEMMA_INLINE void LockFile::take(const std::string& path, const std::string& text) {
  release();
  const HANDLE file = CreateFileW(detail::wide_path(path).c_str(), GENERIC_WRITE, 0, nullptr,
                                  CREATE_ALWAYS, FILE_ATTRIBUTE_NORMAL, nullptr);
  if (file == INVALID_HANDLE_VALUE) return;
  DWORD written = 0;
  (void)WriteFile(file, text.data(), static_cast<DWORD>(text.size()), &written, nullptr);
  (void)FlushFileBuffers(file);
  path_ = path;
  file_ = reinterpret_cast<std::intptr_t>(file);
}

GEMMA_INLINE void LockFile::release() {
  if (!is_held()) return;
  CloseHandle(reinterpret_cast<HANDLE>(file_));
  file_ = kNone;
  detail::remove_file(path_);
}

#else

GEMMA_INLINE LockState LockFile::state(const std::string& path) {
  const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (file < 0) return LockState::nothing;
  const bool held = ::flock(file, LOCK_SH | LOCK_NB) != 0 && errno == EWOULDBLOCK;
  // Who is just taking it has not written yet; who just released it has removed it.
  struct stat info;
  const bool written = ::fstat(file, &info) == 0 && info.st_size > 0 && info.st_nlink > 0;
  ::close(file);
  if (held) return LockState::held;
  return written ? LockState::left_behind : LockState::nothing;
}

GEMMA_INLINE void LockFile::take(const std::string& path, const std::string& text) {
  release();
  const int file = ::open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC | O_NONBLOCK, 0666);
  if (file < 0) return;
  const bool held = ::flock(file, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK;
  if (held || ::write(file, text.data(), text.size()) < 0) {
    ::close(file);
    return;
  }
  // A driver that crashes may take the whole machine with it.
  (void)::fsync(file);
  path_ = path;
  file_ = file;
}

GEMMA_INLINE void LockFile::release() {
  if (!is_held()) return;
  detail::remove_file(path_);
  ::close(static_cast<int>(file_));
  file_ = kNone;
}

#endif

GEMMA_NAMESPACE_END

#endif  // GEMMA_BASE_IMPL_LOCK_FILE_INL_HPP_
