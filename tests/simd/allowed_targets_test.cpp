#include "gemma/simd/allowed_targets.hpp"

#include <doctest/doctest.h>

#include <vector>

#include "environment_variable.hpp"
#include "gemma/simd/kernels.hpp"

using gemma::simd::detail::is_allowed;

TEST_CASE("GEMMA_SIMD_TARGETS names whole targets, and empty it names all") {
  {
    const EnvironmentVariable variable("GEMMA_SIMD_TARGETS", "AVX3_DL,SSE4");
    CHECK(is_allowed("AVX3_DL"));
    CHECK(is_allowed("SSE4"));
    CHECK_FALSE(is_allowed("AVX3"));
    CHECK_FALSE(is_allowed("AMX"));
  }
  const EnvironmentVariable variable("GEMMA_SIMD_TARGETS", "");
  CHECK(is_allowed("AMX"));
}

TEST_CASE("a list without AMX does without it, and leaves kernels") {
  const EnvironmentVariable variable("GEMMA_SIMD_TARGETS", "AVX2");
  const std::vector<gemma::simd::Kernels> tables = gemma::simd::all_kernels();
  REQUIRE_FALSE(tables.empty());
  for (const gemma::simd::Kernels& kernels : tables) CHECK((kernels.round_to_bf16 == nullptr));
}
