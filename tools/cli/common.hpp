// What the commands of `gemma` share: arguments, errors, progress, JSON.
#pragma once

#include <gemma/gemma.hpp>

#include <CLI/CLI.hpp>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

#include "console.hpp"

namespace cli {

using gemma::Span;
using gemma::TokenId;
using Json = nlohmann::ordered_json;

/// Wrong use of the program: exit code 2.
struct UsageError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// Exit code of a program that was stopped with ctrl-C.
constexpr int kInterrupted = 130;

/// JSON on standard output; bytes that are not UTF-8 become U+FFFD.
inline void print_json(const Json& json) {
  std::cout << json.dump(-1, ' ', false, Json::error_handler_t::replace) << '\n';
}

inline double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

/// "-" is standard input.
inline std::string read_file(const std::string& path) {
  if (path == "-") return {std::istreambuf_iterator<char>(std::cin), {}};
  std::ifstream file(path, std::ios::binary);
  if (!file) throw std::runtime_error(path + ": cannot open this file; does it exist?");
  return {std::istreambuf_iterator<char>(file), {}};
}

/// "2,105,…" as token ids.
inline std::vector<TokenId> parse_ids(const std::string& text) {
  std::vector<TokenId> ids;
  std::istringstream in(text);
  for (std::string item; std::getline(in, item, ',');) {
    std::size_t used = 0;
    long long id = -1;
    try {
      id = std::stoll(item, &used);
    } catch (const std::exception&) {
      used = 0;
    }
    while (used < item.size() && item[used] == ' ') ++used;
    if (used == 0 || used != item.size() || id < 0 || id > 0x7FFFFFFF) {
      throw UsageError("'" + item + "' is not a token id; ids are numbers separated by commas, "
                       "such as 2,105,2364");
    }
    ids.push_back(static_cast<TokenId>(id));
  }
  if (ids.empty()) throw UsageError("no token ids given; write them as 2,105,2364");
  return ids;
}

inline gemma::Model load_model(const std::string& path) {
  gemma::LoadOptions options;
  options.log = [](gemma::LogLevel, std::string_view line) {
    std::cerr << "gemma: " << line << '\n';
  };
  return gemma::load(path, options);
}

/// A line on the terminal that says how far a step is, once it has taken a second.
class ProgressLine {
 public:
  explicit ProgressLine(std::string unit) : unit_(std::move(unit)) {}
  ~ProgressLine() {
    if (shown_) std::fprintf(stderr, "\r\033[K");
  }
  ProgressLine(const ProgressLine&) = delete;
  ProgressLine& operator=(const ProgressLine&) = delete;

  void update(std::string_view step, std::uint64_t done, std::uint64_t total) {
    if (!console::stderr_is_terminal() || seconds_since(start_) < 1.0) return;
    shown_ = true;
    std::fprintf(stderr, "\r\033[K%.*s: %llu of %llu %s", static_cast<int>(step.size()),
                 step.data(), static_cast<unsigned long long>(done),
                 static_cast<unsigned long long>(total), unit_.c_str());
    std::fflush(stderr);
  }

 private:
  std::string unit_;
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
  bool shown_ = false;
};

/// The first ctrl-C cancels the session; the second ends the program.
class Interrupt {
 public:
  explicit Interrupt(gemma::Session& session) {
    current() = &session;
    std::signal(SIGINT, [](int) {
      std::signal(SIGINT, SIG_DFL);
      if (gemma::Session* s = current()) s->cancel();
    });
  }
  ~Interrupt() {
    std::signal(SIGINT, SIG_DFL);
    current() = nullptr;
  }
  Interrupt(const Interrupt&) = delete;
  Interrupt& operator=(const Interrupt&) = delete;

 private:
  static std::atomic<gemma::Session*>& current() {
    static std::atomic<gemma::Session*> session{nullptr};
    return session;
  }
};

/// Options of every command that runs a model.
struct EngineOptions {
  std::string model;
  std::string backend = "auto";
  std::string kv;
  std::size_t threads = 0;
  std::size_t context = 0;
  std::size_t batch = 512;

  void add_to(CLI::App& app) {
    add_model(app);
    app.add_option("--threads", threads, "threads; 0: as many as the machine runs at once")
        ->check(CLI::Range(0, 1024));
    app.add_option("--ctx", context, "positions of the context; 0: the model's, at most 4096");
    app.add_option("--batch", batch, "prompt tokens processed at a time")
        ->capture_default_str()
        ->check(CLI::Range(1, 65536));
    app.add_option("--backend", backend, "where to compute")
        ->check(CLI::IsMember({"auto", "cpu", "opencl"}))
        ->capture_default_str();
    app.add_option("--kv", kv, "numbers of the KV cache; f32 for float32 models, else f16")
        ->check(CLI::IsMember({"f32", "f16", "bf16"}));
  }
  void add_model(CLI::App& app) {
    app.add_option("MODEL", model, "a model file (.gguf)")->required();
  }

  gemma::SessionOptions session_options() const {
    gemma::SessionOptions options;
    options.context = context;
    options.threads = threads;
    options.batch = batch;
    if (backend == "cpu") options.backend = gemma::Backend::cpu;
    if (backend == "opencl") options.backend = gemma::Backend::opencl;
    if (kv == "f32") options.kv_type = gemma::simd::KvType::f32;
    if (kv == "f16") options.kv_type = gemma::simd::KvType::f16;
    if (kv == "bf16") options.kv_type = gemma::simd::KvType::bf16;
    return options;
  }
};

/// What a subcommand does once its arguments are read: gives the exit code.
using Action = std::function<int()>;

/// Logits after the last `rows` of `ids`, by a session or by the reference model, row by row.
inline void evaluate(const EngineOptions& engine, const gemma::Model& model, bool reference,
                     const std::vector<TokenId>& ids, std::size_t rows,
                     const gemma::LogitsSink& sink, std::string* backend) {
  ProgressLine progress("tokens");
  if (!reference) {
    gemma::SessionOptions options = engine.session_options();
    if (options.context == 0) {
      const std::size_t usual = (std::min)(model.config().context_length, std::size_t{4096});
      options.context = (std::min)((std::max)(usual, ids.size()), model.config().context_length);
    }
    gemma::Session session(model, options);
    Interrupt interrupt(session);
    gemma::Outputs outputs;
    outputs.logit_rows = rows;
    outputs.logits = sink;
    session
        .try_evaluate(ids, outputs,
                      [&](const gemma::Progress& p) {
                        progress.update(p.step, p.done, p.total);
                        return true;
                      })
        .value();
    *backend = session.backend();
    return;
  }
  *backend = "reference";
  for (const TokenId id : ids) {
    if (static_cast<std::size_t>(id) >= model.config().vocab_size) {
      throw std::runtime_error("token id " + std::to_string(id) + " is not in the vocabulary [0, " +
                               std::to_string(model.config().vocab_size) + ")");
    }
  }
  gemma::reference::Model runner(model.config(), model.weights());
  constexpr std::size_t kChunk = 64;  // bounds the memory that rows of logits take
  for (std::size_t done = 0; done < ids.size();) {
    const std::size_t count = (std::min)(kChunk, ids.size() - done);
    const std::size_t end = done + count;
    const std::size_t wanted = end - (std::min)(end, (std::max)(done, ids.size() - rows));
    gemma::reference::Matrix logits =
        runner.forward(Span<const TokenId>(ids.data() + done, count), wanted);
    for (std::size_t r = 0; r < wanted; ++r) {
      sink(end - wanted + r, Span<float>(logits.row(r), logits.cols));
    }
    done = end;
    progress.update("reference model", done, ids.size());
  }
}

inline double logsumexp(Span<float> row) {
  double largest = double{row[0]};
  for (const float x : row) largest = (std::max)(largest, double{x});
  double sum = 0.0;
  for (const float x : row) sum += std::exp(double{x} - largest);
  return largest + std::log(sum);
}

}  // namespace cli
