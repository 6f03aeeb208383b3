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
  DType type = DType::F32;             ///< of all its numbers
  const std::uint8_t* data = nullptr;  ///< the first row; null: no matrix
  std::size_t rows = 0;                ///< outputs
  std::size_t cols = 0;                ///< inputs
  std::size_t row_bytes = 0;           ///< of whole blocks, without gaps
  /// [rows]: each number of row r is row_scale[r] · (what its format says − row_zero[r]); null: it
  /// is what its format says. Only formats of row_scaled.hpp have them.
  const float* row_scale = nullptr;
  const float* row_zero = nullptr;  ///< [rows]; null: all zero

  explicit operator bool() const { return data != nullptr; }                     ///< data is set
  const std::uint8_t* row(std::size_t r) const { return data + r * row_bytes; }  ///< r < rows
  std::size_t bytes() const { return rows * row_bytes; }                         ///< of all rows
};

/// Rows [first, first + count) of a matrix.
inline WeightMatrix rows_of(WeightMatrix m, std::size_t first, std::size_t count) {
  m.data = m.row(first);
  if (m.row_scale != nullptr) m.row_scale += first;
  if (m.row_zero != nullptr) m.row_zero += first;
  m.rows = count;
  return m;
}

GEMMA_NAMESPACE_END

#endif  // GEMMA_QUANT_MATRIX_HPP_
