// Weights as kernels read them. A matrix lies in tiles of 16 rows and blocks of 32 columns, rows in
// lanes: neighbouring work-items read neighbouring 16 bytes, and all rows of a tile meet the same
// activations, so that nothing has to be summed across lanes.
//
//   codes   [tile][block][chunk][16 rows] of 16 bytes   4, 5, 6 bits: one chunk; 8: two; 16: four
//   high    [tile][block][16 rows] of 4 or 8 bytes      the fifth, or fifth and sixth, bits
//   scales  [tile][block][16 rows] of 2 or 4 bytes
//   supers  [tile][block / 8][16 rows] of 4 bytes       d and dmin of 256 columns
//
// In a word of eight 4-bit codes the even columns are in the lower half, the odd ones in the upper:
// masks then give pairs, which is what 16-bit arithmetic wants.
#ifndef GEMMA_OPENCL_KERNELS_FORMATS_HPP_
#define GEMMA_OPENCL_KERNELS_FORMATS_HPP_

#include "gemma/config.hpp"

GEMMA_NAMESPACE_BEGIN
namespace opencl {

/// Compiled once per format of a model, with these set: F(name) makes a name of the format's own;
/// BITS is 4, 5, 6, 8, 16 (float16), 17 (bfloat16) or 32; OFFSET is what codes have to be lessened
/// by; SCALES is 0 (none), 1 (d of 32), 2 (d and m of 32), 3 or 4 (of 32 or 16 in 256).
inline constexpr const char* kFormatSource = R"CLC(
#if BITS <= 6
#define CHUNKS 1
#elif BITS == 8
#define CHUNKS 2
#elif BITS == 32
#define CHUNKS 8
#else
#define CHUNKS 4
#endif
#if BITS == 5
#define HIGH_BYTES 4
#elif BITS == 6
#define HIGH_BYTES 8
#else
#define HIGH_BYTES 0
#endif
#if SCALES == 0
#define SCALE_BYTES 0
#elif SCALES == 1 || SCALES == 3
#define SCALE_BYTES 2
#else
#define SCALE_BYTES 4
#endif

// An integer below 2^23 as a float, by its bits: faster than a conversion.
#ifndef AS_NUMBER
#define AS_NUMBER(n, offset) (as_float((n) | 0x4B000000u) - (8388608.0f + (offset)))
#endif

// A float16 by its bits, subnormal ones too, without fp16 arithmetic.
#ifndef HALF_BITS
#define HALF_BITS
static inline float half_bits(uint bits) {
  const float size = as_float((bits & 0x7FFFu) << 13) * 0x1p112f;
  const float finite = (bits & 0x8000u) != 0 ? -size : size;
  return (bits & 0x7C00u) == 0x7C00u ? NAN : finite;
}
#endif

// The two 16-bit floats of a word.
static inline void F(pair)(uint v, float* c) {
#if BITS == 17
  c[0] = as_float(v << 16);
  c[1] = as_float(v & 0xFFFF0000u);
#else
  c[0] = half_bits(v & 0xFFFFu);
  c[1] = half_bits(v >> 16);
#endif
}

// The eight codes of a word, in the order of their columns.
static inline void F(word)(uint v, uint high, float* c) {
  GEMMA_UNROLLED
  for (uint j = 0; j < 4; ++j) {
#if BITS == 5
    c[2 * j] = AS_NUMBER((v >> (4 * j) & 15u) | (high >> j & 1u) << 4, OFFSET);
    c[2 * j + 1] = AS_NUMBER((v >> (4 * j + 16) & 15u) | (high >> (j + 16) & 1u) << 4, OFFSET);
#elif BITS == 6
    c[2 * j] = AS_NUMBER((v >> (4 * j) & 15u) | (high >> (2 * j) & 3u) << 4, OFFSET);
    c[2 * j + 1] = AS_NUMBER((v >> (4 * j + 16) & 15u) | (high >> (2 * j + 16) & 3u) << 4, OFFSET);
#else
    c[2 * j] = AS_NUMBER(v >> (4 * j) & 15u, OFFSET);
    c[2 * j + 1] = AS_NUMBER(v >> (4 * j + 16) & 15u, OFFSET);
#endif
  }
}

// The four signed bytes of a word.
static inline void F(bytes)(uint v, float* c) {
  v ^= 0x80808080u;
  GEMMA_UNROLLED
  for (uint j = 0; j < 4; ++j) c[j] = AS_NUMBER(v >> (8 * j) & 255u, 128);
}

// What a row has of a block of 32 columns, as it lies in memory.
typedef struct {
  uint4 codes[CHUNKS];
  uint2 high;
  uint scales;
  uint super;
} F(raw);

// Of block k of `blocks` in a row of a part of `tiles` tiles: all but the codes.
static inline void F(fetch_scales)(__global const uchar* w, uint tiles, uint blocks, uint tile,
                                   uint k, uint row, F(raw)* raw) {
  const size_t all = (size_t)tiles * blocks;
  const size_t block = (size_t)tile * blocks + k;
  __global const uchar* high = w + all * CHUNKS * 256;
  __global const uchar* scales = high + all * HIGH_BYTES * 16;
#if BITS == 5
  raw->high.x = ((__global const uint*)high)[block * 16 + row];
#elif BITS == 6
  raw->high = ((__global const uint2*)high)[block * 16 + row];
#endif
#if SCALE_BYTES == 2
  raw->scales = ((__global const ushort*)scales)[block * 16 + row];
#elif SCALE_BYTES == 4
  raw->scales = ((__global const uint*)scales)[block * 16 + row];
#endif
#if SCALES >= 3
  __global const uint* supers = (__global const uint*)(scales + all * SCALE_BYTES * 16);
  raw->super = supers[((size_t)tile * (blocks / 8) + k / 8) * 16 + row];
#endif
}

static inline F(raw) F(fetch)(__global const uchar* w, uint tiles, uint blocks, uint tile, uint k,
                              uint row) {
  const size_t block = (size_t)tile * blocks + k;
  __global const uint4* codes = (__global const uint4*)w + block * CHUNKS * 16 + row;
  F(raw) raw;
  GEMMA_UNROLLED
  for (uint chunk = 0; chunk < CHUNKS; ++chunk) raw.codes[chunk] = codes[chunk * 16];
  F(fetch_scales)(w, tiles, blocks, tile, k, row, &raw);
  return raw;
}

// Weight i of the block is c[i] · s[i / 16] − m[i / 16].
static inline void F(scales)(const F(raw)* raw, float* s, float* m) {
#if SCALES == 0
  s[0] = s[1] = 1.0f;
#elif SCALES <= 2
  s[0] = s[1] = half_bits(raw->scales & 0xFFFFu);
#if SCALES == 2
  m[0] = m[1] = -half_bits(raw->scales >> 16);
#endif
#else
  const float d = half_bits(raw->super & 0xFFFFu);
  const float dmin = half_bits(raw->super >> 16);
  const char4 n = as_char4(raw->scales);
#if SCALES == 3
  s[0] = s[1] = d * n.x;
  m[0] = m[1] = dmin * n.y;
#else
  s[0] = d * n.x;
  s[1] = d * n.y;
  m[0] = dmin * n.z;
  m[1] = dmin * n.w;
#endif
#endif
}

static inline void F(codes)(const F(raw)* raw, float* c) {
#if BITS <= 6
  const uint4 v = raw->codes[0];
#if BITS == 5
  const uint h = raw->high.x;
  F(word)(v.x, h, c);
  F(word)(v.y, h >> 4, c + 8);
  F(word)(v.z, h >> 8, c + 16);
  F(word)(v.w, h >> 12, c + 24);
#elif BITS == 6
  F(word)(v.x, raw->high.x, c);
  F(word)(v.y, raw->high.x >> 8, c + 8);
  F(word)(v.z, raw->high.y, c + 16);
  F(word)(v.w, raw->high.y >> 8, c + 24);
#else
  F(word)(v.x, 0, c);
  F(word)(v.y, 0, c + 8);
  F(word)(v.z, 0, c + 16);
  F(word)(v.w, 0, c + 24);
#endif
#else
  GEMMA_UNROLLED
  for (uint chunk = 0; chunk < CHUNKS; ++chunk) {
    const uint4 v = raw->codes[chunk];
    float* o = c + chunk * (32 / CHUNKS);
#if BITS == 8
    F(bytes)(v.x, o);
    F(bytes)(v.y, o + 4);
    F(bytes)(v.z, o + 8);
    F(bytes)(v.w, o + 12);
#elif BITS == 32
    vstore4(as_float4(v), 0, o);
#else
    F(pair)(v.x, o);
    F(pair)(v.y, o + 2);
    F(pair)(v.z, o + 4);
    F(pair)(v.w, o + 6);
#endif
  }
#endif
}
)CLC";

/// Undoes what kFormatSource defines, and the format's own macros.
inline constexpr const char* kFormatEnd = R"CLC(
#undef F
#undef BITS
#undef OFFSET
#undef SCALES
#undef HAS_MIN
#undef CHUNKS
#undef HIGH_BYTES
#undef SCALE_BYTES
)CLC";

}  // namespace opencl
GEMMA_NAMESPACE_END

#endif  // GEMMA_OPENCL_KERNELS_FORMATS_HPP_
