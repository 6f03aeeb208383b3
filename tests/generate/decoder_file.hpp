// Graphs of one decoding step for tests, made of any model of Gemma 1, 2 or 3, in the ways in which
// exporters have written them.
#ifndef GEMMA_TESTS_GENERATE_DECODER_FILE_HPP_
#define GEMMA_TESTS_GENERATE_DECODER_FILE_HPP_

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <list>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "formats/tfl_graph_builder.hpp"
#include "gemma/base/float16.hpp"
#include "gemma/generate/model.hpp"
#include "gemma/quant/registry.hpp"

struct DecoderStyle {
  enum Qkv { interleaved, plain, separate } qkv = interleaved;
  int bits = 8;                ///< 32 and 16 are floats
  int block = 0;               ///< 0: a scale for each row
  bool composites = true;      ///< norms as one operator each
  bool keys_first = true;      ///< caches are [1, K, S, d], not [1, S, K, d]
  bool symmetric = true;       ///< of a scale for each row
  bool tied = true;
  std::size_t layers = 0;      ///< as many as these; 0: all
};

/// A builder of the graph, and the numbers that it stands for.
class DecoderFile {
 public:
  static constexpr std::int32_t kContext = 96;

  DecoderFile(const gemma::Model& source, const DecoderStyle& style)
      : style_(style), c_(source.config()), weights_(source.weights()) {
    if (style.layers > 0) c_.layers.resize(style.layers);
    weights_.layers.resize(c_.layers.size());
    const std::int32_t width = to_int(c_.width);
    const std::int32_t tokens = input("tokens", {1, 1}, 2);
    position_ = input("input_pos", {1}, 2);
    mask_ = input("mask", {1, 1, 1, kContext}, 0);
    const std::int32_t table = matrix(weights_.embedding);
    std::int32_t head = table;
    weights_.head = weights_.embedding;
    if (!style.tied) {
      weights_.head = source.weights().embedding;
      head = matrix(weights_.head);
    }
    const std::int32_t ids = g.op(22, {tokens, g.integers({1})}, {1});
    std::int32_t x = g.op(7, {ids, widened(table)}, {1, width});
    x = g.op(22, {x, g.integers({1, 1, width})}, {1, 1, width});
    x = g.op(18, {x, g.number(std::sqrt(static_cast<float>(width)))}, {1, 1, width});
    for (std::size_t i = 0; i < c_.layers.size(); ++i) x = feed_forward(i, attention(i, x));
    x = product(norm(x, weights_.output_norm, {1, 1, width}), head);
    if (c_.final_softcap > 0.0f) x = capped(x, c_.final_softcap, {1, 1, to_int(c_.vocab_size)});
    g.outputs.push_back({"logits", x});
  }
  DecoderFile(const DecoderFile&) = delete;
  DecoderFile& operator=(const DecoderFile&) = delete;

  TflGraphBuilder g;
  /// The error of a number that was rounded, at most, in steps of its scale.
  double worst_error = 0.0;

  /// The model of the rounded numbers, as float32.
  const gemma::Weights& weights() const { return weights_; }

 private:
  using Shape = std::vector<std::int32_t>;

  static std::int32_t to_int(std::size_t n) { return static_cast<std::int32_t>(n); }
  Shape flat(std::int32_t n) const { return {1, 1, n}; }

  std::int32_t input(const std::string& name, const Shape& shape, std::uint8_t type) {
    const std::int32_t t = g.value(shape, type);
    g.inputs.push_back({name, t});
    return t;
  }

  std::int32_t norm(std::int32_t x, const gemma::NormWeights& gains, const Shape& shape) {
    const std::int32_t gain = g.floats({to_int(gains.size())}, gains);
    if (style_.composites) return g.op(206, {x, gain}, shape, "odml.rms_norm");
    Shape one = shape;
    one.back() = 1;
    const std::int32_t square = g.op(18, {x, x}, shape);
    const std::int32_t mean = g.op(40, {square, g.integers({2})}, one);
    const std::int32_t root = g.op(76, {g.op(0, {mean, g.number(1e-6f)}, one)}, one);
    return g.op(18, {g.op(18, {x, root}, shape), gain}, shape);
  }

  /// Half floats are widened before they are used.
  std::int32_t widened(std::int32_t weights) {
    return style_.bits == 16 ? g.op(6, {weights}, g.tensors[static_cast<std::size_t>(weights)].shape) : weights;
  }

  std::int32_t product(std::int32_t x, std::int32_t weights) {
    const std::int32_t rows = g.tensors[static_cast<std::size_t>(weights)].shape[0];
    return g.op(9, {x, widened(weights), -1}, {1, 1, rows});
  }

  std::int32_t capped(std::int32_t x, float cap, const Shape& shape) {
    const std::int32_t divided = g.op(42, {x, g.number(cap)}, shape);
    return g.op(18, {g.op(28, {divided}, shape), g.number(cap)}, shape);
  }

  std::int32_t attention(std::size_t i, std::int32_t x) {
    gemma::LayerWeights& w = weights_.layers[i];
    const gemma::LayerConfig& layer = c_.layers[i];
    const std::int32_t d = to_int(layer.head_dim), k = to_int(layer.kv_heads), h = to_int(c_.heads);
    const std::int32_t normed = norm(x, w.attention_norm, flat(to_int(c_.width)));
    std::int32_t parts[3];
    queries_keys_values(normed, w, layer, parts);
    const Shape q_shape = {1, 1, h, d}, k_shape = {1, 1, k, d};
    if (c_.family == gemma::Family::gemma3) {
      parts[0] = norm(parts[0], w.q_norm, q_shape);
      parts[1] = norm(parts[1], w.k_norm, k_shape);
    }
    const auto& angles = rope(layer);
    for (std::size_t n = 0; n < 2; ++n) {
      const Shape& shape = n == 0 ? q_shape : k_shape;
      parts[n] = g.op(0, {g.op(18, {parts[n], angles.first}, shape), g.op(18, {parts[n], angles.second}, shape)}, shape);
    }
    const std::string number = std::to_string(i);
    const Shape cache = style_.keys_first ? Shape{1, k, kContext, d} : Shape{1, kContext, k, d};
    std::int32_t kept[2];
    for (std::size_t n = 0; n < 2; ++n) {
      const std::string name = (n == 0 ? "kv_cache_k_" : "kv_cache_v_") + number;
      kept[n] = g.op(151, {input(name, cache, 0), parts[n + 1], position_}, cache);
      g.outputs.push_back({name, kept[n]});
    }
    const Shape scores = {1, h, 1, kContext};
    const std::int32_t scaled = g.op(18, {parts[0], g.number(c_.attention_scale)}, q_shape);
    std::int32_t s = g.op(126, {g.op(22, {scaled, g.integers({1, h, 1, d})}, {1, h, 1, d}), kept[0]}, scores);
    if (c_.attention_softcap > 0.0f) s = capped(s, c_.attention_softcap, scores);
    s = g.op(25, {g.op(0, {s, window_mask(layer.window)}, scores)}, scores);
    const std::int32_t mixed = g.op(126, {s, kept[1]}, {1, h, 1, d});
    const std::int32_t joined = g.op(22, {mixed, g.integers({1, 1, h * d})}, {1, 1, h * d});
    std::int32_t out = product(joined, matrix(w.attention_out));
    if (c_.family != gemma::Family::gemma1) out = norm(out, w.post_attention_norm, flat(to_int(c_.width)));
    return g.op(0, {x, out}, flat(to_int(c_.width)));
  }

  void queries_keys_values(std::int32_t x, gemma::LayerWeights& w, const gemma::LayerConfig& layer,
                           std::int32_t* parts) {
    const std::int32_t d = to_int(layer.head_dim), k = to_int(layer.kv_heads), h = to_int(c_.heads);
    gemma::WeightMatrix* const all[] = {&w.q, &w.k, &w.v};
    const std::int32_t heads[] = {h, k, k};
    if (style_.qkv == DecoderStyle::separate) {
      // Values first: the order tells nothing.
      for (const std::size_t n : {std::size_t{2}, std::size_t{0}, std::size_t{1}}) {
        parts[n] = g.op(22, {product(x, matrix(*all[n])), g.integers({1, 1, heads[n], d})}, {1, 1, heads[n], d});
      }
      return;
    }
    const bool plain = style_.qkv == DecoderStyle::plain;
    const std::size_t groups = plain ? 1 : layer.kv_heads;
    std::vector<std::pair<gemma::WeightMatrix*, std::size_t>> rows;
    for (std::size_t group = 0; group < groups; ++group) {
      for (gemma::WeightMatrix* m : all) {
        const std::size_t count = m->rows / groups;
        for (std::size_t r = 0; r < count; ++r) rows.emplace_back(m, group * count + r);
      }
    }
    const std::int32_t y = product(x, rows_of(rows, c_.width, {&w.q, &w.k, &w.v}));
    if (plain) {
      const std::int32_t all_heads = g.op(22, {y, g.integers({1, 1, h + 2 * k, d})}, {1, 1, h + 2 * k, d});
      for (std::size_t n = 0; n < 3; ++n) parts[n] = g.value({1, 1, heads[n], d});
      g.ops.push_back({102, "", {all_heads, g.integers({h, k, k}), g.integers({2})}, {parts[0], parts[1], parts[2]}});
      return;
    }
    const std::int32_t share = h / k;
    const std::int32_t grouped = g.op(22, {y, g.integers({1, 1, k, share + 2, d})}, {1, 1, k, share + 2, d});
    const std::int32_t begins[] = {0, share, share + 1}, sizes[] = {share, 1, 1};
    for (std::size_t n = 0; n < 3; ++n) {
      const Shape size = {1, 1, k, sizes[n], d};
      const std::int32_t cut = g.op(65, {grouped, g.integers({0, 0, 0, begins[n], 0}), g.integers(size)}, size);
      parts[n] = g.op(22, {cut, g.integers({1, 1, heads[n], d})}, {1, 1, heads[n], d});
    }
  }

  const std::pair<std::int32_t, std::int32_t>& rope(const gemma::LayerConfig& layer) {
    const auto key = std::make_pair(layer.rope_base, layer.rope_scale);
    const auto found = ropes_.find(key);
    if (found != ropes_.end()) return found->second;
    const std::size_t half = layer.head_dim / 2;
    std::vector<float> frequencies;
    for (std::size_t n = 0; n < half; ++n) {
      const double exponent = -static_cast<double>(n) / static_cast<double>(half);
      frequencies.push_back(static_cast<float>(std::pow(double{layer.rope_base}, exponent) / double{layer.rope_scale}));
    }
    const Shape shape = {1, 1, to_int(half)};
    const std::int32_t at = g.op(53, {position_}, {1, 1, 1});
    const std::int32_t angles = g.op(18, {at, g.floats(shape, frequencies)}, shape);
    const std::int32_t cosine = g.op(108, {angles}, shape), sine = g.op(66, {angles}, shape);
    return ropes_[key] = {cosine, sine};
  }

  std::int32_t window_mask(std::size_t window) {
    if (window == 0) return mask_;
    const auto found = masks_.find(window);
    if (found != masks_.end()) return found->second;
    std::vector<std::int32_t> keys;
    for (std::int32_t n = 0; n < kContext; ++n) keys.push_back(n);
    const std::int32_t all = g.integers(keys), width = g.integers({to_int(window)});
    const std::int32_t from = g.op(22, {g.op(41, {position_, width}, {1}), g.integers({1, 1})}, {1, 1});
    const std::int32_t to = g.op(0, {position_, width}, {1});
    const std::int32_t seen = g.op(86, {g.op(61, {all, from}, {kContext}), g.op(58, {all, to}, {kContext})}, {kContext});
    const std::int32_t local = g.op(123, {seen, g.number(0.0f), g.number(-1e30f)}, {kContext});
    return masks_[window] = g.op(57, {mask_, local}, {1, 1, 1, kContext});
  }

  std::int32_t feed_forward(std::size_t i, std::int32_t x) {
    gemma::LayerWeights& w = weights_.layers[i];
    const std::int32_t width = to_int(c_.width), inner = to_int(c_.layers[i].ffn_width);
    const std::int32_t normed = norm(x, w.ffn_norm, flat(width));
    const std::int32_t gate = g.op(150, {product(normed, matrix(w.gate))}, flat(inner));
    const std::int32_t up = product(normed, matrix(w.up));
    const std::int32_t both = i % 2 == 0 ? g.op(18, {gate, up}, flat(inner)) : g.op(18, {up, gate}, flat(inner));
    std::int32_t out = product(both, matrix(w.down));
    if (c_.family != gemma::Family::gemma1) out = norm(out, w.post_ffn_norm, flat(width));
    return g.op(0, {out, x}, flat(width));
  }

  std::int32_t matrix(gemma::WeightMatrix& m) {
    std::vector<std::pair<gemma::WeightMatrix*, std::size_t>> rows;
    for (std::size_t r = 0; r < m.rows; ++r) rows.emplace_back(&m, r);
    return rows_of(rows, m.cols, {&m});
  }

  /// A constant of these rows of matrices, rounded; the rounded numbers take the place of the matrices'.
  std::int32_t rows_of(const std::vector<std::pair<gemma::WeightMatrix*, std::size_t>>& rows, std::size_t cols,
                       const std::vector<gemma::WeightMatrix*>& matrices) {
    std::map<gemma::WeightMatrix*, std::vector<float>*> stores;
    for (gemma::WeightMatrix* m : matrices) stores[m] = &storage_.emplace_back(m->rows * cols);
    TflGraphBuilder::Tensor t;
    t.name = "weights" + std::to_string(g.tensors.size());
    t.type = style_.bits == 32 ? 0 : style_.bits == 16 ? 1 : style_.bits == 8 ? 9 : 17;
    t.shape = {to_int(rows.size()), to_int(cols)};
    ByteVector block_scales;
    for (const auto& [m, r] : rows) {
      float* x = stores[m]->data() + r * cols;
      gemma::quant::decode_row(*m, r, x);
      if (style_.bits >= 16) {
        for (std::size_t c = 0; c < cols; ++c) {
          const std::uint16_t half = gemma::half_from_float(x[c]);
          if (style_.bits == 16) append_number(t.data, half);
          if (style_.bits == 16) x[c] = gemma::half_to_float(half);
          if (style_.bits == 32) append_number(t.data, x[c]);
        }
        continue;
      }
      const std::size_t block = style_.block > 0 ? static_cast<std::size_t>(style_.block) : cols;
      for (std::size_t begin = 0; begin < cols; begin += block) round_block(x + begin, block, t, block_scales);
    }
    if (style_.block > 0) {
      t.block_size = style_.block;
      const std::int32_t per_row = to_int(cols) / style_.block;
      t.block_scales = g.add({t.name + "_scales", 1, {t.shape[0], per_row}, block_scales, {}, {}, 0, 0, -1});
    }
    for (gemma::WeightMatrix* m : matrices) {
      m->type = gemma::DType::F32;
      m->data = reinterpret_cast<const std::uint8_t*>(stores[m]->data());
      m->row_bytes = cols * sizeof(float);
      m->row_scale = m->row_zero = nullptr;
    }
    return g.add(t);
  }

  /// Numbers with one scale, to integers behind the data of `t`.
  void round_block(float* x, std::size_t count, TflGraphBuilder::Tensor& t, ByteVector& block_scales) {
    const int most = style_.bits == 8 ? 127 : 7;
    float low = 0.0f, high = 0.0f;
    for (std::size_t i = 0; i < count; ++i) {
      low = (std::min)(low, x[i]);
      high = (std::max)(high, x[i]);
    }
    const bool shifted = !style_.symmetric && style_.block == 0;
    float scale = shifted ? (high - low) / static_cast<float>(2 * most + 1) : (std::max)(high, -low) / static_cast<float>(most);
    if (scale == 0.0f) scale = 1.0f;
    if (style_.block > 0) {
      const std::uint16_t half = gemma::half_from_float(scale * 1.001f);  // so that nothing is cut off
      append_number(block_scales, half);
      scale = gemma::half_to_float(half);
    } else {
      t.scales.push_back(scale);
    }
    const int zero = shifted ? static_cast<int>(std::lround(static_cast<float>(-most - 1) - low / scale)) : 0;
    if (style_.block == 0) t.zeros.push_back(zero);
    std::uint8_t before = 0;
    for (std::size_t i = 0; i < count; ++i) {
      int q = static_cast<int>(std::lround(x[i] / scale)) + zero;
      q = (std::min)((std::max)(q, -most - 1), most);
      const float back = static_cast<float>(q - zero) * scale;
      worst_error = (std::max)(worst_error, std::abs(double{back} - double{x[i]}) / double{scale});
      x[i] = back;
      const auto nibble = static_cast<std::uint8_t>(q & 15);
      if (style_.bits == 8) {
        t.data.push_back(static_cast<std::uint8_t>(q));
      } else if (i % 2 == 0) {
        before = nibble;
      } else {
        t.data.push_back(static_cast<std::uint8_t>(before | nibble << 4));
      }
    }
  }

  DecoderStyle style_;
  gemma::Config c_;
  gemma::Weights weights_;
  std::list<std::vector<float>> storage_;
  std::int32_t position_ = -1;
  std::int32_t mask_ = -1;
  std::map<std::pair<float, float>, std::pair<std::int32_t, std::int32_t>> ropes_;
  std::map<std::size_t, std::int32_t> masks_;
};

#endif  // GEMMA_TESTS_GENERATE_DECODER_FILE_HPP_
