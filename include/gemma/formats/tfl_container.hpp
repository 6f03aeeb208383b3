// MediaPipe's weight files (.bin, -web.task): a TFLite flatbuffer that names tensors and metadata,
// whose bytes follow it in the file. Read so far as such files need; every offset is checked.
// Source: TFLite's schema.fbs, version 3; the flatbuffers binary format.
#ifndef GEMMA_FORMATS_TFL_CONTAINER_HPP_
#define GEMMA_FORMATS_TFL_CONTAINER_HPP_

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "gemma/base/error.hpp"
#include "gemma/base/file.hpp"
#include "gemma/base/span.hpp"

GEMMA_NAMESPACE_BEGIN
namespace tfl {

namespace detail {
class Parser;
}

/// Number formats of TFLite that weights come in; files may have others.
enum class TensorType : std::uint8_t {
  f32 = 0,  ///< IEEE 754 binary32
  f16 = 1,  ///< IEEE 754 binary16
  i32 = 2,  ///< signed
  i8 = 9,   ///< signed
  i4 = 17,  ///< two in a byte, the first in its low half
  bf16 = 18 ///< the upper half of a binary32
};

/// A tensor of the table. What its bytes mean is up to who reads it: some writers of files say only
/// how many they are.
struct Tensor {
  std::string name;                     ///< printable only by chance
  TensorType type = TensorType::f32;    ///< as the file has it
  std::vector<std::uint64_t> shape;     ///< the last dimension is contiguous
  Bytes data;                           ///< inside the file
};

/// An open TFLite flatbuffer. Movable; views of it stay valid while it, or the object it was moved to,
/// lives. Tensors whose bytes leave the file, or that have one name, are errors of open().
class File {
 public:
  /// Maps the file and reads its tables; the weights are not touched.
  static Result<File> open(const std::string& path, FileAccess access = FileAccess::map);
  /// The same with bytes in memory; `name` is for messages. They stay alive by `owner` or, if there is
  /// none, by the caller.
  static Result<File> from_bytes(Bytes bytes, std::string name,
                                 std::shared_ptr<const void> owner = nullptr);

  const std::string& name() const { return name_; }  ///< for messages
  Bytes bytes() const { return bytes_; }             ///< all of the file
  /// The mapping; null with from_bytes().
  const MappedFile* mapping() const { return mapping_ ? &*mapping_ : nullptr; }

  /// Whether it is a graph to run, not a container; then tensors() is empty.
  bool is_graph() const { return is_graph_; }
  /// What the container calls itself: "GEMMA_2B".
  const std::string& graph_name() const { return graph_name_; }
  /// In the order of the table.
  const std::vector<Tensor>& tensors() const { return tensors_; }
  /// Null if there is no such tensor.
  const Tensor* find_tensor(const std::string& name) const;

  /// Whether there is metadata of that name.
  bool has_metadata(const std::string& key) const { return metadata_.count(key) != 0; }
  /// The bytes under a key; it is an error if there are none.
  Result<Bytes> metadata(const std::string& key) const;
  /// The number that stands in place of the index of a buffer: some keys abuse it.
  std::optional<std::uint32_t> metadata_number(const std::string& key) const;

 private:
  friend class detail::Parser;
  File(Bytes bytes, std::string name) : name_(std::move(name)), bytes_(bytes) {}

  std::string name_;
  std::optional<MappedFile> mapping_;
  std::shared_ptr<const void> owner_;
  Bytes bytes_;
  bool is_graph_ = false;
  std::string graph_name_;
  std::vector<Tensor> tensors_;
  std::map<std::string, std::size_t> index_;
  std::map<std::string, std::uint32_t> metadata_;
  std::size_t buffers_ = 0;       ///< offset of their vector
  std::size_t buffer_count_ = 0;
};

}  // namespace tfl
GEMMA_NAMESPACE_END

#if !defined(GEMMA_DECLARATIONS_ONLY)
#include "gemma/formats/impl/tfl_container-inl.hpp"
#endif

#endif  // GEMMA_FORMATS_TFL_CONTAINER_HPP_
