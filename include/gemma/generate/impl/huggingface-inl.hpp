// Bodies of huggingface.hpp: names of tensors, and the other files of a folder.
#ifndef GEMMA_GENERATE_IMPL_HUGGINGFACE_INL_HPP_
#define GEMMA_GENERATE_IMPL_HUGGINGFACE_INL_HPP_

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <optional>
#include <string_view>

#include "gemma/base/file.hpp"
#include "gemma/generate/huggingface.hpp"
#include "gemma/text/sentencepiece.hpp"
#include "gemma/text/tokenizer_json.hpp"

GEMMA_NAMESPACE_BEGIN
namespace huggingface {
namespace detail {

struct NamePair {
  std::string_view gguf;
  std::string_view own;
};

inline constexpr NamePair kGlobalNames[] = {
    {"token_embd.weight", "embed_tokens.weight"},
    {"output_norm.weight", "norm.weight"},
    {"per_layer_token_embd.weight", "embed_tokens_per_layer.weight"},
    {"per_layer_model_proj.weight", "per_layer_model_projection.weight"},
    {"per_layer_proj_norm.weight", "per_layer_projection_norm.weight"},
};

/// Names that end in a number and ".weight".
inline constexpr NamePair kNumberedNames[] = {
    {"altup_proj.", "altup_projections."},
    {"altup_unembd_proj.", "altup_unembed_projections."},
};

/// After "blk.N." and "layers.N.".
inline constexpr NamePair kLayerNames[] = {
    {"attn_norm.weight", "input_layernorm.weight"},
    {"attn_q.weight", "self_attn.q_proj.weight"},
    {"attn_k.weight", "self_attn.k_proj.weight"},
    {"attn_v.weight", "self_attn.v_proj.weight"},
    {"attn_output.weight", "self_attn.o_proj.weight"},
    {"attn_q_norm.weight", "self_attn.q_norm.weight"},
    {"attn_k_norm.weight", "self_attn.k_norm.weight"},
    {"post_attention_norm.weight", "post_attention_layernorm.weight"},
    {"ffn_norm.weight", "pre_feedforward_layernorm.weight"},
    {"ffn_gate.weight", "mlp.gate_proj.weight"},
    {"ffn_up.weight", "mlp.up_proj.weight"},
    {"ffn_down.weight", "mlp.down_proj.weight"},
    {"post_ffw_norm.weight", "post_feedforward_layernorm.weight"},
    {"inp_gate.weight", "per_layer_input_gate.weight"},
    {"proj.weight", "per_layer_projection.weight"},
    {"post_norm.weight", "post_per_layer_input_norm.weight"},
    {"layer_output_scale.weight", "layer_scalar"},
    {"altup_router.weight", "altup.modality_router.weight"},
    {"altup_router_norm.weight", "altup.router_norm.weight"},
    {"altup_predict_coef.weight", "altup.prediction_coefs.weight"},
    {"altup_correct_coef.weight", "altup.correction_coefs.weight"},
    {"altup_correct_scale.weight", "altup.correct_output_scale"},
    {"laurel_l.weight", "laurel.linear_left.weight"},
    {"laurel_r.weight", "laurel.linear_right.weight"},
    {"laurel_post_norm.weight", "laurel.post_laurel_norm.weight"},
    {"ffn_gate_inp.weight", "router.proj.weight"},
    {"ffn_gate_inp.scale", "router.scale"},
    {"ffn_down_exps.scale", "router.per_expert_scale"},
    {"ffn_gate_up_exps.weight", "experts.gate_up_proj"},
    {"ffn_down_exps.weight", "experts.down_proj"},
    {"pre_ffw_norm_2.weight", "pre_feedforward_layernorm_2.weight"},
    {"post_ffw_norm_1.weight", "post_feedforward_layernorm_1.weight"},
    {"post_ffw_norm_2.weight", "post_feedforward_layernorm_2.weight"},
};

using NameField = std::string_view NamePair::*;

/// The name `name`, taken from the column `from`, as the column `to` has it; empty if no row fits.
inline std::string translate(const std::string& name, NameField from, NameField to,
                             Family family) {
  const std::string_view view = name;
  for (const NamePair& row : kGlobalNames) {
    if (view == row.*from) return std::string(row.*to);
  }
  for (const NamePair& row : kNumberedNames) {
    if (view.substr(0, (row.*from).size()) != row.*from) continue;
    return std::string(row.*to) + std::string(view.substr((row.*from).size()));
  }
  const NamePair layer{"blk.", "layers."};
  const std::size_t begin = (layer.*from).size();
  const std::size_t dot = view.find('.', begin);
  if (view.substr(0, begin) != layer.*from || dot == std::string_view::npos) return {};
  const std::string_view number = view.substr(begin, dot - begin);
  const std::string_view rest = view.substr(dot + 1);
  const auto numbered = [&](std::string_view suffix) {
    return std::string(layer.*to) + std::string(number) + "." + std::string(suffix);
  };
  // In Gemma 1 the norm after the attention is the one before the feed-forward.
  constexpr NamePair kGemma1Norm{"ffn_norm.weight", "post_attention_layernorm.weight"};
  if (family == Family::gemma1 && rest == kGemma1Norm.*from) return numbered(kGemma1Norm.*to);
  for (const NamePair& row : kLayerNames) {
    if (rest == row.*from) return numbered(row.*to);
  }
  return {};
}

/// A file of the folder as JSON, if it is there.
inline Result<std::optional<json::Value>> read_json(const std::string& path) {
  if (path_kind(path) == PathKind::nothing) return std::optional<json::Value>();
  GEMMA_TRY_ASSIGN(const MappedFile file, MappedFile::open(path));
  GEMMA_TRY_ASSIGN(json::Value value, json::parse(file.bytes(), path));
  GEMMA_TRY(json::Object::of(value, path));
  return std::optional<json::Value>(std::move(value));
}

/// Adds the ids under a key: one, a list, or none.
inline void add_ids(const json::Value& object, const char* key, std::vector<TokenId>& ids) {
  const auto found = object.find(key);
  if (found == object.end()) return;
  const auto add = [&](const json::Value& id) {
    if (id.is_number_unsigned() && id.get<std::uint64_t>() <= 0x7FFFFFFF) {
      ids.push_back(id.get<TokenId>());
    }
  };
  if (found->is_array()) {
    for (const json::Value& id : *found) add(id);
  } else {
    add(*found);
  }
}

/// The template in a tokenizer_config.json or chat_template.json: text, or a list of named ones of
/// which "default" counts.
inline std::string template_of(const json::Value& object) {
  const auto found = object.find("chat_template");
  if (found == object.end()) return {};
  if (found->is_string()) return found->get<std::string>();
  if (!found->is_array()) return {};
  for (const json::Value& entry : *found) {
    if (!entry.is_object() || entry.value("name", json::Value()) != "default") continue;
    const auto text = entry.find("template");
    if (text != entry.end() && text->is_string()) return text->get<std::string>();
  }
  return {};
}

/// The added tokens as a tokenizer_config.json lists them: by their ids.
inline std::vector<AddedToken> added_tokens_of(const json::Value& object) {
  std::vector<AddedToken> tokens;
  const auto decoder = object.find("added_tokens_decoder");
  if (decoder == object.end() || !decoder->is_object()) return tokens;
  for (const auto& [id, value] : decoder->items()) {
    const bool number = !id.empty() && id.size() < 9 &&
                        id.find_first_not_of("0123456789") == std::string::npos;
    const auto content = value.is_object() ? value.find("content") : value.end();
    if (!number || content == value.end() || !content->is_string()) continue;
    const auto special = value.find("special");
    tokens.push_back({static_cast<TokenId>(std::stol(id)), content->get<std::string>(),
                      special != value.end() && *special == true});
  }
  return tokens;
}

}  // namespace detail

GEMMA_INLINE std::string tensor_name(const std::string& gguf_name, Family family) {
  return detail::translate(gguf_name, &detail::NamePair::gguf, &detail::NamePair::own, family);
}

GEMMA_INLINE std::string gguf_name(const std::string& tensor_name, Family family) {
  return detail::translate(tensor_name, &detail::NamePair::own, &detail::NamePair::gguf, family);
}

GEMMA_INLINE Result<Source> Source::open(const std::string& path, FileAccess access) {
  const std::string config_path = path + "/config.json";
  if (path_kind(config_path) == PathKind::nothing) {
    if (path_kind(path + "/adapter_config.json") == PathKind::file) return adapter_is_no_model(path);
    return Error(ErrorCode::io, path + ": this folder holds no config.json; expected a folder as "
                                       "Hugging Face has them, or a GGUF file");
  }
  GEMMA_TRY_ASSIGN(const auto config, detail::read_json(config_path));
  GEMMA_TRY_ASSIGN(Config shape, huggingface::read_config(*config, config_path));
  GEMMA_TRY_ASSIGN(safetensors::Folder files, safetensors::Folder::open(path, access));
  Source source(path, std::move(files));
  source.config_ = std::move(shape);
  GEMMA_TRY_ASSIGN(const json::Object root, json::Object::of(*config, config_path));
  GEMMA_TRY_ASSIGN(const json::Object text, root.object("text_config"));
  const json::Object& keys = root.has("text_config") ? text : root;
  GEMMA_TRY_ASSIGN(const std::size_t bos, keys.size_or("bos_token_id", 2));
  source.bos_ = static_cast<TokenId>(bos);
  detail::add_ids(*config, "eos_token_id", source.stop_ids_);
  GEMMA_TRY_ASSIGN(const bool tied, keys.flag_or("tie_word_embeddings", true));
  GEMMA_TRY_ASSIGN(const bool scaled, keys.flag_or("altup_correct_scale", true));
  GEMMA_TRY(source.index_tensors(tied));
  for (std::size_t i = 0; !scaled && i < source.config_.layers.size(); ++i) {
    source.index_.erase("blk." + std::to_string(i) + ".altup_correct_scale.weight");
  }
  GEMMA_TRY(source.read_descriptions());
  if (source.config_.bidirectional) GEMMA_TRY(source.open_dense_modules());
  return source;
}

GEMMA_INLINE Status Source::index_tensors(bool tied) {
  const std::string embedding = "embed_tokens.weight";
  for (const char* prefix : {"model.", "model.language_model.", "language_model.model.", ""}) {
    prefix_ = prefix;
    if (files_.find_tensor(prefix_ + embedding) != nullptr) break;
    if (!files_.unsupported_type(prefix_ + embedding).empty()) break;
    if (prefix_.empty()) prefix_ = "model.";  // for the message
  }
  for (std::size_t i = 0; i < tensors().size(); ++i) {
    const std::string& name = tensors()[i].name;
    if (name.compare(0, prefix_.size(), prefix_) != 0) continue;
    const std::string gguf = gguf_name(name.substr(prefix_.size()), config_.family);
    if (!gguf.empty()) index_[gguf] = i;
  }
  for (const char* head : {"lm_head.weight", "language_model.lm_head.weight"}) {
    const TensorView* tensor = tied ? nullptr : files_.find_tensor(head);
    if (tensor == nullptr) continue;
    index_["output.weight"] = static_cast<std::size_t>(tensor - tensors().data());
  }
  if (!tied && index_.count("output.weight") == 0) {
    return Error(ErrorCode::format, path_ + ": tensor 'lm_head.weight' is missing, though "
                                            "config.json says that the head is not the embedding");
  }
  // GGUF files may do without these two; a folder that lacks them is incomplete.
  for (std::size_t i = 0; i < config_.layers.size(); ++i) {
    const std::string scale = "blk." + std::to_string(i) + ".layer_output_scale.weight";
    if (config_.family == Family::gemma4 && index_.count(scale) == 0) {
      return Error(ErrorCode::format,
                   path_ + ": tensor '" + own_name(scale) + "' " + why_missing(scale));
    }
  }
  return {};
}

GEMMA_INLINE Status Source::read_descriptions() {
  GEMMA_TRY_ASSIGN(const auto generation, detail::read_json(path_ + "/generation_config.json"));
  if (generation) detail::add_ids(*generation, "eos_token_id", stop_ids_);
  const std::string jinja = path_ + "/chat_template.jinja";
  GEMMA_TRY_ASSIGN(const auto tokenizer, detail::read_json(path_ + "/tokenizer_config.json"));
  GEMMA_TRY_ASSIGN(const auto chat, detail::read_json(path_ + "/chat_template.json"));
  if (path_kind(jinja) == PathKind::file) {
    GEMMA_TRY_ASSIGN(const MappedFile file, MappedFile::open(jinja));
    chat_template_.assign(reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size());
  } else if (chat) {
    chat_template_ = detail::template_of(*chat);
  } else if (tokenizer) {
    chat_template_ = detail::template_of(*tokenizer);
  }
  if (!tokenizer) return {};
  GEMMA_TRY_ASSIGN(const json::Object keys,
                   json::Object::of(*tokenizer, path_ + "/tokenizer_config.json"));
  GEMMA_TRY_ASSIGN(add_bos_, keys.flag_or("add_bos_token", true));
  GEMMA_TRY_ASSIGN(add_eos_, keys.flag_or("add_eos_token", false));
  return {};
}

GEMMA_INLINE Status Source::open_dense_modules() {
  constexpr std::size_t kFirst = 2;  // as GGUF counts them: after the model and the pooling
  const std::string list = path_ + "/modules.json";
  if (path_kind(list) == PathKind::nothing) return {};
  GEMMA_TRY_ASSIGN(const MappedFile file, MappedFile::open(list));
  GEMMA_TRY_ASSIGN(const json::Value modules, json::parse(file.bytes(), list));
  for (const json::Value& entry : modules) {
    GEMMA_TRY_ASSIGN(const json::Object module, json::Object::of(entry, list));
    GEMMA_TRY_ASSIGN(const std::string type, module.text_or("type", ""));
    GEMMA_TRY_ASSIGN(const std::string name, module.text_or("path", ""));
    if (type.size() < 6 || type.substr(type.size() - 6) != ".Dense") continue;
    if (name.empty() || name.find_first_of("/\\:.") != std::string::npos) {
      return module.error("path", "is '" + name + "', which is no name of a folder in this one");
    }
    const std::string folder = path_ + "/" + name;
    GEMMA_TRY_ASSIGN(const auto config, detail::read_json(folder + "/config.json"));
    if (config) {
      GEMMA_TRY_ASSIGN(const json::Object keys, json::Object::of(*config, folder + "/config.json"));
      GEMMA_TRY_ASSIGN(const bool bias, keys.flag_or("bias", false));
      GEMMA_TRY_ASSIGN(const std::string function, keys.text_or("activation_function", "Identity"));
      if (bias) return keys.error("bias", "is true, which this version does not compute");
      if (function.find("Identity") == std::string::npos) {
        return keys.error("activation_function", "is '" + function + "', expected Identity");
      }
    }
    GEMMA_TRY_ASSIGN(safetensors::Folder files, safetensors::Folder::open(folder));
    const TensorView* weight = files.find_tensor("linear.weight");
    if (weight == nullptr) {
      return Error(ErrorCode::format, folder + ": tensor 'linear.weight' is missing");
    }
    TensorView& view = dense_["dense_" + std::to_string(kFirst + dense_.size()) + ".weight"];
    view = *weight;
    view.name = name + "/linear.weight";
    dense_files_.push_back(std::move(files));
  }
  return {};
}

GEMMA_INLINE std::vector<std::string> Source::files() const {
  std::vector<std::string> paths = files_.paths();
  for (const safetensors::Folder& folder : dense_files_) {
    for (std::string& path : folder.paths()) paths.push_back(std::move(path));
  }
  return paths;
}

GEMMA_INLINE std::uint64_t Source::file_bytes() const {
  std::uint64_t sum = files_.file_bytes();
  for (const safetensors::Folder& folder : dense_files_) sum += folder.file_bytes();
  return sum;
}

GEMMA_INLINE const TensorView* Source::find_tensor(const std::string& gguf_name) const {
  const auto dense = dense_.find(gguf_name);
  if (dense != dense_.end()) return &dense->second;
  const auto found = index_.find(gguf_name);
  return found == index_.end() ? nullptr : &tensors()[found->second];
}

GEMMA_INLINE std::vector<std::string> Source::gguf_names() const {
  std::vector<std::string> names;
  for (const auto& [name, tensor] : index_) names.push_back(name);
  for (const auto& [name, tensor] : dense_) names.push_back(name);
  // By the number of the layer, then by name; what is outside the layers, before.
  const auto layer = [](const std::string& name) {
    return name.compare(0, 4, "blk.") == 0 ? std::atoi(name.c_str() + 4) : -1;
  };
  std::sort(names.begin(), names.end(), [&](const std::string& a, const std::string& b) {
    const int first = layer(a), second = layer(b);
    return first != second ? first < second : a < b;
  });
  return names;
}

GEMMA_INLINE std::string Source::own_name(const std::string& gguf_name) const {
  if (gguf_name == "output.weight") return "lm_head.weight";
  // Models of three AltUp projections keep them apart.
  if (gguf_name == "altup_proj.weight") return prefix_ + "altup_projections.0.weight";
  if (gguf_name == "altup_unembd_proj.weight") return prefix_ + "altup_unembed_projections.0.weight";
  const std::string own = tensor_name(gguf_name, config_.family);
  return own.empty() ? gguf_name : prefix_ + own;
}

GEMMA_INLINE std::string Source::why_missing(const std::string& gguf_name) const {
  const std::string type = files_.unsupported_type(own_name(gguf_name));
  if (type.empty()) return TensorSource::why_missing(gguf_name);
  return "is of type " + type + ", which this version does not read (F32, F16 and BF16 it does)";
}

GEMMA_INLINE std::string Source::format() const {
  const std::size_t n = files_.paths().size();
  return "Hugging Face folder, " + (n == 1 ? "one file" : std::to_string(n) + " files");
}

GEMMA_INLINE Result<Vocabulary> Source::read_vocabulary() const {
  const std::string model = path_ + "/tokenizer.model";
  const std::string json_path = path_ + "/tokenizer.json";
  const bool has_json = path_kind(json_path) == PathKind::file;
  const bool ranked = config_.family == Family::gemma4;
  Vocabulary vocabulary;
  if (!ranked && path_kind(model) == PathKind::file) {
    GEMMA_TRY_ASSIGN(MappedFile file, MappedFile::open(model));
    const auto storage = std::make_shared<const MappedFile>(std::move(file));
    GEMMA_TRY_ASSIGN(vocabulary, read_sentencepiece(storage->bytes(), model));
    vocabulary.storage = storage;
    // Which pieces are special stands beside the model, not in it.
    std::vector<AddedToken> added;
    GEMMA_TRY_ASSIGN(const auto config, detail::read_json(path_ + "/tokenizer_config.json"));
    if (config) added = detail::added_tokens_of(*config);
    if (added.empty() && has_json) {
      GEMMA_TRY_ASSIGN(const MappedFile other, MappedFile::open(json_path));
      GEMMA_TRY_ASSIGN(added, read_added_tokens(other.bytes(), json_path));
    }
    apply_added_tokens(added, vocabulary);
  } else if (has_json) {
    GEMMA_TRY_ASSIGN(const MappedFile file, MappedFile::open(json_path));
    GEMMA_TRY_ASSIGN(vocabulary, read_tokenizer_json(file.bytes(), json_path));
    if (!ranked) rank_pieces_by_merges(vocabulary);
  } else {
    return Error(ErrorCode::io, path_ + ": this folder holds " +
                                    (ranked ? "no tokenizer.json" :
                                              "neither tokenizer.model nor tokenizer.json") +
                                    "; is the download complete?");
  }
  if (!ranked) spell_out_spaces(vocabulary);
  vocabulary.bos = bos_;
  if (!stop_ids_.empty()) vocabulary.eos = stop_ids_[0];
  vocabulary.add_bos = add_bos_;
  vocabulary.add_eos = add_eos_;
  return vocabulary;
}

}  // namespace huggingface
GEMMA_NAMESPACE_END

#endif  // GEMMA_GENERATE_IMPL_HUGGINGFACE_INL_HPP_
