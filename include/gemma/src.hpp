// The bodies of all headers, for GEMMA_SEPARATE_COMPILATION: define that macro for the whole
// program, and include this file in exactly one source file. SIMD targets are chosen at run time.
#ifndef GEMMA_SRC_HPP_
#define GEMMA_SRC_HPP_

#if !defined(GEMMA_SEPARATE_COMPILATION)
#error "Define GEMMA_SEPARATE_COMPILATION for the whole program, or just include <gemma/gemma.hpp>."
#endif
#if defined(GEMMA_CONFIG_HPP_)
#error "Include <gemma/src.hpp> before any other header of gemma.hpp in this file."
#endif

#define GEMMA_SRC
#include "gemma/gemma.hpp"
// Not of the one include, as running a model needs neither encoders nor writers:
#include "gemma/generate/quantize.hpp"

#endif  // GEMMA_SRC_HPP_
