// Bodies of encode.hpp, and the encoders of the formats without blocks.
#ifndef GEMMA_QUANT_IMPL_ENCODE_INL_HPP_
#define GEMMA_QUANT_IMPL_ENCODE_INL_HPP_

#include "gemma/quant/encode.hpp"
#include "gemma/quant/encode_block32.hpp"
#include "gemma/quant/encode_k_quants.hpp"
#include "gemma/quant/registry.hpp"

GEMMA_NAMESPACE_BEGIN
namespace quant {

template <>
struct Encoder<F32> {
  static void encode(const float* src, std::uint8_t* block) {
    detail::store_le(block, detail::finite_or_zero(*src));
  }
};

template <>
struct Encoder<F16> {
  static void encode(const float* src, std::uint8_t* block) {
    const float x = detail::finite_or_zero(*src);
    const float in_range = (std::min)((std::max)(x, -detail::kLargestHalf), detail::kLargestHalf);
    detail::store_le(block, half_from_float(in_range));
  }
};

template <>
struct Encoder<BF16> {
  static void encode(const float* src, std::uint8_t* block) {
    const float x = detail::finite_or_zero(*src);
    const float largest = bfloat16_to_float(0x7F7F);
    detail::store_le(block, bfloat16_from_float((std::min)((std::max)(x, -largest), largest)));
  }
};

namespace detail {

using EncodableFormats = 
    FormatList<F32, F16, BF16, Q4_0, Q5_0, Q5_1, Q8_0, Q4_K, Q5_K, Q6_K>;

}  // namespace detail

GEMMA_INLINE bool can_encode(DType type) {
  const auto yes = [](auto) { return true; };
  return detail::visit<bool>(detail::EncodableFormats{}, type, yes);
}

GEMMA_INLINE void encode_row(DType type, const float* src, std::size_t n, std::uint8_t* dst) {
  const auto encode = [&](auto format) {
    using Format = decltype(format);
    for (std::size_t i = 0; i < n; i += Format::kBlockElements) {
      Encoder<Format>::encode(src + i, dst);
      dst += Format::kBlockBytes;
    }
  };
  detail::visit<void>(detail::EncodableFormats{}, type, encode);
}

}  // namespace quant
GEMMA_NAMESPACE_END

#endif  // GEMMA_QUANT_IMPL_ENCODE_INL_HPP_
