// Filling a panel (panel-inl.hpp) from spans of four rows (four_spans-inl.hpp): codes are transposed as they
// come, nibbles two at a time, and scales by whole vectors. For targets whose vectors hold 64 codes.
#if defined(GEMMA_SIMD_FOUR_PANEL_INL_HPP_) == defined(HWY_TARGET_TOGGLE)
#ifdef GEMMA_SIMD_FOUR_PANEL_INL_HPP_
#undef GEMMA_SIMD_FOUR_PANEL_INL_HPP_
#else
#define GEMMA_SIMD_FOUR_PANEL_INL_HPP_
#endif

#include "gemma/simd/four_spans-inl.hpp"
#include "gemma/simd/panel-inl.hpp"

#if HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX3_DL
HWY_BEFORE_NAMESPACE();
GEMMA_NAMESPACE_BEGIN
namespace simd {
namespace HWY_NAMESPACE {

/// Numbers of kLanes rows, given as floats [rows, kGroups], to the lanes of these rows in the panel.
template <std::size_t kGroups>
HWY_INLINE void store_scales(const VF* numbers, float* out) {
  VU32 groups[kGroups];
  if constexpr (kGroups == kLanes) {
    VU32 rows[kLanes];
    unroll<kLanes>([&](auto r) GEMMA_INLINE_LAMBDA { rows[r] = hn::BitCast(DU32(), numbers[r]); });
    transpose_words(rows, groups);
  } else {
    // Four groups at a time: group by group within four rows, then block by block.
    constexpr std::size_t kVectors = 4 * kGroups / kLanes;
    unroll<kGroups / 4>([&](auto quad) GEMMA_INLINE_LAMBDA {
      static constexpr auto kFrom = lanes_of<std::uint32_t>(
          [](std::size_t i) { return i % 4 * kGroups + 4 * decltype(quad)::value + i / 4; });
      VU32 fours[4];
      unroll<4>([&](auto i) GEMMA_INLINE_LAMBDA {
        const VU8 first = hn::BitCast(DU8(), numbers[i * kVectors]);
        if constexpr (kVectors == 1) {
          fours[i] = hn::BitCast(DU32(), pick(first, kFrom));
        } else {
          fours[i] = hn::BitCast(DU32(), pick(first, hn::BitCast(DU8(), numbers[2 * i + 1]), kFrom));
        }
      });
      transpose_blocks(fours, 1, groups + 4 * quad, 1);
    });
  }
  for (std::size_t g = 0; g < kGroups; ++g) {
    hn::StoreU(hn::BitCast(DF(), groups[g]), DF(), out + g * kPanelRows);
  }
}

// Fold expressions, since a lambda for each vector would cost compilers a lot of memory.

template <std::size_t kHalf, class Spans, std::size_t... kRow>
HWY_INLINE void take_nibbles(const Spans& rows, VU32* words, std::index_sequence<kRow...>) {
  ((words[kRow] = hn::BitCast(DU32(), rows.template both<kHalf>(kRow))), ...);
}

template <std::size_t kHalf, class Spans, std::size_t... kRow>
HWY_INLINE void take_codes(const Spans& rows, VU8 (*codes)[2], std::index_sequence<kRow...>) {
  (rows.template get<kHalf>(kRow, codes[kRow]), ...);
}

template <std::size_t kVector, std::size_t... kRow>
HWY_INLINE void take_words(const VU8 (*codes)[2], VU32* words, std::index_sequence<kRow...>) {
  ((words[kRow] = hn::BitCast(DU32(), codes[kRow][kVector])), ...);
}

/// Stores vectors of four columns each where these belong in a panel.
template <class Spans, std::size_t kVector, std::size_t... kWord>
HWY_INLINE void store_words(const VU32* words, std::uint8_t* out, std::index_sequence<kWord...>) {
  (hn::StoreU(hn::BitCast(DU8(), words[kWord]), DU8(), out + Spans::column(kVector, kWord) * kPanelRows), ...);
}

HWY_INLINE void store_two_nibbles(VU32 word, std::uint8_t* low, std::uint8_t* high) {
  VU8 two[2];
  split_nibbles(hn::BitCast(DU8(), word), two);
  hn::StoreU(two[0], DU8(), low);
  hn::StoreU(two[1], DU8(), high);
}

/// The same of two columns in each byte.
template <class Spans, std::size_t... kWord>
HWY_INLINE void store_nibbles(const VU32* words, std::uint8_t* out, std::index_sequence<kWord...>) {
  (store_two_nibbles(words[kWord], out + Spans::column(0, kWord) * kPanelRows,
                     out + Spans::column(1, kWord) * kPanelRows),
   ...);
}

/// A span of each of kLanes rows, `stride` bytes apart, from column `col` of the panel on. `first`: the
/// rows' first lane. (By itself, since in a loop GCC keeps the address of each row, for which registers are too few.)
template <class Format>
inline HWY_NOINLINE void fill_by_fours(const std::uint8_t* rows, std::size_t stride, std::size_t col,
                                       std::size_t first, const Panel& panel) {
  using Spans = FourSpans<Format>;
  constexpr std::size_t kGroups = Codes<Format>::kSpan / Format::kGroup;
  constexpr std::size_t kVectors = 4 * kGroups / kLanes;
  const Spans fours[4] = {Spans(rows, stride), Spans(rows + 4 * stride, stride),
                          Spans(rows + 8 * stride, stride), Spans(rows + 12 * stride, stride)};
  VF scale[4 * kVectors], minimum[4 * kVectors];  // before codes are stored, or all would be loaded again
  unroll<Codes<Format>::kSpan / 128>([&](auto half) GEMMA_INLINE_LAMBDA {
    constexpr std::size_t kHalf = decltype(half)::value;
    std::uint8_t* out = panel.codes + ((col + 128 * kHalf) * kPanelRows + 4 * first);
    VU32 in[kLanes], words[kLanes];
    if constexpr (Spans::kNibbles) {
      unroll<4>([&](auto i) GEMMA_INLINE_LAMBDA {
        if constexpr (kHalf == 0) fours[i].scales(scale + i * kVectors, minimum + i * kVectors);
        take_nibbles<kHalf>(fours[i], in + 4 * i, std::make_index_sequence<4>());
      });
      transpose_words(in, words);
      store_nibbles<Spans>(words, out, std::make_index_sequence<kLanes>());
    } else {
      VU8 codes[kLanes][2];
      unroll<4>([&](auto i) GEMMA_INLINE_LAMBDA {
        if constexpr (kHalf == 0) fours[i].scales(scale + i * kVectors, minimum + i * kVectors);
        take_codes<kHalf>(fours[i], codes + 4 * i, std::make_index_sequence<4>());
      });
      unroll<2>([&](auto v) GEMMA_INLINE_LAMBDA {
        constexpr std::size_t kVector = decltype(v)::value;
        take_words<kVector>(codes, in, std::make_index_sequence<kLanes>());
        transpose_words(in, words);
        store_words<Spans, kVector>(words, out, std::make_index_sequence<kLanes>());
      });
    }
  });
  const std::size_t at = col / Format::kGroup * kPanelRows + first;
  store_scales<kGroups>(scale, panel.scale + at);
  if constexpr (Format::kHasMin) store_scales<kGroups>(minimum, panel.minimum + at);
}

}  // namespace HWY_NAMESPACE
}  // namespace simd
GEMMA_NAMESPACE_END
HWY_AFTER_NAMESPACE();
#endif  // HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX3_DL

#endif  // GEMMA_SIMD_FOUR_PANEL_INL_HPP_
