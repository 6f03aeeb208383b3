// From logits to the next token.
#ifndef GEMMA_GENERATE_SAMPLER_HPP_
#define GEMMA_GENERATE_SAMPLER_HPP_

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "gemma/base/error.hpp"
#include "gemma/base/span.hpp"
#include "gemma/base/token.hpp"

GEMMA_NAMESPACE_BEGIN

/// How the next token is drawn. The steps run in this order; the defaults are those Google
/// recommends for Gemma.
struct SamplerOptions {
  float repeat_penalty = 1.0f;   ///< logits of recent tokens are made smaller by it; 1: off
  std::size_t repeat_last = 64;  ///< how many tokens count as recent
  float temperature = 1.0f;      ///< logits are divided by it; 0: greedy, the rest is ignored
  std::size_t top_k = 64;        ///< keep the k likeliest tokens; 0: all
  float top_p = 0.95f;           ///< keep the likeliest tokens that together reach p; 1: all
  float min_p = 0.0f;            ///< drop tokens below min_p times the likeliest; 0: none
  std::uint64_t seed = 0;        ///< the same seed draws the same tokens
};

/// An error if an option is out of its range.
Status check_sampler_options(const SamplerOptions& options);

/// Draws tokens; the same on every platform for the same seed.
class Sampler {
 public:
  /// For options that check_sampler_options() has passed.
  explicit Sampler(const SamplerOptions& options) : options_(options), state_(options.seed) {}

  /// The next token. `logits` [V] may be changed; `history`: all tokens so far, the latest last.
  TokenId sample(Span<float> logits, Span<const TokenId> history);

 private:
  struct Candidate {
    float value;
    TokenId id;
  };

  void penalise(Span<float> logits, Span<const TokenId> history) const;
  void keep_top_k(Span<const float> logits);
  void keep_likely();
  double uniform();

  SamplerOptions options_;
  std::uint64_t state_;
  std::vector<Candidate> candidates_;
};

/// Index of the largest logit, the first of equals; NaN never wins unless all are NaN.
TokenId greedy_token(Span<const float> logits);

GEMMA_NAMESPACE_END

#if !defined(GEMMA_DECLARATIONS_ONLY)
#include "gemma/generate/impl/sampler-inl.hpp"
#endif

#endif  // GEMMA_GENERATE_SAMPLER_HPP_
