// The real Gemma 3 270M on the CPU. Skipped where the model could not be fetched.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <nlohmann/json.hpp>
#include <vector>

#include "gemma/gemma.hpp"
#include "gemma/model/reference.hpp"
#include "generate/real_model.hpp"

namespace {

using gemma::Session;
using gemma::Span;
using gemma::TokenId;

Engine quantised_engine(const gemma::Model& model, std::size_t batch = 512) {
  return [&model, batch](const std::vector<TokenId>& ids, std::size_t rows,
                         const gemma::LogitsSink& sink) {
    gemma::SessionOptions options;
    options.context = 2048;
    options.batch = batch;
    Session session(model, options);
    gemma::Outputs outputs;
    outputs.logit_rows = rows;
    outputs.logits = sink;
    REQUIRE(session.try_evaluate(ids, outputs).ok());
  };
}

/// What −log p of the golden text's tokens is more than the float32 model's.
struct NllDifferences {
  double mean = 0.0;
  double standard_error = 0.0;  ///< of the mean
  double mean_size = 0.0;
};

/// Of the first `tokens`.
NllDifferences compare_nll(const Engine& engine, std::size_t tokens) {
  const nlohmann::json data = golden()["perplexity"];
  auto ids = data["input_ids"].get<std::vector<TokenId>>();
  ids.resize((std::min)(ids.size(), tokens));
  NllDifferences found;
  double squares = 0.0;
  engine(ids, ids.size(), [&](std::size_t index, Span<float> row) {
    if (index + 1 == ids.size()) return;
    const float logit = row[static_cast<std::size_t>(ids[index + 1])];
    const double difference = logsumexp(row) - double{logit} - data["nll"][index].get<double>();
    found.mean += difference;
    found.mean_size += std::abs(difference);
    squares += difference * difference;
  });
  const double count = static_cast<double>(ids.size() - 1);
  found.mean /= count;
  found.mean_size /= count;
  found.standard_error = std::sqrt(squares) / count;
  MESSAGE("perplexity ", std::exp(found.mean), " times the float32 model's; mean Δnll ", found.mean, " ± ",
          found.standard_error, ", mean |Δnll| ", found.mean_size);
  return found;
}

}  // namespace

TEST_CASE("real 270M: the reference model is the float32 model") {
  const auto model = real_model();
  if (!model) return;
  Agreement agreement;
  const nlohmann::json data = golden();
  const Engine engine = [&](const std::vector<TokenId>& ids, std::size_t rows,
                            const gemma::LogitsSink& sink) {
    gemma::reference::Model reference(model->config(), model->weights());
    gemma::reference::Matrix logits = reference.forward(ids, rows);
    for (std::size_t r = 0; r < rows; ++r) {
      sink(ids.size() - rows + r, Span<float>(logits.row(r), logits.cols));
    }
  };
  // Two short prompts, since scalar code takes its time.
  for (const std::size_t p : {0u, 6u}) compare_prompt(data["prompts"][p], engine, agreement);
  CHECK(agreement.max_difference < 1e-2);
  CHECK(agreement.top1 == agreement.positions);
}

TEST_CASE("real 270M: the quantised path is far closer to float32 than 8-bit activations are") {
  const auto model = real_model();
  if (!model) return;
  Agreement agreement;
  const nlohmann::json data = golden();
  for (const nlohmann::json& prompt : data["prompts"]) {
    compare_prompt(prompt, quantised_engine(*model), agreement);
  }
  MESSAGE("top-1 agreement ", agreement.top1_rate(), ", mean |Δlogit| of the top ten ",
          agreement.mean_difference());
  CHECK(agreement.top1_rate() > 0.97);
  CHECK(agreement.mean_difference() < 0.15);
}

TEST_CASE("real 270M: perplexity of 1,024 tokens with 15 bits is the float32 model's within 0.03 %") {
  const auto model = real_model();
  if (!model) return;
  const NllDifferences found = compare_nll(quantised_engine(*model, 8), 1024);
  CHECK(std::abs(found.mean) < 0.0003);
  CHECK(found.mean_size < 0.005);
}

TEST_CASE("real 270M: perplexity of 2,048 tokens with 8 bits is the float32 model's but for noise") {
  const auto model = real_model();
  if (!model) return;
  const NllDifferences found = compare_nll(quantised_engine(*model), 2048);
  // What is expected is the mean KL divergence. Which way the noise goes depends on the order of additions, so on the
  // SIMD target.
  constexpr double kDivergence = 0.0025;
  CHECK(found.mean < kDivergence + 3.0 * found.standard_error);
  CHECK(found.mean > -3.0 * found.standard_error);
  CHECK(found.standard_error < 0.002);
  CHECK(found.mean_size < 0.05);
}

TEST_CASE("real 270M: greedy text is the float32 model's until a near tie") {
  const auto model = real_model();
  if (!model) return;
  std::size_t compared = 0;
  const nlohmann::json data = golden();
  for (const nlohmann::json& prompt : data["prompts"]) {
    Session session(*model);
    gemma::GenerateOptions options;
    options.sampler.temperature = 0.0f;
    options.max_tokens = 48;
    options.ignore_eos = true;
    const auto input = prompt["input_ids"].get<std::vector<TokenId>>();
    const auto result = session.generate(Span<const TokenId>(input), {}, options);
    for (std::size_t i = 0; i < result.ids.size(); ++i, ++compared) {
      if (prompt["greedy_margin"][i].get<double>() < 0.1) break;
      REQUIRE(result.ids[i] == prompt["greedy"][i].get<TokenId>());
    }
  }
  CHECK(compared > 150);
}

TEST_CASE("real 270M: a prompt longer than the window gives the same in batches of any size that have one form") {
  const auto model = real_model();
  if (!model) return;
  const nlohmann::json data = golden();
  const auto ids = data["prompts"].back()["input_ids"].get<std::vector<TokenId>>();
  REQUIRE(ids.size() > 700);
  const auto last_row = [&](std::size_t batch) {
    std::vector<float> last;
    quantised_engine(*model, batch)(ids, 1, [&](std::size_t, Span<float> row) {
      last.assign(row.begin(), row.end());
    });
    return last;
  };
  const auto worst_difference = [](const std::vector<float>& a, const std::vector<float>& b) {
    double worst = 0.0;
    for (std::size_t v = 0; v < a.size(); ++v) {
      worst = (std::max)(worst, std::abs(double{a[v]} - double{b[v]}));
    }
    return worst;
  };
  // Activations of small batches have 15 bits; those of large ones have 8, or with AMX are bfloat16.
  CHECK(worst_difference(last_row(gemma::simd::kCoarseTokens - 1), last_row(1)) < 0.02);
  const std::size_t eighth = ids.size() / 8;
  REQUIRE(ids.size() == 8 * eighth);  // No small batch is left over: its activations have another form.
  CHECK(worst_difference(last_row(eighth), last_row(1024)) < 0.02);
}
