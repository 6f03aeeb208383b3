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
  options.batch = 8;
  options.backend = gemma::Backend::opencl;
  gemma::Session session(*model, options);
  const Engine engine = [&](const std::vector<gemma::TokenId>& ids, std::size_t rows,
                            const gemma::LogitsSink& sink) {
    session.reset();
    gemma::Outputs outputs;
    outputs.logit_rows = rows;
    outputs.logits = sink;
    REQUIRE(session.try_evaluate(ids, outputs).ok());
    REQUIRE(session.backend().find("opencl: ") == 0);
  };
  Agreement agreement;
  const nlohmann::json data = golden();
  // Batches of 8 tokens, and single ones: a CPU takes its time over kernels made for GPUs.
  compare_prompt(data["prompts"][0], engine, agreement, 3);
  compare_prompt(data["prompts"][6], engine, agreement, 2);
  MESSAGE("top-1 agreement ", agreement.top1_rate(), ", |Δlogit| of the top ten: mean ",
          agreement.mean_difference(), ", largest ", agreement.max_difference);
  CHECK(agreement.top1 == agreement.positions);
  CHECK(agreement.mean_difference() < 0.01);
}
