// The real Gemma 3 270M on an OpenCL device. Skipped where the model could not be fetched.
#include <doctest/doctest.h>

#include <cstddef>
#include <nlohmann/json.hpp>
#include <vector>

#include "gemma/gemma.hpp"
#include "generate/real_model.hpp"
#include "opencl/test_device.hpp"

TEST_CASE("real 270M: OpenCL is the float32 model, but for the rounding of the KV cache") {
  if (!test_device()) return;
  const auto model = real_model();
  if (!model) return;
  gemma::SessionOptions options;
  options.context = 128;
  options.batch = 64;
  options.backend = gemma::Backend::opencl;
  gemma::Session session(*model, options);
  const Engine engine = [&](const std::vector<gemma::TokenId>& ids, std::size_t rows,
                            const gemma::LogitsSink& sink) {
    session.reset();
    gemma::Outputs outputs;
    outputs.logit_rows = rows;
    outputs.logits = sink;
    REQUIRE(session.try_evaluate(ids, outputs).ok());
  };
  Agreement agreement;
  const nlohmann::json data = golden();
  for (const std::size_t p : {0u, 6u}) compare_prompt(data["prompts"][p], engine, agreement);
  MESSAGE("top-1 agreement ", agreement.top1_rate(), ", |Δlogit| of the top ten: mean ",
          agreement.mean_difference(), ", largest ", agreement.max_difference);
  CHECK(agreement.top1 == agreement.positions);
  CHECK(agreement.mean_difference() < 0.01);
}
