// The exact two-pass head. A first pass over a copy of the head in 4 bits gives each logit with a
// bound of its error; only rows that may still be among the largest are then read in full. For the
// same answer half of the head's bytes do, and the head is most of what a small model reads.
#ifndef GEMMA_BACKEND_IMPL_TWO_PASS_HEAD_INL_HPP_
#define GEMMA_BACKEND_IMPL_TWO_PASS_HEAD_INL_HPP_

#include <algorithm>
#include <cstdint>
#include <limits>
#include <vector>

#include "gemma/base/aligned.hpp"
#include "gemma/base/huge_pages.hpp"
#include "gemma/base/shared_array.hpp"
#include "gemma/base/threads.hpp"
#include "gemma/quant/registry.hpp"
#include "gemma/simd/kernels.hpp"

GEMMA_NAMESPACE_BEGIN
namespace detail {

class TwoPassHead {
 public:
  /// Memory of the copy and of both passes.
  static std::uint64_t bytes(std::uint64_t rows, std::uint64_t cols) {
    const std::uint64_t padded = (rows + simd::kSketchRows - 1) / simd::kSketchRows * simd::kSketchRows;
    return padded * (cols / 32 * (16 + 2 + 1) + 3 * sizeof(float));
  }

  /// Makes the copy. Heads whose rows are no whole blocks stay as they are.
  Status create(const WeightMatrix& w, ThreadPool& pool) {
    constexpr std::size_t kMostCols = 32 * simd::kMostSketchBlocks;
    if (w.cols % 32 != 0 || w.cols > kMostCols) return {};
    const std::string what = "the two-pass head";
    sketch_.rows = w.rows;
    sketch_.cols = w.cols;
    const std::size_t rows = sketch_.groups() * simd::kSketchRows;
    GEMMA_TRY_ASSIGN(codes_, SharedArray<std::uint8_t>::create(sketch_.blocks() * 16, what));
    GEMMA_TRY_ASSIGN(scale_, SharedArray<std::uint16_t>::create(sketch_.blocks(), what));
    GEMMA_TRY_ASSIGN(missed_, SharedArray<std::uint8_t>::create(sketch_.blocks(), what));
    GEMMA_TRY_ASSIGN(missed_scale_, SharedArray<float>::create(rows, what));
    GEMMA_TRY(make_room());
    detail::advise_huge_pages(codes_.own_data(), codes_.size());
    sketch_.codes = codes_.own_data();
    sketch_.scale = scale_.own_data();
    sketch_.missed = missed_.own_data();
    sketch_.missed_scale = missed_scale_.own_data();
    constexpr std::size_t kGroups = 64;
    pool.parallel_for((sketch_.groups() + kGroups - 1) / kGroups, [&](std::size_t task, std::size_t) {
      std::vector<float> numbers(simd::kSketchRows * w.cols);
      const std::size_t end = (std::min)((task + 1) * kGroups, sketch_.groups());
      for (std::size_t group = task * kGroups; group < end; ++group) add_group(w, group, numbers);
    });
    return {};
  }

  /// Another that shares the copy.
  Result<TwoPassHead> clone() const {
    TwoPassHead other;
    if (!usable()) return other;
    other.sketch_ = sketch_;
    other.codes_ = codes_;
    other.scale_ = scale_;
    other.missed_ = missed_;
    other.missed_scale_ = missed_scale_;
    GEMMA_TRY(other.make_room());
    return other;
  }

  bool usable() const { return sketch_.rows > 0; }

  /// The `top` largest logits and all that equal the last of them, as product.out's full product and
  /// `softcap` have them; the others become −infinity. `product` is of one token, with fine
  /// activations; `scratch` is simd::kScratchBytes for each worker.
  void multiply(const simd::MatmulArgs& product, std::size_t top, ThreadPool& pool,
                std::uint8_t* scratch, float softcap) {
    const simd::Kernels& kernels = simd::kernels();
    const std::size_t groups = sketch_.groups();
    const std::size_t step = (std::max)(groups / (pool.size() * 16), std::size_t{16});
    pool.parallel_for((groups + step - 1) / step, [&](std::size_t task, std::size_t worker) {
      kernels.multiply_sketch(sketch_, product.x.fine_rows, task * step,
                              (std::min)((task + 1) * step, groups), logits_.data(), bounds_.data(),
                              scratch + worker * simd::kScratchBytes);
    });
    const auto exact = [&](std::size_t row, std::uint8_t* memory) {
      kernels.matmul(product, row, row + 1, memory);
      return product.out[row];
    };
    // The exact logits of the rows that look best: the smallest of them is what others must reach.
    float reach = std::numeric_limits<float>::infinity();
    for (const std::size_t row : best_rows(top)) reach = (std::min)(reach, exact(row, scratch));
    constexpr std::size_t kRows = 4096;
    constexpr std::size_t kStep = simd::kSketchRows;
    const std::size_t rows = sketch_.rows;
    pool.parallel_for((rows + kRows - 1) / kRows, [&](std::size_t task, std::size_t worker) {
      std::uint8_t* memory = scratch + worker * simd::kScratchBytes;
      const std::size_t end = (std::min)((task + 1) * kRows, rows);
      for (std::size_t row = task * kRows; row < end; row += kStep) {
        const float* logits = logits_.data() + row;
        const float* bounds = bounds_.data() + row;
        // Words, of which compilers make vectors.
        std::uint32_t fits[kStep];
        std::uint32_t any = 0;
        for (std::size_t i = 0; i < kStep; ++i) {
          // Not "≥", so that what is not a number is looked at.
          fits[i] = logits[i] + bounds[i] < reach ? 0 : 1;
          any |= fits[i];
        }
        const std::size_t there = (std::min)(kStep, end - row);
        std::fill_n(product.out + row, there, -std::numeric_limits<float>::infinity());
        for (std::size_t i = 0; any != 0 && i < there; ++i) {
          if (fits[i] == 0) continue;
          exact(row + i, memory);
          if (softcap > 0.0f) kernels.softcap(softcap, 1, product.out + row + i);
        }
      }
    });
  }

 private:
  Status make_room() {
    const std::size_t rows = sketch_.groups() * simd::kSketchRows;
    const std::string what = "the two-pass head";
    GEMMA_TRY_ASSIGN(logits_, AlignedArray<float>::create(rows, what));
    GEMMA_TRY_ASSIGN(bounds_, AlignedArray<float>::create(rows, what));
    return {};
  }

  void add_group(const WeightMatrix& w, std::size_t group, std::vector<float>& numbers) {
    for (std::size_t r = 0; r < simd::kSketchRows; ++r) {
      const std::size_t row = group * simd::kSketchRows + r;
      float* out = numbers.data() + r * w.cols;
      if (row < w.rows) {
        quant::decode_row(w, row, out);
      } else {
        std::fill_n(out, w.cols, 0.0f);
      }
    }
    simd::kernels().make_sketch(numbers.data(), group, sketch_);
  }

  /// The rows of the `count` largest logits of the first pass.
  const std::vector<std::size_t>& best_rows(std::size_t count) {
    const float* logits = logits_.data();
    best_.clear();
    if (count == 1) {
      best_.push_back(simd::kernels().argmax(logits, sketch_.rows));
      return best_;
    }
    // A heap, the smallest in front: most rows fail one comparison.
    const auto larger = [logits](std::size_t a, std::size_t b) { return logits[a] > logits[b]; };
    for (std::size_t row = 0; row < sketch_.rows; ++row) {
      if (best_.size() < count) {
        best_.push_back(row);
        if (best_.size() == count) std::make_heap(best_.begin(), best_.end(), larger);
      } else if (larger(row, best_.front())) {
        std::pop_heap(best_.begin(), best_.end(), larger);
        best_.back() = row;
        std::push_heap(best_.begin(), best_.end(), larger);
      }
    }
    return best_;
  }

  simd::Sketch sketch_;
  SharedArray<std::uint8_t> codes_;
  SharedArray<std::uint16_t> scale_;
  SharedArray<std::uint8_t> missed_;
  SharedArray<float> missed_scale_;
  AlignedArray<float> logits_;  ///< of the first pass
  AlignedArray<float> bounds_;  ///< of their errors
  std::vector<std::size_t> best_;
};

}  // namespace detail
GEMMA_NAMESPACE_END

#endif  // GEMMA_BACKEND_IMPL_TWO_PASS_HEAD_INL_HPP_
