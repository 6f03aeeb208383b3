// How a model sees text: as pieces of words, each with a number.
//
// Build: g++ -std=c++17 -O2 -march=native -I include examples/02_tokens.cpp -o tokens -pthread
// Run:   ./tokens "$(tools/get_model)" "Unbelievable! 12345 café 🙂"
// Or, without a download: ./tokens tests/data/kjv-small.gguf "In the beginning"
#include <gemma/gemma.hpp>
#include <cstdio>
#include <string>

/// The piece as people can read it: bytes that are no whole character as <0xF0>.
std::string readable(const gemma::Tokenizer& tokenizer, gemma::TokenId id) {
  if (tokenizer.piece_type(id) == gemma::PieceType::byte) return std::string(tokenizer.piece(id));
  const std::string bytes = tokenizer.token_bytes(id, true);
  return bytes == "\n" ? "\\n" : bytes;
}

int main(int argc, char** argv) {
  const gemma::Model model = gemma::load(argc > 1 ? argv[1] : "tests/data/kjv-small.gguf");
  const std::string text = argc > 2 ? argv[2] : "In the beginning God created the heaven, 3.14 and café.";
  const gemma::Tokenizer& tokenizer = model.tokenizer();

  gemma::EncodeOptions options;
  options.bos = tokenizer.add_bos();  // texts begin with a token of their own
  const std::vector<gemma::TokenId> ids = tokenizer.encode(text, options);

  // Neighbours in different background colours show where pieces end.
  const int colours[] = {41, 42, 43, 44, 45, 46};
  for (std::size_t i = 0; i < ids.size(); ++i) {
    std::printf("\033[30;%dm%s\033[0m", colours[i % 6], readable(tokenizer, ids[i]).c_str());
  }
  std::printf("\n\n");
  for (const gemma::TokenId id : ids) {
    std::printf("%8d  '%s'\n", id, readable(tokenizer, id).c_str());
  }

  std::printf("\n%zu tokens for %zu bytes: %.2f bytes per token; the vocabulary has %zu pieces\n",
              ids.size(), text.size(), static_cast<double>(text.size()) / static_cast<double>(ids.size()),
              tokenizer.vocab_size());
  std::printf("back again: %s\n", tokenizer.decode(ids).c_str());
}
