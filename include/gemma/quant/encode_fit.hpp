// What the encoders share: to fit a group of numbers with the line value = scale * q - minimum, q
// being integers of a few bits, so that the squared error is small. Both the line and q are
// unknown: given a line the best q follow by rounding, and given q the best line by least squares.
// Doing one after the other ends at the nearest optimum, so it starts from many lines.
#ifndef GEMMA_QUANT_ENCODE_FIT_HPP_
#define GEMMA_QUANT_ENCODE_FIT_HPP_

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>

#include "gemma/base/float16.hpp"

GEMMA_NAMESPACE_BEGIN
namespace quant {

/// How to write a format: encode(src, block) is the inverse of Format::decode(block, out).
template <class Format>
struct Encoder;

namespace detail {

inline constexpr float kLargestHalf = 65504.0f;
inline constexpr float kSmallestHalf = 5.9604644775390625e-8f;

/// x, or 0 if it is NaN or infinite; also where the compiler assumes that it never is.
inline float finite_or_zero(float x) {
  return (float_bits(x) & 0x7F800000u) != 0x7F800000u ? x : 0.0f;
}

/// Copies numbers to encode: within ±limit, and 0 where not finite or too small for any scale.
inline void load_numbers(const float* src, std::size_t n, float limit, float* x) {
  for (std::size_t i = 0; i < n; ++i) {
    const float number = finite_or_zero(src[i]);
    const bool counts = std::fabs(number) > kSmallestHalf / 64;
    x[i] = counts ? (std::min)((std::max)(number, -limit), limit) : 0.0f;
  }
}

/// The nearest binary16 that can be a scale: finite, and not zero unless x is.
inline float scale_as_half(float x) {
  if (x == 0.0f) return 0.0f;
  const float magnitude = (std::min)((std::max)(std::fabs(x), kSmallestHalf), kLargestHalf);
  return half_to_float(half_from_float(std::copysign(magnitude, x)));
}

template <class T>
void store_le(std::uint8_t* p, T value) {
  std::memcpy(p, &value, sizeof value);
}

/// Integers from lowest to highest.
struct Range {
  int lowest, highest;
};

/// value = scale * q - minimum.
struct Line {
  float scale, minimum;
};

/// The sum of `terms`, which it uses up: adds halves to each other, as SIMD can.
template <std::size_t N>
float add_up(float* terms) {
  if constexpr (N == 1) {
    return terms[0];
  } else {
    for (std::size_t i = 0; i < N / 2; ++i) terms[i] += terms[N / 2 + i];
    return add_up<N / 2>(terms);
  }
}

/// Of numbers x with weights w and their integers q: Σ w·(error of a line)², and the sums Σ w·q,
/// Σ w·x·q and Σ w·q² that tell which line would fit these q best.
struct Sums {
  float error, q, xq, qq;
};

/// What the squared error of each number counts; on average 1.
template <std::size_t N>
struct EqualWeights {
  explicit EqualWeights(const float*) {}
  constexpr float operator[](std::size_t) const { return 1.0f; }
};

/// Larger numbers count more, as they do in products with activations.
template <std::size_t N>
class MagnitudeWeights {
 public:
  explicit MagnitudeWeights(const float* x) {
    float terms[N];
    for (std::size_t i = 0; i < N; ++i) terms[i] = x[i] * x[i];
    const float rms = std::sqrt(add_up<N>(terms) / static_cast<float>(N));
    for (std::size_t i = 0; i < N; ++i) terms[i] = weights_[i] = kBase * rms + std::fabs(x[i]);
    const float mean = add_up<N>(terms) / static_cast<float>(N);
    const float factor = mean > 0.0f ? 1.0f / mean : 0.0f;
    for (float& w : weights_) w = factor > 0.0f ? w * factor : 1.0f;
  }
  float operator[](std::size_t i) const { return weights_[i]; }

 private:
  static constexpr float kBase = 2.0f;  // tried on a real model, as was 0, 1 and much more
  float weights_[N];
};

/// x clamped to 0 … highest and rounded. Floats from 0 on are in the order of their bits, and
/// compilers make SIMD code of a comparison of integers.
inline float nearest_step(float x, float highest) {
  const auto bits = static_cast<std::int32_t>(float_bits(x));
  const auto highest_bits = static_cast<std::int32_t>(float_bits(highest));
  const std::int32_t from_zero = bits > 0 ? bits : 0;
  const std::int32_t clamped = from_zero < highest_bits ? from_zero : highest_bits;
  const float step = float_from_bits(static_cast<std::uint32_t>(clamped));
  return static_cast<float>(static_cast<int>(step + 0.5f));
}

/// q[i] = the integer whose value is nearest x[i].
template <std::size_t N, class Weights>
Sums quantise(const float* x, const Weights& weights, const Line& line, const Range& range,
              float* q) {
  const float scale = line.scale;
  const float minimum = line.minimum;
  const float inverse = scale == 0.0f ? 0.0f : 1.0f / scale;
  const float lowest = static_cast<float>(range.lowest);
  const float steps = static_cast<float>(range.highest - range.lowest);
  float integers[N], error[N], xq[N], qq[N], sum_q[N];
  for (std::size_t i = 0; i < N; ++i) {
    const float number = x[i] + minimum;
    const float integer = nearest_step(number * inverse - lowest, steps) + lowest;
    const float difference = number - scale * integer;
    integers[i] = integer;
    const float wq = weights[i] * integer;
    error[i] = weights[i] * difference * difference;
    xq[i] = x[i] * wq;
    qq[i] = integer * wq;
    sum_q[i] = wq;
  }
  std::copy(integers, integers + N, q);
  return {add_up<N>(error), add_up<N>(sum_q), add_up<N>(xq), add_up<N>(qq)};
}

/// Which q the number of the largest magnitude becomes in the lines to start from: first, first +
/// step … last. Beyond the range of q it is clipped, and the others have a finer grid.
struct PeakSteps {
  float first, last, step;
};

/// A scale without a minimum for N numbers. The result of round(scale) is what a block can hold:
/// scales are compared after that.
template <std::size_t N, class Round>
float fit_scale(const float* x, const Range& range, const PeakSteps& peaks, Round&& round) {
  float peak = 0.0f;
  for (std::size_t i = 0; i < N; ++i) peak = (std::max)(peak, std::fabs(x[i]));
  if (peak == 0.0f) return 0.0f;
  float q[N];
  float best_error = (std::numeric_limits<float>::max)();
  float best = 0.0f, start = 0.0f, best_gain = 0.0f;
  const auto try_scale = [&](float scale) {
    const Sums sums = quantise<N>(x, EqualWeights<N>(x), {scale, 0.0f}, range, q);
    if (sums.error < best_error) {
      best_error = sums.error;
      best = scale;
    }
    return sums;
  };
  // With the scale xq / qq, the best one for these q, the error would be less by xq² / qq than
  // with 0: the largest of that is the start to go on from.
  const auto try_start = [&](float scale) {
    const Sums sums = try_scale(scale);
    if (sums.xq * sums.xq > best_gain * sums.qq) {
      best_gain = sums.xq * sums.xq / sums.qq;
      start = sums.xq / sums.qq;
    }
  };
  const bool symmetric = range.lowest == -range.highest;
  for (float at = peaks.first; at <= peaks.last && best_error > 0.0f; at += peaks.step) {
    try_start(round(peak / at));
    if (!symmetric) try_start(round(-peak / at));
  }
  for (int i = 0; i < 3 && start != 0.0f && best_error > 0.0f; ++i) {
    const Sums sums = try_scale(round(start));
    start = sums.qq > 0.0f ? sums.xq / sums.qq : 0.0f;
  }
  return best;
}

/// The line of least squared error for the numbers, where `sum_x` is Σ w·x, and q, of which `sums`
/// are; its minimum is not negative, as that of a block. Its scale is 0 or less if q are all equal.
template <std::size_t N>
Line refit_line(float sum_x, const Sums& sums) {
  constexpr float kCount = static_cast<float>(N);
  const float determinant = kCount * sums.qq - sums.q * sums.q;
  if (determinant <= 0.0f) return {0.0f, 0.0f};
  const float scale = (kCount * sums.xq - sum_x * sums.q) / determinant;
  const float minimum = (scale * sums.q - sum_x) / kCount;
  if (minimum < 0.0f) return {sums.xq / sums.qq, 0.0f};
  return {scale, minimum};
}

/// A line for N numbers; neither scale nor minimum is negative.
template <std::size_t N, class Weights>
Line fit_line(const float* x, const Weights& weights, float sum_x, const Range& range,
              const PeakSteps& peaks) {
  const float lowest = (std::min)(*std::min_element(x, x + N), 0.0f);
  const float highest = *std::max_element(x, x + N);
  Line best{0.0f, -lowest};
  if (highest == lowest) return best;
  // Numbers on a grid, with the rounding of a binary16, fit it as well when it is shifted by a step
  // with all q; the least minimum is the one their block had.
  const float noise = 1e-6f * (highest - lowest) * (highest - lowest);
  float q[N];
  float best_error = (std::numeric_limits<float>::max)();
  for (float at = peaks.first; at <= peaks.last; at += peaks.step) {
    Line line{(highest - lowest) / at, -lowest};
    for (int i = 0; i < 3 && line.scale > kSmallestHalf / 4096; ++i) {
      const Sums sums = quantise<N>(x, weights, line, range, q);
      const bool alike = std::fabs(sums.error - best_error) <= noise;
      if (alike ? line.minimum < best.minimum : sums.error < best_error) {
        best_error = sums.error;
        best = line;
      }
      line = refit_line<N>(sum_x, sums);
    }
  }
  return best;
}

}  // namespace detail
}  // namespace quant
GEMMA_NAMESPACE_END

#endif  // GEMMA_QUANT_ENCODE_FIT_HPP_
