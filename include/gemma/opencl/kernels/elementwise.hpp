// The small steps of the model: each row of activations by itself.
#ifndef GEMMA_OPENCL_KERNELS_ELEMENTWISE_HPP_
#define GEMMA_OPENCL_KERNELS_ELEMENTWISE_HPP_

#include "gemma/config.hpp"

GEMMA_NAMESPACE_BEGIN
namespace opencl {

/// Kernels over rows have one group per row, the others one item per number.
inline constexpr const char* kElementwiseSource = R"CLC(
GEMMA_KERNEL add_and_norm(__global float* x, __global const float* branch,
                          __global const float* branch_gain, __global const float* gain, float eps,
                          uint flags, __global float* out, __local float4* columns) {
  __local float scratch[WG];
  __local float* h = (__local float*)columns;
  const size_t row = (size_t)get_group_id(0) * WIDTH;
  residual_norm(x + row, branch + row, branch_gain, gain, eps, flags, x + row, h, scratch);
  for (uint i = get_local_id(0); i < WIDTH; i += WG) out[row + i] = h[i];
}

// Rows from `first` on of x, to rows from 0 on of `out`.
GEMMA_KERNEL rms_norm(__global const float* x, uint first, __global const float* gain, uint n,
                      float eps, __global float* out) {
  __local float scratch[WG];
  __global const float* in = x + (size_t)(first + get_group_id(0)) * n;
  out += (size_t)get_group_id(0) * n;
  float squares = 0.0f;
  for (uint i = get_local_id(0); i < n; i += WG) squares = fma(in[i], in[i], squares);
  const float factor = 1.0f / sqrt(group_sum(squares, scratch) / n + eps);
  for (uint i = get_local_id(0); i < n; i += WG) out[i] = in[i] * factor * (gain ? gain[i] : 1.0f);
}

// Row i of `out` is row places[i] of x.
GEMMA_KERNEL gather(__global const float* x, __global const int* places, uint n,
                    __global float* out) {
  const size_t row = get_group_id(0);
  __global const float* in = x + (size_t)places[row] * n;
  for (uint i = get_local_id(0); i < n; i += WG) out[row * n + i] = in[i];
}

// Row places[i] of `out` gets row i of x times factors[i] added; no place comes twice.
GEMMA_KERNEL scatter_add(__global const float* x, __global const int* places,
                         __global const float* factors, uint n, __global float* out) {
  const size_t row = get_group_id(0);
  __global float* to = out + (size_t)places[row] * n;
  for (uint i = get_local_id(0); i < n; i += WG) to[i] = fma(factors[row], x[row * n + i], to[i]);
}

GEMMA_KERNEL add(__global const float* y, uint n, __global float* x) {
  const uint i = get_global_id(0);
  if (i < n) x[i] += y[i];
}

GEMMA_KERNEL scale(__global float* x, uint n, float factor) {
  const uint i = get_global_id(0);
  if (i < n) x[i] *= factor;
}

GEMMA_KERNEL copy(__global const float* x, uint n, __global float* out) {
  const uint i = get_global_id(0);
  if (i < n) out[i] = x[i];
}

GEMMA_KERNEL softcap(__global float* x, uint n, float cap) {
  const uint i = get_global_id(0);
  if (i < n) x[i] = softcapped(x[i], cap);
}

// gate = gelu(gate) · the numbers from `offset` on of the same row of `up`.
GEMMA_KERNEL gelu_mul(__global float* gate, uint n, uint width, __global const float* up,
                      uint stride, uint offset) {
  const uint i = get_global_id(0);
  if (i < n) gate[i] = gelu(gate[i]) * up[(size_t)(i / width) * stride + offset + i % width];
}

GEMMA_KERNEL multiply(__global float* x, uint n, uint width, __global const float* factors) {
  const uint i = get_global_id(0);
  if (i < n) x[i] *= factors[i % width];
}

// Keeps of each row what exceeds mean + sparsity · standard deviation, less that threshold.
GEMMA_KERNEL sparsify(__global float* x, uint n, float sparsity) {
  __local float scratch[WG];
  __global float* row = x + (size_t)get_group_id(0) * n;
  float sum = 0.0f;
  for (uint i = get_local_id(0); i < n; i += WG) sum += row[i];
  const float mean = group_sum(sum, scratch) / n;
  float squares = 0.0f;
  for (uint i = get_local_id(0); i < n; i += WG) {
    squares = fma(row[i] - mean, row[i] - mean, squares);
  }
  const float threshold = mean + sparsity * sqrt(group_sum(squares, scratch) / n);
  for (uint i = get_local_id(0); i < n; i += WG) row[i] = fmax(row[i] - threshold, 0.0f);
}

// y = y · rms(x) / rms(y), row by row.
GEMMA_KERNEL match_length(__global const float* x, __global float* y, uint n) {
  __local float scratch[WG];
  const size_t row = (size_t)get_group_id(0) * n;
  float want = 0.0f;
  float have = 0.0f;
  for (uint i = get_local_id(0); i < n; i += WG) {
    want = fma(x[row + i], x[row + i], want);
    have = fma(y[row + i], y[row + i], have);
  }
  want = sqrt(group_sum(want, scratch) / n);
  have = sqrt(fmax(group_sum(have, scratch) / n, 1e-5f));
  for (uint i = get_local_id(0); i < n; i += WG) y[row + i] *= want / have;
}

// Per-layer embeddings: ple = (norm(ple · shrink) + table) / sqrt(2); a group per layer and token.
GEMMA_KERNEL mix_per_layer(__global float* ple, __global const float* table,
                           __global const float* gain, uint width, float shrink, float eps) {
  __local float scratch[WG];
  const size_t row = (size_t)get_group_id(0) * width;
  float squares = 0.0f;
  for (uint i = get_local_id(0); i < width; i += WG) {
    const float value = ple[row + i] * shrink;
    squares = fma(value, value, squares);
  }
  const float factor = 1.0f / sqrt(group_sum(squares, scratch) / width + eps);
  for (uint i = get_local_id(0); i < width; i += WG) {
    const float value = ple[row + i] * shrink * factor * gain[i] + table[row + i];
    ple[row + i] = value * 0.707106781f;
  }
}

// out = out + Σ_j mixing[token, j] · stream_j: one stream of AltUp's prediction at a time.
GEMMA_KERNEL add_scaled(__global const float* x, uint n, uint width, __global const float* factors,
                        uint stride, uint offset, __global float* out) {
  const uint i = get_global_id(0);
  if (i < n) out[i] = fma(factors[(size_t)(i / width) * stride + offset], x[i], out[i]);
}

// out = predicted + (1 + mixing[token, j]) · (y − x): AltUp's correction of stream j.
GEMMA_KERNEL altup_correct(__global const float* predicted, __global const float* y,
                           __global const float* x, uint n, uint width,
                           __global const float* mixing, uint stride, uint offset,
                           __global float* out) {
  const uint i = get_global_id(0);
  if (i >= n) return;
  const float factor = 1.0f + mixing[(size_t)(i / width) * stride + offset];
  out[i] = fma(factor, y[i] - x[i], predicted[i]);
}
)CLC";

}  // namespace opencl
GEMMA_NAMESPACE_END

#endif  // GEMMA_OPENCL_KERNELS_ELEMENTWISE_HPP_
