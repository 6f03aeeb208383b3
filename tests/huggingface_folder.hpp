// Hugging Face folders for tests, made from what tests/data/golden keeps of the fixtures: the
// configuration, and where in the GGUF file each tensor's numbers stand.
#ifndef GEMMA_TESTS_HUGGINGFACE_FOLDER_HPP_
#define GEMMA_TESTS_HUGGINGFACE_FOLDER_HPP_

#include <filesystem>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "formats/safetensors_builder.hpp"
#include "gemma/base/float16.hpp"
#include "gemma/formats/gguf.hpp"
#include "gemma/quant/registry.hpp"
#include "temp_folder.hpp"
#include "test_data.hpp"

struct FolderStyle {
  std::string config = "config.json";  ///< or "config.v5.json"
  std::string type = "F32";
  bool bf16_numbers = false;  ///< numbers are rounded to bfloat16, whatever the type
  std::size_t shards = 1;
  std::string prefix = "model.";  ///< of all names of tensors
  std::string tokenizer = "gemma3_swa";  ///< the fixture whose tokenizer to take; "": none
};

/// A folder with the weights of golden/NAME/model-q8_0.gguf.
class HuggingFaceFolder {
 public:
  explicit HuggingFaceFolder(const std::string& name, const FolderStyle& style = {})
      : source_("golden/" + name + "/hf/") {
    write_config(file_text(data_path(source_ + style.config)));
    write_tensors(data_path("golden/" + name + "/model-q8_0.gguf"), style);
    for (const char* file : {"tokenizer.model", "tokenizer.json"}) {
      const std::string from = data_path("golden/" + style.tokenizer + "/hf/" + file);
      if (!style.tokenizer.empty() && file_exists(from)) folder_.write(file, file_text(from));
    }
  }

  std::string path() const { return folder_.path(); }
  const TempFolder& files() const { return folder_; }

  void write_config(const std::string& text) const { folder_.write("config.json", text); }
  /// Changes config.json.
  void edit_config(const std::function<void(nlohmann::json&)>& edit) const {
    nlohmann::json config = nlohmann::json::parse(file_text(folder_.path("config.json")));
    edit(config);
    write_config(config.dump());
  }

 private:
  void write_tensors(const std::string& model, const FolderStyle& style) {
    const gemma::gguf::File file = gemma::gguf::File::open(model).value();
    const auto tensors = nlohmann::json::parse(file_text(data_path(source_ + "tensors.json")));
    std::vector<SafetensorsBuilder> shards(style.shards);
    nlohmann::json index;
    std::size_t next = 0;
    for (const auto& [name, place] : tensors.items()) {
      const std::size_t shard = next++ % style.shards;
      const std::string stem = name.substr(std::string("model.").size());
      shards[shard].add(style.prefix + stem, place.at("shape"), numbers(file, place, style),
                        style.type);
      index["weight_map"][style.prefix + stem] = shard_name(shard, style.shards);
    }
    for (std::size_t i = 0; i < style.shards; ++i) {
      folder_.write(shard_name(i, style.shards), shards[i].bytes());
    }
    if (style.shards > 1) folder_.write("model.safetensors.index.json", index.dump());
  }

  static std::string shard_name(std::size_t i, std::size_t count) {
    if (count == 1) return "model.safetensors";
    return "model-" + std::to_string(i) + "-of-" + std::to_string(count) + ".safetensors";
  }

  static std::vector<float> numbers(const gemma::gguf::File& file, const nlohmann::json& place,
                                    const FolderStyle& style) {
    const gemma::TensorView* tensor = file.find_tensor(place.at("gguf").get<std::string>());
    std::vector<float> all(static_cast<std::size_t>(tensor->elements()));
    const auto cols = static_cast<std::size_t>(tensor->row_length());
    const std::size_t row_bytes = tensor->data.size() / (all.size() / cols);
    for (std::size_t r = 0; r < all.size() / cols; ++r) {
      gemma::quant::decode_row(tensor->type, tensor->data.data() + r * row_bytes, cols,
                               all.data() + r * cols);
    }
    const std::size_t part = place.at("part").at(0).get<std::size_t>();
    const std::size_t size = all.size() / place.at("part").at(1).get<std::size_t>();
    const auto begin = all.begin() + static_cast<std::ptrdiff_t>(part * size);
    std::vector<float> out(begin, begin + static_cast<std::ptrdiff_t>(size));
    for (float& x : out) {
      x += place.at("offset").get<float>();
      if (style.bf16_numbers) {
        x = gemma::bfloat16_to_float(gemma::bfloat16_from_float(x));
      }
    }
    return out;
  }

  std::string source_;
  TempFolder folder_;
};

#endif  // GEMMA_TESTS_HUGGINGFACE_FOLDER_HPP_
