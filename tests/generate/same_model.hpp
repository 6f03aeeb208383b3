// Whether two models are the same: by the logits of the reference, and by the text that they write.
#ifndef GEMMA_TESTS_GENERATE_SAME_MODEL_HPP_
#define GEMMA_TESTS_GENERATE_SAME_MODEL_HPP_

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "gemma/generate/model.hpp"
#include "gemma/generate/quantize.hpp"
#include "gemma/generate/session.hpp"
#include "gemma/model/reference.hpp"
#include "temp_folder.hpp"
#include "test_data.hpp"

inline gemma::Model golden(const std::string& name) {
  gemma::LoadOptions options;
  options.access = gemma::FileAccess::map;
  return gemma::load(data_path("golden/" + name + "/model-q8_0.gguf"), options);
}

/// A few ids, other ones for each seed.
inline std::vector<gemma::TokenId> some_ids(std::size_t count, std::uint32_t seed, std::size_t vocab) {
  std::vector<gemma::TokenId> ids = {2};
  for (std::uint32_t x = seed * 2654435761u + 1; ids.size() < count;) {
    x = x * 1664525u + 1013904223u;
    ids.push_back(static_cast<gemma::TokenId>((x >> 8) % vocab));
  }
  return ids;
}

/// The largest difference of two logits, after a text of 24 tokens, on the reference model.
inline double difference(const gemma::Config& a_config, const gemma::Weights& a, const gemma::Config& b_config, const gemma::Weights& b) {
  gemma::reference::Model first(a_config, a), second(b_config, b);
  const std::vector<gemma::TokenId> ids = some_ids(24, 1, a_config.vocab_size);
  const gemma::reference::Matrix x = first.forward(gemma::Span<const gemma::TokenId>(ids), 2);
  const gemma::reference::Matrix y = second.forward(gemma::Span<const gemma::TokenId>(ids), 2);
  double worst = 0.0;
  for (std::size_t i = 0; i < x.values.size(); ++i) {
    const double d = std::abs(double{x.values[i]} - double{y.values[i]});
    worst = d <= worst ? worst : d;  // a NaN stays
  }
  return worst;
}

inline std::vector<gemma::TokenId> greedy(const gemma::Model& model, std::uint32_t seed) {
  gemma::SessionOptions session_options;
  session_options.threads = 1;
  session_options.kv_type = gemma::simd::KvType::f32;
  session_options.batch = 8;  // prompts with 15 bits, too
  gemma::Session session(model, session_options);
  gemma::GenerateOptions options;
  options.max_tokens = 24;
  options.sampler.temperature = 0.0f;
  const std::vector<gemma::TokenId> ids = some_ids(9, seed, model.config().vocab_size);
  return session.generate(gemma::Span<const gemma::TokenId>(ids), {}, options).ids;
}

/// Damaged weights may give what is no number, which is an error.
inline void run_or_refuse(const gemma::Model& model) {
  const std::vector<gemma::TokenId> ids = some_ids(9, 1, model.config().vocab_size);
  gemma::SessionOptions options;
  options.threads = 1;
  options.context = 32;
  auto session = gemma::Session::create(model, options);
  if (!session.ok()) return;
  const auto logits = session->try_logits(gemma::Span<const gemma::TokenId>(ids));
  CHECK((logits.ok() || !logits.error().message().empty()));
}

/// By how much a model prefers one token to another after a text.
inline float preference(const gemma::Model& model, const std::vector<gemma::TokenId>& text, gemma::TokenId first,
                        gemma::TokenId second) {
  gemma::SessionOptions options;
  options.threads = 1;
  options.kv_type = gemma::simd::KvType::f32;
  gemma::Session session(model, options);
  const std::vector<float> logits = session.try_logits(gemma::Span<const gemma::TokenId>(text)).value();
  return logits[static_cast<std::size_t>(first)] - logits[static_cast<std::size_t>(second)];
}

/// The greedy text is that of the same weights as float32 in a GGUF file, until two tokens are as likely as
/// the rounding of activations to 15 bits can tell.
inline void check_text(const gemma::Model& model) {
  const TempFolder folder;
  REQUIRE(gemma::quantize(model, *gemma::find_quantize_scheme("f32"), folder.path("m.gguf")).ok());
  const gemma::Model floats = gemma::load(folder.path("m.gguf"));
  for (const std::uint32_t seed : {1u, 2u, 3u}) {
    const std::vector<gemma::TokenId> ids = greedy(model, seed), want = greedy(floats, seed);
    CHECK_FALSE(ids.empty());
    const auto differ = std::mismatch(ids.begin(), ids.end(), want.begin(), want.end());
    if (differ.first == ids.end() || differ.second == want.end()) {
      CHECK(ids.size() == want.size());
      continue;
    }
    std::vector<gemma::TokenId> text = some_ids(9, seed, model.config().vocab_size);
    text.insert(text.end(), ids.begin(), differ.first);
    CHECK(preference(floats, text, *differ.second, *differ.first) < 0.01f);
  }
}

#endif  // GEMMA_TESTS_GENERATE_SAME_MODEL_HPP_
