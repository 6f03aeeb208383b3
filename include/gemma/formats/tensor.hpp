// A named tensor in a file.
#ifndef GEMMA_FORMATS_TENSOR_HPP_
#define GEMMA_FORMATS_TENSOR_HPP_

#include <cstdint>
#include <string>
#include <vector>

#include "gemma/base/span.hpp"
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

GEMMA_NAMESPACE_END

#endif  // GEMMA_FORMATS_TENSOR_HPP_
