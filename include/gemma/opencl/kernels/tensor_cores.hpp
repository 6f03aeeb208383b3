// Products of many tokens on NVIDIA's tensor cores, by inline PTX: chosen where the device has
// compute capability 8.0 or more. Activations are rounded to float16 after each token was scaled by
// a power of two, weights after scaling by 16; sums are float32.
// Source: the PTX ISA, mma.sync.aligned.m16n8k16.
#ifndef GEMMA_OPENCL_KERNELS_TENSOR_CORES_HPP_
#define GEMMA_OPENCL_KERNELS_TENSOR_CORES_HPP_

#include "gemma/config.hpp"

GEMMA_NAMESPACE_BEGIN
namespace opencl {

/// Before all formats.
inline constexpr const char* kTensorCoreSource = R"CLC(
#define WEIGHT_SCALE 16.0f
// A group computes 128 tokens × 64 rows, each of its 8 warps 32 × 32, from two blocks of columns at
// a time: while they are multiplied, the next two are on their way to registers.
#define MMA_TOKENS 128
#define MMA_ROWS 64
// Words of two float16 in a row of two blocks in local memory; 4 more keep the banks apart.
#define MMA_STRIDE 36

static inline uint pack_half2(float low, float high) {
  uint r;
  __asm__("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(high), "f"(low));
  return r;
}

static inline uint add_half2(uint a, uint b) {
  uint r;
  __asm__("add.rn.f16x2 %0, %1, %2;" : "=r"(r) : "r"(a), "r"(b));
  return r;
}

static inline uint fma_half2(uint a, uint b, uint c) {
  uint r;
  __asm__("fma.rn.f16x2 %0, %1, %2, %3;" : "=r"(r) : "r"(a), "r"(b), "r"(c));
  return r;
}

static inline void mma(const uint* a, const uint* b, float* c) {
  __asm__("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
      "{%8, %9}, {%0, %1, %2, %3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

// Four 8 × 8 matrices of float16 from local memory; each lane gives the address of a row of one.
static inline void load_matrices(__local const uint* row, uint* r) {
  __asm__ volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                   : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                   : "r"((uint)(size_t)row)
                   : "memory");
}

// Activations as float16, a row per group, and by what each row is to be multiplied afterwards.
GEMMA_KERNEL to_half(__global const float* x, uint n, __global uint* out, __global float* scales) {
  __local float scratch[WG];
  const size_t token = get_group_id(0);
  __global const float2* row = (__global const float2*)(x + token * n);
  float largest = 0.0f;
  for (uint i = get_local_id(0); i < n / 2; i += WG) {
    largest = fmax(largest, fmax(fabs(row[i].x), fabs(row[i].y)));
  }
  largest = group_max(largest, scratch);
  // At most 2^12; the smallest normal float16 is 2^-14.
  const int up = largest > 0.0f && isfinite(largest) ? 12 - ilogb(largest) : 0;
  const float factor = ldexp(1.0f, clamp(up, -100, 100));
  for (uint i = get_local_id(0); i < n / 2; i += WG) {
    out[token * (n / 2) + i] = pack_half2(row[i].x * factor, row[i].y * factor);
  }
  if (get_local_id(0) == 0) scales[token] = 1.0f / (factor * WEIGHT_SCALE);
}
)CLC";

/// After kMatmulSource of each format but float32, whose weights float16 cannot hold.
inline constexpr const char* kTensorCoreMatmulSource = R"CLC(
// Eight weights, those of word `part` of a block, as float16.
static inline uint4 F(eight_halves)(const F(raw)* raw, uint4 codes, uint part) {
  uint pairs[4];
#if BITS <= 6
  GEMMA_UNROLLED
  for (uint j = 0; j < 4; ++j) {
    uint pair = codes.x >> (4 * j) & 0x000F000Fu;
#if BITS == 5
    pair |= (raw->high.x >> (4 * part + j) & 0x00010001u) << 4;
#elif BITS == 6
    const uint high = part < 2 ? raw->high.x : raw->high.y;
    pair |= (high >> (8 * (part & 1) + 2 * j) & 0x00030003u) << 4;
#endif
    pairs[j] = pair;
  }
#elif BITS == 8
  GEMMA_UNROLLED
  for (uint j = 0; j < 4; ++j) {
    const uint two = ((j < 2 ? codes.x : codes.y) ^ 0x80808080u) >> (16 * (j & 1));
    pairs[j] = (two & 0xFFu) | (two & 0xFF00u) << 8;
  }
#endif
#if BITS <= 8
  float s[2], m[2];
  F(scales)(raw, s, m);
  const float scale = s[part / 2] * WEIGHT_SCALE;
  const float low = HAS_MIN ? m[part / 2] * WEIGHT_SCALE : 0.0f;
  // 1024 + n is a float16 whose lowest bits are n.
  const float zero = -1024.0f - (BITS == 8 ? 128 : OFFSET);
  GEMMA_UNROLLED
  for (uint j = 0; j < 4; ++j) {
    const uint n = add_half2(pairs[j] | 0x64006400u, pack_half2(zero, zero));
    pairs[j] = fma_half2(n, pack_half2(scale, scale), pack_half2(-low, -low));
  }
#else
  const uint words[4] = {codes.x, codes.y, codes.z, codes.w};
  GEMMA_UNROLLED
  for (uint j = 0; j < 4; ++j) {
    float c[2];
    F(pair)(words[j], c);
    pairs[j] = pack_half2(c[0] * WEIGHT_SCALE, c[1] * WEIGHT_SCALE);
  }
#endif
  return (uint4)(pairs[0], pairs[1], pairs[2], pairs[3]);
}

// What an item unpacks of block k: word `part` of row `row` of a tile.
static inline F(raw) F(fetch_part)(__global const uchar* w, uint tiles, uint blocks, uint tile,
                                   uint k, uint row, uint part) {
  const size_t block = (size_t)tile * blocks + k;
  __global const uint* codes = (__global const uint*)w + block * CHUNKS * 64;
  F(raw) raw;
#if BITS <= 6
  raw.codes[0].x = codes[row * 4 + part];
#elif BITS == 8
  const uint at = (part / 2) * 64 + row * 4 + part % 2 * 2;
  raw.codes[0].x = codes[at];
  raw.codes[0].y = codes[at + 1];
#else
  raw.codes[0] = ((__global const uint4*)codes)[part * 16 + row];
#endif
  F(fetch_scales)(w, tiles, blocks, tile, k, row, &raw);
  return raw;
}

__kernel __attribute__((reqd_work_group_size(256, 1, 1)))
void F(matmul_mma)(__global const uchar* w, uint tiles, uint blocks, uint first_tile, uint skip,
                   uint last_tile, __global const uint* x, __global const float* scales,
                   uint tokens, __global float* y0, uint rows0, __global float* y1, uint rows1,
                   __global float* y2, uint rows2) {
  __local uint4 inputs[MMA_TOKENS * MMA_STRIDE / 4];
  __local uint4 weights[MMA_ROWS * MMA_STRIDE / 4];
  const uint item = get_local_id(0);
  const uint first_token = get_group_id(1) * MMA_TOKENS;
  // Fetching: each item has half a row of the inputs, and a quarter of one of the weights.
  const uint in_row = item / 2;
  const uint in_part = item % 2;
  const uint token = min(first_token + in_row, tokens - 1);
  __global const uint4* in = (__global const uint4*)(x + (size_t)token * blocks * 16);
  const uint weight_row = item / 4;
  const uint part = item % 4;
  const uint tile = min((uint)get_group_id(0) * 4 + weight_row / 16, last_tile);
  // Multiplying: where the item's warp and the item itself stand.
  const uint warp = item / 32;
  const uint warp_token = warp % 4 * 32;
  const uint warp_row = warp / 4 * 32;
  const uint lane = item % 32;
  const uint g = lane / 4;
  const uint t = lane % 4;

  float sums[2][4][4];
  GEMMA_UNROLLED
  for (uint i = 0; i < 2; ++i) {
    GEMMA_UNROLLED
    for (uint j = 0; j < 4; ++j) {
      GEMMA_UNROLLED
      for (uint c = 0; c < 4; ++c) sums[i][j][c] = 0.0f;
    }
  }
  uint4 next_in[4];
  F(raw) next_w[2];
  for (uint k = 0; k < blocks + 2; k += 2) {
    if (k > 0) {
      barrier(CLK_LOCAL_MEM_FENCE);
      GEMMA_UNROLLED
      for (uint u = 0; u < 4; ++u) inputs[in_row * (MMA_STRIDE / 4) + in_part * 4 + u] = next_in[u];
      GEMMA_UNROLLED
      for (uint u = 0; u < 2; ++u) {
        const uint4 eight = F(eight_halves)(&next_w[u], next_w[u].codes[0], part);
        weights[weight_row * (MMA_STRIDE / 4) + u * 4 + part] =
            k - 2 + u < blocks ? eight : (uint4)(0);
      }
      barrier(CLK_LOCAL_MEM_FENCE);
    }
    // Item 0 of a pair has the first block of its token, item 1 the second.
    const uint mine = min(k + in_part, blocks - 1);
    GEMMA_UNROLLED
    for (uint u = 0; u < 4; ++u) next_in[u] = in[mine * 4 + u];
    GEMMA_UNROLLED
    for (uint u = 0; u < 2; ++u) {
      next_w[u] = F(fetch_part)(w, tiles, blocks, first_tile + tile, min(k + u, blocks - 1),
                                weight_row & 15, part);
    }
    if (k == 0) continue;
    __local const uint* block_in = (__local const uint*)inputs;
    __local const uint* block_w = (__local const uint*)weights;
    GEMMA_UNROLLED
    for (uint step = 0; step < 4; ++step) {
      uint a[2][4];
      uint b[2][4];
      GEMMA_UNROLLED
      for (uint i = 0; i < 2; ++i) {
        load_matrices(block_in + (warp_token + 16 * i + lane % 16) * MMA_STRIDE + step * 8 +
                          lane / 16 * 4, a[i]);
        load_matrices(block_w + (warp_row + 16 * i + lane / 16 * 8 + lane % 8) * MMA_STRIDE +
                          step * 8 + lane / 8 % 2 * 4, b[i]);
      }
      GEMMA_UNROLLED
      for (uint i = 0; i < 2; ++i) {
        GEMMA_UNROLLED
        for (uint j = 0; j < 4; ++j) mma(a[i], b[j / 2] + j % 2 * 2, sums[i][j]);
      }
    }
  }
  GEMMA_UNROLLED
  for (uint i = 0; i < 2; ++i) {
    GEMMA_UNROLLED
    for (uint half_rows = 0; half_rows < 2; ++half_rows) {
      const size_t to = first_token + warp_token + 16 * i + 8 * half_rows + g;
      if (to >= tokens) continue;
      const float scale = scales[to];
      GEMMA_UNROLLED
      for (uint j = 0; j < 4; ++j) {
        GEMMA_UNROLLED
        for (uint c = 0; c < 2; ++c) {
          const uint row = skip * 16 + get_group_id(0) * MMA_ROWS + warp_row + 8 * j + 2 * t + c;
          if (get_group_id(0) * 4 + (warp_row + 8 * j) / 16 <= last_tile) {
            put_row(row, sums[i][j][2 * half_rows + c] * scale, y0 + to * rows0, rows0,
                    y1 + to * rows1, rows1, y2 + to * rows2, rows2);
          }
        }
      }
    }
  }
}
)CLC";

}  // namespace opencl
GEMMA_NAMESPACE_END

#endif  // GEMMA_OPENCL_KERNELS_TENSOR_CORES_HPP_
