// Bodies of environment.hpp.
#ifndef GEMMA_BASE_IMPL_ENVIRONMENT_INL_HPP_
#define GEMMA_BASE_IMPL_ENVIRONMENT_INL_HPP_

#include <cstdlib>
#include <string>

#include "gemma/base/environment.hpp"
#include "gemma/base/file.hpp"

GEMMA_NAMESPACE_BEGIN
namespace detail {

#if defined(_WIN32)

inline void create_folder(const std::string& path) {
  CreateDirectoryW(wide_path(path).c_str(), nullptr);
}

#else

inline void create_folder(const std::string& path) { (void)::mkdir(path.c_str(), 0700); }

#endif

}  // namespace detail

GEMMA_INLINE std::string environment(const char* name) {
#if defined(_WIN32)
  const std::wstring wide = detail::wide_path(name);
  std::wstring value(GetEnvironmentVariableW(wide.c_str(), nullptr, 0), L'\0');
  if (value.empty()) return {};
  value.resize(GetEnvironmentVariableW(wide.c_str(), value.data(),
                                       static_cast<DWORD>(value.size())));
  return detail::utf8(value);
#else
  const char* value = std::getenv(name);
  return value != nullptr ? value : "";
#endif
}

GEMMA_INLINE std::string user_cache_folder() {
#if defined(_WIN32)
  const std::string base = environment("LOCALAPPDATA");
  return base.empty() ? "" : base + "\\gemma.hpp";
#else
  std::string base = environment("XDG_CACHE_HOME");
  const std::string home = environment("HOME");
  if (base.empty() && !home.empty()) {
#if defined(__APPLE__)
    base = home + "/Library/Caches";
#else
    base = home + "/.cache";
#endif
  }
  return base.empty() ? "" : base + "/gemma.hpp";
#endif
}

GEMMA_INLINE bool create_folders(const std::string& path) {
#if defined(_WIN32)
  constexpr const char* kSeparators = "/\\";
#else
  constexpr const char* kSeparators = "/";
#endif
  // Those that are there already, or may not be made, do not matter; the last one counts.
  for (std::size_t at = path.find_first_of(kSeparators, 1); at != std::string::npos;
       at = path.find_first_of(kSeparators, at + 1)) {
    detail::create_folder(path.substr(0, at));
  }
  detail::create_folder(path);
  return path_kind(path) == PathKind::folder;
}

GEMMA_NAMESPACE_END

#endif  // GEMMA_BASE_IMPL_ENVIRONMENT_INL_HPP_
