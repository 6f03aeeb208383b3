// Bodies of gguf_binding.hpp.
#ifndef GEMMA_GENERATE_IMPL_GGUF_BINDING_INL_HPP_
#define GEMMA_GENERATE_IMPL_GGUF_BINDING_INL_HPP_

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <iterator>
#include <optional>
#include <utility>
#include <vector>

#include "gemma/base/file.hpp"
#include "gemma/generate/bind_weights.hpp"
#include "gemma/generate/gguf_binding.hpp"
#include "gemma/model/family.hpp"

GEMMA_NAMESPACE_BEGIN
namespace gguf {
namespace detail {

/// What "general.architecture" means. Other defaults are the family's.
struct Architecture {
  const char* name;
  Family family;
  std::size_t window;  ///< where a file does not say; 0: no local layers
  /// Not in GGUF: the model with this many layers scales queries by (D/H)^-½ instead of d^-½.
  std::size_t wide_scale_layers;
  bool bidirectional;

  FamilyTraits traits() const { return traits_of(family); }
};

inline constexpr Architecture kArchitectures[] = {
    {"gemma", Family::gemma1, 0, 0, false},      {"gemma2", Family::gemma2, 4096, 46, false},
    {"gemma3", Family::gemma3, 0, 62, false},    {"gemma-embedding", Family::gemma3, 0, 0, true},
    {"gemma3n", Family::gemma3n, 0, 0, false},   {"gemma4", Family::gemma4, 0, 0, false},
};

inline const Architecture& architecture_of(const Config& config) {
  return *std::find_if(std::begin(kArchitectures), std::end(kArchitectures),
                       [&](const Architecture& a) {
                         return a.family == config.family && a.bidirectional == config.bidirectional;
                       });
}

/// Metadata of one architecture: "block_count" → "gemma3.block_count".
class Keys {
 public:
  Keys(const File& file, const TensorSource& tensors, std::string prefix)
      : file_(file), tensors_(tensors), prefix_(std::move(prefix)) {}

  bool has(const char* key) const { return file_.find(full(key)) != nullptr; }

  Result<std::size_t> size(const char* key) const {
    GEMMA_TRY_ASSIGN(const std::uint64_t value, file_.get_uint(full(key)));
    return checked(key, value);
  }
  Result<std::size_t> size_or(const char* key, std::size_t fallback) const {
    if (!has(key)) return fallback;
    return size(key);
  }
  Result<float> number_or(const char* key, float fallback) const {
    if (!has(key)) return fallback;
    GEMMA_TRY_ASSIGN(const double value, file_.get_float(full(key)));
    return static_cast<float>(value);
  }
  /// One number for all layers, or an array with one for each.
  Result<std::vector<std::size_t>> per_layer(const char* key, std::size_t layers) const {
    const Value& value = *file_.find(full(key));
    if (!value.is_array()) {
      GEMMA_TRY_ASSIGN(const std::size_t all, size(key));
      return std::vector<std::size_t>(layers, all);
    }
    GEMMA_TRY_ASSIGN(const std::vector<std::uint64_t> values, file_.get_uint_array(full(key)));
    if (values.size() != layers) {
      return error(key, "holds " + std::to_string(values.size()) + " numbers for " +
                            std::to_string(layers) + " layers");
    }
    std::vector<std::size_t> sizes;
    for (const std::uint64_t v : values) {
      GEMMA_TRY_ASSIGN(const std::size_t checked_value, checked(key, v));
      sizes.push_back(checked_value);
    }
    return sizes;
  }

  /// Of keys and values, which must be the same; suffix "_swa" for local layers.
  Result<std::size_t> head_size(const std::string& suffix, std::size_t fallback) const {
    const std::string key_length = "attention.key_length" + suffix;
    const std::string value_length = "attention.value_length" + suffix;
    GEMMA_TRY_ASSIGN(const std::size_t size, size_or(key_length.c_str(), fallback));
    GEMMA_TRY_ASSIGN(const std::size_t value_size, size_or(value_length.c_str(), size));
    if (value_size == size) return size;
    return error(value_length.c_str(), "is " + std::to_string(value_size) +
                                           ", but keys have length " + std::to_string(size));
  }

  /// Length of a tensor's rows; 0 without the tensor.
  std::size_t first_dimension(const char* tensor_name) const {
    const TensorView* tensor = tensors_.find_tensor(tensor_name);
    return tensor == nullptr ? 0 : static_cast<std::size_t>(tensor->row_length());
  }

  std::string full(const char* key) const { return prefix_ + "." + key; }
  const File& file() const { return file_; }
  const TensorSource& tensors() const { return tensors_; }
  Error error(const char* key, const std::string& what) const {
    return Error(ErrorCode::format, file_.name() + ": key '" + full(key) + "' " + what);
  }

 private:
  /// Sizes beyond this cannot be meant, and products of two still fit 64 bits.
  Result<std::size_t> checked(const char* key, std::uint64_t value) const {
    constexpr std::uint64_t kLimit = std::uint64_t{1} << 31;
    if (value < kLimit) return static_cast<std::size_t>(value);
    return error(key, "is " + std::to_string(value) + "; no size of a model is that large");
  }

  const File& file_;
  const TensorSource& tensors_;
  std::string prefix_;
};

inline Result<const Architecture*> find_architecture(const File& file) {
  GEMMA_TRY_ASSIGN(const std::string_view name, file.get_string("general.architecture"));
  std::string known;
  for (const Architecture& a : kArchitectures) {
    if (name == a.name) return &a;
    known += (known.empty() ? "" : ", ") + std::string(a.name);
  }
  return Error(ErrorCode::unsupported, file.name() + ": the architecture '" + std::string(name) +
                                           "' is not one this version runs (" + known + ")");
}

/// Which layers see only a window: a period, or a list of booleans. Gemma 1 has none.
inline Result<std::vector<bool>> local_layers(const Keys& keys, const Architecture& arch,
                                              std::size_t layers) {
  std::vector<bool> local(layers, false);
  const char* key = "attention.sliding_window_pattern";
  const Value* value = keys.file().find(keys.full(key));
  if (value != nullptr && value->is_array()) {
    GEMMA_TRY_ASSIGN(const std::vector<std::uint64_t> flags,
                     keys.file().get_uint_array(keys.full(key)));
    if (flags.size() != layers) {
      return keys.error(key, "holds " + std::to_string(flags.size()) + " flags for " +
                                 std::to_string(layers) + " layers");
    }
    for (std::size_t i = 0; i < layers; ++i) local[i] = flags[i] != 0;
    return local;
  }
  GEMMA_TRY_ASSIGN(const std::size_t period,
                   keys.size_or(key, arch.traits().window_pattern));
  for (std::size_t i = 0; i < layers; ++i) local[i] = period == 0 || i % period + 1 < period;
  return local;
}

/// The factor by which positions are divided on global layers.
inline Result<float> rope_scale(const Keys& keys) {
  std::string_view type = "linear";
  if (keys.has("rope.scaling.type")) {
    GEMMA_TRY_ASSIGN(type, keys.file().get_string(keys.full("rope.scaling.type")));
  }
  if (type == "none") return 1.0f;
  if (type != "linear") {
    return keys.error("rope.scaling.type",
                      "is '" + std::string(type) + "'; Gemma uses 'linear' or 'none'");
  }
  GEMMA_TRY_ASSIGN(const float factor, keys.number_or("rope.scaling.factor", 1.0f));
  return factor == 0.0f ? 1.0f : factor;
}

/// Where the gates of Gemma 3n are cut off. Older files do not say: 95 % of the first ten layers'.
inline Status read_sparsity(const Keys& keys, Config& config) {
  constexpr std::size_t kDefaultLayers = 10;
  constexpr float kDefault = 1.6448536f;  // the standard normal distribution's 95 % point
  const char* key = "activation_sparsity_scale";
  std::vector<double> values;
  if (keys.has(key)) {
    GEMMA_TRY_ASSIGN(values, keys.file().get_float_array(keys.full(key)));
    if (values.size() != config.layers.size()) {
      return keys.error(key, "holds " + std::to_string(values.size()) + " numbers for " +
                                 std::to_string(config.layers.size()) + " layers");
    }
  } else {
    values.assign((std::min)(kDefaultLayers, config.layers.size()), double{kDefault});
  }
  for (std::size_t i = 0; i < values.size(); ++i) {
    config.layers[i].sparsity = static_cast<float>(values[i]);
  }
  return {};
}

inline Status read_layers(const Keys& keys, const Architecture& arch, std::size_t layers,
                          Config& config) {
  std::vector<std::size_t> kv_heads(layers, config.heads);
  if (keys.has("attention.head_count_kv")) {
    GEMMA_TRY_ASSIGN(kv_heads, keys.per_layer("attention.head_count_kv", layers));
  }
  if (!keys.has("feed_forward_length")) return keys.error("feed_forward_length", "is missing");
  GEMMA_TRY_ASSIGN(const std::vector<std::size_t> ffn,
                   keys.per_layer("feed_forward_length", layers));
  const std::size_t default_dim = config.heads == 0 ? 0 : config.width / config.heads;
  GEMMA_TRY_ASSIGN(const std::size_t head_dim, keys.head_size("", default_dim));
  GEMMA_TRY_ASSIGN(const std::size_t local_dim, keys.head_size("_swa", head_dim));
  GEMMA_TRY_ASSIGN(const std::size_t window,
                   keys.size_or("attention.sliding_window", arch.window));
  GEMMA_TRY_ASSIGN(const std::vector<bool> local, local_layers(keys, arch, layers));
  GEMMA_TRY_ASSIGN(const float base, keys.number_or("rope.freq_base", arch.traits().rope_base));
  GEMMA_TRY_ASSIGN(const float scale, rope_scale(keys));
  const bool own_base = arch.traits().local_rope;
  GEMMA_TRY_ASSIGN(const float local_base,
                   keys.number_or("rope.freq_base_swa", own_base ? 10000.0f : base));
  for (std::size_t i = 0; i < layers; ++i) {
    LayerConfig layer;
    const bool is_local = local[i] && window != 0;
    layer.head_dim = is_local ? local_dim : head_dim;
    layer.kv_heads = kv_heads[i];
    layer.ffn_width = ffn[i];
    // Both sides share the window of a model that looks both ways.
    layer.window = !is_local ? 0 : arch.bidirectional ? window / 2 + 1 : window;
    layer.rope_base = is_local ? local_base : base;
    layer.rope_scale = is_local && own_base ? 1.0f : scale;
    layer.rope_divided = !is_local && !config.rope_divisors.empty();
    const std::string block = "blk." + std::to_string(i) + ".";
    layer.values_are_keys = arch.family == Family::gemma4 &&
                            keys.tensors().find_tensor(block + "attn_k.weight") != nullptr &&
                            keys.tensors().find_tensor(block + "attn_v.weight") == nullptr;
    config.layers.push_back(layer);
  }
  GEMMA_TRY_ASSIGN(const std::size_t shared, keys.size_or("attention.shared_kv_layers", 0));
  if (share_keys(local, shared, config)) return {};
  return keys.error("attention.shared_kv_layers", "is " + std::to_string(shared) + " of " +
                                                      std::to_string(layers) +
                                                      " layers; some have none to share with");
}

/// Sizes of what only Gemma 3n and 4 have.
inline Status read_extensions(const Keys& keys, Config& config) {
  if (config.family < Family::gemma3n) return {};
  GEMMA_TRY_ASSIGN(config.ple_width, keys.size_or("embedding_length_per_layer_input",
                                                  keys.first_dimension("per_layer_proj_norm.weight")));
  GEMMA_TRY_ASSIGN(config.experts, keys.size_or("expert_count", 0));
  GEMMA_TRY_ASSIGN(config.experts_used, keys.size_or("expert_used_count", 0));
  GEMMA_TRY_ASSIGN(config.expert_width, keys.size_or("expert_feed_forward_length", 0));
  if (config.family != Family::gemma3n) return {};
  GEMMA_TRY_ASSIGN(config.altup_streams, keys.size_or("altup.num_inputs", 4));
  GEMMA_TRY_ASSIGN(config.altup_active, keys.size_or("altup.active_idx", 0));
  const TensorView* laurel = keys.tensors().find_tensor("blk.0.laurel_l.weight");
  if (laurel != nullptr) config.laurel_rank = static_cast<std::size_t>(laurel->rows());
  return read_sparsity(keys, config);
}

/// "-00002-of-00003.gguf" for part 1 of 3.
inline std::string part_ending(std::uint64_t part, std::uint64_t parts) {
  const auto five_digits = [](std::uint64_t n) {
    const std::string digits = std::to_string(n);
    return std::string(digits.size() < 5 ? 5 - digits.size() : 0, '0') + digits;
  };
  return "-" + five_digits(part + 1) + "-of-" + five_digits(parts) + ".gguf";
}

/// A special token's id, none if the file does not name it.
inline Result<std::optional<TokenId>> token_id(const File& file, const char* key) {
  if (file.find(key) == nullptr) return std::optional<TokenId>();
  GEMMA_TRY_ASSIGN(const std::uint64_t id, file.get_uint(key));
  constexpr std::uint64_t kLargest = 0x7FFFFFFF;
  if (id > kLargest) {
    return Error(ErrorCode::format, file.name() + ": key '" + key + "' is " + std::to_string(id) +
                                        ", which is no token id");
  }
  return std::optional<TokenId>(static_cast<TokenId>(id));
}

}  // namespace detail

GEMMA_INLINE float derived_attention_scale(const Config& config) {
  if (!traits_of(config.family).scaled_queries) return 1.0f;
  const bool wide = detail::architecture_of(config).wide_scale_layers == config.layers.size();
  const std::size_t per_head = wide ? config.width / config.heads : config.layers[0].head_dim;
  return 1.0f / std::sqrt(static_cast<float>(per_head));
}

GEMMA_INLINE Result<Config> read_config(const File& file, const TensorSource& tensors) {
  GEMMA_TRY_ASSIGN(const std::string_view type, file.get_string_or("general.type", "model"));
  if (type == "adapter") return adapter_is_no_model(file.name());
  GEMMA_TRY_ASSIGN(const detail::Architecture* arch, detail::find_architecture(file));
  const detail::Keys keys(file, tensors, arch->name);
  Config config;
  config.family = arch->family;
  config.bidirectional = arch->bidirectional;
  if (file.find("general.name") != nullptr) {
    GEMMA_TRY_ASSIGN(const std::string_view name, file.get_string("general.name"));
    config.name = std::string(name);
  }
  const TensorView* embedding = tensors.find_tensor("token_embd.weight");
  if (embedding == nullptr) {
    return Error(ErrorCode::format, file.name() +
                                        ": tensor 'token_embd.weight' is missing; the file holds "
                                        "no model, or only its vocabulary");
  }
  config.vocab_size = static_cast<std::size_t>(embedding->rows());
  GEMMA_TRY_ASSIGN(config.width, keys.size("embedding_length"));
  GEMMA_TRY_ASSIGN(config.heads, keys.size("attention.head_count"));
  GEMMA_TRY_ASSIGN(config.context_length, keys.size("context_length"));
  GEMMA_TRY_ASSIGN(config.norm_eps,
                   keys.number_or("attention.layer_norm_rms_epsilon", 1e-6f));
  GEMMA_TRY_ASSIGN(config.final_softcap,
                   keys.number_or("final_logit_softcapping", arch->traits().final_softcap));
  if (const float usual = arch->traits().attention_softcap; usual > 0.0f) {
    GEMMA_TRY_ASSIGN(config.attention_softcap, keys.number_or("attn_logit_softcapping", usual));
  }
  GEMMA_TRY_ASSIGN(const std::size_t layers, keys.size("block_count"));
  constexpr std::size_t kMostLayers = 10000;
  if (layers > kMostLayers) {
    return keys.error("block_count",
                      "is " + std::to_string(layers) + "; no model has that many layers");
  }
  if (arch->family == Family::gemma4) {
    GEMMA_TRY_ASSIGN(config.rope_divisors,
                     gemma::detail::Binder(tensors).optional("rope_freqs.weight"));
  }
  GEMMA_TRY(detail::read_layers(keys, *arch, layers, config));
  GEMMA_TRY(detail::read_extensions(keys, config));
  GEMMA_TRY(check_config(config, file.name()));

  config.attention_scale = derived_attention_scale(config);
  return config;
}

GEMMA_INLINE Result<Vocabulary> read_vocabulary(const File& file) {
  Vocabulary vocabulary;
  GEMMA_TRY_ASSIGN(const std::string_view model, file.get_string("tokenizer.ggml.model"));
  if (model == "gemma4") {
    vocabulary.kind = TokenizerKind::merges;
  } else if (model != "llama") {
    return Error(ErrorCode::unsupported, file.name() + ": key 'tokenizer.ggml.model' is '" +
                                             printable(model) +
                                             "'; Gemma's tokenizers are 'llama' and 'gemma4'");
  }
  GEMMA_TRY_ASSIGN(const Span<const std::string_view> pieces,
                   file.get_string_array("tokenizer.ggml.tokens"));
  vocabulary.pieces.assign(pieces.begin(), pieces.end());
  if (file.find("tokenizer.ggml.scores") != nullptr) {
    GEMMA_TRY_ASSIGN(const std::vector<double> scores,
                     file.get_float_array("tokenizer.ggml.scores"));
    vocabulary.scores.reserve(scores.size());
    for (const double score : scores) vocabulary.scores.push_back(static_cast<float>(score));
  }
  if (file.find("tokenizer.ggml.token_type") != nullptr) {
    GEMMA_TRY_ASSIGN(const std::vector<std::int64_t> types,
                     file.get_int_array("tokenizer.ggml.token_type"));
    vocabulary.types.reserve(types.size());
    for (const std::int64_t type : types) {
      const bool known = type >= 1 && type <= 6;
      vocabulary.types.push_back(known ? static_cast<PieceType>(type) : PieceType::normal);
    }
  }
  if (vocabulary.kind == TokenizerKind::merges) {
    GEMMA_TRY_ASSIGN(const Span<const std::string_view> merges,
                     file.get_string_array("tokenizer.ggml.merges"));
    vocabulary.merges.assign(merges.begin(), merges.end());
  }
  GEMMA_TRY_ASSIGN(vocabulary.bos, detail::token_id(file, "tokenizer.ggml.bos_token_id"));
  GEMMA_TRY_ASSIGN(vocabulary.eos, detail::token_id(file, "tokenizer.ggml.eos_token_id"));
  GEMMA_TRY_ASSIGN(vocabulary.unknown, detail::token_id(file, "tokenizer.ggml.unknown_token_id"));
  // Every Gemma needs its BOS, also where an old file does not say so.
  GEMMA_TRY_ASSIGN(vocabulary.add_bos, file.get_bool_or("tokenizer.ggml.add_bos_token", true));
  GEMMA_TRY_ASSIGN(vocabulary.add_eos, file.get_bool_or("tokenizer.ggml.add_eos_token", false));
  return vocabulary;
}

GEMMA_INLINE Status Source::add(File file) {
  for (const TensorView& tensor : file.tensors()) {
    if (!index_.emplace(tensor.name, tensors_.size()).second) {
      return Error(ErrorCode::format, file.name() + ": tensor '" + printable(tensor.name) +
                                          "' is in another part of the model, too");
    }
    tensors_.push_back(tensor);
  }
  files_.push_back(std::move(file));
  return {};
}

GEMMA_INLINE Result<Source> Source::open(const std::string& path, FileAccess access) {
  constexpr std::uint64_t kMostParts = 99999;
  Source source;
  GEMMA_TRY_ASSIGN(File first, File::open(path, access));
  GEMMA_TRY_ASSIGN(const std::uint64_t parts, first.get_uint_or("split.count", 1));
  GEMMA_TRY_ASSIGN(const std::uint64_t number, first.get_uint_or("split.no", 0));
  GEMMA_TRY(source.add(std::move(first)));
  if (parts <= 1) return source;
  const std::string ending = detail::part_ending(0, parts);
  const bool named = path.size() > ending.size() && parts <= kMostParts &&
                     path.substr(path.size() - ending.size()) == ending;
  if (number != 0 || !named) {
    return Error(ErrorCode::format, path + ": this is part " + std::to_string(number + 1) + " of " +
                                        std::to_string(parts) + " of a model; give the first, whose "
                                        "name must end in '" + ending + "'");
  }
  const std::string stem = path.substr(0, path.size() - ending.size());
  for (std::uint64_t i = 1; i < parts; ++i) {
    const std::string part = stem + detail::part_ending(i, parts);
    if (path_kind(part) == PathKind::nothing) {
      return Error(ErrorCode::io, path + ": the model is in " + std::to_string(parts) +
                                      " parts, and " + part + " is missing");
    }
    GEMMA_TRY_ASSIGN(File file, File::open(part, access));
    GEMMA_TRY_ASSIGN(const std::uint64_t own, file.get_uint_or("split.no", 0));
    GEMMA_TRY_ASSIGN(const std::uint64_t count, file.get_uint_or("split.count", 1));
    if (own != i || count != parts) {
      return Error(ErrorCode::format,
                   part + ": says that it is part " + std::to_string(own + 1) + " of " +
                       std::to_string(count) + ", expected part " + std::to_string(i + 1) + " of " +
                       std::to_string(parts));
    }
    GEMMA_TRY(source.add(std::move(file)));
  }
  const std::uint64_t found = source.tensors_.size();
  GEMMA_TRY_ASSIGN(const std::uint64_t tensors,
                   source.file().get_uint_or("split.tensors.count", found));
  if (tensors != found) {
    return Error(ErrorCode::format, path + ": the parts hold " + std::to_string(found) +
                                        " tensors, but the first says " +
                                        std::to_string(tensors) + "; are they of one model?");
  }
  return source;
}

GEMMA_INLINE Result<Source> Source::from_file(File file) {
  GEMMA_TRY_ASSIGN(const std::uint64_t parts, file.get_uint_or("split.count", 1));
  if (parts > 1) {
    return Error(ErrorCode::unsupported,
                 file.name() + ": this is one of " + std::to_string(parts) +
                     " parts of a model, which in memory must be in one; merge them first");
  }
  Source source;
  GEMMA_TRY(source.add(std::move(file)));
  return source;
}

GEMMA_INLINE const TensorView* Source::find_tensor(const std::string& name) const {
  const auto found = index_.find(name);
  return found == index_.end() ? nullptr : &tensors_[found->second];
}

GEMMA_INLINE std::string Source::format() const {
  const std::string version = "GGUF v" + std::to_string(file().version());
  return files_.size() == 1 ? version : version + " in " + std::to_string(files_.size()) + " parts";
}

GEMMA_INLINE std::vector<std::string> Source::files() const {
  std::vector<std::string> paths;
  for (const File& part : files_) paths.push_back(part.name());
  return paths;
}

GEMMA_INLINE std::uint64_t Source::file_bytes() const {
  std::uint64_t sum = 0;
  for (const File& part : files_) sum += part.bytes().size();
  return sum;
}

GEMMA_INLINE std::vector<std::string> Source::gguf_names() const {
  std::vector<std::string> names;
  for (const TensorView& tensor : tensors_) names.push_back(tensor.name);
  return names;
}

GEMMA_INLINE std::vector<TokenId> Source::stop_ids() const {
  std::vector<TokenId> ids;
  for (const char* key : {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id"}) {
    const auto id = detail::token_id(file(), key);
    if (id.ok() && id->has_value()) ids.push_back(**id);
  }
  return ids;
}

GEMMA_INLINE std::string Source::chat_template() const {
  const Value* value = file().find("tokenizer.chat_template");
  if (value == nullptr) return {};
  const Result<std::string_view> jinja = value->as_string();
  return jinja.ok() ? std::string(*jinja) : std::string();
}

GEMMA_INLINE void Source::advise_dontneed(Bytes data) const {
  for (const File& part : files_) {
    if (part.mapping() != nullptr) part.mapping()->advise_dontneed(data);
  }
}

GEMMA_INLINE void Source::advise_willneed(Bytes data) const {
  for (const File& part : files_) {
    if (part.mapping() != nullptr) part.mapping()->advise_willneed(data);
  }
}

}  // namespace gguf
GEMMA_NAMESPACE_END

#endif  // GEMMA_GENERATE_IMPL_GGUF_BINDING_INL_HPP_
