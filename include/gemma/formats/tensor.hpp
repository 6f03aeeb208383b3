// A named tensor in a file.
#ifndef GEMMA_FORMATS_TENSOR_HPP_
#define GEMMA_FORMATS_TENSOR_HPP_

#include <cstdint>
#include <string>
#include <vector>

#include "gemma/base/span.hpp"
#include "gemma/quant/matrix.hpp"
#include "gemma/quant/types.hpp"

GEMMA_NAMESPACE_BEGIN

/// Name, shape and bytes, which lie in the file and are read-only. The reader that made it has
/// checked all of it: 1 to 4 dimensions, none zero, and exactly the bytes that they need.
struct TensorView {
  std::string name;         ///< as the file has it
  DType type = DType::F32;  ///< of all its numbers
  /// ggml's order: shape[0] numbers are contiguous. A matrix y = W x is {inputs, outputs}.
  std::vector<std::uint64_t> shape;
  Bytes data;  ///< rows one after the other, without gaps
  const float* row_scale = nullptr;  ///< as in WeightMatrix
  const float* row_zero = nullptr;   ///< likewise

  /// How many numbers it holds.
  std::uint64_t elements() const {
    std::uint64_t product = 1;
    for (const std::uint64_t n : shape) product *= n;
    return product;
  }
  /// Numbers in a row: shape[0]; 0 without a shape.
  std::uint64_t row_length() const { return shape.empty() ? 0 : shape[0]; }
  /// The product of all dimensions but the first; 0 without a shape.
  std::uint64_t rows() const { return shape.empty() ? 0 : elements() / shape[0]; }
};

/// All rows of a tensor, of which there is at least one.
inline WeightMatrix matrix_of(const TensorView& tensor) {
  WeightMatrix m;
  m.type = tensor.type;
  m.data = tensor.data.data();
  m.cols = static_cast<std::size_t>(tensor.row_length());
  m.rows = static_cast<std::size_t>(tensor.rows());
  m.row_bytes = tensor.data.size() / m.rows;
  m.row_scale = tensor.row_scale;
  m.row_zero = tensor.row_zero;
  return m;
}

GEMMA_NAMESPACE_END

#endif  // GEMMA_FORMATS_TENSOR_HPP_
