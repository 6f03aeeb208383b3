// Which kernels the user of a program lets it use.
#ifndef GEMMA_SIMD_ALLOWED_TARGETS_HPP_
#define GEMMA_SIMD_ALLOWED_TARGETS_HPP_

#include <cstddef>
#include <cstdlib>
#include <string_view>

#include "gemma/config.hpp"

GEMMA_NAMESPACE_BEGIN
namespace simd {
namespace detail {

/// Whether the comma-separated list in the environment variable GEMMA_SIMD_TARGETS names the target; an empty list
/// names all.
inline bool is_allowed(std::string_view target) {
  const char* variable = std::getenv("GEMMA_SIMD_TARGETS");
  std::string_view list = variable != nullptr ? variable : "";
  if (list.empty()) return true;
  for (;;) {
    const std::size_t comma = list.find(',');
    if (list.substr(0, comma) == target) return true;
    if (comma == std::string_view::npos) return false;
    list.remove_prefix(comma + 1);
  }
}

}  // namespace detail
}  // namespace simd
GEMMA_NAMESPACE_END

#endif  // GEMMA_SIMD_ALLOWED_TARGETS_HPP_
