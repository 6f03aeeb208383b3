#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "gemma/backend/cpu.hpp"
#include "gemma/generate/session.hpp"
#include "golden.hpp"

namespace {

using gemma::Span;
using gemma::TokenId;
using Row = std::vector<float>;

/// The logits after `ids`, of which the `top` largest are asked for.
Row logits_of(const gemma::Model& model, const std::vector<TokenId>& ids, std::size_t top,
              bool two_pass, std::size_t threads) {
  gemma::CpuOptions options;
  options.context = 64;
  options.threads = threads;
  options.two_pass_head = two_pass;
  const auto runner = gemma::create_cpu_runner(model.config(), model.weights(), options).value();
  gemma::Outputs outputs;
  outputs.logit_rows = 1;
  outputs.top = top;
  Row row;
  outputs.logits = [&](std::size_t, Span<float> logits) { row.assign(logits.begin(), logits.end()); };
  REQUIRE(runner->forward(ids, outputs).ok());
  return row;
}

}  // namespace

TEST_CASE("the largest logits are the full head's to the bit, the others are left out") {
  // Heads with a soft-cap and without, of floats and of blocks.
  for (const auto& file : {std::pair("gemma3_swa", "q8_0"), std::pair("gemma2_swa", "q8_0"),
                           std::pair("gemma3_swa", "f32"), std::pair("gemma4_e", "q8_0")}) {
    const Golden golden = Golden::load(file.first, file.second);
    CAPTURE(file.first);
    for (const int count : {3, 20}) {
      const std::vector<TokenId> ids(golden.input_ids.begin(), golden.input_ids.begin() + count);
      const Row full = logits_of(golden.model, ids, 0, true, 1);
      CHECK(full == logits_of(golden.model, ids, 0, false, 1));
      for (const std::size_t top : {1u, 5u, 64u}) {
        const Row row = logits_of(golden.model, ids, top, true, 2);
        Row sorted = full;
        std::sort(sorted.begin(), sorted.end(), std::greater<float>());
        std::size_t left_out = 0;
        for (std::size_t i = 0; i < full.size(); ++i) {
          if (full[i] >= sorted[top - 1]) CHECK(row[i] == full[i]);
          const bool out = row[i] == -std::numeric_limits<float>::infinity();
          CHECK((out || row[i] == full[i]));
          left_out += out ? 1 : 0;
        }
        if (top == 1) CHECK(left_out > full.size() / 2);
      }
    }
  }
}

TEST_CASE("texts are the same with a two-pass head, greedy and drawn") {
  const gemma::Model model = gemma::load(data_path("tiny-gemma3.gguf"));
  for (const float temperature : {0.0f, 1.0f}) {
    for (const float penalty : {1.0f, 1.2f}) {
      gemma::GenerateOptions options;
      options.sampler.temperature = temperature;
      options.sampler.repeat_penalty = penalty;
      options.sampler.top_k = 8;
      options.max_tokens = 40;
      options.ignore_eos = true;
      gemma::SessionOptions session;
      gemma::Session plain(model, session);
      session.two_pass_head = true;
      gemma::Session two_pass(model, session);
      CHECK(plain.generate("hello", {}, options).ids == two_pass.generate("hello", {}, options).ids);
    }
  }
}
