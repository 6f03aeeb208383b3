// A model loaded from a file, or from memory.
#ifndef GEMMA_GENERATE_MODEL_HPP_
#define GEMMA_GENERATE_MODEL_HPP_

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "gemma/base/error.hpp"
#include "gemma/base/progress.hpp"
#include "gemma/base/file.hpp"
#include "gemma/base/span.hpp"
#include "gemma/generate/model_source.hpp"
#include "gemma/model/config.hpp"
#include "gemma/model/memory_plan.hpp"
#include "gemma/model/weights.hpp"
#include "gemma/simd/kernels.hpp"
#include "gemma/text/chat.hpp"
#include "gemma/text/tokenizer.hpp"

GEMMA_NAMESPACE_BEGIN

struct SessionOptions;

/// What loading tells, and how it takes the weights.
struct LoadOptions {
  LogFn log;  ///< remarks about the file, such as an unknown chat template
  FileAccess access = FileAccess::fastest;  ///< how to have the weights
  /// Bytes that weights, KV cache and activations may take in all, of each session; 0: no limit. If the
  /// weights do not fit besides, they stay in the file, layers stream in and out of memory as they are
  /// used, and sessions run on the CPU. The tokenizer and the program itself come on top.
  std::uint64_t max_resident_bytes = 0;
  /// Bytes that a session may take by plan(), all weights counted; 0: no limit. Loading a model, or
  /// making a session, that would take more is refused.
  std::uint64_t memory_limit = 0;
  /// Of files that must be laid out anew: MediaPipe's for GPUs, and graphs with weights of 4 bits.
  /// Step "load", in bytes.
  ProgressFn progress = {};
};

/// Weights, tokenizer and shape of a model. Never changes; copies share everything; any number of
/// threads and sessions may use it at once.
class Model {
 public:
  const Config& config() const { return data_->config; }           ///< sizes and constants
  const Weights& weights() const { return data_->weights; }        ///< views of memory or files
  const Tokenizer& tokenizer() const { return data_->tokenizer; }  ///< lives as long as a copy does
  /// The files it came from.
  const ModelSource& source() const { return *data_->source; }
  const std::string& path() const { return data_->path; }  ///< as it was given to load()

  /// Tokens that end an answer: those the file names, and the family's end-of-turn token.
  const std::vector<TokenId>& stop_ids() const { return data_->stop_ids; }
  bool is_stop(TokenId id) const;  ///< whether it is one of stop_ids()

  /// The turn format for chat, and why it was chosen if the file's own template is not known.
  ChatFormat chat_format() const { return data_->chat_format; }
  /// One sentence; empty if the template is known or there is none.
  const std::string& chat_format_remark() const { return data_->chat_remark; }

  /// The KV cache type that loses nothing the weights have: float32 for float32 weights, else
  /// float16.
  simd::KvType default_kv_type() const;

  /// Memory that a session would take, before it is taken.
  MemoryPlans plan(const SessionOptions& options) const;
  /// Likewise, with SessionOptions as they are by default.
  MemoryPlans plan() const;
  /// LoadOptions::max_resident_bytes.
  std::uint64_t max_resident_bytes() const { return data_->max_resident_bytes; }
  /// LoadOptions::memory_limit.
  std::uint64_t memory_limit() const { return data_->memory_limit; }

  /// Seconds that loading took.
  double load_seconds() const { return data_->load_seconds; }

 private:
  friend Result<Model> try_load(const std::string& path, const LoadOptions& options);
  friend Result<Model> try_load_bytes(Bytes file, const std::string& name, const LoadOptions& options,
                                      std::shared_ptr<const void> owner);

  using Clock = std::chrono::steady_clock;
  struct Bound {
    std::shared_ptr<const ModelSource> source;
    Config config;
    Weights weights;
  };
  struct Data : Bound {
    std::string path;
    Tokenizer tokenizer;
    std::vector<TokenId> stop_ids;
    ChatFormat chat_format;
    std::string chat_remark;
    double load_seconds;
    std::uint64_t max_resident_bytes;
    std::uint64_t memory_limit;
  };
  explicit Model(std::shared_ptr<const Data> data) : data_(std::move(data)) {}

  static Result<Bound> bind(std::shared_ptr<const ModelSource> source, bool let_go = false);
  static Result<Model> create(const std::string& path, Bound bound, const LoadOptions& options,
                              Clock::time_point start);

  std::shared_ptr<const Data> data_;
};

/// Opens a GGUF file, a weight file or .task bundle of MediaPipe, a .litertlm file or, with
/// GEMMA_HUGGINGFACE, a Hugging Face folder (given itself or by one of its safetensors files), without
/// checking that all parts of a model are there. What it is shows in its content, not in its name.
/// `progress` is as in LoadOptions.
Result<std::shared_ptr<const ModelSource>> open_model(const std::string& path,
                                                      FileAccess access = FileAccess::map,
                                                      const ProgressFn& progress = {});

/// Opens a model as open_model() does and checks all of it that a forward pass will rely on; weights
/// stay in the file and are paged in on demand. Errors name the file, the tensor or key, what was
/// found and what was expected.
Result<Model> try_load(const std::string& path, const LoadOptions& options = {});

/// The same with all bytes of a file, which is no Hugging Face folder's, in memory, at any address (a
/// multiple of 64 is fastest), as where there are no files. They are used in place, whatever options.access says, and stay alive
/// by `owner`, which the model keeps, or, if there is none, by the caller for as long as any copy of the
/// model lives. `name` stands for the path in messages.
Result<Model> try_load_bytes(Bytes file, const std::string& name, const LoadOptions& options = {},
                             std::shared_ptr<const void> owner = nullptr);

/// The same with bytes that the model takes over.
Result<Model> try_load_bytes(std::vector<std::uint8_t>&& file, const std::string& name,
                             const LoadOptions& options = {});

#if !defined(GEMMA_NO_EXCEPTIONS)
/// Like try_load(); throws the Error.
inline Model load(const std::string& path, const LoadOptions& options = {}) {
  return try_load(path, options).value();
}

/// Like try_load_bytes(); throws the Error.
inline Model load_bytes(Bytes file, const std::string& name, const LoadOptions& options = {},
                        std::shared_ptr<const void> owner = nullptr) {
  return try_load_bytes(file, name, options, std::move(owner)).value();
}
/// The same; the model keeps the buffer.
inline Model load_bytes(std::vector<std::uint8_t>&& file, const std::string& name,
                        const LoadOptions& options = {}) {
  return try_load_bytes(std::move(file), name, options).value();
}
#endif

GEMMA_NAMESPACE_END

#if !defined(GEMMA_DECLARATIONS_ONLY)
#include "gemma/generate/impl/model-inl.hpp"
#endif

#endif  // GEMMA_GENERATE_MODEL_HPP_
