#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "gemma/base/aligned.hpp"
#include "gemma/base/float16.hpp"
#include "gemma/quant/registry.hpp"
#include "gemma/simd/kernels.hpp"

namespace {

using gemma::DType;
using gemma::WeightMatrix;
namespace simd = gemma::simd;
namespace quant = gemma::quant;

const std::vector<DType> kTypes = {
    DType::F32,  DType::F16,  DType::BF16, DType::Q4_0, DType::Q4_1,   DType::Q5_0,  DType::Q5_1,
    DType::Q8_0, DType::Q2_K, DType::Q3_K, DType::Q4_K, DType::Q5_K, DType::Q6_K, DType::IQ4_NL,
    DType::IQ4_XS};

/// Random bytes with the binary16 fields of every block replaced by sensible numbers.
struct RandomWeights {
  std::vector<std::uint8_t> bytes;
  WeightMatrix matrix;

  RandomWeights(DType type, std::size_t rows, std::size_t cols, std::uint32_t seed) {
    matrix.type = type;
    matrix.rows = rows;
    matrix.cols = cols;
    matrix.row_bytes = static_cast<std::size_t>(quant::row_bytes(type, cols).value());
    bytes.resize(rows * matrix.row_bytes);
    std::mt19937 random(seed);
    for (std::uint8_t& byte : bytes) byte = static_cast<std::uint8_t>(random());
    const std::size_t block = quant::block_bytes(type);
    std::uniform_real_distribution<float> number(-0.02f, 0.02f);
    for (std::size_t at = 0; at < bytes.size(); at += block) {
      const auto half = [&](std::size_t offset) {
        const std::uint16_t h = gemma::half_from_float(number(random));
        std::memcpy(bytes.data() + at + offset, &h, sizeof h);
      };
      quant::visit(type, [&](auto format) {
        using Format = decltype(format);
        if constexpr (Format::kBlockElements > 1) {
          half(Format::kScaleOffset);
          if constexpr (Format::kHasMin) half(Format::kMinOffset);
        } else if constexpr (Format::kBlockBytes == 4) {
          const float f = number(random);
          std::memcpy(bytes.data() + at, &f, sizeof f);
        } else {
          const float f = number(random);
          const std::uint16_t h = Format::kType == DType::F16 ? gemma::half_from_float(f)
                                                              : gemma::bfloat16_from_float(f);
          std::memcpy(bytes.data() + at, &h, sizeof h);
        }
      });
    }
    matrix.data = bytes.data();
  }
};

/// Activations of some tokens, quantised by the kernels under test.
struct RandomActivations {
  gemma::AlignedArray<float> f32;
  gemma::AlignedArray<std::int16_t> q;
  gemma::AlignedArray<float> scale;
  gemma::AlignedArray<float> sum;
  simd::Activations view;

  RandomActivations(const simd::Kernels& kernels, std::size_t tokens, std::size_t cols,
                    std::uint32_t seed)
      : f32(gemma::AlignedArray<float>::create(tokens * cols, "x").value()),
        q(gemma::AlignedArray<std::int16_t>::create(tokens * cols, "q").value()),
        scale(gemma::AlignedArray<float>::create(tokens * cols / 32 + 1, "scale").value()),
        sum(gemma::AlignedArray<float>::create(tokens * cols / 16 + 1, "sum").value()) {
    std::mt19937 random(seed);
    std::normal_distribution<float> number;
    for (std::size_t i = 0; i < tokens * cols; ++i) f32.data()[i] = number(random);
    if (cols % 32 == 0) {
      for (std::size_t t = 0; t < tokens; ++t) {
        kernels.quantize_row(f32.data() + t * cols, cols, q.data() + t * cols,
                             scale.data() + t * cols / 32, sum.data() + t * cols / 16);
      }
    }
    view.tokens = tokens;
    view.cols = cols;
    view.f32 = f32.data();
    view.q = q.data();
    view.scale = scale.data();
    view.sum = sum.data();
  }
};

std::vector<float> run(const simd::Kernels& kernels, const WeightMatrix& w,
                       const simd::Activations& x, std::size_t row_step) {
  std::vector<float> out(x.tokens * w.rows, NAN);
  auto scratch = gemma::AlignedArray<std::uint8_t>::create(simd::kScratchBytes, "s").value();
  simd::MatmulArgs args;
  args.weights = w;
  args.x = x;
  args.out = out.data();
  args.out_stride = w.rows;
  for (std::size_t r = 0; r < w.rows; r += row_step) {
    kernels.matmul(args, r, (std::min)(r + row_step, w.rows), scratch.data());
  }
  return out;
}

/// The largest error of `out`, in units of |w| |x|.
double worst_error(const WeightMatrix& w, const simd::Activations& x,
                   const std::vector<float>& out) {
  double worst = 0.0;
  std::vector<float> row(w.cols);
  for (std::size_t r = 0; r < w.rows; ++r) {
    quant::decode_row(w.type, w.row(r), w.cols, row.data());
    for (std::size_t t = 0; t < x.tokens; ++t) {
      double sum = 0.0, ww = 0.0, xx = 0.0;
      for (std::size_t c = 0; c < w.cols; ++c) {
        const double a = double{row[c]}, b = double{x.f32[t * w.cols + c]};
        sum += a * b;
        ww += a * a;
        xx += b * b;
      }
      const double error = std::abs(sum - double{out[t * w.rows + r]}) / std::sqrt(ww * xx);
      worst = error <= worst ? worst : error;  // a NaN stays
    }
  }
  return worst;
}

}  // namespace

TEST_CASE("every weight format multiplies as its decoded values do, on every target") {
  for (const simd::Kernels& kernels : simd::all_kernels()) {
    CAPTURE(kernels.target);
    for (const DType type : kTypes) {
      CAPTURE(quant::dtype_name(type));
      const bool plain = quant::block_elements(type) == 1;
      for (const std::size_t cols : {256u, 768u, 2304u}) {
        const RandomWeights w(type, 37, cols, 1);
        for (const std::size_t tokens : {1u, 2u, 3u, 5u, 7u, 8u, 16u, 33u}) {
          CAPTURE(cols);
          CAPTURE(tokens);
          const RandomActivations x(kernels, tokens, cols, 2);
          const std::vector<float> out = run(kernels, w.matrix, x.view, 37);
          CHECK(worst_error(w.matrix, x.view, out) < (plain ? 1e-6 : 3e-5));
        }
      }
    }
  }
}

TEST_CASE("the result does not depend on how rows are divided among calls") {
  for (const simd::Kernels& kernels : simd::all_kernels()) {
    CAPTURE(kernels.target);
    for (const DType type : kTypes) {
      CAPTURE(quant::dtype_name(type));
      const RandomWeights w(type, 70, 1280, 3);
      for (const std::size_t tokens : {1u, 4u, 20u}) {
        const RandomActivations x(kernels, tokens, 1280, 4);
        const std::vector<float> whole = run(kernels, w.matrix, x.view, 70);
        for (const std::size_t step : {1u, 16u, 33u}) {
          CHECK(run(kernels, w.matrix, x.view, step) == whole);
        }
      }
    }
  }
}

TEST_CASE("the largest weights and activations do not overflow") {
  for (const simd::Kernels& kernels : simd::all_kernels()) {
    CAPTURE(kernels.target);
    RandomWeights w(DType::Q8_0, 40, 256, 5);
    for (std::size_t at = 0; at < w.bytes.size(); at += 34) {
      const std::uint16_t one = gemma::half_from_float(1.0f);
      std::memcpy(w.bytes.data() + at, &one, sizeof one);
      std::memset(w.bytes.data() + at + 2, 0x80, 32);  // −128
    }
    for (const std::size_t tokens : {1u, 9u}) {
      RandomActivations x(kernels, tokens, 256, 6);
      std::fill(x.f32.data(), x.f32.data() + tokens * 256, -1000.0f);
      for (std::size_t t = 0; t < tokens; ++t) {
        kernels.quantize_row(x.f32.data() + t * 256, 256, x.q.data() + t * 256,
                             x.scale.data() + t * 8, x.sum.data() + t * 16);
      }
      for (const float y : run(kernels, w.matrix, x.view, 40)) {
        CHECK(y == doctest::Approx(256.0 * 128.0 * 1000.0).epsilon(1e-4));
      }
    }
  }
}
