// What the quantised formats share. A format is a struct of constants and static functions:
//
//   kType, kName          its DType and name
//   kBlockElements        numbers per block; rows are whole blocks
//   kBlockBytes           bytes per block
//   decode(block, out)    one block to floats, in order
//
// and, if kBlockElements > 1, the integers that SIMD kernels multiply:
//
//   kGroup                neighbouring elements that share one scale
//   kHasMin               whether a group also has a minimum; q is then unsigned, else centred
//   decode_groups(block, q, scale, minimum)
//                         value = scale[i / kGroup] * q[i] - minimum[i / kGroup]
#ifndef GEMMA_QUANT_BLOCK_HPP_
#define GEMMA_QUANT_BLOCK_HPP_

#include <cstddef>
#include <cstdint>

#include "gemma/base/bytes.hpp"
#include "gemma/base/float16.hpp"
#include "gemma/quant/types.hpp"

GEMMA_NAMESPACE_BEGIN
namespace quant {
namespace detail {

/// A binary16 field of a block.
inline float load_half(const std::uint8_t* p) { return half_to_float(load_le<std::uint16_t>(p)); }

/// decode() by way of decode_groups(). A binary16 has 11 significant bits, the scales and quants
/// multiplied with it have 12 at most: every product is exact in float32, so the result is the same
/// in any order and with or without fused multiply-add. Only the subtraction rounds.
template <class Format>
void decode_by_groups(const std::uint8_t* block, float* out) {
  constexpr std::size_t kGroups = Format::kBlockElements / Format::kGroup;
  std::int8_t q[Format::kBlockElements];
  float scale[kGroups];
  float minimum[kGroups];
  Format::decode_groups(block, q, scale, minimum);
  for (std::size_t g = 0; g < kGroups; ++g) {
    for (std::size_t i = g * Format::kGroup; i < (g + 1) * Format::kGroup; ++i) {
      out[i] = scale[g] * static_cast<float>(q[i]);
      if constexpr (Format::kHasMin) out[i] -= minimum[g];
    }
  }
}

/// 2n numbers of 4 bits from n bytes: the low halves of all bytes first, then the high halves.
inline void unpack_4_bits(const std::uint8_t* packed, std::size_t n, std::int8_t* q) {
  for (std::size_t i = 0; i < n; ++i) q[i] = static_cast<std::int8_t>(packed[i] & 15);
  for (std::size_t i = 0; i < n; ++i) q[n + i] = static_cast<std::int8_t>(packed[i] >> 4);
}

/// 128 numbers of 2 bits from 32 bytes: the lowest bits of all bytes first, and so on.
inline void unpack_2_bits(const std::uint8_t* packed, std::int8_t* q) {
  for (std::size_t plane = 0; plane < 4; ++plane) {
    for (std::size_t i = 0; i < 32; ++i) {
      q[32 * plane + i] = static_cast<std::int8_t>(packed[i] >> (2 * plane) & 3);
    }
  }
}

/// q + offset, to centre unsigned numbers or to set a higher bit.
inline std::int8_t shifted(std::int8_t q, int offset) {
  return static_cast<std::int8_t>(q + offset);
}

}  // namespace detail
}  // namespace quant
GEMMA_NAMESPACE_END

#endif  // GEMMA_QUANT_BLOCK_HPP_
