#include "gemma/generate/sampler.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <map>
#include <vector>

namespace {

using gemma::Sampler;
using gemma::SamplerOptions;
using gemma::Span;
using gemma::TokenId;

/// How often each token is drawn in `draws` draws from the same logits.
std::map<TokenId, int> histogram(const SamplerOptions& options, const std::vector<float>& logits,
                                 int draws, const std::vector<TokenId>& history = {}) {
  Sampler sampler(options);
  std::map<TokenId, int> counts;
  for (int i = 0; i < draws; ++i) {
    std::vector<float> copy = logits;
    ++counts[sampler.sample(Span<float>(copy), Span<const TokenId>(history))];
  }
  return counts;
}

SamplerOptions plain() {
  SamplerOptions options;
  options.top_k = 0;
  options.top_p = 1.0f;
  return options;
}

const std::vector<float> kLogits = {std::log(0.1f), std::log(0.4f), std::log(0.2f),
                                    std::log(0.3f)};

}  // namespace

TEST_CASE("temperature 0 takes the largest logit, the first of equals") {
  SamplerOptions options;
  options.temperature = 0.0f;
  CHECK(histogram(options, {1.0f, 5.0f, 5.0f, -1.0f}, 3) == std::map<TokenId, int>{{1, 3}});
}

TEST_CASE("a NaN never wins a greedy choice") {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const std::vector<float> logits = {nan, 1.0f, nan, 2.0f};
  CHECK(gemma::greedy_token(logits) == 3);
}

TEST_CASE("without filters tokens are drawn with their softmax probabilities") {
  const auto counts = histogram(plain(), kLogits, 20000);
  CHECK(counts.at(0) == doctest::Approx(2000).epsilon(0.1));
  CHECK(counts.at(1) == doctest::Approx(8000).epsilon(0.1));
  CHECK(counts.at(2) == doctest::Approx(4000).epsilon(0.1));
  CHECK(counts.at(3) == doctest::Approx(6000).epsilon(0.1));
}

TEST_CASE("temperature sharpens and flattens") {
  SamplerOptions options = plain();
  options.temperature = 0.5f;  // probabilities squared: 1 16 4 9 of 30
  CHECK(histogram(options, kLogits, 30000).at(1) == doctest::Approx(16000).epsilon(0.05));
  options.temperature = 100.0f;
  CHECK(histogram(options, kLogits, 20000).at(0) == doctest::Approx(5000).epsilon(0.1));
}

TEST_CASE("top-k keeps the k likeliest") {
  SamplerOptions options = plain();
  options.top_k = 2;
  const auto counts = histogram(options, kLogits, 7000);
  CHECK(counts.size() == 2);
  CHECK(counts.at(1) == doctest::Approx(4000).epsilon(0.1));
  CHECK(counts.at(3) == doctest::Approx(3000).epsilon(0.1));
}

TEST_CASE("top-p keeps the likeliest that together reach p") {
  SamplerOptions options = plain();
  options.top_p = 0.6f;
  const auto counts = histogram(options, kLogits, 2000);
  CHECK(counts.size() == 2);
  CHECK(counts.count(1) == 1);
  CHECK(counts.count(3) == 1);
  options.top_p = 0.01f;
  CHECK(histogram(options, kLogits, 10).size() == 1);
}

TEST_CASE("min-p drops tokens far below the likeliest") {
  SamplerOptions options = plain();
  options.min_p = 0.6f;  // of 0.4: keeps 0.4 and 0.3
  CHECK(histogram(options, kLogits, 2000).size() == 2);
}

TEST_CASE("the repeat penalty lowers tokens of the recent history only") {
  SamplerOptions options = plain();
  options.temperature = 0.0f;
  options.repeat_penalty = 2.0f;
  options.repeat_last = 2;
  const std::vector<float> logits = {3.0f, 2.0f, -1.0f};
  CHECK(histogram(options, logits, 1, {0}).count(1) == 1);
  CHECK(histogram(options, logits, 1, {0, 2, 2}).count(0) == 1);
  const std::vector<float> negative = {-1.0f, -1.5f};
  CHECK(histogram(options, negative, 1, {0}).count(1) == 1);
}

TEST_CASE("the same seed draws the same tokens, another seed others") {
  const std::vector<float> flat(1000, 0.0f);
  const auto draw = [&](std::uint64_t seed) {
    SamplerOptions options = plain();
    options.seed = seed;
    Sampler sampler(options);
    std::vector<TokenId> ids;
    for (int i = 0; i < 20; ++i) {
      std::vector<float> copy = flat;
      ids.push_back(sampler.sample(Span<float>(copy), {}));
    }
    return ids;
  };
  CHECK(draw(7) == draw(7));
  CHECK(draw(7) != draw(8));
}

TEST_CASE("forbidden tokens are never drawn") {
  std::vector<float> logits(50, -std::numeric_limits<float>::infinity());
  logits[17] = 0.0f;
  CHECK(histogram(plain(), logits, 100) == std::map<TokenId, int>{{17, 100}});
}

TEST_CASE("options out of range are refused by name") {
  const auto message = [](auto change) {
    SamplerOptions options;
    change(options);
    const gemma::Status status = gemma::check_sampler_options(options);
    return status.ok() ? std::string() : status.error().message();
  };
  CHECK(message([](SamplerOptions&) {}).empty());
  CHECK(message([](SamplerOptions& o) { o.temperature = -1.0f; }).find("temperature") == 0);
  CHECK(message([](SamplerOptions& o) { o.top_p = 0.0f; }).find("top-p") == 0);
  CHECK(message([](SamplerOptions& o) { o.min_p = 1.5f; }).find("min-p") == 0);
  CHECK(message([](SamplerOptions& o) { o.repeat_penalty = 0.0f; }).find("repeat") == 0);
  CHECK(message([](SamplerOptions& o) {
          o.temperature = std::numeric_limits<float>::quiet_NaN();
        }).find("temperature") == 0);
}
