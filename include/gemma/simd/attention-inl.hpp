// Attention over a ring buffer, with the softmax computed on the way (online softmax:
// arXiv 1805.02867; in blocks, as FlashAttention, arXiv 2205.14135). Here for few queries, as in
// decode: each key is loaded once for up to four of them.
#if defined(GEMMA_SIMD_ATTENTION_INL_HPP_) == defined(HWY_TARGET_TOGGLE)
#ifdef GEMMA_SIMD_ATTENTION_INL_HPP_
#undef GEMMA_SIMD_ATTENTION_INL_HPP_
#else
#define GEMMA_SIMD_ATTENTION_INL_HPP_
#endif

#include "gemma/simd/attention_tiles-inl.hpp"
#include "gemma/simd/elementwise-inl.hpp"
#include "gemma/simd/kernels.hpp"
#include "gemma/simd/kv_rows-inl.hpp"
#include "gemma/simd/vector-inl.hpp"
#include "hwy/contrib/math/math-inl.h"

HWY_BEFORE_NAMESPACE();
GEMMA_NAMESPACE_BEGIN
namespace simd {
namespace HWY_NAMESPACE {

// Blocks of keys begin at multiples of kKeyBlock, so that a query's result does not depend on which
// other queries are computed with it.

/// Queries that share each key and value loaded.
inline constexpr std::size_t kQueries = 4;
/// From this many tokens on attention works on tiles of queries.
inline constexpr std::size_t kManyTokens = 9;

/// One query head of one token, and its softmax so far.
struct Query {
  const float* q;
  float* out;
  std::size_t first;     ///< of the positions it may see
  std::size_t last;      ///< and the last
  float largest;         ///< score
  float sum;             ///< Σ exp(score − largest)
};

/// scores[n][j] = q_n · k_j for the keys of one block.
template <std::size_t kCount, class Rows>
HWY_INLINE void block_scores(std::size_t head_dim, const Query* queries, const Rows& keys,
                             std::size_t begin, std::size_t end, float (*scores)[kKeyBlock]) {
  const DF d;
  for (std::size_t j = begin; j < end; ++j) {
    const auto* key = keys[j];
    VF sums[kCount];
    unroll<kCount>([&](auto n) GEMMA_INLINE_LAMBDA { sums[n] = hn::Zero(d); });
    for_vectors(
        head_dim,
        [&](std::size_t i) GEMMA_INLINE_LAMBDA {
          const VF value = load_kv(key + i);
          unroll<kCount>([&](auto n) GEMMA_INLINE_LAMBDA {
            sums[n] = hn::MulAdd(hn::LoadU(d, queries[n].q + i), value, sums[n]);
          });
        },
        [&](std::size_t i, std::size_t rest) GEMMA_INLINE_LAMBDA {
          const VF value = load_kv_n(key + i, rest);
          unroll<kCount>([&](auto n) GEMMA_INLINE_LAMBDA {
            sums[n] = hn::MulAdd(hn::LoadN(d, queries[n].q + i, rest), value, sums[n]);
          });
        });
    unroll<kCount>([&](auto n) GEMMA_INLINE_LAMBDA {
      scores[n][j % kKeyBlock] = hn::ReduceSum(d, sums[n]);
    });
  }
}

/// Turns one query's scores of a block into weights exp(score − largest); gives the factor by which
/// what was summed before shrinks, or 1 if the query sees no key of the block.
HWY_INLINE float block_softmax(const AttentionArgs& a, Query& query, std::size_t block,
                               float* scores) {
  const DF d;
  const std::size_t begin = HWY_MAX(block, query.first);
  const std::size_t end = HWY_MIN(block + kKeyBlock, query.last + 1);
  if (begin >= end) {
    for (std::size_t j = 0; j < kKeyBlock; ++j) scores[j] = 0.0f;
    return 1.0f;
  }
  const float lowest = hwy::LowestValue<float>();
  for (std::size_t j = 0; j < begin - block; ++j) scores[j] = lowest;
  for (std::size_t j = end - block; j < kKeyBlock; ++j) scores[j] = lowest;
  VF largest = hn::Set(d, lowest);
  for (std::size_t j = 0; j < kKeyBlock; j += kLanes) {
    VF s = hn::LoadU(d, scores + j);
    const auto seen = hn::Gt(s, hn::Set(d, lowest));
    s = hn::Mul(s, hn::Set(d, a.scale));
    if (a.softcap > 0.0f) s = capped(s, a.softcap);
    s = hn::IfThenElse(seen, s, hn::Set(d, lowest));
    hn::StoreU(s, d, scores + j);
    largest = hn::Max(largest, s);
  }
  const float old = query.largest;
  query.largest = HWY_MAX(old, hn::ReduceMax(d, largest));
  const VF shift = hn::Set(d, query.largest);
  VF sum = hn::Zero(d);
  for (std::size_t j = 0; j < kKeyBlock; j += kLanes) {
    const VF s = hn::LoadU(d, scores + j);
    const auto seen = hn::Gt(s, hn::Set(d, lowest));
    const VF weight = hn::IfThenElseZero(seen, hn::Exp(d, hn::Sub(s, shift)));
    hn::StoreU(weight, d, scores + j);
    sum = hn::Add(sum, weight);
  }
  const bool first_block = old == lowest;
  const float shrink =
      first_block ? 0.0f : hn::GetLane(hn::Exp(d, hn::Set(d, old - query.largest)));
  query.sum = query.sum * shrink + hn::ReduceSum(d, sum);
  return shrink;
}

/// out_n = shrink_n · out_n + Σ_j weights[n][j] · v_j.
template <std::size_t kCount, class Rows>
HWY_INLINE void block_values(std::size_t head_dim, const Query* queries, const Rows& values,
                             std::size_t begin, std::size_t end,
                             const float (*weights)[kKeyBlock], const float* shrink) {
  const DF d;
  const auto column = [&](std::size_t i, const auto& load_value, const auto& load_out,
                          const auto& store_out) HWY_ATTR {
    VF sums[kCount];
    unroll<kCount>([&](auto n) GEMMA_INLINE_LAMBDA {
      // Nothing is read from out before the first block: it may hold anything.
      sums[n] = shrink[n] == 0.0f ? hn::Zero(d)
                                  : hn::Mul(hn::Set(d, shrink[n]), load_out(queries[n].out + i));
    });
    for (std::size_t j = begin; j < end; ++j) {
      const VF value = load_value(values[j] + i);
      unroll<kCount>([&](auto n) GEMMA_INLINE_LAMBDA {
        sums[n] = hn::MulAdd(hn::Set(d, weights[n][j % kKeyBlock]), value, sums[n]);
      });
    }
    unroll<kCount>([&](auto n) GEMMA_INLINE_LAMBDA { store_out(sums[n], queries[n].out + i); });
  };
  for_vectors(
      head_dim,
      [&](std::size_t i) HWY_ATTR {
        column(
            i, [](const auto* p) HWY_ATTR { return load_kv(p); },
            [&](const float* p) HWY_ATTR { return hn::LoadU(d, p); },
            [&](VF s, float* p) HWY_ATTR { hn::StoreU(s, d, p); });
      },
      [&](std::size_t i, std::size_t rest) HWY_ATTR {
        column(
            i, [&](const auto* p) HWY_ATTR { return load_kv_n(p, rest); },
            [&](const float* p) HWY_ATTR { return hn::LoadN(d, p, rest); },
            [&](VF s, float* p) HWY_ATTR { hn::StoreN(s, d, p, rest); });
      });
}

/// kCount queries of one KV head, all their keys block by block.
template <class Rows, std::size_t kCount>
inline HWY_NOINLINE void attend(const AttentionArgs& a, Query* queries, std::size_t kv_head,
                       std::uint8_t* scratch) {
  const DF d;
  Rows keys(a, a.k, kv_head, scratch);
  Rows values(a, a.v, kv_head, scratch);
  std::size_t first = queries[0].first;
  std::size_t last = queries[0].last;
  for (std::size_t n = 1; n < kCount; ++n) {
    first = HWY_MIN(first, queries[n].first);
    last = HWY_MAX(last, queries[n].last);
  }
  alignas(64) float scores[kCount][kKeyBlock];
  for (std::size_t block = first / kKeyBlock * kKeyBlock; block <= last; block += kKeyBlock) {
    const std::size_t begin = HWY_MAX(block, first);
    const std::size_t end = HWY_MIN(block + kKeyBlock, last + 1);
    keys.prepare(begin, end);
    block_scores<kCount>(a.head_dim, queries, keys, begin, end, scores);
    float shrink[kCount];
    for (std::size_t n = 0; n < kCount; ++n) {
      shrink[n] = block_softmax(a, queries[n], block, scores[n]);
    }
    values.prepare(begin, end);
    block_values<kCount>(a.head_dim, queries, values, begin, end, scores, shrink);
  }
  for (std::size_t n = 0; n < kCount; ++n) {
    const VF inverse = hn::Set(d, 1.0f / queries[n].sum);
    map(queries[n].out, a.head_dim, queries[n].out,
        [&](VF v) HWY_ATTR { return hn::Mul(v, inverse); });
  }
}

/// The positions that a token's queries see.
struct Sight {
  std::size_t first, last;
};

HWY_INLINE Sight sight_of(const AttentionArgs& a, std::size_t token) {
  const std::size_t position = a.first_position + token;
  const std::size_t newest = a.first_position + a.tokens - 1;
  const std::size_t reach = a.window != 0 ? a.window - 1 : newest;
  const std::size_t ahead = a.bidirectional ? HWY_MIN(newest - position, reach) : 0;
  return {position - HWY_MIN(position, reach), position + ahead};
}

template <class Rows>
HWY_INLINE void attend_few(const AttentionArgs& a, std::size_t token_begin, std::size_t token_end,
                           std::size_t head_begin, std::size_t head_end, std::uint8_t* scratch) {
  const std::size_t kv_head = head_begin / (a.heads / a.kv_heads);
  Query queries[kQueries];
  std::size_t count = 0;
  for (std::size_t t = token_begin; t < token_end; ++t) {
    for (std::size_t h = head_begin; h < head_end; ++h) {
      const Sight sight = sight_of(a, t);
      const std::size_t offset = (t * a.heads + h) * a.head_dim;
      queries[count++] = {a.q + offset, a.out + offset, sight.first, sight.last,
                          hwy::LowestValue<float>(), 0.0f};
      if (count < kQueries) continue;
      attend<Rows, kQueries>(a, queries, kv_head, scratch);
      count = 0;
    }
  }
  for (std::size_t n = 0; n < count; ++n) attend<Rows, 1>(a, queries + n, kv_head, scratch);
}

template <class Products>
inline HWY_NOINLINE void attend_many(const AttentionArgs& a, std::size_t token_begin,
                                     std::size_t token_end, std::size_t head_begin,
                                     std::size_t head_end, std::uint8_t* scratch) {
  TiledAttention<Products> tiles(a, head_begin / (a.heads / a.kv_heads), scratch);
  for (std::size_t t = token_begin; t < token_end; ++t) {
    const Sight sight = sight_of(a, t);
    for (std::size_t h = head_begin; h < head_end; ++h) {
      tiles.add(t, h, sight.first, sight.last);
      if (tiles.full()) tiles.run();
    }
  }
  if (!tiles.empty()) tiles.run();
}

/// Query heads of one KV head.
HWY_INLINE void attend_group(const AttentionArgs& a, std::size_t token_begin,
                             std::size_t token_end, std::size_t head_begin, std::size_t head_end,
                             std::uint8_t* scratch) {
  using F16 = RingRows<hwy::float16_t>;
  using BF16 = RingRows<hwy::bfloat16_t>;
  // Which of the two it is depends on the batch alone, so that its division does not matter.
  if (a.tokens >= kManyTokens && TiledAttention<VectorProducts>::scratch_bytes(a.head_dim) <= kScratchBytes) {
    return attend_many<VectorProducts>(a, token_begin, token_end, head_begin, head_end, scratch);
  }
  switch (a.kv_type) {
    case KvType::f32:
      return attend_few<RingRows<float>>(a, token_begin, token_end, head_begin, head_end, scratch);
    case KvType::f16:
      return attend_few<F16>(a, token_begin, token_end, head_begin, head_end, scratch);
    case KvType::bf16:
      return attend_few<BF16>(a, token_begin, token_end, head_begin, head_end, scratch);
    case KvType::q8_0:
      return attend_few<QuantizedRows>(a, token_begin, token_end, head_begin, head_end, scratch);
  }
}

/// Calls attend(begin, end) for the query heads of each KV head, of [head_begin, head_end).
template <class Attend>
HWY_INLINE void for_each_group(const AttentionArgs& a, std::size_t head_begin, std::size_t head_end,
                               const Attend& attend) {
  const std::size_t group = a.heads / a.kv_heads;
  for (std::size_t head = head_begin; head < head_end;) {
    const std::size_t end = HWY_MIN((head / group + 1) * group, head_end);
    attend(head, end);
    head = end;
  }
}

inline HWY_NOINLINE void attention(const AttentionArgs& a, std::size_t token_begin,
                                   std::size_t token_end, std::size_t head_begin,
                                   std::size_t head_end, std::uint8_t* scratch) {
  for_each_group(a, head_begin, head_end, [&](std::size_t begin, std::size_t end) HWY_ATTR {
    attend_group(a, token_begin, token_end, begin, end, scratch);
  });
}

}  // namespace HWY_NAMESPACE
}  // namespace simd
GEMMA_NAMESPACE_END
HWY_AFTER_NAMESPACE();

#endif  // GEMMA_SIMD_ATTENTION_INL_HPP_
