// Bodies of opencl.hpp.
#ifndef GEMMA_BACKEND_IMPL_OPENCL_INL_HPP_
#define GEMMA_BACKEND_IMPL_OPENCL_INL_HPP_

#include <algorithm>
#include <limits>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "gemma/backend/cpu.hpp"
#include "gemma/backend/impl/opencl_ops-inl.hpp"
#include "gemma/backend/impl/opencl_self_test-inl.hpp"
#include "gemma/backend/opencl.hpp"
#include "gemma/model/part.hpp"
#include "gemma/model/transformer.hpp"

GEMMA_NAMESPACE_BEGIN
namespace detail {

class OpenClRunner final : public Runner {
 public:
  /// Rows of logits computed at a time where many are asked for.
  static constexpr std::size_t kLogitRows = 32;

  static Result<std::unique_ptr<OpenClRunner>> create(const Config& config,
                                                      const Weights& weights,
                                                      const opencl::Device& device,
                                                      const OpenClRunnerOptions& options) {
    for (const LayerConfig& layer : config.layers) {
      constexpr std::size_t kLargestHead = 512;  // of kernels/attention.hpp
      if (layer.head_dim > kLargestHead) {
        return Error(ErrorCode::unsupported,
                     device.name + ": kernels are made for heads of at most " +
                         std::to_string(kLargestHead) + " numbers; this model's have " +
                         std::to_string(layer.head_dim));
      }
    }
    const std::string row_scaled = why_no_kernels(weights);
    if (!row_scaled.empty()) return Error(ErrorCode::unsupported, device.name + ": " + row_scaled);
    GEMMA_TRY_ASSIGN(OpenClOps ops, OpenClOps::create(config, weights, device, options));
    GEMMA_TRY(OpenClSelfTest(ops, config, weights).run());
    std::unique_ptr<OpenClRunner> runner(
        new OpenClRunner(config, weights, options, std::move(ops)));
    GEMMA_TRY(runner->allocate());
    return runner;
  }

  /// Why the kernels cannot multiply the weights; empty: they can.
  static std::string why_no_kernels(const Weights& weights) {
    std::string why;
    visit_weights(weights, [&](const std::vector<const WeightMatrix*>& together) {
      for (const WeightMatrix* m : together) {
        if (*m && m->row_scale != nullptr) {
          why = std::string("there are no kernels for ") + quant::dtype_name(m->type) +
                " weights, integers with a scale for each row; `gemma convert` makes others of them";
        }
      }
    }, [](const NormWeights&) {});
    return why;
  }

  static MemoryPlan plan(const Config& config, const Weights& weights,
                         const OpenClRunnerOptions& options) {
    const std::uint64_t rows = (std::min)(options.batch, kLogitRows);
    const std::uint64_t floats =
        options.batch * floats_per_token(config) + rows * config.vocab_size;
    MemoryPlan plan = OpenClState::plan(config, weights, options);
    plan.scratch += floats * sizeof(float);
    return plan;
  }

  Status forward(Span<const TokenId> ids, const Outputs& outputs) override {
    ops_.begin(ids, position_);
    visit_family(config_.family, [&](auto family) {
      run_layers<decltype(family)>(ops_, config_, weights_, ids, buffers_);
    });
    return finish(ids.size(), outputs);
  }

  /// The same from the residual stream x [T, D] of earlier layers, without an embedding.
  Status forward_from(Span<const float> x, const Outputs& outputs) {
    const std::size_t tokens = x.size() / config_.width;
    ops_.begin(tokens, position_);
    ops_.write(buffers_.x, x);
    visit_family(config_.family, [&](auto family) {
      run_blocks<decltype(family)>(ops_, config_, weights_, buffers_);
    });
    return finish(tokens, outputs);
  }

  Result<std::vector<DrawnToken>> draw_greedily(TokenId first, std::size_t steps) override {
    steps = (std::min)({steps, options_.batch, OpenClPicker::kMostDrawn});
    const Span<const TokenId> ids(&first, 1);
    for (std::size_t step = 0; step < steps; ++step) {
      if (step == 0) {
        ops_.begin(ids, position_);
      } else {
        ops_.begin_chosen(position_ + step);
      }
      visit_family(config_.family, [&](auto family) {
        run_layers<decltype(family)>(ops_, config_, weights_, ids, buffers_);
      });
      ops_.rms_norm(buffers_.x, weights_.output_norm, buffers_.h);
      ops_.head(buffers_.h, weights_.head, 1, logits_);
      ops_.choose(logits_, config_.vocab_size, step);
    }
    std::vector<DrawnToken> tokens;
    for (const Picked& p : ops_.drawn(steps)) {
      tokens.push_back({static_cast<TokenId>(p.place), p.value});
    }
    GEMMA_TRY(ops_.take_status());
    position_ += steps;
    return tokens;
  }

  void rewind(std::size_t position) override { position_ = position; }
  void reset() override { position_ = 0; }
  std::size_t position() const override { return position_; }
  std::size_t context() const override { return options_.context; }
  std::size_t max_batch() const override { return options_.batch; }
  std::string description() const override { return "opencl: " + ops_.context().device().name; }

 private:
  OpenClRunner(const Config& config, const Weights& weights, const OpenClRunnerOptions& options,
               OpenClOps ops)
      : config_(config), weights_(weights), options_(options), ops_(std::move(ops)) {}

  Status finish(std::size_t tokens, const Outputs& outputs) {
    if (outputs.hidden) emit_hidden(tokens, outputs.hidden);
    emit_logits(tokens, outputs);
    ops_.settle();
    GEMMA_TRY(ops_.take_status());
    position_ += tokens;
    return {};
  }

  Status allocate() {
    const auto add = [this](std::size_t count, Activation& buffer) -> Status {
      GEMMA_TRY_ASSIGN(buffer, ops_.allocate(count));
      return {};
    };
    GEMMA_TRY(allocate_buffers(config_, options_.batch, add, buffers_));
    const std::size_t rows = (std::min)(options_.batch, kLogitRows);
    GEMMA_TRY(add(rows * config_.vocab_size, logits_));
    row_.resize(rows * config_.vocab_size);
    ops_.set_heads(buffers_.q, buffers_.k, buffers_.v);
    return {};
  }

  void emit_hidden(std::size_t tokens, const HiddenSink& sink) {
    const std::size_t width = config_.width;
    std::vector<float> hidden(tokens * width);
    ops_.norm_rows(buffers_.x, 0, tokens, weights_.output_norm, buffers_.h);
    ops_.read(buffers_.h, hidden.data(), hidden.size());
    if (!ops_.ok()) return;
    for (std::size_t t = 0; t < tokens; ++t) {
      sink(t, Span<const float>(hidden.data() + t * width, width));
    }
  }

  /// Hands out the only row of logits_ by its largest; false if it must be fetched whole.
  bool emit_largest(std::size_t index, const Outputs& outputs) {
    const std::size_t vocab = config_.vocab_size;
    if (outputs.top == 1 && outputs.best) {
      const Picked best = ops_.largest(logits_, vocab);
      if (ops_.ok()) outputs.best(index, static_cast<TokenId>(best.place), best.value);
      return true;
    }
    if (outputs.top == 0 || outputs.top > OpenClPicker::kMostAsked) return false;
    const std::vector<Picked> picked = ops_.largest(logits_, vocab, outputs.top);
    if (ops_.ok() && picked.empty()) return false;
    std::fill_n(row_.begin(), vocab, -std::numeric_limits<float>::infinity());
    for (const Picked& p : picked) row_[p.place] = p.value;
    if (ops_.ok()) outputs.logits(index, Span<float>(row_.data(), vocab));
    return true;
  }

  void emit_logits(std::size_t tokens, const Outputs& outputs) {
    const std::size_t vocab = config_.vocab_size;
    const std::size_t rows = outputs.logit_rows;
    for (std::size_t done = 0; done < rows;) {
      const std::size_t count = (std::min)(rows - done, kLogitRows);
      const std::size_t first = tokens - rows + done;
      if (tokens == 1) {
        ops_.rms_norm(buffers_.x, weights_.output_norm, buffers_.h);
      } else {
        ops_.norm_rows(buffers_.x, first, count, weights_.output_norm, buffers_.h);
      }
      ops_.head(buffers_.h, weights_.head, count, logits_);
      if (count == 1 && emit_largest(first, outputs)) return;
      ops_.read(logits_, row_.data(), count * vocab);
      if (!ops_.ok()) return;
      for (std::size_t r = 0; r < count; ++r) {
        outputs.logits(first + r, Span<float>(row_.data() + r * vocab, vocab));
      }
      done += count;
    }
  }

  const Config& config_;
  const Weights& weights_;
  OpenClRunnerOptions options_;
  OpenClOps ops_;
  BlockBuffers<Activation> buffers_{};
  Activation logits_;
  std::vector<float> row_;  ///< the host's copy of the logits
  std::size_t position_ = 0;
};

/// The first layers on the CPU, the others on a device.
class SplitRunner final : public Runner {
 public:
  static Result<std::unique_ptr<Runner>> create(const Config& config, const Weights& weights,
                                                const opencl::Device& device,
                                                const OpenClRunnerOptions& options) {
    const std::size_t layers = config.layers.size();
    if (options.layers == 0) {
      return Error(ErrorCode::invalid_argument, "no layers for the device; choose the CPU instead");
    }
    if (std::string why = why_indivisible(config); !why.empty()) {
      return Error(ErrorCode::invalid_argument,
                   "this model cannot be divided between a device and the CPU: " + why);
    }
    std::unique_ptr<SplitRunner> runner(
        new SplitRunner(config, weights, layers - options.layers));
    CpuOptions cpu;
    cpu.context = options.context;
    cpu.batch = options.batch;
    cpu.threads = options.threads;
    cpu.kv_type = options.half_kv ? simd::KvType::f16 : simd::KvType::f32;
    GEMMA_TRY_ASSIGN(runner->device_, OpenClRunner::create(runner->last_.config,
                                                           runner->last_.weights, device, options));
    GEMMA_TRY_ASSIGN(runner->cpu_, create_cpu_runner(runner->first_.config,
                                                     runner->first_.weights, cpu));
    return std::unique_ptr<Runner>(std::move(runner));
  }

  Status forward(Span<const TokenId> ids, const Outputs& outputs) override {
    const std::size_t before = position();
    Status done;
    Outputs between;
    between.residual = [&](Span<const float> x) { done = device_->forward_from(x, outputs); };
    GEMMA_TRY(cpu_->forward(ids, between));
    if (!done) cpu_->rewind(before);
    return done;
  }

  void rewind(std::size_t position) override {
    cpu_->rewind(position);
    device_->rewind(position);
  }
  void reset() override {
    cpu_->reset();
    device_->reset();
  }
  std::size_t position() const override { return device_->position(); }
  std::size_t context() const override { return device_->context(); }
  std::size_t max_batch() const override { return device_->max_batch(); }
  std::string description() const override {
    const std::size_t first = first_.config.layers.size();
    const std::size_t last = last_.config.layers.size();
    return device_->description() + " with " + std::to_string(last) + " of " +
           std::to_string(first + last) + " layers";
  }

 private:
  SplitRunner(const Config& config, const Weights& weights, std::size_t first)
      : first_(take_layers(config, weights, 0, first)),
        last_(take_layers(config, weights, first, config.layers.size())) {}

  ModelPart first_;
  ModelPart last_;
  std::unique_ptr<Runner> cpu_;
  std::unique_ptr<OpenClRunner> device_;
};

}  // namespace detail

GEMMA_INLINE Result<std::unique_ptr<Runner>> create_opencl_runner(
    const Config& config, const Weights& weights, const opencl::Device& device,
    const OpenClRunnerOptions& options) {
  if (options.layers < config.layers.size()) {
    return detail::SplitRunner::create(config, weights, device, options);
  }
  GEMMA_TRY_ASSIGN(std::unique_ptr<detail::OpenClRunner> runner,
                   detail::OpenClRunner::create(config, weights, device, options));
  return std::unique_ptr<Runner>(std::move(runner));
}

GEMMA_INLINE MemoryPlan plan_opencl_memory(const Config& config, const Weights& weights,
                                           const OpenClRunnerOptions& options) {
  const std::size_t layers = config.layers.size();
  if (options.layers >= layers) return detail::OpenClRunner::plan(config, weights, options);
  const ModelPart last = take_layers(config, weights, layers - options.layers, layers);
  return detail::OpenClRunner::plan(last.config, last.weights, options);
}

GEMMA_NAMESPACE_END

#endif  // GEMMA_BACKEND_IMPL_OPENCL_INL_HPP_
