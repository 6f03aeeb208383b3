#include <doctest/doctest.h>

#include <limits>
#include <vector>

#include "gemma/model/experts.hpp"

using Indices = std::vector<std::size_t>;

namespace {

Indices likeliest(const std::vector<float>& p, std::size_t used) {
  return gemma::likeliest_experts(p.data(), p.size(), used);
}

}  // namespace

TEST_CASE("the likeliest experts come first, and of equals the first") {
  CHECK(likeliest({0.1f, 0.4f, 0.2f, 0.3f}, 3) == Indices{1, 3, 2});
  CHECK(likeliest({0.5f, 1.0f, 0.5f, 1.0f, 0.5f}, 4) == Indices{1, 3, 0, 2});
  CHECK(likeliest(std::vector<float>(64, 1.0f), 3) == Indices{0, 1, 2});
}

TEST_CASE("an expert whose weight is not a number is chosen, so that it shows") {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  CHECK(likeliest({0.1f, nan, 0.9f, nan, 0.2f}, 3) == Indices{1, 3, 2});
  CHECK(likeliest(std::vector<float>(100, nan), 2) == Indices{0, 1});
}
