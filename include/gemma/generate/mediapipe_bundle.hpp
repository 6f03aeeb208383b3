// MediaPipe's .task bundles and LiteRT-LM's .litertlm files as models: Gemma 1, 2 and 3, text only. The
// weights are the constants of a graph (decoder_graph.hpp). Integers of 8 bits with a scale for each row
// are used in place; those of 4 bits are laid out anew, as exactly, while the file is opened.
// Source: measured on files of MediaPipe's bundler and of litert-lm-builder.
#ifndef GEMMA_GENERATE_MEDIAPIPE_BUNDLE_HPP_
#define GEMMA_GENERATE_MEDIAPIPE_BUNDLE_HPP_

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "gemma/base/aligned.hpp"
#include "gemma/base/error.hpp"
#include "gemma/base/file.hpp"
#include "gemma/base/progress.hpp"
#include "gemma/formats/llm_parameters.hpp"
#include "gemma/generate/decoder_graph.hpp"
#include "gemma/generate/model_source.hpp"

GEMMA_NAMESPACE_BEGIN
namespace mediapipe {

/// What a text model needs of a bundle.
struct BundleParts {
  std::string format;           ///< "MediaPipe .task bundle", for people
  std::string graph_name;       ///< the file and the part, for messages
  Bytes graph;                  ///< a TFLite file
  std::string tokenizer_name;   ///< the file and the part, for messages
  Bytes tokenizer;              ///< a tokenizer.model, or
  bool packed_json = false;     ///< a tokenizer.json: 8 bytes of its size, then a zlib stream
  LlmMetadata metadata;         ///< tokens, templates
  std::vector<AlignedArray<std::uint8_t>> unpacked;  ///< parts that were packed in the file
};

/// Finds the parts in a file of either kind. Others are passed over; the error if one is missing lists
/// what there is. `name` is for messages.
Result<BundleParts> read_parts(Bytes file, const std::string& name);

/// A bundle as a model. Movable; views of its tensors stay valid meanwhile.
class BundleSource final : public ModelSource {
 public:
  /// Finds the weights; they are not touched.
  static Result<BundleSource> plan(Bytes file, BundleParts parts, std::string name);
  /// Lays out anew what needs it; progress is in bytes.
  Status lay_out(const ProgressFn& progress);
  /// Whether some weights are used where the file has them.
  bool uses_file() const { return in_place_; }
  /// What keeps the bytes of the file.
  void keep_mapping(std::shared_ptr<const MappedFile> mapping) { mapping_ = std::move(mapping); }
  /// Likewise.
  void keep_owner(std::shared_ptr<const void> owner) { owner_ = std::move(owner); }

  const TensorView* find_tensor(const std::string& gguf_name) const override;
  std::string name() const override { return name_; }
  std::string own_name(const std::string& gguf_name) const override;
  std::string format() const override { return parts_.format; }
  std::vector<std::string> files() const override { return {name_}; }
  std::uint64_t file_bytes() const override { return file_.size(); }
  const std::vector<TensorView>& tensors() const override { return tensors_; }
  std::vector<std::string> gguf_names() const override { return names_; }
  Result<Config> read_config() const override { return config_; }
  Result<Vocabulary> read_vocabulary() const override;
  std::vector<TokenId> stop_ids() const override;
  std::string chat_template() const override;
  void advise_dontneed(Bytes data) const override;
  void advise_willneed(Bytes data) const override;
  bool holds_copies() const override { return memory_.size() > 0; }

 private:
  /// How the rows of a tensor of the graph become those of one here.
  enum class Layout {
    same,          ///< as they are
    signed_fours,  ///< nibbles from −8 to 7, to nibbles that are 8 too large
    blocks_of_4,   ///< such nibbles and scales of blocks, to Q4_0
    blocks_of_8    ///< bytes and scales of blocks, to Q8_0
  };
  struct Job {
    std::size_t tensor;
    std::int32_t source;
    Layout layout;
    std::size_t source_row_bytes;
    std::vector<std::uint32_t> rows;  ///< empty: all
  };

  BundleSource(Bytes file, BundleParts parts, std::string name)
      : file_(file), parts_(std::move(parts)), name_(std::move(name)) {}
  Status read_tokens();
  Status find_config();
  Status find_tensors();
  Status add_norm(const std::string& gguf_name, std::int32_t tensor);
  Status add_matrix(const std::string& gguf_name, const GraphMatrix& matrix, const char* part = "");
  Status take(const tfl::GraphTensor& tensor);
  Status check_blocks(const tfl::GraphTensor& tensor, GraphShape shape, std::size_t block,
                      bool count_scales);
  Result<std::vector<float>> row_numbers(Bytes numbers, bool integers, std::size_t rows,
                                         const tfl::GraphTensor& tensor) const;
  void lay_out_row(const Job& job, std::size_t row, std::uint8_t* to) const;
  Error tensor_error(ErrorCode code, const tfl::GraphTensor& tensor, const std::string& what) const;

  Bytes file_;
  BundleParts parts_;
  std::string name_;
  std::shared_ptr<const MappedFile> mapping_;
  std::shared_ptr<const void> owner_;
  tfl::Graph graph_;
  DecoderGraph decoder_;
  Config config_;
  Vocabulary vocabulary_;
  std::optional<Error> tokens_error_;         ///< why there is no vocabulary
  std::vector<std::string> names_;            ///< of tensors_, in GGUF
  std::vector<TensorView> tensors_;           ///< by the graph's names
  std::map<std::string, std::size_t> index_;  ///< by GGUF name
  std::vector<std::vector<float>> row_numbers_;
  std::vector<Job> jobs_;
  std::uint64_t taken_ = 0;                   ///< bytes of the file's tensors that are used
  bool in_place_ = false;
  AlignedArray<std::uint8_t> memory_;         ///< what was laid out anew
};

/// Opens a .task bundle or a .litertlm file, and lays out anew what needs it.
Result<std::shared_ptr<const ModelSource>> open_bundle(const std::string& path,
                                                       FileAccess access = FileAccess::map,
                                                       const ProgressFn& progress = {});

/// The same with bytes in memory; they stay alive by `owner` or, if there is none, by the caller.
Result<std::shared_ptr<const ModelSource>> open_bundle(Bytes file, const std::string& name,
                                                       std::shared_ptr<const void> owner,
                                                       const ProgressFn& progress = {});

}  // namespace mediapipe
GEMMA_NAMESPACE_END

#if !defined(GEMMA_DECLARATIONS_ONLY)
#include "gemma/generate/impl/bundle_layout-inl.hpp"
#include "gemma/generate/impl/bundle_parts-inl.hpp"
#include "gemma/generate/impl/mediapipe_bundle-inl.hpp"
#endif

#endif  // GEMMA_GENERATE_MEDIAPIPE_BUNDLE_HPP_
