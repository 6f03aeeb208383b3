// A small thread pool for loops whose iterations are independent.
#ifndef GEMMA_BASE_THREADS_HPP_
#define GEMMA_BASE_THREADS_HPP_

#include <cstddef>
#include <memory>
#include <type_traits>

#include "gemma/config.hpp"

GEMMA_NAMESPACE_BEGIN

/// Runs loops on a fixed number of threads, the caller's own among them. Each thread has a part of the
/// tasks and takes them in order, so that what one prefetches serves the same thread's next one; who has
/// none left takes those of the others, one by one. The caller waits only for threads that have taken one: a
/// thread that another process keeps off its core holds nobody up. Between loops threads spin briefly,
/// then sleep.
class ThreadPool {
 public:
  /// `threads`: in all, the caller included; 0: as many as the machine runs at once.
  explicit ThreadPool(std::size_t threads = 0);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  std::size_t size() const { return size_; }  ///< threads, the caller's included; at least 1

  /// Calls f(task, worker) for each task in [0, tasks), worker < size(); returns when all are done.
  /// Not to be called from two threads at once, nor from within f.
  template <class F>
  void parallel_for(std::size_t tasks, F&& f) {
    if (tasks <= 1 || size_ == 1) {
      for (std::size_t task = 0; task < tasks; ++task) f(task, std::size_t{0});
      return;
    }
    using Function = std::remove_reference_t<F>;
    run(tasks, [](void* context, std::size_t task, std::size_t worker) {
      (*static_cast<Function*>(context))(task, worker);
    }, const_cast<void*>(static_cast<const void*>(&f)));
  }

 private:
  struct State;
  using Task = void (*)(void* context, std::size_t task, std::size_t worker);
  void run(std::size_t tasks, Task task, void* context);

  std::size_t size_ = 1;
  std::unique_ptr<State> state_;
};

/// How many threads the machine runs at once, at least 1.
std::size_t hardware_threads();

GEMMA_NAMESPACE_END

#if !defined(GEMMA_DECLARATIONS_ONLY)
#include "gemma/base/impl/threads-inl.hpp"
#endif

#endif  // GEMMA_BASE_THREADS_HPP_
