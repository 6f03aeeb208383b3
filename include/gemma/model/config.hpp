// The shape of a model: everything a forward pass needs to know besides the weights. Sizes are read
// from the file; what distinguishes the families themselves stands in family.hpp.
#ifndef GEMMA_MODEL_CONFIG_HPP_
#define GEMMA_MODEL_CONFIG_HPP_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "gemma/base/error.hpp"
#include "gemma/base/token.hpp"

GEMMA_NAMESPACE_BEGIN

/// The generations of Gemma this version runs.
enum class Family : std::uint8_t { gemma1, gemma2, gemma3 };

/// "Gemma 3", for people.
constexpr const char* family_name(Family family) {
  return family == Family::gemma1 ? "Gemma 1" : family == Family::gemma2 ? "Gemma 2" : "Gemma 3";
}

/// What may differ from layer to layer.
struct LayerConfig {
  std::size_t head_dim = 0;        ///< d
  std::size_t kv_heads = 0;        ///< K
  std::size_t ffn_width = 0;       ///< I
  std::size_t window = 0;          ///< keys seen, the token's own included; 0: all before it
  float rope_base = 10000.0f;      ///< theta
  float rope_scale = 1.0f;         ///< positions are divided by this (linear scaling)
};

/// Sizes and constants of one model. Letters are those of the papers.
struct Config {
  Family family = Family::gemma3;
  std::string name;                ///< as the file calls it; may be empty
  std::size_t vocab_size = 0;      ///< V
  std::size_t width = 0;           ///< D, of the residual stream
  std::size_t heads = 0;           ///< H, of the queries
  std::size_t context_length = 0;  ///< positions the model was trained for
  float norm_eps = 1e-6f;
  float attention_scale = 1.0f;    ///< of q·k
  float attention_softcap = 0.0f;  ///< 0: none
  float final_softcap = 0.0f;      ///< 0: none
  std::vector<LayerConfig> layers;
};

/// Checks that the sizes fit together (no zero sizes, even head sizes, heads divisible by KV heads,
/// finite positive constants). Errors name `source`, the file, and the size that is wrong.
Status check_config(const Config& config, const std::string& source);

GEMMA_NAMESPACE_END

#if !defined(GEMMA_DECLARATIONS_ONLY)
#include "gemma/model/impl/config-inl.hpp"
#endif

#endif  // GEMMA_MODEL_CONFIG_HPP_
