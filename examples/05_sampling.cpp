// What temperature, top-k, top-p and min-p do to the distribution of the next token, as bars.
//
// Build: g++ -std=c++17 -O2 -march=native -I include examples/05_sampling.cpp -o sampling -pthread
// Run:   ./sampling "$(tools/get_model)" "The capital of France is"
// Or, without a download: ./sampling tests/data/kjv-small.gguf "And God said"
#include <gemma/gemma.hpp>
#include <algorithm>
#include <cstdio>
#include <map>
#include <string>
#include <vector>

/// Draws often, and shows how often each of the likeliest tokens came.
void show(const char* title, const gemma::SamplerOptions& options, const std::vector<float>& logits,
          const gemma::Tokenizer& tokenizer) {
  constexpr int kDraws = 2000;
  gemma::Sampler sampler(options);
  std::map<gemma::TokenId, int> counts;
  for (int i = 0; i < kDraws; ++i) {
    std::vector<float> copy = logits;  // the sampler changes them
    ++counts[sampler.sample({copy.data(), copy.size()}, {})];
  }
  std::vector<std::pair<int, gemma::TokenId>> order;
  for (const auto& [id, count] : counts) order.emplace_back(-count, id);
  std::sort(order.begin(), order.end());

  std::printf("\n%s: %zu different tokens\n", title, order.size());
  for (std::size_t i = 0; i < std::min<std::size_t>(order.size(), 6); ++i) {
    const double share = static_cast<double>(-order[i].first) / kDraws;
    std::string piece = tokenizer.token_bytes(order[i].second, true);
    std::replace(piece.begin(), piece.end(), '\n', '~');
    std::printf("  %5.1f %%  %-12s %s\n", 100.0 * share, ("'" + piece + "'").c_str(),
                std::string(static_cast<std::size_t>(50.0 * share + 0.5), '#').c_str());
  }
}

int main(int argc, char** argv) {
  const gemma::Model model = gemma::load(argc > 1 ? argv[1] : "tests/data/kjv-small.gguf");
  const std::string prompt = argc > 2 ? argv[2] : "And God said";
  gemma::EncodeOptions with_bos;
  with_bos.bos = model.tokenizer().add_bos();
  gemma::Session session(model);
  const std::vector<float> logits = session.logits(model.tokenizer().encode(prompt, with_bos));
  std::printf("the token after \"%s\"\n", prompt.c_str());

  gemma::SamplerOptions plain;  // everything off: the model's own distribution
  plain.temperature = 1.0f;
  plain.top_k = 0;
  plain.top_p = 1.0f;
  const auto with = [&](const char* title, auto change) {
    gemma::SamplerOptions options = plain;
    change(options);
    show(title, options, logits, model.tokenizer());
  };
  with("as the model has it", [](auto&) {});
  with("temperature 0: greedy", [](auto& o) { o.temperature = 0.0f; });
  with("temperature 0.5: differences doubled", [](auto& o) { o.temperature = 0.5f; });
  with("temperature 1.5: flatter", [](auto& o) { o.temperature = 1.5f; });
  with("top-k 3: the three likeliest", [](auto& o) { o.top_k = 3; });
  with("top-p 0.5: the likeliest that make up half", [](auto& o) { o.top_p = 0.5f; });
  with("min-p 0.2: none below a fifth of the likeliest", [](auto& o) { o.min_p = 0.2f; });
}
