// The engine for a web page: the functions that worker.js calls. A generation is done step by step, so that
// between two steps the worker hears of the stop button. `build`, beside this file, compiles it.
#include <gemma/gemma.hpp>

#include <emscripten.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace {

/// The prompt is read in parts of so many tokens. More would be no faster, and the stop button slower.
constexpr std::size_t kPart = 64;

struct Engine {
  std::optional<gemma::Model> model;
  std::optional<gemma::Session> session;
  std::string said;  ///< what the last call has to say: an error, or text

  std::vector<gemma::TokenId> unread;
  std::optional<gemma::Sampler> sampler;
  std::optional<gemma::StreamDecoder> decoder;
  std::vector<float> logits;
  std::vector<gemma::TokenId> history;
  gemma::Outputs last;

  int fail(const gemma::Error& error) {
    said = error.message();
    return -1;
  }
};

Engine& engine() {
  static Engine the_only_one;
  return the_only_one;
}

/// Reads the first of the unread tokens.
gemma::Status read_part(Engine& e) {
  const std::size_t count = std::min(kPart, e.unread.size());
  const bool all = count == e.unread.size();
  const gemma::Span<const gemma::TokenId> part(e.unread.data(), count);
  GEMMA_TRY(e.session->try_evaluate(part, all ? e.last : gemma::Outputs{}));
  e.unread.erase(e.unread.begin(), e.unread.begin() + static_cast<std::ptrdiff_t>(count));
  return {};
}

gemma::Result<std::vector<gemma::TokenId>> prompt_ids(const gemma::Model& model, const char* prompt,
                                                      bool chat) {
  const gemma::Tokenizer& tokenizer = model.tokenizer();
  if (chat) return gemma::encode_chat(tokenizer, model.chat_format(), {{gemma::Role::user, prompt}});
  gemma::EncodeOptions options;
  options.bos = tokenizer.add_bos();
  return tokenizer.encode(prompt, options);
}

}  // namespace

extern "C" {

/// Memory for a file of `size` bytes, which the caller fills before web_load(); 0 if there is too little.
/// To be called once, before anything else: this memory is never given back.
EMSCRIPTEN_KEEPALIVE std::uint8_t* web_reserve(std::size_t size) {
  // malloc() gives at most 2 GiB; the heap grows further, step by step.
  constexpr std::size_t kLine = 64, kStep = std::size_t{1} << 30;
  const auto begin = reinterpret_cast<std::uintptr_t>(sbrk(0));
  const std::uintptr_t aligned = (begin + kLine - 1) / kLine * kLine;
  for (std::size_t left = size + (aligned - begin); left > 0;) {
    const std::size_t step = std::min(left, kStep);
    if (sbrk(static_cast<std::intptr_t>(step)) == reinterpret_cast<void*>(-1)) return nullptr;
    left -= step;
  }
  return reinterpret_cast<std::uint8_t*>(aligned);
}

/// The last call's text, or why it failed.
EMSCRIPTEN_KEEPALIVE const char* web_said() { return engine().said.c_str(); }

/// Makes a model and a session of the file in the reserved memory. 0, or -1 and web_said().
EMSCRIPTEN_KEEPALIVE int web_load(const std::uint8_t* file, std::size_t size, const char* name,
                                  std::size_t context, std::size_t threads) {
  Engine& e = engine();
  gemma::Result<gemma::Model> model = gemma::try_load_bytes(gemma::Bytes(file, size), name);
  if (!model) return e.fail(model.error());
  gemma::SessionOptions options;
  options.context = std::min(context, model->config().context_length);
  options.threads = threads;
  options.batch = kPart;
  gemma::Result<gemma::Session> session = gemma::Session::create(*model, options);
  if (!session) return e.fail(session.error());
  e.model = std::move(*model);
  e.session = std::move(*session);
  e.last.logit_rows = 1;
  e.last.logits = [&e](std::size_t, gemma::Span<float> row) {
    e.logits.assign(row.begin(), row.end());
  };
  e.said = std::string(gemma::family_name(e.model->config().family)) + ", " +
           std::to_string(e.model->config().layers.size()) + " layers\n" + gemma::build_info();
  return 0;
}

/// Whether the model knows turns of a conversation.
EMSCRIPTEN_KEEPALIVE int web_can_chat() {
  const gemma::Model& model = *engine().model;
  return gemma::ChatEncoder::create(model.tokenizer(), model.chat_format()).ok() ? 1 : 0;
}

EMSCRIPTEN_KEEPALIVE std::size_t web_context() { return engine().session->context(); }

/// Forgets everything and takes a prompt. Its number of tokens, or -1 and web_said().
EMSCRIPTEN_KEEPALIVE int web_begin(const char* prompt, int chat, float temperature,
                                   std::uint32_t seed) {
  Engine& e = engine();
  gemma::Result<std::vector<gemma::TokenId>> ids = prompt_ids(*e.model, prompt, chat != 0);
  if (!ids) return e.fail(ids.error());
  if (ids->empty()) return e.fail({gemma::ErrorCode::invalid_argument, "the prompt is empty"});
  if (ids->size() > e.session->context()) {
    return e.fail({gemma::ErrorCode::context_full,
                   "the prompt has " + std::to_string(ids->size()) + " tokens, but the context only " +
                       std::to_string(e.session->context()) + "; shorten it, or load the model "
                       "with a larger context"});
  }
  gemma::SamplerOptions options;
  options.temperature = temperature;
  options.seed = seed;
  if (const gemma::Status status = gemma::check_sampler_options(options); !status) {
    return e.fail(status.error());
  }
  e.session->reset();
  e.sampler.emplace(options);
  e.decoder.emplace(e.model->tokenizer());
  e.last.top = temperature == 0.0f ? 1 : options.top_k;
  e.unread = e.history = std::move(*ids);
  return static_cast<int>(e.unread.size());
}

/// Reads a part of the prompt. How many of its tokens remain, or -1 and web_said().
EMSCRIPTEN_KEEPALIVE int web_read() {
  Engine& e = engine();
  if (const gemma::Status status = read_part(e); !status) return e.fail(status.error());
  return static_cast<int>(e.unread.size());
}

/// Draws a token, whose text is then web_said(). 1, or what ended the answer: 0 the model, 2 the
/// context's end; -1 and web_said() if it failed.
EMSCRIPTEN_KEEPALIVE int web_write() {
  Engine& e = engine();
  e.said.clear();
  if (!e.unread.empty()) {
    if (e.session->position() == e.session->context()) return 2;
    if (const gemma::Status status = read_part(e); !status) return e.fail(status.error());
  }
  const gemma::TokenId id = e.sampler->sample(gemma::Span<float>(e.logits), e.history);
  if (e.model->is_stop(id)) {
    e.said = e.decoder->flush();
    return 0;
  }
  e.unread = {id};
  e.history.push_back(id);
  e.said = e.decoder->push(id);
  return 1;
}

}  // extern "C"
