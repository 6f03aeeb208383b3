// What a weight costs, and what it loses: one matrix in every number format, multiplied with one vector.
//
// Build: g++ -std=c++17 -O2 -march=native -I include examples/03_formats.cpp -o formats -pthread
// Run:   ./formats
#include <gemma/gemma.hpp>
#include <gemma/model/reference.hpp>
#include <gemma/quant/encode.hpp>
#include <cmath>
#include <cstdio>
#include <random>
#include <vector>

/// A matrix that owns its bytes.
struct Encoded {
  std::vector<std::uint8_t> bytes;
  gemma::WeightMatrix matrix;

  Encoded(gemma::DType type, const std::vector<float>& numbers, std::size_t rows, std::size_t cols) {
    matrix.type = type;
    matrix.rows = rows;
    matrix.cols = cols;
    matrix.row_bytes = static_cast<std::size_t>(gemma::quant::row_bytes(type, cols).value());
    bytes.resize(rows * matrix.row_bytes);
    matrix.data = bytes.data();
    for (std::size_t r = 0; r < rows; ++r) {
      gemma::quant::encode_row(type, &numbers[r * cols], cols, &bytes[r * matrix.row_bytes]);
    }
  }
};

/// |a − b| / |b|.
double distance(const std::vector<float>& a, const std::vector<float>& b) {
  double difference = 0.0, size = 0.0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    difference += std::pow(double{a[i]} - double{b[i]}, 2);
    size += std::pow(double{b[i]}, 2);
  }
  return std::sqrt(difference / size);
}

int main() {
  using gemma::DType;
  constexpr std::size_t kRows = 256, kCols = 1024;
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  std::vector<float> weights(kRows * kCols);
  for (float& w : weights) w = 0.02f * normal(random);  // what trained weights look like
  gemma::reference::Matrix x(1, kCols);
  for (float& value : x.values) value = normal(random);

  const Encoded exact(DType::F32, weights, kRows, kCols);
  const std::vector<float> y = gemma::reference::matmul(exact.matrix, x).values;

  std::printf("y = W x, W of %zu x %zu numbers from a bell curve\n\n", kRows, kCols);
  std::printf("format   bits   2B model   error of W   error of y\n");
  for (const DType type : {DType::F32, DType::F16, DType::BF16, DType::Q8_0, DType::Q6_K, DType::Q5_K,
                           DType::Q5_1, DType::Q5_0, DType::Q4_K, DType::Q4_0}) {
    const Encoded encoded(type, weights, kRows, kCols);
    std::vector<float> decoded(weights.size());
    for (std::size_t r = 0; r < kRows; ++r) {
      gemma::quant::decode_row(type, encoded.matrix.row(r), kCols, &decoded[r * kCols]);
    }
    const double bits = 8.0 * static_cast<double>(encoded.bytes.size()) / static_cast<double>(weights.size());
    std::printf("%-6s  %5.2f  %6.2f GB   %8.4f %%   %8.4f %%\n", gemma::quant::dtype_name(type), bits,
                bits / 8.0 * 2.6, 100.0 * distance(decoded, weights),
                100.0 * distance(gemma::reference::matmul(encoded.matrix, x).values, y));
  }
  std::printf(
      "\nBlocks of 32 numbers share a scale; those of the K formats are 256, with scales of scales.\n"
      "Each bit less doubles the error. Errors of single weights are independent, so a sum of a\n"
      "thousand products has the same relative error as one of them, not a thousand times it.\n");
}
