// Keys and values of the positions read so far. A layer with a window keeps only what a batch of
// queries can still see, in a ring buffer; other layers keep the whole context.
#ifndef GEMMA_MODEL_KV_CACHE_HPP_
#define GEMMA_MODEL_KV_CACHE_HPP_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "gemma/base/shared_array.hpp"
#include "gemma/model/config.hpp"
#include "gemma/simd/kernels.hpp"

GEMMA_NAMESPACE_BEGIN

/// Per layer two arrays [capacity, K·d]; position p lies in slot p % capacity. Layers that read
/// another's keys and values have none. Copies share the arrays until make_own().
class KvCache {
 public:
  /// The arrays of one layer, of the cache's type.
  struct Layer {
    SharedArray<std::uint8_t> keys;    ///< [capacity, K·d], after norm and RoPE
    SharedArray<std::uint8_t> values;  ///< [capacity, K·d]
    std::size_t capacity = 0;           ///< positions; 0: another layer's are read
    std::size_t row_bytes = 0;          ///< of one position

    /// Where the bytes of a position begin in both arrays.
    std::size_t offset(std::size_t position) const { return position % capacity * row_bytes; }
  };

  KvCache() = default;

  /// Room for `context` positions, of which at most `batch` are added at a time.
  static Result<KvCache> create(const Config& config, std::size_t context, std::size_t batch,
                                simd::KvType type) {
    GEMMA_TRY(check_type(config, type));
    KvCache cache;
    cache.type_ = type;
    for (std::size_t i = 0; i < config.layers.size(); ++i) {
      const LayerConfig& layer = config.layers[i];
      Layer made;
      made.capacity = layer.kv_layer == i ? capacity(layer, context, batch) : 0;
      made.row_bytes = simd::kv_bytes(type, layer.kv_heads * layer.head_dim);
      const std::size_t size = made.capacity * made.row_bytes;
      GEMMA_TRY_ASSIGN(made.keys, SharedArray<std::uint8_t>::create(size, "the KV cache"));
      GEMMA_TRY_ASSIGN(made.values, SharedArray<std::uint8_t>::create(size, "the KV cache"));
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
      sum += std::uint64_t{2} * capacity(layer, context, batch) *
             simd::kv_bytes(type, layer.kv_heads * layer.head_dim);
    }
    return sum;
  }

  Layer& layer(std::size_t index) { return layers_[index]; }              ///< of Config::layers
  const Layer& layer(std::size_t index) const { return layers_[index]; }  ///< likewise
  simd::KvType type() const { return type_; }                 ///< of all numbers in it

  /// Makes arrays that copies share its own, to be written to; `position` positions are in use.
  Status make_own(std::size_t position) {
    for (Layer& layer : layers_) {
      const std::size_t used = (std::min)(position, layer.capacity) * layer.row_bytes;
      GEMMA_TRY(layer.keys.make_own(used, "the KV cache"));
      GEMMA_TRY(layer.values.make_own(used, "the KV cache"));
    }
    return {};
  }

  /// An error if heads are not whole blocks of a quantised type.
  static Status check_type(const Config& config, simd::KvType type) {
    for (const LayerConfig& layer : config.layers) {
      const bool fits = layer.head_dim % quant::Q8_0::kBlockElements == 0 &&
                        layer.head_dim <= simd::kLargestQuantizedHead;
      if (type == simd::KvType::q8_0 && !fits) {
        return Error(ErrorCode::unsupported,
                     "a KV cache in q8_0 needs heads of a multiple of 32 numbers, at most " +
                         std::to_string(simd::kLargestQuantizedHead) + "; this model's have " +
                         std::to_string(layer.head_dim) + ": choose f16 or f32");
      }
    }
    return {};
  }

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
