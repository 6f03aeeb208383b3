// The tokens of MediaPipe's and LiteRT-LM's files: what their parameters say of a vocabulary.
#ifndef GEMMA_GENERATE_IMPL_MEDIAPIPE_TOKENS_INL_HPP_
#define GEMMA_GENERATE_IMPL_MEDIAPIPE_TOKENS_INL_HPP_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "gemma/formats/llm_parameters.hpp"
#include "gemma/model/config.hpp"
#include "gemma/text/sentencepiece.hpp"
#include "gemma/text/vocabulary.hpp"

GEMMA_NAMESPACE_BEGIN
namespace mediapipe {
namespace detail {

/// The token whose piece is `text`.
inline std::optional<TokenId> find_piece(const Vocabulary& vocabulary, std::string_view text) {
  const auto& pieces = vocabulary.pieces;
  const auto found = std::find(pieces.begin(), pieces.end(), text);
  if (found == pieces.end()) return std::nullopt;
  return static_cast<TokenId>(found - pieces.begin());
}

/// The token that texts begin with, if the parameters name one.
inline void set_start(const LlmParameters& parameters, Vocabulary& vocabulary) {
  if (parameters.start_token_id && *parameters.start_token_id < vocabulary.pieces.size()) {
    vocabulary.bos = static_cast<TokenId>(*parameters.start_token_id);
  } else if (const auto id = find_piece(vocabulary, parameters.start_token)) {
    vocabulary.bos = *id;
  }
}

/// The vocabulary of a tokenizer.model, as views into `model`.
inline Result<Vocabulary> read_tokens(Bytes model, const LlmParameters& parameters,
                                      const std::string& name) {
  GEMMA_TRY_ASSIGN(Vocabulary vocabulary, read_sentencepiece(model, name));
  // The model itself takes these for text, which a text must not be able to write.
  for (const char* turn : {"<start_of_turn>", "<end_of_turn>"}) {
    const std::optional<TokenId> id = find_piece(vocabulary, turn);
    if (id) vocabulary.types[static_cast<std::size_t>(*id)] = PieceType::control;
  }
  spell_out_spaces(vocabulary);
  set_start(parameters, vocabulary);
  return vocabulary;
}

/// The tokens that end an answer; those that are named by their pieces only with a vocabulary.
inline std::vector<TokenId> stop_ids(const LlmParameters& parameters,
                                     const Vocabulary* vocabulary) {
  std::vector<TokenId> ids;
  for (const std::uint64_t id : parameters.stop_token_ids) {
    if (id <= 0x7FFFFFFF) ids.push_back(static_cast<TokenId>(id));
  }
  if (vocabulary == nullptr) return ids;
  for (const std::string& piece : parameters.stop_tokens) {
    if (const auto id = find_piece(*vocabulary, piece)) ids.push_back(*id);
  }
  return ids;
}

/// A text as a literal of Jinja.
inline std::string jinja_literal(const std::string& text) {
  std::string out = "'";
  for (const char c : text) {
    if (c == '\'' || c == '\\') out += '\\';
    if (c == '\n') {
      out += "\\n";
    } else {
      out += c;
    }
  }
  return out + "'";
}

/// The turns as a template of Jinja; empty if there are none.
inline std::string jinja_of(const LlmParameters& p, Family family) {
  const auto turn = [](const char* role, const PromptTemplate& t) {
    return std::string("if message['role'] == '") + role + "' %}{{ " + jinja_literal(t.prefix) +
           " + message['content'] + " + jinja_literal(t.suffix) + " }}{% ";
  };
  const PromptTemplates& turns = p.turns;
  if (turns.user.empty() && turns.model.prefix.empty()) return {};
  std::string out = "{% for message in messages %}{% " + turn("user", turns.user);
  if (!turns.system.empty()) {
    out += "el" + turn("system", turns.system);
  } else if (family < Family::gemma3) {
    out += "elif message['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% ";
  }
  return out + "el" + turn("assistant", turns.model) + "endif %}{% endfor %}{% if add_generation_prompt %}{{ " +
         jinja_literal(turns.model.prefix) + " }}{% endif %}";
}

}  // namespace detail
}  // namespace mediapipe
GEMMA_NAMESPACE_END

#endif  // GEMMA_GENERATE_IMPL_MEDIAPIPE_TOKENS_INL_HPP_
