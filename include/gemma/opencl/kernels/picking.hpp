// The largest of many logits, so that few bytes leave the device.
#ifndef GEMMA_OPENCL_KERNELS_PICKING_HPP_
#define GEMMA_OPENCL_KERNELS_PICKING_HPP_

#include "gemma/config.hpp"

GEMMA_NAMESPACE_BEGIN
namespace opencl {

/// The logits are shared among all work-items, whatever their number.
inline constexpr const char* kPickingSource = R"CLC(
// The largest number of each group's share of x, and where it is; the first of equals. Any NaN wins.
GEMMA_KERNEL largest(__global const float* x, uint n, __global uint* out) {
  __local float scratch[WG];
  __local int where[WG];
  const uint item = get_local_id(0);
  float best = -INFINITY;
  int place = -1;
  bool bad = false;
  for (uint i = get_global_id(0); i < n; i += get_global_size(0)) {
    const float value = x[i];
    bad = bad || isnan(value);
    if (value > best) {
      best = value;
      place = (int)i;
    }
  }
  scratch[item] = bad ? NAN : best;
  where[item] = place;
  for (uint step = WG / 2; step > 0; step /= 2) {
    barrier(CLK_LOCAL_MEM_FENCE);
    if (item < step && !isnan(scratch[item])) {
      const float other = scratch[item + step];
      const int other_place = where[item + step];
      const bool earlier = other_place >= 0 && other_place < where[item];
      if (isnan(other) || other > scratch[item] || (other == scratch[item] && earlier)) {
        scratch[item] = other;
        where[item] = other_place;
      }
    }
  }
  if (item == 0) {
    out[2 * get_group_id(0)] = as_uint(scratch[0]);
    out[2 * get_group_id(0) + 1] = (uint)where[0];
  }
}

// The best of the n pairs that largest() found is the next token: ids[0], and entry `step` of `drawn`,
// with its logit. A place that is none, of logits which are no numbers, becomes 0.
GEMMA_KERNEL choose_token(__global const uint* pairs, uint n, uint vocab, uint step,
                          __global int* ids, __global uint* drawn) {
  __local uint copy[2 * 64];
  for (uint i = get_local_id(0); i < 2 * n; i += WG) copy[i] = pairs[i];
  barrier(CLK_LOCAL_MEM_FENCE);
  if (get_local_id(0) != 0) return;
  uint best = 0;
  for (uint i = 1; i < n && !isnan(as_float(copy[2 * best])); ++i) {
    const float value = as_float(copy[2 * i]);
    const float most = as_float(copy[2 * best]);
    const bool earlier = value == most && copy[2 * i + 1] < copy[2 * best + 1];
    if (isnan(value) || value > most || earlier) best = i;
  }
  const uint place = copy[2 * best + 1];
  ids[0] = (int)(place < vocab ? place : 0);
  drawn[2 * step] = copy[2 * best];
  drawn[2 * step + 1] = place;
}

// Numbers in their order as integers, NaN above all.
uint order_of(float x) {
  const uint bits = as_uint(x);
  return isnan(x) ? 0xffffffffu : (bits & 0x80000000u) ? ~bits : bits | 0x80000000u;
}

#define BINS 4096u
#define BIN_SHIFT 20

// How many numbers there are of each size: out[BINS] was zero.
GEMMA_KERNEL count_sizes(__global const float* x, uint n, __global uint* out) {
  __local uint counts[BINS];
  for (uint b = get_local_id(0); b < BINS; b += WG) counts[b] = 0;
  barrier(CLK_LOCAL_MEM_FENCE);
  for (uint i = get_global_id(0); i < n; i += get_global_size(0)) {
    atomic_inc(&counts[order_of(x[i]) >> BIN_SHIFT]);
  }
  barrier(CLK_LOCAL_MEM_FENCE);
  for (uint b = get_local_id(0); b < BINS; b += WG) {
    if (counts[b] > 0) atomic_add(&out[b], counts[b]);
  }
}

// After the counts of count_sizes() goes how many numbers are as large as the `top` largest, or in
// the bin of the smallest of these, and then up to `most` of them: where each is, and itself. Clears
// the counts of `next`.
GEMMA_KERNEL collect_top(__global const float* x, uint n, uint top, uint most,
                         __global uint* list, __global uint* next) {
  __local uint sums[WG];
  __local uint lowest;
  const uint item = get_local_id(0);
  const uint share = BINS / WG;
  uint sum = 0;
  for (uint b = 0; b < share; ++b) sum += list[item * share + b];
  sums[item] = sum;
  barrier(CLK_LOCAL_MEM_FENCE);
  if (item == 0) {
    uint above = 0;
    uint part = WG;
    while (part > 0 && above + sums[part - 1] < top) above += sums[--part];
    uint bin = part * share;
    while (bin > 0 && above < top) above += list[--bin];
    lowest = bin;
  }
  barrier(CLK_LOCAL_MEM_FENCE);
  for (uint i = get_global_id(0); i < n; i += get_global_size(0)) {
    if (order_of(x[i]) >> BIN_SHIFT < lowest) continue;
    const uint place = atomic_inc(&list[BINS]);
    if (place >= most) continue;
    list[BINS + 1 + 2 * place] = i;
    list[BINS + 2 + 2 * place] = as_uint(x[i]);
  }
  for (uint b = get_global_id(0); b <= BINS; b += get_global_size(0)) next[b] = 0;
}
)CLC";

}  // namespace opencl
GEMMA_NAMESPACE_END

#endif  // GEMMA_OPENCL_KERNELS_PICKING_HPP_
