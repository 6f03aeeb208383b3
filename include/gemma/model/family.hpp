// What distinguishes the families of Gemma, as compile-time constants. The transformer block asks
// these with `if constexpr`; readers of files, which learn the family at run time, ask traits_of().
// A new family is one struct here and one line in visit_family().
#ifndef GEMMA_MODEL_FAMILY_HPP_
#define GEMMA_MODEL_FAMILY_HPP_

#include <cmath>
#include <cstddef>

#include "gemma/model/config.hpp"

GEMMA_NAMESPACE_BEGIN

/// Gemma 1 (arXiv 2403.08295): x += attn(norm(x)); x += mlp(norm(x)).
struct Gemma1 {
  static constexpr Family kFamily = Family::gemma1;  ///< whose traits these are

  // The block.
  static constexpr bool kPostNorms = false;  ///< RMSNorm on each branch before it is added
  static constexpr bool kQkNorm = false;     ///< RMSNorm of every query and key head
  static constexpr bool kValueNorm = false;  ///< RMSNorm without gain of every value head
  static constexpr bool kAltUp = false;      ///< several residual streams, LAuReL
  static constexpr bool kGemma4 = false;     ///< per-layer embeddings, experts and a scale, as the file has them

  // Attention.
  static constexpr bool kScaledQueries = true;  ///< q·k is divided by a square root, of d if no file says else
  static constexpr float kAttentionSoftcap = 0.0f;  ///< 0: none, whatever a file says
  static constexpr std::size_t kWindowPattern = 1;  ///< layer i is local where i % n < n − 1
  static constexpr bool kSharedKeys = false;        ///< the last layers may use others' keys and values

  // RoPE.
  static constexpr float kRopeBase = 10000.0f;  ///< θ, of global layers, where a file does not say
  /// Local layers have a base of their own and are never stretched to longer texts.
  static constexpr bool kLocalRope = false;

  // Embedding, head and files.
  static constexpr float kFinalSoftcap = 0.0f;      ///< where a GGUF file does not say
  static constexpr float kNormOffset = 1.0f;        ///< what safetensors leave out of the gains of norms

  /// Of the embedding, in float32. (transformers rounds it to the type of the weights: to 25.25
  /// instead of 25.298 for a width of 640 in bfloat16.)
  static float embedding_scale(std::size_t width) { return std::sqrt(static_cast<float>(width)); }
};

/// Gemma 2 (arXiv 2408.00118): sandwich norms, soft-caps, every other layer local.
struct Gemma2 : Gemma1 {
  static constexpr Family kFamily = Family::gemma2;  ///< whose traits these are
  static constexpr bool kPostNorms = true;           ///< after attention and after the feed-forward
  static constexpr float kAttentionSoftcap = 50.0f;  ///< where a file does not say
  static constexpr std::size_t kWindowPattern = 2;   ///< every other layer is global
  static constexpr float kFinalSoftcap = 30.0f;      ///< where a GGUF file does not say
};

/// Gemma 3 (arXiv 2503.19786): QK-norm instead of soft-caps, five of six layers local.
struct Gemma3 : Gemma2 {
  static constexpr Family kFamily = Family::gemma3;  ///< whose traits these are
  static constexpr bool kQkNorm = true;              ///< instead of soft-caps
  static constexpr float kAttentionSoftcap = 0.0f;   ///< none any more
  static constexpr std::size_t kWindowPattern = 6;   ///< every sixth layer is global
  static constexpr float kRopeBase = 1000000.0f;     ///< of global layers; local ones keep 10,000
  static constexpr bool kLocalRope = true;           ///< a base of 10,000
  static constexpr float kFinalSoftcap = 0.0f;       ///< none any more
};

/// Gemma 3n: AltUp (arXiv 2301.13310), LAuReL (arXiv 2411.07501), per-layer embeddings, sparse
/// gates, the last layers share keys and values.
struct Gemma3n : Gemma3 {
  static constexpr Family kFamily = Family::gemma3n;  ///< whose traits these are
  static constexpr bool kValueNorm = true;            ///< beside those of queries and keys
  static constexpr bool kAltUp = true;                ///< only here
  static constexpr bool kScaledQueries = false;       ///< q·k is used as it is
  static constexpr std::size_t kWindowPattern = 5;    ///< every fifth layer is global
  static constexpr bool kSharedKeys = true;           ///< by as many layers as a file says
  static constexpr float kFinalSoftcap = 30.0f;       ///< where a GGUF file does not say
  static constexpr float kNormOffset = 0.0f;          ///< safetensors hold the gains themselves
};

/// Gemma 4: larger heads on global layers; depending on the size per-layer embeddings with shared
/// keys and values, keys used as values, or a mixture of experts.
struct Gemma4 : Gemma3 {
  static constexpr Family kFamily = Family::gemma4;  ///< whose traits these are
  static constexpr bool kValueNorm = true;           ///< beside those of queries and keys
  static constexpr bool kGemma4 = true;              ///< only here
  static constexpr bool kScaledQueries = false;      ///< q·k is used as it is
  static constexpr bool kSharedKeys = true;          ///< by as many layers as a file says
  static constexpr float kFinalSoftcap = 30.0f;      ///< where a GGUF file does not say
  static constexpr float kNormOffset = 0.0f;         ///< safetensors hold the gains themselves
};

/// Calls f with the traits of `family`.
template <class F>
constexpr auto visit_family(Family family, F&& f) {
  switch (family) {
    case Family::gemma1: return f(Gemma1{});
    case Family::gemma2: return f(Gemma2{});
    case Family::gemma3n: return f(Gemma3n{});
    case Family::gemma4: return f(Gemma4{});
    case Family::gemma3: break;
  }
  return f(Gemma3{});
}

/// What readers of files need of a family's traits.
struct FamilyTraits {
  bool qk_norm;                ///< Gemma1::kQkNorm of the family
  bool scaled_queries;         ///< kScaledQueries
  float attention_softcap;     ///< kAttentionSoftcap
  std::size_t window_pattern;  ///< kWindowPattern
  bool shared_keys;            ///< kSharedKeys
  float rope_base;             ///< kRopeBase
  bool local_rope;             ///< kLocalRope
  float final_softcap;         ///< kFinalSoftcap
  float norm_offset;           ///< kNormOffset
};

/// The traits of a family that is known only at run time.
constexpr FamilyTraits traits_of(Family family) {
  return visit_family(family, [](auto traits) {
    using F = decltype(traits);
    return FamilyTraits{F::kQkNorm, F::kScaledQueries, F::kAttentionSoftcap, F::kWindowPattern,
                        F::kSharedKeys, F::kRopeBase, F::kLocalRope, F::kFinalSoftcap,
                        F::kNormOffset};
  });
}

GEMMA_NAMESPACE_END

#endif  // GEMMA_MODEL_FAMILY_HPP_
