// gemma bench: how fast prefill and decode are, with the memory bandwidth beside it.
#pragma once

#include <algorithm>

#include "common.hpp"
#include "gemma/base/threads.hpp"

namespace cli {

struct BenchOptions {
  EngineOptions engine;
  std::vector<std::size_t> prompts = {512, 64};
  std::vector<std::size_t> decodes = {128};
  std::vector<std::size_t> threads;
  std::size_t runs = 5;
  bool json = false;
};

inline double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const std::size_t n = values.size();
  return n % 2 == 1 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}

/// GB/s at which all threads together read memory: the best of several passes over 256 MB.
inline double memory_bandwidth(std::size_t threads) {
  constexpr std::size_t kWords = 256u * 1024 * 1024 / sizeof(std::uint64_t);
  constexpr std::size_t kChunk = 1u << 16;
  std::vector<std::uint64_t> buffer(kWords, 1);
  gemma::ThreadPool pool(threads);
  std::atomic<std::uint64_t> sink{0};
  double best = 0.0;
  for (int pass = 0; pass < 4; ++pass) {
    const auto start = std::chrono::steady_clock::now();
    pool.parallel_for(kWords / kChunk, [&](std::size_t chunk, std::size_t) {
      std::uint64_t sums[4] = {};
      const std::uint64_t* p = buffer.data() + chunk * kChunk;
      for (std::size_t i = 0; i < kChunk; i += 4) {
        for (std::size_t lane = 0; lane < 4; ++lane) sums[lane] += p[i + lane];
      }
      sink += sums[0] + sums[1] + sums[2] + sums[3];
    });
    best = (std::max)(best, kWords * sizeof(std::uint64_t) / seconds_since(start) / 1e9);
  }
  return best;
}

/// Tokens that exist in any vocabulary, BOS first.
inline std::vector<TokenId> synthetic_prompt(const gemma::Model& model, std::size_t count) {
  std::vector<TokenId> ids(count);
  const std::size_t vocab = model.config().vocab_size;
  for (std::size_t i = 0; i < count; ++i) ids[i] = static_cast<TokenId>(i * 7919 % vocab);
  if (model.tokenizer().bos() && count > 0) ids[0] = *model.tokenizer().bos();
  return ids;
}

/// Tokens per second of one run: reading `prompt` tokens, or writing `decode` after the first.
inline double measure(gemma::Session& session, std::size_t prompt, std::size_t decode) {
  const std::vector<TokenId> ids =
      synthetic_prompt(session.model(), (std::max)(prompt, decode + 1));
  const auto read = [&](std::size_t begin, std::size_t count) {
    session.logits(Span<const TokenId>(ids.data() + begin, count));
  };
  session.reset();
  if (decode > 0) read(0, 1);
  const auto start = std::chrono::steady_clock::now();
  if (decode == 0) read(0, prompt);
  for (std::size_t i = 0; i < decode; ++i) read(i + 1, 1);
  return static_cast<double>(decode > 0 ? decode : prompt) / seconds_since(start);
}

inline int bench(const BenchOptions& o) {
  const gemma::Model model = gemma::load(o.engine.model);
  std::vector<std::size_t> threads = o.threads;
  if (threads.empty()) threads = {1};
  if (o.threads.empty() && gemma::hardware_threads() > 1) {
    threads.push_back(gemma::hardware_threads());
  }
  Json rows = Json::array();
  std::size_t longest = 1;
  for (const std::size_t n : o.prompts) longest = (std::max)(longest, n);
  for (const std::size_t n : o.decodes) longest = (std::max)(longest, n + 1);
  std::string backend;
  for (const std::size_t count : threads) {
    gemma::SessionOptions options = o.engine.session_options();
    options.threads = count;
    if (options.context == 0) options.context = (std::min)(longest, model.config().context_length);
    gemma::Session session(model, options);
    backend = session.backend();
    const auto add_row = [&](const std::string& test, std::size_t prompt, std::size_t decode) {
      if (prompt + decode == 0) return;
      measure(session, prompt, decode);
      std::vector<double> rates;
      for (std::size_t r = 0; r < o.runs; ++r) rates.push_back(measure(session, prompt, decode));
      rows.push_back({{"test", test},
                      {"threads", count},
                      {"backend", backend},
                      {"tok_s", median(rates)},
                      {"tok_s_all", rates}});
      if (!o.json) {
        std::printf("%-8s %2zu threads  %9.1f tok/s\n", test.c_str(), count, median(rates));
        std::fflush(stdout);
      }
    };
    for (const std::size_t n : o.prompts) add_row("pp" + std::to_string(n), n, 0);
    for (const std::size_t n : o.decodes) add_row("tg" + std::to_string(n), 0, n);
  }
  const double peak = console::peak_memory_mb();
  const double bandwidth = memory_bandwidth(threads.back());
  if (o.json) {
    print_json({{"rows", rows},
                {"load_s", model.load_seconds()},
                {"peak_rss_mb", peak},
                {"bandwidth_gb_s", bandwidth}});
  } else {
    std::printf("load %.3f s, peak memory %.0f MB, memory bandwidth %.1f GB/s with %zu threads\n",
                model.load_seconds(), peak, bandwidth, threads.back());
    std::printf("%s\n", gemma::build_info().c_str());
  }
  return 0;
}

inline void add_bench(CLI::App& app, Action& action) {
  CLI::App* sub = app.add_subcommand("bench", "Measure prefill and decode");
  auto o = std::make_shared<BenchOptions>();
  o->engine.add_model(*sub);
  sub->add_option("-p", o->prompts, "prompt lengths to read; 0: none")->delimiter(',')
      ->capture_default_str()->check(whole_number());
  sub->add_option("-n", o->decodes, "numbers of tokens to write; 0: none")->delimiter(',')
      ->capture_default_str()->check(whole_number());
  sub->add_option("-t", o->threads, "threads; 1 and all by default")
      ->delimiter(',')->check(CLI::Range(1, 1024));
  sub->add_option("-r", o->runs, "runs of each, of which the median counts")
      ->capture_default_str()->check(CLI::Range(1, 1000));
  sub->add_option("--ctx", o->engine.context, "positions of the context; 0: as many as needed")
      ->capture_default_str()->check(whole_number());
  sub->add_option("--backend", o->engine.backend, "where to compute")
      ->check(CLI::IsMember({"auto", "cpu", "opencl"}))->capture_default_str();
  sub->add_flag("--json", o->json, "print JSON");
  sub->footer(
      "Examples:\n"
      "  gemma bench model.gguf\n"
      "  gemma bench model.gguf -p 512 -n 128 -t 1,2,4 -r 5 --json");
  sub->callback([o, &action] { action = [o] { return bench(*o); }; });
}

}  // namespace cli
