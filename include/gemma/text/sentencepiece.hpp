// tokenizer.model: a SentencePiece model as a protocol buffer.
// Source: sentencepiece_model.proto; the protocol buffers encoding, "Message Structure".
#ifndef GEMMA_TEXT_SENTENCEPIECE_HPP_
#define GEMMA_TEXT_SENTENCEPIECE_HPP_

#include <string>

#include "gemma/base/error.hpp"
#include "gemma/base/span.hpp"
#include "gemma/text/vocabulary.hpp"

GEMMA_NAMESPACE_BEGIN

/// The vocabulary of a tokenizer.model, as views into `bytes`, which must live on. Errors: bytes
/// that are no such model; one that is not byte-pair encoding, or that puts a space before texts,
/// as no Gemma's does. `name` is for messages.
Result<Vocabulary> read_sentencepiece(Bytes bytes, const std::string& name);

/// Writes U+2581 as a space in user-defined pieces, which are matched in the text as it stands.
void spell_out_spaces(Vocabulary& vocabulary);

GEMMA_NAMESPACE_END

#if !defined(GEMMA_DECLARATIONS_ONLY)
#include "gemma/text/impl/sentencepiece-inl.hpp"
#endif

#endif  // GEMMA_TEXT_SENTENCEPIECE_HPP_
