// The number formats of weights, by ggml's type numbers.
#ifndef GEMMA_QUANT_TYPES_HPP_
#define GEMMA_QUANT_TYPES_HPP_

#include <cstdint>

#include "gemma/config.hpp"

GEMMA_NAMESPACE_BEGIN

/// How numbers are stored. Values are those of ggml_type, as GGUF files have them; gaps are types
/// that ggml dropped or that no struct in quant/ decodes.
enum class DType : std::uint32_t {
  F32 = 0,      ///< IEEE 754 binary32
  F16 = 1,      ///< IEEE 754 binary16
  Q4_0 = 2,     ///< 4.5 bits per weight, in blocks of 32
  Q4_1 = 3,     ///< 5 bits, in blocks of 32 with a minimum
  Q5_0 = 6,     ///< 5.5 bits, in blocks of 32
  Q5_1 = 7,     ///< 6 bits, in blocks of 32 with a minimum
  Q8_0 = 8,     ///< 8.5 bits, in blocks of 32
  Q2_K = 10,    ///< 2.625 bits, in blocks of 256
  Q3_K = 11,    ///< 3.4375 bits, in blocks of 256
  Q4_K = 12,    ///< 4.5 bits, in blocks of 256
  Q5_K = 13,    ///< 5.5 bits, in blocks of 256
  Q6_K = 14,    ///< 6.5625 bits, in blocks of 256
  IQ4_NL = 20,  ///< 4.5 bits, in blocks of 32; 16 values unevenly spaced
  IQ4_XS = 23,  ///< 4.25 bits, in blocks of 256; the same values
  BF16 = 30     ///< bfloat16, the upper half of a binary32
};

GEMMA_NAMESPACE_END

#endif  // GEMMA_QUANT_TYPES_HPP_
