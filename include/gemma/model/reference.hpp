// The whole model in plain scalar C++: to learn from, and the oracle of the tests. Nothing here is
// fast; everything is float32 on the exact values of the weights. Read top to bottom:
// RMSNorm → RoPE → attention → feed-forward → block → forward.
#ifndef GEMMA_MODEL_REFERENCE_HPP_
#define GEMMA_MODEL_REFERENCE_HPP_

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <vector>

#include "gemma/base/span.hpp"
#include "gemma/model/config.hpp"
#include "gemma/model/family.hpp"
#include "gemma/model/weights.hpp"
#include "gemma/quant/registry.hpp"

GEMMA_NAMESPACE_BEGIN
namespace reference {

/// One row of numbers per token: [rows, cols].
struct Matrix {
  std::size_t rows = 0;
  std::size_t cols = 0;
  std::vector<float> values;

  Matrix(std::size_t r, std::size_t c) : rows(r), cols(c), values(r * c) {}
  float* row(std::size_t r) { return values.data() + r * cols; }
  const float* row(std::size_t r) const { return values.data() + r * cols; }
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

/// x ← x / sqrt(mean(x²) + eps) · g (arXiv 1910.07467), on n numbers.
inline void rms_norm(float* x, std::size_t n, const NormWeights& gain, float eps) {
  double squares = 0.0;
  for (std::size_t i = 0; i < n; ++i) squares += double{x[i]} * double{x[i]};
  const float mean = static_cast<float>(squares / static_cast<double>(n));
  const float inverse = 1.0f / std::sqrt(mean + eps);
  for (std::size_t i = 0; i < n; ++i) x[i] = x[i] * inverse * gain[i];
}

/// The norm of every row, as a copy.
inline Matrix rms_norm(const Matrix& x, const NormWeights& gain, float eps) {
  Matrix y = x;
  for (std::size_t t = 0; t < y.rows; ++t) rms_norm(y.row(t), y.cols, gain, eps);
  return y;
}

/// Rotary position embedding (arXiv 2104.09864) of one head of d numbers: turns each pair
/// (x_i, x_{i+d/2}) by the angle position / scale · base^(−2i/d).
inline void rope(float* x, std::size_t d, std::size_t position, float base, float scale) {
  const std::size_t half = d / 2;
  for (std::size_t i = 0; i < half; ++i) {
    const float exponent = static_cast<float>(2 * i) / static_cast<float>(d);
    const float frequency = 1.0f / std::pow(base, exponent) / scale;
    const float angle = static_cast<float>(position) * frequency;
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
    return visit_family(config_.family,
                        [&](auto family) { return forward_as<decltype(family)>(ids, logit_rows); });
  }

  /// Positions read so far.
  std::size_t position() const { return position_; }

 private:
  /// All keys and values of one layer, a row of K·d numbers per position.
  struct LayerCache {
    std::vector<float> keys;
    std::vector<float> values;
  };

  template <class F>
  Matrix forward_as(Span<const TokenId> ids, std::size_t logit_rows) {
    Matrix x = embed(ids);
    for (std::size_t i = 0; i < config_.layers.size(); ++i) block<F>(i, x);
    position_ += ids.size();

    Matrix last(logit_rows, config_.width);
    std::copy(x.values.end() - static_cast<std::ptrdiff_t>(last.values.size()), x.values.end(),
              last.values.begin());
    Matrix logits =
        matmul(weights_.head, rms_norm(last, weights_.output_norm, config_.norm_eps));
    for (float& logit : logits.values) logit = softcap(logit, config_.final_softcap);
    return logits;
  }

  /// x_t = E[id_t] · sqrt(D).
  Matrix embed(Span<const TokenId> ids) const {
    Matrix x(ids.size(), config_.width);
    const float scale = std::sqrt(static_cast<float>(config_.width));
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
  void block(std::size_t index, Matrix& x) {
    const LayerWeights& w = weights_.layers[index];
    const float eps = config_.norm_eps;

    Matrix branch = attention<F>(index, rms_norm(x, w.attention_norm, eps));
    if constexpr (F::kPostNorms) branch = rms_norm(branch, w.post_attention_norm, eps);
    add(branch, x);

    branch = feed_forward(w, rms_norm(x, w.ffn_norm, eps));
    if constexpr (F::kPostNorms) branch = rms_norm(branch, w.post_ffn_norm, eps);
    add(branch, x);
  }

  static void add(const Matrix& branch, Matrix& x) {
    for (std::size_t i = 0; i < x.values.size(); ++i) x.values[i] += branch.values[i];
  }

  /// GeGLU: down( gelu(gate h) · (up h) ).
  static Matrix feed_forward(const LayerWeights& w, const Matrix& h) {
    Matrix gate = matmul(w.gate, h);
    const Matrix up = matmul(w.up, h);
    for (std::size_t i = 0; i < gate.values.size(); ++i) {
      gate.values[i] = gelu(gate.values[i]) * up.values[i];
    }
    return matmul(w.down, gate);
  }

  /// Causal attention with grouped queries: query head n reads KV head n / (H / K).
  template <class F>
  Matrix attention(std::size_t index, const Matrix& h) {
    const LayerConfig& layer = config_.layers[index];
    const LayerWeights& w = weights_.layers[index];
    const std::size_t d = layer.head_dim;
    Matrix q = matmul(w.q, h);
    Matrix k = matmul(w.k, h);
    const Matrix v = matmul(w.v, h);
    if constexpr (F::kQkNorm) {
      for_each_head(q, d, [&](float* head, std::size_t) {
        rms_norm(head, d, w.q_norm, config_.norm_eps);
      });
      for_each_head(k, d, [&](float* head, std::size_t) {
        rms_norm(head, d, w.k_norm, config_.norm_eps);
      });
    }
    const auto turn = [&](float* head, std::size_t t) {
      rope(head, d, position_ + t, layer.rope_base, layer.rope_scale);
    };
    for_each_head(q, d, turn);
    for_each_head(k, d, turn);
    LayerCache& cache = cache_[index];
    cache.keys.insert(cache.keys.end(), k.values.begin(), k.values.end());
    cache.values.insert(cache.values.end(), v.values.begin(), v.values.end());

    Matrix out(h.rows, config_.heads * d);
    for (std::size_t t = 0; t < h.rows; ++t) {
      for (std::size_t head = 0; head < config_.heads; ++head) {
        attend(layer, cache, position_ + t, head, q.row(t) + head * d, out.row(t) + head * d);
      }
    }
    return matmul(w.attention_out, out);
  }

  /// out = Σ_j softmax_j(scale · q·k_j) v_j over the positions j that `position` may see.
  void attend(const LayerConfig& layer, const LayerCache& cache, std::size_t position,
              std::size_t head, const float* q, float* out) const {
    const std::size_t d = layer.head_dim;
    const std::size_t stride = layer.kv_heads * d;
    const std::size_t offset = head / (config_.heads / layer.kv_heads) * d;
    const bool all = layer.window == 0 || position + 1 <= layer.window;
    const std::size_t first = all ? 0 : position + 1 - layer.window;

    std::vector<float> weights(position + 1 - first);
    for (std::size_t j = first; j <= position; ++j) {
      const float score = dot(q, cache.keys.data() + j * stride + offset, d);
      weights[j - first] = softcap(score * config_.attention_scale, config_.attention_softcap);
    }
    softmax(weights);
    for (std::size_t j = first; j <= position; ++j) {
      const float* value = cache.values.data() + j * stride + offset;
      for (std::size_t i = 0; i < d; ++i) out[i] += weights[j - first] * value[i];
    }
  }

  template <class Function>
  static void for_each_head(Matrix& x, std::size_t d, const Function& f) {
    for (std::size_t t = 0; t < x.rows; ++t) {
      for (float* head = x.row(t); head != x.row(t) + x.cols; head += d) f(head, t);
    }
  }

  const Config& config_;
  const Weights& weights_;
  std::vector<LayerCache> cache_;
  std::size_t position_ = 0;
};

}  // namespace reference
GEMMA_NAMESPACE_END

#endif  // GEMMA_MODEL_REFERENCE_HPP_
