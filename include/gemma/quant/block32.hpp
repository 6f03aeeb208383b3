// Formats with blocks of 32 numbers and one binary16 scale d each: value = d * q, or d * q + m.
// Source: block_q4_0 … block_iq4_nl of ggml.
#ifndef GEMMA_QUANT_BLOCK32_HPP_
#define GEMMA_QUANT_BLOCK32_HPP_

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "gemma/quant/block.hpp"

GEMMA_NAMESPACE_BEGIN
namespace quant {
namespace detail {

/// Adds bit i of the 32-bit field `bits` to q[i] as its bit 4.
inline void add_fifth_bits(const std::uint8_t* bits, std::int8_t* q) {
  const std::uint32_t high = load_le<std::uint32_t>(bits);
  for (std::size_t i = 0; i < 32; ++i) q[i] = shifted(q[i], (high >> i & 1u) != 0 ? 16 : 0);
}

/// The 16 values of the IQ4 formats, closer together around zero.
inline constexpr std::int8_t kIq4Values[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                               1,    13,   25,  38,  53,  69,  89,  113};

}  // namespace detail

/// 4 bits, centred: value = d * (q - 8).
///
///   0    2                  18
///   | d  | qs: 16 x 2 nibbles |    low nibbles are elements 0..15, high nibbles 16..31
struct Q4_0 {
  static constexpr DType kType = DType::Q4_0;        ///< as files number it
  static constexpr const char* kName = "Q4_0";       ///< as ggml spells it
  static constexpr std::size_t kBlockElements = 32;  ///< numbers per block
  static constexpr std::size_t kScaleOffset = 0;     ///< byte of d
  static constexpr std::size_t kQuantsOffset = 2;    ///< byte of qs
  static constexpr std::size_t kBlockBytes = 18;     ///< bytes per block
  static constexpr std::size_t kGroup = 32;          ///< elements that share a scale
  static constexpr bool kHasMin = false;             ///< value = scale · q

  /// A block to 32 floats, in order.
  static void decode(const std::uint8_t* block, float* out) {
    detail::decode_by_groups<Q4_0>(block, out);
  }
  /// q [32] from −8 to 7, scale [1]; no minimum is written.
  static void decode_groups(const std::uint8_t* block, std::int8_t* q, float* scale,
                            float* /*minimum*/ = nullptr) {
    *scale = detail::load_half(block + kScaleOffset);
    detail::unpack_4_bits(block + kQuantsOffset, 16, q);
    for (std::size_t i = 0; i < kBlockElements; ++i) q[i] = detail::shifted(q[i], -8);
  }
};

/// 4 bits and a minimum: value = d * q + m.
///
///   0    2    4                  20
///   | d  | m  | qs: 16 x 2 nibbles |
struct Q4_1 {
  static constexpr DType kType = DType::Q4_1;        ///< as files number it
  static constexpr const char* kName = "Q4_1";       ///< as ggml spells it
  static constexpr std::size_t kBlockElements = 32;  ///< numbers per block
  static constexpr std::size_t kScaleOffset = 0;     ///< byte of d
  static constexpr std::size_t kMinOffset = 2;       ///< byte of m
  static constexpr std::size_t kQuantsOffset = 4;    ///< byte of qs
  static constexpr std::size_t kBlockBytes = 20;     ///< bytes per block
  static constexpr std::size_t kGroup = 32;          ///< elements that share a scale
  static constexpr bool kHasMin = true;              ///< value = scale · q − minimum

  /// A block to 32 floats, in order.
  static void decode(const std::uint8_t* block, float* out) {
    detail::decode_by_groups<Q4_1>(block, out);
  }
  /// q [32] from 0 to 15, scale [1], minimum [1] = −m.
  static void decode_groups(const std::uint8_t* block, std::int8_t* q, float* scale,
                            float* minimum) {
    *scale = detail::load_half(block + kScaleOffset);
    *minimum = -detail::load_half(block + kMinOffset);
    detail::unpack_4_bits(block + kQuantsOffset, 16, q);
  }
};

/// 5 bits, centred: value = d * (q - 16).
///
///   0    2               6                  22
///   | d  | qh: 32 x 1 bit | qs: 16 x 2 nibbles |    bit i of qh is bit 4 of element i
struct Q5_0 {
  static constexpr DType kType = DType::Q5_0;        ///< as files number it
  static constexpr const char* kName = "Q5_0";       ///< as ggml spells it
  static constexpr std::size_t kBlockElements = 32;  ///< numbers per block
  static constexpr std::size_t kScaleOffset = 0;     ///< byte of d
  static constexpr std::size_t kHighBitsOffset = 2;  ///< byte of qh
  static constexpr std::size_t kQuantsOffset = 6;    ///< byte of qs
  static constexpr std::size_t kBlockBytes = 22;     ///< bytes per block
  static constexpr std::size_t kGroup = 32;          ///< elements that share a scale
  static constexpr bool kHasMin = false;             ///< value = scale · q

  /// A block to 32 floats, in order.
  static void decode(const std::uint8_t* block, float* out) {
    detail::decode_by_groups<Q5_0>(block, out);
  }
  /// q [32] from −16 to 15, scale [1]; no minimum is written.
  static void decode_groups(const std::uint8_t* block, std::int8_t* q, float* scale,
                            float* /*minimum*/ = nullptr) {
    *scale = detail::load_half(block + kScaleOffset);
    detail::unpack_4_bits(block + kQuantsOffset, 16, q);
    detail::add_fifth_bits(block + kHighBitsOffset, q);
    for (std::size_t i = 0; i < kBlockElements; ++i) q[i] = detail::shifted(q[i], -16);
  }
};

/// 5 bits and a minimum: value = d * q + m.
///
///   0    2    4               8                  24
///   | d  | m  | qh: 32 x 1 bit | qs: 16 x 2 nibbles |
struct Q5_1 {
  static constexpr DType kType = DType::Q5_1;        ///< as files number it
  static constexpr const char* kName = "Q5_1";       ///< as ggml spells it
  static constexpr std::size_t kBlockElements = 32;  ///< numbers per block
  static constexpr std::size_t kScaleOffset = 0;     ///< byte of d
  static constexpr std::size_t kMinOffset = 2;       ///< byte of m
  static constexpr std::size_t kHighBitsOffset = 4;  ///< byte of qh
  static constexpr std::size_t kQuantsOffset = 8;    ///< byte of qs
  static constexpr std::size_t kBlockBytes = 24;     ///< bytes per block
  static constexpr std::size_t kGroup = 32;          ///< elements that share a scale
  static constexpr bool kHasMin = true;              ///< value = scale · q − minimum

  /// A block to 32 floats, in order.
  static void decode(const std::uint8_t* block, float* out) {
    detail::decode_by_groups<Q5_1>(block, out);
  }
  /// q [32] from 0 to 31, scale [1], minimum [1] = −m.
  static void decode_groups(const std::uint8_t* block, std::int8_t* q, float* scale,
                            float* minimum) {
    *scale = detail::load_half(block + kScaleOffset);
    *minimum = -detail::load_half(block + kMinOffset);
    detail::unpack_4_bits(block + kQuantsOffset, 16, q);
    detail::add_fifth_bits(block + kHighBitsOffset, q);
  }
};

/// 8 bits, signed: value = d * q.
///
///   0    2               34
///   | d  | qs: 32 x int8 |
struct Q8_0 {
  static constexpr DType kType = DType::Q8_0;        ///< as files number it
  static constexpr const char* kName = "Q8_0";       ///< as ggml spells it
  static constexpr std::size_t kBlockElements = 32;  ///< numbers per block
  static constexpr std::size_t kScaleOffset = 0;     ///< byte of d
  static constexpr std::size_t kQuantsOffset = 2;    ///< byte of qs
  static constexpr std::size_t kBlockBytes = 34;     ///< bytes per block
  static constexpr std::size_t kGroup = 32;          ///< elements that share a scale
  static constexpr bool kHasMin = false;             ///< value = scale · q

  /// A block to 32 floats, in order.
  static void decode(const std::uint8_t* block, float* out) {
    detail::decode_by_groups<Q8_0>(block, out);
  }
  /// q [32] from −128 to 127, scale [1]; no minimum is written.
  static void decode_groups(const std::uint8_t* block, std::int8_t* q, float* scale,
                            float* /*minimum*/ = nullptr) {
    *scale = detail::load_half(block + kScaleOffset);
    std::memcpy(q, block + kQuantsOffset, kBlockElements);
  }
};

/// 4 bits that select one of 16 values: value = d * kIq4Values[q]. Laid out as Q4_0.
struct IQ4_NL {
  static constexpr DType kType = DType::IQ4_NL;      ///< as files number it
  static constexpr const char* kName = "IQ4_NL";     ///< as ggml spells it
  static constexpr std::size_t kBlockElements = 32;  ///< numbers per block
  static constexpr std::size_t kScaleOffset = 0;     ///< byte of d
  static constexpr std::size_t kQuantsOffset = 2;    ///< byte of qs
  static constexpr std::size_t kBlockBytes = 18;     ///< bytes per block
  static constexpr std::size_t kGroup = 32;          ///< elements that share a scale
  static constexpr bool kHasMin = false;             ///< value = scale · q

  /// A block to 32 floats, in order.
  static void decode(const std::uint8_t* block, float* out) {
    detail::decode_by_groups<IQ4_NL>(block, out);
  }
  /// q [32], values of kIq4Values; scale [1]; no minimum is written.
  static void decode_groups(const std::uint8_t* block, std::int8_t* q, float* scale,
                            float* /*minimum*/ = nullptr) {
    *scale = detail::load_half(block + kScaleOffset);
    detail::unpack_4_bits(block + kQuantsOffset, 16, q);
    for (std::size_t i = 0; i < kBlockElements; ++i) q[i] = detail::kIq4Values[q[i]];
  }
};

}  // namespace quant
GEMMA_NAMESPACE_END

#endif  // GEMMA_QUANT_BLOCK32_HPP_
