// gemma logits, gemma score: what the model thinks of given tokens.
#pragma once

#include <algorithm>
#include <numeric>

#include "common.hpp"

namespace cli {

struct LogitsOptions {
  EngineOptions engine;
  std::string ids;
  std::size_t last = 1;
  std::size_t top = 0;
  bool reference = false;
};

/// One position as JSON text, written at once: a full row is long.
inline void print_position(std::size_t position, Span<float> row, std::size_t top) {
  std::vector<TokenId> order(row.size());
  std::iota(order.begin(), order.end(), 0);
  const std::size_t kept = (std::min)((std::max)(top, std::size_t{1}), row.size());
  const auto at = [&](TokenId id) { return row[static_cast<std::size_t>(id)]; };
  std::partial_sort(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(kept), order.end(),
                    [&](TokenId a, TokenId b) { return at(a) > at(b) || (at(a) == at(b) && a < b); });
  // JSON knows no NaN or infinity.
  const auto print_number = [](double x) {
    std::isfinite(x) ? std::printf("%.9g", x) : std::printf("null");
  };
  std::printf("{\"pos\":%zu,\"argmax\":%d,\"logsumexp\":", position, order[0]);
  print_number(logsumexp(row));
  std::printf(top > 0 ? ",\"top\":[" : ",\"logits\":[");
  for (std::size_t i = 0; i < (top > 0 ? kept : row.size()); ++i) {
    if (i > 0) std::printf(",");
    if (top > 0) std::printf("[%d,", order[i]);
    print_number(double{top > 0 ? at(order[i]) : row[i]});
    if (top > 0) std::printf("]");
  }
  std::printf("]}");
}

inline int logits(const LogitsOptions& o) {
  const std::vector<TokenId> ids = parse_ids(o.ids);
  const gemma::Model model = load_model(o.engine.model);
  const std::size_t rows = o.last == 0 ? ids.size() : (std::min)(o.last, ids.size());
  std::string backend = o.reference ? "reference" : "cpu";
  bool first = true;
  evaluate(
      o.engine, model, o.reference, ids, rows,
      [&](std::size_t position, Span<float> row) {
        if (first) std::printf("{\"backend\":%s,\"positions\":[", Json(backend).dump().c_str());
        if (!first) std::printf(",");
        first = false;
        print_position(position, row, o.top);
      },
      &backend);
  std::printf("]}\n");
  return 0;
}

inline void add_logits(CLI::App& app, Action& action) {
  CLI::App* sub = app.add_subcommand("logits", "Print the logits after given token ids, as JSON");
  auto o = std::make_shared<LogitsOptions>();
  o->engine.add_to(*sub);
  sub->add_option("--ids", o->ids, "token ids: 2,105,…")->required();
  sub->add_option("--last", o->last, "positions to print; 0: all")->capture_default_str();
  sub->add_option("--top", o->top, "print only the K largest logits of each position");
  sub->add_flag("--reference", o->reference, "use the scalar float32 reference model");
  sub->callback([o, &action] { action = [o] { return logits(*o); }; });
}

struct ScoreOptions {
  EngineOptions engine;
  std::string file;
  std::string ids;
  bool reference = false;
};

/// The contexts to score: the given ids, or windows of a file that each begin with BOS.
inline std::vector<std::vector<TokenId>> windows_of(const ScoreOptions& o,
                                                    const gemma::Model& model) {
  if (!o.ids.empty()) return {parse_ids(o.ids)};
  constexpr std::size_t kUsual = 2048;
  const std::size_t size = o.engine.context != 0
                               ? o.engine.context
                               : (std::min)(kUsual, model.config().context_length);
  const std::vector<TokenId> text = model.tokenizer().encode(read_file(o.file));
  const bool bos = model.tokenizer().bos().has_value();
  if (size < 2) throw UsageError("--ctx must be at least 2 to predict anything");
  std::vector<std::vector<TokenId>> windows;
  for (std::size_t at = 0; at < text.size();) {
    std::vector<TokenId> window;
    if (bos) window.push_back(*model.tokenizer().bos());
    const std::size_t count = (std::min)(size - window.size(), text.size() - at);
    window.insert(window.end(), text.begin() + static_cast<std::ptrdiff_t>(at),
                  text.begin() + static_cast<std::ptrdiff_t>(at + count));
    at += count;
    if (window.size() >= 2) windows.push_back(std::move(window));
  }
  return windows;
}

inline int score(const ScoreOptions& o) {
  const gemma::Model model = load_model(o.engine.model);
  double nll = 0.0;
  std::size_t predicted = 0;
  const auto start = std::chrono::steady_clock::now();
  for (const std::vector<TokenId>& ids : windows_of(o, model)) {
    std::string backend;
    evaluate(
        o.engine, model, o.reference, ids, ids.size(),
        [&](std::size_t position, Span<float> row) {
          if (position + 1 == ids.size()) return;
          nll += logsumexp(row) - double{row[static_cast<std::size_t>(ids[position + 1])]};
          ++predicted;
        },
        &backend);
  }
  if (predicted == 0) throw std::runtime_error("nothing to score: at least two tokens are needed");
  const double mean = nll / static_cast<double>(predicted);
  print_json({{"tokens", predicted},
              {"nll", mean},
              {"perplexity", std::exp(mean)},
              {"tok_s", static_cast<double>(predicted) / seconds_since(start)}});
  return 0;
}

inline void add_score(CLI::App& app, Action& action) {
  CLI::App* sub = app.add_subcommand("score", "Measure perplexity of a text or of token ids");
  auto o = std::make_shared<ScoreOptions>();
  o->engine.add_to(*sub);
  CLI::Option_group* input = sub->add_option_group("text", "what to score (one of)");
  input->add_option("--file", o->file, "a text, cut into windows of --ctx tokens (2048)");
  input->add_option("--ids", o->ids, "token ids in one context: 2,105,…");
  input->require_option(1);
  sub->add_flag("--reference", o->reference, "use the scalar float32 reference model");
  sub->callback([o, &action] { action = [o] { return score(*o); }; });
}

}  // namespace cli
