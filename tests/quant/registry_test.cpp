#include <doctest/doctest.h>

#include <cstring>
#include <string>
#include <type_traits>

#include "gemma/quant/registry.hpp"

using namespace gemma;

TEST_CASE("visit calls the function with the struct of the type") {
  CHECK(quant::visit(DType::Q6_K, [](auto format) {
    return std::is_same<decltype(format), quant::Q6_K>::value;
  }));
  std::size_t bytes = 0;
  quant::visit(DType::BF16, [&](auto format) { bytes = decltype(format)::kBlockBytes; });
  CHECK(bytes == 2);
}

TEST_CASE("a type number without a format is not supported and calls nothing") {
  for (const std::uint32_t raw : {4u, 5u, 9u, 15u, 16u, 24u, 39u, 1000u, 0xFFFFFFFFu}) {
    CAPTURE(raw);
    const auto type = static_cast<DType>(raw);
    CHECK_FALSE(quant::is_supported(raw));
    CHECK(quant::dtype_name(type) == nullptr);
    bool called = false;
    quant::visit(type, [&](auto) { called = true; });
    CHECK_FALSE(called);
    const auto bytes = quant::row_bytes(type, 256);
    REQUIRE_FALSE(bytes.ok());
    CHECK(bytes.error().code() == ErrorCode::unsupported);
    CHECK(bytes.error().message().find("Q4_K") != std::string::npos);
  }
}

TEST_CASE("formats are known by name") {
  CHECK(std::string(quant::dtype_name(DType::F32)) == "F32");
  CHECK(std::string(quant::dtype_name(DType::IQ4_XS)) == "IQ4_XS");
  CHECK(quant::supported_names() ==
        "F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, IQ4_NL, Q2_K, Q3_K, Q4_K, Q5_K, Q6_K, "
        "IQ4_XS");
}

TEST_CASE("row_bytes counts whole blocks and refuses the rest") {
  CHECK(*quant::row_bytes(DType::F32, 3) == 12);
  CHECK(*quant::row_bytes(DType::Q4_0, 64) == 36);
  CHECK(*quant::row_bytes(DType::Q6_K, 512) == 420);
  CHECK(*quant::row_bytes(DType::Q8_0, 0) == 0);

  const auto broken = quant::row_bytes(DType::Q4_K, 640);
  REQUIRE_FALSE(broken.ok());
  CHECK(broken.error().message() == "a row of 640 numbers is not whole Q4_K blocks of 256");
}

TEST_CASE("row_bytes refuses a size that overflows") {
  constexpr std::uint64_t huge = ~std::uint64_t{0};
  CHECK_FALSE(quant::row_bytes(DType::F32, huge).ok());
  CHECK_FALSE(quant::row_bytes(DType::F16, huge / 2 + 1).ok());
  CHECK(*quant::row_bytes(DType::F16, huge / 2) == huge - 1);
  CHECK(quant::row_bytes(DType::Q4_K, huge - 255).ok());
  CHECK_FALSE(quant::row_bytes(DType::Q8_0, huge - 31).ok());
}

TEST_CASE("decode_row writes the numbers asked for and no more") {
  const std::uint8_t halves[] = {0x00, 0x3C, 0x00, 0xC0, 0x00, 0x38};  // 1, -2, 0.5
  float out[4] = {9, 9, 9, 9};
  quant::decode_row(DType::F16, halves, 3, out);
  CHECK(out[0] == 1.0f);
  CHECK(out[1] == -2.0f);
  CHECK(out[2] == 0.5f);
  CHECK(out[3] == 9.0f);
}
