// From the bytes of weights to unsigned codes in registers: value = scale * code - minimum. A row is
// read span by span: 128 elements of formats with blocks of 32, 256 of the others. Codes<Format>
// gives the codes of a span 64 at a time, and its scales and minimums by group of 32 or 16.
//
// Codes are unsigned because the instructions that multiply bytes want one unsigned side. Centred
// formats are shifted up by kOffset, which counts as a minimum of kOffset * scale.
#if defined(GEMMA_SIMD_CODES_INL_HPP_) == defined(HWY_TARGET_TOGGLE)
#ifdef GEMMA_SIMD_CODES_INL_HPP_
#undef GEMMA_SIMD_CODES_INL_HPP_
#else
#define GEMMA_SIMD_CODES_INL_HPP_
#endif

#include <array>
#include <type_traits>

#include "gemma/quant/registry.hpp"
#include "gemma/simd/dot-inl.hpp"
#include "gemma/simd/vector-inl.hpp"

HWY_BEFORE_NAMESPACE();
GEMMA_NAMESPACE_BEGIN
namespace simd {
namespace HWY_NAMESPACE {

/// Vectors that hold 64 codes: 1 with AVX-512, 2 with AVX2, 4 elsewhere.
inline constexpr std::size_t kVecs = 64 / kBytes;

/// What makes signed bytes codes of 8 bits. Smaller codes are the same signed and unsigned.
inline constexpr int kByteOffset = kSignedCodes ? 0 : 128;

/// Whether vectors hold two blocks of 32 codes that lie in 16 bytes. Then each gets 16 codes of either block,
/// the low or the high nibbles of the same bytes: codes come in the order 0..15, 32..47, 16..31, 48..63.
inline constexpr bool kPairsBlocks = kVecs == 2;

/// Half of a vector at p and half at q.
template <class D>
HWY_INLINE hn::Vec<D> load_halves_of(D d, const std::uint8_t* p, const std::uint8_t* q) {
  const hn::Half<D> half;
  return hn::Combine(d, hn::LoadU(half, q), hn::LoadU(half, p));
}

/// 32 bytes at p, then 32 at q.
HWY_INLINE void load_two(const std::uint8_t* p, const std::uint8_t* q, VU8* out) {
  const DU8 d;
  if constexpr (kVecs == 1) {
    out[0] = load_halves_of(d, p, q);
  } else {
    for (std::size_t v = 0; v < kVecs / 2; ++v) {
      out[v] = hn::LoadU(d, p + v * kBytes);
      out[kVecs / 2 + v] = hn::LoadU(d, q + v * kBytes);
    }
  }
}

/// Shifts to the left, or to the right if kBits is negative.
template <int kBits, class V>
HWY_INLINE V shift(V v) {
  if constexpr (kBits < 0) return hn::ShiftRight<-kBits>(v);
  else return hn::ShiftLeft<kBits>(v);
}

/// kBits of each of 32 bytes at p from bit kFirst on, then of the same bytes from bit kSecond on; they come to
/// bit kTo.
template <int kFirst, int kSecond, int kBits, int kTo = 0>
HWY_INLINE void load_twice(const std::uint8_t* p, VU8* out) {
  const DU8 d;
  const DU32 words;  // what a shift brings in from the next byte is masked
  const VU8 mask = hn::Set(d, ((1 << kBits) - 1) << kTo);
  if constexpr (kVecs == 1) {
    const hn::Half<DU32> half;
    const auto bytes = hn::BitCast(half, hn::LoadU(hn::Half<DU8>(), p));
    const auto both = hn::Combine(words, shift<kTo - kSecond>(bytes), shift<kTo - kFirst>(bytes));
    out[0] = hn::And(hn::BitCast(d, both), mask);
  } else {
    for (std::size_t v = 0; v < kVecs / 2; ++v) {
      const VU32 bytes = hn::BitCast(words, hn::LoadU(d, p + v * kBytes));
      out[v] = hn::And(hn::BitCast(d, shift<kTo - kFirst>(bytes)), mask);
      out[kVecs / 2 + v] = hn::And(hn::BitCast(d, shift<kTo - kSecond>(bytes)), mask);
    }
  }
}

/// 16 bytes, and the same shifted right by 4 bits; the high nibbles of the former must be masked.
template <class D32>
HWY_INLINE hn::Vec<D32> load_shifted(D32 d, const std::uint8_t* p) {
  const hn::Half<D32> half;
  const hn::Repartition<std::uint16_t, decltype(half)> words;
  const auto bytes = hn::LoadU(half, p);
  const auto high = hn::BitCast(half, hn::ShiftRight<4>(hn::BitCast(words, bytes)));
  return hn::Combine(d, high, bytes);
}

/// The low, then the high nibbles of 16 bytes at p, then those of 16 bytes at q; or in pairs.
template <class D = DU8>
HWY_INLINE void load_nibbles(const std::uint8_t* p, const std::uint8_t* q, hn::Vec<D>* out) {
  const D d;
  const auto mask = hn::Set(d, 15);
  if constexpr (kVecs == 1) {
    const hn::Half<D> half;
    out[0] = hn::And(hn::Combine(d, load_shifted(half, q), load_shifted(half, p)), mask);
  } else if constexpr (kPairsBlocks) {
    const auto both = load_halves_of(d, p, q);
    out[0] = hn::And(both, mask);
    out[1] = hn::ShiftRight<4>(both);
  } else {
    out[0] = hn::And(hn::LoadU(d, p), mask);
    out[1] = hn::ShiftRight<4>(hn::LoadU(d, p));
    out[2] = hn::And(hn::LoadU(d, q), mask);
    out[3] = hn::ShiftRight<4>(hn::LoadU(d, q));
  }
}

/// The same for q = p + kDistance, with one load and one permutation of all bytes where the target has
/// that instruction.
template <std::size_t kDistance>
HWY_INLINE void load_nibbles_of_two(const std::uint8_t* p, VU8* out) {
  if constexpr (kHasQuads && kBytes == 64) {
    static_assert(kDistance + 16 <= 64, "both in one load");
    const DU8 d;
    const DU16 words;
    alignas(64) static constexpr std::array<std::uint8_t, 64> kFrom = [] {
      std::array<std::uint8_t, 64> from{};
      for (std::size_t i = 0; i < 64; ++i) {
        from[i] = static_cast<std::uint8_t>(i % 16 + i / 32 * kDistance);
      }
      return from;
    }();
    alignas(64) static constexpr std::array<std::uint16_t, 32> kShift = [] {
      std::array<std::uint16_t, 32> shift{};
      for (std::size_t i = 0; i < 32; ++i) shift[i] = i / 8 % 2 == 0 ? 0 : 4;
      return shift;
    }();
    // What lies behind the second block is not read: it may not exist.
    const VU8 bytes = hn::LoadN(d, p, kDistance + 16);
    const VU8 spread = hn::TableLookupLanes(bytes, table_indices(d, hn::Load(d, kFrom.data())));
    const auto shifted = hn::Shr(hn::BitCast(words, spread), hn::Load(words, kShift.data()));
    out[0] = hn::And(hn::BitCast(d, shifted), hn::Set(d, 15));
  } else {
    load_nibbles(p, p + kDistance, out);
  }
}

/// Adds 16 to the nibbles whose bit is set in the 32 bits at p (codes 0..31) and at q (32..63).
HWY_INLINE void add_fifth_bits(const std::uint8_t* p, const std::uint8_t* q, VU8* codes) {
  const DU8 d;
  const VU8 sixteen = hn::Set(d, 16);
  if constexpr (kPairsBlocks) {
    // A byte of bits to each eight codes, each of which tests its own.
    const DU32 words;
    const VU8 bits = hn::BitCast(d, hn::ConcatUpperLower(words, hn::Set(words, load_le<std::uint32_t>(q)),
                                                         hn::Set(words, load_le<std::uint32_t>(p))));
    const VU8 bit = hn::BitCast(d, hn::Set(hn::Repartition<std::uint64_t, DU8>(), 0x8040201008040201));
    alignas(16) static constexpr std::uint8_t kFrom[2][16] = {{0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1},
                                                              {2, 2, 2, 2, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3, 3, 3}};
    for (std::size_t v = 0; v < kVecs; ++v) {
      const VU8 spread = hn::TableLookupBytes(bits, hn::LoadDup128(d, kFrom[v]));
      codes[v] = hn::Or(codes[v], hn::IfThenElseZero(hn::TestBit(spread, bit), sixteen));
    }
  } else {
    std::uint8_t bits[16] = {};  // LoadMaskBits() may read 8 bytes from any of the first 8
    const std::uint64_t both =
        load_le<std::uint32_t>(p) | std::uint64_t{load_le<std::uint32_t>(q)} << 32;
    std::memcpy(bits, &both, sizeof both);
    for (std::size_t v = 0; v < kVecs; ++v) {
      const auto set = hn::LoadMaskBits(d, bits + v * kBytes / 8);
      codes[v] = hn::Or(codes[v], hn::IfThenElseZero(set, sixteen));
    }
  }
}

/// Four binary16 numbers as floats: one of each of four blocks.
HWY_INLINE void load_halves(const std::uint8_t* p, std::size_t stride, float* out) {
  const hn::FixedTag<float, 4> d;
  const hn::FixedTag<hwy::float16_t, 4> narrow;
  std::uint64_t packed = 0;
  for (std::size_t i = 0; i < 4; ++i) {
    packed |= std::uint64_t{load_le<std::uint16_t>(p + i * stride)} << (16 * i);
  }
  const auto halves = hn::BitCast(narrow, hn::LoadU(hn::FixedTag<std::uint64_t, 1>(), &packed));
  hn::StoreU(hn::PromoteTo(d, halves), d, out);
}

/// One to four neighbouring binary16 numbers as floats.
template <std::size_t n>
HWY_INLINE void load_next_halves(const std::uint8_t* p, float* out) {
  const hn::FixedTag<float, n> d;
  const hn::FixedTag<hwy::float16_t, n> narrow;
  hn::StoreU(hn::PromoteTo(d, hn::BitCast(narrow, hn::LoadU(hn::FixedTag<std::uint8_t, 2 * n>(), p))), d, out);
}

/// A span of a row: get<i>(out) gives codes 64 i … 64 i + 63, in pairs of blocks where kPaired; scales()
/// gives those of all groups, and minimums where kHasMin. This one serves the formats that no model needs to be fast.
template <class Format>
class UnpackedCodes {
 public:
  static constexpr std::size_t kSpan = Format::kBlockElements == 32 ? 128 : 256;
  static constexpr int kOffset = Format::kHasMin ? 0 : kByteOffset;
  static constexpr int kBits = Format::kHasMin ? 5 : 8;
  static constexpr bool kPaired = false;

  HWY_INLINE explicit UnpackedCodes(const std::uint8_t* span) {
    constexpr std::size_t kBlock = Format::kBlockElements;
    for (std::size_t b = 0; b < kSpan / kBlock; ++b) {
      std::int8_t q[kBlock];
      const std::size_t group = b * kBlock / Format::kGroup;
      Format::decode_groups(span + b * Format::kBlockBytes, q, scale_ + group, minimum_ + group);
      for (std::size_t i = 0; i < kBlock; ++i) {
        codes_[b * kBlock + i] = static_cast<std::uint8_t>(q[i] + kOffset);
      }
    }
  }
  template <std::size_t kChunk>
  HWY_INLINE void get(VU8* out) const {
    load_two(codes_ + 64 * kChunk, codes_ + 64 * kChunk + 32, out);
  }
  HWY_INLINE void copy(std::uint8_t* out) const { std::memcpy(out, codes_, sizeof codes_); }
  HWY_INLINE void scales(float* scale, float* minimum) const {
    std::memcpy(scale, scale_, sizeof scale_);
    std::memcpy(minimum, minimum_, sizeof minimum_);
  }

 private:
  std::uint8_t codes_[kSpan];
  float scale_[kSpan / Format::kGroup];
  float minimum_[kSpan / Format::kGroup];
};

/// Formats with blocks of 32 codes of 4, 5 or 8 bits.
template <class Format, int kCodeBits, int kShift>
class BlockCodes {
 public:
  static constexpr std::size_t kSpan = 128;
  static constexpr int kBits = kCodeBits;
  static constexpr int kOffset = kShift;
  static constexpr bool kPaired = kPairsBlocks && kBits < 8;
  static_assert(!kPaired || kBits <= 5, "products are added in 16 bits (ChunkInput)");

  HWY_INLINE explicit BlockCodes(const std::uint8_t* span) : span_(span) {}

  template <std::size_t kChunk>
  HWY_INLINE void get(VU8* out) const {
    const std::uint8_t* first = span_ + 2 * kChunk * Format::kBlockBytes;
    const std::uint8_t* second = first + Format::kBlockBytes;
    if constexpr (kBits == 8) {
      load_two(first + Format::kQuantsOffset, second + Format::kQuantsOffset, out);
      const VU8 sign = hn::Set(DU8(), static_cast<std::uint8_t>(kByteOffset));
      for (std::size_t v = 0; v < kVecs; ++v) out[v] = hn::Xor(out[v], sign);
    } else {
      load_nibbles_of_two<Format::kBlockBytes>(first + Format::kQuantsOffset, out);
    }
    if constexpr (kBits == 5) {
      add_fifth_bits(first + Format::kHighBitsOffset, second + Format::kHighBitsOffset, out);
    }
  }

  HWY_INLINE void scales(float* scale, float* minimum) const {
    load_halves(span_ + Format::kScaleOffset, Format::kBlockBytes, scale);
    if constexpr (Format::kHasMin) {
      load_halves(span_ + Format::kMinOffset, Format::kBlockBytes, minimum);
      for (std::size_t i = 0; i < 4; ++i) minimum[i] = -minimum[i];
    }
  }

 private:
  const std::uint8_t* span_;
};

/// Bytes as floats times a factor: n of them, as many at a time as a vector of at most n takes.
template <std::size_t n, class T>
HWY_INLINE void scale_bytes(const T* bytes, float factor, float* out) {
  const hn::CappedTag<float, n> d;
  const hn::RebindToSigned<decltype(d)> integers;
  const hn::Rebind<T, decltype(d)> narrow;
  for (std::size_t i = 0; i < n; i += hn::MaxLanes(d)) {
    const auto values = hn::ConvertTo(d, hn::PromoteTo(integers, hn::LoadU(narrow, bytes + i)));
    hn::StoreU(hn::Mul(values, hn::Set(d, factor)), d, out + i);
  }
}

/// Scales and minimums of Q4_K and Q5_K: the 12 packed bytes (see k_quants.hpp) as three words.
template <class Format>
HWY_INLINE void load_k_scales(const std::uint8_t* block, float* scale, float* minimum) {
  const std::uint8_t* packed = block + Format::kScalesOffset;
  const std::uint32_t a = load_le<std::uint32_t>(packed);
  const std::uint32_t b = load_le<std::uint32_t>(packed + 4);
  const std::uint32_t c = load_le<std::uint32_t>(packed + 8);
  constexpr std::uint32_t kSix = 0x3F3F3F3F, kFour = 0x0F0F0F0F, kTwo = 0x30303030;
  const std::uint64_t scales = (a & kSix) | std::uint64_t{(c & kFour) | (a >> 2 & kTwo)} << 32;
  const std::uint64_t minimums =
      (b & kSix) | std::uint64_t{(c >> 4 & kFour) | (b >> 2 & kTwo)} << 32;
  float halves[2];
  static_assert(Format::kMinOffset == Format::kScaleOffset + 2, "neighbours");
  load_next_halves<2>(block + Format::kScaleOffset, halves);
  std::uint8_t bytes[16];
  std::memcpy(bytes, &scales, 8);
  std::memcpy(bytes + 8, &minimums, 8);
  scale_bytes<8>(bytes, halves[0], scale);
  scale_bytes<8>(bytes + 8, halves[1], minimum);
}

/// Q4_K and Q5_K.
template <class Format, int kCodeBits>
class FourFiveKCodes {
 public:
  static constexpr std::size_t kSpan = 256;
  static constexpr int kBits = kCodeBits;
  static constexpr int kOffset = 0;
  static constexpr bool kPaired = false;

  HWY_INLINE explicit FourFiveKCodes(const std::uint8_t* block) : block_(block) {}

  template <std::size_t kChunk>
  HWY_INLINE void get(VU8* out) const {
    load_twice<0, 4, 4>(block_ + Format::kQuantsOffset + 32 * kChunk, out);
    if constexpr (kBits == 5) {
      VU8 fifth[kVecs];
      load_twice<2 * kChunk, 2 * kChunk + 1, 1, 4>(block_ + Format::kHighBitsOffset, fifth);
      for (std::size_t v = 0; v < kVecs; ++v) out[v] = hn::Or(out[v], fifth[v]);
    }
  }

  HWY_INLINE void scales(float* scale, float* minimum) const {
    load_k_scales<Format>(block_, scale, minimum);
  }

 private:
  const std::uint8_t* block_;
};

class SixKCodes {
 public:
  static constexpr std::size_t kSpan = 256;
  static constexpr int kOffset = 32;
  static constexpr int kBits = 6;
  static constexpr bool kPaired = false;
  HWY_INLINE explicit SixKCodes(const std::uint8_t* block) : block_(block) {}
  HWY_INLINE void scales(float* scale, float* /*minimum*/) const {
    float factor;
    load_next_halves<1>(block_ + quant::Q6_K::kScaleOffset, &factor);
    const auto* bytes = reinterpret_cast<const std::int8_t*>(block_ + quant::Q6_K::kScalesOffset);
    scale_bytes<16>(bytes, factor, scale);
  }
  template <std::size_t kChunk>
  HWY_INLINE void get(VU8* out) const {
    // 64 bytes of lower and 32 of upper bits hold two chunks.
    const DU8 d;
    constexpr int kShift = kChunk % 2 * 4;
    const std::uint8_t* low = block_ + quant::Q6_K::kQuantsOffset + kChunk / 2 * 64;
    VU8 high[kVecs];
    load_two(low, low + 32, out);
    load_twice<kShift, kShift + 2, 2, 4>(block_ + quant::Q6_K::kHighBitsOffset + kChunk / 2 * 32, high);
    for (std::size_t v = 0; v < kVecs; ++v) {
      const VU8 four = kShift == 0 ? hn::And(out[v], hn::Set(d, 15)) : hn::ShiftRight<4>(out[v]);
      out[v] = hn::Or(four, high[v]);
    }
  }

 private:
  const std::uint8_t* block_;
};

/// Integers without scales of their own.
template <class Format, int kCodeBits, int kShift>
class RowScaledCodes {
 public:
  static constexpr std::size_t kSpan = 128;
  static constexpr int kBits = kCodeBits;
  static constexpr int kOffset = kShift;
  static constexpr bool kPaired = false;

  HWY_INLINE explicit RowScaledCodes(const std::uint8_t* span) : span_(span) {}

  template <std::size_t kChunk>
  HWY_INLINE void get(VU8* out) const {
    const DU8 d;
    const std::uint8_t* chunk = span_ + 2 * kChunk * Format::kBlockBytes;
    if constexpr (kBits == 8) {
      const VU8 sign = hn::Set(d, static_cast<std::uint8_t>(kByteOffset));
      for (std::size_t v = 0; v < kVecs; ++v) {
        out[v] = hn::Xor(hn::LoadU(d, chunk + v * kBytes), sign);
      }
    } else {
      // Neighbours share a byte: spread to 16 bits, the upper one moves by another 4.
      const DU16 wide;
      const hn::Rebind<std::uint8_t, DU16> narrow;
      for (std::size_t v = 0; v < kVecs; ++v) {
        const auto both = hn::PromoteTo(wide, hn::LoadU(narrow, chunk + v * kBytes / 2));
        const auto apart = hn::Or(both, hn::ShiftLeft<4>(both));
        out[v] = hn::And(hn::BitCast(d, apart), hn::Set(d, 15));
      }
    }
  }

  HWY_INLINE void scales(float* scale, float* /*minimum*/) const {
    for (std::size_t i = 0; i < kSpan / Format::kGroup; ++i) scale[i] = 1.0f;
  }

 private:
  const std::uint8_t* span_;
};

template <class Format>
struct CodesOf {
  using Type = UnpackedCodes<Format>;
};
template <>
struct CodesOf<quant::Q8_0> {
  using Type = BlockCodes<quant::Q8_0, 8, kByteOffset>;
};
template <>
struct CodesOf<quant::Q4_0> {
  using Type = BlockCodes<quant::Q4_0, 4, 8>;
};
template <>
struct CodesOf<quant::Q4_1> {
  using Type = BlockCodes<quant::Q4_1, 4, 0>;
};
template <>
struct CodesOf<quant::Q5_0> {
  using Type = BlockCodes<quant::Q5_0, 5, 16>;
};
template <>
struct CodesOf<quant::Q5_1> {
  using Type = BlockCodes<quant::Q5_1, 5, 0>;
};
template <>
struct CodesOf<quant::Q4_K> {
  using Type = FourFiveKCodes<quant::Q4_K, 4>;
};
template <>
struct CodesOf<quant::Q5_K> {
  using Type = FourFiveKCodes<quant::Q5_K, 5>;
};
template <>
struct CodesOf<quant::Q6_K> {
  using Type = SixKCodes;
};

template <>
struct CodesOf<quant::I8> {
  using Type = RowScaledCodes<quant::I8, 8, kByteOffset>;
};
template <>
struct CodesOf<quant::I4> {
  using Type = RowScaledCodes<quant::I4, 4, 8>;
};

/// How to read the codes of a format.
template <class Format>
using Codes = typename CodesOf<Format>::Type;

/// What a span takes in the file.
template <class Format>
inline constexpr std::size_t kSpanBytes = Codes<Format>::kSpan / Format::kBlockElements * Format::kBlockBytes;

/// Whether they are unpacked element by element, as of formats that no model needs to be fast.
template <class Format>
inline constexpr bool kIsSlow = std::is_same_v<Codes<Format>, UnpackedCodes<Format>>;

}  // namespace HWY_NAMESPACE
}  // namespace simd
GEMMA_NAMESPACE_END
HWY_AFTER_NAMESPACE();

#endif  // GEMMA_SIMD_CODES_INL_HPP_
