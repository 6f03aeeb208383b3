// What the user's environment says: variables, and where caches belong.
#ifndef GEMMA_BASE_ENVIRONMENT_HPP_
#define GEMMA_BASE_ENVIRONMENT_HPP_

#include <string>

#include "gemma/config.hpp"

GEMMA_NAMESPACE_BEGIN

/// The value of a variable as UTF-8; empty if it is not set.
std::string environment(const char* name);

/// The folder of this user's caches for gemma.hpp, which need not exist yet. Empty if the system
/// names none.
std::string user_cache_folder();

/// Makes a folder (UTF-8), and those it is in. True if it is there now.
bool create_folders(const std::string& path);

GEMMA_NAMESPACE_END

#if !defined(GEMMA_DECLARATIONS_ONLY)
#include "gemma/base/impl/environment-inl.hpp"
#endif

#endif  // GEMMA_BASE_ENVIRONMENT_HPP_
