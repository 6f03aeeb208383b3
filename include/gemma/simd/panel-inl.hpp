// A panel: some rows of weights as codes, laid out so that many tokens can meet them. Rows lie in
// lanes, four neighbouring columns of each side by side, so that one instruction multiplies and adds
// quads, sums never cross lanes, and a scale is applied once per group of columns.
#if defined(GEMMA_SIMD_PANEL_INL_HPP_) == defined(HWY_TARGET_TOGGLE)
#ifdef GEMMA_SIMD_PANEL_INL_HPP_
#undef GEMMA_SIMD_PANEL_INL_HPP_
#else
#define GEMMA_SIMD_PANEL_INL_HPP_
#endif

#include "gemma/simd/codes-inl.hpp"
#include "gemma/simd/kernels.hpp"
#include "gemma/simd/vector-inl.hpp"

HWY_BEFORE_NAMESPACE();
GEMMA_NAMESPACE_BEGIN
namespace simd {
namespace HWY_NAMESPACE {

inline constexpr std::size_t kPanelRows = 2 * kLanes;
/// Many, since each tile of tokens must begin and end; few enough that 24 KB of codes stay in the first cache.
inline constexpr std::size_t kPanelCols = 768;
/// Tokens whose sums are kept while they meet the panels of some rows; more take turns.
inline constexpr std::size_t kPanelTokens = 1024;
/// What there is behind the sums, for tiles that are not full.
inline constexpr std::size_t kSpareTokens = 8;

/// Whether the next weights are asked for while tokens meet a panel. With wide vectors a panel is filled too
/// quickly: loads would have to wait behind the prefetches.
inline constexpr bool kPrefetchesLate = kBytes == 64;

/// What multiplying a panel must know of its format.
template <std::size_t kGroupSize, bool kMinimums, int kCodeBits>
struct PanelTraits {
  static constexpr std::size_t kGroup = kGroupSize;
  static constexpr bool kHasMin = kMinimums;
  static constexpr int kBits = kCodeBits;
  static constexpr std::size_t kPlanes = kHasPairs && kCodeBits == 8 ? 2 : 1;
};

/// Where pairs of products are added in 16 bits, codes of 8 bits are taken as two nibbles, in two planes;
/// elsewhere the number of bits does not matter, and formats share their code.
template <class Format>
using PanelTraitsOf =
    PanelTraits<Format::kGroup, Format::kHasMin, kHasPairs ? Codes<Format>::kBits : 8>;

/// kPanelRows × kPanelCols weights, and the sums of their rows: beside each other, since in the results tokens
/// lie pages apart.
struct Panel {
  static constexpr std::size_t kPlaneBytes = kPanelRows * kPanelCols;
  static constexpr std::size_t kScales = kPanelRows * kPanelCols / 16;
  static constexpr std::size_t kBytesBeforeSums = 2 * kPlaneBytes + 2 * kScales * sizeof(float) + kPanelRows * 256;

  std::uint8_t* codes;  ///< [planes, cols / 4, kPanelRows, 4]
  float* scale;         ///< [cols / kGroup, kPanelRows]
  float* minimum;       ///< likewise
  std::uint8_t* rows;   ///< [kPanelRows, 256]: a span before it is transposed
  float* sums;          ///< [kPanelTokens + kSpareTokens, kPanelRows]
  int offset;           ///< the codes are so much too large

  explicit Panel(std::uint8_t* scratch) {
    codes = scratch;
    scale = reinterpret_cast<float*>(codes + 2 * kPlaneBytes);
    minimum = scale + kScales;
    rows = reinterpret_cast<std::uint8_t*>(minimum + kScales);
    sums = reinterpret_cast<float*>(rows + kPanelRows * 256);
    offset = 0;
    static_assert(kBytesBeforeSums + (kPanelTokens + kSpareTokens) * kPanelRows * sizeof(float) <= kScratchBytes,
                  "a panel must fit into the scratch");
  }
};

/// Blocks of 128 bits of as many vectors as a vector has blocks, transposed: out[b · stride] = block b of
/// v[0], v[from_stride], …
template <class V>
HWY_INLINE void transpose_blocks(const V* v, std::size_t from_stride, V* out, std::size_t stride) {
  const hn::DFromV<V> d;
  if constexpr (kLanes == 4) {
    out[0] = v[0];
  } else if constexpr (kLanes == 8) {
    out[0] = hn::ConcatLowerLower(d, v[from_stride], v[0]);
    out[stride] = hn::ConcatUpperUpper(d, v[from_stride], v[0]);
  } else {
    const V first01 = hn::ConcatLowerLower(d, v[from_stride], v[0]);
    const V last01 = hn::ConcatUpperUpper(d, v[from_stride], v[0]);
    const V first23 = hn::ConcatLowerLower(d, v[3 * from_stride], v[2 * from_stride]);
    const V last23 = hn::ConcatUpperUpper(d, v[3 * from_stride], v[2 * from_stride]);
    // Highway's own ways to choose blocks are two instructions each. (Masked, since GCC warns of the other.)
    out[0] = V{_mm512_maskz_shuffle_i32x4(0xFFFF, first01.raw, first23.raw, 0x88)};
    out[stride] = V{_mm512_maskz_shuffle_i32x4(0xFFFF, first01.raw, first23.raw, 0xDD)};
    out[2 * stride] = V{_mm512_maskz_shuffle_i32x4(0xFFFF, last01.raw, last23.raw, 0x88)};
    out[3 * stride] = V{_mm512_maskz_shuffle_i32x4(0xFFFF, last01.raw, last23.raw, 0xDD)};
  }
}

/// Transposes kLanes rows of kLanes words: out[i] = word i of every row.
HWY_INLINE void transpose_words(const VU32* rows, VU32* out) {
  const DU32 d;
  const hn::Repartition<std::uint64_t, DU32> pairs;
  const auto lower = [&](VU32 a, VU32 b) HWY_ATTR {
    return hn::BitCast(d, hn::InterleaveLower(pairs, hn::BitCast(pairs, a), hn::BitCast(pairs, b)));
  };
  const auto upper = [&](VU32 a, VU32 b) HWY_ATTR {
    return hn::BitCast(d, hn::InterleaveUpper(pairs, hn::BitCast(pairs, a), hn::BitCast(pairs, b)));
  };
  // Within each block of 128 bits: word j of four rows. Block b of fours[4 g + j] then holds word
  // 4 b + j of rows 4 g to 4 g + 3.
  VU32 fours[kLanes];
  unroll<kLanes / 4>([&](auto g) GEMMA_INLINE_LAMBDA {
    const VU32 r0 = rows[4 * g], r1 = rows[4 * g + 1], r2 = rows[4 * g + 2], r3 = rows[4 * g + 3];
    const VU32 low01 = hn::InterleaveLower(d, r0, r1), high01 = hn::InterleaveUpper(d, r0, r1);
    const VU32 low23 = hn::InterleaveLower(d, r2, r3), high23 = hn::InterleaveUpper(d, r2, r3);
    fours[4 * g] = lower(low01, low23);
    fours[4 * g + 1] = upper(low01, low23);
    fours[4 * g + 2] = lower(high01, high23);
    fours[4 * g + 3] = upper(high01, high23);
  });
  unroll<4>([&](auto j) GEMMA_INLINE_LAMBDA { transpose_blocks(fours + j, 4, out + j, 4); });
}

/// Writes a span of the panel's rows, from column `col` of the panel on, into the panel's codes.
template <class Traits>
HWY_INLINE void transpose_span(const Panel& panel, std::size_t col, std::size_t cols) {
  const DU8 d;
  for (std::size_t half = 0; half < 2; ++half) {
    for (std::size_t c = 0; c < cols; c += kBytes) {
      VU32 rows[kLanes], words[kLanes];
      const std::uint8_t* at_rows = panel.rows + half * kLanes * 256 + c;
      unroll<kLanes>([&](auto r) GEMMA_INLINE_LAMBDA {
        rows[r] = hn::BitCast(DU32(), hn::LoadU(d, at_rows + r * 256));
      });
      transpose_words(rows, words);
      std::uint8_t* out = panel.codes + ((col + c) / 4 * kPanelRows + half * kLanes) * 4;
      for (std::size_t i = 0; i < kLanes && c + 4 * i < cols; ++i) {
        const VU8 codes = hn::BitCast(d, words[i]);
        std::uint8_t* at = out + i * kPanelRows * 4;
        if constexpr (Traits::kPlanes == 1) {
          hn::StoreU(codes, d, at);
        } else {
          hn::StoreU(hn::And(codes, hn::Set(d, 15)), d, at);
          hn::StoreU(hn::ShiftRight<4>(codes), d, at + Panel::kPlaneBytes);
        }
      }
    }
  }
}

/// One span of one row: codes to panel.rows, scales to their lane of the panel. Groups from `groups`
/// on do not exist.
template <class Format>
HWY_INLINE void unpack_span(const std::uint8_t* bytes, std::size_t row, std::size_t col,
                            std::size_t groups, const Panel& panel) {
  constexpr std::size_t kSpan = Codes<Format>::kSpan;
  const Codes<Format> codes(bytes);
  unroll<kSpan / 64>([&](auto index) HWY_ATTR {
    constexpr std::size_t kChunk = decltype(index)::value;
    VU8 chunk[kVecs];
    codes.template get<kChunk>(chunk);
    std::uint8_t* at = panel.rows + row * 256 + 64 * kChunk;
    unroll<kVecs>([&](auto v) GEMMA_INLINE_LAMBDA {
      const DU8 d;
      if constexpr (Codes<Format>::kPaired) {
        const hn::Half<DU8> half;
        hn::StoreU(hn::LowerHalf(half, chunk[v]), half, at + 16 * v);
        hn::StoreU(hn::UpperHalf(half, chunk[v]), half, at + 32 + 16 * v);
      } else {
        hn::StoreU(chunk[v], d, at + v * kBytes);
      }
    });
  });
  float scale[kSpan / Format::kGroup], minimum[kSpan / Format::kGroup];
  codes.scales(scale, minimum);
  for (std::size_t g = 0; g < groups; ++g) {
    const std::size_t at = (col / Format::kGroup + g) * kPanelRows + row;
    panel.scale[at] = scale[g];
    if constexpr (Format::kHasMin) panel.minimum[at] = minimum[g];
  }
}

/// The weights to ask for at column `offset` (in bytes) of the panel at `row`: the next rows, in the order in
/// which they lie in memory, since steps from row to row are too long for the hardware to follow.
HWY_INLINE const std::uint8_t* next_panel(const WeightMatrix& w, std::size_t row, std::size_t offset) {
  return w.row(row + kPanelRows) + kPanelRows * offset;
}

/// Unpacks rows [row, row + rows) × columns [col, col + cols). Lanes beyond `rows` hold whatever
/// they held: their sums are dropped.
template <class Format>
HWY_INLINE void fill_panel(const WeightMatrix& w, std::size_t row, std::size_t rows,
                           std::size_t col, std::size_t cols, Panel& panel) {
  constexpr std::size_t kSpan = Codes<Format>::kSpan;
  std::uint8_t padded[kSpanBytes<Format> + 64] = {};
  panel.offset = Codes<Format>::kOffset;
  for (std::size_t c = 0; c < cols; c += kSpan) {
    const std::size_t offset = (col + c) / Format::kBlockElements * Format::kBlockBytes;
    const std::size_t there = HWY_MIN(kSpan, cols - c);
    const std::size_t groups = there / Format::kGroup;
    for (std::size_t r = 0; r < rows; ++r) {
      const std::uint8_t* bytes = w.row(row + r) + offset;
      if constexpr (!kPrefetchesLate) {
        const std::uint8_t* next = next_panel(w, row, offset) + r * kSpanBytes<Format>;
        for (std::size_t line = 0; line < kSpanBytes<Format>; line += 64) prefetch_far(next + line);
      }
      if (HWY_UNLIKELY(there < kSpan)) {
        std::memcpy(padded, bytes, there / Format::kBlockElements * Format::kBlockBytes);
        bytes = padded;
      }
      unpack_span<Format>(bytes, r, c, groups, panel);
    }
    transpose_span<PanelTraitsOf<Format>>(panel, c, there);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace simd
GEMMA_NAMESPACE_END
HWY_AFTER_NAMESPACE();

#endif  // GEMMA_SIMD_PANEL_INL_HPP_
