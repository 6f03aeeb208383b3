// Activations as integers: what the weights of quantised formats are multiplied with.
#if defined(GEMMA_SIMD_ACTIVATIONS_INL_HPP_) == defined(HWY_TARGET_TOGGLE)
#ifdef GEMMA_SIMD_ACTIVATIONS_INL_HPP_
#undef GEMMA_SIMD_ACTIVATIONS_INL_HPP_
#else
#define GEMMA_SIMD_ACTIVATIONS_INL_HPP_
#endif

#include <cstring>
#include <limits>

#include "gemma/simd/codes-inl.hpp"
#include "gemma/simd/dot-inl.hpp"
#include "gemma/simd/kernels.hpp"
#include "gemma/simd/vector-inl.hpp"

HWY_BEFORE_NAMESPACE();
GEMMA_NAMESPACE_BEGIN
namespace simd {
namespace HWY_NAMESPACE {

/// The scales of some groups of 32 floats, as integers of 15 bits: found together, so that no group waits for the
/// one before.
struct GroupScales {
  static constexpr std::size_t kMost = 16;
  static constexpr std::size_t kVectors = kActivationGroup / kLanes;
  float scale[kMost];    ///< a group with a number that is not finite has NaN, so that nothing hides it
  float inverse[kMost];  ///< 0: all integers are to be 0

  HWY_INLINE GroupScales(const float* x, std::size_t groups) {
    constexpr float kLargest = 127.0f * 256.0f;
    const DF d;
    const DI32 di;
    // Of numbers without sign the bits are in the order of the numbers, and those of infinity and NaN the largest.
    std::int32_t largest[kMost] = {};
    for (std::size_t g = 0; g < groups; ++g) {
      VI32 bits = hn::Zero(di);
      for (std::size_t v = 0; v < kVectors; ++v) {
        bits = hn::Max(bits, hn::BitCast(di, hn::Abs(hn::LoadU(d, x + g * kActivationGroup + v * kLanes))));
      }
      largest[g] = hn::ReduceMax(di, bits);
    }
    for (std::size_t g = 0; g < kMost; g += kLanes) {
      const VI32 bits = hn::LoadU(di, largest + g);
      const VF max = hn::BitCast(d, bits);
      const auto finite = hn::RebindMask(d, hn::Lt(bits, hn::Set(di, 0x7F800000)));
      const auto usable = hn::And(finite, hn::Gt(max, hn::Set(d, 1e-35f)));
      hn::StoreU(hn::IfThenElseZero(usable, hn::Div(hn::Set(d, kLargest), max)), d, inverse + g);
      const VF own = hn::IfThenElseZero(usable, hn::Div(max, hn::Set(d, kLargest)));
      const VF none = hn::Set(d, std::numeric_limits<float>::quiet_NaN());
      hn::StoreU(hn::IfThenElse(finite, own, none), d, scale + g);
    }
  }
};

/// A group as integers of 15 bits: q = 256 high + low, x ≈ scale · q. The high bytes alone are what rounding to
/// 8 bits gives.
struct QuantizedGroup {
  static constexpr std::size_t kVectors = GroupScales::kVectors;
  VI32 q[kVectors];
  VI32 high[kVectors];

  HWY_INLINE QuantizedGroup(const float* x, float inverse) {
    const DF d;
    const DI32 di;
    for (std::size_t v = 0; v < kVectors; ++v) {
      const VF values = inverse > 0.0f ? hn::LoadU(d, x + v * kLanes) : hn::Zero(d);
      q[v] = hn::NearestInt(hn::Mul(values, hn::Set(d, inverse)));
      high[v] = hn::ShiftRight<8>(hn::Add(q[v], hn::Set(di, 128)));
    }
  }

  HWY_INLINE VI32 low(std::size_t v) const { return hn::Sub(q[v], hn::ShiftLeft<8>(high[v])); }

  /// Sums of the first and the second 16 of some integers.
  static HWY_INLINE void half_sums(const VI32* values, std::int32_t* sums) {
    const DI32 di;
    for (std::size_t h = 0; h < 2; ++h) {
      VI32 sum = values[h * kVectors / 2];
      for (std::size_t v = 1; v < kVectors / 2; ++v) sum = hn::Add(sum, values[h * kVectors / 2 + v]);
      sums[h] = hn::ReduceSum(di, sum);
    }
  }

  /// The same of integers whose sums have less than 16 bits: sums[half][pair] of i % 4 < 2, and of the others. (Both
  /// halves in one integer.)
  static HWY_INLINE void short_pair_sums(const VI32* values, std::int32_t (*sums)[2]) {
    const DI32 di;
    VI32 both = hn::Zero(di);
    for (std::size_t v = 0; v < kVectors / 2; ++v) {
      both = hn::Add(both, hn::Add(values[v], hn::ShiftLeft<16>(values[kVectors / 2 + v])));
    }
    std::int32_t fours[4];
    hn::StoreU(fold_to_four(both), hn::FixedTag<std::int32_t, 4>(), fours);
    for (std::size_t pair = 0; pair < 2; ++pair) {
      const std::int32_t sum = fours[2 * pair] + fours[2 * pair + 1];
      sums[0][pair] = static_cast<std::int16_t>(sum & 0xFFFF);
      sums[1][pair] = (sum - sums[0][pair]) >> 16;
    }
  }
};

HWY_INLINE void store_bytes(VI32 values, std::int8_t* out) {
  const hn::Rebind<std::int8_t, DI32> narrow;
  hn::StoreU(hn::DemoteTo(narrow, values), narrow, out);
}

/// Calls visit(g, integers of group g, their scale) for all groups of n floats.
template <class Visit>
HWY_INLINE void quantize_groups(const float* x, std::size_t n, const Visit& visit) {
  const std::size_t groups = n / kActivationGroup;
  for (std::size_t first = 0; first < groups; first += GroupScales::kMost) {
    const float* own = x + first * kActivationGroup;
    const std::size_t count = HWY_MIN(GroupScales::kMost, groups - first);
    const GroupScales scales(own, count);
    for (std::size_t g = 0; g < count; ++g) {
      visit(first + g, QuantizedGroup(own + g * kActivationGroup, scales.inverse[g]), scales.scale[g]);
    }
  }
}

inline HWY_NOINLINE void quantize_coarse(const float* x, std::size_t n, const CoarseRow& out) {
  quantize_groups(x, n, [&](std::size_t g, const QuantizedGroup& group, float scale) GEMMA_INLINE_LAMBDA {
    for (std::size_t v = 0; v < QuantizedGroup::kVectors; ++v) {
      store_bytes(group.high[v], out.q + g * kActivationGroup + v * kLanes);
    }
    std::int32_t sums[2][2];
    QuantizedGroup::short_pair_sums(group.high, sums);
    CoarseGroup& meta = out.groups[g];
    for (std::size_t h = 0; h < 2; ++h) meta.minus_half[h] = -sums[h][0] - sums[h][1];
    meta.minus_sum = meta.minus_half[0] + meta.minus_half[1];
    meta.scale = 256.0f * scale;
    meta.sum = meta.scale * static_cast<float>(-meta.minus_sum);
    for (std::size_t pair = 0; kHasPairs && pair < 2; ++pair) {
      for (std::size_t h = 0; h < 2; ++h) meta.minus_pairs[h][pair] = static_cast<std::int16_t>(-sums[h][pair]);
      meta.minus_pairs[2][pair] = static_cast<std::int16_t>(-sums[0][pair] - sums[1][pair]);
    }
  });
}

/// Fine activations lie as bytes, all high ones of a row before all low ones, or, of targets without kHasQuads in
/// the plain order, as words: in the order in which codes, which are bytes, become words. Vectors of 16 are widened
/// half by half; longer ones would have to cross lanes for that, so that of these the even bytes come first, then the
/// odd ones.
inline constexpr bool kWidensHalves = kBytes == 16;

/// So many words of either part lie together.
inline constexpr std::size_t kAlternate = HWY_MIN(kBytes, kActivationGroup) / 2;

/// The words that kBytes codes are multiplied with: kPart 0 the first ones of each vector, 1 the others.
template <std::size_t kPart>
HWY_INLINE VI16 load_alternate(const std::int16_t* x) {
  const DI16 d;
  if constexpr (2 * kAlternate == kBytes) {
    return hn::LoadU(d, x + kPart * kAlternate);
  } else {
    const hn::Half<DI16> half;
    return hn::Combine(d, hn::LoadU(half, x + (2 + kPart) * kAlternate), hn::LoadU(half, x + kPart * kAlternate));
  }
}

/// Codes as words, in these two parts.
struct WidenedCodes {
  VI16 part[2];

  HWY_INLINE explicit WidenedCodes(VU8 codes) {
    const DI16 d;
    const DU16 words;
    if constexpr (kWidensHalves) {
      part[0] = hn::BitCast(d, hn::ZipLower(words, codes, hn::Zero(DU8())));
      part[1] = hn::BitCast(d, hn::ZipUpper(words, codes, hn::Zero(DU8())));
    } else {
      part[0] = hn::BitCast(d, hn::And(hn::BitCast(words, codes), hn::Set(words, 0xFF)));
      part[1] = hn::BitCast(d, hn::ShiftRight<8>(hn::BitCast(words, codes)));
    }
  }
};

/// How far behind the high bytes of n numbers the low ones lie.
constexpr std::size_t low_offset(std::size_t n) { return fine_order_bytes(n) / 2; }

/// The orders of fine activations that codes come in, by groups of 32.
enum class FineOrder : std::uint8_t {
  plain,
  paired,      ///< the first 16 of two groups, then the second ones; of targets that pair blocks (kPairsBlocks)
  halves,      ///< the same of four groups; where vectors hold 64 codes
  even_groups  ///< of four groups the even ones, then the odd ones; likewise
};

/// Where in FineRow::q for n numbers an order begins.
constexpr std::size_t order_offset(FineOrder order, std::size_t n) {
  const std::size_t place = order == FineOrder::plain ? 0 : order == FineOrder::even_groups ? 2 : 1;
  return place * fine_order_bytes(n);
}

/// Where among 128 the first (0) or the second (1) half of one of four groups lies.
constexpr std::size_t place_in_order(FineOrder order, std::size_t group, std::size_t half) {
  if (order == FineOrder::paired) return 64 * (group / 2) + 32 * half + 16 * (group % 2);
  if (order == FineOrder::halves) return 64 * half + 16 * group;
  if (order == FineOrder::even_groups) return 64 * (group % 2) + 32 * (group / 2) + 16 * half;
  return 32 * group + 16 * half;
}

/// Stores 16 bits of each of 32 numbers.
HWY_INLINE void store_words(const VI32* q, std::int16_t* out) {
  const hn::Rebind<std::int16_t, DI32> narrow;
  std::int16_t words[kActivationGroup];
  for (std::size_t v = 0; v < kActivationGroup / kLanes; ++v) {
    hn::StoreU(hn::DemoteTo(narrow, q[v]), narrow, words + v * kLanes);
  }
  if constexpr (kWidensHalves) {
    std::memcpy(out, words, sizeof words);
  } else {
    const hn::FixedTag<std::int16_t, 8> eight;
    for (std::size_t half = 0; half < 2; ++half) {
      hn::Vec<decltype(eight)> even, odd;
      hn::LoadInterleaved2(eight, words + 16 * half, even, odd);
      hn::StoreU(even, eight, out + 8 * half);
      hn::StoreU(odd, eight, out + 8 * half + kAlternate);
    }
  }
}

inline HWY_NOINLINE void quantize_fine(const float* x, std::size_t n, const FineRow& out) {
  quantize_groups(x, n, [&](std::size_t g, const QuantizedGroup& group, float scale) GEMMA_INLINE_LAMBDA {
    for (std::size_t v = 0; v < QuantizedGroup::kVectors; ++v) {
      const auto store = [&](FineOrder order) GEMMA_INLINE_LAMBDA {
        const std::size_t place = place_in_order(order, g % 4, v * kLanes / 16) + v * kLanes % 16;
        std::int8_t* first = out.q + order_offset(order, n) + g / 4 * 128 + place;
        store_bytes(group.high[v], first);
        store_bytes(group.low(v), first + low_offset(n));
      };
      if constexpr (kHasQuads) store(FineOrder::plain);
      if constexpr (kPairsBlocks) store(FineOrder::paired);
      if constexpr (kHasQuads && kVecs == 1) {
        store(FineOrder::halves);
        store(FineOrder::even_groups);
      }
    }
    if constexpr (!kHasQuads) {
      store_words(group.q, reinterpret_cast<std::int16_t*>(out.q) + g * kActivationGroup);
    }
    std::int32_t halves[2];
    QuantizedGroup::half_sums(group.q, halves);
    out.scale[g] = scale;
    out.sum[g] = scale * static_cast<float>(halves[0] + halves[1]);
    for (std::size_t h = 0; h < 2; ++h) out.half_sum[2 * g + h] = scale * static_cast<float>(halves[h]);
  });
}

/// The fine activations of one token, in the order of a format's codes.
struct FineInput {
  const std::int8_t* q;
  const float* scale;
  const float* sum;  ///< by group of 32 or 16, as the format has them
};

template <class Format>
HWY_INLINE FineInput fine_input(const Activations& x, std::size_t token, FineOrder order) {
  const FineRow& rows = x.fine_rows;
  const std::size_t groups = token * (x.cols / kActivationGroup);
  return {rows.q + token * fine_bytes(x.cols) + order_offset(order, x.cols), rows.scale + groups,
          Format::kGroup == 32 ? rows.sum + groups : rows.half_sum + 2 * groups};
}

}  // namespace HWY_NAMESPACE
}  // namespace simd
GEMMA_NAMESPACE_END
HWY_AFTER_NAMESPACE();

#endif  // GEMMA_SIMD_ACTIVATIONS_INL_HPP_
