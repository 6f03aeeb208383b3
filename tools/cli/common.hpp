// What the commands of `gemma` share: arguments, errors, progress, JSON.
#pragma once

#include <gemma/gemma.hpp>

#include <CLI/CLI.hpp>
#include <atomic>
#include <charconv>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iostream>
#include <locale>
#include <nlohmann/json.hpp>
#include <optional>
#include <sstream>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "console.hpp"
#include "paths.hpp"

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
  std::ifstream file;
  if (path != "-") file.open(file_path(path), std::ios::binary);
  if (!file) throw std::runtime_error(path + ": cannot open this file; does it exist?");
  std::istream& in = path == "-" ? std::cin : file;
  std::string text;
  std::vector<char> part(1u << 16);
  do {
    in.read(part.data(), static_cast<std::streamsize>(part.size()));
    text.append(part.data(), static_cast<std::size_t>(in.gcount()));
  } while (in);
  if (in.bad()) throw std::runtime_error(path + ": cannot read this; is it a file?");
  return text;
}

/// "2,105,…" as token ids.
inline std::vector<TokenId> parse_ids(const std::string& text) {
  std::vector<TokenId> ids;
  std::istringstream in(text + ',');  // so that nothing after the last comma is an error, too
  for (std::string item; std::getline(in, item, ',');) {
    const std::size_t first = (std::min)(item.find_first_not_of(" \n"), item.size());
    const char* begin = item.data() + first;
    const char* end = item.data() + (item.find_last_not_of(" \n") + 1);  // nothing but spaces: 0
    TokenId id = -1;
    const auto [stopped, error] = std::from_chars(begin, (std::max)(begin, end), id);
    if (error != std::errc() || stopped != end || id < 0) {
      throw UsageError("'" + item + "' is not a token id; ids are numbers separated by commas, "
                       "such as 2,105,2364");
    }
    ids.push_back(id);
  }
  return ids;
}

/// A whole number from 0 on. CLI11 alone takes -1 for 2^64 - 1.
inline CLI::Validator whole_number() {
  const auto find_fault = [](const std::string& text) -> std::string {
    const char* end = text.data() + text.size();
    std::uint64_t value = 0;
    const auto [stopped, error] = std::from_chars(text.data(), end, value);
    if (error == std::errc() && stopped == end) return {};
    return "'" + text + "' is not a whole number from 0 on, or too large";
  };
  return CLI::Validator(find_fault, "");
}

/// An option for a text that may be empty, which std::optional alone would take for not given.
inline CLI::Option* add_text(CLI::App& app, const std::string& name,
                             std::optional<std::string>& text, const std::string& help) {
  return app.add_option_function<std::string>(
      name, [&text](const std::string& given) { text = given; }, help);
}

/// An option for token ids.
inline CLI::Option* add_ids(CLI::App& app, const std::string& name,
                            std::optional<std::vector<TokenId>>& ids, const std::string& help) {
  return app.add_option_function<std::string>(
      name, [&ids](const std::string& given) { ids = parse_ids(given); }, help);
}

/// Turns are about to be written in a format that may not be the file's own.
inline void remark_on_chat_format(const gemma::Model& model) {
  const std::string& remark = model.chat_format_remark();
  if (!remark.empty()) std::cerr << "gemma: " << remark << '\n';
}

/// A line on the terminal that says how far a step is, once it has taken a second.
class ProgressLine {
 public:
  explicit ProgressLine(std::string unit) : unit_(std::move(unit)) {}
  ~ProgressLine() { clear(); }
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
  /// Makes room for other output.
  void clear() {
    if (std::exchange(shown_, false)) std::fprintf(stderr, "\r\033[K");
  }

 private:
  std::string unit_;
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
  bool shown_ = false;
};

/// gemma::load(), with a line of progress where weights must be laid out anew.
inline gemma::Model load_model(const std::string& path, gemma::LoadOptions options) {
  ProgressLine line("MB");
  options.progress = [&line](const gemma::Progress& p) {
    line.update(p.step, p.done / 1000000, p.total / 1000000);
    return true;
  };
  return gemma::load(path, options);
}

/// The same with the weights in the file, for commands that hardly use them.
inline gemma::Model load_mapped(const std::string& path) {
  gemma::LoadOptions options;
  options.access = gemma::FileAccess::map;
  return load_model(path, options);
}

/// The first ctrl-C cancels the session; the second ends the program.
class Interrupt {
 public:
  explicit Interrupt(gemma::Session& session) {
    current() = &session;
    hit_flag() = false;
    before_ = std::signal(SIGINT, [](int) {
      std::signal(SIGINT, SIG_DFL);
      hit_flag() = true;
      if (gemma::Session* s = current()) s->cancel();
    });
  }
  ~Interrupt() {
    std::signal(SIGINT, before_);
    current() = nullptr;
  }
  Interrupt(const Interrupt&) = delete;
  Interrupt& operator=(const Interrupt&) = delete;

  static bool hit() { return hit_flag(); }

 private:
  static std::atomic<bool>& hit_flag() {
    static std::atomic<bool> flag{false};
    return flag;
  }
  static std::atomic<gemma::Session*>& current() {
    static std::atomic<gemma::Session*> session{nullptr};
    return session;
  }

  void (*before_)(int) = SIG_DFL;
};

constexpr gemma::simd::KvType kKvTypes[] = {gemma::simd::KvType::f32, gemma::simd::KvType::f16,
                                            gemma::simd::KvType::bf16, gemma::simd::KvType::q8_0};

inline std::vector<std::string> kv_names() {
  std::vector<std::string> names;
  for (const gemma::simd::KvType type : kKvTypes) names.emplace_back(gemma::simd::kv_type_name(type));
  return names;
}

/// --lora and --lora-scale: adapters, each with its scale.
struct LoraOptions {
  std::vector<std::string> paths;  ///< PATH or PATH:SCALE
  std::vector<float> scales;

  void add_to(CLI::App& app) {
    app.add_option("--lora", paths,
                   "PATH or PATH:SCALE: a LoRA adapter (GGUF, PEFT's folder, or MediaPipe's file) for this "
                   "model, on the CPU; given several times, they add up")
        ->allow_extra_args(false);
    app.add_option("--lora-scale", scales,
                   "the scale of an adapter, times its own; once for each --lora, in the same order; "
                   "if not given, 1")
        ->allow_extra_args(false);
  }

  std::vector<gemma::SessionAdapter> load(const gemma::Model& model) const {
    if (!scales.empty() && scales.size() != paths.size()) {
      throw UsageError("--lora-scale is given " + std::to_string(scales.size()) + " times, and --lora " +
                       std::to_string(paths.size()) + " times; each adapter has one scale");
    }
    std::vector<gemma::SessionAdapter> adapters;
    for (std::size_t i = 0; i < paths.size(); ++i) {
      auto [path, scale] = split(paths[i]);
      if (!scales.empty()) scale *= scales[i];
      adapters.push_back({gemma::load_adapter(path, model), scale});
    }
    return adapters;
  }

 private:
  /// What follows the last colon is a scale if it is a number, and no file has the whole for its name.
  static std::pair<std::string, float> split(const std::string& text) {
    const std::size_t colon = text.rfind(':');
    if (colon == std::string::npos || colon == 0 || gemma::path_kind(text) != gemma::PathKind::nothing) {
      return {text, 1.0f};
    }
    std::istringstream number(text.substr(colon + 1));
    number.imbue(std::locale::classic());
    float scale = 1.0f;
    if (!(number >> scale) || number.peek() != std::char_traits<char>::eof()) return {text, 1.0f};
    return {text.substr(0, colon), scale};
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
  bool two_pass_head = false;
  std::string access = "auto";
  std::optional<std::size_t> gpu_layers;
  std::uint64_t max_resident = 0;
  std::uint64_t memory_limit = 0;
  LoraOptions lora;

  /// `context_default`: what --ctx 0 means.
  void add_to(CLI::App& app,
              const std::string& context_default = "the model's, at most 4096") {
    add_model(app);
    app.add_option("-t,--threads", threads, "threads; 0: as many as the machine runs at once")
        ->capture_default_str()
        ->check(CLI::Range(0, 1024));
    app.add_option("-c,--ctx", context, "positions of the context; 0: " + context_default)
        ->capture_default_str()
        ->check(whole_number());
    app.add_option("--batch", batch, "prompt tokens processed at a time")
        ->capture_default_str()
        ->check(CLI::Range(1, 65536));
    app.add_option("--backend", backend, "where to compute")
        ->check(CLI::IsMember({"auto", "cpu", "opencl"}))
        ->capture_default_str();
    add_gpu_layers(app);
    app.add_option("--kv", kv, "numbers of the KV cache; if not given, f32 for float32 models, "
                               "else f16")
        ->check(CLI::IsMember(kv_names()));
  }
  CLI::Option* add_gpu_layers(CLI::App& app) {
    return app
        .add_option("--gpu-layers", gpu_layers,
                    "the last so many layers run on the OpenCL device, the first ones on the CPU; if "
                    "not given, as many as its memory holds")
        ->check(whole_number());
  }
  void add_two_pass_head(CLI::App& app) {
    app.add_flag("--two-pass-head", two_pass_head,
                 "find the likeliest tokens in a 4-bit copy of the output head first: the same "
                 "answers, faster on small models, 0.6 bytes of memory more per weight of the head, and "
                 "a second or two more to start");
  }
  void add_model(CLI::App& app) {
    app.add_option("MODEL", model, "a GGUF file, a file of MediaPipe (.bin, .task) or LiteRT-LM (.litertlm), or a Hugging "
                   "Face folder (or a .safetensors file in it)")->required();
    app.add_option("--weights", access,
                   "map: read them from the file as they are used, which starts at once; memory: all at "
                   "once, which can take seconds; auto: memory for files up to 512 MB where that makes "
                   "decoding faster and a quarter of it suffices, else map")
        ->check(CLI::IsMember({"auto", "map", "memory"}))
        ->capture_default_str();
    app.add_option("--max-resident", max_resident,
                   "memory that weights, KV cache and activations may take, such as 500MB: what does not "
                   "fit is read from the file again and again (slower; CPU only)")
        ->transform(CLI::AsSizeValue(true));
    app.add_option("--memory-limit", memory_limit,
                   "refuse, with a table, what would take more memory than this, such as 2GB")
        ->transform(CLI::AsSizeValue(true));
  }

  gemma::Model load() const {
    gemma::LoadOptions options;
    options.max_resident_bytes = max_resident;
    options.memory_limit = memory_limit;
    if (access == "map") options.access = gemma::FileAccess::map;
    if (access == "memory") options.access = gemma::FileAccess::memory;
    return load_model(model, options);
  }

  /// With the adapters that were given.
  gemma::SessionOptions session_options(const gemma::Model& of) const {
    gemma::SessionOptions options = session_options();
    options.adapters = lora.load(of);
    return options;
  }

  gemma::SessionOptions session_options() const {
    gemma::SessionOptions options;
    options.context = context;
    options.threads = threads;
    options.batch = batch;
    options.two_pass_head = two_pass_head;
    if (backend == "cpu") options.backend = gemma::Backend::cpu;
    if (backend == "opencl") options.backend = gemma::Backend::opencl;
    options.log = [](gemma::LogLevel level, std::string_view line) {
      if (level == gemma::LogLevel::warning) std::cerr << "gemma: " << line << '\n';
    };
#if defined(GEMMA_OPENCL)
    options.opencl.gpu_layers = gpu_layers;
#endif
    for (const gemma::simd::KvType type : kKvTypes) {
      if (kv == gemma::simd::kv_type_name(type)) options.kv_type = type;
    }
    return options;
  }
};

/// What a subcommand does once its arguments are read: gives the exit code.
using Action = std::function<int()>;

}  // namespace cli
