// Integers with one float32 scale, and perhaps a zero point, for a whole row, as MediaPipe's files
// have them: value = scale[row] * (q - zero[row]). Scales and zero points stand beside the matrix
// (WeightMatrix::row_scale), so blocks here are bare integers, and decode() gives these.
#ifndef GEMMA_QUANT_ROW_SCALED_HPP_
#define GEMMA_QUANT_ROW_SCALED_HPP_

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "gemma/quant/block.hpp"

GEMMA_NAMESPACE_BEGIN
namespace quant {

/// 8 bits, signed.
struct I8 {
  static constexpr DType kType = DType::I8;          ///< not of ggml
  static constexpr const char* kName = "I8";         ///< for people
  static constexpr std::size_t kBlockElements = 32;  ///< numbers per block
  static constexpr std::size_t kQuantsOffset = 0;    ///< byte of the integers
  static constexpr std::size_t kBlockBytes = 32;     ///< bytes per block
  static constexpr std::size_t kGroup = 32;          ///< the scale is wider still
  static constexpr bool kHasMin = false;             ///< value = q

  /// A block to 32 whole floats, in order.
  static void decode(const std::uint8_t* block, float* out) {
    detail::decode_by_groups<I8>(block, out);
  }
  /// q [32] from −128 to 127, scale [1] = 1; no minimum is written.
  static void decode_groups(const std::uint8_t* block, std::int8_t* q, float* scale,
                            float* /*minimum*/ = nullptr) {
    *scale = 1.0f;
    std::memcpy(q, block, kBlockElements);
  }
};

/// 4 bits, stored 8 too large; element 2k is in the low nibble of byte k.
struct I4 {
  static constexpr DType kType = DType::I4;          ///< not of ggml
  static constexpr const char* kName = "I4";         ///< for people
  static constexpr std::size_t kBlockElements = 32;  ///< numbers per block
  static constexpr std::size_t kQuantsOffset = 0;    ///< byte of the integers
  static constexpr std::size_t kBlockBytes = 16;     ///< bytes per block
  static constexpr std::size_t kGroup = 32;          ///< the scale is wider still
  static constexpr bool kHasMin = false;             ///< value = q

  /// A block to 32 whole floats, in order.
  static void decode(const std::uint8_t* block, float* out) {
    detail::decode_by_groups<I4>(block, out);
  }
  /// q [32] from −8 to 7, scale [1] = 1; no minimum is written.
  static void decode_groups(const std::uint8_t* block, std::int8_t* q, float* scale,
                            float* /*minimum*/ = nullptr) {
    *scale = 1.0f;
    for (std::size_t i = 0; i < kBlockBytes; ++i) {
      q[2 * i] = static_cast<std::int8_t>((block[i] & 15) - 8);
      q[2 * i + 1] = static_cast<std::int8_t>((block[i] >> 4) - 8);
    }
  }
};

}  // namespace quant
GEMMA_NAMESPACE_END

#endif  // GEMMA_QUANT_ROW_SCALED_HPP_
