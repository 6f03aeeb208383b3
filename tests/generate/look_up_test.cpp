#include "gemma/generate/look_up.hpp"

#include <doctest/doctest.h>

using gemma::look_up;
using Ids = std::vector<gemma::TokenId>;

TEST_CASE("what followed the latest place of the last tokens is guessed") {
  CHECK(look_up(Ids{1, 2, 3, 4, 5, 9, 1, 2, 3}, 2) == Ids{4, 5});
  CHECK(look_up(Ids{1, 2, 3, 4, 1, 2, 3, 5, 1, 2, 3}, 1) == Ids{5});  // the later of two places
  CHECK(look_up(Ids{1, 2, 3, 8, 2, 3}, 3) == Ids{8, 2, 3});           // two tokens, to the end
  CHECK(look_up(Ids{7, 7, 7, 7, 7}, 3) == Ids{7});                    // places may overlap
}

TEST_CASE("nothing is guessed where nothing repeats, or nothing is asked for") {
  CHECK(look_up(Ids{1, 2, 3, 4}, 3).empty());
  CHECK(look_up(Ids{1, 1}, 3).empty());
  CHECK(look_up(Ids{}, 3).empty());
  CHECK(look_up(Ids{1, 2, 3, 1, 2, 3}, 0).empty());
}
