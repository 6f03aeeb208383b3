// The kernels of one SIMD target as a table. Re-included once per target with dynamic dispatch.
#if defined(GEMMA_SIMD_TABLE_INL_HPP_) == defined(HWY_TARGET_TOGGLE)
#ifdef GEMMA_SIMD_TABLE_INL_HPP_
#undef GEMMA_SIMD_TABLE_INL_HPP_
#else
#define GEMMA_SIMD_TABLE_INL_HPP_
#endif

#include "gemma/simd/activations-inl.hpp"
#include "gemma/simd/attention-inl.hpp"
#include "gemma/simd/elementwise-inl.hpp"
#include "gemma/simd/float_matmul-inl.hpp"
#include "gemma/simd/matmul-inl.hpp"
#include "gemma/simd/matvec-inl.hpp"
#include "gemma/simd/packed-inl.hpp"
#include "gemma/simd/probe-inl.hpp"
#include "gemma/simd/sketch-inl.hpp"

HWY_BEFORE_NAMESPACE();
GEMMA_NAMESPACE_BEGIN
namespace simd {
namespace HWY_NAMESPACE {

inline HWY_NOINLINE void matmul(const MatmulArgs& a, std::size_t row_begin, std::size_t row_end,
                         std::uint8_t* scratch) {
  quant::visit(a.weights.type, [&](auto format) {
    using Format = decltype(format);
    if constexpr (Format::kBlockElements == 1) {
      float_matmul<Format>(a, row_begin, row_end, scratch);
    } else if (a.x.coarse) {
      quantized_matmul<Format>(a, row_begin, row_end, scratch);
    } else {
      if constexpr (kPacked<Format>) {
        if (a.weights.packed != nullptr) {
          packed_matvec<Format>(a, row_begin, row_end);
          return;
        }
      }
      quantized_matvec<Format>(a, row_begin, row_end);
    }
  });
}

inline Kernels make_table() {
  Kernels table{};
  table.target = hwy::TargetName(HWY_TARGET);
  table.uses_packed = kUsesPacked;
  table.quantize_coarse = &quantize_coarse;
  table.quantize_fine = &quantize_fine;
  table.matmul = &matmul;
  table.make_sketch = &make_sketch;
  table.multiply_sketch = &multiply_sketch;
  table.attention = &attention;
  table.rms_norm = &rms_norm;
  table.add = &add;
  table.scale = &scale;
  table.gelu_mul = &gelu_mul;
  table.rope = &rope;
  table.softcap = &softcap;
  table.store_kv = &store_kv;
  table.argmax = &argmax;
  table.multiply_bytes = &multiply_bytes;
  return table;
}

}  // namespace HWY_NAMESPACE
}  // namespace simd
GEMMA_NAMESPACE_END
HWY_AFTER_NAMESPACE();

#endif  // GEMMA_SIMD_TABLE_INL_HPP_
