// A model file with flipped bytes either is refused or runs: whatever it says, nothing crashes.
#include <doctest/doctest.h>

#include <cstdint>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

#include "gemma/backend/cpu.hpp"
#include "gemma/generate/gguf_binding.hpp"
#include "gemma/text/tokenizer.hpp"
#include "test_data.hpp"

namespace {

using gemma::Span;
using gemma::TokenId;

std::vector<std::uint8_t> read_bytes(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

/// Loads the bytes as far as they go; true if the model ran.
bool try_to_run(const std::vector<std::uint8_t>& bytes) {
  const auto file = gemma::gguf::File::from_bytes(bytes, "mutant");
  if (!file) return false;
  const auto config = gemma::gguf::read_config(*file);
  if (!config) return false;
  const auto weights = gemma::bind_weights(gemma::gguf::FileTensors(*file), *config);
  if (!weights) return false;
  auto vocabulary = gemma::gguf::read_vocabulary(*file);
  if (!vocabulary) return false;
  const auto tokenizer = gemma::Tokenizer::create(*std::move(vocabulary));
  if (!tokenizer) return false;
  CHECK(tokenizer->decode(tokenizer->encode("some text, <b>, \xFF")).size() < 10000);

  gemma::CpuOptions options;
  options.context = 8;
  options.batch = 4;
  options.threads = 1;
  const auto runner = gemma::create_cpu_runner(*config, *weights, options);
  if (!runner) return false;
  const std::vector<TokenId> ids = {2, 5, 9};
  gemma::Outputs outputs;
  outputs.logit_rows = 1;
  std::size_t rows = 0;
  outputs.logits = [&](std::size_t, Span<float> row) { rows += row.size() == config->vocab_size; };
  CHECK((*runner)->forward(Span<const TokenId>(ids), outputs).ok());
  CHECK(rows == 1);
  return true;
}

/// Mutates bytes of the file's first part, where its metadata and its table of tensors are.
void check_mutants(const std::string& name, std::size_t count) {
  const std::vector<std::uint8_t> original = read_bytes(data_path(name));
  REQUIRE(try_to_run(original));
  const std::size_t weights = original.size() / 4;
  std::mt19937 random(11);
  std::size_t ran = 0;
  for (std::size_t i = 0; i < count; ++i) {
    std::vector<std::uint8_t> mutant = original;
    const std::size_t changes = 1 + random() % 3;
    for (std::size_t c = 0; c < changes; ++c) {
      // Half of the changes go to the beginning, where sizes stand.
      const std::size_t range = random() % 2 == 0 ? 2000 : weights;
      const std::uint8_t values[] = {0, 1, 0x7F, 0xFF, static_cast<std::uint8_t>(random())};
      mutant[random() % range] = values[random() % 5];
    }
    ran += try_to_run(mutant);
  }
  CHECK(ran > 0);
  CHECK(ran < count);
}

}  // namespace

TEST_CASE("a mutated Gemma 3 is refused or runs") { check_mutants("tiny-gemma3.gguf", 3000); }

TEST_CASE("a mutated Gemma 3n is refused or runs") {
  check_mutants("golden/gemma3n/model-q8_0.gguf", 1500);
}

TEST_CASE("a mutated Gemma 4 with experts is refused or runs") {
  check_mutants("golden/gemma4_moe/model-q8_0.gguf", 1500);
}

TEST_CASE("a mutated Gemma 4 with shared keys is refused or runs") {
  check_mutants("golden/gemma4_e/model-q8_0.gguf", 1500);
}
