// Bodies of gguf_export.hpp.
#ifndef GEMMA_GENERATE_IMPL_GGUF_EXPORT_INL_HPP_
#define GEMMA_GENERATE_IMPL_GGUF_EXPORT_INL_HPP_

#include <algorithm>
#include <deque>

#include "gemma/generate/gguf_binding.hpp"
#include "gemma/generate/gguf_export.hpp"
#include "gemma/model/family.hpp"

GEMMA_NAMESPACE_BEGIN
namespace gguf {
namespace detail {

/// Adds keys of one architecture.
class KeyWriter {
 public:
  KeyWriter(const Config& config, Metadata& metadata)
      : config_(config), prefix_(architecture_of(config).name), metadata_(metadata) {}

  void uint(const char* key, std::size_t value) {
    metadata_.add_uint(full(key), static_cast<std::uint32_t>(value));
  }
  void number(const char* key, float value) { metadata_.add_float(full(key), value); }
  void text(const char* key, const char* value) { metadata_.add_string(full(key), value); }
  void flags(const char* key, const std::vector<bool>& values) {
    metadata_.add_bools(full(key), values);
  }
  void numbers(const char* key, const std::vector<float>& values) {
    metadata_.add_floats(full(key), Span<const float>(values));
  }
  /// One number if it is the same for all layers, else an array.
  void per_layer(const char* key, std::size_t LayerConfig::*size) {
    std::vector<std::int32_t> values;
    for (const LayerConfig& layer : config_.layers) {
      values.push_back(static_cast<std::int32_t>(layer.*size));
    }
    if (std::equal(values.begin() + 1, values.end(), values.begin())) {
      uint(key, config_.layers[0].*size);
    } else {
      metadata_.add_ints(full(key), Span<const std::int32_t>(values));
    }
  }
  /// Of keys and of values.
  void head_size(const std::string& suffix, std::size_t size) {
    uint(("attention.key_length" + suffix).c_str(), size);
    uint(("attention.value_length" + suffix).c_str(), size);
  }

 private:
  std::string full(const char* key) const { return prefix_ + "." + key; }

  const Config& config_;
  std::string prefix_;
  Metadata& metadata_;
};

inline void add_rope(const Config& config, const LayerConfig& global, const LayerConfig* local,
                     KeyWriter& keys) {
  const FamilyTraits traits = traits_of(config.family);
  if (traits.local_rope || global.rope_base != traits.rope_base) {
    keys.number("rope.freq_base", global.rope_base);
  }
  if (local != nullptr && traits.local_rope) {
    keys.number("rope.freq_base_swa", local->rope_base);
  }
  if (global.rope_scale != 1.0f) {
    keys.text("rope.scaling.type", "linear");
    keys.number("rope.scaling.factor", global.rope_scale);
  }
}

/// Which layers are local: as a list where it is not the architecture's usual pattern.
inline void add_windows(const Config& config, const LayerConfig* local, KeyWriter& keys) {
  const std::size_t period = traits_of(config.family).window_pattern;
  if (period == 1) return;
  const std::size_t window = local == nullptr ? 0 : local->window;
  // Of a model that looks both ways the file tells the width of both sides.
  keys.uint("attention.sliding_window",
            config.bidirectional && window > 0 ? 2 * (window - 1) : window);
  std::vector<bool> pattern;
  // Readers expect a list of the families that share keys.
  bool usual = !traits_of(config.family).shared_keys;
  for (std::size_t i = 0; i < config.layers.size(); ++i) {
    pattern.push_back(config.layers[i].window != 0);
    usual = usual && pattern[i] == (i % period + 1 < period);
  }
  if (!usual) keys.flags("attention.sliding_window_pattern", pattern);
}

/// The keys that only Gemma 3n and 4 have.
inline void add_extensions(const Config& config, KeyWriter& keys) {
  std::size_t shared = 0;
  for (std::size_t i = 0; i < config.layers.size(); ++i) shared += config.layers[i].kv_layer != i;
  keys.uint("attention.shared_kv_layers", shared);
  keys.uint("embedding_length_per_layer_input", config.ple_width);
  if (config.experts > 0) {
    keys.uint("expert_count", config.experts);
    keys.uint("expert_used_count", config.experts_used);
    keys.uint("expert_feed_forward_length", config.expert_width);
  }
  if (config.family != Family::gemma3n) return;
  keys.uint("altup.active_idx", config.altup_active);
  keys.uint("altup.num_inputs", config.altup_streams);
  std::vector<float> sparsity;
  for (const LayerConfig& layer : config.layers) sparsity.push_back(layer.sparsity);
  keys.numbers("activation_sparsity_scale", sparsity);
}

}  // namespace detail

GEMMA_INLINE void add_config(const Config& config, Metadata& metadata) {
  metadata.add_string("general.architecture", detail::architecture_of(config).name);
  metadata.add_string("general.type", "model");
  if (!config.name.empty()) metadata.add_string("general.name", config.name);
  const LayerConfig* local = nullptr;
  const LayerConfig* global = &config.layers[0];
  for (const LayerConfig& layer : config.layers) {
    (layer.window != 0 ? local : global) = &layer;
  }
  detail::KeyWriter keys(config, metadata);
  keys.uint("context_length", config.context_length);
  keys.uint("embedding_length", config.width);
  keys.uint("block_count", config.layers.size());
  keys.per_layer("feed_forward_length", &LayerConfig::ffn_width);
  keys.uint("attention.head_count", config.heads);
  keys.per_layer("attention.head_count_kv", &LayerConfig::kv_heads);
  keys.number("attention.layer_norm_rms_epsilon", config.norm_eps);
  keys.head_size("", global->head_dim);
  if (config.family == Family::gemma4) {
    const std::size_t local_dim = local == nullptr ? global->head_dim : local->head_dim;
    keys.head_size("_swa", local_dim);
    keys.uint("rope.dimension_count", global->head_dim);
    keys.uint("rope.dimension_count_swa", local_dim);
  }
  detail::add_rope(config, *global, local, keys);
  detail::add_windows(config, local, keys);
  if (traits_of(config.family).attention_softcap > 0.0f) {
    keys.number("attn_logit_softcapping", config.attention_softcap);
  }
  if (traits_of(config.family).final_softcap > 0.0f || config.final_softcap != 0.0f) {
    keys.number("final_logit_softcapping", config.final_softcap);
  }
  if (traits_of(config.family).shared_keys) detail::add_extensions(config, keys);
  if (config.bidirectional) keys.uint("pooling_type", 1);  // the mean
}

GEMMA_INLINE void add_vocabulary(const Vocabulary& vocabulary, std::size_t rows,
                                 Metadata& metadata) {
  const bool ranked = vocabulary.kind == TokenizerKind::merges;
  std::vector<std::string_view> pieces = vocabulary.pieces;
  std::vector<float> scores = vocabulary.scores;
  std::vector<std::int32_t> types(pieces.size(), static_cast<std::int32_t>(PieceType::normal));
  for (std::size_t i = 0; i < vocabulary.types.size(); ++i) {
    types[i] = static_cast<std::int32_t>(vocabulary.types[i]);
  }
  std::deque<std::string> names;
  while (pieces.size() < rows) {
    pieces.push_back(names.emplace_back("[PAD" + std::to_string(pieces.size()) + "]"));
    types.push_back(static_cast<std::int32_t>(PieceType::unused));
  }
  // Readers expect a score for every piece, also where merges decide.
  scores.resize(pieces.size(), ranked ? 0.0f : -1e6f);
  metadata.add_string("tokenizer.ggml.model", ranked ? "gemma4" : "llama");
  if (!ranked) metadata.add_string("tokenizer.ggml.pre", "default");
  metadata.add_strings("tokenizer.ggml.tokens", Span<const std::string_view>(pieces));
  metadata.add_floats("tokenizer.ggml.scores", Span<const float>(scores));
  metadata.add_ints("tokenizer.ggml.token_type", Span<const std::int32_t>(types));
  if (ranked) {
    metadata.add_strings("tokenizer.ggml.merges", Span<const std::string_view>(vocabulary.merges));
  }
  const auto special = [&](const char* key, std::optional<TokenId> id) {
    if (id) metadata.add_uint(key, static_cast<std::uint32_t>(*id));
  };
  special("tokenizer.ggml.bos_token_id", vocabulary.bos);
  special("tokenizer.ggml.eos_token_id", vocabulary.eos);
  special("tokenizer.ggml.unknown_token_id", vocabulary.unknown);
  const auto pad = std::find(pieces.begin(), pieces.end(), "<pad>");
  if (pad != pieces.end()) {
    special("tokenizer.ggml.padding_token_id", static_cast<TokenId>(pad - pieces.begin()));
  }
  const auto turn = std::find(pieces.begin(), pieces.end(), ranked ? "<turn|>" : "<end_of_turn>");
  if (turn != pieces.end()) {
    special("tokenizer.ggml.eot_token_id", static_cast<TokenId>(turn - pieces.begin()));
  }
  metadata.add_bool("tokenizer.ggml.add_bos_token", vocabulary.add_bos);
  metadata.add_bool("tokenizer.ggml.add_eos_token", vocabulary.add_eos);
  metadata.add_bool("tokenizer.ggml.add_space_prefix", false);
}

GEMMA_INLINE float query_factor(const Config& config) {
  return config.attention_scale / derived_attention_scale(config);
}

}  // namespace gguf
GEMMA_NAMESPACE_END

#endif  // GEMMA_GENERATE_IMPL_GGUF_EXPORT_INL_HPP_
