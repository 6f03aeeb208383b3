// Attention over a KV cache whose keys lie dimension by dimension, so that neighbouring work-items
// score neighbouring positions, and whose values lie position by position.
//
//   keys    [kv head][d / 8][capacity] of 8 numbers
//   values  [kv head][capacity][d], d rounded up to a multiple of 8
#ifndef GEMMA_OPENCL_KERNELS_ATTENTION_HPP_
#define GEMMA_OPENCL_KERNELS_ATTENTION_HPP_

#include "gemma/config.hpp"

GEMMA_NAMESPACE_BEGIN
namespace opencl {

/// KV_HALF says whether the cache holds float16.
inline constexpr const char* kAttentionSource = R"CLC(
// Eight numbers of the cache as they lie there, and as floats.
#if KV_HALF && GEMMA_PTX
typedef uint4 kv_raw;
#define KV_FETCH(i, p) ((__global const uint4*)(p))[i]
#define KV_NUMBERS(raw) halves(raw)
#elif KV_HALF
typedef float8 kv_raw;
#define KV_FETCH(i, p) vload_half8(i, (__global const half*)(p))
#define KV_NUMBERS(raw) (raw)
#else
typedef float8 kv_raw;
#define KV_FETCH(i, p) ((__global const float8*)(p))[i]
#define KV_NUMBERS(raw) (raw)
#endif
#if KV_HALF
#define KV_PUT(value, i, p) vstore_half(value, i, (__global half*)(p))
#else
#define KV_PUT(value, i, p) ((__global float*)(p))[i] = (value)
#endif
// How many of them an item asks for before it uses the first.
#define KV_AHEAD 8

#define NORM_Q 1u
#define NORM_K 2u
#define NORM_V 4u
#define OWN_KEYS 8u
#define BOTH_SIDES 16u
#define MASKED -1e30f

static inline void turn_pair(__local float* head, uint i, uint half_d, float c, float s) {
  const float a = head[i];
  const float b = head[i + half_d];
  head[i] = a * c - b * s;
  head[i + half_d] = b * c + a * s;
}

// One head, normed and turned, in local memory; up to `padded` the rest is 0. `turn` holds d/2
// cosines and as many sines.
static inline void load_head(__global const float* x, __global const float* gain, bool norm,
                      __global const float* turn, uint d, uint padded, float eps,
                      __local float* scratch, __local float* out) {
  const uint item = get_local_id(0);
  float squares = 0.0f;
  for (uint i = item; i < padded; i += WG) {
    const float value = i < d ? x[i] : 0.0f;
    out[i] = value;
    squares = fma(value, value, squares);
  }
  const float factor = 1.0f / sqrt(group_sum(squares, scratch) / d + eps);
  for (uint i = item; i < d && norm; i += WG) out[i] *= gain ? factor * gain[i] : factor;
  barrier(CLK_LOCAL_MEM_FENCE);
  const uint half_d = d / 2;
  for (uint i = item; i < half_d && turn; i += WG) {
    turn_pair(out, i, half_d, turn[i], turn[half_d + i]);
  }
  barrier(CLK_LOCAL_MEM_FENCE);
}

static inline void store_key(__local const float* head, uint kv_head, uint d, uint padded, uint capacity,
                      uint slot, __global uchar* keys) {
  for (uint i = get_local_id(0); i < d; i += WG) {
    const size_t at = (((size_t)kv_head * (padded / 8) + i / 8) * capacity + slot) * 8 + i % 8;
    KV_PUT(head[i], at, keys);
  }
}

static inline void store_value(__local const float* head, uint kv_head, uint d, uint padded,
                        uint capacity, uint slot, __global uchar* values) {
  for (uint i = get_local_id(0); i < d; i += WG) {
    KV_PUT(head[i], ((size_t)kv_head * capacity + slot) * padded + i, values);
  }
}

// Norms and turns the heads of a batch: queries in place, keys and values into the cache. A group
// takes one head of one token: first the queries', then the keys', then the values'.
GEMMA_KERNEL prepare_heads(__global float* q, __global const float* k, __global const float* v,
                           __global const float* q_gain, __global const float* k_gain,
                           __global const float* turns, uint position, uint heads, uint kv_heads,
                           uint d, uint capacity, float eps, uint flags, __global uchar* keys,
                           __global uchar* values, __local float8* room) {
  __local float* head = (__local float*)room;
  __local float scratch[WG];
  const uint token = get_group_id(1);
  const uint h = get_group_id(0);
  const uint padded = (d + 7) / 8 * 8;
  const uint slot = (position + token) % capacity;
  __global const float* turn = turns + (size_t)(position + token) * d;
  const bool is_query = h < heads;
  const bool is_key = !is_query && h < heads + kv_heads;
  const uint kv_head = is_key ? h - heads : h - heads - kv_heads;
  __global float* x = q + ((size_t)token * heads + h) * d;
  __global const float* in = (is_key ? k : v) + ((size_t)token * kv_heads + kv_head) * d;
  load_head(is_query ? (__global const float*)x : in, is_query ? q_gain : is_key ? k_gain : 0,
            flags & (is_query ? NORM_Q : is_key ? NORM_K : NORM_V), is_query || is_key ? turn : 0, d,
            padded, eps, scratch, head);
  if (is_query) {
    for (uint i = get_local_id(0); i < d; i += WG) x[i] = head[i];
  } else if (is_key) {
    store_key(head, kv_head, d, padded, capacity, slot, keys);
  } else {
    store_value(head, kv_head, d, padded, capacity, slot, values);
  }
}

// The sums over the work-group of the parts of a vector.
static inline float4 group_sums(float4 value, __local float4* scratch) {
  const uint i = get_local_id(0);
  scratch[i] = value;
  barrier(CLK_LOCAL_MEM_FENCE);
  float4 column = (float4)(0.0f);
  for (uint j = i; j < WG && i < 32; j += 32) column += scratch[j];
  if (i < 32) scratch[i] = column;
  barrier(CLK_LOCAL_MEM_FENCE);
  float4 sum = (float4)(0.0f);
  for (uint j = 0; j < 32; ++j) sum += scratch[j];
  return sum;
}

// All of attention for one token: norms and turns its heads, keeps its key and value, attends. A
// group takes one head of the queries; the first group of a kv head writes the cache, and all take
// the token's own key and value from where they just made them.
GEMMA_KERNEL attend_one(__global const float* q, __global const float* k, __global const float* v,
                        __global const float* q_gain, __global const float* k_gain,
                        __global const float* turns, uint position, uint heads, uint kv_heads,
                        uint d, uint capacity, uint window, float scale, float softcap, float eps,
                        uint flags, __global uchar* keys, __global uchar* values,
                        __global float* out, __local float8* query8, __local float8* key8,
                        __local float8* value8, __local float8* parts8) {
  __local float* query = (__local float*)query8;
  __local float* key = (__local float*)key8;
  __local float* value = (__local float*)value8;
  __local float* parts = (__local float*)parts8;
  __local float4 scratch4[WG];
  __local float* scratch = (__local float*)scratch4;
  __local float weights[WG];
  const uint item = get_local_id(0);
  const uint h = get_group_id(0);
  const uint per_kv_head = heads / kv_heads;
  const uint kv_head = h / per_kv_head;
  const uint padded = (d + 7) / 8 * 8;
  const uint chunks = padded / 8;
  const bool own = flags & OWN_KEYS;
  __global const float* turn = turns + (size_t)position * d;
  // Without keys of its own the token finds old ones here, which count nothing below.
  const size_t mine_at = (size_t)kv_head * d;
  float4 squares = (float4)(0.0f);
  for (uint i = item; i < padded; i += WG) {
    const bool inside = i < d;
    const float4 heads_at = inside ? (float4)(q[(size_t)h * d + i], k[mine_at + i], v[mine_at + i], 0.0f)
                                   : (float4)(0.0f);
    query[i] = heads_at.x;
    key[i] = heads_at.y;
    value[i] = heads_at.z;
    squares = fma(heads_at, heads_at, squares);
  }
  const float4 factors = 1.0f / sqrt(group_sums(squares, scratch4) / (float)d + eps);
  for (uint i = item; i < d; i += WG) {
    if (flags & NORM_Q) query[i] *= factors.x * (q_gain ? q_gain[i] : 1.0f);
    if (flags & NORM_K) key[i] *= factors.y * (k_gain ? k_gain[i] : 1.0f);
    if (flags & NORM_V) value[i] *= factors.z;
  }
  barrier(CLK_LOCAL_MEM_FENCE);
  const uint half_d = d / 2;
  for (uint i = item; i < half_d; i += WG) {
    const float c = turn[i];
    const float s = turn[half_d + i];
    turn_pair(query, i, half_d, c, s);
    turn_pair(key, i, half_d, c, s);
  }
  barrier(CLK_LOCAL_MEM_FENCE);
  if (own && h % per_kv_head == 0) {
    store_key(key, kv_head, d, padded, capacity, position % capacity, keys);
    store_value(value, kv_head, d, padded, capacity, position % capacity, values);
  }
  // Positions in the cache; the token's own comes last, if it is not read from the cache.
  const uint begin = window != 0 && position + 1 > window ? position + 1 - window : 0;
  const uint end = own ? position : position + 1;
  const size_t key_base = (size_t)kv_head * chunks * capacity;
  const size_t value_base = (size_t)kv_head * capacity * chunks;

  // Each item adds up eight dimensions of the values at some of the positions.
  const uint teams = WG / chunks > 0 ? WG / chunks : 1;
  const uint mine = chunks < WG ? item % chunks : item;
  const uint team = chunks < WG ? item / chunks : 0;
  float8 sum = 0.0f;
  float largest = MASKED;
  float total = 0.0f;
  for (uint first = begin; first < end; first += WG) {
    const uint p = first + item;
    float score = MASKED;
    if (p < end) {
      float8 dots = 0.0f;
      const size_t at = key_base + p % capacity;
      for (uint c = 0; c < chunks; c += KV_AHEAD) {
        kv_raw raw[KV_AHEAD];
        GEMMA_UNROLLED
        for (uint u = 0; u < KV_AHEAD; ++u) {
          raw[u] = KV_FETCH(at + min(c + u, chunks - 1) * capacity, keys);
        }
        GEMMA_UNROLLED
        for (uint u = 0; u < KV_AHEAD; ++u) {
          if (c + u < chunks) dots = fma(query8[c + u], KV_NUMBERS(raw[u]), dots);
        }
      }
      const float4 half_dots = dots.lo + dots.hi;
      score = softcapped((half_dots.x + half_dots.y + half_dots.z + half_dots.w) * scale, softcap);
    }
    const float before = largest;
    largest = fmax(before, group_max(score, scratch));
    const float weight = p < end ? exp(score - largest) : 0.0f;
    weights[item] = weight;
    const float correction = exp(before - largest);
    total = total * correction + group_sum(weight, scratch);
    sum *= correction;
    const uint count = min(end - first, (uint)WG);
    if (team < teams) {
      const uint base = first % capacity;
      for (uint i = team; i < count; i += KV_AHEAD * teams) {
        kv_raw raw[KV_AHEAD];
        GEMMA_UNROLLED
        for (uint u = 0; u < KV_AHEAD; ++u) {
          const uint p = base + min(i + u * teams, count - 1);
          const uint slot = p < capacity ? p : p - capacity;
          raw[u] = KV_FETCH(value_base + (size_t)slot * chunks + mine, values);
        }
        GEMMA_UNROLLED
        for (uint u = 0; u < KV_AHEAD; ++u) {
          const uint p = i + u * teams;
          if (p < count) sum = fma((float8)(weights[p]), KV_NUMBERS(raw[u]), sum);
        }
      }
    }
    barrier(CLK_LOCAL_MEM_FENCE);
  }
  float dot = 0.0f;
  for (uint i = item; i < padded; i += WG) dot = fma(query[i], key[i], dot);
  dot = group_sum(dot, scratch);
  if (own) {
    const float score = softcapped(dot * scale, softcap);
    const float before = largest;
    largest = fmax(before, score);
    const float correction = exp(before - largest);
    const float weight = exp(score - largest);
    total = total * correction + weight;
    sum *= correction;
    if (team == 0) sum = fma((float8)(weight), value8[mine], sum);
  }
  // The teams' parts, [team][d].
  if (team < teams) parts8[team * chunks + mine] = sum;
  barrier(CLK_LOCAL_MEM_FENCE);
  for (uint i = item; i < d; i += WG) {
    float all = 0.0f;
    for (uint t = 0; t < teams; ++t) all += parts[t * padded + i];
    out[(size_t)h * d + i] = all / total;
  }
}

#define LANES 32
#define QUERIES (WG / LANES)
// Heads have at most 512 dimensions.
#define LARGEST_CHUNKS (512 / 8 / LANES)

// Attention of a batch whose keys and values are in the cache: a group takes QUERIES queries of one
// head, and meets the positions in blocks of LANES.
GEMMA_KERNEL attend_many(__global const float* q, uint tokens, uint position, uint heads,
                         uint kv_heads, uint d, uint capacity, uint window, float scale,
                         float softcap, uint flags, __global const uchar* keys,
                         __global const uchar* values, __global float* out,
                         __local float8* queries8) {
  __local float* queries = (__local float*)queries8;
  __local float weights[WG];
  const uint item = get_local_id(0);
  const uint h = get_group_id(0);
  const uint first_token = get_group_id(1) * QUERIES;
  const uint kv_head = h / (heads / kv_heads);
  const uint padded = (d + 7) / 8 * 8;
  const uint chunks = padded / 8;
  for (uint i = item; i < QUERIES * padded; i += WG) {
    const uint token = first_token + i / padded;
    const uint dim = i % padded;
    queries[i] = token < tokens && dim < d ? q[((size_t)token * heads + h) * d + dim] : 0.0f;
  }
  barrier(CLK_LOCAL_MEM_FENCE);
  const uint query = item / LANES;
  const uint lane = item % LANES;
  const uint last = position + tokens - 1;
  const bool both = flags & BOTH_SIDES;
  const uint at = min(position + first_token + query, last);
  const uint top = min(position + first_token + QUERIES - 1, last);
  const uint low_at = position + first_token;
  // What this query sees, and what any query of the group does.
  const uint begin = window != 0 && at + 1 > window ? at + 1 - window : 0;
  const uint end = both ? (window != 0 ? min(at + window, last + 1) : last + 1) : at + 1;
  const uint group_begin = window != 0 && low_at + 1 > window ? low_at + 1 - window : 0;
  const uint group_end = both ? (window != 0 ? min(top + window, last + 1) : last + 1) : top + 1;
  const size_t key_base = (size_t)kv_head * chunks * capacity;
  const size_t value_base = (size_t)kv_head * capacity * chunks;

  float8 sums[LARGEST_CHUNKS];
  GEMMA_UNROLLED
  for (uint c = 0; c < LARGEST_CHUNKS; ++c) sums[c] = 0.0f;
  float largest = MASKED;
  float total = 0.0f;
  for (uint first = group_begin; first < group_end; first += LANES) {
    const uint p = first + lane;
    float score = MASKED;
    if (p >= begin && p < end) {
      float8 dots = 0.0f;
      const size_t slot = key_base + p % capacity;
      for (uint c = 0; c < chunks; c += KV_AHEAD) {
        kv_raw raw[KV_AHEAD];
        GEMMA_UNROLLED
        for (uint u = 0; u < KV_AHEAD; ++u) {
          raw[u] = KV_FETCH(slot + min(c + u, chunks - 1) * capacity, keys);
        }
        GEMMA_UNROLLED
        for (uint u = 0; u < KV_AHEAD; ++u) {
          if (c + u < chunks) {
            dots = fma(queries8[query * chunks + c + u], KV_NUMBERS(raw[u]), dots);
          }
        }
      }
      const float4 half_dots = dots.lo + dots.hi;
      score = softcapped((half_dots.x + half_dots.y + half_dots.z + half_dots.w) * scale, softcap);
    }
    weights[item] = score;
    barrier(CLK_LOCAL_MEM_FENCE);
    const float before = largest;
    for (uint i = 0; i < LANES; ++i) largest = fmax(largest, weights[query * LANES + i]);
    const float correction = exp(before - largest);
    barrier(CLK_LOCAL_MEM_FENCE);
    weights[item] = p >= begin && p < end ? exp(score - largest) : 0.0f;
    barrier(CLK_LOCAL_MEM_FENCE);
    total *= correction;
    GEMMA_UNROLLED
    for (uint c = 0; c < LARGEST_CHUNKS; ++c) sums[c] *= correction;
    const uint count = min(group_end - first, (uint)LANES);
    const uint base = first % capacity;
    GEMMA_UNROLL(4)
    for (uint i = 0; i < count; ++i) {
      const float weight = weights[query * LANES + i];
      const size_t slot = base + i < capacity ? base + i : base + i - capacity;
      total += weight;
      GEMMA_UNROLLED
      for (uint c = 0; c < LARGEST_CHUNKS; ++c) {
        const uint chunk = c * LANES + lane;
        if (chunk < chunks) {
          sums[c] = fma((float8)(weight),
                        KV_NUMBERS(KV_FETCH(value_base + slot * chunks + chunk, values)), sums[c]);
        }
      }
    }
    barrier(CLK_LOCAL_MEM_FENCE);
  }
  const size_t token = first_token + query;
  if (token >= tokens) return;
  GEMMA_UNROLLED
  for (uint c = 0; c < LARGEST_CHUNKS; ++c) {
    float value[8];
    vstore8(sums[c] / total, 0, value);
    for (uint i = 0; i < 8; ++i) {
      const uint dim = (c * LANES + lane) * 8 + i;
      if (dim < d) out[(token * heads + h) * d + dim] = value[i];
    }
  }
}
)CLC";

}  // namespace opencl
GEMMA_NAMESPACE_END

#endif  // GEMMA_OPENCL_KERNELS_ATTENTION_HPP_
