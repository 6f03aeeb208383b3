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

/// The speed f_i at which the i-th of d/2 pairs turns per position: base^(−2i/d), slowed down where
/// the model was stretched to longer texts.
inline float rope_frequency(const Config& config, const LayerConfig& layer, std::size_t i) {
  const float exponent = static_cast<float>(2 * i) / static_cast<float>(layer.head_dim);
  const float frequency = 1.0f / std::pow(layer.rope_base, exponent) / layer.rope_scale;
  return layer.rope_divided ? frequency / config.rope_divisors[i] : frequency;
}

/// Tables for all layers of a model: local and global ones usually share two.
class RopeTables {
 public:
  /// cos and sin of position · f_i, i < d/2, for each token of the batch.
  class Table {
   public:
    /// [d/2]
    const float* cos(std::size_t token) const { return values_.data() + 2 * token * half_; }
    /// [d/2]
    const float* sin(std::size_t token) const { return cos(token) + half_; }

   private:
    friend class RopeTables;
    std::size_t half_ = 0;
    std::vector<float> frequencies_;
    AlignedArray<float> values_;
  };

  /// Finds the speeds of all layers; reserve() and prepare() make the tables.
  explicit RopeTables(const Config& config) {
    for (const LayerConfig& layer : config.layers) {
      std::vector<float> frequencies;
      for (std::size_t i = 0; i < layer.head_dim / 2; ++i) {
        frequencies.push_back(rope_frequency(config, layer, i));
      }
      std::size_t index = 0;
      while (index < tables_.size() && tables_[index].frequencies_ != frequencies) ++index;
      table_of_layer_.push_back(index);
      if (index < tables_.size()) continue;
      Table made;
      made.half_ = frequencies.size();
      made.frequencies_ = std::move(frequencies);
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

  /// Of one of Config::layers, for the batch that was prepared last.
  const Table& table(std::size_t layer) const { return tables_[table_of_layer_[layer]]; }

 private:
  std::vector<Table> tables_;
  std::vector<std::size_t> table_of_layer_;
};

GEMMA_NAMESPACE_END

#endif  // GEMMA_MODEL_ROPE_HPP_
