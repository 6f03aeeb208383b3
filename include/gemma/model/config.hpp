// The shape of a model: everything a forward pass needs to know besides the weights. Sizes are read
// from the file; what distinguishes the families themselves stands in family.hpp.
#ifndef GEMMA_MODEL_CONFIG_HPP_
#define GEMMA_MODEL_CONFIG_HPP_

#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "gemma/base/error.hpp"
#include "gemma/base/token.hpp"

GEMMA_NAMESPACE_BEGIN

/// The generations of Gemma this version runs.
enum class Family : std::uint8_t {
  gemma1,   ///< arXiv 2403.08295
  gemma2,   ///< arXiv 2408.00118
  gemma3,   ///< arXiv 2503.19786; EmbeddingGemma, too
  gemma3n,  ///< with several residual streams and per-layer embeddings
  gemma4    ///< dense, with per-layer embeddings, or with experts
};

/// "Gemma 3", for people.
constexpr const char* family_name(Family family) {
  constexpr const char* kNames[] = {"Gemma 1", "Gemma 2", "Gemma 3", "Gemma 3n", "Gemma 4"};
  return kNames[static_cast<std::size_t>(family)];
}

/// What may differ from layer to layer.
struct LayerConfig {
  std::size_t head_dim = 0;        ///< d
  std::size_t kv_heads = 0;        ///< K
  std::size_t ffn_width = 0;       ///< I
  std::size_t window = 0;          ///< keys seen, the token's own included; 0: all before it.
                                   ///< If bidirectional, as many on the other side
  float rope_base = 10000.0f;      ///< theta
  float rope_scale = 1.0f;         ///< positions are divided by this (linear scaling)
  bool rope_divided = false;       ///< frequencies are divided by Config::rope_divisors
  std::size_t kv_layer = 0;        ///< whose keys and values it reads: its own, or an earlier one's
  bool values_are_keys = false;    ///< no value projection: the keys serve as values (K = V)
  /// Gate values below mean + sparsity · deviation are cut off (Gemma 3n); −infinity: none are.
  float sparsity = -std::numeric_limits<float>::infinity();
};

/// Sizes and constants of one model. Letters are those of the papers.
struct Config {
  Family family = Family::gemma3;  ///< whose rules the forward pass follows
  std::string name;                ///< as the file calls it; may be empty
  std::size_t vocab_size = 0;      ///< V
  std::size_t width = 0;           ///< D, of the residual stream
  std::size_t heads = 0;           ///< H, of the queries
  std::size_t context_length = 0;  ///< positions the model was trained for
  float norm_eps = 1e-6f;          ///< added to the mean square in every RMSNorm
  float attention_scale = 1.0f;    ///< of q·k
  float attention_softcap = 0.0f;  ///< 0: none
  float final_softcap = 0.0f;      ///< 0: none
  bool bidirectional = false;      ///< tokens see those after them, too (EmbeddingGemma)
  std::vector<float> rope_divisors;  ///< [d/2] of the global layers; empty: none
  std::size_t ple_width = 0;       ///< P, of the per-layer embeddings; 0: none
  std::size_t altup_streams = 1;   ///< n, residual streams side by side (Gemma 3n)
  std::size_t altup_active = 0;    ///< the stream that the block itself computes
  std::size_t laurel_rank = 0;     ///< r of Gemma 3n's low-rank branch
  std::size_t experts = 0;         ///< E; 0: no mixture of experts
  std::size_t experts_used = 0;    ///< per token
  std::size_t expert_width = 0;    ///< I of one expert
  std::vector<LayerConfig> layers;  ///< from the first to the last
};

/// Sets LayerConfig::kv_layer: the last `shared` layers have no keys and values of their own and
/// take those of the last layer before them that is of the same kind, local or global. False if
/// there is none for some layer.
bool share_keys(const std::vector<bool>& local, std::size_t shared, Config& config);

/// Checks that the sizes fit together (no zero sizes, even head sizes, heads divisible by KV heads,
/// finite positive constants). Errors name `source`, the file, and the size that is wrong.
Status check_config(const Config& config, const std::string& source);

GEMMA_NAMESPACE_END

#if !defined(GEMMA_DECLARATIONS_ONLY)
#include "gemma/model/impl/config-inl.hpp"
#endif

#endif  // GEMMA_MODEL_CONFIG_HPP_
