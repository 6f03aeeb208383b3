// What a model needs of the file it comes from, whatever its format. Tensors go by their GGUF names
// here; a reader of another format translates.
#ifndef GEMMA_GENERATE_MODEL_SOURCE_HPP_
#define GEMMA_GENERATE_MODEL_SOURCE_HPP_

#include <cstdint>
#include <string>
#include <vector>

#include "gemma/base/error.hpp"
#include "gemma/base/token.hpp"
#include "gemma/formats/tensor.hpp"
#include "gemma/model/config.hpp"
#include "gemma/text/vocabulary.hpp"

GEMMA_NAMESPACE_BEGIN

namespace gguf {
class File;
}

/// Tensors with GGUF names.
class TensorSource {
 public:
  virtual ~TensorSource() = default;
  /// Null if there is none.
  virtual const TensorView* find_tensor(const std::string& gguf_name) const = 0;
  /// The file or folder, for messages.
  virtual std::string name() const = 0;
  /// What the file itself calls that tensor.
  virtual std::string own_name(const std::string& gguf_name) const { return gguf_name; }
  /// For the error when a tensor is needed that find_tensor() does not give.
  virtual std::string why_missing(const std::string& /*gguf_name*/) const {
    return "is missing; the file is incomplete or of another model";
  }
  /// Added to stored RMSNorm weights to get the gains: 1 where files hold g − 1.
  virtual float norm_offset() const { return 0.0f; }
  /// Lets go of the memory of these bytes of a tensor, which will hardly be read again soon; a hint.
  virtual void advise_dontneed(Bytes /*data*/) const {}
};

/// An open model: one file, or a folder of several.
class ModelSource : public TensorSource {
 public:
  /// "GGUF v3", for people.
  virtual std::string format() const = 0;
  /// The files that hold tensors.
  virtual std::vector<std::string> files() const = 0;
  /// Bytes of all of them.
  virtual std::uint64_t file_bytes() const = 0;
  /// All tensors of the model, by their own names.
  virtual const std::vector<TensorView>& tensors() const = 0;
  /// The GGUF names of those that find_tensor() gives, in the order to write them.
  virtual std::vector<std::string> gguf_names() const = 0;
  /// Sizes and constants, checked by check_config().
  virtual Result<Config> read_config() const = 0;
  /// The tokenizer's pieces as views into the source, which must stay open.
  virtual Result<Vocabulary> read_vocabulary() const = 0;
  /// The tokens that the file says end an answer.
  virtual std::vector<TokenId> stop_ids() const = 0;
  /// The Jinja template of conversations; empty if there is none.
  virtual std::string chat_template() const = 0;
  /// Asks the system to read these bytes of a tensor ahead; a hint.
  virtual void advise_willneed(Bytes /*data*/) const {}
  /// Whether tensors lie in memory already, laid out anew, and not in the file's bytes.
  virtual bool holds_copies() const { return false; }
  /// The GGUF file, if it is one; else null.
  virtual const gguf::File* gguf_file() const { return nullptr; }
};

/// For an adapter that is opened as a model.
inline Error adapter_is_no_model(const std::string& name) {
  return Error(ErrorCode::invalid_argument,
               name + ": is a LoRA adapter, not a model; load the model it was made for, and give it this "
                      "as an adapter: load_adapter() and SessionOptions::adapters, or `gemma run MODEL "
                      "--lora " + name + "`");
}

GEMMA_NAMESPACE_END

#endif  // GEMMA_GENERATE_MODEL_SOURCE_HPP_
