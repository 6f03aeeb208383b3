// Bodies of mediapipe_bundle.hpp: shape, tensors, tokens.
#ifndef GEMMA_GENERATE_IMPL_MEDIAPIPE_BUNDLE_INL_HPP_
#define GEMMA_GENERATE_IMPL_MEDIAPIPE_BUNDLE_INL_HPP_

#include <algorithm>
#include <cmath>

#include "gemma/base/bytes.hpp"
#include "gemma/formats/inflate.hpp"
#include "gemma/formats/tfl_container.hpp"
#include "gemma/generate/impl/mediapipe_tokens-inl.hpp"
#include "gemma/generate/mediapipe_bin.hpp"
#include "gemma/generate/mediapipe_bundle.hpp"
#include "gemma/quant/registry.hpp"
#if defined(GEMMA_HUGGINGFACE)
#include "gemma/text/tokenizer_json.hpp"
#endif

GEMMA_NAMESPACE_BEGIN
namespace mediapipe {
namespace detail {

/// The family that LlmMetadata names, or else the one whose norms the graph has.
inline Result<Family> family_of(const DecoderGraph& decoder, std::uint64_t model_type,
                                const std::string& name) {
  enum : std::uint64_t { kUnsaid = 0, kGeneric = 1, kFunctionGemma = 3, kGemma3 = 4 };
  const GraphLayer& layer = decoder.layers[0];
  const bool qk_norms = layer.q_norm >= 0 && layer.k_norm >= 0;
  const bool post_norms = layer.post_attention_norm >= 0 && layer.post_ffn_norm >= 0;
  const bool said = model_type == kFunctionGemma || model_type == kGemma3;
  if (model_type > kGeneric && !said) {
    return Error(ErrorCode::unsupported,
                 name + ": holds a model of type " + std::to_string(model_type) +
                     " of LlmMetadata; this version runs 0 or 1 (generic), 3 (FunctionGemma) and 4 "
                     "(Gemma 3), not Gemma 3n (2), Gemma 4 (8) and others in this container");
  }
  if (qk_norms && post_norms) return Family::gemma3;
  if (qk_norms || said) {
    return Error(ErrorCode::unsupported,
                 name + ": has other norms than Gemma 3, whose queries, keys and branches have one each");
  }
  return post_norms ? Family::gemma2 : Family::gemma1;
}

}  // namespace detail

GEMMA_INLINE Result<BundleSource> BundleSource::plan(Bytes file, BundleParts parts,
                                                     std::string name) {
  BundleSource source(file, std::move(parts), std::move(name));
  const std::string& place = source.parts_.graph_name;
  GEMMA_TRY_ASSIGN(source.graph_, tfl::read_graph(source.parts_.graph, "decode", place));
  GEMMA_TRY_ASSIGN(source.decoder_, read_decoder(source.graph_, place));
  GEMMA_TRY(source.find_config());
  GEMMA_TRY(source.find_tensors());
  // Weights can be read without.
  Status tokens = source.read_tokens();
  if (!tokens.ok()) source.tokens_error_ = tokens.take_error();
  return source;
}

GEMMA_INLINE Status BundleSource::read_tokens() {
  const LlmParameters& p = parts_.metadata.parameters;
  const std::string& place = parts_.tokenizer_name;
  if (!parts_.packed_json) {
    GEMMA_TRY_ASSIGN(vocabulary_, detail::read_tokens(parts_.tokenizer, p, place));
    return {};
  }
#if defined(GEMMA_HUGGINGFACE)
  ByteReader reader(parts_.tokenizer, place);
  GEMMA_TRY_ASSIGN(const auto size, reader.read<std::uint64_t>("the size of tokenizer.json"));
  const Bytes packed = parts_.tokenizer.subspan(reader.offset());
  GEMMA_TRY_ASSIGN(const AlignedArray<std::uint8_t> json, inflate_zlib(packed, size, place));
  GEMMA_TRY_ASSIGN(vocabulary_, read_tokenizer_json(Bytes(json.data(), json.size()), place));
  rank_pieces_by_merges(vocabulary_);
  spell_out_spaces(vocabulary_);
  detail::set_start(p, vocabulary_);
  return {};
#else
  return Error(ErrorCode::unsupported,
               place + ": is a tokenizer.json; to read one, this program must be compiled with "
                       "-DGEMMA_HUGGINGFACE (and nlohmann/json)");
#endif
}

GEMMA_INLINE Status BundleSource::find_config() {
  const std::string& place = parts_.graph_name;
  const GraphLayer& first = decoder_.layers[0];
  const auto shape = [&](std::int32_t tensor) {
    return shape_of(graph_.tensors[static_cast<std::size_t>(tensor)]);
  };
  const auto rows = [&](const GraphMatrix& m) {
    return m.rows.empty() ? shape(m.tensor).rows : m.rows.size();
  };
  GEMMA_TRY_ASSIGN(const Family family,
                   detail::family_of(decoder_, parts_.metadata.model_type, place));
  const detail::ModelType& type = detail::model_type_like(family, decoder_.layers.size());
  LlmParameters p;
  p.vocab_size = shape(decoder_.embedding).rows;
  p.width = shape(decoder_.embedding).cols;
  p.ffn_width = shape(first.up).rows;
  p.head_dim = decoder_.head_dim;
  p.heads = shape(first.out).cols / decoder_.head_dim;
  p.kv_heads = rows(first.k) / decoder_.head_dim;
  p.layers = decoder_.layers.size();
  p.attention_softcap = first.softcap;
  GEMMA_TRY_ASSIGN(config_, mediapipe::read_config(type.number, p, place));
  if (p.layers != type.layers) config_.name = family_name(family);
  // What the graph does tell is more than what its family is known for.
  config_.final_softcap = decoder_.final_softcap;
  // The export's own KV cache may be short; ours is not.
  config_.context_length = (std::max)(config_.context_length, decoder_.context);
  if (first.query_scale > 0.0f) config_.attention_scale = first.query_scale;
  const bool windows = std::any_of(decoder_.layers.begin(), decoder_.layers.end(),
                                   [](const GraphLayer& layer) { return layer.window > 0; });
  std::size_t usual = 0;
  for (const LayerConfig& layer : config_.layers) usual = (std::max)(usual, layer.window);
  for (std::size_t i = 0; i < decoder_.layers.size(); ++i) {
    const GraphLayer& from = decoder_.layers[i];
    // A window as long as the export's cache may have been cut to it.
    const bool cut = from.window > 0 && from.window >= decoder_.context;
    if (windows) config_.layers[i].window = cut ? (std::max)(usual, from.window) : from.window;
    if (from.rope_base > 0.0f) config_.layers[i].rope_base = from.rope_base;
    if (from.rope_base > 0.0f) config_.layers[i].rope_scale = from.rope_scale;
  }
  return check_config(config_, place);
}

GEMMA_INLINE Status BundleSource::find_tensors() {
  const FamilyTraits traits = traits_of(config_.family);
  const bool post_norms = visit_family(config_.family, [](auto f) { return f.kPostNorms; });
  GEMMA_TRY(add_matrix("token_embd.weight", {decoder_.embedding, {}}));
  if (decoder_.head != decoder_.embedding) GEMMA_TRY(add_matrix("output.weight", {decoder_.head, {}}));
  for (std::size_t i = 0; i < decoder_.layers.size(); ++i) {
    const GraphLayer& layer = decoder_.layers[i];
    const std::string block = "blk." + std::to_string(i) + ".";
    GEMMA_TRY(add_norm(block + "attn_norm.weight", layer.attention_norm));
    GEMMA_TRY(add_matrix(block + "attn_q.weight", layer.q, " (queries)"));
    GEMMA_TRY(add_matrix(block + "attn_k.weight", layer.k, " (keys)"));
    GEMMA_TRY(add_matrix(block + "attn_v.weight", layer.v, " (values)"));
    GEMMA_TRY(add_matrix(block + "attn_output.weight", {layer.out, {}}));
    if (traits.qk_norm) {
      GEMMA_TRY(add_norm(block + "attn_q_norm.weight", layer.q_norm));
      GEMMA_TRY(add_norm(block + "attn_k_norm.weight", layer.k_norm));
    }
    if (post_norms) GEMMA_TRY(add_norm(block + "post_attention_norm.weight", layer.post_attention_norm));
    GEMMA_TRY(add_norm(block + "ffn_norm.weight", layer.ffn_norm));
    GEMMA_TRY(add_matrix(block + "ffn_gate.weight", {layer.gate, {}}));
    GEMMA_TRY(add_matrix(block + "ffn_up.weight", {layer.up, {}}));
    GEMMA_TRY(add_matrix(block + "ffn_down.weight", {layer.down, {}}));
    if (post_norms) GEMMA_TRY(add_norm(block + "post_ffw_norm.weight", layer.post_ffn_norm));
  }
  return add_norm("output_norm.weight", decoder_.output_norm);
}

GEMMA_INLINE Error BundleSource::tensor_error(ErrorCode code, const tfl::GraphTensor& tensor,
                                              const std::string& what) const {
  return Error(code, parts_.graph_name + ": tensor '" + gguf::printable(tensor.name) + "' " + what);
}

/// All tensors that are needed are together no larger than the graph, else they overlap, and little of
/// a file could fill all memory.
GEMMA_INLINE Status BundleSource::take(const tfl::GraphTensor& tensor) {
  taken_ += tensor.data.size();
  if (taken_ <= parts_.graph.size()) return {};
  return tensor_error(ErrorCode::format, tensor, "overlaps another; the file is damaged");
}

GEMMA_INLINE Status BundleSource::add_norm(const std::string& gguf_name, std::int32_t tensor) {
  if (tensor < 0) {
    return Error(ErrorCode::format, parts_.graph_name + ": the graph has no norm that would be '" +
                                        gguf_name + "' in a GGUF file");
  }
  const tfl::GraphTensor& from = graph_.tensors[static_cast<std::size_t>(tensor)];
  GEMMA_TRY(take(from));
  TensorView view;
  view.name = from.name;
  view.shape = {from.data.size() / sizeof(float)};
  view.data = from.data.subspan(0, from.data.size() / sizeof(float) * sizeof(float));
  index_[gguf_name] = tensors_.size();
  names_.push_back(gguf_name);
  tensors_.push_back(std::move(view));
  return {};
}

GEMMA_INLINE Status BundleSource::add_matrix(const std::string& gguf_name, const GraphMatrix& matrix,
                                             const char* part) {
  using tfl::TensorType;
  const tfl::GraphTensor& from = graph_.tensors[static_cast<std::size_t>(matrix.tensor)];
  const tfl::Quantization& q = from.quantization;
  const GraphShape all = shape_of(from);
  TensorView view;
  view.name = from.name + part;
  const std::size_t rows = matrix.rows.empty() ? all.rows : matrix.rows.size();
  const std::size_t first = matrix.rows.empty() ? 0 : matrix.rows[0];
  view.shape = {all.cols, rows};
  Job job{tensors_.size(), matrix.tensor, Layout::same, 0, matrix.rows};
  std::size_t row_bits = all.cols;
  switch (from.type) {
    case TensorType::f32: view.type = DType::F32; row_bits *= 32; break;
    case TensorType::f16: view.type = DType::F16; row_bits *= 16; break;
    case TensorType::bf16: view.type = DType::BF16; row_bits *= 16; break;
    case TensorType::i8:
      view.type = q.block_size > 0 ? DType::Q8_0 : DType::I8;
      if (q.block_size > 0) job.layout = Layout::blocks_of_8;
      row_bits *= 8;
      break;
    case TensorType::i4:
      view.type = q.block_size > 0 ? DType::Q4_0 : DType::I4;
      job.layout = q.block_size > 0 ? Layout::blocks_of_4 : Layout::signed_fours;
      row_bits *= 4;
      break;
    default:
      return tensor_error(ErrorCode::unsupported, from,
                          "has numbers of TFLite's type " +
                              std::to_string(static_cast<unsigned>(from.type)) +
                              "; this version reads 0 (F32), 1 (F16), 9 (I8), 17 (I4) and 18 (BF16)");
  }
  const std::size_t block = quant::block_elements(view.type);
  if (all.cols % block != 0) {
    return tensor_error(ErrorCode::unsupported, from,
                        "has rows of " + std::to_string(all.cols) + " numbers; whole blocks of " +
                            std::to_string(block) + " are expected, as every Gemma has");
  }
  job.source_row_bytes = row_bits / 8;
  if (from.data.size() / job.source_row_bytes != all.rows ||
      from.data.size() % job.source_row_bytes != 0) {
    return tensor_error(ErrorCode::format, from,
                        "has " + std::to_string(from.data.size()) + " bytes, expected " +
                            std::to_string(all.rows) + " rows of " +
                            std::to_string(job.source_row_bytes));
  }
  if (q.block_size > 0) {
    GEMMA_TRY(check_blocks(from, all, block, first == 0));
  } else if (view.type == DType::I8 || view.type == DType::I4) {
    GEMMA_TRY_ASSIGN(std::vector<float> scales, row_numbers(q.scales, false, all.rows, from));
    GEMMA_TRY_ASSIGN(std::vector<float> zeros, row_numbers(q.zeros, true, all.rows, from));
    const bool shifted = std::any_of(zeros.begin(), zeros.end(), [](float z) { return z != 0.0f; });
    const auto add = [&](const std::vector<float>& numbers) {
      std::vector<float> own;
      for (const std::uint32_t r : matrix.rows) own.push_back(numbers[r]);
      row_numbers_.push_back(matrix.rows.empty() ? numbers : std::move(own));
      return static_cast<const float*>(row_numbers_.back().data());
    };
    view.row_scale = add(scales);
    if (shifted) view.row_zero = add(zeros);
  }
  // Parts of a matrix are together no more than it is, and one of them begins with its first row.
  bool in_order = true;
  for (std::size_t r = 0; r < matrix.rows.size(); ++r) {
    in_order = in_order && matrix.rows[r] == first + r;
  }
  if (first == 0) GEMMA_TRY(take(from));
  if (job.layout == Layout::same && in_order) {
    view.data = from.data.subspan(first * job.source_row_bytes, rows * job.source_row_bytes);
    in_place_ = true;
  } else {
    jobs_.push_back(std::move(job));
  }
  index_[gguf_name] = tensors_.size();
  names_.push_back(gguf_name);
  tensors_.push_back(std::move(view));
  return {};
}

GEMMA_INLINE Status BundleSource::check_blocks(const tfl::GraphTensor& tensor, GraphShape shape,
                                               std::size_t block, bool count_scales) {
  const tfl::Quantization& q = tensor.quantization;
  const auto size = static_cast<std::size_t>(q.block_size);
  if (size % block != 0 || shape.cols % size != 0) {
    return tensor_error(ErrorCode::unsupported, tensor,
                        "has blocks of " + std::to_string(size) + " numbers in rows of " +
                            std::to_string(shape.cols) + "; multiples of " + std::to_string(block) +
                            " that divide a row are expected");
  }
  if (q.block_scales < 0) return tensor_error(ErrorCode::format, tensor, "has blocks without scales");
  const tfl::GraphTensor& scales = graph_.tensors[static_cast<std::size_t>(q.block_scales)];
  const std::size_t count = shape.rows * (shape.cols / size);
  if (scales.type != tfl::TensorType::f16 || scales.data.size() != 2 * count) {
    return tensor_error(ErrorCode::unsupported, scales,
                        "has " + std::to_string(scales.data.size()) + " bytes of type " +
                            std::to_string(static_cast<unsigned>(scales.type)) + ", expected " +
                            std::to_string(count) + " float16 scales");
  }
  if (count_scales) GEMMA_TRY(take(scales));
  if (q.block_zeros < 0) return {};
  const Bytes zeros = graph_.tensors[static_cast<std::size_t>(q.block_zeros)].data;
  if (std::all_of(zeros.begin(), zeros.end(), [](std::uint8_t z) { return z == 0; })) return {};
  return tensor_error(ErrorCode::unsupported, tensor,
                      "has blocks with zero points; only those without are known here");
}

/// A number for each row; one may stand for all, and zeros may be left out.
GEMMA_INLINE Result<std::vector<float>> BundleSource::row_numbers(
    Bytes numbers, bool integers, std::size_t rows, const tfl::GraphTensor& tensor) const {
  const std::size_t bytes = integers ? sizeof(std::int64_t) : sizeof(float);
  const std::size_t count = numbers.size() / bytes;
  if (integers && count == 0) return std::vector<float>(rows);
  if ((count != rows && count != 1) || (count == rows && tensor.quantization.dimension != 0)) {
    return tensor_error(ErrorCode::unsupported, tensor,
                        "has " + std::to_string(count) + " scales or zero points along dimension " +
                            std::to_string(tensor.quantization.dimension) + ", expected " +
                            std::to_string(rows) + ", one for each row");
  }
  std::vector<float> out(rows);
  for (std::size_t r = 0; r < rows; ++r) {
    const std::uint8_t* at = numbers.data() + (count == 1 ? 0 : r) * bytes;
    out[r] = integers ? static_cast<float>(load_le<std::int64_t>(at)) : load_le<float>(at);
    if (!std::isfinite(out[r])) {
      return tensor_error(ErrorCode::format, tensor, "has a scale that is not a number");
    }
  }
  return out;
}

GEMMA_INLINE const TensorView* BundleSource::find_tensor(const std::string& gguf_name) const {
  const auto found = index_.find(gguf_name);
  return found == index_.end() ? nullptr : &tensors_[found->second];
}

GEMMA_INLINE std::string BundleSource::own_name(const std::string& gguf_name) const {
  const TensorView* tensor = find_tensor(gguf_name);
  return tensor == nullptr ? gguf_name : tensor->name;
}

GEMMA_INLINE Result<Vocabulary> BundleSource::read_vocabulary() const {
  if (tokens_error_) return *tokens_error_;
  return vocabulary_;
}

GEMMA_INLINE std::vector<TokenId> BundleSource::stop_ids() const {
  return detail::stop_ids(parts_.metadata.parameters, &vocabulary_);
}

GEMMA_INLINE std::string BundleSource::chat_template() const {
  if (!parts_.metadata.jinja.empty()) return parts_.metadata.jinja;
  return detail::jinja_of(parts_.metadata.parameters, config_.family);
}

GEMMA_INLINE void BundleSource::advise_dontneed(Bytes data) const {
  if (mapping_) mapping_->advise_dontneed(data);
}

GEMMA_INLINE void BundleSource::advise_willneed(Bytes data) const {
  if (mapping_) mapping_->advise_willneed(data);
}

namespace detail {

/// A bundle whose weights are a container, as .bin files are, and not a graph. None was at hand to try.
inline Result<std::shared_ptr<const ModelSource>> open_container(BundleParts parts,
                                                                 std::shared_ptr<const void> file,
                                                                 const ProgressFn& progress) {
  const std::string name = parts.graph_name;
  const auto kept = std::make_shared<const std::pair<std::shared_ptr<const void>, BundleParts>>(
      std::move(file), std::move(parts));
  GEMMA_TRY_ASSIGN(tfl::File container, tfl::File::from_bytes(kept->second.graph, name, kept));
  GEMMA_TRY_ASSIGN(Source source, Source::from_file(std::move(container), progress));
  return std::shared_ptr<const ModelSource>(std::make_shared<const Source>(std::move(source)));
}

inline Result<std::shared_ptr<const ModelSource>> finish(BundleSource source,
                                                         const ProgressFn& progress) {
  GEMMA_TRY(source.lay_out(progress));
  return std::shared_ptr<const ModelSource>(std::make_shared<const BundleSource>(std::move(source)));
}

}  // namespace detail

GEMMA_INLINE Result<std::shared_ptr<const ModelSource>> open_bundle(const std::string& path,
                                                                    FileAccess access,
                                                                    const ProgressFn& progress) {
  for (FileAccess now = FileAccess::map;; now = access) {
    GEMMA_TRY_ASSIGN(MappedFile file, MappedFile::open(path, now));
    const auto mapping = std::make_shared<const MappedFile>(std::move(file));
    GEMMA_TRY_ASSIGN(BundleParts parts, read_parts(mapping->bytes(), path));
    GEMMA_TRY_ASSIGN(const tfl::File tables, tfl::File::from_bytes(parts.graph, parts.graph_name));
    if (!tables.is_graph()) return detail::open_container(std::move(parts), mapping, progress);
    GEMMA_TRY_ASSIGN(BundleSource source,
                     BundleSource::plan(mapping->bytes(), std::move(parts), path));
    // What is laid out anew is read once, from the mapping.
    if (now != access && source.uses_file()) continue;
    source.keep_mapping(mapping);
    return detail::finish(std::move(source), progress);
  }
}

GEMMA_INLINE Result<std::shared_ptr<const ModelSource>> open_bundle(
    Bytes file, const std::string& name, std::shared_ptr<const void> owner,
    const ProgressFn& progress) {
  GEMMA_TRY_ASSIGN(BundleParts parts, read_parts(file, name));
  GEMMA_TRY_ASSIGN(const tfl::File tables, tfl::File::from_bytes(parts.graph, parts.graph_name));
  if (!tables.is_graph()) return detail::open_container(std::move(parts), std::move(owner), progress);
  GEMMA_TRY_ASSIGN(BundleSource source, BundleSource::plan(file, std::move(parts), name));
  source.keep_owner(std::move(owner));
  return detail::finish(std::move(source), progress);
}

}  // namespace mediapipe
GEMMA_NAMESPACE_END

#endif  // GEMMA_GENERATE_IMPL_MEDIAPIPE_BUNDLE_INL_HPP_
