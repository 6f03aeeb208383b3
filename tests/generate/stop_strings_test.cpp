#include "gemma/generate/stop_strings.hpp"

#include <doctest/doctest.h>

#include <string>
#include <vector>

namespace {

/// What comes out for the pieces, each followed by '|', and what is flushed at the end.
std::string run(const std::vector<std::string>& stops, const std::vector<std::string>& pieces) {
  gemma::StopStringFilter filter(stops);
  std::string out;
  for (const std::string& piece : pieces) {
    out += filter.push(piece) + "|";
    if (filter.stopped()) return out + "stopped";
  }
  return out + filter.flush();
}

}  // namespace

TEST_CASE("without stop strings text passes at once") {
  CHECK(run({}, {"ab", "c"}) == "ab|c|");
  CHECK(run({""}, {"ab"}) == "ab|");
}

TEST_CASE("a stop string within a piece ends the text before it") {
  CHECK(run({"END"}, {"one END two"}) == "one |stopped");
}

TEST_CASE("a stop string spread over pieces is never shown in part") {
  CHECK(run({"END"}, {"one E", "N", "D two"}) == "one |||stopped");
}

TEST_CASE("text that only began like a stop string is released") {
  CHECK(run({"END"}, {"E", "E", "Nx"}) == "|E|ENx|");
  CHECK(run({"END"}, {"xEN"}) == "x|EN");
}

TEST_CASE("the earliest of several stop strings counts") {
  CHECK(run({"b", "ab"}, {"xxab"}) == "xx|stopped");
}
