// What a GGUF file's keys and tensor names mean: GGUF → Config, tensors by role, Vocabulary.
// Source: the GGUF specification and llama.cpp's conventions for the architectures gemma, gemma2,
// gemma3, gemma-embedding, gemma3n and gemma4.
#ifndef GEMMA_GENERATE_GGUF_BINDING_HPP_
#define GEMMA_GENERATE_GGUF_BINDING_HPP_

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "gemma/base/error.hpp"
#include "gemma/formats/gguf.hpp"
#include "gemma/generate/bind_weights.hpp"
#include "gemma/model/config.hpp"
#include "gemma/text/vocabulary.hpp"

GEMMA_NAMESPACE_BEGIN
namespace gguf {

/// Sizes and constants from the metadata, checked by check_config().
Result<Config> read_config(const File& file);

/// The scale of q·k that readers of GGUF derive from the shape, as no key holds it.
float derived_attention_scale(const Config& config);

/// The file's tensors, for bind_weights().
class FileTensors final : public TensorSource {
 public:
  explicit FileTensors(const File& file) : file_(file) {}
  const TensorView* find_tensor(const std::string& name) const override {
    return file_.find_tensor(name);
  }
  std::string name() const override { return file_.name(); }

 private:
  const File& file_;
};

/// The tokenizer's pieces as views into the file, which must stay open.
Result<Vocabulary> read_vocabulary(const File& file);

/// A GGUF file as a model.
class Source final : public ModelSource {
 public:
  explicit Source(File file) : file_(std::move(file)) {}

  const TensorView* find_tensor(const std::string& name) const override {
    return file_.find_tensor(name);
  }
  std::string name() const override { return file_.name(); }
  std::string format() const override { return "GGUF v" + std::to_string(file_.version()); }
  std::uint64_t file_bytes() const override { return file_.bytes().size(); }
  const std::vector<TensorView>& tensors() const override { return file_.tensors(); }
  std::vector<std::string> gguf_names() const override;
  Result<Config> read_config() const override { return gguf::read_config(file_); }
  Result<Vocabulary> read_vocabulary() const override { return gguf::read_vocabulary(file_); }
  std::vector<TokenId> stop_ids() const override;
  std::string chat_template() const override;
  const File* gguf_file() const override { return &file_; }

 private:
  File file_;
};

}  // namespace gguf
GEMMA_NAMESPACE_END

#if !defined(GEMMA_DECLARATIONS_ONLY)
#include "gemma/generate/impl/gguf_binding-inl.hpp"
#endif

#endif  // GEMMA_GENERATE_GGUF_BINDING_HPP_
