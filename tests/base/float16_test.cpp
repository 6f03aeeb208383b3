#include <doctest/doctest.h>

#include <cmath>
#include <limits>

#include "gemma/base/float16.hpp"

using namespace gemma;

namespace {

/// The value of a finite binary16, by its definition.
double half_value(std::uint32_t h) {
  const int exponent = static_cast<int>(h >> 10 & 31);
  const double fraction = (h & 1023) / 1024.0;
  const double magnitude =
      exponent == 0 ? std::ldexp(fraction, -14) : std::ldexp(1.0 + fraction, exponent - 15);
  return (h & 0x8000) != 0 ? -magnitude : magnitude;
}

constexpr float kInfinity = std::numeric_limits<float>::infinity();

}  // namespace

TEST_CASE("every half has its value as a float, and the float gives the half back") {
  int wrong = 0;
  for (std::uint32_t i = 0; i < 65536; ++i) {
    const auto h = static_cast<std::uint16_t>(i);
    const float x = half_to_float(h);
    if ((i & 0x7C00) != 0x7C00) {
      wrong += static_cast<double>(x) != half_value(i) || std::signbit(x) != (i >= 0x8000);
      wrong += half_from_float(x) != h;
    } else if ((i & 0x3FF) == 0) {
      wrong += x != (i >= 0x8000 ? -kInfinity : kInfinity) || half_from_float(x) != h;
    } else {
      wrong += !std::isnan(x) || !std::isnan(half_to_float(half_from_float(x)));
    }
  }
  CHECK(wrong == 0);
}

TEST_CASE("a float between two halves goes to the nearer, from the middle to the even one") {
  int wrong = 0;
  for (std::uint32_t i = 0; i < 0x7BFF; ++i) {
    const auto h = static_cast<std::uint16_t>(i);
    const auto next = static_cast<std::uint16_t>(i + 1);
    const float middle = static_cast<float>((half_value(i) + half_value(i + 1)) / 2);
    wrong += half_from_float(middle) != (i % 2 == 0 ? h : next);
    wrong += half_from_float(std::nextafter(middle, 0.0f)) != h;
    wrong += half_from_float(std::nextafter(middle, kInfinity)) != next;
    wrong += half_from_float(-middle) != ((i % 2 == 0 ? h : next) | 0x8000);
  }
  CHECK(wrong == 0);
}

TEST_CASE("floats beyond the halves become infinity or zero") {
  CHECK(half_from_float(65504.0f) == 0x7BFF);
  CHECK(half_from_float(65519.996f) == 0x7BFF);
  CHECK(half_from_float(65520.0f) == 0x7C00);
  CHECK(half_from_float(-1e30f) == 0xFC00);
  CHECK(half_from_float(std::ldexp(1.0f, -25)) == 0x0000);
  CHECK(half_from_float(std::nextafter(std::ldexp(1.0f, -25), 1.0f)) == 0x0001);
  CHECK(half_from_float(-1e-30f) == 0x8000);
  CHECK(half_from_float(std::numeric_limits<float>::denorm_min()) == 0x0000);
  CHECK(half_from_float(std::numeric_limits<float>::quiet_NaN()) == 0x7E00);
}

TEST_CASE("every bfloat16 is a float and comes back") {
  int wrong = 0;
  for (std::uint32_t i = 0; i < 65536; ++i) {
    const auto b = static_cast<std::uint16_t>(i);
    const float x = bfloat16_to_float(b);
    wrong += float_bits(x) != i << 16;
    wrong += std::isnan(x) ? !std::isnan(bfloat16_to_float(bfloat16_from_float(x)))
                           : bfloat16_from_float(x) != b;
  }
  CHECK(wrong == 0);
}

TEST_CASE("bfloat16 rounds to nearest even") {
  const auto rounded = [](std::uint32_t bits) {
    return bfloat16_from_float(float_from_bits(bits));
  };
  CHECK(rounded(0x3F807FFF) == 0x3F80);
  CHECK(rounded(0x3F808000) == 0x3F80);
  CHECK(rounded(0x3F808001) == 0x3F81);
  CHECK(rounded(0x3F818000) == 0x3F82);
  CHECK(rounded(0xBF818000) == 0xBF82);
  CHECK(rounded(0x7F7FFFFF) == 0x7F80);  // the largest float is nearer to infinity
  CHECK(rounded(0x00008001) == 0x0001);
  CHECK(rounded(0x7F800001) == 0x7FC0);  // this NaN must not become infinity
}
