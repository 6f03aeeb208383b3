// What a matrix of low rank adds to outputs: outputs in lanes, so that nothing is summed across them,
// and four tokens for each number that is loaded.
#if defined(GEMMA_SIMD_LOW_RANK_INL_HPP_) == defined(HWY_TARGET_TOGGLE)
#ifdef GEMMA_SIMD_LOW_RANK_INL_HPP_
#undef GEMMA_SIMD_LOW_RANK_INL_HPP_
#else
#define GEMMA_SIMD_LOW_RANK_INL_HPP_
#endif

#include "gemma/simd/kernels.hpp"
#include "gemma/simd/vector-inl.hpp"

HWY_BEFORE_NAMESPACE();
GEMMA_NAMESPACE_BEGIN
namespace simd {
namespace HWY_NAMESPACE {

/// kVectors vectors of outputs from `row` on, for kTokens tokens from `token` on; `rest` lanes of the
/// last vector.
template <std::size_t kTokens, std::size_t kVectors>
HWY_INLINE void add_low_rank_tile(const LowRankArgs& a, std::size_t token, std::size_t row,
                                  std::size_t rest) {
  const DF d;
  constexpr std::size_t kLast = (kVectors - 1) * kLanes;
  float* out = a.out + token * a.out_stride + row;
  const float* x = a.x + token * a.x_stride;
  VF sums[kTokens][kVectors];
  for (std::size_t t = 0; t < kTokens; ++t) {
    for (std::size_t v = 0; v + 1 < kVectors; ++v) {
      sums[t][v] = hn::LoadU(d, out + t * a.out_stride + v * kLanes);
    }
    sums[t][kVectors - 1] = hn::LoadN(d, out + t * a.out_stride + kLast, rest);
  }
  for (std::size_t k = 0; k < a.rank; ++k) {
    const float* b = a.b + k * a.rows + row;
    VF weights[kVectors];
    for (std::size_t v = 0; v + 1 < kVectors; ++v) weights[v] = hn::LoadU(d, b + v * kLanes);
    weights[kVectors - 1] = hn::LoadN(d, b + kLast, rest);
    for (std::size_t t = 0; t < kTokens; ++t) {
      const VF factor = hn::Set(d, x[t * a.x_stride + k]);
      for (std::size_t v = 0; v < kVectors; ++v) {
        sums[t][v] = hn::MulAdd(factor, weights[v], sums[t][v]);
      }
    }
  }
  for (std::size_t t = 0; t < kTokens; ++t) {
    for (std::size_t v = 0; v + 1 < kVectors; ++v) {
      hn::StoreU(sums[t][v], d, out + t * a.out_stride + v * kLanes);
    }
    hn::StoreN(sums[t][kVectors - 1], d, out + t * a.out_stride + kLast, rest);
  }
}

inline HWY_NOINLINE void add_low_rank(const LowRankArgs& a, std::size_t row_begin,
                                      std::size_t row_end) {
  constexpr std::size_t kTokens = 4;
  constexpr std::size_t kVectors = 2;
  for (std::size_t row = row_begin; row < row_end;) {
    const std::size_t left = row_end - row;
    const bool wide = left >= kVectors * kLanes;
    const std::size_t rest = wide ? kLanes : HWY_MIN(left, kLanes);
    std::size_t token = 0;
    for (; token + kTokens <= a.tokens; token += kTokens) {
      wide ? add_low_rank_tile<kTokens, kVectors>(a, token, row, rest)
           : add_low_rank_tile<kTokens, 1>(a, token, row, rest);
    }
    for (; token < a.tokens; ++token) {
      wide ? add_low_rank_tile<1, kVectors>(a, token, row, rest)
           : add_low_rank_tile<1, 1>(a, token, row, rest);
    }
    row += wide ? kVectors * kLanes : rest;
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace simd
GEMMA_NAMESPACE_END
HWY_AFTER_NAMESPACE();

#endif  // GEMMA_SIMD_LOW_RANK_INL_HPP_
