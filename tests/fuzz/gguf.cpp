// GGUF files, up to the model that they hold. What is fuzzed is the head; the weights behind it are
// any bytes.
#include <vector>

#include "fuzz/target.hpp"
#include "gemma/generate/bind_weights.hpp"
#include "gemma/generate/gguf_binding.hpp"

void fuzz(gemma::Bytes bytes) {
  constexpr std::size_t kWeights = 300'000;
  std::vector<std::uint8_t> all(bytes.begin(), bytes.end());
  all.resize(bytes.size() + kWeights, 1);
  auto file = gemma::gguf::File::from_bytes(gemma::Bytes(all), "fuzz");
  if (!file.ok()) return;
  const auto source = gemma::gguf::Source::from_file(*std::move(file));
  if (source.ok()) touch(*source);
}
