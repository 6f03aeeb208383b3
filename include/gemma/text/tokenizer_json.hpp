// tokenizer.json of Hugging Face's tokenizers library: a vocabulary with ranked merges.
// Needs <nlohmann/json.hpp>.
#ifndef GEMMA_TEXT_TOKENIZER_JSON_HPP_
#define GEMMA_TEXT_TOKENIZER_JSON_HPP_

#include <string>
#include <vector>

#include "gemma/base/error.hpp"
#include "gemma/base/span.hpp"
#include "gemma/base/token.hpp"
#include "gemma/text/vocabulary.hpp"

GEMMA_NAMESPACE_BEGIN

/// A token that is matched as a whole.
struct AddedToken {
  TokenId id = -1;       ///< place in the vocabulary
  std::string text;      ///< what is matched, UTF-8
  bool special = false;  ///< stands for no text
};

/// What such a token is to a tokenizer: control if it is special or looks so. A few special ones are
/// meant to be seen by who reads a model's answer (tool calls, channels): they are user-defined.
PieceType piece_type_of(const AddedToken& token);

/// The vocabulary of a tokenizer.json, of the kind `merges`; it owns its text. Errors: not JSON, or
/// not byte-pair encoding. `name` is for messages.
Result<Vocabulary> read_tokenizer_json(Bytes bytes, const std::string& name);

/// Only its added tokens; reads no further than these.
Result<std::vector<AddedToken>> read_added_tokens(Bytes bytes, const std::string& name);

/// Types the pieces that are added tokens as such; tokens that are no pieces are passed over.
void apply_added_tokens(const std::vector<AddedToken>& tokens, Vocabulary& vocabulary);

/// Writes U+2581 as a space in user-defined pieces, which are matched in the text as it stands.
void spell_out_spaces(Vocabulary& vocabulary);

/// Makes a vocabulary of the kind `merges` one of the kind `sentencepiece` that splits text alike:
/// a piece that is merged earlier gets a higher score.
void rank_pieces_by_merges(Vocabulary& vocabulary);

GEMMA_NAMESPACE_END

#if !defined(GEMMA_DECLARATIONS_ONLY)
#include "gemma/text/impl/tokenizer_json-inl.hpp"
#endif

#endif  // GEMMA_TEXT_TOKENIZER_JSON_HPP_
