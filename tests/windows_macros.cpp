// Every header of gemma.hpp where <windows.h> has made macros of min and max, as it does unless asked not
// to. The standard's headers come first: some undefine such macros.
#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <doctest/doctest.h>
#include <functional>
#include <iterator>
#include <limits>
#include <map>
#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>
#include <optional>
#include <queue>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <tuple>
#include <unordered_map>
#include <variant>
#include <vector>

#if defined(_WIN32)
#include <windows.h>
#endif

#undef min
#undef max
#define min(a, b) (((a) < (b)) ? (a) : (b))
#define max(a, b) (((a) > (b)) ? (a) : (b))

#include "every_header.hpp"

TEST_CASE("a program with macros of min and max keeps them, and writes text") {
  CHECK(min(1, 2) == 1);
  CHECK(max(1, 2) == 2);
  const gemma::Model model = gemma::load(GEMMA_TEST_DATA "/tiny-gemma3.gguf");
  gemma::Session session(model);
  gemma::GenerateOptions options;
  options.max_tokens = 4;
  options.ignore_eos = true;
  CHECK(session.generate("min(a, b)", {}, options).ids.size() == 4);
}
