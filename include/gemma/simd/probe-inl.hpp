// The fastest that products of bytes can be: what no matmul outruns.
#if defined(GEMMA_SIMD_PROBE_INL_HPP_) == defined(HWY_TARGET_TOGGLE)
#ifdef GEMMA_SIMD_PROBE_INL_HPP_
#undef GEMMA_SIMD_PROBE_INL_HPP_
#else
#define GEMMA_SIMD_PROBE_INL_HPP_
#endif

#include "gemma/simd/dot-inl.hpp"
#include "gemma/simd/vector-inl.hpp"

HWY_BEFORE_NAMESPACE();
GEMMA_NAMESPACE_BEGIN
namespace simd {
namespace HWY_NAMESPACE {

/// Multiplies and adds in registers only, in so many chains that none waits for the one before.
inline HWY_NOINLINE std::size_t multiply_bytes(std::size_t rounds, std::int32_t* out) {
  constexpr std::size_t kSums = kHasQuads ? 12 : 6;
  const DI8 d8;
  const DI16 d16;
  const DI32 d32;
  VU8 codes[kSums];
  VI32 sums[kSums];  // different ones, so that no product serves twice
  unroll<kSums>([&](auto i) GEMMA_INLINE_LAMBDA {
    codes[i] = hn::Set(DU8(), static_cast<std::uint8_t>(i + 1));
    sums[i] = hn::Set(d32, static_cast<std::int32_t>(i));
  });
  VI8 x = hn::Set(d8, 1);
  for (std::size_t round = 0; round < rounds; ++round) {
    unroll<kSums>([&](auto i) GEMMA_INLINE_LAMBDA {
      if constexpr (kHasQuads) {
        sums[i] = add_quads(codes[0], x, sums[i]);
      } else if constexpr (kHasPairs) {
        const VI16 products = hn::SatWidenMulPairwiseAdd(d16, codes[i], x);
        sums[i] = hn::BitCast(d32, hn::Add(hn::BitCast(d16, sums[i]), products));
      } else {
        const VI16 wide = hn::PromoteLowerTo(d16, codes[i]);
        sums[i] = hn::Add(sums[i], hn::WidenMulPairwiseAdd(d32, wide, hn::BitCast(d16, x)));
      }
    });
    if constexpr (!kHasQuads) x = hn::Add(x, hn::Set(d8, 1));  // or products could leave the loop
  }
  VI32 total = hn::Zero(d32);
  unroll<kSums>([&](auto i) GEMMA_INLINE_LAMBDA { total = hn::Add(total, sums[i]); });
  *out = hn::ReduceSum(d32, total);
  constexpr std::size_t kEach = kHasQuads || kHasPairs ? kBytes : kBytes / 2;
  return rounds * kSums * kEach;
}

}  // namespace HWY_NAMESPACE
}  // namespace simd
GEMMA_NAMESPACE_END
HWY_AFTER_NAMESPACE();

#endif  // GEMMA_SIMD_PROBE_INL_HPP_
