// A Hugging Face folder as a model: config.json, safetensors, tokenizer.model or tokenizer.json,
// generation_config.json, chat template, the dense modules of sentence-transformers. Source: transformers' configuration and modeling classes
// gemma, gemma2, gemma3, gemma3n, gemma4. Needs GEMMA_HUGGINGFACE and <nlohmann/json.hpp>.
#ifndef GEMMA_GENERATE_HUGGINGFACE_HPP_
#define GEMMA_GENERATE_HUGGINGFACE_HPP_

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "gemma/base/error.hpp"
#include "gemma/formats/json.hpp"
#include "gemma/formats/safetensors.hpp"
#include "gemma/generate/model_source.hpp"
#include "gemma/model/family.hpp"

GEMMA_NAMESPACE_BEGIN
namespace huggingface {

/// The shape of a model from a config.json, in the style of the hub or of transformers 5; what the
/// file leaves out is as in transformers. `name` is for messages.
Result<Config> read_config(const json::Value& document, const std::string& name);

/// The tensor's name in a folder, "layers.3.mlp.up_proj.weight" without any prefix, for a GGUF name
/// such as "blk.3.ffn_up.weight"; empty if no Hugging Face model has it.
std::string tensor_name(const std::string& gguf_name, Family family);

/// And back: the GGUF name; empty if it is no text model's tensor.
std::string gguf_name(const std::string& tensor_name, Family family);

/// A Hugging Face folder as a model. Movable; views of its tensors stay valid meanwhile.
class Source final : public ModelSource {
 public:
  /// Reads the descriptions and maps the weights. Errors name the file, shard or key.
  static Result<Source> open(const std::string& path, FileAccess access = FileAccess::map);

  const TensorView* find_tensor(const std::string& gguf_name) const override;
  std::string name() const override { return path_; }
  std::string own_name(const std::string& gguf_name) const override;
  std::string why_missing(const std::string& gguf_name) const override;
  float norm_offset() const override { return traits_of(config_.family).norm_offset; }
  std::string format() const override;
  std::vector<std::string> files() const override;
  std::uint64_t file_bytes() const override;
  const std::vector<TensorView>& tensors() const override { return files_.tensors(); }
  std::vector<std::string> gguf_names() const override;
  Result<Config> read_config() const override { return config_; }
  Result<Vocabulary> read_vocabulary() const override;
  std::vector<TokenId> stop_ids() const override { return stop_ids_; }
  std::string chat_template() const override { return chat_template_; }
  void advise_dontneed(Bytes data) const override {
    for (const MappedFile& file : files_.mappings()) file.advise_dontneed(data);
  }
  void advise_willneed(Bytes data) const override {
    for (const MappedFile& file : files_.mappings()) file.advise_willneed(data);
  }

 private:
  Source(std::string path, safetensors::Folder files)
      : path_(std::move(path)), files_(std::move(files)) {}
  Status read_descriptions();
  Status index_tensors(bool tied);
  Status open_dense_modules();

  std::string path_;
  safetensors::Folder files_;
  std::string prefix_;  ///< of all names of tensors: "model."
  std::map<std::string, std::size_t> index_;  ///< by GGUF name
  std::vector<safetensors::Folder> dense_files_;
  std::map<std::string, TensorView> dense_;   ///< EmbeddingGemma's last matrices, by GGUF name
  Config config_;
  TokenId bos_ = 2;
  bool add_bos_ = true;
  bool add_eos_ = false;
  std::vector<TokenId> stop_ids_;
  std::string chat_template_;
};

}  // namespace huggingface
GEMMA_NAMESPACE_END

#if !defined(GEMMA_DECLARATIONS_ONLY)
#include "gemma/generate/impl/huggingface_config-inl.hpp"
#include "gemma/generate/impl/huggingface-inl.hpp"
#endif

#endif  // GEMMA_GENERATE_HUGGINGFACE_HPP_
