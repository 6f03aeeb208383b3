// Every macro of gemma.hpp, with its default. Each may be set by the user before the first include
// (or with -D); all start with GEMMA_.
//
// | macro                      | default | meaning                                                   |
// |----------------------------|---------|-----------------------------------------------------------|
// | GEMMA_DYNAMIC_DISPATCH     | off     | compile several SIMD targets and choose at run time       |
// | GEMMA_SEPARATE_COMPILATION | off     | headers only declare; one file includes <gemma/src.hpp>   |
// | GEMMA_OPENCL               | off     | the OpenCL backend                                        |
// | GEMMA_HUGGINGFACE          | off     | load Hugging Face folders (needs nlohmann/json)           |
// | GEMMA_NO_EXCEPTIONS        | auto    | only the Result<T> forms exist; nothing throws            |
// | GEMMA_NAMESPACE_NO_TAG     | off     | drop the inline ABI namespace (at your own risk)          |
#ifndef GEMMA_CONFIG_HPP_
#define GEMMA_CONFIG_HPP_

#include "gemma/version.hpp"

#if defined(__BYTE_ORDER__) && defined(__ORDER_BIG_ENDIAN__)
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
#error "gemma.hpp reads little-endian files in place and does not support big-endian machines."
#endif
#endif

// Highway's foreach_target.h compiles the file that includes it once per target, and the kernels here
// would be compiled for the first of them only.
#if defined(HIGHWAY_HWY_FOREACH_TARGET_H_) && (!defined(GEMMA_SEPARATE_COMPILATION) || defined(GEMMA_SRC))
#error "Use hwy/foreach_target.h in another source file than gemma.hpp, or GEMMA_SEPARATE_COMPILATION."
#endif

#if !defined(GEMMA_NO_EXCEPTIONS) && !defined(__cpp_exceptions) && !defined(_CPPUNWIND)
#define GEMMA_NO_EXCEPTIONS
#endif

// With separate compilation the bodies live in the one file that includes <gemma/src.hpp>, which
// defines GEMMA_SRC first.
#if defined(GEMMA_SEPARATE_COMPILATION)
#define GEMMA_INLINE
#if !defined(GEMMA_SRC)
#define GEMMA_DECLARATIONS_ONLY
#elif !defined(GEMMA_DYNAMIC_DISPATCH)
#define GEMMA_DYNAMIC_DISPATCH
#endif
#else
#define GEMMA_INLINE inline
#endif

// For functions that are hardly ever called: kept out of their callers, and small.
#if defined(_MSC_VER) && !defined(__clang__)
#define GEMMA_COLD __declspec(noinline)
#else
#define GEMMA_COLD __attribute__((cold, noinline))
#endif

// The inline namespace below names the SIMD target, so that two translation units compiled with
// different -march flags never share a function: the linker would keep one copy of the two, and
// could give a machine without AVX-512 the AVX-512 one.
#if defined(GEMMA_DYNAMIC_DISPATCH) || defined(GEMMA_SEPARATE_COMPILATION)
#define GEMMA_ABI_TARGET dyn
#else
// Highway asks for AES before it selects AVX2 and up, which -march=haswell and x86-64-v3 do not
// promise. No kernel here uses AES.
#if !defined(HWY_DISABLE_PCLMUL_AES) && !defined(HIGHWAY_HWY_DETECT_TARGETS_H_)
#define HWY_DISABLE_PCLMUL_AES
#endif
// The kernels count on vectors of a known size: a machine with SVE runs NEON's.
#if defined(__ARM_FEATURE_SVE) && !defined(HWY_DISABLED_TARGETS)
#define HWY_DISABLED_TARGETS (HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128)
#endif
#include "hwy/detect_targets.h"
#if defined(__ARM_FEATURE_SVE) && \
    (HWY_STATIC_TARGET & (HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128)) != 0
#error "gemma.hpp has no SVE code: include it before Highway's headers, so that it can choose NEON."
#endif
#if HWY_STATIC_TARGET == HWY_AVX3_SPR
#define GEMMA_ABI_TARGET avx3_spr
#elif HWY_STATIC_TARGET == HWY_AVX3_ZEN4
#define GEMMA_ABI_TARGET avx3_zen4
#elif HWY_STATIC_TARGET == HWY_AVX3_DL
#define GEMMA_ABI_TARGET avx3_dl
#elif HWY_STATIC_TARGET == HWY_AVX3
#define GEMMA_ABI_TARGET avx3
#elif HWY_STATIC_TARGET == HWY_AVX2 && defined(__AVXVNNI__)
#define GEMMA_ABI_TARGET avx2_vnni
// VNNI in vectors of 32 bytes, as PCs have it, is no target of Highway's: only the compiler's flags can promise it.
#define GEMMA_SIMD_AVX_VNNI 1
#elif HWY_STATIC_TARGET == HWY_AVX2
#define GEMMA_ABI_TARGET avx2
#elif HWY_STATIC_TARGET == HWY_SSE4
#define GEMMA_ABI_TARGET sse4
#elif HWY_STATIC_TARGET == HWY_SSSE3
#define GEMMA_ABI_TARGET ssse3
#elif HWY_STATIC_TARGET == HWY_SSE2
#define GEMMA_ABI_TARGET sse2
#elif HWY_STATIC_TARGET == HWY_NEON_BF16
#define GEMMA_ABI_TARGET neon_bf16
#elif HWY_STATIC_TARGET == HWY_NEON && defined(__ARM_FEATURE_DOTPROD)
#define GEMMA_ABI_TARGET neon_dot
#elif HWY_STATIC_TARGET == HWY_NEON
#define GEMMA_ABI_TARGET neon
#elif HWY_STATIC_TARGET == HWY_NEON_WITHOUT_AES && defined(__ARM_FEATURE_DOTPROD)
#define GEMMA_ABI_TARGET neon_without_aes_dot
#elif HWY_STATIC_TARGET == HWY_NEON_WITHOUT_AES
#define GEMMA_ABI_TARGET neon_without_aes
#elif HWY_STATIC_TARGET == HWY_WASM
#define GEMMA_ABI_TARGET wasm
#elif HWY_STATIC_TARGET == HWY_EMU128
#define GEMMA_ABI_TARGET emu128
#elif HWY_STATIC_TARGET == HWY_SCALAR
#define GEMMA_ABI_TARGET scalar
#else
#define GEMMA_ABI_TARGET other
#endif
#endif
#if !defined(GEMMA_SIMD_AVX_VNNI)
#define GEMMA_SIMD_AVX_VNNI 0
#endif

// Options that change what a type looks like or what a function does are part of the name, too.
#if defined(GEMMA_OPENCL)
#define GEMMA_ABI_OPENCL _ocl
#else
#define GEMMA_ABI_OPENCL
#endif
#if defined(GEMMA_HUGGINGFACE)
#define GEMMA_ABI_HUGGINGFACE _hf
#else
#define GEMMA_ABI_HUGGINGFACE
#endif
#if defined(GEMMA_NO_EXCEPTIONS)
#define GEMMA_ABI_EXCEPTIONS _noexc
#else
#define GEMMA_ABI_EXCEPTIONS
#endif

#define GEMMA_CAT_(a, b) a##b
#define GEMMA_CAT(a, b) GEMMA_CAT_(a, b)
#define GEMMA_ABI_NAME_(major, minor, patch, target, ocl, hf, exc) \
  v##major##_##minor##_##patch##_##target##ocl##hf##exc
#define GEMMA_ABI_NAME(major, minor, patch, target, ocl, hf, exc) \
  GEMMA_ABI_NAME_(major, minor, patch, target, ocl, hf, exc)

#if defined(GEMMA_NAMESPACE_NO_TAG)
#define GEMMA_NAMESPACE_BEGIN namespace gemma {
#define GEMMA_NAMESPACE_END }
#else
#define GEMMA_NAMESPACE_BEGIN                                                                      \
  namespace gemma {                                                                                \
  inline namespace GEMMA_ABI_NAME(GEMMA_VERSION_MAJOR, GEMMA_VERSION_MINOR, GEMMA_VERSION_PATCH,   \
                                  GEMMA_ABI_TARGET, GEMMA_ABI_OPENCL, GEMMA_ABI_HUGGINGFACE,        \
                                  GEMMA_ABI_EXCEPTIONS) {
#define GEMMA_NAMESPACE_END \
  }                         \
  }
#endif

#endif  // GEMMA_CONFIG_HPP_
