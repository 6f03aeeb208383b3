// The transformer block as the papers draw it, for any backend: `Ops` says how each step is done,
// this file says which steps there are. reference.hpp is the same in plain loops.
#ifndef GEMMA_MODEL_TRANSFORMER_HPP_
#define GEMMA_MODEL_TRANSFORMER_HPP_

#include <cstddef>

#include "gemma/model/config.hpp"
#include "gemma/model/family.hpp"
#include "gemma/model/weights.hpp"

GEMMA_NAMESPACE_BEGIN

/// The activations of a batch of T tokens; a Buffer is whatever the backend's Ops work on.
template <class Buffer>
struct BlockBuffers {
  Buffer x;       ///< [T, D] the residual stream
  Buffer h;       ///< [T, D] input of a branch, normed
  Buffer q;       ///< [T, H·d]
  Buffer k;       ///< [T, K·d]
  Buffer v;       ///< [T, K·d]
  Buffer heads;   ///< [T, H·d] attention before its output projection
  Buffer gate;    ///< [T, I]
  Buffer up;      ///< [T, I]
  Buffer branch;  ///< [T, D] what a branch adds to x
};

/// Layer `index` of the model on the batch in `b.x`. F: a family of family.hpp.
template <class F, class Ops, class Buffer>
void transformer_block(Ops& ops, const Config& config, const Weights& weights, std::size_t index,
                       const BlockBuffers<Buffer>& b) {
  const LayerConfig& layer = config.layers[index];
  const LayerWeights& w = weights.layers[index];

  ops.rms_norm(b.x, w.attention_norm, b.h);
  ops.matmul(b.h, w.q, b.q, w.k, b.k, w.v, b.v);
  if constexpr (F::kQkNorm) {
    ops.head_norm(b.q, config.heads, layer.head_dim, w.q_norm);
    ops.head_norm(b.k, layer.kv_heads, layer.head_dim, w.k_norm);
  }
  ops.rope(b.q, config.heads, layer);
  ops.rope(b.k, layer.kv_heads, layer);
  ops.store_kv(index, b.k, b.v);
  ops.attention(index, b.q, b.heads);
  ops.matmul(b.heads, w.attention_out, b.branch);
  if constexpr (F::kPostNorms) ops.rms_norm(b.branch, w.post_attention_norm, b.branch);
  ops.add(b.branch, b.x);

  ops.rms_norm(b.x, w.ffn_norm, b.h);
  ops.matmul(b.h, w.gate, b.gate, w.up, b.up);
  ops.gelu_mul(b.gate, b.up, layer.ffn_width);
  ops.matmul(b.gate, w.down, b.branch);
  if constexpr (F::kPostNorms) ops.rms_norm(b.branch, w.post_ffn_norm, b.branch);
  ops.add(b.branch, b.x);
}

GEMMA_NAMESPACE_END

#endif  // GEMMA_MODEL_TRANSFORMER_HPP_
