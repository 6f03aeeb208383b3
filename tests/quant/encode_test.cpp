// The encoders against their decoders, against ggml's encoders, and on numbers no format can hold.
#include <doctest/doctest.h>

#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "gemma/quant/encode.hpp"
#include "gemma/quant/registry.hpp"

using namespace gemma;

namespace {

const DType kBlocks32[] = {DType::Q4_0, DType::Q5_0, DType::Q8_0};
const DType kSuperBlocks[] = {DType::Q4_K, DType::Q5_K, DType::Q6_K};
const DType kEncodable[] = {DType::F32,  DType::F16,  DType::BF16, DType::Q4_0, DType::Q5_0,
                            DType::Q5_1, DType::Q8_0, DType::Q4_K, DType::Q5_K, DType::Q6_K};

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kLargest = (std::numeric_limits<float>::max)();

class Random {
 public:
  std::uint32_t next() { return state_ = state_ * 1664525u + 1013904223u; }
  int below(int n) { return static_cast<int>((next() >> 8) % static_cast<std::uint32_t>(n)); }

 private:
  std::uint32_t state_ = 20250301;
};

enum class Kind { bell, spiky, flat };

/// The same as numbers() of make_encode_golden.py, bit by bit.
std::vector<float> numbers(Kind kind) {
  Random random;
  std::vector<float> out(64 * 256);
  for (float& number : out) {
    int total = 0;
    for (int i = 0; i < 4; ++i) {
      const int step = static_cast<int>(random.next() >> 8) - (1 << 23);
      total = kind == Kind::flat ? step : total + step;
    }
    const double x = total / static_cast<double>(1 << 28);
    number = static_cast<float>(kind == Kind::spiky ? x * std::fabs(x) * 32 : x);
  }
  return out;
}

std::vector<std::uint8_t> encoded(DType type, const std::vector<float>& x) {
  const auto bytes = quant::row_bytes(type, x.size());
  REQUIRE(bytes.ok());
  std::vector<std::uint8_t> blocks(static_cast<std::size_t>(*bytes));
  quant::encode_row(type, x.data(), x.size(), blocks.data());
  return blocks;
}

std::vector<float> decoded(DType type, const std::vector<std::uint8_t>& blocks, std::size_t n) {
  std::vector<float> out(n);
  quant::decode_row(type, blocks.data(), n, out.data());
  return out;
}

std::vector<float> round_trip(DType type, const std::vector<float>& x) {
  return decoded(type, encoded(type, x), x.size());
}

double rmse(const std::vector<float>& x, const std::vector<float>& y) {
  double sum = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double difference = static_cast<double>(x[i]) - static_cast<double>(y[i]);
    sum += difference * difference;
  }
  return std::sqrt(sum / static_cast<double>(x.size()));
}

bool all_finite(const std::vector<float>& x) {
  for (const float number : x) {
    if (!std::isfinite(number)) return false;
  }
  return true;
}

/// A row of 256 zeros but for some numbers at its start.
std::vector<float> row_of(std::initializer_list<float> start) {
  std::vector<float> row(start);
  row.resize(256);
  return row;
}

}  // namespace

TEST_CASE("the formats that can be encoded are those the header names") {
  for (const DType type : kEncodable) CHECK(quant::can_encode(type));
  for (const DType type : {DType::Q4_1, DType::Q2_K, DType::Q3_K, DType::IQ4_NL,
                           DType::IQ4_XS, static_cast<DType>(999)}) {
    CHECK(!quant::can_encode(type));
  }
}

TEST_CASE("the error is no larger than that of the encoders of ggml") {
  struct Golden {
    DType type;
    double ggml[3];
  };
  // Printed by tests/data/make_encode_golden.py with the libggml-base of llama-cpp-python 0.3.36.
  const Golden table[] = {
      {DType::F16, {7.55148651e-06, 1.45182001e-05, 3.32424383e-06}},
      {DType::BF16, {6.01601032e-05, 0.000116255669, 2.67575566e-05}},
      {DType::Q4_0, {0.00294762418, 0.00718406912, 0.00118247566}},
      {DType::Q5_0, {0.00145610027, 0.0036828656, 0.00055952366}},
      {DType::Q5_1, {0.00132219894, 0.00331238804, 0.000528768633}},
      {DType::Q8_0, {0.000182545306, 0.00048353511, 6.79193312e-05}},
      {DType::Q4_K, {0.0024891162, 0.00612758017, 0.000985015867}},
      {DType::Q5_K, {0.0012577784, 0.00314707435, 0.000497369125}},
      {DType::Q6_K, {0.000611460135, 0.00153437537, 0.000241983965}},
  };
  for (const Golden& golden : table) {
    for (const Kind kind : {Kind::bell, Kind::spiky, Kind::flat}) {
      CAPTURE(std::string(quant::dtype_name(golden.type)));
      const std::vector<float> x = numbers(kind);
      const double ours = rmse(x, round_trip(golden.type, x));
      CHECK(ours <= golden.ggml[static_cast<int>(kind)] * 1.000001);
      CHECK(ours > 0);
    }
  }
}

TEST_CASE("F32 keeps every finite number") {
  const std::vector<float> x = {0.0f, -0.0f, 1.5f, -1e-40f, kLargest, -kLargest, 1e-45f};
  const std::vector<float> y = round_trip(DType::F32, x);
  for (std::size_t i = 0; i < x.size(); ++i) CHECK(float_bits(x[i]) == float_bits(y[i]));
}

TEST_CASE("F16 and BF16 round to nearest even and keep what they can hold") {
  for (const DType type : {DType::F16, DType::BF16}) {
    std::vector<std::uint8_t> every;
    for (unsigned bits = 0; bits < 0x10000; ++bits) {
      const unsigned exponent = type == DType::F16 ? 0x7C00 : 0x7F80;
      if ((bits & exponent) == exponent) continue;
      every.push_back(static_cast<std::uint8_t>(bits & 255));
      every.push_back(static_cast<std::uint8_t>(bits >> 8));
    }
    CHECK(encoded(type, decoded(type, every, every.size() / 2)) == every);
  }
  // Halfway between two neighbours: to the even one.
  CHECK(round_trip(DType::F16, {2049.0f, 2051.0f}) == std::vector<float>{2048.0f, 2052.0f});
  CHECK(round_trip(DType::BF16, {257.0f, 259.0f}) == std::vector<float>{256.0f, 260.0f});
}

TEST_CASE("numbers on the grid of a block of 32 come back exactly") {
  Random random;
  for (const DType type : kBlocks32) {
    CAPTURE(std::string(quant::dtype_name(type)));
    const int peak = type == DType::Q4_0 ? 8 : type == DType::Q5_0 ? 16 : 127;
    for (int block = 0; block < 500; ++block) {
      const auto bits = static_cast<std::uint16_t>(random.below(0x7C00) | random.below(2) << 15);
      const float d = half_to_float(bits);
      // The largest magnitude need not be used, but of Q8_0 3/4 of it.
      const int used = type == DType::Q8_0 ? 96 + random.below(32) : 1 + random.below(peak);
      std::vector<float> x(32);
      for (float& number : x) number = d * static_cast<float>(random.below(2 * used) - used);
      x[7] = -d * static_cast<float>(used);
      CHECK(round_trip(type, x) == x);
    }
  }
}

TEST_CASE("encoding again what blocks of 32 were decoded to changes nothing") {
  for (const DType type : kBlocks32) {
    for (const Kind kind : {Kind::bell, Kind::spiky, Kind::flat}) {
      const std::vector<float> once = round_trip(type, numbers(kind));
      CHECK(round_trip(type, once) == once);
    }
  }
}

TEST_CASE("encoding again what super-blocks were decoded to adds little error") {
  for (const DType type : kSuperBlocks) {
    CAPTURE(std::string(quant::dtype_name(type)));
    const std::vector<float> x = numbers(Kind::bell);
    const std::vector<float> once = round_trip(type, x);
    CHECK(rmse(once, round_trip(type, once)) < 0.5 * rmse(x, once));
  }
}

TEST_CASE("a super-block that uses the whole range of its integers comes back nearly exactly") {
  Random random;
  std::vector<float> four(256), six(256);
  for (int i = 0; i < 256; ++i) {
    const int group = i / 32, at = i % 32;
    const int q = at < 2 ? 15 * at : random.below(16);
    four[static_cast<std::size_t>(i)] =
        0.5f * static_cast<float>((63 - 7 * group) * q) - static_cast<float>(9 * group);
    const int centred = i % 16 == 0 ? -32 : random.below(64) - 32;
    six[static_cast<std::size_t>(i)] = 0.25f * static_cast<float>((128 - 3 * (i / 16)) * centred);
  }
  CHECK(rmse(four, round_trip(DType::Q4_K, four)) < 1e-4);
  CHECK(rmse(six, round_trip(DType::Q6_K, six)) < 1e-4);
}

TEST_CASE("zeros stay zeros") {
  for (const DType type : kEncodable) {
    const std::vector<float> zeros(256);
    CHECK(round_trip(type, zeros) == zeros);
  }
}

TEST_CASE("values that are not finite count as 0") {
  const std::vector<float> with = row_of({1.0f, kNan, -0.5f, kInfinity, 0.25f, -kInfinity, -kNan});
  const std::vector<float> without = row_of({1.0f, 0.0f, -0.5f, 0.0f, 0.25f, 0.0f, 0.0f});
  for (const DType type : kEncodable) CHECK(encoded(type, with) == encoded(type, without));
}

TEST_CASE("values beyond the range of a format become its largest") {
  for (const DType type : kEncodable) {
    CAPTURE(std::string(quant::dtype_name(type)));
    for (const float huge : {kLargest, -kLargest}) {
      std::vector<float> x = row_of({huge, 1.0f, -1.0f});
      x[100] = -huge;
      const std::vector<float> y = round_trip(type, x);
      CHECK(all_finite(y));
      CHECK(std::fabs(y[0]) > 65000.0f);
      CHECK(std::fabs(y[100]) > 65000.0f);
      CHECK((y[0] > 0) == (huge > 0));
      CHECK((y[100] > 0) == (huge < 0));
    }
  }
}

TEST_CASE("one large value in a block is kept to the precision of its integers") {
  for (const DType type : kEncodable) {
    for (const float large : {1000.0f, -1000.0f}) {
      const std::vector<float> y = round_trip(type, row_of({0.01f, -0.02f, large}));
      CHECK(y[2] == doctest::Approx(large).epsilon(0.005));
      CHECK(std::fabs(y[0]) < 70.0f);
    }
  }
}

TEST_CASE("numbers smaller than any scale become zeros or the smallest step") {
  for (const DType type : kEncodable) {
    for (const float tiny : {1e-45f, 1e-39f, 1e-20f, 5e-10f, 2e-9f, 4e-8f, 1e-7f, 2e-6f}) {
      std::vector<float> x(256);
      for (std::size_t i = 0; i < x.size(); ++i) x[i] = i % 3 == 0 ? tiny : -tiny / 2;
      const std::vector<float> y = round_trip(type, x);
      CHECK(all_finite(y));
      CHECK(rmse(x, y) < 6e-8);
    }
  }
}

TEST_CASE("blocks whose numbers are all equal are kept") {
  for (const DType type : kEncodable) {
    for (const float constant : {5.0f, -5.0f, 0.3f, -0.3f, 60000.0f, -60000.0f}) {
      const std::vector<float> x(256, constant);
      CHECK(rmse(x, round_trip(type, x)) < 0.005 * std::fabs(static_cast<double>(constant)));
    }
  }
}

TEST_CASE("bytes of any kind read as floats give blocks of finite numbers") {
  Random random;
  for (int row = 0; row < 200; ++row) {
    std::vector<float> x(256);
    for (float& number : x) number = float_from_bits(random.next() ^ random.next() >> 16);
    for (const DType type : kEncodable) CHECK(all_finite(round_trip(type, x)));
  }
}

TEST_CASE("a row encoded in parts gives the same bytes at any address") {
  const std::vector<float> x = numbers(Kind::spiky);
  for (const DType type : kEncodable) {
    const std::vector<std::uint8_t> whole = encoded(type, x);
    std::vector<std::uint8_t> parts(whole.size() + 1);
    const std::size_t bytes = 256 / quant::block_elements(type) * quant::block_bytes(type);
    for (std::size_t i = 0; i < x.size() / 256; ++i) {
      quant::encode_row(type, x.data() + 256 * i, 256, parts.data() + 1 + i * bytes);
    }
    CHECK(std::vector<std::uint8_t>(parts.begin() + 1, parts.end()) == whole);
  }
}
