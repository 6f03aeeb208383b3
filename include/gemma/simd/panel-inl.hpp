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
  /// What codes are lessened by where the sums of a group would else not fit the 16 bits of pairs.
  static constexpr int kCentre = kHasPairs && (kCodeBits == 5 || kCodeBits == 6) ? 1 << (kCodeBits - 1) : 0;
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
  static constexpr std::size_t kBytesBeforeSums = 2 * kPlaneBytes + 2 * kScales * sizeof(float) + kLanes * 256;

  std::uint8_t* codes;  ///< [planes, cols / 4, kPanelRows, 4]
  float* scale;         ///< [cols / kGroup, kPanelRows]
  float* minimum;       ///< likewise
  std::uint8_t* rows;   ///< [kLanes, 256]: codes before they are transposed, of formats that need that
  float* sums;          ///< [kPanelTokens + kSpareTokens, kPanelRows]
  int offset;           ///< the codes are so much too large

  explicit Panel(std::uint8_t* scratch) {
    codes = scratch;
    scale = reinterpret_cast<float*>(codes + 2 * kPlaneBytes);
    minimum = scale + kScales;
    rows = reinterpret_cast<std::uint8_t*>(minimum + kScales);
    sums = reinterpret_cast<float*>(rows + kLanes * 256);
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

/// Transposes 4 × 4 words in each block of 128 bits: out[j] = word j of every row's block.
HWY_INLINE void transpose_in_blocks(VU32 r0, VU32 r1, VU32 r2, VU32 r3, VU32* out) {
  const DU32 d;
  const hn::Repartition<std::uint64_t, DU32> pairs;
  const auto low01 = hn::BitCast(pairs, hn::InterleaveLower(d, r0, r1));
  const auto high01 = hn::BitCast(pairs, hn::InterleaveUpper(d, r0, r1));
  const auto low23 = hn::BitCast(pairs, hn::InterleaveLower(d, r2, r3));
  const auto high23 = hn::BitCast(pairs, hn::InterleaveUpper(d, r2, r3));
  out[0] = hn::BitCast(d, hn::InterleaveLower(pairs, low01, low23));
  out[1] = hn::BitCast(d, hn::InterleaveUpper(pairs, low01, low23));
  out[2] = hn::BitCast(d, hn::InterleaveLower(pairs, high01, high23));
  out[3] = hn::BitCast(d, hn::InterleaveUpper(pairs, high01, high23));
}

/// Transposes kLanes rows of kLanes words: out[i] = word i of every row.
HWY_INLINE void transpose_words(const VU32* rows, VU32* out) {
  // Block b of fours[4 g + j] holds word 4 b + j of rows 4 g to 4 g + 3.
  VU32 fours[kLanes];
  unroll<kLanes / 4>([&](auto g) GEMMA_INLINE_LAMBDA {
    transpose_in_blocks(rows[4 * g], rows[4 * g + 1], rows[4 * g + 2], rows[4 * g + 3], fours + 4 * g);
  });
  unroll<4>([&](auto j) GEMMA_INLINE_LAMBDA { transpose_blocks(fours + j, 4, out + j, 4); });
}

/// 16 bytes of each of kLanes / 4 rows, `stride` bytes apart.
HWY_INLINE VU32 load_blocks(const std::uint8_t* p, std::size_t stride) {
  const DU8 d;
  if constexpr (kLanes == 4) {
    (void)stride;
    return hn::BitCast(DU32(), hn::LoadU(d, p));
  } else if constexpr (kLanes == 8) {
    return hn::BitCast(DU32(), load_halves_of(d, p, p + stride));
  } else {
    const hn::Half<DU8> half;
    return hn::BitCast(DU32(), hn::Combine(d, load_halves_of(half, p + 2 * stride, p + 3 * stride),
                                           load_halves_of(half, p, p + stride)));
  }
}

/// 16 bytes of each of kLanes rows, `stride` bytes apart: out[j] = bytes 4 j to 4 j + 3 of every row.
HWY_INLINE void load_columns(const std::uint8_t* p, std::size_t stride, VU32* out) {
  transpose_in_blocks(load_blocks(p, 4 * stride), load_blocks(p + stride, 4 * stride),
                      load_blocks(p + 2 * stride, 4 * stride), load_blocks(p + 3 * stride, 4 * stride), out);
}

}  // namespace HWY_NAMESPACE
}  // namespace simd
GEMMA_NAMESPACE_END
HWY_AFTER_NAMESPACE();

#endif  // GEMMA_SIMD_PANEL_INL_HPP_
