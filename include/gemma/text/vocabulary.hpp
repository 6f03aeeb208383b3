// What a tokenizer is made of: plain data, whatever file it came from.
#ifndef GEMMA_TEXT_VOCABULARY_HPP_
#define GEMMA_TEXT_VOCABULARY_HPP_

#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>
#include <vector>

#include "gemma/base/token.hpp"

GEMMA_NAMESPACE_BEGIN

/// How neighbouring pieces are merged.
enum class TokenizerKind : std::uint8_t {
  sentencepiece,  ///< by the score of the merged piece (Gemma 1, 2, 3, 3n; "llama" in GGUF)
  merges          ///< by the rank of the pair in a list (Gemma 4; "gemma4" in GGUF)
};

/// Numbered as in SentencePiece's model proto.
enum class PieceType : std::uint8_t {
  normal = 1,        ///< made by merging
  unknown = 2,       ///< stands for what nothing else covers; has no text of its own
  control = 3,       ///< such as `<bos>`; never made from text unless asked
  user_defined = 4,  ///< matched before any merging, such as runs of spaces
  unused = 5,        ///< a place kept free for a later piece
  byte = 6           ///< `<0x00>` … `<0xFF>`, for what no piece covers
};

/// Pieces by id, with U+2581 for a space. The views point into memory that the owner of the
/// vocabulary, or `storage`, keeps.
struct Vocabulary {
  TokenizerKind kind = TokenizerKind::sentencepiece;  ///< which of `scores` and `merges` is used
  std::vector<std::string_view> pieces;               ///< by id
  std::vector<float> scores;             ///< as many, or none (kind merges)
  std::vector<PieceType> types;          ///< as many, or none: all normal
  std::vector<std::string_view> merges;  ///< "left right", best first (kind merges)
  std::optional<TokenId> bos;            ///< none: texts cannot begin with it
  std::optional<TokenId> eos;            ///< none: texts cannot end with it
  std::optional<TokenId> unknown;        ///< none: what nothing covers is left out
  bool add_bos = true;                   ///< texts begin with BOS
  bool add_eos = false;                  ///< texts to be embedded end with EOS
  std::shared_ptr<const void> storage;   ///< keeps the views alive, if nothing else does
};

GEMMA_NAMESPACE_END

#endif  // GEMMA_TEXT_VOCABULARY_HPP_
