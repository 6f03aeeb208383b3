// What distinguishes the families of Gemma, as compile-time constants. The transformer block asks
// these with `if constexpr`; a new family is one struct here and one line in visit_family().
#ifndef GEMMA_MODEL_FAMILY_HPP_
#define GEMMA_MODEL_FAMILY_HPP_

#include "gemma/model/config.hpp"

GEMMA_NAMESPACE_BEGIN

/// Gemma 1 (arXiv 2403.08295): x += attn(norm(x)); x += mlp(norm(x)).
struct Gemma1 {
  static constexpr Family kFamily = Family::gemma1;
  static constexpr bool kPostNorms = false;  ///< RMSNorm on each branch before it is added
  static constexpr bool kQkNorm = false;     ///< RMSNorm of every query and key head
  static constexpr bool kValueNorm = false;  ///< RMSNorm without gain of every value head
  static constexpr bool kAltUp = false;      ///< several residual streams, LAuReL
  static constexpr bool kGemma4 = false;     ///< per-layer embeddings, experts and a scale, as the file has them
};

/// Gemma 2 (arXiv 2408.00118): sandwich norms, soft-caps, every other layer local.
struct Gemma2 : Gemma1 {
  static constexpr Family kFamily = Family::gemma2;
  static constexpr bool kPostNorms = true;
};

/// Gemma 3 (arXiv 2503.19786): QK-norm instead of soft-caps, five of six layers local.
struct Gemma3 : Gemma2 {
  static constexpr Family kFamily = Family::gemma3;
  static constexpr bool kQkNorm = true;
};

/// Gemma 3n: AltUp (arXiv 2301.13310), LAuReL (arXiv 2411.07501), per-layer embeddings, sparse
/// gates, the last layers share keys and values.
struct Gemma3n : Gemma3 {
  static constexpr Family kFamily = Family::gemma3n;
  static constexpr bool kValueNorm = true;
  static constexpr bool kAltUp = true;
};

/// Gemma 4: larger heads on global layers; depending on the size per-layer embeddings with shared
/// keys and values, keys used as values, or a mixture of experts.
struct Gemma4 : Gemma3 {
  static constexpr Family kFamily = Family::gemma4;
  static constexpr bool kValueNorm = true;
  static constexpr bool kGemma4 = true;
};

/// Calls f with the traits of `family`.
template <class F>
auto visit_family(Family family, F&& f) {
  switch (family) {
    case Family::gemma1: return f(Gemma1{});
    case Family::gemma2: return f(Gemma2{});
    case Family::gemma3n: return f(Gemma3n{});
    case Family::gemma4: return f(Gemma4{});
    case Family::gemma3: break;
  }
  return f(Gemma3{});
}

GEMMA_NAMESPACE_END

#endif  // GEMMA_MODEL_FAMILY_HPP_
