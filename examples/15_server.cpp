// A program for other programs: reads a prompt per line, answers with a line of JSON, until its input ends.
//
// Build: g++ -std=c++17 -O2 -march=native -I include examples/15_server.cpp -o server -pthread
// Run:   echo "The capital of France is" | ./server "$(tools/get_model)"
// Or, without a download: echo "In the beginning" | ./server tests/data/kjv-small.gguf
#include <gemma/gemma.hpp>
#include <cstdio>
#include <iostream>
#include <string>

std::string quoted(const std::string& text) {
  std::string out = "\"";
  for (const char c : text) {
    char code[8];
    std::snprintf(code, sizeof code, "\\u%04x", static_cast<unsigned>(static_cast<unsigned char>(c)));
    if (c == '"' || c == '\\') (out += '\\') += c;
    else if (static_cast<unsigned char>(c) < 0x20) out += code;
    else out += c;
  }
  return out + '"';
}

int main(int argc, char** argv) {
  const gemma::Result<gemma::Model> model = gemma::try_load(argc > 1 ? argv[1] : "tests/data/kjv-small.gguf");
  if (!model) return std::cerr << model.error().message() << '\n', 1;
  gemma::Result<gemma::Session> session = gemma::Session::create(*model);
  if (!session) return std::cerr << session.error().message() << '\n', 1;
  std::cerr << "ready: " << session->backend() << ", " << session->backend_reason() << '\n';

  gemma::GenerateOptions options;
  options.max_tokens = 64;
  options.sampler.temperature = 0.0f;
  for (std::string prompt; std::getline(std::cin, prompt);) {
    session->reset();  // each prompt by itself
    const auto answer = session->try_generate(prompt, {}, options);
    if (!answer) {
      std::cout << "{\"error\":" << quoted(answer.error().message()) << "}" << std::endl;
      continue;
    }
    char rate[32];
    std::snprintf(rate, sizeof rate, "%.1f", answer->decode_rate());
    std::cout << "{\"text\":" << quoted(answer->text) << ",\"tokens\":" << answer->ids.size() << ",\"ended_by\":\""
              << gemma::stop_reason_name(answer->stop) << "\",\"tokens_per_second\":" << rate << "}" << std::endl;
  }
}
