// The routing of a mixture of experts (Gemma 4): which experts work on which tokens.
#ifndef GEMMA_MODEL_EXPERTS_HPP_
#define GEMMA_MODEL_EXPERTS_HPP_

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <vector>

#include "gemma/model/weights.hpp"

GEMMA_NAMESPACE_BEGIN

/// The `used` likeliest experts by their probabilities or weights p [experts], ties to the first. What
/// is not a number counts as likeliest, so that nothing hides it.
inline std::vector<std::size_t> likeliest_experts(const float* p, std::size_t experts,
                                                  std::size_t used) {
  std::vector<std::size_t> order(experts);
  for (std::size_t e = 0; e < experts; ++e) order[e] = e;
  const auto is_nan = [p](std::size_t e) { return std::isnan(p[e]); };  // an order must be total
  std::partial_sort(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(used), order.end(),
                    [&](std::size_t a, std::size_t b) {
                      if (is_nan(a) != is_nan(b)) return is_nan(a);
                      return p[a] > p[b] || (!(p[a] < p[b]) && a < b);
                    });
  order.resize(used);
  return order;
}

/// A token that an expert works on, and what its result counts.
struct ExpertChoice {
  std::size_t token;  ///< row of the batch
  float weight;       ///< factor of the expert's result for it
};

/// For each expert its tokens: the `used` likeliest of each token by the router's logits [T, E],
/// weighted by their share of the softmax and a factor of their own, expert_scale [E]. Ties go to
/// the first. Overwrites the logits.
inline std::vector<std::vector<ExpertChoice>> choose_experts(float* router, std::size_t tokens,
                                                             std::size_t used,
                                                             const NormWeights& expert_scale) {
  const std::size_t experts = expert_scale.size();
  std::vector<std::vector<ExpertChoice>> chosen(experts);
  for (std::size_t t = 0; t < tokens; ++t) {
    float* p = router + t * experts;
    const float largest = *std::max_element(p, p + experts);
    for (std::size_t e = 0; e < experts; ++e) p[e] = std::exp(p[e] - largest);
    const std::vector<std::size_t> order = likeliest_experts(p, experts, used);
    float sum = 0.0f;
    for (const std::size_t e : order) sum += p[e];
    for (const std::size_t e : order) chosen[e].push_back({t, p[e] / sum * expert_scale[e]});
  }
  return chosen;
}

/// The matrices of one expert.
struct ExpertMatrices {
  WeightMatrix gate;  ///< [Ie, D]
  WeightMatrix up;    ///< [Ie, D]
  WeightMatrix down;  ///< [D, Ie]

  /// Those of expert `e`: `n` is Ie, `width` is D. Views, as those of w.
  ExpertMatrices(const ExpertWeights& w, std::size_t e, std::size_t n, std::size_t width)
      : gate(w.gate_up ? rows_of(w.gate_up, 2 * e * n, n) : rows_of(w.gate, e * n, n)),
        up(w.gate_up ? rows_of(w.gate_up, (2 * e + 1) * n, n) : rows_of(w.up, e * n, n)),
        down(rows_of(w.down, e * width, width)) {}
};

GEMMA_NAMESPACE_END

#endif  // GEMMA_MODEL_EXPERTS_HPP_
