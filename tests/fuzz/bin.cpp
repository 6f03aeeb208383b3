// MediaPipe's weight files, up to the model that they hold. What is fuzzed is the head; the weights
// behind it are any bytes.
#include <vector>

#include "fuzz/target.hpp"
#include "gemma/generate/bind_weights.hpp"
#include "gemma/generate/mediapipe_bin.hpp"

void fuzz(gemma::Bytes bytes) {
  constexpr std::size_t kWeights = 400'000;
  std::vector<std::uint8_t> file(bytes.begin(), bytes.end());
  file.resize(bytes.size() + kWeights, 1);
  auto container = gemma::tfl::File::from_bytes(gemma::Bytes(file), "fuzz");
  if (!container.ok()) return;
  const auto source = gemma::mediapipe::Source::from_file(*std::move(container));
  if (source.ok()) touch(*source);
}
