// What adapters add to the products of the CPU backend: first A x of all matrices with the input x, on
// all threads; then each thread adds B (A x) to the rows that it has just computed.
#ifndef GEMMA_BACKEND_IMPL_CPU_LOW_RANK_INL_HPP_
#define GEMMA_BACKEND_IMPL_CPU_LOW_RANK_INL_HPP_

#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

#include "gemma/base/aligned.hpp"
#include "gemma/base/threads.hpp"
#include "gemma/model/low_rank.hpp"
#include "gemma/simd/kernels.hpp"

GEMMA_NAMESPACE_BEGIN
namespace detail {

/// A product, and what is added to it.
struct CpuProduct : simd::MatmulArgs {
  Span<const LowRank> added;
  std::size_t first_row = 0;  ///< of the matrix, where the product is with some of its rows only
};

/// The matrices of low rank of a session, and room for what they make of a batch.
class CpuLowRank {
 public:
  /// At most three matrices have their input in common.
  static constexpr std::size_t kTogether = 3;

  /// `table` may be null.
  Status set(std::shared_ptr<const LowRankTable> table, std::size_t batch) {
    AlignedArray<float> sums;
    if (table != nullptr && !table->empty()) {
      GEMMA_TRY_ASSIGN(sums, AlignedArray<float>::create(
                                 kTogether * table->largest_rank() * batch, "the adapters' sums"));
    } else {
      table = nullptr;
    }
    table_ = std::move(table);
    sums_ = std::move(sums);
    return {};
  }

  /// As it was set; null if there is nothing to add.
  const std::shared_ptr<const LowRankTable>& table() const { return table_; }

  /// What is added to a matrix of the model.
  Span<const LowRank> find(const WeightMatrix& w) const {
    return table_ == nullptr ? Span<const LowRank>() : table_->find(w);
  }

  /// A x for the `count` products, for `tokens` rows x; before any add().
  void multiply(const float* x, const CpuProduct* products, std::size_t count, std::size_t tokens,
                const simd::Kernels& kernels, ThreadPool& pool, std::uint8_t* scratch) {
    parts_.clear();
    if (table_ == nullptr) return;
    // Blocks of tokens and of rows: as tasks they are small, and there are enough of them.
    constexpr std::size_t kTokenBlock = 32;
    constexpr std::size_t kRowBlock = 8;
    std::size_t width = 0;
    for (std::size_t i = 0; i < count; ++i) {
      for (const LowRank& part : products[i].added) {
        for (std::size_t row = 0; row < part.rank(); row += kRowBlock) {
          parts_.push_back({&part, i, width, row});
        }
        width += part.rank();
      }
    }
    width_ = width;
    const std::size_t blocks = (tokens + kTokenBlock - 1) / kTokenBlock;
    pool.parallel_for(parts_.size() * blocks, [&](std::size_t task, std::size_t worker) {
      const Part& part = parts_[task / blocks];
      const std::size_t first = task % blocks * kTokenBlock;
      simd::MatmulArgs args;
      args.weights = part.low_rank->a;
      args.x.tokens = (std::min)(kTokenBlock, tokens - first);
      args.x.cols = args.weights.cols;
      args.x.f32 = x + first * args.x.cols;
      args.out = sums_.data() + first * width + part.column;
      args.out_stride = width;
      const std::size_t end = (std::min)(part.row + kRowBlock, part.low_rank->rank());
      kernels.matmul(args, part.row, end, scratch + worker * simd::kScratchBytes);
      for (std::size_t t = 0; t < args.x.tokens; ++t) {
        float* sums = args.out + t * width;
        for (std::size_t r = part.row; r < end; ++r) sums[r] *= part.low_rank->scale;
      }
    });
  }

  /// Adds to rows [row_begin, row_end) of the index-th product, which are computed.
  void add(const CpuProduct& product, std::size_t index, std::size_t row_begin, std::size_t row_end,
           const simd::Kernels& kernels) const {
    if (product.added.empty()) return;
    for (const Part& part : parts_) {
      if (part.product != index || part.row > 0) continue;
      simd::LowRankArgs args;
      args.x = sums_.data() + part.column;
      args.x_stride = width_;
      args.b = part.low_rank->b;
      args.rank = part.low_rank->rank();
      args.tokens = product.x.tokens;
      args.out = product.out - product.first_row;
      args.out_stride = product.out_stride;
      kernels.add_low_rank(args, product.first_row + row_begin, product.first_row + row_end);
    }
  }

 private:
  /// Some rows of A of a pair.
  struct Part {
    const LowRank* low_rank;
    std::size_t product;  ///< the product it is added to
    std::size_t column;   ///< of the pair's sums among all
    std::size_t row;
  };

  std::shared_ptr<const LowRankTable> table_;  ///< null: there is nothing to add
  AlignedArray<float> sums_;                   ///< [T, width]: scale · A x
  std::size_t width_ = 0;
  std::vector<Part> parts_;
};

}  // namespace detail
GEMMA_NAMESPACE_END

#endif  // GEMMA_BACKEND_IMPL_CPU_LOW_RANK_INL_HPP_
