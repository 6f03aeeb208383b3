// The part of the self-test that is about the small steps between products: each kernel on rows of
// made-up activations, whether the model at hand needs it or not.
#ifndef GEMMA_BACKEND_IMPL_OPENCL_STEP_TEST_INL_HPP_
#define GEMMA_BACKEND_IMPL_OPENCL_STEP_TEST_INL_HPP_

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstring>
#include <vector>

#include "gemma/backend/impl/opencl_test_numbers-inl.hpp"

GEMMA_NAMESPACE_BEGIN
namespace detail {

class OpenClStepTest : OpenClTestNumbers {
 public:
  OpenClStepTest(OpenClOps& ops, const Config& config, const Weights& weights)
      : OpenClTestNumbers(ops, config, weights),
        width_(config.width),
        tokens_((std::min)(kTokens, ops.max_batch())),
        x_(make(tokens_ * width_)),
        y_(make(tokens_ * width_)) {}

  Status run() {
    GEMMA_TRY(check_each());
    GEMMA_TRY(check_norms());
    GEMMA_TRY(check_experts());
    GEMMA_TRY(check_gemma3n());
    return check_picker();
  }

 private:
  using A = Activation;

  /// step(x, y, z) on the device, where z begins as x; then want(i) in z.
  template <class Step, class Want>
  Status check(const char* kernel, const Step& step, const Want& want) {
    GEMMA_TRY_ASSIGN(const Activation dx, put(x_));
    GEMMA_TRY_ASSIGN(const Activation dy, put(y_));
    GEMMA_TRY_ASSIGN(const Activation dz, put(x_));
    begin(tokens_);
    step(dx, dy, dz);
    std::vector<Sum> sums(x_.size());
    for (std::size_t i = 0; i < x_.size(); ++i) sums[i] = {want(i), 1.0 + std::abs(want(i))};
    GEMMA_TRY(compare(kernel, dz, sums, kFine));
    release(3);
    return {};
  }

  double x(std::size_t i) const { return double{x_[i]}; }
  double y(std::size_t i) const { return double{y_[i]}; }
  std::size_t row(std::size_t i) const { return i / width_; }
  std::size_t column(std::size_t i) const { return i % width_; }

  Numbers row_of(const Numbers& rows, std::size_t t) const {
    const auto first = rows.begin() + static_cast<std::ptrdiff_t>(t * width_);
    return Numbers(first, first + static_cast<std::ptrdiff_t>(width_));
  }

  static auto is(const Numbers& numbers) {
    return [&numbers](std::size_t i) { return double{numbers[i]}; };
  }

  /// Kernels that take each number by itself.
  Status check_each() {
    GEMMA_TRY(check("copy", [&](A, A dy, A dz) { ops_.copy(dy, width_, dz); }, is(y_)));
    GEMMA_TRY(check("add", [&](A, A dy, A dz) { ops_.add(dy, dz); },
                    [&](std::size_t i) { return x(i) + y(i); }));
    GEMMA_TRY(check("scale", [&](A, A, A dz) { ops_.scale(dz, 0.75f); },
                    [&](std::size_t i) { return 0.75 * x(i); }));
    GEMMA_TRY(check("softcap", [&](A, A, A dz) { ops_.tanh(dz, width_); },
                    [&](std::size_t i) { return std::tanh(x(i)); }));
    GEMMA_TRY(check("gelu_mul", [&](A, A dy, A dz) { ops_.gelu_mul(dz, dy, width_); },
                    [&](std::size_t i) { return gelu(x(i)) * y(i); }));
    const NormWeights& gain = weights_.output_norm;
    return check("multiply", [&](A, A, A dz) { ops_.multiply(gain, dz); },
                 [&](std::size_t i) { return x(i) * double{gain[column(i)]}; });
  }

  Status check_norms() {
    const NormWeights& gain = weights_.output_norm;
    const auto normed_rows = [&](const Numbers& rows) {
      Numbers all;
      for (std::size_t t = 0; t < tokens_; ++t) {
        const Numbers one = normed(row_of(rows, t), gain);
        all.insert(all.end(), one.begin(), one.end());
      }
      return all;
    };
    const Numbers normed_y = normed_rows(y_);
    Numbers sum = x_;
    for (std::size_t i = 0; i < x_.size(); ++i) sum[i] += normed_y[i];
    const Numbers normed_sum = normed_rows(sum);
    const auto add_and_norm = [&](A dx, A dy, A dz) {
      ops_.rms_norm(dy, gain, dy);
      ops_.add(dy, dx);
      ops_.rms_norm(dx, gain, dz);
    };
    GEMMA_TRY(check("rms_norm", [&](A, A dy, A dz) { ops_.norm_rows(dy, 0, tokens_, gain, dz); },
                    is(normed_y)));
    GEMMA_TRY(check("add_and_norm", add_and_norm, is(normed_sum)));
    return check("add_and_norm", [&](A dx, A dy, A dz) {
      add_and_norm(dx, dy, dz);
      ops_.copy(dx, width_, dz);
    }, is(sum));
  }

  /// Rows are taken out in another order, and added where they came from.
  Status check_experts() {
    std::vector<opencl::Int> order(tokens_);
    for (std::size_t t = 0; t < tokens_; ++t) {
      order[t] = static_cast<opencl::Int>((t + 1) % tokens_);
    }
    Numbers bits(tokens_);
    std::memcpy(bits.data(), order.data(), tokens_ * sizeof(opencl::Int));
    const Numbers factors = make(tokens_);
    GEMMA_TRY_ASSIGN(const Activation places, put(bits));
    GEMMA_TRY_ASSIGN(const Activation shares, put(factors));
    const opencl::UInt n = ops_.number(width_);
    const opencl::KernelSet& kernels = ops_.kernels();
    GEMMA_TRY(check("gather", [&](A, A dy, A dz) {
      ops_.run(kernels.gather, {tokens_, 1}, ops_.memory(dy), ops_.memory(places), n,
               ops_.memory(dz));
    }, [&](std::size_t i) { return y((row(i) + 1) % tokens_ * width_ + column(i)); }));
    GEMMA_TRY(check("scatter_add", [&](A, A dy, A dz) {
      ops_.run(kernels.scatter_add, {tokens_, 1}, ops_.memory(dy), ops_.memory(places),
               ops_.memory(shares), n, ops_.memory(dz));
    }, [&](std::size_t i) {
      const std::size_t from = (row(i) + tokens_ - 1) % tokens_;
      return x(i) + double{factors[from]} * y(from * width_ + column(i));
    }));
    release(2);
    return {};
  }

  /// What only Gemma 3n, and with it Gemma 4's small ones, do.
  Status check_gemma3n() {
    constexpr float kSparsity = 0.5f;
    Numbers cut, matched, mixed;
    const Numbers gain = make(width_);
    constexpr float kShrink = 0.25f;
    for (std::size_t t = 0; t < tokens_; ++t) {
      const Numbers in = row_of(x_, t);
      double mean = 0.0, squares = 0.0;
      for (const float value : in) mean += double{value} / static_cast<double>(width_);
      for (const float value : in) squares += (double{value} - mean) * (double{value} - mean);
      const double deviation = std::sqrt(squares / static_cast<double>(width_));
      const double threshold = mean + double{kSparsity} * deviation;
      const double ratio = rms(row_of(y_, t), 0.0f) / rms(in, 0.0f);
      Numbers small = in;
      for (float& value : small) value *= kShrink;
      const Numbers norm = normed(small, gain);
      for (std::size_t i = 0; i < width_; ++i) {
        cut.push_back(static_cast<float>((std::max)(double{in[i]} - threshold, 0.0)));
        matched.push_back(static_cast<float>(double{in[i]} * ratio));
        mixed.push_back(static_cast<float>((double{norm[i]} + y(t * width_ + i)) * std::sqrt(0.5)));
      }
    }
    GEMMA_TRY(check("sparsify", [&](A, A, A dz) { ops_.sparsify(dz, width_, kSparsity); },
                    is(cut)));
    GEMMA_TRY(check("match_length", [&](A, A dy, A dz) { ops_.match_length(dy, dz); },
                    is(matched)));
    GEMMA_TRY_ASSIGN(const Activation dgain, put(gain));
    GEMMA_TRY(check("mix_per_layer", [&](A, A dy, A dz) {
      ops_.run(ops_.kernels().mix_per_layer, {tokens_, 1}, ops_.memory(dz), ops_.memory(dy),
               ops_.memory(dgain), ops_.number(width_), kShrink, config_.norm_eps);
    }, is(mixed)));
    release(1);
    return check_altup();
  }

  /// The second of two streams.
  Status check_altup() {
    const Numbers mixing = make(4 * tokens_);
    const Numbers z = make(x_.size());
    GEMMA_TRY_ASSIGN(const Activation dmixing, put(mixing));
    GEMMA_TRY_ASSIGN(const Activation active, put(z));
    GEMMA_TRY_ASSIGN(const Activation other, put(z));
    GEMMA_TRY(check("add_scaled", [&](A dx, A dy, A dz) {
      ops_.altup_predict({dx, dy}, dmixing, {other, dz});
    }, [&](std::size_t i) {
      const std::size_t at = 4 * row(i) + 2;
      return y(i) + double{mixing[at]} * x(i) + double{mixing[at + 1]} * y(i);
    }));
    GEMMA_TRY(check("altup_correct", [&](A dx, A dy, A dz) {
      ops_.altup_correct({dx, dy}, 0, active, dmixing, {other, dz});
    }, [&](std::size_t i) {
      return y(i) + (1.0 + double{mixing[2 * row(i) + 1]}) * (double{z[i]} - x(i));
    }));
    release(3);
    return {};
  }

  /// The largest of some numbers, and the largest few.
  Status check_picker() {
    constexpr std::size_t kTop = 200;  // of more than one size that the kernels count
    const Numbers numbers = make(3000);
    Numbers sorted = numbers;
    std::sort(sorted.begin(), sorted.end(), [](float a, float b) { return a > b; });
    GEMMA_TRY_ASSIGN(const Activation in, put(numbers));
    const auto is_right = [&](const Picked& p) {
      return p.place < numbers.size() && numbers[p.place] == p.value;
    };
    // Each call makes one of two lists ready for the next.
    for (std::size_t round = 0; round < 3; ++round) {
      const Picked best = ops_.largest(in, numbers.size());
      std::vector<Picked> some = ops_.largest(in, numbers.size(), kTop);
      ops_.choose(in, numbers.size(), round);
      const std::vector<Picked> drawn = ops_.drawn(round + 1);
      const TokenId next = ops_.chosen();
      GEMMA_TRY(ops_.take_status());
      std::sort(some.begin(), some.end(),
                [](const Picked& a, const Picked& b) { return a.value > b.value; });
      bool right = is_right(best) && best.value == sorted[0] && some.size() >= kTop;
      for (const Picked& p : drawn) right = right && p.place == best.place && p.value == best.value;
      right = right && static_cast<std::size_t>(next) == best.place;
      for (std::size_t i = 0; i < some.size() && right; ++i) {
        right = is_right(some[i]) && some[i].value == sorted[i];
      }
      if (!right) return wrong("the largest numbers found are not those");
    }
    release(1);
    return {};
  }

  std::size_t width_;
  std::size_t tokens_;
  Numbers x_, y_;
};

}  // namespace detail
GEMMA_NAMESPACE_END

#endif  // GEMMA_BACKEND_IMPL_OPENCL_STEP_TEST_INL_HPP_
