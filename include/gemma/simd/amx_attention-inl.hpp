// The products of attention by matrix tiles of bfloat16, for prefill beside amx-inl.hpp. Scores are products of
// keys with queries, so that queries lie in lanes for the softmax, and results those of its weights with values.
// Not for a cache of float32, which is there for exact results.
#if defined(GEMMA_SIMD_AMX_ATTENTION_INL_HPP_) == defined(HWY_TARGET_TOGGLE)
#ifdef GEMMA_SIMD_AMX_ATTENTION_INL_HPP_
#undef GEMMA_SIMD_AMX_ATTENTION_INL_HPP_
#else
#define GEMMA_SIMD_AMX_ATTENTION_INL_HPP_
#endif

#include "gemma/simd/amx-inl.hpp"
#include "gemma/simd/attention-inl.hpp"
#include "gemma/simd/kv_rows-inl.hpp"
#include "gemma/simd/vector-inl.hpp"

#if GEMMA_SIMD_AMX
HWY_BEFORE_NAMESPACE();
GEMMA_NAMESPACE_BEGIN
namespace simd {
namespace HWY_NAMESPACE {

/// As VectorProducts, whose comments say what each function does. For heads of a multiple of kRows dimensions.
class TileProducts {
 public:
  static constexpr std::size_t kMostTiles = 4;
  /// Sums are of pairs of keys, which must be the same whatever other queries are computed together.
  static constexpr bool kWholeBlocks = true;

  static constexpr std::size_t scratch_bytes(std::size_t head_dim) {
    return kMostTiles * kRows * head_dim * (sizeof(float) + sizeof(std::uint16_t)) +
           kKeyBlock * (head_dim + kRows) * sizeof(std::uint16_t) + 2 * head_dim * sizeof(float);
  }

  HWY_INLINE TileProducts(const AttentionArgs& args, std::size_t kv_head, std::uint8_t* scratch)
      : a_(args), kv_head_(kv_head) {
    out_ = reinterpret_cast<float*>(scratch);
    floats_ = out_ + kMostTiles * kRows * a_.head_dim;
    q_ = reinterpret_cast<std::uint16_t*>(floats_ + 2 * a_.head_dim);
    rows_ = q_ + kMostTiles * kRows * a_.head_dim;
    packed_ = rows_ + kKeyBlock * a_.head_dim;
    tiles_.configure(kRows);
  }

  HWY_INLINE void set_query(std::size_t n, const float* query) {
    scale_row(query, a_.scale, a_.head_dim, floats_);
    auto* q = reinterpret_cast<std::uint32_t*>(q_ + n / kRows * kRows * a_.head_dim) + n % kRows;
    for (std::size_t i = 0; i < a_.head_dim; i += 2 * kLanes) {
      // Pairs of neighbours, as one number each.
      alignas(kBytes) std::uint16_t pairs[2 * kLanes];
      hn::Store(rounded(floats_ + i), DHalf(), pairs);
      hn::Store(rounded(floats_ + i + kLanes), DHalf(), pairs + kLanes);
      for (std::size_t pair = 0; pair < kLanes; ++pair) {
        std::memcpy(q + (i / 2 + pair) * kRows, pairs + 2 * pair, sizeof *q);
      }
    }
  }

  HWY_INLINE void clear(std::size_t tiles) {
    std::memset(out_, 0, tiles * kRows * a_.head_dim * sizeof(float));
  }

  HWY_INLINE void load_keys(std::size_t base, std::size_t begin, std::size_t end) {
    const std::size_t rows = whole(end - base);
    if (rows != end - begin) std::memset(rows_, 0, rows * a_.head_dim * sizeof *rows_);
    for (std::size_t position = begin; position < end; ++position) {
      const std::size_t row = position - base;
      load_kv_rows(a_, a_.k, kv_head_, position, 1, a_.head_dim, floats_);
      round_to_bf16(floats_, a_.head_dim, rows_ + row / kRows * kRows * a_.head_dim + row % kRows * kRows);
    }
  }

  HWY_INLINE void score(std::size_t tile, std::size_t keys, float* weights) const {
    for (std::size_t key = 0; key < keys; key += kRows) {
      tiles_.begin(nullptr, true);
      for (std::size_t i = 0; i < a_.head_dim; i += kRows) {
        tiles_.add(rows_ + key * a_.head_dim + i * kRows, q_ + (tile * a_.head_dim + i) * kRows);
      }
      tiles_.end(weights + key * kRows, kRows);
    }
  }

  HWY_INLINE void load_values(std::size_t base, std::size_t begin, std::size_t end) {
    for (std::size_t row = 0; row < whole(end - base); row += 2) {
      for (std::size_t odd = 0; odd < 2; ++odd) {
        const std::size_t position = base + row + odd;
        float* floats = floats_ + odd * a_.head_dim;
        if (position < begin || position >= end) std::memset(floats, 0, a_.head_dim * sizeof *floats);
        else load_kv_rows(a_, a_.v, kv_head_, position, 1, a_.head_dim, floats);
      }
      for (std::size_t i = 0; i < a_.head_dim; i += kLanes) {
        const VU32 pairs = paired(rounded(floats_ + i), rounded(floats_ + a_.head_dim + i));
        hn::StoreU(hn::BitCast(DU16(), pairs), DU16(),
                   rows_ + i / kRows * kRows * kKeyBlock + row * kRows + i % kRows * 2);
      }
    }
  }

  HWY_INLINE void add_values(std::size_t tile, std::size_t /*queries*/, const float* weights,
                             std::size_t keys, const float* shrink) {
    pack(weights, keys);
    float* out = out_ + tile * kRows * a_.head_dim;
    for (std::size_t i = 0; i < a_.head_dim; i += kRows, out += kRows * kRows) {
      for (std::size_t query = 0; query < kRows; ++query) {
        scale_row(out + query * kRows, shrink[query], kRows, out + query * kRows);
      }
      tiles_.begin(out, false);
      for (std::size_t key = 0; key < keys; key += kRows) {
        tiles_.add(packed_ + key * kRows, rows_ + i * kKeyBlock + key * kRows);
      }
      tiles_.end(out, kRows);
    }
  }

  HWY_INLINE void get_result(std::size_t n, float factor, float* out) const {
    const float* result = out_ + n / kRows * kRows * a_.head_dim + n % kRows * kRows;
    for (std::size_t i = 0; i < a_.head_dim; i += kRows, result += kRows * kRows) {
      scale_row(result, factor, kRows, out + i);
    }
  }

 private:
  /// What a tile's step takes: queries, keys, or dimensions.
  static constexpr std::size_t kRows = kBf16Tokens;
  static_assert(kRows == kTileQueries && kRows == MatrixTiles::kCols && kRows == kPanelRows,
                "keys and queries take the places of tokens and rows in turns");
  static_assert(kKeyBlock % kRows == 0, "blocks are whole tiles");
  using DNarrow = hn::Rebind<hwy::bfloat16_t, DF>;
  using DHalf = hn::Rebind<std::uint16_t, DF>;
  using VHalf = hn::Vec<DHalf>;

  static HWY_INLINE void scale_row(const float* x, float factor, std::size_t n, float* out) {
    const DF d;
    for (std::size_t i = 0; i < n; i += kLanes) {
      hn::StoreU(hn::Mul(hn::LoadU(d, x + i), hn::Set(d, factor)), d, out + i);
    }
  }
  static constexpr std::size_t whole(std::size_t keys) { return (keys + kRows - 1) / kRows * kRows; }
  static HWY_INLINE VHalf rounded(const float* p) {
    return hn::BitCast(DHalf(), hn::DemoteTo(DNarrow(), hn::LoadU(DF(), p)));
  }
  static HWY_INLINE VU32 paired(VHalf even, VHalf odd) {
    const DU32 d;
    return hn::Or(hn::PromoteTo(d, even), hn::ShiftLeft<16>(hn::PromoteTo(d, odd)));
  }

  /// Weights become rows of queries: packed[keys / kRows, query, key].
  HWY_INLINE void pack(const float* weights, std::size_t keys) {
    const DI32 d;
    const VI32 to_query = hn::Mul(hn::Iota(d, 0), hn::Set(d, static_cast<std::int32_t>(kRows / 2)));
    const VHalf none = hn::Zero(DHalf());
    for (std::size_t key = 0; key < whole(keys); key += 2) {
      for (std::size_t query = 0; query < kRows; query += kLanes) {
        const float* at = weights + key * kRows + query;
        const VHalf even = key < keys ? rounded(at) : none;
        const VHalf odd = key + 1 < keys ? rounded(at + kRows) : none;
        auto* out = packed_ + (key / kRows * kRows + query) * kRows + key % kRows;
        hn::ScatterIndex(hn::BitCast(d, paired(even, odd)), d, reinterpret_cast<std::int32_t*>(out), to_query);
      }
    }
  }

  const AttentionArgs& a_;
  std::size_t kv_head_;
  MatrixTiles tiles_;
  float* out_;             ///< [tiles, head_dim / kRows, query, kRows]
  float* floats_;          ///< two rows, before they are rounded
  std::uint16_t* q_;       ///< [tiles, head_dim / 2, query, 2], times scale
  /// Keys [key / kRows, head_dim / kRows, kRows, kRows], then values [head_dim / kRows, key / 2, kRows, 2].
  std::uint16_t* rows_;
  std::uint16_t* packed_;  ///< the softmax's weights of a tile
};

/// See Kernels::attention.
inline HWY_NOINLINE void attention_by_tiles(const AttentionArgs& a, std::size_t token_begin,
                                            std::size_t token_end, std::size_t head_begin,
                                            std::size_t head_end, std::uint8_t* scratch) {
  if (a.tokens < kAmxTokens || a.kv_type == KvType::f32 || a.head_dim % MatrixTiles::kCols != 0 ||
      TiledAttention<TileProducts>::scratch_bytes(a.head_dim) > kScratchBytes) {
    return attention(a, token_begin, token_end, head_begin, head_end, scratch);
  }
  for_each_group(a, head_begin, head_end, [&](std::size_t begin, std::size_t end) HWY_ATTR {
    attend_many<TileProducts>(a, token_begin, token_end, begin, end, scratch);
  });
}

}  // namespace HWY_NAMESPACE
}  // namespace simd
GEMMA_NAMESPACE_END
HWY_AFTER_NAMESPACE();
#endif  // GEMMA_SIMD_AMX

#endif  // GEMMA_SIMD_AMX_ATTENTION_INL_HPP_
