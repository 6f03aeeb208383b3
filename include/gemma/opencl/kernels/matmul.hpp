// Products of weights and activations, y = W x, and the embedding. Compiled once per format.
#ifndef GEMMA_OPENCL_KERNELS_MATMUL_HPP_
#define GEMMA_OPENCL_KERNELS_MATMUL_HPP_

#include "gemma/config.hpp"

GEMMA_NAMESPACE_BEGIN
namespace opencl {

/// One token. A group computes one tile of 16 rows, its items sharing the blocks of columns.
inline constexpr const char* kMatvecSource = R"CLC(
#ifndef SLICES
#define SLICES (WG / 16)

// Blocks that an item fetches before it uses the first of them.
#define AHEAD 4

// The activations of a block times its weights; columns from n on count nothing.
#if BITS < 16
#define ACTIVATIONS(space, x, i, n) ((__##space const float4*)(x))[i]
#else
#define ACTIVATIONS(space, x, i, n)                                                              \
  (float4)(4 * i < n ? x[4 * i] : 0.0f, 4 * i + 1 < n ? x[4 * i + 1] : 0.0f,                     \
           4 * i + 2 < n ? x[4 * i + 2] : 0.0f, 4 * i + 3 < n ? x[4 * i + 3] : 0.0f)
#endif
#define GEMMA_BLOCK_DOT(space)                                                                   \
  static inline float F(dot_##space)(const F(raw)* raw, __##space const float* x, uint n) {      \
    float c[32], s[2], m[2];                                                                     \
    F(codes)(raw, c);                                                                            \
    F(scales)(raw, s, m);                                                                        \
    float result = 0.0f;                                                                         \
    GEMMA_UNROLLED                                                                               \
    for (uint g = 0; g < 2; ++g) {                                                               \
      float4 sum = (float4)(0.0f);                                                               \
      float4 plain = (float4)(0.0f);                                                             \
      GEMMA_UNROLLED                                                                             \
      for (uint q = 0; q < 4; ++q) {                                                             \
        const uint i = 4 * g + q;                                                                \
        const float4 value = ACTIVATIONS(space, x, i, n);                                        \
        sum = fma((float4)(c[4 * i], c[4 * i + 1], c[4 * i + 2], c[4 * i + 3]), value, sum);     \
        if (HAS_MIN) plain += value;                                                             \
      }                                                                                          \
      result = fma(s[g], sum.x + sum.y + sum.z + sum.w, result);                                 \
      if (HAS_MIN) result -= m[g] * (plain.x + plain.y + plain.z + plain.w);                     \
    }                                                                                            \
    return result;                                                                               \
  }

// The sum over the slices of what each item has for its row; valid for the first 16 items.
static inline float sum_of_slices(float value, __local float* scratch) {
  const uint item = get_local_id(0);
  barrier(CLK_LOCAL_MEM_FENCE);
  scratch[item] = value;
  barrier(CLK_LOCAL_MEM_FENCE);
  float sum = 0.0f;
  for (uint j = item & 15; j < WG; j += 16) sum += scratch[j];
  return sum;
}

// Up to three matrices that lie one after the other have an output each: row r of all of them. A
// matrix in parts takes a launch for each; `skip` tiles are those of the parts before.
static inline void put_row(uint r, float value, __global float* y0, uint rows0, __global float* y1,
                    uint rows1, __global float* y2, uint rows2) {
  if (r < rows0) {
    y0[r] = value;
  } else if (r - rows0 < rows1) {
    y1[r - rows0] = value;
  } else if (r - rows0 - rows1 < rows2) {
    y2[r - rows0 - rows1] = value;
  }
}
#endif

GEMMA_BLOCK_DOT(global)
GEMMA_BLOCK_DOT(local)

GEMMA_KERNEL F(matvec)(__global const uchar* w, uint tiles, uint blocks, uint cols,
                       uint first_tile, uint skip, __global const float* x, float softcap,
                       __global float* y0, uint rows0, __global float* y1, uint rows1,
                       __global float* y2, uint rows2) {
  __local float scratch[WG];
  const uint row = get_local_id(0) & 15;
  const uint tile = get_group_id(0);
  float sum = 0.0f;
  for (uint k = get_local_id(0) / 16; k < blocks; k += AHEAD * SLICES) {
    F(raw) raw[AHEAD];
    GEMMA_UNROLLED
    for (uint u = 0; u < AHEAD; ++u) {
      raw[u] = F(fetch)(w, tiles, blocks, first_tile + tile, min(k + u * SLICES, blocks - 1), row);
    }
    GEMMA_UNROLLED
    for (uint u = 0; u < AHEAD; ++u) {
      const uint at = k + u * SLICES;
      if (at < blocks) sum += F(dot_global)(&raw[u], x + at * 32, cols - at * 32);
    }
  }
  sum = sum_of_slices(sum, scratch);
  if (get_local_id(0) < 16) {
    put_row((skip + tile) * 16 + row, softcapped(sum, softcap), y0, rows0, y1, rows1, y2, rows2);
  }
}

// The same on the normed sum of x and a branch; see residual_norm(). `columns` is room for it.
GEMMA_KERNEL F(matvec_norm)(__global const uchar* w, uint tiles, uint blocks, uint cols,
                            uint first_tile, uint skip, __global const float* x,
                            __global const float* branch, __global const float* branch_gain,
                            __global const float* gain, float eps, uint flags,
                            __global float* total, __local float4* columns, float softcap,
                            __global float* y0, uint rows0, __global float* y1, uint rows1,
                            __global float* y2, uint rows2) {
  __local float scratch[WG];
  const uint row = get_local_id(0) & 15;
  const uint tile = get_group_id(0);
  __local float* h = (__local float*)columns;
  uint k = get_local_id(0) / 16;
  // The first weights travel while the norm is made.
  F(raw) raw[AHEAD];
  GEMMA_UNROLLED
  for (uint u = 0; u < AHEAD; ++u) {
    raw[u] = F(fetch)(w, tiles, blocks, first_tile + tile, min(k + u * SLICES, blocks - 1), row);
  }
  residual_norm(x, branch, branch_gain, gain, eps, flags, skip + tile == 0 ? total : 0, h, scratch);
  float sum = 0.0f;
  while (k < blocks) {
    GEMMA_UNROLLED
    for (uint u = 0; u < AHEAD; ++u) {
      const uint at = k + u * SLICES;
      if (at < blocks) sum += F(dot_local)(&raw[u], h + at * 32, cols - at * 32);
    }
    k += AHEAD * SLICES;
    GEMMA_UNROLLED
    for (uint u = 0; u < AHEAD; ++u) {
      const uint at = k + u * SLICES;
      if (at < blocks) raw[u] = F(fetch)(w, tiles, blocks, first_tile + tile, at, row);
    }
  }
  sum = sum_of_slices(sum, scratch);
  if (get_local_id(0) < 16) {
    put_row((skip + tile) * 16 + row, softcapped(sum, softcap), y0, rows0, y1, rows1, y2, rows2);
  }
}

// y = gelu(gate h) · (up h), with h as above.
GEMMA_KERNEL F(gate_up)(__global const uchar* gate, uint gate_tiles, uint gate_tile,
                        __global const uchar* up, uint up_tiles, uint up_tile, uint blocks,
                        uint cols, __global const float* x, __global const float* branch,
                        __global const float* branch_gain, __global const float* gain, float eps,
                        uint flags, __global float* total, __local float4* columns,
                        __global float* y, uint rows) {
  __local float scratch[WG];
  __local float* h = (__local float*)columns;
  const uint row = get_local_id(0) & 15;
  const uint tile = get_group_id(0);
  uint k = get_local_id(0) / 16;
  F(raw) next_gate = F(fetch)(gate, gate_tiles, blocks, gate_tile + tile, min(k, blocks - 1), row);
  F(raw) next_up = F(fetch)(up, up_tiles, blocks, up_tile + tile, min(k, blocks - 1), row);
  residual_norm(x, branch, branch_gain, gain, eps, flags, tile == 0 ? total : 0, h, scratch);
  float sum = 0.0f;
  float other = 0.0f;
  for (; k < blocks; k += SLICES) {
    const F(raw) now_gate = next_gate;
    const F(raw) now_up = next_up;
    const uint after = min(k + SLICES, blocks - 1);
    next_gate = F(fetch)(gate, gate_tiles, blocks, gate_tile + tile, after, row);
    next_up = F(fetch)(up, up_tiles, blocks, up_tile + tile, after, row);
    sum += F(dot_local)(&now_gate, h + k * 32, cols - k * 32);
    other += F(dot_local)(&now_up, h + k * 32, cols - k * 32);
  }
  sum = sum_of_slices(sum, scratch);
  other = sum_of_slices(other, scratch);
  const uint r = tile * 16 + row;
  if (get_local_id(0) < 16 && r < rows) y[r] = gelu(sum) * other;
}

// x_t = E[id_t] · factor; one group per token. `id` stands for the only token if it is not negative.
// A part of the matrix has tiles [skip, skip + tiles) and leaves other tokens alone.
GEMMA_KERNEL F(embed)(__global const uchar* w, uint tiles, uint blocks, uint cols, uint skip,
                      __global const int* ids, int id, uint rows, float factor,
                      __global float* x) {
  const uint token = get_group_id(0);
  uint r = (uint)(id >= 0 ? id : ids[token]);
  if (r >= rows) r = 0;
  if (r / 16 < skip || r / 16 >= skip + tiles) return;
  for (uint k = get_local_id(0); k < blocks; k += WG) {
    float c[32], s[2], m[2];
    const F(raw) raw = F(fetch)(w, tiles, blocks, r / 16 - skip, k, r & 15);
    F(codes)(&raw, c);
    F(scales)(&raw, s, m);
    GEMMA_UNROLLED
    for (uint i = 0; i < 32; ++i) {
      const uint column = k * 32 + i;
      const float low = HAS_MIN ? m[i / 16] : 0.0f;
      if (column < cols) x[(size_t)token * cols + column] = (c[i] * s[i / 16] - low) * factor;
    }
  }
}
)CLC";

/// Many tokens: a group computes 16 rows for 4 · WG / 16 tokens, from blocks in local memory.
inline constexpr const char* kMatmulSource = R"CLC(
#ifndef TOKENS
#define TOKENS (WG / 4)
#endif

GEMMA_KERNEL F(matmul)(__global const uchar* w, uint tiles, uint blocks, uint cols,
                       uint first_tile, uint skip, __global const float* x, uint tokens,
                       __global float* y0, uint rows0, __global float* y1, uint rows1,
                       __global float* y2, uint rows2) {
  __local float weights[16 * 33];
  __local float inputs[TOKENS * 33];
  const uint item = get_local_id(0);
  const uint row = item & 15;
  const uint slice = item / 16;
  const uint tile = get_group_id(0);
  const uint first = get_group_id(1) * TOKENS;
  float sum[4] = {0.0f, 0.0f, 0.0f, 0.0f};
  for (uint k = 0; k < blocks; ++k) {
    if (item < 16) {
      float c[32], s[2], m[2];
      const F(raw) raw = F(fetch)(w, tiles, blocks, first_tile + tile, k, row);
      F(codes)(&raw, c);
      F(scales)(&raw, s, m);
      GEMMA_UNROLLED
      for (uint i = 0; i < 32; ++i) {
        weights[row * 33 + i] = c[i] * s[i / 16] - (HAS_MIN ? m[i / 16] : 0.0f);
      }
    }
    for (uint i = item; i < TOKENS * 32; i += WG) {
      const uint token = first + i / 32;
      const uint column = k * 32 + i % 32;
      const bool inside = token < tokens && column < cols;
      inputs[i / 32 * 33 + i % 32] = inside ? x[(size_t)token * cols + column] : 0.0f;
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    GEMMA_UNROLLED
    for (uint i = 0; i < 32; ++i) {
      const float weight = weights[row * 33 + i];
      GEMMA_UNROLLED
      for (uint t = 0; t < 4; ++t) {
        sum[t] = fma(weight, inputs[(slice + t * SLICES) * 33 + i], sum[t]);
      }
    }
    barrier(CLK_LOCAL_MEM_FENCE);
  }
  GEMMA_UNROLLED
  for (uint t = 0; t < 4; ++t) {
    const size_t token = first + slice + t * SLICES;
    if (token < tokens) {
      put_row((skip + tile) * 16 + row, sum[t], y0 + token * rows0, rows0, y1 + token * rows1, rows1,
              y2 + token * rows2, rows2);
    }
  }
}
)CLC";

}  // namespace opencl
GEMMA_NAMESPACE_END

#endif  // GEMMA_OPENCL_KERNELS_MATMUL_HPP_
