// Bodies of bind_weights.hpp.
#ifndef GEMMA_GENERATE_IMPL_BIND_WEIGHTS_INL_HPP_
#define GEMMA_GENERATE_IMPL_BIND_WEIGHTS_INL_HPP_

#include <cmath>
#include <cstdint>
#include <utility>
#include <vector>

#include "gemma/generate/bind_weights.hpp"
#include "gemma/model/family.hpp"
#include "gemma/quant/registry.hpp"

GEMMA_NAMESPACE_BEGIN
namespace detail {

/// Finds tensors by their GGUF names and checks their shapes.
class Binder {
 public:
  explicit Binder(const TensorSource& source) : source_(source) {}

  Result<WeightMatrix> matrix(const std::string& name, std::size_t rows, std::size_t cols) const {
    GEMMA_TRY_ASSIGN(const TensorView* tensor, require(name));
    GEMMA_TRY(check_shape(*tensor, {cols, rows}));
    return matrix_of(*tensor);
  }

  /// A one-dimensional tensor as floats.
  Result<std::vector<float>> vector(const std::string& name, std::size_t n) const {
    GEMMA_TRY_ASSIGN(const TensorView* tensor, require(name));
    GEMMA_TRY(check_shape(*tensor, {n}));
    NormWeights weights(n);
    quant::decode_row(tensor->type, tensor->data.data(), n, weights.data());
    for (const float w : weights) {
      if (!std::isfinite(w)) return error(*tensor, "holds a value that is not a number");
    }
    return weights;
  }

  /// The gains of an RMSNorm; some files store them less 1.
  Result<NormWeights> norm(const std::string& name, std::size_t n) const {
    GEMMA_TRY_ASSIGN(NormWeights gains, vector(name, n));
    for (float& gain : gains) gain += source_.norm_offset();
    return gains;
  }

  /// All numbers of a one-dimensional tensor, or none if the file lacks it.
  Result<std::vector<float>> optional(const std::string& name) const {
    const TensorView* tensor = source_.find_tensor(name);
    if (tensor == nullptr) return std::vector<float>();
    return vector(name, static_cast<std::size_t>(tensor->row_length()));
  }

  /// `count` matrices one after the other.
  Result<WeightMatrix> stack(const std::string& name, std::size_t count, std::size_t rows,
                             std::size_t cols) const {
    GEMMA_TRY_ASSIGN(const TensorView* tensor, require(name));
    GEMMA_TRY(check_shape(*tensor, {cols, rows, count}));
    return matrix_of(*tensor);
  }

  /// `count` matrices: stacked in NAME.weight, or each in a NAME.i.weight of its own.
  Result<std::vector<WeightMatrix>> matrices(const std::string& name, std::size_t count,
                                             std::size_t rows, std::size_t cols) const {
    std::vector<WeightMatrix> out;
    if (!has(name + ".0.weight")) {
      GEMMA_TRY_ASSIGN(const WeightMatrix all, stack(name + ".weight", count, rows, cols));
      for (std::size_t i = 0; i < count; ++i) out.push_back(rows_of(all, i * rows, rows));
      return out;
    }
    for (std::size_t i = 0; i < count; ++i) {
      GEMMA_TRY_ASSIGN(const WeightMatrix one,
                       matrix(name + "." + std::to_string(i) + ".weight", rows, cols));
      out.push_back(one);
    }
    return out;
  }

  /// A look-up table with any number of rows.
  Result<WeightMatrix> table(const std::string& name, std::size_t cols) const {
    GEMMA_TRY_ASSIGN(const TensorView* tensor, require(name));
    GEMMA_TRY(check_shape(*tensor, {cols, tensor->rows()}));
    return matrix_of(*tensor);
  }

  /// Q, K and V: three tensors, or one with their rows one after the other. Layers that share
  /// another's keys and values need only Q; where there is no V, K serves for both.
  Status attention_inputs(const std::string& block, const Config& config, std::size_t index,
                          LayerWeights& w) const {
    const LayerConfig& layer = config.layers[index];
    const std::size_t q_rows = config.heads * layer.head_dim;
    const std::size_t k_rows = layer.kv_heads * layer.head_dim;
    if (has(block + "attn_qkv.weight")) {
      GEMMA_TRY_ASSIGN(const WeightMatrix all, matrix(block + "attn_qkv.weight",
                                                      q_rows + 2 * k_rows, config.width));
      w.q = rows_of(all, 0, q_rows);
      w.k = rows_of(all, q_rows, k_rows);
      w.v = rows_of(all, q_rows + k_rows, k_rows);
      return {};
    }
    GEMMA_TRY_ASSIGN(w.q, matrix(block + "attn_q.weight", q_rows, config.width));
    if (layer.kv_layer != index) return {};
    GEMMA_TRY_ASSIGN(w.k, matrix(block + "attn_k.weight", k_rows, config.width));
    if (layer.values_are_keys) return {};
    GEMMA_TRY_ASSIGN(w.v, matrix(block + "attn_v.weight", k_rows, config.width));
    return {};
  }

  bool has(const std::string& name) const { return source_.find_tensor(name) != nullptr; }

 private:
  Result<const TensorView*> require(const std::string& name) const {
    if (const TensorView* tensor = source_.find_tensor(name)) return tensor;
    return Error(ErrorCode::format, source_.name() + ": tensor '" + source_.own_name(name) + "' " +
                                        source_.why_missing(name));
  }

  Status check_shape(const TensorView& tensor, const std::vector<std::uint64_t>& expected) const {
    std::vector<std::uint64_t> shape = tensor.shape;
    while (shape.size() > expected.size() && shape.back() == 1) shape.pop_back();
    if (shape == expected) return {};
    return error(tensor, "has shape " + text(tensor.shape) + ", expected " + text(expected));
  }

  static std::string text(const std::vector<std::uint64_t>& shape) {
    std::string out = "[";
    for (const std::uint64_t n : shape) out += (out.size() > 1 ? ", " : "") + std::to_string(n);
    return out + "]";
  }

  Error error(const TensorView& tensor, const std::string& what) const {
    return Error(ErrorCode::format, source_.name() + ": tensor '" + tensor.name + "' " + what);
  }

  const TensorSource& source_;
};

inline Status bind_altup(const Binder& bind, const Config& config, const std::string& block,
                         AltUpWeights& w) {
  const std::size_t n = config.altup_streams;
  const std::size_t width = config.width;
  const std::size_t rank = config.laurel_rank;
  GEMMA_TRY_ASSIGN(w.router, bind.matrix(block + "altup_router.weight", n, width));
  GEMMA_TRY_ASSIGN(w.router_norm, bind.norm(block + "altup_router_norm.weight", width));
  GEMMA_TRY_ASSIGN(w.predict, bind.matrix(block + "altup_predict_coef.weight", n * n, n));
  GEMMA_TRY_ASSIGN(w.correct, bind.matrix(block + "altup_correct_coef.weight", n, n));
  if (bind.has(block + "altup_correct_scale.weight")) {
    GEMMA_TRY_ASSIGN(w.correct_scale, bind.vector(block + "altup_correct_scale.weight", width));
  }
  GEMMA_TRY_ASSIGN(w.laurel_left, bind.matrix(block + "laurel_l.weight", rank, width));
  GEMMA_TRY_ASSIGN(w.laurel_right, bind.matrix(block + "laurel_r.weight", width, rank));
  GEMMA_TRY_ASSIGN(w.laurel_norm, bind.norm(block + "laurel_post_norm.weight", width));
  return {};
}

inline Status bind_experts(const Binder& bind, const Config& config, const std::string& block,
                           ExpertWeights& w) {
  const std::size_t experts = config.experts;
  const std::size_t inner = config.expert_width;
  const std::size_t width = config.width;
  GEMMA_TRY_ASSIGN(w.router, bind.matrix(block + "ffn_gate_inp.weight", experts, width));
  GEMMA_TRY_ASSIGN(w.router_norm, bind.vector(block + "ffn_gate_inp.scale", width));
  for (float& gain : w.router_norm) gain /= std::sqrt(static_cast<float>(width));
  GEMMA_TRY_ASSIGN(w.expert_scale, bind.vector(block + "ffn_down_exps.scale", experts));
  if (bind.has(block + "ffn_gate_exps.weight")) {
    GEMMA_TRY_ASSIGN(w.gate, bind.stack(block + "ffn_gate_exps.weight", experts, inner, width));
    GEMMA_TRY_ASSIGN(w.up, bind.stack(block + "ffn_up_exps.weight", experts, inner, width));
  } else {
    GEMMA_TRY_ASSIGN(w.gate_up,
                     bind.stack(block + "ffn_gate_up_exps.weight", experts, 2 * inner, width));
  }
  GEMMA_TRY_ASSIGN(w.down, bind.stack(block + "ffn_down_exps.weight", experts, width, inner));
  GEMMA_TRY_ASSIGN(w.dense_post_norm, bind.norm(block + "post_ffw_norm_1.weight", width));
  GEMMA_TRY_ASSIGN(w.norm, bind.norm(block + "pre_ffw_norm_2.weight", width));
  GEMMA_TRY_ASSIGN(w.post_norm, bind.norm(block + "post_ffw_norm_2.weight", width));
  return {};
}

/// What Gemma 3n and 4 add to a layer.
inline Status bind_extensions(const Binder& bind, const Config& config, const std::string& block,
                              LayerWeights& w) {
  const std::size_t width = config.width;
  if (config.ple_width > 0) {
    GEMMA_TRY_ASSIGN(w.ple_gate, bind.matrix(block + "inp_gate.weight", config.ple_width, width));
    GEMMA_TRY_ASSIGN(w.ple_out, bind.matrix(block + "proj.weight", width, config.ple_width));
    GEMMA_TRY_ASSIGN(w.ple_norm, bind.norm(block + "post_norm.weight", width));
  }
  if (bind.has(block + "layer_output_scale.weight")) {
    GEMMA_TRY_ASSIGN(const NormWeights scale, bind.vector(block + "layer_output_scale.weight", 1));
    w.scale = scale[0];
  }
  if (config.altup_streams > 1) GEMMA_TRY(bind_altup(bind, config, block, w.altup));
  if (config.experts > 0) GEMMA_TRY(bind_experts(bind, config, block, w.experts));
  return {};
}

inline Result<LayerWeights> bind_layer(const Binder& bind, const Config& config,
                                       std::size_t index) {
  const LayerConfig& layer = config.layers[index];
  const std::string block = "blk." + std::to_string(index) + ".";
  const std::size_t width = config.width;
  const std::size_t d = layer.head_dim;
  LayerWeights w;
  GEMMA_TRY_ASSIGN(w.attention_norm, bind.norm(block + "attn_norm.weight", width));
  GEMMA_TRY(bind.attention_inputs(block, config, index, w));
  GEMMA_TRY_ASSIGN(w.attention_out,
                   bind.matrix(block + "attn_output.weight", width, config.heads * d));
  GEMMA_TRY_ASSIGN(w.ffn_norm, bind.norm(block + "ffn_norm.weight", width));
  GEMMA_TRY_ASSIGN(w.gate, bind.matrix(block + "ffn_gate.weight", layer.ffn_width, width));
  GEMMA_TRY_ASSIGN(w.up, bind.matrix(block + "ffn_up.weight", layer.ffn_width, width));
  GEMMA_TRY_ASSIGN(w.down, bind.matrix(block + "ffn_down.weight", width, layer.ffn_width));
  const bool post_norms = visit_family(config.family, [](auto f) { return f.kPostNorms; });
  if (!post_norms) return w;
  GEMMA_TRY_ASSIGN(w.post_attention_norm,
                   bind.norm(block + "post_attention_norm.weight", width));
  GEMMA_TRY_ASSIGN(w.post_ffn_norm, bind.norm(block + "post_ffw_norm.weight", width));
  if (!traits_of(config.family).qk_norm) return w;
  GEMMA_TRY_ASSIGN(w.q_norm, bind.norm(block + "attn_q_norm.weight", d));
  if (layer.kv_layer == index) {
    GEMMA_TRY_ASSIGN(w.k_norm, bind.norm(block + "attn_k_norm.weight", d));
  }
  GEMMA_TRY(bind_extensions(bind, config, block, w));
  return w;
}

/// The tables outside the layers that Gemma 3n and 4 add.
inline Status bind_global_extensions(const Binder& bind, const Config& config, Weights& w) {
  const std::size_t width = config.width;
  if (config.ple_width > 0) {
    const std::size_t all = config.layers.size() * config.ple_width;
    GEMMA_TRY_ASSIGN(w.ple_embedding, bind.table("per_layer_token_embd.weight", all));
    GEMMA_TRY_ASSIGN(w.ple_projection, bind.matrix("per_layer_model_proj.weight", all, width));
    GEMMA_TRY_ASSIGN(w.ple_projection_norm,
                     bind.norm("per_layer_proj_norm.weight", config.ple_width));
  }
  if (config.altup_streams == 1) return {};
  const std::size_t others = config.altup_streams - 1;
  GEMMA_TRY_ASSIGN(w.altup_project, bind.matrices("altup_proj", others, width, width));
  GEMMA_TRY_ASSIGN(w.altup_unembed, bind.matrices("altup_unembd_proj", others, width, width));
  return {};
}

}  // namespace detail

GEMMA_INLINE Result<Weights> bind_weights(const TensorSource& source, const Config& config,
                                          bool let_go) {
  const detail::Binder bind(source);
  Weights w;
  GEMMA_TRY_ASSIGN(w.embedding,
                   bind.matrix("token_embd.weight", config.vocab_size, config.width));
  for (std::size_t i = 0; i < config.layers.size(); ++i) {
    GEMMA_TRY_ASSIGN(LayerWeights layer, detail::bind_layer(bind, config, i));
    if (let_go) {
      visit_layer(layer, [&](const std::vector<WeightMatrix*>& together) {
        for (const WeightMatrix* m : together) source.advise_dontneed(Bytes(m->data, m->bytes()));
      }, [](const NormWeights&) {});
    }
    w.layers.push_back(std::move(layer));
  }
  GEMMA_TRY(detail::bind_global_extensions(bind, config, w));
  GEMMA_TRY_ASSIGN(w.output_norm, bind.norm("output_norm.weight", config.width));
  w.head = w.embedding;
  // What follows the mean of a text: dense_2, dense_3, …, from the model's width back to any.
  for (std::size_t i = 2; bind.has("dense_" + std::to_string(i) + ".weight"); ++i) {
    const std::size_t before = w.dense.empty() ? config.width : w.dense.back().rows;
    GEMMA_TRY_ASSIGN(const WeightMatrix dense,
                     bind.table("dense_" + std::to_string(i) + ".weight", before));
    w.dense.push_back(dense);
  }
  if (bind.has("output.weight")) {
    GEMMA_TRY_ASSIGN(w.head, bind.matrix("output.weight", config.vocab_size, config.width));
  }
  return w;
}

GEMMA_NAMESPACE_END

#endif  // GEMMA_GENERATE_IMPL_BIND_WEIGHTS_INL_HPP_
