// Graphs of TFLite, up to the model that they hold. What is fuzzed are the tables; the weights, which
// these have behind them, are any bytes.
#include <vector>

#include "fuzz/target.hpp"
#include "gemma/generate/bind_weights.hpp"
#include "gemma/generate/mediapipe_bundle.hpp"

void fuzz(gemma::Bytes bytes) {
  constexpr std::size_t kWeights = 100'000;
  std::vector<std::uint8_t> graph(bytes.begin(), bytes.end());
  graph.resize(bytes.size() + kWeights, 1);
  gemma::mediapipe::BundleParts parts;
  parts.graph = gemma::Bytes(graph);
  parts.graph_name = "fuzz";
  auto source = gemma::mediapipe::BundleSource::plan(parts.graph, std::move(parts), "fuzz");
  if (source.ok() && source->lay_out({}).ok()) touch(*source);
}
