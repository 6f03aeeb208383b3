// LoRA adapters for tests: random factors for all matrices of any model, written in each format, and the
// weights that the model would have with them merged in.
#ifndef GEMMA_TESTS_GENERATE_LORA_HPP_
#define GEMMA_TESTS_GENERATE_LORA_HPP_

#include <cmath>
#include <cstdint>
#include <functional>
#include <list>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <vector>

#include "float_weights.hpp"
#include "formats/gguf_builder.hpp"
#include "formats/safetensors_builder.hpp"
#include "formats/tfl_builder.hpp"
#include "gemma/base/float16.hpp"
#include "gemma/generate/model.hpp"
#include "gemma/quant/encode.hpp"
#include "gemma/quant/registry.hpp"
#include "temp_folder.hpp"

/// What is added to one matrix: B A, times a scale.
struct LoraFactors {
  std::string name;  ///< "blk.0.attn_q.weight"
  const gemma::WeightMatrix* matrix;
  std::size_t rank;
  std::vector<float> a;  ///< [rank, inputs]
  std::vector<float> b;  ///< [outputs, rank]
};

inline const char* architecture_of(gemma::Family family) {
  constexpr const char* kNames[] = {"gemma", "gemma2", "gemma3", "gemma3n", "gemma4"};
  return kNames[static_cast<std::size_t>(family)];
}

/// Numbers that binary16 and bfloat16 hold exactly, so that all formats hold the same adapter.
class TestLora {
 public:
  struct Shape {
    std::size_t rank = 4;
    bool feed_forward = true;
    bool head = false;
    std::uint32_t seed = 1;
  };

  TestLora(const gemma::Model& model, const Shape& shape) : model_(model), random_(shape.seed) {
    const gemma::Weights& w = model.weights();
    for (std::size_t i = 0; i < w.layers.size(); ++i) {
      const gemma::LayerWeights& l = w.layers[i];
      const std::string block = "blk." + std::to_string(i) + ".";
      add(block + "attn_q.weight", l.q, shape.rank);
      add(block + "attn_k.weight", l.k, shape.rank);
      add(block + "attn_v.weight", l.v, shape.rank);
      add(block + "attn_output.weight", l.attention_out, shape.rank);
      if (!shape.feed_forward) continue;
      add(block + "ffn_gate.weight", l.gate, shape.rank);
      add(block + "ffn_up.weight", l.up, shape.rank);
      add(block + "ffn_down.weight", l.down, shape.rank);
    }
    if (shape.head) add("output.weight", w.head, shape.rank);
  }

  std::vector<LoraFactors> factors;
  float alpha = 6.0f;

  float scale(const LoraFactors& f) const { return alpha / static_cast<float>(f.rank); }

  /// A GGUF file; `type`: of A. B has rows as short as the rank, which only plain numbers can have.
  std::vector<std::uint8_t> gguf(gemma::DType type = gemma::DType::F32,
                                 const std::function<void(GgufBuilder&)>& edit = {}) const {
    GgufBuilder file;
    file.text("general.type", "adapter").text("general.architecture", architecture_of(model_.config().family));
    file.text("adapter.type", "lora").number("adapter.lora.alpha", gemma::gguf::ValueType::f32, alpha);
    const gemma::DType b = gemma::quant::block_elements(type) == 1 ? type : gemma::DType::F32;
    for (const LoraFactors& f : factors) {
      file.tensor(f.name + ".lora_a", type, {f.matrix->cols, f.rank}, encoded(f.a, f.matrix->cols, type));
      file.tensor(f.name + ".lora_b", b, {f.rank, f.matrix->rows}, encoded(f.b, f.rank, b));
    }
    if (edit) edit(file);
    return file.build();
  }

  /// PEFT's two files.
  void write_peft(const TempFolder& folder, const std::string& type = "F32",
                  const std::function<void(nlohmann::json&)>& edit = {},
                  const std::string& prefix = "base_model.model.model.") const {
    SafetensorsBuilder tensors;
    for (const LoraFactors& f : factors) {
      const std::string module = peft_name(f.name, prefix);
      tensors.add(module + ".lora_A.weight", {f.rank, f.matrix->cols}, f.a, type);
      tensors.add(module + ".lora_B.weight", {f.matrix->rows, f.rank}, f.b, type);
    }
    folder.write("adapter_model.safetensors", tensors.bytes());
    nlohmann::json config = {{"peft_type", "LORA"}, {"r", factors[0].rank}, {"lora_alpha", alpha},
                             {"bias", "none"}, {"modules_to_save", nullptr}, {"use_rslora", false},
                             {"use_dora", false}, {"init_lora_weights", true}, {"rank_pattern", nlohmann::json::object()},
                             {"base_model_name_or_path", "google/gemma-test"}, {"target_modules", {"q_proj"}}};
    if (edit) edit(config);
    folder.write("adapter_config.json", config.dump());
  }

  static std::string peft_name(const std::string& matrix, const std::string& prefix) {
    if (matrix == "output.weight") return "base_model.model.lm_head";
    const std::size_t dot = matrix.find('.', 4);
    const std::pair<const char*, const char*> names[] = {
        {"attn_q", "self_attn.q_proj"}, {"attn_k", "self_attn.k_proj"}, {"attn_v", "self_attn.v_proj"},
        {"attn_output", "self_attn.o_proj"}, {"ffn_gate", "mlp.gate_proj"}, {"ffn_up", "mlp.up_proj"},
        {"ffn_down", "mlp.down_proj"}};
    for (const auto& [gguf, own] : names) {
      if (matrix.substr(dot + 1) != std::string(gguf) + ".weight") continue;
      return prefix + "layers." + matrix.substr(4, dot - 4) + "." + own;
    }
    return {};
  }

  /// MediaPipe's file, of attention's matrices only: binary16 in tiles; those of the output as its
  /// converter leaves them, in the wrong order.
  TflBuilder mediapipe() const {
    const gemma::Config& c = model_.config();
    const gemma::LayerConfig& layer = c.layers.back();
    ProtoBytes transformer;
    transformer.number(3, c.width).number(4, layer.ffn_width).number(5, layer.head_dim).number(6, c.heads);
    transformer.number(7, c.layers.size()).number(9, layer.kv_heads);
    transformer.message(11, ProtoBytes().number(2, 1));
    TflBuilder file;
    const std::uint32_t type = c.family == gemma::Family::gemma1 ? 6 : c.family == gemma::Family::gemma2 ? 18 : 27;
    file.metadata.push_back({"odml.infra.proto.LlmParameters", 0,
                             ProtoBytes().message(1, transformer).number(2, c.vocab_size).take()});
    file.metadata.push_back({"odml.infra.LlmModelType", type, {}});
    file.metadata.push_back({"backend", 0, bytes_of_text("gpu")});
    file.metadata.push_back({"lora_rank", static_cast<std::uint32_t>(factors[0].rank), {}});
    for (const LoraFactors& f : factors) {
      const std::size_t dot = f.name.find('.', 4);
      const std::string kind = f.name.substr(dot + 1);
      const bool output = kind == "attn_output.weight";
      const std::string own = "params.lm.transformer.x_layers_" + f.name.substr(4, dot - 4) + ".self_attention." +
                              (output ? "post" : kind.substr(5, 1)) + ".w_prime_";
      add_tiles(file, own + (output ? "right" : "left"), f.a, f.rank, f.matrix->cols, output);
      add_tiles(file, own + (output ? "left" : "right"), f.b, f.matrix->rows, f.rank, output);
    }
    return file;
  }

 private:
  void add(const std::string& name, const gemma::WeightMatrix& m, std::size_t rank) {
    if (!m) return;
    LoraFactors f{name, &m, rank, numbers(rank * m.cols), numbers(m.rows * rank)};
    factors.push_back(std::move(f));
  }

  std::vector<float> numbers(std::size_t n) {
    std::uniform_int_distribution<int> sixteenths(-12, 12);
    std::vector<float> x(n);
    for (float& value : x) value = static_cast<float>(sixteenths(random_)) / 128.0f;
    return x;
  }

  static std::vector<std::uint8_t> encoded(const std::vector<float>& x, std::size_t cols, gemma::DType type) {
    if (type == gemma::DType::F32) return bytes_of_numbers(x);  // as it is, be it no number
    std::vector<std::uint8_t> out(x.size() / cols * gemma::quant::row_bytes(type, cols).value());
    for (std::size_t r = 0; r < x.size() / cols; ++r) {
      gemma::quant::encode_row(type, x.data() + r * cols, cols, out.data() + out.size() / (x.size() / cols) * r);
    }
    return out;
  }

  static void add_tiles(TflBuilder& file, const std::string& name, const std::vector<float>& x, std::size_t rows,
                        std::size_t cols, bool wrong) {
    std::vector<std::uint16_t> tiles(x.size());
    for (std::size_t r = 0; r < rows; ++r) {
      for (std::size_t c = 0; c < cols; ++c) {
        // The wrong order: those of the transposed matrix, as if they were the matrix.
        const std::size_t at = r * cols + c;
        const float value = wrong ? x[at % rows * cols + at / rows] : x[at];
        tiles[((c / 4) * (rows / 4) + r / 4) * 16 + c % 4 * 4 + r % 4] = gemma::half_from_float(value);
      }
    }
    const ByteVector bytes = bytes_of_numbers(tiles);
    file.tensors.push_back({name, 0, {static_cast<std::int32_t>(bytes.size())}, bytes});
  }

  const gemma::Model& model_;
  std::mt19937 random_;
};

/// The weights of a model as float32, to which factors can be added.
class MergedWeights {
 public:
  explicit MergedWeights(const gemma::Model& model)
      : model_(model), floats_(model.weights()), weights_(floats_.weights()) {}

  /// W + scale · B A, of each matrix.
  void merge(const TestLora& lora, float scale = 1.0f) {
    for (const LoraFactors& f : lora.factors) add(f, double{scale} * double{lora.scale(f)});
  }

  void add(const LoraFactors& f, double scale) {
    gemma::WeightMatrix& m = place(f);
    std::vector<float>& values = storage_.emplace_back(m.rows * m.cols);
    for (std::size_t r = 0; r < m.rows; ++r) {
      gemma::quant::decode_row(m, r, values.data() + r * m.cols);
      for (std::size_t c = 0; c < m.cols; ++c) {
        double sum = 0.0;
        for (std::size_t k = 0; k < f.rank; ++k) sum += double{f.b[r * f.rank + k]} * double{f.a[k * m.cols + c]};
        float& value = values[r * m.cols + c];
        value = static_cast<float>(double{value} + scale * sum);
      }
    }
    m.data = reinterpret_cast<const std::uint8_t*>(values.data());
  }

  const gemma::Weights& weights() const { return weights_; }

 private:
  /// The same matrix among the copies.
  gemma::WeightMatrix& place(const LoraFactors& f) {
    const gemma::Weights& own = model_.weights();
    if (f.matrix == &own.head) return weights_.head;
    for (std::size_t i = 0; i < own.layers.size(); ++i) {
      const gemma::LayerWeights& from = own.layers[i];
      gemma::LayerWeights& to = weights_.layers[i];
      for (auto m : {&gemma::LayerWeights::q, &gemma::LayerWeights::k, &gemma::LayerWeights::v,
                     &gemma::LayerWeights::attention_out, &gemma::LayerWeights::gate, &gemma::LayerWeights::up,
                     &gemma::LayerWeights::down}) {
        if (f.matrix == &(from.*m)) return to.*m;
      }
    }
    throw std::runtime_error(f.name);
  }

  const gemma::Model& model_;
  FloatWeights floats_;
  gemma::Weights weights_;
  std::list<std::vector<float>> storage_;
};

#endif  // GEMMA_TESTS_GENERATE_LORA_HPP_
