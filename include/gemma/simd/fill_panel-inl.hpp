// Filling a panel with weights of any quantised format, and what a product by panels has to know of it.
#if defined(GEMMA_SIMD_FILL_PANEL_INL_HPP_) == defined(HWY_TARGET_TOGGLE)
#ifdef GEMMA_SIMD_FILL_PANEL_INL_HPP_
#undef GEMMA_SIMD_FILL_PANEL_INL_HPP_
#else
#define GEMMA_SIMD_FILL_PANEL_INL_HPP_
#endif

#include <cstring>

#include "gemma/simd/column_panel-inl.hpp"
#include "gemma/simd/four_panel-inl.hpp"

HWY_BEFORE_NAMESPACE();
GEMMA_NAMESPACE_BEGIN
namespace simd {
namespace HWY_NAMESPACE {

/// The weights to ask for at column `offset` (in bytes) of the panel at `row`: the next rows, in the order in
/// which they lie in memory, since steps from row to row are too long for the hardware to follow.
HWY_INLINE const std::uint8_t* next_panel(const WeightMatrix& w, std::size_t row, std::size_t offset) {
  return w.row(row + kPanelRows) + kPanelRows * offset;
}

/// A span of each of the panel's rows, `stride` bytes apart, from its column `col` on.
template <class Format>
HWY_INLINE void fill_span(const std::uint8_t* rows, std::size_t stride, std::size_t col, const Panel& panel) {
  for (std::size_t first = 0; first < kPanelRows; first += kLanes, rows += kLanes * stride) {
#if HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX3_DL
    if constexpr (!kIsSlow<Format>) {
      fill_by_fours<Format>(rows, stride, col, first, panel);
      continue;
    }
#endif
    fill_by_columns<Format>(rows, stride, col, first, panel);
  }
}

/// Unpacks rows [row, row + rows) × columns [col, col + cols). Lanes beyond `rows`, and columns beyond `cols` of the
/// last span, are zero.
template <class Format>
inline HWY_NOINLINE void fill(const WeightMatrix& w, std::size_t row, std::size_t rows, std::size_t col,
                              std::size_t cols, Panel& panel) {
  constexpr std::size_t kSpan = Codes<Format>::kSpan;
  using Traits = PanelTraitsOf<Format>;
  static_assert(Traits::kHasMin ? Codes<Format>::kOffset == 0
                                : Traits::kCentre == 0 || Traits::kCentre == Codes<Format>::kOffset,
                "see start_of_sum()");
  std::uint8_t padded[kPanelRows][kSpanBytes<Format>];
  panel.offset = Codes<Format>::kOffset;
  for (std::size_t c = 0; c < cols; c += kSpan) {
    const std::size_t offset = (col + c) / Format::kBlockElements * Format::kBlockBytes;
    const std::uint8_t* spans = w.row(row) + offset;
    std::size_t stride = w.row_bytes;
    if constexpr (!kPrefetchesLate) {
      const std::uint8_t* next = next_panel(w, row, offset);
      for (std::size_t line = 0; line < kPanelRows * kSpanBytes<Format>; line += 64) prefetch_far(next + line);
    }
    if (HWY_UNLIKELY(rows < kPanelRows || cols - c < kSpan)) {
      const std::size_t there = HWY_MIN(kSpan, cols - c) / Format::kBlockElements * Format::kBlockBytes;
      std::memset(padded, 0, sizeof padded);
      for (std::size_t r = 0; r < rows; ++r) std::memcpy(padded[r], spans + r * stride, there);
      spans = padded[0];
      stride = kSpanBytes<Format>;
    }
    fill_span<Format>(spans, stride, c, panel);
  }
}

/// What a product by panels has to know of a format, so that one function serves all.
struct PanelFormat {
  std::size_t block_elements, block_bytes;
  void (*fill)(const WeightMatrix& w, std::size_t row, std::size_t rows, std::size_t col, std::size_t cols,
               Panel& panel);

  /// Of a row, up to a column that begins a block.
  HWY_INLINE std::size_t bytes(std::size_t cols) const { return cols / block_elements * block_bytes; }
};

template <class Format>
constexpr PanelFormat panel_format() {
  return {Format::kBlockElements, Format::kBlockBytes, &fill<Format>};
}

}  // namespace HWY_NAMESPACE
}  // namespace simd
GEMMA_NAMESPACE_END
HWY_AFTER_NAMESPACE();

#endif  // GEMMA_SIMD_FILL_PANEL_INL_HPP_
