// A reader of protocol buffers on the wire: the fields of a message, one after the other.
// Source: the protocol buffers encoding, "Message Structure".
#ifndef GEMMA_BASE_PROTOBUF_HPP_
#define GEMMA_BASE_PROTOBUF_HPP_

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

#include "gemma/base/bytes.hpp"
#include "gemma/base/error.hpp"
#include "gemma/base/span.hpp"

GEMMA_NAMESPACE_BEGIN

/// One field of a protocol buffer message.
struct ProtoField {
  std::uint64_t number = 0;  ///< which field of its message
  std::uint64_t value = 0;   ///< a varint, or the bits of a fixed number
  Bytes bytes;               ///< a string or message, in place

  /// `bytes` as text.
  std::string_view text() const {
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }
  /// The float whose bits `value` holds.
  float real() const {
    const auto bits = static_cast<std::uint32_t>(value);
    float real;
    std::memcpy(&real, &bits, sizeof real);
    return real;
  }
};

/// The fields of a message. What a reader does not know it passes over.
class ProtoReader {
 public:
  /// `name`: the file, for messages; `kind`: what the bytes should be, "a SentencePiece model".
  ProtoReader(Bytes bytes, const std::string& name, const char* kind)
      : reader_(bytes, name), kind_(kind) {}

  bool done() const { return reader_.remaining() == 0; }  ///< no field is left

  /// The next field; an error if the bytes are no message.
  Result<ProtoField> next() {
    enum WireType : std::uint64_t { kVarint = 0, kFixed64 = 1, kLength = 2, kFixed32 = 5 };
    ProtoField field;
    GEMMA_TRY_ASSIGN(const std::uint64_t tag, varint());
    field.number = tag >> 3;
    switch (tag & 7) {
      case kVarint: {
        GEMMA_TRY_ASSIGN(field.value, varint());
        break;
      }
      case kFixed64: {
        GEMMA_TRY_ASSIGN(field.value, reader_.read<std::uint64_t>("a number"));
        break;
      }
      case kLength: {
        GEMMA_TRY_ASSIGN(const std::uint64_t length, varint());
        GEMMA_TRY_ASSIGN(field.bytes, reader_.read_bytes(length, "a string or message"));
        break;
      }
      case kFixed32: {
        GEMMA_TRY_ASSIGN(field.value, reader_.read<std::uint32_t>("a number"));
        break;
      }
      default: return reader_.error(std::string("is not ") + kind_);
    }
    if (field.number == 0) return reader_.error(std::string("is not ") + kind_);
    return field;
  }

  /// The next number without a tag, of a field that packs several.
  Result<std::uint64_t> varint() {
    std::uint64_t value = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
      GEMMA_TRY_ASSIGN(const std::uint8_t byte, reader_.read<std::uint8_t>("a number"));
      value |= static_cast<std::uint64_t>(byte & 127) << shift;
      if (byte < 128) return value;
    }
    return reader_.error("holds a number of more than 64 bits");
  }

 private:
  ByteReader reader_;
  const char* kind_;
};

GEMMA_NAMESPACE_END

#endif  // GEMMA_BASE_PROTOBUF_HPP_
