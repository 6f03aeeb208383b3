// The real Gemma 3 270M, and a float32 run of the same dequantised weights to compare it with (see
// tests/data/real270m.json).
#ifndef GEMMA_TESTS_GENERATE_REAL_MODEL_HPP_
#define GEMMA_TESTS_GENERATE_REAL_MODEL_HPP_

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "gemma/gemma.hpp"
#include "test_data.hpp"

/// None, with a word about it, where it could not be fetched.
inline std::optional<gemma::Model> real_model() {
  const std::string path = real_model_path();
  if (!path.empty()) return gemma::load(path);
  MESSAGE("skipped: the real Gemma 3 270M is not there; tools/get_model fetches it");
  return std::nullopt;
}

inline nlohmann::json golden() {
  std::ifstream file(data_path("real270m.json"));
  return nlohmann::json::parse(file);
}

inline double logsumexp(gemma::Span<float> row) {
  const double largest = double{*std::max_element(row.begin(), row.end())};
  double sum = 0.0;
  for (const float x : row) sum += std::exp(double{x} - largest);
  return largest + std::log(sum);
}

/// Reads ids and gives the logits after the last `rows` of them to the sink.
using Engine = std::function<void(const std::vector<gemma::TokenId>& ids, std::size_t rows,
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

/// Over a prompt and `most` tokens of its continuation, all by default.
inline void compare_prompt(const nlohmann::json& prompt, const Engine& engine, Agreement& agreement,
                           std::size_t most = static_cast<std::size_t>(-1)) {
  std::vector<gemma::TokenId> ids = prompt["input_ids"].get<std::vector<gemma::TokenId>>();
  const auto greedy = prompt["greedy"].get<std::vector<gemma::TokenId>>();
  most = (std::min)(most, greedy.size() - 1);
  ids.insert(ids.end(), greedy.begin(), greedy.begin() + static_cast<std::ptrdiff_t>(most));
  const std::size_t first = prompt["first_row_position"].get<std::size_t>();
  engine(ids, ids.size() - first, [&](std::size_t index, gemma::Span<float> row) {
    const nlohmann::json& want = prompt["top10"][index - first];
    const auto top_ids = want[0].get<std::vector<gemma::TokenId>>();
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

#endif  // GEMMA_TESTS_GENERATE_REAL_MODEL_HPP_
