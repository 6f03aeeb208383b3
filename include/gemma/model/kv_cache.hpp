// Keys and values of the positions read so far. A layer with a window keeps only what a batch of
// queries can still see, in a ring buffer; other layers keep the whole context.
#ifndef GEMMA_MODEL_KV_CACHE_HPP_
#define GEMMA_MODEL_KV_CACHE_HPP_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "gemma/base/aligned.hpp"
#include "gemma/model/config.hpp"
#include "gemma/simd/kernels.hpp"

GEMMA_NAMESPACE_BEGIN

/// Per layer two arrays [capacity, K·d]; position p lies in slot p % capacity. Layers that read
/// another's keys and values have none.
class KvCache {
 public:
  struct Layer {
    AlignedArray<std::uint8_t> keys;
    AlignedArray<std::uint8_t> values;
    std::size_t capacity = 0;   ///< positions
    std::size_t row_bytes = 0;  ///< of one position
  };

  KvCache() = default;

  /// Room for `context` positions, of which at most `batch` are added at a time.
  static Result<KvCache> create(const Config& config, std::size_t context, std::size_t batch,
                                simd::KvType type) {
    KvCache cache;
    cache.type_ = type;
    for (std::size_t i = 0; i < config.layers.size(); ++i) {
      const LayerConfig& layer = config.layers[i];
      Layer made;
      made.capacity = layer.kv_layer == i ? capacity(layer, context, batch) : 0;
      made.row_bytes = layer.kv_heads * layer.head_dim * simd::kv_element_bytes(type);
      const std::size_t size = made.capacity * made.row_bytes;
      GEMMA_TRY_ASSIGN(made.keys, AlignedArray<std::uint8_t>::create(size, "the KV cache"));
      GEMMA_TRY_ASSIGN(made.values, AlignedArray<std::uint8_t>::create(size, "the KV cache"));
      cache.layers_.push_back(std::move(made));
    }
    return cache;
  }

  /// Bytes that create() with the same arguments takes.
  static std::uint64_t bytes(const Config& config, std::size_t context, std::size_t batch,
                             simd::KvType type) {
    std::uint64_t sum = 0;
    for (std::size_t i = 0; i < config.layers.size(); ++i) {
      const LayerConfig& layer = config.layers[i];
      if (layer.kv_layer != i) continue;
      sum += std::uint64_t{2} * capacity(layer, context, batch) * layer.kv_heads * layer.head_dim *
             simd::kv_element_bytes(type);
    }
    return sum;
  }

  Layer& layer(std::size_t index) { return layers_[index]; }
  simd::KvType type() const { return type_; }

 private:
  /// The first query of a batch still sees window − 1 positions before the batch.
  static std::size_t capacity(const LayerConfig& layer, std::size_t context, std::size_t batch) {
    return layer.window == 0 ? context : (std::min)(context, layer.window - 1 + batch);
  }

  std::vector<Layer> layers_;
  simd::KvType type_ = simd::KvType::f32;
};

GEMMA_NAMESPACE_END

#endif  // GEMMA_MODEL_KV_CACHE_HPP_
