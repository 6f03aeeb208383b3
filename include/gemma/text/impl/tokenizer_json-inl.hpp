// Bodies of tokenizer_json.hpp.
#ifndef GEMMA_TEXT_IMPL_TOKENIZER_JSON_INL_HPP_
#define GEMMA_TEXT_IMPL_TOKENIZER_JSON_INL_HPP_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <memory>
#include <string_view>
#include <unordered_map>
#include <utility>

#include "gemma/formats/json.hpp"
#include "gemma/text/tokenizer.hpp"
#include "gemma/text/tokenizer_json.hpp"

GEMMA_NAMESPACE_BEGIN
namespace detail {

/// The parts of tokenizer.json that matter, gathered while it is read: the file may have tens of
/// megabytes, so no document is built.
class TokenizerEvents final : public nlohmann::json_sax<json::Value> {
 public:
  explicit TokenizerEvents(bool added_only) : added_only_(added_only) {}

  struct Text {
    std::size_t begin;
    std::size_t size;
  };
  struct Piece {
    std::uint64_t id;
    Text text;
  };

  std::string text;  ///< of all pieces and merges
  std::vector<Piece> pieces;
  std::vector<Text> merges;
  std::vector<AddedToken> added;
  std::string model_type;
  bool has_vocab = false;

  bool null() override { return true; }
  bool boolean(bool value) override {
    if (at(Place::added_token) && key_ == "special") added.back().special = value;
    return true;
  }
  bool number_integer(number_integer_t) override { return true; }
  bool number_float(number_float_t, const string_t&) override { return true; }
  bool number_unsigned(number_unsigned_t value) override {
    if (at(Place::vocab)) pieces.push_back({value, add(key_)});
    if (at(Place::added_token) && key_ == "id" && value < kIdLimit) {
      added.back().id = static_cast<TokenId>(value);
    }
    return true;
  }
  bool string(string_t& value) override {
    if (at(Place::model) && key_ == "type") model_type = value;
    if (at(Place::added_token) && key_ == "content") added.back().text = value;
    if (at(Place::merges)) merges.push_back(add(value));
    if (at(Place::pair)) {
      if (++pair_size_ == 1) {
        merges.push_back(add(value));
      } else {
        text += ' ';
        text += value;
        merges.back().size += 1 + value.size();
      }
    }
    return true;
  }
  bool binary(binary_t&) override { return true; }
  bool key(string_t& value) override {
    key_ = value;
    return true;
  }

  bool start_object(std::size_t) override {
    Place place = Place::other;
    if (places_.empty()) place = Place::root;
    if (at(Place::root) && key_ == "model") place = Place::model;
    if (at(Place::model) && key_ == "vocab") place = Place::vocab;
    if (at(Place::added_list)) place = Place::added_token;
    if (place == Place::added_token) added.emplace_back();
    has_vocab = has_vocab || place == Place::vocab;
    places_.push_back(place);
    return true;
  }
  bool start_array(std::size_t) override {
    Place place = Place::other;
    if (at(Place::root) && key_ == "added_tokens") place = Place::added_list;
    if (at(Place::model) && key_ == "merges") place = Place::merges;
    if (at(Place::merges)) place = Place::pair;
    pair_size_ = 0;
    places_.push_back(place);
    return true;
  }
  bool end_object() override {
    places_.pop_back();
    return true;
  }
  bool end_array() override {
    const bool was_added = at(Place::added_list);
    places_.pop_back();
    return !(was_added && added_only_);
  }
  bool parse_error(std::size_t, const std::string&, const nlohmann::detail::exception&) override {
    return false;
  }

  /// No vocabulary has as many pieces; a damaged id must not ask for the memory.
  static constexpr std::uint64_t kIdLimit = 1u << 22;

 private:
  enum class Place { root, model, vocab, merges, pair, added_list, added_token, other };

  bool at(Place place) const { return !places_.empty() && places_.back() == place; }
  Text add(const std::string& piece) {
    const Text place{text.size(), piece.size()};
    text += piece;
    return place;
  }

  bool added_only_;
  std::vector<Place> places_;
  std::string key_;
  int pair_size_ = 0;
};

}  // namespace detail

GEMMA_INLINE PieceType piece_type_of(const AddedToken& token) {
  constexpr std::string_view kSeen[] = {"<|channel>",       "<channel|>",       "<|tool_call>",
                                        "<tool_call|>",     "<|tool_response>", "<tool_response|>",
                                        "<|\"|>"};
  const std::string_view text = token.text;
  if (text == "<unk>") return PieceType::unknown;
  if (std::find(std::begin(kSeen), std::end(kSeen), text) != std::end(kSeen)) {
    return PieceType::user_defined;
  }
  const bool looks_special = text == "<mask>" || text == "<2mass>" || text == "[@BOS@]" ||
                             text.substr(0, 7) == "<unused" || text.substr(0, 2) == "<|";
  return token.special || looks_special ? PieceType::control : PieceType::user_defined;
}

GEMMA_INLINE void apply_added_tokens(const std::vector<AddedToken>& tokens,
                                     Vocabulary& vocabulary) {
  vocabulary.types.resize(vocabulary.pieces.size(), PieceType::normal);
  for (const AddedToken& token : tokens) {
    const auto id = static_cast<std::size_t>(token.id);
    if (token.id < 0 || id >= vocabulary.pieces.size()) continue;
    if (vocabulary.pieces[id] == token.text) vocabulary.types[id] = piece_type_of(token);
  }
}

GEMMA_INLINE Result<std::vector<AddedToken>> read_added_tokens(Bytes bytes,
                                                               const std::string& name) {
  detail::TokenizerEvents events(/*added_only=*/true);
  GEMMA_TRY(json::parse_events(bytes, name, events));
  return std::move(events.added);
}

GEMMA_INLINE Result<Vocabulary> read_tokenizer_json(Bytes bytes, const std::string& name) {
  using Events = detail::TokenizerEvents;
  Events events(/*added_only=*/false);
  GEMMA_TRY(json::parse_events(bytes, name, events));
  const auto wrong = [&](ErrorCode code, const std::string& what) {
    return Error(code, name + ": " + what);
  };
  if (!events.model_type.empty() && events.model_type != "BPE") {
    return wrong(ErrorCode::unsupported, "holds a tokenizer of type '" + events.model_type +
                                             "'; Gemma's are of type 'BPE'");
  }
  if (!events.has_vocab || events.pieces.empty()) {
    return wrong(ErrorCode::format, "key 'model.vocab' is missing, or holds no pieces");
  }
  for (const AddedToken& token : events.added) {
    if (token.id < 0) {
      return wrong(ErrorCode::format, "the added token '" + token.text + "' has no id");
    }
    events.pieces.push_back({static_cast<std::uint64_t>(token.id),
                             {events.text.size(), token.text.size()}});
    events.text += token.text;
  }

  const auto text = std::make_shared<const std::string>(std::move(events.text));
  const auto view = [&](Events::Text t) { return std::string_view(*text).substr(t.begin, t.size); };
  Vocabulary vocabulary;
  vocabulary.kind = TokenizerKind::merges;
  vocabulary.storage = text;
  for (const Events::Piece& piece : events.pieces) {
    if (piece.id >= Events::kIdLimit) {
      return wrong(ErrorCode::format, "the piece '" + std::string(view(piece.text)) +
                                          "' has the id " + std::to_string(piece.id) +
                                          ", more than any vocabulary has");
    }
    const auto id = static_cast<std::size_t>(piece.id);
    if (id >= vocabulary.pieces.size()) vocabulary.pieces.resize(id + 1);
    vocabulary.pieces[id] = view(piece.text);
  }
  vocabulary.types.assign(vocabulary.pieces.size(), PieceType::normal);
  for (std::size_t i = 0; i < vocabulary.pieces.size(); ++i) {
    if (detail::byte_of_piece(vocabulary.pieces[i]) >= 0) vocabulary.types[i] = PieceType::byte;
  }
  apply_added_tokens(events.added, vocabulary);
  for (const AddedToken& token : events.added) {
    if (token.text == "<unk>") vocabulary.unknown = token.id;
    if (token.text == "<bos>") vocabulary.bos = token.id;
    if (token.text == "<eos>") vocabulary.eos = token.id;
  }
  for (const Events::Text merge : events.merges) vocabulary.merges.push_back(view(merge));
  return vocabulary;
}

GEMMA_INLINE void rank_pieces_by_merges(Vocabulary& vocabulary) {
  std::unordered_map<std::string_view, std::size_t> ids;
  for (std::size_t i = 0; i < vocabulary.pieces.size(); ++i) ids.emplace(vocabulary.pieces[i], i);
  const auto lowest = -static_cast<float>(vocabulary.merges.size());
  vocabulary.scores.assign(vocabulary.pieces.size(), lowest);
  std::string merged;
  for (std::size_t rank = vocabulary.merges.size(); rank-- > 0;) {
    const std::string_view merge = vocabulary.merges[rank];
    const std::size_t space = (std::min)(merge.find(' ', 1), merge.size() - 1);
    merged.assign(merge.substr(0, space)).append(merge.substr(space + 1));
    const auto found = ids.find(merged);
    if (found != ids.end()) vocabulary.scores[found->second] = -static_cast<float>(rank);
  }
  vocabulary.merges.clear();
  vocabulary.kind = TokenizerKind::sentencepiece;
}

GEMMA_NAMESPACE_END

#endif  // GEMMA_TEXT_IMPL_TOKENIZER_JSON_INL_HPP_
