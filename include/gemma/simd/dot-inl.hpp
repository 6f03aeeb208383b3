// What the SIMD targets have for sums of products of bytes.
#if defined(GEMMA_SIMD_DOT_INL_HPP_) == defined(HWY_TARGET_TOGGLE)
#ifdef GEMMA_SIMD_DOT_INL_HPP_
#undef GEMMA_SIMD_DOT_INL_HPP_
#else
#define GEMMA_SIMD_DOT_INL_HPP_
#endif

#include "gemma/simd/vector-inl.hpp"

HWY_BEFORE_NAMESPACE();
GEMMA_NAMESPACE_BEGIN
namespace simd {
namespace HWY_NAMESPACE {

/// One instruction adds four products of bytes to an int32: VNNI, and NEON's dot products, which
/// want both sides signed.
#if HWY_ARCH_X86
inline constexpr bool kHasQuads = HWY_TARGET <= HWY_AVX3_DL || GEMMA_SIMD_AVX_VNNI;
inline constexpr bool kSignedCodes = false;
#elif GEMMA_SIMD_NEON_DOT
inline constexpr bool kHasQuads = true;
inline constexpr bool kSignedCodes = true;
#else
inline constexpr bool kHasQuads = false;
inline constexpr bool kSignedCodes = false;
#endif

/// One instruction adds two products of bytes in an int16, and saturates (x86's maddubs). Sums of
/// several must stay within 32767.
inline constexpr bool kHasPairs = HWY_ARCH_X86 && HWY_TARGET <= HWY_SSSE3 && !kHasQuads;

/// sum[i] += Σ of 4 products. Codes are signed where kSignedCodes.
HWY_INLINE VI32 add_quads(VU8 codes, VI8 x, VI32 sum) {
#if GEMMA_SIMD_NEON_DOT
  return VI32(vdotq_s32(sum.raw, hn::BitCast(DI8(), codes).raw, x.raw));
#elif GEMMA_SIMD_AVX_VNNI
  return VI32{_mm256_dpbusd_avx_epi32(sum.raw, codes.raw, x.raw)};
#else
  return hn::SumOfMulQuadAccumulate(DI32(), codes, x, sum);
#endif
}

/// Four bytes of x in all lanes.
HWY_INLINE VI8 broadcast_quad(const std::int8_t* x) {
  std::int32_t quad;
  std::memcpy(&quad, x, sizeof quad);
  return hn::BitCast(DI8(), hn::Set(DI32(), quad));
}

}  // namespace HWY_NAMESPACE
}  // namespace simd
GEMMA_NAMESPACE_END
HWY_AFTER_NAMESPACE();

#endif  // GEMMA_SIMD_DOT_INL_HPP_
