// A span of each of four rows as codes in vectors of 64 (see codes-inl.hpp), for one pass over few tokens:
// rows together share what is loaded and computed for the activations, and their scales fill vectors.
//
// FourSpans<Format> gives the codes of a row by 128, in two vectors, in whatever order is cheap: column()
// says which. Where kNibbles, both() gives the two as the low and high nibbles of one vector. Scales and
// minimums come as floats [4 rows, kGroups], a vector for each 16 of them.
#if defined(GEMMA_SIMD_FOUR_SPANS_INL_HPP_) == defined(HWY_TARGET_TOGGLE)
#ifdef GEMMA_SIMD_FOUR_SPANS_INL_HPP_
#undef GEMMA_SIMD_FOUR_SPANS_INL_HPP_
#else
#define GEMMA_SIMD_FOUR_SPANS_INL_HPP_
#endif

#include <array>
#include <type_traits>

#include "gemma/simd/codes-inl.hpp"
#include "gemma/simd/dot-inl.hpp"
#include "gemma/simd/vector-inl.hpp"

#if HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX3_DL
HWY_BEFORE_NAMESPACE();
GEMMA_NAMESPACE_BEGIN
namespace simd {
namespace HWY_NAMESPACE {

/// A vector of numbers f(0), f(1), …, which is a constant.
template <class T, class F>
constexpr std::array<T, 64 / sizeof(T)> lanes_of(F f) {
  std::array<T, 64 / sizeof(T)> lanes{};
  for (std::size_t i = 0; i < lanes.size(); ++i) lanes[i] = static_cast<T>(f(i));
  return lanes;
}

/// The lanes of 64 bytes that `from` names.
template <class T>
HWY_INLINE VU8 pick(VU8 bytes, const std::array<T, 64 / sizeof(T)>& from) {
  const hn::Repartition<T, DU8> d;
  const auto indices = table_indices(d, hn::LoadU(d, from.data()));
  return hn::BitCast(DU8(), hn::TableLookupLanes(hn::BitCast(d, bytes), indices));
}

/// The same for 128 bytes.
template <class T>
HWY_INLINE VU8 pick(VU8 first, VU8 second, const std::array<T, 64 / sizeof(T)>& from) {
  const hn::Repartition<T, DU8> d;
  const auto indices = table_indices(d, hn::LoadU(d, from.data()));
  return hn::BitCast(
      DU8(), hn::TwoTablesLookupLanes(d, hn::BitCast(d, first), hn::BitCast(d, second), indices));
}

/// Codes plus 16 where a bit of `bits` is set.
template <class T>
HWY_INLINE VU8 or_fifth_bit(VU8 codes, VU8 bytes, const std::array<T, 64>& bits) {
  const DU8 d;
  const auto set = hn::TestBit(bytes, hn::LoadU(d, bits.data()));
  return hn::Or(codes, hn::IfThenElseZero(set, hn::Set(d, 16)));
}

/// The low and the high nibbles.
HWY_INLINE void split_nibbles(VU8 both, VU8* out) {
  const DU8 d;
  const VU8 mask = hn::Set(d, 15);
  out[0] = hn::And(both, mask);
  out[1] = hn::And(hn::BitCast(d, hn::ShiftRight<4>(hn::BitCast(DU16(), both))), mask);
}

/// 32 bytes, twice.
HWY_INLINE VU8 load_32_twice(const std::uint8_t* p) {
  const auto bytes = hn::LoadU(hn::Half<DU8>(), p);
  return hn::Combine(DU8(), bytes, bytes);
}

/// The first 16 binary16 numbers of a vector.
HWY_INLINE VF promote_halves(VU8 bytes) {
  const hn::Rebind<hwy::float16_t, DF> narrow;
  return hn::PromoteTo(DF(), hn::BitCast(narrow, hn::LowerHalf(bytes)));
}

/// Integers without scales of their own.
template <class Format>
class FourPlainSpans {
 public:
  HWY_INLINE explicit FourPlainSpans(const std::uint8_t* spans, std::size_t stride)
      : codes_{Codes<Format>(spans), Codes<Format>(spans + stride), Codes<Format>(spans + 2 * stride),
               Codes<Format>(spans + 3 * stride)} {}

  static constexpr bool kNibbles = false;
  /// The first of the four columns, of 128, in a lane of a vector.
  static constexpr std::size_t column(std::size_t vector, std::size_t lane) {
    return 64 * vector + 4 * lane;
  }
  /// Codes 128 kHalf … 128 kHalf + 127 of a row.
  template <std::size_t kHalf>
  HWY_INLINE void get(std::size_t row, VU8* out) const {
    codes_[row].template get<2 * kHalf>(out);
    codes_[row].template get<2 * kHalf + 1>(out + 1);
  }
  HWY_INLINE void scales(VF* scale, VF* minimum) const {
    constexpr std::size_t kGroups = Codes<Format>::kSpan / Format::kGroup;
    float scales[4 * kGroups], minimums[4 * kGroups];
    for (std::size_t r = 0; r < 4; ++r) codes_[r].scales(scales + r * kGroups, minimums + r * kGroups);
    for (std::size_t i = 0; i < 4 * kGroups; i += kLanes) {
      scale[i / kLanes] = hn::LoadU(DF(), scales + i);
      if constexpr (Format::kHasMin) minimum[i / kLanes] = hn::LoadU(DF(), minimums + i);
    }
  }

 private:
  Codes<Format> codes_[4];
};

/// Formats with blocks of 32 codes of 4, 5 or 8 bits. Those of less than 8 come as the first halves of
/// four blocks, then the second ones.
template <class Format>
class FourBlockSpans {
  static constexpr std::size_t kBlock = Format::kBlockBytes;
  static constexpr int kBits = Codes<Format>::kBits;
  /// A span is loaded in a vector and a second one, no longer than need be, since one that crosses a line of the
  /// cache costs two loads, and more beside stores; of 8 bits they hold the scales only.
  static constexpr std::size_t kSecondBytes = kBits == 8 ? 64 : 4 * kBlock <= 80 ? 16 : 32;
  static constexpr std::size_t kSecond = HWY_MIN(4 * kBlock, std::size_t{128}) - kSecondBytes;
  static constexpr std::size_t lane_of(std::size_t byte) {
    return byte < 64 ? byte : byte - kSecond + 64;
  }

 public:
  HWY_INLINE explicit FourBlockSpans(const std::uint8_t* spans, std::size_t stride)
      : spans_(spans), stride_(stride) {}

  static constexpr bool kNibbles = kBits == 4;
  static constexpr std::size_t column(std::size_t vector, std::size_t lane) {
    return kBits == 8 ? 64 * vector + 4 * lane : lane / 4 * 32 + 16 * vector + lane % 4 * 4;
  }
  template <std::size_t kHalf>
  HWY_INLINE void get(std::size_t row, VU8* out) const {
    if constexpr (kBits == 8) {
      const Codes<Format> codes(spans_ + row * stride_);
      codes.template get<0>(out);
      codes.template get<1>(out + 1);
    } else {
      split_nibbles(both<kHalf>(row), out);
      if constexpr (kBits == 5) {
        // The bits of a block, in each half of its 16 bytes.
        static constexpr auto kFrom = lanes_of<std::uint8_t>(
            [](std::size_t i) { return lane_of(i / 16 * kBlock + Format::kHighBitsOffset + i % 4); });
        const VU8 bits = pick(first(row), second(row), kFrom);
        unroll<2>([&](auto v) GEMMA_INLINE_LAMBDA {
          // To bit 4 of each byte.
          static constexpr auto kTurn = lanes_of<std::uint8_t>(
              [](std::size_t i) { return (16 * decltype(v)::value + i % 16 + 60) % 64; });
          const DU8 d;
          const auto turned = hn::MultiRotateRight(hn::BitCast(hn::Repartition<std::uint64_t, DU8>(), bits),
                                                   hn::LoadU(d, kTurn.data()));
          out[v] = hn::OrAnd(out[v], hn::BitCast(d, turned), hn::Set(d, 16));
        });
      }
    }
  }
  template <std::size_t kHalf>
  HWY_INLINE VU8 both(std::size_t row) const {
    static constexpr auto kQuants = lanes_of<std::uint8_t>([](std::size_t i) {
      return lane_of(i / 16 * kBlock + Format::kQuantsOffset + i % 16);
    });
    return pick(first(row), second(row), kQuants);
  }
  HWY_INLINE void scales(VF* scale, VF* minimum) const {
    scale[0] = halves<Format::kScaleOffset>();
    if constexpr (Format::kHasMin) minimum[0] = hn::Neg(halves<Format::kMinOffset>());
  }

 private:
  HWY_INLINE VU8 first(std::size_t row) const { return hn::LoadU(DU8(), spans_ + row * stride_); }
  HWY_INLINE VU8 second(std::size_t row) const {
    const hn::CappedTag<std::uint8_t, kSecondBytes> d;
    return hn::ResizeBitCast(DU8(), hn::LoadU(d, spans_ + row * stride_ + kSecond));
  }

  /// A binary16 number of each block, row after row.
  template <std::size_t kOffset>
  HWY_INLINE VF halves() const {
    using DU64 = hn::Repartition<std::uint64_t, DU8>;
    hn::Vec<DU64> two[2];  // rows, in the first 16 bytes
    for (std::size_t r = 0; r < 2; ++r) {
      if constexpr (3 * kBlock + kOffset < 64) {
        static constexpr auto kFrom = lanes_of<std::uint16_t>(
            [](std::size_t i) { return (i % 4 * kBlock + kOffset) / 2 + i / 4 % 2 * 32; });
        two[r] = hn::BitCast(DU64(), pick(first(2 * r), first(2 * r + 1), kFrom));
      } else {
        static constexpr auto kFrom = lanes_of<std::uint16_t>(
            [](std::size_t i) { return lane_of(i % 4 * kBlock + kOffset) / 2; });
        two[r] = hn::InterleaveLower(
            hn::BitCast(DU64(), pick(first(2 * r), second(2 * r), kFrom)),
            hn::BitCast(DU64(), pick(first(2 * r + 1), second(2 * r + 1), kFrom)));
      }
    }
    const hn::Half<DU64> half;
    const auto all = hn::Combine(half, first_block(two[1]), first_block(two[0]));
    return promote_halves(hn::ResizeBitCast(DU8(), all));
  }

  template <class V>
  static HWY_INLINE auto first_block(V v) {
    return hn::LowerHalf(hn::LowerHalf(v));
  }

  const std::uint8_t* spans_;
  std::size_t stride_;
};

/// Q4_K and Q5_K: even groups of 32, then odd ones.
template <class Format>
class FourKSpans {
 public:
  HWY_INLINE explicit FourKSpans(const std::uint8_t* blocks, std::size_t stride)
      : blocks_(blocks), stride_(stride) {}

  static constexpr bool kNibbles = Codes<Format>::kBits == 4;
  static constexpr std::size_t column(std::size_t vector, std::size_t lane) {
    return 32 * vector + lane / 8 * 64 + lane % 8 * 4;
  }
  template <std::size_t kHalf>
  HWY_INLINE void get(std::size_t row, VU8* out) const {
    split_nibbles(both<kHalf>(row), out);
    if constexpr (Codes<Format>::kBits == 5) {
      const VU8 high = load_32_twice(blocks_ + row * stride_ + Format::kHighBitsOffset);
      unroll<2>([&](auto v) GEMMA_INLINE_LAMBDA {
        static constexpr auto kBit = lanes_of<std::uint8_t>(
            [](std::size_t i) { return 1u << (4 * kHalf + i / 32 * 2 + decltype(v)::value); });
        out[v] = or_fifth_bit(out[v], high, kBit);
      });
    }
  }
  template <std::size_t kHalf>
  HWY_INLINE VU8 both(std::size_t row) const {
    return hn::LoadU(DU8(), blocks_ + row * stride_ + Format::kQuantsOffset + 64 * kHalf);
  }
  /// Two rows at a time; of the packed bytes see k_quants.hpp.
  HWY_INLINE void scales(VF* scale, VF* minimum) const {
    static_assert(Format::kScaleOffset == 0 && Format::kMinOffset == 2 && Format::kScalesOffset == 4,
                  "all in the first 16 bytes");
    const hn::FixedTag<std::uint8_t, 16> header;
    const hn::Half<DU8> two;
    const VU8 headers = hn::Combine(
        DU8(), hn::Combine(two, hn::LoadU(header, blocks_ + 3 * stride_), hn::LoadU(header, blocks_ + 2 * stride_)),
        hn::Combine(two, hn::LoadU(header, blocks_ + 1 * stride_), hn::LoadU(header, blocks_ + 0 * stride_)));
    unroll<2>([&](auto pair) GEMMA_INLINE_LAMBDA {
      scale[pair] = parts<2 * decltype(pair)::value, 0>(headers);
      minimum[pair] = parts<2 * decltype(pair)::value, 1>(headers);
    });
  }

 private:
  /// Scales, or with kPart 1 minimums, of rows kRow and kRow + 1.
  template <std::size_t kRow, std::size_t kPart>
  static HWY_INLINE VF parts(VU8 headers) {
    const DU32 d;
    // In each lane the byte with the low bits, then, of the last four groups, that with the high ones.
    static constexpr auto kFrom = lanes_of<std::uint8_t>([](std::size_t i) {
      const std::size_t g = i / 4 % 8, block = 16 * (kRow + i / 32), own = block + 4 + 4 * kPart + g % 4;
      return i % 4 == 0 && g >= 4 ? block + 12 + g % 4 : own;
    });
    static constexpr auto kShift = lanes_of<std::uint32_t>(
        [](std::size_t i) { return i % 8 < 4 ? std::size_t{0} : 4 * kPart; });
    static constexpr auto kLow = lanes_of<std::uint32_t>([](std::size_t i) { return i % 8 < 4 ? 63 : 15; });
    static constexpr auto kHigh = lanes_of<std::uint32_t>([](std::size_t i) { return i % 8 < 4 ? 0 : 48; });
    static constexpr auto kFactor = lanes_of<std::uint16_t>(
        [](std::size_t i) { return 8 * (kRow + i / 8 % 2) + kPart; });
    const VU32 bytes = hn::BitCast(d, pick(headers, kFrom));
    const VU32 low = hn::And(hn::Shr(bytes, hn::LoadU(d, kShift.data())), hn::LoadU(d, kLow.data()));
    const VU32 all = hn::OrAnd(low, hn::ShiftRight<10>(bytes), hn::LoadU(d, kHigh.data()));
    return hn::Mul(hn::ConvertTo(DF(), hn::BitCast(DI32(), all)),
                   promote_halves(pick(headers, kFactor)));
  }

  const std::uint8_t* blocks_;
  std::size_t stride_;
};

/// Q6_K, in order.
class FourSixKSpans {
 public:
  HWY_INLINE explicit FourSixKSpans(const std::uint8_t* blocks, std::size_t stride)
      : blocks_(blocks), stride_(stride) {}

  static constexpr bool kNibbles = false;
  static constexpr std::size_t column(std::size_t vector, std::size_t lane) {
    return 64 * vector + 4 * lane;
  }
  template <std::size_t kHalf>
  HWY_INLINE void get(std::size_t row, VU8* out) const {
    const DU8 d;
    const DU32 words;  // what a shift brings in from the next byte is masked
    static constexpr auto kLeft = lanes_of<std::uint32_t>([](std::size_t i) { return i < 8 ? 4 : 2; });
    static constexpr auto kRight = lanes_of<std::uint32_t>([](std::size_t i) { return i < 8 ? 0 : 2; });
    const std::uint8_t* block = blocks_ + row * stride_;
    split_nibbles(hn::LoadU(d, block + quant::Q6_K::kQuantsOffset + 64 * kHalf), out);
    const VU32 high =
        hn::BitCast(words, load_32_twice(block + quant::Q6_K::kHighBitsOffset + 32 * kHalf));
    const VU8 mask = hn::Set(d, 48);
    out[0] = hn::OrAnd(out[0], hn::BitCast(d, hn::Shl(high, hn::LoadU(words, kLeft.data()))), mask);
    out[1] = hn::OrAnd(out[1], hn::BitCast(d, hn::Shr(high, hn::LoadU(words, kRight.data()))), mask);
  }
  HWY_INLINE void scales(VF* scale, VF* /*minimum*/) const {
    const hn::Rebind<std::int8_t, DF> narrow;
    for (std::size_t r = 0; r < 4; ++r) {
      const std::uint8_t* block = blocks_ + r * stride_;
      const auto* own = reinterpret_cast<const std::int8_t*>(block + quant::Q6_K::kScalesOffset);
      const auto factor = hn::Set(DU16(), load_le<std::uint16_t>(block + quant::Q6_K::kScaleOffset));
      scale[r] = hn::Mul(hn::ConvertTo(DF(), hn::PromoteTo(DI32(), hn::LoadU(narrow, own))),
                         promote_halves(hn::BitCast(DU8(), factor)));
    }
  }

 private:
  const std::uint8_t* blocks_;
  std::size_t stride_;
};

/// How to read the codes of a format, four rows at a time; of those that are kIsSlow, nobody does.
template <class Format>
using FourSpans = std::conditional_t<
    quant::kRowScaled<Format>, FourPlainSpans<Format>,
    std::conditional_t<Format::kBlockElements == 32, FourBlockSpans<Format>,
                       std::conditional_t<Format::kType == DType::Q6_K, FourSixKSpans, FourKSpans<Format>>>>;

}  // namespace HWY_NAMESPACE
}  // namespace simd
GEMMA_NAMESPACE_END
HWY_AFTER_NAMESPACE();
#endif  // HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX3_DL

#endif  // GEMMA_SIMD_FOUR_SPANS_INL_HPP_
