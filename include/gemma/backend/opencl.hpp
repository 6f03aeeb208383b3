// The OpenCL backend: a model on one device, or its last layers. Only with GEMMA_OPENCL.
#ifndef GEMMA_BACKEND_OPENCL_HPP_
#define GEMMA_BACKEND_OPENCL_HPP_

#include <cstddef>
#include <limits>
#include <memory>
#include <string>

#include "gemma/backend/runner.hpp"
#include "gemma/model/config.hpp"
#include "gemma/model/memory_plan.hpp"
#include "gemma/model/weights.hpp"
#include "gemma/opencl/device.hpp"

GEMMA_NAMESPACE_BEGIN

/// What a runner on a device holds, and how it works.
struct OpenClRunnerOptions {
  std::size_t context = 4096;  ///< positions the KV cache holds
  std::size_t batch = 512;     ///< tokens per forward() at most
  bool half_kv = true;         ///< the KV cache in float16 rather than float32
  std::string cache_folder;    ///< for compiled kernels; empty: compile them each time
  /// The last so many layers, and the head, run on the device; the first ones on the CPU. Fewer than
  /// all only if the model can be divided, see why_indivisible().
  std::size_t layers = (std::numeric_limits<std::size_t>::max)();
  std::size_t threads = 0;     ///< of the CPU, if it has a part; 0: as many as the machine runs
};

/// A sequence on a device: sends the weights there, compiles the kernels and checks each of them
/// against the CPU. Refers to config and weights, which must outlive it. Errors say what failed; their
/// codes are told apart by verdict_of().
Result<std::unique_ptr<Runner>> create_opencl_runner(const Config& config, const Weights& weights,
                                                     const opencl::Device& device,
                                                     const OpenClRunnerOptions& options);

/// Bytes of the device's memory that such a runner takes.
MemoryPlan plan_opencl_memory(const Config& config, const Weights& weights,
                              const OpenClRunnerOptions& options);

GEMMA_NAMESPACE_END

#if !defined(GEMMA_DECLARATIONS_ONLY)
#include "gemma/backend/impl/opencl-inl.hpp"
#endif

#endif  // GEMMA_BACKEND_OPENCL_HPP_
