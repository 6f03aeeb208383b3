// Bodies of sampler.hpp.
#ifndef GEMMA_GENERATE_IMPL_SAMPLER_INL_HPP_
#define GEMMA_GENERATE_IMPL_SAMPLER_INL_HPP_

#include <algorithm>
#include <cmath>
#include <string>

#include "gemma/generate/sampler.hpp"
#include "gemma/simd/kernels.hpp"

GEMMA_NAMESPACE_BEGIN

GEMMA_INLINE Status check_sampler_options(const SamplerOptions& options) {
  const auto wrong = [](const char* name, float value, const char* range) {
    return Error(ErrorCode::invalid_argument, std::string(name) + " is " + std::to_string(value) +
                                                  "; it must be " + range);
  };
  const bool finite = std::isfinite(options.temperature) && options.temperature >= 0.0f;
  if (!finite) return wrong("temperature", options.temperature, "0 (greedy) or a positive number");
  if (!(options.top_p > 0.0f && options.top_p <= 1.0f)) {
    return wrong("top-p", options.top_p, "above 0 and at most 1");
  }
  if (!(options.min_p >= 0.0f && options.min_p <= 1.0f)) {
    return wrong("min-p", options.min_p, "between 0 and 1");
  }
  if (!(options.repeat_penalty > 0.0f) || !std::isfinite(options.repeat_penalty)) {
    return wrong("repeat penalty", options.repeat_penalty, "a positive number (1 is off)");
  }
  return {};
}

GEMMA_INLINE TokenId greedy_token(Span<const float> logits) {
  return static_cast<TokenId>(simd::kernels().argmax(logits.data(), logits.size()));
}

GEMMA_INLINE TokenId Sampler::sample(Span<float> logits, Span<const TokenId> history) {
  penalise(logits, history);
  if (options_.temperature == 0.0f) return greedy_token(logits);
  keep_top_k(logits);
  keep_likely();
  double sum = 0.0;
  for (const Candidate& c : candidates_) sum += double{c.value};
  double left = uniform() * sum;
  for (const Candidate& c : candidates_) {
    left -= double{c.value};
    if (left < 0.0) return c.id;
  }
  return candidates_.back().id;
}

/// Keskar et al., arXiv 1909.05858: positive logits are divided, negative ones multiplied.
GEMMA_INLINE void Sampler::penalise(Span<float> logits, Span<const TokenId> history) const {
  if (options_.repeat_penalty == 1.0f) return;
  const std::size_t count = (std::min)(options_.repeat_last, history.size());
  std::vector<TokenId> recent(history.end() - count, history.end());
  std::sort(recent.begin(), recent.end());
  recent.erase(std::unique(recent.begin(), recent.end()), recent.end());
  for (const TokenId id : recent) {
    float& logit = logits[static_cast<std::size_t>(id)];
    logit = logit > 0.0f ? logit / options_.repeat_penalty : logit * options_.repeat_penalty;
  }
}

/// Candidates become the k largest logits in descending order; equal ones by id, so that the order
/// is the same everywhere.
GEMMA_INLINE void Sampler::keep_top_k(Span<const float> logits) {
  const auto better = [](const Candidate& a, const Candidate& b) {
    return a.value > b.value || (a.value == b.value && a.id < b.id);
  };
  const std::size_t k =
      options_.top_k == 0 ? logits.size() : (std::min)(options_.top_k, logits.size());
  candidates_.clear();
  // A heap of the k best so far, the worst of them in front: most logits fail one comparison.
  for (std::size_t i = 0; i < logits.size(); ++i) {
    if (std::isnan(logits[i])) continue;
    const Candidate candidate{logits[i], static_cast<TokenId>(i)};
    if (candidates_.size() < k) {
      candidates_.push_back(candidate);
      if (candidates_.size() == k) std::make_heap(candidates_.begin(), candidates_.end(), better);
    } else if (better(candidate, candidates_.front())) {
      std::pop_heap(candidates_.begin(), candidates_.end(), better);
      candidates_.back() = candidate;
      std::push_heap(candidates_.begin(), candidates_.end(), better);
    }
  }
  if (candidates_.empty()) candidates_.push_back({0.0f, 0});
  std::sort(candidates_.begin(), candidates_.end(), better);
}

/// Turns logits into (unnormalised) probabilities and applies top-p, then min-p. At least one
/// candidate remains.
GEMMA_INLINE void Sampler::keep_likely() {
  const float largest = candidates_.front().value;
  double sum = 0.0;
  for (Candidate& c : candidates_) {
    const float distance = c.value == largest ? 0.0f : c.value - largest;
    c.value = std::exp(distance / options_.temperature);
    sum += double{c.value};
  }
  std::size_t kept = 0;
  for (double reached = 0.0; kept < candidates_.size(); ++kept) {
    const bool enough = options_.top_p < 1.0f && reached >= double{options_.top_p} * sum;
    const bool too_small = candidates_[kept].value < options_.min_p;
    if (kept > 0 && (enough || too_small)) break;
    reached += double{candidates_[kept].value};
  }
  candidates_.resize(kept);
}

/// SplitMix64 (Steele, Lea, Flood 2014) as a number in [0, 1).
GEMMA_INLINE double Sampler::uniform() {
  state_ += 0x9E3779B97F4A7C15u;
  std::uint64_t z = state_;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  z ^= z >> 31;
  return static_cast<double>(z >> 11) * 0x1.0p-53;
}

GEMMA_NAMESPACE_END

#endif  // GEMMA_GENERATE_IMPL_SAMPLER_INL_HPP_
