// The routing of a mixture of experts (Gemma 4): which experts work on which tokens.
#ifndef GEMMA_MODEL_EXPERTS_HPP_
#define GEMMA_MODEL_EXPERTS_HPP_

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <vector>

#include "gemma/model/weights.hpp"

GEMMA_NAMESPACE_BEGIN

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
  std::vector<std::size_t> order(experts);
  for (std::size_t t = 0; t < tokens; ++t) {
    float* p = router + t * experts;
    const float largest = *std::max_element(p, p + experts);
    for (std::size_t e = 0; e < experts; ++e) {
      p[e] = std::exp(p[e] - largest);
      order[e] = e;
    }
    // Stable sorting stays within bounds for any order, that of NaN included.
    std::stable_sort(order.begin(), order.end(),
                     [p](std::size_t a, std::size_t b) { return p[a] > p[b]; });
    float sum = 0.0f;
    for (std::size_t i = 0; i < used; ++i) sum += p[order[i]];
    for (std::size_t i = 0; i < used; ++i) {
      const std::size_t e = order[i];
      chosen[e].push_back({t, p[e] / sum * expert_scale[e]});
    }
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
