#include "gemma/text/tokenizer.hpp"

#include <doctest/doctest.h>

#include <chrono>
#include <cstdint>
#include <fstream>
#include <limits>
#include <sstream>
#include <string>
#include <vector>

#include "vocabularies.hpp"

namespace {

using gemma::EncodeOptions;
using gemma::PieceType;
using gemma::TokenId;
using gemma::Tokenizer;
using gemma::Vocabulary;

std::string from_base64(const std::string& text) {
  const std::string alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  std::uint32_t bits = 0;
  int count = 0;
  for (const char c : text) {
    const std::size_t digit = alphabet.find(c);
    if (digit == std::string::npos) break;
    bits = bits << 6 | static_cast<std::uint32_t>(digit);
    count += 6;
    if (count < 8) continue;
    count -= 8;
    out += static_cast<char>(bits >> count & 0xFF);
  }
  return out;
}

std::vector<TokenId> parse_ids(const std::string& text) {
  std::istringstream in(text);
  std::vector<TokenId> ids;
  for (TokenId id; in >> id;) ids.push_back(id);
  return ids;
}

/// Every line of a file of tests/data/tokenizer against the real vocabulary.
void check_cases(const std::string& family, std::size_t expected_count) {
  const auto real = real_tokenizer(family);
  if (!real) return;
  std::ifstream file(data_path("tokenizer/" + family + ".tsv"));
  std::size_t count = 0;
  std::size_t wrong = 0;
  for (std::string line; std::getline(file, line); ++count) {
    std::istringstream fields(line);
    std::string base64, special, plain;
    std::getline(fields, base64, '\t');
    std::getline(fields, special, '\t');
    std::getline(fields, plain, '\t');
    const std::string text = from_base64(base64);
    EncodeOptions parse;
    parse.parse_special = true;
    wrong += real->tokenizer.encode(text, parse) != parse_ids(special);
    wrong += real->tokenizer.encode(text) != parse_ids(plain == "=" ? special : plain);
  }
  CHECK(count == expected_count);
  CHECK(wrong == 0);
}

/// A small SentencePiece vocabulary made by hand.
Vocabulary small() {
  Vocabulary v;
  const auto piece = [&](const char* text, float score, PieceType type) {
    v.pieces.emplace_back(text);
    v.scores.push_back(score);
    v.types.push_back(type);
  };
  piece("<pad>", 0, PieceType::control);
  piece("<eos>", 0, PieceType::control);
  piece("<bos>", 0, PieceType::control);
  piece("<unk>", 0, PieceType::unknown);
  piece("<end_of_turn>", 0, PieceType::control);
  piece("  ", 0, PieceType::user_defined);
  piece("   ", 0, PieceType::user_defined);
  piece("<b>", 0, PieceType::user_defined);
  piece("ab", -1, PieceType::normal);   // 8
  piece("bc", -1, PieceType::normal);   // 9: as good as ab
  piece("abc", -2, PieceType::normal);  // 10
  piece("a", -9, PieceType::normal);    // 11
  piece("b", -9, PieceType::normal);    // 12
  piece("c", -9, PieceType::normal);    // 13
  piece("\xE2\x96\x81", -9, PieceType::normal);   // 14
  piece("\xE2\x96\x81" "a", -3, PieceType::normal);  // 15
  piece("\xEF\xBF\xBD", -9, PieceType::normal);   // 16: U+FFFD
  v.bos = 2;
  v.eos = 1;
  v.unknown = 3;
  return v;
}

/// small() with byte tokens from id 17 on.
struct WithBytes {
  std::vector<std::string> names;
  Vocabulary vocabulary = small();

  WithBytes() {
    const char* digits = "0123456789ABCDEF";
    for (std::size_t i = 0; i < 256; ++i) {
      names.push_back(std::string("<0x") + digits[i / 16] + digits[i % 16] + ">");
    }
    for (const std::string& name : names) {
      vocabulary.pieces.push_back(name);
      vocabulary.scores.push_back(0);
      vocabulary.types.push_back(PieceType::byte);
    }
  }
};

constexpr TokenId kByte0 = 17;

using Ids = std::vector<TokenId>;

std::string error_of(const Vocabulary& v) {
  const auto result = Tokenizer::create(v);
  return result ? std::string() : result.error().message();
}

}  // namespace

TEST_CASE("602 strings give exactly the ids of Gemma 3") { check_cases("gemma3", 602); }
TEST_CASE("602 strings give exactly the ids of Gemma 1 and 2") { check_cases("gemma1", 602); }
TEST_CASE("572 strings give exactly the ids of Gemma 4") { check_cases("gemma4", 572); }

TEST_CASE("the best pair merges first, the leftmost of equals") {
  const Tokenizer t = Tokenizer::create(small()).value();
  CHECK(t.encode("abc") == Ids{10});   // ab, then abc
  CHECK(t.encode("abbc") == Ids{8, 9});
  CHECK(t.encode("cab") == Ids{13, 8});
  CHECK(t.encode("") == Ids{});
}

TEST_CASE("spaces become U+2581, and a literal one is a space") {
  const Tokenizer t = Tokenizer::create(small()).value();
  CHECK(t.encode("b a") == Ids{12, 15});
  CHECK(t.encode(" a") == Ids{15});
  CHECK(t.encode("\xE2\x96\x81" "a") == Ids{15});
  CHECK(t.encode("\xE2\x96\x81\xE2\x96\x81") == Ids{5});
}

TEST_CASE("user-defined pieces are matched longest first and never merge") {
  const Tokenizer t = Tokenizer::create(small()).value();
  CHECK(t.encode("a   b") == Ids{11, 6, 12});
  CHECK(t.encode("a     b") == Ids{11, 6, 5, 12});
  CHECK(t.encode("a<b>c") == Ids{11, 7, 13});
}

TEST_CASE("control tokens in text are parsed only on request") {
  const WithBytes bytes;
  const Tokenizer t = Tokenizer::create(bytes.vocabulary).value();
  EncodeOptions parse;
  parse.parse_special = true;
  CHECK(t.encode("a<end_of_turn>", parse) == Ids{11, 4});
  CHECK(t.encode("a<end_of_turn>").size() > 5);
  CHECK(t.decode(t.encode("a<end_of_turn>")) == "a<end_of_turn>");
  CHECK(t.encode("<0x41>", parse).size() > 3);
}

TEST_CASE("names of turns are recognised even where a file types them as normal pieces") {
  Vocabulary v = small();
  v.types[4] = PieceType::normal;
  const Tokenizer t = Tokenizer::create(v).value();
  EncodeOptions parse;
  parse.parse_special = true;
  CHECK(t.encode("<end_of_turn>", parse) == Ids{4});
}

TEST_CASE("BOS comes first on request") {
  const Tokenizer t = Tokenizer::create(small()).value();
  EncodeOptions bos;
  bos.bos = true;
  CHECK(t.encode("a", bos) == Ids{2, 11});
  CHECK(t.add_bos());
}

TEST_CASE("what no piece covers becomes byte tokens, or the unknown token without them") {
  const WithBytes bytes;
  const Tokenizer t = Tokenizer::create(bytes.vocabulary).value();
  CHECK(t.encode("aé") == Ids{11, kByte0 + 0xC3, kByte0 + 0xA9});
  CHECK(t.decode(Ids{11, kByte0 + 0xC3, kByte0 + 0xA9}) == "aé");
  const Tokenizer without = Tokenizer::create(small()).value();
  CHECK(without.encode("é") == Ids{3});
}

TEST_CASE("each byte that is not UTF-8 becomes U+FFFD") {
  const Tokenizer t = Tokenizer::create(small()).value();
  CHECK(t.encode("a\xFF\xFE") == Ids{11, 16, 16});
  CHECK(t.encode("\xC0\x80") == Ids{16, 16});          // overlong
  CHECK(t.encode("\xED\xA0\x80") == Ids{16, 16, 16});  // surrogate
  CHECK(t.encode("\xE2\x96") == Ids{16, 16});          // cut off
}

TEST_CASE("decoding gives back valid text, NUL included") {
  const WithBytes bytes;
  const Tokenizer t = Tokenizer::create(bytes.vocabulary).value();
  for (const std::string& text :
       {std::string("abc  é 日本 😀"), std::string("a\0b", 3), std::string("   a")}) {
    CHECK(t.decode(t.encode(text)) == text);
  }
}

TEST_CASE("ids out of range have no text") {
  const Tokenizer t = Tokenizer::create(small()).value();
  CHECK(t.decode(Ids{-1, 1000000}) == "");
  CHECK(t.piece(-5).empty());
}

TEST_CASE("streaming never cuts a character") {
  const WithBytes bytes;
  const Tokenizer t = Tokenizer::create(bytes.vocabulary).value();
  gemma::StreamDecoder decoder(t);
  CHECK(decoder.push(kByte0 + 0xF0) == "");
  CHECK(decoder.push(kByte0 + 0x9F) == "");
  CHECK(decoder.push(kByte0 + 0x98) == "");
  CHECK(decoder.push(kByte0 + 0x80) == "😀");
  CHECK(decoder.push(11) == "a");
}

TEST_CASE("streaming releases bytes that nothing can complete") {
  const WithBytes bytes;
  const Tokenizer t = Tokenizer::create(bytes.vocabulary).value();
  gemma::StreamDecoder decoder(t);
  CHECK(decoder.push(kByte0 + 0xFF) == "\xFF");
  CHECK(decoder.push(kByte0 + 0xE2) == "");
  CHECK(decoder.push(11) == "\xE2" "a");
  CHECK(decoder.push(kByte0 + 0xE2) == "");
  CHECK(decoder.flush() == "\xE2");
  CHECK(decoder.flush() == "");
}

TEST_CASE("ranked merges follow the list") {
  Vocabulary v;
  v.kind = gemma::TokenizerKind::merges;
  v.pieces = {"a", "b", "c", "ab", "bc", "abc", "\xE2\x96\x81"};
  v.merges = {"b c", "a b", "ab c", "a bc"};
  const Tokenizer t = Tokenizer::create(v).value();
  CHECK(t.encode("abc") == Ids{5});     // b c first, then a bc
  CHECK(t.encode("abab") == Ids{3, 3});
  CHECK(t.encode("a b") == Ids{0, 6, 1});
}

TEST_CASE("long texts and long words take time near-linear in their length") {
  const WithBytes bytes;
  const Tokenizer t = Tokenizer::create(bytes.vocabulary).value();
  for (const char* unit : {"abc", "a", " ", "<", "b a "}) {
    std::string text;
    while (text.size() < 1000000) text += unit;
    const auto start = std::chrono::steady_clock::now();
    CHECK(t.encode(text).size() > 1000);
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
    CHECK(took.count() < 10.0);  // quadratic time would be hours
  }
}

TEST_CASE("vocabularies that make no sense are refused") {
  CHECK(error_of(Vocabulary()).find("has no pieces") != std::string::npos);
  Vocabulary v = small();
  v.scores.pop_back();
  CHECK(error_of(v).find("17 pieces, but 16 scores") != std::string::npos);
  v = small();
  v.types.pop_back();
  CHECK(error_of(v).find("17 pieces, but 16 types") != std::string::npos);
  v = small();
  v.bos = 17;
  CHECK(error_of(v).find("no piece 17") != std::string::npos);
  v = small();
  v.scores[3] = std::numeric_limits<float>::quiet_NaN();
  CHECK(error_of(v).find("not a number") != std::string::npos);
}
