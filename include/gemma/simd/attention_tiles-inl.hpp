// Attention of many queries that share a KV head, as in prefill: products of small matrices. For the
// scores queries lie in lanes, so that the softmax needs no sums across lanes; for the values the
// dimensions do. Blocks of keys and values are turned into what is multiplied once for all queries.
#if defined(GEMMA_SIMD_ATTENTION_TILES_INL_HPP_) == defined(HWY_TARGET_TOGGLE)
#ifdef GEMMA_SIMD_ATTENTION_TILES_INL_HPP_
#undef GEMMA_SIMD_ATTENTION_TILES_INL_HPP_
#else
#define GEMMA_SIMD_ATTENTION_TILES_INL_HPP_
#endif

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

/// The softmax of a tile's queries, as far as keys were looked at.
struct TileSoftmax {
  std::int32_t first[kTileQueries], last[kTileQueries];  ///< keys that each query sees
  float largest[kTileQueries], sum[kTileQueries];
  float shrink[kTileQueries];  ///< what results from before the last block shrink by

  HWY_INLINE void clear() {
    for (std::size_t i = 0; i < kTileQueries; i += kLanes) {
      hn::StoreU(hn::Set(DF(), hwy::LowestValue<float>()), DF(), largest + i);
      hn::StoreU(hn::Zero(DF()), DF(), sum + i);
    }
  }

  /// The scores of `keys` keys from position `begin` on, [keys, kTileQueries], become weights exp(score − largest),
  /// 0 for keys not seen. `softcap` as in AttentionArgs.
  HWY_NOINLINE void add_block(std::int32_t begin, std::size_t keys, float softcap, float* weights) {
    const DF d;
    const DI32 di;
    const VF lowest = hn::Set(d, hwy::LowestValue<float>());
    for (std::size_t half = 0; half < kTileQueries; half += kLanes) {
      const VI32 from = hn::LoadU(di, first + half);
      const VI32 to = hn::LoadU(di, last + half);
      const auto seen = [&](std::size_t k) HWY_ATTR {
        const VI32 key = hn::Set(di, begin + static_cast<std::int32_t>(k));
        return hn::RebindMask(d, hn::And(hn::Ge(key, from), hn::Le(key, to)));
      };
      const VF before = hn::LoadU(d, largest + half);
      VF now = before;
      for (std::size_t k = 0; k < keys; ++k) {
        float* at = weights + k * kTileQueries + half;
        VF s = hn::LoadU(d, at);
        if (softcap > 0.0f) s = capped(s, softcap);
        s = hn::IfThenElse(seen(k), s, lowest);
        hn::StoreU(s, d, at);
        now = hn::Max(now, s);
      }
      const VF factor = hn::Exp(d, hn::Sub(before, now));
      VF total = hn::Mul(hn::LoadU(d, sum + half), factor);
      for (std::size_t k = 0; k < keys; ++k) {
        float* at = weights + k * kTileQueries + half;
        const VF weight = hn::Exp(d, hn::Sub(hn::LoadU(d, at), now));
        const VF kept = hn::IfThenElseZero(seen(k), weight);
        hn::StoreU(kept, d, at);
        total = hn::Add(total, kept);
      }
      hn::StoreU(now, d, largest + half);
      hn::StoreU(total, d, sum + half);
      hn::StoreU(factor, d, shrink + half);
    }
  }
};

/// Queries and their results, and a block of keys or values, as floats in vectors.
class VectorProducts {
 public:
  static constexpr std::size_t kMostTiles = 2;
  /// Whether blocks are computed from their first key on, whatever the first one is that somebody sees.
  static constexpr bool kWholeBlocks = false;

  /// Bytes of scratch for heads of this size.
  static constexpr std::size_t scratch_bytes(std::size_t head_dim) {
    return sizeof(float) * (2 * kMostTiles * kTileQueries + kKeyBlock) * pad(head_dim);
  }

  HWY_INLINE VectorProducts(const AttentionArgs& args, std::size_t kv_head, std::uint8_t* scratch)
      : a_(args), kv_head_(kv_head), padded_(pad(args.head_dim)) {
    q_ = reinterpret_cast<float*>(scratch);
    out_ = q_ + kMostTiles * kTileQueries * padded_;
    rows_ = out_ + kMostTiles * kTileQueries * padded_;
  }

  /// Sets the n-th query, [head_dim].
  HWY_INLINE void set_query(std::size_t n, const float* query) {
    float* q = q_ + n / kTileQueries * kTileQueries * padded_ + n % kTileQueries;
    for (std::size_t i = 0; i < a_.head_dim; ++i) q[i * kTileQueries] = query[i] * a_.scale;
  }

  /// All results become 0.
  HWY_INLINE void clear(std::size_t tiles) {
    std::memset(out_, 0, tiles * kTileQueries * padded_ * sizeof(float));
  }

  /// Keys [begin, end), of a block that is computed from `base` on; here the same as begin.
  HWY_INLINE void load_keys(std::size_t /*base*/, std::size_t begin, std::size_t end) {
    const std::size_t keys = end - begin;
    const std::size_t padded_keys = (keys + kTileKeys - 1) / kTileKeys * kTileKeys;
    load_kv_rows(a_, a_.k, kv_head_, begin, keys, padded_, rows_);
    std::memset(rows_ + keys * padded_, 0, (padded_keys - keys) * padded_ * sizeof(float));
  }

  /// weights[k][lane] = q · key · scale for a tile's queries and all keys loaded, [keys, kTileQueries].
  HWY_INLINE void score(std::size_t tile, std::size_t keys, float* weights) const {
    for (std::size_t k = 0; k < keys; k += kTileKeys) {
      score_keys(rows_ + k * padded_, q_ + tile * kTileQueries * padded_, weights + k * kTileQueries);
    }
  }

  /// As load_keys().
  HWY_INLINE void load_values(std::size_t /*base*/, std::size_t begin, std::size_t end) {
    load_kv_rows(a_, a_.v, kv_head_, begin, end - begin, padded_, rows_);
  }

  /// result = shrink · result + Σ_k weight_k · value_k for a tile's queries, so many, and all values loaded. (By
  /// itself, since beside much else GCC runs out of registers.)
  HWY_NOINLINE void add_values(std::size_t tile, std::size_t queries, const float* weights, std::size_t keys,
                             const float* shrink) {
    for (std::size_t n = 0; n < queries; n += kValueQueries) {
      float* out = out_ + (tile * kTileQueries + n) * padded_;
      std::size_t i = 0;
      for (; i + 2 * kLanes <= padded_; i += 2 * kLanes) {
        add_columns(out + i, weights + n, keys, shrink + n, i, std::index_sequence<0, 1>());
      }
      for (; i < padded_; i += kLanes) {
        add_columns(out + i, weights + n, keys, shrink + n, i, std::index_sequence<0>());
      }
    }
  }

  /// The n-th result times `factor`, [head_dim].
  HWY_INLINE void get_result(std::size_t n, float factor, float* out) const {
    const VF factors = hn::Set(DF(), factor);
    map(out_ + n * padded_, a_.head_dim, out, [&](VF v) HWY_ATTR { return hn::Mul(v, factors); });
  }

 private:
  /// Keys whose scores stay in registers: with two vectors of queries each, half of them.
  static constexpr std::size_t kTileKeys = kBytes == 64 ? 8 : 4;
  static_assert(kKeyBlock % kTileKeys == 0, "the tiles of a block have room where its keys have");
  /// Queries whose results stay in registers, with two vectors of dimensions each.
  static constexpr std::size_t kValueQueries = kBytes == 64 ? 8 : 4;

  static constexpr std::size_t pad(std::size_t n) { return (n + kLanes - 1) / kLanes * kLanes; }

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

  /// The same for two vectors of columns, or one, of kValueQueries queries.
  template <std::size_t... kVector>
  HWY_INLINE void add_columns(float* out, const float* weights, std::size_t keys, const float* shrinks,
                              std::size_t column, std::index_sequence<kVector...>) {
    const DF d;
    VF sums[kValueQueries][sizeof...(kVector)];
    unroll<kValueQueries>([&](auto n) GEMMA_INLINE_LAMBDA {
      const VF shrink = hn::Set(d, shrinks[n]);
      ((sums[n][kVector] = hn::Mul(hn::LoadU(d, out + n * padded_ + kVector * kLanes), shrink)), ...);
    });
    for (std::size_t k = 0; k < keys; ++k) {
      const float* value = rows_ + k * padded_ + column;
      unroll<kValueQueries>([&](auto n) GEMMA_INLINE_LAMBDA {
        const VF weight = hn::Set(d, weights[k * kTileQueries + n]);
        // Loaded once: in an array for all queries GCC would keep them in memory.
        ((sums[n][kVector] = hn::MulAdd(weight, hn::LoadU(d, value + kVector * kLanes), sums[n][kVector])), ...);
      });
    }
    unroll<kValueQueries>([&](auto n) GEMMA_INLINE_LAMBDA {
      (hn::StoreU(sums[n][kVector], d, out + n * padded_ + kVector * kLanes), ...);
    });
  }

  const AttentionArgs& a_;
  std::size_t kv_head_;
  std::size_t padded_;  ///< head_dim in whole vectors
  float* q_;            ///< [tiles, head_dim, kTileQueries], times scale
  float* out_;          ///< [tiles, kTileQueries, padded]
  float* rows_;         ///< [kKeyBlock, padded]: keys, then values of a block
};

/// Queries, as many as Products holds, and their softmax so far.
template <class Products>
class TiledAttention {
 public:
  /// Bytes of scratch for heads of this size.
  static constexpr std::size_t scratch_bytes(std::size_t head_dim) {
    return sizeof(float) * kMostQueries * kKeyBlock + Products::scratch_bytes(head_dim);
  }

  HWY_INLINE TiledAttention(const AttentionArgs& args, std::size_t kv_head, std::uint8_t* scratch)
      : a_(args),
        weights_(reinterpret_cast<float*>(scratch)),
        products_(args, kv_head, scratch + sizeof(float) * kMostQueries * kKeyBlock) {}

  HWY_INLINE bool full() const { return count_ == kMostQueries; }
  HWY_INLINE bool empty() const { return count_ == 0; }

  /// Adds a query head of a token, which sees keys first to last.
  HWY_INLINE void add(std::size_t token, std::size_t head, std::size_t first, std::size_t last) {
    const std::size_t offset = (token * a_.heads + head) * a_.head_dim;
    products_.set_query(count_, a_.q + offset);
    set_sight(count_, static_cast<std::int32_t>(first), static_cast<std::int32_t>(last));
    result_[count_++] = a_.out + offset;
  }

  /// Computes the results of all queries added, and forgets them.
  HWY_INLINE void run() {
    const std::size_t tiles = (count_ + kTileQueries - 1) / kTileQueries;
    std::int32_t first = softmax_[0].first[0], last = softmax_[0].last[0];
    // Lanes without a query do as the first one, and are dropped.
    for (std::size_t i = count_; i < tiles * kTileQueries; ++i) set_sight(i, first, last);
    for (std::size_t i = 1; i < count_; ++i) {
      first = HWY_MIN(first, softmax_[i / kTileQueries].first[i % kTileQueries]);
      last = HWY_MAX(last, softmax_[i / kTileQueries].last[i % kTileQueries]);
    }
    for (std::size_t tile = 0; tile < tiles; ++tile) softmax_[tile].clear();
    products_.clear(tiles);
    constexpr std::int32_t kBlock = static_cast<std::int32_t>(kKeyBlock);
    for (std::int32_t block = first / kBlock * kBlock; block <= last; block += kBlock) {
      const std::int32_t begin = HWY_MAX(block, first);
      add_block(Products::kWholeBlocks ? block : begin, begin, HWY_MIN(block + kBlock, last + 1), tiles);
    }
    for (std::size_t i = 0; i < count_; ++i) {
      products_.get_result(i, 1.0f / softmax_[i / kTileQueries].sum[i % kTileQueries], result_[i]);
    }
    count_ = 0;
  }

 private:
  static constexpr std::size_t kMostQueries = Products::kMostTiles * kTileQueries;

  HWY_INLINE void set_sight(std::size_t query, std::int32_t first, std::int32_t last) {
    softmax_[query / kTileQueries].first[query % kTileQueries] = first;
    softmax_[query / kTileQueries].last[query % kTileQueries] = last;
  }

  /// Keys [begin, end) of a block, computed from `base` on.
  HWY_INLINE void add_block(std::int32_t base, std::int32_t begin, std::int32_t end, std::size_t tiles) {
    const auto at = [](std::int32_t position) { return static_cast<std::size_t>(position); };
    const std::size_t keys = at(end - base);
    products_.load_keys(at(base), at(begin), at(end));
    for (std::size_t tile = 0; tile < tiles; ++tile) {
      float* weights = weights_ + tile * kTileQueries * kKeyBlock;
      products_.score(tile, keys, weights);
      softmax_[tile].add_block(base, keys, a_.softcap, weights);
    }
    products_.load_values(at(base), at(begin), at(end));
    for (std::size_t tile = 0; tile < tiles; ++tile) {
      const std::size_t first = tile * kTileQueries;
      products_.add_values(tile, HWY_MIN(count_ - first, kTileQueries), weights_ + first * kKeyBlock, keys,
                           softmax_[tile].shrink);
    }
  }

  const AttentionArgs& a_;
  std::size_t count_ = 0;
  float* weights_;  ///< [tiles, kKeyBlock, kTileQueries]
  Products products_;
  TileSoftmax softmax_[Products::kMostTiles];
  float* result_[kMostQueries];
};

}  // namespace HWY_NAMESPACE
}  // namespace simd
GEMMA_NAMESPACE_END
HWY_AFTER_NAMESPACE();

#endif  // GEMMA_SIMD_ATTENTION_TILES_INL_HPP_
