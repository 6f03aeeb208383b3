// The CPU's meaning of each step of model/transformer.hpp: SIMD kernels on rows of floats, shared
// among threads.
#ifndef GEMMA_BACKEND_IMPL_CPU_OPS_INL_HPP_
#define GEMMA_BACKEND_IMPL_CPU_OPS_INL_HPP_

#include <algorithm>
#include <cmath>
#include <memory>
#include <utility>
#include <vector>

#include "gemma/backend/cpu.hpp"
#include "gemma/backend/impl/cpu_low_rank-inl.hpp"
#include "gemma/backend/impl/two_pass_head-inl.hpp"
#include "gemma/backend/impl/weight_pager-inl.hpp"
#include "gemma/base/aligned.hpp"
#include "gemma/base/threads.hpp"
#include "gemma/model/experts.hpp"
#include "gemma/model/kv_cache.hpp"
#include "gemma/model/rope.hpp"
#include "gemma/model/weights.hpp"
#include "gemma/model/widths.hpp"
#include "gemma/quant/registry.hpp"

GEMMA_NAMESPACE_BEGIN
namespace detail {

/// The steps of a transformer block on T = tokens() rows of floats.
class CpuOps {
 public:
  static Result<CpuOps> create(const Config& config, const CpuOptions& options) {
    CpuOps ops(config, options);
    const std::size_t batch = options.batch;
    const Widths widths(config);
    const std::string what = "the activations";
    const std::size_t fine_tokens = (std::min)(batch, simd::kCoarseTokens - 1);
    const std::size_t coarse_tokens = (std::min)(batch, ops.kernels_.bf16_tokens - 1);
    GEMMA_TRY_ASSIGN(ops.kv_, KvCache::create(config, options.context, batch, options.kv_type));
    // Each array is long enough for what kernels read behind its end.
    constexpr std::size_t kMore = simd::kActivationPadding;
    const std::size_t most_bytes = (std::max)(simd::many_tokens_bytes(ops.kernels_, batch, widths.input),
                                              fine_tokens * simd::fine_bytes(widths.input));
    GEMMA_TRY_ASSIGN(ops.q_, AlignedArray<std::int8_t>::create(most_bytes + kMore, what));
    const std::size_t groups = coarse_tokens * widths.input / simd::kActivationGroup + kMore;
    GEMMA_TRY_ASSIGN(ops.groups_, AlignedArray<std::uint8_t>::create(
                                      groups * sizeof(simd::CoarseGroup), what));
    const std::size_t fine_groups = fine_tokens * widths.input / simd::kActivationGroup + kMore;
    GEMMA_TRY_ASSIGN(ops.fine_, AlignedArray<float>::create(4 * fine_groups, what));
    GEMMA_TRY_ASSIGN(ops.scratch_, AlignedArray<std::uint8_t>::create(
                                       simd::kScratchBytes * ops.pool_->size(), "thread scratch"));
    GEMMA_TRY(ops.rope_.reserve(batch));
    if (config.experts > 0) {
      GEMMA_TRY_ASSIGN(ops.expert_.in, AlignedArray<float>::create(batch * config.width, what));
      GEMMA_TRY_ASSIGN(ops.expert_.out, AlignedArray<float>::create(batch * config.width, what));
      GEMMA_TRY_ASSIGN(ops.expert_.router,
                       AlignedArray<float>::create(batch * config.experts, what));
      const std::size_t inner = batch * config.expert_width;
      GEMMA_TRY_ASSIGN(ops.expert_.gate, AlignedArray<float>::create(inner, what));
      GEMMA_TRY_ASSIGN(ops.expert_.up, AlignedArray<float>::create(inner, what));
    }
    return ops;
  }

  /// Goes on from where `other`, made with the same arguments, is. The KV cache is shared until one of
  /// both begins a batch.
  Status share(const CpuOps& other, std::size_t batch) {
    kv_ = other.kv_;
    GEMMA_TRY(low_rank_.set(other.low_rank_.table(), batch));
    GEMMA_TRY_ASSIGN(two_pass_head_, other.two_pass_head_.clone());
    return {};
  }

  /// Starts a batch of `tokens` at `position`.
  Status begin(std::size_t tokens, std::size_t position) {
    GEMMA_TRY(kv_.make_own(position));
    tokens_ = tokens;
    position_ = position;
    rope_.prepare(position, tokens);
    return {};
  }

  /// Takes weights from the file and lets go of them as options.paging says.
  void page(const Weights& weights) { pager_ = WeightPager(weights, paging_); }

  void begin_layer(std::size_t index) { pager_.enter(index); }

  /// Ends what begin() started, the head included.
  void end() { pager_.leave(); }

  KvCache& kv_cache() { return kv_; }

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
        const float* g = gain.empty() ? nullptr : gain.data();
        kernels_.rms_norm(head, g, head_dim, config_->norm_eps, head);
      }
    });
  }

  void rope(float* x, std::size_t heads, std::size_t layer_index) {
    const RopeTables::Table& table = rope_.table(layer_index);
    const std::size_t head_dim = config_->layers[layer_index].head_dim;
    const std::size_t half = head_dim / 2;
    for_each_token([&](std::size_t t) {
      for (std::size_t h = 0; h < heads; ++h) {
        kernels_.rope(table.cos(t), table.sin(t), half, x + (t * heads + h) * head_dim);
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

  void scale(float* x, float factor) {
    const std::size_t n = config_->width;
    for_each_token([&](std::size_t t) { kernels_.scale(factor, n, x + t * n); });
  }

  void copy(const float* x, std::size_t n, float* out) {
    std::copy(x, x + tokens_ * n, out);
  }

  void store_kv(std::size_t layer_index, const float* k, const float* v) {
    KvCache::Layer& layer = kv_.layer(layer_index);
    const LayerConfig& shape = config_->layers[layer_index];
    const std::size_t n = shape.kv_heads * shape.head_dim;
    for_each_token([&](std::size_t t) {
      const std::size_t offset = layer.offset(position_ + t);
      kernels_.store_kv(k + t * n, n, kv_.type(), layer.keys.own_data() + offset);
      kernels_.store_kv(v + t * n, n, kv_.type(), layer.values.own_data() + offset);
    });
  }

  void attention(std::size_t layer_index, const float* q, float* out) {
    const LayerConfig& layer = config_->layers[layer_index];
    const KvCache::Layer& cache = kv_.layer(layer.kv_layer);
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
    args.bidirectional = config_->bidirectional;
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
    CpuProduct products[1 + sizeof...(More) / 2];
    collect(products, w, y, more...);
    run_products(x, products, 1 + sizeof...(More) / 2, tokens_);
  }

  /// What is added to matrices from now on.
  Status set_adapters(std::shared_ptr<const LowRankTable> table, std::size_t batch) {
    return low_rank_.set(std::move(table), batch);
  }

  /// `energy` [D] as TwoPassHead::create() wants it.
  Status make_two_pass_head(const WeightMatrix& w, Span<const double> energy) {
    return two_pass_head_.create(w, energy, *pool_);
  }

  /// logits [rows, V] of normed hidden states h [rows, D]; `top` as in Outputs.
  void head(const float* h, const WeightMatrix& w, std::size_t rows, std::size_t top,
            float* logits) {
    CpuProduct product = make_product(w, logits);
    const bool few = top > 0 && top < w.rows && rows == 1 && product.added.empty();
    if (few && two_pass_head_.worth_trying()) {
      product.x = prepare(h, &product, 1, 1, /*quantised=*/true);
      two_pass_head_.multiply(product, h, top, *pool_, scratch_.data(), config_->final_softcap);
      return;
    }
    pager_.enter(config_->layers.size());
    const std::size_t slice = pager_.head_rows(w);
    for (std::size_t row = 0; row < w.rows; row += slice) {
      product.weights = rows_of(w, row, (std::min)(slice, w.rows - row));
      product.out = logits + row;
      product.first_row = row;
      run_products(h, &product, 1, rows);
      if (slice < w.rows) pager_.release(product.weights);
    }
    if (config_->final_softcap == 0.0f) return;
    pool_->parallel_for(rows, [&](std::size_t row, std::size_t) {
      kernels_.softcap(config_->final_softcap, w.rows, logits + row * w.rows);
    });
  }

  /// x_t = E[id_t] · factor.
  void embed(const WeightMatrix& embedding, Span<const TokenId> ids, float factor, float* x) {
    const std::size_t n = embedding.cols;
    for_each_token([&](std::size_t t) {
      const std::size_t id = static_cast<std::size_t>(ids[t]);
      quant::decode_row(embedding, id, x + t * n);
      pager_.after_row(embedding, t);
      kernels_.scale(factor, n, x + t * n);
    });
    pager_.release(embedding);
  }

  void tanh(float* x, std::size_t n) {
    for_each_token([&](std::size_t t) { kernels_.softcap(1.0f, n, x + t * n); });
  }

  void multiply(const NormWeights& factors, float* x) {
    const std::size_t n = factors.size();
    for_each_token([&](std::size_t t) {
      for (std::size_t i = 0; i < n; ++i) x[t * n + i] *= factors[i];
    });
  }

  /// Keeps of each row what exceeds mean + sparsity · standard deviation, less that threshold.
  void sparsify(float* x, std::size_t n, float sparsity) {
    if (!std::isfinite(sparsity)) return;
    for_each_token([&](std::size_t t) {
      float* row = x + t * n;
      double sum = 0.0;
      double squares = 0.0;
      for (std::size_t i = 0; i < n; ++i) sum += double{row[i]};
      const double mean = sum / static_cast<double>(n);
      for (std::size_t i = 0; i < n; ++i) {
        squares += (double{row[i]} - mean) * (double{row[i]} - mean);
      }
      const double deviation = std::sqrt(squares / static_cast<double>(n));
      const float threshold = static_cast<float>(mean + double{sparsity} * deviation);
      for (std::size_t i = 0; i < n; ++i) row[i] = (std::max)(row[i] - threshold, 0.0f);
    });
  }

  /// gate ← gelu(gate) · the part of the per-layer embeddings that belongs to layer `index`.
  void gelu_mul_layer(float* gate, const float* ple, std::size_t index) {
    const std::size_t p = config_->ple_width;
    const std::size_t all = config_->layers.size() * p;
    for_each_token([&](std::size_t t) {
      kernels_.gelu_mul(gate + t * p, ple + t * all + index * p, p, gate + t * p);
    });
  }

  /// ple holds the projected embeddings W x: ple ← (norm(ple / √D) + √P · table row) / √2.
  void per_layer_embeddings(const Weights& weights, Span<const TokenId> ids, float* ple) {
    const WeightMatrix& table = weights.ple_embedding;
    const std::size_t p = config_->ple_width;
    const std::size_t n = table.cols;
    const float shrink = 1.0f / std::sqrt(static_cast<float>(config_->width));
    const float factor = std::sqrt(static_cast<float>(p));
    std::vector<float> row(n);
    for (std::size_t t = 0; t < tokens_; ++t) {
      float* out = ple + t * n;
      kernels_.scale(shrink, n, out);
      for (std::size_t i = 0; i < n; i += p) {
        kernels_.rms_norm(out + i, weights.ple_projection_norm.data(), p, config_->norm_eps,
                          out + i);
      }
      const std::size_t id = static_cast<std::size_t>(ids[t]);
      quant::decode_row(table, id < table.rows ? id : 0, row.data());
      pager_.after_row(table, t);
      kernels_.scale(factor, n, row.data());
      kernels_.add(row.data(), n, out);
      kernels_.scale(std::sqrt(0.5f), n, out);
    }
    pager_.release(table);
  }

  /// predicted_o = streams_o + Σ_i mixing[o, i] · streams_i, for each token.
  void altup_predict(const std::vector<float*>& streams, const float* mixing,
                     const std::vector<float*>& predicted) {
    const std::size_t n = streams.size();
    const std::size_t width = config_->width;
    for_each_token([&](std::size_t t) {
      for (std::size_t o = 0; o < n; ++o) {
        float* out = predicted[o] + t * width;
        std::copy(streams[o] + t * width, streams[o] + (t + 1) * width, out);
        for (std::size_t i = 0; i < n; ++i) {
          axpy(mixing[(t * n + o) * n + i], streams[i] + t * width, width, out);
        }
      }
    });
  }

  /// streams_o = predicted_o + (1 + mixing_o) · (y − predicted_active).
  void altup_correct(const std::vector<float*>& predicted, std::size_t active, const float* y,
                     const float* mixing, const std::vector<float*>& streams) {
    const std::size_t n = streams.size();
    const std::size_t width = config_->width;
    for_each_token([&](std::size_t t) {
      const float* x = predicted[active] + t * width;
      for (std::size_t o = 0; o < n; ++o) {
        const float factor = 1.0f + mixing[t * n + o];
        for (std::size_t i = 0; i < width; ++i) {
          streams[o][t * width + i] =
              predicted[o][t * width + i] + factor * (y[t * width + i] - x[i]);
        }
      }
    });
  }

  /// y ← y · rms(x) / rms(y), row by row.
  void match_length(const float* x, float* y) {
    const std::size_t n = config_->width;
    const auto mean_square = [n](const float* row) {
      double sum = 0.0;
      for (std::size_t i = 0; i < n; ++i) sum += double{row[i]} * double{row[i]};
      return static_cast<float>(sum / static_cast<double>(n));
    };
    for_each_token([&](std::size_t t) {
      const float want = std::sqrt(mean_square(x + t * n));
      const float have = std::sqrt((std::max)(mean_square(y + t * n), 1e-5f));
      kernels_.scale(want / have, n, y + t * n);
    });
  }

  /// out = Σ weight_e · expert_e(h) over the experts that x chooses, token by token. Experts run
  /// one after the other, each on all its tokens.
  void mix_experts(const ExpertWeights& w, const float* x, const float* h, float* out) {
    const std::size_t width = config_->width;
    std::fill(out, out + tokens_ * width, 0.0f);
    rms_norm(x, w.router_norm, expert_.in.data());
    matmul(expert_.in.data(), w.router, expert_.router.data());
    const std::vector<std::vector<ExpertChoice>> chosen =
        choose_experts(expert_.router.data(), tokens_, config_->experts_used, w.expert_scale);
    for (std::size_t e = 0; e < chosen.size(); ++e) {
      const std::vector<ExpertChoice>& mine = chosen[e];
      if (mine.empty()) continue;
      for (std::size_t i = 0; i < mine.size(); ++i) {
        const float* row = h + mine[i].token * width;
        std::copy(row, row + width, expert_.in.data() + i * width);
      }
      run_expert(w, e, mine.size());
      for (std::size_t i = 0; i < mine.size(); ++i) {
        axpy(mine[i].weight, expert_.out.data() + i * width, width, out + mine[i].token * width);
      }
    }
  }

 private:
  CpuOps(const Config& config, const CpuOptions& options)
      : config_(&config),
        kernels_(simd::kernels()),
        pool_(std::make_unique<ThreadPool>(options.threads)),
        rope_(config),
        paging_(options.paging) {}

  static void axpy(float factor, const float* x, std::size_t n, float* y) {
    for (std::size_t i = 0; i < n; ++i) y[i] += factor * x[i];
  }

  /// The feed-forward of expert e on `rows` rows of expert_.in → expert_.out.
  void run_expert(const ExpertWeights& w, std::size_t e, std::size_t rows) {
    const std::size_t n = config_->expert_width;
    const ExpertMatrices expert(w, e, n, config_->width);
    CpuProduct inputs[] = {make_product(expert.gate, expert_.gate.data()),
                           make_product(expert.up, expert_.up.data())};
    run_products(expert_.in.data(), inputs, 2, rows);
    kernels_.gelu_mul(expert_.gate.data(), expert_.up.data(), rows * n, expert_.gate.data());
    CpuProduct output = make_product(expert.down, expert_.out.data());
    run_products(expert_.gate.data(), &output, 1, rows);
  }

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

  CpuProduct make_product(const WeightMatrix& w, float* y) const {
    CpuProduct product;
    product.weights = w;
    product.out = y;
    product.out_stride = w.rows;
    product.added = low_rank_.find(w);
    return product;
  }

  void collect(CpuProduct*) const {}
  template <class... More>
  void collect(CpuProduct* products, const WeightMatrix& w, float* y, const More&... more) const {
    *products = make_product(w, y);
    collect(products + 1, more...);
  }

  void run_products(const float* x, CpuProduct* products, std::size_t count, std::size_t rows) {
    const simd::Activations activations = prepare(x, products, count, rows);
    low_rank_.multiply(x, products, count, rows, kernels_, *pool_, scratch_.data());
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
      const CpuProduct* product = products;
      for (std::size_t n; task >= (n = (product->weights.rows + chunk - 1) / chunk); ++product) {
        task -= n;
      }
      const std::size_t begin = task * chunk;
      const std::size_t end = (std::min)(begin + chunk, product->weights.rows);
      kernels_.matmul(*product, begin, end, scratch(worker));
      low_rank_.add(*product, static_cast<std::size_t>(product - products), begin, end, kernels_);
    });
  }

  /// The inputs of a matmul, quantised if any of the weights is.
  simd::Activations prepare(const float* x, const CpuProduct* products, std::size_t count,
                            std::size_t rows, bool quantised = false) {
    simd::Activations a;
    a.tokens = rows;
    a.cols = products[0].weights.cols;
    a.f32 = x;
    a.form = simd::best_form(kernels_, rows);
    quantised = quantised || std::any_of(products, products + count, [](const CpuProduct& p) {
      return quant::block_elements(p.weights.type) > 1;
    });
    if (!quantised) return a;
    const std::size_t groups = a.cols / simd::kActivationGroup;
    if (a.form == simd::ActivationForm::bf16) {
      auto* rounded = reinterpret_cast<std::uint16_t*>(q_.data());
      pool_->parallel_for(rows, [&](std::size_t t, std::size_t) {
        const std::size_t in_block = t % simd::kBf16Tokens;
        kernels_.round_to_bf16(x + t * a.cols, a.cols,
                               rounded + (t - in_block) * a.cols + in_block * simd::kActivationGroup);
      });
      a.bf16 = rounded;
      return a;
    }
    if (a.form == simd::ActivationForm::coarse) {
      a.coarse_rows = {q_.data(), reinterpret_cast<simd::CoarseGroup*>(groups_.data())};
      pool_->parallel_for(rows, [&](std::size_t t, std::size_t) {
        kernels_.quantize_coarse(x + t * a.cols, a.cols,
                                 {a.coarse_rows.q + t * a.cols, a.coarse_rows.groups + t * groups});
      });
      return a;
    }
    float* sums = fine_.data() + fine_.size() / 4;
    float* half_sums = fine_.data() + fine_.size() / 2;
    a.fine_rows = {q_.data(), fine_.data(), sums, half_sums};
    for (std::size_t t = 0; t < rows; ++t) {
      kernels_.quantize_fine(x + t * a.cols, a.cols,
                             {q_.data() + t * simd::fine_bytes(a.cols), fine_.data() + t * groups,
                              sums + t * groups, half_sums + 2 * t * groups});
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
  AlignedArray<std::int8_t> q_;          ///< quantised inputs of a matmul
  AlignedArray<std::uint8_t> groups_;    ///< CoarseGroups of these
  AlignedArray<float> fine_;             ///< scales, sums, half sums of fine ones
  AlignedArray<std::uint8_t> scratch_;
  TwoPassHead two_pass_head_;
  WeightPaging paging_;
  WeightPager pager_;
  CpuLowRank low_rank_;
  struct {
    AlignedArray<float> in;      ///< [T, D]
    AlignedArray<float> router;  ///< [T, E]
    AlignedArray<float> gate;    ///< [T, Ie]
    AlignedArray<float> up;      ///< [T, Ie]
    AlignedArray<float> out;     ///< [T, D]
  } expert_;
  std::size_t tokens_ = 0;
  std::size_t position_ = 0;
};

}  // namespace detail
GEMMA_NAMESPACE_END

#endif  // GEMMA_BACKEND_IMPL_CPU_OPS_INL_HPP_
