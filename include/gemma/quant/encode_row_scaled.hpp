// Integers with a scale for each row (row_scaled.hpp) as blocks that every reader of GGUF knows: the
// integers stay what they are, and only the scale is rounded, to binary16.
#ifndef GEMMA_QUANT_ENCODE_ROW_SCALED_HPP_
#define GEMMA_QUANT_ENCODE_ROW_SCALED_HPP_

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>

#include "gemma/base/float16.hpp"
#include "gemma/quant/encode_block32.hpp"
#include "gemma/quant/matrix.hpp"
#include "gemma/quant/row_scaled.hpp"

GEMMA_NAMESPACE_BEGIN
namespace quant {
/// The format that can take these integers as they are: Q8_0 or Q4_0, Q4_1 for 4 bits with zero points;
/// F16 where there is none (8 bits with zero points, or −128, which Q8_0 must not have), and F32 if
/// anything is beyond halves. Of rows whose scale is below 2⁻¹⁴, the smallest whole half, numbers
/// are off by up to 127 · 2⁻²⁵.
inline DType block_format_of(const WeightMatrix& m) {
  for (std::size_t r = 0; r < m.rows; ++r) {
    const float zero = m.row_zero != nullptr ? m.row_zero[r] : 0.0f;
    if (std::fabs(m.row_scale[r]) * (128.0f + std::fabs(zero)) > detail::kLargestHalf) {
      return DType::F32;
    }
  }
  if (m.type == DType::I4) return m.row_zero != nullptr ? DType::Q4_1 : DType::Q4_0;
  if (m.row_zero != nullptr) return DType::F16;
  const std::uint8_t* end = m.data + m.bytes();
  return std::find(m.data, end, std::uint8_t{0x80}) == end ? DType::Q8_0 : DType::F16;
}

/// Row `row` of the matrix as blocks of block_format_of(m), if that is one of its three.
inline void encode_integers(const WeightMatrix& m, std::size_t row, std::uint8_t* dst) {
  const float scale = m.row_scale[row];
  const std::uint16_t half = half_from_float(scale);
  const std::uint8_t* src = m.row(row);
  for (std::size_t done = 0; done < m.cols; done += 32) {
    if (m.type == DType::I8) {
      detail::store_le(dst + Q8_0::kScaleOffset, half);
      std::copy(src, src + 32, dst + Q8_0::kQuantsOffset);
      src += I8::kBlockBytes;
      dst += Q8_0::kBlockBytes;
      continue;
    }
    // Neighbours share a byte here, numbers 16 apart there; both are stored 8 too large.
    std::uint8_t codes[32];
    for (std::size_t i = 0; i < 16; ++i) {
      codes[2 * i] = src[i] & 15;
      codes[2 * i + 1] = src[i] >> 4;
    }
    src += I4::kBlockBytes;
    if (m.row_zero == nullptr) {
      detail::store_le(dst + Q4_0::kScaleOffset, half);
      detail::pack_4_bits(codes, 16, dst + Q4_0::kQuantsOffset);
      dst += Q4_0::kBlockBytes;
    } else {
      detail::store_le(dst + Q4_1::kScaleOffset, half);
      detail::store_le(dst + Q4_1::kMinOffset, half_from_float(-scale * (8.0f + m.row_zero[row])));
      detail::pack_4_bits(codes, 16, dst + Q4_1::kQuantsOffset);
      dst += Q4_1::kBlockBytes;
    }
  }
}

}  // namespace quant
GEMMA_NAMESPACE_END

#endif  // GEMMA_QUANT_ENCODE_ROW_SCALED_HPP_
