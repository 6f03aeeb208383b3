// The golden models of tests/data/golden: tiny random models with what a float32 run of the
// original implementation gives for them.
#ifndef GEMMA_TESTS_GOLDEN_HPP_
#define GEMMA_TESTS_GOLDEN_HPP_

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "gemma/generate/model.hpp"
#include "gemma/generate/sampler.hpp"
#include "test_data.hpp"

struct Golden {
  std::string name;
  std::string kind;  ///< "f32" or "q8_0"
  gemma::Model model;
  std::vector<gemma::TokenId> input_ids;
  nlohmann::json results;

  static Golden load(const std::string& name, const std::string& kind) {
    const std::string folder = "golden/" + name + "/";
    std::ifstream file(data_path(folder + "golden.json"));
    const nlohmann::json json = nlohmann::json::parse(file);
    return {name, kind, gemma::load(data_path(folder + "model-" + kind + ".gguf")),
            json.at("input_ids").get<std::vector<gemma::TokenId>>(), json.at(kind)};
  }
};

/// Logits of every position of `ids`, a row each, from whatever engine is under test.
using Rows = std::vector<std::vector<float>>;

inline double logsumexp(const std::vector<float>& row) {
  const double largest = double{*std::max_element(row.begin(), row.end())};
  double sum = 0.0;
  for (const float x : row) sum += std::exp(double{x} - largest);
  return largest + std::log(sum);
}

inline gemma::TokenId argmax(const std::vector<float>& row) {
  return gemma::greedy_token(gemma::Span<const float>(row));
}

/// Root of the mean squared difference of all logits.
inline double rms_difference(const Rows& a, const Rows& b) {
  double sum = 0.0;
  std::size_t count = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    for (std::size_t v = 0; v < a[i].size(); ++v, ++count) {
      const double d = double{a[i][v]} - double{b[i][v]};
      sum += d * d;
    }
  }
  return std::sqrt(sum / static_cast<double>(count));
}

struct Tolerance {
  double logit = 1e-3;
  double logsumexp = 2e-4;
  double margin = 2e-3;  ///< below this the winner may differ
};

/// Compares logits of all positions of golden.input_ids with the golden values.
inline void check_golden(const Golden& golden, const Rows& rows, const Tolerance& tolerance = {}) {
  CAPTURE(golden.name);
  CAPTURE(golden.kind);
  const nlohmann::json& want = golden.results;
  REQUIRE(rows.size() == golden.input_ids.size());
  double worst_logsumexp = 0.0;
  std::size_t wrong_argmax = 0;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const double difference = std::abs(logsumexp(rows[i]) - want["logsumexp"][i].get<double>());
    worst_logsumexp = (std::max)(worst_logsumexp, difference);
    const bool clear = want["top1_margin"][i].get<double>() > tolerance.margin;
    wrong_argmax += clear && argmax(rows[i]) != want["argmax"][i].get<gemma::TokenId>();
  }
  CHECK(worst_logsumexp <= tolerance.logsumexp);
  CHECK(wrong_argmax == 0);

  const Rows last = want["logits_last2"].get<Rows>();
  double worst_logit = 0.0;
  for (std::size_t i = 0; i < last.size(); ++i) {
    const std::vector<float>& row = rows[rows.size() - last.size() + i];
    REQUIRE(row.size() == last[i].size());
    for (std::size_t v = 0; v < row.size(); ++v) {
      worst_logit = (std::max)(worst_logit, std::abs(double{row[v]} - double{last[i][v]}));
    }
  }
  CHECK(worst_logit <= tolerance.logit);
}

/// Compares a greedy continuation with the golden one, up to the first step that is a near tie.
/// `next` reads ids and gives the logits after the last.
inline void check_greedy(
    const Golden& golden,
    const std::function<std::vector<float>(const std::vector<gemma::TokenId>&)>& next,
    const Tolerance& tolerance = {}) {
  CAPTURE(golden.name);
  CAPTURE(golden.kind);
  std::vector<gemma::TokenId> ids = golden.input_ids;
  const nlohmann::json& want = golden.results;
  std::size_t compared = 0;
  for (std::size_t i = 0; i < want["greedy"].size(); ++i, ++compared) {
    if (want["greedy_margin"][i].get<double>() < tolerance.margin) break;
    const gemma::TokenId id = argmax(next(ids));
    REQUIRE(id == want["greedy"][i].get<gemma::TokenId>());
    ids = {id};
  }
  CHECK(compared > 0);
}

/// Every family; those with float32 files too are named apart.
inline const std::vector<std::string> kGoldenQ8 = {
    "gemma1_mqa",  "gemma1_mha",     "gemma2_swa", "gemma3_base",
    "gemma3_gqa4", "gemma3_linear8", "gemma3_swa", "gemma3_62l",
    "gemma3n",     "gemma4_e",       "gemma4_dense", "gemma4_moe"};
inline const std::vector<std::string> kGoldenF32 = {"gemma3_swa", "gemma3_linear8"};

#endif  // GEMMA_TESTS_GOLDEN_HPP_
