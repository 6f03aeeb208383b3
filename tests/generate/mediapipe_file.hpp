// MediaPipe's weight files for tests, made of any model of Gemma 1, 2 or 3.
#ifndef GEMMA_TESTS_GENERATE_MEDIAPIPE_FILE_HPP_
#define GEMMA_TESTS_GENERATE_MEDIAPIPE_FILE_HPP_

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <list>
#include <string>
#include <vector>

#include "formats/tfl_builder.hpp"
#include "gemma/generate/model.hpp"
#include "gemma/quant/registry.hpp"
#include "temp_folder.hpp"
#include "test_data.hpp"

struct MediapipeStyle {
  bool gpu = false;
  int attention_bits = 8;
  int ffn_bits = 8;
  int embedding_bits = 8;
  bool symmetric = true;
  bool sums = true;             ///< of files for GPUs
  std::string ending = ".w";    ///< ".linear.w" in older files
};

/// A builder of the file, and the numbers that it stands for.
class MediapipeFile {
 public:
  /// `source` should have float weights that tell more than 8 bits hold.
  MediapipeFile(const gemma::Model& source, const MediapipeStyle& style)
      : style_(style), weights_(source.weights()) {
    using gemma::Family;
    const gemma::Config& c = source.config();
    const bool post_norms = c.family != Family::gemma1;
    const std::uint32_t type = c.family == Family::gemma1 ? 6 : c.family == Family::gemma2 ? 18 : 27;
    builder.graph_name = type == 6 ? "GEMMA_2B" : type == 18 ? "GEMMA2_2B" : "GEMMA3_1B";
    builder.alignment = style.gpu ? 256 : 64;
    builder.metadata.push_back({"odml.infra.proto.LlmParameters", 0, parameters(c)});
    const std::string tokenizer = c.vocab_size < 768 ? "gemma1_mqa" : "gemma3_swa";
    builder.metadata.push_back(
        {"spm_vocab_model", 0, bytes_of_text(file_text(data_path("golden/" + tokenizer + "/hf/tokenizer.model")))});
    builder.metadata.push_back({"odml.infra.LlmModelType", type, {}});
    builder.metadata.push_back({"backend", 0, bytes_of_text(style.gpu ? "gpu" : "cpu")});
    add("params.lm.softmax.logits_ffn", weights_.embedding, style.embedding_bits);
    weights_.head = weights_.embedding;
    for (std::size_t i = 0; i < weights_.layers.size(); ++i) {
      gemma::LayerWeights& l = weights_.layers[i];
      const std::string layer = "params.lm.transformer.x_layers_" + std::to_string(i) + ".";
      add(layer + "self_attention.q", l.q, style.attention_bits);
      add(layer + "self_attention.k", l.k, style.attention_bits);
      add(layer + "self_attention.v", l.v, style.attention_bits);
      add(layer + "self_attention.post", l.attention_out, style.attention_bits);
      add(layer + "ff_layer.ffn_layer1_gate", l.gate, style.ffn_bits);
      add(layer + "ff_layer.ffn_layer1", l.up, style.ffn_bits);
      add(layer + "ff_layer.ffn_layer2", l.down, style.ffn_bits);
      add_norm(layer + "pre_layer_norm.scale", l.attention_norm);
      add_norm(layer + "ff_layer.pre_layer_norm.scale", l.ffn_norm);
      if (post_norms) {
        add_norm(layer + "post_layer_norm.scale", l.post_attention_norm);
        add_norm(layer + "ff_layer.post_layer_norm.scale", l.post_ffn_norm);
      }
      if (c.family == Family::gemma3) {
        add_norm(layer + "self_attention.q_norm.scale", l.q_norm);
        add_norm(layer + "self_attention.k_norm.scale", l.k_norm);
      }
    }
    add_norm("params.lm.final_ln.scale", weights_.output_norm);
  }
  MediapipeFile(const MediapipeFile&) = delete;
  MediapipeFile& operator=(const MediapipeFile&) = delete;

  TflBuilder builder;
  /// Half of the largest step of each row that was rounded, over the error that was made: at most 1.
  double worst_error = 0.0;

  /// The model of the rounded numbers, as float32.
  const gemma::Weights& weights() const { return weights_; }

 private:
  static ByteVector parameters(const gemma::Config& c) {
    const bool post_norms = c.family != gemma::Family::gemma1;
    const gemma::LayerConfig& last = c.layers.back();
    std::size_t window = 0;
    float base = last.rope_base, scale = 1.0f;
    for (const gemma::LayerConfig& layer : c.layers) {
      window = (std::max)(window, layer.window);
      base = (std::max)(base, layer.rope_base);
      scale = (std::max)(scale, layer.rope_scale);
    }
    ProtoBytes attention;
    attention.number(1, 1).number(2, 1).number(3, 1).real(4, c.attention_softcap).number(5, 2);
    if (window > 0) attention.number(6, window);
    ProtoBytes transformer;
    transformer.number(1, 1).number(3, c.width).number(4, last.ffn_width).number(5, last.head_dim);
    transformer.number(6, c.heads).number(7, c.layers.size());
    transformer.number(9, last.kv_heads == c.heads ? 0 : last.kv_heads);
    transformer.message(11, ProtoBytes().number(1, 1).number(2, 1).number(3, 2).number(4, post_norms ? 2 : 1));
    transformer.message(12, ProtoBytes().number(1, 1).real(2, c.final_softcap));
    transformer.message(16, attention).number(23, 1).number(24, 1);
    if (c.family == gemma::Family::gemma3) transformer.number(19, 5).real(32, base).real(33, scale);
    return ProtoBytes().message(1, transformer).number(2, c.vocab_size).number(4, 2).text(5, "<eos>").take();
  }

  void add_norm(const std::string& name, const gemma::NormWeights& gains) {
    std::vector<float> stored;
    for (const float gain : gains) stored.push_back(gain - 1.0f);
    const auto size = static_cast<std::int32_t>(gains.size());
    builder.tensors.push_back({name, 0, {style_.gpu ? size * 4 : size}, bytes_of_numbers(stored)});
  }

  /// Rounds a matrix, writes it, and puts what was written into its place.
  void add(const std::string& stem, gemma::WeightMatrix& m, int bits) {
    const int most = bits == 8 ? 127 : 7;
    std::vector<float> scales, zeros;
    std::vector<std::int32_t> sums;
    std::vector<int> q(m.rows * m.cols);
    std::vector<float>& values = storage_.emplace_back(m.rows * m.cols);
    for (std::size_t r = 0; r < m.rows; ++r) {
      float* row = values.data() + r * m.cols;
      gemma::quant::decode_row(m, r, row);
      const auto [low, high] = std::minmax_element(row, row + m.cols);
      const float largest = (std::max)(*high, -*low);
      const float scale =
          style_.symmetric ? largest / static_cast<float>(most) : (*high - *low) / static_cast<float>(2 * most + 1);
      const float zero = style_.symmetric ? 0.0f : static_cast<float>(-most - 1) - *low / scale;
      std::int32_t sum = 0;
      for (std::size_t c = 0; c < m.cols; ++c) {
        int& n = q[r * m.cols + c];
        n = static_cast<int>(std::lround(scale == 0.0f ? 0.0f : row[c] / scale + zero));
        n = (std::min)((std::max)(n, -most - 1), most);
        sum += n;
        const float back = (static_cast<float>(n) - zero) * scale;
        if (scale > 0.0f) worst_error = (std::max)(worst_error, std::abs(double{back} - double{row[c]}) / double{scale});
        row[c] = back;
      }
      scales.push_back(scale);
      zeros.push_back(zero);
      sums.push_back(sum);
    }
    write(stem + style_.ending, m, bits, q);
    const auto rows = static_cast<std::int32_t>(m.rows);
    const std::int32_t size = style_.gpu ? rows * 4 : rows;
    const std::string name = stem + style_.ending;
    if (style_.gpu && style_.sums) builder.tensors.push_back({name + ".sum_i", 2, {size}, bytes_of_numbers(sums)});
    builder.tensors.push_back({name + "_quantized_scale", 0, {size}, bytes_of_numbers(scales)});
    if (!style_.symmetric) builder.tensors.push_back({name + "_quantized_zp", 0, {size}, bytes_of_numbers(zeros)});
    m.type = gemma::DType::F32;
    m.data = reinterpret_cast<const std::uint8_t*>(values.data());
    m.row_bytes = m.cols * sizeof(float);
  }

  void write(const std::string& name, const gemma::WeightMatrix& m, int bits, const std::vector<int>& q) {
    std::vector<int> ordered(q.size());
    for (std::size_t o = 0; o < m.rows; ++o) {
      for (std::size_t i = 0; i < m.cols; ++i) {
        const std::size_t tiled = ((i / 4) * (m.rows / 4) + o / 4) * 16 + i % 4 * 4 + o % 4;
        ordered[style_.gpu ? tiled : o * m.cols + i] = q[o * m.cols + i];
      }
    }
    ByteVector bytes;
    if (bits == 8) {
      for (const int n : ordered) bytes.push_back(static_cast<std::uint8_t>(style_.gpu ? n + 128 : n));
    } else {
      for (std::size_t i = 0; i < ordered.size(); i += 2) {
        bytes.push_back(static_cast<std::uint8_t>((ordered[i] + 8) | (ordered[i + 1] + 8) << 4));
      }
    }
    std::vector<std::int32_t> shape = {static_cast<std::int32_t>(m.rows), static_cast<std::int32_t>(m.cols)};
    if (style_.gpu) shape = {static_cast<std::int32_t>(bytes.size())};
    builder.tensors.push_back({name, static_cast<std::uint8_t>(bits == 8 ? 9 : 17), shape, bytes});
  }

  MediapipeStyle style_;
  gemma::Weights weights_;
  std::list<std::vector<float>> storage_;
};

#endif  // GEMMA_TESTS_GENERATE_MEDIAPIPE_FILE_HPP_
