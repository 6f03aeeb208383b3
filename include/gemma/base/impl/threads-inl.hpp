// Bodies of threads.hpp.
#ifndef GEMMA_BASE_IMPL_THREADS_INL_HPP_
#define GEMMA_BASE_IMPL_THREADS_INL_HPP_

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <thread>
#include <vector>

#if defined(__SSE2__) || defined(_M_X64)
#include <immintrin.h>
#endif

#include "gemma/base/threads.hpp"
#include "gemma/base/worker_balance.hpp"

GEMMA_NAMESPACE_BEGIN

namespace detail {

/// Tells the core that this is a wait.
inline void spin_pause() {
#if defined(__SSE2__) || defined(_M_X64)
  _mm_pause();
#elif defined(__aarch64__) && (defined(__GNUC__) || defined(__clang__))
  __asm__ __volatile__("yield");
#endif
}

}  // namespace detail

/// One loop at a time is `open`. A worker first counts itself in `active`, then looks whether a
/// loop is open; the caller first closes the loop, then waits for `active` to be zero. So either
/// the worker sees the loop closed, or the caller waits for it.
struct ThreadPool::State {
  /// The tasks that a thread begins with, on a cache line of its own.
  struct alignas(64) Range {
    std::atomic<std::size_t> next{0};
    std::size_t end = 0;
  };

  // About 50 µs: longer than the serial steps between two loops of a decode step.
  static constexpr int kSpins = 4000;

  std::atomic<std::uint64_t> generation{0};
  std::atomic<bool> open{false};
  std::atomic<bool> stop{false};
  std::atomic<std::size_t> active{0};
  std::atomic<std::size_t> sleepers{0};
  std::vector<Range> ranges;
  Task task = nullptr;
  void* context = nullptr;
  std::mutex mutex;
  std::condition_variable wake;
  std::vector<std::thread> threads;
  detail::WorkerBalance balance;

  explicit State(std::size_t size) : ranges(size) {}

  void share(std::size_t tasks) {
    for (std::size_t i = 0; i < ranges.size(); ++i) {
      ranges[i].next.store(tasks * i / ranges.size(), std::memory_order_relaxed);
      ranges[i].end = tasks * (i + 1) / ranges.size();
    }
  }

  /// First its own, then what others have left. Returns how many it took.
  std::size_t take_tasks(std::size_t worker) {
    std::size_t taken = 0;
    for (std::size_t i = 0; i < ranges.size(); ++i) {
      Range& range = ranges[(worker + i) % ranges.size()];
      for (;; ++taken) {
        const std::size_t index = range.next.fetch_add(1, std::memory_order_relaxed);
        if (index >= range.end) break;
        task(context, index, worker);
      }
    }
    return taken;
  }

  void wait_for_generation_after(std::uint64_t seen) {
    for (int i = 0; i < kSpins; ++i) {
      if (generation.load(std::memory_order_acquire) != seen || stop.load()) return;
      detail::spin_pause();
    }
    std::unique_lock<std::mutex> lock(mutex);
    sleepers.fetch_add(1);
    wake.wait(lock, [&] { return generation.load() != seen || stop.load(); });
    sleepers.fetch_sub(1);
  }

  void work(std::size_t worker) {
    std::uint64_t seen = 0;
    for (;;) {
      wait_for_generation_after(seen);
      if (stop.load()) return;
      seen = generation.load();
      active.fetch_add(1);
      if (open.load()) take_tasks(worker);
      active.fetch_sub(1);
    }
  }
};

GEMMA_INLINE std::size_t hardware_threads() {
  const unsigned n = std::thread::hardware_concurrency();
  return n == 0 ? 1 : n;
}

GEMMA_INLINE ThreadPool::ThreadPool(std::size_t threads)
    : size_(threads == 0 ? hardware_threads() : threads) {
  if (size_ == 1) return;
  state_ = std::make_unique<State>(size_);
  for (std::size_t worker = 1; worker < size_; ++worker) {
    state_->threads.emplace_back([state = state_.get(), worker] { state->work(worker); });
  }
}

GEMMA_INLINE ThreadPool::~ThreadPool() {
  if (!state_) return;
  {
    const std::lock_guard<std::mutex> lock(state_->mutex);
    state_->stop.store(true);
  }
  state_->wake.notify_all();
  for (std::thread& thread : state_->threads) thread.join();
}

GEMMA_INLINE void ThreadPool::run(std::size_t tasks, Task task, void* context) {
  State& s = *state_;
  const auto start = detail::WorkerBalance::Clock::now();
  if (s.balance.alone(start)) {
    for (std::size_t index = 0; index < tasks; ++index) task(context, index, 0);
    return;
  }
  s.share(tasks);
  s.task = task;
  s.context = context;
  s.open.store(true);
  s.generation.fetch_add(1);
  if (s.sleepers.load() > 0) {
    // Taking the lock keeps a worker from falling asleep between its check and its wait.
    { const std::lock_guard<std::mutex> lock(s.mutex); }
    s.wake.notify_all();
  }
  const std::size_t own = s.take_tasks(0);
  s.open.store(false);
  const auto worked = detail::WorkerBalance::Clock::now();
  for (int spins = 0; s.active.load() != 0; ++spins) {
    // A worker that lost its core in the middle of a task needs ours to finish it.
    if (spins < State::kSpins) {
      detail::spin_pause();
    } else {
      std::this_thread::yield();
    }
  }
  const auto end = detail::WorkerBalance::Clock::now();
  const auto helped = static_cast<detail::WorkerBalance::Duration::rep>(tasks - own);
  const auto share = static_cast<detail::WorkerBalance::Duration::rep>((std::max)(own, std::size_t{1}));
  s.balance.add((worked - start) * helped / share, end - worked, end);
}

GEMMA_NAMESPACE_END

#endif  // GEMMA_BASE_IMPL_THREADS_INL_HPP_
