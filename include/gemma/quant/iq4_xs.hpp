// IQ4_XS: IQ4_NL's 16 values in super-blocks of 256, with 6-bit scales.
// Source: block_iq4_xs of ggml.
#ifndef GEMMA_QUANT_IQ4_XS_HPP_
#define GEMMA_QUANT_IQ4_XS_HPP_

#include <cstddef>
#include <cstdint>

#include "gemma/quant/block32.hpp"

GEMMA_NAMESPACE_BEGIN
namespace quant {

/// 4 bits that select one of 16 values, with a 6-bit scale per 32:
/// value = d * (sc - 32) * kIq4Values[q].
///
///   0    2                    4                      8                     136
///   | d  | scales_h: 8 x 2 bit | scales_l: 8 x 4 bit | qs: 8 x 16 x 2 nibbles |
///
/// Each 16 bytes of qs hold 32 elements, as Q4_0 does.
struct IQ4_XS {
  static constexpr DType kType = DType::IQ4_XS;        ///< as files number it
  static constexpr const char* kName = "IQ4_XS";       ///< as ggml spells it
  static constexpr std::size_t kBlockElements = 256;   ///< numbers per block
  static constexpr std::size_t kScaleOffset = 0;       ///< byte of d
  static constexpr std::size_t kHighScalesOffset = 2;  ///< byte of scales_h
  static constexpr std::size_t kLowScalesOffset = 4;   ///< byte of scales_l
  static constexpr std::size_t kQuantsOffset = 8;      ///< byte of qs
  static constexpr std::size_t kBlockBytes = 136;      ///< bytes per block
  static constexpr std::size_t kGroup = 32;            ///< elements that share a scale
  static constexpr bool kHasMin = false;               ///< value = scale · q

  /// A block to 256 floats, in order.
  static void decode(const std::uint8_t* block, float* out) {
    detail::decode_by_groups<IQ4_XS>(block, out);
  }
  /// q [256], values of kIq4Values; scale [8]; no minimum is written.
  static void decode_groups(const std::uint8_t* block, std::int8_t* q, float* scale,
                            float* /*minimum*/ = nullptr) {
    const float d = detail::load_half(block + kScaleOffset);
    const int high_scales = load_le<std::uint16_t>(block + kHighScalesOffset);
    for (std::size_t g = 0; g < kBlockElements / kGroup; ++g) {
      const int low = block[kLowScalesOffset + g / 2] >> (4 * (g % 2)) & 15;
      const int high = high_scales >> (2 * g) & 3;
      scale[g] = d * static_cast<float>((low | high << 4) - 32);
      detail::unpack_4_bits(block + kQuantsOffset + 16 * g, 16, q + 32 * g);
    }
    for (std::size_t i = 0; i < kBlockElements; ++i) q[i] = detail::kIq4Values[q[i]];
  }
};

}  // namespace quant
GEMMA_NAMESPACE_END

#endif  // GEMMA_QUANT_IQ4_XS_HPP_
