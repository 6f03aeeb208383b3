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
    DType::IQ4_XS, DType::I8, DType::I4};

/// Random bytes with the binary16 fields of every block replaced by sensible numbers.
struct RandomWeights {
  std::vector<std::uint8_t> bytes;
  std::vector<float> scales, zeros;  ///< of rows, of the formats that have them
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
        if constexpr (quant::kRowScaled<Format>) {
          // Its scales are elsewhere.
        } else if constexpr (Format::kBlockElements > 1) {
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
    if (type != DType::I8 && type != DType::I4) return;
    for (std::size_t r = 0; r < rows; ++r) {
      scales.push_back(number(random));
      zeros.push_back(type == DType::I8 ? 2000.0f * number(random) : 150.0f * number(random));
    }
    matrix.row_scale = scales.data();
    if (seed % 2 == 1) matrix.row_zero = zeros.data();
  }
};

using Form = simd::ActivationForm;

/// Whether weights are not the product of a scale and a code.
bool has_shift(DType type) {
  bool shifted = false;
  quant::visit(type, [&](auto format) {
    using Format = decltype(format);
    if constexpr (Format::kBlockElements > 1) shifted = Format::kHasMin || quant::kRowScaled<Format>;
  });
  return shifted;
}

/// The forms that these kernels take.
std::vector<Form> forms_of(const simd::Kernels& kernels) {
  std::vector<Form> forms = {Form::fine, Form::coarse};
  if (kernels.round_to_bf16 != nullptr) forms.push_back(Form::bf16);
  return forms;
}

/// A bfloat16, which has the nearest 16 bits; of two equally near ones the larger.
float rounded_up_to_bf16(float number) {
  std::uint32_t bits;
  std::memcpy(&bits, &number, sizeof bits);
  bits = (bits + 0x8000u) & 0xFFFF0000u;
  std::memcpy(&number, &bits, sizeof bits);
  return number;
}

/// Activations of some tokens, in the form that the kernels under test give them.
struct RandomActivations {
  using Floats = gemma::AlignedArray<float>;
  Floats f32, scale, sum, half_sum;
  gemma::AlignedArray<std::int8_t> q;
  gemma::AlignedArray<std::uint8_t> groups;
  gemma::AlignedArray<std::uint16_t> bf16;
  simd::Activations view;

  RandomActivations(const simd::Kernels& kernels, std::size_t tokens, std::size_t cols,
                    std::uint32_t seed, Form form)
      : f32(Floats::create(tokens * cols, "x").value()),
        scale(Floats::create(tokens * cols / 32 + kMore, "scale").value()),
        sum(Floats::create(tokens * cols / 32 + kMore, "sum").value()),
        half_sum(Floats::create(tokens * cols / 16 + kMore, "sum").value()),
        q(gemma::AlignedArray<std::int8_t>::create(tokens * simd::fine_bytes(cols) + kMore, "q").value()),
        groups(gemma::AlignedArray<std::uint8_t>::create(
                   (tokens * cols / 32 + kMore) * sizeof(simd::CoarseGroup), "groups")
                   .value()),
        bf16(gemma::AlignedArray<std::uint16_t>::create((tokens + simd::kBf16Tokens) * cols, "bf16").value()) {
    std::mt19937 random(seed);
    std::normal_distribution<float> number;
    for (std::size_t i = 0; i < tokens * cols; ++i) f32.data()[i] = number(random);
    view.tokens = tokens;
    view.cols = cols;
    view.f32 = f32.data();
    view.form = form;
    view.coarse_rows = {q.data(), reinterpret_cast<simd::CoarseGroup*>(groups.data())};
    view.fine_rows = {q.data(), scale.data(), sum.data(), half_sum.data()};
    view.bf16 = bf16.data();
    if (cols % 32 == 0) quantise(kernels);
  }

  void quantise(const simd::Kernels& kernels) {
    const std::size_t cols = view.cols;
    for (std::size_t t = 0; t < view.tokens; ++t) {
      const float* x = f32.data() + t * cols;
      const std::size_t group = t * cols / 32;
      if (view.form == Form::bf16) {
        kernels.round_to_bf16(x, cols, bf16.data() + place(t, 0));
      } else if (view.form == Form::coarse) {
        kernels.quantize_coarse(x, cols, {q.data() + t * cols, view.coarse_rows.groups + group});
      } else {
        kernels.quantize_fine(x, cols, {q.data() + t * simd::fine_bytes(cols), scale.data() + group,
                                        sum.data() + group, half_sum.data() + 2 * group});
      }
    }
  }

  /// What the weights are multiplied with.
  double number(std::size_t token, std::size_t c, bool plain) const {
    const std::size_t i = token * view.cols + c;
    if (plain || view.form == Form::fine) return double{f32.data()[i]};
    if (view.form == Form::bf16) return double{gemma::bfloat16_to_float(bf16.data()[place(token, c)])};
    return double{view.coarse_rows.groups[i / 32].scale} * q.data()[i];
  }

 private:
  /// Where a number is in bf16.
  std::size_t place(std::size_t token, std::size_t c) const {
    const std::size_t in_block = token % simd::kBf16Tokens;
    return (token - in_block) * view.cols + (c - c % 32) * simd::kBf16Tokens + in_block * 32 + c % 32;
  }

  static constexpr std::size_t kMore = simd::kActivationPadding;
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
double worst_error(const WeightMatrix& w, const RandomActivations& x,
                   const std::vector<float>& out) {
  const bool plain = quant::block_elements(w.type) == 1;
  double worst = 0.0;
  std::vector<float> row(w.cols);
  for (std::size_t r = 0; r < w.rows; ++r) {
    quant::decode_row(w, r, row.data());
    for (std::size_t c = 0; !plain && x.view.form == Form::bf16 && c < w.cols; ++c) {
      const float scale = w.row_scale != nullptr ? w.row_scale[r] : 1.0f;  // is applied to the sum
      row[c] = rounded_up_to_bf16(row[c] / scale) * scale;
    }
    for (std::size_t t = 0; t < x.view.tokens; ++t) {
      double sum = 0.0, ww = 0.0, xx = 0.0;
      for (std::size_t c = 0; c < w.cols; ++c) {
        const double a = double{row[c]}, b = x.number(t, c, plain);
        sum += a * b;
        ww += a * a;
        xx += b * b;
      }
      const double size = ww * xx > 0.0 ? std::sqrt(ww * xx) : 1.0;
      const double error = std::abs(sum - double{out[t * w.rows + r]}) / size;
      worst = error <= worst ? worst : error;  // a NaN stays
    }
  }
  return worst;
}

}  // namespace

TEST_CASE("every weight format multiplies as its decoded values do, on every target") {
  for (const simd::Kernels& kernels : simd::all_kernels()) {
    CAPTURE(std::string(kernels.target));
    for (const DType type : kTypes) {
      CAPTURE(std::string(quant::dtype_name(type)));
      const bool plain = quant::block_elements(type) == 1;
      const bool large = quant::block_elements(type) == 256;
      const bool shifted = has_shift(type);
      for (const std::size_t cols : {32u, 96u, 256u, 640u, 768u, 2304u}) {
        if (large && cols % 256 != 0) continue;
        const RandomWeights w(type, 37, cols, 1);
        for (const std::size_t tokens : {1u, 2u, 4u, 5u, 7u, 9u, 16u, 33u}) {
          CAPTURE(cols);
          CAPTURE(tokens);
          for (const Form form : forms_of(kernels)) {
            const RandomActivations x(kernels, tokens, cols, 2, form);
            const std::vector<float> out = run(kernels, w.matrix, x.view, 37);
            // Of two roundings the last may go the other way.
            const double most = form == Form::fine ? 3e-5 : form == Form::bf16 && shifted ? 1e-4 : 1e-6;
            CHECK(worst_error(w.matrix, x, out) < (plain ? 1e-6 : most));
          }
        }
      }
    }
  }
}

TEST_CASE("sums of the largest codes and activations are exact") {
  constexpr std::size_t kTokens = 9, kRows = 37, kCols = 512, kGroup = 32;
  for (const simd::Kernels& kernels : simd::all_kernels()) {
    CAPTURE(std::string(kernels.target));
    for (const int code : {127, -128}) {
      for (const float sign : {1.0f, -1.0f}) {
        RandomWeights w(DType::Q8_0, kRows, kCols, 1);
        const std::uint16_t one = gemma::half_from_float(1.0f);
        for (std::size_t at = 0; at < w.bytes.size(); at += 34) {
          std::memcpy(w.bytes.data() + at, &one, sizeof one);
          std::memset(w.bytes.data() + at + 2, code, kGroup);
        }
        RandomActivations x(kernels, kTokens, kCols, 2, Form::coarse);
        std::fill_n(x.f32.data(), kTokens * kCols, 127.0f * sign);  // whose scale is 1
        x.quantise(kernels);
        const std::vector<float> expected(kTokens * kRows, 127.0f * sign * static_cast<float>(code) * kCols);
        CHECK(run(kernels, w.matrix, x.view, kRows) == expected);
      }
    }
  }
}

TEST_CASE("the result does not depend on how rows are divided among calls") {
  for (const simd::Kernels& kernels : simd::all_kernels()) {
    CAPTURE(std::string(kernels.target));
    for (const DType type : kTypes) {
      CAPTURE(std::string(quant::dtype_name(type)));
      const RandomWeights w(type, 70, 1280, 3);
      for (const std::size_t tokens : {1u, 4u, 20u}) {
        const RandomActivations x(kernels, tokens, 1280, 4, tokens > 8 ? forms_of(kernels).back() : Form::fine);
        const std::vector<float> whole = run(kernels, w.matrix, x.view, 70);
        for (const std::size_t step : {1u, 16u, 33u}) {
          CHECK(run(kernels, w.matrix, x.view, step) == whole);
        }
      }
    }
  }
}

TEST_CASE("a row whose scale or minimum is not a number spoils no other row, and shows in its own") {
  for (const simd::Kernels& kernels : simd::all_kernels()) {
    CAPTURE(std::string(kernels.target));
    for (const DType type : {DType::Q8_0, DType::Q4_0, DType::Q5_1, DType::Q4_K, DType::Q6_K}) {
      CAPTURE(std::string(quant::dtype_name(type)));
      std::vector<std::size_t> fields;
      quant::visit(type, [&](auto format) {
        using Format = decltype(format);
        if constexpr (Format::kBlockElements > 1 && !quant::kRowScaled<Format>) {
          fields.push_back(Format::kScaleOffset);
          if constexpr (Format::kHasMin) fields.push_back(Format::kMinOffset);
        }
      });
      for (const std::size_t tokens : {1u, 20u}) {
        RandomWeights w(type, 21, 768, 3);
        const RandomActivations x(kernels, tokens, 768, 4, tokens > 8 ? forms_of(kernels).back() : Form::fine);
        const std::vector<float> expected = run(kernels, w.matrix, x.view, 21);
        for (const std::size_t field : fields) {
          // Rounding could carry the bits of the second over to those of a number.
          for (const std::uint16_t nan : {std::uint16_t{0x7E00}, std::uint16_t{0x7FFF}}) {
            std::uint8_t* at = w.bytes.data() + 6 * w.matrix.row_bytes + field;
            std::uint16_t before;
            std::memcpy(&before, at, sizeof before);
            std::memcpy(at, &nan, sizeof nan);
            std::vector<float> out = run(kernels, w.matrix, x.view, 21);
            std::memcpy(at, &before, sizeof before);
            for (std::size_t t = 0; t < tokens; ++t) {
              float& result = out[t * 21 + 6];
              // Highway's own conversion, where the target has none, knows only numbers.
              CHECK(result != expected[t * 21 + 6]);
              if (x.view.form == Form::bf16) CHECK(std::isnan(result));
              result = expected[t * 21 + 6];
            }
            CHECK(out == expected);
          }
        }
      }
    }
  }
}

TEST_CASE("the result of a token does not depend on the tokens beside it") {
  for (const simd::Kernels& kernels : simd::all_kernels()) {
    CAPTURE(std::string(kernels.target));
    for (const DType type : {DType::Q8_0, DType::Q4_0, DType::Q4_K, DType::Q6_K, DType::Q2_K,
                             DType::I8, DType::I4}) {
      CAPTURE(std::string(quant::dtype_name(type)));
      const RandomWeights w(type, 20, 768, 3);
      for (const Form form : forms_of(kernels)) {
        const RandomActivations x(kernels, 13, 768, 4, form);
        const std::vector<float> together = run(kernels, w.matrix, x.view, 20);
        for (std::size_t t = 0; t < 13; ++t) {
          simd::Activations one = x.view;
          one.tokens = 1;
          one.coarse_rows = {x.view.coarse_rows.q + t * 768, x.view.coarse_rows.groups + t * 24};
          one.fine_rows = {x.view.fine_rows.q + t * simd::fine_bytes(768), x.view.fine_rows.scale + t * 24,
                           x.view.fine_rows.sum + t * 24, x.view.fine_rows.half_sum + t * 48};
          one.bf16 = x.view.bf16 + t * 32;
          const std::vector<float> alone = run(kernels, w.matrix, one, 20);
          CHECK(std::equal(alone.begin(), alone.end(), together.begin() + static_cast<std::ptrdiff_t>(20 * t)));
        }
      }
    }
  }
}

TEST_CASE("more tokens than sums are kept for take turns") {
  for (const simd::Kernels& kernels : simd::all_kernels()) {
    CAPTURE(std::string(kernels.target));
    const RandomWeights w(DType::Q8_0, 35, 640, 3);
    for (const Form form : {Form::coarse, forms_of(kernels).back()}) {
      const RandomActivations x(kernels, 1034, 640, 4, form);
      CHECK(worst_error(w.matrix, x, run(kernels, w.matrix, x.view, 35)) < 1e-6);
    }
  }
}

TEST_CASE("the largest weights and activations do not overflow") {
  for (const simd::Kernels& kernels : simd::all_kernels()) {
    CAPTURE(std::string(kernels.target));
    for (const DType type : {DType::Q8_0, DType::Q5_0, DType::Q4_0, DType::Q6_K, DType::Q5_K, DType::Q4_K}) {
      CAPTURE(std::string(quant::dtype_name(type)));
      RandomWeights w(type, 40, 256, 5);
      for (const int byte : {0x00, 0xFF, 0x80, 0x7F}) {
        const std::size_t block = quant::block_bytes(type);
        for (std::size_t at = 0; at < w.bytes.size(); at += block) {
          std::memset(w.bytes.data() + at, byte, block);
          const std::uint16_t one = gemma::half_from_float(1.0f);
          quant::visit(type, [&](auto format) {
            using Format = decltype(format);
            if constexpr (Format::kBlockElements > 1 && !quant::kRowScaled<Format>) {
              std::memcpy(w.bytes.data() + at + Format::kScaleOffset, &one, sizeof one);
              if constexpr (Format::kHasMin) {
                std::memcpy(w.bytes.data() + at + Format::kMinOffset, &one, sizeof one);
              }
            }
          });
        }
        for (const Form form : forms_of(kernels)) {
          for (const float sign : {-1000.0f, 1000.0f}) {
            RandomActivations x(kernels, 9, 256, 6, form);
            std::fill(x.f32.data(), x.f32.data() + 9 * 256, sign);
            x.quantise(kernels);
            const std::vector<float> out = run(kernels, w.matrix, x.view, 40);
            CHECK(worst_error(w.matrix, x, out) < 1e-5);
          }
        }
      }
    }
  }
}
