// Bodies of fallback.hpp.
#ifndef GEMMA_BACKEND_IMPL_FALLBACK_INL_HPP_
#define GEMMA_BACKEND_IMPL_FALLBACK_INL_HPP_

#include <algorithm>

#include "gemma/backend/fallback.hpp"

GEMMA_NAMESPACE_BEGIN
namespace detail {

/// Counts what a forward pass has handed out. Refers to `outputs`; what it returns refers to it.
class OutputCounter {
 public:
  explicit OutputCounter(const Outputs& outputs) : outputs_(outputs) {}

  /// The outputs, counted on their way.
  Outputs counted() {
    Outputs all = outputs_;
    all.logits = [this](std::size_t index, Span<float> logits) {
      ++rows_;
      outputs_.logits(index, logits);
    };
    if (outputs_.best) {
      all.best = [this](std::size_t index, TokenId id, float logit) {
        ++rows_;
        outputs_.best(index, id, logit);
      };
    }
    if (outputs_.hidden) {
      all.hidden = [this](std::size_t index, Span<const float> hidden) {
        ++hidden_;
        outputs_.hidden(index, hidden);
      };
    }
    return all;
  }

  /// Those that were not handed out yet.
  Outputs rest() const {
    Outputs left = outputs_;
    left.logit_rows -= rows_;
    if (outputs_.hidden) {
      left.hidden = [this](std::size_t index, Span<const float> hidden) {
        if (index >= hidden_) outputs_.hidden(index, hidden);
      };
    }
    return left;
  }

 private:
  const Outputs& outputs_;
  std::size_t rows_ = 0;
  std::size_t hidden_ = 0;
};

inline std::string failure_of(const Runner& device, const Error& error) {
  return device.description() + " failed in mid-generation (" + error.message() + ")";
}

inline Error cannot_continue(const std::string& failure, const Error& error) {
  return Error(ErrorCode::backend, failure + ", and the CPU cannot continue: " + error.message());
}

}  // namespace detail

GEMMA_INLINE Status FallbackRunner::forward(Span<const TokenId> ids, const Outputs& outputs) {
  if (!make_cpu_) return runner_->forward(ids, outputs);
  detail::OutputCounter counter(outputs);
  Status done = runner_->forward(ids, counter.counted());
  if (done) {
    ids_.insert(ids_.end(), ids.begin(), ids.end());
    return done;
  }
  const ErrorCode code = done.error().code();
  if (code != ErrorCode::backend && code != ErrorCode::out_of_memory) return done;
  const std::string failure = detail::failure_of(*runner_, done.error());
  Result<std::unique_ptr<Runner>> cpu = make_caught_up();
  const Status again = cpu ? (*cpu)->forward(ids, counter.rest()) : Status(cpu.error());
  if (!again) return detail::cannot_continue(failure, again.error());
  take_over(*std::move(cpu), failure);
  return {};
}

GEMMA_INLINE Result<std::vector<DrawnToken>> FallbackRunner::draw_greedily(TokenId first,
                                                                           std::size_t steps) {
  Result<std::vector<DrawnToken>> drawn = runner_->draw_greedily(first, steps);
  if (!make_cpu_) return drawn;
  if (drawn) {
    for (std::size_t i = 0; i < drawn->size(); ++i) {
      ids_.push_back(i == 0 ? first : (*drawn)[i - 1].id);
    }
    return drawn;
  }
  const ErrorCode code = drawn.error().code();
  if (code != ErrorCode::backend && code != ErrorCode::out_of_memory) return drawn;
  const std::string failure = detail::failure_of(*runner_, drawn.error());
  Result<std::unique_ptr<Runner>> cpu = make_caught_up();
  if (!cpu) return detail::cannot_continue(failure, cpu.error());
  take_over(*std::move(cpu), failure);
  return std::vector<DrawnToken>();
}

GEMMA_INLINE void FallbackRunner::take_over(std::unique_ptr<Runner> cpu,
                                            const std::string& failure) {
  remark_ = failure + "; continued on the CPU from token " + std::to_string(ids_.size());
  runner_ = std::move(cpu);
  make_cpu_ = nullptr;
  ids_ = {};
  if (log_) log_(LogLevel::warning, remark_);
}

/// A runner on the CPU that has read what the device has.
GEMMA_INLINE Result<std::unique_ptr<Runner>> FallbackRunner::make_caught_up() {
  GEMMA_TRY_ASSIGN(std::unique_ptr<Runner> cpu, make_cpu_());
  const Span<const TokenId> all(ids_);
  for (std::size_t done = 0; done < all.size();) {
    const std::size_t count = (std::min)(all.size() - done, cpu->max_batch());
    GEMMA_TRY(cpu->forward(all.subspan(done, count), Outputs{}));
    done += count;
  }
  return cpu;
}

GEMMA_INLINE void FallbackRunner::rewind(std::size_t position) {
  runner_->rewind(position);
  if (make_cpu_) ids_.resize(position);
}

GEMMA_INLINE void FallbackRunner::reset() {
  runner_->reset();
  ids_.clear();
}

GEMMA_INLINE Status FallbackRunner::set_adapters(std::shared_ptr<const LowRankTable> table) {
  if (make_cpu_ && table != nullptr && !table->empty()) {
    GEMMA_TRY_ASSIGN(std::unique_ptr<Runner> cpu, make_cpu_());
    GEMMA_TRY(cpu->set_adapters(std::move(table)));
    remark_ = "adapters were set, which are applied on the CPU";
    runner_ = std::move(cpu);
    make_cpu_ = nullptr;
    ids_ = {};
    return {};
  }
  GEMMA_TRY(runner_->set_adapters(std::move(table)));
  ids_.clear();
  return {};
}

GEMMA_NAMESPACE_END

#endif  // GEMMA_BACKEND_IMPL_FALLBACK_INL_HPP_
