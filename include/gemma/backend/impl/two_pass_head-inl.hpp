// The exact two-pass head. A first pass over a copy of the head in 4 bits gives each logit with a
// bound of its error; only rows that may still be among the largest are then read in full. For the
// same answer half of the head's bytes do, and the head is most of what a small model reads.
#ifndef GEMMA_BACKEND_IMPL_TWO_PASS_HEAD_INL_HPP_
#define GEMMA_BACKEND_IMPL_TWO_PASS_HEAD_INL_HPP_

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <limits>
#include <numeric>
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
  static std::uint64_t bytes(std::size_t rows, std::size_t cols) {
    simd::Sketch sketch;
    sketch.rows = rows;
    sketch.cols = cols;
    const std::uint64_t groups = sketch.groups();
    return groups * (sketch.group_bytes() + simd::kSketchRows * 4 * sizeof(float));
  }

  /// Makes the copy. `energy` [D] is how large hidden states are in each column: those where they are
  /// largest get more bits. Heads whose rows are no whole blocks stay as they are.
  Status create(const WeightMatrix& w, Span<const double> energy, ThreadPool& pool) {
    if (w.cols % simd::kSketchBlock != 0) return {};
    const std::string what = "the two-pass head";
    sketch_.rows = w.rows;
    sketch_.cols = w.cols;
    const std::size_t rows = sketch_.groups() * simd::kSketchRows;
    const std::size_t bytes = sketch_.groups() * sketch_.group_bytes();
    GEMMA_TRY_ASSIGN(data_, SharedArray<std::uint8_t>::create(bytes, what));
    GEMMA_TRY_ASSIGN(factors_, SharedArray<float>::create(2 * rows, what));
    GEMMA_TRY(make_room());
    detail::advise_huge_pages(data_.own_data(), data_.size());
    sketch_.data = data_.own_data();
    sketch_.factor = factors_.own_data();
    sketch_.missed = sketch_.factor + rows;
    order_.resize(w.cols);
    for (std::size_t i = 0; i < w.cols; ++i) order_[i] = i;
    std::sort(order_.begin(), order_.end(), [&](std::size_t a, std::size_t b) {
      return energy[a] != energy[b] ? energy[a] > energy[b] : a < b;
    });
    constexpr std::size_t kGroups = 64;
    pool.parallel_for((sketch_.groups() + kGroups - 1) / kGroups, [&](std::size_t task, std::size_t) {
      std::vector<float> row(w.cols), numbers(simd::kSketchRows * w.cols);
      const std::size_t end = (std::min)((task + 1) * kGroups, sketch_.groups());
      for (std::size_t group = task * kGroups; group < end; ++group) add_group(w, group, row, numbers);
    });
    return {};
  }

  /// Another that shares the copy.
  Result<TwoPassHead> clone() const {
    TwoPassHead other;
    if (!usable()) return other;
    other.sketch_ = sketch_;
    other.data_ = data_;
    other.factors_ = factors_;
    other.order_ = order_;
    GEMMA_TRY(other.make_room());
    return other;
  }

  bool usable() const { return sketch_.rows > 0; }

  /// Whether the next product is better tried in two passes: not for a while after one for which many
  /// rows had to be read in full.
  bool worth_trying() {
    if (!usable() || waiting_ == 0) return usable();
    --waiting_;
    return false;
  }

  /// The `top` largest logits of the normed hidden state h [D] and all that equal the last of them, as
  /// product.out's full product and `softcap` have them; the others become −infinity. `product` is of
  /// one token, h, with fine activations; `scratch` is simd::kScratchBytes for each worker.
  void multiply(const simd::MatmulArgs& product, const float* h, std::size_t top, ThreadPool& pool,
                std::uint8_t* scratch, float softcap) {
    const simd::Kernels& kernels = simd::kernels();
    sketch_activations(h);
    const std::size_t groups = sketch_.groups();
    const std::size_t step = (std::max)(groups / (pool.size() * 16), std::size_t{16});
    pool.parallel_for((groups + step - 1) / step, [&](std::size_t task, std::size_t) {
      kernels.multiply_sketch(sketch_, activations_.data(), task * step,
                              (std::min)((task + 1) * step, groups), logits_.data(), most_.data());
    });
    // The exact logits of the rows that look best: the smallest of them is what others must reach.
    float reach = std::numeric_limits<float>::infinity();
    for (const std::uint32_t row : best_rows(top)) {
      kernels.matmul(product, row, row + 1, scratch);
      reach = (std::min)(reach, product.out[row]);
    }
    const std::size_t rows = sketch_.rows;
    std::atomic<std::size_t> read{0};
    pool.parallel_for((rows + kRows - 1) / kRows, [&](std::size_t task, std::size_t worker) {
      std::uint32_t found[kRows];
      const std::size_t end = (std::min)((task + 1) * kRows, rows);
      const std::size_t count = find_rows(most_.data(), task * kRows, end, reach, found);
      std::fill(product.out + task * kRows, product.out + end, -std::numeric_limits<float>::infinity());
      kernels.matmul_rows(product, found, count, scratch + worker * simd::kScratchBytes);
      for (std::size_t i = 0; softcap > 0.0f && i < count; ++i) {
        kernels.softcap(softcap, 1, product.out + found[i]);
      }
      read.fetch_add(count, std::memory_order_relaxed);
    });
    learn(product.weights, read.load(std::memory_order_relaxed));
  }

 private:
  static constexpr std::size_t kRows = 4096;  ///< looked at together

  Status make_room() {
    const std::size_t rows = sketch_.groups() * simd::kSketchRows;
    const std::string what = "the two-pass head";
    GEMMA_TRY_ASSIGN(logits_, AlignedArray<float>::create(rows, what));
    GEMMA_TRY_ASSIGN(most_, AlignedArray<float>::create(rows, what));
    activations_.reserve(sketch_.blocks());
    return {};
  }

  void add_group(const WeightMatrix& w, std::size_t group, std::vector<float>& decoded,
                 std::vector<float>& numbers) {
    for (std::size_t r = 0; r < simd::kSketchRows; ++r) {
      const std::size_t row = group * simd::kSketchRows + r;
      float* out = numbers.data() + r * w.cols;
      if (row < w.rows) {
        quant::decode_row(w, row, decoded.data());
        for (std::size_t i = 0; i < w.cols; ++i) out[i] = decoded[order_[i]];
      } else {
        std::fill_n(out, w.cols, 0.0f);
      }
    }
    simd::kernels().make_sketch(numbers.data(), group, sketch_);
  }

  /// Whether to wait, and how long, after `read` rows were read in full.
  void learn(const WeightMatrix& w, std::size_t read) {
    // Bytes of rows that lie anywhere take about ten times as long as bytes in a row.
    const double saved = static_cast<double>(w.bytes()) - static_cast<double>(data_.size());
    const bool worth = 10.0 * static_cast<double>(read) * static_cast<double>(w.row_bytes) < saved;
    patience_ = worth ? 1 : (std::min)(2 * patience_, std::size_t{64});
    waiting_ = worth ? 0 : patience_;
  }

  void sketch_activations(const float* h) {
    activations_.clear();
    for (std::size_t b = 0; b < sketch_.blocks(); ++b) {
      float x[simd::kSketchBlock];
      for (std::size_t i = 0; i < simd::kSketchBlock; ++i) x[i] = h[order_[b * simd::kSketchBlock + i]];
      activations_.emplace_back(x, b < sketch_.fine_blocks());
    }
  }

  /// Writes those of rows [begin, end), at most kRows, whose numbers may reach `reach`; returns how many
  /// there are. `begin` is a multiple of simd::kSketchRows, which the numbers are filled up to.
  static std::size_t find_rows(const float* numbers, std::size_t begin, std::size_t end, float reach,
                               std::uint32_t* found) {
    constexpr std::size_t kStep = simd::kSketchRows;
    std::size_t count = 0;
    for (std::size_t row = begin; row < end; row += kStep) {
      // Words, of which compilers make vectors.
      std::uint32_t fits[kStep];
      std::uint32_t any = 0;
      for (std::size_t i = 0; i < kStep; ++i) {
        // Not "≥", so that what is not a number is found.
        fits[i] = numbers[row + i] < reach ? 0 : 1;
        any |= fits[i];
      }
      const std::size_t there = any != 0 ? (std::min)(kStep, end - row) : 0;
      for (std::size_t i = 0; i < there; ++i) {
        found[count] = static_cast<std::uint32_t>(row + i);
        count += fits[i];
      }
    }
    return count;
  }

  /// The rows of the `count` largest logits of the first pass.
  const std::vector<std::uint32_t>& best_rows(std::size_t count) {
    const float* logits = logits_.data();
    best_.resize(count);
    std::iota(best_.begin(), best_.end(), std::uint32_t{0});
    // A heap, the smallest in front: most rows fail one comparison.
    const auto larger = [logits](std::uint32_t a, std::uint32_t b) { return logits[a] > logits[b]; };
    std::make_heap(best_.begin(), best_.end(), larger);
    std::uint32_t found[kRows];
    for (std::size_t row = 0; row < sketch_.rows; row += kRows) {
      const std::size_t end = (std::min)(row + kRows, sketch_.rows);
      const std::size_t these = find_rows(logits, row, end, logits[best_.front()], found);
      for (std::size_t i = 0; i < these; ++i) {
        if (found[i] < count || !larger(found[i], best_.front())) continue;
        std::pop_heap(best_.begin(), best_.end(), larger);
        best_.back() = found[i];
        std::push_heap(best_.begin(), best_.end(), larger);
      }
    }
    return best_;
  }

  simd::Sketch sketch_;
  SharedArray<std::uint8_t> data_;
  SharedArray<float> factors_;                          ///< and what is missed
  std::vector<std::size_t> order_;                      ///< of the columns
  std::vector<simd::SketchedActivations> activations_;  ///< [blocks]
  AlignedArray<float> logits_;                          ///< of the first pass
  AlignedArray<float> most_;                            ///< that logits can be
  std::vector<std::uint32_t> best_;
  std::size_t waiting_ = 0;   ///< products to leave to the full head
  std::size_t patience_ = 1;  ///< how many the last time
};

}  // namespace detail
GEMMA_NAMESPACE_END

#endif  // GEMMA_BACKEND_IMPL_TWO_PASS_HEAD_INL_HPP_
