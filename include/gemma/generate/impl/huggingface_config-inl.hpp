// Body of huggingface::read_config().
#ifndef GEMMA_GENERATE_IMPL_HUGGINGFACE_CONFIG_INL_HPP_
#define GEMMA_GENERATE_IMPL_HUGGINGFACE_CONFIG_INL_HPP_

#include <algorithm>
#include <cmath>
#include <limits>
#include <string_view>

#include "gemma/generate/huggingface.hpp"
#include "gemma/model/family.hpp"

GEMMA_NAMESPACE_BEGIN
namespace huggingface {
namespace detail {

/// What transformers assumes for keys that a config.json leaves out, where it is not the family's.
struct Defaults {
  const char* model_type;
  Family family;
  std::size_t vocab, width, ffn, layers, heads, kv_heads, head_dim, context;
  std::size_t window;
  float final_softcap;

  FamilyTraits traits() const { return traits_of(family); }
};

inline constexpr Defaults kDefaults[] = {
    {"gemma", Family::gemma1, 256000, 3072, 24576, 28, 16, 16, 256, 8192, 0, 0},
    {"gemma2", Family::gemma2, 256000, 2304, 9216, 26, 8, 4, 256, 8192, 4096, 30},
    {"gemma3", Family::gemma3, 262208, 2304, 9216, 26, 8, 4, 256, 131072, 4096, 0},
    {"gemma3n", Family::gemma3n, 262400, 2048, 16384, 35, 8, 2, 256, 32768, 512, 30},
    {"gemma4", Family::gemma4, 262144, 2304, 9216, 30, 8, 4, 256, 131072, 512, 0},
    {"gemma4_unified", Family::gemma4, 262144, 2304, 9216, 30, 8, 4, 256, 131072, 512, 0},
};

/// One of kDefaults, by "gemma3" or "gemma3_text".
inline Result<const Defaults*> find_defaults(std::string type, const json::Object& root) {
  constexpr std::string_view kText = "_text";
  const std::string found = type;
  if (type.size() > kText.size() && type.substr(type.size() - kText.size()) == kText) {
    type.resize(type.size() - kText.size());
  }
  std::string known;
  for (const Defaults& defaults : kDefaults) {
    if (type == defaults.model_type) return &defaults;
    known += (known.empty() ? "" : ", ") + std::string(defaults.model_type);
  }
  const Error error = root.error(
      "model_type", "is '" + found + "', which is not one this version runs (" + known + ")");
  return Error(ErrorCode::unsupported, error.message());
}

/// The rotary embedding of one kind of layers.
struct Rope {
  float base = 10000.0f;
  float scale = 1.0f;     ///< positions are divided by it
  float rotated = 1.0f;   ///< share of the pairs that turn, for type "proportional"
};

inline Result<Rope> read_rope(const json::Object& keys, float base) {
  Rope rope;
  GEMMA_TRY_ASSIGN(rope.base, keys.number_or("rope_theta", base));
  GEMMA_TRY_ASSIGN(const std::string old_type, keys.text_or("type", "default"));
  GEMMA_TRY_ASSIGN(const std::string type, keys.text_or("rope_type", old_type));
  if (type == "default") return rope;
  GEMMA_TRY_ASSIGN(rope.scale, keys.number_or("factor", 1.0f));
  if (type == "linear") return rope;
  if (type == "proportional") {
    GEMMA_TRY_ASSIGN(rope.rotated, keys.number_or("partial_rotary_factor", 1.0f));
    if (rope.rotated >= 0.0f && rope.rotated <= 1.0f) return rope;
    return keys.error("partial_rotary_factor", "is " + std::to_string(rope.rotated) +
                                                   ", expected a number from 0 to 1");
  }
  return keys.error("rope_type", "is '" + type + "', expected default, linear or proportional");
}

struct Ropes {
  Rope global;
  Rope local;
};

/// transformers 5 writes "rope_parameters", by kind of layer from Gemma 3 on; the hub's older files
/// "rope_theta", "rope_local_base_freq" and "rope_scaling", which is for global layers.
inline Result<Ropes> read_ropes(const json::Object& keys, const Defaults& defaults) {
  const bool own_local = defaults.traits().local_rope;
  Ropes ropes;
  GEMMA_TRY_ASSIGN(const float base, keys.number_or("rope_theta", defaults.traits().rope_base));
  GEMMA_TRY_ASSIGN(const float local_base, keys.number_or("rope_local_base_freq", 10000.0f));
  GEMMA_TRY_ASSIGN(const json::Object parameters, keys.object("rope_parameters"));
  if (parameters.has("full_attention") || parameters.has("sliding_attention")) {
    GEMMA_TRY_ASSIGN(const json::Object global, parameters.object("full_attention"));
    GEMMA_TRY_ASSIGN(const json::Object local, parameters.object("sliding_attention"));
    GEMMA_TRY_ASSIGN(ropes.global, read_rope(global, base));
    GEMMA_TRY_ASSIGN(ropes.local, read_rope(local, own_local ? local_base : base));
    return ropes;
  }
  const bool flat = keys.has("rope_parameters");
  GEMMA_TRY_ASSIGN(const json::Object scaling, keys.object("rope_scaling"));
  GEMMA_TRY_ASSIGN(ropes.global, read_rope(flat ? parameters : scaling, base));
  if (defaults.family == Family::gemma4 && !flat) ropes.global.rotated = 0.25f;
  ropes.local = ropes.global;
  if (own_local) ropes.local = Rope{local_base};
  return ropes;
}

/// Which layers see only a window.
inline Result<std::vector<bool>> read_local_layers(const json::Object& keys,
                                                   const Defaults& defaults, std::size_t layers) {
  std::vector<bool> local(layers, false);
  if (const json::Value* types = keys.find("layer_types")) {
    if (!types->is_array() || types->size() != layers) {
      return keys.error("layer_types", "is not a list of " + std::to_string(layers) + " layers");
    }
    for (std::size_t i = 0; i < layers; ++i) {
      local[i] = (*types)[i] == "sliding_attention";
      if (!local[i] && (*types)[i] != "full_attention") {
        return keys.error("layer_types",
                          "holds something other than 'sliding_attention' and 'full_attention'");
      }
    }
    return local;
  }
  GEMMA_TRY_ASSIGN(std::size_t period,
                   keys.size_or("_sliding_window_pattern", defaults.traits().window_pattern));
  GEMMA_TRY_ASSIGN(period, keys.size_or("sliding_window_pattern", period));
  for (std::size_t i = 0; i < layers; ++i) local[i] = period == 0 || i % period + 1 < period;
  if (defaults.family == Family::gemma4) local.back() = false;
  return local;
}

/// The point below which the share p of a standard normal distribution lies; −∞ for 0.
inline float normal_quantile(double p) {
  if (p <= 0.0) return -std::numeric_limits<float>::infinity();
  double low = -10.0, high = 10.0;
  for (int step = 0; step < 100; ++step) {
    const double middle = (low + high) / 2.0;
    const double share = 0.5 * std::erfc(-middle / std::sqrt(2.0));
    (share < p ? low : high) = middle;
  }
  return static_cast<float>(high);
}

/// Where the gates of Gemma 3n are cut off: given as shares of the gates.
inline Status read_sparsity(const json::Object& keys, Config& config) {
  constexpr std::size_t kSparse = 10;
  const std::size_t layers = config.layers.size();
  std::vector<float> shares(layers, 0.0f);
  if (keys.has("activation_sparsity_pattern")) {
    GEMMA_TRY_ASSIGN(shares, keys.numbers("activation_sparsity_pattern", layers));
  } else if (layers > kSparse) {
    std::fill_n(shares.begin(), kSparse, 0.95f);
  }
  for (std::size_t i = 0; i < layers; ++i) {
    if (!(shares[i] >= 0.0f && shares[i] < 1.0f)) {
      return keys.error("activation_sparsity_pattern", "holds " + std::to_string(shares[i]) +
                                                           ", expected shares from 0 to below 1");
    }
    config.layers[i].sparsity = normal_quantile(double{shares[i]});
  }
  return {};
}

/// Sizes of what only Gemma 3n and 4 have.
inline Status read_extensions(const json::Object& keys, Config& config) {
  if (!traits_of(config.family).shared_keys) return {};
  GEMMA_TRY_ASSIGN(config.ple_width, keys.size_or("hidden_size_per_layer_input", 256));
  if (config.family == Family::gemma3n) {
    GEMMA_TRY_ASSIGN(config.altup_streams, keys.size_or("altup_num_inputs", 4));
    GEMMA_TRY_ASSIGN(config.altup_active, keys.size_or("altup_active_idx", 0));
    GEMMA_TRY_ASSIGN(config.laurel_rank, keys.size_or("laurel_rank", 64));
    return read_sparsity(keys, config);
  }
  GEMMA_TRY_ASSIGN(const bool experts, keys.flag_or("enable_moe_block", false));
  if (!experts) return {};
  GEMMA_TRY_ASSIGN(config.experts, keys.size("num_experts"));
  GEMMA_TRY_ASSIGN(config.experts_used, keys.size("top_k_experts"));
  GEMMA_TRY_ASSIGN(config.expert_width, keys.size("moe_intermediate_size"));
  return {};
}

/// What Gemma 4's global layers have of their own: larger heads, other KV heads, keys as values.
inline Status read_gemma4_layers(const json::Object& keys, const std::vector<bool>& local,
                                 Config& config) {
  constexpr std::size_t kGlobalHeadDim = 512;
  GEMMA_TRY_ASSIGN(const bool keys_as_values, keys.flag_or("attention_k_eq_v", false));
  GEMMA_TRY_ASSIGN(const json::Object per_layer, keys.object("per_layer_config"));
  const bool by_layer = keys.has("per_layer_config");
  for (std::size_t i = 0; i < config.layers.size(); ++i) {
    LayerConfig& layer = config.layers[i];
    if (by_layer) {
      GEMMA_TRY_ASSIGN(const json::Object own, per_layer.object(std::to_string(i).c_str()));
      GEMMA_TRY_ASSIGN(layer.head_dim, own.size_or("head_dim", layer.head_dim));
      GEMMA_TRY_ASSIGN(layer.kv_heads, own.size_or("num_key_value_heads", layer.kv_heads));
      GEMMA_TRY_ASSIGN(layer.ffn_width, own.size_or("intermediate_size", layer.ffn_width));
    } else if (!local[i]) {
      GEMMA_TRY_ASSIGN(layer.head_dim, keys.size_or("global_head_dim", kGlobalHeadDim));
      if (keys_as_values) {
        GEMMA_TRY_ASSIGN(layer.kv_heads,
                         keys.size_or("num_global_key_value_heads", layer.kv_heads));
      }
    }
    layer.values_are_keys = keys_as_values && !local[i];
  }
  return {};
}

/// Proportional RoPE: the first pairs turn as usual, the others not at all.
inline Status divide_frequencies(const json::Object& keys, float rotated,
                                 const std::vector<bool>& local, Config& config) {
  constexpr float kNever = 1e30f;
  constexpr std::size_t kMostDims = 65536;
  for (std::size_t i = 0; i < config.layers.size(); ++i) {
    LayerConfig& layer = config.layers[i];
    if (local[i]) continue;
    if (layer.head_dim > kMostDims) {
      return keys.error("global_head_dim", "is " + std::to_string(layer.head_dim) +
                                               "; no model has heads of that size");
    }
    const std::size_t pairs = layer.head_dim / 2;
    const auto turning = static_cast<std::size_t>(rotated * static_cast<float>(pairs));
    config.rope_divisors.assign(pairs, kNever);
    std::fill_n(config.rope_divisors.begin(), (std::min)(turning, pairs), 1.0f);
    layer.rope_divided = true;
  }
  return {};
}

inline Status read_layers(const json::Object& keys, const Defaults& defaults, std::size_t layers,
                          Config& config) {
  GEMMA_TRY_ASSIGN(const std::vector<bool> local, read_local_layers(keys, defaults, layers));
  GEMMA_TRY_ASSIGN(const Ropes ropes, read_ropes(keys, defaults));
  std::vector<std::size_t> ffn(layers, defaults.ffn);
  if (keys.has("intermediate_size")) {
    GEMMA_TRY_ASSIGN(ffn, keys.sizes("intermediate_size", layers));
  }
  // A window of null means none.
  const std::size_t no_window = keys.mentions("sliding_window") ? 0 : defaults.window;
  GEMMA_TRY_ASSIGN(const std::size_t window, keys.size_or("sliding_window", no_window));
  GEMMA_TRY_ASSIGN(const std::size_t kv_heads,
                   keys.size_or("num_key_value_heads", defaults.kv_heads));
  GEMMA_TRY_ASSIGN(const std::size_t head_dim, keys.size_or("head_dim", defaults.head_dim));
  for (std::size_t i = 0; i < layers; ++i) {
    LayerConfig layer;
    const Rope& rope = local[i] ? ropes.local : ropes.global;
    layer.head_dim = head_dim;
    layer.kv_heads = kv_heads;
    layer.ffn_width = ffn[i];
    // Both sides share the window of a model that looks both ways.
    layer.window = !local[i] ? 0 : config.bidirectional ? window / 2 + 1 : window;
    layer.rope_base = rope.base;
    layer.rope_scale = rope.scale;
    config.layers.push_back(layer);
  }
  const bool shares = defaults.traits().shared_keys;
  const std::size_t usual = defaults.family == Family::gemma3n ? 15 : 0;
  std::size_t shared = 0;
  if (shares) {
    GEMMA_TRY_ASSIGN(shared, keys.size_or("num_kv_shared_layers", usual));
  }
  if (!share_keys(local, shared, config)) {
    return keys.error("num_kv_shared_layers", "is " + std::to_string(shared) + " of " +
                                                  std::to_string(layers) +
                                                  " layers; some have none to share with");
  }
  if (defaults.family != Family::gemma4) return {};
  GEMMA_TRY(read_gemma4_layers(keys, local, config));
  if (ropes.global.rotated < 1.0f) {
    GEMMA_TRY(divide_frequencies(keys, ropes.global.rotated, local, config));
  }
  GEMMA_TRY_ASSIGN(const bool double_wide, keys.flag_or("use_double_wide_mlp", false));
  for (std::size_t i = layers - shared; double_wide && i < layers; ++i) {
    config.layers[i].ffn_width *= 2;
  }
  return {};
}

/// What this version cannot compute.
inline Status check_supported(const json::Object& keys) {
  GEMMA_TRY_ASSIGN(const bool bias, keys.flag_or("attention_bias", false));
  GEMMA_TRY_ASSIGN(const std::string act, keys.text_or("hidden_act", "gelu_pytorch_tanh"));
  GEMMA_TRY_ASSIGN(const std::string activation, keys.text_or("hidden_activation", act));
  if (bias) return keys.error("attention_bias", "is true; no Gemma has biases");
  if (activation != "gelu_pytorch_tanh" && activation != "gelu") {
    return keys.error("hidden_activation", "is '" + activation + "', expected gelu_pytorch_tanh");
  }
  return {};
}

}  // namespace detail

GEMMA_INLINE Result<Config> read_config(const json::Value& document, const std::string& name) {
  GEMMA_TRY_ASSIGN(const json::Object root, json::Object::of(document, name));
  // Models that see and hear describe their text part apart.
  GEMMA_TRY_ASSIGN(const json::Object text, root.object("text_config"));
  const json::Object& keys = root.has("text_config") ? text : root;
  GEMMA_TRY_ASSIGN(const std::string root_type, root.text_or("model_type", ""));
  if (root_type.empty()) return root.error("model_type", "is missing");
  GEMMA_TRY_ASSIGN(const std::string type, keys.text_or("model_type", root_type));
  GEMMA_TRY_ASSIGN(const detail::Defaults* defaults, detail::find_defaults(type, root));
  GEMMA_TRY(detail::check_supported(keys));

  Config config;
  config.family = defaults->family;
  GEMMA_TRY_ASSIGN(config.name, root.text_or("_name_or_path", ""));
  GEMMA_TRY_ASSIGN(config.vocab_size, keys.size_or("vocab_size", defaults->vocab));
  GEMMA_TRY_ASSIGN(config.width, keys.size_or("hidden_size", defaults->width));
  GEMMA_TRY_ASSIGN(config.heads, keys.size_or("num_attention_heads", defaults->heads));
  GEMMA_TRY_ASSIGN(config.context_length,
                   keys.size_or("max_position_embeddings", defaults->context));
  GEMMA_TRY_ASSIGN(config.norm_eps, keys.number_or("rms_norm_eps", 1e-6f));
  // A soft-cap of null means none.
  const auto softcap = [&](const char* key, float usual) {
    return keys.number_or(key, keys.mentions(key) ? 0.0f : usual);
  };
  GEMMA_TRY_ASSIGN(config.final_softcap,
                   softcap("final_logit_softcapping", defaults->final_softcap));
  if (const float usual = defaults->traits().attention_softcap; usual > 0.0f) {
    GEMMA_TRY_ASSIGN(config.attention_softcap, softcap("attn_logit_softcapping", usual));
  }
  // Of Gemma 4 "vision" means images only.
  const json::Value* both_ways = keys.find("use_bidirectional_attention");
  if (both_ways != nullptr && !both_ways->is_boolean() && !both_ways->is_string()) {
    return keys.error("use_bidirectional_attention", "is neither true nor false");
  }
  config.bidirectional = both_ways != nullptr && (*both_ways == true || *both_ways == "all");
  if (config.bidirectional && config.family != Family::gemma3) {
    return keys.error("use_bidirectional_attention",
                      "is true; of the families only Gemma 3 has a model for embeddings");
  }
  GEMMA_TRY_ASSIGN(const std::size_t layers, keys.size_or("num_hidden_layers", defaults->layers));
  constexpr std::size_t kMostLayers = 10000;
  if (layers == 0 || layers > kMostLayers) {
    return keys.error("num_hidden_layers", "is " + std::to_string(layers) +
                                               "; no model has that many layers");
  }
  GEMMA_TRY(detail::read_layers(keys, *defaults, layers, config));
  GEMMA_TRY(detail::read_extensions(keys, config));
  GEMMA_TRY(check_config(config, name));
  if (config.family == Family::gemma1) {
    config.attention_scale = 1.0f / std::sqrt(static_cast<float>(config.layers[0].head_dim));
  } else if (defaults->traits().scaled_queries) {
    GEMMA_TRY_ASSIGN(const float scalar, keys.number_or("query_pre_attn_scalar", 256.0f));
    if (!(scalar > 0.0f)) return keys.error("query_pre_attn_scalar", "is not positive");
    config.attention_scale = 1.0f / std::sqrt(scalar);
  }
  return config;
}

}  // namespace huggingface
GEMMA_NAMESPACE_END

#endif  // GEMMA_GENERATE_IMPL_HUGGINGFACE_CONFIG_INL_HPP_
