// Weights laid out anew for decoding: sixteen rows together, each block of them word by word, so
// that rows lie in the lanes of a vector and their sums never cross lanes. The same bytes in another
// order (but for the fifth bits of Q5_0, which are put where a shift and a mask find them).
//
// A group of 16 rows holds block after block of them, so that memory is read from front to back. A
// packed block holds the fields of its format one after the other, each [words, 16 rows], a word
// being 4 bytes, or the 2 of a scale.
#ifndef GEMMA_QUANT_PACKED_HPP_
#define GEMMA_QUANT_PACKED_HPP_

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "gemma/base/bytes.hpp"
#include "gemma/quant/matrix.hpp"
#include "gemma/quant/registry.hpp"

GEMMA_NAMESPACE_BEGIN
namespace quant {

/// Neighbouring words of a block that are read together.
struct PackedField {
  std::size_t offset;      ///< in the block of the file
  std::size_t words;       ///< of a row's block
  std::size_t word_bytes;  ///< 4, or 2 for a scale

  constexpr std::size_t bytes() const { return words * word_bytes; }  ///< of one row's block
};

/// The fields of a format that can be packed, in the order in which they are read.
template <class Format>
struct PackedLayout {
  static constexpr bool kExists = false;  ///< false: blocks stay as they are in the file
};
/// d, then the codes.
template <>
struct PackedLayout<Q4_0> {
  static constexpr bool kExists = true;                                ///< can be packed
  static constexpr PackedField kScale = {Q4_0::kScaleOffset, 1, 2};    ///< d
  static constexpr PackedField kQuants = {Q4_0::kQuantsOffset, 4, 4};  ///< qs
  /// In the order of a packed block.
  static constexpr PackedField kFields[] = {kScale, kQuants};
};
/// d, then the codes.
template <>
struct PackedLayout<Q8_0> {
  static constexpr bool kExists = true;                                ///< can be packed
  static constexpr PackedField kScale = {Q8_0::kScaleOffset, 1, 2};    ///< d
  static constexpr PackedField kQuants = {Q8_0::kQuantsOffset, 8, 4};  ///< qs
  /// In the order of a packed block.
  static constexpr PackedField kFields[] = {kScale, kQuants};
};
/// d, the fifth bits, then the other four.
template <>
struct PackedLayout<Q5_0> {
  static constexpr bool kExists = true;                                ///< can be packed
  static constexpr PackedField kScale = {Q5_0::kScaleOffset, 1, 2};    ///< d
  static constexpr PackedField kQuants = {Q5_0::kQuantsOffset, 4, 4};  ///< qs
  /// Bit 8 i + j is that of element 4 j + i.
  static constexpr PackedField kHighBits = {Q5_0::kHighBitsOffset, 1, 4};
  /// In the order of a packed block.
  static constexpr PackedField kFields[] = {kScale, kHighBits, kQuants};
};
/// d and dmin, scales and minimums, then the codes.
template <>
struct PackedLayout<Q4_K> {
  static constexpr bool kExists = true;                                 ///< can be packed
  static constexpr PackedField kScale = {Q4_K::kScaleOffset, 1, 2};     ///< d
  static constexpr PackedField kMin = {Q4_K::kMinOffset, 1, 2};         ///< dmin
  static constexpr PackedField kScales = {Q4_K::kScalesOffset, 3, 4};   ///< 8 scales, 8 minimums
  static constexpr PackedField kQuants = {Q4_K::kQuantsOffset, 32, 4};  ///< qs
  /// In the order of a packed block.
  static constexpr PackedField kFields[] = {kScale, kMin, kScales, kQuants};
};
/// In four chunks of what is needed together: half i of h, see k_quants.hpp.
template <>
struct PackedLayout<Q6_K> {
  static constexpr bool kExists = true;                                ///< can be packed
  static constexpr PackedField kScale = {Q6_K::kScaleOffset, 1, 2};    ///< d
  static constexpr PackedField kScales = {Q6_K::kScalesOffset, 4, 4};  ///< 16 scales
  /// The four words of a chunk whose low bits begin at kLow, whose high ones at kHigh.
  template <std::size_t kLow, std::size_t kHigh>
  struct Chunk {
    /// ql: 16 elements in the low halves, those 64 further on in the high ones.
    static constexpr PackedField kEven = {Q6_K::kQuantsOffset + kLow, 4, 4};
    /// ql: the elements 32 further on.
    static constexpr PackedField kOdd = {Q6_K::kQuantsOffset + kLow + 32, 4, 4};
    /// qh: the two high bits of all four.
    static constexpr PackedField kTop = {Q6_K::kHighBitsOffset + kHigh, 4, 4};
  };
  /// In the order of a packed block.
  static constexpr PackedField kFields[] = {
      kScale,
      kScales,
      Chunk<0, 0>::kEven,   Chunk<0, 0>::kOdd,   Chunk<0, 0>::kTop,
      Chunk<16, 16>::kEven, Chunk<16, 16>::kOdd, Chunk<16, 16>::kTop,
      Chunk<64, 32>::kEven, Chunk<64, 32>::kOdd, Chunk<64, 32>::kTop,
      Chunk<80, 48>::kEven, Chunk<80, 48>::kOdd, Chunk<80, 48>::kTop};
};

/// Where a field begins in a packed block.
template <class Format>
constexpr std::size_t packed_offset(const PackedField& field) {
  std::size_t before = 0;
  for (const PackedField& other : PackedLayout<Format>::kFields) {
    if (other.offset == field.offset) break;
    before += other.bytes();
  }
  return kPackedRows * before;
}

/// Whether a matrix can be packed: whole groups of rows, of a format that has a layout.
inline bool can_pack(const WeightMatrix& m) {
  return m && m.rows % kPackedRows == 0 && visit(m.type, [](auto format) {
           return PackedLayout<decltype(format)>::kExists;
         });
}

namespace detail {

/// The fifth bits of Q5_0: from bit e for element e to bit 8 (e % 4) + e / 4.
inline std::uint32_t spread_fifth_bits(std::uint32_t bits) {
  // A product puts bit i of four at 8 i.
  std::uint32_t out = 0;
  for (std::uint32_t four = 0; four < 8; ++four) {
    out |= ((bits >> 4 * four & 15u) * 0x00204081u & 0x01010101u) << four;
  }
  return out;
}

template <class Format>
void pack_group(const WeightMatrix& m, std::size_t row, std::uint8_t* out) {
  for (std::size_t b = 0; b < m.cols / Format::kBlockElements; ++b) {
    for (const PackedField& field : PackedLayout<Format>::kFields) {
      const bool spread = Format::kType == DType::Q5_0 && field.offset == Q5_0::kHighBitsOffset;
      for (std::size_t r = 0; r < kPackedRows; ++r) {
        const std::uint8_t* in = m.row(row + r) + b * Format::kBlockBytes + field.offset;
        std::uint8_t* to = out + r * field.word_bytes;
        for (std::size_t w = 0; w < field.words; ++w) {
          if (spread) {
            const std::uint32_t bits = spread_fifth_bits(load_le<std::uint32_t>(in));
            std::memcpy(to, &bits, 4);
          } else if (field.word_bytes == 4) {
            std::memcpy(to + w * kPackedRows * 4, in + w * 4, 4);
          } else {
            std::memcpy(to + w * kPackedRows * 2, in + w * 2, 2);
          }
        }
      }
      out += kPackedRows * field.bytes();
    }
  }
}

/// The inverse of spread_fifth_bits().
inline std::uint32_t gather_fifth_bits(std::uint32_t bits) {
  std::uint32_t out = 0;
  for (std::uint32_t e = 0; e < 32; ++e) out |= (bits >> (8 * (e % 4) + e / 4) & 1u) << e;
  return out;
}

/// Row `r` of a packed group as blocks of the format.
template <class Format>
void unpack_row(const std::uint8_t* group, std::size_t r, std::size_t blocks, std::uint8_t* out) {
  for (std::size_t b = 0; b < blocks; ++b, out += Format::kBlockBytes) {
    for (const PackedField& field : PackedLayout<Format>::kFields) {
      const std::uint8_t* from = group + r * field.word_bytes;
      for (std::size_t w = 0; w < field.words; ++w) {
        std::memcpy(out + field.offset + w * field.word_bytes,
                    from + w * kPackedRows * field.word_bytes, field.word_bytes);
      }
      if (Format::kType == DType::Q5_0 && field.offset == Q5_0::kHighBitsOffset) {
        const std::uint32_t bits = gather_fifth_bits(load_le<std::uint32_t>(from));
        std::memcpy(out + field.offset, &bits, 4);
      }
      group += kPackedRows * field.bytes();
    }
  }
}

}  // namespace detail

/// Packs rows [row, row + kPackedRows) of a matrix that can_pack(); as many bytes as they have.
inline void pack_rows(const WeightMatrix& m, std::size_t row, std::uint8_t* out) {
  visit(m.type, [&](auto format) {
    if constexpr (PackedLayout<decltype(format)>::kExists) {
      detail::pack_group<decltype(format)>(m, row, out);
    }
  });
}

/// Row `row` of a matrix with packed weights as the file has it: m.row_bytes bytes.
inline void unpack_row(const WeightMatrix& m, std::size_t row, std::uint8_t* out) {
  visit(m.type, [&](auto format) {
    using Format = decltype(format);
    if constexpr (PackedLayout<Format>::kExists) {
      detail::unpack_row<Format>(m.packed + row / kPackedRows * kPackedRows * m.row_bytes,
                                 row % kPackedRows, m.cols / Format::kBlockElements, out);
    }
  });
}

}  // namespace quant
GEMMA_NAMESPACE_END

#endif  // GEMMA_QUANT_PACKED_HPP_
