// Writes GGUF files: metadata first, then the tensors one after the other, never all in memory.
// Source: docs/gguf.md of ggml, version 3.
#ifndef GEMMA_FORMATS_GGUF_WRITER_HPP_
#define GEMMA_FORMATS_GGUF_WRITER_HPP_

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "gemma/base/error.hpp"
#include "gemma/base/output_file.hpp"
#include "gemma/base/span.hpp"
#include "gemma/formats/gguf.hpp"
#include "gemma/formats/tensor.hpp"

GEMMA_NAMESPACE_BEGIN
namespace gguf {

/// Keys and values to write, in the order they are added.
class Metadata {
 public:
  void add_uint(std::string_view key, std::uint32_t value);              ///< as u32
  void add_float(std::string_view key, float value);                     ///< as f32
  void add_bool(std::string_view key, bool value);                       ///< as boolean
  void add_string(std::string_view key, std::string_view value);         ///< as string
  void add_ints(std::string_view key, Span<const std::int32_t> values);  ///< as array of i32
  void add_floats(std::string_view key, Span<const float> values);       ///< as array of f32
  /// As array of boolean.
  void add_bools(std::string_view key, const std::vector<bool>& values);
  /// As array of string.
  void add_strings(std::string_view key, Span<const std::string_view> values);
  /// A copy of another file's.
  void add(const Entry& entry);

  std::size_t count() const { return count_; }  ///< keys added so far
  /// All of it as it stands in a file.
  const std::string& bytes() const { return bytes_; }

 private:
  template <class T>
  void put(T value);
  void put_text(std::string_view text);
  void put_value(const Value& value);
  void begin(std::string_view key, ValueType type);
  void begin_array(std::string_view key, ValueType element, std::size_t size);

  std::string bytes_;
  std::size_t count_ = 0;
};

/// A tensor to come.
struct TensorInfo {
  std::string name;                  ///< as readers will look for it, "blk.0.attn_q.weight"
  DType type = DType::F32;           ///< one of quant::AllFormats
  std::vector<std::uint64_t> shape;  ///< in ggml's order, as in TensorView

  /// Bytes of its data. The type is supported and the rows are whole blocks.
  std::uint64_t bytes() const;
};

/// A file being written; it gets its name when finish() succeeds, and leaves nothing behind else.
class Writer {
 public:
  /// Writes the metadata and the list of tensors.
  static Result<Writer> create(const std::string& path, const Metadata& metadata,
                               std::vector<TensorInfo> tensors);

  /// Adds data: of the first tensor until it is complete, then of the second, and so on. A piece
  /// never belongs to two.
  Status append(Bytes data);

  /// After the data of all tensors.
  Status finish();

 private:
  Writer(OutputFile file, std::string path, std::vector<TensorInfo> tensors)
      : file_(std::move(file)), path_(std::move(path)), tensors_(std::move(tensors)) {}
  Status pad();

  OutputFile file_;
  std::string path_;
  std::vector<TensorInfo> tensors_;
  std::size_t current_ = 0;
  std::uint64_t written_ = 0;  ///< of the current tensor
};

}  // namespace gguf
GEMMA_NAMESPACE_END

#if !defined(GEMMA_DECLARATIONS_ONLY)
#include "gemma/formats/impl/gguf_writer-inl.hpp"
#endif

#endif  // GEMMA_FORMATS_GGUF_WRITER_HPP_
