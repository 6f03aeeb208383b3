#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

#include "gemma/base/aligned.hpp"
#include "gemma/simd/kernels.hpp"

namespace {

namespace simd = gemma::simd;

/// A matrix as floats, its sketch, and one token. The largest activations are in the first columns, as
/// the order of columns has it.
struct Case {
  std::size_t rows, cols;
  std::vector<float> w, x;
  std::vector<std::uint8_t> data;
  std::vector<float> factor, missed, out, most;
  std::vector<simd::SketchedActivations> activations;
  simd::Sketch sketch;

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
    data.resize(sketch.groups() * sketch.group_bytes());
    factor.resize(padded);
    missed.resize(padded);
    out.resize(padded);
    most.resize(padded);
    sketch.data = data.data();
    sketch.factor = factor.data();
    sketch.missed = missed.data();
    for (std::size_t b = 0; b < sketch.blocks(); ++b) {
      activations.emplace_back(x.data() + b * simd::kSketchBlock, b < sketch.fine_blocks());
    }
    run(kernels);
  }

  void run(const simd::Kernels& kernels) {
    for (std::size_t g = 0; g < sketch.groups(); ++g) {
      kernels.make_sketch(w.data() + g * simd::kSketchRows * cols, g, sketch);
    }
    kernels.multiply_sketch(sketch, activations.data(), 0, sketch.groups(), out.data(), most.data());
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
      double missed = 0.0;
      double size = 0.0;
      for (std::size_t r = 0; r < c.rows; ++r) {
        const double bound = double{c.most[r]} - double{c.out[r]};
        CHECK(std::abs(double{c.out[r]} - c.exact(r)) <= bound);
        said += bound;
        missed += std::abs(double{c.out[r]} - c.exact(r));
        double w = 0.0;
        double x = 0.0;
        for (std::size_t i = 0; i < cols; ++i) {
          w += double{c.w[r * cols + i]} * double{c.w[r * cols + i]};
          x += double{c.x[i]} * double{c.x[i]};
        }
        size += std::sqrt(w * x);
      }
      // It would be of no use otherwise.
      CHECK(said < 0.1 * size);
      CHECK(missed < 0.02 * size);
      CHECK(c.out[2] == 0.0f);
      CHECK(c.most[2] == 0.0f);
    }
  }
}

TEST_CASE("what is not a number makes its row one that nothing excludes") {
  for (const simd::Kernels& kernels : simd::all_kernels()) {
    CAPTURE(kernels.target);
    Case c(kernels, 20, 64);
    for (const float wrong : {NAN, INFINITY, 1e30f, 1e-36f}) {
      CAPTURE(wrong);
      c.w[4 * c.cols + 40] = wrong;
      if (wrong < 1.0f) std::fill_n(&c.w[4 * c.cols], c.cols, wrong);
      c.run(kernels);
      CHECK_FALSE(c.most[4] < 1e30f);
      CHECK(c.most[3] < 1e30f);
    }
    c.activations[1] = simd::SketchedActivations(std::vector<float>(32, NAN).data(), false);
    c.run(kernels);
    CHECK_FALSE(c.most[3] < 1e30f);
  }
}

TEST_CASE("a sketch allows for rows of few and of very different weights") {
  for (const simd::Kernels& kernels : simd::all_kernels()) {
    CAPTURE(kernels.target);
    Case c(kernels, 16, 96);
    for (std::size_t r = 0; r < c.rows; ++r) {
      for (std::size_t i = 0; i < c.cols; ++i) {
        float& w = c.w[r * c.cols + i];
        if (r < 8) w = i % (r + 2) == 0 ? 1.0f : 0.0f;          // zeros, which codes of middles do not have
        else w *= std::pow(10.0f, -static_cast<float>(i / 32 * (r - 7)));  // a thousandth of the first block
      }
    }
    c.run(kernels);
    for (std::size_t r = 0; r < c.rows; ++r) {
      CAPTURE(r);
      CHECK(std::abs(double{c.out[r]} - c.exact(r)) <= double{c.most[r]} - double{c.out[r]});
    }
  }
}
