// gemma bench: how fast prefill and decode are, with the memory bandwidth beside it.
#pragma once

#include <algorithm>

#include "common.hpp"
#include "gemma/base/aligned.hpp"
#include "gemma/base/huge_pages.hpp"
#include "gemma/base/threads.hpp"
#include "gemma/quant/registry.hpp"
#include "gemma/simd/kernels.hpp"

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
  auto buffer = gemma::AlignedArray<std::uint64_t>::create(kWords, "the probe").value();
  gemma::detail::advise_huge_pages(buffer.data(), kWords * sizeof(std::uint64_t));
  std::fill_n(buffer.data(), kWords, 1);
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

/// 10^9 products of bytes, or of bfloat16 where prefill uses these, and additions per second, each counted as one, on all threads together.
inline double product_peak(std::size_t threads) {
  constexpr std::size_t kRounds = 1u << 20;
  gemma::ThreadPool pool(threads);
  std::atomic<std::int32_t> sink{0};
  double best = 0.0;
  for (int pass = 0; pass < 5; ++pass) {
    std::atomic<std::size_t> products{0};
    const auto start = std::chrono::steady_clock::now();
    pool.parallel_for(threads * 8, [&](std::size_t, std::size_t) {
      std::int32_t out = 0;
      products += gemma::simd::kernels().multiply_most(kRounds, &out);
      sink += out;
    });
    best = (std::max)(best, 2.0 * static_cast<double>(products) / seconds_since(start) / 1e9);
  }
  return best;
}

/// What one token asks of the machine, attention left out.
struct Work {
  double bytes = 0.0;     ///< of weights that a decode step reads
  double products = 0.0;  ///< that prefill makes per token; it needs the head only once
};

inline Work work_of(const gemma::Model& model, bool two_pass_head) {
  const gemma::Config& config = model.config();
  const gemma::WeightMatrix& head = model.weights().head;
  Work work;
  // What the second pass reads hardly counts.
  gemma::simd::Sketch sketch;
  sketch.cols = head.cols;
  const std::uint64_t row_bytes = two_pass_head
                                      ? sketch.group_bytes() / gemma::simd::kSketchRows
                                      : gemma::quant::row_bytes(head.type, head.cols).value();
  work.bytes = static_cast<double>(head.rows) * static_cast<double>(row_bytes);
  for (const std::string& name : model.source().gguf_names()) {
    const gemma::TensorView& tensor = *model.source().find_tensor(name);
    const bool table = name.find("token_embd") != std::string::npos || name == "output.weight";
    if (table || tensor.shape.size() < 2) continue;
    const bool expert = name.find("_exps") != std::string::npos;
    const double share = expert ? static_cast<double>(config.experts_used) /
                                      static_cast<double>(config.experts)
                                : 1.0;
    work.bytes += share * static_cast<double>(tensor.data.size());
    work.products += share * static_cast<double>(tensor.elements());
  }
  return work;
}

/// Tokens that exist in any vocabulary, BOS first.
inline std::vector<TokenId> synthetic_prompt(const gemma::Model& model, std::size_t count) {
  std::vector<TokenId> ids(count);
  const std::size_t vocab = model.config().vocab_size;
  for (std::size_t i = 0; i < count; ++i) ids[i] = static_cast<TokenId>(i * 7919 % vocab);
  if (model.tokenizer().bos() && count > 0) ids[0] = *model.tokenizer().bos();
  return ids;
}

/// Tokens per second of one run: reading `prompt` tokens, or writing `decode` likeliest ones after the
/// first. `top`: how many of the largest logits are asked for; 0: all.
inline double measure(gemma::Session& session, std::size_t prompt, std::size_t decode,
                      std::size_t top) {
  const std::vector<TokenId> ids =
      synthetic_prompt(session.model(), (std::max)(prompt, std::size_t{1}));
  TokenId likeliest = ids[0];
  gemma::Outputs outputs;
  outputs.logit_rows = 1;
  outputs.top = top;
  outputs.logits = [&](std::size_t, Span<float> row) {
    likeliest = static_cast<TokenId>(gemma::simd::kernels().argmax(row.data(), row.size()));
  };
  outputs.best = [&](std::size_t, TokenId id, float) { likeliest = id; };
  const auto read = [&](Span<const TokenId> tokens) {
    gemma::Status status = session.try_evaluate(tokens, outputs);
    if (!status) throw status.take_error();
  };
  session.reset();
  if (decode > 0) read(Span<const TokenId>(ids.data(), 1));
  const auto start = std::chrono::steady_clock::now();
  if (decode == 0) read(ids);
  for (std::size_t i = 0; i < decode; ++i) {
    const TokenId id = likeliest;
    read(Span<const TokenId>(&id, 1));
  }
  return static_cast<double>(decode > 0 ? decode : prompt) / seconds_since(start);
}

/// Seconds from nothing to the logits after a prompt of 16 tokens.
inline double first_token_seconds(const EngineOptions& engine, std::size_t threads) {
  const auto start = std::chrono::steady_clock::now();
  const gemma::Model model = engine.load();
  gemma::SessionOptions options = engine.session_options(model);
  options.threads = threads;
  gemma::Session session(model, options);
  session.logits(synthetic_prompt(model, 16));
  return seconds_since(start);
}

inline int bench(const BenchOptions& o) {
  std::vector<std::size_t> threads = o.threads;
  if (threads.empty()) threads = {1};
  if (o.threads.empty() && gemma::hardware_threads() > 1 && o.engine.backend != "opencl") {
    threads.push_back(gemma::hardware_threads());
  }
  const double first_token = first_token_seconds(o.engine, threads.back());
  const gemma::Model model = o.engine.load();
  const Work work = work_of(model, o.engine.two_pass_head);
  Json rows = Json::array();
  std::size_t longest = 1;
  for (const std::size_t n : o.prompts) longest = (std::max)(longest, n);
  for (const std::size_t n : o.decodes) longest = (std::max)(longest, n + 1);
  std::string backend;
  for (const std::size_t count : threads) {
    gemma::SessionOptions options = o.engine.session_options(model);
    options.threads = count;
    if (options.context == 0) options.context = (std::min)(longest, model.config().context_length);
    gemma::Session session(model, options);
    backend = session.backend();
    const auto add_row = [&](const std::string& test, std::size_t prompt, std::size_t decode) {
      if (prompt + decode == 0) return;
      // A device then needs to send back one number only.
      const std::size_t top = o.engine.two_pass_head || backend != "cpu" ? 1 : 0;
      measure(session, prompt, decode, top);
      std::vector<double> rates;
      for (std::size_t r = 0; r < o.runs; ++r) rates.push_back(measure(session, prompt, decode, top));
      const double rate = median(rates);
      rows.push_back({{"test", test},
                      {"threads", count},
                      {"backend", backend},
                      {"tok_s", rate},
                      {"gb_s", decode > 0 ? Json(work.bytes * rate / 1e9) : Json()},
                      {"gop_s", decode > 0 ? Json() : Json(2.0 * work.products * rate / 1e9)},
                      {"tok_s_all", rates}});
    };
    for (const std::size_t n : o.prompts) add_row("pp" + std::to_string(n), n, 0);
    for (const std::size_t n : o.decodes) add_row("tg" + std::to_string(n), 0, n);
  }
  const double peak = console::peak_memory_mb();
  Json roofline = Json::array();
  for (const std::size_t count : threads) {
    roofline.push_back({{"threads", count},
                        {"bandwidth_gb_s", memory_bandwidth(count)},
                        {"product_gop_s", product_peak(count)}});
  }
  if (o.json) {
    print_json({{"rows", rows},
                {"load_s", model.load_seconds()},
                {"first_token_s", first_token},
                {"peak_rss_mb", peak},
                {"bandwidth_gb_s", roofline.back()["bandwidth_gb_s"]},
                {"roofline", roofline},
                {"simd", gemma::simd::kernels().target},
                {"build", gemma::build_info()}});
    return 0;
  }
  for (const Json& row : rows) {
    const bool decode = row["gop_s"].is_null();
    for (const Json& roof : roofline) {
      if (roof["threads"] != row["threads"]) continue;
      const double used = row[decode ? "gb_s" : "gop_s"];
      const double most = roof[decode ? "bandwidth_gb_s" : "product_gop_s"];
      std::printf("%-8s %2zu threads  %9.1f tok/s  %7.1f %s, ",
                  row["test"].get<std::string>().c_str(), row["threads"].get<std::size_t>(),
                  row["tok_s"].get<double>(), used, decode ? "GB/s " : "Gop/s");
      if (row["backend"] == "cpu") {
        std::printf("%3.0f %% of what is possible\n", 100.0 * used / most);
      } else {
        std::printf("%s\n", row["backend"].get<std::string>().c_str());
      }
    }
  }
  for (const Json& roof : roofline) {
    std::printf("possible on the CPU with %zu threads: %.1f GB/s from memory, %.0f Gop/s of %s products\n",
                roof["threads"].get<std::size_t>(), roof["bandwidth_gb_s"].get<double>(),
                roof["product_gop_s"].get<double>(),
                gemma::simd::kernels().round_to_bf16 != nullptr ? "bfloat16" : "8-bit");
  }
  std::printf("load %.3f s, first token after %.3f s, peak memory %.0f MB\n%s\n",
              model.load_seconds(), first_token, peak, gemma::build_info().c_str());
  return 0;
}

inline void add_bench(CLI::App& app, Action& action) {
  CLI::App* sub = app.add_subcommand("bench", "Measure prefill and decode");
  auto o = std::make_shared<BenchOptions>();
  o->engine.add_model(*sub);
  o->engine.add_two_pass_head(*sub);
  o->engine.lora.add_to(*sub);
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
