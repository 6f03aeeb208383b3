#include <doctest/doctest.h>

#include <string>
#include <string_view>
#include <vector>

#include "gemma/text/piece_index.hpp"

namespace {

using gemma::PairIndex;
using gemma::PieceIndex;

std::vector<std::string> numbers(std::size_t count) {
  std::vector<std::string> texts;
  for (std::size_t i = 0; i < count; ++i) texts.push_back(std::to_string(i));
  return texts;
}

TEST_CASE("an index of pieces finds each of them and nothing else") {
  for (const std::size_t count : {1u, 2u, 7u, 8u, 9u, 100u, 1000u, 70000u}) {
    CAPTURE(count);
    const std::vector<std::string> texts = numbers(2 * count);
    const std::vector<std::string_view> pieces(texts.begin(), texts.begin() + static_cast<std::ptrdiff_t>(count));
    PieceIndex index;
    index.build(pieces);
    std::size_t wrong = 0;
    for (std::size_t i = 0; i < texts.size(); ++i) {
      const gemma::TokenId expected = i < count ? static_cast<gemma::TokenId>(i) : -1;
      wrong += index.find(pieces, texts[i]) != expected;
    }
    CHECK(wrong == 0);
  }
}

TEST_CASE("an index of pieces gives the first of equal ones") {
  const std::vector<std::string_view> pieces = {"a", "", "a piece of more than eight bytes", "a", "",
                                                "a piece of more than eight bytes"};
  PieceIndex index;
  index.build(pieces);
  CHECK(index.find(pieces, "a") == 0);
  CHECK(index.find(pieces, "") == 1);
  CHECK(index.find(pieces, "a piece of more than eight bytes") == 2);
  CHECK(index.find(pieces, "a piece of more than eight bytez") == -1);
}

TEST_CASE("an index of no pieces finds nothing") {
  const std::vector<std::string_view> none;
  PieceIndex index;
  CHECK(index.find(none, "a") == -1);
  index.build(none);
  CHECK(index.find(none, "a") == -1);
}

TEST_CASE("an index of pairs finds the first entry of each and no other pair") {
  PairIndex index;
  CHECK(index.find(0, 0) == nullptr);
  index.reserve(1001);
  for (gemma::TokenId i = 0; i < 1000; ++i) index.insert({i, i / 2, static_cast<std::uint32_t>(i), 5000 + i});
  index.insert({7, 3, 1000, 1});
  std::size_t wrong = 0;
  for (gemma::TokenId i = 0; i < 1000; ++i) {
    const PairIndex::Entry* entry = index.find(i, i / 2);
    wrong += entry == nullptr || entry->merged != 5000 + i || entry->rank != static_cast<std::uint32_t>(i);
    wrong += index.find(i, i / 2 + 1) != nullptr;
  }
  CHECK(wrong == 0);
}

}  // namespace
