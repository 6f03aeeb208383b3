// Vector types and small helpers that the kernels share. Compiled once per SIMD target.
#if defined(GEMMA_SIMD_VECTOR_INL_HPP_) == defined(HWY_TARGET_TOGGLE)
#ifdef GEMMA_SIMD_VECTOR_INL_HPP_
#undef GEMMA_SIMD_VECTOR_INL_HPP_
#else
#define GEMMA_SIMD_VECTOR_INL_HPP_
#endif

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

#include "gemma/config.hpp"
// These headers say std::min, where <windows.h> may have made a macro of min.
#pragma push_macro("min")
#pragma push_macro("max")
#undef min
#undef max
#include "hwy/base.h"
// Clang 22 dropped the feature "evex512", which Highway before 1.4 asks for with AVX-512, and ignores all features
// then. Highway does without it for an older Clang.
#if HWY_ARCH_X86 && HWY_COMPILER_CLANG >= 2200 && HWY_MAJOR == 1 && HWY_MINOR < 4
#undef HWY_COMPILER_CLANG
#define HWY_COMPILER_CLANG 1700
#endif
#include "hwy/cache_control.h"
#include "hwy/highway.h"
#pragma pop_macro("min")
#pragma pop_macro("max")

// NEON with dot products is no target of Highway's but beside bfloat16. Where the target is chosen at
// run time, NEON with AES, which no kernel uses, stands for it: detect_targets() asks for both, and for
// all of Armv8.2.
#undef GEMMA_SIMD_NEON_DOT
#if defined(GEMMA_DYNAMIC_DISPATCH) && HWY_TARGET == HWY_NEON && HWY_TARGET != HWY_STATIC_TARGET
#undef HWY_TARGET_STR
#define HWY_TARGET_STR "arch=armv8.2-a+dotprod" HWY_TARGET_STR_NEON
#define GEMMA_SIMD_NEON_DOT 1
#elif HWY_ARCH_ARM_A64 && (defined(__ARM_FEATURE_DOTPROD) || HWY_TARGET == HWY_NEON_BF16)
#define GEMMA_SIMD_NEON_DOT 1
#else
#define GEMMA_SIMD_NEON_DOT 0
#endif

HWY_BEFORE_NAMESPACE();
GEMMA_NAMESPACE_BEGIN
namespace simd {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

// For long lambdas of unrolled loops, which compilers may otherwise call.
#if !defined(GEMMA_INLINE_LAMBDA)
#if HWY_COMPILER_GCC || HWY_COMPILER_CLANG
#define GEMMA_INLINE_LAMBDA HWY_ATTR __attribute__((always_inline))
#else
#define GEMMA_INLINE_LAMBDA HWY_ATTR
#endif
#endif

using DF = hn::ScalableTag<float>;
using DI32 = hn::Repartition<std::int32_t, DF>;
using DI16 = hn::Repartition<std::int16_t, DF>;
using DI8 = hn::Repartition<std::int8_t, DF>;
using DU32 = hn::Repartition<std::uint32_t, DF>;
using DU16 = hn::Repartition<std::uint16_t, DF>;
using DU8 = hn::Repartition<std::uint8_t, DF>;
using VF = hn::Vec<DF>;
using VI32 = hn::Vec<DI32>;
using VI16 = hn::Vec<DI16>;
using VI8 = hn::Vec<DI8>;
using VU32 = hn::Vec<DU32>;
using VU8 = hn::Vec<DU8>;

/// Lanes of a float vector: 16 with AVX-512, 8 with AVX2, 4 elsewhere.
inline constexpr std::size_t kLanes = hn::MaxLanes(DF());
/// Bytes of a vector.
inline constexpr std::size_t kBytes = hn::MaxLanes(DU8());

/// Indices for hn::TableLookupLanes(). In debug builds hn::IndicesFromVec() checks them with a function of
/// Highway's library, which is not linked. Vectors of 64 bytes, and those of 32 if their lanes have 4, take
/// them as they are; no others are looked up.
template <class D, class V>
HWY_INLINE auto table_indices(D d, V indices) {
  if constexpr (kBytes == 64 || (kBytes == 32 && sizeof(hn::TFromD<D>) == 4)) {
    return decltype(hn::IndicesFromVec(d, indices)){indices.raw};
  } else {
    return hn::IndicesFromVec(d, indices);
  }
}

/// As hwy::Prefetch(), but into the second cache only: for what is needed later.
HWY_INLINE void prefetch_far(const std::uint8_t* p) {
  (void)p;
#if HWY_ARCH_X86
  _mm_prefetch(reinterpret_cast<const char*>(p), _MM_HINT_T1);
#elif HWY_COMPILER_GCC || HWY_COMPILER_CLANG
  __builtin_prefetch(p, 0, 2);
#endif
}

/// Makes a sum of integers one that compilers know nothing of, so that they add to it in the order of the source.
/// GCC otherwise makes all products first, and runs out of registers.
template <class V>
HWY_INLINE void keep_order(V& sum) {
  (void)sum;
#if HWY_ARCH_X86 && (HWY_COMPILER_GCC || HWY_COMPILER_CLANG)
  asm("" : "+v"(sum.raw));
#endif
}

template <class F, std::size_t... kIndices>
HWY_INLINE void unroll(const F& f, std::index_sequence<kIndices...>) {
  (f(std::integral_constant<std::size_t, kIndices>()), ...);
}

/// Calls f(i) for i from 0 to kCount − 1, each a constant of its own type.
template <std::size_t kCount, class F>
HWY_INLINE void unroll(const F& f) {
  unroll(f, std::make_index_sequence<kCount>());
}

/// The same, but a loop on WebAssembly: V8 does all loads of a stretch of code first, and stores what is more than
/// registers hold.
template <std::size_t kCount, class F>
HWY_INLINE void repeat(const F& f) {
#if HWY_ARCH_WASM
#pragma clang loop unroll(disable)
  for (std::size_t i = 0; i < kCount; ++i) f(i);
#else
  unroll<kCount>(f);
#endif
}

/// Four floats whose sum is that of all lanes.
template <class V>
HWY_INLINE auto fold_to_four(V v) {
  const hn::DFromV<V> d;
  if constexpr (hn::MaxLanes(d) == 4) {
    return v;
  } else {
    const hn::Half<decltype(d)> half;
    return fold_to_four(hn::Add(hn::LowerHalf(half, v), hn::UpperHalf(half, v)));
  }
}

/// Calls f(i) for whole vectors of [0, n), then tail(i, rest) for what is left, if anything.
template <class F, class Tail>
HWY_INLINE void for_vectors(std::size_t n, const F& f, const Tail& tail) {
  std::size_t i = 0;
  for (; i + kLanes <= n; i += kLanes) f(i);
  if (i < n) tail(i, n - i);
}

/// y_i = f(x_i) for n floats.
template <class F>
HWY_INLINE void map(const float* x, std::size_t n, float* y, const F& f) {
  const DF d;
  for_vectors(
      n, [&](std::size_t i) HWY_ATTR { hn::StoreU(f(hn::LoadU(d, x + i)), d, y + i); },
      [&](std::size_t i, std::size_t rest)
          HWY_ATTR { hn::StoreN(f(hn::LoadN(d, x + i, rest)), d, y + i, rest); });
}

/// y_i = f(a_i, b_i) for n floats.
template <class F>
HWY_INLINE void map2(const float* a, const float* b, std::size_t n, float* y, const F& f) {
  const DF d;
  for_vectors(
      n,
      [&](std::size_t i)
          HWY_ATTR { hn::StoreU(f(hn::LoadU(d, a + i), hn::LoadU(d, b + i)), d, y + i); },
      [&](std::size_t i, std::size_t rest) HWY_ATTR {
        hn::StoreN(f(hn::LoadN(d, a + i, rest), hn::LoadN(d, b + i, rest)), d, y + i, rest);
      });
}

}  // namespace HWY_NAMESPACE
}  // namespace simd
GEMMA_NAMESPACE_END
HWY_AFTER_NAMESPACE();

#endif  // GEMMA_SIMD_VECTOR_INL_HPP_
