// Builds GGUF files in memory, byte by byte, also wrong ones.
#ifndef GEMMA_TESTS_FORMATS_GGUF_BUILDER_HPP_
#define GEMMA_TESTS_FORMATS_GGUF_BUILDER_HPP_

#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "gemma/formats/metadata.hpp"
#include "gemma/quant/types.hpp"

/// Bytes of little-endian numbers, strings and arrays as GGUF writes them.
class GgufBytes {
 public:
  template <class T>
  GgufBytes& number(T value) {
    std::uint8_t raw[sizeof(T)];
    std::memcpy(raw, &value, sizeof value);
    bytes_.insert(bytes_.end(), raw, raw + sizeof raw);
    return *this;
  }
  GgufBytes& text(std::string_view s) {
    number<std::uint64_t>(s.size());
    bytes_.insert(bytes_.end(), s.begin(), s.end());
    return *this;
  }
  GgufBytes& type(gemma::gguf::ValueType t) { return number(static_cast<std::uint32_t>(t)); }
  GgufBytes& array(gemma::gguf::ValueType element, std::uint64_t count) {
    return type(element).number(count);
  }
  GgufBytes& append(const std::vector<std::uint8_t>& more) {
    bytes_.insert(bytes_.end(), more.begin(), more.end());
    return *this;
  }
  GgufBytes& pad_to(std::size_t alignment) {
    while (bytes_.size() % alignment != 0) bytes_.push_back(0);
    return *this;
  }
  const std::vector<std::uint8_t>& bytes() const { return bytes_; }

 private:
  std::vector<std::uint8_t> bytes_;
};

/// Public fields are what a test may spoil; the defaults give a valid file.
class GgufBuilder {
 public:
  std::string magic = "GGUF";
  std::uint32_t version = 3;
  std::size_t alignment = 32;
  std::optional<std::uint64_t> tensor_count;
  std::optional<std::uint64_t> entry_count;

  /// A key whose value is these bytes.
  GgufBuilder& raw(std::string_view key, std::uint32_t type, const GgufBytes& value) {
    entries_.text(key).number(type).append(value.bytes());
    ++entries_written_;
    return *this;
  }
  GgufBuilder& raw(std::string_view key, gemma::gguf::ValueType type, const GgufBytes& value) {
    return raw(key, static_cast<std::uint32_t>(type), value);
  }
  template <class T>
  GgufBuilder& number(std::string_view key, gemma::gguf::ValueType type, T value) {
    return raw(key, type, GgufBytes().number(value));
  }
  GgufBuilder& u32(std::string_view key, std::uint32_t value) {
    return number(key, gemma::gguf::ValueType::u32, value);
  }
  GgufBuilder& text(std::string_view key, std::string_view value) {
    return raw(key, gemma::gguf::ValueType::string, GgufBytes().text(value));
  }
  template <class T>
  GgufBuilder& numbers(std::string_view key, gemma::gguf::ValueType element,
                       const std::vector<T>& values) {
    GgufBytes bytes;
    bytes.array(element, values.size());
    for (const T value : values) bytes.number(value);
    return raw(key, gemma::gguf::ValueType::array, bytes);
  }
  GgufBuilder& texts(std::string_view key, const std::vector<std::string>& values) {
    GgufBytes bytes;
    bytes.array(gemma::gguf::ValueType::string, values.size());
    for (const std::string& value : values) bytes.text(value);
    return raw(key, gemma::gguf::ValueType::array, bytes);
  }

  /// A tensor with its data after those before it, or with a false offset.
  GgufBuilder& tensor(std::string_view name, std::uint32_t type,
                      const std::vector<std::uint64_t>& shape,
                      const std::vector<std::uint8_t>& data,
                      std::optional<std::uint64_t> offset = std::nullopt) {
    data_.pad_to(alignment);
    tensors_.text(name).number(static_cast<std::uint32_t>(shape.size()));
    for (const std::uint64_t n : shape) tensors_.number(n);
    tensors_.number(type).number(offset.value_or(data_.bytes().size()));
    data_.append(data);
    ++tensors_written_;
    return *this;
  }
  GgufBuilder& tensor(std::string_view name, gemma::DType type,
                      const std::vector<std::uint64_t>& shape,
                      const std::vector<std::uint8_t>& data,
                      std::optional<std::uint64_t> offset = std::nullopt) {
    return tensor(name, static_cast<std::uint32_t>(type), shape, data, offset);
  }

  std::vector<std::uint8_t> build() const {
    GgufBytes file;
    file.append({magic.begin(), magic.end()}).number(version);
    file.number(tensor_count.value_or(tensors_written_));
    file.number(entry_count.value_or(entries_written_));
    file.append(entries_.bytes()).append(tensors_.bytes());
    if (tensors_written_ > 0) file.pad_to(alignment).append(data_.bytes());
    return file.bytes();
  }

 private:
  GgufBytes entries_, tensors_, data_;
  std::uint64_t entries_written_ = 0;
  std::uint64_t tensors_written_ = 0;
};

#endif  // GEMMA_TESTS_FORMATS_GGUF_BUILDER_HPP_
