// What all parts of the self-test share: made-up numbers, and the comparison with the device's.
#ifndef GEMMA_BACKEND_IMPL_OPENCL_TEST_NUMBERS_INL_HPP_
#define GEMMA_BACKEND_IMPL_OPENCL_TEST_NUMBERS_INL_HPP_

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <string>
#include <vector>

#include "gemma/backend/impl/opencl_ops-inl.hpp"

GEMMA_NAMESPACE_BEGIN
namespace detail {

class OpenClTestNumbers {
 protected:
  OpenClTestNumbers(OpenClOps& ops, const Config& config, const Weights& weights)
      : ops_(ops), config_(config), weights_(weights) {}

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
      return wrong(kernel + ' ' + text);
    }
    return {};
  }

  Error wrong(const std::string& what) const {
    return Error(ErrorCode::self_test_failed, ops_.context().device().name + ": self-test failed: " +
                                                  what + "; its driver computes wrong numbers");
  }

  void begin(std::size_t tokens, std::size_t position = 0) {
    const std::vector<TokenId> ids(tokens, 0);
    ops_.begin(ids, position);
  }

  void release(std::size_t count) { ops_.release(count); }

  OpenClOps& ops_;
  const Config& config_;
  const Weights& weights_;

 private:
  std::uint32_t state_ = 1;
};

}  // namespace detail
GEMMA_NAMESPACE_END

#endif  // GEMMA_BACKEND_IMPL_OPENCL_TEST_NUMBERS_INL_HPP_
