// Finds the largest logits on the device, and fetches only those.
#ifndef GEMMA_BACKEND_IMPL_OPENCL_PICKER_INL_HPP_
#define GEMMA_BACKEND_IMPL_OPENCL_PICKER_INL_HPP_

#include <array>
#include <cmath>
#include <cstddef>
#include <cstring>
#include <limits>
#include <utility>
#include <vector>

#include "gemma/opencl/kernel_set.hpp"

GEMMA_NAMESPACE_BEGIN
namespace detail {

/// A number and its place among others.
struct Picked {
  std::size_t place = 0;
  float value = 0.0f;
};

class OpenClPicker {
 public:
  /// Tokens that choose() can note.
  static constexpr std::size_t kMostDrawn = 64;
  /// Of how many of the largest it is worth asking for no others.
  static constexpr std::size_t kMostAsked = 256;

  static Result<OpenClPicker> create(opencl::Context& context) {
    OpenClPicker made;
    GEMMA_TRY_ASSIGN(made.best_, context.create_buffer(sizeof(Pairs), "the best"));
    GEMMA_TRY_ASSIGN(made.drawn_, context.create_buffer(kMostDrawn * sizeof(Pair), "drawn tokens"));
    for (opencl::Buffer& list : made.lists_) {
      GEMMA_TRY_ASSIGN(list, context.create_buffer(kListBytes, "the best"));
      GEMMA_TRY(context.clear(list, kListBytes));
    }
    return made;
  }

  /// The largest of `count` numbers, the first of equals; NaN if there is any.
  Result<Picked> largest(opencl::Context& context, const opencl::KernelSet& kernels,
                         opencl::MemoryId numbers, std::size_t count) {
    GEMMA_TRY(context.launch(kernels.largest, {kGroups, 1}, kernels.items, numbers,
                             static_cast<opencl::UInt>(count), best_));
    Pairs pairs;
    GEMMA_TRY(context.read(best_, 0, pairs.data(), sizeof(pairs)));
    Picked best{0, -std::numeric_limits<float>::infinity()};
    for (const auto& pair : pairs) {
      const Picked other{pair[1], float_of(pair[0])};
      const bool first = other.value == best.value && other.place < best.place;
      if (std::isnan(other.value) || other.value > best.value || first) best = other;
      if (std::isnan(best.value)) break;
    }
    return best;
  }

  /// Makes the largest of `count` logits the next token, the first of `ids`, and notes it as number
  /// `step` of those that drawn() fetches. Waits for nothing.
  Status choose(opencl::Context& context, const opencl::KernelSet& kernels,
                opencl::MemoryId logits, std::size_t count, std::size_t step,
                const opencl::Buffer& ids) {
    const auto n = static_cast<opencl::UInt>(count);
    GEMMA_TRY(context.launch(kernels.largest, {kGroups, 1}, kernels.items, logits, n, best_));
    return context.launch(kernels.choose_token, {1, 1}, kernels.items, best_,
                          static_cast<opencl::UInt>(kGroups), n, static_cast<opencl::UInt>(step),
                          ids, drawn_);
  }

  /// The first `steps` tokens that were chosen.
  Result<std::vector<Picked>> drawn(opencl::Context& context, std::size_t steps) {
    std::vector<Pair> pairs(steps);
    GEMMA_TRY(context.read(drawn_, 0, pairs.data(), steps * sizeof(Pair)));
    std::vector<Picked> tokens;
    for (const Pair& pair : pairs) tokens.push_back({pair[1], float_of(pair[0])});
    return tokens;
  }

  /// The `top` largest of `count` numbers, what equals the smallest of them, any NaN, and maybe
  /// more, in no order. Empty if these are too many.
  Result<std::vector<Picked>> largest(opencl::Context& context, const opencl::KernelSet& kernels,
                                      opencl::MemoryId numbers, std::size_t count,
                                      std::size_t top) {
    const auto n = static_cast<opencl::UInt>(count);
    const opencl::Buffer& list = lists_[turn_];
    turn_ = 1 - turn_;
    GEMMA_TRY(context.launch(kernels.count_sizes, {kGroups, 1}, kernels.items, numbers, n, list));
    GEMMA_TRY(context.launch(kernels.collect_top, {kGroups, 1}, kernels.items, numbers, n,
                             static_cast<opencl::UInt>(top), static_cast<opencl::UInt>(kMost), list,
                             lists_[turn_]));
    fetched_.resize(1 + 2 * kMost);
    GEMMA_TRY(context.read(list, kBins * sizeof(opencl::UInt), fetched_.data(),
                           fetched_.size() * sizeof(opencl::UInt)));
    std::vector<Picked> picked;
    if (fetched_[0] > kMost) return picked;
    for (std::size_t i = 0; i < fetched_[0]; ++i) {
      picked.push_back({fetched_[1 + 2 * i], float_of(fetched_[2 + 2 * i])});
    }
    return picked;
  }

 private:
  static constexpr std::size_t kGroups = 64;
  static constexpr std::size_t kBins = 4096;  // of kernels/picking.hpp
  static constexpr std::size_t kMost = 2048;  ///< numbers fetched
  static constexpr std::size_t kListBytes = (kBins + 1 + 2 * kMost) * sizeof(opencl::UInt);
  using Pair = std::array<opencl::UInt, 2>;  ///< the bits of a number, and its place
  using Pairs = std::array<Pair, kGroups>;

  static float float_of(opencl::UInt bits) {
    float value;
    std::memcpy(&value, &bits, sizeof(value));
    return value;
  }

  opencl::Buffer best_;
  opencl::Buffer drawn_;
  std::array<opencl::Buffer, 2> lists_;  ///< used in turns: each call clears the next one's
  std::size_t turn_ = 0;
  std::vector<opencl::UInt> fetched_;
};

}  // namespace detail
GEMMA_NAMESPACE_END

#endif  // GEMMA_BACKEND_IMPL_OPENCL_PICKER_INL_HPP_
