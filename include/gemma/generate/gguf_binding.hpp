// What a GGUF file's keys and tensor names mean: GGUF → Config, tensors by role, Vocabulary.
// Source: the GGUF specification and llama.cpp's conventions for the architectures gemma, gemma2,
// gemma3, gemma-embedding, gemma3n and gemma4.
#ifndef GEMMA_GENERATE_GGUF_BINDING_HPP_
#define GEMMA_GENERATE_GGUF_BINDING_HPP_

#include <cstdint>
#include <map>
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

/// Sizes and constants from the metadata, checked by check_config(). A few facts no key tells, and
/// tensors do.
Result<Config> read_config(const File& file, const TensorSource& tensors);

/// The scale of q·k that readers of GGUF derive from the shape, as no key holds it.
float derived_attention_scale(const Config& config);

/// The file's tensors, for bind_weights().
class FileTensors final : public TensorSource {
 public:
  /// Refers to the file, which must outlive it.
  explicit FileTensors(const File& file) : file_(file) {}
  const TensorView* find_tensor(const std::string& name) const override {
    return file_.find_tensor(name);
  }
  std::string name() const override { return file_.name(); }

 private:
  const File& file_;
};

/// The same where all tensors are in the file.
inline Result<Config> read_config(const File& file) { return read_config(file, FileTensors(file)); }

/// The tokenizer's pieces as views into the file, which must stay open.
Result<Vocabulary> read_vocabulary(const File& file);

/// A GGUF file as a model, or several: NAME-00001-of-00003.gguf has the metadata, and all have
/// tensors.
class Source final : public ModelSource {
 public:
  /// Maps the file and, if it is the first part of a model, those beside it. Errors name the part
  /// that is missing.
  static Result<Source> open(const std::string& path, FileAccess access = FileAccess::map);
  /// A model whose one file is open already.
  static Result<Source> from_file(File file);

  const TensorView* find_tensor(const std::string& name) const override;
  std::string name() const override { return file().name(); }
  std::string format() const override;
  std::vector<std::string> files() const override;
  std::uint64_t file_bytes() const override;
  const std::vector<TensorView>& tensors() const override { return tensors_; }
  std::vector<std::string> gguf_names() const override;
  Result<Config> read_config() const override { return gguf::read_config(file(), *this); }
  Result<Vocabulary> read_vocabulary() const override { return gguf::read_vocabulary(file()); }
  std::vector<TokenId> stop_ids() const override;
  std::string chat_template() const override;
  void advise_dontneed(Bytes data) const override;
  void advise_willneed(Bytes data) const override;
  const File* gguf_file() const override { return &file(); }

 private:
  Source() = default;
  const File& file() const { return files_[0]; }
  Status add(File file);

  std::vector<File> files_;
  std::vector<TensorView> tensors_;           ///< of all files
  std::map<std::string, std::size_t> index_;  ///< into tensors_
};

}  // namespace gguf
GEMMA_NAMESPACE_END

#if !defined(GEMMA_DECLARATIONS_ONLY)
#include "gemma/generate/impl/gguf_binding-inl.hpp"
#endif

#endif  // GEMMA_GENERATE_GGUF_BINDING_HPP_
