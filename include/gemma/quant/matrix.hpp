// A weight matrix where the file has it.
#ifndef GEMMA_QUANT_MATRIX_HPP_
#define GEMMA_QUANT_MATRIX_HPP_

#include <cstddef>
#include <cstdint>

#include "gemma/config.hpp"
#include "gemma/quant/types.hpp"

GEMMA_NAMESPACE_BEGIN

/// Rows that are packed together.
inline constexpr std::size_t kPackedRows = 16;

/// `rows` × `cols` numbers of one format, row-major, in place: y = W x. Owns nothing.
struct WeightMatrix {
  DType type = DType::F32;               ///< of all its numbers
  const std::uint8_t* data = nullptr;    ///< the first row; null: no matrix
  std::size_t rows = 0;                  ///< outputs
  std::size_t cols = 0;                  ///< inputs
  std::size_t row_bytes = 0;             ///< of whole blocks, without gaps
  const std::uint8_t* packed = nullptr;  ///< the same by groups of rows, see packed.hpp; null: none

  explicit operator bool() const { return data != nullptr; }                     ///< data is set
  const std::uint8_t* row(std::size_t r) const { return data + r * row_bytes; }  ///< r < rows
  std::size_t bytes() const { return rows * row_bytes; }                         ///< of all rows
};

/// Rows [first, first + count) of a matrix.
inline WeightMatrix rows_of(WeightMatrix m, std::size_t first, std::size_t count) {
  const bool whole_groups = first % kPackedRows == 0 && count % kPackedRows == 0;
  m.packed = m.packed != nullptr && whole_groups ? m.packed + first * m.row_bytes : nullptr;
  m.data = m.row(first);
  m.rows = count;
  return m;
}

GEMMA_NAMESPACE_END

#endif  // GEMMA_QUANT_MATRIX_HPP_
