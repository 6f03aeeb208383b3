// Bodies of registry.hpp.
#ifndef GEMMA_QUANT_IMPL_REGISTRY_INL_HPP_
#define GEMMA_QUANT_IMPL_REGISTRY_INL_HPP_

#include <limits>

#include "gemma/quant/registry.hpp"

GEMMA_NAMESPACE_BEGIN
namespace quant {
namespace detail {

template <class... Formats>
std::string names(FormatList<Formats...>) {
  std::string all;
  ((all += (all.empty() ? "" : ", ") + std::string(Formats::kName)), ...);
  return all;
}

}  // namespace detail

GEMMA_INLINE std::string supported_names() { return detail::names(AllFormats{}); }

GEMMA_INLINE Result<std::uint64_t> row_bytes(DType type, std::uint64_t n) {
  const auto raw = static_cast<std::uint32_t>(type);
  if (dtype_name(type) == nullptr) {
    return Error(ErrorCode::unsupported, "number format " + std::to_string(raw) +
                                             " is not supported; supported are " +
                                             supported_names());
  }
  const std::uint64_t per_block = block_elements(type);
  const std::uint64_t bytes = block_bytes(type);
  if (n % per_block != 0) {
    return Error(ErrorCode::format, "a row of " + std::to_string(n) + " numbers is not whole " +
                                        dtype_name(type) + " blocks of " +
                                        std::to_string(per_block));
  }
  if (n / per_block > (std::numeric_limits<std::uint64_t>::max)() / bytes) {
    return Error(ErrorCode::format, "a row of " + std::to_string(n) + " " + dtype_name(type) +
                                        " numbers is larger than any file");
  }
  return n / per_block * bytes;
}

GEMMA_INLINE void decode_row(DType type, const std::uint8_t* src, std::size_t n, float* dst) {
  visit(type, [&](auto format) {
    using Format = decltype(format);
    for (std::size_t i = 0; i < n; i += Format::kBlockElements) {
      Format::decode(src, dst + i);
      src += Format::kBlockBytes;
    }
  });
}

GEMMA_INLINE void decode_row(const WeightMatrix& matrix, std::size_t r, float* dst) {
  decode_row(matrix.type, matrix.row(r), matrix.cols, dst);
  if (matrix.row_scale == nullptr) return;
  const float scale = matrix.row_scale[r];
  const float zero = matrix.row_zero == nullptr ? 0.0f : matrix.row_zero[r];
  for (std::size_t c = 0; c < matrix.cols; ++c) dst[c] = (dst[c] - zero) * scale;
}

}  // namespace quant
GEMMA_NAMESPACE_END

#endif  // GEMMA_QUANT_IMPL_REGISTRY_INL_HPP_
