#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

#include "gemma/base/aligned.hpp"
#include "gemma/simd/kernels.hpp"

namespace {

namespace simd = gemma::simd;

/// A matrix as floats, its sketch, and one token as activations of 15 bits.
struct Case {
  std::size_t rows, cols;
  std::vector<float> w, x;
  std::vector<std::uint8_t> codes, missed;
  std::vector<std::uint16_t> scale;
  std::vector<float> missed_scale, out, bound;
  std::vector<std::int8_t> q;
  std::vector<float> x_scale, sum, half_sum;
  gemma::AlignedArray<std::uint8_t> scratch =
      gemma::AlignedArray<std::uint8_t>::create(simd::kScratchBytes, "scratch").value();
  simd::Sketch sketch;
  simd::FineRow fine;

  Case(const simd::Kernels& kernels, std::size_t r, std::size_t c) : rows(r), cols(c) {
    sketch.rows = rows;
    sketch.cols = cols;
    const std::size_t padded = sketch.groups() * simd::kSketchRows;
    std::mt19937 random(3);
    std::normal_distribution<float> number;
    w.resize(padded * cols);
    for (std::size_t i = 0; i < rows * cols; ++i) {
      w[i] = number(random) * (i / cols % 7 == 3 ? 0.001f : 1.0f) * (i % 97 == 0 ? 8.0f : 1.0f);
    }
    std::fill_n(w.begin() + static_cast<std::ptrdiff_t>(2 * cols), cols, 0.0f);  // a row of zeros
    x.resize(cols);
    for (float& value : x) value = number(random);
    x[5] = 40.0f;
    codes.resize(sketch.blocks() * 16);
    scale.resize(sketch.blocks());
    missed.resize(sketch.blocks());
    missed_scale.resize(padded);
    out.resize(padded);
    bound.resize(padded);
    sketch.codes = codes.data();
    sketch.scale = scale.data();
    sketch.missed = missed.data();
    sketch.missed_scale = missed_scale.data();
    for (std::size_t g = 0; g < sketch.groups(); ++g) {
      kernels.make_sketch(w.data() + g * simd::kSketchRows * cols, g, sketch);
    }
    q.resize(2 * cols + simd::kActivationPadding);
    x_scale.resize(cols / 32 + simd::kActivationPadding);
    sum.resize(x_scale.size());
    half_sum.resize(2 * x_scale.size());
    fine = {q.data(), x_scale.data(), sum.data(), half_sum.data()};
    kernels.quantize_fine(x.data(), cols, fine);
    kernels.multiply_sketch(sketch, fine, 0, sketch.groups(), out.data(), bound.data(),
                            scratch.data());
  }

  double exact(std::size_t row) const {
    double s = 0.0;
    for (std::size_t i = 0; i < cols; ++i) s += double{w[row * cols + i]} * double{x[i]};
    return s;
  }
};

}  // namespace

TEST_CASE("a sketch is never further from the product than it says, on every target") {
  for (const simd::Kernels& kernels : simd::all_kernels()) {
    CAPTURE(kernels.target);
    for (const std::size_t cols : {32u, 640u, 2304u}) {
      const Case c(kernels, 75, cols);
      double said = 0.0;
      double size = 0.0;
      for (std::size_t r = 0; r < c.rows; ++r) {
        CHECK(std::abs(double{c.out[r]} - c.exact(r)) <= double{c.bound[r]});
        said += double{c.bound[r]};
        double w = 0.0;
        double x = 0.0;
        for (std::size_t i = 0; i < cols; ++i) {
          w += double{c.w[r * cols + i]} * double{c.w[r * cols + i]};
          x += double{c.x[i]} * double{c.x[i]};
        }
        size += std::sqrt(w * x);
      }
      CHECK(said < 0.2 * size);  // which would be of no use otherwise
      CHECK(c.out[2] == 0.0f);
      CHECK(c.bound[2] == 0.0f);
    }
  }
}

TEST_CASE("what is not a number makes its row's bound one that excludes nothing") {
  for (const simd::Kernels& kernels : simd::all_kernels()) {
    CAPTURE(kernels.target);
    Case c(kernels, 20, 64);
    for (const float wrong : {NAN, INFINITY}) {
      c.w[4 * c.cols + 40] = wrong;
      kernels.make_sketch(c.w.data(), 0, c.sketch);
      kernels.multiply_sketch(c.sketch, c.fine, 0, 2, c.out.data(), c.bound.data(),
                              c.scratch.data());
      CHECK_FALSE(c.out[4] + c.bound[4] < 1e30f);
      CHECK(c.out[3] + c.bound[3] < 1e30f);
    }
  }
}
