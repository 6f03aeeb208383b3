// Body of build_info.hpp.
#ifndef GEMMA_IMPL_BUILD_INFO_INL_HPP_
#define GEMMA_IMPL_BUILD_INFO_INL_HPP_

#include "gemma/build_info.hpp"
#include "gemma/simd/kernels.hpp"
#include "hwy/base.h"

GEMMA_NAMESPACE_BEGIN

GEMMA_INLINE std::string build_info() {
  const auto version = [](int major, int minor, int patch) {
    return std::to_string(major) + "." + std::to_string(minor) + "." + std::to_string(patch);
  };
#if defined(GEMMA_DYNAMIC_DISPATCH)
  const std::string dispatch = "chosen at run time";
#else
  const std::string dispatch = "static";
#endif
#if defined(GEMMA_OPENCL)
  const std::string opencl = "on";
#else
  const std::string opencl = "off";
#endif
  return "gemma.hpp " +
         version(GEMMA_VERSION_MAJOR, GEMMA_VERSION_MINOR, GEMMA_VERSION_PATCH) + ", SIMD " +
         simd::kernels().target + " (" + dispatch + "), Highway " +
         version(HWY_MAJOR, HWY_MINOR, HWY_PATCH) + ", OpenCL " + opencl;
}

GEMMA_NAMESPACE_END

#endif  // GEMMA_IMPL_BUILD_INFO_INL_HPP_
