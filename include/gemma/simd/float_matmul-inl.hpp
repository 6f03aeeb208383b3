// Weights stored as floats: each row is widened to float32 once and multiplied with the float
// activations of four tokens at a time.
#if defined(GEMMA_SIMD_FLOAT_MATMUL_INL_HPP_) == defined(HWY_TARGET_TOGGLE)
#ifdef GEMMA_SIMD_FLOAT_MATMUL_INL_HPP_
#undef GEMMA_SIMD_FLOAT_MATMUL_INL_HPP_
#else
#define GEMMA_SIMD_FLOAT_MATMUL_INL_HPP_
#endif

#include "gemma/quant/plain.hpp"
#include "gemma/simd/kernels.hpp"
#include "gemma/simd/vector-inl.hpp"

HWY_BEFORE_NAMESPACE();
GEMMA_NAMESPACE_BEGIN
namespace simd {
namespace HWY_NAMESPACE {

/// Columns widened at a time.
inline constexpr std::size_t kFloatCols = kScratchBytes / sizeof(float) / 2;

HWY_INLINE void widen_row(quant::F32, const std::uint8_t* row, std::size_t n, float* out) {
  std::memcpy(out, row, n * sizeof(float));
}

template <class T>
HWY_INLINE void widen_as(const std::uint8_t* row, std::size_t n, float* out) {
  const DF d;
  const hn::Rebind<T, DF> narrow;
  const hn::Repartition<std::uint8_t, decltype(narrow)> bytes;  // files may begin a row anywhere
  for_vectors(
      n,
      [&](std::size_t i) HWY_ATTR {
        const auto values = hn::BitCast(narrow, hn::LoadU(bytes, row + sizeof(T) * i));
        hn::StoreU(hn::PromoteTo(d, values), d, out + i);
      },
      [&](std::size_t i, std::size_t rest) HWY_ATTR {
        const auto raw = hn::LoadN(bytes, row + sizeof(T) * i, sizeof(T) * rest);
        hn::StoreN(hn::PromoteTo(d, hn::BitCast(narrow, raw)), d, out + i, rest);
      });
}
HWY_INLINE void widen_row(quant::F16, const std::uint8_t* row, std::size_t n, float* out) {
  widen_as<hwy::float16_t>(row, n, out);
}
HWY_INLINE void widen_row(quant::BF16, const std::uint8_t* row, std::size_t n, float* out) {
  widen_as<hwy::bfloat16_t>(row, n, out);
}

/// out[t] += w · x_t for kCount tokens. Four running sums each, whatever kCount is, so that the
/// result is the same alone and in company.
template <std::size_t kCount>
HWY_INLINE void float_dots(const float* w, std::size_t n, const float* x, std::size_t x_stride,
                           float* out, std::size_t out_stride) {
  const DF d;
  constexpr std::size_t kSums = 4;
  VF sums[kCount][kSums];
  for (auto& token : sums) {
    for (VF& s : token) s = hn::Zero(d);
  }
  std::size_t i = 0;
  for (; i + kSums * kLanes <= n; i += kSums * kLanes) {
    for (std::size_t s = 0; s < kSums; ++s) {
      const VF weights = hn::LoadU(d, w + i + s * kLanes);
      for (std::size_t t = 0; t < kCount; ++t) {
        const VF values = hn::LoadU(d, x + t * x_stride + i + s * kLanes);
        sums[t][s] = hn::MulAdd(weights, values, sums[t][s]);
      }
    }
  }
  for (; i < n; i += kLanes) {
    const std::size_t rest = HWY_MIN(kLanes, n - i);
    const VF weights = hn::LoadN(d, w + i, rest);
    for (std::size_t t = 0; t < kCount; ++t) {
      sums[t][0] = hn::MulAdd(weights, hn::LoadN(d, x + t * x_stride + i, rest), sums[t][0]);
    }
  }
  for (std::size_t t = 0; t < kCount; ++t) {
    const VF total = hn::Add(hn::Add(sums[t][0], sums[t][1]), hn::Add(sums[t][2], sums[t][3]));
    out[t * out_stride] += hn::ReduceSum(d, total);
  }
}

template <class Format>
inline HWY_NOINLINE void float_matmul(const MatmulArgs& a, std::size_t row_begin, std::size_t row_end,
                               std::uint8_t* scratch) {
  float* weights = reinterpret_cast<float*>(scratch);
  const std::size_t cols = a.weights.cols;
  for (std::size_t r = row_begin; r < row_end; ++r) {
    for (std::size_t t = 0; t < a.x.tokens; ++t) a.out[t * a.out_stride + r] = 0.0f;
    for (std::size_t c = 0; c < cols; c += kFloatCols) {
      const std::size_t n = HWY_MIN(kFloatCols, cols - c);
      widen_row(Format(), a.weights.row(r) + c * Format::kBlockBytes, n, weights);
      const float* x = a.x.f32 + c;
      float* out = a.out + r;
      std::size_t t = 0;
      for (; t + 4 <= a.x.tokens; t += 4) {
        float_dots<4>(weights, n, x + t * cols, cols, out + t * a.out_stride, a.out_stride);
      }
      for (; t < a.x.tokens; ++t) {
        float_dots<1>(weights, n, x + t * cols, cols, out + t * a.out_stride, a.out_stride);
      }
    }
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace simd
GEMMA_NAMESPACE_END
HWY_AFTER_NAMESPACE();

#endif  // GEMMA_SIMD_FLOAT_MATMUL_INL_HPP_
