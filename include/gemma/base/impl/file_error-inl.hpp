// The errors of files, for file-inl.hpp and the systems' parts of it.
#ifndef GEMMA_BASE_IMPL_FILE_ERROR_INL_HPP_
#define GEMMA_BASE_IMPL_FILE_ERROR_INL_HPP_

#include <string>
#include <system_error>

#include "gemma/base/error.hpp"
#if defined(_WIN32)
#include "gemma/base/impl/windows-inl.hpp"
#endif

GEMMA_NAMESPACE_BEGIN
namespace detail {

inline Error file_error(const std::string& path, const std::string& what) {
  return Error(ErrorCode::io, path + ": " + what);
}

/// What the system says about its error number `code`.
inline std::string system_message(int code) {
#if defined(_WIN32)
  return windows_message(static_cast<DWORD>(code));
#else
  return std::system_category().message(code);
#endif
}

/// With what the system says about its error number `code`.
inline Error system_error(const std::string& path, const std::string& what, int code) {
  return file_error(path, what + ": " + system_message(code));
}

/// The same for errno, whose numbers are the system's own on POSIX only.
inline Error errno_error(const std::string& path, const std::string& what, int code) {
  return file_error(path, what + ": " + std::generic_category().message(code));
}

inline Error shrunk_error(const std::string& path) {
  return file_error(path, "the file became shorter while it was read");
}

}  // namespace detail
GEMMA_NAMESPACE_END

#endif  // GEMMA_BASE_IMPL_FILE_ERROR_INL_HPP_
