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
  constexpr std::size_t kSums = 12;
  const DI8 d8;
  const DI32 d32;
  const VU8 codes = hn::Set(DU8(), 3);
  VI8 x = hn::Set(d8, 1);
  VI32 total = hn::Zero(d32);
  if constexpr (kHasPairs) {
    const DI16 d16;
    VI16 sums[kSums];
    unroll<kSums>([&](auto i) HWY_ATTR { sums[i] = hn::Zero(d16); });
    for (std::size_t round = 0; round < rounds; ++round) {
      unroll<kSums>([&](auto i) HWY_ATTR {
        sums[i] = hn::Add(sums[i], hn::SatWidenMulPairwiseAdd(d16, codes, x));
      });
      x = hn::Xor(x, hn::Set(d8, 1));  // so that the products change from round to round
    }
    unroll<kSums>([&](auto i) HWY_ATTR { total = hn::Add(total, hn::BitCast(d32, sums[i])); });
  } else {
    VI32 sums[kSums];
    unroll<kSums>([&](auto i) HWY_ATTR { sums[i] = hn::Zero(d32); });
    for (std::size_t round = 0; round < rounds; ++round) {
      unroll<kSums>([&](auto i) HWY_ATTR {
        if constexpr (kHasQuads) {
          sums[i] = add_quads(codes, x, sums[i]);
        } else {
          const DI16 d16;
          const VI16 wide = hn::PromoteLowerTo(d16, codes);
          sums[i] = hn::Add(sums[i], hn::WidenMulPairwiseAdd(d32, wide, hn::BitCast(d16, x)));
        }
      });
      x = hn::Xor(x, hn::Set(d8, 1));
    }
    unroll<kSums>([&](auto i) HWY_ATTR { total = hn::Add(total, sums[i]); });
  }
  *out = hn::ReduceSum(d32, total);
  constexpr std::size_t kEach = kHasQuads || kHasPairs ? kBytes : kBytes / 2;
  return rounds * kSums * kEach;
}

}  // namespace HWY_NAMESPACE
}  // namespace simd
GEMMA_NAMESPACE_END
HWY_AFTER_NAMESPACE();

#endif  // GEMMA_SIMD_PROBE_INL_HPP_
