#include "gemma/base/worker_balance.hpp"

#include <doctest/doctest.h>

namespace {

using gemma::detail::WorkerBalance;
using std::chrono::microseconds;
using std::chrono::milliseconds;

}  // namespace

TEST_CASE("workers that help more than they are waited for stay") {
  WorkerBalance balance;
  WorkerBalance::Clock::time_point now{};
  for (int loop = 0; loop < 10000; ++loop) {
    now += microseconds(100);
    balance.add(microseconds(90), microseconds(10), now);
    REQUIRE_FALSE(balance.alone(now));
  }
}

TEST_CASE("workers that keep the caller waiting are left alone, ever longer, and asked again") {
  WorkerBalance balance;
  WorkerBalance::Clock::time_point now{};
  WorkerBalance::Duration last{0};
  for (int round = 0; round < 12; ++round) {
    int loops = 0;
    while (!balance.alone(now)) {
      now += milliseconds(1);
      balance.add(microseconds(500), milliseconds(1), now);
      REQUIRE(++loops <= 3);
    }
    const auto begin = now;
    while (balance.alone(now)) now += milliseconds(1);
    const auto pause = now - begin;
    CHECK(pause >= last);
    last = pause;
  }
  CHECK(last == milliseconds(1000));
  // Once the core is free again, the next pause is short.
  for (int loop = 0; loop < 100; ++loop) balance.add(milliseconds(1), microseconds(50), now);
  while (!balance.alone(now)) balance.add(microseconds(1), milliseconds(1), now);
  const auto begin = now;
  while (balance.alone(now)) now += milliseconds(1);
  CHECK(now - begin <= milliseconds(16));
}
