// Embeddings against those of the original implementation (tests/data/make_embedding_golden.py).
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "float_weights.hpp"
#include "gemma/backend/cpu.hpp"
#include "gemma/generate/session.hpp"
#include "golden.hpp"

namespace {

using gemma::EmbedOptions;
using gemma::Pooling;
using gemma::Session;
using gemma::SessionOptions;
using gemma::Span;
using gemma::TokenId;
using Vector = std::vector<float>;

/// The golden vectors of a model, {"mean": [D], "last": [D]}.
nlohmann::json golden_vectors(const Golden& golden) {
  std::ifstream file(data_path("golden/embeddings.json"));
  return nlohmann::json::parse(file).at(golden.name + "/" + golden.kind);
}

Vector normalised(Vector v) {
  double squares = 0.0;
  for (const float x : v) squares += double{x} * double{x};
  for (float& x : v) x = static_cast<float>(double{x} / std::sqrt(squares));
  return v;
}

double largest_difference(const Vector& a, const Vector& b) {
  REQUIRE(a.size() == b.size());
  double largest = 0.0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    largest = (std::max)(largest, std::abs(double{a[i]} - double{b[i]}));
  }
  return largest;
}

Session make_session(const Golden& golden, std::size_t batch) {
  SessionOptions options;
  options.context = 128;
  options.batch = batch;
  options.threads = 2;
  return Session(golden.model, options);
}

Vector embed(Session& session, const Golden& golden, Pooling pooling, bool normalise) {
  EmbedOptions options;
  options.pooling = pooling;
  options.normalise = normalise;
  return session.try_embed(Span<const TokenId>(golden.input_ids), options).value();
}

}  // namespace

TEST_CASE("the embeddings of float32 models are the golden ones, whatever the batch") {
  for (const std::string& name : kGoldenF32) {
    const Golden golden = Golden::load(name, "f32");
    CAPTURE(name);
    const nlohmann::json want = golden_vectors(golden);
    for (const std::size_t batch : {48u, 7u, 1u}) {
      CAPTURE(batch);
      Session session = make_session(golden, batch);
      for (const Pooling pooling : {Pooling::mean, Pooling::last_token}) {
        const Vector wanted = want[pooling == Pooling::mean ? "mean" : "last"].get<Vector>();
        CHECK(largest_difference(embed(session, golden, pooling, false), wanted) <= 1e-4);
        CHECK(largest_difference(embed(session, golden, pooling, true), normalised(wanted)) <=
              1e-5);
      }
    }
  }
}

TEST_CASE("hidden states of every family are the golden ones when the weights are floats") {
  for (const char* name : {"gemma3_base", "gemma2_swa", "gemma3n", "gemma4_e", "gemma4_moe"}) {
    const Golden golden = Golden::load(name, "q8_0");
    CAPTURE(name);
    const FloatWeights weights(golden.model.weights());
    gemma::CpuOptions options;
    options.context = 128;
    options.threads = 2;
    options.kv_type = gemma::simd::KvType::f32;
    const auto runner =
        gemma::create_cpu_runner(golden.model.config(), weights.weights(), options).value();
    const std::size_t tokens = golden.input_ids.size();
    std::vector<double> sum(golden.model.config().width);
    Vector last;
    gemma::Outputs outputs;
    outputs.hidden = [&](std::size_t, Span<const float> hidden) {
      for (std::size_t i = 0; i < sum.size(); ++i) sum[i] += double{hidden[i]};
      last.assign(hidden.begin(), hidden.end());
    };
    REQUIRE(runner->forward(Span<const TokenId>(golden.input_ids), outputs).ok());
    Vector mean;
    for (const double s : sum) mean.push_back(static_cast<float>(s / static_cast<double>(tokens)));
    const nlohmann::json want = golden_vectors(golden);
    CHECK(largest_difference(mean, want["mean"].get<Vector>()) <= 1e-4);
    CHECK(largest_difference(last, want["last"].get<Vector>()) <= 1e-4);
  }
}

TEST_CASE("the embeddings of quantised models are close to the golden ones") {
  for (const char* name : {"gemma3_base", "gemma2_swa", "gemma3n", "gemma4_e", "gemma4_moe"}) {
    const Golden golden = Golden::load(name, "q8_0");
    CAPTURE(name);
    const nlohmann::json want = golden_vectors(golden);
    Session session = make_session(golden, 48);
    for (const Pooling pooling : {Pooling::mean, Pooling::last_token}) {
      const Vector wanted = want[pooling == Pooling::mean ? "mean" : "last"].get<Vector>();
      CHECK(largest_difference(embed(session, golden, pooling, true), normalised(wanted)) <= 2e-3);
    }
  }
}
