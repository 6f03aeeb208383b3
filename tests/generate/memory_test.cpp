#include <doctest/doctest.h>

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "gemma/backend/cpu.hpp"
#include "gemma/generate/session.hpp"
#include "golden.hpp"
#include "test_data.hpp"

namespace {

using gemma::Bytes;
using gemma::ErrorCode;
using gemma::LoadOptions;
using gemma::Session;
using gemma::SessionOptions;

SessionOptions options_of(std::size_t context) {
  SessionOptions options;
  options.context = context;
  options.threads = 2;
  options.batch = 8;
  return options;
}

std::vector<float> logits_of(Session& session) {
  const std::vector<gemma::TokenId> prompt = {2, 10, 20, 30, 40, 50, 60, 70, 80, 90, 100};
  session.reset();
  std::vector<float> logits = session.logits(gemma::Span<const gemma::TokenId>(prompt));
  const gemma::TokenId next = 7;
  const std::vector<float> more = session.logits(gemma::Span<const gemma::TokenId>(&next, 1));
  logits.insert(logits.end(), more.begin(), more.end());
  return logits;
}

}  // namespace

TEST_CASE("a limited model computes the same, and is in memory only as far as it may") {
  const std::string path = data_path("kjv-small.gguf");
  LoadOptions map;
  map.access = gemma::FileAccess::map;
  const gemma::Model whole = gemma::load(path, map);
  Session reference(whole, options_of(64));
  const std::vector<float> want = logits_of(reference);
  const std::uint64_t others = whole.plan(options_of(64)).cpu.total() - whole.source().file_bytes();
  const std::uint64_t least = gemma::least_paged_bytes(whole.weights());
  REQUIRE(least < whole.source().file_bytes());
  for (const std::uint64_t weights : {least, least + 100000, std::uint64_t{100} << 20}) {
    CAPTURE(weights);
    LoadOptions load;
    load.max_resident_bytes = others + weights;
    const gemma::Model model = gemma::load(path, load);
    Session session(model, options_of(64));
    CHECK(logits_of(session) == want);
    CHECK(logits_of(session) == want);
    const gemma::MemoryPlan plan = model.plan(options_of(64)).cpu;
    CHECK(plan.weights == (std::min)(weights, whole.source().file_bytes()));
    CHECK(session.backend() == "cpu");
    Session clone = session.clone();
    CHECK(logits_of(clone) == want);
  }
}

TEST_CASE("weights that do not fit are let go of after their turn, the others never") {
  for (const std::string& name : kGoldenF32) {
    CAPTURE(name);
    const Golden golden = Golden::load(name, "f32");
    const gemma::Weights& weights = golden.model.weights();
    if (!weights.head) continue;
    std::uint64_t all = weights.head.bytes();
    for (const gemma::LayerWeights& layer : weights.layers) {
      gemma::visit_layer(layer, [&](const auto& together) {
        for (const gemma::WeightMatrix* m : together) all += m->bytes();
      }, [](const gemma::NormWeights&) {});
    }
    const std::uint64_t least = gemma::least_paged_bytes(weights);
    std::uint64_t before = 0;
    for (const std::uint64_t bytes : {least, (least + all) / 2}) {
      std::uint64_t released = 0;
      gemma::CpuOptions options;
      options.context = 32;
      options.batch = 8;
      options.threads = 1;
      options.paging.bytes = bytes;
      options.paging.release = [&](Bytes part) { released += part.size(); };
      auto runner = gemma::create_cpu_runner(golden.model.config(), weights, options).value();
      gemma::Outputs outputs;
      outputs.logit_rows = 1;
      outputs.logits = [](std::size_t, gemma::Span<float>) {};
      const gemma::TokenId id = 3;
      REQUIRE(runner->forward(gemma::Span<const gemma::TokenId>(&id, 1), outputs).ok());
      CHECK(released > 0);
      if (bytes == least) {
        CHECK(released >= all - least);  // next to nothing may stay
      } else {
        CHECK(released < before);  // with more room, more stays
      }
      before = released;
    }
  }
}

TEST_CASE("too little memory is refused with the figures, before it is taken") {
  const std::string path = data_path("kjv-small.gguf");
  LoadOptions load;
  load.memory_limit = 1000;
  const auto refused = gemma::try_load(path, load);
  REQUIRE_FALSE(refused.ok());
  CHECK(refused.error().code() == ErrorCode::out_of_memory);
  CHECK(refused.error().message().find("the weights alone take 1.") != std::string::npos);

  load.memory_limit = 0;
  load.memory_limit = gemma::load(path, load).plan(options_of(500)).cpu.total();
  const gemma::Model limited = gemma::load(path, load);
  CHECK(Session::create(limited, options_of(16)).ok());
  const auto session = Session::create(limited, options_of(512));
  REQUIRE_FALSE(session.ok());
  CHECK(session.error().code() == ErrorCode::out_of_memory);
  const std::string text = limited.plan(options_of(512)).cpu.text();
  CHECK(session.error().message().find(text) != std::string::npos);
  CHECK(session.error().message().find("but the limit is ") != std::string::npos);

  load = {};
  load.max_resident_bytes = 1000;
  const gemma::Model tight = gemma::load(path, load);
  CHECK(Session::create(tight, options_of(16)).error().code() == ErrorCode::out_of_memory);
  load.max_resident_bytes = 100000000;
  const gemma::Model model = gemma::load(path, load);
  SessionOptions two_pass = options_of(16);
  two_pass.two_pass_head = true;
  CHECK(Session::create(model, two_pass).error().code() == ErrorCode::invalid_argument);
  load.access = gemma::FileAccess::memory;
  CHECK(gemma::try_load(path, load).error().code() == ErrorCode::invalid_argument);
  const std::string bytes = "GGUF";
  load.access = gemma::FileAccess::fastest;
  CHECK(gemma::try_load_bytes(gemma::bytes_of(bytes), "x", load).error().code() ==
        ErrorCode::invalid_argument);
}

TEST_CASE("a plan's text adds up") {
  gemma::MemoryPlan plan;
  plan.weights = 253149999;
  plan.kv_cache = 75500000;
  plan.scratch = 40000;
  CHECK(plan.text() == "weights 253.1 MB + KV cache 75.5 MB + scratch 0.0 MB = 328.7 MB");
}
