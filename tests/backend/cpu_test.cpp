#include "gemma/backend/cpu.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include "gemma/model/kv_cache.hpp"
#include "gemma/model/reference.hpp"
#include "golden.hpp"

namespace {

using gemma::CpuOptions;
using gemma::Runner;
using gemma::Span;
using gemma::TokenId;

std::unique_ptr<Runner> make_runner(const gemma::Model& model, CpuOptions options) {
  options.context = 128;
  return gemma::create_cpu_runner(model.config(), model.weights(), options).value();
}

CpuOptions exact_options() {
  CpuOptions options;
  options.kv_type = gemma::simd::KvType::f32;
  options.threads = 2;
  return options;
}

/// All logits of `ids`, read in batches of `step`.
Rows read(Runner& runner, const std::vector<TokenId>& ids, std::size_t step) {
  Rows rows;
  for (std::size_t done = 0; done < ids.size(); done += step) {
    const std::size_t count = (std::min)(step, ids.size() - done);
    gemma::Outputs outputs;
    outputs.logit_rows = count;
    outputs.logits = [&](std::size_t, Span<float> row) {
      rows.emplace_back(row.begin(), row.end());
    };
    REQUIRE(runner.forward(Span<const TokenId>(ids.data() + done, count), outputs).ok());
  }
  return rows;
}

Rows reference_rows(const Golden& golden) {
  gemma::reference::Model model(golden.model.config(), golden.model.weights());
  const auto logits = model.forward(golden.input_ids, golden.input_ids.size());
  Rows rows;
  for (std::size_t r = 0; r < logits.rows; ++r) {
    rows.emplace_back(logits.row(r), logits.row(r) + logits.cols);
  }
  return rows;
}

}  // namespace

TEST_CASE("float32 models agree with the golden values in one go, in chunks and token by token") {
  for (const std::string& name : kGoldenF32) {
    const Golden golden = Golden::load(name, "f32");
    for (const std::size_t step : {48u, 7u, 1u}) {
      CAPTURE(step);
      CpuOptions options = exact_options();
      options.batch = step;
      check_golden(golden, read(*make_runner(golden.model, options), golden.input_ids, step));
    }
  }
}

TEST_CASE("greedy text of float32 models is the golden one") {
  for (const std::string& name : kGoldenF32) {
    const Golden golden = Golden::load(name, "f32");
    const auto runner = make_runner(golden.model, exact_options());
    check_greedy(golden, [&](const std::vector<TokenId>& ids) {
      return read(*runner, ids, ids.size()).back();
    });
  }
}

TEST_CASE("quantised models stay close to the reference in one go, in chunks and by token") {
  for (const std::string& name : kGoldenQ8) {
    const Golden golden = Golden::load(name, "q8_0");
    const Rows want = reference_rows(golden);
    for (const std::size_t step : {48u, 7u, 1u}) {
      CAPTURE(name);
      CAPTURE(step);
      CpuOptions options = exact_options();
      options.batch = step;
      const auto runner = make_runner(golden.model, options);
      const Rows rows = read(*runner, golden.input_ids, step);
      const bool deep = name == "gemma3_62l";
      const double rms = rms_difference(rows, want);
      if (step >= gemma::simd::kCoarseTokens) {  // activations of 8 bits instead of 15
        CHECK(rms < (deep ? 0.4 : 0.2));
      } else {
        CHECK(rms < (deep ? 0.05 : 0.005));
      }
    }
  }
}

TEST_CASE("a narrower KV cache costs little accuracy") {
  using gemma::simd::KvType;
  for (const char* name : {"gemma3_swa", "gemma2_swa"}) {
    const Golden golden = Golden::load(name, "q8_0");
    const Rows want = reference_rows(golden);
    for (const auto& [type, rms] : {std::pair(KvType::f16, 0.02), std::pair(KvType::bf16, 0.1),
                                    std::pair(KvType::q8_0, 0.1)}) {
      CpuOptions options = exact_options();
      options.kv_type = type;
      const auto whole = read(*make_runner(golden.model, options), golden.input_ids, 48);
      CHECK(rms_difference(whole, want) < 0.2);  // activations of 8 bits cost more than the cache
      const auto single = read(*make_runner(golden.model, options), golden.input_ids, 1);
      CHECK(rms_difference(single, want) < rms);
    }
  }
}

TEST_CASE("a KV cache in q8_0 takes 17/32 of the memory of f16, and needs heads of whole blocks") {
  using gemma::simd::KvType;
  const Golden golden = Golden::load("gemma3_swa", "q8_0");
  const gemma::Config& config = golden.model.config();
  const auto f16 = gemma::KvCache::bytes(config, 128, 16, KvType::f16);
  CHECK(gemma::KvCache::bytes(config, 128, 16, KvType::q8_0) * 32 == f16 * 17);
  CpuOptions options;
  options.context = 64;
  options.kv_type = KvType::q8_0;
  const Golden narrow = Golden::load("gemma4_e", "q8_0");
  const auto runner =
      gemma::create_cpu_runner(narrow.model.config(), narrow.model.weights(), options);
  REQUIRE_FALSE(runner.ok());
  CHECK(runner.error().message().find("needs heads of a multiple of 32 numbers") !=
        std::string::npos);
}

TEST_CASE("1, 2 and 3 threads give identical bits") {
  for (const char* kind : {"f32", "q8_0"}) {
    const Golden golden = Golden::load("gemma3_swa", kind);
    for (const std::size_t step : {48u, 5u, 1u}) {
      CpuOptions options = exact_options();
      options.threads = 1;
      const Rows want = read(*make_runner(golden.model, options), golden.input_ids, step);
      for (const std::size_t threads : {2u, 3u}) {
        options.threads = threads;
        CHECK(read(*make_runner(golden.model, options), golden.input_ids, step) == want);
      }
    }
  }
}

TEST_CASE("after a reset the same ids give the same logits") {
  const Golden golden = Golden::load("gemma3_swa", "q8_0");
  const auto runner = make_runner(golden.model, exact_options());
  const Rows first = read(*runner, golden.input_ids, 48);
  CHECK(runner->position() == 48);
  runner->reset();
  CHECK(runner->position() == 0);
  CHECK(read(*runner, golden.input_ids, 48) == first);
}
