// Bodies of cpu.hpp.
#ifndef GEMMA_BACKEND_IMPL_CPU_INL_HPP_
#define GEMMA_BACKEND_IMPL_CPU_INL_HPP_

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "gemma/backend/cpu.hpp"
#include "gemma/backend/impl/cpu_ops-inl.hpp"
#include "gemma/base/aligned.hpp"
#include "gemma/model/transformer.hpp"

GEMMA_NAMESPACE_BEGIN
namespace detail {

/// Rows of logits computed at a time where many are asked for: bounds the memory they take.
inline constexpr std::size_t kLogitRows = 32;

class CpuRunner final : public Runner {
 public:
  static Result<std::unique_ptr<Runner>> create(const Config& config, const Weights& weights,
                                                const CpuOptions& options) {
    GEMMA_TRY_ASSIGN(CpuOps ops, CpuOps::create(config, options));
    std::unique_ptr<CpuRunner> runner(new CpuRunner(config, weights, options, std::move(ops)));
    GEMMA_TRY(runner->allocate());
    runner->ops_.page(weights);
    if (options.two_pass_head && weights.head) GEMMA_TRY(runner->make_two_pass_head());
    return std::unique_ptr<Runner>(std::move(runner));
  }

  Status forward(Span<const TokenId> ids, const Outputs& outputs) override {
    GEMMA_TRY(ops_.begin(ids.size(), position_));
    visit_family(config_.family, [&](auto family) {
      run_layers<decltype(family)>(ops_, config_, weights_, ids, buffers_);
    });
    position_ += ids.size();
    if (outputs.residual) {
      outputs.residual(Span<const float>(buffers_.x, ids.size() * config_.width));
    }
    if (outputs.hidden) emit_hidden(ids.size(), outputs.hidden);
    emit_logits(ids.size(), outputs);
    ops_.end();
    return {};
  }

  Status set_adapters(std::shared_ptr<const LowRankTable> table) override {
    GEMMA_TRY(ops_.set_adapters(std::move(table), options_.batch));
    reset();
    return {};
  }

  void rewind(std::size_t position) override { position_ = position; }
  void reset() override { position_ = 0; }
  std::size_t position() const override { return position_; }
  std::size_t context() const override { return options_.context; }
  std::size_t max_batch() const override { return options_.batch; }
  std::string description() const override { return "cpu"; }

  Result<std::unique_ptr<Runner>> clone() const override {
    GEMMA_TRY_ASSIGN(CpuOps ops, CpuOps::create(config_, options_));
    GEMMA_TRY(ops.share(ops_, options_.batch));
    std::unique_ptr<CpuRunner> runner(new CpuRunner(config_, weights_, options_, std::move(ops)));
    GEMMA_TRY(runner->allocate());
    runner->ops_.page(weights_);
    runner->position_ = position_;
    return std::unique_ptr<Runner>(std::move(runner));
  }
  KvCache* kv_cache() override { return &ops_.kv_cache(); }
  void resume(std::size_t position) override { position_ = position; }

 private:
  CpuRunner(const Config& config, const Weights& weights, const CpuOptions& options, CpuOps ops)
      : config_(config), weights_(weights), options_(options), ops_(std::move(ops)) {}

  Status allocate() {
    const auto add = [this](std::size_t count, float*& buffer) { return add_buffer(count, buffer); };
    GEMMA_TRY(allocate_buffers(config_, options_.batch, add, buffers_));
    if (!weights_.head) return {};
    return add_buffer((std::min)(options_.batch, kLogitRows) * config_.vocab_size, logits_);
  }

  Status add_buffer(std::size_t count, float*& buffer) {
    GEMMA_TRY_ASSIGN(AlignedArray<float> array,
                     AlignedArray<float>::create(count, "the activations"));
    buffer = array.data();
    storage_.push_back(std::move(array));
    return {};
  }

  /// Tokens from all over the vocabulary show where hidden states are large, which is much the same
  /// for any text.
  Status make_two_pass_head() {
    const std::size_t count = (std::min)({std::size_t{32}, options_.batch, options_.context});
    std::vector<TokenId> ids(count);
    for (std::size_t i = 0; i < count; ++i) {
      ids[i] = static_cast<TokenId>((2 * i + 1) * config_.vocab_size / (2 * count));
    }
    std::vector<double> energy(config_.width);
    Outputs outputs;
    outputs.hidden = [&](std::size_t, Span<const float> h) {
      double sum = 0.0;
      for (const float x : h) sum += double{x} * double{x};
      if (!(sum > 0.0) || !std::isfinite(sum)) return;  // of weights that are not numbers
      for (std::size_t i = 0; i < h.size(); ++i) energy[i] += double{h[i]} * double{h[i]} / sum;
    };
    GEMMA_TRY(forward(ids, outputs));
    reset();
    return ops_.make_two_pass_head(weights_.head, energy);
  }

  /// b.h ← final norm of `count` rows of the residual stream.
  void norm_rows(std::size_t first, std::size_t count) {
    const std::size_t width = config_.width;
    for (std::size_t r = 0; r < count; ++r) {
      simd::kernels().rms_norm(buffers_.x + (first + r) * width, weights_.output_norm.data(), width,
                               config_.norm_eps, buffers_.h + r * width);
    }
  }

  void emit_hidden(std::size_t tokens, const HiddenSink& sink) {
    norm_rows(0, tokens);
    for (std::size_t t = 0; t < tokens; ++t) {
      sink(t, Span<const float>(buffers_.h + t * config_.width, config_.width));
    }
  }

  void emit_logits(std::size_t tokens, const Outputs& outputs) {
    const std::size_t vocab = config_.vocab_size;
    const std::size_t rows = outputs.logit_rows;
    for (std::size_t done = 0; done < rows;) {
      const std::size_t count = (std::min)(rows - done, kLogitRows);
      const std::size_t first = tokens - rows + done;
      norm_rows(first, count);
      ops_.head(buffers_.h, weights_.head, count, outputs.top, logits_);
      for (std::size_t r = 0; r < count; ++r) {
        outputs.logits(first + r, Span<float>(logits_ + r * vocab, vocab));
      }
      done += count;
    }
  }

  const Config& config_;
  const Weights& weights_;
  CpuOptions options_;
  CpuOps ops_;
  BlockBuffers<float*> buffers_{};
  float* logits_ = nullptr;
  std::vector<AlignedArray<float>> storage_;
  std::size_t position_ = 0;
};

}  // namespace detail

GEMMA_INLINE Result<std::unique_ptr<Runner>> create_cpu_runner(const Config& config,
                                                               const Weights& weights,
                                                               const CpuOptions& options) {
  return detail::CpuRunner::create(config, weights, options);
}

GEMMA_INLINE std::uint64_t least_paged_bytes(const Weights& weights) {
  return detail::WeightPager::least_bytes(weights);
}

GEMMA_INLINE std::uint64_t cpu_scratch_bytes(const Config& config, const CpuOptions& options) {
  const Widths widths(config);
  const std::size_t threads = options.threads == 0 ? hardware_threads() : options.threads;
  const std::uint64_t batch = options.batch;
  const simd::Kernels& kernels = simd::kernels();
  const std::uint64_t coarse_tokens = (std::min)(options.batch, kernels.bf16_tokens - 1);
  const std::uint64_t quantised =
      simd::many_tokens_bytes(kernels, options.batch, widths.input) +
      coarse_tokens * widths.input / simd::kActivationGroup * sizeof(simd::CoarseGroup);
  const std::uint64_t logits = (std::min)(options.batch, detail::kLogitRows) * config.vocab_size;
  const std::uint64_t head = options.two_pass_head
                                 ? detail::TwoPassHead::bytes(config.vocab_size, config.width)
                                 : 0;
  return batch * floats_per_token(config) * sizeof(float) + quantised + logits * sizeof(float) +
         threads * simd::kScratchBytes + head;
}

GEMMA_NAMESPACE_END

#endif  // GEMMA_BACKEND_IMPL_CPU_INL_HPP_
