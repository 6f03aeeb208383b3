// Bodies of sentencepiece.hpp.
#ifndef GEMMA_TEXT_IMPL_SENTENCEPIECE_INL_HPP_
#define GEMMA_TEXT_IMPL_SENTENCEPIECE_INL_HPP_

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "gemma/base/protobuf.hpp"
#include "gemma/text/sentencepiece.hpp"
#include "gemma/text/tokenizer.hpp"

GEMMA_NAMESPACE_BEGIN
namespace detail {

class SentencePieceReader : public ProtoReader {
 public:
  SentencePieceReader(Bytes bytes, const std::string& name)
      : ProtoReader(bytes, name, "a SentencePiece model") {}
};

/// SentencePiece { piece = 1, score = 2, type = 3 }.
inline Status read_piece(Bytes message, const std::string& name, Vocabulary& vocabulary) {
  std::string_view piece;
  float score = 0.0f;
  std::uint64_t type = static_cast<std::uint64_t>(PieceType::normal);
  for (SentencePieceReader reader(message, name); !reader.done();) {
    GEMMA_TRY_ASSIGN(const ProtoField field, reader.next());
    if (field.number == 1) piece = field.text();
    if (field.number == 2) score = field.real();
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
  for (SentencePieceReader reader(message, name); !reader.done();) {
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
  for (SentencePieceReader reader(message, name); !reader.done();) {
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
  for (detail::SentencePieceReader reader(bytes, name); !reader.done();) {
    GEMMA_TRY_ASSIGN(const ProtoField field, reader.next());
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

GEMMA_INLINE void spell_out_spaces(Vocabulary& vocabulary) {
  struct Storage {
    std::deque<std::string> texts;
    std::shared_ptr<const void> before;
  };
  const auto storage = std::make_shared<Storage>();
  storage->before = vocabulary.storage;
  for (std::size_t i = 0; i < vocabulary.types.size(); ++i) {
    std::string_view& piece = vocabulary.pieces[i];
    const bool marked = piece.find(detail::kSpaceMark) != std::string_view::npos;
    if (vocabulary.types[i] != PieceType::user_defined || !marked) continue;
    piece = storage->texts.emplace_back(detail::with_spaces(piece));
  }
  vocabulary.storage = storage;
}

GEMMA_NAMESPACE_END

#endif  // GEMMA_TEXT_IMPL_SENTENCEPIECE_INL_HPP_
