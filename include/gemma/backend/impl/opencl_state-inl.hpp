// What a runner has on an OpenCL device: the weights, the compiled kernels, the KV cache and the
// activations, and how kernels are launched on them.
#ifndef GEMMA_BACKEND_IMPL_OPENCL_STATE_INL_HPP_
#define GEMMA_BACKEND_IMPL_OPENCL_STATE_INL_HPP_

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "gemma/backend/impl/opencl_picker-inl.hpp"
#include "gemma/backend/impl/opencl_weights-inl.hpp"
#include "gemma/backend/opencl.hpp"
#include "gemma/model/rope.hpp"
#include "gemma/model/transformer.hpp"
#include "gemma/model/widths.hpp"
#include "gemma/opencl/kernel_set.hpp"

GEMMA_NAMESPACE_BEGIN
namespace detail {

/// Floats on the device, by number; OpenClState knows which memory it is at the moment.
struct Activation {
  std::size_t index = static_cast<std::size_t>(-1);
  bool operator==(Activation other) const { return index == other.index; }
};

/// The memory of one sequence on a device. The first error stays, and stops all later calls.
class OpenClState {
 public:
  /// Bytes of weights, KV cache, and the RoPE tables and work space that start() makes besides.
  static MemoryPlan plan(const Config& config, const Weights& weights,
                         const OpenClRunnerOptions& options) {
    MemoryPlan plan;
    plan.weights = DeviceWeights::bytes(weights);
    for (std::size_t i = 0; i < config.layers.size(); ++i) {
      plan.kv_cache += 2 * kv_bytes(config, i, options);
    }
    std::uint64_t floats = 0;
    for (const std::size_t layer : distinct_turns(config)) {
      floats += options.context * config.layers[layer].head_dim;
    }
    const std::uint64_t experts = config.experts + 2 * config.width + 2 * config.expert_width;
    if (config.experts > 0) floats += options.batch * experts;
    const Widths widths(config);
    floats += options.batch * (config.width + widths.ple + widths.input + 2);
    plan.scratch = floats * sizeof(float);
    return plan;
  }

  Result<Activation> allocate(std::size_t count) {
    // Whole blocks of columns can be read everywhere.
    const std::size_t bytes = (count + opencl::kBlockColumns) * sizeof(float);
    GEMMA_TRY_ASSIGN(opencl::Buffer buffer, context_->create_buffer(bytes, "the activations"));
    GEMMA_TRY(context_->clear(buffer, bytes));
    memory_.push_back(std::move(buffer));
    return Activation{memory_.size() - 1};
  }

  /// Gives back the last `count` allocations.
  void release(std::size_t count) { memory_.resize(memory_.size() - count); }

  void write(Activation a, Span<const float> numbers) {
    send(memory_[a.index], numbers.data(), numbers.size() * sizeof(float));
  }

  /// The first error since the last call.
  Status take_status() { return std::exchange(status_, Status()); }
  bool ok() const { return status_.ok(); }

  const opencl::Context& context() const { return *context_; }
  const opencl::KernelSet& kernels() const { return kernels_; }
  const DeviceWeights& weights() const { return weights_; }
  opencl::MemoryId memory(Activation a) const { return memory_[a.index].id(); }

  std::size_t max_batch() const { return options_.batch; }
  std::size_t context_size() const { return options_.context; }

  template <class... Arguments>
  void run(const opencl::Kernel& kernel, std::array<std::size_t, 2> groups,
           const Arguments&... arguments) {
    run_with(kernels_.items, kernel, groups, arguments...);
  }

  /// The same with groups of so many work-items.
  template <class... Arguments>
  void run_with(std::size_t items, const opencl::Kernel& kernel, std::array<std::size_t, 2> groups,
                const Arguments&... arguments) {
    if (status_) status_ = context_->launch(kernel, groups, items, arguments...);
  }

  static opencl::UInt number(std::size_t n) { return static_cast<opencl::UInt>(n); }

 protected:
  struct KvLayer {
    opencl::Buffer keys;
    opencl::Buffer values;
    std::size_t capacity = 0;
  };

  OpenClState(const Config& config, const OpenClRunnerOptions& options)
      : config_(&config), options_(options) {}

  /// Sends the weights, compiles the kernels, makes room for the rest.
  Status start(const Weights& weights, const opencl::Device& device) {
    const std::size_t batch = options_.batch;
    GEMMA_TRY_ASSIGN(context_, opencl::Context::create(device));
    GEMMA_TRY_ASSIGN(weights_, DeviceWeights::upload(*context_, weights));
    GEMMA_TRY_ASSIGN(kernels_,
                     opencl::KernelSet::build(*context_, weights_.formats(), options_.half_kv,
                                              config_->width, options_.cache_folder));
    GEMMA_TRY(allocate_kv());
    GEMMA_TRY(upload_turns());
    GEMMA_TRY_ASSIGN(ids_, context_->create_buffer(batch * sizeof(TokenId), "token ids"));
    GEMMA_TRY_ASSIGN(picker_, OpenClPicker::create(*context_));
    if (config_->experts > 0) GEMMA_TRY(allocate_experts());
    if (config_->ple_width > 0) {
      GEMMA_TRY_ASSIGN(ple_table_, allocate(batch * Widths(*config_).ple));
    }
    if (kernels_.to_half.handle) {
      const std::size_t inputs = batch * Widths(*config_).input;
      GEMMA_TRY_ASSIGN(half_input_, context_->create_buffer(inputs * 2, "activations"));
      GEMMA_TRY_ASSIGN(half_scales_, context_->create_buffer(batch * 4, "scales"));
    }
    GEMMA_TRY_ASSIGN(const Activation spare, allocate(batch * config_->width));
    spare_ = std::move(memory_[spare.index]);
    release(1);
    return {};
  }

  static std::size_t padded_head(std::size_t d) { return (d + 7) / 8 * 8; }

  void send(const opencl::Buffer& buffer, const void* data, std::size_t bytes) {
    if (status_) status_ = context_->write(buffer, 0, data, bytes);
  }

  /// One work-item for each of `count` numbers.
  template <class... Arguments>
  void run_each(const opencl::Kernel& kernel, std::size_t count, const Arguments&... arguments) {
    run(kernel, {(count + kernels_.items - 1) / kernels_.items, 1}, arguments...);
  }

  const Config* config_;
  OpenClRunnerOptions options_;
  std::unique_ptr<opencl::Context> context_;  ///< first: outlives all that is on the device
  DeviceWeights weights_;
  opencl::KernelSet kernels_;
  std::vector<opencl::Buffer> memory_;  ///< by Activation::index
  opencl::Buffer spare_;  ///< another x, as large, for products that read the old one
  std::vector<KvLayer> kv_;
  std::vector<opencl::Buffer> turns_;
  std::vector<std::size_t> turns_of_layer_;
  opencl::Buffer ids_;
  opencl::Buffer half_input_;   ///< what tensor cores multiply, as float16
  opencl::Buffer half_scales_;
  OpenClPicker picker_;
  Activation ple_table_;
  struct {
    Activation in;      ///< [T, D]
    Activation router;  ///< [T, E]
    Activation gate;    ///< [T, Ie]
    Activation up;      ///< [T, Ie]
    Activation out;     ///< [T, D]
    opencl::Buffer places;
    opencl::Buffer factors;
  } expert_;
  Status status_;

 private:
  static std::size_t kv_capacity(const LayerConfig& layer, const OpenClRunnerOptions& options) {
    // The first query of a batch still sees window − 1 positions before the batch.
    return layer.window == 0 ? options.context
                             : (std::min)(options.context, layer.window - 1 + options.batch);
  }

  static std::size_t kv_bytes(const Config& config, std::size_t index,
                              const OpenClRunnerOptions& options) {
    const LayerConfig& layer = config.layers[index];
    if (layer.kv_layer != index) return 0;
    return kv_capacity(layer, options) * layer.kv_heads * padded_head(layer.head_dim) *
           (options.half_kv ? 2 : 4);
  }

  Status allocate_kv() {
    for (std::size_t i = 0; i < config_->layers.size(); ++i) {
      KvLayer made;
      made.capacity = kv_capacity(config_->layers[i], options_);
      const std::size_t bytes = kv_bytes(*config_, i, options_);
      if (bytes > 0) {
        GEMMA_TRY_ASSIGN(made.keys, context_->create_buffer(bytes, "the KV cache"));
        GEMMA_TRY_ASSIGN(made.values, context_->create_buffer(bytes, "the KV cache"));
        // The padding of heads is read.
        GEMMA_TRY(context_->clear(made.keys, bytes));
        GEMMA_TRY(context_->clear(made.values, bytes));
      }
      kv_.push_back(std::move(made));
    }
    return {};
  }

  /// Cosines and sines of all positions.
  Status upload_turns() {
    RopeTables tables(*config_);
    GEMMA_TRY(tables.reserve(options_.context));
    tables.prepare(0, options_.context);
    const std::vector<std::size_t> layers = distinct_turns(*config_);
    for (const std::size_t layer : layers) {
      const std::size_t bytes = options_.context * config_->layers[layer].head_dim * sizeof(float);
      GEMMA_TRY_ASSIGN(opencl::Buffer buffer, context_->create_buffer(bytes, "RoPE"));
      GEMMA_TRY(context_->write(buffer, 0, tables.table(layer).cos(0), bytes));
      turns_.push_back(std::move(buffer));
    }
    for (std::size_t i = 0; i < config_->layers.size(); ++i) {
      std::size_t index = 0;
      while (&tables.table(layers[index]) != &tables.table(i)) ++index;
      turns_of_layer_.push_back(index);
    }
    return {};
  }

  Status allocate_experts() {
    const std::size_t batch = options_.batch;
    GEMMA_TRY_ASSIGN(expert_.in, allocate(batch * config_->width));
    GEMMA_TRY_ASSIGN(expert_.out, allocate(batch * config_->width));
    GEMMA_TRY_ASSIGN(expert_.router, allocate(batch * config_->experts));
    GEMMA_TRY_ASSIGN(expert_.gate, allocate(batch * config_->expert_width));
    GEMMA_TRY_ASSIGN(expert_.up, allocate(batch * config_->expert_width));
    GEMMA_TRY_ASSIGN(expert_.places, context_->create_buffer(batch * 4, "the experts' tokens"));
    GEMMA_TRY_ASSIGN(expert_.factors, context_->create_buffer(batch * 4, "the experts' shares"));
    return {};
  }

  /// One layer of each kind of RoPE.
  static std::vector<std::size_t> distinct_turns(const Config& config) {
    const RopeTables tables(config);
    std::vector<std::size_t> layers;
    for (std::size_t i = 0; i < config.layers.size(); ++i) {
      const auto same = [&](std::size_t j) { return &tables.table(i) == &tables.table(j); };
      if (std::none_of(layers.begin(), layers.end(), same)) layers.push_back(i);
    }
    return layers;
  }
};

}  // namespace detail
GEMMA_NAMESPACE_END

#endif  // GEMMA_BACKEND_IMPL_OPENCL_STATE_INL_HPP_
