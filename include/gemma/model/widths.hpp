// How wide the activations of a model are: what a backend has to make room for.
#ifndef GEMMA_MODEL_WIDTHS_HPP_
#define GEMMA_MODEL_WIDTHS_HPP_

#include <algorithm>
#include <cstddef>

#include "gemma/model/config.hpp"

GEMMA_NAMESPACE_BEGIN

/// Widths of the widest activations of a model, in floats per token.
struct Widths {
  std::size_t queries = 0;  ///< H·d
  std::size_t keys = 0;     ///< K·d, and of the values
  std::size_t ffn = 0;      ///< I, of the dense feed-forward
  std::size_t ple = 0;      ///< all layers' per-layer embeddings
  std::size_t rank = 0;     ///< of LAuReL
  std::size_t input = 0;    ///< of any matmul

  /// The largest widths of all layers.
  explicit Widths(const Config& config)
      : ple(config.layers.size() * config.ple_width), rank(config.laurel_rank), input(config.width) {
    for (const LayerConfig& layer : config.layers) {
      queries = (std::max)(queries, config.heads * layer.head_dim);
      keys = (std::max)(keys, layer.kv_heads * layer.head_dim);
      ffn = (std::max)(ffn, layer.ffn_width);
    }
    input = (std::max)({input, queries, ffn, config.expert_width, config.ple_width, rank,
                        config.altup_streams});
  }
};

GEMMA_NAMESPACE_END

#endif  // GEMMA_MODEL_WIDTHS_HPP_
