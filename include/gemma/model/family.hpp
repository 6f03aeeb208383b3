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
};

/// Gemma 2 (arXiv 2408.00118): sandwich norms, soft-caps, every other layer local.
struct Gemma2 {
  static constexpr Family kFamily = Family::gemma2;
  static constexpr bool kPostNorms = true;
  static constexpr bool kQkNorm = false;
};

/// Gemma 3 (arXiv 2503.19786): QK-norm instead of soft-caps, five of six layers local.
struct Gemma3 {
  static constexpr Family kFamily = Family::gemma3;
  static constexpr bool kPostNorms = true;
  static constexpr bool kQkNorm = true;
};

/// Calls f with the traits of `family`.
template <class F>
auto visit_family(Family family, F&& f) {
  switch (family) {
    case Family::gemma1: return f(Gemma1{});
    case Family::gemma2: return f(Gemma2{});
    case Family::gemma3: break;
  }
  return f(Gemma3{});
}

GEMMA_NAMESPACE_END

#endif  // GEMMA_MODEL_FAMILY_HPP_
