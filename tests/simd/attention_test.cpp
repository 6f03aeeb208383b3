#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>
#include <vector>

#include "gemma/base/aligned.hpp"
#include "gemma/quant/registry.hpp"
#include "gemma/simd/kernels.hpp"

namespace {

namespace simd = gemma::simd;

struct Shape {
  std::size_t heads, kv_heads, head_dim, window, capacity, first, tokens;
  float softcap;
};

float to_bf16(float x) {
  std::uint8_t bytes[2];
  simd::kernels().store_kv(&x, 1, simd::KvType::bf16, bytes);
  gemma::quant::decode_row(gemma::DType::BF16, bytes, 1, &x);
  return x;
}

/// A ring buffer that holds what positions [0, first + tokens) left in it, and the queries.
struct Case {
  std::vector<float> keys, values, q, out;
  std::vector<std::vector<float>> k_at, v_at;  ///< by position
  std::vector<std::uint8_t> k_cache, v_cache;  ///< of narrow()
  simd::AttentionArgs args;
  gemma::AlignedArray<std::uint8_t> scratch =
      gemma::AlignedArray<std::uint8_t>::create(simd::kScratchBytes, "scratch").value();

  explicit Case(const Shape& s) {
    std::mt19937 random(7);
    std::normal_distribution<float> number;
    const std::size_t row = s.kv_heads * s.head_dim;
    keys.assign(s.capacity * row, NAN);  // what was never written must never be read
    values.assign(s.capacity * row, NAN);
    for (std::size_t p = 0; p < s.first + s.tokens; ++p) {
      std::vector<float> k(row), v(row);
      for (float& x : k) x = number(random);
      for (float& x : v) x = number(random);
      std::copy(k.begin(), k.end(), keys.begin() + static_cast<std::ptrdiff_t>(p % s.capacity * row));
      std::copy(v.begin(), v.end(),
                values.begin() + static_cast<std::ptrdiff_t>(p % s.capacity * row));
      k_at.push_back(std::move(k));
      v_at.push_back(std::move(v));
    }
    q.resize(s.tokens * s.heads * s.head_dim);
    for (float& x : q) x = number(random);
    out.assign(q.size(), NAN);
    args.q = q.data();
    args.out = out.data();
    args.k = reinterpret_cast<const std::uint8_t*>(keys.data());
    args.v = reinterpret_cast<const std::uint8_t*>(values.data());
    args.tokens = s.tokens;
    args.heads = s.heads;
    args.kv_heads = s.kv_heads;
    args.head_dim = s.head_dim;
    args.first_position = s.first;
    args.capacity = s.capacity;
    args.window = s.window;
    args.scale = 0.3f;
    args.softcap = s.softcap;
  }

  /// Query heads [head, head_end) of tokens [token, token_end).
  void run(const simd::Kernels& kernels, std::size_t token, std::size_t token_end, std::size_t head,
           std::size_t head_end) {
    kernels.attention(args, token, token_end, head, head_end, scratch.data());
  }
  void run(const simd::Kernels& kernels) { run(kernels, 0, args.tokens, 0, args.heads); }

  /// Stores keys and values in a cache of that type, and makes those that queries may see what it holds.
  void narrow(const simd::Kernels& kernels, simd::KvType type) {
    const gemma::DType format = type == simd::KvType::f16    ? gemma::DType::F16
                                : type == simd::KvType::bf16 ? gemma::DType::BF16
                                                             : gemma::DType::Q8_0;
    const std::size_t row = args.kv_heads * args.head_dim;
    const std::size_t bytes = simd::kv_bytes(type, row);
    k_cache.assign(bytes * args.capacity, 0xFF);
    v_cache.assign(bytes * args.capacity, 0xFF);
    const auto store = [&](std::vector<float>& x, float* floats, std::uint8_t* cache, std::size_t position) {
      const std::size_t slot = position % args.capacity;
      kernels.store_kv(x.data(), row, type, cache + slot * bytes);
      const std::vector<float> before = x;
      gemma::quant::decode_row(format, cache + slot * bytes, row, x.data());
      for (std::size_t i = 0; i < row; ++i) CHECK(std::abs(x[i] - before[i]) < 0.03f);
      std::copy(x.begin(), x.end(), floats + slot * row);
    };
    const std::size_t last = args.first_position + args.tokens;
    for (std::size_t p = last - (std::min)(last, args.capacity); p < last; ++p) {
      store(k_at[p], keys.data(), k_cache.data(), p);
      store(v_at[p], values.data(), v_cache.data(), p);
    }
    args.k = k_cache.data();
    args.v = v_cache.data();
    args.kv_type = type;
  }

  /// A result, and the sum of what was added up for it, all as positive numbers.
  struct Expected {
    std::vector<double> result, sizes;
  };

  /// The definition, in doubles.
  Expected expected(std::size_t token, std::size_t head) const {
    const std::size_t d = args.head_dim;
    const std::size_t offset = head / (args.heads / args.kv_heads) * d;
    const std::size_t position = args.first_position + token;
    const bool windowed = args.window != 0 && position + 1 > args.window;
    std::vector<double> weights;
    double sum = 0.0;
    const std::size_t first = windowed ? position + 1 - args.window : 0;
    for (std::size_t j = first; j <= position; ++j) {
      double score = 0.0;
      for (std::size_t i = 0; i < d; ++i) {
        score += double{q[(token * args.heads + head) * d + i]} * double{k_at[j][offset + i]};
      }
      score *= double{args.scale};
      if (args.softcap > 0.0f) {
        score = double{args.softcap} * std::tanh(score / double{args.softcap});
      }
      weights.push_back(std::exp(score));
      sum += weights.back();
    }
    Expected e{std::vector<double>(d, 0.0), std::vector<double>(d, 0.0)};
    for (std::size_t j = first; j <= position; ++j) {
      for (std::size_t i = 0; i < d; ++i) {
        const double added = weights[j - first] / sum * double{v_at[j][offset + i]};
        e.result[i] += added;
        e.sizes[i] += std::abs(added);
      }
    }
    return e;
  }

  /// The largest error of all results, beyond what it may be if each weight has the relative error given.
  double worst_error(double of_weights = 0.0) const {
    double worst = 0.0;
    for (std::size_t t = 0; t < args.tokens; ++t) {
      for (std::size_t h = 0; h < args.heads; ++h) {
        const Expected want = expected(t, h);
        for (std::size_t i = 0; i < args.head_dim; ++i) {
          const double got = double{out[(t * args.heads + h) * args.head_dim + i]};
          const double error = std::abs(got - want.result[i]) - of_weights * want.sizes[i];
          worst = error <= worst ? worst : error;  // a NaN stays
        }
      }
    }
    return worst;
  }
};

const std::vector<Shape> kShapes = {
    // heads, KV heads, d, window, capacity, first, tokens, soft-cap
    {1, 1, 16, 0, 64, 0, 1, 0.0f},     // the first token
    {4, 1, 256, 0, 300, 0, 40, 0.0f},  // multi-query, several blocks
    {4, 2, 24, 0, 200, 130, 5, 0.0f},  // a head that is no multiple of a vector
    {8, 8, 32, 0, 128, 60, 10, 5.0f},  // multi-head, soft-cap
    {2, 1, 16, 12, 27, 100, 16, 0.0f},  // the ring has gone round
    {4, 1, 64, 1, 8, 50, 3, 0.0f},     // only itself
    {4, 4, 18, 70, 133, 500, 64, 2.0f},
    {16, 2, 80, 512, 1000, 1500, 7, 0.0f}};

}  // namespace

TEST_CASE("attention is what its definition says, on every target") {
  for (const simd::Kernels& kernels : simd::all_kernels()) {
    CAPTURE(kernels.target);
    for (const Shape& shape : kShapes) {
      CAPTURE(shape.head_dim);
      CAPTURE(shape.window);
      Case c(shape);
      c.run(kernels);
      CHECK(c.worst_error() < 3e-6);
    }
  }
}

TEST_CASE("queries give the same bits alone and together") {
  for (const simd::Kernels& kernels : simd::all_kernels()) {
    for (const Shape& shape : kShapes) {
      Case together(shape);
      together.run(kernels);
      Case alone(shape);
      for (std::size_t t = 0; t < shape.tokens; ++t) {
        for (std::size_t h = 0; h < shape.heads; ++h) {
          alone.run(kernels, t, t + 1, h, h + 1);
        }
      }
      CHECK(std::memcmp(alone.out.data(), together.out.data(), alone.out.size() * 4) == 0);
    }
  }
}

TEST_CASE("a narrower cache costs the rounding of what is stored, and nothing more") {
  for (const simd::Kernels& kernels : simd::all_kernels()) {
    CAPTURE(kernels.target);
    for (const simd::KvType type : {simd::KvType::f16, simd::KvType::bf16, simd::KvType::q8_0}) {
      for (const Shape& shape : {Shape{4, 2, 96, 0, 100, 30, 20, 0.0f},
                                 Shape{2, 1, 256, 70, 90, 400, 20, 0.0f}}) {
        Case c(shape);
        c.narrow(kernels, type);
        c.run(kernels);
        CHECK(c.worst_error() < 1e-4);
      }
    }
  }
}

TEST_CASE("with matrix tiles attention is what its definition says of numbers in bfloat16") {
  for (const simd::Kernels& kernels : simd::all_kernels()) {
    if (kernels.bf16_tokens > 64) continue;
    for (const Shape& shape : {Shape{4, 1, 256, 0, 300, 0, 64, 0.0f}, Shape{8, 2, 64, 100, 300, 700, 70, 5.0f},
                               Shape{2, 2, 32, 0, 500, 77, 100, 0.0f}}) {
      CAPTURE(shape.head_dim);
      Case together(shape), alone(shape);
      for (Case* c : {&together, &alone}) {
        c->narrow(kernels, simd::KvType::bf16);
        for (float& x : c->q) x = to_bf16(x * c->args.scale);
        c->args.scale = 1.0f;
      }
      together.run(kernels);
      // Half a unit in the last of 8 binary places of each weight.
      CHECK(together.worst_error(1.0 / 256.0) < 3e-6);
      for (std::size_t t = 0; t < shape.tokens; ++t) {
        for (std::size_t h = 0; h < shape.heads; ++h) alone.run(kernels, t, t + 1, h, h + 1);
      }
      CHECK(std::memcmp(alone.out.data(), together.out.data(), alone.out.size() * 4) == 0);
      together.args.kv_type = simd::KvType::f32;
      together.args.k = reinterpret_cast<const std::uint8_t*>(together.keys.data());
      together.args.v = reinterpret_cast<const std::uint8_t*>(together.values.data());
      together.run(kernels);
      CHECK(together.worst_error() < 3e-6);
    }
  }
}
