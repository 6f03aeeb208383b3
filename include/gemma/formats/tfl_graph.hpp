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
  add = 0,
  concatenation = 2,
  dequantize = 6,
  embedding_lookup = 7,
  fully_connected = 9,
  logistic = 14,
  mul = 18,
  reshape = 22,
  softmax = 25,
  tanh = 28,
  custom = 32,
  gather = 36,
  transpose = 39,
  sub = 41,
  div = 42,
  squeeze = 43,
  strided_slice = 45,
  split = 49,
  cast = 53,
  less = 58,
  greater = 61,
  slice = 65,
  sin = 66,
  expand_dims = 70,
  rsqrt = 76,
  split_v = 102,
  cos = 108,
  batch_matmul = 126,
  gelu = 150,
  composite = 206
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
