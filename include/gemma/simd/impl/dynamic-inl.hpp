// Several SIMD targets in one program, the best one chosen when it starts. Highway's own dispatch
// needs its compiled library; here only its headers are used: foreach_target.h compiles the kernels
// once per target, and a short CPUID check picks a table.
#ifndef GEMMA_SIMD_IMPL_DYNAMIC_INL_HPP_
#define GEMMA_SIMD_IMPL_DYNAMIC_INL_HPP_

#if defined(HIGHWAY_HWY_FOREACH_TARGET_H_) || defined(HWY_HIGHWAY_INCLUDED)
#error "With GEMMA_DYNAMIC_DISPATCH include <gemma/gemma.hpp> before any other Highway header."
#endif

// Each target costs compile time: the baseline, SSE4, AVX2, and AVX-512 with VNNI; on
// Arm the baseline and those with dot products. The kernels count on vectors of a known size, which
// SVE's are not.
#if !defined(HWY_DISABLE_PCLMUL_AES)
#define HWY_DISABLE_PCLMUL_AES
#endif
#if !defined(HWY_DISABLED_TARGETS)
#if defined(__clang__) && !defined(__OPTIMIZE__)
// Unoptimised, Highway's functions are called, and Clang passes vectors of more than 128 bits as the unit's flags say,
// not the function's: the linker must not find such functions here and in a unit with other flags.
#define HWY_DISABLED_TARGETS                                                                   \
  (HWY_SSSE3 | HWY_AVX2 | HWY_AVX3 | HWY_AVX3_DL | HWY_AVX3_ZEN4 | HWY_AVX3_SPR | HWY_AVX10_2 | \
   HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128)
#else
#define HWY_DISABLED_TARGETS                                                                   \
  (HWY_SSSE3 | HWY_AVX3 | HWY_AVX3_ZEN4 | HWY_AVX3_SPR | HWY_AVX10_2 | HWY_SVE | HWY_SVE2 |     \
   HWY_SVE_256 | HWY_SVE2_128)
#endif
#endif

#include "hwy/base.h"
#if HWY_MAJOR == 1 && HWY_MINOR < 3
#error "GEMMA_DYNAMIC_DISPATCH needs the headers of Highway 1.3.0 or newer; tools/get_deps gets them."
#endif
#include "hwy/detect_targets.h"
#include "hwy/x86_cpuid.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "gemma/simd/table-inl.hpp"
#include "hwy/foreach_target.h"  // IWYU pragma: keep

#include "gemma/simd/table-inl.hpp"

#include <vector>

#include "gemma/simd/allowed_targets.hpp"

#if HWY_ARCH_ARM && defined(__linux__)
#include <sys/auxv.h>
#endif

GEMMA_NAMESPACE_BEGIN
namespace simd {
namespace detail {

#if HWY_ARCH_X86

/// Which vector registers the operating system saves: bits 1, 2 for AVX, 5 to 7 for AVX-512.
inline std::uint32_t extended_control_register() {
#if defined(_MSC_VER)
  return static_cast<std::uint32_t>(_xgetbv(0));
#else
  std::uint32_t low, high;
  __asm__ volatile(".byte 0x0F, 0x01, 0xD0" : "=a"(low), "=d"(high) : "c"(0));
  return low;
#endif
}

/// The targets among ours that this CPU has, as Highway's bits. Source: Intel SDM, CPUID.
inline std::int64_t detect_targets() {
  const auto cpuid = [](std::uint32_t leaf, std::uint32_t sub, std::uint32_t* registers) {
    hwy::x86::Cpuid(leaf, sub, registers);
  };
  const auto has = [](std::uint32_t value, std::initializer_list<int> bits) {
    for (const int bit : bits) {
      if ((value >> bit & 1) == 0) return false;
    }
    return true;
  };
  std::uint32_t leaf0[4], leaf1[4], leaf7[4] = {}, leaf7_1[4] = {}, extended[4];
  cpuid(0, 0, leaf0);
  cpuid(1, 0, leaf1);
  cpuid(0x80000001u, 0, extended);
  if (leaf0[0] >= 7) {
    cpuid(7, 0, leaf7);
    if (leaf7[0] >= 1) cpuid(7, 1, leaf7_1);
  }
  const std::uint32_t saved = has(leaf1[2], {27}) ? extended_control_register() : 0;
  const bool sse4 = has(leaf1[2], {0, 9, 19, 20});              // SSE3, SSSE3, SSE4.1, SSE4.2
  const bool avx2 = sse4 && has(saved, {1, 2}) && has(leaf1[2], {12, 28, 29}) &&  // FMA, AVX, F16C
                    has(leaf7[1], {3, 5, 8}) && has(extended[2], {5});  // BMI1, AVX2, BMI2, LZCNT
  const bool avx3_dl = avx2 && has(saved, {5, 6, 7}) &&
                       has(leaf7[1], {16, 17, 28, 30, 31}) &&  // F, DQ, CD, BW, VL
                       // VBMI, VBMI2, GFNI, VAES, VPCLMULQDQ, VNNI, BITALG, VPOPCNTDQ
                       has(leaf7[2], {1, 6, 8, 9, 10, 11, 12, 14});
  const bool avx3_zen4 = avx3_dl && has(leaf7_1[0], {5});      // BF16
  return (sse4 ? HWY_SSE4 : 0) | (avx2 ? HWY_AVX2 : 0) | (avx3_dl ? HWY_AVX3_DL : 0) |
         (avx3_zen4 ? HWY_AVX3_ZEN4 : 0);
}

#elif HWY_ARCH_ARM_A64 && defined(__linux__)

/// Source: the kernel's Documentation/arch/arm64/elf_hwcaps.rst.
inline std::int64_t detect_targets() {
  const unsigned long caps = getauxval(AT_HWCAP);
  const unsigned long caps2 = getauxval(AT_HWCAP2);
  const bool aes = (caps >> 3 & 1) != 0;
  const bool half = (caps >> 10 & 1) != 0;  // ASIMDHP
  const bool dot = (caps >> 20 & 1) != 0;   // ASIMDDP
  const bool bf16 = (caps2 >> 14 & 1) != 0;
  // What compilers may use in Armv8.2: CRC32, ATOMICS, ASIMDRDM.
  const bool v82 = (caps >> 7 & 1) != 0 && (caps >> 8 & 1) != 0 && (caps >> 12 & 1) != 0;
  // HWY_NEON is compiled with dot products: see vector-inl.hpp.
  return HWY_NEON_WITHOUT_AES | (aes && dot && v82 ? HWY_NEON : 0) |
         (aes && half && dot && bf16 ? HWY_NEON_BF16 : 0);
}

#else

inline std::int64_t detect_targets() { return 0; }

#endif

inline std::vector<Kernels> usable_kernels() {
  const std::int64_t usable = detect_targets() | HWY_STATIC_TARGET;
  std::vector<Kernels> tables;
  Kernels baseline{};
  // Highway visits the best target last or first, depending on its version: sorted by their bits,
  // smaller ones are better.
  std::vector<std::int64_t> bits;
#define GEMMA_VISIT(TARGET, NAMESPACE)                                                \
  if ((usable & TARGET) != 0) {                                                       \
    const std::vector<Kernels> own = NAMESPACE::make_tables();                        \
    if (TARGET == HWY_STATIC_TARGET) baseline = own.back();                           \
    std::size_t at = 0;                                                               \
    while (at < bits.size() && bits[at] < TARGET) ++at;                               \
    const bool again = at < bits.size() && bits[at] == TARGET;                        \
    for (const Kernels& table : own) {                                                \
      if (again || !is_allowed(table.target)) continue;                               \
      bits.insert(bits.begin() + static_cast<std::ptrdiff_t>(at), TARGET);            \
      tables.insert(tables.begin() + static_cast<std::ptrdiff_t>(at++), table);       \
    }                                                                                 \
  }
  HWY_VISIT_TARGETS(GEMMA_VISIT)
#undef GEMMA_VISIT
  if (tables.empty()) tables.push_back(baseline);
  return tables;
}

}  // namespace detail

GEMMA_INLINE std::vector<Kernels> all_kernels() { return detail::usable_kernels(); }

GEMMA_INLINE const Kernels& kernels() {
  static const Kernels table = detail::usable_kernels().front();
  return table;
}

}  // namespace simd
GEMMA_NAMESPACE_END

#endif  // GEMMA_SIMD_IMPL_DYNAMIC_INL_HPP_
