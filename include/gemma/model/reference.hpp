// The whole model in plain scalar C++: to learn from, and the oracle of the tests. Nothing here is
// fast; everything is float32 on the exact values of the weights. Model::forward() is the place to
// start; Gemma 3n's residual streams and Gemma 4's experts come last.
#ifndef GEMMA_MODEL_REFERENCE_HPP_
#define GEMMA_MODEL_REFERENCE_HPP_

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <utility>
#include <vector>

#include "gemma/base/span.hpp"
#include "gemma/model/config.hpp"
#include "gemma/model/experts.hpp"
#include "gemma/model/family.hpp"
#include "gemma/model/rope.hpp"
#include "gemma/model/weights.hpp"
#include "gemma/quant/registry.hpp"

GEMMA_NAMESPACE_BEGIN
namespace reference {

/// One row of numbers per token: [rows, cols].
struct Matrix {
  std::size_t rows = 0;       ///< tokens
  std::size_t cols = 0;       ///< numbers per token
  std::vector<float> values;  ///< [rows, cols], row-major

  /// r rows of c zeros.
  Matrix(std::size_t r, std::size_t c) : rows(r), cols(c), values(r * c) {}
  float* row(std::size_t r) { return values.data() + r * cols; }              ///< [cols]
  const float* row(std::size_t r) const { return values.data() + r * cols; }  ///< [cols]
};

/// Σ a_i b_i. Sixteen running sums instead of one let the compiler use the vector unit.
inline float dot(const float* a, const float* b, std::size_t n) {
  constexpr std::size_t kLanes = 16;
  float sums[kLanes] = {};
  std::size_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    for (std::size_t lane = 0; lane < kLanes; ++lane) sums[lane] += a[i + lane] * b[i + lane];
  }
  float sum = 0.0f;
  for (; i < n; ++i) sum += a[i] * b[i];
  for (const float lane : sums) sum += lane;
  return sum;
}

/// y_t = W x_t for every token t: [T, W.cols] → [T, W.rows].
inline Matrix matmul(const WeightMatrix& w, const Matrix& x) {
  Matrix y(x.rows, w.rows);
  std::vector<float> weights(w.cols);
  for (std::size_t r = 0; r < w.rows; ++r) {
    quant::decode_row(w.type, w.row(r), w.cols, weights.data());
    for (std::size_t t = 0; t < x.rows; ++t) y.row(t)[r] = dot(weights.data(), x.row(t), w.cols);
  }
  return y;
}

/// x ← x / sqrt(mean(x²) + eps) · g (arXiv 1910.07467), on n numbers; no gain: g = 1.
inline void rms_norm(float* x, std::size_t n, const NormWeights& gain, float eps) {
  double squares = 0.0;
  for (std::size_t i = 0; i < n; ++i) squares += double{x[i]} * double{x[i]};
  const float mean = static_cast<float>(squares / static_cast<double>(n));
  const float inverse = 1.0f / std::sqrt(mean + eps);
  for (std::size_t i = 0; i < n; ++i) {
    x[i] = x[i] * inverse * (gain.empty() ? 1.0f : gain[i]);
  }
}

/// The norm of every row, as a copy.
inline Matrix rms_norm(const Matrix& x, const NormWeights& gain, float eps) {
  Matrix y = x;
  for (std::size_t t = 0; t < y.rows; ++t) rms_norm(y.row(t), y.cols, gain, eps);
  return y;
}

/// Rotary position embedding (arXiv 2104.09864) of one head of d numbers: turns each pair
/// (x_i, x_{i+d/2}) by the angle position · f_i.
inline void rope(const Config& config, const LayerConfig& layer, std::size_t position, float* x) {
  const std::size_t half = layer.head_dim / 2;
  for (std::size_t i = 0; i < half; ++i) {
    const float angle = static_cast<float>(position) * rope_frequency(config, layer, i);
    const float c = std::cos(angle);
    const float s = std::sin(angle);
    const float a = x[i];
    const float b = x[i + half];
    x[i] = a * c - b * s;
    x[i + half] = b * c + a * s;
  }
}

/// The tanh form of GELU (arXiv 1606.08415), which every Gemma uses.
inline float gelu(float z) {
  const float inner = 0.7978845608028654f * (z + 0.044715f * z * z * z);
  return 0.5f * z * (1.0f + std::tanh(inner));
}

/// cap · tanh(x / cap): keeps x within ±cap. 0 means no cap.
inline float softcap(float x, float cap) { return cap > 0.0f ? cap * std::tanh(x / cap) : x; }

/// x ← exp(x) / Σ exp(x).
inline void softmax(std::vector<float>& x) {
  const float largest = *std::max_element(x.begin(), x.end());
  double sum = 0.0;
  for (float& value : x) {
    value = std::exp(value - largest);
    sum += double{value};
  }
  for (float& value : x) value = static_cast<float>(double{value} / sum);
}

/// A model with the keys and values of what it has read so far.
class Model {
 public:
  /// Refers to both; they must outlive it.
  Model(const Config& config, const Weights& weights)
      : config_(config), weights_(weights), cache_(config.layers.size()) {}

  /// Reads `ids` (each in [0, vocab_size)) after what it has read before, and returns the logits
  /// after the last `logit_rows` of them: [logit_rows, V].
  Matrix forward(Span<const TokenId> ids, std::size_t logit_rows) {
    const Matrix h = hidden(ids);
    Matrix last(logit_rows, config_.width);
    std::copy(h.values.end() - static_cast<std::ptrdiff_t>(last.values.size()), h.values.end(),
              last.values.begin());
    Matrix logits = matmul(weights_.head, last);
    for (float& logit : logits.values) logit = softcap(logit, config_.final_softcap);
    return logits;
  }

  /// The same, but returns the last hidden states of all of them, after the final norm: [T, D].
  Matrix hidden(Span<const TokenId> ids) {
    const Matrix x = visit_family(
        config_.family, [&](auto family) { return run_layers<decltype(family)>(ids); });
    return rms_norm(x, weights_.output_norm, config_.norm_eps);
  }

  /// Positions read so far.
  std::size_t position() const { return position_; }

 private:
  /// All keys and values of one layer, a row of K·d numbers per position.
  struct LayerCache {
    std::vector<float> keys;
    std::vector<float> values;
  };

  /// The residual stream after all layers, [T, D].
  template <class F>
  Matrix run_layers(Span<const TokenId> ids) {
    Matrix x = embed(ids, F::embedding_scale(config_.width));
    const Matrix ple = per_layer_embeddings(ids, x);
    if constexpr (F::kAltUp) {
      std::vector<Matrix> streams = fan_out(x);
      for (std::size_t i = 0; i < config_.layers.size(); ++i) altup_block<F>(i, streams, ple);
      x = fan_in(streams);
    } else {
      for (std::size_t i = 0; i < config_.layers.size(); ++i) block<F>(i, x, ple);
    }
    position_ += ids.size();
    return x;
  }

  /// x_t = E[id_t] · scale.
  Matrix embed(Span<const TokenId> ids, float scale) const {
    Matrix x(ids.size(), config_.width);
    for (std::size_t t = 0; t < ids.size(); ++t) {
      const WeightMatrix& e = weights_.embedding;
      quant::decode_row(e.type, e.row(static_cast<std::size_t>(ids[t])), e.cols, x.row(t));
      for (std::size_t c = 0; c < x.cols; ++c) x.row(t)[c] *= scale;
    }
    return x;
  }

  /// One transformer block: x += attention(norm(x)), x += feed_forward(norm(x)); from Gemma 2 on
  /// each branch is normed once more before it is added.
  template <class F>
  void block(std::size_t index, Matrix& x, const Matrix& ple) {
    const LayerWeights& w = weights_.layers[index];
    const float eps = config_.norm_eps;

    Matrix branch = attention<F>(index, rms_norm(x, w.attention_norm, eps));
    if constexpr (F::kPostNorms) branch = rms_norm(branch, w.post_attention_norm, eps);
    add(branch, x);

    branch = feed_forward(index, rms_norm(x, w.ffn_norm, eps));
    if constexpr (F::kGemma4) {
      if (config_.experts > 0) branch = add_experts(w.experts, x, branch);
    }
    if constexpr (F::kPostNorms) branch = rms_norm(branch, w.post_ffn_norm, eps);
    add(branch, x);

    if constexpr (F::kGemma4) {
      if (config_.ple_width > 0) add(per_layer_branch(index, x, ple), x);
      for (float& value : x.values) value *= w.scale;
    }
  }

  static void add(const Matrix& branch, Matrix& x) {
    for (std::size_t i = 0; i < x.values.size(); ++i) x.values[i] += branch.values[i];
  }

  /// GeGLU: down( gelu(gate h) · (up h) ).
  Matrix feed_forward(std::size_t index, const Matrix& h) const {
    const LayerWeights& w = weights_.layers[index];
    Matrix gate = matmul(w.gate, h);
    sparsify(gate, config_.layers[index].sparsity);
    gelu_mul(gate, matmul(w.up, h));
    return matmul(w.down, gate);
  }

  static void gelu_mul(Matrix& gate, const Matrix& up) {
    for (std::size_t i = 0; i < gate.values.size(); ++i) {
      gate.values[i] = gelu(gate.values[i]) * up.values[i];
    }
  }

  /// Keeps of each row only what exceeds mean + sparsity · standard deviation, less that threshold.
  static void sparsify(Matrix& gate, float sparsity) {
    if (!std::isfinite(sparsity)) return;
    const double n = static_cast<double>(gate.cols);
    for (std::size_t t = 0; t < gate.rows; ++t) {
      double sum = 0.0;
      double squares = 0.0;
      for (std::size_t i = 0; i < gate.cols; ++i) sum += double{gate.row(t)[i]};
      const double mean = sum / n;
      for (std::size_t i = 0; i < gate.cols; ++i) {
        const double d = double{gate.row(t)[i]} - mean;
        squares += d * d;
      }
      const float threshold = static_cast<float>(mean + double{sparsity} * std::sqrt(squares / n));
      for (std::size_t i = 0; i < gate.cols; ++i) {
        gate.row(t)[i] = (std::max)(gate.row(t)[i] - threshold, 0.0f);
      }
    }
  }

  /// Attention with grouped queries: query head n reads KV head n / (H / K).
  template <class F>
  Matrix attention(std::size_t index, const Matrix& h) {
    const LayerConfig& layer = config_.layers[index];
    const LayerWeights& w = weights_.layers[index];
    const std::size_t d = layer.head_dim;
    Matrix q = matmul(w.q, h);
    if constexpr (F::kQkNorm) norm_heads(q, d, w.q_norm);
    turn_heads(q, layer);
    if (layer.kv_layer == index) {
      Matrix k = matmul(w.k, h);
      Matrix v = w.v ? matmul(w.v, h) : k;
      if constexpr (F::kQkNorm) norm_heads(k, d, w.k_norm);
      if constexpr (F::kValueNorm) norm_heads(v, d, {});
      turn_heads(k, layer);
      LayerCache& own = cache_[index];
      own.keys.insert(own.keys.end(), k.values.begin(), k.values.end());
      own.values.insert(own.values.end(), v.values.begin(), v.values.end());
    }

    Matrix out(h.rows, config_.heads * d);
    for (std::size_t t = 0; t < h.rows; ++t) {
      for (std::size_t head = 0; head < config_.heads; ++head) {
        attend(layer, position_ + t, head, q.row(t) + head * d, out.row(t) + head * d);
      }
    }
    return matmul(w.attention_out, out);
  }

  /// out = Σ_j softmax_j(scale · q·k_j) v_j over the positions j that `position` may see: up to
  /// itself, or to the end of the text.
  void attend(const LayerConfig& layer, std::size_t position, std::size_t head, const float* q,
              float* out) const {
    const LayerCache& cache = cache_[layer.kv_layer];
    const std::size_t d = layer.head_dim;
    const std::size_t stride = layer.kv_heads * d;
    const std::size_t offset = head / (config_.heads / layer.kv_heads) * d;
    const std::size_t reach = layer.window == 0 ? cache.keys.size() : layer.window - 1;
    const std::size_t first = position - (std::min)(position, reach);
    const std::size_t newest = cache.keys.size() / stride - 1;
    const std::size_t last = config_.bidirectional ? (std::min)(newest, position + reach) : position;

    std::vector<float> weights(last + 1 - first);
    for (std::size_t j = first; j <= last; ++j) {
      const float score = dot(q, cache.keys.data() + j * stride + offset, d);
      weights[j - first] = softcap(score * config_.attention_scale, config_.attention_softcap);
    }
    softmax(weights);
    for (std::size_t j = first; j <= last; ++j) {
      const float* value = cache.values.data() + j * stride + offset;
      for (std::size_t i = 0; i < d; ++i) out[i] += weights[j - first] * value[i];
    }
  }

  void norm_heads(Matrix& x, std::size_t d, const NormWeights& gain) const {
    for (std::size_t i = 0; i < x.values.size(); i += d) {
      rms_norm(x.values.data() + i, d, gain, config_.norm_eps);
    }
  }

  void turn_heads(Matrix& x, const LayerConfig& layer) const {
    for (std::size_t t = 0; t < x.rows; ++t) {
      for (float* head = x.row(t); head != x.row(t) + x.cols; head += layer.head_dim) {
        rope(config_, layer, position_ + t, head);
      }
    }
  }

  /// What each layer adds for each token (Gemma 3n and 4), [T, L·P]: half a table of its own, half
  /// a projection of the embedding.
  Matrix per_layer_embeddings(Span<const TokenId> ids, const Matrix& x) const {
    const std::size_t p = config_.ple_width;
    if (p == 0) return Matrix(0, 0);
    Matrix ple = matmul(weights_.ple_projection, x);
    const float shrink = 1.0f / std::sqrt(static_cast<float>(config_.width));
    for (float& value : ple.values) value *= shrink;
    norm_heads(ple, p, weights_.ple_projection_norm);

    const WeightMatrix& table = weights_.ple_embedding;
    const float scale = std::sqrt(static_cast<float>(p));
    std::vector<float> row(table.cols);
    for (std::size_t t = 0; t < ids.size(); ++t) {
      const std::size_t id = static_cast<std::size_t>(ids[t]);
      quant::decode_row(table.type, table.row(id < table.rows ? id : 0), table.cols, row.data());
      for (std::size_t i = 0; i < ple.cols; ++i) {
        ple.row(t)[i] = (ple.row(t)[i] + row[i] * scale) * std::sqrt(0.5f);
      }
    }
    return ple;
  }

  /// norm( W_out ( gelu(W_gate x) · ple_layer ) ).
  Matrix per_layer_branch(std::size_t index, const Matrix& x, const Matrix& ple) const {
    const LayerWeights& w = weights_.layers[index];
    Matrix gate = matmul(w.ple_gate, x);
    Matrix own(gate.rows, gate.cols);
    for (std::size_t t = 0; t < gate.rows; ++t) {
      const float* begin = ple.row(t) + index * gate.cols;
      std::copy(begin, begin + gate.cols, own.row(t));
    }
    gelu_mul(gate, own);
    return rms_norm(matmul(w.ple_out, gate), w.ple_norm, config_.norm_eps);
  }

  /// AltUp: the block computes one stream; small matrices predict the others from it, and correct
  /// them by what the block found.
  template <class F>
  void altup_block(std::size_t index, std::vector<Matrix>& streams, const Matrix& ple) {
    const LayerWeights& w = weights_.layers[index];
    const AltUpWeights& a = w.altup;
    const std::size_t active = config_.altup_active;
    const float eps = config_.norm_eps;

    const std::vector<Matrix> predicted = predict(a, streams);
    const Matrix& x = predicted[active];
    const Matrix h = rms_norm(x, w.attention_norm, eps);
    Matrix laurel = rms_norm(matmul(a.laurel_right, matmul(a.laurel_left, h)), a.laurel_norm, eps);
    add(h, laurel);
    Matrix y = rms_norm(attention<F>(index, h), w.post_attention_norm, eps);
    add(x, y);
    add(laurel, y);
    for (float& value : y.values) value *= std::sqrt(0.5f);
    const Matrix ffn = feed_forward(index, rms_norm(y, w.ffn_norm, eps));
    add(rms_norm(ffn, w.post_ffn_norm, eps), y);

    correct(a, predicted, y, streams);
    Matrix scaled = streams[active];
    for (std::size_t t = 0; t < scaled.rows && !a.correct_scale.empty(); ++t) {
      for (std::size_t i = 0; i < scaled.cols; ++i) scaled.row(t)[i] *= a.correct_scale[i];
    }
    const Matrix extra = per_layer_branch(index, scaled, ple);
    for (std::size_t j = 0; j < streams.size(); ++j) {
      if (j != 0) add(extra, streams[j]);
    }
  }

  /// m(z) = tanh( W ( norm(z) / D ) ), [T, n]: how much each stream matters.
  Matrix modalities(const AltUpWeights& a, const Matrix& z) const {
    Matrix normed = rms_norm(z, a.router_norm, config_.norm_eps);
    for (float& value : normed.values) value /= static_cast<float>(config_.width);
    Matrix m = matmul(a.router, normed);
    for (float& value : m.values) value = std::tanh(value);
    return m;
  }

  /// P_o = X_o + Σ_i C[o, i] X_i with C = W m(X_active) as an n × n matrix for each token.
  std::vector<Matrix> predict(const AltUpWeights& a, const std::vector<Matrix>& streams) const {
    const std::size_t n = streams.size();
    const Matrix c = matmul(a.predict, modalities(a, streams[config_.altup_active]));
    std::vector<Matrix> predicted = streams;
    for (std::size_t o = 0; o < n; ++o) {
      for (std::size_t i = 0; i < n; ++i) {
        for (std::size_t t = 0; t < c.rows; ++t) {
          axpy(c.row(t)[o * n + i], streams[i].row(t), config_.width, predicted[o].row(t));
        }
      }
    }
    return predicted;
  }

  /// X_o = P_o + (1 + (W m(y))_o) · (y − P_active).
  void correct(const AltUpWeights& a, const std::vector<Matrix>& predicted, const Matrix& y,
               std::vector<Matrix>& streams) const {
    const Matrix c = matmul(a.correct, modalities(a, y));
    Matrix innovation = y;
    for (std::size_t i = 0; i < y.values.size(); ++i) {
      innovation.values[i] -= predicted[config_.altup_active].values[i];
    }
    for (std::size_t o = 0; o < streams.size(); ++o) {
      streams[o] = predicted[o];
      for (std::size_t t = 0; t < y.rows; ++t) {
        axpy(1.0f + c.row(t)[o], innovation.row(t), y.cols, streams[o].row(t));
      }
    }
  }

  /// y += factor · x.
  static void axpy(float factor, const float* x, std::size_t n, float* y) {
    for (std::size_t i = 0; i < n; ++i) y[i] += factor * x[i];
  }

  /// Stream 0 is x; the others are projections of it, as long as it is.
  std::vector<Matrix> fan_out(const Matrix& x) const {
    std::vector<Matrix> streams(1, x);
    for (const WeightMatrix& w : weights_.altup_project) {
      streams.push_back(with_length_of(matmul(w, x), x));
    }
    return streams;
  }

  /// The mean of stream 0 and the others projected back.
  Matrix fan_in(const std::vector<Matrix>& streams) const {
    Matrix x = streams[0];
    for (std::size_t j = 1; j < streams.size(); ++j) {
      add(with_length_of(matmul(weights_.altup_unembed[j - 1], streams[j]), streams[0]), x);
    }
    for (float& value : x.values) value /= static_cast<float>(streams.size());
    return x;
  }

  /// y · rms(x) / rms(y), row by row.
  static Matrix with_length_of(Matrix y, const Matrix& x) {
    const float n = static_cast<float>(x.cols);
    for (std::size_t t = 0; t < y.rows; ++t) {
      const float want = std::sqrt(dot(x.row(t), x.row(t), x.cols) / n);
      const float have = std::sqrt((std::max)(dot(y.row(t), y.row(t), y.cols) / n, 1e-5f));
      for (std::size_t i = 0; i < y.cols; ++i) y.row(t)[i] *= want / have;
    }
    return y;
  }

  /// The normed dense branch plus, for each token, its best experts on norm(x), weighted.
  Matrix add_experts(const ExpertWeights& w, const Matrix& x, const Matrix& dense) const {
    const float eps = config_.norm_eps;
    const Matrix h = rms_norm(x, w.norm, eps);
    Matrix mixed(x.rows, x.cols);
    for (std::size_t t = 0; t < x.rows; ++t) {
      Matrix row(1, x.cols);
      std::copy(h.row(t), h.row(t) + h.cols, row.row(0));
      for (const auto& [expert, weight] : choose_experts(w, x.row(t))) {
        axpy(weight, run_expert(w, expert, row).row(0), x.cols, mixed.row(t));
      }
    }
    Matrix sum = rms_norm(dense, w.dense_post_norm, eps);
    add(rms_norm(mixed, w.post_norm, eps), sum);
    return sum;
  }

  /// The experts_used likeliest experts for a token, with their weights: their share of the
  /// router's softmax, times a factor of each expert's own.
  std::vector<std::pair<std::size_t, float>> choose_experts(const ExpertWeights& w,
                                                            const float* x) const {
    Matrix input(1, config_.width);
    std::copy(x, x + config_.width, input.row(0));
    rms_norm(input.row(0), config_.width, w.router_norm, config_.norm_eps);
    std::vector<float> p = matmul(w.router, input).values;
    softmax(p);
    const std::vector<std::size_t> order =
        likeliest_experts(p.data(), p.size(), config_.experts_used);
    float sum = 0.0f;
    for (const std::size_t e : order) sum += p[e];
    std::vector<std::pair<std::size_t, float>> chosen;
    for (const std::size_t e : order) chosen.emplace_back(e, p[e] / sum * w.expert_scale[e]);
    return chosen;
  }

  Matrix run_expert(const ExpertWeights& w, std::size_t expert, const Matrix& h) const {
    const std::size_t n = config_.expert_width;
    Matrix gate = matmul(w.gate_up ? rows_of(w.gate_up, 2 * expert * n, n)
                                   : rows_of(w.gate, expert * n, n), h);
    gelu_mul(gate, matmul(w.gate_up ? rows_of(w.gate_up, (2 * expert + 1) * n, n)
                                    : rows_of(w.up, expert * n, n), h));
    return matmul(rows_of(w.down, expert * config_.width, config_.width), gate);
  }

  const Config& config_;
  const Weights& weights_;
  std::vector<LayerCache> cache_;
  std::size_t position_ = 0;
};

}  // namespace reference
GEMMA_NAMESPACE_END

#endif  // GEMMA_MODEL_REFERENCE_HPP_
