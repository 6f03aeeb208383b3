// A runner on a device that may fail, and the CPU to go on with when it does.
#ifndef GEMMA_BACKEND_FALLBACK_HPP_
#define GEMMA_BACKEND_FALLBACK_HPP_

#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "gemma/backend/runner.hpp"
#include "gemma/base/progress.hpp"

GEMMA_NAMESPACE_BEGIN

/// Makes a runner when it is needed.
using MakeRunner = std::function<Result<std::unique_ptr<Runner>>()>;

/// Runs on a device until that fails with ErrorCode::backend or out_of_memory. Then the CPU reads the
/// tokens again, does what failed, and stays in its place. No output is handed out twice.
class FallbackRunner final : public Runner {
 public:
  /// What `make_cpu` makes must hold as many tokens, and take as many per forward(), as `device`.
  FallbackRunner(std::unique_ptr<Runner> device, MakeRunner make_cpu, LogFn log = {})
      : runner_(std::move(device)), make_cpu_(std::move(make_cpu)), log_(std::move(log)) {}

  /// Fails if the device does and the CPU cannot take over; the sequence is then as it was.
  Status forward(Span<const TokenId> ids, const Outputs& outputs) override;
  /// If the device fails the CPU takes over, and nothing is drawn.
  Result<std::vector<DrawnToken>> draw_greedily(TokenId first, std::size_t steps) override;
  void rewind(std::size_t position) override;
  void reset() override;
  /// Adapters are the CPU's work: if there are any, it takes over, and stays.
  Status set_adapters(std::shared_ptr<const LowRankTable> table) override;

  std::size_t position() const override { return runner_->position(); }
  std::size_t context() const override { return runner_->context(); }
  std::size_t max_batch() const override { return runner_->max_batch(); }
  std::string description() const override { return runner_->description(); }
  std::string remark() const override { return remark_; }
  /// Only of the CPU's, once it has taken over; so is kv_cache().
  Result<std::unique_ptr<Runner>> clone() const override {
    return make_cpu_ ? std::unique_ptr<Runner>() : runner_->clone();
  }
  KvCache* kv_cache() override { return runner_->kv_cache(); }
  void resume(std::size_t position) override { runner_->resume(position); }

 private:
  Result<std::unique_ptr<Runner>> make_caught_up();
  void take_over(std::unique_ptr<Runner> cpu, const std::string& failure);

  std::unique_ptr<Runner> runner_;  ///< the device's, later the CPU's
  MakeRunner make_cpu_;             ///< empty once the CPU has taken over
  LogFn log_;
  std::vector<TokenId> ids_;        ///< what the device has read
  std::string remark_;
};

GEMMA_NAMESPACE_END

#if !defined(GEMMA_DECLARATIONS_ONLY)
#include "gemma/backend/impl/fallback-inl.hpp"
#endif

#endif  // GEMMA_BACKEND_FALLBACK_HPP_
