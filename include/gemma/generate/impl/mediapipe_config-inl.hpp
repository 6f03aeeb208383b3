// Bodies of mediapipe_bin.hpp: what a file's type and parameters say of a model's shape.
#ifndef GEMMA_GENERATE_IMPL_MEDIAPIPE_CONFIG_INL_HPP_
#define GEMMA_GENERATE_IMPL_MEDIAPIPE_CONFIG_INL_HPP_

#include <algorithm>
#include <cmath>
#include <iterator>

#include "gemma/generate/mediapipe_bin.hpp"

GEMMA_NAMESPACE_BEGIN
namespace mediapipe {
namespace detail {

/// What a type implies and files leave out, or have only sometimes.
struct ModelType {
  std::uint32_t number;
  const char* name;
  Family family;
  std::size_t context;
  std::size_t window;   ///< of local layers
  float rope_scale;     ///< of global layers
  bool wide_scale;      ///< queries are scaled by (D/H)^-½ instead of d^-½
  std::size_t layers;
};

inline constexpr ModelType kModelTypes[] = {
    {6, "GEMMA_2B", Family::gemma1, 8192, 0, 1.0f, false, 18},
    {12, "GEMMA_7B", Family::gemma1, 8192, 0, 1.0f, false, 28},
    {18, "GEMMA2_2B", Family::gemma2, 8192, 4096, 1.0f, false, 26},
    {27, "GEMMA3_1B", Family::gemma3, 32768, 512, 1.0f, false, 26},
    {28, "GEMMA3_4B", Family::gemma3, 131072, 1024, 8.0f, false, 34},
    {29, "GEMMA3_12B", Family::gemma3, 131072, 1024, 8.0f, false, 48},
    {30, "GEMMA3_27B", Family::gemma3, 131072, 1024, 8.0f, true, 62},
    {38, "GEMMA3_300M", Family::gemma3, 32768, 512, 1.0f, false, 18},
    {47, "FUNCTIONGEMMA3_300M", Family::gemma3, 32768, 512, 1.0f, false, 18},
};

inline Result<const ModelType*> find_model_type(std::uint32_t number, const std::string& name) {
  std::string known;
  for (const ModelType& type : kModelTypes) {
    if (type.number == number) return &type;
    known += (known.empty() ? "" : ", ") + std::to_string(type.number) + " " + type.name;
  }
  return Error(ErrorCode::unsupported, name + ": holds a model of type " + std::to_string(number) +
                                           ", which is not one this version runs (" + known + ")");
}

/// The number of the type that a container is named after; 0 if there is none.
inline std::uint32_t model_type_named(const std::string& graph_name) {
  const auto found = std::find_if(std::begin(kModelTypes), std::end(kModelTypes),
                                  [&](const ModelType& type) { return graph_name == type.name; });
  return found == std::end(kModelTypes) ? 0 : found->number;
}

/// The type of a family that has so many layers; if none has, its smallest one.
inline const ModelType& model_type_like(Family family, std::size_t layers) {
  const auto alike = [&](const ModelType& type) {
    return type.family == family && type.layers == layers;
  };
  auto found = std::find_if(std::begin(kModelTypes), std::end(kModelTypes), alike);
  if (found == std::end(kModelTypes)) {
    found = std::find_if(std::begin(kModelTypes), std::end(kModelTypes),
                         [&](const ModelType& type) { return type.family == family; });
  }
  return *found;
}

/// Sizes beyond this cannot be meant, and products of two still fit 64 bits.
inline Result<std::size_t> checked_size(std::uint64_t value, const char* what,
                                        const std::string& name) {
  constexpr std::uint64_t kLimit = std::uint64_t{1} << 31;
  if (value < kLimit) return static_cast<std::size_t>(value);
  return Error(ErrorCode::format, name + ": LlmParameters says that " + what + " is " +
                                      std::to_string(value) + "; no size of a model is that large");
}

inline void set_attention_scale(const ModelType& type, const LlmParameters& p, Config& config) {
  enum ScaleType : std::uint64_t { kHeadDim = 2, kWidthPerHead = 3 };
  const bool wide = p.scale_type == kWidthPerHead || (p.scale_type != kHeadDim && type.wide_scale);
  const float size = wide ? static_cast<float>(config.width) / static_cast<float>(config.heads)
                          : static_cast<float>(config.layers[0].head_dim);
  config.attention_scale = 1.0f / std::sqrt(size);
}

}  // namespace detail

GEMMA_INLINE Result<Config> read_config(std::uint32_t model_type, const LlmParameters& p,
                                        const std::string& name) {
  constexpr std::uint64_t kGelu = 1;
  constexpr std::size_t kMostLayers = 10000;
  GEMMA_TRY_ASSIGN(const detail::ModelType* type, detail::find_model_type(model_type, name));
  const FamilyTraits traits = traits_of(type->family);
  if (p.activation > kGelu) {
    return Error(ErrorCode::unsupported, name + ": LlmParameters has activation " +
                                             std::to_string(p.activation) +
                                             ", expected 1 (GELU), as every Gemma has");
  }
  Config config;
  config.family = type->family;
  config.name = type->name;
  config.context_length = type->context;
  LayerConfig layer;
  GEMMA_TRY_ASSIGN(config.vocab_size, detail::checked_size(p.vocab_size, "vocab_size", name));
  GEMMA_TRY_ASSIGN(config.width, detail::checked_size(p.width, "embedding_dim", name));
  GEMMA_TRY_ASSIGN(config.heads, detail::checked_size(p.heads, "num_heads", name));
  GEMMA_TRY_ASSIGN(layer.head_dim, detail::checked_size(p.head_dim, "head_dimension", name));
  GEMMA_TRY_ASSIGN(layer.ffn_width, detail::checked_size(p.ffn_width, "hidden_dimension", name));
  GEMMA_TRY_ASSIGN(layer.kv_heads, detail::checked_size(p.kv_heads, "num_kv_heads", name));
  GEMMA_TRY_ASSIGN(const std::size_t layers, detail::checked_size(p.layers, "num_stacks", name));
  GEMMA_TRY_ASSIGN(std::size_t window, detail::checked_size(p.window, "sliding_window", name));
  GEMMA_TRY_ASSIGN(std::size_t period, detail::checked_size(p.local_per_global,
                                                            "num_local_layers_per_global", name));
  if (layers > kMostLayers) {
    return Error(ErrorCode::format, name + ": LlmParameters says that num_stacks is " +
                                        std::to_string(layers) + "; no model has that many layers");
  }
  if (layer.kv_heads == 0) layer.kv_heads = config.heads;
  // Files of Gemma 2 name no window, though the model was trained with one.
  if (window == 0) window = type->window;
  period = period == 0 ? traits.window_pattern : period + 1;
  const float base = p.rope_base != 0.0f ? p.rope_base : traits.rope_base;
  const float scale = p.rope_scale != 0.0f ? p.rope_scale : type->rope_scale;
  for (std::size_t i = 0; i < layers; ++i) {
    const bool local = traits.window_pattern > 1 && i % period + 1 < period;
    layer.window = local ? window : 0;
    layer.rope_base = local && traits.local_rope ? LayerConfig().rope_base : base;
    layer.rope_scale = local ? 1.0f : scale;
    layer.kv_layer = i;
    config.layers.push_back(layer);
  }
  if (traits.attention_softcap > 0.0f) {
    config.attention_softcap =
        p.attention_softcap != 0.0f ? p.attention_softcap : traits.attention_softcap;
  }
  config.final_softcap = p.final_softcap != 0.0f ? p.final_softcap : traits.final_softcap;
  GEMMA_TRY(check_config(config, name));
  detail::set_attention_scale(*type, p, config);
  return config;
}

}  // namespace mediapipe
GEMMA_NAMESPACE_END

#endif  // GEMMA_GENERATE_IMPL_MEDIAPIPE_CONFIG_INL_HPP_
