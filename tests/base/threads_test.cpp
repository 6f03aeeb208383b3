#include "gemma/base/threads.hpp"

#include <doctest/doctest.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <thread>
#include <vector>

TEST_CASE("every task runs exactly once, on a worker of the pool") {
  for (const std::size_t threads : {1u, 2u, 3u, 8u}) {
    gemma::ThreadPool pool(threads);
    CHECK(pool.size() == threads);
    for (const std::size_t tasks : {0u, 1u, 2u, 7u, 1000u}) {
      std::vector<std::atomic<int>> runs(tasks);
      std::atomic<bool> worker_ok{true};
      pool.parallel_for(tasks, [&](std::size_t task, std::size_t worker) {
        ++runs[task];
        if (worker >= threads) worker_ok = false;
      });
      bool once = true;
      for (const auto& count : runs) once = once && count == 1;
      CHECK(once);
      CHECK(worker_ok);
    }
  }
}

TEST_CASE("many short loops in a row lose no task") {
  gemma::ThreadPool pool(4);
  std::atomic<std::size_t> sum{0};
  for (std::size_t loop = 0; loop < 20000; ++loop) {
    pool.parallel_for(3, [&](std::size_t task, std::size_t) { sum += task; });
  }
  CHECK(sum == 60000);
}

TEST_CASE("sleeping threads wake up for the next loop") {
  gemma::ThreadPool pool(3);
  for (int i = 0; i < 5; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    std::atomic<int> count{0};
    pool.parallel_for(10, [&](std::size_t, std::size_t) { ++count; });
    CHECK(count == 10);
  }
}

TEST_CASE("two threads of a pool really work at once") {
  gemma::ThreadPool pool(2);
  std::atomic<int> inside{0};
  std::atomic<bool> met{false};
  pool.parallel_for(2, [&](std::size_t, std::size_t) {
    ++inside;
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(5);
    while (std::chrono::steady_clock::now() < end && !met) {
      if (inside == 2) met = true;
    }
  });
  CHECK(met);
}

TEST_CASE("each thread begins with a part of its own") {
  gemma::ThreadPool pool(2);
  constexpr std::size_t kNone = 1000;
  std::atomic<std::size_t> first[2] = {{kNone}, {kNone}};
  pool.parallel_for(8, [&](std::size_t task, std::size_t worker) {
    std::size_t none = kNone;
    first[worker].compare_exchange_strong(none, task);
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(5);
    while (std::chrono::steady_clock::now() < end && (first[0] == kNone || first[1] == kNone)) {
    }
  });
  CHECK(first[0] == 0);
  CHECK(first[1] == 4);
}

TEST_CASE("zero threads means as many as the machine runs at once") {
  CHECK(gemma::ThreadPool(0).size() == gemma::hardware_threads());
}
