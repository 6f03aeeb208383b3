// The memory that running a model takes.
#ifndef GEMMA_MODEL_MEMORY_PLAN_HPP_
#define GEMMA_MODEL_MEMORY_PLAN_HPP_

#include <cstdint>

#include "gemma/base/error.hpp"

GEMMA_NAMESPACE_BEGIN

/// Bytes a session of a model takes, of the machine's memory or of a device's.
struct MemoryPlan {
  /// On the CPU the file; mapped, so that only pages in use count.
  std::uint64_t weights = 0;
  std::uint64_t kv_cache = 0;  ///< for all positions of the context
  std::uint64_t scratch = 0;   ///< activations, logits, scratch of the threads
  std::uint64_t total() const { return weights + kv_cache + scratch; }  ///< bytes
};

GEMMA_NAMESPACE_END

#endif  // GEMMA_MODEL_MEMORY_PLAN_HPP_
