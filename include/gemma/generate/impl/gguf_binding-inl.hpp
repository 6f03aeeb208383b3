// Bodies of gguf_binding.hpp.
#ifndef GEMMA_GENERATE_IMPL_GGUF_BINDING_INL_HPP_
#define GEMMA_GENERATE_IMPL_GGUF_BINDING_INL_HPP_

#include <cmath>
#include <cstdint>
#include <utility>
#include <vector>

#include "gemma/generate/gguf_binding.hpp"
#include "gemma/quant/registry.hpp"

GEMMA_NAMESPACE_BEGIN
namespace gguf {
namespace detail {

/// Defaults of keys that files may leave out, by architecture.
struct Architecture {
  const char* name;
  Family family;
  float rope_base;
  std::uint64_t window;          ///< 0: no local layers
  std::uint64_t window_pattern;  ///< layer i is local where i % n < n − 1
  float attention_softcap;
  float final_softcap;
  /// Not in GGUF: the model with this many layers scales queries by (D/H)^-½ instead of d^-½.
  std::size_t wide_scale_layers;
};

inline constexpr Architecture kArchitectures[] = {
    {"gemma", Family::gemma1, 10000.0f, 0, 1, 0.0f, 0.0f, 0},
    {"gemma2", Family::gemma2, 10000.0f, 4096, 2, 50.0f, 30.0f, 46},
    {"gemma3", Family::gemma3, 1000000.0f, 0, 6, 0.0f, 0.0f, 62},
};

/// Metadata of one architecture: "block_count" → "gemma3.block_count".
class Keys {
 public:
  Keys(const File& file, std::string prefix) : file_(file), prefix_(std::move(prefix)) {}

  bool has(const char* key) const { return file_.find(full(key)) != nullptr; }

  Result<std::size_t> size(const char* key) const {
    GEMMA_TRY_ASSIGN(const std::uint64_t value, file_.get_uint(full(key)));
    return checked(key, value);
  }
  Result<std::size_t> size_or(const char* key, std::size_t fallback) const {
    if (!has(key)) return fallback;
    return size(key);
  }
  Result<float> number_or(const char* key, float fallback) const {
    if (!has(key)) return fallback;
    GEMMA_TRY_ASSIGN(const double value, file_.get_float(full(key)));
    return static_cast<float>(value);
  }
  /// One number for all layers, or an array with one for each.
  Result<std::vector<std::size_t>> per_layer(const char* key, std::size_t layers) const {
    const Value& value = *file_.find(full(key));
    if (!value.is_array()) {
      GEMMA_TRY_ASSIGN(const std::size_t all, size(key));
      return std::vector<std::size_t>(layers, all);
    }
    GEMMA_TRY_ASSIGN(const std::vector<std::uint64_t> values, value.as_uint_array());
    if (values.size() != layers) {
      return error(key, "holds " + std::to_string(values.size()) + " numbers for " +
                            std::to_string(layers) + " layers");
    }
    std::vector<std::size_t> sizes;
    for (const std::uint64_t v : values) {
      GEMMA_TRY_ASSIGN(const std::size_t checked_value, checked(key, v));
      sizes.push_back(checked_value);
    }
    return sizes;
  }

  std::string full(const char* key) const { return prefix_ + "." + key; }
  const File& file() const { return file_; }
  Error error(const char* key, const std::string& what) const {
    return Error(ErrorCode::format, file_.name() + ": key '" + full(key) + "' " + what);
  }

 private:
  /// Sizes beyond this cannot be meant, and products of two still fit 64 bits.
  Result<std::size_t> checked(const char* key, std::uint64_t value) const {
    constexpr std::uint64_t kLimit = std::uint64_t{1} << 31;
    if (value < kLimit) return static_cast<std::size_t>(value);
    return error(key, "is " + std::to_string(value) + "; no size of a model is that large");
  }

  const File& file_;
  std::string prefix_;
};

inline Result<const Architecture*> find_architecture(const File& file) {
  GEMMA_TRY_ASSIGN(const std::string_view name, file.get_string("general.architecture"));
  std::string known;
  for (const Architecture& a : kArchitectures) {
    if (name == a.name) return &a;
    known += (known.empty() ? "" : ", ") + std::string(a.name);
  }
  return Error(ErrorCode::unsupported, file.name() + ": the architecture '" + std::string(name) +
                                           "' is not one this version runs (" + known + ")");
}

/// Which layers see only a window: a period, or a list of booleans. Gemma 1 has none.
inline Result<std::vector<bool>> local_layers(const Keys& keys, const Architecture& arch,
                                              std::size_t layers) {
  std::vector<bool> local(layers, false);
  const char* key = "attention.sliding_window_pattern";
  const Value* value = keys.file().find(keys.full(key));
  if (value != nullptr && value->is_array()) {
    GEMMA_TRY_ASSIGN(const std::vector<std::uint64_t> flags, value->as_uint_array());
    if (flags.size() != layers) {
      return keys.error(key, "holds " + std::to_string(flags.size()) + " flags for " +
                                 std::to_string(layers) + " layers");
    }
    for (std::size_t i = 0; i < layers; ++i) local[i] = flags[i] != 0;
    return local;
  }
  GEMMA_TRY_ASSIGN(const std::size_t period,
                   keys.size_or(key, static_cast<std::size_t>(arch.window_pattern)));
  for (std::size_t i = 0; i < layers; ++i) local[i] = period == 0 || i % period + 1 < period;
  return local;
}

/// The factor by which positions are divided on global layers.
inline Result<float> rope_scale(const Keys& keys) {
  std::string_view type = "linear";
  if (keys.has("rope.scaling.type")) {
    GEMMA_TRY_ASSIGN(type, keys.file().get_string(keys.full("rope.scaling.type")));
  }
  if (type == "none") return 1.0f;
  if (type != "linear") {
    return keys.error("rope.scaling.type",
                      "is '" + std::string(type) + "'; Gemma uses 'linear' or 'none'");
  }
  GEMMA_TRY_ASSIGN(const float factor, keys.number_or("rope.scaling.factor", 1.0f));
  return factor == 0.0f ? 1.0f : factor;
}

inline Status read_layers(const Keys& keys, const Architecture& arch, std::size_t layers,
                          Config& config) {
  std::vector<std::size_t> kv_heads(layers, config.heads);
  if (keys.has("attention.head_count_kv")) {
    GEMMA_TRY_ASSIGN(kv_heads, keys.per_layer("attention.head_count_kv", layers));
  }
  if (!keys.has("feed_forward_length")) return keys.error("feed_forward_length", "is missing");
  GEMMA_TRY_ASSIGN(const std::vector<std::size_t> ffn,
                   keys.per_layer("feed_forward_length", layers));
  const std::size_t default_dim = config.heads == 0 ? 0 : config.width / config.heads;
  GEMMA_TRY_ASSIGN(const std::size_t head_dim, keys.size_or("attention.key_length", default_dim));
  GEMMA_TRY_ASSIGN(const std::size_t value_dim, keys.size_or("attention.value_length", head_dim));
  if (value_dim != head_dim) {
    return keys.error("attention.value_length", "is " + std::to_string(value_dim) +
                                                    ", but keys have length " +
                                                    std::to_string(head_dim));
  }
  GEMMA_TRY_ASSIGN(const std::size_t window,
                   keys.size_or("attention.sliding_window", static_cast<std::size_t>(arch.window)));
  GEMMA_TRY_ASSIGN(const std::vector<bool> local, local_layers(keys, arch, layers));
  GEMMA_TRY_ASSIGN(const float base, keys.number_or("rope.freq_base", arch.rope_base));
  GEMMA_TRY_ASSIGN(const float scale, rope_scale(keys));
  // Gemma 3's local layers have a base of their own and are never scaled.
  const bool own_base = arch.family == Family::gemma3;
  GEMMA_TRY_ASSIGN(const float local_base,
                   keys.number_or("rope.freq_base_swa", own_base ? 10000.0f : base));
  for (std::size_t i = 0; i < layers; ++i) {
    LayerConfig layer;
    const bool is_local = local[i] && window != 0;
    layer.head_dim = head_dim;
    layer.kv_heads = kv_heads[i];
    layer.ffn_width = ffn[i];
    layer.window = is_local ? window : 0;
    layer.rope_base = is_local ? local_base : base;
    layer.rope_scale = is_local && own_base ? 1.0f : scale;
    config.layers.push_back(layer);
  }
  return {};
}

/// Finds tensors by name and checks their shapes.
class Binder {
 public:
  explicit Binder(const File& file) : file_(file) {}

  Result<WeightMatrix> matrix(const std::string& name, std::size_t rows, std::size_t cols) const {
    GEMMA_TRY_ASSIGN(const TensorView* tensor, require(name));
    GEMMA_TRY(check_shape(*tensor, {cols, rows}));
    return view(*tensor);
  }

  Result<NormWeights> norm(const std::string& name, std::size_t n) const {
    GEMMA_TRY_ASSIGN(const TensorView* tensor, require(name));
    GEMMA_TRY(check_shape(*tensor, {n}));
    NormWeights weights(n);
    quant::decode_row(tensor->type, tensor->data.data(), n, weights.data());
    for (const float w : weights) {
      if (!std::isfinite(w)) return error(name, "holds a value that is not a number");
    }
    return weights;
  }

  /// Q, K and V: three tensors, or one with their rows one after the other.
  Status attention_inputs(const std::string& block, const Config& config, const LayerConfig& layer,
                          LayerWeights& w) const {
    const std::size_t q_rows = config.heads * layer.head_dim;
    const std::size_t k_rows = layer.kv_heads * layer.head_dim;
    if (file_.find_tensor(block + "attn_qkv.weight") != nullptr) {
      GEMMA_TRY_ASSIGN(const WeightMatrix all, matrix(block + "attn_qkv.weight",
                                                      q_rows + 2 * k_rows, config.width));
      w.q = w.k = w.v = all;
      w.q.rows = q_rows;
      w.k.rows = w.v.rows = k_rows;
      w.k.data = all.row(q_rows);
      w.v.data = all.row(q_rows + k_rows);
      return {};
    }
    GEMMA_TRY_ASSIGN(w.q, matrix(block + "attn_q.weight", q_rows, config.width));
    GEMMA_TRY_ASSIGN(w.k, matrix(block + "attn_k.weight", k_rows, config.width));
    GEMMA_TRY_ASSIGN(w.v, matrix(block + "attn_v.weight", k_rows, config.width));
    return {};
  }

  bool has(const std::string& name) const { return file_.find_tensor(name) != nullptr; }

 private:
  Result<const TensorView*> require(const std::string& name) const {
    if (const TensorView* tensor = file_.find_tensor(name)) return tensor;
    return Error(ErrorCode::format, file_.name() + ": tensor '" + name +
                                        "' is missing; the file is incomplete or of another model");
  }

  Status check_shape(const TensorView& tensor, const std::vector<std::uint64_t>& expected) const {
    std::vector<std::uint64_t> shape = tensor.shape;
    while (shape.size() > expected.size() && shape.back() == 1) shape.pop_back();
    if (shape == expected) return {};
    return error(tensor.name, "has shape " + text(tensor.shape) + ", expected " + text(expected));
  }

  static std::string text(const std::vector<std::uint64_t>& shape) {
    std::string out = "[";
    for (const std::uint64_t n : shape) out += (out.size() > 1 ? ", " : "") + std::to_string(n);
    return out + "]";
  }

  static WeightMatrix view(const TensorView& tensor) {
    WeightMatrix w;
    w.type = tensor.type;
    w.data = tensor.data.data();
    w.cols = static_cast<std::size_t>(tensor.row_length());
    w.rows = static_cast<std::size_t>(tensor.rows());
    w.row_bytes = tensor.data.size() / w.rows;
    return w;
  }

  Error error(const std::string& name, const std::string& what) const {
    return Error(ErrorCode::format, file_.name() + ": tensor '" + name + "' " + what);
  }

  const File& file_;
};

inline Result<LayerWeights> bind_layer(const Binder& bind, const Config& config,
                                       std::size_t index) {
  const LayerConfig& layer = config.layers[index];
  const std::string block = "blk." + std::to_string(index) + ".";
  const std::size_t width = config.width;
  const std::size_t d = layer.head_dim;
  LayerWeights w;
  GEMMA_TRY_ASSIGN(w.attention_norm, bind.norm(block + "attn_norm.weight", width));
  GEMMA_TRY(bind.attention_inputs(block, config, layer, w));
  GEMMA_TRY_ASSIGN(w.attention_out,
                   bind.matrix(block + "attn_output.weight", width, config.heads * d));
  GEMMA_TRY_ASSIGN(w.ffn_norm, bind.norm(block + "ffn_norm.weight", width));
  GEMMA_TRY_ASSIGN(w.gate, bind.matrix(block + "ffn_gate.weight", layer.ffn_width, width));
  GEMMA_TRY_ASSIGN(w.up, bind.matrix(block + "ffn_up.weight", layer.ffn_width, width));
  GEMMA_TRY_ASSIGN(w.down, bind.matrix(block + "ffn_down.weight", width, layer.ffn_width));
  if (config.family == Family::gemma1) return w;
  GEMMA_TRY_ASSIGN(w.post_attention_norm,
                   bind.norm(block + "post_attention_norm.weight", width));
  GEMMA_TRY_ASSIGN(w.post_ffn_norm, bind.norm(block + "post_ffw_norm.weight", width));
  if (config.family == Family::gemma2) return w;
  GEMMA_TRY_ASSIGN(w.q_norm, bind.norm(block + "attn_q_norm.weight", d));
  GEMMA_TRY_ASSIGN(w.k_norm, bind.norm(block + "attn_k_norm.weight", d));
  return w;
}

}  // namespace detail

GEMMA_INLINE Result<Config> read_config(const File& file) {
  GEMMA_TRY_ASSIGN(const detail::Architecture* arch, detail::find_architecture(file));
  const detail::Keys keys(file, arch->name);
  Config config;
  config.family = arch->family;
  if (file.find("general.name") != nullptr) {
    GEMMA_TRY_ASSIGN(const std::string_view name, file.get_string("general.name"));
    config.name = std::string(name);
  }
  const TensorView* embedding = file.find_tensor("token_embd.weight");
  if (embedding == nullptr) {
    return Error(ErrorCode::format, file.name() +
                                        ": tensor 'token_embd.weight' is missing; the file holds "
                                        "no model, or only its vocabulary");
  }
  config.vocab_size = static_cast<std::size_t>(embedding->rows());
  GEMMA_TRY_ASSIGN(config.width, keys.size("embedding_length"));
  GEMMA_TRY_ASSIGN(config.heads, keys.size("attention.head_count"));
  GEMMA_TRY_ASSIGN(config.context_length, keys.size("context_length"));
  GEMMA_TRY_ASSIGN(config.norm_eps,
                   keys.number_or("attention.layer_norm_rms_epsilon", 1e-6f));
  GEMMA_TRY_ASSIGN(config.final_softcap,
                   keys.number_or("final_logit_softcapping", arch->final_softcap));
  if (arch->family == Family::gemma2) {
    GEMMA_TRY_ASSIGN(config.attention_softcap,
                     keys.number_or("attn_logit_softcapping", arch->attention_softcap));
  }
  GEMMA_TRY_ASSIGN(const std::size_t layers, keys.size("block_count"));
  if (layers > file.tensors().size()) {
    return keys.error("block_count", "is " + std::to_string(layers) + ", but the file has only " +
                                         std::to_string(file.tensors().size()) + " tensors");
  }
  GEMMA_TRY(detail::read_layers(keys, *arch, layers, config));
  GEMMA_TRY(check_config(config, file.name()));

  const bool wide = layers == arch->wide_scale_layers;
  const std::size_t per_head = wide ? config.width / config.heads : config.layers[0].head_dim;
  config.attention_scale = 1.0f / std::sqrt(static_cast<float>(per_head));
  GEMMA_TRY(check_config(config, file.name()));
  return config;
}

GEMMA_INLINE Result<Weights> bind_weights(const File& file, const Config& config) {
  const detail::Binder bind(file);
  Weights w;
  GEMMA_TRY_ASSIGN(w.embedding,
                   bind.matrix("token_embd.weight", config.vocab_size, config.width));
  for (std::size_t i = 0; i < config.layers.size(); ++i) {
    GEMMA_TRY_ASSIGN(LayerWeights layer, detail::bind_layer(bind, config, i));
    w.layers.push_back(std::move(layer));
  }
  GEMMA_TRY_ASSIGN(w.output_norm, bind.norm("output_norm.weight", config.width));
  w.head = w.embedding;
  if (bind.has("output.weight")) {
    GEMMA_TRY_ASSIGN(w.head, bind.matrix("output.weight", config.vocab_size, config.width));
  }
  return w;
}

}  // namespace gguf
GEMMA_NAMESPACE_END

#endif  // GEMMA_GENERATE_IMPL_GGUF_BINDING_INL_HPP_
