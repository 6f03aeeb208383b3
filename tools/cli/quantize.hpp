// gemma quantize and gemma convert: a model as GGUF, in other number formats or its own.
#pragma once

#include <gemma/generate/quantize.hpp>

#include "common.hpp"

namespace cli {

struct QuantizeArguments {
  std::string model;
  std::string out;
  std::string scheme = "q4_k_m";
  std::size_t threads = 0;
  bool pure = false;
  bool force = false;
  bool json = false;
};

/// Whether ctrl-C was hit while this lives.
class StopFlag {
 public:
  StopFlag() {
    flag() = 0;
    before_ = std::signal(SIGINT, [](int) {
      std::signal(SIGINT, SIG_DFL);
      flag() = 1;
    });
  }
  ~StopFlag() { std::signal(SIGINT, before_); }
  StopFlag(const StopFlag&) = delete;
  StopFlag& operator=(const StopFlag&) = delete;

  bool hit() const { return flag() != 0; }

 private:
  static volatile std::sig_atomic_t& flag() {
    static volatile std::sig_atomic_t value = 0;
    return value;
  }
  void (*before_)(int) = SIG_DFL;
};

inline int quantize(const QuantizeArguments& a) {
  if (!a.force && gemma::path_kind(a.out) == gemma::PathKind::file) {
    throw std::runtime_error(a.out + ": this file exists; --force replaces it");
  }
  const gemma::Model model = load_mapped(a.model);
  const StopFlag stop;
  ProgressLine line("MB");
  gemma::QuantizeOptions options;
  options.threads = a.threads;
  options.pure = a.pure;
  options.progress = [&](const gemma::Progress& p) {
    line.update(p.step, p.done / 1000000, p.total / 1000000);
    return !stop.hit();
  };
  const gemma::QuantizeScheme* named = gemma::find_quantize_scheme(a.scheme);
  const gemma::QuantizeScheme& scheme = named != nullptr ? *named : gemma::keep_scheme();
  const auto start = std::chrono::steady_clock::now();
  const gemma::QuantizeReport report = gemma::quantize(model, scheme, a.out, options).value();
  line.clear();
  const double seconds = seconds_since(start);
  if (a.json) {
    print_json({{"file", a.out}, {"type", scheme.name}, {"tensors", report.tensors},
                {"bytes_before", report.bytes_before}, {"bytes_after", report.bytes_after},
                {"seconds", seconds}});
  } else {
    std::printf("%s: %zu tensors, %.1f MB in %s (%.1f MB before), %.1f s\n", a.out.c_str(),
                report.tensors, static_cast<double>(report.bytes_after) / 1e6, scheme.name,
                static_cast<double>(report.bytes_before) / 1e6, seconds);
  }
  return 0;
}

inline void add_files(CLI::App& app, QuantizeArguments& a) {
  app.add_option("MODEL", a.model,
                 "a GGUF file, a file of MediaPipe (.bin, .task) or LiteRT-LM (.litertlm), or a Hugging "
                 "Face folder")
      ->required();
  app.add_option("OUT", a.out, "the GGUF file to write")->required();
  app.add_option("--threads", a.threads, "threads; 0: as many as the machine runs at once")
      ->capture_default_str()
      ->check(CLI::Range(0, 1024));
  app.add_flag("--force", a.force, "replace OUT if it exists");
  app.add_flag("--json", a.json, "print JSON");
}

inline void add_convert(CLI::App& app, Action& action) {
  CLI::App* sub = app.add_subcommand("convert", "Write any model as GGUF, rounding nothing");
  auto a = std::make_shared<QuantizeArguments>();
  a->scheme = "keep";
  add_files(*sub, *a);
  sub->footer(
      "Numbers stay as they are. Only integers with a scale for each row, as in MediaPipe's files, get\n"
      "blocks that GGUF has: the integers are the same, their scales are rounded to 16-bit floats.\n"
      "`gemma quantize` makes smaller files. Examples:\n"
      "  gemma convert gemma-2b-it-gpu-int8.bin gemma-2b-it.gguf\n"
      "  gemma convert gemma-3-1b-it/ gemma-3-1b-it-bf16.gguf");
  sub->callback([a, &action] { action = [a] { return quantize(*a); }; });
}

inline void add_quantize(CLI::App& app, Action& action) {
  CLI::App* sub = app.add_subcommand("quantize", "Write a model as GGUF in another number format");
  auto a = std::make_shared<QuantizeArguments>();
  std::string list = "Types, from the largest files to the smallest:\n";
  std::string names;
  for (const gemma::QuantizeScheme& scheme : gemma::quantize_schemes()) {
    const std::string name = scheme.name;
    names += (names.empty() ? "" : ", ") + name;
    list += "  " + (name + std::string(8, ' ')).substr(0, 8) + scheme.description + "\n";
  }
  const auto find_fault = [names](const std::string& text) -> std::string {
    if (gemma::find_quantize_scheme(text) != nullptr) return {};
    return "'" + text + "' is not a number format to write; there are " + names;
  };
  add_files(*sub, *a);
  sub->add_option("--type", a->scheme, "number format; see below")
      ->check(CLI::Validator(find_fault, ""))
      ->capture_default_str();
  sub->add_flag("--pure", a->pure, "the same format for every matrix, the embedding too");
  sub->footer(list +
              "\nThe best source is the original, in 16 or 32 bits. Examples:\n"
              "  gemma quantize gemma-3-1b-it/ gemma-3-1b-it-q4_k_m.gguf\n"
              "  gemma quantize model-f16.gguf model-q8_0.gguf --type q8_0");
  sub->callback([a, &action] { action = [a] { return quantize(*a); }; });
}

}  // namespace cli
