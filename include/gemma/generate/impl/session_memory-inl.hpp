// Memory that a session will take: Model::plan(), and whether that is allowed.
#ifndef GEMMA_GENERATE_IMPL_SESSION_MEMORY_INL_HPP_
#define GEMMA_GENERATE_IMPL_SESSION_MEMORY_INL_HPP_

#include <algorithm>
#include <string>

#include "gemma/backend/cpu.hpp"
#include "gemma/generate/impl/choose_runner-inl.hpp"
#include "gemma/generate/session.hpp"
#include "gemma/model/kv_cache.hpp"

GEMMA_NAMESPACE_BEGIN

GEMMA_INLINE MemoryPlan plan_memory(const Model& model, const SessionOptions& options) {
  const CpuOptions cpu = detail::cpu_options(model, options);
  MemoryPlan plan;
  plan.weights = model.source().file_bytes();
  if (cpu.paging.release) plan.weights = (std::min)(plan.weights, cpu.paging.bytes);
  plan.kv_cache = KvCache::bytes(model.config(), cpu.context, cpu.batch, cpu.kv_type);
  plan.scratch = cpu_scratch_bytes(model.config(), cpu) + detail::adapter_bytes(options);
  return plan;
}

#if defined(GEMMA_OPENCL)
GEMMA_INLINE MemoryPlan plan_opencl_memory(const Model& model, const SessionOptions& options) {
  const CpuOptions cpu = detail::cpu_options(model, options);
  OpenClRunnerOptions device = detail::opencl_options(cpu, options.opencl);
  if (detail::why_no_layers(model.config(), options.opencl).empty()) {
    device.layers = options.opencl.gpu_layers.value_or(device.layers);
  }
  return plan_opencl_memory(model.config(), model.weights(), device);
}

GEMMA_INLINE OpenClChoice choose_opencl_device(const Model& model, const SessionOptions& options) {
  const CpuOptions cpu = detail::cpu_options(model, options);
  return choose_opencl_device(
      with_environment(options.opencl),
      detail::device_needs(model, detail::opencl_options(cpu, options.opencl)));
}
#endif

GEMMA_INLINE MemoryPlans Model::plan(const SessionOptions& options) const {
  MemoryPlans plans;
  plans.cpu = plan_memory(*this, options);
#if defined(GEMMA_OPENCL)
  plans.opencl = plan_opencl_memory(*this, options);
#endif
  return plans;
}

GEMMA_INLINE MemoryPlans Model::plan() const { return plan(SessionOptions{}); }

namespace detail {

/// Refuses what would take more memory than the model was loaded for.
inline Status check_memory(const Model& model, const SessionOptions& options) {
  const MemoryPlan plan = plan_memory(model, options);
  const std::string takes = model.path() + ": a session with a context of " +
                            std::to_string(cpu_options(model, options).context) + " takes ";
  constexpr const char* kRemedy = "; choose a smaller context, batch or KV type, or a larger limit";
  if (model.memory_limit() != 0 && plan.total() > model.memory_limit()) {
    return Error(ErrorCode::out_of_memory,
                 takes + plan.text() + ", but the limit is " + megabytes(model.memory_limit()) + kRemedy);
  }
  if (model.max_resident_bytes() == 0) return {};
  if (options.two_pass_head) {
    return Error(ErrorCode::invalid_argument,
                 "two_pass_head takes more memory to be faster, max_resident_bytes less: choose one");
  }
  const std::uint64_t least = least_paged_bytes(model.weights());
  if (plan.weights >= (std::min)(least, model.source().file_bytes())) return {};
  return Error(ErrorCode::out_of_memory,
               takes + megabytes(plan.kv_cache) + " of KV cache and " + megabytes(plan.scratch) +
                   " of scratch, and at least " + megabytes(least) +
                   " of the weights must be in memory at a time, but max_resident_bytes is " +
                   megabytes(model.max_resident_bytes()) + kRemedy);
}

}  // namespace detail

GEMMA_NAMESPACE_END

#endif  // GEMMA_GENERATE_IMPL_SESSION_MEMORY_INL_HPP_
