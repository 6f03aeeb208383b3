// Checks each kernel on the device at hand against plain loops: drivers with wrong numbers exist.
#ifndef GEMMA_BACKEND_IMPL_OPENCL_SELF_TEST_INL_HPP_
#define GEMMA_BACKEND_IMPL_OPENCL_SELF_TEST_INL_HPP_

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <string>
#include <utility>
#include <vector>

#include "gemma/backend/impl/opencl_ops-inl.hpp"
#include "gemma/model/rope.hpp"
#include "gemma/quant/registry.hpp"

GEMMA_NAMESPACE_BEGIN
namespace detail {

/// Runs the kernels of a model on its own weights and on made-up activations.
class OpenClSelfTest {
 public:
  OpenClSelfTest(OpenClOps& ops, const Config& config, const Weights& weights)
      : ops_(ops), config_(config), weights_(weights) {}

  Status run() {
    for (const WeightMatrix& m : one_of_each_format()) {
      GEMMA_TRY(check_products(m));
      if (m.cols == config_.width && config_.width % 4 == 0) GEMMA_TRY(check_fused(m));
    }
    GEMMA_TRY(check_embedding());
    GEMMA_TRY(check_attention());
    GEMMA_TRY(check_steps());
    return check_picker();
  }

 private:
  static constexpr std::size_t kRows = 40;    ///< two and a half tiles
  static constexpr std::size_t kTokens = 5;
  // Of the sum of the sizes of all products. Tensor cores round both factors to 11 bits.
  static constexpr double kFine = 2e-5;
  static constexpr double kHalf = 2e-3;

  using Numbers = std::vector<float>;

  /// A sum, and what an error of it is measured by.
  struct Sum {
    double value = 0.0;
    double size = 0.0;
    void add(double term) {
      value += term;
      size += std::abs(term);
    }
  };

  Numbers make(std::size_t count) {
    Numbers numbers(count);
    for (float& x : numbers) {
      state_ = state_ * 1664525u + 1013904223u;
      x = static_cast<float>(state_ >> 8) * (2.0f / 16777216.0f) - 1.0f;
    }
    return numbers;
  }

  std::vector<WeightMatrix> one_of_each_format() const {
    std::vector<WeightMatrix> list;
    visit_weights(weights_, [&](const std::vector<const WeightMatrix*>& matrices) {
      for (const WeightMatrix* m : matrices) {
        const auto same = [&](const WeightMatrix& other) { return other.type == m->type; };
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
      quant::decode_row(m.type, m.row(r), m.cols, row.data());
      Sum sum;
      for (std::size_t c = 0; c < m.cols; ++c) sum.add(double{row[c]} * double{x[c]});
      sums.push_back(sum);
    }
    return sums;
  }

  static double rms(const Numbers& x, float eps) {
    double squares = 0.0;
    for (const float value : x) squares += double{value} * double{value};
    return std::sqrt(squares / static_cast<double>(x.size()) + double{eps});
  }

  static double gelu(double x) {
    return 0.5 * x * (1.0 + std::tanh(0.7978845608 * (x + 0.044715 * x * x * x)));
  }

  Numbers normed(Numbers x, const NormWeights& gain) const {
    const double length = rms(x, config_.norm_eps);
    for (std::size_t i = 0; i < x.size(); ++i) {
      const double factor = gain.empty() ? 1.0 : double{gain[i]};
      x[i] = static_cast<float>(double{x[i]} / length * factor);
    }
    return x;
  }

  Result<Activation> put(const Numbers& numbers) {
    GEMMA_TRY_ASSIGN(const Activation a, ops_.allocate(numbers.size()));
    ops_.write(a, numbers);
    return a;
  }

  Status compare(const std::string& kernel, Activation got, const std::vector<Sum>& want,
                 double tolerance) {
    Numbers numbers(want.size());
    ops_.read(got, numbers.data(), numbers.size());
    GEMMA_TRY(ops_.take_status());
    for (std::size_t i = 0; i < want.size(); ++i) {
      // Weights that are no numbers are found out when the model runs.
      if (!std::isfinite(want[i].size)) continue;
      const double limit = tolerance * want[i].size + 1e-6;
      const double error = std::abs(double{numbers[i]} - want[i].value);
      if (error <= limit) continue;
      char text[160];
      std::snprintf(text, sizeof text, "gives %g where the CPU has %g (%.1e off, at most %.1e)",
                    double{numbers[i]}, want[i].value, error, limit);
      return Error(ErrorCode::backend, ops_.context().device().name + ": self-test failed: " +
                                           kernel + ' ' + text +
                                           "; its driver computes wrong numbers");
    }
    return {};
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
    begin(1);
    start();
    ops_.matmul(h, m, gate);
    GEMMA_TRY(compare("matvec_norm_" + name, gate, want(), kFine));
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
    release(5);
    return {};
  }

  Status check_embedding() {
    const WeightMatrix& m = weights_.embedding;
    GEMMA_TRY_ASSIGN(const Activation x, ops_.allocate(m.cols));
    const TokenId id = static_cast<TokenId>(m.rows - 1);
    ops_.begin(Span<const TokenId>(&id, 1), 0);
    ops_.embed(m, Span<const TokenId>(&id, 1), 2.0f, x);
    Numbers row(m.cols);
    quant::decode_row(m.type, m.row(m.rows - 1), m.cols, row.data());
    std::vector<Sum> want;
    for (const float value : row) {
      want.emplace_back();
      want.back().add(2.0 * double{value});
    }
    GEMMA_TRY(compare("embed", x, want, kFine));
    release(1);
    return {};
  }

  /// A batch, and then one more token, in the first layer.
  Status check_attention() {
    const std::size_t batch = (std::min)({kTokens, ops_.max_batch(), ops_.context_size() - 1});
    const std::size_t total = batch + 1;
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
    for (const bool one : {false, true}) {
      const std::size_t first = one ? batch : 0;
      const std::size_t count = one ? 1 : batch;
      GEMMA_TRY_ASSIGN(const Activation dq, put(part(q, first * q_width, count * q_width)));
      GEMMA_TRY_ASSIGN(const Activation dk, put(part(k, first * kv_width, count * kv_width)));
      GEMMA_TRY_ASSIGN(const Activation dv, put(part(v, first * kv_width, count * kv_width)));
      begin(count, first);
      ops_.set_heads(dq, dk, dv);
      ops_.store_kv(0, dk, dv);
      ops_.attention(0, dq, out);
      std::vector<Sum> want;
      for (std::size_t t = first; t < first + count; ++t) {
        const std::size_t seen = config_.bidirectional ? first + count : t + 1;
        for (std::size_t h = 0; h < config_.heads; ++h) attend(q, k, v, t, seen, h, want);
      }
      GEMMA_TRY(compare(count > 1 ? "attend_many" : "attend_one", out, want, kCache));
      release(3);
    }
    release(1);
    return {};
  }

  /// Appends what head h of token t sees in the first `seen` tokens.
  void attend(const Numbers& q, const Numbers& k, const Numbers& v, std::size_t t,
              std::size_t seen, std::size_t h, std::vector<Sum>& out) const {
    const LayerConfig& layer = config_.layers[0];
    const std::size_t d = layer.head_dim;
    const std::size_t kv_head = h / (config_.heads / layer.kv_heads);
    const auto turned = [&](const Numbers& x, std::size_t heads, std::size_t at, std::size_t head) {
      Numbers y(d);
      const float* in = x.data() + (at * heads + head) * d;
      for (std::size_t i = 0; i < d / 2; ++i) {
        const double angle = static_cast<double>(at) * double{rope_frequency(config_, layer, i)};
        const double a = double{in[i]}, b = double{in[i + d / 2]};
        y[i] = static_cast<float>(a * std::cos(angle) - b * std::sin(angle));
        y[i + d / 2] = static_cast<float>(b * std::cos(angle) + a * std::sin(angle));
      }
      return y;
    };
    const Numbers query = turned(q, config_.heads, t, h);
    std::vector<double> weights(seen, 0.0);
    double total = 0.0;
    for (std::size_t p = 0; p < seen; ++p) {
      const std::size_t distance = p > t ? p - t : t - p;
      if (layer.window != 0 && distance >= layer.window) continue;
      const Numbers key = turned(k, layer.kv_heads, p, kv_head);
      double score = 0.0;
      for (std::size_t i = 0; i < d; ++i) score += double{query[i]} * double{key[i]};
      score *= double{config_.attention_scale};
      const double cap = double{config_.attention_softcap};
      if (cap != 0.0) score = cap * std::tanh(score / cap);
      weights[p] = std::exp(score);
      total += weights[p];
    }
    for (std::size_t i = 0; i < d; ++i) {
      Sum sum;
      for (std::size_t p = 0; p < seen; ++p) {
        sum.add(weights[p] / total * double{v[(p * layer.kv_heads + kv_head) * d + i]});
      }
      // Scores are off by as much as their keys were rounded.
      sum.size += 1.0;
      out.push_back(sum);
    }
  }

  /// What is done to rows of activations, on a batch.
  Status check_steps() {
    const std::size_t width = config_.width;
    const std::size_t tokens = (std::min)(kTokens, ops_.max_batch());
    const NormWeights& gain = weights_.output_norm;
    const Numbers x = make(tokens * width);
    const Numbers y = make(tokens * width);
    // step(x, y, z) on the device, want(i) in what then is in z.
    const auto check = [&](const char* kernel, const auto& step, const auto& want) -> Status {
      GEMMA_TRY_ASSIGN(const Activation dx, put(x));
      GEMMA_TRY_ASSIGN(const Activation dy, put(y));
      GEMMA_TRY_ASSIGN(const Activation dz, put(x));
      begin(tokens);
      step(dx, dy, dz);
      std::vector<Sum> sums(x.size());
      for (std::size_t i = 0; i < x.size(); ++i) sums[i] = {want(i), 1.0 + std::abs(want(i))};
      GEMMA_TRY(compare(kernel, dz, sums, kFine));
      release(3);
      return {};
    };
    const auto normed_rows = [&](const Numbers& rows) {
      Numbers all;
      for (std::size_t t = 0; t < tokens; ++t) {
        const auto row = rows.begin() + static_cast<std::ptrdiff_t>(t * width);
        const Numbers one = normed(Numbers(row, row + static_cast<std::ptrdiff_t>(width)), gain);
        all.insert(all.end(), one.begin(), one.end());
      }
      return all;
    };
    const Numbers normed_y = normed_rows(y);
    Numbers sum = x;
    for (std::size_t i = 0; i < x.size(); ++i) sum[i] += normed_y[i];
    const Numbers normed_sum = normed_rows(sum);
    const auto is = [](const Numbers& numbers) {
      return [&numbers](std::size_t i) { return double{numbers[i]}; };
    };
    using A = Activation;
    GEMMA_TRY(check("rms_norm", [&](A, A dy, A dz) { ops_.norm_rows(dy, 0, tokens, gain, dz); },
                    is(normed_y)));
    GEMMA_TRY(check("add_and_norm", [&](A dx, A dy, A dz) {
      ops_.rms_norm(dy, gain, dy);
      ops_.add(dy, dx);
      ops_.rms_norm(dx, gain, dz);
    }, is(normed_sum)));
    GEMMA_TRY(check("add", [&](A, A dy, A dz) { ops_.add(dy, dz); },
                    [&](std::size_t i) { return double{x[i]} + double{y[i]}; }));
    GEMMA_TRY(check("copy", [&](A, A dy, A dz) { ops_.copy(dy, width, dz); }, is(y)));
    GEMMA_TRY(check("scale", [&](A, A, A dz) { ops_.scale(dz, 0.75f); },
                    [&](std::size_t i) { return 0.75 * double{x[i]}; }));
    GEMMA_TRY(check("softcap", [&](A, A, A dz) { ops_.tanh(dz, width); },
                    [&](std::size_t i) { return std::tanh(double{x[i]}); }));
    return check("gelu_mul", [&](A, A dy, A dz) { ops_.gelu_mul(dz, dy, width); },
                 [&](std::size_t i) { return gelu(double{x[i]}) * double{y[i]}; });
  }

  /// The largest of some numbers, and the largest few.
  Status check_picker() {
    constexpr std::size_t kTop = 7;
    const Numbers x = make(3000);
    Numbers sorted = x;
    std::sort(sorted.begin(), sorted.end(), [](float a, float b) { return a > b; });
    GEMMA_TRY_ASSIGN(const Activation dx, put(x));
    const auto is_right = [&](const Picked& p) { return p.place < x.size() && x[p.place] == p.value; };
    // Twice, as each call makes ready for the next.
    for (int round = 0; round < 2; ++round) {
      const Picked best = ops_.largest(dx, x.size());
      std::vector<Picked> some = ops_.largest(dx, x.size(), kTop);
      GEMMA_TRY(ops_.take_status());
      std::sort(some.begin(), some.end(),
                [](const Picked& a, const Picked& b) { return a.value > b.value; });
      bool right = is_right(best) && best.value == sorted[0] && some.size() >= kTop;
      for (std::size_t i = 0; i < some.size() && right; ++i) {
        right = is_right(some[i]) && some[i].value == sorted[i];
      }
      if (!right) {
        return Error(ErrorCode::backend, ops_.context().device().name +
                                             ": self-test failed: the largest numbers found are "
                                             "not those; its driver computes wrong numbers");
      }
    }
    release(1);
    return {};
  }

  void begin(std::size_t tokens, std::size_t position = 0) {
    const std::vector<TokenId> ids(tokens, 0);
    ops_.begin(ids, position);
  }

  void release(std::size_t count) { ops_.release(count); }

  OpenClOps& ops_;
  const Config& config_;
  const Weights& weights_;
  std::uint32_t state_ = 1;
};

}  // namespace detail
GEMMA_NAMESPACE_END

#endif  // GEMMA_BACKEND_IMPL_OPENCL_SELF_TEST_INL_HPP_
