// Gemma in ten lines: load a model, continue a prompt, print the text as it comes.
//
// Build: g++ -std=c++17 -O2 -march=native -I include examples/01_hello.cpp -o hello -pthread
// Run:   ./hello "$(tools/get_model)"
// Or, without a download: ./hello tests/data/kjv-small.gguf
#include <gemma/gemma.hpp>
#include <iostream>

int main(int argc, char** argv) {
  gemma::Model model = gemma::load(argc > 1 ? argv[1] : "gemma-3-270m-q4_k_m.gguf");
  gemma::Session session(model);
  session.generate("The capital of France is", [](std::string_view piece) {
    std::cout << piece << std::flush;
    return true;  // false stops
  });
}
