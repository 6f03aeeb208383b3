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
  // Two short prompts; the rest stand in tools/check_real_model.
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

TEST_CASE("real 270M: perplexity of 2,048 tokens is float32's with 15 bits, and but for noise with 8") {
  const auto model = real_model();
  if (!model) return;
  const nlohmann::json data = golden()["perplexity"];
  const auto ids = data["input_ids"].get<std::vector<TokenId>>();
  const double count = static_cast<double>(ids.size() - 1);
  for (const std::size_t batch : {8u, 512u}) {  // 15 bits for up to 8 tokens
    CAPTURE(batch);
    double sum = 0.0, size = 0.0, squares = 0.0;  // of the differences of −log p
    quantised_engine(*model, batch)(ids, ids.size(), [&](std::size_t index, Span<float> row) {
      if (index + 1 == ids.size()) return;
      const float logit = row[static_cast<std::size_t>(ids[index + 1])];
      const double difference = logsumexp(row) - double{logit} - data["nll"][index].get<double>();
      sum += difference;
      size += std::abs(difference);
      squares += difference * difference;
    });
    const double mean = sum / count, noise = std::sqrt(squares) / count;
    MESSAGE("batch ", batch, ": perplexity ", data["ppl"].get<double>() * std::exp(mean), ", mean Δnll ", mean, " ± ",
            noise, ", mean |Δnll| ", size / count);
    if (batch == 8) {
      CHECK(std::abs(mean) < 0.0003);
      CHECK(size / count < 0.005);
    } else {
      // What is expected is the mean KL divergence. Which way the noise goes depends on the order of additions, so on
      // the SIMD target.
      constexpr double kDivergence = 0.0025;
      CHECK(mean < kDivergence + 3.0 * noise);
      CHECK(mean > -3.0 * noise);
      CHECK(noise < 0.002);
      CHECK(size / count < 0.05);
    }
  }
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
