// Encoders of the formats with one binary16 scale per 32 numbers: block32.hpp backwards.
#ifndef GEMMA_QUANT_ENCODE_BLOCK32_HPP_
#define GEMMA_QUANT_ENCODE_BLOCK32_HPP_

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "gemma/quant/block32.hpp"
#include "gemma/quant/encode_fit.hpp"

GEMMA_NAMESPACE_BEGIN
namespace quant {
namespace detail {

/// The inverse of unpack_4_bits(), of the lower 4 bits of codes[0 … 2n).
inline void pack_4_bits(const std::uint8_t* codes, std::size_t n, std::uint8_t* packed) {
  for (std::size_t i = 0; i < n; ++i) {
    packed[i] = static_cast<std::uint8_t>((codes[i] & 15) | (codes[n + i] & 15) << 4);
  }
}

/// Bit 4 of each of 32 codes.
inline std::uint32_t pack_fifth_bits(const std::uint8_t* codes) {
  std::uint32_t bits = 0;
  for (std::size_t i = 0; i < 32; ++i) bits |= static_cast<std::uint32_t>(codes[i] >> 4) << i;
  return bits;
}

/// Fits the numbers of a block without minimums, stores the scale in `block`, and gives q.
template <class Format>
void encode_centred(const float* src, const Range& range, const PeakSteps& peaks,
                    std::uint8_t* block, float* q) {
  constexpr std::size_t kCount = Format::kBlockElements;
  float x[kCount];
  load_numbers(src, kCount, kLargestHalf * static_cast<float>(-range.lowest), x);
  const float scale = fit_scale<kCount>(x, range, peaks, scale_as_half);
  quantise<kCount>(x, EqualWeights<kCount>(x), {scale, 0.0f}, range, q);
  store_le(block + Format::kScaleOffset, half_from_float(scale));
}

/// Integers from `lowest` on, as codes from 0 on.
inline void codes_of(const float* q, std::size_t n, int lowest, std::uint8_t* codes) {
  for (std::size_t i = 0; i < n; ++i) {
    codes[i] = static_cast<std::uint8_t>(static_cast<int>(q[i]) - lowest);
  }
}

}  // namespace detail

/// The numbers may be a grid already, of a model trained to be quantised: then d, the distance of
/// two of them, is found exactly, for the peak is tried at every integer.
template <>
struct Encoder<Q4_0> {
  /// 32 floats to a block.
  static void encode(const float* src, std::uint8_t* block) {
    float q[32];
    std::uint8_t codes[32];
    detail::encode_centred<Q4_0>(src, {-8, 7}, {1.0f, 10.0f, 0.25f}, block, q);
    detail::codes_of(q, 32, -8, codes);
    detail::pack_4_bits(codes, 16, block + Q4_0::kQuantsOffset);
  }
};

/// As Q4_0, with twice the steps.
template <>
struct Encoder<Q5_0> {
  /// 32 floats to a block.
  static void encode(const float* src, std::uint8_t* block) {
    float q[32];
    std::uint8_t codes[32];
    detail::encode_centred<Q5_0>(src, {-16, 15}, {1.0f, 19.0f, 0.5f}, block, q);
    detail::codes_of(q, 32, -16, codes);
    detail::pack_4_bits(codes, 16, block + Q5_0::kQuantsOffset);
    detail::store_le(block + Q5_0::kHighBitsOffset, detail::pack_fifth_bits(codes));
  }
};

/// A scale and a minimum of their own; the block stores what is to be added, -minimum.
template <>
struct Encoder<Q5_1> {
  /// 32 floats to a block.
  static void encode(const float* src, std::uint8_t* block) {
    using namespace detail;
    constexpr Range kRange{0, 31};
    float x[32], q[32], terms[32];
    load_numbers(src, 32, kLargestHalf, x);
    const EqualWeights<32> weights(x);
    for (std::size_t i = 0; i < 32; ++i) terms[i] = weights[i] * x[i];
    Line line = fit_line<32>(x, weights, add_up<32>(terms), kRange, {25.0f, 32.0f, 0.5f});
    // What is stored is rounded; then the numbers are, to what the rounded line can give.
    line.scale = line.scale > 0.0f ? scale_as_half(line.scale) : 0.0f;
    line.minimum = half_to_float(half_from_float((std::min)(line.minimum, kLargestHalf)));
    quantise<32>(x, weights, line, kRange, q);
    std::uint8_t codes[32];
    codes_of(q, 32, 0, codes);
    store_le(block + Q5_1::kScaleOffset, half_from_float(line.scale));
    store_le(block + Q5_1::kMinOffset, half_from_float(-line.minimum));
    pack_4_bits(codes, 16, block + Q5_1::kQuantsOffset);
    store_le(block + Q5_1::kHighBitsOffset, pack_fifth_bits(codes));
  }
};

/// Some kernels want the magnitude of q in an int8: -128 is left out.
template <>
struct Encoder<Q8_0> {
  /// 32 floats to a block.
  static void encode(const float* src, std::uint8_t* block) {
    float q[32];
    detail::encode_centred<Q8_0>(src, {-127, 127}, {96.0f, 130.0f, 1.0f}, block, q);
    for (std::size_t i = 0; i < 32; ++i) {
      detail::store_le(block + Q8_0::kQuantsOffset + i, static_cast<std::int8_t>(q[i]));
    }
  }
};

}  // namespace quant
GEMMA_NAMESPACE_END

#endif  // GEMMA_QUANT_ENCODE_BLOCK32_HPP_
