// Ways through a graph of TFLite, for decoder_graph.hpp: who makes a value, who uses it, and what is a
// constant, a norm or a product with weights.
#ifndef GEMMA_GENERATE_IMPL_GRAPH_WALK_INL_HPP_
#define GEMMA_GENERATE_IMPL_GRAPH_WALK_INL_HPP_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <optional>
#include <string>
#include <vector>

#include "gemma/base/bytes.hpp"
#include "gemma/formats/tfl_graph.hpp"

GEMMA_NAMESPACE_BEGIN
namespace mediapipe {
namespace detail {

using tfl::GraphOp;
using tfl::GraphTensor;
using tfl::Op;

/// A norm: its gains, and what it is applied to.
struct NormPlace {
  std::int32_t gain;
  std::int32_t input;
};

/// A product with a constant number.
struct ScaledPlace {
  float factor;
  std::int32_t input;
};

/// Graphs of damaged files may have cycles: every way has an end.
class GraphWalk {
 public:
  explicit GraphWalk(const tfl::Graph& graph)
      : graph_(graph), makers_(graph.tensors.size(), -1), users_(graph.tensors.size()) {
    for (std::size_t i = 0; i < graph.ops.size(); ++i) {
      for (const std::int32_t t : graph.ops[i].outputs) {
        if (t >= 0) makers_[static_cast<std::size_t>(t)] = static_cast<std::int32_t>(i);
      }
      for (const std::int32_t t : graph.ops[i].inputs) {
        if (t >= 0) users_[static_cast<std::size_t>(t)].push_back(static_cast<std::int32_t>(i));
      }
    }
  }

  const GraphTensor& tensor(std::int32_t t) const {
    return graph_.tensors[static_cast<std::size_t>(t)];
  }
  const GraphOp& op(std::int32_t i) const { return graph_.ops[static_cast<std::size_t>(i)]; }

  /// The operator that makes a value; −1: none does.
  std::int32_t maker(std::int32_t t) const {
    return t < 0 ? -1 : makers_[static_cast<std::size_t>(t)];
  }
  bool made_by(std::int32_t t, Op kind) const { return maker(t) >= 0 && op(maker(t)).op == kind; }
  const std::vector<std::int32_t>& users(std::int32_t t) const {
    return users_[static_cast<std::size_t>(t)];
  }

  /// Back to where a value has its numbers from, past operators that change only shape or type.
  std::int32_t origin(std::int32_t t) const {
    constexpr int kFarthest = 32;
    for (int i = 0; i < kFarthest; ++i) {
      const std::int32_t m = maker(t);
      if (m < 0 || !keeps_numbers(op(m).op) || op(m).inputs.empty() || op(m).inputs[0] < 0) break;
      t = op(m).inputs[0];
    }
    return t;
  }

  /// The tensor whose bytes a constant has; −1: it is none. Half floats are widened by an operator.
  std::int32_t constant(std::int32_t t) const {
    if (t < 0) return -1;
    if (!tensor(t).data.empty()) return t;
    const std::int32_t m = maker(t);
    if (m < 0 || op(m).op != Op::dequantize || op(m).inputs.empty()) return -1;
    const std::int32_t inner = op(m).inputs[0];
    return inner >= 0 && !tensor(inner).data.empty() ? inner : -1;
  }

  /// The one number of a constant, if it is a float32 or an int32.
  std::optional<float> number(std::int32_t t) const {
    t = constant(t);
    if (t < 0 || tensor(t).data.size() != 4) return std::nullopt;
    const std::uint8_t* data = tensor(t).data.data();
    if (tensor(t).type == tfl::TensorType::f32) return load_le<float>(data);
    if (tensor(t).type != tfl::TensorType::i32) return std::nullopt;
    return static_cast<float>(load_le<std::int32_t>(data));
  }

  /// The numbers of a constant of int32; empty if it is none.
  std::vector<std::int32_t> numbers(std::int32_t t) const {
    std::vector<std::int32_t> out;
    if (t < 0 || tensor(t).type != tfl::TensorType::i32) return out;
    for (std::size_t at = 0; at + 4 <= tensor(t).data.size(); at += 4) {
      out.push_back(load_le<std::int32_t>(tensor(t).data.data() + at));
    }
    return out;
  }

  /// Whether an operator multiplies a value with a constant matrix, inputs[1].
  bool is_product(std::int32_t i) const {
    return i >= 0 && op(i).op == Op::fully_connected && op(i).inputs.size() >= 2 &&
           constant(op(i).inputs[1]) >= 0 && !op(i).outputs.empty() && op(i).outputs[0] >= 0;
  }

  /// The product that `t` is, with one constant number.
  std::optional<ScaledPlace> scaled(std::int32_t t) const {
    const std::int32_t m = maker(t);
    if (m < 0 || op(m).inputs.size() < 2) return std::nullopt;
    const std::vector<std::int32_t>& in = op(m).inputs;
    if (op(m).op == Op::mul) {
      for (const std::size_t i : {std::size_t{1}, std::size_t{0}}) {
        if (const auto factor = number(in[i])) return ScaledPlace{*factor, in[1 - i]};
      }
    } else if (op(m).op == Op::div) {
      const auto factor = number(in[1]);
      if (factor && *factor != 0.0f) return ScaledPlace{1.0f / *factor, in[0]};
    }
    return std::nullopt;
  }

  /// The RMSNorm that makes `t`: as one operator, or as x · rsqrt(mean(x²) + ε) · gain.
  std::optional<NormPlace> norm(std::int32_t t) const {
    const std::int32_t m = maker(origin(t));
    if (m < 0) return std::nullopt;
    const std::vector<std::int32_t>& in = op(m).inputs;
    if (op(m).op == Op::composite && op(m).name.find("rms_norm") != std::string::npos) {
      for (std::size_t i = 1; i < in.size(); ++i) {
        if (const std::int32_t gain = gains(in[i]); gain >= 0) return NormPlace{gain, in[0]};
      }
    }
    if (op(m).op != Op::mul || in.size() != 2) return std::nullopt;
    for (const std::size_t i : {std::size_t{0}, std::size_t{1}}) {
      const std::int32_t gain = gains(in[i]);
      const std::int32_t x = gain < 0 ? -1 : normalised(in[1 - i]);
      if (x >= 0) return NormPlace{gain, x};
    }
    // x · (r · gain)
    for (const std::size_t i : {std::size_t{0}, std::size_t{1}}) {
      const std::int32_t inner = maker(origin(in[i]));
      if (inner < 0 || op(inner).op != Op::mul || op(inner).inputs.size() != 2) continue;
      for (const std::size_t k : {std::size_t{0}, std::size_t{1}}) {
        const std::int32_t gain = gains(op(inner).inputs[k]);
        if (gain >= 0 && made_by(origin(op(inner).inputs[1 - k]), Op::rsqrt)) {
          return NormPlace{gain, in[1 - i]};
        }
      }
    }
    return std::nullopt;
  }

  /// All operators that `t` is made by, back to products with constant weights, which are told apart:
  /// they are the frontier, in the order of the graph.
  struct Region {
    std::vector<std::int32_t> ops;       ///< in the order of the graph
    std::vector<std::int32_t> products;  ///< likewise
  };
  Region behind(std::int32_t t) const {
    Region region;
    std::vector<bool> seen(graph_.ops.size());
    std::vector<std::int32_t> pending = {t};
    while (!pending.empty()) {
      const std::int32_t m = maker(pending.back());
      pending.pop_back();
      if (m < 0 || seen[static_cast<std::size_t>(m)]) continue;
      seen[static_cast<std::size_t>(m)] = true;
      if (is_product(m)) {
        region.products.push_back(m);
        continue;
      }
      region.ops.push_back(m);
      for (const std::int32_t in : op(m).inputs) pending.push_back(in);
    }
    std::sort(region.ops.begin(), region.ops.end());
    std::sort(region.products.begin(), region.products.end());
    return region;
  }

 private:
  static bool keeps_numbers(Op kind) {
    return kind == Op::reshape || kind == Op::transpose || kind == Op::squeeze ||
           kind == Op::expand_dims || kind == Op::cast || kind == Op::dequantize;
  }

  /// The constant if it may be the gains of a norm: several float32 numbers.
  std::int32_t gains(std::int32_t t) const {
    t = constant(t);
    return t >= 0 && tensor(t).type == tfl::TensorType::f32 && tensor(t).data.size() > 4 ? t : -1;
  }

  /// x, if `t` is x · rsqrt(…); else −1.
  std::int32_t normalised(std::int32_t t) const {
    const std::int32_t m = maker(origin(t));
    if (m < 0 || op(m).op != Op::mul || op(m).inputs.size() != 2) return -1;
    for (const std::size_t i : {std::size_t{0}, std::size_t{1}}) {
      if (made_by(origin(op(m).inputs[i]), Op::rsqrt)) return op(m).inputs[1 - i];
    }
    return -1;
  }

  const tfl::Graph& graph_;
  std::vector<std::int32_t> makers_;
  std::vector<std::vector<std::int32_t>> users_;
};

}  // namespace detail
}  // namespace mediapipe
GEMMA_NAMESPACE_END

#endif  // GEMMA_GENERATE_IMPL_GRAPH_WALK_INL_HPP_
