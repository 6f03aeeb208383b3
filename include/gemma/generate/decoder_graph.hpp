// A language model as a TFLite graph, and which of its constants is which weight. Such graphs, of
// MediaPipe's .task bundles and LiteRT-LM's files, name nothing reliably: what a constant is follows
// from what the operators around it read and write.
// Source: measured on graphs that AI Edge Torch (LiteRT Torch) exported, and its layers.
#ifndef GEMMA_GENERATE_DECODER_GRAPH_HPP_
#define GEMMA_GENERATE_DECODER_GRAPH_HPP_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "gemma/base/error.hpp"
#include "gemma/formats/tfl_graph.hpp"

GEMMA_NAMESPACE_BEGIN
namespace mediapipe {

/// A matrix, or rows of one: of queries, keys and values that are multiplied together.
struct GraphMatrix {
  std::int32_t tensor = -1;         ///< of the graph; −1: none
  std::vector<std::uint32_t> rows;  ///< which of its rows, in their order; empty: all
};

/// The weights of one layer, as tensors of the graph, and what the graph says beside them.
struct GraphLayer {
  GraphMatrix q;                      ///< queries
  GraphMatrix k;                      ///< keys
  GraphMatrix v;                      ///< values
  std::int32_t out = -1;              ///< of the attention
  std::int32_t gate = -1;             ///< of the feed-forward
  std::int32_t up = -1;               ///< likewise
  std::int32_t down = -1;             ///< likewise
  std::int32_t attention_norm = -1;   ///< before the attention
  std::int32_t post_attention_norm = -1;  ///< after it; −1: none
  std::int32_t q_norm = -1;           ///< of each head of queries; −1: none
  std::int32_t k_norm = -1;           ///< of keys; −1: none
  std::int32_t ffn_norm = -1;         ///< before the feed-forward
  std::int32_t post_ffn_norm = -1;    ///< after it; −1: none
  float query_scale = 0.0f;           ///< 0: not found
  float softcap = 0.0f;               ///< of q·k; 0: none
  std::size_t window = 0;             ///< 0: none was found
  float rope_base = 0.0f;             ///< 0: not found
  float rope_scale = 0.0f;            ///< positions are divided by it; 0: not found
};

/// A model.
struct DecoderGraph {
  std::int32_t embedding = -1;     ///< a row for each token
  std::int32_t head = -1;          ///< the same tensor if they are one
  std::int32_t output_norm = -1;   ///< before the head
  float final_softcap = 0.0f;      ///< of logits; 0: none
  std::size_t head_dim = 0;        ///< d
  std::size_t context = 0;         ///< positions that the graph's own KV cache has room for
  std::vector<GraphLayer> layers;  ///< from the first to the last
};

/// Finds the weights of a Gemma in the graph of one decoding step. Errors say which part is not as
/// Gemma's is. `name` is for messages.
Result<DecoderGraph> read_decoder(const tfl::Graph& graph, const std::string& name);

/// Rows and columns of a matrix, of which the first dimensions may be 1; zeros if it is none.
struct GraphShape {
  std::size_t rows = 0;  ///< outputs
  std::size_t cols = 0;  ///< inputs
};
/// Those of a tensor of a graph.
GraphShape shape_of(const tfl::GraphTensor& tensor);

}  // namespace mediapipe
GEMMA_NAMESPACE_END

#if !defined(GEMMA_DECLARATIONS_ONLY)
#include "gemma/generate/impl/decoder_graph-inl.hpp"
#endif

#endif  // GEMMA_GENERATE_DECODER_GRAPH_HPP_
