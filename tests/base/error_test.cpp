#include <doctest/doctest.h>

#include <memory>
#include <string>

#include "gemma/base/error.hpp"

using namespace gemma;

namespace {

Result<int> half_of(int n) {
  if (n % 2 == 0) return n / 2;
  return Error(ErrorCode::invalid_argument, std::to_string(n) + " is odd");
}

Result<int> quarter_of(int n) {
  GEMMA_TRY_ASSIGN(const int half, half_of(n));
  GEMMA_TRY_ASSIGN(const int quarter, half_of(half));
  return quarter;
}

Status must_be_even(int n) {
  GEMMA_TRY(half_of(n));
  return {};
}

}  // namespace

TEST_CASE("a result holds a value or an error") {
  const Result<int> good = half_of(4);
  REQUIRE(good.ok());
  CHECK(*good == 2);
  const Result<int> bad = half_of(3);
  REQUIRE_FALSE(bad);
  CHECK(bad.error().code() == ErrorCode::invalid_argument);
  CHECK(bad.error().message() == "3 is odd");
  CHECK(std::string(bad.error().what()) == "3 is odd");
}

TEST_CASE("errors pass through GEMMA_TRY and GEMMA_TRY_ASSIGN") {
  CHECK(*quarter_of(12) == 3);
  CHECK(quarter_of(5).error().message() == "5 is odd");
  CHECK(quarter_of(6).error().message() == "3 is odd");
  CHECK(must_be_even(2).ok());
  CHECK(must_be_even(1).error().message() == "1 is odd");
}

TEST_CASE("a result carries what can only be moved") {
  Result<std::unique_ptr<int>> result = std::make_unique<int>(7);
  REQUIRE(result.ok());
  const std::unique_ptr<int> taken = *std::move(result);
  CHECK(*taken == 7);
}

TEST_CASE("results can be moved and assigned, and free what they hold once") {
  const auto shared = std::make_shared<int>(5);
  const auto good = [&] { return Result<std::shared_ptr<int>>(shared); };
  {
    Result<std::shared_ptr<int>> a = good();
    Result<std::shared_ptr<int>> b = std::move(a);
    CHECK(shared.use_count() == 2);
    CHECK(**b == 5);
    b = good();
    CHECK(shared.use_count() == 2);
    b = Error(ErrorCode::io, "no such file");
    CHECK(shared.use_count() == 1);
    CHECK(b.error().message() == "no such file");
    a = std::move(b);
    CHECK(a.error().message() == "no such file");
    a = good();
    CHECK(shared.use_count() == 2);
    Result<std::shared_ptr<int>>& self = a;
    a = std::move(self);
    CHECK(**a == 5);
  }
  CHECK(shared.use_count() == 1);
}

#if !defined(GEMMA_NO_EXCEPTIONS)
TEST_CASE("value() throws the error") {
  CHECK(half_of(8).value() == 4);
  CHECK_THROWS_WITH_AS(half_of(7).value(), "7 is odd", Error);
  CHECK_THROWS_WITH_AS(must_be_even(3).value(), "3 is odd", Error);
  CHECK_NOTHROW(must_be_even(2).value());
}
#endif
