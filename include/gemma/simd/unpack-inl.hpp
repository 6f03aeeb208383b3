// From the bytes of a weight block to vectors of int16: one BlockReader per number format. The
// formats that decode reads most have their own, which stays in registers; all others go through
// the format's scalar decode_groups().
#if defined(GEMMA_SIMD_UNPACK_INL_HPP_) == defined(HWY_TARGET_TOGGLE)
#ifdef GEMMA_SIMD_UNPACK_INL_HPP_
#undef GEMMA_SIMD_UNPACK_INL_HPP_
#else
#define GEMMA_SIMD_UNPACK_INL_HPP_
#endif

#include "gemma/quant/registry.hpp"
#include "gemma/simd/vector-inl.hpp"

HWY_BEFORE_NAMESPACE();
GEMMA_NAMESPACE_BEGIN
namespace simd {
namespace HWY_NAMESPACE {

/// int16 vectors that hold 32 weights: 1 with AVX-512, 2 with AVX2, 4 elsewhere.
inline constexpr std::size_t kParts = 32 / hn::MaxLanes(DI16());

using D8 = hn::FixedTag<std::int8_t, 16>;
using DU8 = hn::FixedTag<std::uint8_t, 16>;
using V8 = hn::Vec<D8>;
using VU8 = hn::Vec<DU8>;

/// Elements 0..15 and 16..31 of a group, widened.
template <std::size_t kCount = kParts, class V>
HWY_INLINE void widen(V low, V high, VI16* out) {
  const DI16 d;
  if constexpr (kCount == 1) {
    out[0] = hn::PromoteTo(d, hn::Combine(hn::Twice<hn::DFromV<V>>(), high, low));
  } else if constexpr (kCount == 2) {
    out[0] = hn::PromoteTo(d, low);
    out[1] = hn::PromoteTo(d, high);
  } else {
    out[0] = hn::PromoteLowerTo(d, low);
    out[1] = hn::PromoteUpperTo(d, low);
    out[2] = hn::PromoteLowerTo(d, high);
    out[3] = hn::PromoteUpperTo(d, high);
  }
}

/// 32 int8 in memory, widened.
HWY_INLINE void widen_from(const std::int8_t* p, VI16* out) {
  const DI16 d;
  const hn::Rebind<std::int8_t, DI16> narrow;
  for (std::size_t i = 0; i < kParts; ++i) {
    out[i] = hn::PromoteTo(d, hn::LoadU(narrow, p + i * (32 / kParts)));
  }
}

/// A binary16 field of a block with at least 6 further bytes after it.
HWY_INLINE float load_half(const std::uint8_t* p) {
  const hn::FixedTag<float, 4> d;
  const hn::FixedTag<hwy::float16_t, 4> narrow;
  hwy::float16_t halves[4];
  std::memcpy(halves, p, sizeof halves);
  return hn::GetLane(hn::PromoteTo(d, hn::LoadU(narrow, halves)));
}

/// A block of a format, group of 32 by group of 32: quants(g, out) gives its integers, scale(g) and
/// minimum(g) those of the whole group, or of the g-th group of 16 where kGroup is 16.
template <class Format>
class BlockReader {
 public:
  HWY_INLINE explicit BlockReader(const std::uint8_t* block) {
    Format::decode_groups(block, q_, scale_, minimum_);
  }
  HWY_INLINE void quants(std::size_t g, VI16* out) const { widen_from(q_ + 32 * g, out); }
  HWY_INLINE float scale(std::size_t g) const { return scale_[g]; }
  HWY_INLINE float minimum(std::size_t g) const { return minimum_[g]; }

 private:
  std::int8_t q_[Format::kBlockElements];
  float scale_[Format::kBlockElements / Format::kGroup];
  float minimum_[Format::kBlockElements / Format::kGroup];
};

template <>
class BlockReader<quant::Q8_0> {
 public:
  HWY_INLINE explicit BlockReader(const std::uint8_t* block) : block_(block) {}
  HWY_INLINE void quants(std::size_t, VI16* out) const {
    widen_from(reinterpret_cast<const std::int8_t*>(block_ + quant::Q8_0::kQuantsOffset), out);
  }
  HWY_INLINE float scale(std::size_t) const {
    return load_half(block_ + quant::Q8_0::kScaleOffset);
  }

 private:
  const std::uint8_t* block_;
};

/// Low and high nibbles of 16 bytes.
HWY_INLINE void nibbles(const std::uint8_t* p, VU8* low, VU8* high) {
  const DU8 d;
  const VU8 bytes = hn::LoadU(d, p);
  *low = hn::And(bytes, hn::Set(d, 15));
  *high = hn::ShiftRight<4>(bytes);
}

template <>
class BlockReader<quant::Q4_0> {
 public:
  HWY_INLINE explicit BlockReader(const std::uint8_t* block) : block_(block) {}
  HWY_INLINE void quants(std::size_t, VI16* out) const {
    const D8 d;
    VU8 low, high;
    nibbles(block_ + quant::Q4_0::kQuantsOffset, &low, &high);
    const V8 eight = hn::Set(d, 8);
    widen(hn::Sub(hn::BitCast(d, low), eight), hn::Sub(hn::BitCast(d, high), eight), out);
  }
  HWY_INLINE float scale(std::size_t) const {
    return load_half(block_ + quant::Q4_0::kScaleOffset);
  }

 private:
  const std::uint8_t* block_;
};

/// 16 where bit i of the two bytes at p is clear, for i < 16, else 0.
HWY_INLINE V8 clear_bits_as_16(const std::uint8_t* p) {
  const DU8 d;
  std::uint16_t bits;
  std::memcpy(&bits, p, sizeof bits);
  // Byte 0 to the lower eight lanes, byte 1 to the upper; then each lane tests its own bit.
  const VU8 both = hn::BitCast(d, hn::Set(hn::FixedTag<std::uint16_t, 8>(), bits));
  const VU8 spread = hn::TableLookupBytes(
      both, hn::Dup128VecFromValues(d, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1));
  const VU8 own = hn::Dup128VecFromValues(d, 1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64,
                                          128);
  const auto clear = hn::Eq(hn::And(spread, own), hn::Zero(d));
  return hn::BitCast(D8(), hn::IfThenElseZero(clear, hn::Set(d, 16)));
}

template <>
class BlockReader<quant::Q5_0> {
 public:
  HWY_INLINE explicit BlockReader(const std::uint8_t* block) : block_(block) {}
  HWY_INLINE void quants(std::size_t, VI16* out) const {
    const D8 d;
    VU8 low, high;
    nibbles(block_ + quant::Q5_0::kQuantsOffset, &low, &high);
    // q − 16 with bit 4 apart: the nibble, less 16 where the bit is clear.
    const std::uint8_t* bits = block_ + quant::Q5_0::kHighBitsOffset;
    widen(hn::Sub(hn::BitCast(d, low), clear_bits_as_16(bits)),
          hn::Sub(hn::BitCast(d, high), clear_bits_as_16(bits + 2)), out);
  }
  HWY_INLINE float scale(std::size_t) const {
    return load_half(block_ + quant::Q5_0::kScaleOffset);
  }

 private:
  const std::uint8_t* block_;
};

template <>
class BlockReader<quant::Q4_K> {
 public:
  HWY_INLINE explicit BlockReader(const std::uint8_t* block) : block_(block) {
    quant::detail::unpack_scales_and_minimums(
        block + quant::Q4_K::kScalesOffset, load_half(block + quant::Q4_K::kScaleOffset),
        load_half(block + quant::Q4_K::kMinOffset), scale_, minimum_);
  }
  HWY_INLINE void quants(std::size_t g, VI16* out) const {
    const D8 d;
    VU8 first[2], second[2];
    const std::uint8_t* p = block_ + quant::Q4_K::kQuantsOffset + g / 2 * 32;
    nibbles(p, &first[0], &first[1]);
    nibbles(p + 16, &second[0], &second[1]);
    widen(hn::BitCast(d, first[g % 2]), hn::BitCast(d, second[g % 2]), out);
  }
  HWY_INLINE float scale(std::size_t g) const { return scale_[g]; }
  HWY_INLINE float minimum(std::size_t g) const { return minimum_[g]; }

 private:
  const std::uint8_t* block_;
  float scale_[8];
  float minimum_[8];
};

template <>
class BlockReader<quant::Q6_K> {
 public:
  HWY_INLINE explicit BlockReader(const std::uint8_t* block)
      : block_(block), d_(quant::detail::load_half(block + quant::Q6_K::kScaleOffset)) {}

  HWY_INLINE void quants(std::size_t g, VI16* out) const {
    // Groups 0..3 and 4..7 share 64 bytes of lower and 32 of upper bits each.
    const std::uint8_t* low = block_ + quant::Q6_K::kQuantsOffset + g / 4 * 64 + g % 2 * 32;
    const std::uint8_t* high = block_ + quant::Q6_K::kHighBitsOffset + g / 4 * 32;
    widen(sixteen(low, high, g), sixteen(low + 16, high + 16, g), out);
  }
  HWY_INLINE float scale(std::size_t g16) const {
    const std::uint8_t byte = block_[quant::Q6_K::kScalesOffset + g16];
    return d_ * static_cast<float>(static_cast<std::int8_t>(byte));
  }

 private:
  static HWY_INLINE V8 sixteen(const std::uint8_t* low, const std::uint8_t* high, std::size_t g) {
    const DU8 d;
    VU8 halves[2];
    nibbles(low, &halves[0], &halves[1]);
    const VU8 bytes = hn::LoadU(d, high);
    const VU8 upper = hn::And(hn::ShiftRightSame(bytes, static_cast<int>(2 * (g % 4))),
                              hn::Set(d, 3));
    const VU8 six = hn::Or(halves[g % 4 / 2], hn::ShiftLeft<4>(upper));
    return hn::Sub(hn::BitCast(D8(), six), hn::Set(D8(), 32));
  }

  const std::uint8_t* block_;
  float d_;
};

}  // namespace HWY_NAMESPACE
}  // namespace simd
GEMMA_NAMESPACE_END
HWY_AFTER_NAMESPACE();

#endif  // GEMMA_SIMD_UNPACK_INL_HPP_
