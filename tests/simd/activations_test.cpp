#include <doctest/doctest.h>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "gemma/simd/kernels.hpp"

namespace {

namespace simd = gemma::simd;

struct Coarse {
  std::vector<std::int8_t> q;
  std::vector<simd::CoarseGroup> groups;

  Coarse(const simd::Kernels& kernels, const std::vector<float>& x)
      : q(x.size()), groups(x.size() / 32) {
    kernels.quantize_coarse(x.data(), x.size(), {q.data(), groups.data()});
  }
};

struct Fine {
  std::vector<std::int8_t> q;
  std::vector<float> scale, sum, half_sum;

  Fine(const simd::Kernels& kernels, const std::vector<float>& x)
      : q(simd::fine_bytes(x.size())), scale(x.size() / 32), sum(x.size() / 32), half_sum(x.size() / 16) {
    kernels.quantize_fine(x.data(), x.size(), {q.data(), scale.data(), sum.data(), half_sum.data()});
  }

  /// The i-th integer: high and low bytes, or an int16 in its place or among 16 even and 16 odd ones, whichever
  /// comes nearest to x.
  double integer(std::size_t i, double x) const {
    double best = 256.0 * q[i] + q[simd::fine_order_bytes(scale.size() * 32) / 2 + i];
    for (const std::size_t run : {1u, 16u}) {
      const std::size_t in = i % (2 * run);
      std::int16_t word;
      std::memcpy(&word, q.data() + 2 * (i - in + in % 2 * run + in / 2), sizeof word);
      if (std::abs(word - x) < std::abs(best - x)) best = word;
    }
    return best;
  }
};

std::vector<float> random_floats(std::size_t n, float size) {
  std::mt19937 random(3);
  std::normal_distribution<float> number;
  std::vector<float> x(n);
  for (float& value : x) value = size * number(random);
  return x;
}

}  // namespace

TEST_CASE("activations are rounded to 8 bits, with their sums") {
  for (const simd::Kernels& kernels : simd::all_kernels()) {
    CAPTURE(kernels.target);
    for (const float size : {1e-30f, 1.0f, 1e30f}) {
      const std::vector<float> x = random_floats(96, size);
      const Coarse c(kernels, x);
      for (std::size_t g = 0; g < 3; ++g) {
        const simd::CoarseGroup& group = c.groups[g];
        int sums[2] = {0, 0}, pairs[2][2] = {}, largest = 0;
        for (std::size_t i = 0; i < 32; ++i) {
          const int q = c.q[32 * g + i];
          CHECK(std::abs(x[32 * g + i] - group.scale * static_cast<float>(q)) <=
                0.51f * group.scale);
          sums[i / 16] += q;
          pairs[i / 16][i % 4 / 2] += q;
          largest = std::abs(q) > largest ? std::abs(q) : largest;
        }
        CHECK(largest == 127);
        CHECK(group.minus_sum == -sums[0] - sums[1]);
        CHECK(group.minus_half[0] == -sums[0]);
        CHECK(group.minus_half[1] == -sums[1]);
        const std::string target = kernels.target;
        const bool by_pairs = target == "SSSE3" || target == "SSE4" || target == "AVX2" || target == "AVX3";
        for (std::size_t pair = 0; by_pairs && pair < 2; ++pair) {
          CHECK(group.minus_pairs[0][pair] == -pairs[0][pair]);
          CHECK(group.minus_pairs[1][pair] == -pairs[1][pair]);
          CHECK(group.minus_pairs[2][pair] == -pairs[0][pair] - pairs[1][pair]);
        }
        CHECK(group.sum == group.scale * static_cast<float>(sums[0] + sums[1]));
      }
    }
  }
}

TEST_CASE("activations are rounded to 15 bits, with their sums") {
  for (const simd::Kernels& kernels : simd::all_kernels()) {
    CAPTURE(kernels.target);
    for (const float size : {1e-30f, 1.0f, 1e30f}) {
      const std::vector<float> x = random_floats(96, size);
      const Fine fine(kernels, x);
      for (std::size_t h = 0; h < 6; ++h) {
        const double scale = double{fine.scale[h / 2]};
        double sum = 0.0;
        for (std::size_t i = 16 * h; i < 16 * (h + 1); ++i) {
          const double q = fine.integer(i, double{x[i]} / scale);
          CHECK(std::abs(double{x[i]} - scale * q) <= 0.51 * scale);
          CHECK(std::abs(q) <= 127 * 256);
          sum += q;
        }
        CHECK(double{fine.half_sum[h]} == doctest::Approx(sum * scale).epsilon(1e-5));
      }
      for (std::size_t g = 0; g < 3; ++g) {
        CHECK(double{fine.sum[g]} == doctest::Approx(double{fine.half_sum[2 * g]} +
                                                     double{fine.half_sum[2 * g + 1]})
                                         .epsilon(1e-4));
      }
    }
  }
}

TEST_CASE("zeros are quantised to zeros, and what is not a number stays visible") {
  for (const simd::Kernels& kernels : simd::all_kernels()) {
    for (const float bad : {std::numeric_limits<float>::quiet_NaN(),
                            std::numeric_limits<float>::infinity()}) {
      std::vector<float> x(64, 0.0f);
      x[40] = bad;
      const Coarse c(kernels, x);
      CHECK(c.groups[0].scale == 0.0f);
      CHECK(c.q[3] == 0);
      CHECK(std::isnan(c.groups[1].scale));
      const Fine fine(kernels, x);
      CHECK(fine.scale[0] == 0.0f);
      CHECK(fine.half_sum[1] == 0.0f);
      CHECK(std::isnan(fine.scale[1]));
    }
  }
}
