// Many tokens: a panel of weights is unpacked once and then meets all tokens, a few at a time.
#if defined(GEMMA_SIMD_MATMUL_INL_HPP_) == defined(HWY_TARGET_TOGGLE)
#ifdef GEMMA_SIMD_MATMUL_INL_HPP_
#undef GEMMA_SIMD_MATMUL_INL_HPP_
#else
#define GEMMA_SIMD_MATMUL_INL_HPP_
#endif

#include <atomic>
#include <utility>

#include "gemma/simd/fill_panel-inl.hpp"
#include "gemma/simd/kernels.hpp"
#include "gemma/simd/panel-inl.hpp"
#include "gemma/simd/vector-inl.hpp"

HWY_BEFORE_NAMESPACE();
GEMMA_NAMESPACE_BEGIN
namespace simd {
namespace HWY_NAMESPACE {

/// Tokens of a register tile: with two vectors of rows, sums of products stay in registers.
inline constexpr std::size_t kTileTokens = kBytes == 64 ? 6 : 4;

/// Tokens of the smaller tiles, for the last ones.
inline constexpr std::size_t kSmallTile = kTileTokens == 6 ? 4 : 2;

/// A tile: its activations from the panel's first column on, and where its sums go.
struct Tile {
  static_assert(kTileTokens <= kSpareTokens, "a tile that is not full has sums, too");
  CoarseRow first;            ///< of the first token
  std::size_t cols;           ///< from a token to the next
  std::size_t last;           ///< token that there is; what is missing takes its activations
  float* sums;                ///< [tokens, kPanelRows]: those so far
  float* out;                 ///< [last + 1, out_stride]: where they go at the end; null: to sums
  std::size_t out_stride;     ///< floats
  const std::uint8_t* next;   ///< what is asked for meanwhile
  std::size_t next_lines;     ///< of 64 bytes, with each group of columns
};

/// What an integer is, as a float: 1.5 · 2^23 and an integer below 2^22 added to its bits is their sum as a float.
/// So one fused multiply-add, which rounds once, takes the place of a conversion and a product: scales are products
/// of a binary16 and of a few bits (those of rows come later), so that scale · kBias is exact.
inline constexpr float kBias = 12582912.0f;
inline constexpr std::int32_t kBiasBits = HWY_NATIVE_FMA ? 0x4B400000 : 0;

/// Integers to begin the sums of a group with: what the codes, less kCentre, are too large by.
template <class Traits>
HWY_INLINE VI32 start_of_sum(const CoarseGroup* groups, std::size_t g, int offset) {
  std::int32_t start = kBiasBits;
  if constexpr (Traits::kHasMin ? Traits::kCentre != 0 : Traits::kCentre == 0) {
    const CoarseGroup& group = groups[g * Traits::kGroup / kActivationGroup];
    const std::int32_t minus = Traits::kGroup == 32 ? group.minus_sum : group.minus_half[g % 2];
    start += minus * (Traits::kHasMin ? -Traits::kCentre : offset);
  }
  return hn::Set(DI32(), start);
}

/// sum · scale of a sum begun by start_of_sum(). `bias`: −kBias · scale.
HWY_INLINE VF scaled(VI32 sum, VF scale, VF bias) {
  if constexpr (kBiasBits == 0) return hn::Mul(hn::ConvertTo(DF(), sum), scale);
  else return hn::MulAdd(hn::BitCast(DF(), sum), scale, bias);
}

/// Four columns of the panel's rows, at `codes`, times those of the tokens: sums[t][half of the rows].
template <std::size_t kTokens>
HWY_INLINE void add_quad(const std::uint8_t* codes, const CoarseRow* tokens, std::size_t col, VI32 (*sums)[2]) {
  const VU8 low = hn::LoadU(DU8(), codes);
  const VU8 high = hn::LoadU(DU8(), codes + kBytes);
  unroll<kTokens>([&](auto t) GEMMA_INLINE_LAMBDA {
    const VI8 x = broadcast_quad(tokens[t].q + col);
    sums[t][0] = add_quads(low, x, sums[t][0]);
    sums[t][1] = add_quads(high, x, sums[t][1]);
  });
}

/// Four products at a time: sums[t][half of the rows] of a group. (In a loop GCC would store the first sums in vain.)
template <class Traits, std::size_t kTokens>
HWY_INLINE void add_group_by_quads(const std::uint8_t* codes, const CoarseRow* tokens, std::size_t first,
                                   VI32 (*sums)[2]) {
  repeat<Traits::kGroup / 4>([&](auto quad) GEMMA_INLINE_LAMBDA {
    add_quad<kTokens>(codes + quad * kPanelRows * 4, tokens, first + 4 * quad, sums);
  });
}

// Fold expressions, since a lambda for each quad and token would cost compilers a lot of memory.

/// Four columns of the panel's rows, two products at a time, times those of a token: sums[half of the rows].
HWY_INLINE void add_pairs(VU8 low, VU8 high, const std::int8_t* x, VI16* sums) {
  const DI16 d;
  const VI8 quad = broadcast_quad(x);
  sums[0] = hn::Add(sums[0], hn::SatWidenMulPairwiseAdd(d, low, quad));
  sums[1] = hn::Add(sums[1], hn::SatWidenMulPairwiseAdd(d, high, quad));
  keep_order(sums[0]);
  keep_order(sums[1]);
}

/// The same of some tokens.
template <std::size_t... kToken>
HWY_INLINE void add_pairs_of_tokens(const std::uint8_t* codes, const CoarseRow* tokens, std::size_t col,
                                    VI16 (*sums)[2], std::index_sequence<kToken...>) {
  const VU8 low = hn::LoadU(DU8(), codes);
  const VU8 high = hn::LoadU(DU8(), codes + kBytes);
  (add_pairs(low, high, tokens[kToken].q + col, sums[kToken]), ...);
}

/// The same of some quads of columns.
template <std::size_t kTokens, std::size_t... kQuad>
HWY_INLINE void add_pairs_of_quads(const std::uint8_t* codes, const CoarseRow* tokens, std::size_t first,
                                   VI16 (*sums)[2], std::index_sequence<kQuad...>) {
  (add_pairs_of_tokens(codes + kQuad * kPanelRows * 4, tokens, first + 4 * kQuad, sums,
                       std::make_index_sequence<kTokens>()),
   ...);
}

/// sums[t] += weight · the pairs in narrow[t].
template <std::size_t... kToken>
HWY_INLINE void widen_pairs(const VI16 (*narrow)[2], int weight, VI32 (*sums)[2], std::index_sequence<kToken...>) {
  const DI32 d;
  const VI16 factor = hn::Set(DI16(), static_cast<std::int16_t>(weight));
  ((sums[kToken][0] = hn::Add(sums[kToken][0], hn::WidenMulPairwiseAdd(d, narrow[kToken][0], factor)),
    sums[kToken][1] = hn::Add(sums[kToken][1], hn::WidenMulPairwiseAdd(d, narrow[kToken][1], factor))),
   ...);
}

/// Integers of 16 bits to begin the pairs of a group with: what makes sums those of codes less kCentre.
template <class Traits>
HWY_INLINE VI16 start_of_pairs(const CoarseRow& token, std::size_t g) {
  if constexpr (Traits::kCentre == 0) {
    return hn::Zero(DI16());
  } else {
    const CoarseGroup& group = token.groups[g * Traits::kGroup / kActivationGroup];
    std::int32_t pair;
    std::memcpy(&pair, group.minus_pairs[Traits::kGroup == 32 ? 2 : g % 2], sizeof pair);
    return hn::ShiftLeft<Traits::kBits - 1>(hn::BitCast(DI16(), hn::Set(DI32(), pair)));
  }
}

/// Two products at a time, in 16 bits: modulo 2^16, in which what they come to fits.
template <class Traits, std::size_t kTokens>
HWY_INLINE void add_group_by_pairs(const std::uint8_t* codes, const CoarseRow* tokens, std::size_t g,
                                   VI32 (*sums)[2]) {
  constexpr std::size_t kQuads = Traits::kGroup / 4;
  constexpr int kMost = Traits::kCentre != 0 ? Traits::kCentre : 15;
  static_assert(2 * kQuads * 127 * kMost < 32768, "the sum of a group fits");
  for (std::size_t plane = 0; plane < Traits::kPlanes; ++plane) {
    // Else GCC would load the activations for both planes at once, and store them.
    if constexpr (Traits::kPlanes > 1) std::atomic_signal_fence(std::memory_order_seq_cst);
    VI16 narrow[kTokens][2];
    unroll<kTokens>([&](auto t) GEMMA_INLINE_LAMBDA {
      narrow[t][0] = narrow[t][1] = start_of_pairs<Traits>(tokens[t], g);
    });
    add_pairs_of_quads<kTokens>(codes + plane * Panel::kPlaneBytes, tokens, g * Traits::kGroup, narrow,
                                std::make_index_sequence<kQuads>());
    widen_pairs(narrow, plane == 0 ? 1 : 16, sums, std::make_index_sequence<kTokens>());
  }
}

/// Adds the products of the panel's columns to the sums of kTokens tokens; `fresh`: there are none yet.
template <class Traits, std::size_t kTokens>
HWY_INLINE void multiply_tile(const Panel& panel, std::size_t cols, const Tile& tile, bool fresh) {
  constexpr std::size_t kGroup = Traits::kGroup;
  const DF d;
  CoarseRow tokens[kTokens];
  VF out[kTokens][2];
  unroll<kTokens>([&](auto t) GEMMA_INLINE_LAMBDA {
    const std::size_t offset = HWY_MIN(std::size_t{t}, tile.last) * tile.cols;
    tokens[t] = {tile.first.q + offset, tile.first.groups + offset / kActivationGroup};
    const float* sums = tile.sums + t * kPanelRows;
    out[t][0] = fresh ? hn::Zero(d) : hn::LoadU(d, sums);
    out[t][1] = fresh ? hn::Zero(d) : hn::LoadU(d, sums + kLanes);
  });
  for (std::size_t g = 0; g < cols / kGroup; ++g) {
    if constexpr (kPrefetchesLate) {
      for (std::size_t line = g * tile.next_lines; line < (g + 1) * tile.next_lines; ++line) {
        prefetch_far(tile.next + 64 * line);
      }
    }
    VI32 sums[kTokens][2];
    unroll<kTokens>([&](auto t) HWY_ATTR {
      sums[t][0] = sums[t][1] = start_of_sum<Traits>(tokens[t].groups, g, panel.offset);
    });
    const std::uint8_t* codes = panel.codes + g * kGroup * kPanelRows;
    if constexpr (kHasPairs) {
      add_group_by_pairs<Traits, kTokens>(codes, tokens, g, sums);
    } else {
      add_group_by_quads<Traits, kTokens>(codes, tokens, g * kGroup, sums);
    }
    const VF scale_low = hn::LoadU(d, panel.scale + g * kPanelRows);
    const VF scale_high = hn::LoadU(d, panel.scale + g * kPanelRows + kLanes);
    const VF bias_low = hn::Mul(scale_low, hn::Set(d, -kBias));
    const VF bias_high = hn::Mul(scale_high, hn::Set(d, -kBias));
    unroll<kTokens>([&](auto t) HWY_ATTR {
      const CoarseGroup& group = tokens[t].groups[g * kGroup / kActivationGroup];
      const VF x_scale = hn::Set(d, group.scale);
      out[t][0] = hn::MulAdd(scaled(sums[t][0], scale_low, bias_low), x_scale, out[t][0]);
      out[t][1] = hn::MulAdd(scaled(sums[t][1], scale_high, bias_high), x_scale, out[t][1]);
      if constexpr (Traits::kHasMin) {
        const float half = group.scale * static_cast<float>(-group.minus_half[g % 2]);
        const VF x_sum = hn::Set(d, kGroup == 32 ? group.sum : half);
        const float* minimum = panel.minimum + g * kPanelRows;
        out[t][0] = hn::NegMulAdd(hn::LoadU(d, minimum), x_sum, out[t][0]);
        out[t][1] = hn::NegMulAdd(hn::LoadU(d, minimum + kLanes), x_sum, out[t][1]);
      }
    });
  }
  unroll<kTokens>([&](auto t) GEMMA_INLINE_LAMBDA {
    float* to = tile.out != nullptr && t <= tile.last ? tile.out + t * tile.out_stride : tile.sums + t * kPanelRows;
    hn::StoreU(out[t][0], d, to);
    hn::StoreU(out[t][1], d, to + kLanes);
  });
}

/// Tokens of the next tile where `left` are left: the last ones share two smaller tiles rather than to leave one
/// nearly empty.
HWY_INLINE std::size_t tile_tokens(std::size_t left) {
  return left <= kSmallTile || (left > kTileTokens && left <= 2 * kSmallTile) ? kSmallTile : kTileTokens;
}

/// Columns [col, col + cols) of a panel for `tokens` tokens from first_token on. Sums go to `out`, rows of out_stride
/// floats, if it is not null; else to the panel. `next_bytes` at `next` are asked for with the first tiles,
/// a few with each group of columns.
template <class Traits>
inline HWY_NOINLINE void multiply_panel(const MatmulArgs& a, const Panel& panel, std::size_t first_token,
                                        std::size_t tokens, std::size_t col, std::size_t cols, float* out,
                                        const std::uint8_t* next, std::size_t next_bytes) {
  const std::size_t all_cols = a.weights.cols;
  const std::size_t groups = cols / Traits::kGroup;
  const std::size_t tiles = HWY_MIN((tokens + kTileTokens - 1) / kTileTokens, std::size_t{3});
  const std::size_t lines = (next_bytes / 64 + tiles * groups - 1) / (tiles * groups);
  for (std::size_t token = 0; token < tokens;) {
    const std::size_t size = tile_tokens(tokens - token);
    const std::size_t offset = (first_token + token) * all_cols + col;
    Tile tile;
    tile.first = {a.x.coarse_rows.q + offset, a.x.coarse_rows.groups + offset / kActivationGroup};
    tile.cols = all_cols;
    tile.last = HWY_MIN(size, tokens - token) - 1;
    tile.sums = panel.sums + token * kPanelRows;
    tile.out = out == nullptr ? nullptr : out + token * a.out_stride;
    tile.out_stride = a.out_stride;
    tile.next = next;
    tile.next_lines = token < tiles * kTileTokens ? lines : 0;
    next += 64 * tile.next_lines * groups;
    if (size == kTileTokens) multiply_tile<Traits, kTileTokens>(panel, cols, tile, col == 0);
    else multiply_tile<Traits, kSmallTile>(panel, cols, tile, col == 0);
    token += size;
  }
}

/// multiply_panel() of some format.
using MultiplyPanel = void (*)(const MatmulArgs& a, const Panel& panel, std::size_t first_token, std::size_t tokens,
                               std::size_t col, std::size_t cols, float* out, const std::uint8_t* next,
                               std::size_t next_bytes);

/// Panel by panel along some rows, then along the next: so weights are read nearly in the order in which
/// they lie in memory, and sums stay in cache while columns are added. Those of the last columns go to the results at
/// once, so that no thread waits until the lines of these, which lie pages apart, are in cache.
inline HWY_NOINLINE void quantized_matmul(const PanelFormat& format, MultiplyPanel multiply, const MatmulArgs& a,
                                          std::size_t row_begin, std::size_t row_end, std::uint8_t* scratch) {
  Panel panel(scratch);
  const std::size_t all_cols = a.weights.cols;
  for (std::size_t token = 0; token < a.x.tokens; token += kPanelTokens) {
    const std::size_t tokens = HWY_MIN(kPanelTokens, a.x.tokens - token);
    for (std::size_t row = row_begin; row < row_end; row += kPanelRows) {
      const std::size_t rows = HWY_MIN(kPanelRows, row_end - row);
      for (std::size_t col = 0; col < all_cols; col += kPanelCols) {
        const std::size_t cols = HWY_MIN(kPanelCols, all_cols - col);
        format.fill(a.weights, row, rows, col, cols, panel);
        const bool finishes = rows == kPanelRows && col + cols == all_cols;
        float* out = finishes ? a.out + token * a.out_stride + row : nullptr;
        multiply(a, panel, token, tokens, col, cols, out, next_panel(a.weights, row, format.bytes(col)),
                 kPanelRows * format.bytes(cols));
      }
      if (rows == kPanelRows) continue;
      for (std::size_t t = 0; t < tokens; ++t) {
        std::memcpy(a.out + (token + t) * a.out_stride + row, panel.sums + t * kPanelRows, rows * sizeof(float));
      }
    }
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace simd
GEMMA_NAMESPACE_END
HWY_AFTER_NAMESPACE();

#endif  // GEMMA_SIMD_MATMUL_INL_HPP_
