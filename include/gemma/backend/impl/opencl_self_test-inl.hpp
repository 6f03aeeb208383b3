// Checks each kernel on the device at hand against plain loops: drivers with wrong numbers exist.
#ifndef GEMMA_BACKEND_IMPL_OPENCL_SELF_TEST_INL_HPP_
#define GEMMA_BACKEND_IMPL_OPENCL_SELF_TEST_INL_HPP_

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "gemma/backend/impl/opencl_step_test-inl.hpp"
#include "gemma/backend/impl/opencl_test_numbers-inl.hpp"
#include "gemma/model/family.hpp"
#include "gemma/model/rope.hpp"
#include "gemma/quant/registry.hpp"

GEMMA_NAMESPACE_BEGIN
namespace detail {

/// Runs the kernels of a model on its own weights and on made-up activations.
class OpenClSelfTest : OpenClTestNumbers {
 public:
  OpenClSelfTest(OpenClOps& ops, const Config& config, const Weights& weights)
      : OpenClTestNumbers(ops, config, weights) {}

  Status run() {
    for (const WeightMatrix& m : one_of_each_kind()) {
      GEMMA_TRY(check_products(m));
      if (m.cols == config_.width && config_.width % 4 == 0) GEMMA_TRY(check_fused(m));
      GEMMA_TRY(check_embedding(m));
    }
    GEMMA_TRY(check_attention());
    return OpenClStepTest(ops_, config_, weights_).run();
  }

 private:
  static constexpr std::size_t kRows = 40;  ///< two and a half tiles

  /// For each set of kernels that matrices of the model are multiplied with, one of them.
  std::vector<WeightMatrix> one_of_each_kind() const {
    std::vector<WeightMatrix> list;
    visit_weights(weights_, [&](const std::vector<const WeightMatrix*>& matrices) {
      for (const WeightMatrix* m : matrices) {
        const auto same = [&](const WeightMatrix& other) {
          return other.type == m->type &&
                 (other.cols == config_.width) == (m->cols == config_.width) &&
                 ops_.uses_tensor_cores(other) == ops_.uses_tensor_cores(*m);
        };
        if (*m && std::none_of(list.begin(), list.end(), same)) list.push_back(*m);
      }
    }, [](const NormWeights&) {});
    return list;
  }

  static WeightMatrix some_rows(const WeightMatrix& m) {
    return rows_of(m, 0, (std::min)(m.rows, kRows));
  }

  static std::vector<Sum> multiply(const WeightMatrix& m, const Numbers& x) {
    Numbers row(m.cols);
    std::vector<Sum> sums;
    for (std::size_t r = 0; r < m.rows; ++r) {
      quant::decode_row(m, r, row.data());
      Sum sum;
      for (std::size_t c = 0; c < m.cols; ++c) sum.add(double{row[c]} * double{x[c]});
      sums.push_back(sum);
    }
    return sums;
  }

  /// matvec, and matmul on cores of either kind.
  Status check_products(const WeightMatrix& whole) {
    const WeightMatrix m = some_rows(whole);
    const std::string name = opencl::tile_format(m.type).name;
    const std::size_t most = (std::min)(kTokens, ops_.max_batch());
    for (const std::size_t tokens : {std::size_t{1}, most}) {
      const Numbers x = make(tokens * m.cols);
      GEMMA_TRY_ASSIGN(const Activation in, put(x));
      GEMMA_TRY_ASSIGN(const Activation out, ops_.allocate(tokens * m.rows));
      begin(tokens);
      ops_.matmul(in, m, out);
      std::vector<Sum> want;
      for (std::size_t t = 0; t < tokens; ++t) {
        const auto first = x.begin() + static_cast<std::ptrdiff_t>(t * m.cols);
        const Numbers row(first, first + static_cast<std::ptrdiff_t>(m.cols));
        for (const Sum& sum : multiply(m, row)) want.push_back(sum);
      }
      const bool half = tokens > 1 && ops_.uses_tensor_cores(m);
      GEMMA_TRY(compare((tokens == 1 ? "matvec_" : "matmul_") + name, out, want,
                        half ? kHalf : kFine));
      release(2);
    }
    return {};
  }

  /// matvec_norm and gate_up, with the norms before them.
  Status check_fused(const WeightMatrix& whole) {
    const WeightMatrix m = some_rows(whole);
    const std::string name = opencl::tile_format(m.type).name;
    const Numbers branch = make(m.cols);
    Numbers sum = make(m.cols);
    // As large as the model's own: the steps exchange it for another of that size.
    GEMMA_TRY_ASSIGN(const Activation x, ops_.allocate(ops_.max_batch() * m.cols));
    ops_.write(x, sum);
    GEMMA_TRY_ASSIGN(const Activation b, put(branch));
    GEMMA_TRY_ASSIGN(const Activation h, ops_.allocate(m.cols));
    GEMMA_TRY_ASSIGN(const Activation gate, ops_.allocate(m.rows));
    GEMMA_TRY_ASSIGN(const Activation up, ops_.allocate(m.rows));
    const NormWeights& gain = weights_.output_norm;
    const auto start = [&] {
      ops_.rms_norm(b, gain, b);
      ops_.add(b, x);
      ops_.rms_norm(x, gain, h);
    };
    const auto want = [&] {
      const Numbers added = normed(branch, gain);
      for (std::size_t i = 0; i < sum.size(); ++i) sum[i] += added[i];
      return multiply(m, normed(sum, gain));
    };
    const auto sum_so_far = [&] {
      std::vector<Sum> sums(sum.size());
      for (std::size_t i = 0; i < sum.size(); ++i) {
        sums[i] = {double{sum[i]}, 1.0 + std::abs(double{sum[i]})};
      }
      return sums;
    };
    begin(1);
    start();
    ops_.matmul(h, m, gate);
    GEMMA_TRY(compare("matvec_norm_" + name, gate, want(), kFine));
    GEMMA_TRY(compare("matvec_norm_" + name, x, sum_so_far(), kFine));
    ops_.write(b, branch);
    start();
    ops_.matmul(h, m, gate, m, up);
    ops_.gelu_mul(gate, up, m.rows);
    std::vector<Sum> products = want();
    for (Sum& p : products) {
      // What an error of one factor does to the product.
      p.size = p.size * (1.0 + 2.0 * std::abs(p.value));
      p.value = gelu(p.value) * p.value;
    }
    GEMMA_TRY(compare("gate_up_" + name, gate, products, 2.0 * kFine));
    GEMMA_TRY(compare("gate_up_" + name, x, sum_so_far(), kFine));
    release(5);
    return {};
  }

  /// The last row, as if of an embedding.
  Status check_embedding(const WeightMatrix& m) {
    GEMMA_TRY_ASSIGN(const Activation x, ops_.allocate(m.cols));
    const TokenId id = static_cast<TokenId>(m.rows - 1);
    ops_.begin(Span<const TokenId>(&id, 1), 0);
    ops_.embed(m, Span<const TokenId>(&id, 1), 2.0f, x);
    Numbers row(m.cols);
    quant::decode_row(m, m.rows - 1, row.data());
    std::vector<Sum> want(row.size());
    for (std::size_t i = 0; i < row.size(); ++i) want[i].add(2.0 * double{row[i]});
    const std::string name = opencl::tile_format(m.type).name;
    GEMMA_TRY(compare("embed_" + name, x, want, kFine));
    release(1);
    return {};
  }

  /// In the first layer a batch, then a token that sees its cache, then one that sees that token's.
  Status check_attention() {
    const std::size_t batch = (std::min)({kTokens, ops_.max_batch(), ops_.context_size()});
    const std::size_t total = batch + 2;
    const LayerConfig& layer = config_.layers[0];
    const std::size_t d = layer.head_dim;
    const std::size_t q_width = config_.heads * d;
    const std::size_t kv_width = layer.kv_heads * d;
    const Numbers q = make(total * q_width);
    const Numbers k = make(total * kv_width);
    const Numbers v = make(total * kv_width);
    const auto part = [](const Numbers& all, std::size_t first, std::size_t count) {
      const auto begin = all.begin() + static_cast<std::ptrdiff_t>(first);
      return Numbers(begin, begin + static_cast<std::ptrdiff_t>(count));
    };
    GEMMA_TRY_ASSIGN(const Activation out, ops_.allocate(batch * q_width));
    // Rounding to float16 in the cache.
    constexpr double kCache = 2e-3;
    std::size_t first = 0;
    for (const std::size_t count : {batch, std::size_t{1}, std::size_t{1}}) {
      if (first + count > ops_.context_size()) break;
      GEMMA_TRY_ASSIGN(const Activation dq, put(part(q, first * q_width, count * q_width)));
      GEMMA_TRY_ASSIGN(const Activation dk, put(part(k, first * kv_width, count * kv_width)));
      GEMMA_TRY_ASSIGN(const Activation dv, put(part(v, first * kv_width, count * kv_width)));
      begin(count, first);
      ops_.set_heads(dq, dk, dv);
      visit_family(config_.family, [&](auto family) {
        using F = decltype(family);
        if constexpr (F::kQkNorm) ops_.head_norm(dq, config_.heads, d, weights_.layers[0].q_norm);
        if constexpr (F::kQkNorm) ops_.head_norm(dk, layer.kv_heads, d, weights_.layers[0].k_norm);
        if constexpr (F::kValueNorm) ops_.head_norm(dv, layer.kv_heads, d, {});
      });
      ops_.store_kv(0, dk, dv);
      ops_.attention(0, dq, out);
      std::vector<Sum> want;
      for (std::size_t t = first; t < first + count; ++t) {
        const std::size_t seen = config_.bidirectional ? first + count : t + 1;
        for (std::size_t h = 0; h < config_.heads; ++h) {
          visit_family(config_.family, [&](auto family) {
            attend<decltype(family)>(q, k, v, t, seen, h, want);
          });
        }
      }
      GEMMA_TRY(compare(count > 1 ? "attend_many" : "attend_one", out, want, kCache));
      first += count;
      release(3);
    }
    release(1);
    return {};
  }

  /// Appends what head h of token t sees in the first `seen` tokens.
  template <class F>
  void attend(const Numbers& q, const Numbers& k, const Numbers& v, std::size_t t,
              std::size_t seen, std::size_t h, std::vector<Sum>& out) const {
    const LayerConfig& layer = config_.layers[0];
    const LayerWeights& w = weights_.layers[0];
    const std::size_t d = layer.head_dim;
    const std::size_t kv_head = h / (config_.heads / layer.kv_heads);
    const auto head_of = [d](const Numbers& x, std::size_t heads, std::size_t at,
                             std::size_t head) {
      const auto first = x.begin() + static_cast<std::ptrdiff_t>((at * heads + head) * d);
      return Numbers(first, first + static_cast<std::ptrdiff_t>(d));
    };
    const auto turned = [&](Numbers x, const NormWeights& gain, std::size_t at) {
      if (F::kQkNorm) x = normed(std::move(x), gain);
      for (std::size_t i = 0; i < d / 2; ++i) {
        const double angle = static_cast<double>(at) * double{rope_frequency(config_, layer, i)};
        const double a = double{x[i]}, b = double{x[i + d / 2]};
        x[i] = static_cast<float>(a * std::cos(angle) - b * std::sin(angle));
        x[i + d / 2] = static_cast<float>(b * std::cos(angle) + a * std::sin(angle));
      }
      return x;
    };
    const Numbers query = turned(head_of(q, config_.heads, t, h), w.q_norm, t);
    std::vector<double> shares(seen, 0.0);
    std::vector<Numbers> values;
    double total = 0.0;
    double rounding = 0.0;  // of keys, and what it does to scores
    for (std::size_t p = 0; p < seen; ++p) {
      values.push_back(head_of(v, layer.kv_heads, p, kv_head));
      if (F::kValueNorm) values[p] = normed(std::move(values[p]), {});
      const std::size_t distance = p > t ? p - t : t - p;
      if (layer.window != 0 && distance >= layer.window) continue;
      const Numbers key = turned(head_of(k, layer.kv_heads, p, kv_head), w.k_norm, p);
      double score = 0.0;
      double squares = 0.0;
      for (std::size_t i = 0; i < d; ++i) {
        const double product = double{query[i]} * double{key[i]};
        score += product;
        squares += product * product;
      }
      const double scale = double{config_.attention_scale};
      rounding = (std::max)(rounding, 2.0 * scale * std::sqrt(squares));
      score *= scale;
      const double cap = double{config_.attention_softcap};
      if (cap != 0.0) score = cap * std::tanh(score / cap);
      shares[p] = std::exp(score);
      total += shares[p];
    }
    for (std::size_t i = 0; i < d; ++i) {
      Sum sum;
      for (std::size_t p = 0; p < seen; ++p) sum.add(shares[p] / total * double{values[p][i]});
      sum.size += 1.0 + rounding;
      out.push_back(sum);
    }
  }
};

}  // namespace detail
GEMMA_NAMESPACE_END

#endif  // GEMMA_BACKEND_IMPL_OPENCL_SELF_TEST_INL_HPP_
