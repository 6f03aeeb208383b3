// An OpenCL device's meaning of each step of model/transformer.hpp. Launching a kernel costs
// microseconds, so steps are held back until it shows what they can be one kernel with:
//
//   norm of a branch, its addition, the next norm   one kernel; for one token a prologue of the
//                                                   products that follow
//   norms and RoPE of the heads, the KV cache       one kernel, for one token with attention itself
//   gate and up products, GELU                      one kernel, for one token
#ifndef GEMMA_BACKEND_IMPL_OPENCL_OPS_INL_HPP_
#define GEMMA_BACKEND_IMPL_OPENCL_OPS_INL_HPP_

#include <algorithm>
#include <array>
#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "gemma/backend/impl/opencl_state-inl.hpp"
#include "gemma/model/experts.hpp"

GEMMA_NAMESPACE_BEGIN
namespace detail {

/// The steps of a transformer block on T tokens. The first error stays, and stops all later steps.
class OpenClOps : public OpenClState {
 public:
  static Result<OpenClOps> create(const Config& config, const Weights& weights,
                                  const opencl::Device& device,
                                  const OpenClRunnerOptions& options) {
    OpenClOps ops(config, options);
    GEMMA_TRY(ops.start(weights, device));
    const std::size_t prologue = (config.width + 2 * ops.kernels_.items) * sizeof(float);
    ops.fuses_ =
        config.altup_streams <= 1 && config.width % 4 == 0 && prologue <= device.local_memory;
    return ops;
  }

  bool uses_tensor_cores(const WeightMatrix& w) const {
    const DeviceMatrix* matrix = weights_.find(w).matrix;
    return matrix != nullptr && uses_mma(*matrix, 2);
  }

  /// Starts a batch of `tokens` at `position`, whose ids are of no interest.
  void begin(std::size_t tokens, std::size_t position) {
    tokens_ = tokens;
    position_ = position;
  }

  /// Starts a batch of `ids` at `position`.
  void begin(Span<const TokenId> ids, std::size_t position) {
    begin(ids.size(), position);
    first_id_ = ids[0];
    if (tokens_ > 1 && status_) {
      status_ = context_->write(ids_, 0, ids.data(), ids.size() * sizeof(TokenId));
    }
  }

  /// The same for the one token that choose() has left on the device.
  void begin_chosen(std::size_t position) {
    begin(1, position);
    first_id_ = -1;
  }

  void begin_layer(std::size_t) {}

  void rms_norm(Activation x, const NormWeights& gain, Activation out) {
    settle_pair();
    if (fuses_ && x == out && norm_.stage() == PendingNorm::Stage::none) {
      norm_ = {};
      norm_.branch = x;
      norm_.branch_gain = weights_.find(gain);
      return;
    }
    if (fuses_ && norm_.stage() != PendingNorm::Stage::branch && !(x == out)) {
      const bool continues = norm_.stage() == PendingNorm::Stage::added && norm_.x == x;
      if (!continues) {
        settle();
        norm_ = {};
      }
      norm_.x = x;
      norm_.gain = weights_.find(gain);
      norm_.out = out;
      return;
    }
    settle();
    run_rms_norm(x, 0, weights_.find(gain), gain.size(), out, tokens_);
  }

  /// out ← norm of rows [first, first + count) of x.
  void norm_rows(Activation x, std::size_t first, std::size_t count, const NormWeights& gain,
                 Activation out) {
    settle();
    run_rms_norm(x, first, weights_.find(gain), gain.size(), out, count);
  }

  void add(Activation y, Activation x) {
    settle_pair();
    const auto stage = norm_.stage();
    const bool follows = stage == PendingNorm::Stage::branch && norm_.branch == y;
    if (fuses_ && (follows || stage == PendingNorm::Stage::none)) {
      if (!follows) norm_ = {};
      norm_.branch = y;
      norm_.x = x;
      norm_.adds = true;
      return;
    }
    settle();
    run_add(y, x);
  }

  // What is to be done to the heads waits for attention().
  void head_norm(Activation x, std::size_t, std::size_t, const NormWeights& gain) {
    settle_pair();
    if (x == heads_.q) {
      heads_.q_gain = weights_.find(gain);
      heads_.flags |= kNormQ;
    } else if (x == heads_.k) {
      heads_.k_gain = weights_.find(gain);
      heads_.flags |= kNormK;
    } else {
      heads_.flags |= kNormV;
    }
  }
  void rope(Activation, std::size_t, std::size_t) { settle_pair(); }
  void store_kv(std::size_t, Activation, Activation) { heads_.flags |= kOwnKeys; }

  /// Which activations hold the heads.
  void set_heads(Activation q, Activation k, Activation v) {
    heads_.q = q;
    heads_.k = k;
    heads_.v = v;
  }

  void attention(std::size_t index, Activation q, Activation out) {
    settle_pair();
    const LayerConfig& layer = config_->layers[index];
    const KvLayer& cache = kv_[layer.kv_layer];
    const opencl::UInt heads = number(config_->heads);
    const opencl::UInt kv_heads = number(layer.kv_heads);
    const opencl::UInt d = number(layer.head_dim);
    const opencl::UInt capacity = number(cache.capacity);
    const opencl::UInt position = number(position_);
    const opencl::UInt window = number(layer.window);
    const opencl::MemoryId turns = turns_[turns_of_layer_[index]].id();
    const std::size_t padded = padded_head(layer.head_dim);
    const opencl::LocalBytes head{padded * sizeof(float)};
    const opencl::UInt flags = heads_.flags | (config_->bidirectional ? kBothSides : 0u);
    if (tokens_ == 1) {
      const opencl::LocalBytes parts{
          (std::max)(kernels_.items * 8, padded) * sizeof(float)};
      run(kernels_.attend_one, {config_->heads, 1}, memory(q), memory(heads_.k), memory(heads_.v),
          heads_.q_gain, heads_.k_gain, turns, position, heads, kv_heads, d, capacity, window,
          config_->attention_scale, config_->attention_softcap, config_->norm_eps, flags,
          cache.keys, cache.values, memory(out), head, head, head, parts);
    } else {
      const std::size_t made = config_->heads + (flags & kOwnKeys ? 2 * layer.kv_heads : 0);
      run(kernels_.prepare_heads, {made, tokens_}, memory(q), memory(heads_.k), memory(heads_.v),
          heads_.q_gain, heads_.k_gain, turns, position, heads, kv_heads, d, capacity,
          config_->norm_eps, flags, cache.keys, cache.values, head);
      const std::size_t queries = kernels_.items / 32;  // QUERIES of kernels/attention.hpp
      run(kernels_.attend_many, {config_->heads, (tokens_ + queries - 1) / queries}, memory(q),
          number(tokens_), position, heads, kv_heads, d, capacity, window,
          config_->attention_scale, config_->attention_softcap, flags, cache.keys, cache.values,
          memory(out), opencl::LocalBytes{queries * padded * sizeof(float)});
    }
    heads_.flags = 0;
    heads_.q_gain = heads_.k_gain = nullptr;
  }

  /// y = W x for one or several matrices of the same input: matmul(x, W1, y1, W2, y2…).
  template <class... More>
  void matmul(Activation x, const WeightMatrix& w, Activation y, const More&... more) {
    settle_pair();
    std::vector<Product> products;
    collect(products, w, y, more...);
    if (tokens_ == 1 && products.size() == 2 && norm_.gives(x) && can_pair(products)) {
      pair_ = std::move(products);
      return;
    }
    multiply(x, products, tokens_);
  }

  /// logits [rows, V] of normed hidden states h [rows, D].
  void head(Activation h, const WeightMatrix& w, std::size_t rows, Activation logits) {
    // Too many groups for each to make the norm again.
    settle();
    std::vector<Product> products;
    collect(products, w, logits);
    multiply(h, products, rows, config_->final_softcap);
  }

  void gelu_mul(Activation gate, Activation up, std::size_t n) {
    if (!pair_.empty() && pair_[0].out == gate && pair_[1].out == up) {
      multiply_pair(n);
      return;
    }
    settle();
    run_gelu_mul(gate, n, up, n, 0, tokens_);
  }

  void scale(Activation x, float factor) {
    settle();
    run_each(kernels_.scale, tokens_ * config_->width, memory(x), number(tokens_ * config_->width),
             factor);
  }

  void copy(Activation x, std::size_t n, Activation out) {
    settle();
    run_each(kernels_.copy, tokens_ * n, memory(x), number(tokens_ * n), memory(out));
  }

  /// x_t = E[id_t] · factor.
  void embed(const WeightMatrix& embedding, Span<const TokenId>, float factor, Activation x) {
    settle();
    run_embed(embedding, factor, x);
  }

  void tanh(Activation x, std::size_t n) {
    settle();
    run_each(kernels_.softcap, tokens_ * n, memory(x), number(tokens_ * n), 1.0f);
  }

  void multiply(const NormWeights& factors, Activation x) {
    settle();
    const std::size_t n = factors.size();
    run_each(kernels_.multiply, tokens_ * n, memory(x), number(tokens_ * n), number(n),
             weights_.find(factors));
  }

  void sparsify(Activation x, std::size_t n, float sparsity) {
    if (!std::isfinite(sparsity)) return;
    settle();
    run(kernels_.sparsify, {tokens_, 1}, memory(x), number(n), sparsity);
  }

  void gelu_mul_layer(Activation gate, Activation ple, std::size_t index) {
    settle();
    const std::size_t p = config_->ple_width;
    run_gelu_mul(gate, p, ple, config_->layers.size() * p, index * p, tokens_);
  }

  void per_layer_embeddings(const Weights& weights, Span<const TokenId>, Activation ple) {
    settle();
    const std::size_t p = config_->ple_width;
    run_embed(weights.ple_embedding, std::sqrt(static_cast<float>(p)), ple_table_);
    run(kernels_.mix_per_layer, {tokens_ * config_->layers.size(), 1}, memory(ple),
        memory(ple_table_), weights_.find(weights.ple_projection_norm), number(p),
        1.0f / std::sqrt(static_cast<float>(config_->width)), config_->norm_eps);
  }

  void altup_predict(const std::vector<Activation>& streams, Activation mixing,
                     const std::vector<Activation>& predicted) {
    const std::size_t n = streams.size();
    const std::size_t width = config_->width;
    for (std::size_t o = 0; o < n; ++o) {
      copy(streams[o], width, predicted[o]);
      for (std::size_t i = 0; i < n; ++i) {
        run_each(kernels_.add_scaled, tokens_ * width, memory(streams[i]), number(tokens_ * width),
                 number(width), memory(mixing), number(n * n), number(o * n + i),
                 memory(predicted[o]));
      }
    }
  }

  void altup_correct(const std::vector<Activation>& predicted, std::size_t active, Activation y,
                     Activation mixing, const std::vector<Activation>& streams) {
    settle();
    const std::size_t n = streams.size();
    const std::size_t width = config_->width;
    for (std::size_t o = 0; o < n; ++o) {
      run_each(kernels_.altup_correct, tokens_ * width, memory(predicted[o]), memory(y),
               memory(predicted[active]), number(tokens_ * width), number(width), memory(mixing),
               number(n), number(o), memory(streams[o]));
    }
  }

  void match_length(Activation x, Activation y) {
    settle();
    run(kernels_.match_length, {tokens_, 1}, memory(x), memory(y), number(config_->width));
  }

  /// out = Σ weight_e · expert_e(h) over the experts that x chooses. The router's choice is made by
  /// the host, which waits for it.
  void mix_experts(const ExpertWeights& w, Activation x, Activation h, Activation out) {
    settle();
    const std::size_t width = config_->width;
    const std::size_t n = config_->expert_width;
    run_rms_norm(x, 0, weights_.find(w.router_norm), width, expert_.in, tokens_);
    multiply(expert_.in, {product(w.router, expert_.router)}, tokens_);
    std::vector<float> router(tokens_ * config_->experts);
    read(expert_.router, router.data(), router.size());
    run_each(kernels_.scale, tokens_ * width, memory(out), number(tokens_ * width), 0.0f);
    if (!status_) return;
    const auto chosen =
        choose_experts(router.data(), tokens_, config_->experts_used, w.expert_scale);
    for (std::size_t e = 0; e < chosen.size() && status_; ++e) {
      const std::size_t rows = chosen[e].size();
      if (rows == 0) continue;
      std::vector<opencl::Int> places;
      std::vector<float> factors;
      for (const ExpertChoice& choice : chosen[e]) {
        places.push_back(static_cast<opencl::Int>(choice.token));
        factors.push_back(choice.weight);
      }
      send(expert_.places, places.data(), rows * sizeof(opencl::Int));
      send(expert_.factors, factors.data(), rows * sizeof(float));
      const ExpertMatrices expert(w, e, n, width);
      run(kernels_.gather, {rows, 1}, memory(h), expert_.places, number(width),
          memory(expert_.in));
      multiply(expert_.in, {product(expert.gate, expert_.gate), product(expert.up, expert_.up)},
               rows);
      run_gelu_mul(expert_.gate, n, expert_.up, n, 0, rows);
      multiply(expert_.gate, {product(expert.down, expert_.out)}, rows);
      run(kernels_.scatter_add, {rows, 1}, memory(expert_.out), expert_.places, expert_.factors,
          number(width), memory(out));
    }
  }

  /// Does what was held back.
  void settle() {
    settle_pair();
    const PendingNorm norm = std::exchange(norm_, PendingNorm());
    if (norm.used) return;
    switch (norm.stage()) {
      case PendingNorm::Stage::none: return;
      case PendingNorm::Stage::branch:
        run_rms_norm(norm.branch, 0, norm.branch_gain, config_->width, norm.branch, tokens_);
        return;
      case PendingNorm::Stage::added:
        if (norm.branch_gain != nullptr) {
          run_rms_norm(norm.branch, 0, norm.branch_gain, config_->width, norm.branch, tokens_);
        }
        run_add(norm.branch, norm.x);
        return;
      case PendingNorm::Stage::normed: break;
    }
    run(kernels_.add_and_norm, {tokens_, 1}, memory(norm.x), norm.branch_memory(*this),
        norm.branch_gain, norm.gain, config_->norm_eps, norm.flags(),
        memory(norm.out), opencl::LocalBytes{config_->width * sizeof(float)});
  }

  /// Waits for what was launched, and fetches the first `count` numbers.
  void read(Activation a, float* out, std::size_t count) {
    settle();
    if (status_) status_ = context_->read(memory_[a.index], 0, out, count * sizeof(float));
  }

  /// See OpenClPicker.
  Picked largest(Activation a, std::size_t count) {
    settle();
    if (!status_) return {};
    return keep(picker_.largest(*context_, kernels_, memory(a), count));
  }
  void choose(Activation a, std::size_t count, std::size_t step) {
    settle();
    if (status_) status_ = picker_.choose(*context_, kernels_, memory(a), count, step, ids_);
  }
  TokenId chosen() {
    TokenId id = -1;
    if (status_) status_ = context_->read(ids_, 0, &id, sizeof(id));
    return id;
  }
  std::vector<Picked> drawn(std::size_t steps) {
    if (!status_) return {};
    return keep(picker_.drawn(*context_, steps));
  }
  std::vector<Picked> largest(Activation a, std::size_t count, std::size_t top) {
    settle();
    if (!status_) return {};
    return keep(picker_.largest(*context_, kernels_, memory(a), count, top));
  }

 private:
  /// The value, or else the error for good.
  template <class T>
  T keep(Result<T> result) {
    if (result) return *std::move(result);
    status_ = result.take_error();
    return T();
  }

  // The flags of kernels/attention.hpp and common.hpp.
  static constexpr opencl::UInt kNormQ = 1, kNormK = 2, kNormV = 4, kOwnKeys = 8, kBothSides = 16;
  static constexpr opencl::UInt kAddBranch = 1, kNormBranch = 2;

  /// x += norm(branch), out = norm(x), as far as it has come.
  struct PendingNorm {
    enum class Stage { none, branch, added, normed };
    Activation x, branch, out;
    opencl::MemoryId branch_gain = nullptr;
    opencl::MemoryId gain = nullptr;
    bool adds = false;
    bool used = false;  ///< by a product that had it as its prologue; `out` is not in memory

    Stage stage() const {
      if (used) return Stage::none;
      if (gain != nullptr) return Stage::normed;
      return adds ? Stage::added : branch_gain != nullptr ? Stage::branch : Stage::none;
    }
    bool gives(Activation a) const { return gain != nullptr && out == a; }
    opencl::UInt flags() const {
      return !adds ? 0u : branch_gain != nullptr ? kAddBranch | kNormBranch : kAddBranch;
    }
    opencl::MemoryId branch_memory(const OpenClOps& ops) const {
      return adds ? ops.memory(branch) : nullptr;
    }
  };

  struct Product {
    DeviceRows rows;
    Activation out;
  };

  using OpenClState::OpenClState;

  void run_rms_norm(Activation x, std::size_t first, opencl::MemoryId gain, std::size_t n,
                    Activation out, std::size_t rows) {
    run(kernels_.rms_norm, {rows, 1}, memory(x), number(first), gain, number(n), config_->norm_eps,
        memory(out));
  }

  void run_add(Activation y, Activation x) {
    const std::size_t count = tokens_ * config_->width;
    run_each(kernels_.add, count, memory(y), number(count), memory(x));
  }

  void run_gelu_mul(Activation gate, std::size_t n, Activation up, std::size_t stride,
                    std::size_t offset, std::size_t rows) {
    run_each(kernels_.gelu_mul, rows * n, memory(gate), number(rows * n), number(n), memory(up),
             number(stride), number(offset));
  }

  void run_embed(const WeightMatrix& table, float factor, Activation out) {
    const DeviceRows rows = find(table);
    if (!status_) return;
    const opencl::FormatKernels& kernels = kernels_of(*rows.matrix);
    const opencl::Int id = tokens_ == 1 ? first_id_ : -1;
    for (const DeviceMatrix::Part& part : rows.matrix->parts) {
      run(kernels.embed, {tokens_, 1}, part.buffer, number(part.tiles),
          number(rows.matrix->blocks), number(rows.matrix->cols), number(part.first), ids_, id,
          number(rows.rows), factor, memory(out));
    }
  }

  const opencl::FormatKernels& kernels_of(const DeviceMatrix& matrix) const {
    return kernels_.of_format.find(matrix.format.name)->second;
  }

  DeviceRows find(const WeightMatrix& w) {
    const DeviceRows rows = weights_.find(w);
    if (rows.matrix == nullptr && status_) {
      status_ = Error(ErrorCode::backend, "a matrix of " + std::to_string(w.rows) + " × " +
                                              std::to_string(w.cols) +
                                              " numbers does not begin at a multiple of 16 rows");
    }
    return rows;
  }

  Product product(const WeightMatrix& w, Activation out) { return {find(w), out}; }

  void collect(std::vector<Product>&) {}
  template <class... More>
  void collect(std::vector<Product>& products, const WeightMatrix& w, Activation y,
               const More&... more) {
    products.push_back(product(w, y));
    collect(products, more...);
  }

  bool can_pair(const std::vector<Product>& p) const {
    if (!status_) return false;
    const DeviceMatrix& a = *p[0].rows.matrix;
    const DeviceMatrix& b = *p[1].rows.matrix;
    return std::string(a.format.name) == b.format.name && a.cols == b.cols &&
           p[0].rows.rows == p[1].rows.rows && a.parts.size() == 1 && b.parts.size() == 1;
  }

  void settle_pair() {
    if (pair_.empty()) return;
    const std::vector<Product> pair = std::exchange(pair_, {});
    multiply(norm_.out, pair, tokens_);
  }

  /// gate ← gelu(gate h) · (up h)
  void multiply_pair(std::size_t n) {
    const std::vector<Product> pair = std::exchange(pair_, {});
    const DeviceMatrix& gate = *pair[0].rows.matrix;
    const DeviceMatrix& up = *pair[1].rows.matrix;
    run(kernels_of(gate).gate_up, {pair[0].rows.tiles(), 1}, gate.parts[0].buffer,
        number(gate.parts[0].tiles), number(pair[0].rows.first_tile), up.parts[0].buffer,
        number(up.parts[0].tiles), number(pair[1].rows.first_tile), number(gate.blocks),
        number(gate.cols), memory(norm_.x), norm_.branch_memory(*this), norm_.branch_gain,
        norm_.gain, config_->norm_eps, norm_.flags(), total(),
        opencl::LocalBytes{gate.cols * sizeof(float)}, memory(pair[0].out), number(n));
    use_norm();
  }

  /// Where a product with the pending norm as its prologue puts the sum.
  opencl::MemoryId total() const { return norm_.adds ? spare_.id() : nullptr; }

  /// After such a product: the sum is the new x, and needs no adding again.
  void use_norm() {
    if (norm_.adds) std::swap(spare_, memory_[norm_.x.index]);
    norm_.adds = false;
    norm_.branch_gain = nullptr;
    norm_.used = true;
  }

  void multiply(Activation x, const std::vector<Product>& products, std::size_t rows,
                float softcap = 0.0f) {
    if (!status_) return;
    const bool fused = rows == 1 && norm_.gives(x);
    if (!fused) settle();
    const auto on_tensor_cores = [&](const Product& p) { return uses_mma(*p.rows.matrix, rows); };
    if (std::any_of(products.begin(), products.end(), on_tensor_cores)) {
      run(kernels_.to_half, {rows, 1}, memory(x), number(products[0].rows.matrix->cols),
          half_input_, half_scales_);
    }
    for (std::size_t i = 0; i < products.size();) {
      std::size_t n = 1;
      while (n < 3 && i + n < products.size() &&
             products[i + n - 1].rows.is_followed_by(products[i + n].rows)) {
        ++n;
      }
      std::array<Product, 3> group;
      std::copy_n(products.begin() + static_cast<std::ptrdiff_t>(i), n, group.begin());
      multiply_group(x, group, rows, softcap, fused);
      i += n;
    }
  }

  bool uses_mma(const DeviceMatrix& matrix, std::size_t rows) const {
    return rows > 1 && kernels_of(matrix).matmul_mma.handle &&
           matrix.cols % opencl::kBlockColumns == 0;
  }

  /// One launch for each part of the matrix that the group's rows are in.
  void multiply_group(Activation x, const std::array<Product, 3>& group, std::size_t rows,
                      float softcap, bool fused) {
    const DeviceMatrix& matrix = *group[0].rows.matrix;
    const opencl::FormatKernels& kernels = kernels_of(matrix);
    const std::size_t begin = group[0].rows.first_tile;
    std::size_t end = begin;
    std::array<opencl::MemoryId, 3> y{};
    std::array<opencl::UInt, 3> y_rows{};
    for (std::size_t i = 0; i < 3; ++i) {
      end += group[i].rows.tiles();
      y[i] = memory(group[i].rows.rows > 0 ? group[i].out : group[0].out);
      y_rows[i] = number(group[i].rows.rows);
    }
    const opencl::UInt blocks = number(matrix.blocks);
    const opencl::UInt cols = number(matrix.cols);
    for (const DeviceMatrix::Part& part : matrix.parts) {
      const std::size_t from = (std::max)(begin, part.first);
      const std::size_t to = (std::min)(end, part.first + part.tiles);
      if (from >= to) continue;
      const opencl::UInt tiles = number(part.tiles);
      const opencl::UInt first = number(from - part.first);
      const opencl::UInt skip = number(from - begin);
      if (fused) {
        run(kernels.matvec_norm, {to - from, 1}, part.buffer, tiles, blocks, cols, first, skip,
            memory(norm_.x), norm_.branch_memory(*this), norm_.branch_gain, norm_.gain,
            config_->norm_eps, norm_.flags(), total(),
            opencl::LocalBytes{matrix.cols * sizeof(float)}, softcap, y[0], y_rows[0], y[1],
            y_rows[1], y[2], y_rows[2]);
      } else if (rows == 1) {
        run(kernels.matvec, {to - from, 1}, part.buffer, tiles, blocks, cols, first, skip,
            memory(x), softcap, y[0], y_rows[0], y[1], y_rows[1], y[2], y_rows[2]);
      } else if (uses_mma(matrix, rows)) {
        constexpr std::size_t kTokens = 128, kTiles = 4;  // of kernels/tensor_cores.hpp
        run_with(256, kernels.matmul_mma, {(to - from + kTiles - 1) / kTiles, (rows + kTokens - 1) / kTokens},
            part.buffer, tiles, blocks, first, skip, number(to - from - 1), half_input_,
            half_scales_, number(rows), y[0], y_rows[0], y[1], y_rows[1], y[2], y_rows[2]);
      } else {
        const std::size_t tokens = kernels_.items / 4;  // TOKENS of kernels/matmul.hpp
        run(kernels.matmul, {to - from, (rows + tokens - 1) / tokens}, part.buffer, tiles, blocks,
            cols, first, skip, memory(x), number(rows), y[0], y_rows[0], y[1], y_rows[1], y[2],
            y_rows[2]);
      }
    }
    if (fused) use_norm();
    if (softcap != 0.0f && rows > 1) {
      const std::size_t count = rows * group[0].rows.rows;
      run_each(kernels_.softcap, count, y[0], number(count), softcap);
    }
  }

  struct {
    Activation q, k, v;
    opencl::MemoryId q_gain = nullptr;
    opencl::MemoryId k_gain = nullptr;
    opencl::UInt flags = 0;
  } heads_;
  PendingNorm norm_;
  std::vector<Product> pair_;
  bool fuses_ = false;
  std::size_t tokens_ = 0;
  std::size_t position_ = 0;
  TokenId first_id_ = 0;
};

}  // namespace detail
GEMMA_NAMESPACE_END

#endif  // GEMMA_BACKEND_IMPL_OPENCL_OPS_INL_HPP_
