// A checked reader of little-endian bytes: the only way this library reads numbers from a file.
#ifndef GEMMA_BASE_BYTES_HPP_
#define GEMMA_BASE_BYTES_HPP_

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <type_traits>

#include "gemma/base/error.hpp"
#include "gemma/base/span.hpp"

GEMMA_NAMESPACE_BEGIN

/// Reads an unaligned little-endian number; the caller has checked that it lies inside.
template <class T>
T load_le(const std::uint8_t* p) {
  static_assert(std::is_arithmetic<T>::value, "plain numbers only");
  T value;
  std::memcpy(&value, p, sizeof value);
  return value;
}

/// Those of a text, in place.
inline Bytes bytes_of(std::string_view text) {
  return Bytes(reinterpret_cast<const std::uint8_t*>(text.data()), text.size());
}

/// A cursor over bytes that refuses to read past the end. Each read names what it was reading, so
/// that the error of a truncated file says it: "FILE: truncated at offset 24 while reading the
/// tensor count: 8 bytes needed, 3 left".
class ByteReader {
 public:
  /// `name`: the file, for messages.
  ByteReader(Bytes bytes, std::string name) : bytes_(bytes), name_(std::move(name)) {}

  std::size_t offset() const { return offset_; }                     ///< bytes read so far
  std::size_t remaining() const { return bytes_.size() - offset_; }  ///< bytes left
  const std::string& name() const { return name_; }                  ///< the file, for messages

  /// The next number, little-endian; an error if fewer than sizeof(T) bytes are left.
  template <class T>
  Result<T> read(std::string_view what) {
    GEMMA_TRY(need(sizeof(T), what));
    const T value = load_le<T>(bytes_.data() + offset_);
    offset_ += sizeof(T);
    return value;
  }

  /// The next `count` bytes, in place.
  Result<Bytes> read_bytes(std::uint64_t count, std::string_view what) {
    GEMMA_TRY(need(count, what));
    const Bytes view = bytes_.subspan(offset_, static_cast<std::size_t>(count));
    offset_ += view.size();
    return view;
  }

  /// An error at the current offset: "NAME: MESSAGE (at offset N)".
  Error error(const std::string& message) const {
    return Error(ErrorCode::format,
                 name_ + ": " + message + " (at offset " + std::to_string(offset_) + ")");
  }

 private:
  Status need(std::uint64_t count, std::string_view what) const {
    if (count <= remaining()) return {};
    return Error(ErrorCode::format, name_ + ": truncated at offset " + std::to_string(offset_) +
                                        " while reading " + std::string(what) + ": " +
                                        std::to_string(count) + " bytes needed, " +
                                        std::to_string(remaining()) +
                                        " left; is the download complete?");
  }

  Bytes bytes_;
  std::string name_;
  std::size_t offset_ = 0;
};

GEMMA_NAMESPACE_END

#endif  // GEMMA_BASE_BYTES_HPP_
