#include "gemma/generate/session.hpp"

#include <doctest/doctest.h>

#include <atomic>
#include <cmath>
#include <limits>
#include <string>
#include <thread>
#include <vector>

#include "gemma/model/reference.hpp"
#include "generate/tiny_session.hpp"

namespace {

using gemma::ErrorCode;
using gemma::GenerateOptions;
using gemma::Session;
using gemma::SessionOptions;
using gemma::Span;
using gemma::StopReason;
using gemma::TokenId;

const std::vector<TokenId> kPrompt = {2, 10, 20, 30, 40};

Span<const TokenId> prompt() { return Span<const TokenId>(kPrompt); }

}  // namespace

TEST_CASE("text comes out piece by piece, and the pieces make the whole") {
  Session session(tiny(), options_of(64));
  std::string streamed;
  const auto result = session.generate("hello", [&](std::string_view piece) {
    streamed += piece;
    return true;
  }, greedy(20));
  CHECK(streamed == result.text);
  CHECK(result.ids.size() == 20);
  CHECK(result.stop == StopReason::max_tokens);
  CHECK(result.prompt_ids.front() == 2);
  CHECK(session.backend() == "cpu");
  CHECK_FALSE(session.backend_reason().empty());
}

TEST_CASE("greedy generation is the argmax of the logits, step by step") {
  const gemma::Model model = tiny();
  Session session(model, options_of(64));
  const auto result = session.generate(prompt(), {}, greedy(12));
  Session steps(model, options_of(64));
  std::vector<TokenId> next = kPrompt;
  for (const TokenId id : result.ids) {
    const std::vector<float> logits = steps.logits(Span<const TokenId>(next));
    CHECK(gemma::greedy_token(Span<const float>(logits)) == id);
    next = {id};
  }
}

TEST_CASE("a generation goes on where the last one ended") {
  const gemma::Model model = tiny();
  Session whole(model, options_of(64));
  const auto want = whole.generate(prompt(), {}, greedy(12)).ids;
  Session parts(model, options_of(64));
  std::vector<TokenId> ids = parts.generate(prompt(), {}, greedy(6)).ids;
  const std::vector<TokenId> last = {ids.back()};
  // The token drawn last is not in the cache yet; it is read before what follows.
  CHECK(parts.position() == kPrompt.size() + 5);
  const std::vector<float> logits = parts.logits(Span<const TokenId>(want.data() + 6, 1));
  CHECK(parts.position() == kPrompt.size() + 7);
  CHECK(gemma::greedy_token(Span<const float>(logits)) == want[7]);
}

TEST_CASE("the same seed writes the same text on any number of threads") {
  const gemma::Model model = tiny();
  GenerateOptions options;
  options.max_tokens = 30;
  options.sampler.seed = 5;
  std::vector<TokenId> first;
  for (const std::size_t threads : {1u, 2u, 3u}) {
    SessionOptions session_options = options_of(64);
    session_options.threads = threads;
    Session session(model, session_options);
    const auto ids = session.generate(prompt(), {}, options).ids;
    if (first.empty()) first = ids;
    CHECK(ids == first);
  }
}

TEST_CASE("a stop string ends the answer and is not part of it") {
  const gemma::Model model = tiny();
  Session session(model, options_of(64));
  const std::string text = session.generate(prompt(), {}, greedy(20)).text;
  REQUIRE(text.size() > 8);
  session.reset();
  GenerateOptions options = greedy(20);
  options.stop = {text.substr(5, 3)};
  const auto result = session.generate(prompt(), {}, options);
  CHECK(result.stop == StopReason::stop_string);
  CHECK(result.text == text.substr(0, text.find(text.substr(5, 3))));
}

TEST_CASE("greedy text with drafts is the same, however it ends, and goes on alike") {
  // Random weights repeat themselves soon.
  for (const std::size_t drafts : {1u, 3u, 7u}) {
    CAPTURE(drafts);
    Session plain(tiny(), options_of(300)), drafting(tiny(), options_of(300));
    GenerateOptions options = greedy(100);
    GenerateOptions drafted = options;
    drafted.draft_tokens = drafts;
    std::size_t accepted = 0;
    for (int turn = 0; turn < 2; ++turn) {
      const auto want = plain.generate(prompt(), {}, options);
      const auto got = drafting.generate(prompt(), {}, drafted);
      CHECK(got.ids == want.ids);
      CHECK(got.accepted <= got.drafted);
      CHECK(want.drafted == 0);
      accepted += got.accepted;
    }
    CHECK(accepted > 20);
    // Stopped in the middle of an accepted draft, by the sink.
    std::size_t pieces = 0;
    const auto stop_after = [&](std::string_view) { return ++pieces % 31 != 0; };
    const auto want = plain.generate(prompt(), stop_after, options);
    pieces = 0;
    const auto got = drafting.generate(prompt(), stop_after, drafted);
    CHECK(got.ids == want.ids);
    CHECK(drafting.position() == plain.position());
    const std::vector<TokenId> more = {7, 8};
    CHECK(drafting.logits(more) == plain.logits(more));
  }
}

TEST_CASE("drafts fill the context as single tokens do") {
  Session plain(tiny(), options_of(60)), drafting(tiny(), options_of(60));
  GenerateOptions options = greedy(100);
  const auto want = plain.generate(prompt(), {}, options);
  options.draft_tokens = 7;
  const auto got = drafting.generate(prompt(), {}, options);
  CHECK(got.ids == want.ids);
  CHECK(got.stop == StopReason::context_full);
}

TEST_CASE("the tokens the file names end the answer, unless ignored") {
  const gemma::Model model = tiny();
  REQUIRE(model.is_stop(1));
  Session session(model, options_of(64));
  GenerateOptions options = greedy(20);
  options.ignore_eos = false;
  options.logit_filter = [count = 0](Span<float> logits) mutable {
    if (++count == 4) logits[1] = 1e9f;
  };
  const auto result = session.generate(prompt(), {}, options);
  CHECK(result.stop == StopReason::eos);
  CHECK(result.ids.size() == 3);
}

TEST_CASE("returning false from the sink stops") {
  Session session(tiny(), options_of(64));
  const auto result = session.generate(prompt(), [](std::string_view) { return false; },
                                       greedy(20));
  CHECK(result.stop == StopReason::cancelled);
  CHECK(result.ids.size() < 20);
}

TEST_CASE("another thread may cancel") {
  Session session(tiny(), options_of(1024));
  std::atomic<bool> begun{false};
  std::thread other([&] {
    while (!begun) std::this_thread::yield();
    session.cancel();
  });
  const auto result = session.generate(prompt(), [&](std::string_view) {
    begun = true;
    return true;
  }, greedy(1000));
  other.join();
  CHECK(result.stop == StopReason::cancelled);
}

TEST_CASE("a full context is a clean stop") {
  Session session(tiny(), options_of(16));
  const auto result = session.generate(prompt(), {}, greedy(100));
  CHECK(result.stop == StopReason::context_full);
  CHECK(result.ids.size() == 12);  // 11 in the cache, and one that follows from them
}

TEST_CASE("a prompt longer than the context is an error that says both lengths") {
  Session session(tiny(), options_of(4));
  const auto result = session.try_generate(prompt(), {}, greedy(1));
  REQUIRE_FALSE(result.ok());
  CHECK(result.error().code() == ErrorCode::context_full);
  CHECK(result.error().message().find("5 tokens do not fit: 4 of the context's 4") == 0);
  CHECK(session.position() == 0);
}

TEST_CASE("bad input is an error and leaves the session as it was") {
  Session session(tiny(), options_of(32));
  session.logits(prompt());
  const auto code = [&](const std::vector<TokenId>& ids) {
    const auto result = session.try_logits(Span<const TokenId>(ids));
    return result.ok() ? std::string("none") : result.error().message();
  };
  CHECK(code({-1}).find("token id -1 is not in the vocabulary") == 0);
  CHECK(code({1000000}).find("token id 1000000 is not in the vocabulary") == 0);
  CHECK(code({}).find("no tokens") == 0);
  CHECK(session.position() == 5);
  GenerateOptions wrong = greedy(1);
  wrong.sampler.top_p = 2.0f;
  CHECK_FALSE(session.try_generate(prompt(), {}, wrong).ok());
}

TEST_CASE("options that make no sense are refused") {
  const gemma::Model model = tiny();
  SessionOptions options;
  options.backend = gemma::Backend::opencl;
  const auto opencl = Session::create(model, options);
  REQUIRE_FALSE(opencl.ok());
  CHECK(opencl.error().code() == ErrorCode::backend);
  CHECK(opencl.error().message().find("GEMMA_OPENCL") != std::string::npos);
  options = SessionOptions();
  options.context = 1000000000;
  CHECK_FALSE(Session::create(model, options).ok());
  options = SessionOptions();
  options.batch = 0;
  CHECK_FALSE(Session::create(model, options).ok());
}

TEST_CASE("an embedding is the mean of the final hidden states, or the last, of length 1") {
  const gemma::Model model = tiny();
  Session session(model, options_of(64));
  gemma::EmbedOptions options;
  options.normalise = false;
  options.pooling = gemma::Pooling::last_token;
  const auto last = session.try_embed(prompt(), options).value();
  REQUIRE(last.size() == model.config().width);
  // The head on the last hidden state gives the last logits.
  gemma::reference::Matrix hidden(1, last.size());
  std::copy(last.begin(), last.end(), hidden.row(0));
  const auto logits = gemma::reference::matmul(model.weights().head, hidden);
  session.reset();
  const auto want = session.logits(prompt());
  for (std::size_t v = 0; v < want.size(); ++v) {
    CHECK(logits.values[v] == doctest::Approx(want[v]).epsilon(0.01));
  }
  options.normalise = true;
  options.pooling = gemma::Pooling::mean;
  double length = 0.0;
  for (const float x : session.try_embed(prompt(), options).value()) length += double{x} * double{x};
  CHECK(length == doctest::Approx(1.0));
}

TEST_CASE("the memory plan counts what the context needs") {
  const gemma::Model model = tiny();
  const auto small = gemma::plan_memory(model, options_of(128));
  const auto large = gemma::plan_memory(model, options_of(1024));
  CHECK(small.weights == large.weights);
  CHECK(small.weights > 200000);
  CHECK(large.kv_cache > small.kv_cache);
  SessionOptions options = options_of(128);
  options.kv_type = gemma::simd::KvType::f32;
  CHECK(gemma::plan_memory(model, options).kv_cache == 2 * small.kv_cache);
}
