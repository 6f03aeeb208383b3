// The two 16-bit floating-point formats of model files, as plain integers with conversions.
// Source: IEEE 754-2019 binary16; bfloat16 is the upper half of binary32.
#ifndef GEMMA_BASE_FLOAT16_HPP_
#define GEMMA_BASE_FLOAT16_HPP_

#include <cstdint>
#include <cstring>

#include "gemma/config.hpp"

GEMMA_NAMESPACE_BEGIN

/// The bits of a float, and back.
inline std::uint32_t float_bits(float x) {
  std::uint32_t u;
  std::memcpy(&u, &x, sizeof u);
  return u;
}
/// The float that has these bits, be it a NaN.
inline float float_from_bits(std::uint32_t u) {
  float x;
  std::memcpy(&x, &u, sizeof x);
  return x;
}

/// binary16 → binary32; exact for every input, subnormals, infinities and NaN included.
inline float half_to_float(std::uint16_t h) {
  const std::uint32_t sign = static_cast<std::uint32_t>(h & 0x8000u) << 16;
  const std::uint32_t magnitude = h & 0x7FFFu;
  if (magnitude >= 0x7C00u) return float_from_bits(sign | 0x7F800000u | (magnitude & 0x3FFu) << 13);
  // A subnormal half is an integer multiple of 2^-24, which float holds exactly.
  if (magnitude < 0x400u) {
    const float value = static_cast<float>(magnitude) * 5.9604644775390625e-8f;
    return float_from_bits(sign | float_bits(value));
  }
  return float_from_bits(sign | ((magnitude << 13) + 0x38000000u));
}

/// binary32 → binary16, rounded to nearest even; overflow becomes infinity.
inline std::uint16_t half_from_float(float x) {
  const std::uint32_t u = float_bits(x);
  const std::uint32_t sign = u >> 16 & 0x8000u;
  const std::uint32_t magnitude = u & 0x7FFFFFFFu;
  if (magnitude > 0x7F800000u) return static_cast<std::uint16_t>(sign | 0x7E00u);
  if (magnitude >= 0x477FF000u) return static_cast<std::uint16_t>(sign | 0x7C00u);
  if (magnitude < 0x38800000u) {
    // Below the smallest normal half: adding 0.5 makes float's own rounding drop the right bits.
    const float shifted = float_from_bits(magnitude) + 0.5f;
    return static_cast<std::uint16_t>(sign | (float_bits(shifted) - 0x3F000000u));
  }
  const std::uint32_t rounded = magnitude + 0xFFFu + (magnitude >> 13 & 1u);
  return static_cast<std::uint16_t>(sign | ((rounded - 0x38000000u) >> 13));
}

/// bfloat16 → binary32; exact.
inline float bfloat16_to_float(std::uint16_t b) {
  return float_from_bits(static_cast<std::uint32_t>(b) << 16);
}

/// binary32 → bfloat16, rounded to nearest even; NaN stays NaN.
inline std::uint16_t bfloat16_from_float(float x) {
  const std::uint32_t u = float_bits(x);
  if ((u & 0x7FFFFFFFu) > 0x7F800000u) return static_cast<std::uint16_t>(u >> 16 | 0x40u);
  return static_cast<std::uint16_t>((u + 0x7FFFu + (u >> 16 & 1u)) >> 16);
}

GEMMA_NAMESPACE_END

#endif  // GEMMA_BASE_FLOAT16_HPP_
