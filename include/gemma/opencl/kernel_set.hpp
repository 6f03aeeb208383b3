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
  Kernel matvec;       ///< one token
  Kernel matvec_norm;  ///< one token: the norm of a sum, and its product
  Kernel gate_up;      ///< one token: likewise with two matrices, gelu(gate h) · (up h)
  Kernel matmul;       ///< many tokens
  Kernel embed;        ///< rows of the matrix, by ids
  Kernel matmul_mma;   ///< none where there are no tensor cores, and for float32
};

/// All kernels; their source says what each does and takes.
struct KernelSet {
  std::map<std::string, FormatKernels> of_format;  ///< by TileFormat::name
  Kernel prepare_heads;   ///< norm and RoPE of a batch's heads; keys and values to the cache
  Kernel attend_one;      ///< all of attention for one token
  Kernel attend_many;     ///< attention after prepare_heads
  Kernel add_and_norm;    ///< a branch added to the residual stream, and the next one's norm
  Kernel rms_norm;        ///< of rows
  Kernel gather;          ///< rows from given places
  Kernel scatter_add;     ///< rows times factors, added at given places
  Kernel add;             ///< x += y
  Kernel scale;           ///< x *= factor
  Kernel copy;            ///< out = x
  Kernel softcap;         ///< x = cap · tanh(x / cap)
  Kernel gelu_mul;        ///< gate = gelu(gate) · up
  Kernel multiply;        ///< rows times a vector of factors
  Kernel sparsify;        ///< Gemma 3n's cut of gate values, see LayerConfig::sparsity
  Kernel match_length;    ///< AltUp: y as long as x, row by row
  Kernel mix_per_layer;   ///< per-layer embeddings: what the context and what the token says
  Kernel add_scaled;      ///< AltUp's prediction, one stream at a time
  Kernel altup_correct;   ///< AltUp's correction of a stream
  Kernel largest;         ///< the largest logit of each group's share
  Kernel choose_token;    ///< the largest of these as the next token
  Kernel count_sizes;     ///< how many logits there are of each size
  Kernel collect_top;     ///< the largest logits, by these counts
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
