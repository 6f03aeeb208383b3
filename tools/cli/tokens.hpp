// gemma tokenize, gemma detokenize.
#pragma once

#include "common.hpp"

namespace cli {

struct TokenizeOptions {
  EngineOptions engine;
  std::optional<std::string> text;
  std::optional<std::string> file;
  std::optional<std::string> hex_lines;
  bool parse_special = false;
  bool bos = false;
  bool json = false;
};

inline int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

/// One line of hex bytes.
inline std::string from_hex(std::string line, const std::string& where) {
  if (!line.empty() && line.back() == '\r') line.pop_back();
  std::string bytes;
  for (std::size_t i = 0; i < line.size(); i += 2) {
    const int high = hex_digit(line[i]);
    const int low = i + 1 < line.size() ? hex_digit(line[i + 1]) : -1;
    if (high < 0 || low < 0) {
      throw std::runtime_error(where + ": not hex bytes (two digits each) at column " +
                               std::to_string(i + 1));
    }
    bytes += static_cast<char>(high * 16 + low);
  }
  return bytes;
}

inline void print_ids(const std::vector<TokenId>& ids) {
  for (std::size_t i = 0; i < ids.size(); ++i) std::cout << (i > 0 ? " " : "") << ids[i];
  std::cout << '\n';
}

inline Json ids_json(const gemma::Tokenizer& tokenizer, const std::vector<TokenId>& ids) {
  Json pieces = Json::array();
  for (const TokenId id : ids) pieces.push_back(std::string(tokenizer.piece(id)));
  return {{"ids", ids}, {"pieces", pieces}};
}

inline int tokenize(const TokenizeOptions& o) {
  const gemma::Model model = load_mapped(o.engine.model);
  const gemma::Tokenizer& tokenizer = model.tokenizer();
  gemma::EncodeOptions encode;
  encode.bos = o.bos;
  encode.parse_special = o.parse_special;
  if (!o.hex_lines) {
    const std::string text = o.file ? read_file(*o.file) : *o.text;
    const std::vector<TokenId> ids = tokenizer.encode(text, encode);
    o.json ? print_json(ids_json(tokenizer, ids)) : print_ids(ids);
    return 0;
  }
  std::istringstream lines(read_file(*o.hex_lines));
  Json all = Json::array();
  std::size_t number = 0;
  for (std::string line; std::getline(lines, line);) {
    const std::string where = *o.hex_lines + " line " + std::to_string(++number);
    const std::vector<TokenId> ids = tokenizer.encode(from_hex(line, where), encode);
    o.json ? all.push_back(ids_json(tokenizer, ids)) : print_ids(ids);
  }
  if (o.json) print_json(all);
  return 0;
}

inline void add_tokenize(CLI::App& app, Action& action) {
  CLI::App* sub = app.add_subcommand("tokenize", "Turn text into token ids");
  auto o = std::make_shared<TokenizeOptions>();
  o->engine.add_model(*sub);
  CLI::Option_group* input = sub->add_option_group("text", "what to tokenize (one of)");
  add_text(*input, "--text", o->text, "the text itself");
  add_text(*input, "--file", o->file, "a file; - is standard input");
  add_text(*input, "--hex-lines", o->hex_lines,
           "a file with one string as hex bytes per line; prints one line of ids for each");
  input->require_option(1);
  sub->add_flag("--parse-special", o->parse_special, "recognise tokens such as <end_of_turn>");
  sub->add_flag("--bos", o->bos, "begin with the BOS token");
  sub->add_flag("--json", o->json, "print ids and pieces as JSON; with --hex-lines, an array");
  sub->footer(
      "Examples:\n"
      "  gemma tokenize model.gguf --text 'Hello world' --json\n"
      "  gemma tokenize model.gguf --file story.txt --bos\n"
      "  gemma tokenize model.gguf --text '<start_of_turn>user' --parse-special");
  sub->callback([o, &action] { action = [o] { return tokenize(*o); }; });
}

struct DetokenizeOptions {
  EngineOptions engine;
  std::string ids;
};

inline int detokenize(const DetokenizeOptions& o) {
  // No ids at all are the empty text.
  const std::vector<TokenId> ids = o.ids.empty() ? std::vector<TokenId>() : parse_ids(o.ids);
  const gemma::Model model = load_mapped(o.engine.model);
  for (const TokenId id : ids) {
    if (static_cast<std::size_t>(id) >= model.tokenizer().vocab_size()) {
      throw std::runtime_error("token id " + std::to_string(id) + " is not in the vocabulary [0, " +
                               std::to_string(model.tokenizer().vocab_size()) + ")");
    }
  }
  std::cout << model.tokenizer().decode(ids);
  return 0;
}

inline void add_detokenize(CLI::App& app, Action& action) {
  CLI::App* sub = app.add_subcommand("detokenize", "Turn token ids into the exact bytes");
  auto o = std::make_shared<DetokenizeOptions>();
  o->engine.add_model(*sub);
  sub->add_option("--ids", o->ids, "token ids: 2,105,…")->required();
  sub->footer("Example:\n  gemma detokenize model.gguf --ids 2,9259,1902");
  sub->callback([o, &action] { action = [o] { return detokenize(*o); }; });
}

}  // namespace cli
