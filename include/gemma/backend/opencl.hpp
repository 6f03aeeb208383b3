// The OpenCL backend: the whole model on one device. Only with GEMMA_OPENCL.
#ifndef GEMMA_BACKEND_OPENCL_HPP_
#define GEMMA_BACKEND_OPENCL_HPP_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "gemma/backend/runner.hpp"
#include "gemma/model/config.hpp"
#include "gemma/model/weights.hpp"
#include "gemma/opencl/device.hpp"

GEMMA_NAMESPACE_BEGIN

struct OpenClRunnerOptions {
  std::size_t context = 4096;  ///< positions the KV cache holds
  std::size_t batch = 512;     ///< tokens per forward() at most
  bool half_kv = true;         ///< the KV cache in float16 rather than float32
  std::string cache_folder;    ///< for compiled kernels; empty: compile them each time
};

/// A sequence on a device: sends the weights there, compiles the kernels and checks each of them
/// against the CPU. Refers to config and weights, which must outlive it. Errors have
/// ErrorCode::backend and say what failed.
Result<std::unique_ptr<Runner>> create_opencl_runner(const Config& config, const Weights& weights,
                                                     const opencl::Device& device,
                                                     const OpenClRunnerOptions& options);

/// Bytes of the device's memory that such a runner takes.
std::uint64_t opencl_bytes(const Config& config, const Weights& weights,
                           const OpenClRunnerOptions& options);

GEMMA_NAMESPACE_END

#if !defined(GEMMA_DECLARATIONS_ONLY)
#include "gemma/backend/impl/opencl-inl.hpp"
#endif

#endif  // GEMMA_BACKEND_OPENCL_HPP_
