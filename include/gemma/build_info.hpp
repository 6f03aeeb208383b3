// What this build is, in one line: for logs, bug reports and `gemma --version`.
#ifndef GEMMA_BUILD_INFO_HPP_
#define GEMMA_BUILD_INFO_HPP_

#include <string>

#include "gemma/config.hpp"

GEMMA_NAMESPACE_BEGIN

/// "gemma.hpp 0.1.0, SIMD AVX2 (static), Highway 1.3.0, OpenCL off". A build without -march or
/// dynamic dispatch runs several times slower; this line shows it.
std::string build_info();

GEMMA_NAMESPACE_END

#if !defined(GEMMA_DECLARATIONS_ONLY)
#include "gemma/impl/build_info-inl.hpp"
#endif

#endif  // GEMMA_BUILD_INFO_HPP_
