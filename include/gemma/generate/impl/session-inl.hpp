// Bodies of session.hpp.
#ifndef GEMMA_GENERATE_IMPL_SESSION_INL_HPP_
#define GEMMA_GENERATE_IMPL_SESSION_INL_HPP_

#include <algorithm>
#include <chrono>
#include <cmath>
#include <utility>

#include "gemma/backend/cpu.hpp"
#include "gemma/base/float16.hpp"
#include "gemma/generate/impl/choose_runner-inl.hpp"
#include "gemma/generate/impl/session_memory-inl.hpp"
#include "gemma/generate/look_up.hpp"
#include "gemma/generate/session.hpp"
#include "gemma/generate/stop_strings.hpp"
#include "gemma/quant/registry.hpp"

GEMMA_NAMESPACE_BEGIN
namespace detail {

/// W x, for one vector.
inline std::vector<double> multiply(const WeightMatrix& w, const std::vector<double>& x) {
  std::vector<double> y;
  std::vector<float> row(w.cols);
  for (std::size_t r = 0; r < w.rows; ++r) {
    quant::decode_row(w, r, row.data());
    double sum = 0.0;
    for (std::size_t c = 0; c < w.cols; ++c) sum += double{row[c]} * x[c];
    y.push_back(sum);
  }
  return y;
}

/// Whether none of the numbers is NaN or infinite; −infinity may be allowed.
inline bool all_finite(Span<const float> x, bool or_minus_infinity = false) {
  constexpr std::uint32_t kInfinity = 0x7F800000u;
  const std::uint32_t allowed = or_minus_infinity ? 0x80000000u | kInfinity : 0u;
  const auto magnitude = [&](float value) {
    const std::uint32_t bits = float_bits(value);
    return bits == allowed ? 0u : bits & 0x7FFFFFFFu;
  };
  // Compilers make SIMD code of a loop with as many steps as are written.
  constexpr std::size_t kStep = 16;
  std::uint32_t largest[kStep] = {};
  std::size_t i = 0;
  for (; i + kStep <= x.size(); i += kStep) {
    for (std::size_t j = 0; j < kStep; ++j) largest[j] = (std::max)(largest[j], magnitude(x[i + j]));
  }
  for (; i < x.size(); ++i) largest[0] = (std::max)(largest[0], magnitude(x[i]));
  return *std::max_element(largest, largest + kStep) < kInfinity;
}

inline Error not_numbers(const std::string& path, bool adapted) {
  const char* why = adapted ? "its weights or its adapters are damaged, or a scale is too large"
                            : "its weights are damaged: get the file again";
  return Error(ErrorCode::format, path + ": what the model computes are not numbers; " + why);
}

/// How many of the largest logits decide what is drawn; 0: all may.
inline std::size_t logits_that_matter(const GenerateOptions& options) {
  const SamplerOptions& sampler = options.sampler;
  if (options.logit_filter || sampler.repeat_penalty != 1.0f) return 0;
  return sampler.temperature == 0.0f ? 1 : sampler.top_k;
}

}  // namespace detail

GEMMA_INLINE const char* stop_reason_name(StopReason reason) {
  switch (reason) {
    case StopReason::eos: return "eos";
    case StopReason::max_tokens: return "max_tokens";
    case StopReason::stop_string: return "stop_string";
    case StopReason::context_full: return "context_full";
    case StopReason::cancelled: break;
  }
  return "cancelled";
}

GEMMA_INLINE double GenerateResult::prefill_rate() const {
  return prefill_seconds > 0.0 ? static_cast<double>(prompt_ids.size()) / prefill_seconds : 0.0;
}

GEMMA_INLINE double GenerateResult::decode_rate() const {
  // The first token comes from the prefill.
  const bool any = ids.size() > 1 && decode_seconds > 0.0;
  return any ? static_cast<double>(ids.size() - 1) / decode_seconds : 0.0;
}

GEMMA_INLINE Result<Session> Session::create(const Model& model, const SessionOptions& options) {
  if (options.batch == 0) {
    return Error(ErrorCode::invalid_argument, "a batch of 0 tokens; it must be at least 1");
  }
  constexpr std::size_t kMaxThreads = 1024;
  if (options.threads > kMaxThreads) {
    return Error(ErrorCode::invalid_argument,
                 std::to_string(options.threads) + " threads; at most " +
                     std::to_string(kMaxThreads) + " make sense");
  }
  const std::size_t trained = model.config().context_length;
  if (options.context > trained) {
    return Error(ErrorCode::invalid_argument,
                 model.path() + ": a context of " + std::to_string(options.context) +
                     " tokens, but the model was trained for at most " + std::to_string(trained));
  }
  GEMMA_TRY(detail::check_memory(model, options));
  const auto start = std::chrono::steady_clock::now();
  GEMMA_TRY_ASSIGN(detail::ChosenRunner chosen, detail::choose_runner(model, options));
  Session session(model, options, std::move(chosen.runner), std::move(chosen.reason));
  session.init_seconds_ = detail::seconds_since(start);
#if defined(GEMMA_OPENCL)
  session.devices_ = std::move(chosen.devices);
#endif
  if (!options.adapters.empty()) GEMMA_TRY(session.try_set_adapters(options.adapters));
  return session;
}

GEMMA_INLINE std::string Session::backend_reason() const {
  const std::string remark = runner_->remark();
  return remark.empty() ? backend_reason_ : backend_reason_ + "; " + remark;
}

GEMMA_INLINE SessionMetrics Session::metrics() const {
  SessionMetrics metrics;
  metrics.load_seconds = model_.load_seconds();
  metrics.init_seconds = init_seconds_;
  metrics.first_token_seconds = first_token_seconds_;
  metrics.prefill_rate = prefill_rate_;
  metrics.decode_rate = decode_rate_;
  metrics.memory = plan_memory(model_, options_);
#if defined(GEMMA_OPENCL)
  if (backend() != "cpu") metrics.memory = plan_opencl_memory(model_, options_);
#endif
  return metrics;
}

GEMMA_INLINE void Session::reset() {
  runner_->reset();
  history_.clear();
  unread_.clear();
}

GEMMA_INLINE Status Session::try_set_adapters(std::vector<SessionAdapter> adapters) {
  if (!adapters.empty() && options_.backend == Backend::opencl) return detail::opencl_without_adapters();
  auto table = std::make_shared<LowRankTable>();
  for (const SessionAdapter& a : adapters) {
    GEMMA_TRY(a.adapter.add_to(model_.weights(), a.scale, *table));
  }
  SessionOptions options = options_;
  options.adapters = std::move(adapters);
  GEMMA_TRY(detail::check_memory(model_, options));
  GEMMA_TRY(runner_->set_adapters(std::move(table)));
  options_.adapters = std::move(options.adapters);
  reset();
  return {};
}

GEMMA_INLINE Status Session::check_ids(Span<const TokenId> ids) const {
  const std::size_t vocab = model_.config().vocab_size;
  for (const TokenId id : ids) {
    if (id < 0 || static_cast<std::size_t>(id) >= vocab) {
      return Error(ErrorCode::invalid_argument, "token id " + std::to_string(id) +
                                                    " is not in the vocabulary [0, " +
                                                    std::to_string(vocab) + ")");
    }
  }
  const std::size_t free = runner_->context() - runner_->position();
  if (ids.size() <= free) return {};
  return Error(ErrorCode::context_full,
               std::to_string(ids.size()) + " tokens do not fit: " + std::to_string(free) +
                   " of the context's " + std::to_string(runner_->context()) +
                   " positions are free; shorten the text or choose a larger context");
}

/// Passes results on only as long as they are numbers.
GEMMA_INLINE Status Session::forward(Span<const TokenId> ids, const Outputs& outputs) {
  bool finite = true;
  Outputs checked;
  checked.logit_rows = outputs.logit_rows;
  checked.top = outputs.top;
  checked.logits = [&](std::size_t index, Span<float> row) {
    finite = finite && detail::all_finite(row, outputs.top > 0);
    if (finite) outputs.logits(index, row);
  };
  if (outputs.best) {
    checked.best = [&](std::size_t index, TokenId id, float logit) {
      finite = finite && detail::all_finite(Span<const float>(&logit, 1));
      if (finite) outputs.best(index, id, logit);
    };
  }
  if (outputs.hidden) {
    checked.hidden = [&](std::size_t index, Span<const float> row) {
      finite = finite && detail::all_finite(row);
      if (finite) outputs.hidden(index, row);
    };
  }
  GEMMA_TRY(runner_->forward(ids, checked));
  if (finite) return {};
  reset();
  return detail::not_numbers(model_.path(), !options_.adapters.empty());
}

GEMMA_INLINE Status Session::check_generates() const {
  if (!model_.config().bidirectional) return {};
  return Error(ErrorCode::unsupported,
               model_.path() + ": this model makes embeddings of texts (`gemma embed`, "
                               "Session::embed()); it cannot continue them");
}

GEMMA_INLINE Status Session::try_evaluate(Span<const TokenId> ids, const Outputs& outputs,
                                          const ProgressFn& progress) {
  if (outputs.logit_rows > 0) GEMMA_TRY(check_generates());
  if (model_.config().bidirectional) reset();  // every text stands for itself
  std::vector<TokenId> all;
  all.swap(unread_);
  const std::size_t unread = all.size();
  all.insert(all.end(), ids.begin(), ids.end());
  if (Status status = check_ids(all); !status) {
    all.resize(unread);
    unread_.swap(all);
    return status;
  }
  const std::size_t first_wanted = all.size() - (std::min)(outputs.logit_rows, ids.size());
  for (std::size_t done = 0; done < all.size();) {
    const std::size_t count = (std::min)(all.size() - done, runner_->max_batch());
    const std::size_t end = done + count;
    Outputs part;
    part.top = outputs.top;
    part.logit_rows = end - (std::min)(end, (std::max)(done, first_wanted));
    part.logits = [&](std::size_t index, Span<float> logits) {
      outputs.logits(done + index - unread, logits);
    };
    if (outputs.best) {
      part.best = [&](std::size_t index, TokenId id, float logit) {
        outputs.best(done + index - unread, id, logit);
      };
    }
    if (outputs.hidden) {
      part.hidden = [&](std::size_t index, Span<const float> hidden) {
        if (done + index >= unread) outputs.hidden(done + index - unread, hidden);
      };
    }
    GEMMA_TRY(forward(Span<const TokenId>(all).subspan(done, count), part));
    done = end;
    const bool go_on = !progress || progress({"prefill", done, all.size()});
    if ((!go_on || cancelled_->load()) && done < all.size()) {
      reset();
      return Error(ErrorCode::cancelled, "cancelled while reading the prompt");
    }
  }
  history_.insert(history_.end(), ids.begin(), ids.end());
  return {};
}

GEMMA_INLINE Result<std::vector<float>> Session::try_logits(Span<const TokenId> ids) {
  if (ids.empty()) {
    return Error(ErrorCode::invalid_argument, "no tokens: there is nothing to give logits for");
  }
  cancelled_->store(false);
  std::vector<float> logits;
  Outputs outputs;
  outputs.logit_rows = 1;
  outputs.logits = [&](std::size_t, Span<float> row) { logits.assign(row.begin(), row.end()); };
  GEMMA_TRY(try_evaluate(ids, outputs));
  return logits;
}

GEMMA_INLINE Result<std::vector<float>> Session::try_embed(std::string_view text,
                                                           const EmbedOptions& options) {
  EncodeOptions encode;
  encode.bos = model_.tokenizer().add_bos();
  std::vector<TokenId> ids = model_.tokenizer().encode(text, encode);
  if (model_.tokenizer().add_eos()) ids.push_back(*model_.tokenizer().eos());
  return try_embed(ids, options);
}

GEMMA_INLINE Result<std::vector<float>> Session::try_embed(Span<const TokenId> ids,
                                                           const EmbedOptions& options) {
  if (ids.empty()) return Error(ErrorCode::invalid_argument, "no tokens: nothing to embed");
  reset();
  std::vector<double> sum(model_.config().width, 0.0);
  Outputs outputs;
  outputs.hidden = [&](std::size_t index, Span<const float> hidden) {
    if (options.pooling == Pooling::last_token && index + 1 < ids.size()) return;
    for (std::size_t i = 0; i < sum.size(); ++i) sum[i] += double{hidden[i]};
  };
  GEMMA_TRY(try_evaluate(ids, outputs));
  const double count = options.pooling == Pooling::mean ? static_cast<double>(ids.size()) : 1.0;
  for (double& value : sum) value /= count;
  for (const WeightMatrix& dense : model_.weights().dense) sum = detail::multiply(dense, sum);
  double squares = 0.0;
  for (const double value : sum) squares += value * value;
  const double length = options.normalise && squares > 0.0 ? std::sqrt(squares) : 1.0;
  std::vector<float> embedding;
  for (const double value : sum) embedding.push_back(static_cast<float>(value / length));
  if (!detail::all_finite(Span<const float>(embedding))) return detail::not_numbers(model_.path(), !options_.adapters.empty());
  return embedding;
}

GEMMA_INLINE std::vector<TokenId> Session::encode(std::string_view text) const {
  EncodeOptions encode;
  encode.bos = position() == 0 && unread_.empty() && model_.tokenizer().add_bos();
  return model_.tokenizer().encode(text, encode);
}

GEMMA_INLINE Status Session::try_read(std::string_view text, const ProgressFn& progress) {
  const std::vector<TokenId> ids = encode(text);
  return try_read(Span<const TokenId>(ids), progress);
}

GEMMA_INLINE Status Session::try_read(Span<const TokenId> ids, const ProgressFn& progress) {
  if (ids.empty()) return {};
  cancelled_->store(false);
  std::vector<TokenId> all = unread_;
  all.insert(all.end(), ids.begin(), ids.end());
  GEMMA_TRY(check_ids(all));
  // The last one is read when its logits are wanted.
  if (ids.size() > 1) {
    GEMMA_TRY(try_evaluate(ids.subspan(0, ids.size() - 1), Outputs{}, progress));
  }
  history_.push_back(ids.back());
  unread_.push_back(ids.back());
  return {};
}

GEMMA_INLINE Result<GenerateResult> Session::try_generate(std::string_view prompt,
                                                          const TextSink& sink,
                                                          const GenerateOptions& options) {
  const std::vector<TokenId> ids = encode(prompt);
  return try_generate(Span<const TokenId>(ids), sink, options);
}

GEMMA_INLINE Result<GenerateResult> Session::try_generate(Span<const TokenId> prompt,
                                                          const TextSink& sink,
                                                          const GenerateOptions& options) {
  if (prompt.empty() && history_.empty()) {
    return Error(ErrorCode::invalid_argument,
                 "the prompt is empty, and nothing before it is to be continued: give at least one "
                 "token, such as BOS");
  }
  GEMMA_TRY(check_sampler_options(options.sampler));
  cancelled_->store(false);
  GenerateResult result;
  result.prompt_ids.assign(prompt.begin(), prompt.end());

  const auto start = std::chrono::steady_clock::now();
  Last last;
  const Outputs wanted = ask_for(last, options);
  Status status = prompt.empty() ? evaluate_unread(wanted, options.progress)
                                 : try_evaluate(prompt, wanted, options.progress);
  if (!status) {
    if (status.error().code() != ErrorCode::cancelled) return status.take_error();
    result.stop = StopReason::cancelled;
    return result;
  }
  result.prefill_seconds = detail::seconds_since(start);
  GEMMA_TRY(decode(result, last, sink, options));
  first_token_seconds_ = result.first_token_seconds;
  prefill_rate_ = result.prefill_rate();
  decode_rate_ = result.decode_rate();
  return result;
}

/// Reads what is unread, or else the last token again, as if it had only been given now.
GEMMA_INLINE Status Session::evaluate_unread(const Outputs& outputs, const ProgressFn& progress) {
  if (unread_.empty()) {
    runner_->rewind(position() - 1);
    unread_ = {history_.back()};
  }
  const std::vector<TokenId> ids = std::exchange(unread_, {});
  history_.resize(history_.size() - ids.size());
  const std::size_t before = position();
  Status status = try_evaluate(ids, outputs, progress);
  if (!status && status.error().code() != ErrorCode::cancelled && position() == before) {
    history_.insert(history_.end(), ids.begin(), ids.end());
    unread_ = ids;
  }
  return status;
}

GEMMA_INLINE Outputs Session::ask_for(Last& last, const GenerateOptions& options) {
  Outputs outputs;
  outputs.logit_rows = 1;
  outputs.top = detail::logits_that_matter(options);
  outputs.logits = [&last](std::size_t, Span<float> row) {
    last.logits.assign(row.begin(), row.end());
    last.best.reset();
  };
  if (options.sampler.temperature == 0.0f && outputs.top == 1) {
    outputs.best = [&last](std::size_t, TokenId id, float) { last.best = id; };
  }
  return outputs;
}

/// Reads the unread tokens and a draft after them. Returns the tokens that are right: as many of the
/// draft as agree with the model, and the one that follows. The first of them to the last but one
/// are in the KV cache, nothing else is.
GEMMA_INLINE Result<std::vector<TokenId>> Session::check_draft(const std::vector<TokenId>& unread,
                                                               const std::vector<TokenId>& draft) {
  std::vector<TokenId> ids = unread;
  ids.insert(ids.end(), draft.begin(), draft.end());
  std::vector<TokenId> drawn;
  Outputs outputs;
  outputs.logit_rows = draft.size() + 1;
  outputs.top = 1;
  outputs.logits = [&](std::size_t, Span<float> row) { drawn.push_back(greedy_token(row)); };
  GEMMA_TRY(forward(ids, outputs));
  std::size_t right = 0;
  while (right < draft.size() && drawn[right] == draft[right]) ++right;
  runner_->rewind(runner_->position() - (draft.size() - right));
  drawn.resize(right + 1);
  return drawn;
}

/// Reads `next` and up to steps − 1 greedy tokens after it, if the runner can. Returns the tokens after
/// each: the first of them to the last but one are in the KV cache.
GEMMA_INLINE Result<std::vector<TokenId>> Session::draw_ahead(TokenId next, std::size_t steps) {
  GEMMA_TRY_ASSIGN(const std::vector<DrawnToken> drawn, runner_->draw_greedily(next, steps));
  std::vector<TokenId> ids;
  for (const DrawnToken& token : drawn) {
    if (!detail::all_finite(Span<const float>(&token.logit, 1))) {
      reset();
      return detail::not_numbers(model_.path(), !options_.adapters.empty());
    }
    ids.push_back(token.id);
  }
  return ids;
}

GEMMA_INLINE Status Session::decode(GenerateResult& result, Last& last, const TextSink& sink,
                                    const GenerateOptions& options) {
  const auto start = std::chrono::steady_clock::now();
  Sampler sampler(options.sampler);
  StreamDecoder decoder(model_.tokenizer());
  StopStringFilter filter(options.stop);
  const bool drafts = options.draft_tokens > 0 && options.sampler.temperature == 0.0f &&
                      detail::logits_that_matter(options) == 1;
  const Outputs wanted = ask_for(last, options);
  std::vector<TokenId> ahead;  // known already, the next one last; all but the first are read
  const auto emit = [&](const std::string& text) {
    result.text += text;
    return text.empty() || !sink || sink(text);
  };
  result.stop = StopReason::max_tokens;
  while (result.ids.size() < options.max_tokens) {
    if (cancelled_->load()) {
      result.stop = StopReason::cancelled;
      break;
    }
    TokenId id = 0;
    if (!ahead.empty()) {
      id = ahead.back();
      ahead.pop_back();
    } else if (last.best) {
      id = *last.best;
    } else {
      if (options.logit_filter) options.logit_filter(Span<float>(last.logits));
      id = sampler.sample(Span<float>(last.logits), history_);
    }
    if (result.ids.empty()) {
      result.first_token_seconds = result.prefill_seconds + detail::seconds_since(start);
    }
    if (!options.ignore_eos && model_.is_stop(id)) {
      result.stop = StopReason::eos;
      break;
    }
    result.ids.push_back(id);
    history_.push_back(id);
    if (ahead.empty()) unread_.push_back(id);
    const bool go_on = emit(filter.push(decoder.push(id)));
    if (filter.stopped() || !go_on) {
      result.stop = filter.stopped() ? StopReason::stop_string : StopReason::cancelled;
      break;
    }
    if (result.ids.size() == options.max_tokens) break;
    if (!ahead.empty()) continue;
    const std::size_t room = runner_->context() - runner_->position();
    if (room == 0) {
      result.stop = StopReason::context_full;
      break;
    }
    const std::vector<TokenId> next = std::exchange(unread_, {});
    // Few enough that the activations are as fine as those of a single token.
    constexpr std::size_t kMost = simd::kCoarseTokens - 1;
    const std::size_t fit = (std::min)({room, runner_->max_batch(), kMost});
    const std::size_t most = drafts && fit > next.size() ? fit - next.size() : 0;
    const std::vector<TokenId> draft = look_up(history_, (std::min)(options.draft_tokens, most));
    if (draft.empty()) {
      const std::size_t left = options.max_tokens - result.ids.size();
      const std::size_t steps = (std::min)({options.steps_per_sync, room, left});
      if (steps > 1 && next.size() == 1 && wanted.best) {
        GEMMA_TRY_ASSIGN(ahead, draw_ahead(next[0], steps));
        std::reverse(ahead.begin(), ahead.end());
      }
      if (ahead.empty()) GEMMA_TRY(forward(next, wanted));
      continue;
    }
    GEMMA_TRY_ASSIGN(ahead, check_draft(next, draft));
    result.drafted += draft.size();
    result.accepted += ahead.size() - 1;
    std::reverse(ahead.begin(), ahead.end());
  }
  // What was read ahead, and never written.
  const std::size_t read = history_.size() - unread_.size();
  if (runner_->position() > read) runner_->rewind(read);
  if (!filter.stopped()) emit(filter.push(decoder.flush()) + filter.flush());
  result.decode_seconds = detail::seconds_since(start);
  return {};
}

GEMMA_NAMESPACE_END

#endif  // GEMMA_GENERATE_IMPL_SESSION_INL_HPP_
