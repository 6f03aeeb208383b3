// The K-quants: super-blocks of 256 numbers with two levels of scales. A binary16 d (and dmin)
// scales the integer scales (and minimums) of groups of 16 or 32 numbers.
// Source: block_q2_K … block_q6_K of ggml.
#ifndef GEMMA_QUANT_K_QUANTS_HPP_
#define GEMMA_QUANT_K_QUANTS_HPP_

#include <cstddef>
#include <cstdint>

#include "gemma/quant/block.hpp"

GEMMA_NAMESPACE_BEGIN
namespace quant {
namespace detail {

/// The 8 scales and 8 minimums, 6 bits each, that Q4_K and Q5_K pack into 12 bytes. Bytes 0..3 and
/// 4..7 hold scale and minimum of groups 0..3 in their lower 6 bits; bytes 8..11 hold the lower 4
/// bits of groups 4..7, scale below minimum, whose upper 2 bits are atop bytes 0..3 and 4..7.
inline void unpack_scales_and_minimums(const std::uint8_t* packed, float d, float dmin,
                                       float* scale, float* minimum) {
  for (std::size_t g = 0; g < 4; ++g) {
    const int a = packed[g], b = packed[4 + g], c = packed[8 + g];
    scale[g] = d * static_cast<float>(a & 63);
    minimum[g] = dmin * static_cast<float>(b & 63);
    scale[4 + g] = d * static_cast<float>((c & 15) | (a >> 6) << 4);
    minimum[4 + g] = dmin * static_cast<float>((c >> 4) | (b >> 6) << 4);
  }
}

}  // namespace detail

/// 2 bits, with 4-bit scale and minimum per 16: value = d * sc * q - dmin * m.
///
///   0                              16               80   82     84
///   | scales: 16 x (sc | m << 4)   | qs: 64 x 4 x 2 | d  | dmin |
struct Q2_K {
  static constexpr DType kType = DType::Q2_K;         ///< as files number it
  static constexpr const char* kName = "Q2_K";        ///< as ggml spells it
  static constexpr std::size_t kBlockElements = 256;  ///< numbers per block
  static constexpr std::size_t kScalesOffset = 0;     ///< byte of scales
  static constexpr std::size_t kQuantsOffset = 16;    ///< byte of qs
  static constexpr std::size_t kScaleOffset = 80;     ///< byte of d
  static constexpr std::size_t kMinOffset = 82;       ///< byte of dmin
  static constexpr std::size_t kBlockBytes = 84;      ///< bytes per block
  static constexpr std::size_t kGroup = 16;           ///< elements that share a scale
  static constexpr bool kHasMin = true;               ///< value = scale · q − minimum

  /// A block to 256 floats, in order.
  static void decode(const std::uint8_t* block, float* out) {
    detail::decode_by_groups<Q2_K>(block, out);
  }
  /// q [256] from 0 to 3, scale [16], minimum [16].
  static void decode_groups(const std::uint8_t* block, std::int8_t* q, float* scale,
                            float* minimum) {
    const float d = detail::load_half(block + kScaleOffset);
    const float dmin = detail::load_half(block + kMinOffset);
    for (std::size_t g = 0; g < kBlockElements / kGroup; ++g) {
      scale[g] = d * static_cast<float>(block[kScalesOffset + g] & 15);
      minimum[g] = dmin * static_cast<float>(block[kScalesOffset + g] >> 4);
    }
    detail::unpack_2_bits(block + kQuantsOffset, q);
    detail::unpack_2_bits(block + kQuantsOffset + 32, q + 128);
  }
};

/// 3 bits, with a 6-bit scale per 16: value = d * (sc - 32) * q, q in -4..3.
///
///   0                       32               96                  108  110
///   | hmask: 32 x 8 x 1 bit | qs: 64 x 4 x 2 | scales: 16 x 6 bit | d  |
///
/// qs holds the lower 2 bits. Bit g of hmask[i] belongs to element 32 g + i; q is 4 less where it
/// is *not* set. Bytes 0..7 of scales: the lower 4 bits of groups 0..7 and, in the high nibbles,
/// 8..15; bytes 8..11: the upper 2 bits of groups 0..3, 4..7, 8..11 and 12..15.
struct Q3_K {
  static constexpr DType kType = DType::Q3_K;         ///< as files number it
  static constexpr const char* kName = "Q3_K";        ///< as ggml spells it
  static constexpr std::size_t kBlockElements = 256;  ///< numbers per block
  static constexpr std::size_t kHighBitsOffset = 0;   ///< byte of hmask
  static constexpr std::size_t kQuantsOffset = 32;    ///< byte of qs
  static constexpr std::size_t kScalesOffset = 96;    ///< byte of scales
  static constexpr std::size_t kScaleOffset = 108;    ///< byte of d
  static constexpr std::size_t kBlockBytes = 110;     ///< bytes per block
  static constexpr std::size_t kGroup = 16;           ///< elements that share a scale
  static constexpr bool kHasMin = false;              ///< value = scale · q

  /// A block to 256 floats, in order.
  static void decode(const std::uint8_t* block, float* out) {
    detail::decode_by_groups<Q3_K>(block, out);
  }
  /// q [256] from −4 to 3, scale [16]; no minimum is written.
  static void decode_groups(const std::uint8_t* block, std::int8_t* q, float* scale,
                            float* /*minimum*/ = nullptr) {
    const float d = detail::load_half(block + kScaleOffset);
    const std::uint8_t* packed = block + kScalesOffset;
    for (std::size_t g = 0; g < kBlockElements / kGroup; ++g) {
      const int low = g < 8 ? packed[g] & 15 : packed[g - 8] >> 4;
      const int high = packed[8 + g % 4] >> (2 * (g / 4)) & 3;
      scale[g] = d * static_cast<float>((low | high << 4) - 32);
    }
    detail::unpack_2_bits(block + kQuantsOffset, q);
    detail::unpack_2_bits(block + kQuantsOffset + 32, q + 128);
    for (std::size_t plane = 0; plane < 8; ++plane) {
      for (std::size_t i = 0; i < 32; ++i) {
        const bool set = (block[kHighBitsOffset + i] >> plane & 1) != 0;
        q[32 * plane + i] = detail::shifted(q[32 * plane + i], set ? 0 : -4);
      }
    }
  }
};

/// 4 bits, with 6-bit scale and minimum per 32: value = d * sc * q - dmin * m.
///
///   0    2      4                       16                    144
///   | d  | dmin | scales: 8 x (6 + 6) bit | qs: 4 x 32 x 2 nibbles |
///
/// Each 32 bytes of qs hold 64 elements, the first 32 in the low nibbles.
struct Q4_K {
  static constexpr DType kType = DType::Q4_K;         ///< as files number it
  static constexpr const char* kName = "Q4_K";        ///< as ggml spells it
  static constexpr std::size_t kBlockElements = 256;  ///< numbers per block
  static constexpr std::size_t kScaleOffset = 0;      ///< byte of d
  static constexpr std::size_t kMinOffset = 2;        ///< byte of dmin
  static constexpr std::size_t kScalesOffset = 4;     ///< byte of scales
  static constexpr std::size_t kQuantsOffset = 16;    ///< byte of qs
  static constexpr std::size_t kBlockBytes = 144;     ///< bytes per block
  static constexpr std::size_t kGroup = 32;           ///< elements that share a scale
  static constexpr bool kHasMin = true;               ///< value = scale · q − minimum

  /// A block to 256 floats, in order.
  static void decode(const std::uint8_t* block, float* out) {
    detail::decode_by_groups<Q4_K>(block, out);
  }
  /// q [256] from 0 to 15, scale [8], minimum [8].
  static void decode_groups(const std::uint8_t* block, std::int8_t* q, float* scale,
                            float* minimum) {
    const float d = detail::load_half(block + kScaleOffset);
    const float dmin = detail::load_half(block + kMinOffset);
    detail::unpack_scales_and_minimums(block + kScalesOffset, d, dmin, scale, minimum);
    for (std::size_t i = 0; i < 4; ++i) {
      detail::unpack_4_bits(block + kQuantsOffset + 32 * i, 32, q + 64 * i);
    }
  }
};

/// 5 bits, with 6-bit scale and minimum per 32: value = d * sc * q - dmin * m.
///
///   0    2      4                       16                   48                    176
///   | d  | dmin | scales: 8 x (6 + 6) bit | qh: 32 x 8 x 1 bit | qs: 4 x 32 x 2 nibbles |
///
/// As Q4_K; bit g of qh[i] is bit 4 of element 32 g + i.
struct Q5_K {
  static constexpr DType kType = DType::Q5_K;         ///< as files number it
  static constexpr const char* kName = "Q5_K";        ///< as ggml spells it
  static constexpr std::size_t kBlockElements = 256;  ///< numbers per block
  static constexpr std::size_t kScaleOffset = 0;      ///< byte of d
  static constexpr std::size_t kMinOffset = 2;        ///< byte of dmin
  static constexpr std::size_t kScalesOffset = 4;     ///< byte of scales
  static constexpr std::size_t kHighBitsOffset = 16;  ///< byte of qh
  static constexpr std::size_t kQuantsOffset = 48;    ///< byte of qs
  static constexpr std::size_t kBlockBytes = 176;     ///< bytes per block
  static constexpr std::size_t kGroup = 32;           ///< elements that share a scale
  static constexpr bool kHasMin = true;               ///< value = scale · q − minimum

  /// A block to 256 floats, in order.
  static void decode(const std::uint8_t* block, float* out) {
    detail::decode_by_groups<Q5_K>(block, out);
  }
  /// q [256] from 0 to 31, scale [8], minimum [8].
  static void decode_groups(const std::uint8_t* block, std::int8_t* q, float* scale,
                            float* minimum) {
    const float d = detail::load_half(block + kScaleOffset);
    const float dmin = detail::load_half(block + kMinOffset);
    detail::unpack_scales_and_minimums(block + kScalesOffset, d, dmin, scale, minimum);
    for (std::size_t i = 0; i < 4; ++i) {
      detail::unpack_4_bits(block + kQuantsOffset + 32 * i, 32, q + 64 * i);
    }
    for (std::size_t g = 0; g < 8; ++g) {
      for (std::size_t i = 0; i < 32; ++i) {
        const int high = block[kHighBitsOffset + i] >> g & 1;
        q[32 * g + i] = detail::shifted(q[32 * g + i], high << 4);
      }
    }
  }
};

/// 6 bits, with an 8-bit scale per 16: value = d * sc * (q - 32).
///
///   0                      128              192                208  210
///   | ql: 2 x 64 x 2 nibbles | qh: 64 x 4 x 2 | scales: 16 x int8 | d  |
///
/// Each 64 bytes of ql and 32 bytes of qh hold the lower 4 and upper 2 bits of 128 elements.
struct Q6_K {
  static constexpr DType kType = DType::Q6_K;          ///< as files number it
  static constexpr const char* kName = "Q6_K";         ///< as ggml spells it
  static constexpr std::size_t kBlockElements = 256;   ///< numbers per block
  static constexpr std::size_t kQuantsOffset = 0;      ///< byte of ql
  static constexpr std::size_t kHighBitsOffset = 128;  ///< byte of qh
  static constexpr std::size_t kScalesOffset = 192;    ///< byte of scales
  static constexpr std::size_t kScaleOffset = 208;     ///< byte of d
  static constexpr std::size_t kBlockBytes = 210;      ///< bytes per block
  static constexpr std::size_t kGroup = 16;            ///< elements that share a scale
  static constexpr bool kHasMin = false;               ///< value = scale · q

  /// A block to 256 floats, in order.
  static void decode(const std::uint8_t* block, float* out) {
    detail::decode_by_groups<Q6_K>(block, out);
  }
  /// q [256] from −32 to 31, scale [16]; no minimum is written.
  static void decode_groups(const std::uint8_t* block, std::int8_t* q, float* scale,
                            float* /*minimum*/ = nullptr) {
    const float d = detail::load_half(block + kScaleOffset);
    for (std::size_t g = 0; g < kBlockElements / kGroup; ++g) {
      scale[g] = d * static_cast<float>(load_le<std::int8_t>(block + kScalesOffset + g));
    }
    std::int8_t high[kBlockElements];
    for (std::size_t half = 0; half < 2; ++half) {
      detail::unpack_4_bits(block + kQuantsOffset + 64 * half, 64, q + 128 * half);
      detail::unpack_2_bits(block + kHighBitsOffset + 32 * half, high + 128 * half);
    }
    for (std::size_t i = 0; i < kBlockElements; ++i) {
      q[i] = detail::shifted(q[i], high[i] * 16 - 32);
    }
  }
};

}  // namespace quant
GEMMA_NAMESPACE_END

#endif  // GEMMA_QUANT_K_QUANTS_HPP_
