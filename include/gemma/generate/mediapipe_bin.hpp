// MediaPipe's weight files (.bin, -web.task) as models: Gemma 1, 2 and 3 with integers of 8 or 4 bits
// and a scale for each row. Files for CPUs are used in place; those for GPUs hold the same integers
// in tiles, and are laid out anew while they are opened.
// Source: measured on files that MediaPipe's converters wrote, and llm_params.proto.
#ifndef GEMMA_GENERATE_MEDIAPIPE_BIN_HPP_
#define GEMMA_GENERATE_MEDIAPIPE_BIN_HPP_

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "gemma/base/aligned.hpp"
#include "gemma/base/error.hpp"
#include "gemma/base/progress.hpp"
#include "gemma/formats/llm_parameters.hpp"
#include "gemma/formats/tfl_container.hpp"
#include "gemma/generate/model_source.hpp"
#include "gemma/model/family.hpp"

GEMMA_NAMESPACE_BEGIN
namespace mediapipe {

/// The shape of a model from its type, as files number it ("odml.infra.LlmModelType"), and its
/// parameters. `name` is for messages.
Result<Config> read_config(std::uint32_t model_type, const LlmParameters& parameters,
                           const std::string& name);

/// A weight file as a model. Movable; views of its tensors stay valid meanwhile.
class Source final : public ModelSource {
 public:
  /// Maps the file, whose tensors are checked against the model's shape. A file for GPUs is read
  /// whole, tensor by tensor, and the integers of each row are compared with the sum that the file
  /// has of them; progress is in bytes. Errors name the file and the tensor.
  static Result<Source> open(const std::string& path, FileAccess access = FileAccess::map,
                             const ProgressFn& progress = {});
  /// The same with a file that is open already.
  static Result<Source> from_file(tfl::File file, const ProgressFn& progress = {});

  const TensorView* find_tensor(const std::string& gguf_name) const override;
  std::string name() const override { return file_.name(); }
  std::string own_name(const std::string& gguf_name) const override;
  float norm_offset() const override { return traits_of(config_.family).norm_offset; }
  std::string format() const override;
  std::vector<std::string> files() const override { return {file_.name()}; }
  std::uint64_t file_bytes() const override { return file_.bytes().size(); }
  const std::vector<TensorView>& tensors() const override { return tensors_; }
  std::vector<std::string> gguf_names() const override { return names_; }
  Result<Config> read_config() const override { return config_; }
  Result<Vocabulary> read_vocabulary() const override;
  std::vector<TokenId> stop_ids() const override;
  std::string chat_template() const override;
  void advise_dontneed(Bytes data) const override;
  void advise_willneed(Bytes data) const override;
  bool holds_copies() const override { return tiled_; }

 private:
  explicit Source(tfl::File file) : file_(std::move(file)) {}
  Status read_parameters();
  Status find_tensors();
  Status add_norm(const std::string& gguf_name, std::size_t n);
  Status add_matrix(const std::string& gguf_name, std::size_t rows, std::size_t cols);
  Result<const tfl::Tensor*> take(const std::string& own_name);
  void add(const std::string& gguf_name, TensorView tensor);
  Result<const float*> add_row_numbers(const std::string& own_name, std::size_t rows);
  Status untile(const ProgressFn& progress);
  Status check_sums(const TensorView& tensor, const std::vector<std::int64_t>& sums) const;
  Error tensor_error(const std::string& own_name, const std::string& what) const;

  tfl::File file_;
  LlmParameters parameters_;
  Config config_;
  bool tiled_ = false;                        ///< the file is for GPUs
  std::vector<std::string> names_;            ///< of tensors_, in GGUF
  std::vector<TensorView> tensors_;           ///< by the file's names
  std::map<std::string, std::size_t> index_;  ///< by GGUF name
  std::vector<std::vector<float>> rows_;      ///< scales and zero points
  std::uint64_t taken_ = 0;                   ///< bytes of the file's tensors that are used
  AlignedArray<std::uint8_t> memory_;         ///< what was laid out anew
};

}  // namespace mediapipe
GEMMA_NAMESPACE_END

#if !defined(GEMMA_DECLARATIONS_ONLY)
#include "gemma/generate/impl/mediapipe_config-inl.hpp"
#include "gemma/generate/impl/mediapipe_bin-inl.hpp"
#endif

#endif  // GEMMA_GENERATE_MEDIAPIPE_BIN_HPP_
