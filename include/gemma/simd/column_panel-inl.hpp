// Filling a panel (panel-inl.hpp) by 16 bytes of each of kLanes rows at a time: they are transposed as they lie in the
// file, so that one shuffle moves two codes of 4 bits, and then split. For targets whose vectors hold less than 64
// codes (the others have four_panel-inl.hpp), and for formats that are unpacked element by element.
#if defined(GEMMA_SIMD_COLUMN_PANEL_INL_HPP_) == defined(HWY_TARGET_TOGGLE)
#ifdef GEMMA_SIMD_COLUMN_PANEL_INL_HPP_
#undef GEMMA_SIMD_COLUMN_PANEL_INL_HPP_
#else
#define GEMMA_SIMD_COLUMN_PANEL_INL_HPP_
#endif

#include <type_traits>

#include "gemma/simd/codes-inl.hpp"
#include "gemma/simd/panel-inl.hpp"
#include "gemma/simd/vector-inl.hpp"

HWY_BEFORE_NAMESPACE();
GEMMA_NAMESPACE_BEGIN
namespace simd {
namespace HWY_NAMESPACE {

/// Where the codes of kLanes rows go, four columns at a time.
template <class Traits>
struct ColumnStore {
  std::uint8_t* out;  ///< of the first column, and the first of the rows

  HWY_INLINE void operator()(std::size_t column, VU32 four) const {
    const DU8 d;
    const VU8 codes = hn::BitCast(d, four);
    std::uint8_t* at = out + column * kPanelRows;
    if constexpr (Traits::kPlanes == 1) {
      hn::StoreU(codes, d, at);
    } else {
      hn::StoreU(hn::And(codes, hn::Set(d, 15)), d, at);
      hn::StoreU(hn::ShiftRight<4>(codes), d, at + Panel::kPlaneBytes);
    }
  }
};

/// Some bits of every byte, from bit kFrom on, at bit kTo.
template <int kFrom, int kTo, int kMask>
HWY_INLINE VU32 bits_of(VU32 bytes) {
  return hn::And(shift<kTo - kFrom>(bytes), hn::Set(DU32(), 0x01010101u * kMask));
}

/// 16 where a bit of the four from kFirst on is set, for each of four columns. `bits`: 32 of every row.
template <std::size_t kFirst>
HWY_INLINE VU32 spread_bits(VU32 bits) {
  const DU32 d;
  const VU32 four = hn::And(hn::ShiftRight<kFirst>(bits), hn::Set(d, 15));
  // The factor copies them to bits 4, 11, 18 and 25, where those that are wanted are at 4, 12, 20 and 28.
  return hn::And(hn::Mul(four, hn::Set(d, 0x02040810)), hn::Set(d, 0x10101010));
}

/// Codes that are bytes but for their sign, to columns from `column` on.
template <std::size_t kCount, class Store>
HWY_INLINE void byte_columns(const std::uint8_t* bytes, std::size_t stride, std::size_t column, int sign,
                             const Store& store) {
  const VU32 signs = hn::Set(DU32(), 0x01010101u * static_cast<unsigned>(sign));
  for (std::size_t c = 0; c < kCount; c += 16) {
    VU32 words[4];
    load_columns(bytes + c, stride, words);
    for (std::size_t j = 0; j < 4; ++j) store(column + c + 4 * j, hn::Xor(words[j], signs));
  }
}

/// Formats with blocks of 32 codes of 4, 5 or 8 bits: the codes of a block to columns from `column` on.
template <class Format, class Store>
HWY_INLINE void block_columns(const std::uint8_t* block, std::size_t stride, std::size_t column, const Store& store) {
  constexpr int kBits = Codes<Format>::kBits;
  if constexpr (kBits == 8) {
    byte_columns<32>(block + Format::kQuantsOffset, stride, column, kByteOffset, store);
  } else {
    VU32 bytes[4];
    load_columns(block + Format::kQuantsOffset, stride, bytes);
    VU32 fifth[4];  // the first words have 32 bits
    if constexpr (kBits == 5) load_columns(block + Format::kHighBitsOffset, stride, fifth);
    unroll<4>([&](auto j) GEMMA_INLINE_LAMBDA {
      VU32 low = bits_of<0, 0, 15>(bytes[j]), high = bits_of<4, 0, 15>(bytes[j]);
      if constexpr (kBits == 5) {
        low = hn::Or(low, spread_bits<4 * decltype(j)::value>(fifth[0]));
        high = hn::Or(high, spread_bits<16 + 4 * decltype(j)::value>(fifth[0]));
      }
      store(column + 4 * j, low);
      store(column + 16 + 4 * j, high);
    });
  }
}

/// Q4_K and Q5_K.
template <class Format, class Store>
HWY_INLINE void k_columns(const std::uint8_t* block, std::size_t stride, const Store& store) {
  constexpr bool kFive = Codes<Format>::kBits == 5;
  for (std::size_t piece = 0; piece < 2; ++piece) {
    VU32 bytes[4], fifth[4] = {};
    if constexpr (kFive) load_columns(block + Format::kHighBitsOffset + 16 * piece, stride, fifth);
    unroll<4>([&](auto chunk) GEMMA_INLINE_LAMBDA {
      constexpr int kBit = 2 * decltype(chunk)::value;
      load_columns(block + Format::kQuantsOffset + 32 * chunk + 16 * piece, stride, bytes);
      for (std::size_t j = 0; j < 4; ++j) {
        VU32 low = bits_of<0, 0, 15>(bytes[j]), high = bits_of<4, 0, 15>(bytes[j]);
        if constexpr (kFive) {
          low = hn::Or(low, bits_of<kBit, 4, 16>(fifth[j]));
          high = hn::Or(high, bits_of<kBit + 1, 4, 16>(fifth[j]));
        }
        const std::size_t column = 64 * chunk + 16 * piece + 4 * j;
        store(column, low);
        store(column + 32, high);
      }
    });
  }
}

/// Q6_K.
template <class Store>
HWY_INLINE void six_k_columns(const std::uint8_t* block, std::size_t stride, const Store& store) {
  for (std::size_t part = 0; part < 4; ++part) {  // of each half of the block the first, then the second 16 columns
    const std::size_t half = part / 2, offset = 16 * (part % 2);
    VU32 high[4];
    load_columns(block + quant::Q6_K::kHighBitsOffset + 32 * half + offset, stride, high);
    unroll<2>([&](auto of_two) GEMMA_INLINE_LAMBDA {
      constexpr int kBit = 2 * decltype(of_two)::value;
      VU32 bytes[4];
      load_columns(block + quant::Q6_K::kQuantsOffset + 64 * half + 32 * of_two + offset, stride, bytes);
      for (std::size_t j = 0; j < 4; ++j) {
        const std::size_t column = 128 * half + 32 * of_two + offset + 4 * j;
        store(column, hn::Or(bits_of<0, 0, 15>(bytes[j]), bits_of<kBit, 4, 48>(high[j])));
        store(column + 64, hn::Or(bits_of<4, 0, 15>(bytes[j]), bits_of<kBit + 4, 4, 48>(high[j])));
      }
    });
  }
}

/// Integers of 4 bits, neighbours in one byte.
template <class Store>
HWY_INLINE void neighbour_columns(const std::uint8_t* span, std::size_t stride, const Store& store) {
  const DU8 d;
  alignas(16) static constexpr std::uint8_t kFrom[2][16] = {
      {0, 0x80, 1, 0x80, 4, 0x80, 5, 0x80, 8, 0x80, 9, 0x80, 12, 0x80, 13, 0x80},
      {2, 0x80, 3, 0x80, 6, 0x80, 7, 0x80, 10, 0x80, 11, 0x80, 14, 0x80, 15, 0x80}};
  for (std::size_t piece = 0; piece < 4; ++piece) {
    VU32 bytes[4];
    load_columns(span + 16 * piece, stride, bytes);
    for (std::size_t j = 0; j < 8; ++j) {
      const VU8 from = hn::LoadDup128(d, kFrom[j % 2]);
      const VU32 apart = hn::BitCast(DU32(), hn::TableLookupBytesOr0(hn::BitCast(d, bytes[j / 2]), from));
      store(32 * piece + 4 * j, bits_of<0, 0, 15>(hn::Or(apart, hn::ShiftLeft<4>(apart))));
    }
  }
}

/// Numbers [kLanes, kGroups] of some rows to their lanes of the panel.
template <std::size_t kGroups>
HWY_INLINE void store_columns(const float* numbers, float* out) {
  for (std::size_t g = 0; g < kGroups; g += 4) {
    VU32 groups[4];
    load_columns(reinterpret_cast<const std::uint8_t*>(numbers + g), kGroups * sizeof(float), groups);
    for (std::size_t i = 0; i < 4; ++i) {
      hn::StoreU(hn::BitCast(DF(), groups[i]), DF(), out + (g + i) * kPanelRows);
    }
  }
}

/// A span of each of kLanes rows, `stride` bytes apart, from column `col` of the panel on. `first`: the rows' first
/// lane.
template <class Format>
inline HWY_NOINLINE void fill_by_columns(const std::uint8_t* rows, std::size_t stride, std::size_t col,
                                         std::size_t first, const Panel& panel) {
  constexpr std::size_t kSpan = Codes<Format>::kSpan;
  constexpr std::size_t kGroups = kSpan / Format::kGroup;
  const ColumnStore<PanelTraitsOf<Format>> store{panel.codes + (col * kPanelRows + 4 * first)};
  float* scale = panel.scale + (col / Format::kGroup * kPanelRows + first);
  float* minimum = panel.minimum + (scale - panel.scale);
  if constexpr (!kIsSlow<Format> && Format::kBlockElements == 32 && !quant::kRowScaled<Format>) {
    for (std::size_t b = 0; b < kGroups; ++b) {
      const std::uint8_t* block = rows + b * Format::kBlockBytes;
      block_columns<Format>(block, stride, 32 * b, store);
      for (std::size_t r = 0; r < kLanes; r += 4) {
        load_halves(block + Format::kScaleOffset + r * stride, stride, scale + b * kPanelRows + r);
        if constexpr (Format::kHasMin) {
          float* low = minimum + b * kPanelRows + r;
          load_halves(block + Format::kMinOffset + r * stride, stride, low);
          for (std::size_t i = 0; i < 4; ++i) low[i] = -low[i];
        }
      }
    }
  } else {
    float scales[kLanes * kGroups], minimums[kLanes * kGroups];
    for (std::size_t r = 0; r < kLanes; ++r) {
      const Codes<Format> codes(rows + r * stride);
      codes.scales(scales + r * kGroups, minimums + r * kGroups);
      if constexpr (kIsSlow<Format>) codes.copy(panel.rows + 256 * r);
    }
    store_columns<kGroups>(scales, scale);
    if constexpr (Format::kHasMin) store_columns<kGroups>(minimums, minimum);
    if constexpr (kIsSlow<Format>) {
      byte_columns<kSpan>(panel.rows, 256, 0, 0, store);
    } else if constexpr (quant::kRowScaled<Format>) {
      if constexpr (Codes<Format>::kBits == 4) neighbour_columns(rows, stride, store);
      else byte_columns<kSpan>(rows, stride, 0, kByteOffset, store);
    } else if constexpr (std::is_same_v<Format, quant::Q6_K>) {
      six_k_columns(rows, stride, store);
    } else {
      k_columns<Format>(rows, stride, store);
    }
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace simd
GEMMA_NAMESPACE_END
HWY_AFTER_NAMESPACE();

#endif  // GEMMA_SIMD_COLUMN_PANEL_INL_HPP_
