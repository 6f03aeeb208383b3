// Intel's matrix tiles (AMX), beside AVX-512: one instruction multiplies 16 tokens by 16 rows of 32 bfloat16
// columns and adds the products in float32. So weights are unpacked to bfloat16 with their scales, and activations
// rounded to it, which is closer to the truth than 8 bits with a scale for 32. Not a target of Highway's.
// Sources: Intel SDM, volume 1, chapter 18; the kernel's Documentation/arch/x86/xstate.rst.
#if defined(GEMMA_SIMD_AMX_INL_HPP_) == defined(HWY_TARGET_TOGGLE)
#ifdef GEMMA_SIMD_AMX_INL_HPP_
#undef GEMMA_SIMD_AMX_INL_HPP_
#else
#define GEMMA_SIMD_AMX_INL_HPP_
#endif

#include <algorithm>
#include <limits>

#include "gemma/simd/allowed_targets.hpp"
#include "gemma/simd/fill_panel-inl.hpp"
#include "gemma/simd/panel-inl.hpp"
#include "gemma/simd/vector-inl.hpp"

// Instructions are spelt in assembler, so that no compiler flag is needed. Old assemblers do not know them.
#undef GEMMA_SIMD_AMX
#if HWY_ARCH_X86_64 && HWY_TARGET <= HWY_AVX3_DL && defined(__linux__) && defined(__LP64__) && \
    (HWY_COMPILER_GCC_ACTUAL >= 1100 || HWY_COMPILER_CLANG >= 1200)
#define GEMMA_SIMD_AMX 1
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#else
#define GEMMA_SIMD_AMX 0
#endif

#if GEMMA_SIMD_AMX
HWY_BEFORE_NAMESPACE();
GEMMA_NAMESPACE_BEGIN
namespace simd {
namespace HWY_NAMESPACE {

/// Whether this CPU multiplies tiles of bfloat16, the user lets us, and the system grants this process the
/// registers, for which it wants to be asked.
inline bool has_amx() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (__get_cpuid_count(7, 0, &a, &b, &c, &d) == 0) return false;
  constexpr unsigned kBf16 = 1u << 22, kTiles = 1u << 24;
  constexpr long kRequestPermission = 0x1023, kTileData = 18;
  return (d & kBf16) != 0 && (d & kTiles) != 0 && detail::is_allowed("AMX") &&
         syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
}

/// From this many tokens on, making bfloat16 of weights pays.
inline constexpr std::size_t kAmxTokens = 40;

/// Codes of less than 8 bits are made floats without a conversion: a code c put into bits 16 to 22 of 2^23 makes
/// it kFromBits · (kBitsZero + c).
inline constexpr float kBitsZero = 128.0f, kFromBits = 65536.0f;

/// Four codes of each of 16 rows as bfloat16, rounded to nearest: columns 0 and 1 of each row, then 2 and 3.
template <bool kBytes>
HWY_INLINE void widen_quad(VU32 codes, VF scale, VF bias, std::uint16_t* out) {
  const DU32 d;
  const auto rounded = [&](VF number) GEMMA_INLINE_LAMBDA {
    return hn::Add(hn::BitCast(d, hn::MulAdd(number, scale, bias)), hn::Set(d, 0x8000u));
  };
  const auto code = [&](auto index) GEMMA_INLINE_LAMBDA {
    constexpr int kShift = 8 * static_cast<int>(decltype(index)::value);
    if constexpr (kBytes) {
      const VU32 byte = hn::And(hn::ShiftRight<kShift>(codes), hn::Set(d, 255));
      return hn::ConvertTo(DF(), hn::BitCast(DI32(), byte));
    } else {
      VU32 moved = codes;
      if constexpr (kShift < 16) moved = hn::ShiftLeft<16 - kShift>(codes);
      if constexpr (kShift > 16) moved = hn::ShiftRight<kShift - 16>(codes);
      return hn::BitCast(DF(), hn::OrAnd(hn::Set(d, 0x4B000000u), moved, hn::Set(d, 0x007F0000u)));
    }
  };
  unroll<2>([&](auto pair) GEMMA_INLINE_LAMBDA {
    constexpr std::size_t kFirst = 2 * decltype(pair)::value;
    const VU32 even = rounded(code(std::integral_constant<std::size_t, kFirst>()));
    const VU32 odd = rounded(code(std::integral_constant<std::size_t, kFirst + 1>()));
    hn::StoreU(hn::OrAnd(hn::ShiftRight<16>(even), odd, hn::Set(d, 0xFFFF0000u)), d,
               reinterpret_cast<std::uint32_t*>(out + kFirst * kPanelRows));
  });
}

/// Writes a panel's weights as bfloat16, [cols / 2, kPanelRows, 2]. `zero`: what to subtract from the codes of each
/// row.
template <class Traits, bool kBytes>
inline HWY_NOINLINE void widen_panel(const Panel& panel, std::size_t cols, const float* zero,
                                     std::uint16_t* out) {
  constexpr std::size_t kGroup = Traits::kGroup;
  const DF d;
  for (std::size_t g = 0; g < cols / kGroup; ++g) {
    for (std::size_t half = 0; half < kPanelRows; half += kLanes) {
      const VF scale = hn::LoadU(d, panel.scale + g * kPanelRows + half);
      const float least = -static_cast<float>(panel.offset) - (kBytes ? 0.0f : kBitsZero);
      const VF shift = hn::Sub(hn::Set(d, least), hn::LoadU(d, zero + half));
      VF bias = hn::Mul(scale, shift);
      if constexpr (Traits::kHasMin) bias = hn::Sub(bias, hn::LoadU(d, panel.minimum + g * kPanelRows + half));
      VF factor = hn::Mul(scale, hn::Set(d, kBytes ? 1.0f : 1.0f / kFromBits));
      // One NaN for all, since rounding could make a number of another. A scale's is the bias's, too.
      const auto unknown = hn::IsNaN(bias);
      const VF nan = hn::Set(d, std::numeric_limits<float>::quiet_NaN());
      bias = hn::IfThenElse(unknown, nan, bias);
      factor = hn::IfThenElse(unknown, nan, factor);
      for (std::size_t col = g * kGroup; col < (g + 1) * kGroup; col += 4) {
        const std::uint8_t* codes = panel.codes + col * kPanelRows + 4 * half;
        widen_quad<kBytes>(hn::BitCast(DU32(), hn::LoadU(DU8(), codes)), factor, bias,
                           out + col * kPanelRows + 2 * half);
      }
    }
  }
}

/// See Kernels::round_to_bf16.
inline HWY_NOINLINE void round_to_bf16(const float* x, std::size_t n, std::uint16_t* out) {
  const hn::Rebind<hwy::bfloat16_t, DF> narrow;
  for (std::size_t i = 0; i < n; i += kLanes) {
    const std::size_t at = i / kActivationGroup * kActivationGroup * kBf16Tokens + i % kActivationGroup;
    const auto rounded = hn::DemoteTo(narrow, hn::LoadU(DF(), x + i));
    hn::StoreU(rounded, narrow, reinterpret_cast<hwy::bfloat16_t*>(out + at));
  }
}

/// The tiles of up to kBf16Tokens tokens: 0 and 1 are activations of 16 tokens each, 2 and 3 weights of 16 rows
/// each, 4 to 7 the sums of these. They are given back at the end, so that nobody has to save them.
class MatrixTiles {
 public:
  static constexpr std::size_t kCols = 32;  ///< that one instruction takes

  MatrixTiles() = default;
  MatrixTiles(const MatrixTiles&) = delete;
  MatrixTiles& operator=(const MatrixTiles&) = delete;
  // Not inlined by force: destructors that compilers write themselves are not for this target.
  ~MatrixTiles() { __asm__ volatile("tilerelease"); }

  /// For so many tokens.
  HWY_INLINE void configure(std::size_t tokens) {
    if (tokens == tokens_) return;
    tokens_ = tokens;
    struct alignas(64) {
      std::uint8_t palette = 1, start_row = 0, reserved[14] = {};
      std::uint16_t row_bytes[16] = {};
      std::uint8_t rows[16] = {};
    } config;
    static_assert(sizeof config == 64, "as the instruction reads it");
    const std::size_t first = HWY_MIN(tokens, std::size_t{16});
    const std::size_t rows[8] = {first, tokens - first, 16, 16, first, first, tokens - first, tokens - first};
    for (std::size_t i = 0; i < 8; ++i) {
      config.rows[i] = static_cast<std::uint8_t>(rows[i]);
      config.row_bytes[i] = rows[i] == 0 ? 0 : 64;
    }
    __asm__ volatile("ldtilecfg %0" : : "m"(config));
  }

  /// Sums begin at 0, or, unless `fresh`, at what is at `sums`, [tokens, kPanelRows].
  HWY_INLINE void begin(const float* sums, bool fresh) const {
    if (fresh) {
      __asm__ volatile("tilezero %tmm4\n\ttilezero %tmm5");
      if (tokens_ > 16) __asm__ volatile("tilezero %tmm6\n\ttilezero %tmm7");
      return;
    }
    __asm__ volatile("tileloadd (%0,%1,1), %%tmm4\n\ttileloadd 64(%0,%1,1), %%tmm5"
                     : : "r"(sums), "r"(kSumBytes) : "memory");
    if (tokens_ > 16) {
      __asm__ volatile("tileloadd (%0,%1,1), %%tmm6\n\ttileloadd 64(%0,%1,1), %%tmm7"
                       : : "r"(sums + 16 * kPanelRows), "r"(kSumBytes) : "memory");
    }
  }

  /// Adds the products of kCols columns, x [tokens, kCols], which need not stay in the first cache as weights do.
  HWY_INLINE void add(const std::uint16_t* x, const std::uint16_t* weights) const {
    constexpr std::size_t kRowBytes = kCols * sizeof *x;
    __asm__ volatile(
        "tileloaddt1 (%[x],%[stride],1), %%tmm0\n\t"
        "tileloadd (%[w],%[row],1), %%tmm2\n\t"
        "tdpbf16ps %%tmm2, %%tmm0, %%tmm4\n\t"
        "tileloadd 64(%[w],%[row],1), %%tmm3\n\t"
        "tdpbf16ps %%tmm3, %%tmm0, %%tmm5"
        : : [x] "r"(x), [stride] "r"(kRowBytes), [w] "r"(weights), [row] "r"(kSumBytes) : "memory");
    if (tokens_ > 16) {
      __asm__ volatile(
          "tileloaddt1 (%[x],%[stride],1), %%tmm1\n\t"
          "tdpbf16ps %%tmm2, %%tmm1, %%tmm6\n\t"
          "tdpbf16ps %%tmm3, %%tmm1, %%tmm7"
          : : [x] "r"(x + 16 * kCols), [stride] "r"(kRowBytes) : "memory");
    }
  }

  /// Stores the sums, rows of `stride` floats.
  HWY_INLINE void end(float* out, std::size_t stride) const {
    const std::size_t bytes = stride * sizeof(float);
    __asm__ volatile("tilestored %%tmm4, (%0,%1,1)\n\ttilestored %%tmm5, 64(%0,%1,1)"
                     : : "r"(out), "r"(bytes) : "memory");
    if (tokens_ > 16) {
      __asm__ volatile("tilestored %%tmm6, (%0,%1,1)\n\ttilestored %%tmm7, 64(%0,%1,1)"
                       : : "r"(out + 16 * stride), "r"(bytes) : "memory");
    }
  }

 private:
  /// From a row of sums, or of two columns of weights, to the next.
  static constexpr std::size_t kSumBytes = kPanelRows * sizeof(float);
  std::size_t tokens_ = 0;
};

/// As multiply_bytes(), with tiles.
inline HWY_NOINLINE std::size_t multiply_tiles(std::size_t rounds, std::int32_t* out) {
  alignas(64) std::uint16_t numbers[64 * MatrixTiles::kCols] = {};
  MatrixTiles tiles;
  tiles.configure(kBf16Tokens);
  tiles.begin(nullptr, true);
  tiles.add(numbers, numbers);
  const std::size_t steps = rounds / 8;  // a step takes longer than a round of multiply_bytes()
  for (std::size_t step = 0; step < steps; ++step) {
    __asm__ volatile(
        "tdpbf16ps %tmm2, %tmm0, %tmm4\n\ttdpbf16ps %tmm3, %tmm0, %tmm5\n\t"
        "tdpbf16ps %tmm2, %tmm1, %tmm6\n\ttdpbf16ps %tmm3, %tmm1, %tmm7");
  }
  *out = 0;
  return steps * kBf16Tokens * kPanelRows * MatrixTiles::kCols;
}

/// What a widened panel is multiplied with, and where the sums go.
struct WidePart {
  const std::uint16_t* weights;  ///< as widen_panel() gives them
  std::size_t cols;
  const std::uint16_t* x;  ///< Activations::bf16 of some tokens from the first of these columns on
  std::size_t all_cols;    ///< of x
  std::size_t tokens;
  bool fresh;    ///< sums begin at 0
  float* sums;   ///< [tokens, kPanelRows]: those so far
  float* out;    ///< [tokens, out_stride]: where they go at the end; null: to sums
  std::size_t out_stride;
  const std::uint8_t* next;  ///< weights that are asked for meanwhile: of kPanelRows rows, next_stride apart,
  std::size_t next_stride;
  std::size_t next_bytes;    ///< so many each
};

inline HWY_NOINLINE void multiply_wide_panel(const WidePart& p) {
  const std::size_t blocks = (p.tokens + kBf16Tokens - 1) / kBf16Tokens;
  MatrixTiles tiles;
  for (std::size_t block = 0, asked = 0; block < blocks; ++block) {
    for (; asked < kPanelRows * (block + 1) / blocks; ++asked) {
      const std::uint8_t* row = p.next + asked * p.next_stride;
      for (std::size_t at = 0; at < p.next_bytes + 63; at += 64) prefetch_far(row + at);
    }
    const std::size_t token = block * kBf16Tokens;
    float* sums = p.sums + token * kPanelRows;
    float* out = p.out == nullptr ? nullptr : p.out + token * p.out_stride;
    tiles.configure(HWY_MIN(kBf16Tokens, p.tokens - token));
    tiles.begin(sums, p.fresh);
    // Where the results go, two tokens at a time, since those of neighbours lie pages apart. Without a branch:
    // one taken wrongly would empty the queue that keeps the tiles busy.
    const float* ahead = out == nullptr ? sums : out;
    const std::size_t stride = out == nullptr ? 0 : p.out_stride;
    for (std::size_t col = 0; col < p.cols; col += MatrixTiles::kCols) {
      for (std::size_t line = 0; line < 2; ++line) {
        prefetch_far(reinterpret_cast<const std::uint8_t*>(ahead) + 64 * line);
        prefetch_far(reinterpret_cast<const std::uint8_t*>(ahead + stride) + 64 * line);
      }
      ahead += col < kBf16Tokens / 2 * MatrixTiles::kCols ? 2 * stride : 0;
      tiles.add(p.x + token * p.all_cols + col * kBf16Tokens, p.weights + col * kPanelRows);
    }
    if (out == nullptr) tiles.end(sums, kPanelRows);
    else tiles.end(out, p.out_stride);
  }
}

/// Columns of a panel that, as bfloat16, leave room in the first cache; a few more rather than to leave a few.
HWY_INLINE std::size_t wide_cols(std::size_t left) { return left <= kPanelCols ? left : std::size_t{512}; }

/// widen_panel() of some format.
using WidenPanel = void (*)(const Panel& panel, std::size_t cols, const float* zero, std::uint16_t* out);

/// Rows [row_begin, row_end) of a product with bfloat16 activations. Some panels take turns at a piece of their
/// columns before all go on to the next, so that the activations of a piece stay in the second cache meanwhile.
inline HWY_NOINLINE void wide_matmul(const PanelFormat& format, WidenPanel widen, const MatmulArgs& a,
                                     std::size_t row_begin, std::size_t row_end, std::uint8_t* scratch) {
  constexpr std::size_t kTokens = 512, kPanels = 4, kSums = kTokens * kPanelRows;
  constexpr std::size_t kWide = kPanelCols * kPanelRows;
  static_assert(Panel::kBytesBeforeSums + kWide * sizeof(std::uint16_t) + kPanels * kSums * sizeof(float) <=
                    kScratchBytes,
                "all must fit into the scratch");
  Panel panel(scratch);
  auto* wide = reinterpret_cast<std::uint16_t*>(panel.sums);
  auto* all_sums = reinterpret_cast<float*>(wide + kWide);
  const WeightMatrix& w = a.weights;
  for (std::size_t token = 0; token < a.x.tokens; token += kTokens) {
    const std::size_t tokens = HWY_MIN(kTokens, a.x.tokens - token);
    float* out = a.out + token * a.out_stride;
    for (std::size_t group = row_begin; group < row_end; group += kPanels * kPanelRows) {
      const std::size_t group_end = HWY_MIN(group + kPanels * kPanelRows, row_end);
      for (std::size_t col = 0, cols = 0; col < w.cols; col += cols) {
        cols = wide_cols(w.cols - col);
        const bool last = col + cols == w.cols;
        float* sums = all_sums;
        for (std::size_t row = group; row < group_end; row += kPanelRows, sums += kSums) {
          const std::size_t rows = HWY_MIN(kPanelRows, group_end - row);
          alignas(kBytes) float zero[kPanelRows] = {};
          if (w.row_zero != nullptr) std::copy_n(w.row_zero + row, rows, zero);
          format.fill(w, row, rows, col, cols, panel);
          widen(panel, cols, zero, wide);
          const bool turns = row + kPanelRows >= group_end;
          const std::size_t next_row = turns && !last ? group : row + kPanelRows;
          const std::size_t next_col = !turns ? col : last ? 0 : col + cols;
          WidePart part;
          part.weights = wide;
          part.cols = cols;
          part.x = a.x.bf16 + token * w.cols + col * kBf16Tokens;
          part.all_cols = w.cols;
          part.tokens = tokens;
          part.fresh = col == 0;
          part.sums = sums;
          part.out = last && rows == kPanelRows ? out + row : nullptr;
          part.out_stride = a.out_stride;
          part.next = w.row(next_row) + format.bytes(next_col);
          part.next_stride = w.row_bytes;
          part.next_bytes = format.bytes(wide_cols(w.cols - next_col));
          multiply_wide_panel(part);
          for (std::size_t t = 0; last && rows < kPanelRows && t < tokens; ++t) {
            std::copy_n(sums + t * kPanelRows, rows, out + t * a.out_stride + row);
          }
        }
      }
    }
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace simd
GEMMA_NAMESPACE_END
HWY_AFTER_NAMESPACE();
#endif  // GEMMA_SIMD_AMX

#endif  // GEMMA_SIMD_AMX_INL_HPP_
