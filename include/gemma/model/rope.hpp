// Rotary position embedding: the cosines and sines of a batch of positions, computed once per batch
// for each kind of layer. Source: arXiv 2104.09864; pairs are (i, i + d/2).
#ifndef GEMMA_MODEL_ROPE_HPP_
#define GEMMA_MODEL_ROPE_HPP_

#include <cmath>
#include <cstddef>
#include <utility>
#include <vector>

#include "gemma/base/aligned.hpp"
#include "gemma/model/config.hpp"

GEMMA_NAMESPACE_BEGIN

/// Tables for all layers of a model: local and global ones usually share two.
class RopeTables {
 public:
  /// cos and sin of position / scale · base^(−2i/d), i < d/2, for each token of the batch.
  class Table {
   public:
    const float* cos(std::size_t token) const { return values_.data() + 2 * token * half_; }
    const float* sin(std::size_t token) const { return cos(token) + half_; }

   private:
    friend class RopeTables;
    float base_ = 0.0f;
    float scale_ = 1.0f;
    std::size_t half_ = 0;
    std::vector<float> frequencies_;
    AlignedArray<float> values_;
  };

  explicit RopeTables(const Config& config) {
    for (const LayerConfig& layer : config.layers) {
      if (find(layer) != tables_.size()) continue;
      Table made;
      made.base_ = layer.rope_base;
      made.scale_ = layer.rope_scale;
      made.half_ = layer.head_dim / 2;
      for (std::size_t i = 0; i < made.half_; ++i) {
        const float exponent = static_cast<float>(2 * i) / static_cast<float>(layer.head_dim);
        made.frequencies_.push_back(1.0f / std::pow(layer.rope_base, exponent) / layer.rope_scale);
      }
      tables_.push_back(std::move(made));
    }
  }

  /// Makes room for batches of `tokens`.
  Status reserve(std::size_t tokens) {
    for (Table& t : tables_) {
      const std::size_t count = 2 * t.half_ * tokens;
      GEMMA_TRY_ASSIGN(t.values_, AlignedArray<float>::create(count, "the RoPE tables"));
    }
    return {};
  }

  /// Fills the tables for positions [position, position + tokens).
  void prepare(std::size_t position, std::size_t tokens) {
    for (Table& t : tables_) {
      float* out = t.values_.data();
      for (std::size_t token = 0; token < tokens; ++token, out += 2 * t.half_) {
        const float p = static_cast<float>(position + token);
        for (std::size_t i = 0; i < t.half_; ++i) {
          out[i] = std::cos(p * t.frequencies_[i]);
          out[t.half_ + i] = std::sin(p * t.frequencies_[i]);
        }
      }
    }
  }

  const Table& table(const LayerConfig& layer) const { return tables_[find(layer)]; }

 private:
  std::size_t find(const LayerConfig& layer) const {
    std::size_t i = 0;
    while (i < tables_.size() &&
           (tables_[i].base_ != layer.rope_base || tables_[i].scale_ != layer.rope_scale ||
            tables_[i].half_ != layer.head_dim / 2)) {
      ++i;
    }
    return i;
  }

  std::vector<Table> tables_;
};

GEMMA_NAMESPACE_END

#endif  // GEMMA_MODEL_ROPE_HPP_
