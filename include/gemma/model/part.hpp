// Some of a model's layers as a model of their own, so that two backends can share its work.
#ifndef GEMMA_MODEL_PART_HPP_
#define GEMMA_MODEL_PART_HPP_

#include <cstddef>
#include <string>

#include "gemma/model/config.hpp"
#include "gemma/model/weights.hpp"

GEMMA_NAMESPACE_BEGIN

/// Layers of a model, made to look like a whole one.
struct ModelPart {
  Config config;    ///< of the layers in the part only
  Weights weights;  ///< views, as those of the model
};

/// Why layers of such a model cannot run without the others; empty: they can.
inline std::string why_indivisible(const Config& config) {
  if (config.altup_streams > 1) return "its layers share several residual streams";
  if (config.ple_width > 0) return "its layers share per-layer embeddings";
  for (std::size_t i = 0; i < config.layers.size(); ++i) {
    if (config.layers[i].kv_layer != i) return "its layers share keys and values";
  }
  return {};
}

/// Layers [begin, end) of a model that is not indivisible. What follows the first layers only is the
/// residual stream: a part without the last layer has no head, and one without the first layer has
/// the head's matrix for its embedding, which then is of no use.
inline ModelPart take_layers(const Config& config, const Weights& weights, std::size_t begin,
                             std::size_t end) {
  ModelPart part{config, weights};
  const auto take = [&](auto& layers) {
    using Offset = std::ptrdiff_t;
    layers.erase(layers.begin() + static_cast<Offset>(end), layers.end());
    layers.erase(layers.begin(), layers.begin() + static_cast<Offset>(begin));
  };
  if (end < config.layers.size()) part.weights.head = {};
  if (begin > 0) part.weights.embedding = part.weights.head;
  take(part.weights.layers);
  take(part.config.layers);
  for (LayerConfig& layer : part.config.layers) layer.kv_layer -= begin;
  return part;
}

GEMMA_NAMESPACE_END

#endif  // GEMMA_MODEL_PART_HPP_
