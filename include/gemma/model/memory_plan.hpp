// The memory that running a model takes.
#ifndef GEMMA_MODEL_MEMORY_PLAN_HPP_
#define GEMMA_MODEL_MEMORY_PLAN_HPP_

#include <cstdint>
#include <string>

#include "gemma/base/error.hpp"

GEMMA_NAMESPACE_BEGIN

/// "253.1 MB", of 1000000 bytes.
GEMMA_COLD inline std::string megabytes(std::uint64_t bytes) {
  const std::uint64_t tenths = (bytes + 50000) / 100000;
  return std::to_string(tenths / 10) + "." + std::to_string(tenths % 10) + " MB";
}

/// Bytes a session of a model takes, of the machine's memory or of a device's.
struct MemoryPlan {
  /// On the CPU the file, mapped so that only pages in use count, or as much of it as
  /// LoadOptions::max_resident_bytes allows.
  std::uint64_t weights = 0;
  std::uint64_t kv_cache = 0;  ///< for all positions of the context
  std::uint64_t scratch = 0;   ///< activations, logits, scratch of the threads
  std::uint64_t total() const { return weights + kv_cache + scratch; }  ///< bytes
  /// "weights 253.1 MB + KV cache 75.5 MB + scratch 9.4 MB = 338.0 MB".
  std::string text() const {
    return "weights " + megabytes(weights) + " + KV cache " + megabytes(kv_cache) + " + scratch " +
           megabytes(scratch) + " = " + megabytes(total());
  }
};

/// What a session would take, by where it may run.
struct MemoryPlans {
  MemoryPlan cpu;     ///< of the machine's memory
#if defined(GEMMA_OPENCL)
  MemoryPlan opencl;  ///< of a device's; the machine's then holds the mapped file besides
#endif
};

GEMMA_NAMESPACE_END

#endif  // GEMMA_MODEL_MEMORY_PLAN_HPP_
