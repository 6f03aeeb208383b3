// Which kernels to use: those of the compiled target or, with GEMMA_DYNAMIC_DISPATCH, those of the
// best of several targets that this CPU has.
#ifndef GEMMA_SIMD_IMPL_KERNELS_INL_HPP_
#define GEMMA_SIMD_IMPL_KERNELS_INL_HPP_

#include "gemma/simd/kernels.hpp"

#if defined(GEMMA_DYNAMIC_DISPATCH)
#include "gemma/simd/impl/dynamic-inl.hpp"
#else

#include "gemma/simd/table-inl.hpp"

GEMMA_NAMESPACE_BEGIN
namespace simd {

GEMMA_INLINE const Kernels& kernels() {
  static const Kernels table = HWY_NAMESPACE::make_tables().front();
  return table;
}

GEMMA_INLINE std::vector<Kernels> all_kernels() { return HWY_NAMESPACE::make_tables(); }

}  // namespace simd
GEMMA_NAMESPACE_END

#endif  // GEMMA_DYNAMIC_DISPATCH

#endif  // GEMMA_SIMD_IMPL_KERNELS_INL_HPP_
