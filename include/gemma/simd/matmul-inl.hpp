// Many tokens: a panel of weight rows is unpacked once and then meets all tokens. In the panel rows
// lie in lanes, two neighbouring columns of each side by side, so that one instruction multiplies
// and adds pairs, sums never cross lanes, and a scale is applied once per group of columns.
#if defined(GEMMA_SIMD_MATMUL_INL_HPP_) == defined(HWY_TARGET_TOGGLE)
#ifdef GEMMA_SIMD_MATMUL_INL_HPP_
#undef GEMMA_SIMD_MATMUL_INL_HPP_
#else
#define GEMMA_SIMD_MATMUL_INL_HPP_
#endif

#include "gemma/simd/kernels.hpp"
#include "gemma/simd/unpack-inl.hpp"
#include "gemma/simd/vector-inl.hpp"

HWY_BEFORE_NAMESPACE();
GEMMA_NAMESPACE_BEGIN
namespace simd {
namespace HWY_NAMESPACE {

inline constexpr std::size_t kPanelRows = 2 * kLanes;
inline constexpr std::size_t kPanelCols = 1024;
/// Tokens per register tile: with two vectors of rows, 12 sums stay in registers.
inline constexpr std::size_t kTileTokens = 6;

/// kPanelRows × kPanelCols weights as integers, with scales (and minimums) by group.
struct Panel {
  std::int16_t* pairs;  ///< [cols / 2, kPanelRows, 2]
  float* scale;         ///< [cols / kGroup, kPanelRows]
  float* minimum;       ///< likewise

  explicit Panel(std::uint8_t* scratch) {
    pairs = reinterpret_cast<std::int16_t*>(scratch);
    scale = reinterpret_cast<float*>(pairs + kPanelRows * kPanelCols);
    minimum = scale + kPanelRows * kPanelCols / kSumGroup;
    static_assert(kPanelRows * kPanelCols * (2 + 2 * sizeof(float) / kSumGroup) <= kScratchBytes,
                  "a panel must fit into the scratch");
  }
};

/// One block of one row into lane r of the panel, from column `col` of the panel on.
template <class Format>
HWY_INLINE void fill_block(const std::uint8_t* bytes, std::size_t r, std::size_t col,
                           const Panel& panel) {
  const DI16 d;
  const BlockReader<Format> block(bytes);
  for (std::size_t g = 0; g < Format::kBlockElements / 32; ++g) {
    VI16 w[kParts];
    block.quants(g, w);
    alignas(64) std::int16_t q[32];
    for (std::size_t i = 0; i < kParts; ++i) hn::Store(w[i], d, q + i * (32 / kParts));
    std::int16_t* pairs = panel.pairs + ((col + 32 * g) / 2 * kPanelRows + r) * 2;
    for (std::size_t i = 0; i < 32; i += 2) {
      std::memcpy(pairs + i * kPanelRows, q + i, 2 * sizeof(std::int16_t));
    }
  }
  for (std::size_t g = 0; g < Format::kBlockElements / Format::kGroup; ++g) {
    const std::size_t at = (col / Format::kGroup + g) * kPanelRows + r;
    panel.scale[at] = block.scale(g);
    if constexpr (Format::kHasMin) panel.minimum[at] = block.minimum(g);
  }
}

/// Unpacks rows [row, row + rows) × columns [col, col + cols), block by block, so that what is
/// written stays in the nearest cache. Lanes beyond `rows` hold whatever they held: their sums are
/// dropped.
template <class Format>
HWY_INLINE void fill_panel(const WeightMatrix& w, std::size_t row, std::size_t rows,
                           std::size_t col, std::size_t cols, const Panel& panel) {
  for (std::size_t c = 0; c < cols; c += Format::kBlockElements) {
    const std::size_t offset = (col + c) / Format::kBlockElements * Format::kBlockBytes;
    for (std::size_t r = 0; r < rows; ++r) {
      fill_block<Format>(w.row(row + r) + offset, r, c, panel);
    }
  }
}

/// The activations of one tile, from the panel's first column on.
struct TileInput {
  const std::int16_t* q[kTileTokens];
  const float* scale[kTileTokens];
  const float* sum[kTileTokens];
};

/// sums[t][row] += Σ over the panel's columns.
template <class Format>
HWY_INLINE void multiply_tile(const Panel& panel, std::size_t cols, const TileInput& x,
                              float (*sums)[kPanelRows]) {
  constexpr std::size_t kGroup = Format::kGroup;
  const DF d;
  const DI32 di;
  const DI16 d16;
  for (std::size_t g = 0; g < cols / kGroup; ++g) {
    VI32 low[kTileTokens], high[kTileTokens];
    for (std::size_t t = 0; t < kTileTokens; ++t) low[t] = high[t] = hn::Zero(di);
    VI32 unused = hn::Zero(di);
    for (std::size_t c = g * kGroup; c < (g + 1) * kGroup; c += 2) {
      const std::int16_t* pairs = panel.pairs + c * kPanelRows;
      const VI16 w_low = hn::LoadU(d16, pairs);
      const VI16 w_high = hn::LoadU(d16, pairs + kPanelRows);
      for (std::size_t t = 0; t < kTileTokens; ++t) {
        std::int32_t pair;
        std::memcpy(&pair, x.q[t] + c, sizeof pair);
        const VI16 both = hn::BitCast(d16, hn::Set(di, pair));
        low[t] = hn::ReorderWidenMulAccumulate(di, w_low, both, low[t], unused);
        high[t] = hn::ReorderWidenMulAccumulate(di, w_high, both, high[t], unused);
      }
    }
    const VF scale_low = hn::LoadU(d, panel.scale + g * kPanelRows);
    const VF scale_high = hn::LoadU(d, panel.scale + g * kPanelRows + kLanes);
    for (std::size_t t = 0; t < kTileTokens; ++t) {
      const VF x_scale = hn::Set(d, x.scale[t][g * kGroup / kActivationGroup]);
      VF sum_low = hn::LoadU(d, sums[t]);
      VF sum_high = hn::LoadU(d, sums[t] + kLanes);
      sum_low = hn::MulAdd(hn::ConvertTo(d, low[t]), hn::Mul(scale_low, x_scale), sum_low);
      sum_high = hn::MulAdd(hn::ConvertTo(d, high[t]), hn::Mul(scale_high, x_scale), sum_high);
      if constexpr (Format::kHasMin) {
        const float* s = x.sum[t] + g * kGroup / kSumGroup;
        const VF x_sum = hn::Set(d, kGroup == kSumGroup ? s[0] : s[0] + s[1]);
        const float* minimum = panel.minimum + g * kPanelRows;
        sum_low = hn::NegMulAdd(hn::LoadU(d, minimum), x_sum, sum_low);
        sum_high = hn::NegMulAdd(hn::LoadU(d, minimum + kLanes), x_sum, sum_high);
      }
      hn::StoreU(sum_low, d, sums[t]);
      hn::StoreU(sum_high, d, sums[t] + kLanes);
    }
  }
}

template <class Format>
inline HWY_NOINLINE void quantized_matmul(const MatmulArgs& a, std::size_t row_begin,
                                   std::size_t row_end, std::uint8_t* scratch) {
  const Panel panel(scratch);
  const std::size_t all_cols = a.weights.cols;
  for (std::size_t row = row_begin; row < row_end; row += kPanelRows) {
    const std::size_t rows = HWY_MIN(kPanelRows, row_end - row);
    for (std::size_t col = 0; col < all_cols; col += kPanelCols) {
      const std::size_t cols = HWY_MIN(kPanelCols, all_cols - col);
      fill_panel<Format>(a.weights, row, rows, col, cols, panel);
      for (std::size_t token = 0; token < a.x.tokens; token += kTileTokens) {
        const std::size_t tokens = HWY_MIN(kTileTokens, a.x.tokens - token);
        TileInput x;
        alignas(64) float sums[kTileTokens][kPanelRows] = {};
        for (std::size_t t = 0; t < kTileTokens; ++t) {
          // A last tile that is not full repeats its last token.
          const std::size_t own = token + HWY_MIN(t, tokens - 1);
          x.q[t] = a.x.q + own * all_cols + col;
          x.scale[t] = a.x.scale + (own * all_cols + col) / kActivationGroup;
          x.sum[t] = a.x.sum + (own * all_cols + col) / kSumGroup;
          if (col > 0) std::memcpy(sums[t], a.out + own * a.out_stride + row, rows * 4);
        }
        multiply_tile<Format>(panel, cols, x, sums);
        for (std::size_t t = 0; t < tokens; ++t) {
          std::memcpy(a.out + (token + t) * a.out_stride + row, sums[t], rows * 4);
        }
      }
    }
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace simd
GEMMA_NAMESPACE_END
HWY_AFTER_NAMESPACE();

#endif  // GEMMA_SIMD_MATMUL_INL_HPP_
