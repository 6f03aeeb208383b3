// The model as the papers draw it, for any backend: `Ops` says how each step is done, this file
// says which steps there are. reference.hpp is the same in plain loops.
#ifndef GEMMA_MODEL_TRANSFORMER_HPP_
#define GEMMA_MODEL_TRANSFORMER_HPP_

#include <cmath>
#include <cstddef>
#include <vector>

#include "gemma/base/error.hpp"
#include "gemma/base/span.hpp"
#include "gemma/model/config.hpp"
#include "gemma/model/family.hpp"
#include "gemma/model/weights.hpp"
#include "gemma/model/widths.hpp"

GEMMA_NAMESPACE_BEGIN

/// The activations of a batch of T tokens; a Buffer is whatever the backend's Ops work on.
template <class Buffer>
struct BlockBuffers {
  Buffer x{};       ///< [T, D] the residual stream
  Buffer h{};       ///< [T, D] input of a branch, normed
  Buffer q{};       ///< [T, H·d]
  Buffer k{};       ///< [T, K·d]
  Buffer v{};       ///< [T, K·d]
  Buffer heads{};   ///< [T, H·d] attention before its output projection
  Buffer gate{};    ///< [T, I]
  Buffer up{};      ///< [T, I]
  Buffer branch{};  ///< [T, D] what a branch adds to x

  Buffer ple{};       ///< [T, L·P] per-layer embeddings
  Buffer ple_gate{};  ///< [T, P]
  Buffer mixed{};     ///< [T, D] sum of the experts' outputs
  Buffer y{};         ///< [T, D] Gemma 3n: what the block makes of the active stream
  Buffer laurel{};    ///< [T, D]
  Buffer low_rank{};  ///< [T, r]
  Buffer modality{};  ///< [T, n]
  Buffer mixing{};    ///< [T, n·n]
  std::vector<Buffer> streams;    ///< n of [T, D]; the first is x
  std::vector<Buffer> predicted;  ///< n of [T, D]
};

/// Makes room for `batch` tokens: allocate(count, buffer) is called for each buffer the model needs,
/// with its floats, and returns a Status.
template <class Buffer, class Allocate>
Status allocate_buffers(const Config& config, std::size_t batch, const Allocate& allocate,
                        BlockBuffers<Buffer>& b) {
  const Widths widths(config);
  const std::size_t width = batch * config.width;
  for (Buffer* buffer : {&b.x, &b.h, &b.branch}) GEMMA_TRY(allocate(width, *buffer));
  for (Buffer* buffer : {&b.q, &b.heads}) GEMMA_TRY(allocate(batch * widths.queries, *buffer));
  for (Buffer* buffer : {&b.k, &b.v}) GEMMA_TRY(allocate(batch * widths.keys, *buffer));
  for (Buffer* buffer : {&b.gate, &b.up}) GEMMA_TRY(allocate(batch * widths.ffn, *buffer));
  if (config.ple_width > 0) {
    GEMMA_TRY(allocate(batch * widths.ple, b.ple));
    GEMMA_TRY(allocate(batch * config.ple_width, b.ple_gate));
  }
  if (config.experts > 0) GEMMA_TRY(allocate(width, b.mixed));
  if (config.altup_streams <= 1) return {};
  const std::size_t n = config.altup_streams;
  for (Buffer* buffer : {&b.y, &b.laurel}) GEMMA_TRY(allocate(width, *buffer));
  GEMMA_TRY(allocate(batch * widths.rank, b.low_rank));
  GEMMA_TRY(allocate(batch * n, b.modality));
  GEMMA_TRY(allocate(batch * n * n, b.mixing));
  b.streams.assign(n, b.x);
  b.predicted.assign(n, Buffer{});
  for (std::size_t j = 0; j < n; ++j) {
    if (j > 0) GEMMA_TRY(allocate(width, b.streams[j]));
    GEMMA_TRY(allocate(width, b.predicted[j]));
  }
  return {};
}

/// Floats per token of all buffers that allocate_buffers() makes room for.
inline std::size_t floats_per_token(const Config& config) {
  std::size_t sum = 0;
  BlockBuffers<int> none;
  const Status counted = allocate_buffers(config, 1, [&sum](std::size_t count, int&) {
    sum += count;
    return Status();
  }, none);
  (void)counted;
  return sum;
}

/// Attention of layer `index`: b.h → b.branch.
template <class F, class Ops, class Buffer>
void attention_branch(Ops& ops, const Config& config, const LayerWeights& w, std::size_t index,
                      const BlockBuffers<Buffer>& b) {
  const LayerConfig& layer = config.layers[index];
  const bool own_keys = layer.kv_layer == index;
  if (!own_keys) {
    ops.matmul(b.h, w.q, b.q);
  } else if (w.v) {
    ops.matmul(b.h, w.q, b.q, w.k, b.k, w.v, b.v);
  } else {
    ops.matmul(b.h, w.q, b.q, w.k, b.k);
    ops.copy(b.k, layer.kv_heads * layer.head_dim, b.v);
  }
  if constexpr (F::kQkNorm) ops.head_norm(b.q, config.heads, layer.head_dim, w.q_norm);
  ops.rope(b.q, config.heads, index);
  if (own_keys) {
    if constexpr (F::kQkNorm) ops.head_norm(b.k, layer.kv_heads, layer.head_dim, w.k_norm);
    if constexpr (F::kValueNorm) ops.head_norm(b.v, layer.kv_heads, layer.head_dim, {});
    ops.rope(b.k, layer.kv_heads, index);
    ops.store_kv(index, b.k, b.v);
  }
  ops.attention(index, b.q, b.heads);
  ops.matmul(b.heads, w.attention_out, b.branch);
}

/// GeGLU: b.h → b.branch = down( gelu(gate h) · (up h) ).
template <class F, class Ops, class Buffer>
void feed_forward_branch(Ops& ops, const LayerConfig& layer, const LayerWeights& w,
                         const BlockBuffers<Buffer>& b) {
  ops.matmul(b.h, w.gate, b.gate, w.up, b.up);
  if constexpr (F::kAltUp) ops.sparsify(b.gate, layer.ffn_width, layer.sparsity);
  ops.gelu_mul(b.gate, b.up, layer.ffn_width);
  ops.matmul(b.gate, w.down, b.branch);
}

/// Per-layer embeddings: `in` → b.branch = norm( W_out ( gelu(W_gate in) · ple_layer ) ).
template <class Ops, class Buffer>
void per_layer_branch(Ops& ops, const LayerWeights& w, std::size_t index, Buffer in,
                      const BlockBuffers<Buffer>& b) {
  ops.matmul(in, w.ple_gate, b.ple_gate);
  ops.gelu_mul_layer(b.ple_gate, b.ple, index);
  ops.matmul(b.ple_gate, w.ple_out, b.branch);
  ops.rms_norm(b.branch, w.ple_norm, b.branch);
}

/// Gemma 4's mixture of experts beside the dense branch: b.branch ← norm(b.branch) + norm(experts).
template <class Ops, class Buffer>
void expert_branch(Ops& ops, const ExpertWeights& w, const BlockBuffers<Buffer>& b) {
  ops.rms_norm(b.branch, w.dense_post_norm, b.branch);
  ops.rms_norm(b.x, w.norm, b.h);
  ops.mix_experts(w, b.x, b.h, b.mixed);
  ops.rms_norm(b.mixed, w.post_norm, b.mixed);
  ops.add(b.mixed, b.branch);
}

/// One transformer block on b.x.
template <class F, class Ops, class Buffer>
void transformer_block(Ops& ops, const Config& config, const LayerWeights& w, std::size_t index,
                       const BlockBuffers<Buffer>& b) {
  ops.rms_norm(b.x, w.attention_norm, b.h);
  attention_branch<F>(ops, config, w, index, b);
  if constexpr (F::kPostNorms) ops.rms_norm(b.branch, w.post_attention_norm, b.branch);
  ops.add(b.branch, b.x);

  ops.rms_norm(b.x, w.ffn_norm, b.h);
  feed_forward_branch<F>(ops, config.layers[index], w, b);
  if constexpr (F::kGemma4) {
    if (config.experts > 0) expert_branch(ops, w.experts, b);
  }
  if constexpr (F::kPostNorms) ops.rms_norm(b.branch, w.post_ffn_norm, b.branch);
  ops.add(b.branch, b.x);

  if constexpr (F::kGemma4) {
    if (config.ple_width > 0) {
      per_layer_branch(ops, w, index, b.x, b);
      ops.add(b.branch, b.x);
    }
    if (w.scale != 1.0f) ops.scale(b.x, w.scale);
  }
}

/// One block of Gemma 3n: AltUp runs it on one of n residual streams, predicts the others from it
/// and corrects them by what it found; LAuReL adds a low-rank branch to attention.
template <class F, class Ops, class Buffer>
void altup_block(Ops& ops, const Config& config, const LayerWeights& w, std::size_t index,
                 const BlockBuffers<Buffer>& b) {
  const AltUpWeights& a = w.altup;
  const Buffer active = b.streams[config.altup_active];
  const Buffer x = b.predicted[config.altup_active];
  const auto modalities = [&](Buffer z) {
    ops.rms_norm(z, a.router_norm, b.h);
    ops.scale(b.h, 1.0f / static_cast<float>(config.width));
    ops.matmul(b.h, a.router, b.modality);
    ops.tanh(b.modality, config.altup_streams);
  };

  modalities(active);
  ops.matmul(b.modality, a.predict, b.mixing);
  ops.altup_predict(b.streams, b.mixing, b.predicted);

  ops.rms_norm(x, w.attention_norm, b.h);
  ops.matmul(b.h, a.laurel_left, b.low_rank);
  ops.matmul(b.low_rank, a.laurel_right, b.laurel);
  ops.rms_norm(b.laurel, a.laurel_norm, b.laurel);
  ops.add(b.h, b.laurel);
  attention_branch<F>(ops, config, w, index, b);
  ops.rms_norm(b.branch, w.post_attention_norm, b.y);
  ops.add(x, b.y);
  ops.add(b.laurel, b.y);
  ops.scale(b.y, std::sqrt(0.5f));

  ops.rms_norm(b.y, w.ffn_norm, b.h);
  feed_forward_branch<F>(ops, config.layers[index], w, b);
  ops.rms_norm(b.branch, w.post_ffn_norm, b.branch);
  ops.add(b.branch, b.y);

  modalities(b.y);
  ops.matmul(b.modality, a.correct, b.mixing);
  ops.altup_correct(b.predicted, config.altup_active, b.y, b.mixing, b.streams);

  ops.copy(active, config.width, b.h);
  if (!a.correct_scale.empty()) ops.multiply(a.correct_scale, b.h);
  per_layer_branch(ops, w, index, b.h, b);
  for (std::size_t j = 1; j < b.streams.size(); ++j) ops.add(b.branch, b.streams[j]);
}

/// All layers: b.x → b.x, or b.streams.
template <class F, class Ops, class Buffer>
void run_blocks(Ops& ops, const Config& config, const Weights& weights,
                const BlockBuffers<Buffer>& b) {
  for (std::size_t i = 0; i < config.layers.size(); ++i) {
    ops.begin_layer(i);
    if constexpr (F::kAltUp) {
      altup_block<F>(ops, config, weights.layers[i], i, b);
    } else {
      transformer_block<F>(ops, config, weights.layers[i], i, b);
    }
  }
}

/// Embeds ids, runs all layers; b.x holds the residual stream before the final norm.
template <class F, class Ops, class Buffer>
void run_layers(Ops& ops, const Config& config, const Weights& weights, Span<const TokenId> ids,
                const BlockBuffers<Buffer>& b) {
  ops.embed(weights.embedding, ids, F::embedding_scale(config.width), b.x);
  if constexpr (F::kAltUp || F::kGemma4) {
    if (config.ple_width > 0) {
      ops.matmul(b.x, weights.ple_projection, b.ple);
      ops.per_layer_embeddings(weights, ids, b.ple);
    }
  }
  if constexpr (F::kAltUp) {
    for (std::size_t j = 1; j < config.altup_streams; ++j) {
      ops.matmul(b.x, weights.altup_project[j - 1], b.streams[j]);
      ops.match_length(b.x, b.streams[j]);
    }
  }
  run_blocks<F>(ops, config, weights, b);
  if constexpr (F::kAltUp) {
    ops.copy(b.x, config.width, b.y);
    for (std::size_t j = 1; j < config.altup_streams; ++j) {
      ops.matmul(b.streams[j], weights.altup_unembed[j - 1], b.branch);
      ops.match_length(b.y, b.branch);
      ops.add(b.branch, b.x);
    }
    ops.scale(b.x, 1.0f / static_cast<float>(config.altup_streams));
  }
}

GEMMA_NAMESPACE_END

#endif  // GEMMA_MODEL_TRANSFORMER_HPP_
