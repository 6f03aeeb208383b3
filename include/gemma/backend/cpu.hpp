// The CPU backend: the transformer block on the SIMD kernels and a pool of threads.
#ifndef GEMMA_BACKEND_CPU_HPP_
#define GEMMA_BACKEND_CPU_HPP_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>

#include "gemma/backend/runner.hpp"
#include "gemma/model/config.hpp"
#include "gemma/model/weights.hpp"
#include "gemma/simd/kernels.hpp"

GEMMA_NAMESPACE_BEGIN

/// Of weights in a mapped file, how many may be in memory, and how the system is told.
struct WeightPaging {
  std::uint64_t bytes = 0;                   ///< at most, but for pages at the ends of matrices
  std::function<void(Bytes)> release;        ///< these are not needed for now; not set: no limit
  std::function<void(Bytes)> will_need = {}; ///< these are needed next; may be unset
};

/// What a runner on the CPU holds, and how it works.
struct CpuOptions {
  std::size_t context = 4096;                ///< positions the KV cache holds
  std::size_t batch = 512;                   ///< tokens per forward() at most
  std::size_t threads = 0;                   ///< 0: as many as the machine runs at once
  simd::KvType kv_type = simd::KvType::f16;  ///< how the KV cache holds its numbers
  /// Finds the largest logits in two passes (see two_pass_head-inl.hpp): the same answer, for about
  /// 0.6 bytes of memory per weight of the head, and a second or two to start.
  bool two_pass_head = false;
  WeightPaging paging = {};  ///< not together with two_pass_head
};

/// The least that WeightPaging::bytes can be for these weights: the largest layer, and some rows.
std::uint64_t least_paged_bytes(const Weights& weights);

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
