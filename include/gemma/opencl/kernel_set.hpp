// The kernels a model needs, compiled for a device.
#ifndef GEMMA_OPENCL_KERNEL_SET_HPP_
#define GEMMA_OPENCL_KERNEL_SET_HPP_

#include <cstddef>
#include <map>
#include <string>
#include <vector>

#include "gemma/opencl/context.hpp"
#include "gemma/opencl/tiles.hpp"

GEMMA_NAMESPACE_BEGIN
namespace opencl {

/// Products, for weights of one format (kernels/matmul.hpp).
struct FormatKernels {
  Kernel matvec, matvec_norm, gate_up, matmul, embed;
  Kernel matmul_mma;  ///< none where there are no tensor cores, and for float32
};

/// All kernels; their source says what each does and takes.
struct KernelSet {
  std::map<std::string, FormatKernels> of_format;  ///< by TileFormat::name
  Kernel prepare_heads, attend_one, attend_many;
  Kernel add_and_norm, rms_norm, gather, scatter_add, add, scale, copy, softcap, gelu_mul, multiply,
      sparsify, match_length, mix_per_layer, add_scaled, altup_correct;
  Kernel largest, count_sizes, collect_top;
  Kernel to_half;         ///< for matmul_mma
  std::size_t items = 0;  ///< of a work-group

  /// Compiles them for a model of this width, with the largest work-groups, up to 512
  /// items, that the device runs all with.
  static Result<KernelSet> build(Context& context, const std::vector<TileFormat>& formats,
                                 bool half_kv, std::size_t width, const std::string& cache);
};

}  // namespace opencl
GEMMA_NAMESPACE_END

#if !defined(GEMMA_DECLARATIONS_ONLY)
#include "gemma/opencl/impl/kernel_set-inl.hpp"
#endif

#endif  // GEMMA_OPENCL_KERNEL_SET_HPP_
