// Many prompts, one model: a session on each thread. Weights are shared, KV caches are not.
//
// Build: g++ -std=c++17 -O2 -march=native -I include examples/12_batch.cpp -o batch -pthread
// Run:   ./batch "$(tools/get_model)"
// Or, without a download: ./batch tests/data/kjv-small.gguf
#include <gemma/gemma.hpp>
#include <atomic>
#include <cstdio>
#include <string>
#include <thread>
#include <vector>

int main(int argc, char** argv) {
  const gemma::Model model = gemma::load(argc > 1 ? argv[1] : "tests/data/kjv-small.gguf");
  const std::vector<std::string> prompts = {"In the beginning", "And the LORD said unto", "Blessed are the",
                                            "Woe unto", "The king", "Behold,"};
  std::vector<std::string> answers(prompts.size());
  std::atomic<std::size_t> next{0};

  const auto work = [&] {
    gemma::SessionOptions options;
    options.threads = 1;  // prompts side by side use the cores better than threads within one
    options.backend = gemma::Backend::cpu;
    gemma::Session session(model, options);
    gemma::GenerateOptions generate;
    generate.max_tokens = 24;
    generate.sampler.temperature = 0.0f;
    for (std::size_t i = next++; i < prompts.size(); i = next++) {
      session.reset();
      answers[i] = session.generate(prompts[i], {}, generate).text;
    }
  };
  std::vector<std::thread> threads;
  for (int i = 0; i < 2; ++i) threads.emplace_back(work);
  for (std::thread& thread : threads) thread.join();

  for (std::size_t i = 0; i < prompts.size(); ++i) {
    std::printf("%zu. %s%s\n", i + 1, prompts[i].c_str(), answers[i].c_str());
  }
}
