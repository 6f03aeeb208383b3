// The kernels of one SIMD target as a table. Re-included once per target with dynamic dispatch.
#if defined(GEMMA_SIMD_TABLE_INL_HPP_) == defined(HWY_TARGET_TOGGLE)
#ifdef GEMMA_SIMD_TABLE_INL_HPP_
#undef GEMMA_SIMD_TABLE_INL_HPP_
#else
#define GEMMA_SIMD_TABLE_INL_HPP_
#endif

#include <vector>

#include "gemma/simd/activations-inl.hpp"
#include "gemma/simd/amx-inl.hpp"
#include "gemma/simd/amx_attention-inl.hpp"
#include "gemma/simd/attention-inl.hpp"
#include "gemma/simd/elementwise-inl.hpp"
#include "gemma/simd/float_matmul-inl.hpp"
#include "gemma/simd/low_rank-inl.hpp"
#include "gemma/simd/matmul-inl.hpp"
#include "gemma/simd/matvec-inl.hpp"
#include "gemma/simd/probe-inl.hpp"
#include "gemma/simd/sketch-inl.hpp"

HWY_BEFORE_NAMESPACE();
GEMMA_NAMESPACE_BEGIN
namespace simd {
namespace HWY_NAMESPACE {

/// Σ_c x[token, c], of the quantised activations.
inline float sum_of_activations(const Activations& x, std::size_t token) {
  const std::size_t groups = x.cols / kActivationGroup;
  float sum = 0.0f;
  for (std::size_t g = token * groups; g < (token + 1) * groups; ++g) {
    sum += x.form == ActivationForm::coarse ? x.coarse_rows.groups[g].sum : x.fine_rows.sum[g];
  }
  return sum;
}

/// From products with the integers of rows to products with what they stand for.
inline HWY_NOINLINE void apply_row_scales(const MatmulArgs& a, std::size_t row_begin,
                                          std::size_t row_end) {
  const float* scale = a.weights.row_scale;
  const float* zero = a.weights.row_zero;
  for (std::size_t t = 0; t < a.x.tokens; ++t) {
    float* out = a.out + t * a.out_stride;
    if (zero != nullptr && a.x.form != ActivationForm::bf16) {  // there it is part of the weights
      const float sum = sum_of_activations(a.x, t);
      for (std::size_t r = row_begin; r < row_end; ++r) out[r] -= zero[r] * sum;
    }
    for (std::size_t r = row_begin; r < row_end; ++r) out[r] *= scale[r];
  }
}

/// quantized_matvec() of a format.
using Matvec = void (*)(const MatmulArgs& a, std::size_t row_begin, std::size_t row_end);

/// A pointer, since Binaryen would make one function of those of all formats, for which V8 lacks registers.
inline HWY_NOINLINE Matvec matvec_of(DType type) {
  return quant::visit(type, [](auto format) -> Matvec {
    using Format = decltype(format);
    if constexpr (Format::kBlockElements == 1) return nullptr;
    else return &quantized_matvec<Format>;
  });
}

inline HWY_NOINLINE void matmul(const MatmulArgs& a, std::size_t row_begin, std::size_t row_end,
                         std::uint8_t* scratch) {
  quant::visit(a.weights.type, [&](auto format) {
    using Format = decltype(format);
    if constexpr (Format::kBlockElements == 1) {
      float_matmul<Format>(a, row_begin, row_end, scratch);
    } else if (a.x.form == ActivationForm::fine) {
      matvec_of(a.weights.type)(a, row_begin, row_end);
#if GEMMA_SIMD_AMX
    } else if (a.x.form == ActivationForm::bf16) {
      wide_matmul(panel_format<Format>(), &widen_panel<PanelTraitsOf<Format>, Codes<Format>::kBits == 8>, a, row_begin,
                  row_end, scratch);
#endif
    } else {
      quantized_matmul(panel_format<Format>(), &multiply_panel<PanelTraitsOf<Format>>, a, row_begin, row_end, scratch);
    }
  });
  if (a.weights.row_scale != nullptr) apply_row_scales(a, row_begin, row_end);
}

/// Each row is asked for while those before it are computed.
inline void matmul_rows(const MatmulArgs& a, const std::uint32_t* rows, std::size_t count,
                        std::uint8_t* scratch) {
  const std::size_t bytes = a.weights.row_bytes;
  const std::size_t ahead = 4096 / (bytes + 1) + 1;
  for (std::size_t i = 0; i < count + ahead; ++i) {
    if (i < count) {
      const std::uint8_t* row = a.weights.row(rows[i]);
      for (std::size_t k = 0; k < bytes; k += 64) hwy::Prefetch(row + k);
    }
    if (i >= ahead) matmul(a, rows[i - ahead], rows[i - ahead] + 1, scratch);
  }
}

inline Kernels make_table() {
  Kernels table{};
  table.target = GEMMA_SIMD_AVX_VNNI ? "AVX2_VNNI" : hwy::TargetName(HWY_TARGET);
  table.quantize_coarse = &quantize_coarse;
  table.quantize_fine = &quantize_fine;
  table.matmul = &matmul;
  table.matmul_rows = &matmul_rows;
  table.add_low_rank = &add_low_rank;
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
  table.multiply_most = &multiply_bytes;
  return table;
}

/// The tables of this target, the best first.
inline std::vector<Kernels> make_tables() {
  std::vector<Kernels> tables = {make_table()};
#if GEMMA_SIMD_AMX
  if (has_amx()) {
    Kernels amx = tables.front();
    amx.target = "AMX";
    amx.bf16_tokens = kAmxTokens;
    amx.round_to_bf16 = &round_to_bf16;
    amx.attention = &attention_by_tiles;
    amx.multiply_most = &multiply_tiles;
    tables.insert(tables.begin(), amx);
  }
#endif
  return tables;
}

}  // namespace HWY_NAMESPACE
}  // namespace simd
GEMMA_NAMESPACE_END
HWY_AFTER_NAMESPACE();

#endif  // GEMMA_SIMD_TABLE_INL_HPP_
