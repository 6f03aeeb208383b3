// Formats without blocks: one float after another.
#ifndef GEMMA_QUANT_PLAIN_HPP_
#define GEMMA_QUANT_PLAIN_HPP_

#include <cstddef>
#include <cstdint>

#include "gemma/base/bytes.hpp"
#include "gemma/base/float16.hpp"
#include "gemma/quant/types.hpp"

GEMMA_NAMESPACE_BEGIN
namespace quant {

/// IEEE 754 binary32.
struct F32 {
  static constexpr DType kType = DType::F32;        ///< as files number it
  static constexpr const char* kName = "F32";       ///< as ggml spells it
  static constexpr std::size_t kBlockElements = 1;  ///< each number stands alone
  static constexpr std::size_t kBlockBytes = 4;     ///< of a number

  /// One number, as it is.
  static void decode(const std::uint8_t* block, float* out) { *out = load_le<float>(block); }
};

/// IEEE 754 binary16.
struct F16 {
  static constexpr DType kType = DType::F16;        ///< as files number it
  static constexpr const char* kName = "F16";       ///< as ggml spells it
  static constexpr std::size_t kBlockElements = 1;  ///< each number stands alone
  static constexpr std::size_t kBlockBytes = 2;     ///< of a number

  /// One number, exactly.
  static void decode(const std::uint8_t* block, float* out) {
    *out = half_to_float(load_le<std::uint16_t>(block));
  }
};

/// bfloat16, the upper half of a binary32.
struct BF16 {
  static constexpr DType kType = DType::BF16;       ///< as files number it
  static constexpr const char* kName = "BF16";      ///< as ggml spells it
  static constexpr std::size_t kBlockElements = 1;  ///< each number stands alone
  static constexpr std::size_t kBlockBytes = 2;     ///< of a number

  /// One number, exactly.
  static void decode(const std::uint8_t* block, float* out) {
    *out = bfloat16_to_float(load_le<std::uint16_t>(block));
  }
};

}  // namespace quant
GEMMA_NAMESPACE_END

#endif  // GEMMA_QUANT_PLAIN_HPP_
