// A weight matrix where the file has it.
#ifndef GEMMA_QUANT_MATRIX_HPP_
#define GEMMA_QUANT_MATRIX_HPP_

#include <cstddef>
#include <cstdint>

#include "gemma/config.hpp"
#include "gemma/quant/types.hpp"

GEMMA_NAMESPACE_BEGIN

/// `rows` × `cols` numbers of one format, row-major, in place: y = W x. Owns nothing.
struct WeightMatrix {
  DType type = DType::F32;
  const std::uint8_t* data = nullptr;
  std::size_t rows = 0;
  std::size_t cols = 0;
  std::size_t row_bytes = 0;

  explicit operator bool() const { return data != nullptr; }
  const std::uint8_t* row(std::size_t r) const { return data + r * row_bytes; }
};

GEMMA_NAMESPACE_END

#endif  // GEMMA_QUANT_MATRIX_HPP_
