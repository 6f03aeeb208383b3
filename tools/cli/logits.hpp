// gemma logits, gemma score: what the model thinks of given tokens.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "common.hpp"
#include "gemma/model/reference.hpp"

namespace cli {

/// Gives the logits after token ids row by row, by a session or by the reference model.
class Evaluator {
 public:
  /// `longest`: the most ids that will be read at once.
  Evaluator(const EngineOptions& engine, const gemma::Model& model, bool reference,
            std::size_t longest)
      : model_(model) {
    if (reference && !engine.lora.paths.empty()) {
      throw UsageError("--reference computes without adapters; leave out --lora");
    }
    if (reference) return;
    gemma::SessionOptions options = engine.session_options(model);
    if (options.context == 0) {
      options.context = (std::min)(longest, model.config().context_length);
    }
    session_.emplace(model, options);
  }

  std::string backend() const { return session_ ? session_->backend() : "reference"; }

  /// The logits after the last `rows` of `ids`, which nothing precedes.
  void read(const std::vector<TokenId>& ids, std::size_t rows, const gemma::LogitsSink& sink,
            const std::function<void(std::size_t done)>& progress) {
    if (!session_) return read_by_reference(ids, rows, sink, progress);
    const Interrupt interrupt(*session_);
    session_->reset();
    gemma::Outputs outputs;
    outputs.logit_rows = rows;
    outputs.logits = sink;
    const auto on_progress = [&](const gemma::Progress& p) {
      progress(static_cast<std::size_t>(p.done));
      return true;
    };
    session_->try_evaluate(ids, outputs, on_progress).value();
    // A session does not report what came during its last batch.
    if (Interrupt::hit()) throw gemma::Error(gemma::ErrorCode::cancelled, "cancelled");
  }

 private:
  void read_by_reference(const std::vector<TokenId>& ids, std::size_t rows,
                         const gemma::LogitsSink& sink,
                         const std::function<void(std::size_t done)>& progress) {
    const std::size_t vocab = model_.config().vocab_size;
    for (const TokenId id : ids) {
      if (static_cast<std::size_t>(id) < vocab) continue;
      throw std::runtime_error("token id " + std::to_string(id) +
                               " is not in the vocabulary [0, " + std::to_string(vocab) + ")");
    }
    if (model_.config().bidirectional) {
      throw std::runtime_error(model_.path() + ": this model makes embeddings, see `gemma embed`");
    }
    gemma::reference::Model runner(model_.config(), model_.weights());
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
      progress(done);
    }
  }

  gemma::Model model_;
  std::optional<gemma::Session> session_;
};

inline double logsumexp(Span<const float> row) {
  double largest = double{row[0]};
  for (const float x : row) largest = (std::max)(largest, double{x});
  double sum = 0.0;
  for (const float x : row) sum += std::exp(double{x} - largest);
  return largest + std::log(sum);
}

/// Ids of the `count` largest logits, the largest first; NaN is smaller than all.
inline std::vector<TokenId> largest_logits(Span<const float> row, std::size_t count) {
  std::vector<TokenId> order(row.size());
  std::iota(order.begin(), order.end(), 0);
  const auto kept = static_cast<std::ptrdiff_t>((std::min)(count, row.size()));
  const auto value = [&](TokenId id) {
    const float x = row[static_cast<std::size_t>(id)];
    return std::isnan(x) ? -std::numeric_limits<float>::infinity() : x;
  };
  std::partial_sort(order.begin(), order.begin() + kept, order.end(), [&](TokenId a, TokenId b) {
    return value(a) > value(b) || (value(a) == value(b) && a < b);
  });
  order.resize(static_cast<std::size_t>(kept));
  return order;
}

struct LogitsOptions {
  EngineOptions engine;
  std::optional<std::vector<TokenId>> ids;
  std::size_t last = 1;
  std::size_t top = 0;
  bool reference = false;
};

/// One position as JSON text, written at once: a full row is long.
inline void print_position(std::size_t position, Span<const float> row, std::size_t top) {
  // JSON knows no NaN or infinity.
  const auto print_number = [](double x) {
    std::isfinite(x) ? std::printf("%.9g", x) : std::printf("null");
  };
  std::printf("{\"pos\":%zu,\"argmax\":%d,\"logsumexp\":", position, gemma::greedy_token(row));
  print_number(logsumexp(row));
  if (top > 0) {
    const char* before = ",\"top\":[";
    for (const TokenId id : largest_logits(row, top)) {
      std::printf("%s[%d,", std::exchange(before, ","), id);
      print_number(double{row[static_cast<std::size_t>(id)]});
      std::printf("]");
    }
  } else {
    const char* before = ",\"logits\":[";
    for (const float x : row) {
      std::printf("%s", std::exchange(before, ","));
      print_number(double{x});
    }
  }
  std::printf("]}");
}

inline int logits(const LogitsOptions& o) {
  const std::vector<TokenId>& ids = *o.ids;
  const gemma::Model model = o.engine.load();
  const std::size_t rows = o.last == 0 ? ids.size() : (std::min)(o.last, ids.size());
  Evaluator evaluator(o.engine, model, o.reference, ids.size());
  ProgressLine progress("tokens");
  const std::string head = "{\"backend\":" + Json(evaluator.backend()).dump() + ",\"positions\":[";
  const char* before = head.c_str();
  evaluator.read(
      ids, rows,
      [&](std::size_t position, Span<float> row) {
        std::printf("%s", std::exchange(before, ","));
        print_position(position, row, o.top);
      },
      [&](std::size_t done) { progress.update("reading", done, ids.size()); });
  std::printf("]}\n");
  return 0;
}

inline void add_logits(CLI::App& app, Action& action) {
  CLI::App* sub = app.add_subcommand("logits", "Print the logits after given token ids, as JSON");
  auto o = std::make_shared<LogitsOptions>();
  o->engine.add_to(*sub, "as many as there are ids");
  o->engine.lora.add_to(*sub);
  add_ids(*sub, "--ids", o->ids, "token ids: 2,105,…")->required();
  sub->add_option("--last", o->last, "positions to print, counted from the end; 0: all")
      ->capture_default_str()->check(whole_number());
  sub->add_option("--top", o->top, "print only the K largest logits of each position; 0: all")
      ->capture_default_str()->check(whole_number());
  sub->add_flag("--reference", o->reference, "use the scalar float32 reference model");
  sub->footer(
      "Examples:\n"
      "  gemma logits model.gguf --ids 2,651,5134 --top 10\n"
      "  gemma logits model.gguf --ids 2,651,5134 --last 0 --reference");
  sub->callback([o, &action] { action = [o] { return logits(*o); }; });
}

struct ScoreOptions {
  EngineOptions engine;
  std::optional<std::string> file;
  std::optional<std::vector<TokenId>> ids;
  bool reference = false;
};

/// The contexts to score: the given ids, or windows of a file that each begin with BOS.
inline std::vector<std::vector<TokenId>> windows_of(const ScoreOptions& o,
                                                    const gemma::Model& model) {
  if (o.ids) return {*o.ids};
  constexpr std::size_t kUsual = 2048;
  const std::size_t size = o.engine.context != 0
                               ? o.engine.context
                               : (std::min)(kUsual, model.config().context_length);
  const std::vector<TokenId> text = model.tokenizer().encode(read_file(*o.file));
  const bool bos = model.tokenizer().bos().has_value();
  if (size < 2) throw UsageError("--ctx must be at least 2 to predict anything");
  std::vector<std::vector<TokenId>> windows;
  for (std::size_t at = 0; at < text.size();) {
    std::vector<TokenId> window;
    window.reserve(size);
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
  const gemma::Model model = o.engine.load();
  const std::vector<std::vector<TokenId>> windows = windows_of(o, model);
  std::size_t total = 0;
  std::size_t longest = 0;
  for (const std::vector<TokenId>& ids : windows) {
    total += ids.size();
    longest = (std::max)(longest, ids.size());
  }
  if (longest < 2) throw std::runtime_error("nothing to score: at least two tokens are needed");
  Evaluator evaluator(o.engine, model, o.reference, longest);
  ProgressLine progress("tokens");
  double nll = 0.0;
  std::size_t predicted = 0;
  std::size_t before = 0;
  const auto start = std::chrono::steady_clock::now();
  for (const std::vector<TokenId>& ids : windows) {
    evaluator.read(
        ids, ids.size(),
        [&](std::size_t position, Span<float> row) {
          if (position + 1 == ids.size()) return;
          nll += logsumexp(row) - double{row[static_cast<std::size_t>(ids[position + 1])]};
          ++predicted;
        },
        [&](std::size_t done) { progress.update("scoring", before + done, total); });
    before += ids.size();
  }
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
  o->engine.add_to(*sub, "2048 for a file, else as many as there are ids");
  o->engine.lora.add_to(*sub);
  CLI::Option_group* input = sub->add_option_group("text", "what to score (one of)");
  add_text(*input, "--file", o->file,
           "a text, cut into windows of --ctx tokens that begin with BOS; - is standard input");
  add_ids(*input, "--ids", o->ids, "token ids in one context: 2,105,…");
  input->require_option(1);
  sub->add_flag("--reference", o->reference, "use the scalar float32 reference model");
  sub->footer(
      "Examples:\n"
      "  gemma score model.gguf --file book.txt --ctx 2048\n"
      "  gemma score model.gguf --file book.txt --lora adapter.gguf\n"
      "  gemma score model.gguf --ids 2,651,5134,576 --reference");
  sub->callback([o, &action] { action = [o] { return score(*o); }; });
}

}  // namespace cli
