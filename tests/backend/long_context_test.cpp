// Far into a long text the CPU backend gives what the original implementation gives
// (tests/data/make_long_context_golden.py).
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "float_weights.hpp"
#include "gemma/backend/cpu.hpp"
#include "golden.hpp"

namespace {

using gemma::Span;
using gemma::TokenId;

/// The golden text: BOS, then what the script's generator draws from [3, vocab).
std::vector<TokenId> token_ids(std::size_t vocab) {
  std::vector<TokenId> ids = {2};
  std::uint32_t state = 1;
  while (ids.size() < 9000) {
    state = state * 1664525u + 1013904223u;
    ids.push_back(static_cast<TokenId>(3 + (state >> 8) % (vocab - 3)));
  }
  return ids;
}

/// The logits after each of the positions, which ascend.
Rows read(const Golden& golden, const std::vector<std::size_t>& positions) {
  const FloatWeights weights(golden.model.weights());
  gemma::CpuOptions options;
  options.context = 9216;
  options.threads = 2;
  options.kv_type = gemma::simd::KvType::f32;
  const auto runner =
      gemma::create_cpu_runner(golden.model.config(), weights.weights(), options).value();
  const std::vector<TokenId> ids = token_ids(golden.model.config().vocab_size);
  Rows rows;
  for (std::size_t done = 0; done < ids.size();) {
    const std::size_t count = (std::min)(options.batch, ids.size() - done);
    gemma::Outputs outputs;
    outputs.logit_rows = count;
    outputs.logits = [&](std::size_t index, Span<float> row) {
      if (rows.size() < positions.size() && positions[rows.size()] == done + index) {
        rows.emplace_back(row.begin(), row.end());
      }
    };
    REQUIRE(runner->forward(Span<const TokenId>(ids.data() + done, count), outputs).ok());
    done += count;
  }
  return rows;
}

void check_long_context(const std::string& name, const std::string& kind) {
  std::ifstream file(data_path("golden/long_context.json"));
  const nlohmann::json json = nlohmann::json::parse(file);
  const nlohmann::json& want = json.at(name + "/" + kind);
  const auto positions = json.at("positions").get<std::vector<std::size_t>>();
  const Rows rows = read(Golden::load(name, kind), positions);
  REQUIRE(rows.size() == positions.size());
  CAPTURE(name);
  const Tolerance tolerance;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    CAPTURE(positions[i]);
    CHECK(std::abs(logsumexp(rows[i]) - want["logsumexp"][i].get<double>()) <=
          tolerance.logsumexp);
    const TokenId best = argmax(rows[i]);
    const double largest = double{rows[i][static_cast<std::size_t>(best)]};
    CHECK(std::abs(largest - want["max_logit"][i].get<double>()) <= tolerance.logit);
    if (want["top1_margin"][i].get<double>() > tolerance.margin) {
      CHECK(best == want["argmax"][i].get<TokenId>());
    }
  }
  double worst = 0.0;
  for (std::size_t i = 0; i < want["last_top_ids"].size(); ++i) {
    const double got = double{rows.back()[want["last_top_ids"][i].get<std::size_t>()]};
    worst = (std::max)(worst, std::abs(got - want["last_top_logits"][i].get<double>()));
  }
  CHECK(worst <= tolerance.logit);
}

}  // namespace

TEST_CASE("9000 tokens of Gemma 2 give the golden logits") {
  check_long_context("gemma2_swa", "q8_0");
}

TEST_CASE("9000 tokens of Gemma 3 give the golden logits") {
  check_long_context("gemma3_swa", "f32");
}

TEST_CASE("9000 tokens of Gemma 3 with stretched positions give the golden logits") {
  check_long_context("gemma3_linear8", "f32");
}

TEST_CASE("9000 tokens of Gemma 3n give the golden logits") {
  check_long_context("gemma3n", "q8_0");
}

TEST_CASE("9000 tokens of Gemma 4 with shared keys give the golden logits") {
  check_long_context("gemma4_e", "q8_0");
}

TEST_CASE("9000 tokens of Gemma 4 with keys as values give the golden logits") {
  check_long_context("gemma4_dense", "q8_0");
}
