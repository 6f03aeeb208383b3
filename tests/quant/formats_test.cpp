// Every number format against gguf-py, bit by bit, and its integer view against its floats.
#include <doctest/doctest.h>

#include <cstring>
#include <set>
#include <string>
#include <vector>

#include "gemma/base/file.hpp"
#include "gemma/quant/registry.hpp"
#include "test_data.hpp"

using namespace gemma;

namespace {

/// One record of quant_golden.bin.
struct Golden {
  DType type;
  std::size_t block_bytes, block_elements, blocks;
  Bytes data;
  std::vector<float> numbers;
};

/// Calls use(record) for every record of the golden file.
template <class F>
Status for_each_golden(F&& use) {
  GEMMA_TRY_ASSIGN(const MappedFile file, MappedFile::open(data_path("quant_golden.bin")));
  ByteReader reader(file.bytes(), file.path());
  while (reader.remaining() > 0) {
    GEMMA_TRY_ASSIGN(const auto raw, reader.read<std::uint32_t>("type"));
    GEMMA_TRY_ASSIGN(const auto bytes, reader.read<std::uint32_t>("block bytes"));
    GEMMA_TRY_ASSIGN(const auto elements, reader.read<std::uint32_t>("block elements"));
    GEMMA_TRY_ASSIGN(const auto blocks, reader.read<std::uint32_t>("blocks"));
    GEMMA_TRY_ASSIGN(const Bytes data, reader.read_bytes(blocks * bytes, "data"));
    GEMMA_TRY_ASSIGN(const Bytes numbers, reader.read_bytes(blocks * elements * 4, "numbers"));
    Golden golden{static_cast<DType>(raw), bytes, elements, blocks, data, {}};
    golden.numbers.resize(golden.blocks * golden.block_elements);
    std::memcpy(golden.numbers.data(), numbers.data(), numbers.size());
    use(golden);
  }
  return {};
}

/// Unlike ==, tells 0 from -0.
bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

template <class Format>
std::vector<float> from_groups(const Golden& golden) {
  constexpr std::size_t kGroups = Format::kBlockElements / Format::kGroup;
  std::vector<float> out;
  for (std::size_t b = 0; b < golden.blocks; ++b) {
    std::int8_t q[Format::kBlockElements];
    float scale[kGroups];
    float minimum[kGroups] = {};
    Format::decode_groups(golden.data.data() + b * Format::kBlockBytes, q, scale, minimum);
    for (std::size_t i = 0; i < Format::kBlockElements; ++i) {
      const volatile float product = scale[i / Format::kGroup] * static_cast<float>(q[i]);
      out.push_back(Format::kHasMin ? product - minimum[i / Format::kGroup] : product);
    }
  }
  return out;
}

}  // namespace

TEST_CASE("every format decodes to exactly the floats of gguf-py") {
  std::set<DType> seen;
  const Status status = for_each_golden([&](const Golden& golden) {
    REQUIRE(quant::is_supported(static_cast<std::uint32_t>(golden.type)));
    CAPTURE(std::string(quant::dtype_name(golden.type)));
    CHECK(quant::block_bytes(golden.type) == golden.block_bytes);
    CHECK(quant::block_elements(golden.type) == golden.block_elements);
    std::vector<float> out(golden.numbers.size());
    quant::decode_row(golden.type, golden.data.data(), out.size(), out.data());
    CHECK(same_bits(out, golden.numbers));
    seen.insert(golden.type);
  });
  CHECK_MESSAGE(status.ok(), status.error().message());
  CHECK(seen.size() == 15);
}

TEST_CASE("the integer view of a format gives the same floats") {
  const Status status = for_each_golden([](const Golden& golden) {
    CAPTURE(std::string(quant::dtype_name(golden.type)));
    quant::visit(golden.type, [&](auto format) {
      using Format = decltype(format);
      if constexpr (Format::kBlockElements > 1) {
        CHECK(same_bits(from_groups<Format>(golden), golden.numbers));
      }
    });
  });
  CHECK_MESSAGE(status.ok(), status.error().message());
}

TEST_CASE("quants of formats with a minimum are unsigned, of the others centred") {
  const Status status = for_each_golden([](const Golden& golden) {
    CAPTURE(std::string(quant::dtype_name(golden.type)));
    quant::visit(golden.type, [&](auto format) {
      using Format = decltype(format);
      if constexpr (Format::kBlockElements > 1) {
        int lowest = 0, highest = 0;
        for (std::size_t b = 0; b < golden.blocks; ++b) {
          std::int8_t q[Format::kBlockElements];
          float scale[Format::kBlockElements / Format::kGroup];
          float minimum[Format::kBlockElements / Format::kGroup];
          Format::decode_groups(golden.data.data() + b * Format::kBlockBytes, q, scale, minimum);
          for (const int value : q) {
            lowest = (std::min)(lowest, value);
            highest = (std::max)(highest, value);
          }
        }
        if (Format::kHasMin) {
          CHECK(lowest == 0);
          CHECK(highest < 32);
        } else {
          CHECK(lowest < 0);
          CHECK(lowest >= -128);
          CHECK(highest > 0);
          CHECK(highest < -lowest);
        }
      }
    });
  });
  CHECK_MESSAGE(status.ok(), status.error().message());
}

TEST_CASE("the fields of each block lie one after the other up to its size") {
  using namespace quant;
  static_assert(Q4_0::kQuantsOffset + 16 == Q4_0::kBlockBytes, "");
  static_assert(Q4_1::kQuantsOffset + 16 == Q4_1::kBlockBytes, "");
  static_assert(Q5_0::kHighBitsOffset + 4 == Q5_0::kQuantsOffset, "");
  static_assert(Q5_0::kQuantsOffset + 16 == Q5_0::kBlockBytes, "");
  static_assert(Q5_1::kHighBitsOffset + 4 == Q5_1::kQuantsOffset, "");
  static_assert(Q5_1::kQuantsOffset + 16 == Q5_1::kBlockBytes, "");
  static_assert(Q8_0::kQuantsOffset + 32 == Q8_0::kBlockBytes, "");
  static_assert(IQ4_NL::kQuantsOffset + 16 == IQ4_NL::kBlockBytes, "");
  static_assert(Q2_K::kQuantsOffset + 64 == Q2_K::kScaleOffset, "");
  static_assert(Q2_K::kMinOffset + 2 == Q2_K::kBlockBytes, "");
  static_assert(Q3_K::kHighBitsOffset + 32 == Q3_K::kQuantsOffset, "");
  static_assert(Q3_K::kQuantsOffset + 64 == Q3_K::kScalesOffset, "");
  static_assert(Q3_K::kScalesOffset + 12 == Q3_K::kScaleOffset, "");
  static_assert(Q3_K::kScaleOffset + 2 == Q3_K::kBlockBytes, "");
  static_assert(Q4_K::kScalesOffset + 12 == Q4_K::kQuantsOffset, "");
  static_assert(Q4_K::kQuantsOffset + 128 == Q4_K::kBlockBytes, "");
  static_assert(Q5_K::kScalesOffset + 12 == Q5_K::kHighBitsOffset, "");
  static_assert(Q5_K::kHighBitsOffset + 32 == Q5_K::kQuantsOffset, "");
  static_assert(Q5_K::kQuantsOffset + 128 == Q5_K::kBlockBytes, "");
  static_assert(Q6_K::kQuantsOffset + 128 == Q6_K::kHighBitsOffset, "");
  static_assert(Q6_K::kHighBitsOffset + 64 == Q6_K::kScalesOffset, "");
  static_assert(Q6_K::kScalesOffset + 16 == Q6_K::kScaleOffset, "");
  static_assert(Q6_K::kScaleOffset + 2 == Q6_K::kBlockBytes, "");
  static_assert(IQ4_XS::kLowScalesOffset + 4 == IQ4_XS::kQuantsOffset, "");
  static_assert(IQ4_XS::kQuantsOffset + 128 == IQ4_XS::kBlockBytes, "");
}
