// The real Gemma 3 270M against a float32 run of the same dequantised weights (see
// tests/data/real270m.json). Skipped where the model could not be fetched.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "gemma/gemma.hpp"
#include "test_data.hpp"

namespace {

using gemma::Session;
using gemma::Span;
using gemma::TokenId;

std::optional<gemma::Model> real_model() {
  const std::string path = real_model_path();
  if (!path.empty()) return gemma::load(path);
  MESSAGE("skipped: the real Gemma 3 270M is not there; tools/get_model fetches it");
  return std::nullopt;
}

nlohmann::json golden() {
  std::ifstream file(data_path("real270m.json"));
  return nlohmann::json::parse(file);
}

double logsumexp(Span<float> row) {
  const double largest = double{*std::max_element(row.begin(), row.end())};
  double sum = 0.0;
  for (const float x : row) sum += std::exp(double{x} - largest);
  return largest + std::log(sum);
}

/// Reads ids and gives the logits after the last `rows` of them to the sink.
using Engine = std::function<void(const std::vector<TokenId>& ids, std::size_t rows,
                                  const gemma::LogitsSink& sink)>;

/// How far an engine is from the golden logits over the prompts and their continuations.
struct Agreement {
  std::size_t positions = 0;
  std::size_t top1 = 0;
  double sum_difference = 0.0;  ///< of the golden top ten's logits
  double max_difference = 0.0;

  double top1_rate() const { return static_cast<double>(top1) / static_cast<double>(positions); }
  double mean_difference() const { return sum_difference / static_cast<double>(10 * positions); }
};

void compare_prompt(const nlohmann::json& prompt, const Engine& engine, Agreement& agreement) {
  std::vector<TokenId> ids = prompt["input_ids"].get<std::vector<TokenId>>();
  const auto greedy = prompt["greedy"].get<std::vector<TokenId>>();
  ids.insert(ids.end(), greedy.begin(), greedy.end() - 1);
  const std::size_t first = prompt["first_row_position"].get<std::size_t>();
  engine(ids, ids.size() - first, [&](std::size_t index, Span<float> row) {
    const nlohmann::json& want = prompt["top10"][index - first];
    const auto top_ids = want[0].get<std::vector<TokenId>>();
    ++agreement.positions;
    agreement.top1 += gemma::greedy_token(row) == top_ids[0];
    for (std::size_t i = 0; i < top_ids.size(); ++i) {
      const float logit = row[static_cast<std::size_t>(top_ids[i])];
      const double difference = std::abs(double{logit} - want[1][i].get<double>());
      agreement.sum_difference += difference;
      agreement.max_difference = (std::max)(agreement.max_difference, difference);
    }
  });
}

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

TEST_CASE("real 270M: perplexity of 2,048 tokens within 0.3 %") {
  const auto model = real_model();
  if (!model) return;
  const nlohmann::json data = golden()["perplexity"];
  const auto ids = data["input_ids"].get<std::vector<TokenId>>();
  double sum = 0.0;
  double difference = 0.0;
  quantised_engine(*model)(ids, ids.size(), [&](std::size_t index, Span<float> row) {
    if (index + 1 == ids.size()) return;
    const float logit = row[static_cast<std::size_t>(ids[index + 1])];
    const double nll = logsumexp(row) - double{logit};
    sum += nll;
    difference += std::abs(nll - data["nll"][index].get<double>());
  });
  const double count = static_cast<double>(ids.size() - 1);
  const double perplexity = std::exp(sum / count);
  MESSAGE("perplexity ", perplexity, ", mean |Δnll| ", difference / count);
  CHECK(perplexity == doctest::Approx(data["ppl"].get<double>()).epsilon(0.003));
  CHECK(difference / count < 0.05);
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

TEST_CASE("real 270M: a prompt longer than the window gives the same in any batch size") {
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
  // Activations of small batches have 15 bits, those of large ones 8.
  CHECK(worst_difference(last_row(gemma::simd::kCoarseTokens - 1), last_row(1)) < 0.02);
  CHECK(worst_difference(last_row(100), last_row(1024)) < 0.02);
}
