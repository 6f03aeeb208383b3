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
/// How much further into the second cache, where rows are read several at a time.
inline constexpr std::size_t kFarBytes = 8192;

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
    for (std::size_t g = 0; g < kGroups; g += kStep) {
      auto scale = hn::LoadU(d, x + g * Format::kGroup / kActivationGroup);
      if constexpr (Format::kGroup == 16) scale = hn::InterleaveWholeLower(d, scale, scale);
      product_[g / kStep] = hn::Mul(hn::LoadU(d, weights + g), scale);
    }
    if constexpr (!kInRegister) {
      for (std::size_t g = 0; g < kGroups; g += kStep) {
        hn::StoreU(product_[g / kStep], d, stored_ + g);
      }
    }
  }

  /// For sums of kCount elements from kFirst on that lie in the lanes one after the other.
  template <std::size_t kFirst, std::size_t kCount>
  HWY_INLINE VF get() const {
    const DF d;
    if constexpr (kInRegister) {
      alignas(64) static constexpr std::array<std::int32_t, kLanes> kGroupOfLane = [] {
        std::array<std::int32_t, kLanes> groups{};
        for (std::size_t i = 0; i < kLanes; ++i) {
          groups[i] = static_cast<std::int32_t>((kFirst + i * kCount / kLanes) / Format::kGroup);
        }
        return groups;
      }();
      return hn::TableLookupLanes(hn::ResizeBitCast(d, product_[0]),
                                  table_indices(d, hn::Load(DI32(), kGroupOfLane.data())));
    } else if constexpr (kCount <= Format::kGroup) {
      return hn::Set(d, stored_[kFirst / Format::kGroup]);
    } else {
      static_assert(kCount == 2 * Format::kGroup, "a group has half of the lanes");
      const hn::Half<DF> half;
      const float* two = stored_ + kFirst / Format::kGroup;
      return hn::Combine(d, hn::Set(half, two[1]), hn::Set(half, two[0]));
    }
  }

 private:
  /// Vectors of 64 codes hold several groups.
  static constexpr bool kInRegister = kBytes == 64;

  hn::Vec<D> product_[kGroups / kStep];
  float stored_[kInRegister ? 1 : kGroups];
};

/// Running sums of a row and a token: several, so that an addition need not wait for the one before.
inline constexpr std::size_t kChains = 4;

/// Adds factor · Σ of products to the running sums, for the 64 codes from element kFirst of a span on.
/// `q` are the activations of the span; where they are bytes, the low ones lie `n` further on.
template <std::size_t kFirst, class Format>
HWY_INLINE void add_chunk(const VU8* codes, const std::int8_t* q, std::size_t n,
                          const Factors<Format>& factors, VF* sums) {
  const DF d;
  const DI32 di;
  unroll<kVecs>([&](auto index) HWY_ATTR {
    constexpr std::size_t v = decltype(index)::value;
    constexpr std::size_t kAt = kFirst + v * kBytes;
    VF& sum = sums[kAt / kBytes % kChains];
    if constexpr (kHasQuads) {
      const VI8 high = hn::LoadU(DI8(), q + kAt);
      const VI8 low = hn::LoadU(DI8(), q + n + kAt);
      const VI32 coarse = add_quads(codes[v], high, hn::Zero(di));
      const VI32 all = add_quads(codes[v], low, hn::ShiftLeft<8>(coarse));
      sum = hn::MulAdd(hn::ConvertTo(d, all), factors.template get<kAt, kBytes>(), sum);
    } else {
      // Even and odd bytes widen without crossing lanes; activations lie in that order.
      const DI16 d16;
      const auto both = hn::BitCast(DU16(), codes[v]);
      const VI16 even = hn::BitCast(d16, hn::And(both, hn::Set(DU16(), 0xFF)));
      const VI16 odd = hn::BitCast(d16, hn::ShiftRight<8>(both));
      const std::int16_t* x = reinterpret_cast<const std::int16_t*>(q) + kAt;
      const VI32 all = hn::Add(hn::WidenMulPairwiseAdd(di, even, load_alternate<0>(x)),
                               hn::WidenMulPairwiseAdd(di, odd, load_alternate<1>(x)));
      sum = hn::MulAdd(hn::ConvertTo(d, all), factors.template get<kAt, kBytes>(), sum);
    }
  });
}

/// Σ_c W[r, c] x_c of one row for kCount tokens.
template <class Format, std::size_t kCount>
class OneRowSums {
 public:
  static constexpr std::size_t kRows = 1;

  HWY_INLINE OneRowSums() {
    unroll<kChains * kCount>([&](auto i) GEMMA_INLINE_LAMBDA { sums_[i] = hn::Zero(DF()); });
    unroll<kCount>([&](auto t) GEMMA_INLINE_LAMBDA { minimums_[t] = hn::Zero(D()); });
  }

  /// Adds a span; the activations' low bytes, where they are bytes, lie `n` behind the high ones.
  HWY_INLINE void add(const std::uint8_t* span, std::size_t /*stride*/, std::size_t n,
                      const FineInput* x) {
    constexpr std::size_t kStep = Factors<Format>::kStep;
    const D d;
    const Codes<Format> codes(span);
    float scale[kGroups], minimum[kGroups];
    codes.scales(scale, minimum);
    if constexpr (Format::kHasMin || Codes<Format>::kOffset != 0) {
      for (std::size_t g = 0; g < kGroups; g += kStep) {
        const auto low = Format::kHasMin
                             ? hn::LoadU(d, minimum + g)
                             : hn::Mul(hn::LoadU(d, scale + g),
                                       hn::Set(d, static_cast<float>(Codes<Format>::kOffset)));
        unroll<kCount>([&](auto t) GEMMA_INLINE_LAMBDA {
          minimums_[t] = hn::MulAdd(low, hn::LoadU(d, x[t].sum + g), minimums_[t]);
        });
      }
    }
    Factors<Format> factors[kCount];
    unroll<kCount>([&](auto t) GEMMA_INLINE_LAMBDA { factors[t].set(scale, x[t].scale); });
    unroll<Codes<Format>::kSpan / 64>([&](auto i) GEMMA_INLINE_LAMBDA {
      VU8 chunk[kVecs];
      codes.template get<decltype(i)::value>(chunk);
      unroll<kCount>([&](auto t) GEMMA_INLINE_LAMBDA {
        add_chunk<64 * decltype(i)::value>(chunk, x[t].q, n, factors[t], sums_ + kChains * t);
      });
    });
  }

  HWY_INLINE void results(std::size_t t, float* out) const {
    const VF* sums = sums_ + kChains * t;
    const VF total = hn::Add(hn::Add(sums[0], sums[1]), hn::Add(sums[2], sums[3]));
    *out = hn::ReduceSum(DF(), total) - hn::ReduceSum(D(), minimums_[t]);
  }

 private:
  using D = typename Factors<Format>::D;
  static constexpr std::size_t kGroups = Factors<Format>::kGroups;

  VF sums_[kCount * kChains];  // token by token
  hn::Vec<D> minimums_[kCount];
};

#if HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX3_DL
template <class Format, std::size_t kCount>
using RowSums = std::conditional_t<kIsSlow<Format>, OneRowSums<Format, kCount>, FourRowSums<Format, kCount>>;
#else
template <class Format, std::size_t kCount>
using RowSums = OneRowSums<Format, kCount>;
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
  const std::size_t distance = kRows > 1 ? HWY_MAX(kRows * stride, kPrefetchBytes) : kPrefetchBytes;
  for (std::size_t c = 0; c < cols; c += kSpan) {
    const std::size_t offset = c / Format::kBlockElements * Format::kBlockBytes;
    // A group of rows ahead, in the order in which they lie in memory.
    const std::uint8_t* next = rows + distance + kRows * offset;
    for (std::size_t line = 0; line < kRows * kSpanBytes<Format>; line += 64) {
      hwy::Prefetch(next + line);
      if constexpr (kRows > 1) prefetch_far(next + kFarBytes + line);
    }
    const std::uint8_t* spans = rows + offset;
    FineInput input[kCount];
    for (std::size_t t = 0; t < kCount; ++t) {
      input[t] = {x[t].q + (kHasQuads ? c : 2 * c), x[t].scale + c / kActivationGroup,
                  x[t].sum + c / Format::kGroup};
    }
    if (HWY_UNLIKELY(cols - c < kSpan)) {
      const std::size_t left = (cols - c) / Format::kBlockElements;
      std::memset(padded, 0, sizeof padded);
      std::memset(padded_scale, 0, sizeof padded_scale);
      std::memset(padded_sum, 0, sizeof padded_sum);
      for (std::size_t r = 0; r < kRows; ++r) {
        std::memcpy(padded[r], spans + r * stride, left * Format::kBlockBytes);
      }
      spans = padded[0];
      stride = sizeof padded[0];
      for (std::size_t t = 0; t < kCount; ++t) {
        std::memcpy(padded_scale[t], input[t].scale, left * sizeof(float));
        std::memcpy(padded_sum[t], input[t].sum, left * sizeof(float));
        input[t].scale = padded_scale[t];
        input[t].sum = padded_sum[t];
      }
    }
    sums.add(spans, stride, cols, input);
  }
}

template <class Format, std::size_t kCount>
inline HWY_NOINLINE void matvec_tokens(const MatmulArgs& a, std::size_t row_begin, std::size_t row_end,
                              std::size_t token) {
  using Sums = RowSums<Format, kCount>;
  FineInput x[kCount];
  for (std::size_t t = 0; t < kCount; ++t) x[t] = fine_input<Format>(a.x, token + t);
  for (std::size_t row = row_begin; row < row_end;) {
    // Of the last rows, if they are too few, one stands for all.
    const bool full = row + Sums::kRows <= row_end;
    const std::size_t rows = full ? Sums::kRows : 1;
    Sums sums;
    add_rows<Format, kCount>(a.weights.row(row), full ? a.weights.row_bytes : 0, a.weights.cols, x, sums);
    for (std::size_t t = 0; t < kCount; ++t) {
      float results[Sums::kRows];
      sums.results(t, results);
      std::memcpy(a.out + (token + t) * a.out_stride + row, results, rows * sizeof(float));
    }
    row += rows;
  }
}

template <class Format>
inline HWY_NOINLINE void quantized_matvec(const MatmulArgs& a, std::size_t row_begin,
                                          std::size_t row_end) {
  std::size_t token = 0;
  if constexpr (!kIsSlow<Format>) {
    for (; token + 4 <= a.x.tokens; token += 4) {
      matvec_tokens<Format, 4>(a, row_begin, row_end, token);
    }
  }
  for (; token < a.x.tokens; ++token) matvec_tokens<Format, 1>(a, row_begin, row_end, token);
}

}  // namespace HWY_NAMESPACE
}  // namespace simd
GEMMA_NAMESPACE_END
HWY_AFTER_NAMESPACE();

#endif  // GEMMA_SIMD_MATVEC_INL_HPP_
