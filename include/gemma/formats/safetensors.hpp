// safetensors files: named tensors in one file, or in several with an index; used in place.
// Source: the safetensors format, "Format" in its README. Needs <nlohmann/json.hpp>.
#ifndef GEMMA_FORMATS_SAFETENSORS_HPP_
#define GEMMA_FORMATS_SAFETENSORS_HPP_

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "gemma/base/error.hpp"
#include "gemma/base/file.hpp"
#include "gemma/base/span.hpp"
#include "gemma/formats/tensor.hpp"

GEMMA_NAMESPACE_BEGIN
namespace safetensors {

/// The tensors of a header with all their bytes checked: inside the file, of the size that shape
/// and type demand. Types other than F32, F16 and BF16 are listed apart, by name.
struct Header {
  std::vector<TensorView> tensors;  ///< in the order of their names; shapes in ggml's order
  std::map<std::string, std::string> unsupported;  ///< name → type
};

/// Reads a file's header; `name` is for messages. The tensors are views of `bytes`.
Result<Header> read_header(Bytes bytes, const std::string& name);

/// The model in a folder: "model.safetensors", or the shards that "model.safetensors.index.json"
/// lists. Movable; views of its tensors stay valid meanwhile.
class Folder {
 public:
  /// Maps the files and reads their headers; the weights are not touched. Errors name the shard or
  /// the tensor that is missing.
  static Result<Folder> open(const std::string& path, FileAccess access = FileAccess::map);

  /// Of all files, those of a type that can be read.
  const std::vector<TensorView>& tensors() const { return tensors_; }
  /// Null if there is none of a type that can be read.
  const TensorView* find_tensor(const std::string& name) const;
  /// The type of a tensor that is there, but cannot be read; empty if there is none.
  std::string unsupported_type(const std::string& name) const;
  /// Bytes of all files.
  std::uint64_t file_bytes() const;
  /// The files themselves.
  const std::vector<MappedFile>& mappings() const { return files_; }
  /// The files that were opened, in the order of their names.
  std::vector<std::string> paths() const;

 private:
  Status add_file(const std::string& path, FileAccess access);

  std::vector<MappedFile> files_;
  std::vector<TensorView> tensors_;
  std::map<std::string, std::size_t> index_;
  std::map<std::string, std::string> unsupported_;
};

}  // namespace safetensors
GEMMA_NAMESPACE_END

#if !defined(GEMMA_DECLARATIONS_ONLY)
#include "gemma/formats/impl/safetensors-inl.hpp"
#endif

#endif  // GEMMA_FORMATS_SAFETENSORS_HPP_
