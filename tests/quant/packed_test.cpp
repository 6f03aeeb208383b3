#include "gemma/quant/packed.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cstdint>
#include <vector>

#include "gemma/base/bytes.hpp"

namespace {

using gemma::DType;
using gemma::WeightMatrix;
namespace quant = gemma::quant;

/// Sixteen rows of two blocks; a byte says in which row and where it stands.
struct Rows {
  std::vector<std::uint8_t> bytes;
  WeightMatrix matrix;

  explicit Rows(DType type, std::size_t rows = gemma::kPackedRows) {
    matrix.type = type;
    matrix.rows = rows;
    matrix.cols = 2 * quant::block_elements(type);
    matrix.row_bytes = 2 * quant::block_bytes(type);
    for (std::size_t i = 0; i < matrix.bytes(); ++i) {
      bytes.push_back(static_cast<std::uint8_t>(i / matrix.row_bytes * 16 + i % matrix.row_bytes));
    }
    matrix.data = bytes.data();
  }
};

std::vector<std::uint8_t> packed(const Rows& rows) {
  std::vector<std::uint8_t> out(rows.matrix.bytes());
  quant::pack_rows(rows.matrix, 0, out.data());
  return out;
}

const std::vector<DType> kPackable = {DType::Q4_0, DType::Q5_0, DType::Q8_0,
                                      DType::Q4_K, DType::Q6_K};

}  // namespace

TEST_CASE("a packed block holds its scales first and then word after word of all rows") {
  const Rows rows(DType::Q8_0);
  const std::vector<std::uint8_t> out = packed(rows);
  constexpr std::size_t kRow = 2 * quant::Q8_0::kBlockBytes;
  for (std::size_t block = 0; block < 2; ++block) {
    for (std::size_t r = 0; r < 16; ++r) {
      const std::uint8_t* in = rows.bytes.data() + r * kRow + block * quant::Q8_0::kBlockBytes;
      const std::uint8_t* at = out.data() + block * 16 * quant::Q8_0::kBlockBytes;
      CHECK(gemma::load_le<std::uint16_t>(at + 2 * r) == gemma::load_le<std::uint16_t>(in));
      for (std::size_t w = 0; w < 8; ++w) {
        CHECK(gemma::load_le<std::uint32_t>(at + 32 + (16 * w + r) * 4) ==
              gemma::load_le<std::uint32_t>(in + 2 + 4 * w));
      }
    }
  }
}

TEST_CASE("packing keeps every bit") {
  for (const DType type : kPackable) {
    CAPTURE(quant::dtype_name(type));
    const Rows rows(type);
    std::vector<std::uint8_t> in = rows.bytes, out = packed(rows);
    const auto ones = [](const std::vector<std::uint8_t>& bytes) {
      std::size_t count = 0;
      for (std::uint32_t byte : bytes) {
        for (; byte != 0; byte &= byte - 1) ++count;
      }
      return count;
    };
    CHECK(ones(in) == ones(out));
    if (type == DType::Q5_0) continue;  // its fifth bits change places
    std::sort(in.begin(), in.end());
    std::sort(out.begin(), out.end());
    CHECK(in == out);
  }
}

TEST_CASE("a row comes back from packed weights as it was") {
  for (const DType type : kPackable) {
    CAPTURE(quant::dtype_name(type));
    Rows rows(type, 32);
    const std::size_t size = rows.matrix.row_bytes;
    std::vector<std::uint8_t> all(rows.matrix.bytes());
    for (const std::size_t row : {0u, 16u}) quant::pack_rows(rows.matrix, row, all.data() + row * size);
    rows.matrix.packed = all.data();
    for (std::size_t row = 0; row < 32; ++row) {
      std::vector<std::uint8_t> out(size);
      quant::unpack_row(rows.matrix, row, out.data());
      CHECK(std::equal(out.begin(), out.end(), rows.matrix.row(row)));
    }
  }
}

TEST_CASE("only whole groups of rows of some formats can be packed, and lost when a part is no group") {
  CHECK(quant::can_pack(Rows(DType::Q4_0, 32).matrix));
  CHECK_FALSE(quant::can_pack(Rows(DType::Q4_0, 24).matrix));
  CHECK_FALSE(quant::can_pack(Rows(DType::IQ4_XS).matrix));
  CHECK_FALSE(quant::can_pack(WeightMatrix()));

  const Rows rows(DType::Q4_0, 64);
  WeightMatrix m = rows.matrix;
  CHECK(gemma::rows_of(m, 16, 16).packed == nullptr);
  m.packed = rows.bytes.data();
  CHECK(gemma::rows_of(m, 16, 32).packed == m.packed + 16 * m.row_bytes);
  CHECK(gemma::rows_of(m, 8, 16).packed == nullptr);
  CHECK(gemma::rows_of(m, 16, 8).packed == nullptr);
}
