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

/// Vectors of outputs in registers, for each of up to four tokens.
inline constexpr std::size_t kLowRankVectors = 2;

/// Of kTokens tokens from `token` on, the next `rest` outputs from `row` on, at most
/// kLowRankVectors vectors; b: their column of the tile.
template <std::size_t kTokens>
HWY_INLINE void add_low_rank_tile(const LowRankArgs& a, const float* b, std::size_t token,
                                  std::size_t row, std::size_t rest) {
  const DF d;
  constexpr std::size_t kVectors = kLowRankVectors;
  float* out = a.out + token * a.out_stride + row;
  const float* x = a.x + token * a.x_stride;
  // How many lanes of a vector there are.
  const auto lanes = [&](std::size_t v) { return rest > v * kLanes ? HWY_MIN(rest - v * kLanes, kLanes) : 0; };
  const bool full = rest >= kVectors * kLanes;
  VF sums[kTokens][kVectors];
  for (std::size_t t = 0; t < kTokens; ++t) {
    for (std::size_t v = 0; v < kVectors; ++v) {
      const float* from = out + t * a.out_stride + v * kLanes;
      sums[t][v] = full ? hn::LoadU(d, from) : hn::LoadN(d, from, lanes(v));
    }
  }
  for (std::size_t k = 0; k < a.rank; ++k, b += kLowRankRows) {
    VF weights[kVectors];
    for (std::size_t v = 0; v < kVectors; ++v) weights[v] = hn::LoadU(d, b + v * kLanes);
    for (std::size_t t = 0; t < kTokens; ++t) {
      const VF factor = hn::Set(d, x[t * a.x_stride + k]);
      for (std::size_t v = 0; v < kVectors; ++v) {
        sums[t][v] = hn::MulAdd(factor, weights[v], sums[t][v]);
      }
    }
  }
  for (std::size_t t = 0; t < kTokens; ++t) {
    for (std::size_t v = 0; v < kVectors; ++v) {
      float* to = out + t * a.out_stride + v * kLanes;
      full ? hn::StoreU(sums[t][v], d, to) : hn::StoreN(sums[t][v], d, to, lanes(v));
    }
  }
}

inline HWY_NOINLINE void add_low_rank(const LowRankArgs& a, std::size_t row_begin,
                                      std::size_t row_end) {
  constexpr std::size_t kTokens = 4;
  constexpr std::size_t kStep = kLowRankVectors * kLanes;
  static_assert(kLowRankRows % kStep == 0, "a tile is of whole steps");
  for (std::size_t row = row_begin; row < row_end; row += kStep) {
    const std::size_t tile = row / kLowRankRows;
    const float* b = a.b + tile * a.rank * kLowRankRows + row % kLowRankRows;
    const std::size_t rest = row_end - row;
    std::size_t token = 0;
    for (; token + kTokens <= a.tokens; token += kTokens) {
      add_low_rank_tile<kTokens>(a, b, token, row, rest);
    }
    for (; token < a.tokens; ++token) add_low_rank_tile<1>(a, b, token, row, rest);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace simd
GEMMA_NAMESPACE_END
HWY_AFTER_NAMESPACE();

#endif  // GEMMA_SIMD_LOW_RANK_INL_HPP_
