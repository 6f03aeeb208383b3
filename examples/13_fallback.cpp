// A GPU if there is a good one, else the CPU, and always the reason.
//
// Build: g++ -std=c++17 -O2 -march=native -DGEMMA_OPENCL -I include examples/13_fallback.cpp -o fallback -pthread -ldl
// Run:   ./fallback "$(tools/get_model)"
// Or, without a download: ./fallback tests/data/kjv-small.gguf
#include <gemma/gemma.hpp>
#include <iostream>
#include <string>

int main(int argc, char** argv) {
  const gemma::Model model = gemma::load(argc > 1 ? argv[1] : "tests/data/kjv-small.gguf");

  // By default whatever is best: a device must pass every check and be faster than the CPU.
  gemma::SessionOptions options;
  options.log = [](gemma::LogLevel, std::string_view text) { std::cout << "log: " << text << "\n"; };
  gemma::Session session(model, options);
  std::cout << "computes on: " << session.backend() << "\nbecause: " << session.backend_reason() << "\n";
  gemma::GenerateOptions generate;
  generate.max_tokens = 16;
  generate.sampler.temperature = 0.0f;
  std::cout << "In the beginning" << session.generate("In the beginning", {}, generate).text << "\n";
  // A device that fails from now on is replaced by the CPU in the middle of an answer, and the log says so.

  // Who insists on a device gets it, or an error that says what is in the way.
  options.backend = gemma::Backend::opencl;
  const auto insisted = gemma::Session::create(model, options);
  std::cout << "insisting on OpenCL: "
            << (insisted ? insisted->backend() : insisted.error().message()) << "\n";
}
