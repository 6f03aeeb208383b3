// Bodies of sentencepiece.hpp.
#ifndef GEMMA_TEXT_IMPL_SENTENCEPIECE_INL_HPP_
#define GEMMA_TEXT_IMPL_SENTENCEPIECE_INL_HPP_

#include <cstdint>
#include <cstring>
#include <optional>
#include <string_view>

#include "gemma/base/bytes.hpp"
#include "gemma/text/sentencepiece.hpp"

GEMMA_NAMESPACE_BEGIN
namespace detail {

/// One field of a protocol buffer message.
struct ProtoField {
  std::uint64_t number = 0;
  std::uint64_t value = 0;  ///< a varint, or the bits of a fixed number
  Bytes bytes;              ///< a string or message

  std::string_view text() const {
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }
};

/// The fields of a message, one after the other.
class ProtoReader {
 public:
  ProtoReader(Bytes bytes, const std::string& name) : reader_(bytes, name) {}

  bool done() const { return reader_.remaining() == 0; }

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
      default: return reader_.error("is not a SentencePiece model");
    }
    if (field.number == 0) return reader_.error("is not a SentencePiece model");
    return field;
  }

 private:
  Result<std::uint64_t> varint() {
    std::uint64_t value = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
      GEMMA_TRY_ASSIGN(const std::uint8_t byte, reader_.read<std::uint8_t>("a number"));
      value |= static_cast<std::uint64_t>(byte & 127) << shift;
      if (byte < 128) return value;
    }
    return reader_.error("holds a number of more than 64 bits");
  }

  ByteReader reader_;
};

/// SentencePiece { piece = 1, score = 2, type = 3 }.
inline Status read_piece(Bytes message, const std::string& name, Vocabulary& vocabulary) {
  std::string_view piece;
  float score = 0.0f;
  std::uint64_t type = static_cast<std::uint64_t>(PieceType::normal);
  for (ProtoReader reader(message, name); !reader.done();) {
    GEMMA_TRY_ASSIGN(const ProtoField field, reader.next());
    if (field.number == 1) piece = field.text();
    if (field.number == 2) {
      const auto bits = static_cast<std::uint32_t>(field.value);
      std::memcpy(&score, &bits, sizeof score);
    }
    if (field.number == 3) type = field.value;
  }
  vocabulary.pieces.push_back(piece);
  vocabulary.scores.push_back(score);
  const bool known = type >= 1 && type <= 6;
  vocabulary.types.push_back(known ? static_cast<PieceType>(type) : PieceType::normal);
  return {};
}

/// TrainerSpec { model_type = 3, unk_id = 40, bos_id = 41, eos_id = 42 }.
inline Status read_trainer_spec(Bytes message, const std::string& name, Vocabulary& vocabulary) {
  constexpr std::uint64_t kBpe = 2;
  std::uint64_t model_type = 1;
  vocabulary.unknown = 0;
  vocabulary.bos = 1;
  vocabulary.eos = 2;
  for (ProtoReader reader(message, name); !reader.done();) {
    GEMMA_TRY_ASSIGN(const ProtoField field, reader.next());
    const auto id = static_cast<TokenId>(static_cast<std::int64_t>(field.value));
    const std::optional<TokenId> token = id < 0 ? std::nullopt : std::optional<TokenId>(id);
    if (field.number == 3) model_type = field.value;
    if (field.number == 40) vocabulary.unknown = token;
    if (field.number == 41) vocabulary.bos = token;
    if (field.number == 42) vocabulary.eos = token;
  }
  if (model_type == kBpe) return {};
  return Error(ErrorCode::unsupported,
               name + ": is a SentencePiece model of type " + std::to_string(model_type) +
                   "; Gemma's are byte-pair encoding (type 2)");
}

/// NormalizerSpec { add_dummy_prefix = 3 }.
inline Status check_normalizer_spec(Bytes message, const std::string& name) {
  bool dummy_prefix = true;
  for (ProtoReader reader(message, name); !reader.done();) {
    GEMMA_TRY_ASSIGN(const ProtoField field, reader.next());
    if (field.number == 3) dummy_prefix = field.value != 0;
  }
  if (!dummy_prefix) return {};
  return Error(ErrorCode::unsupported,
               name + ": is a SentencePiece model that puts a space before every text, as no "
                      "Gemma's does");
}

}  // namespace detail

GEMMA_INLINE Result<Vocabulary> read_sentencepiece(Bytes bytes, const std::string& name) {
  enum : std::uint64_t { kPieces = 1, kTrainerSpec = 2, kNormalizerSpec = 3 };
  Vocabulary vocabulary;
  for (detail::ProtoReader reader(bytes, name); !reader.done();) {
    GEMMA_TRY_ASSIGN(const detail::ProtoField field, reader.next());
    if (field.number == kPieces) {
      GEMMA_TRY(detail::read_piece(field.bytes, name, vocabulary));
    } else if (field.number == kTrainerSpec) {
      GEMMA_TRY(detail::read_trainer_spec(field.bytes, name, vocabulary));
    } else if (field.number == kNormalizerSpec) {
      GEMMA_TRY(detail::check_normalizer_spec(field.bytes, name));
    }
  }
  if (!vocabulary.pieces.empty()) return vocabulary;
  return Error(ErrorCode::format, name + ": is not a SentencePiece model (it has no pieces)");
}

GEMMA_NAMESPACE_END

#endif  // GEMMA_TEXT_IMPL_SENTENCEPIECE_INL_HPP_
