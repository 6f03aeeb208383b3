// Bodies of tokenizer.hpp.
#ifndef GEMMA_TEXT_IMPL_TOKENIZER_INL_HPP_
#define GEMMA_TEXT_IMPL_TOKENIZER_INL_HPP_

#include <algorithm>
#include <cmath>
#include <queue>
#include <utility>

#include "gemma/text/tokenizer.hpp"

GEMMA_NAMESPACE_BEGIN
namespace detail {

inline constexpr std::string_view kSpaceMark = "\xE2\x96\x81";         // U+2581
inline constexpr std::string_view kReplacement = "\xEF\xBF\xBD";       // U+FFFD
/// Pieces matched as a whole are at most this long; longer ones are left to merging.
inline constexpr std::size_t kLongestWhole = 64;

/// "<0x41>" → 0x41; −1 if the piece does not look so.
inline int byte_of_piece(std::string_view piece) {
  const auto digit = [](char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    return -1;
  };
  if (piece.size() != 6 || piece.substr(0, 3) != "<0x" || piece[5] != '>') return -1;
  const int high = digit(piece[3]);
  const int low = digit(piece[4]);
  return high < 0 || low < 0 ? -1 : high * 16 + low;
}

/// Names that mark turns and the ends of texts: some files type them as normal pieces.
inline bool is_known_special(std::string_view piece) {
  if (piece.empty() || piece[0] != '<') return false;
  for (const std::string_view name : {"<bos>", "<eos>", "<pad>", "<start_of_turn>",
                                      "<end_of_turn>", "<|turn>", "<turn|>"}) {
    if (piece == name) return true;
  }
  return false;
}

/// Two or more spaces: such pieces stand for runs of spaces, however the file types them.
inline bool is_space_run(std::string_view piece) {
  return piece.size() > 1 && piece.find_first_not_of(' ') == std::string_view::npos;
}

/// How often the first byte of `text` is repeated at its beginning; at most kLongestWhole.
inline std::size_t run_length(std::string_view text) {
  std::size_t n = 1;
  while (n < text.size() && n < kLongestWhole && text[n] == text[0]) ++n;
  return n;
}

/// Every U+2581 as a space.
inline std::string with_spaces(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (std::size_t begin = 0;;) {
    const std::size_t mark = text.find(kSpaceMark, begin);
    out += text.substr(begin, mark - begin);
    if (mark == std::string_view::npos) return out;
    out += ' ';
    begin = mark + kSpaceMark.size();
  }
}

}  // namespace detail

/// Merges the characters of one stretch of text. `symbols` are linked in order; a merged symbol
/// takes the place of its left part.
class Segmenter {
 public:
  explicit Segmenter(const Tokenizer& tokenizer) : tokenizer_(tokenizer) {}

  /// Appends the ids of `text`, which is valid UTF-8 with U+2581 for spaces.
  void run(std::string_view text, std::vector<TokenId>& ids) {
    text_ = text;
    split_characters();
    if (symbols_.size() <= kShort) {
      merge_by_scanning();
    } else {
      merge_by_queue();
    }
    for (int i = 0; i >= 0 && !symbols_.empty(); i = symbols_[index(i)].next) emit(i, ids);
  }

 private:
  struct Symbol {
    std::size_t begin;
    std::size_t length;  ///< 0 once it was merged into its left neighbour
    int previous;
    int next;
    TokenId id;          ///< −1: no piece
  };
  /// A pair of neighbours that makes a piece; better ones have the higher priority.
  struct Candidate {
    double priority;
    int left;
    int right;
    std::size_t length;  ///< of both together, to recognise pairs that are gone
    TokenId merged;

    bool operator<(const Candidate& other) const {
      return priority < other.priority || (priority == other.priority && left > other.left);
    }
  };
  /// Up to this many characters looking at every pair is faster than a queue.
  static constexpr std::size_t kShort = 48;

  static std::size_t index(int i) { return static_cast<std::size_t>(i); }

  void split_characters() {
    symbols_.clear();
    for (std::size_t at = 0; at < text_.size();) {
      const std::size_t length = (std::max)(utf8_character(text_.substr(at)), std::size_t{1});
      const int self = static_cast<int>(symbols_.size());
      symbols_.push_back({at, length, self - 1, self + 1, mergeable(text_.substr(at, length))});
      at += length;
    }
    if (!symbols_.empty()) symbols_.back().next = -1;
  }

  TokenId mergeable(std::string_view piece) const {
    const TokenId id = tokenizer_.index_.find(tokenizer_.vocabulary_.pieces, piece);
    return id >= 0 && tokenizer_.is_mergeable(id) ? id : -1;
  }

  /// What symbol `left` and its right neighbour would become; merged is −1 if nothing.
  Candidate candidate(int left) const {
    Candidate none{0.0, left, -1, 0, -1};
    const int right = left < 0 ? -1 : symbols_[index(left)].next;
    if (right < 0) return none;
    const Symbol& a = symbols_[index(left)];
    const Symbol& b = symbols_[index(right)];
    const std::size_t length = a.length + b.length;
    if (tokenizer_.vocabulary_.kind == TokenizerKind::merges) {
      const PairIndex::Entry* entry = tokenizer_.pairs_.find(a.id, b.id);
      if (entry == nullptr) return none;
      return {-static_cast<double>(entry->rank), left, right, length, entry->merged};
    }
    if (length > tokenizer_.longest_piece_) return none;
    const TokenId id = mergeable(text_.substr(a.begin, length));
    if (id < 0) return none;
    return {double{tokenizer_.vocabulary_.scores[index(id)]}, left, right, length, id};
  }

  void merge(const Candidate& c) {
    Symbol& a = symbols_[index(c.left)];
    Symbol& b = symbols_[index(c.right)];
    a.length += b.length;
    a.id = c.merged;
    a.next = b.next;
    b.length = 0;
    if (a.next >= 0) symbols_[index(a.next)].previous = c.left;
  }

  void merge_by_scanning() {
    pairs_.clear();
    for (std::size_t i = 0; i < symbols_.size(); ++i) {
      pairs_.push_back(candidate(static_cast<int>(i)));
    }
    for (;;) {
      const Candidate* best = nullptr;
      for (int i = 0; i >= 0 && !symbols_.empty(); i = symbols_[index(i)].next) {
        const Candidate& c = pairs_[index(i)];
        if (c.merged >= 0 && (best == nullptr || *best < c)) best = &c;
      }
      if (best == nullptr) return;
      const int left = best->left;
      merge(*best);
      pairs_[index(left)] = candidate(left);
      const int previous = symbols_[index(left)].previous;
      if (previous >= 0) pairs_[index(previous)] = candidate(previous);
    }
  }

  void merge_by_queue() {
    std::priority_queue<Candidate> queue;
    const auto push = [&](int left) {
      const Candidate c = candidate(left);
      if (c.merged >= 0) queue.push(c);
    };
    for (std::size_t i = 0; i < symbols_.size(); ++i) push(static_cast<int>(i));
    while (!queue.empty()) {
      const Candidate c = queue.top();
      queue.pop();
      const Symbol& a = symbols_[index(c.left)];
      const bool gone = a.length == 0 || a.next != c.right ||
                        a.length + symbols_[index(c.right)].length != c.length;
      if (gone) continue;
      merge(c);
      push(c.left);
      push(symbols_[index(c.left)].previous);
    }
  }

  void emit(int i, std::vector<TokenId>& ids) const {
    const Symbol& symbol = symbols_[index(i)];
    if (symbol.id >= 0) {
      ids.push_back(symbol.id);
      return;
    }
    for (const char c : text_.substr(symbol.begin, symbol.length)) {
      const TokenId byte = tokenizer_.byte_ids_[static_cast<std::uint8_t>(c)];
      if (byte >= 0) {
        ids.push_back(byte);
      } else if (tokenizer_.vocabulary_.unknown) {
        ids.push_back(*tokenizer_.vocabulary_.unknown);
        return;
      }
    }
  }

  const Tokenizer& tokenizer_;
  std::string_view text_;
  std::vector<Symbol> symbols_;
  std::vector<Candidate> pairs_;
};

/// Encodes stretches of one text word by word, a word beginning at its space, and keeps the ids of
/// words seen before at hand.
class WordEncoder {
 public:
  WordEncoder(const Tokenizer& tokenizer, std::size_t text_size)
      : tokenizer_(tokenizer), segmenter_(tokenizer) {
    constexpr std::size_t kMost = 8192;
    constexpr std::size_t kWorthRemembering = 256;
    if (text_size < kWorthRemembering) return;
    seen_.resize(detail::table_size((std::min)(text_size / 32, kMost / 2)));
  }

  /// Appends the ids of `text`, which has no pieces to be matched as a whole.
  void encode(std::string_view text, std::vector<TokenId>& ids) {
    escape(text);
    const std::string_view all = escaped_;
    for (std::size_t begin = 0; begin < all.size();) {
      const std::string_view word = all.substr(begin, word_length(all.substr(begin)));
      begin += word.size();
      if (seen_.empty()) {
        segmenter_.run(word, ids);
        continue;
      }
      Seen& known = seen_[static_cast<std::size_t>(detail::hash_bytes(word)) & (seen_.size() - 1)];
      if (known.word == word) {
        for (std::size_t i = known.begin; i < known.end; ++i) ids.push_back(ids[i]);
        continue;
      }
      const std::size_t first = ids.size();
      segmenter_.run(word, ids);
      constexpr std::size_t kLongestKept = 64;
      if (word.size() > kLongestKept) continue;
      known.word = word;
      known.begin = first;
      known.end = ids.size();
    }
  }

 private:
  /// A word and where in the result its ids stand.
  struct Seen {
    std::string word;
    std::size_t begin = 0;
    std::size_t end = 0;
  };

  /// escaped_ becomes `text` with U+2581 for spaces and U+FFFD for every byte that is not UTF-8.
  void escape(std::string_view text) {
    escaped_.clear();
    for (std::size_t at = 0; at < text.size();) {
      const std::size_t length = utf8_character(text.substr(at));
      if (text[at] == ' ') {
        escaped_ += detail::kSpaceMark;
      } else if (length == 0) {
        escaped_ += detail::kReplacement;
      } else {
        escaped_.append(text, at, length);
      }
      at += (std::max)(length, std::size_t{1});
    }
  }

  /// Up to the next space that no piece joins with what is before it.
  std::size_t word_length(std::string_view text) const {
    for (std::size_t end = 1;; ++end) {
      end = text.find(detail::kSpaceMark, end);
      if (end == std::string_view::npos) return text.size();
      if (!tokenizer_.joins_space_[static_cast<std::uint8_t>(text[end - 1])]) return end;
    }
  }

  const Tokenizer& tokenizer_;
  Segmenter segmenter_;
  std::string escaped_;
  std::vector<Seen> seen_;
};

GEMMA_INLINE Result<Tokenizer> Tokenizer::create(Vocabulary v) {
  const auto wrong = [](const std::string& what) {
    return Error(ErrorCode::format, "the tokenizer's vocabulary " + what);
  };
  const std::size_t n = v.pieces.size();
  if (n == 0) return wrong("has no pieces");
  if (n > 0x7FFFFFFF) return wrong("has more pieces than ids");
  const auto size_error = [&](const char* name, std::size_t found) {
    return wrong("has " + std::to_string(n) + " pieces, but " + std::to_string(found) + " " + name);
  };
  if (v.kind == TokenizerKind::sentencepiece && v.scores.size() != n) {
    return size_error("scores", v.scores.size());
  }
  if (!v.types.empty() && v.types.size() != n) return size_error("types", v.types.size());
  for (const std::optional<TokenId>& id : {v.bos, v.eos, v.unknown}) {
    if (id && (*id < 0 || static_cast<std::size_t>(*id) >= n)) {
      return wrong("has no piece " + std::to_string(*id) + ", which it names as a special one");
    }
  }
  for (float& score : v.scores) {
    if (std::isnan(score)) return wrong("has a score that is not a number");
  }
  Tokenizer tokenizer(std::move(v));
  tokenizer.index_pieces();
  if (tokenizer.vocabulary_.kind == TokenizerKind::merges) tokenizer.index_merges();
  return tokenizer;
}

GEMMA_INLINE void Tokenizer::index_pieces() {
  index_.build(vocabulary_.pieces);
  byte_ids_.fill(-1);
  for (std::size_t i = 0; i < vocab_size(); ++i) {
    const std::string_view piece = vocabulary_.pieces[i];
    const PieceType type = piece_type(static_cast<TokenId>(i));
    if (piece.empty()) continue;
    const auto first = static_cast<std::uint8_t>(piece[0]);
    if (type == PieceType::byte) {
      const int byte = detail::byte_of_piece(piece);
      if (byte >= 0) byte_ids_[static_cast<std::size_t>(byte)] = static_cast<TokenId>(i);
      continue;
    }
    longest_piece_ = (std::max)(longest_piece_, piece.size());
    if (piece.size() <= detail::kLongestWhole) {
      const std::uint64_t bit = std::uint64_t{1} << (piece.size() - 1);
      WholeLengths& lengths = whole_lengths_[first];
      if (type == PieceType::user_defined || detail::is_space_run(piece)) {
        (detail::run_length(piece) == piece.size() ? lengths.runs : lengths.others) |= bit;
      } else if (type == PieceType::control || detail::is_known_special(piece)) {
        lengths.special |= bit;
      }
    }
    // A space inside a piece: after its neighbour words are not independent.
    for (std::size_t at = piece.find(detail::kSpaceMark, 1); at != std::string_view::npos;
         at = piece.find(detail::kSpaceMark, at + 1)) {
      joins_space_[static_cast<std::uint8_t>(piece[at - 1])] = true;
    }
  }
  joins_space_[static_cast<std::uint8_t>(detail::kSpaceMark.back())] = true;
}

GEMMA_INLINE void Tokenizer::index_merges() {
  pairs_.reserve(vocabulary_.merges.size());
  std::string both;
  for (std::size_t rank = 0; rank < vocabulary_.merges.size(); ++rank) {
    const std::string_view merge = vocabulary_.merges[rank];
    const std::size_t space = merge.find(' ', 1);
    if (space == std::string_view::npos) continue;
    const std::string_view left = merge.substr(0, space);
    const std::string_view right = merge.substr(space + 1);
    both.assign(left).append(right);
    const PairIndex::Entry entry{index_.find(vocabulary_.pieces, left),
                                 index_.find(vocabulary_.pieces, right),
                                 static_cast<std::uint32_t>(rank),
                                 index_.find(vocabulary_.pieces, both)};
    if (entry.left >= 0 && entry.right >= 0 && entry.merged >= 0) pairs_.insert(entry);
  }
}

GEMMA_INLINE PieceType Tokenizer::piece_type(TokenId id) const {
  const std::size_t i = static_cast<std::size_t>(id);
  return i < vocabulary_.types.size() ? vocabulary_.types[i] : PieceType::normal;
}

GEMMA_INLINE bool Tokenizer::is_mergeable(TokenId id) const {
  const PieceType type = piece_type(id);
  return type == PieceType::normal || type == PieceType::user_defined ||
         type == PieceType::unused;
}

GEMMA_INLINE std::string_view Tokenizer::piece(TokenId id) const {
  const std::size_t i = static_cast<std::size_t>(id);
  return id >= 0 && i < vocab_size() ? vocabulary_.pieces[i] : std::string_view();
}

GEMMA_INLINE std::optional<TokenId> Tokenizer::find(std::string_view piece) const {
  const TokenId id = index_.find(vocabulary_.pieces, piece);
  return id >= 0 ? std::optional<TokenId>(id) : std::nullopt;
}

/// The longest piece at the beginning of `text` that is to be matched as a whole.
GEMMA_INLINE std::optional<TokenId> Tokenizer::match_whole(std::string_view text,
                                                           bool special) const {
  const auto up_to = [](std::size_t length) {
    return length < detail::kLongestWhole ? (std::uint64_t{1} << length) - 1 : ~std::uint64_t{0};
  };
  const WholeLengths& known = whole_lengths_[static_cast<std::uint8_t>(text[0])];
  std::uint64_t lengths = known.others | (special ? known.special : 0);
  if (known.runs != 0) lengths |= known.runs & up_to(detail::run_length(text));
  lengths &= up_to(text.size());
  for (std::size_t length = detail::kLongestWhole; lengths != 0; --length) {
    const std::uint64_t bit = std::uint64_t{1} << (length - 1);
    if ((lengths & bit) == 0) continue;
    lengths ^= bit;
    const TokenId id = index_.find(vocabulary_.pieces, text.substr(0, length));
    if (id < 0) continue;
    const std::string_view found = vocabulary_.pieces[static_cast<std::size_t>(id)];
    const PieceType type = piece_type(id);
    if (type == PieceType::user_defined || detail::is_space_run(found)) return id;
    if (special && (type == PieceType::control || detail::is_known_special(found))) return id;
  }
  return std::nullopt;
}

GEMMA_INLINE std::vector<TokenId> Tokenizer::encode(std::string_view text,
                                                    const EncodeOptions& options) const {
  std::vector<TokenId> ids;
  if (options.bos && vocabulary_.bos) ids.push_back(*vocabulary_.bos);
  // SentencePiece turns spaces into U+2581 before all else, so that one in the text is a space.
  std::string spaced;
  if (text.find(detail::kSpaceMark) != std::string_view::npos) {
    spaced = detail::with_spaces(text);
    text = spaced;
  }
  WordEncoder words(*this, text.size());
  std::size_t begin = 0;
  for (std::size_t at = 0; at < text.size();) {
    const WholeLengths& lengths = whole_lengths_[static_cast<std::uint8_t>(text[at])];
    const bool maybe = (lengths.runs | lengths.others) != 0 ||
                       (options.parse_special && lengths.special != 0);
    const std::optional<TokenId> whole =
        maybe ? match_whole(text.substr(at), options.parse_special) : std::nullopt;
    if (!whole) {
      ++at;
      continue;
    }
    words.encode(text.substr(begin, at - begin), ids);
    ids.push_back(*whole);
    at += piece(*whole).size();
    begin = at;
  }
  words.encode(text.substr(begin), ids);
  return ids;
}

GEMMA_INLINE std::string Tokenizer::token_bytes(TokenId id, bool special) const {
  const std::string_view text = piece(id);
  switch (piece_type(id)) {
    case PieceType::control:
    case PieceType::unknown: return special ? std::string(text) : std::string();
    case PieceType::byte: {
      const int byte = detail::byte_of_piece(text);
      return byte < 0 ? std::string() : std::string(1, static_cast<char>(byte));
    }
    default: break;
  }
  return detail::with_spaces(text);
}

GEMMA_INLINE std::string Tokenizer::decode(Span<const TokenId> ids, bool special) const {
  std::string out;
  for (const TokenId id : ids) out += token_bytes(id, special);
  return out;
}

GEMMA_NAMESPACE_END

#endif  // GEMMA_TEXT_IMPL_TOKENIZER_INL_HPP_
