// Tokenizers: SentencePiece models and tokenizer.json, and what they make of a text.
#include "fuzz/target.hpp"
#include "gemma/text/sentencepiece.hpp"
#include "gemma/text/tokenizer.hpp"
#include "gemma/text/tokenizer_json.hpp"

namespace {

void use(gemma::Result<gemma::Vocabulary> vocabulary) {
  if (!vocabulary.ok()) return;
  auto tokenizer = gemma::Tokenizer::create(*std::move(vocabulary));
  if (tokenizer.ok()) (void)tokenizer->decode(tokenizer->encode("In the beginning\n\n \xE2\x82\xAC<eos>"));
}

}  // namespace

void fuzz(gemma::Bytes bytes) {
  use(gemma::read_sentencepiece(bytes, "fuzz"));
  use(gemma::read_tokenizer_json(bytes, "fuzz"));
}
