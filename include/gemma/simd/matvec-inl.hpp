// Few tokens: the weights stream by once, straight from the file, and memory is the limit. A row is
// unpacked in registers and multiplied with the activations of up to four tokens.
#if defined(GEMMA_SIMD_MATVEC_INL_HPP_) == defined(HWY_TARGET_TOGGLE)
#ifdef GEMMA_SIMD_MATVEC_INL_HPP_
#undef GEMMA_SIMD_MATVEC_INL_HPP_
#else
#define GEMMA_SIMD_MATVEC_INL_HPP_
#endif

#include <array>

#include "gemma/simd/activations-inl.hpp"
#include "gemma/simd/codes-inl.hpp"
#include "gemma/simd/dot-inl.hpp"
#include "gemma/simd/kernels.hpp"
#include "gemma/simd/vector-inl.hpp"

HWY_BEFORE_NAMESPACE();
GEMMA_NAMESPACE_BEGIN
namespace simd {
namespace HWY_NAMESPACE {

/// How far ahead of its use a weight is asked for: the hardware alone stops at page borders.
inline constexpr std::size_t kPrefetchBytes = 4096;

/// The fine activations of one token.
struct FineInput {
  const std::int8_t* q;
  const float* scale;
  const float* sum;  ///< by group of 32 or 16, as the format has them
};

template <class Format>
HWY_INLINE FineInput fine_input(const Activations& x, std::size_t token) {
  const FineRow& rows = x.fine_rows;
  const std::size_t groups = token * (x.cols / kActivationGroup);
  return {rows.q + 2 * token * x.cols, rows.scale + groups,
          Format::kGroup == 32 ? rows.sum + groups : rows.half_sum + 2 * groups};
}

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
    } else {
      static_assert(kCount <= Format::kGroup, "lanes of one group");
      return hn::Set(d, stored_[kFirst / Format::kGroup]);
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

/// Adds factor · Σ of products to the running sums, for all codes of a span, one step for all of them
/// after the other: then no instruction waits long for the one before, and more are under way.
template <class Format>
HWY_INLINE void add_chunks(const VU8 (*chunks)[1], const std::int8_t* q, std::size_t n,
                           const Factors<Format>& factors, VF* sums) {
  constexpr std::size_t kChunks = Codes<Format>::kSpan / 64;
  const DF d;
  VI32 sum[kChunks];
  unroll<kChunks>([&](auto i) HWY_ATTR {
    sum[i] = add_quads(chunks[i][0], hn::LoadU(DI8(), q + 64 * i), hn::Zero(DI32()));
  });
  unroll<kChunks>([&](auto i) HWY_ATTR { sum[i] = hn::ShiftLeft<8>(sum[i]); });
  unroll<kChunks>([&](auto i) HWY_ATTR {
    sum[i] = add_quads(chunks[i][0], hn::LoadU(DI8(), q + n + 64 * i), sum[i]);
  });
  unroll<kChunks>([&](auto i) HWY_ATTR {
    const VF factor = factors.template get<64 * decltype(i)::value, 64>();
    sums[i % kChains] = hn::MulAdd(hn::ConvertTo(d, sum[i]), factor, sums[i % kChains]);
  });
}

/// The same for the 64 codes from element kFirst of a span on, in several vectors.
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
      const DI16 d16;
      constexpr std::size_t kMiddle = kAt + kBytes / 2;
      const std::int16_t* x = reinterpret_cast<const std::int16_t*>(q);
      const VI32 a = hn::WidenMulPairwiseAdd(di, hn::PromoteLowerTo(d16, codes[v]),
                                             hn::LoadU(d16, x + kAt));
      const VI32 b = hn::WidenMulPairwiseAdd(di, hn::PromoteUpperTo(d16, codes[v]),
                                             hn::LoadU(d16, x + kMiddle));
      const VF factor = factors.template get<kAt, kBytes / 2>();
      if constexpr (kAt / Format::kGroup == kMiddle / Format::kGroup) {
        sum = hn::MulAdd(hn::ConvertTo(d, hn::Add(a, b)), factor, sum);
      } else {
        sum = hn::MulAdd(hn::ConvertTo(d, a), factor, sum);
        const VF other = factors.template get<kMiddle, kBytes / 2>();
        sum = hn::MulAdd(hn::ConvertTo(d, b), other, sum);
      }
    }
  });
}

/// Σ_c W[r, c] x_c of one row for kCount tokens.
template <class Format, std::size_t kCount>
class RowDots {
 public:
  HWY_INLINE RowDots() {
    for (std::size_t t = 0; t < kCount; ++t) {
      for (VF& sum : sums_[t]) sum = hn::Zero(DF());
      minimums_[t] = hn::Zero(D());
    }
  }

  /// All spans of a row; what the last one lacks is zero.
  HWY_INLINE void add_row(const std::uint8_t* row, std::size_t cols, const FineInput* x) {
    std::uint8_t padded[kSpanBytes + 64];
    float scales[kCount][kGroups], sums[kCount][kGroups];
    for (std::size_t c = 0; c < cols; c += kSpan) {
      const std::uint8_t* span = row + c / Format::kBlockElements * Format::kBlockBytes;
      for (std::size_t line = 0; line < kSpanBytes; line += 64) {
        hwy::Prefetch(span + kPrefetchBytes + line);
      }
      FineInput input[kCount];
      for (std::size_t t = 0; t < kCount; ++t) {
        input[t] = {x[t].q + (kHasQuads ? c : 2 * c), x[t].scale + c / kActivationGroup,
                    x[t].sum + c / Format::kGroup};
      }
      if (HWY_UNLIKELY(cols - c < kSpan)) {
        const std::size_t left = (cols - c) / Format::kBlockElements;
        std::memset(padded, 0, sizeof padded);
        std::memset(scales, 0, sizeof scales);
        std::memset(sums, 0, sizeof sums);
        std::memcpy(padded, span, left * Format::kBlockBytes);
        span = padded;
        for (std::size_t t = 0; t < kCount; ++t) {
          std::memcpy(scales[t], input[t].scale, left * sizeof(float));
          std::memcpy(sums[t], input[t].sum, left * sizeof(float));
          input[t].scale = scales[t];
          input[t].sum = sums[t];
        }
      }
      add(span, cols, input);
    }
  }

  HWY_INLINE float result(std::size_t t) const {
    const VF* sums = sums_[t];
    const VF total = hn::Add(hn::Add(sums[0], sums[1]), hn::Add(sums[2], sums[3]));
    return hn::ReduceSum(DF(), total) - hn::ReduceSum(D(), minimums_[t]);
  }

 private:
  using D = typename Factors<Format>::D;
  static constexpr std::size_t kSpan = Codes<Format>::kSpan;
  static constexpr std::size_t kChunks = kSpan / 64;
  static constexpr std::size_t kGroups = Factors<Format>::kGroups;
  static constexpr std::size_t kSpanBytes = kSpan / Format::kBlockElements * Format::kBlockBytes;

  HWY_INLINE void add(const std::uint8_t* span, std::size_t cols, const FineInput* x) {
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
        for (std::size_t t = 0; t < kCount; ++t) {
          minimums_[t] = hn::MulAdd(low, hn::LoadU(d, x[t].sum + g), minimums_[t]);
        }
      }
    }
    Factors<Format> factors[kCount];
    for (std::size_t t = 0; t < kCount; ++t) factors[t].set(scale, x[t].scale);
    VU8 chunks[kChunks][kVecs];
    if constexpr (kHasQuads && kVecs == 1) {
      unroll<kChunks>([&](auto i) HWY_ATTR { codes.template get<decltype(i)::value>(chunks[i]); });
      for (std::size_t t = 0; t < kCount; ++t) {
        add_chunks<Format>(chunks, x[t].q, cols, factors[t], sums_[t]);
      }
    } else {
      unroll<kChunks>([&](auto i) HWY_ATTR {
        codes.template get<decltype(i)::value>(chunks[i]);
        for (std::size_t t = 0; t < kCount; ++t) {
          add_chunk<64 * decltype(i)::value>(chunks[i], x[t].q, cols, factors[t], sums_[t]);
        }
      });
    }
  }

  VF sums_[kCount][kChains];
  hn::Vec<D> minimums_[kCount];
};

template <class Format, std::size_t kCount>
inline HWY_NOINLINE void matvec_tokens(const MatmulArgs& a, std::size_t row_begin, std::size_t row_end,
                              std::size_t token) {
  FineInput x[kCount];
  for (std::size_t t = 0; t < kCount; ++t) x[t] = fine_input<Format>(a.x, token + t);
  for (std::size_t r = row_begin; r < row_end; ++r) {
    RowDots<Format, kCount> dots;
    dots.add_row(a.weights.row(r), a.weights.cols, x);
    for (std::size_t t = 0; t < kCount; ++t) {
      a.out[(token + t) * a.out_stride + r] = dots.result(t);
    }
  }
}

template <class Format>
inline HWY_NOINLINE void quantized_matvec(const MatmulArgs& a, std::size_t row_begin,
                                          std::size_t row_end) {
  std::size_t token = 0;
  for (; token + 4 <= a.x.tokens; token += 4) {
    matvec_tokens<Format, 4>(a, row_begin, row_end, token);
  }
  for (; token < a.x.tokens; ++token) matvec_tokens<Format, 1>(a, row_begin, row_end, token);
}

}  // namespace HWY_NAMESPACE
}  // namespace simd
GEMMA_NAMESPACE_END
HWY_AFTER_NAMESPACE();

#endif  // GEMMA_SIMD_MATVEC_INL_HPP_
