#include <doctest/doctest.h>

#include <cmath>
#include <random>
#include <vector>

#include "gemma/simd/kernels.hpp"

namespace {

namespace simd = gemma::simd;

std::vector<float> random_floats(std::size_t n, std::uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> number(0.0f, 1.0f);
  std::vector<float> x(n);
  for (float& value : x) value = number(random);
  return x;
}

struct Sizes {
  std::size_t tokens, rank, rows;
};
constexpr Sizes kSizes[] = {{1, 1, 1}, {1, 8, 640}, {2, 4, 33}, {3, 16, 65}, {5, 3, 100}, {9, 8, 31}, {64, 16, 129}};

/// The sums are part of rows that are longer, as are the outputs.
struct Case {
  explicit Case(const Sizes& s)
      : x(random_floats(s.tokens * (s.rank + 3), 1)),
        b(random_floats(simd::low_rank_floats(s.rank, s.rows), 2)),
        before(random_floats(s.tokens * (s.rows + 2), 3)),
        out(before) {
    args.x = x.data();
    args.x_stride = s.rank + 3;
    args.b = b.data();
    args.rank = s.rank;
    args.tokens = s.tokens;
    args.out = out.data();
    args.out_stride = s.rows + 2;
  }
  std::vector<float> x, b, before, out;
  simd::LowRankArgs args;
};

}  // namespace

TEST_CASE("the product of low rank is added to each output, and to nothing else") {
  for (const simd::Kernels& kernels : simd::all_kernels()) {
    CAPTURE(kernels.target);
    for (const Sizes& s : kSizes) {
      CAPTURE(s.tokens);
      CAPTURE(s.rank);
      CAPTURE(s.rows);
      Case c(s);
      kernels.add_low_rank(c.args, 0, s.rows);
      double worst = 0.0;
      bool rest_untouched = true;
      for (std::size_t t = 0; t < s.tokens; ++t) {
        for (std::size_t r = 0; r < c.args.out_stride; ++r) {
          const std::size_t at = t * c.args.out_stride + r;
          if (r >= s.rows) {
            rest_untouched = rest_untouched && c.out[at] == c.before[at];
            continue;
          }
          double want = double{c.before[at]};
          for (std::size_t k = 0; k < s.rank; ++k) {
            want += double{c.x[t * c.args.x_stride + k]} * double{c.b[(r / 32 * s.rank + k) * 32 + r % 32]};
          }
          worst = (std::max)(worst, std::abs(double{c.out[at]} - want));
        }
      }
      CHECK(worst < 1e-5);
      CHECK(rest_untouched);
    }
  }
}

TEST_CASE("what is added has the same bits however rows and tokens are divided") {
  for (const simd::Kernels& kernels : simd::all_kernels()) {
    CAPTURE(kernels.target);
    for (const Sizes& s : kSizes) {
      Case whole(s), parts(s);
      kernels.add_low_rank(whole.args, 0, s.rows);
      for (std::size_t t = 0; t < s.tokens; ++t) {
        simd::LowRankArgs one = parts.args;
        one.tokens = 1;
        one.x += t * one.x_stride;
        one.out += t * one.out_stride;
        const std::size_t middle = s.rows / 2 / simd::kLowRankRows * simd::kLowRankRows;
        kernels.add_low_rank(one, 0, middle);
        kernels.add_low_rank(one, middle, s.rows);
      }
      CHECK(whole.out == parts.out);
    }
  }
}
