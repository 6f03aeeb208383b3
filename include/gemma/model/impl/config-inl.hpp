// Bodies of config.hpp.
#ifndef GEMMA_MODEL_IMPL_CONFIG_INL_HPP_
#define GEMMA_MODEL_IMPL_CONFIG_INL_HPP_

#include <algorithm>
#include <cmath>

#include "gemma/model/config.hpp"

GEMMA_NAMESPACE_BEGIN

GEMMA_INLINE bool share_keys(const std::vector<bool>& local, std::size_t shared, Config& config) {
  const std::size_t layers = config.layers.size();
  if (shared > 0 && shared >= layers) return false;
  const std::size_t first_shared = layers - shared;
  for (std::size_t i = 0; i < layers; ++i) {
    std::size_t source = (std::min)(i, first_shared - 1);
    while (source > 0 && i >= first_shared && local[source] != local[i]) --source;
    if (local[source] != local[i]) return false;
    config.layers[i].kv_layer = source;
  }
  return true;
}

GEMMA_INLINE Status check_config(const Config& config, const std::string& source) {
  const auto wrong = [&](const std::string& what) {
    return Error(ErrorCode::format, source + ": " + what + "; the file's metadata is damaged");
  };
  if (config.layers.empty()) return wrong("the model has no layers");
  if (config.width == 0) return wrong("the embedding length is 0");
  if (config.heads == 0) return wrong("the number of attention heads is 0");
  if (config.vocab_size == 0) return wrong("the vocabulary is empty");
  if (config.context_length == 0) return wrong("the context length is 0");
  if (!(config.norm_eps >= 0.0f) || !(config.norm_eps < 1.0f)) {
    return wrong("the RMSNorm epsilon " + std::to_string(config.norm_eps) + " is not in [0, 1)");
  }
  if (!(config.attention_scale > 0.0f) || !std::isfinite(config.attention_scale) ||
      !(config.attention_softcap >= 0.0f) || !std::isfinite(config.attention_softcap) ||
      !(config.final_softcap >= 0.0f) || !std::isfinite(config.final_softcap)) {
    return wrong("an attention scale or soft-cap is zero, negative or not a number");
  }
  const bool altup = config.family == Family::gemma3n;
  constexpr std::size_t kMostStreams = 64;
  if (config.altup_streams < (altup ? 2 : 1) || config.altup_streams > kMostStreams ||
      config.altup_active >= config.altup_streams) {
    return wrong("AltUp stream " + std::to_string(config.altup_active) + " of " +
                 std::to_string(config.altup_streams) + " makes no sense");
  }
  if (altup && config.ple_width == 0) return wrong("the width of per-layer embeddings is 0");
  if (config.experts_used > config.experts || (config.experts > 0) != (config.experts_used > 0) ||
      (config.experts > 0 && config.expert_width == 0)) {
    return wrong(std::to_string(config.experts_used) + " experts of width " +
                 std::to_string(config.expert_width) + " cannot be taken from " +
                 std::to_string(config.experts));
  }
  for (std::size_t i = 0; i < config.layers.size(); ++i) {
    const LayerConfig& layer = config.layers[i];
    const std::string where = "layer " + std::to_string(i) + ": ";
    if (layer.head_dim == 0 || layer.head_dim % 2 != 0) {
      return wrong(where + "the head size " + std::to_string(layer.head_dim) +
                   " is not a positive even number");
    }
    if (layer.kv_heads == 0 || config.heads % layer.kv_heads != 0) {
      return wrong(where + std::to_string(config.heads) + " query heads cannot share " +
                   std::to_string(layer.kv_heads) + " KV heads");
    }
    const LayerConfig& shared = config.layers[(std::min)(layer.kv_layer, i)];
    if (layer.kv_layer > i || shared.head_dim != layer.head_dim ||
        shared.kv_heads != layer.kv_heads || shared.window != layer.window) {
      return wrong(where + "it cannot share the keys and values of layer " +
                   std::to_string(layer.kv_layer));
    }
    if (layer.rope_divided && config.rope_divisors.size() != layer.head_dim / 2) {
      return wrong(where + std::to_string(config.rope_divisors.size()) +
                   " RoPE divisors for a head size of " + std::to_string(layer.head_dim));
    }
    if (layer.ffn_width == 0) return wrong(where + "the feed-forward length is 0");
    if (!(layer.rope_base > 0.0f) || !std::isfinite(layer.rope_base) ||
        !(layer.rope_scale > 0.0f) || !std::isfinite(layer.rope_scale)) {
      return wrong(where + "the RoPE base or scale is not a positive number");
    }
  }
  return {};
}

GEMMA_NAMESPACE_END

#endif  // GEMMA_MODEL_IMPL_CONFIG_INL_HPP_
