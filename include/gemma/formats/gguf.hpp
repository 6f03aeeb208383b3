// GGUF files: metadata and tensors, checked completely when opened, used in place.
// Source: docs/gguf.md of ggml, versions 2 and 3.
#ifndef GEMMA_FORMATS_GGUF_HPP_
#define GEMMA_FORMATS_GGUF_HPP_

#include <cstddef>
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
#include "gemma/formats/metadata.hpp"
#include "gemma/formats/tensor.hpp"

GEMMA_NAMESPACE_BEGIN
namespace gguf {

namespace detail {
class Parser;
}

/// One key of the metadata with its value.
struct Entry {
  std::string_view key;  ///< in the file's bytes; no key comes twice
  Value value;           ///< views into the file's bytes
};

/// An open GGUF file. Movable; views of it (values, strings, tensors) stay valid while it, or the
/// object it was moved to, lives. A tensor that overlaps another, leaves the file, or is of a
/// format that quant/ cannot decode is an error of open().
class File {
 public:
  /// Maps the file and reads its header; the weights are not touched.
  static Result<File> open(const std::string& path, FileAccess access = FileAccess::map);
  /// The same with bytes in memory, at any address; `name` is for messages. They stay alive by `owner`
  /// or, if there is none, by the caller.
  static Result<File> from_bytes(Bytes bytes, std::string name,
                                 std::shared_ptr<const void> owner = nullptr);

  /// The path, or the name given; every error begins with it.
  const std::string& name() const { return name_; }
  std::uint32_t version() const { return version_; }  ///< of GGUF: 2 or 3
  /// Tensors begin at multiples of this many bytes.
  std::size_t alignment() const { return alignment_; }
  /// All of the file.
  Bytes bytes() const { return bytes_; }
  /// The mapping; null with from_bytes().
  const MappedFile* mapping() const { return mapping_ ? &*mapping_ : nullptr; }

  /// The metadata in the order of the file.
  const std::vector<Entry>& entries() const { return entries_; }
  /// Null if there is no such key.
  const Value* find(std::string_view key) const;

  /// The value of a key as by Value::as_…(); it is an error if the key is missing.
  Result<std::uint64_t> get_uint(std::string_view key) const { return get(key, &Value::as_uint); }
  /// By Value::as_int().
  Result<std::int64_t> get_int(std::string_view key) const { return get(key, &Value::as_int); }
  /// By Value::as_float().
  Result<double> get_float(std::string_view key) const { return get(key, &Value::as_float); }
  /// By Value::as_bool().
  Result<bool> get_bool(std::string_view key) const { return get(key, &Value::as_bool); }
  /// By Value::as_string(); the text stays in the file's bytes.
  Result<std::string_view> get_string(std::string_view key) const {
    return get(key, &Value::as_string);
  }
  /// By Value::as_uint_array().
  Result<std::vector<std::uint64_t>> get_uint_array(std::string_view key) const {
    return get(key, &Value::as_uint_array);
  }
  /// By Value::as_int_array().
  Result<std::vector<std::int64_t>> get_int_array(std::string_view key) const {
    return get(key, &Value::as_int_array);
  }
  /// By Value::as_float_array().
  Result<std::vector<double>> get_float_array(std::string_view key) const {
    return get(key, &Value::as_float_array);
  }
  /// By Value::as_string_array(); valid while the File, or what it was moved to, lives.
  Result<Span<const std::string_view>> get_string_array(std::string_view key) const {
    return get(key, &Value::as_string_array);
  }

  /// The same, but `fallback` if the key is missing. A value of the wrong type is still an error.
  Result<std::uint64_t> get_uint_or(std::string_view key, std::uint64_t fallback) const {
    return find(key) == nullptr ? fallback : get_uint(key);
  }
  /// get_int(), or `fallback` if the key is missing.
  Result<std::int64_t> get_int_or(std::string_view key, std::int64_t fallback) const {
    return find(key) == nullptr ? fallback : get_int(key);
  }
  /// get_float(), or `fallback` if the key is missing.
  Result<double> get_float_or(std::string_view key, double fallback) const {
    return find(key) == nullptr ? fallback : get_float(key);
  }
  /// get_bool(), or `fallback` if the key is missing.
  Result<bool> get_bool_or(std::string_view key, bool fallback) const {
    return find(key) == nullptr ? fallback : get_bool(key);
  }
  /// get_string(), or `fallback`, itself and not a copy, if the key is missing.
  Result<std::string_view> get_string_or(std::string_view key, std::string_view fallback) const {
    return find(key) == nullptr ? fallback : get_string(key);
  }

  /// The tensors in the order of the file.
  const std::vector<TensorView>& tensors() const { return tensors_; }
  /// Null if there is no such tensor.
  const TensorView* find_tensor(std::string_view name) const;

 private:
  friend class detail::Parser;
  /// Names lie in the file's bytes, so that the keys survive a move of the File.
  using Index = std::map<std::string_view, std::size_t>;

  File(Bytes bytes, std::string name) : name_(std::move(name)), bytes_(bytes) {}

  template <class T>
  Result<T> get(std::string_view key, Result<T> (Value::*getter)() const) const {
    const Value* value = find(key);
    if (value == nullptr) return key_error(key, "is missing");
    Result<T> result = (value->*getter)();
    if (!result) return key_error(key, result.error().message());
    return result;
  }
  Error key_error(std::string_view key, const std::string& what) const;

  std::string name_;
  std::optional<MappedFile> mapping_;
  std::shared_ptr<const void> owner_;
  Bytes bytes_;
  std::uint32_t version_ = 0;
  std::size_t alignment_ = 32;
  std::vector<Entry> entries_;
  Index entry_index_;
  std::vector<TensorView> tensors_;
  Index tensor_index_;
};

}  // namespace gguf
GEMMA_NAMESPACE_END

#if !defined(GEMMA_DECLARATIONS_ONLY)
#include "gemma/formats/impl/gguf-inl.hpp"
#endif

#endif  // GEMMA_FORMATS_GGUF_HPP_
