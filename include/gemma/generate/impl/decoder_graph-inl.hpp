// Bodies of decoder_graph.hpp: from the logits back to the embedding, layer by layer.
#ifndef GEMMA_GENERATE_IMPL_DECODER_GRAPH_INL_HPP_
#define GEMMA_GENERATE_IMPL_DECODER_GRAPH_INL_HPP_

#include <algorithm>
#include <cmath>
#include <utility>

#include "gemma/formats/metadata.hpp"
#include "gemma/generate/decoder_graph.hpp"
#include "gemma/generate/impl/graph_walk-inl.hpp"

GEMMA_NAMESPACE_BEGIN
namespace mediapipe {
namespace detail {

/// Numbers of a value with its shape: which row of a product with weights each of them is from.
struct RowMap {
  std::vector<std::uint32_t> rows;
  std::vector<std::int32_t> shape;
};

/// Elements [begin, begin + size) along each dimension; empty if that is not inside.
inline std::vector<std::uint32_t> sliced(const RowMap& from, const std::vector<std::int32_t>& begin,
                                         const std::vector<std::int32_t>& size) {
  std::vector<std::uint32_t> out;
  const std::size_t rank = from.shape.size();
  if (rank == 0 || begin.size() != rank || size.size() != rank) return out;
  std::size_t count = 1;
  for (std::size_t d = 0; d < rank; ++d) {
    if (begin[d] < 0 || size[d] <= 0 || size[d] > from.shape[d] - begin[d]) return out;
    count *= static_cast<std::size_t>(size[d]);  // no more than there are in `from`
  }
  out.reserve(count);
  for (std::size_t i = 0; i < count; ++i) {
    std::size_t rest = i, at = 0, stride = 1;
    for (std::size_t d = rank; d-- > 0;) {
      const auto n = static_cast<std::size_t>(size[d]);
      at += (rest % n + static_cast<std::size_t>(begin[d])) * stride;
      rest /= n;
      stride *= static_cast<std::size_t>(from.shape[d]);
    }
    out.push_back(from.rows[at]);
  }
  return out;
}

class DecoderWalk {
 public:
  DecoderWalk(const tfl::Graph& graph, const std::string& name)
      : graph_(graph), walk_(graph), name_(name) {}

  Result<DecoderGraph> read() {
    for (const GraphOp& op : graph_.ops) {
      if (op.op == Op::custom && op.name.find("DISPATCH") != std::string::npos) {
        return error("is compiled for the NPU of one kind of phone; files for CPUs or GPUs can be read");
      }
    }
    GEMMA_TRY_ASSIGN(std::int32_t x, read_head());
    constexpr std::size_t kMostLayers = 1000;
    for (x = walk_.origin(x); walk_.made_by(x, Op::add); x = walk_.origin(x)) {
      if (model_.layers.size() == kMostLayers) return error("has more layers than any model");
      GraphLayer layer;
      GEMMA_TRY_ASSIGN(x, read_feed_forward(x, layer));
      x = walk_.origin(x);
      if (!walk_.made_by(x, Op::add)) return error("has a feed-forward without an attention before it");
      GEMMA_TRY_ASSIGN(x, read_attention(x, layer));
      model_.layers.push_back(std::move(layer));
    }
    if (model_.layers.empty()) return error("has no layers");
    std::reverse(model_.layers.begin(), model_.layers.end());
    GEMMA_TRY(read_embedding(x));
    GEMMA_TRY(read_cache());
    return std::move(model_);
  }

 private:
  Error error(const std::string& what) const {
    const std::size_t left = model_.layers.size();
    const std::string where = left == 0 ? "" : " (" + std::to_string(left + 1) + ". layer from the end)";
    return Error(ErrorCode::unsupported, name_ + ": the graph " + what + where +
                                             "; Gemma 1, 2 and 3 as AI Edge Torch exports them are expected");
  }

  std::string tensor_name(std::int32_t t) const {
    return "'" + gguf::printable(walk_.tensor(t).name) + "'";
  }

  /// The matrix of a product, which has no bias.
  Result<std::int32_t> matrix(std::int32_t product, const char* what) const {
    const GraphOp& op = walk_.op(product);
    const std::int32_t weights = walk_.constant(op.inputs[1]);
    if (op.inputs.size() > 2 && op.inputs[2] >= 0) {
      return error(std::string("has a bias in ") + what + ", " + tensor_name(weights));
    }
    if (shape_of(walk_.tensor(weights)).rows == 0) {
      return error("has no matrix for " + std::string(what) + ", " + tensor_name(weights));
    }
    return weights;
  }

  /// A value that is a product, after a norm or not; false if it is none.
  struct Branch {
    std::int32_t product = -1;
    std::int32_t norm = -1;
  };
  bool find_branch(std::int32_t t, Branch& branch) const {
    const auto norm = walk_.norm(t);
    if (norm) branch.norm = norm->gain;
    const std::int32_t x = walk_.origin(norm ? norm->input : t);
    if (!walk_.is_product(walk_.maker(x))) return false;
    branch.product = walk_.maker(x);
    return true;
  }

  /// The two terms of a sum: what a branch of the layer adds, and what it is added to.
  Result<std::pair<Branch, std::int32_t>> read_sum(std::int32_t x, const char* what) const {
    const GraphOp& sum = walk_.op(walk_.maker(x));
    for (std::size_t i = 0; i < 2 && sum.inputs.size() == 2; ++i) {
      Branch branch;
      if (find_branch(sum.inputs[1 - i], branch)) return std::make_pair(branch, sum.inputs[i]);
    }
    return error(std::string("adds what is no product with weights, where ") + what + " is expected");
  }

  /// From the logits to what the last norm reads.
  Result<std::int32_t> read_head() {
    std::int32_t x = -1;
    for (const tfl::GraphPort& port : graph_.outputs) {
      if (port.name == "logits") x = port.tensor;
    }
    if (x < 0) return error("gives no 'logits'");
    constexpr int kMostSteps = 8;  // of a soft-cap: a division, tanh, a product
    float factor = 0.0f;
    x = walk_.origin(x);
    for (int i = 0; i < kMostSteps && !walk_.is_product(walk_.maker(x)); ++i) {
      if (const auto scaled = walk_.scaled(x)) {
        factor = scaled->factor;
        x = scaled->input;
      } else if (walk_.made_by(x, Op::tanh) && !walk_.op(walk_.maker(x)).inputs.empty()) {
        model_.final_softcap = factor;
        x = walk_.op(walk_.maker(x)).inputs[0];
      }
      x = walk_.origin(x);
    }
    if (!walk_.is_product(walk_.maker(x))) return error("does not make its logits by a product with weights");
    const std::int32_t product = walk_.maker(x);
    GEMMA_TRY_ASSIGN(model_.head, matrix(product, "the output head"));
    const auto norm = walk_.norm(walk_.op(product).inputs[0]);
    if (!norm) return error("has no norm before the output head");
    model_.output_norm = norm->gain;
    return norm->input;
  }

  /// From the sum that ends a layer to the sum that ends its attention.
  Result<std::int32_t> read_feed_forward(std::int32_t x, GraphLayer& layer) {
    GEMMA_TRY_ASSIGN(const auto terms, read_sum(x, "a feed-forward"));
    const auto [branch, before] = terms;
    layer.post_ffn_norm = branch.norm;
    GEMMA_TRY_ASSIGN(layer.down, matrix(branch.product, "a feed-forward"));
    const std::int32_t inner = walk_.origin(walk_.op(branch.product).inputs[0]);
    if (!walk_.made_by(inner, Op::mul) || walk_.op(walk_.maker(inner)).inputs.size() != 2) {
      return error("has a feed-forward without a gate");
    }
    const std::vector<std::int32_t>& factors = walk_.op(walk_.maker(inner)).inputs;
    const bool up_first = walk_.is_product(walk_.maker(walk_.origin(factors[0])));
    const std::int32_t up = walk_.origin(factors[up_first ? 0 : 1]);
    const auto gate = walk_.behind(factors[up_first ? 1 : 0]);
    if (!walk_.is_product(walk_.maker(up)) || gate.products.size() != 1) {
      return error("has a feed-forward without a gate");
    }
    for (const std::int32_t i : gate.ops) {
      if (walk_.op(i).op == Op::logistic) return error("has gates by SiLU, not GELU");
    }
    GEMMA_TRY_ASSIGN(layer.up, matrix(walk_.maker(up), "a feed-forward"));
    GEMMA_TRY_ASSIGN(layer.gate, matrix(gate.products[0], "a feed-forward"));
    const auto norm = norm_of(walk_.op(walk_.maker(up)).inputs[0], before);
    if (!norm || !norm_of(walk_.op(gate.products[0]).inputs[0], before)) {
      return error("has a feed-forward that does not read the norm of what it is added to");
    }
    layer.ffn_norm = *norm;
    return before;
  }

  /// The gains of the norm that makes `t` of `x`.
  std::optional<std::int32_t> norm_of(std::int32_t t, std::int32_t x) const {
    const auto norm = walk_.norm(t);
    if (!norm || walk_.origin(norm->input) != walk_.origin(x)) return std::nullopt;
    return norm->gain;
  }

  /// From the sum that ends an attention to what the layer begins with.
  Result<std::int32_t> read_attention(std::int32_t x, GraphLayer& layer) {
    GEMMA_TRY_ASSIGN(const auto terms, read_sum(x, "an attention"));
    const auto [branch, before] = terms;
    layer.post_attention_norm = branch.norm;
    GEMMA_TRY_ASSIGN(layer.out, matrix(branch.product, "an attention"));
    const auto region = walk_.behind(walk_.op(branch.product).inputs[0]);
    if (region.products.size() != 1 && region.products.size() != 3) {
      return error("has " + std::to_string(region.products.size()) +
                   " products with weights before the output of an attention, not 1 or 3");
    }
    for (const std::int32_t i : region.products) {
      const auto norm = norm_of(walk_.op(i).inputs[0], before);
      if (!norm) return error("has an attention that does not read the norm of what it is added to");
      layer.attention_norm = *norm;
    }
    std::int32_t parts[3] = {-1, -1, -1};  // values of queries, keys and values
    GEMMA_TRY(region.products.size() == 1 ? read_fused(region.products[0], layer, parts)
                                          : read_separate(region.products, layer, parts));
    read_details(region, parts, layer);
    return before;
  }

  /// Three products: those of keys and values go into the caches.
  Status read_separate(const std::vector<std::int32_t>& products, GraphLayer& layer,
                       std::int32_t* parts) {
    if (cached_.empty()) find_cached();
    GraphMatrix* const all[] = {&layer.q, &layer.k, &layer.v};
    for (const std::int32_t product : products) {
      const std::size_t i = cached_[static_cast<std::size_t>(product)];
      if (all[i]->tensor >= 0) return error("does not keep the keys and values of an attention apart");
      GEMMA_TRY_ASSIGN(all[i]->tensor, matrix(product, "an attention"));
      parts[i] = walk_.op(product).outputs[0];
    }
    return {};
  }

  /// For each operator, 1 if it makes keys that are kept, 2 if values, else 0.
  void find_cached() {
    cached_.resize(graph_.ops.size());
    for (const tfl::GraphPort& port : graph_.outputs) {
      const bool keys = port.name.rfind("kv_cache_k_", 0) == 0;
      if (!keys && port.name.rfind("kv_cache_v_", 0) != 0) continue;
      for (const std::int32_t product : walk_.behind(port.tensor).products) {
        cached_[static_cast<std::size_t>(product)] = keys ? 1 : 2;
      }
    }
  }

  /// One product whose result is cut into queries, keys and values.
  Status read_fused(std::int32_t product, GraphLayer& layer, std::int32_t* parts) const {
    GEMMA_TRY_ASSIGN(const std::int32_t weights, matrix(product, "an attention"));
    constexpr std::size_t kMostRows = 1u << 20;
    const std::size_t rows = shape_of(walk_.tensor(weights)).rows;
    if (rows > kMostRows) return error("has an attention of too many heads");
    RowMap map;
    map.rows.resize(rows);
    std::iota(map.rows.begin(), map.rows.end(), 0u);
    // Reshaped, and then cut.
    std::int32_t value = walk_.op(product).outputs[0];
    map.shape = walk_.tensor(value).shape;
    constexpr int kMostSteps = 8;
    for (int i = 0; i < kMostSteps; ++i) {
      const std::vector<std::int32_t>& users = walk_.users(value);
      if (users.size() != 1) break;
      const GraphOp& op = walk_.op(users[0]);
      const bool reshapes = op.op == Op::reshape || op.op == Op::squeeze || op.op == Op::expand_dims;
      if (!reshapes || op.outputs.size() != 1 || op.outputs[0] < 0) break;
      value = op.outputs[0];
      map.shape = walk_.tensor(value).shape;
    }
    std::size_t elements = 1;
    for (const std::int32_t n : map.shape) {
      elements = n <= 0 || elements > rows ? 0 : elements * static_cast<std::size_t>(n);
    }
    if (elements != rows) return error("has an attention of an unknown shape, " + tensor_name(value));
    std::vector<std::pair<std::vector<std::uint32_t>, std::int32_t>> cuts;
    for (const std::int32_t user : walk_.users(value)) add_cuts(user, map, cuts);
    std::sort(cuts.begin(), cuts.end());
    std::size_t all = 0;
    for (const auto& cut : cuts) all += cut.first.size();
    if (cuts.size() != 3 || all != rows || cuts[0].first[0] != 0) {
      return error("does not cut " + tensor_name(weights) + " into queries, keys and values");
    }
    GraphMatrix* const matrices[] = {&layer.q, &layer.k, &layer.v};
    for (std::size_t i = 0; i < 3; ++i) {
      matrices[i]->tensor = weights;
      matrices[i]->rows = std::move(cuts[i].first);
      parts[i] = cuts[i].second;
    }
    return {};
  }

  /// The parts that an operator cuts out of a value, each with its rows.
  void add_cuts(std::int32_t user, const RowMap& map,
                std::vector<std::pair<std::vector<std::uint32_t>, std::int32_t>>& cuts) const {
    const GraphOp& op = walk_.op(user);
    const auto add = [&](std::vector<std::uint32_t> rows, std::int32_t output) {
      if (!rows.empty()) cuts.emplace_back(std::move(rows), output);
    };
    if (op.outputs.empty() || op.outputs[0] < 0) return;
    if (op.op == Op::slice && op.inputs.size() == 3) {
      add(sliced(map, walk_.numbers(op.inputs[1]), walk_.tensor(op.outputs[0]).shape), op.outputs[0]);
    }
    if (op.op == Op::strided_slice && op.inputs.size() == 4) {
      std::vector<std::int32_t> begin = walk_.numbers(op.inputs[1]);
      const std::vector<std::int32_t> strides = walk_.numbers(op.inputs[3]);
      const bool whole = std::all_of(strides.begin(), strides.end(), [](auto s) { return s == 1; });
      if (whole) add(sliced(map, begin, walk_.tensor(op.outputs[0]).shape), op.outputs[0]);
    }
    if (op.op != Op::split && op.op != Op::split_v) return;
    // Along the dimension in which the parts are smaller than the whole.
    std::vector<std::int32_t> begin(map.shape.size());
    for (const std::int32_t output : op.outputs) {
      if (output < 0) return;
      const std::vector<std::int32_t>& shape = walk_.tensor(output).shape;
      add(sliced(map, begin, shape), output);
      for (std::size_t d = 0; d < begin.size() && d < shape.size(); ++d) {
        if (shape[d] != map.shape[d] && shape[d] > 0 && begin[d] <= map.shape[d] - shape[d]) {
          begin[d] += shape[d];
        }
      }
    }
  }

  /// Norms of queries and keys, constants, window and RoPE.
  void read_details(const GraphWalk::Region& region, const std::int32_t* parts, GraphLayer& layer) const {
    for (const std::int32_t i : region.ops) {
      const GraphOp& op = walk_.op(i);
      const std::int32_t out = op.outputs[0];
      if (op.op == Op::composite || op.op == Op::mul) {
        const auto norm = out < 0 ? std::nullopt : walk_.norm(out);
        const std::int32_t source = norm ? past_cuts(norm->input, parts) : -1;
        if (source >= 0 && source == parts[0]) layer.q_norm = norm->gain;
        if (source >= 0 && source == parts[1]) layer.k_norm = norm->gain;
      }
      if (op.op == Op::batch_matmul && layer.query_scale == 0.0f && !op.inputs.empty()) {
        const auto scaled = walk_.scaled(walk_.origin(op.inputs[0]));
        if (scaled) layer.query_scale = scaled->factor;
      }
      if (op.op == Op::tanh && out >= 0) {
        for (const std::int32_t user : walk_.users(out)) {
          if (walk_.op(user).outputs.empty()) continue;
          const auto scaled = walk_.scaled(walk_.op(user).outputs[0]);
          if (scaled) layer.softcap = scaled->factor;
        }
      }
      if (op.op == Op::sub && out >= 0 && op.inputs.size() == 2) read_window(out, op.inputs[1], layer);
      if (op.op == Op::cos && !op.inputs.empty()) read_rope(op.inputs[0], layer);
    }
  }

  /// Back to one of the parts, past operators that keep numbers; −1 if it is none of them.
  std::int32_t past_cuts(std::int32_t t, const std::int32_t* parts) const {
    constexpr int kFarthest = 8;
    for (int i = 0; i < kFarthest && t >= 0; ++i) {
      if (std::find(parts, parts + 3, t) != parts + 3) return t;
      const std::int32_t m = walk_.maker(t);
      const bool keeps = m >= 0 && (walk_.op(m).op == Op::reshape || walk_.op(m).op == Op::transpose);
      if (!keeps || walk_.op(m).inputs.empty()) return -1;
      t = walk_.op(m).inputs[0];
    }
    return -1;
  }

  /// Positions behind which keys are not seen: position − window, compared with those of keys.
  void read_window(std::int32_t difference, std::int32_t subtrahend, GraphLayer& layer) const {
    constexpr float kLargest = 1e7f;
    const auto window = walk_.number(subtrahend);
    if (!window || !(*window >= 1.0f) || *window > kLargest) return;
    constexpr int kFarthest = 4;
    std::int32_t t = difference;
    for (int i = 0; i < kFarthest && t >= 0; ++i) {
      std::int32_t next = -1;
      for (const std::int32_t user : walk_.users(t)) {
        const GraphOp& op = walk_.op(user);
        if (op.op == Op::less || op.op == Op::greater) {
          layer.window = static_cast<std::size_t>(*window);
          return;
        }
        const bool reshapes = op.op == Op::reshape || op.op == Op::expand_dims;
        if (reshapes && !op.outputs.empty()) next = op.outputs[0];
      }
      t = next;
    }
  }

  /// Angles are positions times base^(−2i/d) / scale.
  void read_rope(std::int32_t angles, GraphLayer& layer) const {
    const std::int32_t m = walk_.maker(walk_.origin(angles));
    if (m < 0 || walk_.op(m).op != Op::mul) return;
    for (const std::int32_t in : walk_.op(m).inputs) {
      const std::int32_t t = walk_.constant(in);
      if (t < 0 || walk_.tensor(t).type != tfl::TensorType::f32) continue;
      const Bytes data = walk_.tensor(t).data;
      const std::size_t count = data.size() / sizeof(float);
      if (count < 2) continue;
      const double first = double{load_le<float>(data.data())};
      const double last = double{load_le<float>(data.data() + (count - 1) * sizeof(float))};
      const double base = std::pow(first / last, static_cast<double>(count) / static_cast<double>(count - 1));
      if (!(first > 0.0) || !(base > 1.0) || !(base < 1e9)) continue;
      layer.rope_base = rounded(base);
      layer.rope_scale = rounded(1.0 / first);
    }
  }

  /// What the number was before it was rounded: it has few digits.
  static float rounded(double value) {
    const double unit = std::pow(10.0, std::floor(std::log10(value)) - 3.0);
    return static_cast<float>(std::round(value / unit) * unit);
  }

  /// What the first layer begins with: rows of a matrix, times √D.
  Status read_embedding(std::int32_t x) {
    const auto scaled = walk_.scaled(x);
    const std::int32_t m = walk_.maker(walk_.origin(scaled ? scaled->input : x));
    if (m < 0) {
      return error("reads embeddings, not tokens: its embedding lies elsewhere, in another graph");
    }
    const GraphOp& op = walk_.op(m);
    const bool looks_up = op.op == Op::embedding_lookup || op.op == Op::gather;
    const std::size_t table = op.op == Op::gather ? 0 : 1;
    if (looks_up && op.inputs.size() > table) model_.embedding = walk_.constant(op.inputs[table]);
    if (model_.embedding < 0) return error("does not look up its tokens in a matrix");
    const GraphTensor& embedding = walk_.tensor(model_.embedding);
    const GraphTensor& head = walk_.tensor(model_.head);
    const float wanted = std::sqrt(static_cast<float>(shape_of(embedding).cols));
    if (!scaled || !(std::abs(scaled->factor / wanted - 1.0f) < 0.01f)) {
      return error("does not multiply its embedding by the root of its width, " + std::to_string(wanted));
    }
    if (embedding.data.data() == head.data.data()) model_.head = model_.embedding;
    return {};
  }

  /// Sizes that the weights do not tell.
  Status read_cache() {
    const std::size_t k_rows = model_.layers[0].k.rows.empty()
                                   ? shape_of(walk_.tensor(model_.layers[0].k.tensor)).rows
                                   : model_.layers[0].k.rows.size();
    const std::size_t q_rows = shape_of(walk_.tensor(model_.layers[0].out)).cols;
    std::size_t caches = 0;
    for (const tfl::GraphPort& port : graph_.inputs) {
      if (port.name.rfind("kv_cache_k_", 0) != 0) continue;
      if (++caches == 1) read_cache_shape(walk_.tensor(port.tensor).shape, k_rows, q_rows);
    }
    if (caches != 0 && caches != model_.layers.size()) {
      return error("has caches of " + std::to_string(caches) + " layers, but the weights of " +
                   std::to_string(model_.layers.size()));
    }
    if (const std::int32_t norm = model_.layers[0].q_norm; norm >= 0) {
      model_.head_dim = walk_.tensor(norm).data.size() / sizeof(float);
    }
    if (model_.head_dim == 0) return error("has KV caches of an unknown shape");
    return {};
  }

  /// Keys are [1, K, S, d], [1, S, K, d] or, seldom, [1, K, d, S].
  void read_cache_shape(const std::vector<std::int32_t>& shape, std::size_t k_rows, std::size_t q_rows) {
    std::vector<std::size_t> sizes;
    for (const std::int32_t n : shape) sizes.push_back(n > 0 ? static_cast<std::size_t>(n) : 0);
    while (sizes.size() > 3) sizes.erase(sizes.begin());
    if (sizes.size() != 3 || std::find(sizes.begin(), sizes.end(), 0u) != sizes.end()) return;
    for (const std::size_t d : {std::size_t{2}, std::size_t{1}}) {
      const std::size_t a = d == 2 ? 1 : 2, head = sizes[d];
      if (k_rows % head != 0 || q_rows % head != 0) continue;
      for (const auto& [kv, length] : {std::make_pair(std::size_t{0}, a), std::make_pair(a, std::size_t{0})}) {
        if (sizes[kv] != k_rows / head) continue;
        model_.head_dim = head;
        model_.context = sizes[length];
        return;
      }
    }
  }

  const tfl::Graph& graph_;
  GraphWalk walk_;
  const std::string& name_;
  std::vector<std::uint8_t> cached_;
  DecoderGraph model_;
};

}  // namespace detail

GEMMA_INLINE Result<DecoderGraph> read_decoder(const tfl::Graph& graph, const std::string& name) {
  return detail::DecoderWalk(graph, name).read();
}

GEMMA_INLINE GraphShape shape_of(const tfl::GraphTensor& tensor) {
  const std::vector<std::int32_t>& shape = tensor.shape;
  if (shape.size() < 2 || shape.back() <= 0 || shape[shape.size() - 2] <= 0) return {};
  for (std::size_t d = 0; d + 2 < shape.size(); ++d) {
    if (shape[d] != 1) return {};
  }
  return {static_cast<std::size_t>(shape[shape.size() - 2]), static_cast<std::size_t>(shape.back())};
}

}  // namespace mediapipe
GEMMA_NAMESPACE_END

#endif  // GEMMA_GENERATE_IMPL_DECODER_GRAPH_INL_HPP_
