// Bodies of gguf_writer.hpp.
#ifndef GEMMA_FORMATS_IMPL_GGUF_WRITER_INL_HPP_
#define GEMMA_FORMATS_IMPL_GGUF_WRITER_INL_HPP_

#include "gemma/base/bytes.hpp"
#include "gemma/formats/gguf_writer.hpp"
#include "gemma/quant/registry.hpp"

GEMMA_NAMESPACE_BEGIN
namespace gguf {
namespace detail {

inline constexpr std::uint64_t kAlignment = 32;  // what readers assume where a file says nothing

/// Zeros up to the next multiple of the alignment.
inline std::string padding_after(std::uint64_t size) {
  return std::string(static_cast<std::size_t>((kAlignment - size % kAlignment) % kAlignment), '\0');
}

}  // namespace detail

template <class T>
void Metadata::put(T value) {
  bytes_.append(reinterpret_cast<const char*>(&value), sizeof value);
}

GEMMA_INLINE void Metadata::put_text(std::string_view text) {
  put(static_cast<std::uint64_t>(text.size()));
  bytes_ += text;
}

GEMMA_INLINE void Metadata::begin(std::string_view key, ValueType type) {
  put_text(key);
  put(static_cast<std::uint32_t>(type));
  ++count_;
}

GEMMA_INLINE void Metadata::begin_array(std::string_view key, ValueType element,
                                        std::size_t size) {
  begin(key, ValueType::array);
  put(static_cast<std::uint32_t>(element));
  put(static_cast<std::uint64_t>(size));
}

GEMMA_INLINE void Metadata::add_uint(std::string_view key, std::uint32_t value) {
  begin(key, ValueType::u32);
  put(value);
}

GEMMA_INLINE void Metadata::add_float(std::string_view key, float value) {
  begin(key, ValueType::f32);
  put(value);
}

GEMMA_INLINE void Metadata::add_bool(std::string_view key, bool value) {
  begin(key, ValueType::boolean);
  put(static_cast<std::uint8_t>(value));
}

GEMMA_INLINE void Metadata::add_string(std::string_view key, std::string_view value) {
  begin(key, ValueType::string);
  put_text(value);
}

GEMMA_INLINE void Metadata::add_ints(std::string_view key, Span<const std::int32_t> values) {
  begin_array(key, ValueType::i32, values.size());
  for (const std::int32_t value : values) put(value);
}

GEMMA_INLINE void Metadata::add_floats(std::string_view key, Span<const float> values) {
  begin_array(key, ValueType::f32, values.size());
  for (const float value : values) put(value);
}

GEMMA_INLINE void Metadata::add_bools(std::string_view key, const std::vector<bool>& values) {
  begin_array(key, ValueType::boolean, values.size());
  for (const bool value : values) put(static_cast<std::uint8_t>(value));
}

GEMMA_INLINE void Metadata::add_strings(std::string_view key,
                                        Span<const std::string_view> values) {
  begin_array(key, ValueType::string, values.size());
  for (const std::string_view value : values) put_text(value);
}

GEMMA_INLINE void Metadata::put_value(const Value& value) {
  const auto raw = [&] {
    return std::string_view(reinterpret_cast<const char*>(value.bytes().data()),
                            value.bytes().size());
  };
  if (value.type() == ValueType::string) {
    put_text(raw());
  } else if (!value.is_array()) {
    bytes_ += raw();
  } else {
    put(static_cast<std::uint32_t>(value.element_type()));
    put(static_cast<std::uint64_t>(value.size()));
    if (const auto strings = value.as_string_array(); strings.ok()) {
      for (const std::string_view text : *strings) put_text(text);
    } else if (const auto arrays = value.as_array_of_arrays(); arrays.ok()) {
      for (const Value& element : *arrays) put_value(element);
    } else {
      bytes_ += raw();
    }
  }
}

GEMMA_INLINE void Metadata::add(const Entry& entry) {
  begin(entry.key, entry.value.type());
  put_value(entry.value);
}

GEMMA_INLINE std::uint64_t TensorInfo::bytes() const {
  std::uint64_t blocks = shape.empty() ? 0 : shape[0] / quant::block_elements(type);
  for (std::size_t i = 1; i < shape.size(); ++i) blocks *= shape[i];
  return blocks * quant::block_bytes(type);
}

GEMMA_INLINE Result<Writer> Writer::create(const std::string& path, const Metadata& metadata,
                                           std::vector<TensorInfo> tensors) {
  constexpr std::uint32_t kVersion = 3;
  std::string head = "GGUF";
  const auto put = [&](auto value) {
    head.append(reinterpret_cast<const char*>(&value), sizeof value);
  };
  put(kVersion);
  put(static_cast<std::uint64_t>(tensors.size()));
  put(static_cast<std::uint64_t>(metadata.count()));
  head += metadata.bytes();
  std::uint64_t offset = 0;
  for (const TensorInfo& tensor : tensors) {
    put(static_cast<std::uint64_t>(tensor.name.size()));
    head += tensor.name;
    put(static_cast<std::uint32_t>(tensor.shape.size()));
    for (const std::uint64_t n : tensor.shape) put(n);
    put(static_cast<std::uint32_t>(tensor.type));
    put(offset);
    offset += tensor.bytes();
    offset += detail::padding_after(offset).size();
  }
  head += detail::padding_after(head.size());
  GEMMA_TRY_ASSIGN(OutputFile file, OutputFile::create(path));
  GEMMA_TRY(file.write(bytes_of(head)));
  return Writer(std::move(file), path, std::move(tensors));
}

GEMMA_INLINE Status Writer::append(Bytes data) {
  const auto wrong = [&](const std::string& what) {
    return Error(ErrorCode::invalid_argument, path_ + ": " + what);
  };
  if (current_ == tensors_.size()) return wrong("data after the last tensor");
  const TensorInfo& tensor = tensors_[current_];
  if (data.size() > tensor.bytes() - written_) {
    return wrong("tensor '" + tensor.name + "' gets more than its " +
                 std::to_string(tensor.bytes()) + " bytes");
  }
  GEMMA_TRY(file_.write(data));
  written_ += data.size();
  if (written_ < tensor.bytes()) return {};
  ++current_;
  written_ = 0;
  return pad();
}

GEMMA_INLINE Status Writer::pad() {
  const std::string padding = detail::padding_after(file_.size());
  return file_.write(bytes_of(padding));
}

GEMMA_INLINE Status Writer::finish() {
  if (current_ == tensors_.size()) return file_.commit();
  return Error(ErrorCode::invalid_argument,
               path_ + ": tensor '" + tensors_[current_].name + "' is not complete");
}

}  // namespace gguf
GEMMA_NAMESPACE_END

#endif  // GEMMA_FORMATS_IMPL_GGUF_WRITER_INL_HPP_
