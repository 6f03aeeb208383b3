// PEFT's adapters: adapter_config.json, and adapter_model.safetensors beside it.
// Source: LoraConfig and the state dictionaries of PEFT. Needs GEMMA_HUGGINGFACE and <nlohmann/json.hpp>.
#ifndef GEMMA_GENERATE_IMPL_ADAPTER_PEFT_INL_HPP_
#define GEMMA_GENERATE_IMPL_ADAPTER_PEFT_INL_HPP_

#include <cmath>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "gemma/base/file.hpp"
#include "gemma/formats/json.hpp"
#include "gemma/formats/safetensors.hpp"
#include "gemma/generate/huggingface.hpp"
#include "gemma/generate/impl/adapter_file-inl.hpp"

GEMMA_NAMESPACE_BEGIN
namespace detail {

/// Reads an adapter_config.json and the tensors that it is about.
class PeftAdapter {
 public:
  static Result<AdapterFile> read(const std::string& path, const std::string& folder) {
    PeftAdapter reader;
    reader.file_.path = path;
    reader.file_.format = "PEFT";
    GEMMA_TRY(reader.read_config(folder));
    GEMMA_TRY(reader.read_tensors(folder + "/adapter_model.safetensors"));
    return std::move(reader.file_);
  }

 private:
  /// A module, or the end of the names of several, whose alpha differs.
  struct Alpha {
    std::string ending;
    float value;
  };

  Status read_config(const std::string& folder) {
    const std::string path = folder + "/adapter_config.json";
    GEMMA_TRY_ASSIGN(const auto document, huggingface::detail::read_json(path));
    if (!document) {
      return Error(ErrorCode::io, file_.path + ": beside a PEFT adapter there must be an "
                                               "adapter_config.json, which says its alpha; it is missing");
    }
    GEMMA_TRY_ASSIGN(const json::Object keys, json::Object::of(*document, path));
    GEMMA_TRY(refuse_what_is_no_lora(keys));
    GEMMA_TRY_ASSIGN(rank_, keys.size_or("r", 8));
    GEMMA_TRY_ASSIGN(const float alpha, keys.number_or("lora_alpha", 8.0f));
    GEMMA_TRY_ASSIGN(root_, keys.flag_or("use_rslora", false));
    GEMMA_TRY_ASSIGN(file_.base, keys.text_or("base_model_name_or_path", ""));
    file_.alpha = alpha;
    const json::Value* ranks = keys.find("rank_pattern");
    own_ranks_ = ranks != nullptr && !ranks->empty();
    return read_alphas(keys);
  }

  /// Whatever makes of an adapter more than the product of two factors.
  static Status refuse_what_is_no_lora(const json::Object& keys) {
    const auto refuse = [&](const char* key, const std::string& found, const std::string& expected) {
      return Error(ErrorCode::unsupported,
                   keys.error(key, "is " + found + ", which this version does not apply; " + expected)
                       .message());
    };
    GEMMA_TRY_ASSIGN(const std::string type, keys.text_or("peft_type", "LORA"));
    if (type != "LORA") return refuse("peft_type", "'" + gguf::printable(type) + "'", "expected 'LORA'");
    GEMMA_TRY_ASSIGN(const std::string bias, keys.text_or("bias", "none"));
    if (bias != "none") {
      return refuse("bias", "'" + gguf::printable(bias) + "'", "expected 'none': no Gemma has biases");
    }
    const std::string merge = "merge the adapter into its model with PEFT's merge_and_unload()";
    for (const char* key : {"use_dora", "lora_bias", "use_qalora", "fan_in_fan_out"}) {
      GEMMA_TRY_ASSIGN(const bool used, keys.flag_or(key, false));
      if (used) return refuse(key, "true", merge);
    }
    for (const char* key : {"modules_to_save", "trainable_token_indices", "layer_replication",
                            "target_parameters", "alora_invocation_tokens"}) {
      const json::Value* value = keys.find(key);
      if (value != nullptr && !value->empty()) {
        return refuse(key, gguf::printable(value->dump(-1, ' ', true, json::Value::error_handler_t::replace)), merge);
      }
    }
    // These take something from the model's own matrices before they train.
    const json::Value* start = keys.find("init_lora_weights");
    if (start == nullptr || !start->is_string()) return {};
    const auto text = start->get<std::string>();
    for (const char* changing : {"pissa", "olora", "corda"}) {
      if (text.compare(0, 5, changing) != 0) continue;
      return refuse("init_lora_weights", "'" + gguf::printable(text) + "'",
                    "it changes the model itself: save the adapter as LoRA with PEFT's "
                    "path_initial_model_for_weight_conversion, or " + merge);
    }
    return {};
  }

  Status read_alphas(const json::Object& keys) {
    const json::Value* pattern = keys.find("alpha_pattern");
    if (pattern == nullptr || pattern->empty()) return {};
    if (!pattern->is_object()) return keys.error("alpha_pattern", "is no object");
    for (const auto& [expression, value] : pattern->items()) {
      // Regular expressions, as a rule names or the ends of names.
      std::string ending;
      for (std::size_t i = expression.compare(0, 1, "^") == 0 ? 1 : 0; i < expression.size(); ++i) {
        if (expression.compare(i, 2, "\\.") == 0) ++i;
        ending += expression[i];
      }
      if (ending.find_first_of("*+?()[]{}|^$\\") != std::string::npos || !value.is_number()) {
        return keys.error("alpha_pattern", "has '" + gguf::printable(expression) +
                                               "', expected names of modules, or the ends of such, with numbers");
      }
      alphas_.push_back({ending, value.get<float>()});
    }
    return {};
  }

  Status read_tensors(const std::string& path) {
    GEMMA_TRY_ASSIGN(MappedFile mapped, MappedFile::open(path));
    const auto owner = std::make_shared<const MappedFile>(std::move(mapped));
    file_.storage.push_back(owner);
    GEMMA_TRY_ASSIGN(const safetensors::Header header, safetensors::read_header(owner->bytes(), path));
    for (const auto& [name, type] : header.unsupported) {
      return file_.tensor_error(name, "is of type " + gguf::printable(type) +
                                          ", which this version does not read (F32, F16 and BF16 it does)",
                                ErrorCode::unsupported);
    }
    for (const TensorView& tensor : header.tensors) GEMMA_TRY(add(tensor));
    return {};
  }

  Status add(const TensorView& tensor) {
    const std::string& name = tensor.name;
    // Parts that a text does not pass through.
    for (const char* part : {"vision_tower.", "vision_model.", "audio_tower.", "multi_modal_projector.",
                             "embed_vision.", "embed_audio."}) {
      if (name.find(part) != std::string::npos) return {};
    }
    const std::size_t at = name.find(".lora_");
    const std::string factor = at == std::string::npos ? std::string() : name.substr(at + 6, 2);
    const std::string_view ending = ".weight";
    const bool weight = name.size() > ending.size() && name.substr(name.size() - ending.size()) == ending;
    if ((factor != "A." && factor != "B.") || !weight) {
      return file_.tensor_error(name, "is none of the two factors of a matrix (.lora_A.weight, "
                                      ".lora_B.weight), and this version applies only these",
                                ErrorCode::unsupported);
    }
    const std::string module = name.substr(0, at);
    const std::string matrix = matrix_of_module(module);
    GEMMA_TRY(file_.add(matrix, factor == "A.", tensor));
    if (factor != "A.") return {};
    const auto rank = static_cast<std::size_t>(tensor.rows());
    if (rank != rank_ && !own_ranks_) {
      return file_.tensor_error(name, "is for rank " + std::to_string(rank) +
                                          ", but adapter_config.json says r is " + std::to_string(rank_));
    }
    const auto r = static_cast<float>(rank);
    file_.factors[matrix].scale = alpha_of(module) / (root_ ? std::sqrt(r) : r);
    return {};
  }

  /// The GGUF name; the rest of the module's own, if there is none.
  static std::string matrix_of_module(std::string module) {
    const auto strip = [&](std::string_view prefix) {
      if (module.compare(0, prefix.size(), prefix) == 0) module.erase(0, prefix.size());
    };
    for (const char* prefix : {"base_model.model.", "model.", "language_model.", "model."}) strip(prefix);
    if (module == "lm_head") return "output.weight";
    // The names of matrices are the same for all families.
    const std::string gguf = huggingface::gguf_name(module + ".weight", Family::gemma3);
    return gguf.empty() ? module : gguf;
  }

  /// The first pattern counts.
  float alpha_of(const std::string& module) const {
    for (const Alpha& alpha : alphas_) {
      if (module.size() < alpha.ending.size()) continue;
      const std::size_t begin = module.size() - alpha.ending.size();
      const bool whole = begin == 0 || module[begin - 1] == '.' || alpha.ending.front() == '.';
      if (whole && module.compare(begin, std::string::npos, alpha.ending) == 0) return alpha.value;
    }
    return *file_.alpha;
  }

  AdapterFile file_;
  std::size_t rank_ = 0;
  bool root_ = false;       ///< alpha is divided by the root of the rank
  bool own_ranks_ = false;  ///< ranks differ from matrix to matrix
  std::vector<Alpha> alphas_;
};

}  // namespace detail
GEMMA_NAMESPACE_END

#endif  // GEMMA_GENERATE_IMPL_ADAPTER_PEFT_INL_HPP_
