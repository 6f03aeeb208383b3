// Bodies of kernel_set.hpp.
#ifndef GEMMA_OPENCL_IMPL_KERNEL_SET_INL_HPP_
#define GEMMA_OPENCL_IMPL_KERNEL_SET_INL_HPP_

#include <algorithm>
#include <utility>

#include "gemma/opencl/kernel_set.hpp"
#include "gemma/opencl/kernels/attention.hpp"
#include "gemma/opencl/kernels/common.hpp"
#include "gemma/opencl/kernels/elementwise.hpp"
#include "gemma/opencl/kernels/formats.hpp"
#include "gemma/opencl/kernels/matmul.hpp"
#include "gemma/opencl/kernels/picking.hpp"
#include "gemma/opencl/kernels/tensor_cores.hpp"

GEMMA_NAMESPACE_BEGIN
namespace opencl {
namespace detail {

/// Whether float16 is fine enough for the weights.
inline bool fits_half(const TileFormat& format) { return format.bits != 32; }

inline std::string kernel_source(const std::vector<TileFormat>& formats, bool tensor_cores) {
  std::string source = tensor_cores ? "#define GEMMA_PTX 1\n" : "#define GEMMA_PTX 0\n";
  source += kCommonSource;
  if (tensor_cores) source += kTensorCoreSource;
  for (const TileFormat& format : formats) {
    source += format.macros();
    source += kFormatSource;
    source += kMatvecSource;
    source += kMatmulSource;
    if (tensor_cores && fits_half(format)) source += kTensorCoreMatmulSource;
    source += kFormatEnd;
  }
  source += kAttentionSource;
  source += kElementwiseSource;
  source += kPickingSource;
  return source;
}

/// Finds kernels in a program and remembers the smallest of their work-group limits.
class KernelFinder {
 public:
  KernelFinder(Context& context, const Program& program) : context_(context), program_(program) {}

  Status find(const std::string& name, Kernel& kernel) {
    GEMMA_TRY_ASSIGN(kernel, context_.create_kernel(program_, name));
    GEMMA_TRY_ASSIGN(const std::size_t size, context_.work_group_size(kernel));
    // Those for tensor cores always have 256 items.
    const bool own_size = name.find("_mma") != std::string::npos && size >= 256;
    if (size < smallest_ && !own_size) {
      smallest_ = size;
      smallest_name_ = name;
    }
    return {};
  }
  std::size_t smallest() const { return smallest_; }
  const std::string& smallest_name() const { return smallest_name_; }

 private:
  Context& context_;
  const Program& program_;
  std::size_t smallest_ = static_cast<std::size_t>(-1);
  std::string smallest_name_;
};

inline Status find_kernels(const std::vector<TileFormat>& formats, bool tensor_cores,
                           KernelFinder& finder, KernelSet& set) {
  for (const TileFormat& format : formats) {
    FormatKernels& kernels = set.of_format[format.name];
    const std::string suffix = std::string("_") + format.name;
    GEMMA_TRY(finder.find("matvec" + suffix, kernels.matvec));
    GEMMA_TRY(finder.find("matvec_norm" + suffix, kernels.matvec_norm));
    GEMMA_TRY(finder.find("gate_up" + suffix, kernels.gate_up));
    GEMMA_TRY(finder.find("matmul" + suffix, kernels.matmul));
    GEMMA_TRY(finder.find("embed" + suffix, kernels.embed));
    if (tensor_cores && fits_half(format)) {
      GEMMA_TRY(finder.find("matmul_mma" + suffix, kernels.matmul_mma));
    }
  }
  if (tensor_cores) GEMMA_TRY(finder.find("to_half", set.to_half));
  GEMMA_TRY(finder.find("prepare_heads", set.prepare_heads));
  GEMMA_TRY(finder.find("attend_one", set.attend_one));
  GEMMA_TRY(finder.find("attend_many", set.attend_many));
  GEMMA_TRY(finder.find("add_and_norm", set.add_and_norm));
  GEMMA_TRY(finder.find("rms_norm", set.rms_norm));
  GEMMA_TRY(finder.find("gather", set.gather));
  GEMMA_TRY(finder.find("scatter_add", set.scatter_add));
  GEMMA_TRY(finder.find("add", set.add));
  GEMMA_TRY(finder.find("scale", set.scale));
  GEMMA_TRY(finder.find("copy", set.copy));
  GEMMA_TRY(finder.find("softcap", set.softcap));
  GEMMA_TRY(finder.find("gelu_mul", set.gelu_mul));
  GEMMA_TRY(finder.find("multiply", set.multiply));
  GEMMA_TRY(finder.find("sparsify", set.sparsify));
  GEMMA_TRY(finder.find("match_length", set.match_length));
  GEMMA_TRY(finder.find("mix_per_layer", set.mix_per_layer));
  GEMMA_TRY(finder.find("add_scaled", set.add_scaled));
  GEMMA_TRY(finder.find("altup_correct", set.altup_correct));
  GEMMA_TRY(finder.find("largest", set.largest));
  GEMMA_TRY(finder.find("choose_token", set.choose_token));
  GEMMA_TRY(finder.find("count_sizes", set.count_sizes));
  return finder.find("collect_top", set.collect_top);
}

}  // namespace detail

GEMMA_INLINE Result<KernelSet> KernelSet::build(Context& context,
                                                const std::vector<TileFormat>& formats,
                                                bool half_kv, std::size_t width,
                                                const std::string& cache) {
  // Larger groups want more than the 16 KB of local memory that every device has.
  constexpr std::size_t kMuchLocal = 32 << 10;
  std::size_t most = context.device().local_memory >= kMuchLocal ? 512 : 256;
  // To a CPU an item is a round of a loop.
  if ((context.device().type & kTypeCpu) != 0) most = 64;
  constexpr std::size_t kFewest = 32;
  std::size_t items = kFewest;
  while (items * 2 <= (std::min)(most, context.device().work_group_size)) items *= 2;
  for (;;) {
    const bool tensor_cores = context.device().nvidia_compute >= 80;
    const std::string source = detail::kernel_source(formats, tensor_cores);
    const std::string options = "-cl-std=CL1.2 -cl-mad-enable -DGEMMA_WG=" + std::to_string(items) +
                                " -DGEMMA_WIDTH=" + std::to_string(width) +
                                " -DKV_HALF=" + (half_kv ? "1" : "0");
    GEMMA_TRY_ASSIGN(const Program program, context.build(source, options, cache));
    detail::KernelFinder finder(context, program);
    KernelSet set;
    set.items = items;
    GEMMA_TRY(detail::find_kernels(formats, tensor_cores, finder, set));
    if (finder.smallest() >= items) return set;
    if (finder.smallest() < kFewest) {
      return Error(ErrorCode::build_failed,
                   context.device().name + ": groups of " + finder.smallest_name() +
                       " may have " + std::to_string(finder.smallest()) +
                       " work-items, but at least " + std::to_string(kFewest) + " are needed");
    }
    while (items > finder.smallest()) items /= 2;
  }
}

}  // namespace opencl
GEMMA_NAMESPACE_END

#endif  // GEMMA_OPENCL_IMPL_KERNEL_SET_INL_HPP_
