// That what is tested with this file is WebAssembly's SIMD, not a stand-in for it.
#include <doctest/doctest.h>

#include <string>

#include "gemma/simd/kernels.hpp"

TEST_CASE("kernels are those of WebAssembly's SIMD") {
  CHECK(std::string(gemma::simd::kernels().target) == "WASM");
}
