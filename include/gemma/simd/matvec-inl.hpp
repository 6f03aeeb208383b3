// Few tokens: the weights stream by once, straight from the file, and memory is the limit. Each row
// is unpacked in registers and multiplied with the token's int16 activations.
#if defined(GEMMA_SIMD_MATVEC_INL_HPP_) == defined(HWY_TARGET_TOGGLE)
#ifdef GEMMA_SIMD_MATVEC_INL_HPP_
#undef GEMMA_SIMD_MATVEC_INL_HPP_
#else
#define GEMMA_SIMD_MATVEC_INL_HPP_
#endif

#include "gemma/simd/kernels.hpp"
#include "gemma/simd/unpack-inl.hpp"
#include "gemma/simd/vector-inl.hpp"
#include "hwy/cache_control.h"

HWY_BEFORE_NAMESPACE();
GEMMA_NAMESPACE_BEGIN
namespace simd {
namespace HWY_NAMESPACE {

/// How far ahead of its use a weight is asked for: the hardware alone stops at page borders.
inline constexpr std::size_t kPrefetchBytes = 4096;

/// Running sums of a row, one for each of four neighbouring groups, so that an addition need not
/// wait for the one before it.
inline constexpr std::size_t kChains = 4;

/// Σ of 32 products, as a vector of partial sums; kHalf: of the first or the second 16 only.
template <std::size_t kFirst, std::size_t kLast>
HWY_INLINE VI32 dot_parts(const VI16* w, const std::int16_t* x) {
  const DI16 d;
  const DI32 di;
  VI32 sum = hn::Zero(di);
  VI32 other = hn::Zero(di);
  for (std::size_t i = kFirst; i < kLast; ++i) {
    sum = hn::ReorderWidenMulAccumulate(di, w[i], hn::LoadU(d, x + i * (32 / kParts)), sum, other);
  }
  return hn::Add(sum, other);
}

/// sum += scale · Σ w x over one group of 32.
template <class Format>
HWY_INLINE VF add_group(const BlockReader<Format>& block, std::size_t g, const std::int16_t* x,
                        float x_scale, VF sum) {
  const DF d;
  VI16 w[kParts];
  block.quants(g, w);
  if constexpr (Format::kGroup == 32) {
    const VF products = hn::ConvertTo(d, dot_parts<0, kParts>(w, x));
    return hn::MulAdd(products, hn::Set(d, x_scale * block.scale(g)), sum);
  } else {
    const VF first = hn::Set(d, x_scale * block.scale(2 * g));
    const VF second = hn::Set(d, x_scale * block.scale(2 * g + 1));
    if constexpr (kParts == 1) {
      // Lanes of the lower half come from the first 16 elements.
      const VF products = hn::ConvertTo(d, dot_parts<0, 1>(w, x));
      return hn::MulAdd(products, hn::ConcatLowerLower(d, second, first), sum);
    } else {
      sum = hn::MulAdd(hn::ConvertTo(d, dot_parts<0, kParts / 2>(w, x)), first, sum);
      return hn::MulAdd(hn::ConvertTo(d, dot_parts<kParts / 2, kParts>(w, x)), second, sum);
    }
  }
}

/// Σ_c W[r, c] x_c for one row.
template <class Format>
HWY_INLINE float row_dot(const std::uint8_t* row, std::size_t cols, const std::int16_t* x,
                         const float* x_scale, const float* x_sum) {
  constexpr std::size_t kGroups = Format::kBlockElements / 32;
  constexpr std::size_t kSums = 32 / kSumGroup;
  constexpr std::size_t kBlocksAtOnce = kGroups < kChains ? kChains / kGroups : 1;
  const DF d;
  VF sums[kChains];
  for (VF& s : sums) s = hn::Zero(d);
  float minimums = 0.0f;
  const std::size_t blocks = cols / Format::kBlockElements;
  const auto add_block = [&](std::size_t b, std::size_t chain) HWY_ATTR {
    const std::uint8_t* bytes = row + b * Format::kBlockBytes;
    for (std::size_t line = 0; line < Format::kBlockBytes; line += 64) {
      hwy::Prefetch(bytes + kPrefetchBytes + line);
    }
    const BlockReader<Format> block(bytes);
    for (std::size_t g = 0; g < kGroups; ++g) {
      const std::size_t group = b * kGroups + g;
      VF& sum = sums[(chain + g) % kChains];
      sum = add_group(block, g, x + group * 32, x_scale[group], sum);
      if constexpr (Format::kHasMin && Format::kGroup == 32) {
        const float* s = x_sum + group * kSums;
        minimums += block.minimum(g) * (s[0] + s[1]);
      } else if constexpr (Format::kHasMin) {
        const float* s = x_sum + group * kSums;
        minimums += block.minimum(2 * g) * s[0] + block.minimum(2 * g + 1) * s[1];
      }
    }
  };
  std::size_t b = 0;
  for (; b + kBlocksAtOnce <= blocks; b += kBlocksAtOnce) {
    for (std::size_t i = 0; i < kBlocksAtOnce; ++i) add_block(b + i, i);
  }
  for (; b < blocks; ++b) add_block(b, 0);
  const VF total = hn::Add(hn::Add(sums[0], sums[1]), hn::Add(sums[2], sums[3]));
  return hn::ReduceSum(d, total) - minimums;
}

template <class Format>
inline HWY_NOINLINE void quantized_matvec(const MatmulArgs& a, std::size_t row_begin,
                                   std::size_t row_end) {
  const std::size_t cols = a.weights.cols;
  for (std::size_t r = row_begin; r < row_end; ++r) {
    for (std::size_t t = 0; t < a.x.tokens; ++t) {
      a.out[t * a.out_stride + r] = row_dot<Format>(
          a.weights.row(r), cols, a.x.q + t * cols, a.x.scale + t * (cols / kActivationGroup),
          a.x.sum + t * (cols / kSumGroup));
    }
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace simd
GEMMA_NAMESPACE_END
HWY_AFTER_NAMESPACE();

#endif  // GEMMA_SIMD_MATVEC_INL_HPP_
