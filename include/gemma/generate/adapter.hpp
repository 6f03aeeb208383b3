// LoRA adapters: small matrices that change what a model's own do, added while it runs. Read from GGUF
// files, from MediaPipe's, and, with GEMMA_HUGGINGFACE, from PEFT's folders.
// Source: arXiv 2106.09685; the files of llama.cpp, PEFT and MediaPipe.
#ifndef GEMMA_GENERATE_ADAPTER_HPP_
#define GEMMA_GENERATE_ADAPTER_HPP_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "gemma/base/error.hpp"
#include "gemma/base/span.hpp"
#include "gemma/generate/model.hpp"
#include "gemma/model/low_rank.hpp"

GEMMA_NAMESPACE_BEGIN

namespace detail {
class AdapterLoader;
}

/// A matrix that an adapter changes to W + scale · B A.
struct AdaptedMatrix {
  std::string name;       ///< as GGUF files call it: "blk.0.attn_q.weight"
  std::size_t rows = 0;   ///< outputs of W: rows of B
  std::size_t cols = 0;   ///< inputs of W: columns of A
  std::size_t rank = 0;   ///< rows of A, columns of B
  float scale = 1.0f;     ///< alpha / rank, or alpha / √rank where the file asks for it
};

/// What an adapter's file says.
struct AdapterInfo {
  std::string path;                     ///< as it was given
  std::string format;                   ///< for people: "GGUF v3"
  std::string base;                     ///< the model it was made for, in the file's words; may be empty
  std::size_t rank = 0;                 ///< the largest of all matrices
  std::optional<float> alpha;           ///< none: the file does not say, and the scale is 1
  std::vector<AdaptedMatrix> matrices;  ///< layer by layer
};

/// An adapter for one model, in memory as float32. Never changes; copies share everything.
class Adapter {
 public:
  const AdapterInfo& info() const { return data_->info; }       ///< what the file says
  const std::string& path() const { return data_->info.path; }  ///< as it was given
  std::size_t rank() const { return data_->info.rank; }         ///< the largest of all matrices
  /// Of the first matrix; most files have one for all.
  float scale() const { return data_->info.matrices[0].scale; }
  /// What it changes.
  const std::vector<AdaptedMatrix>& matrices() const { return data_->info.matrices; }
  std::uint64_t bytes() const { return data_->bytes; }  ///< of memory
  /// Tells it from others: a hash of all its numbers.
  std::uint64_t fingerprint() const;

  /// Adds it, times `scale`, to the matrices of a model with these weights. An error if their shapes are
  /// not those of the model it was loaded for.
  Status add_to(const Weights& weights, float scale, LowRankTable& table) const;

 private:
  friend class detail::AdapterLoader;
  struct Part {
    std::size_t layer = 0;
    WeightMatrix LayerWeights::*matrix = nullptr;  ///< null: the head
    LowRank low_rank;
  };
  struct Data {
    AdapterInfo info;
    std::vector<Part> parts;
    std::vector<std::vector<float>> numbers;  ///< what the parts refer to
    std::uint64_t bytes = 0;
  };
  explicit Adapter(std::shared_ptr<const Data> data) : data_(std::move(data)) {}

  std::shared_ptr<const Data> data_;
};

/// An adapter as a session applies it.
struct SessionAdapter {
  Adapter adapter;     ///< loaded for the session's model
  float scale = 1.0f;  ///< times the adapter's own; 0: without effect
};

/// Loads an adapter for a model: a GGUF file, MediaPipe's LoRA file, or with GEMMA_HUGGINGFACE PEFT's
/// folder, given itself or by its adapter_model.safetensors. What it is shows in its content. Queries, keys, values,
/// output of the attention, the three matrices of the feed-forward and the head can be changed; what a
/// file wants to change besides is an error, but for the parts of a model that read images or sound.
/// Errors name the file and the tensor, what was found and what the model has.
Result<Adapter> try_load_adapter(const std::string& path, const Model& model);

/// The same with the bytes of a GGUF file or of MediaPipe's, which are copied. `name` stands for the path.
Result<Adapter> try_load_adapter_bytes(Bytes file, const std::string& name, const Model& model);

/// What an adapter's file says, without a model.
Result<AdapterInfo> try_read_adapter_info(const std::string& path);

/// Whether the file or folder is an adapter, as far as its kind shows: not whether it can be loaded.
bool is_adapter(const std::string& path);

#if !defined(GEMMA_NO_EXCEPTIONS)
/// Like try_load_adapter(); throws the Error.
inline Adapter load_adapter(const std::string& path, const Model& model) {
  return try_load_adapter(path, model).value();
}
/// Like try_load_adapter_bytes(); throws the Error.
inline Adapter load_adapter_bytes(Bytes file, const std::string& name, const Model& model) {
  return try_load_adapter_bytes(file, name, model).value();
}
/// Like try_read_adapter_info(); throws the Error.
inline AdapterInfo read_adapter_info(const std::string& path) {
  return try_read_adapter_info(path).value();
}
#endif

GEMMA_NAMESPACE_END

#if !defined(GEMMA_DECLARATIONS_ONLY)
#include "gemma/generate/impl/adapter-inl.hpp"
#endif

#endif  // GEMMA_GENERATE_ADAPTER_HPP_
