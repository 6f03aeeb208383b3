// When threads are worth waiting for.
#ifndef GEMMA_BASE_WORKER_BALANCE_HPP_
#define GEMMA_BASE_WORKER_BALANCE_HPP_

#include <algorithm>
#include <chrono>

#include "gemma/config.hpp"

GEMMA_NAMESPACE_BEGIN
namespace detail {

/// Whether workers are worth waiting for. Where another process holds a worker's core, the caller waits
/// for it in the middle of a task for as long as the worker helped before; better to work alone then,
/// and to look again later, after ever longer times.
class WorkerBalance {
 public:
  using Clock = std::chrono::steady_clock;
  using Duration = Clock::duration;

  bool alone(Clock::time_point now) const { return now < alone_until_; }

  /// After a loop: what the workers' tasks would have taken the caller, and what it waited for them.
  void add(Duration gained, Duration waited, Clock::time_point now) {
    constexpr Duration kEnough = std::chrono::milliseconds(2);
    gained_ += gained;
    waited_ += waited;
    if (waited_ < kEnough) return;
    if (2 * gained_ < 3 * waited_) {
      alone_until_ = now + pause_;
      pause_ = (std::min)(2 * pause_, kLongestPause);
      gained_ = waited_ = Duration(0);
    } else {
      if (gained_ > 10 * waited_) pause_ = kShortestPause;
      gained_ /= 2;
      waited_ /= 2;
    }
  }

 private:
  static constexpr Duration kShortestPause = std::chrono::milliseconds(8);
  static constexpr Duration kLongestPause = std::chrono::seconds(1);

  Duration gained_{0};
  Duration waited_{0};
  Duration pause_ = kShortestPause;
  Clock::time_point alone_until_{};
};

}  // namespace detail
GEMMA_NAMESPACE_END

#endif  // GEMMA_BASE_WORKER_BALANCE_HPP_
