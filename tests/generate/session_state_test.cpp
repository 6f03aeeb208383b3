#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "gemma/generate/generation.hpp"
#include "gemma/generate/session.hpp"
#include "gemma/model/kv_cache.hpp"
#include "generate/tiny_session.hpp"
#include "temp_folder.hpp"

namespace {

using gemma::ErrorCode;
using gemma::GenerateOptions;
using gemma::Session;
using gemma::SessionOptions;
using gemma::Span;
using gemma::TokenId;

std::vector<TokenId> prompt_of(std::size_t tokens) {
  std::vector<TokenId> ids = {2};
  while (ids.size() < tokens) ids.push_back(static_cast<TokenId>(10 + ids.size() * 7 % 90));
  return ids;
}

std::vector<TokenId> generate(Session& session, const std::vector<TokenId>& prompt,
                              std::size_t count) {
  return session.generate(Span<const TokenId>(prompt), {}, greedy(count)).ids;
}

}  // namespace

TEST_CASE("a clone goes on as the original does, and neither sees what the other reads") {
  const gemma::Model model = tiny();
  for (const std::size_t before : {3u, 60u}) {  // 60: rings of the layers with windows are full
    CAPTURE(before);
    const std::vector<TokenId> prompt = prompt_of(before);
    Session whole(model, options_of(128));
    const std::vector<TokenId> want = generate(whole, prompt, 24);

    Session first(model, options_of(128));
    const std::vector<TokenId> begin = generate(first, prompt, 4);
    Session second = first.clone();
    Session third = second.clone();
    CHECK(second.position() == first.position());
    const std::vector<TokenId> other = {50, 51, 52};
    Session fresh(model, options_of(128));
    CHECK(generate(fresh, prompt, 4) == begin);
    const std::vector<TokenId> want_other = generate(fresh, other, 10);

    CHECK(generate(second, other, 10) == want_other);
    std::vector<TokenId> rest = generate(first, {}, 20);
    CHECK(rest == std::vector<TokenId>(want.begin() + 4, want.end()));
    CHECK(generate(third, {}, 20) == rest);
  }
}

TEST_CASE("clones answer on threads of their own") {
  const gemma::Model model = tiny();
  SessionOptions options = options_of(64);
  options.threads = 1;
  options.two_pass_head = true;
  Session original(model, options);
  original.try_read(Span<const TokenId>(prompt_of(20))).value();
  std::vector<Session> clones;
  for (int i = 0; i < 3; ++i) clones.push_back(original.clone());
  std::vector<std::vector<TokenId>> answers(clones.size());
  std::vector<std::thread> threads;
  for (std::size_t i = 0; i < clones.size(); ++i) {
    threads.emplace_back([&, i] { answers[i] = generate(clones[i], {}, 20); });
  }
  const std::vector<TokenId> want = generate(original, {}, 20);
  for (std::thread& thread : threads) thread.join();
  for (const std::vector<TokenId>& answer : answers) CHECK(answer == want);
}

TEST_CASE("text that is read in chunks is the same prompt") {
  const gemma::Model model = tiny();
  Session whole(model, options_of(64));
  const std::vector<TokenId> ids = prompt_of(9);
  const std::vector<TokenId> want = generate(whole, ids, 8);
  Session chunks(model, options_of(64));
  for (const TokenId id : ids) chunks.try_read(Span<const TokenId>(&id, 1)).value();
  CHECK(chunks.position() == 0);  // the first batch is still to come
  CHECK(generate(chunks, {}, 8) == want);
  CHECK(chunks.history().size() == ids.size() + 8);

  Session texts(model, options_of(64));
  texts.read("hello ");
  CHECK(texts.history().front() == 2);
  texts.read("world");
  CHECK(std::count(texts.history().begin(), texts.history().end(), 2) == 1);
  CHECK_FALSE(texts.generate("", {}, greedy(3)).ids.empty());

  Session full(model, options_of(8));
  CHECK(full.try_read(Span<const TokenId>(ids)).error().code() == ErrorCode::context_full);
  CHECK(full.position() == 0);
  CHECK(full.history().empty());
}

TEST_CASE("an answer that ended by itself can be asked for again") {
  const gemma::Model model = tiny();
  const TempFolder folder;
  Session session(model, options_of(96));
  GenerateOptions drafts = greedy(40);
  drafts.draft_tokens = 3;
  Session whole(model, options_of(96));
  const std::vector<TokenId> want = whole.generate(Span<const TokenId>(prompt_of(40)), {}, greedy(40)).ids;
  // Wherever the answer is cut, also among tokens that were read ahead, it goes on the same.
  for (std::size_t cut = 1; cut < 20; ++cut) {
    CAPTURE(cut);
    session.reset();
    drafts.max_tokens = cut;
    std::vector<TokenId> ids = session.generate(Span<const TokenId>(prompt_of(40)), {}, drafts).ids;
    drafts.max_tokens = 40 - cut;
    session.save(folder.path("state"));
    const std::vector<TokenId> rest = session.generate("", {}, drafts).ids;
    ids.insert(ids.end(), rest.begin(), rest.end());
    CHECK(ids == want);
    Session restored(model, options_of(96));
    restored.restore(folder.path("state"));
    CHECK(restored.generate("", {}, drafts).ids == rest);
  }
  // What forbids every token but the end gives the same end again.
  session.reset();
  GenerateOptions only_eos = greedy(5);
  only_eos.ignore_eos = false;
  only_eos.logit_filter = [&](Span<float> logits) {
    for (float& logit : logits) logit = -1.0f;
    logits[static_cast<std::size_t>(model.stop_ids()[0])] = 1.0f;
  };
  for (const char* text : {"hello", "", ""}) {
    const auto result = session.generate(text, {}, only_eos);
    CHECK((result.stop == gemma::StopReason::eos));
    CHECK(result.ids.empty());
  }
}

TEST_CASE("an empty prompt needs something to go on from") {
  Session session(tiny(), options_of(16));
  const auto result = session.try_generate(Span<const TokenId>(), {}, greedy(1));
  REQUIRE_FALSE(result.ok());
  CHECK(result.error().code() == ErrorCode::invalid_argument);
}

TEST_CASE("a session that was saved goes on in another, whatever its context, batch and position") {
  const gemma::Model model = tiny();
  const TempFolder folder;
  const std::string path = folder.path("state");
  for (const char* kv : {"f32", "f16", "bf16", "q8_0"}) {
    for (const std::size_t before : {1u, 5u, 60u}) {
      SessionOptions options = options_of(96);
      for (const auto type : {gemma::simd::KvType::f32, gemma::simd::KvType::f16,
                              gemma::simd::KvType::bf16, gemma::simd::KvType::q8_0}) {
        if (std::string(kv) == gemma::simd::kv_type_name(type)) options.kv_type = type;
      }
      if (!gemma::KvCache::check_type(model.config(), *options.kv_type)) continue;
      CAPTURE(kv);
      CAPTURE(before);
      Session session(model, options);
      generate(session, prompt_of(before), 3);
      session.save(path);
      const std::vector<TokenId> want = generate(session, {}, 12);

      options.context = 128;
      options.batch = 7;
      Session other(model, options);
      generate(other, prompt_of(30), 2);  // is forgotten
      other.restore(path);
      CHECK(other.history().size() == before + 3);
      CHECK(generate(other, {}, 12) == want);
    }
  }
}

TEST_CASE("keys and values of another type are computed anew") {
  const gemma::Model model = tiny();
  const TempFolder folder;
  SessionOptions options = options_of(64);
  options.kv_type = gemma::simd::KvType::f16;
  Session half(model, options);
  generate(half, prompt_of(20), 2);
  half.save(folder.path("state"));
  std::string heard;
  options.kv_type = gemma::simd::KvType::f32;
  options.log = [&](gemma::LogLevel, std::string_view line) { heard = line; };
  Session full(model, options);
  full.restore(folder.path("state"));
  CHECK(full.position() == half.position());
  CHECK(full.history() == half.history());
  CHECK(heard.find("read again") != std::string::npos);
}

TEST_CASE("what cannot be restored is refused, and the session stays as it was") {
  const gemma::Model model = tiny();
  const TempFolder folder;
  const std::string path = folder.path("state");
  Session session(model, options_of(64));
  generate(session, prompt_of(20), 2);
  session.save(path);
  const std::string good = file_text(path);

  Session other(model, options_of(64));
  const std::vector<TokenId> prompt = prompt_of(4);
  other.try_read(Span<const TokenId>(prompt)).value();
  const auto refuses = [&](const std::string& words) {
    const gemma::Status status = other.try_restore(path);
    REQUIRE_FALSE(status.ok());
    CAPTURE(status.error().message());
    CHECK(status.error().message().find(words) != std::string::npos);
    CHECK(status.error().message().find(path) == 0);
    CHECK(other.history() == prompt);
  };
  const auto change = [&](std::size_t at, char value) {
    std::string bytes = good;
    bytes[at] = static_cast<char>(bytes[at] ^ value);
    folder.write("state", bytes);
  };
  change(0, 1);
  refuses("is not a saved session");
  change(8, 2);
  refuses("version 3");
  change(16, 1);
  refuses("damaged");
  change(good.size() / 2, 1);
  refuses("damaged");
  for (std::size_t size = 1; size < good.size(); size += 1 + size / 3) {
    folder.write("state", good.substr(0, size));
    CHECK_FALSE(other.try_restore(path).ok());
  }
  CHECK_FALSE(other.try_restore(folder.path("nothing")).ok());
  constexpr std::size_t kFirstToken = 40;
  std::string unknown_token = good.substr(0, good.size() - sizeof(std::uint64_t));
  unknown_token.at(kFirstToken + 3) = '\x7F';
  folder.write("state", with_checksum(unknown_token));
  refuses("of the vocabulary");

  folder.write("state", good);
  Session wrong(gemma::load(data_path("kjv-small.gguf")), options_of(64));
  CHECK(wrong.try_restore(path).error().message().find("another model") != std::string::npos);
  Session small(model, options_of(10));
  CHECK(small.try_restore(path).error().code() == ErrorCode::context_full);
  CHECK(other.try_restore(path).ok());
  CHECK_FALSE(session.try_save(folder.path("no/such/folder")).ok());
}

TEST_CASE("an answer is written in the background, and can be waited for or cancelled") {
  const gemma::Model model = tiny();
  Session blocking(model, options_of(64));
  const auto want = blocking.generate("hello", {}, greedy(20));

  Session session(model, options_of(64));
  std::string streamed;
  gemma::Generation generation = session.generate_async("hello", [&](std::string_view piece) {
    streamed += piece;
    return true;
  }, greedy(20));
  const auto result = generation.wait();
  CHECK(generation.done());
  CHECK(result.ids == want.ids);
  CHECK(streamed == want.text);
  CHECK_FALSE(generation.try_wait().ok());

  session.reset();
  GenerateOptions endless = greedy(1000000);
  std::atomic<bool> go{false};
  endless.logit_filter = [&go](Span<float>) {
    while (!go.load()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  };
  gemma::Generation cancelled = session.generate_async("hello", {}, endless);
  gemma::Generation moved = std::move(cancelled);
  moved.cancel();
  go.store(true);
  const auto ended = moved.try_wait();
  REQUIRE(ended.ok());
  CHECK((ended->stop == gemma::StopReason::cancelled));

  session.reset();
  { const gemma::Generation dropped = session.generate_async("hello", {}, endless); }
  gemma::Generation failing = session.generate_async("hello", {}, [] {
    GenerateOptions bad;
    bad.sampler.temperature = -1.0f;
    return bad;
  }());
  CHECK(failing.try_wait().error().code() == ErrorCode::invalid_argument);
}

TEST_CASE("metrics tell what the last answer took") {
  Session session(tiny(), options_of(64));
  CHECK(session.metrics().first_token_seconds == 0.0);
  generate(session, prompt_of(20), 6);
  const gemma::SessionMetrics metrics = session.metrics();
  CHECK(metrics.load_seconds > 0.0);
  CHECK(metrics.init_seconds > 0.0);
  CHECK(metrics.first_token_seconds > 0.0);
  CHECK(metrics.prefill_rate > 0.0);
  CHECK(metrics.decode_rate > 0.0);
  CHECK(metrics.memory.total() == gemma::plan_memory(tiny(), options_of(64)).total());
}
