// Encoders of Q4_K, Q5_K and Q6_K: k_quants.hpp backwards. First each group gets a line of its own;
// then d and dmin, in which all scales and minimums are to be integers; then these integers and the
// numbers' are chosen anew for what d and dmin became, and d and dmin for them.
#ifndef GEMMA_QUANT_ENCODE_K_QUANTS_HPP_
#define GEMMA_QUANT_ENCODE_K_QUANTS_HPP_

#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <vector>

#include "gemma/quant/encode_block32.hpp"
#include "gemma/quant/encode_fit.hpp"
#include "gemma/quant/k_quants.hpp"

GEMMA_NAMESPACE_BEGIN
namespace quant {
namespace detail {

/// What the search needs to know of a format.
template <class Format>
struct SuperBlockTraits;
// kPeaks of formats with a minimum: in how many steps to divide the span of a group.
template <>
struct SuperBlockTraits<Q4_K> {
  static constexpr Range kQuants{0, 15}, kScales{0, 63}, kMinimums{0, 63};
  static constexpr PeakSteps kPeaks{12.0f, 16.0f, 0.5f};
  static constexpr float kLargestScale = 63.0f;
};
template <>
struct SuperBlockTraits<Q5_K> {
  static constexpr Range kQuants{0, 31}, kScales{0, 63}, kMinimums{0, 63};
  static constexpr PeakSteps kPeaks{25.0f, 32.0f, 0.5f};
  static constexpr float kLargestScale = 63.0f;
};
template <>
struct SuperBlockTraits<Q6_K> {
  static constexpr Range kQuants{-32, 31}, kScales{-128, 127}, kMinimums{0, 0};
  static constexpr PeakSteps kPeaks{16.0f, 36.0f, 1.0f};
  static constexpr float kLargestScale = -128.0f;
};

/// A block before it is packed: value = d * scale * q - dmin * minimum.
template <class Format>
struct SuperBlock {
  static constexpr std::size_t kGroups = Format::kBlockElements / Format::kGroup;
  float d = 0.0f, dmin = 0.0f;
  int scale[kGroups] = {}, minimum[kGroups] = {};
  float q[Format::kBlockElements] = {};
  float error = 0.0f;
};

/// The multiple of `unit` that is nearest `value`, as an integer in range; 0 if unit is 0.
inline int nearest_multiple(float value, float unit, const Range& range) {
  if (unit == 0.0f) return 0;
  const float lowest = static_cast<float>(range.lowest);
  const float highest = static_cast<float>(range.highest);
  return static_cast<int>(std::floor((std::min)((std::max)(value / unit, lowest), highest) + 0.5f));
}

/// What the numbers of a group count: where precision is scarce it is spent on the large ones.
template <class Format>
using GroupWeights =
    std::conditional_t<std::is_same<Format, Q4_K>::value, MagnitudeWeights<Format::kGroup>,
                       EqualWeights<Format::kGroup>>;

/// The numbers of a group with their weights.
template <class Format>
struct Group {
  const float* x;
  GroupWeights<Format> weights;
  float sum_x;  ///< Σ w·x

  explicit Group(const float* numbers) : x(numbers), weights(numbers) {
    float terms[Format::kGroup];
    for (std::size_t i = 0; i < Format::kGroup; ++i) terms[i] = weights[i] * x[i];
    sum_x = add_up<Format::kGroup>(terms);
  }
};

/// Lines of all groups, each by itself, and a block with their scales and minimums rounded.
template <class Format>
SuperBlock<Format> start_block(const std::vector<Group<Format>>& groups) {
  using Traits = SuperBlockTraits<Format>;
  using Block = SuperBlock<Format>;
  Line lines[Block::kGroups];
  Line largest{0.0f, 0.0f};
  for (std::size_t g = 0; g < Block::kGroups; ++g) {
    const Group<Format>& group = groups[g];
    if constexpr (Format::kHasMin) {
      lines[g] = fit_line<Format::kGroup>(group.x, group.weights, group.sum_x, Traits::kQuants,
                                          Traits::kPeaks);
    } else {
      const auto as_is = [](float scale) { return scale; };
      lines[g].scale = fit_scale<Format::kGroup>(group.x, Traits::kQuants, Traits::kPeaks, as_is);
      lines[g].minimum = 0.0f;
    }
    if (std::fabs(lines[g].scale) > std::fabs(largest.scale)) largest.scale = lines[g].scale;
    largest.minimum = (std::max)(largest.minimum, lines[g].minimum);
  }
  Block block;
  block.d = scale_as_half(largest.scale / Traits::kLargestScale);
  if (Format::kHasMin) block.dmin = scale_as_half(largest.minimum / Traits::kMinimums.highest);
  for (std::size_t g = 0; g < Block::kGroups; ++g) {
    block.scale[g] = nearest_multiple(lines[g].scale, block.d, Traits::kScales);
    block.minimum[g] = nearest_multiple(lines[g].minimum, block.dmin, Traits::kMinimums);
  }
  return block;
}

/// Chooses scale, minimum and q of group g for the d and dmin of the block: tries the scale that is
/// there and its neighbours, each with the minimum that suits it.
template <class Format>
Sums fit_group(const Group<Format>& group, std::size_t g, SuperBlock<Format>& block) {
  using Traits = SuperBlockTraits<Format>;
  constexpr std::size_t kCount = Format::kGroup;
  const int first = (std::max)(block.scale[g] - 1, Traits::kScales.lowest);
  const int last = (std::min)(block.scale[g] + 1, Traits::kScales.highest);
  const int first_minimum = block.minimum[g];
  float q[kCount];
  Sums best{(std::numeric_limits<float>::max)(), 0.0f, 0.0f, 0.0f};
  for (int scale = first; scale <= last; ++scale) {
    int minimum = first_minimum;
    for (int i = 0; i < 3; ++i) {
      const Line line{block.d * static_cast<float>(scale),
                      block.dmin * static_cast<float>(minimum)};
      const Sums sums = quantise<kCount>(group.x, group.weights, line, Traits::kQuants, q);
      if (sums.error < best.error) {
        best = sums;
        block.scale[g] = scale;
        block.minimum[g] = minimum;
        std::copy(q, q + kCount, block.q + g * kCount);
      }
      const float better = (line.scale * sums.q - group.sum_x) / static_cast<float>(kCount);
      const int next = nearest_multiple(better, block.dmin, Traits::kMinimums);
      if (next == minimum) break;
      minimum = next;
    }
  }
  return best;
}

/// The sums that tell which d and dmin would fit all integers of a block best.
struct BlockSums {
  double aa = 0.0, ab = 0.0, bb = 0.0, xa = 0.0, xb = 0.0;  // x = d * a - dmin * b

  void add(int scale, int minimum, std::size_t count, float sum_x, const Sums& sums) {
    const double s = scale, m = minimum;
    aa += s * s * static_cast<double>(sums.qq);
    ab += s * m * static_cast<double>(sums.q);
    bb += m * m * static_cast<double>(count);
    xa += s * static_cast<double>(sums.xq);
    xb += m * static_cast<double>(sum_x);
  }

  /// d as `scale` and dmin as `minimum`; `current` where the sums do not say.
  Line solve(const Line& current) const {
    if (aa == 0.0) return current;
    const double determinant = aa * bb - ab * ab;
    if (determinant <= 1e-9 * aa * bb) return {static_cast<float>(xa / aa), current.minimum};
    return {static_cast<float>((xa * bb - ab * xb) / determinant),
            static_cast<float>((ab * xa - aa * xb) / determinant)};
  }
};

/// The best block found for 256 numbers.
template <class Format>
SuperBlock<Format> fit_super_block(const float* src) {
  using Block = SuperBlock<Format>;
  using Traits = SuperBlockTraits<Format>;
  float x[Format::kBlockElements];
  const int steps = Traits::kScales.highest * Traits::kQuants.highest;
  load_numbers(src, Format::kBlockElements, kLargestHalf * static_cast<float>(steps), x);
  std::vector<Group<Format>> groups;
  for (std::size_t g = 0; g < Block::kGroups; ++g) groups.emplace_back(x + g * Format::kGroup);

  Block block = start_block<Format>(groups);
  Block best;
  best.error = (std::numeric_limits<float>::max)();
  for (int i = 0; i < 3; ++i) {
    BlockSums sums;
    block.error = 0.0f;
    for (std::size_t g = 0; g < Block::kGroups; ++g) {
      const Sums group = fit_group<Format>(groups[g], g, block);
      sums.add(block.scale[g], block.minimum[g], Format::kGroup, groups[g].sum_x, group);
      block.error += group.error;
    }
    if (block.error < best.error) best = block;
    const Line next = sums.solve({block.d, block.dmin});
    const float d = scale_as_half(next.scale);
    const float dmin = scale_as_half((std::max)(next.minimum, 0.0f));
    if ((d == block.d && dmin == block.dmin) || best.error == 0.0f) break;
    block.d = d;
    block.dmin = dmin;
  }
  return best;
}

/// The inverse of unpack_2_bits(), of codes of 2 bits.
inline void pack_2_bits(const std::uint8_t* codes, std::uint8_t* packed) {
  for (std::size_t i = 0; i < 32; ++i) {
    packed[i] = static_cast<std::uint8_t>(codes[i] | codes[32 + i] << 2 | codes[64 + i] << 4 |
                                          codes[96 + i] << 6);
  }
}

/// The inverse of unpack_scales_and_minimums().
inline void pack_scales_and_minimums(const int* scale, const int* minimum, std::uint8_t* packed) {
  for (std::size_t g = 0; g < 4; ++g) {
    const int s = scale[4 + g], m = minimum[4 + g];
    packed[g] = static_cast<std::uint8_t>(scale[g] | (s >> 4) << 6);
    packed[4 + g] = static_cast<std::uint8_t>(minimum[g] | (m >> 4) << 6);
    packed[8 + g] = static_cast<std::uint8_t>((s & 15) | (m & 15) << 4);
  }
}

/// What Q4_K and Q5_K have in common: fits a block, stores all but the fifth bits, and gives codes.
template <class Format>
void encode_with_minimums(const float* src, std::uint8_t* block, std::uint8_t* codes) {
  const SuperBlock<Format> fit = fit_super_block<Format>(src);
  store_le(block + Format::kScaleOffset, half_from_float(fit.d));
  store_le(block + Format::kMinOffset, half_from_float(fit.dmin));
  pack_scales_and_minimums(fit.scale, fit.minimum, block + Format::kScalesOffset);
  codes_of(fit.q, Format::kBlockElements, 0, codes);
  for (std::size_t i = 0; i < 4; ++i) {
    pack_4_bits(codes + 64 * i, 32, block + Format::kQuantsOffset + 32 * i);
  }
}

}  // namespace detail

/// Large numbers count more than small ones.
template <>
struct Encoder<Q4_K> {
  /// 256 floats to a block.
  static void encode(const float* src, std::uint8_t* block) {
    std::uint8_t codes[256];
    detail::encode_with_minimums<Q4_K>(src, block, codes);
  }
};

/// All numbers count alike.
template <>
struct Encoder<Q5_K> {
  /// 256 floats to a block.
  static void encode(const float* src, std::uint8_t* block) {
    std::uint8_t codes[256];
    detail::encode_with_minimums<Q5_K>(src, block, codes);
    for (std::size_t i = 0; i < 32; ++i) {
      int high = 0;
      for (std::size_t g = 0; g < 8; ++g) high |= (codes[32 * g + i] >> 4) << g;
      block[Q5_K::kHighBitsOffset + i] = static_cast<std::uint8_t>(high);
    }
  }
};

/// All numbers count alike; there are no minimums.
template <>
struct Encoder<Q6_K> {
  /// 256 floats to a block.
  static void encode(const float* src, std::uint8_t* block) {
    const detail::SuperBlock<Q6_K> fit = detail::fit_super_block<Q6_K>(src);
    detail::store_le(block + Q6_K::kScaleOffset, half_from_float(fit.d));
    for (std::size_t g = 0; g < 16; ++g) {
      detail::store_le(block + Q6_K::kScalesOffset + g, static_cast<std::int8_t>(fit.scale[g]));
    }
    std::uint8_t codes[256], high[256];
    detail::codes_of(fit.q, 256, -32, codes);
    for (std::size_t i = 0; i < 256; ++i) high[i] = static_cast<std::uint8_t>(codes[i] >> 4);
    for (std::size_t half = 0; half < 2; ++half) {
      detail::pack_4_bits(codes + 128 * half, 64, block + Q6_K::kQuantsOffset + 64 * half);
      detail::pack_2_bits(high + 128 * half, block + Q6_K::kHighBitsOffset + 32 * half);
    }
  }
};

}  // namespace quant
GEMMA_NAMESPACE_END

#endif  // GEMMA_QUANT_ENCODE_K_QUANTS_HPP_
