// The CPU backend: the transformer block on the SIMD kernels and a pool of threads.
#ifndef GEMMA_BACKEND_CPU_HPP_
#define GEMMA_BACKEND_CPU_HPP_

#include <cstddef>
#include <cstdint>
#include <memory>

#include "gemma/backend/runner.hpp"
#include "gemma/model/config.hpp"
#include "gemma/model/weights.hpp"
#include "gemma/simd/kernels.hpp"

GEMMA_NAMESPACE_BEGIN

/// What a runner on the CPU holds, and how it works.
struct CpuOptions {
  std::size_t context = 4096;                ///< positions the KV cache holds
  std::size_t batch = 512;                   ///< tokens per forward() at most
  std::size_t threads = 0;                   ///< 0: as many as the machine runs at once
  simd::KvType kv_type = simd::KvType::f16;  ///< how the KV cache holds its numbers
  /// Finds the largest logits in two passes (see two_pass_head-inl.hpp): the same answer, for about
  /// 0.6 bytes of memory per weight of the head.
  bool two_pass_head = false;
};

/// A sequence on the CPU. Refers to config and weights, which must outlive it.
Result<std::unique_ptr<Runner>> create_cpu_runner(const Config& config, const Weights& weights,
                                                  const CpuOptions& options);

/// Bytes of activations and scratch a runner takes besides the KV cache.
std::uint64_t cpu_scratch_bytes(const Config& config, const CpuOptions& options);

GEMMA_NAMESPACE_END

#if !defined(GEMMA_DECLARATIONS_ONLY)
#include "gemma/backend/impl/cpu-inl.hpp"
#endif

#endif  // GEMMA_BACKEND_CPU_HPP_
