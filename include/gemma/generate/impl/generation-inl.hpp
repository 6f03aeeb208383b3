// Bodies of generation.hpp.
#ifndef GEMMA_GENERATE_IMPL_GENERATION_INL_HPP_
#define GEMMA_GENERATE_IMPL_GENERATION_INL_HPP_

#include <atomic>
#include <thread>
#include <utility>

#include "gemma/generate/generation.hpp"

GEMMA_NAMESPACE_BEGIN

struct Generation::State {
  Result<GenerateResult> result = Error(ErrorCode::cancelled, "the generation has not ended");
  std::atomic<bool> cancelled{false};
  std::atomic<bool> done{false};
  std::atomic<bool>* session_cancelled = nullptr;
  std::thread thread;
};

GEMMA_INLINE Generation::Generation(std::unique_ptr<State> state) : state_(std::move(state)) {}
GEMMA_INLINE Generation::Generation(Generation&& other) noexcept = default;
GEMMA_INLINE Generation& Generation::operator=(Generation&& other) noexcept {
  std::swap(state_, other.state_);
  return *this;
}
GEMMA_INLINE Generation::~Generation() {
  if (state_ == nullptr) return;
  cancel();
  state_->thread.join();
}

GEMMA_INLINE bool Generation::done() const { return state_ == nullptr || state_->done.load(); }

GEMMA_INLINE void Generation::cancel() {
  if (state_ == nullptr) return;
  state_->cancelled.store(true);
  state_->session_cancelled->store(true);
}

GEMMA_INLINE Result<GenerateResult> Generation::try_wait() {
  if (state_ == nullptr) {
    return Error(ErrorCode::invalid_argument, "the answer was already taken");
  }
  const std::unique_ptr<State> state = std::move(state_);
  state->thread.join();
  return std::move(state->result);
}

GEMMA_INLINE Generation Session::generate_async(std::string prompt, TextSink sink,
                                                GenerateOptions options) {
  auto state = std::make_unique<Generation::State>();
  Generation::State& s = *state;
  s.session_cancelled = cancelled_.get();
  // The session's own flag is cleared by a generation that is only about to begin.
  options.progress = [&s, progress = std::move(options.progress)](const Progress& p) {
    return !s.cancelled.load() && (!progress || progress(p));
  };
  TextSink stoppable = [&s, sink = std::move(sink)](std::string_view piece) {
    return (!sink || sink(piece)) && !s.cancelled.load();
  };
  s.thread = std::thread([this, &s, prompt = std::move(prompt), sink = std::move(stoppable),
                          options = std::move(options)] {
    s.result = try_generate(prompt, sink, options);
    s.done.store(true);
  });
  return Generation(std::move(state));
}

GEMMA_NAMESPACE_END

#endif  // GEMMA_GENERATE_IMPL_GENERATION_INL_HPP_
