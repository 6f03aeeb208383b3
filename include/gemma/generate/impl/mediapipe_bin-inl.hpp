// Bodies of mediapipe_bin.hpp: tensors, tokens.
#ifndef GEMMA_GENERATE_IMPL_MEDIAPIPE_BIN_INL_HPP_
#define GEMMA_GENERATE_IMPL_MEDIAPIPE_BIN_INL_HPP_

#include <algorithm>
#include <cmath>
#include <optional>
#include <string_view>

#include "gemma/base/bytes.hpp"
#include "gemma/base/huge_pages.hpp"
#include "gemma/generate/impl/mediapipe_tiles-inl.hpp"
#include "gemma/generate/impl/mediapipe_tokens-inl.hpp"
#include "gemma/generate/mediapipe_bin.hpp"
#include "gemma/quant/registry.hpp"

GEMMA_NAMESPACE_BEGIN
namespace mediapipe {
namespace detail {

inline constexpr const char* kParametersKey = "odml.infra.proto.LlmParameters";
inline constexpr const char* kVocabularyKey = "spm_vocab_model";
inline constexpr const char* kModelTypeKey = "odml.infra.LlmModelType";
inline constexpr const char* kBackendKey = "backend";
inline constexpr const char* kLoraKey = "lora_rank";

struct NamePair {
  std::string_view gguf;
  std::string_view own;
};

inline constexpr NamePair kGlobalNames[] = {
    {"token_embd.weight", "params.lm.token_embedding.w"},
    {"output.weight", "params.lm.softmax.logits_ffn.w"},
    {"output_norm.weight", "params.lm.final_ln.scale"},
};

/// After "blk.N." and "params.lm.transformer.x_layers_N.". In Gemma 1 the norm that Gemma 2 has after
/// the attention does not exist.
inline constexpr NamePair kLayerNames[] = {
    {"attn_norm.weight", "pre_layer_norm.scale"},
    {"attn_q.weight", "self_attention.q.w"},
    {"attn_k.weight", "self_attention.k.w"},
    {"attn_v.weight", "self_attention.v.w"},
    {"attn_output.weight", "self_attention.post.w"},
    {"attn_q_norm.weight", "self_attention.q_norm.scale"},
    {"attn_k_norm.weight", "self_attention.k_norm.scale"},
    {"post_attention_norm.weight", "post_layer_norm.scale"},
    {"ffn_norm.weight", "ff_layer.pre_layer_norm.scale"},
    {"ffn_gate.weight", "ff_layer.ffn_layer1_gate.w"},
    {"ffn_up.weight", "ff_layer.ffn_layer1.w"},
    {"ffn_down.weight", "ff_layer.ffn_layer2.w"},
    {"post_ffw_norm.weight", "ff_layer.post_layer_norm.scale"},
};

/// The file's name of a tensor; empty if no file has it.
inline std::string own_name(std::string_view gguf_name) {
  for (const NamePair& row : kGlobalNames) {
    if (gguf_name == row.gguf) return std::string(row.own);
  }
  constexpr std::string_view kBlock = "blk.";
  const std::size_t dot = gguf_name.find('.', kBlock.size());
  if (gguf_name.substr(0, kBlock.size()) != kBlock || dot == std::string_view::npos) return {};
  for (const NamePair& row : kLayerNames) {
    if (gguf_name.substr(dot + 1) != row.gguf) continue;
    const std::string_view number = gguf_name.substr(kBlock.size(), dot - kBlock.size());
    return "params.lm.transformer.x_layers_" + std::string(number) + "." + std::string(row.own);
  }
  return {};
}

/// The shape of the model that a file is, or is for, and its parameters.
inline Result<Config> read_shape(const tfl::File& file, LlmParameters& parameters) {
  GEMMA_TRY_ASSIGN(const Bytes message, file.metadata(kParametersKey));
  GEMMA_TRY_ASSIGN(parameters, read_llm_parameters(message, file.name()));
  const std::uint32_t type =
      file.metadata_number(kModelTypeKey).value_or(model_type_named(file.graph_name()));
  return mediapipe::read_config(type, parameters, file.name());
}

}  // namespace detail

GEMMA_INLINE Result<Source> Source::open(const std::string& path, FileAccess access,
                                         const ProgressFn& progress) {
  GEMMA_TRY_ASSIGN(tfl::File file, tfl::File::open(path));
  const auto backend = file.has_metadata(detail::kBackendKey) ? file.metadata(detail::kBackendKey)
                                                              : Result<Bytes>(Bytes());
  // What is laid out anew is read once, from the mapping.
  const bool tiled = backend.ok() && backend->size() == 3 && (*backend)[0] == 'g';
  if (access != FileAccess::map && !tiled) {
    GEMMA_TRY_ASSIGN(file, tfl::File::open(path, access));
  }
  return from_file(std::move(file), progress);
}

GEMMA_INLINE Result<Source> Source::from_file(tfl::File file, const ProgressFn& progress) {
  Source source(std::move(file));
  GEMMA_TRY(source.read_parameters());
  GEMMA_TRY(source.find_tensors());
  if (source.tiled_) GEMMA_TRY(source.untile(progress));
  return source;
}

GEMMA_INLINE Status Source::read_parameters() {
  const std::string& name = file_.name();
  if (file_.is_graph()) {
    return Error(ErrorCode::unsupported,
                 name + ": is a TFLite graph without a tokenizer; accepted are .task bundles and "
                        ".litertlm files, which hold both, and MediaPipe's .bin files, whose TFLite "
                        "has no operators");
  }
  if (!file_.has_metadata(detail::kParametersKey)) {
    return Error(ErrorCode::unsupported,
                 name + ": is a TFLite file without the metadata '" + detail::kParametersKey +
                     "'; MediaPipe's files of weights have it");
  }
  if (file_.has_metadata(detail::kLoraKey)) {
    return adapter_is_no_model(name);
  }
  GEMMA_TRY_ASSIGN(config_, detail::read_shape(file_, parameters_));
  if (file_.has_metadata(detail::kBackendKey)) {
    GEMMA_TRY_ASSIGN(const Bytes bytes, file_.metadata(detail::kBackendKey));
    const std::string backend(bytes.begin(), bytes.end());
    tiled_ = backend == "gpu";
    if (tiled_ || backend == "cpu") return {};
    return Error(ErrorCode::unsupported, name + ": metadata 'backend' is '" +
                                             gguf::printable(backend) +
                                             "', expected 'cpu' or 'gpu'");
  }
  // Files for GPUs know no matrices, only bytes.
  const tfl::Tensor* head = file_.find_tensor("params.lm.softmax.logits_ffn.w");
  tiled_ = head != nullptr && head->shape.size() == 1;
  return {};
}

GEMMA_INLINE Status Source::find_tensors() {
  const Config& c = config_;
  const FamilyTraits traits = traits_of(c.family);
  const bool post_norms = visit_family(c.family, [](auto f) { return f.kPostNorms; });
  // As a rule the head is the embedding, too.
  const bool tied = file_.find_tensor(detail::own_name("token_embd.weight")) == nullptr;
  GEMMA_TRY(add_matrix("token_embd.weight", c.vocab_size, c.width));
  if (!tied) GEMMA_TRY(add_matrix("output.weight", c.vocab_size, c.width));
  for (std::size_t i = 0; i < c.layers.size(); ++i) {
    const LayerConfig& layer = c.layers[i];
    const std::string block = "blk." + std::to_string(i) + ".";
    const std::size_t q = c.heads * layer.head_dim, k = layer.kv_heads * layer.head_dim;
    GEMMA_TRY(add_norm(block + "attn_norm.weight", c.width));
    GEMMA_TRY(add_matrix(block + "attn_q.weight", q, c.width));
    GEMMA_TRY(add_matrix(block + "attn_k.weight", k, c.width));
    GEMMA_TRY(add_matrix(block + "attn_v.weight", k, c.width));
    GEMMA_TRY(add_matrix(block + "attn_output.weight", c.width, q));
    if (traits.qk_norm) {
      GEMMA_TRY(add_norm(block + "attn_q_norm.weight", layer.head_dim));
      GEMMA_TRY(add_norm(block + "attn_k_norm.weight", layer.head_dim));
    }
    if (post_norms) GEMMA_TRY(add_norm(block + "post_attention_norm.weight", c.width));
    GEMMA_TRY(add_norm(block + "ffn_norm.weight", c.width));
    GEMMA_TRY(add_matrix(block + "ffn_gate.weight", layer.ffn_width, c.width));
    GEMMA_TRY(add_matrix(block + "ffn_up.weight", layer.ffn_width, c.width));
    GEMMA_TRY(add_matrix(block + "ffn_down.weight", c.width, layer.ffn_width));
    if (post_norms) GEMMA_TRY(add_norm(block + "post_ffw_norm.weight", c.width));
  }
  return add_norm("output_norm.weight", c.width);
}

GEMMA_INLINE Error Source::tensor_error(const std::string& own, const std::string& what) const {
  return Error(ErrorCode::format, file_.name() + ": tensor '" + own + "' " + what);
}

/// A tensor that is needed. All of them are together no larger than the file, else they overlap, and
/// little of a file could fill all memory.
GEMMA_INLINE Result<const tfl::Tensor*> Source::take(const std::string& own) {
  const tfl::Tensor* found = file_.find_tensor(own);
  if (found == nullptr) return tensor_error(own, why_missing(own));
  taken_ += found->data.size();
  if (taken_ <= file_.bytes().size()) return found;
  return tensor_error(own, "overlaps another; the file is damaged");
}

GEMMA_INLINE void Source::add(const std::string& gguf_name, TensorView tensor) {
  index_[gguf_name] = tensors_.size();
  names_.push_back(gguf_name);
  tensors_.push_back(std::move(tensor));
}

GEMMA_INLINE Status Source::add_norm(const std::string& gguf_name, std::size_t n) {
  TensorView tensor;
  tensor.name = own_name(gguf_name);
  tensor.shape = {n};
  GEMMA_TRY_ASSIGN(const tfl::Tensor* found, take(tensor.name));
  tensor.data = found->data;
  if (tensor.data.size() != n * sizeof(float)) {
    return tensor_error(tensor.name, "has " + std::to_string(tensor.data.size()) +
                                         " bytes, expected " + std::to_string(n * sizeof(float)) +
                                         " for " + std::to_string(n) + " float32 numbers");
  }
  add(gguf_name, std::move(tensor));
  return {};
}

GEMMA_INLINE Status Source::add_matrix(const std::string& gguf_name, std::size_t rows,
                                       std::size_t cols) {
  TensorView tensor;
  tensor.name = own_name(gguf_name);
  tensor.shape = {cols, rows};
  GEMMA_TRY_ASSIGN(const tfl::Tensor* found, take(tensor.name));
  tensor.data = found->data;
  const std::uint64_t count = std::uint64_t{rows} * cols;
  const std::uint64_t size = tensor.data.size();
  const std::string expected =
      std::to_string(rows) + " x " + std::to_string(cols) + " integers of 8 or 4 bits";
  const bool floats = size == count * 4 && !tiled_ && found->type == tfl::TensorType::f32;
  if (size != count && size * 2 != count && !floats) {
    const char* remark = size == count * 2 && tiled_
                             ? "; MediaPipe's converter leaves such a file behind when the "
                               "checkpoint it is given is of another size"
                             : "";
    return tensor_error(tensor.name,
                        "has " + std::to_string(size) + " bytes, expected " + expected + remark);
  }
  if (!tiled_ && found->shape != std::vector<std::uint64_t>{rows, cols}) {
    return tensor_error(tensor.name, "has another shape than " + expected);
  }
  if (!floats) {
    tensor.type = size == count ? DType::I8 : DType::I4;
    const std::size_t block = quant::block_elements(tensor.type);
    if (cols % block != 0 || (tiled_ && rows % 4 != 0)) {
      return Error(ErrorCode::unsupported,
                   file_.name() + ": tensor '" + tensor.name + "' has " + std::to_string(rows) +
                       " rows of " + std::to_string(cols) + " numbers; rows of whole blocks of " +
                       std::to_string(block) + " are expected, as every Gemma has");
    }
    const std::string zeros = tensor.name + "_quantized_zp";
    GEMMA_TRY_ASSIGN(tensor.row_scale, add_row_numbers(tensor.name + "_quantized_scale", rows));
    if (file_.find_tensor(zeros) != nullptr) {
      GEMMA_TRY_ASSIGN(tensor.row_zero, add_row_numbers(zeros, rows));
    }
  }
  add(gguf_name, std::move(tensor));
  return {};
}

/// A number for each row. They are few, so that a copy does no harm; in files they may lie anywhere.
GEMMA_INLINE Result<const float*> Source::add_row_numbers(const std::string& own,
                                                          std::size_t rows) {
  GEMMA_TRY_ASSIGN(const tfl::Tensor* found, take(own));
  if (found->data.size() != rows * sizeof(float)) {
    return tensor_error(own, "has " + std::to_string(found->data.size()) + " bytes, expected " +
                                 std::to_string(rows * sizeof(float)) + ", a float32 number for " +
                                 "each of " + std::to_string(rows) + " rows");
  }
  std::vector<float> numbers(rows);
  for (std::size_t r = 0; r < rows; ++r) {
    numbers[r] = load_le<float>(found->data.data() + r * sizeof(float));
    if (!std::isfinite(numbers[r])) return tensor_error(own, "holds a value that is not a number");
  }
  rows_.push_back(std::move(numbers));
  return static_cast<const float*>(rows_.back().data());
}

GEMMA_INLINE Status Source::untile(const ProgressFn& progress) {
  constexpr std::size_t kLine = AlignedArray<std::uint8_t>::kAlignment;
  const auto padded = [](const TensorView& t) { return (t.data.size() + kLine - 1) / kLine * kLine; };
  std::uint64_t total = 0;
  for (const TensorView& t : tensors_) total += t.row_scale == nullptr ? 0 : padded(t);
  GEMMA_TRY_ASSIGN(memory_, AlignedArray<std::uint8_t>::create(static_cast<std::size_t>(total),
                                                               "the weights in rows"));
  gemma::detail::advise_huge_pages(memory_.data(), memory_.size());
  ThreadPool pool;
  std::uint8_t* to = memory_.data();
  std::uint64_t done = 0;
  for (TensorView& tensor : tensors_) {
    if (tensor.row_scale == nullptr) continue;
    const WeightMatrix matrix = matrix_of(tensor);
    std::vector<std::int64_t> sums(matrix.rows);
    const Bytes tiles = tensor.data;
    GEMMA_TRY(detail::untile_matrix(
        matrix, tiles.data(), to, sums.data(), pool,
        [&](std::size_t offset, std::size_t bytes) -> Status {
          advise_dontneed(tiles.subspan(offset, bytes));
          done += bytes;
          if (!progress || progress({"load", done, total})) return {};
          return Error(ErrorCode::cancelled, file_.name() + ": loading was cancelled");
        }));
    GEMMA_TRY(check_sums(tensor, sums));
    const std::size_t size = padded(tensor);
    tensor.data = Bytes(to, tensor.data.size());
    to += size;
  }
  return {};
}

/// Newer files have the sum of each row's integers.
GEMMA_INLINE Status Source::check_sums(const TensorView& tensor,
                                       const std::vector<std::int64_t>& sums) const {
  const std::string own = tensor.name + ".sum_i";
  const tfl::Tensor* found = file_.find_tensor(own);
  if (found == nullptr || tensor.row_zero != nullptr) return {};
  if (found->data.size() != sums.size() * sizeof(std::int32_t)) {
    return tensor_error(own, "has " + std::to_string(found->data.size()) + " bytes, expected " +
                                 std::to_string(sums.size() * sizeof(std::int32_t)));
  }
  for (std::size_t r = 0; r < sums.size(); ++r) {
    const auto wanted = load_le<std::int32_t>(found->data.data() + r * sizeof(std::int32_t));
    if (sums[r] == wanted) continue;
    return tensor_error(tensor.name, "is damaged: the integers of row " + std::to_string(r) +
                                         " sum to " + std::to_string(sums[r]) + ", but '" + own +
                                         "' says " + std::to_string(wanted) +
                                         "; download the file again");
  }
  return {};
}

GEMMA_INLINE const TensorView* Source::find_tensor(const std::string& gguf_name) const {
  const auto found = index_.find(gguf_name);
  return found == index_.end() ? nullptr : &tensors_[found->second];
}

GEMMA_INLINE std::string Source::own_name(const std::string& gguf_name) const {
  std::string own = detail::own_name(gguf_name);
  if (own.empty()) return gguf_name;
  if (gguf_name == "token_embd.weight" && file_.find_tensor(own) == nullptr) {
    own = detail::own_name("output.weight");
  }
  // Older files say "X.linear.w".
  if (own.back() == 'w' && file_.find_tensor(own) == nullptr) {
    const std::string older = own.substr(0, own.size() - 1) + "linear.w";
    if (file_.find_tensor(older) != nullptr) return older;
  }
  return own;
}

GEMMA_INLINE std::string Source::format() const {
  return std::string("MediaPipe weights for ") + (tiled_ ? "GPUs" : "CPUs");
}

GEMMA_INLINE Result<Vocabulary> Source::read_vocabulary() const {
  GEMMA_TRY_ASSIGN(const Bytes model, file_.metadata(detail::kVocabularyKey));
  return detail::read_tokens(model, parameters_,
                             file_.name() + ": metadata '" + detail::kVocabularyKey + "'");
}

GEMMA_INLINE std::vector<TokenId> Source::stop_ids() const {
  const Result<Vocabulary> vocabulary = read_vocabulary();
  return detail::stop_ids(parameters_, vocabulary.ok() ? &*vocabulary : nullptr);
}

GEMMA_INLINE std::string Source::chat_template() const {
  return detail::jinja_of(parameters_, config_.family);
}

GEMMA_INLINE void Source::advise_dontneed(Bytes data) const {
  if (file_.mapping() != nullptr) file_.mapping()->advise_dontneed(data);
}

GEMMA_INLINE void Source::advise_willneed(Bytes data) const {
  if (file_.mapping() != nullptr) file_.mapping()->advise_willneed(data);
}

}  // namespace mediapipe
GEMMA_NAMESPACE_END

#endif  // GEMMA_GENERATE_IMPL_MEDIAPIPE_BIN_INL_HPP_
