#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "gemma/base/float16.hpp"
#include "gemma/simd/kernels.hpp"

namespace {

namespace simd = gemma::simd;

const std::vector<std::size_t> kSizes = {1, 2, 3, 5, 8, 15, 16, 17, 31, 33, 64, 100, 640};

std::vector<float> random_floats(std::size_t n, float size, std::uint32_t seed = 3) {
  std::mt19937 random(seed);
  std::normal_distribution<float> number(0.0f, size);
  std::vector<float> x(n);
  for (float& value : x) value = number(random);
  return x;
}

/// Largest |got − want(i)| relative to 1 + |want|.
template <class F>
double worst(const std::vector<float>& got, const F& want) {
  double result = 0.0;
  for (std::size_t i = 0; i < got.size(); ++i) {
    const double w = want(i);
    const double error = std::abs(double{got[i]} - w) / (1.0 + std::abs(w));
    result = error <= result ? result : error;
  }
  return result;
}

template <class F>
void on_every_target_and_size(const F& f) {
  for (const simd::Kernels& kernels : simd::all_kernels()) {
    CAPTURE(kernels.target);
    for (const std::size_t n : kSizes) {
      CAPTURE(n);
      f(kernels, n);
    }
  }
}

}  // namespace

TEST_CASE("RMSNorm") {
  on_every_target_and_size([](const simd::Kernels& kernels, std::size_t n) {
    const std::vector<float> x = random_floats(n, 3.0f), gain = random_floats(n, 1.0f, 4);
    double squares = 0.0;
    for (const float v : x) squares += double{v} * double{v};
    const double inverse = 1.0 / std::sqrt(squares / static_cast<double>(n) + 1e-6);
    std::vector<float> out(n);
    kernels.rms_norm(x.data(), gain.data(), n, 1e-6f, out.data());
    CHECK(worst(out, [&](std::size_t i) { return double{x[i]} * inverse * double{gain[i]}; }) <
          1e-6);
    std::vector<float> in_place = x;
    kernels.rms_norm(in_place.data(), nullptr, n, 1e-6f, in_place.data());
    CHECK(worst(in_place, [&](std::size_t i) { return double{x[i]} * inverse; }) < 1e-6);
  });
}

TEST_CASE("GELU times up, also far out where the exponential overflows") {
  on_every_target_and_size([](const simd::Kernels& kernels, std::size_t n) {
    for (const float size : {0.5f, 3.0f, 100.0f, 1e5f}) {
      const std::vector<float> gate = random_floats(n, size), up = random_floats(n, 1.0f, 5);
      std::vector<float> out(n);
      kernels.gelu_mul(gate.data(), up.data(), n, out.data());
      CHECK(worst(out, [&](std::size_t i) {
              const double z = double{gate[i]};
              const double inner = 0.7978845608028654 * (z + 0.044715 * z * z * z);
              return 0.5 * z * (1.0 + std::tanh(inner)) * double{up[i]};
            }) < 1e-6);
    }
  });
}

TEST_CASE("soft-cap, sum and scale") {
  on_every_target_and_size([](const simd::Kernels& kernels, std::size_t n) {
    const std::vector<float> x = random_floats(n, 40.0f), y = random_floats(n, 1.0f, 6);
    std::vector<float> out = x;
    kernels.softcap(30.0f, n, out.data());
    CHECK(worst(out, [&](std::size_t i) { return 30.0 * std::tanh(double{x[i]} / 30.0); }) < 2e-6);
    out = x;
    kernels.add(y.data(), n, out.data());
    CHECK(worst(out, [&](std::size_t i) { return double{x[i]} + double{y[i]}; }) < 1e-6);
    out = x;
    kernels.scale(-2.5f, n, out.data());
    CHECK(worst(out, [&](std::size_t i) { return -2.5 * double{x[i]}; }) < 1e-6);
  });
}

TEST_CASE("RoPE turns pairs half a head apart") {
  on_every_target_and_size([](const simd::Kernels& kernels, std::size_t half) {
    const std::vector<float> x = random_floats(2 * half, 1.0f), angle = random_floats(half, 3.0f);
    std::vector<float> c(half), s(half), out = x;
    for (std::size_t i = 0; i < half; ++i) {
      c[i] = std::cos(angle[i]);
      s[i] = std::sin(angle[i]);
    }
    kernels.rope(c.data(), s.data(), half, out.data());
    CHECK(worst(out, [&](std::size_t i) {
            const std::size_t p = i % half;
            const double a = double{x[p]}, b = double{x[p + half]};
            return i < half ? a * double{c[p]} - b * double{s[p]}
                            : b * double{c[p]} + a * double{s[p]};
          }) < 1e-6);
  });
}

TEST_CASE("argmax takes the first of equals") {
  on_every_target_and_size([](const simd::Kernels& kernels, std::size_t n) {
    std::vector<float> x = random_floats(n, 1.0f);
    x[n / 2] = 100.0f;
    x[n - 1] = 100.0f;
    CHECK(kernels.argmax(x.data(), n) == n / 2);
    std::fill(x.begin(), x.end(), -std::numeric_limits<float>::infinity());
    CHECK(kernels.argmax(x.data(), n) == 0);
  });
}

TEST_CASE("16-bit storage rounds to nearest") {
  on_every_target_and_size([](const simd::Kernels& kernels, std::size_t n) {
    const std::vector<float> x = random_floats(n, 1.0f);
    std::vector<std::uint16_t> halves(n);
    kernels.store_kv(x.data(), n, simd::KvType::f16,
                     reinterpret_cast<std::uint8_t*>(halves.data()));
    for (std::size_t i = 0; i < n; ++i) CHECK(halves[i] == gemma::half_from_float(x[i]));
  });
}

TEST_CASE("8-bit storage is Q8_0, and keeps what is not a number visible") {
  for (const simd::Kernels& kernels : simd::all_kernels()) {
    CAPTURE(kernels.target);
    for (const float size : {1e-9f, 1e-3f, 1.0f, 1e5f}) {
      std::vector<float> x = random_floats(96, size);
      std::fill(x.begin() + 32, x.begin() + 64, 0.0f);
      std::vector<std::uint8_t> blocks(simd::kv_bytes(simd::KvType::q8_0, 96));
      kernels.store_kv(x.data(), 96, simd::KvType::q8_0, blocks.data());
      std::vector<float> back(96);
      for (std::size_t b = 0; b < 3; ++b) {
        gemma::quant::Q8_0::decode(blocks.data() + 34 * b, back.data() + 32 * b);
        const auto begin = x.begin() + static_cast<std::ptrdiff_t>(32 * b);
        const float largest = std::abs(*std::max_element(begin, begin + 32, [](float p, float q) {
          return std::abs(p) < std::abs(q);
        }));
        // Half a step; the scale is a binary16, with a smallest number of its own.
        for (std::size_t i = 0; i < 32; ++i) {
          const float error = std::abs(back[32 * b + i] - begin[static_cast<std::ptrdiff_t>(i)]);
          CHECK(error <= largest * 0.0045f + 128 * 6e-8f);
        }
      }
    }
    std::vector<float> x(32, 1.0f);
    x[7] = std::numeric_limits<float>::infinity();
    std::vector<std::uint8_t> block(34);
    std::vector<float> back(32);
    kernels.store_kv(x.data(), 32, simd::KvType::q8_0, block.data());
    gemma::quant::Q8_0::decode(block.data(), back.data());
    CHECK(std::isnan(back[0]));
  }
}
