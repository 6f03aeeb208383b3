// What adapters (LoRA) add to the matrices of a model: W x + scale · B (A x), with few rows in A.
#ifndef GEMMA_MODEL_LOW_RANK_HPP_
#define GEMMA_MODEL_LOW_RANK_HPP_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "gemma/base/span.hpp"
#include "gemma/quant/matrix.hpp"

GEMMA_NAMESPACE_BEGIN

/// Two factors of float32, and what their product is multiplied with. Owns nothing.
struct LowRank {
  WeightMatrix a;            ///< A [r, inputs]
  const float* b = nullptr;  ///< B in tiles, as in simd::LowRankArgs
  std::size_t outputs = 0;   ///< rows of the matrix it is added to
  float scale = 1.0f;        ///< 0: it adds nothing

  std::size_t rank() const { return a.rows; }  ///< r
};

/// Which matrices of a model get what. A matrix goes by its address among the model's weights, as two of
/// them, embedding and head, may be the same numbers.
class LowRankTable {
 public:
  /// `part` comes after what was added to the matrix before; `owner` keeps its numbers alive.
  void add(const WeightMatrix& matrix, const LowRank& part, std::shared_ptr<const void> owner) {
    parts_[&matrix].push_back(part);
    if (owners_.empty() || owners_.back() != owner) owners_.push_back(std::move(owner));
  }

  /// What is added to the matrix, in this order; nothing as a rule.
  Span<const LowRank> find(const WeightMatrix& matrix) const {
    const auto found = parts_.find(&matrix);
    return found == parts_.end() ? Span<const LowRank>() : Span<const LowRank>(found->second);
  }

  bool empty() const { return parts_.empty(); }  ///< nothing is added to any matrix

  /// The largest sum of the ranks that one matrix gets.
  std::size_t largest_rank() const {
    std::size_t largest = 0;
    for (const auto& [matrix, parts] : parts_) {
      std::size_t sum = 0;
      for (const LowRank& part : parts) sum += part.rank();
      largest = (std::max)(largest, sum);
    }
    return largest;
  }

 private:
  std::map<const WeightMatrix*, std::vector<LowRank>> parts_;
  std::vector<std::shared_ptr<const void>> owners_;
};

GEMMA_NAMESPACE_END

#endif  // GEMMA_MODEL_LOW_RANK_HPP_
