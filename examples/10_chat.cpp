// A conversation in the terminal: the model's own turn markers, and a KV cache that keeps what was said.
//
// Build: g++ -std=c++17 -O2 -march=native -I include examples/10_chat.cpp -o chat -pthread
// Run:   ./chat "$(tools/get_model)"
// Or, without a download: echo "Who art thou?" | ./chat tests/data/kjv-small.gguf
#include <gemma/gemma.hpp>
#include <iostream>
#include <string>

int main(int argc, char** argv) {
  const gemma::Model model = gemma::load(argc > 1 ? argv[1] : "tests/data/kjv-small.gguf");
  gemma::Session session(model);
  const auto new_chat = [&] { return gemma::ChatEncoder::create(model.tokenizer(), model.chat_format()).value(); };
  gemma::ChatEncoder chat = new_chat();
  gemma::GenerateOptions options;
  options.max_tokens = 256;

  std::string line;
  while (std::cout << "you: " && std::getline(std::cin, line)) {
    if (line.empty()) continue;
    const gemma::Status added = chat.add({gemma::Role::user, line});
    if (!added) return std::cerr << added.error().message() << '\n', 1;
    chat.begin_answer();
    std::cout << "model: ";
    // Only what is new is read; all before it is in the cache.
    const auto answer = session.try_generate(chat.take(), [](std::string_view piece) {
      std::cout << piece << std::flush;
      return true;
    }, options);
    std::cout << "\n";
    if (!answer) return std::cerr << answer.error().message() << '\n', 1;
    chat.end_answer();
    if (answer->stop == gemma::StopReason::context_full) {
      std::cout << "(The context is full: a new conversation begins.)\n";
      session.reset();
      chat = new_chat();
    }
  }
  std::cout << "\n";
}
