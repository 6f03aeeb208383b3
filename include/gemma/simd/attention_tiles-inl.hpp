// Attention of many queries that share a KV head, as in prefill: products of small matrices. For the
// scores queries lie in lanes, so that the softmax needs no sums across lanes; for the values the
// dimensions do. Blocks of keys and values are turned into floats once for all queries.
#if defined(GEMMA_SIMD_ATTENTION_TILES_INL_HPP_) == defined(HWY_TARGET_TOGGLE)
#ifdef GEMMA_SIMD_ATTENTION_TILES_INL_HPP_
#undef GEMMA_SIMD_ATTENTION_TILES_INL_HPP_
#else
#define GEMMA_SIMD_ATTENTION_TILES_INL_HPP_
#endif

#include <algorithm>

#include "gemma/simd/elementwise-inl.hpp"
#include "gemma/simd/kernels.hpp"
#include "gemma/simd/kv_rows-inl.hpp"
#include "gemma/simd/vector-inl.hpp"
#include "hwy/contrib/math/math-inl.h"

HWY_BEFORE_NAMESPACE();
GEMMA_NAMESPACE_BEGIN
namespace simd {
namespace HWY_NAMESPACE {

/// Queries of a tile: two vectors of lanes.
inline constexpr std::size_t kTileQueries = 2 * kLanes;
inline constexpr std::size_t kMostTiles = 2;
inline constexpr std::size_t kMostQueries = kMostTiles * kTileQueries;
/// Keys whose scores stay in registers: with two vectors of queries each, half of them.
inline constexpr std::size_t kTileKeys = kBytes == 64 ? 8 : 4;
static_assert(kKeyBlock % kTileKeys == 0, "the tiles of a block have room where its keys have");

/// Up to kMostQueries queries and their softmax so far.
class TiledAttention {
 public:
  /// Bytes of scratch for heads of this size.
  static constexpr std::size_t scratch_bytes(std::size_t head_dim) {
    const std::size_t padded = pad(head_dim);
    return sizeof(float) * (2 * kMostQueries * padded + kKeyBlock * padded +
                            kMostQueries * kKeyBlock);
  }

  HWY_INLINE TiledAttention(const AttentionArgs& args, std::size_t kv_head, std::uint8_t* scratch)
      : a_(args), kv_head_(kv_head), padded_(pad(args.head_dim)) {
    q_ = reinterpret_cast<float*>(scratch);
    out_ = q_ + kMostQueries * padded_;
    rows_ = out_ + kMostQueries * padded_;
    weights_ = rows_ + kKeyBlock * padded_;
  }

  HWY_INLINE bool full() const { return count_ == kMostQueries; }
  HWY_INLINE bool empty() const { return count_ == 0; }

  /// Adds a query head of a token, which sees keys first to last.
  HWY_INLINE void add(std::size_t token, std::size_t head, std::size_t first, std::size_t last) {
    const std::size_t offset = (token * a_.heads + head) * a_.head_dim;
    float* q = q_ + count_ / kTileQueries * kTileQueries * padded_ + count_ % kTileQueries;
    for (std::size_t i = 0; i < a_.head_dim; ++i) q[i * kTileQueries] = a_.q[offset + i] * a_.scale;
    first_[count_] = static_cast<std::int32_t>(first);
    last_[count_] = static_cast<std::int32_t>(last);
    result_[count_++] = a_.out + offset;
  }

  /// Computes the results of all queries added, and forgets them.
  HWY_INLINE void run() {
    const DF d;
    const std::size_t tiles = (count_ + kTileQueries - 1) / kTileQueries;
    for (std::size_t i = count_; i < tiles * kTileQueries; ++i) {
      first_[i] = first_[0];  // lanes without a query do as the first one, and are dropped
      last_[i] = last_[0];
    }
    for (std::size_t i = 0; i < tiles * kTileQueries; i += kLanes) {
      hn::StoreU(hn::Set(d, hwy::LowestValue<float>()), d, largest_ + i);
      hn::StoreU(hn::Zero(d), d, sum_ + i);
    }
    std::memset(out_, 0, count_ * padded_ * sizeof(float));
    const std::int32_t first = *std::min_element(first_, first_ + count_);
    const std::int32_t last = *std::max_element(last_, last_ + count_);
    constexpr std::int32_t kBlock = static_cast<std::int32_t>(kKeyBlock);
    for (std::int32_t block = first / kBlock * kBlock; block <= last; block += kBlock) {
      add_block(HWY_MAX(block, first), HWY_MIN(block + kBlock, last + 1), tiles);
    }
    for (std::size_t i = 0; i < count_; ++i) {
      const VF inverse = hn::Set(d, 1.0f / sum_[i]);
      map(out_ + i * padded_, a_.head_dim, result_[i],
          [&](VF v) HWY_ATTR { return hn::Mul(v, inverse); });
    }
    count_ = 0;
  }

 private:
  static constexpr std::size_t pad(std::size_t n) { return (n + kLanes - 1) / kLanes * kLanes; }

  /// Keys [begin, end), which lie in one block.
  HWY_INLINE void add_block(std::int32_t begin, std::int32_t end, std::size_t tiles) {
    const std::size_t keys = static_cast<std::size_t>(end - begin);
    const std::size_t padded_keys = (keys + kTileKeys - 1) / kTileKeys * kTileKeys;
    load_kv_rows(a_, a_.k, kv_head_, static_cast<std::size_t>(begin), keys, padded_, rows_);
    std::memset(rows_ + keys * padded_, 0, (padded_keys - keys) * padded_ * sizeof(float));
    for (std::size_t tile = 0; tile < tiles; ++tile) {
      float* weights = weights_ + tile * kTileQueries * kKeyBlock;
      for (std::size_t k = 0; k < padded_keys; k += kTileKeys) {
        score_keys(rows_ + k * padded_, q_ + tile * kTileQueries * padded_,
                   weights + k * kTileQueries);
      }
      softmax(weights, tile * kTileQueries, begin, keys);
    }
    load_kv_rows(a_, a_.v, kv_head_, static_cast<std::size_t>(begin), keys, padded_, rows_);
    for (std::size_t i = 0; i < count_; i += kValueQueries) add_values(i, keys);
  }

  /// weights[k][lane] = q · key for kTileKeys keys. Sums of at most kSumDims products are added up, as
  /// one long sum would round more.
  HWY_INLINE void score_keys(const float* keys, const float* q, float* weights) const {
    constexpr std::size_t kSumDims = 32;
    const DF d;
    for (std::size_t begin = 0; begin < a_.head_dim; begin += kSumDims) {
      VF sums[kTileKeys][2];
      unroll<kTileKeys>([&](auto k) HWY_ATTR { sums[k][0] = sums[k][1] = hn::Zero(d); });
      const std::size_t end = HWY_MIN(begin + kSumDims, a_.head_dim);
      for (std::size_t i = begin; i < end; ++i) {
        const VF low = hn::LoadU(d, q + i * kTileQueries);
        const VF high = hn::LoadU(d, q + i * kTileQueries + kLanes);
        unroll<kTileKeys>([&](auto k) HWY_ATTR {
          const VF key = hn::Set(d, keys[k * padded_ + i]);
          sums[k][0] = hn::MulAdd(low, key, sums[k][0]);
          sums[k][1] = hn::MulAdd(high, key, sums[k][1]);
        });
      }
      unroll<kTileKeys>([&](auto k) HWY_ATTR {
        for (std::size_t half = 0; half < 2; ++half) {
          float* out = weights + k * kTileQueries + half * kLanes;
          const VF before = begin == 0 ? hn::Zero(d) : hn::LoadU(d, out);
          hn::StoreU(hn::Add(before, sums[k][half]), d, out);
        }
      });
    }
  }

  /// Scores become weights exp(score − largest); shrink_ is what earlier results shrink by.
  HWY_INLINE void softmax(float* weights, std::size_t query, std::int32_t begin, std::size_t keys) {
    const DF d;
    const DI32 di;
    const VF lowest = hn::Set(d, hwy::LowestValue<float>());
    for (std::size_t half = 0; half < kTileQueries; half += kLanes) {
      const VI32 first = hn::LoadU(di, first_ + query + half);
      const VI32 last = hn::LoadU(di, last_ + query + half);
      const auto seen = [&](std::size_t k) HWY_ATTR {
        const VI32 key = hn::Set(di, begin + static_cast<std::int32_t>(k));
        return hn::RebindMask(d, hn::And(hn::Ge(key, first), hn::Le(key, last)));
      };
      const VF before = hn::LoadU(d, largest_ + query + half);
      VF largest = before;
      for (std::size_t k = 0; k < keys; ++k) {
        float* at = weights + k * kTileQueries + half;
        VF s = hn::LoadU(d, at);
        if (a_.softcap > 0.0f) s = capped(s, a_.softcap);
        s = hn::IfThenElse(seen(k), s, lowest);
        hn::StoreU(s, d, at);
        largest = hn::Max(largest, s);
      }
      const VF shrink = hn::Exp(d, hn::Sub(before, largest));
      VF sum = hn::Mul(hn::LoadU(d, sum_ + query + half), shrink);
      for (std::size_t k = 0; k < keys; ++k) {
        float* at = weights + k * kTileQueries + half;
        const VF weight = hn::Exp(d, hn::Sub(hn::LoadU(d, at), largest));
        const VF kept = hn::IfThenElseZero(seen(k), weight);
        hn::StoreU(kept, d, at);
        sum = hn::Add(sum, kept);
      }
      hn::StoreU(largest, d, largest_ + query + half);
      hn::StoreU(sum, d, sum_ + query + half);
      hn::StoreU(shrink, d, shrink_ + query + half);
    }
  }

  /// Queries whose results stay in registers, with two vectors of dimensions each.
  static constexpr std::size_t kValueQueries = kBytes == 64 ? 8 : 4;

  /// out = shrink · out + Σ_k weight_k · value_k for kValueQueries queries.
  HWY_INLINE void add_values(std::size_t query, std::size_t keys) {
    const float* weights = weights_ + query / kTileQueries * kTileQueries * kKeyBlock +
                           query % kTileQueries;
    std::size_t i = 0;
    for (; i + 2 * kLanes <= padded_; i += 2 * kLanes) add_columns<2>(query, weights, keys, i);
    for (; i < padded_; i += kLanes) add_columns<1>(query, weights, keys, i);
  }

  template <std::size_t kVectors>
  HWY_INLINE void add_columns(std::size_t query, const float* weights, std::size_t keys,
                              std::size_t column) {
    const DF d;
    float* out = out_ + query * padded_ + column;
    VF sums[kValueQueries][kVectors];
    unroll<kValueQueries>([&](auto n) HWY_ATTR {
      const VF shrink = hn::Set(d, shrink_[query + n]);
      for (std::size_t v = 0; v < kVectors; ++v) {
        sums[n][v] = hn::Mul(hn::LoadU(d, out + n * padded_ + v * kLanes), shrink);
      }
    });
    for (std::size_t k = 0; k < keys; ++k) {
      VF values[kVectors];
      for (std::size_t v = 0; v < kVectors; ++v) {
        values[v] = hn::LoadU(d, rows_ + k * padded_ + column + v * kLanes);
      }
      unroll<kValueQueries>([&](auto n) HWY_ATTR {
        const VF weight = hn::Set(d, weights[k * kTileQueries + n]);
        for (std::size_t v = 0; v < kVectors; ++v) {
          sums[n][v] = hn::MulAdd(weight, values[v], sums[n][v]);
        }
      });
    }
    unroll<kValueQueries>([&](auto n) HWY_ATTR {
      for (std::size_t v = 0; v < kVectors; ++v) {
        hn::StoreU(sums[n][v], d, out + n * padded_ + v * kLanes);
      }
    });
  }

  const AttentionArgs& a_;
  std::size_t kv_head_;
  std::size_t padded_;  ///< head_dim in whole vectors
  std::size_t count_ = 0;
  float* q_;        ///< [tiles, head_dim, kTileQueries], times scale
  float* out_;      ///< [kMostQueries, padded]
  float* rows_;     ///< [kKeyBlock, padded]: keys, then values of a block
  float* weights_;  ///< [tiles, kKeyBlock, kTileQueries]
  float* result_[kMostQueries];
  std::int32_t first_[kMostQueries], last_[kMostQueries];
  float largest_[kMostQueries], sum_[kMostQueries], shrink_[kMostQueries];
};

}  // namespace HWY_NAMESPACE
}  // namespace simd
GEMMA_NAMESPACE_END
HWY_AFTER_NAMESPACE();

#endif  // GEMMA_SIMD_ATTENTION_TILES_INL_HPP_
