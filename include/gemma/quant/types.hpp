// The number formats of weights, by ggml's type numbers.
#ifndef GEMMA_QUANT_TYPES_HPP_
#define GEMMA_QUANT_TYPES_HPP_

#include <cstdint>

#include "gemma/config.hpp"

GEMMA_NAMESPACE_BEGIN

/// How numbers are stored. Values are those of ggml_type, as GGUF files have them; gaps are types
/// that ggml dropped or that no struct in quant/ decodes.
enum class DType : std::uint32_t {
  F32 = 0,
  F16 = 1,
  Q4_0 = 2,
  Q4_1 = 3,
  Q5_0 = 6,
  Q5_1 = 7,
  Q8_0 = 8,
  Q2_K = 10,
  Q3_K = 11,
  Q4_K = 12,
  Q5_K = 13,
  Q6_K = 14,
  IQ4_NL = 20,
  IQ4_XS = 23,
  BF16 = 30
};

GEMMA_NAMESPACE_END

#endif  // GEMMA_QUANT_TYPES_HPP_
