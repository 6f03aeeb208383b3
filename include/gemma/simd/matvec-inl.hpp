// Few tokens: the weights stream by once, straight from the file, and memory is the limit. A row is
// unpacked in registers and multiplied with the activations of up to four tokens.
#if defined(GEMMA_SIMD_MATVEC_INL_HPP_) == defined(HWY_TARGET_TOGGLE)
#ifdef GEMMA_SIMD_MATVEC_INL_HPP_
#undef GEMMA_SIMD_MATVEC_INL_HPP_
#else
#define GEMMA_SIMD_MATVEC_INL_HPP_
#endif

#include <array>
#include <type_traits>

#include "gemma/simd/activations-inl.hpp"
#include "gemma/simd/byte_rows-inl.hpp"
#include "gemma/simd/codes-inl.hpp"
#include "gemma/simd/dot-inl.hpp"
#include "gemma/simd/four_rows-inl.hpp"
#include "gemma/simd/kernels.hpp"
#include "gemma/simd/vector-inl.hpp"

HWY_BEFORE_NAMESPACE();
GEMMA_NAMESPACE_BEGIN
namespace simd {
namespace HWY_NAMESPACE {

/// How far ahead of its use a weight is asked for at least: the hardware alone stops at page borders.
inline constexpr std::size_t kPrefetchBytes = 4096;
/// How much further into the second cache, where four rows are read at a time.
inline constexpr std::size_t kFarBytes = 8192;

/// Vectors of 64 codes that have the same groups in the same lanes: their products can be added as integers.
template <class Format>
inline constexpr std::size_t kMerged =
    Codes<Format>::kPaired || (kVecs == 4 && Format::kGroup == 32) ? 2 : 1;

/// The factors of a span for one token: scales of the weights times those of the activations, by
/// group of the format.
template <class Format>
class Factors {
 public:
  static constexpr std::size_t kGroups = Codes<Format>::kSpan / Format::kGroup;
  using D = hn::CappedTag<float, kGroups>;
  static constexpr std::size_t kStep = hn::MaxLanes(D());

  HWY_INLINE Factors() {}  // the compiler's own one may be of another target

  HWY_INLINE void set(const float* weights, const float* x) {
    const D d;
    unroll<kGroups / kStep>([&](auto i) GEMMA_INLINE_LAMBDA {
      constexpr std::size_t kFirst = decltype(i)::value * kStep;
      auto scale = hn::LoadU(d, x + kFirst * Format::kGroup / kActivationGroup);
      if constexpr (Format::kGroup == 16) scale = hn::InterleaveWholeLower(d, scale, scale);
      product_[i] = hn::Mul(hn::LoadU(d, weights + kFirst), scale);
      if constexpr (!kSeveral) hn::StoreU(product_[i], d, stored_ + kFirst);
    });
  }

  /// For the lanes of vector kVector of a chunk of 64 codes.
  template <std::size_t kChunk, std::size_t kVector>
  HWY_INLINE VF get() const {
    const DF d;
    constexpr std::size_t kFirst = kChunk * 64 / Format::kGroup;
    if constexpr (kSeveral) {
      alignas(64) static constexpr std::array<std::int32_t, kLanes> kGroupOfLane = [] {
        std::array<std::int32_t, kLanes> groups{};
        for (std::size_t i = 0; i < kLanes; ++i) {
          const std::size_t code = Codes<Format>::kPaired ? i / 4 * 32 : kVector * kBytes + 4 * i;
          groups[i] = static_cast<std::int32_t>((kFirst + code / Format::kGroup) % kStep);
        }
        return groups;
      }();
      return hn::TableLookupLanes(hn::ResizeBitCast(d, product_[kFirst / kStep]),
                                  table_indices(d, hn::Load(DI32(), kGroupOfLane.data())));
    } else {
      return hn::Set(d, stored_[kFirst + kVector * kBytes / Format::kGroup]);
    }
  }

 private:
  /// Whether vectors of codes hold several groups.
  static constexpr bool kSeveral = kBytes > Format::kGroup || Codes<Format>::kPaired;

  hn::Vec<D> product_[kGroups / kStep];
  float stored_[kSeveral ? 1 : kGroups];
};

/// Whether the fine activations for a format are bytes.
template <class Format>
inline constexpr bool kTakesBytes = kHasQuads || Codes<Format>::kPaired;

/// The fine activations of a chunk of 64, as they meet the codes.
template <bool kFineBytes, std::size_t kChunk>
class ChunkInput {
 public:
  /// `q` are those of a span; where they are bytes, the low ones lie `n` further on.
  HWY_INLINE ChunkInput(const std::int8_t* q, std::size_t n) {
    unroll<kVecs>([&](auto v) GEMMA_INLINE_LAMBDA {
      if constexpr (kFineBytes) {
        first_[v] = hn::LoadU(D(), q + 64 * kChunk + v * kBytes);
        second_[v] = hn::LoadU(D(), q + n + 64 * kChunk + v * kBytes);
      } else {
        const std::int16_t* x = reinterpret_cast<const std::int16_t*>(q) + 64 * kChunk + v * kBytes;
        first_[v] = load_alternate<0>(x);
        second_[v] = load_alternate<1>(x);
      }
    });
  }

  /// Σ of products of kCount vectors of codes from kFirst on, in the lanes of these.
  template <std::size_t kFirst, std::size_t kCount>
  HWY_INLINE VI32 times(const VU8* codes) const {
    VI32 all = hn::Zero(DI32());
    if constexpr (kHasQuads) {
      unroll<kCount>([&](auto v) GEMMA_INLINE_LAMBDA {
        all = add_quads(codes[kFirst + v], first_[kFirst + v], all);
      });
      all = hn::ShiftLeft<8>(all);
      unroll<kCount>([&](auto v) GEMMA_INLINE_LAMBDA {
        all = add_quads(codes[kFirst + v], second_[kFirst + v], all);
      });
    } else if constexpr (kFineBytes) {
      // Codes have 5 bits at most: kCount times two products fit 16 bits.
      static_assert(kCount <= 4, "no sum saturates");
      VI16 high = hn::Zero(DI16()), low = hn::Zero(DI16());
      unroll<kCount>([&](auto v) GEMMA_INLINE_LAMBDA {
        high = hn::Add(high, hn::SatWidenMulPairwiseAdd(DI16(), codes[kFirst + v], first_[kFirst + v]));
        low = hn::Add(low, hn::SatWidenMulPairwiseAdd(DI16(), codes[kFirst + v], second_[kFirst + v]));
      });
      all = hn::Add(hn::WidenMulPairwiseAdd(DI32(), high, hn::Set(DI16(), 256)),
                    hn::WidenMulPairwiseAdd(DI32(), low, hn::Set(DI16(), 1)));
    } else {
      unroll<kCount>([&](auto v) GEMMA_INLINE_LAMBDA {
        const WidenedCodes words(codes[kFirst + v]);
        const VI32 two = hn::Add(hn::WidenMulPairwiseAdd(DI32(), words.part[0], first_[kFirst + v]),
                                 hn::WidenMulPairwiseAdd(DI32(), words.part[1], second_[kFirst + v]));
        all = v == 0 ? two : hn::Add(all, two);
      });
    }
    return all;
  }

 private:
  using D = std::conditional_t<kFineBytes, DI8, DI16>;

  hn::Vec<D> first_[kVecs];   // high bytes, or what meets the first part of WidenedCodes
  hn::Vec<D> second_[kVecs];  // low bytes, or what meets the other part
};

/// Σ_c W[r, c] x_c of kRowCount rows for kCount tokens. No result depends on the other ones.
template <class Format, std::size_t kRowCount, std::size_t kCount>
class RowByRowSums {
 public:
  static constexpr std::size_t kRows = kRowCount;
  static constexpr FineOrder kOrder = Codes<Format>::kPaired ? FineOrder::paired : FineOrder::plain;

  HWY_INLINE RowByRowSums() {
    unroll<kRows * kCount>([&](auto i) GEMMA_INLINE_LAMBDA {
      sums_[i] = hn::Zero(DF());
      minimums_[i] = hn::Zero(D());
    });
  }

  /// Adds a span of each row, `stride` bytes apart; the activations' low bytes, where they are bytes, lie `n`
  /// behind the high ones.
  HWY_INLINE void add(const std::uint8_t* spans, std::size_t stride, std::size_t n, const FineInput* x) {
    add(spans, stride, n, x, std::make_index_sequence<kRows>());
  }

  HWY_INLINE void results(std::size_t t, float* out) const {
    const Four four;
    constexpr std::size_t kPair = HWY_MIN(kRows, std::size_t{2});
    const hn::CappedTag<float, kPair> d;
    unroll<kRows / kPair>([&](auto pair) GEMMA_INLINE_LAMBDA {
      const std::size_t row = kPair * pair;
      const auto first = quarter_sums(row * kCount + t), second = quarter_sums((row + kPair - 1) * kCount + t);
      const auto halves =
          hn::Add(hn::InterleaveLower(four, first, second), hn::InterleaveUpper(four, first, second));
      hn::StoreU(hn::ResizeBitCast(d, hn::Add(halves, hn::Shuffle1032(halves))), d, out + row);
    });
  }

 private:
  using D = typename Factors<Format>::D;
  using Four = hn::FixedTag<float, 4>;
  static constexpr std::size_t kGroups = Factors<Format>::kGroups;
  static constexpr std::size_t kStep = Factors<Format>::kStep;
  static constexpr std::size_t kParts = kVecs / kMerged<Format>;

  template <std::size_t... kRow>
  HWY_INLINE void add(const std::uint8_t* spans, std::size_t stride, std::size_t n, const FineInput* x,
                      std::index_sequence<kRow...>) {
    const Codes<Format> codes[kRows] = {Codes<Format>(spans + kRow * stride)...};
    Factors<Format> factors[kRows * kCount];
    unroll<kRows>([&](auto r) GEMMA_INLINE_LAMBDA {
      float scale[kGroups], minimum[kGroups];
      codes[r].scales(scale, minimum);
      unroll<kCount>([&](auto t) GEMMA_INLINE_LAMBDA {
        factors[r * kCount + t].set(scale, x[t].scale);
        if constexpr (Format::kHasMin || Codes<Format>::kOffset != 0) {
          auto& sum = minimums_[r * kCount + t];
          for (std::size_t g = 0; g < kGroups; g += kStep) {
            const auto low = hn::LoadU(D(), (Format::kHasMin ? minimum : scale) + g);
            sum = hn::MulAdd(low, hn::LoadU(D(), x[t].sum + g), sum);
          }
        }
      });
    });
    unroll<Codes<Format>::kSpan / 64>([&](auto i) GEMMA_INLINE_LAMBDA {
      constexpr std::size_t kChunk = decltype(i)::value;
      VU8 chunk[kRows][kVecs];
      unroll<kRows>([&](auto r) GEMMA_INLINE_LAMBDA { codes[r].template get<kChunk>(chunk[r]); });
      unroll<kCount>([&](auto t) GEMMA_INLINE_LAMBDA {
        const ChunkInput<kTakesBytes<Format>, kChunk> input(x[t].q, n);
        unroll<kRows * kParts>([&](auto part) GEMMA_INLINE_LAMBDA {
          constexpr std::size_t kRowOfPart = decltype(part)::value / kParts;
          constexpr std::size_t kFirst = decltype(part)::value % kParts * kMerged<Format>;
          const VI32 all = input.template times<kFirst, kMerged<Format>>(chunk[kRowOfPart]);
          const VF factor = factors[kRowOfPart * kCount + t].template get<kChunk, kFirst>();
          VF& sum = sums_[kRowOfPart * kCount + t];
          sum = hn::MulAdd(hn::ConvertTo(DF(), all), factor, sum);
        });
      });
    });
  }

  /// Four numbers whose sum is the i-th result.
  HWY_INLINE auto quarter_sums(std::size_t i) const {
    const DF d;
    const VF factor = hn::Set(d, Format::kHasMin ? 1.0f : float{Codes<Format>::kOffset});
    return fold_to_four(hn::NegMulAdd(hn::ZeroExtendResizeBitCast(d, D(), minimums_[i]), factor, sums_[i]));
  }

  VF sums_[kRows * kCount];  // row by row
  hn::Vec<D> minimums_[kRows * kCount];
};

#if HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX3_DL
template <class Format, std::size_t kCount>
using RowSums =
    std::conditional_t<kIsSlow<Format>, RowByRowSums<Format, 1, kCount>, FourRowSums<Format, kCount>>;
#else
/// Two rows share the work of the activations. More would cost registers, and be more streams from memory; the fifth
/// bits of codes in pairs take registers, too.
template <class Format, std::size_t kCount>
inline constexpr std::size_t kRowsAtOnce =
    kIsSlow<Format> || (kCount > 1) || (Codes<Format>::kPaired && Codes<Format>::kBits == 5) ? 1 : 2;

template <class Format, std::size_t kCount>
using RowSums = std::conditional_t<kWidensBytes<Format>, ByteRowSums<Format, kRowsAtOnce<Format, kCount>, kCount>,
                                   RowByRowSums<Format, kRowsAtOnce<Format, kCount>, kCount>>;
#endif

/// Adds all spans of some rows, `stride` bytes apart; what the last ones lack is zero.
template <class Format, std::size_t kCount>
HWY_INLINE void add_rows(const std::uint8_t* rows, std::size_t stride, std::size_t cols,
                         const FineInput* x, RowSums<Format, kCount>& sums) {
  constexpr std::size_t kRows = RowSums<Format, kCount>::kRows;
  constexpr std::size_t kSpan = Codes<Format>::kSpan;
  constexpr std::size_t kGroups = kSpan / Format::kGroup;
  std::uint8_t padded[kRows][kSpanBytes<Format> + 64];
  float padded_scale[kCount][kGroups], padded_sum[kCount][kGroups];
  // A group of rows ahead, in the order in which they lie in memory.
  const std::uint8_t* next = rows + (kRows > 1 ? HWY_MAX(kRows * stride, kPrefetchBytes) : kPrefetchBytes);
  const std::uint8_t* spans = rows;
  const auto behind = [](const FineInput& in, std::size_t by) HWY_ATTR {
    return FineInput{in.q + (kTakesBytes<Format> ? by : 2 * by), in.scale + by / kActivationGroup,
                     in.sum + by / Format::kGroup};
  };
  FineInput input[kCount] = {x[0]};
  for (std::size_t c = 0; c < cols; c += kSpan) {
    for (std::size_t line = 0; line < kRows * kSpanBytes<Format>; line += 64) {
      hwy::Prefetch(next + line);
      if constexpr (kRows > 2) prefetch_far(next + kFarBytes + line);
    }
    if constexpr (kCount > 1) {  // if pointers of several tokens went on, GCC would make a vector of them, and store it
      for (std::size_t t = 0; t < kCount; ++t) input[t] = behind(x[t], c);
    }
    if (kSpan > Format::kBlockElements && HWY_UNLIKELY(cols - c < kSpan)) {
      const std::size_t blocks = (cols - c) / Format::kBlockElements;
      std::memset(padded, 0, sizeof padded);
      std::memset(padded_scale, 0, sizeof padded_scale);
      std::memset(padded_sum, 0, sizeof padded_sum);
      for (std::size_t r = 0; r < kRows; ++r) {
        std::memcpy(padded[r], spans + r * stride, blocks * Format::kBlockBytes);
      }
      spans = padded[0];
      stride = sizeof padded[0];
      for (std::size_t t = 0; t < kCount; ++t) {
        std::memcpy(padded_scale[t], input[t].scale, blocks * sizeof(float));
        std::memcpy(padded_sum[t], input[t].sum, blocks * sizeof(float));
        input[t].scale = padded_scale[t];
        input[t].sum = padded_sum[t];
      }
    }
    sums.add(spans, stride, low_offset(cols), input);
    spans += kSpanBytes<Format>;
    next += kRows * kSpanBytes<Format>;
    if constexpr (kCount == 1) input[0] = behind(input[0], kSpan);
  }
}

template <class Format, std::size_t kCount>
inline HWY_NOINLINE void matvec_tokens(const MatmulArgs& a, std::size_t row_begin, std::size_t row_end,
                              std::size_t token) {
  using Sums = RowSums<Format, kCount>;
  FineInput x[kCount];
  for (std::size_t t = 0; t < kCount; ++t) x[t] = fine_input<Format>(a.x, token + t, Sums::kOrder);
  for (std::size_t row = row_begin; row < row_end;) {
    // Of the last rows, if they are too few, one stands for all.
    const bool full = row + Sums::kRows <= row_end;
    Sums sums;
    add_rows<Format, kCount>(a.weights.row(row), full ? a.weights.row_bytes : 0, a.weights.cols, x, sums);
    unroll<kCount>([&](auto t) GEMMA_INLINE_LAMBDA {
      float results[Sums::kRows];
      sums.results(t, results);
      float* out = a.out + (token + t) * a.out_stride + row;
      if (full) {
        std::memcpy(out, results, sizeof results);
      } else {
        *out = results[0];
      }
    });
    row += full ? Sums::kRows : 1;
  }
}

template <class Format>
inline HWY_NOINLINE void quantized_matvec(const MatmulArgs& a, std::size_t row_begin,
                                          std::size_t row_end) {
  std::size_t token = 0;
  if constexpr (!kIsSlow<Format>) {
    // With AVX2 sums of four tokens lie in memory, which only pays beside much unpacking.
    if constexpr (kBytes != 32 || Codes<Format>::kBits % 4 != 0) {
      for (; token + 4 <= a.x.tokens; token += 4) matvec_tokens<Format, 4>(a, row_begin, row_end, token);
    }
    for (; token + 2 <= a.x.tokens; token += 2) matvec_tokens<Format, 2>(a, row_begin, row_end, token);
  }
  for (; token < a.x.tokens; ++token) matvec_tokens<Format, 1>(a, row_begin, row_end, token);
}

}  // namespace HWY_NAMESPACE
}  // namespace simd
GEMMA_NAMESPACE_END
HWY_AFTER_NAMESPACE();

#endif  // GEMMA_SIMD_MATVEC_INL_HPP_
