// A graph to be run, of a TFLite file, as tables: the operators of one signature in their order, what
// they read and write, and the constants among that with how their integers stand for numbers.
// Source: TFLite's schema.fbs, version 3.
#ifndef GEMMA_FORMATS_TFL_GRAPH_HPP_
#define GEMMA_FORMATS_TFL_GRAPH_HPP_

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "gemma/base/error.hpp"
#include "gemma/base/span.hpp"
#include "gemma/formats/tfl_container.hpp"

GEMMA_NAMESPACE_BEGIN
namespace tfl {

/// Operators that readers of graphs ask for; files have others.
enum class Op : std::uint32_t {
  add = 0,               ///< a + b
  dequantize = 6,        ///< to float32
  embedding_lookup = 7,  ///< rows of inputs[1] by the numbers inputs[0]
  fully_connected = 9,   ///< x Wᵀ, W is inputs[1]; inputs[2], a bias, may be −1
  logistic = 14,         ///< the sigmoid
  mul = 18,              ///< a · b, each number with its own
  reshape = 22,          ///< another shape for the same numbers
  tanh = 28,             ///< the hyperbolic tangent
  custom = 32,           ///< of the name GraphOp::name
  gather = 36,           ///< slices of inputs[0] by the numbers inputs[1]
  transpose = 39,        ///< dimensions in another order
  sub = 41,              ///< a − b
  div = 42,              ///< a / b
  squeeze = 43,          ///< without dimensions of 1
  strided_slice = 45,    ///< from inputs[1] to inputs[2] in steps of inputs[3]
  split = 49,            ///< into equal parts
  cast = 53,             ///< to another type
  less = 58,             ///< a < b
  greater = 61,          ///< a > b
  slice = 65,            ///< inputs[2] numbers from inputs[1] on, of each dimension
  sin = 66,              ///< the sine
  expand_dims = 70,      ///< with another dimension of 1
  rsqrt = 76,            ///< 1 / √x
  split_v = 102,         ///< into parts of given sizes
  cos = 108,             ///< the cosine
  batch_matmul = 126,    ///< a product of two values
  gelu = 150,            ///< the activation of Gemma
  composite = 206        ///< of the name GraphOp::name
};

/// How the integers of a tensor stand for numbers: (q − zero) · scale.
struct Quantization {
  Bytes scales;                 ///< float32, one for each slice along `dimension`; empty: none
  Bytes zeros;                  ///< int64, likewise
  std::int32_t dimension = 0;   ///< of the shape
  std::int32_t block_size = 0;  ///< numbers along the last dimension with one scale; 0: no blocks
  std::int32_t block_scales = -1;  ///< the tensor with the scales of blocks; −1: none
  std::int32_t block_zeros = -1;   ///< likewise
};

/// A value that operators read or write.
struct GraphTensor {
  std::string name;                     ///< its last 100 bytes; of no meaning
  TensorType type = TensorType::f32;    ///< as the file has it
  std::vector<std::int32_t> shape;      ///< the last dimension is contiguous; −1: not known
  Bytes data;                           ///< of a constant; empty: it is none
  Quantization quantization;            ///< of a constant
};

/// An operator.
struct GraphOp {
  Op op = Op::custom;                  ///< as the file has it
  std::string name;                    ///< of custom and composite ones: "odml.rms_norm"
  std::vector<std::int32_t> inputs;    ///< tensors; −1: left out
  std::vector<std::int32_t> outputs;   ///< tensors
};

/// A value that has a name outside the graph.
struct GraphPort {
  std::string name;          ///< "tokens", "kv_cache_k_0"
  std::int32_t tensor = -1;  ///< which it is
};

/// One signature of a file. Numbers of tensors are checked; bytes are views of the file.
struct Graph {
  std::vector<GraphTensor> tensors;  ///< all values
  std::vector<GraphOp> ops;          ///< in the order in which they are to be run
  std::vector<GraphPort> inputs;     ///< of the signature
  std::vector<GraphPort> outputs;    ///< likewise
};

/// The graph of the signature `signature`; the error if there is none lists those that there are.
/// `name` is for messages.
Result<Graph> read_graph(Bytes file, const std::string& signature, const std::string& name);

}  // namespace tfl
GEMMA_NAMESPACE_END

#if !defined(GEMMA_DECLARATIONS_ONLY)
#include "gemma/formats/impl/tfl_graph-inl.hpp"
#endif

#endif  // GEMMA_FORMATS_TFL_GRAPH_HPP_
