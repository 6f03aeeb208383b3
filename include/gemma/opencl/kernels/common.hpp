// What all kernels share: reductions over a work-group, and the norm before a branch of the model.
//
// The baseline of every kernel here is OpenCL C 1.2 with nothing optional: no sub-groups, no fp16
// arithmetic, no images. GEMMA_WG is the work-group size, a power of two from 32 on, GEMMA_WIDTH the
// model's width. Barriers stand
// in no branch, even where all items would take it: PoCL compiles what follows once for each way.
#ifndef GEMMA_OPENCL_KERNELS_COMMON_HPP_
#define GEMMA_OPENCL_KERNELS_COMMON_HPP_

#include "gemma/config.hpp"

GEMMA_NAMESPACE_BEGIN
namespace opencl {

/// Stands before all other sources.
inline constexpr const char* kCommonSource = R"CLC(
#define WG GEMMA_WG
#define WIDTH GEMMA_WIDTH
// Steps of four numbers in which a group reads a row of the residual stream.
#define NORM_STEPS ((WIDTH / 4 + WG - 1) / WG)
#if defined(cl_nv_pragma_unroll) || defined(__clang__)
#define GEMMA_PRAGMA(text) _Pragma(#text)
#define GEMMA_UNROLL(n) GEMMA_PRAGMA(unroll n)
#else
#define GEMMA_UNROLL(n)
#endif
// For loops over arrays that are to be registers.
#define GEMMA_UNROLLED GEMMA_UNROLL(64)
#define GEMMA_KERNEL __kernel __attribute__((reqd_work_group_size(WG, 1, 1))) void

#if GEMMA_PTX
// Eight float16, by NVIDIA's instruction: other ways to load them at once ask for cl_khr_fp16.
static inline float2 half_pair(uint v) {
  float2 f;
  __asm__("{ .reg .b16 low, high; mov.b32 {low, high}, %2; cvt.f32.f16 %0, low; cvt.f32.f16 %1, high; }"
          : "=f"(f.x), "=f"(f.y) : "r"(v));
  return f;
}
static inline float8 halves(uint4 v) {
  return (float8)(half_pair(v.x), half_pair(v.y), half_pair(v.z), half_pair(v.w));
}
#endif

// The sum over the work-group of one number per item. `scratch` holds WG numbers.
static inline float group_sum(float value, __local float* scratch) {
  const uint i = get_local_id(0);
  barrier(CLK_LOCAL_MEM_FENCE);
  scratch[i] = value;
  barrier(CLK_LOCAL_MEM_FENCE);
  float column = 0.0f;
  for (uint j = i; j < WG && i < 32; j += 32) column += scratch[j];
  if (i < 32) scratch[i] = column;
  barrier(CLK_LOCAL_MEM_FENCE);
  float sum = 0.0f;
  for (uint j = 0; j < 32; ++j) sum += scratch[j];
  return sum;
}

static inline float group_max(float value, __local float* scratch) {
  const uint i = get_local_id(0);
  barrier(CLK_LOCAL_MEM_FENCE);
  scratch[i] = value;
  barrier(CLK_LOCAL_MEM_FENCE);
  float column = value;
  for (uint j = i; j < WG && i < 32; j += 32) column = fmax(column, scratch[j]);
  if (i < 32) scratch[i] = column;
  barrier(CLK_LOCAL_MEM_FENCE);
  float largest = scratch[0];
  for (uint j = 1; j < 32; ++j) largest = fmax(largest, scratch[j]);
  return largest;
}

static inline float gelu(float x) {
  return 0.5f * x * (1.0f + tanh(0.797884561f * (x + 0.044715f * x * x * x)));
}

static inline float softcapped(float x, float cap) { return cap == 0.0f ? x : cap * tanh(x / cap); }

// What residual_norm() is to do with the branch.
#define ADD_BRANCH 1u
#define NORM_BRANCH 2u

// h = norm(s) · gain, s = x + branch, the branch normed before if the flags say so; rows of WIDTH
// numbers, a multiple of 4. The items of one group each keep their part of s in `sum`, unless that
// is null.
static inline void residual_norm(__global const float* x, __global const float* branch,
                                 __global const float* branch_gain, __global const float* gain,
                                 float eps, uint flags, __global float* sum, __local float* h,
                                 __local float* scratch) {
  const uint item = get_local_id(0);
  const float4 zero = (float4)(0.0f);
  float4 rest[NORM_STEPS];
  float4 added[NORM_STEPS];
  float4 squares = zero;
  GEMMA_UNROLLED
  for (uint u = 0; u < NORM_STEPS; ++u) {
    const uint i = u * WG + item;
    const bool inside = i < WIDTH / 4;
    rest[u] = inside ? ((__global const float4*)x)[i] : zero;
    added[u] = inside && flags != 0 ? ((__global const float4*)branch)[i] : zero;
    squares = fma(added[u], added[u], squares);
  }
  const float branch_squares =
      group_sum(squares.x + squares.y + squares.z + squares.w, scratch);
  const float factor = 1.0f / sqrt(branch_squares / WIDTH + eps);
  squares = zero;
  GEMMA_UNROLLED
  for (uint u = 0; u < NORM_STEPS; ++u) {
    const uint i = u * WG + item;
    if (i >= WIDTH / 4) continue;
    if (flags & NORM_BRANCH) added[u] *= factor * ((__global const float4*)branch_gain)[i];
    rest[u] += added[u];
    if (sum) ((__global float4*)sum)[i] = rest[u];
    squares = fma(rest[u], rest[u], squares);
  }
  const float all_squares = group_sum(squares.x + squares.y + squares.z + squares.w, scratch);
  const float scale = 1.0f / sqrt(all_squares / WIDTH + eps);
  GEMMA_UNROLLED
  for (uint u = 0; u < NORM_STEPS; ++u) {
    const uint i = u * WG + item;
    if (i < WIDTH / 4) {
      ((__local float4*)h)[i] = rest[u] * (scale * ((__global const float4*)gain)[i]);
    }
  }
  barrier(CLK_LOCAL_MEM_FENCE);
}
)CLC";

}  // namespace opencl
GEMMA_NAMESPACE_END

#endif  // GEMMA_OPENCL_KERNELS_COMMON_HPP_
