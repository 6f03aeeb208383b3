// Text to token ids and back, exactly as SentencePiece does it for Gemma.
#ifndef GEMMA_TEXT_TOKENIZER_HPP_
#define GEMMA_TEXT_TOKENIZER_HPP_

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "gemma/base/error.hpp"
#include "gemma/base/span.hpp"
#include "gemma/base/token.hpp"
#include "gemma/text/piece_index.hpp"
#include "gemma/text/utf8.hpp"
#include "gemma/text/vocabulary.hpp"

GEMMA_NAMESPACE_BEGIN

/// How a text becomes ids.
struct EncodeOptions {
  bool bos = false;            ///< begin with the BOS token
  bool parse_special = false;  ///< recognise control tokens such as `<end_of_turn>` in the text
};

/// Never changes after create(); any number of threads may use it at once.
class Tokenizer {
 public:
  /// Errors: sizes that do not match, ids out of range, no pieces.
  static Result<Tokenizer> create(Vocabulary vocabulary);

  /// Byte-pair encoding (arXiv 1508.07909): user-defined pieces are cut out, spaces become U+2581,
  /// then the best neighbouring pair is merged until none is left; what is no piece becomes byte
  /// tokens. Bytes that are not UTF-8 become U+FFFD. Near-linear in the length of the text.
  std::vector<TokenId> encode(std::string_view text, const EncodeOptions& options = {}) const;

  /// The bytes of the tokens; control tokens have none unless `special` is set.
  std::string decode(Span<const TokenId> ids, bool special = false) const;

  /// The same for one token; nothing for an id out of range. Several tokens may make one character.
  std::string token_bytes(TokenId id, bool special = false) const;

  /// The piece as the vocabulary has it; empty for an id out of range.
  std::string_view piece(TokenId id) const;
  /// Normal for an id out of range, and where the vocabulary has no types.
  PieceType piece_type(TokenId id) const;
  /// The id of exactly this piece.
  std::optional<TokenId> find(std::string_view piece) const;

  std::size_t vocab_size() const { return vocabulary_.pieces.size(); }    ///< pieces
  TokenizerKind kind() const { return vocabulary_.kind; }                 ///< how pieces are merged
  std::optional<TokenId> bos() const { return vocabulary_.bos; }          ///< begins a text
  std::optional<TokenId> eos() const { return vocabulary_.eos; }          ///< ends one
  std::optional<TokenId> unknown() const { return vocabulary_.unknown; }  ///< see Vocabulary
  /// Whether a text is to begin with BOS.
  bool add_bos() const { return vocabulary_.add_bos && vocabulary_.bos.has_value(); }
  /// Whether a text that is to be embedded is to end with EOS.
  bool add_eos() const { return vocabulary_.add_eos && vocabulary_.eos.has_value(); }

 private:
  friend class Segmenter;
  friend class WordEncoder;

  explicit Tokenizer(Vocabulary vocabulary) : vocabulary_(std::move(vocabulary)) {}
  void index_pieces();
  void index_merges();
  bool is_mergeable(TokenId id) const;
  std::optional<TokenId> match_whole(std::string_view text, bool special) const;

  Vocabulary vocabulary_;
  PieceIndex index_;
  PairIndex pairs_;
  std::array<TokenId, 256> byte_ids_{};
  /// By first byte, which lengths (bit n: n + 1 bytes) the pieces have that are matched as a whole:
  /// runs of one byte, such as spaces; other user-defined ones; those only matched on request.
  struct WholeLengths {
    std::uint64_t runs = 0;
    std::uint64_t others = 0;
    std::uint64_t special = 0;
  };
  std::array<WholeLengths, 256> whole_lengths_{};
  /// Bytes after which a space may belong to the same piece; elsewhere words are independent.
  std::array<bool, 256> joins_space_{};
  std::size_t longest_piece_ = 0;
};

/// Turns a stream of tokens into text without ever cutting a UTF-8 character.
class StreamDecoder {
 public:
  /// Refers to the tokenizer, which must outlive it.
  explicit StreamDecoder(const Tokenizer& tokenizer) : tokenizer_(tokenizer) {}

  /// Adds a token; gives all whole characters so far. Bytes that no further ones could complete
  /// come out as they are.
  std::string push(TokenId id) {
    held_ += tokenizer_.token_bytes(id);
    const std::size_t whole = held_.size() - utf8_incomplete_tail(held_);
    std::string out = held_.substr(0, whole);
    held_.erase(0, whole);
    return out;
  }

  /// What is still held back, once no more tokens come.
  std::string flush() {
    std::string out;
    out.swap(held_);
    return out;
  }

 private:
  const Tokenizer& tokenizer_;
  std::string held_;
};

GEMMA_NAMESPACE_END

#if !defined(GEMMA_DECLARATIONS_ONLY)
#include "gemma/text/impl/tokenizer-inl.hpp"
#endif

#endif  // GEMMA_TEXT_TOKENIZER_HPP_
