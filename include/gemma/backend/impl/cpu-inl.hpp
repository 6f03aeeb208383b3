// Bodies of cpu.hpp. CpuOps is the CPU's meaning of each step of transformer_block().
#ifndef GEMMA_BACKEND_IMPL_CPU_INL_HPP_
#define GEMMA_BACKEND_IMPL_CPU_INL_HPP_

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "gemma/backend/cpu.hpp"
#include "gemma/base/aligned.hpp"
#include "gemma/base/threads.hpp"
#include "gemma/model/kv_cache.hpp"
#include "gemma/model/rope.hpp"
#include "gemma/model/transformer.hpp"
#include "gemma/quant/registry.hpp"

GEMMA_NAMESPACE_BEGIN
namespace detail {

/// Rows of logits computed at a time where many are asked for: bounds the memory they take.
inline constexpr std::size_t kLogitRows = 32;

/// Widths of the widest activations of a model, in floats per token.
struct Widths {
  std::size_t queries = 0;
  std::size_t keys = 0;
  std::size_t ffn = 0;
  std::size_t input = 0;  ///< of any matmul

  explicit Widths(const Config& config) : input(config.width) {
    for (const LayerConfig& layer : config.layers) {
      queries = (std::max)(queries, config.heads * layer.head_dim);
      keys = (std::max)(keys, layer.kv_heads * layer.head_dim);
      ffn = (std::max)(ffn, layer.ffn_width);
    }
    input = (std::max)({input, queries, ffn});
  }
};

/// The steps of a transformer block on T = tokens() rows of floats.
class CpuOps {
 public:
  static Result<CpuOps> create(const Config& config, const CpuOptions& options) {
    CpuOps ops(config, options);
    const std::size_t batch = options.batch;
    const Widths widths(config);
    const std::string what = "the activations";
    const std::size_t q_size = batch * widths.input;
    GEMMA_TRY_ASSIGN(ops.kv_, KvCache::create(config, options.context, batch, options.kv_type));
    GEMMA_TRY_ASSIGN(ops.q_, AlignedArray<std::int16_t>::create(q_size, what));
    GEMMA_TRY_ASSIGN(ops.q_scale_,
                     AlignedArray<float>::create(q_size / simd::kActivationGroup + batch, what));
    GEMMA_TRY_ASSIGN(ops.q_sum_,
                     AlignedArray<float>::create(q_size / simd::kSumGroup + batch, what));
    GEMMA_TRY_ASSIGN(ops.scratch_, AlignedArray<std::uint8_t>::create(
                                       simd::kScratchBytes * ops.pool_->size(), "thread scratch"));
    GEMMA_TRY(ops.rope_.reserve(batch));
    return ops;
  }

  /// Starts a batch of `tokens` at `position`.
  void begin(std::size_t tokens, std::size_t position) {
    tokens_ = tokens;
    position_ = position;
    rope_.prepare(position, tokens);
  }

  std::size_t tokens() const { return tokens_; }

  void rms_norm(const float* x, const NormWeights& gain, float* out) {
    const std::size_t n = gain.size();
    for_each_token([&](std::size_t t) {
      kernels_.rms_norm(x + t * n, gain.data(), n, config_->norm_eps, out + t * n);
    });
  }

  void head_norm(float* x, std::size_t heads, std::size_t head_dim, const NormWeights& gain) {
    for_each_token([&](std::size_t t) {
      for (std::size_t h = 0; h < heads; ++h) {
        float* head = x + (t * heads + h) * head_dim;
        kernels_.rms_norm(head, gain.data(), head_dim, config_->norm_eps, head);
      }
    });
  }

  void rope(float* x, std::size_t heads, const LayerConfig& layer) {
    const RopeTables::Table& table = rope_.table(layer);
    const std::size_t half = layer.head_dim / 2;
    for_each_token([&](std::size_t t) {
      for (std::size_t h = 0; h < heads; ++h) {
        kernels_.rope(table.cos(t), table.sin(t), half, x + (t * heads + h) * layer.head_dim);
      }
    });
  }

  void add(const float* y, float* x) {
    const std::size_t n = config_->width;
    for_each_token([&](std::size_t t) { kernels_.add(y + t * n, n, x + t * n); });
  }

  void gelu_mul(float* gate, const float* up, std::size_t n) {
    for_each_token(
        [&](std::size_t t) { kernels_.gelu_mul(gate + t * n, up + t * n, n, gate + t * n); });
  }

  void store_kv(std::size_t layer_index, const float* k, const float* v) {
    KvCache::Layer& layer = kv_.layer(layer_index);
    const std::size_t n = layer.row_bytes / simd::kv_element_bytes(kv_.type());
    for_each_token([&](std::size_t t) {
      const std::size_t offset = (position_ + t) % layer.capacity * layer.row_bytes;
      kernels_.store_kv(k + t * n, n, kv_.type(), layer.keys.data() + offset);
      kernels_.store_kv(v + t * n, n, kv_.type(), layer.values.data() + offset);
    });
  }

  void attention(std::size_t layer_index, const float* q, float* out) {
    const LayerConfig& layer = config_->layers[layer_index];
    const KvCache::Layer& cache = kv_.layer(layer_index);
    simd::AttentionArgs args;
    args.q = q;
    args.out = out;
    args.k = cache.keys.data();
    args.v = cache.values.data();
    args.kv_type = kv_.type();
    args.tokens = tokens_;
    args.heads = config_->heads;
    args.kv_heads = layer.kv_heads;
    args.head_dim = layer.head_dim;
    args.first_position = position_;
    args.capacity = cache.capacity;
    args.window = layer.window;
    args.scale = config_->attention_scale;
    args.softcap = config_->attention_softcap;

    // The query heads of one KV head share its keys, so they stay together while there is other
    // work to hand out: blocks of tokens, or further KV heads.
    constexpr std::size_t kTokenBlock = 16;
    const std::size_t blocks = (tokens_ + kTokenBlock - 1) / kTokenBlock;
    const std::size_t per_kv_head = config_->heads / layer.kv_heads;
    const bool split = blocks * layer.kv_heads < pool_->size();
    const std::size_t heads_per_task = split ? 1 : per_kv_head;
    const std::size_t head_tasks = config_->heads / heads_per_task;
    pool_->parallel_for(blocks * head_tasks, [&](std::size_t task, std::size_t worker) {
      const std::size_t token = task / head_tasks * kTokenBlock;
      const std::size_t head = task % head_tasks * heads_per_task;
      kernels_.attention(args, token, (std::min)(token + kTokenBlock, tokens_), head,
                         head + heads_per_task, scratch(worker));
    });
  }

  /// y = W x for one or several matrices of the same input, in one go: matmul(x, W1, y1, W2, y2…).
  template <class... More>
  void matmul(const float* x, const WeightMatrix& w, float* y, const More&... more) {
    simd::MatmulArgs products[1 + sizeof...(More) / 2];
    collect(products, w, y, more...);
    run_products(x, products, 1 + sizeof...(More) / 2, tokens_);
  }

  /// logits [rows, V] of normed hidden states h [rows, D].
  void head(const float* h, const WeightMatrix& w, std::size_t rows, float* logits) {
    simd::MatmulArgs product = make_product(w, logits);
    run_products(h, &product, 1, rows);
    if (config_->final_softcap == 0.0f) return;
    pool_->parallel_for(rows, [&](std::size_t row, std::size_t) {
      kernels_.softcap(config_->final_softcap, w.rows, logits + row * w.rows);
    });
  }

  /// x_t = E[id_t] · sqrt(D).
  void embed(const WeightMatrix& embedding, Span<const TokenId> ids, float* x) {
    const std::size_t n = embedding.cols;
    const float factor = std::sqrt(static_cast<float>(n));
    for_each_token([&](std::size_t t) {
      const std::uint8_t* row = embedding.row(static_cast<std::size_t>(ids[t]));
      quant::decode_row(embedding.type, row, n, x + t * n);
      kernels_.scale(factor, n, x + t * n);
    });
  }

 private:
  CpuOps(const Config& config, const CpuOptions& options)
      : config_(&config),
        kernels_(simd::kernels()),
        pool_(std::make_unique<ThreadPool>(options.threads)),
        rope_(config) {}

  /// One token is too little work to share; many are split among the threads.
  template <class F>
  void for_each_token(const F& f) {
    if (tokens_ < 4) {
      for (std::size_t t = 0; t < tokens_; ++t) f(t);
      return;
    }
    constexpr std::size_t kBlock = 8;
    pool_->parallel_for((tokens_ + kBlock - 1) / kBlock, [&](std::size_t block, std::size_t) {
      const std::size_t end = (std::min)((block + 1) * kBlock, tokens_);
      for (std::size_t t = block * kBlock; t < end; ++t) f(t);
    });
  }

  static simd::MatmulArgs make_product(const WeightMatrix& w, float* y) {
    simd::MatmulArgs args;
    args.weights = w;
    args.out = y;
    args.out_stride = w.rows;
    return args;
  }

  static void collect(simd::MatmulArgs*) {}
  template <class... More>
  static void collect(simd::MatmulArgs* products, const WeightMatrix& w, float* y,
                      const More&... more) {
    *products = make_product(w, y);
    collect(products + 1, more...);
  }

  void run_products(const float* x, simd::MatmulArgs* products, std::size_t count,
                    std::size_t rows) {
    const simd::Activations activations = prepare(x, products, count, rows);
    // Tasks of whole row tiles, small enough that a thread which loses its core holds few rows.
    constexpr std::size_t kRowTile = 64;
    std::size_t total = 0;
    for (std::size_t i = 0; i < count; ++i) {
      products[i].x = activations;
      total += products[i].weights.rows;
    }
    const std::size_t wanted = total / (pool_->size() * 8);
    const std::size_t chunk = (std::max)(kRowTile, wanted / kRowTile * kRowTile);
    std::size_t tasks = 0;
    for (std::size_t i = 0; i < count; ++i) tasks += (products[i].weights.rows + chunk - 1) / chunk;
    pool_->parallel_for(tasks, [&](std::size_t task, std::size_t worker) {
      const simd::MatmulArgs* product = products;
      for (std::size_t n; task >= (n = (product->weights.rows + chunk - 1) / chunk); ++product) {
        task -= n;
      }
      const std::size_t begin = task * chunk;
      const std::size_t end = (std::min)(begin + chunk, product->weights.rows);
      kernels_.matmul(*product, begin, end, scratch(worker));
    });
  }

  /// The inputs of a matmul, quantised if any of the weights is.
  simd::Activations prepare(const float* x, const simd::MatmulArgs* products, std::size_t count,
                            std::size_t rows) {
    simd::Activations a;
    a.tokens = rows;
    a.cols = products[0].weights.cols;
    a.f32 = x;
    a.q = q_.data();
    a.scale = q_scale_.data();
    a.sum = q_sum_.data();
    const bool quantised = std::any_of(products, products + count, [](const simd::MatmulArgs& p) {
      return quant::block_elements(p.weights.type) > 1;
    });
    if (!quantised) return a;
    const std::size_t groups = a.cols / simd::kActivationGroup;
    const std::size_t sums = a.cols / simd::kSumGroup;
    const auto quantise = [&](std::size_t t, std::size_t) {
      kernels_.quantize_row(x + t * a.cols, a.cols, q_.data() + t * a.cols,
                            q_scale_.data() + t * groups, q_sum_.data() + t * sums);
    };
    if (rows < 4) {
      for (std::size_t t = 0; t < rows; ++t) quantise(t, 0);
    } else {
      pool_->parallel_for(rows, quantise);
    }
    return a;
  }

  std::uint8_t* scratch(std::size_t worker) {
    return scratch_.data() + worker * simd::kScratchBytes;
  }

  const Config* config_;
  const simd::Kernels& kernels_;
  std::unique_ptr<ThreadPool> pool_;
  KvCache kv_;
  RopeTables rope_;
  AlignedArray<std::int16_t> q_;
  AlignedArray<float> q_scale_;
  AlignedArray<float> q_sum_;
  AlignedArray<std::uint8_t> scratch_;
  std::size_t tokens_ = 0;
  std::size_t position_ = 0;
};

class CpuRunner final : public Runner {
 public:
  static Result<std::unique_ptr<Runner>> create(const Config& config, const Weights& weights,
                                                const CpuOptions& options) {
    GEMMA_TRY_ASSIGN(CpuOps ops, CpuOps::create(config, options));
    std::unique_ptr<CpuRunner> runner(new CpuRunner(config, weights, options, std::move(ops)));
    GEMMA_TRY(runner->allocate());
    return std::unique_ptr<Runner>(std::move(runner));
  }

  Status forward(Span<const TokenId> ids, std::size_t logit_rows,
                 const LogitsSink& sink) override {
    ops_.begin(ids.size(), position_);
    ops_.embed(weights_.embedding, ids, buffers_.x);
    visit_family(config_.family, [&](auto family) {
      for (std::size_t i = 0; i < config_.layers.size(); ++i) {
        transformer_block<decltype(family)>(ops_, config_, weights_, i, buffers_);
      }
      return 0;
    });
    position_ += ids.size();
    emit_logits(ids.size(), logit_rows, sink);
    return {};
  }

  void reset() override { position_ = 0; }
  std::size_t position() const override { return position_; }
  std::size_t context() const override { return options_.context; }
  std::size_t max_batch() const override { return options_.batch; }
  std::string description() const override { return "cpu"; }

 private:
  CpuRunner(const Config& config, const Weights& weights, const CpuOptions& options, CpuOps ops)
      : config_(config), weights_(weights), options_(options), ops_(std::move(ops)) {}

  Status allocate() {
    const Widths widths(config_);
    const std::size_t batch = options_.batch;
    GEMMA_TRY(add_buffer(batch * config_.width, buffers_.x));
    GEMMA_TRY(add_buffer(batch * config_.width, buffers_.h));
    GEMMA_TRY(add_buffer(batch * widths.queries, buffers_.q));
    GEMMA_TRY(add_buffer(batch * widths.keys, buffers_.k));
    GEMMA_TRY(add_buffer(batch * widths.keys, buffers_.v));
    GEMMA_TRY(add_buffer(batch * widths.queries, buffers_.heads));
    GEMMA_TRY(add_buffer(batch * widths.ffn, buffers_.gate));
    GEMMA_TRY(add_buffer(batch * widths.ffn, buffers_.up));
    GEMMA_TRY(add_buffer(batch * config_.width, buffers_.branch));
    return add_buffer((std::min)(batch, kLogitRows) * config_.vocab_size, logits_);
  }

  Status add_buffer(std::size_t count, float*& buffer) {
    GEMMA_TRY_ASSIGN(AlignedArray<float> array,
                     AlignedArray<float>::create(count, "the activations"));
    buffer = array.data();
    storage_.push_back(std::move(array));
    return {};
  }

  void emit_logits(std::size_t tokens, std::size_t rows, const LogitsSink& sink) {
    const std::size_t width = config_.width;
    for (std::size_t done = 0; done < rows;) {
      const std::size_t count = (std::min)(rows - done, kLogitRows);
      const std::size_t first = tokens - rows + done;
      const simd::Kernels& kernels = simd::kernels();
      for (std::size_t r = 0; r < count; ++r) {
        kernels.rms_norm(buffers_.x + (first + r) * width, weights_.output_norm.data(), width,
                         config_.norm_eps, buffers_.h + r * width);
      }
      ops_.head(buffers_.h, weights_.head, count, logits_);
      for (std::size_t r = 0; r < count; ++r) {
        const std::size_t vocab = config_.vocab_size;
        sink(first + r, Span<float>(logits_ + r * vocab, vocab));
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

GEMMA_INLINE std::uint64_t cpu_scratch_bytes(const Config& config, const CpuOptions& options) {
  const detail::Widths widths(config);
  const std::size_t threads = options.threads == 0 ? hardware_threads() : options.threads;
  const std::uint64_t batch = options.batch;
  const std::uint64_t per_token = 3 * config.width + 2 * widths.queries + 2 * widths.keys +
                                  2 * widths.ffn;
  const std::uint64_t quantised = widths.input * sizeof(std::int16_t) +
                                  widths.input / simd::kActivationGroup * sizeof(float) +
                                  widths.input / simd::kSumGroup * sizeof(float);
  const std::uint64_t logits = (std::min)(options.batch, detail::kLogitRows) * config.vocab_size;
  return batch * (per_token * sizeof(float) + quantised) + logits * sizeof(float) +
         threads * simd::kScratchBytes;
}

GEMMA_NAMESPACE_END

#endif  // GEMMA_BACKEND_IMPL_CPU_INL_HPP_
