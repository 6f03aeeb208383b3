// All number formats: from a DType at run time to a format struct at compile time.
#ifndef GEMMA_QUANT_REGISTRY_HPP_
#define GEMMA_QUANT_REGISTRY_HPP_

#include <cstddef>
#include <cstdint>
#include <string>
#include <type_traits>

#include "gemma/base/error.hpp"
#include "gemma/quant/block32.hpp"
#include "gemma/quant/iq4_xs.hpp"
#include "gemma/quant/k_quants.hpp"
#include "gemma/quant/matrix.hpp"
#include "gemma/quant/plain.hpp"
#include "gemma/quant/row_scaled.hpp"
#include "gemma/quant/types.hpp"

GEMMA_NAMESPACE_BEGIN
namespace quant {

/// A list of format structs.
template <class... Formats>
struct FormatList {};

/// Every format of GGUF files; a new one is a struct, a DType and a name here.
using AllFormats = FormatList<F32, F16, BF16,                       // plain
                              Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, IQ4_NL,  // blocks of 32
                              Q2_K, Q3_K, Q4_K, Q5_K, Q6_K, IQ4_XS   // blocks of 256
                              >;

/// The formats whose scales stand beside the matrix.
using RowScaledFormats = FormatList<I8, I4>;

/// Whether `Format` is one of RowScaledFormats.
template <class Format>
inline constexpr bool kRowScaled =
    std::is_same<Format, I8>::value || std::is_same<Format, I4>::value;

namespace detail {

template <class... First, class... Second>
FormatList<First..., Second...> concatenated(FormatList<First...>, FormatList<Second...>);
using VisitedFormats = decltype(concatenated(AllFormats{}, RowScaledFormats{}));

template <class Result, class F, class... Formats>
Result visit(FormatList<Formats...>, DType type, F& f) {
  if constexpr (std::is_void<Result>::value) {
    (void)((type == Formats::kType && (f(Formats{}), true)) || ...);
  } else {
    Result result{};
    (void)((type == Formats::kType && (result = f(Formats{}), true)) || ...);
    return result;
  }
}

}  // namespace detail

/// Calls f with a value of the format struct of `type`, and returns what f returns:
///
///   visit(type, [&](auto format) { decltype(format)::decode(block, out); });
///
/// Both AllFormats and RowScaledFormats are visited. For a type in neither (a cast from an unchecked
/// number) f is not called, and the result is a value-initialised one.
template <class F>
auto visit(DType type, F&& f) {
  return detail::visit<decltype(f(F32{}))>(detail::VisitedFormats{}, type, f);
}

/// Whether `raw`, a type number from a file, is one of AllFormats.
inline bool is_supported(std::uint32_t raw) {
  const auto yes = [](auto) { return true; };
  return detail::visit<bool>(AllFormats{}, static_cast<DType>(raw), yes);
}

/// "Q4_K"; null if not supported.
inline const char* dtype_name(DType type) {
  return visit(type, [](auto format) { return decltype(format)::kName; });
}

/// Numbers per block: 1, 32 or 256.
inline std::size_t block_elements(DType type) {
  return visit(type, [](auto format) { return decltype(format)::kBlockElements; });
}

/// Bytes per block.
inline std::size_t block_bytes(DType type) {
  return visit(type, [](auto format) { return decltype(format)::kBlockBytes; });
}

/// The names of AllFormats, for messages: "F32, F16, …".
std::string supported_names();

/// Bytes of a row of n numbers. Errors: n is not whole blocks, the size overflows 64 bits, or the
/// type is not supported.
Result<std::uint64_t> row_bytes(DType type, std::uint64_t n);

/// Decodes n numbers, whole blocks, as exactly as float32 can hold them. `type` is supported, `src`
/// holds row_bytes(type, n) bytes; the caller has checked both.
void decode_row(DType type, const std::uint8_t* src, std::size_t n, float* dst);

/// Decodes row `r` < matrix.rows: matrix.cols numbers, with its scale and zero point if it has them.
void decode_row(const WeightMatrix& matrix, std::size_t r, float* dst);

}  // namespace quant
GEMMA_NAMESPACE_END

#if !defined(GEMMA_DECLARATIONS_ONLY)
#include "gemma/quant/impl/registry-inl.hpp"
#endif

#endif  // GEMMA_QUANT_REGISTRY_HPP_
