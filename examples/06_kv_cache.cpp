// Why there is a KV cache, and what it costs.
//
// Build: g++ -std=c++17 -O2 -march=native -I include examples/06_kv_cache.cpp -o kv_cache -pthread
// Run:   ./kv_cache "$(tools/get_model)"
// Or, without a download: ./kv_cache tests/data/kjv-small.gguf
#include <gemma/gemma.hpp>
#include <chrono>
#include <cstdio>
#include <vector>

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

int main(int argc, char** argv) {
  const gemma::Model model = gemma::load(argc > 1 ? argv[1] : "tests/data/kjv-small.gguf");
  constexpr std::size_t kTokens = 64;

  // Each token needs the keys and values of all before it. Kept, a token is one step …
  gemma::SessionOptions one_by_one;
  one_by_one.batch = 1;  // the sums of long batches are rounded otherwise, which could turn a near tie
  gemma::Session session(model, one_by_one);
  std::vector<gemma::TokenId> ids = {model.tokenizer().bos().value_or(0)};
  auto start = std::chrono::steady_clock::now();
  std::vector<float> logits = session.logits(ids);
  for (std::size_t i = 0; i < kTokens; ++i) {
    ids.push_back(gemma::greedy_token({logits.data(), logits.size()}));
    logits = session.logits({&ids.back(), 1});
  }
  const double kept = seconds_since(start);

  // … forgotten, all of them have to be computed again for every new one.
  start = std::chrono::steady_clock::now();
  std::vector<gemma::TokenId> again = {ids[0]};
  bool same = true;
  for (std::size_t i = 0; i < kTokens; ++i) {
    session.reset();
    logits = session.logits(again);
    again.push_back(gemma::greedy_token({logits.data(), logits.size()}));
    same = same && again.back() == ids[again.size() - 1];
  }
  const double forgotten = seconds_since(start);
  std::printf("%zu tokens with the KV cache: %.3f s; without: %.3f s, %.1f times as long; %s\n\n", kTokens, kept,
              forgotten, forgotten / kept, same ? "the same tokens" : "other tokens after a near tie");

  // A layer with a window keeps no more keys than it can see, so most of Gemma 3's layers stop growing.
  std::size_t local = 0;
  for (const gemma::LayerConfig& layer : model.config().layers) local += layer.window > 0 ? 1 : 0;
  std::printf("%zu of %zu layers have a window\n\n", local, model.config().layers.size());
  std::printf("context      f32        f16       q8_0   (MB of keys and values)\n");
  for (const std::size_t context : {512u, 2048u, 8192u, 32768u}) {
    std::printf("%7zu", context);
    for (const gemma::simd::KvType type : {gemma::simd::KvType::f32, gemma::simd::KvType::f16, gemma::simd::KvType::q8_0}) {
      gemma::SessionOptions options;
      options.context = context;
      options.kv_type = type;
      std::printf(" %10.2f", static_cast<double>(gemma::plan_memory(model, options).kv_cache) / 1e6);
    }
    std::printf("\n");
  }
}
