// The files that adapters come in, each read into the same list of factors.
#ifndef GEMMA_GENERATE_IMPL_ADAPTER_FILE_INL_HPP_
#define GEMMA_GENERATE_IMPL_ADAPTER_FILE_INL_HPP_

#include <algorithm>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "gemma/formats/gguf.hpp"
#include "gemma/formats/tensor.hpp"
#include "gemma/formats/tfl_container.hpp"
#include "gemma/generate/gguf_binding.hpp"
#include "gemma/generate/impl/mediapipe_tiles-inl.hpp"
#include "gemma/generate/mediapipe_bin.hpp"
#include "gemma/model/family.hpp"

GEMMA_NAMESPACE_BEGIN
namespace detail {

/// The two factors of what is added to a matrix.
struct AdapterFactors {
  TensorView a;  ///< [rank, inputs]
  TensorView b;  ///< [outputs, rank]
  float scale = 1.0f;
};

/// An adapter's file, read, but not compared with any model.
struct AdapterFile {
  std::string path;
  std::string format;
  std::string base;
  std::optional<Family> family;
  std::optional<float> alpha;
  std::map<std::string, AdapterFactors> factors;  ///< by the GGUF name of the matrix
  std::vector<std::shared_ptr<const void>> storage;  ///< what the tensors lie in

  Error tensor_error(const std::string& tensor, const std::string& what,
                     ErrorCode code = ErrorCode::format) const {
    return Error(code, path + ": tensor '" + gguf::printable(tensor) + "' " + what);
  }

  /// One of the two factors of a matrix.
  Status add(const std::string& matrix, bool is_a, const TensorView& tensor) {
    TensorView& place = is_a ? factors[matrix].a : factors[matrix].b;
    if (place.data.data() != nullptr) {
      return tensor_error(tensor.name, "comes twice: '" + place.name + "' is for the same matrix");
    }
    place = tensor;
    if (tensor.shape.size() == 2 || (is_a && tensor.shape.size() == 1)) return {};
    return tensor_error(tensor.name, "has " + std::to_string(tensor.shape.size()) +
                                         " dimensions, expected 2");
  }

  /// Once all are added: A and B of each matrix are there, and agree on the rank.
  Status check() const {
    if (factors.empty()) {
      return Error(ErrorCode::format, path + ": this adapter changes no matrix: it has no tensors");
    }
    for (const auto& [matrix, f] : factors) {
      const bool has_a = f.a.data.data() != nullptr;
      if (!has_a || f.b.data.data() == nullptr) {
        return tensor_error(has_a ? f.a.name : f.b.name,
                            std::string("stands alone: the other factor (") + (has_a ? "B" : "A") +
                                ") of '" + matrix + "' is missing; is the file complete?");
      }
      if (f.a.rows() != f.b.row_length()) {
        return tensor_error(f.b.name, "is for rank " + std::to_string(f.b.row_length()) + ", but '" +
                                          f.a.name + "' for rank " + std::to_string(f.a.rows()));
      }
    }
    return {};
  }
};

inline Error is_a_model(const std::string& path, const std::string& what) {
  return Error(ErrorCode::invalid_argument,
               path + ": is a model (" + what + "), not an adapter; load it as the model, and give as the "
                      "adapter what was trained on top of it");
}

/// Tensors "blk.0.attn_q.weight.lora_a" and "….lora_b", as llama.cpp's convert_lora_to_gguf.py writes.
inline Result<AdapterFile> read_gguf_adapter(gguf::File gguf) {
  AdapterFile file;
  const auto owner = std::make_shared<const gguf::File>(std::move(gguf));
  const gguf::File& f = *owner;
  file.path = f.name();
  file.format = "GGUF v" + std::to_string(f.version());
  file.storage.push_back(owner);
  GEMMA_TRY_ASSIGN(const std::string_view type, f.get_string_or("general.type", "model"));
  GEMMA_TRY_ASSIGN(const auto* architecture, gguf::detail::find_architecture(f));
  if (type != "adapter") return is_a_model(file.path, std::string("GGUF of ") + architecture->name);
  GEMMA_TRY_ASSIGN(const std::string_view kind, f.get_string("adapter.type"));
  if (kind != "lora" || f.find("adapter.alora.invocation_tokens") != nullptr) {
    return Error(ErrorCode::unsupported,
                 file.path + ": is an adapter of type '" +
                     (kind == "lora" ? "activated lora" : gguf::printable(kind)) +
                     "'; this version applies type 'lora'");
  }
  GEMMA_TRY_ASSIGN(const double alpha, f.get_float_or("adapter.lora.alpha", 0.0));
  GEMMA_TRY_ASSIGN(const std::string_view base, f.get_string_or("general.base_model.0.name", ""));
  file.base = base;
  file.family = architecture->family;
  if (alpha != 0.0) file.alpha = static_cast<float>(alpha);
  for (const TensorView& tensor : f.tensors()) {
    const std::size_t dot = (std::min)(tensor.name.rfind('.'), tensor.name.size());
    const std::string ending = tensor.name.substr(dot);
    if (ending != ".lora_a" && ending != ".lora_b") {
      return file.tensor_error(tensor.name, "is no part of a LoRA: names end in .lora_a or .lora_b",
                               ErrorCode::unsupported);
    }
    GEMMA_TRY(file.add(tensor.name.substr(0, dot), ending == ".lora_a", tensor));
  }
  for (auto& [matrix, factors] : file.factors) {
    if (file.alpha && factors.a.data.data() != nullptr) {
      factors.scale = *file.alpha / static_cast<float>(factors.a.rows());
    }
  }
  return file;
}

/// Reads MediaPipe's LoRA file: binary16 in tiles, whatever its table says of types and shapes. Of the
/// output of the attention, right and left are exchanged, and the numbers rearranged: see untile_halves().
class MediapipeAdapter {
 public:
  static Result<AdapterFile> read(tfl::File tfl) {
    MediapipeAdapter reader(std::move(tfl));
    GEMMA_TRY(reader.read());
    return std::move(reader.file_);
  }

 private:
  explicit MediapipeAdapter(tfl::File tfl)
      : tfl_(std::make_shared<const tfl::File>(std::move(tfl))), used_(tfl_->tensors().size()) {}

  Status read() {
    file_.path = tfl_->name();
    file_.format = "MediaPipe LoRA";
    file_.base = tfl_->graph_name();
    if (!tfl_->has_metadata(mediapipe::detail::kLoraKey)) {
      return is_a_model(file_.path, "a TFLite file without the metadata 'lora_rank'");
    }
    rank_ = tfl_->metadata_number(mediapipe::detail::kLoraKey).value_or(0);
    if (rank_ == 0 || rank_ % 4 != 0) {
      return Error(ErrorCode::format, file_.path + ": metadata 'lora_rank' is " +
                                          std::to_string(rank_) + ", expected a multiple of 4");
    }
    mediapipe::LlmParameters parameters;
    GEMMA_TRY_ASSIGN(const Config c, mediapipe::detail::read_shape(*tfl_, parameters));
    file_.family = c.family;
    for (std::size_t i = 0; i < c.layers.size(); ++i) {
      const std::string block = "blk." + std::to_string(i) + ".";
      const std::size_t q = c.heads * c.layers[i].head_dim;
      const std::size_t k = c.layers[i].kv_heads * c.layers[i].head_dim;
      GEMMA_TRY(add(block + "attn_q.weight", q, c.width, false));
      GEMMA_TRY(add(block + "attn_k.weight", k, c.width, false));
      GEMMA_TRY(add(block + "attn_v.weight", k, c.width, false));
      GEMMA_TRY(add(block + "attn_output.weight", c.width, q, true));
    }
    const auto left = std::find(used_.begin(), used_.end(), false);
    if (left == used_.end()) return {};
    return file_.tensor_error(tfl_->tensors()[static_cast<std::size_t>(left - used_.begin())].name,
                              "is none of the factors that this version reads: of the queries, keys, "
                              "values and the output of the attention of " +
                                  std::to_string(c.layers.size()) + " layers",
                              ErrorCode::unsupported);
  }

  Status add(const std::string& matrix, std::size_t rows, std::size_t cols, bool output) {
    std::string own = mediapipe::detail::own_name(matrix);
    own.pop_back();  // "w"
    GEMMA_TRY(add_factor(matrix, own + (output ? "w_prime_right" : "w_prime_left"), true, rank_, cols, output));
    return add_factor(matrix, own + (output ? "w_prime_left" : "w_prime_right"), false, rows, rank_, output);
  }

  Status add_factor(const std::string& matrix, const std::string& own, bool is_a, std::size_t rows,
                    std::size_t cols, bool output) {
    const tfl::Tensor* found = tfl_->find_tensor(own);
    if (found == nullptr) return {};
    used_[static_cast<std::size_t>(found - tfl_->tensors().data())] = true;
    const std::uint64_t bytes = std::uint64_t{rows} * cols * sizeof(std::uint16_t);
    if (found->data.size() != bytes || rows % 4 != 0 || cols % 4 != 0) {
      return file_.tensor_error(own, "has " + std::to_string(found->data.size()) + " bytes, expected " +
                                         std::to_string(bytes) + " for " + std::to_string(rows) + " x " +
                                         std::to_string(cols) + " numbers of float16, in fours");
    }
    auto numbers = std::make_shared<const std::vector<float>>(
        mediapipe::detail::untile_halves(found->data.data(), rows, cols, output));
    TensorView tensor;
    tensor.name = own;
    tensor.shape = {cols, rows};
    tensor.data = Bytes(reinterpret_cast<const std::uint8_t*>(numbers->data()), numbers->size() * sizeof(float));
    file_.storage.push_back(std::move(numbers));
    return file_.add(matrix, is_a, tensor);
  }

  std::shared_ptr<const tfl::File> tfl_;
  std::vector<bool> used_;  ///< of its tensors
  std::size_t rank_ = 0;
  AdapterFile file_;
};

}  // namespace detail
GEMMA_NAMESPACE_END

#endif  // GEMMA_GENERATE_IMPL_ADAPTER_FILE_INL_HPP_
