// Products of four rows with few tokens, for targets whose vectors hold 64 codes (four_spans-inl.hpp).
#if defined(GEMMA_SIMD_FOUR_ROWS_INL_HPP_) == defined(HWY_TARGET_TOGGLE)
#ifdef GEMMA_SIMD_FOUR_ROWS_INL_HPP_
#undef GEMMA_SIMD_FOUR_ROWS_INL_HPP_
#else
#define GEMMA_SIMD_FOUR_ROWS_INL_HPP_
#endif

#include "gemma/simd/activations-inl.hpp"
#include "gemma/simd/four_spans-inl.hpp"

#if HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX3_DL
HWY_BEFORE_NAMESPACE();
GEMMA_NAMESPACE_BEGIN
namespace simd {
namespace HWY_NAMESPACE {

/// What lies in which lane, of four rows of a format.
template <class Format>
struct FourRowLanes {
  static constexpr std::size_t kGroups = Codes<Format>::kSpan / Format::kGroup;
  static constexpr std::size_t kRowsOfVector = kLanes / kGroups;

  /// Which group of 128 columns a lane of a vector of codes belongs to.
  static constexpr std::size_t group_of(std::size_t vector, std::size_t lane) {
    return FourSpans<Format>::column(vector, lane) / Format::kGroup;
  }
  /// Whether both vectors of codes have the same groups in the same lanes, so that sums can be shared.
  static constexpr bool kShared = [] {
    for (std::size_t i = 0; i < kLanes; ++i) {
      if (group_of(0, i) != group_of(1, i)) return false;
    }
    return true;
  }();

  /// Whether the codes come in the order of their columns.
  static constexpr bool kInOrder = [] {
    for (std::size_t i = 0; i < 2 * kLanes; ++i) {
      if (FourSpans<Format>::column(i / kLanes, i % kLanes) != 4 * i) return false;
    }
    return true;
  }();

  /// One number for each group of a row from those for each `size` columns; for as many rows as a vector
  /// takes.
  static HWY_INLINE VF by_group(const float* x, std::size_t size) {
    const DF d;
    if constexpr (kGroups == 4) {
      return hn::LoadDup128(d, x);
    } else if constexpr (kGroups == 8) {
      const auto one = hn::LoadU(hn::Half<DF>(), x);
      return hn::Combine(d, one, one);
    } else {
      const VF all = hn::LoadU(d, x);
      return size == Format::kGroup ? all : hn::InterleaveWholeLower(d, all, all);
    }
  }

  /// Activations in the order of the codes.
  static HWY_INLINE void arrange(const std::int8_t* x, VI8* out) {
    const DI8 d;
    out[0] = hn::LoadU(d, x);
    out[1] = hn::LoadU(d, x + 64);
    if constexpr (!kInOrder) {
      const VU8 first = hn::BitCast(DU8(), out[0]), second = hn::BitCast(DU8(), out[1]);
      unroll<2>([&](auto v) GEMMA_INLINE_LAMBDA {
        static constexpr auto kFrom = lanes_of<std::uint32_t>(
            [](std::size_t i) { return FourSpans<Format>::column(decltype(v)::value, i) / 4; });
        out[v] = hn::BitCast(d, pick(first, second, kFrom));
      });
    }
  }

  /// The factors of the lanes of a vector of codes whose first groups lie from lane kFirst on.
  template <std::size_t kFirst, std::size_t kVector>
  static HWY_INLINE VF spread(VF factors) {
    static constexpr auto kFrom =
        lanes_of<std::int32_t>([](std::size_t i) { return kFirst + group_of(kVector, i); });
    return hn::TableLookupLanes(factors, table_indices(DF(), hn::LoadU(DI32(), kFrom.data())));
  }

  /// The numbers of all groups of a row from lane kFirst on, to the first lanes; the others are zero.
  template <std::size_t kFirst>
  static HWY_INLINE VF to_first_lanes(VF v) {
    const DF d;
    static constexpr auto kFrom = lanes_of<std::int32_t>([](std::size_t i) { return kFirst + i % kGroups; });
    const VF moved = hn::TableLookupLanes(v, table_indices(d, hn::LoadU(DI32(), kFrom.data())));
    return hn::IfThenElseZero(hn::FirstN(d, kGroups), moved);
  }
};

/// Σ_c W[r, c] x_c of four rows for kCount tokens. No row's result depends on the other rows.
template <class Format, std::size_t kCount>
class FourRowSums {
 public:
  static constexpr std::size_t kRows = 4;

  HWY_INLINE FourRowSums() {
    for (std::size_t t = 0; t < kCount; ++t) {
      for (VF& sum : sums_[t]) sum = hn::Zero(DF());
      for (VF& minimum : minimums_[t]) minimum = hn::Zero(DF());
    }
  }

  /// Adds a span of each row, `stride` bytes apart; the activations' low bytes lie `n` behind the high ones.
  HWY_INLINE void add(const std::uint8_t* spans, std::size_t stride, std::size_t n, const FineInput* x) {
    const DF d;
    const FourSpans<Format> codes(spans, stride);
    VF scale[kVectors], minimum[kVectors], factors[kCount][kVectors];
    codes.scales(scale, minimum);
    for (std::size_t t = 0; t < kCount; ++t) {
      const VF x_scale = Lanes::by_group(x[t].scale, kActivationGroup);
      const VF x_sum = Lanes::by_group(x[t].sum, Format::kGroup);
      for (std::size_t v = 0; v < kVectors; ++v) {
        factors[t][v] = hn::Mul(scale[v], x_scale);
        if constexpr (Format::kHasMin) {
          minimums_[t][v] = hn::MulAdd(minimum[v], x_sum, minimums_[t][v]);
        } else if constexpr (kOffset != 0) {
          minimums_[t][v] = hn::MulAdd(scale[v], x_sum, minimums_[t][v]);
        }
      }
    }
    unroll<Codes<Format>::kSpan / 128>([&](auto half) GEMMA_INLINE_LAMBDA {
      constexpr std::size_t kHalf = decltype(half)::value;
      VU8 rows[kRows][2];
      unroll<kRows>([&](auto r) GEMMA_INLINE_LAMBDA { codes.template get<kHalf>(r, rows[r]); });
      for (std::size_t t = 0; t < kCount; ++t) {
        VI8 high[2], low[2];
        Lanes::arrange(x[t].q + 128 * kHalf, high);
        Lanes::arrange(x[t].q + n + 128 * kHalf, low);
        unroll<kRows>([&](auto r) GEMMA_INLINE_LAMBDA {
          constexpr std::size_t kRow = decltype(r)::value;
          constexpr std::size_t kFirst = kRow % kRowsOfVector * kGroups + kHalf * 128 / Format::kGroup;
          const VF factor = factors[t][kRow / kRowsOfVector];
          VF& sum = sums_[t][kRow];
          if constexpr (Lanes::kShared) {
            VI32 all = add_quads(rows[r][1], high[1], add_quads(rows[r][0], high[0], hn::Zero(DI32())));
            all = add_quads(rows[r][0], low[0], hn::ShiftLeft<8>(all));
            all = add_quads(rows[r][1], low[1], all);
            sum = hn::MulAdd(hn::ConvertTo(d, all), Lanes::template spread<kFirst, 0>(factor), sum);
          } else {
            unroll<2>([&](auto v) GEMMA_INLINE_LAMBDA {
              VI32 all = add_quads(rows[r][v], high[v], hn::Zero(DI32()));
              all = add_quads(rows[r][v], low[v], hn::ShiftLeft<8>(all));
              const VF own = Lanes::template spread<kFirst, decltype(v)::value>(factor);
              sum = hn::MulAdd(hn::ConvertTo(d, all), own, sum);
            });
          }
        });
      }
    });
  }

  /// The results of the four rows.
  HWY_INLINE void results(std::size_t t, float* out) const {
    const DF d;
    const hn::Repartition<double, DF> pairs;
    const VF factor = hn::Set(d, Format::kHasMin ? 1.0f : static_cast<float>(kOffset));
    VF own[kRows];
    unroll<kRows>([&](auto r) GEMMA_INLINE_LAMBDA {
      // To the first lanes for every row: then additions come in the same order.
      constexpr std::size_t kFirst = decltype(r)::value % kRowsOfVector * kGroups;
      const VF minimum = Lanes::template to_first_lanes<kFirst>(minimums_[t][r / kRowsOfVector]);
      own[r] = hn::NegMulAdd(minimum, factor, sums_[t][r]);
    });
    // Sums of two lanes, of four, then of the four blocks.
    const VF two01 = hn::Add(hn::InterleaveLower(d, own[0], own[1]), hn::InterleaveUpper(d, own[0], own[1]));
    const VF two23 = hn::Add(hn::InterleaveLower(d, own[2], own[3]), hn::InterleaveUpper(d, own[2], own[3]));
    const auto a = hn::BitCast(pairs, two01), b = hn::BitCast(pairs, two23);
    const VF blocks = hn::Add(hn::BitCast(d, hn::InterleaveLower(pairs, a, b)),
                              hn::BitCast(d, hn::InterleaveUpper(pairs, a, b)));
    const hn::Half<DF> eight;
    const hn::Half<decltype(eight)> four;
    const auto halves = hn::Add(hn::LowerHalf(eight, blocks), hn::UpperHalf(eight, blocks));
    hn::StoreU(hn::Add(hn::LowerHalf(four, halves), hn::UpperHalf(four, halves)), four, out);
  }

 private:
  using Lanes = FourRowLanes<Format>;
  static constexpr std::size_t kGroups = Lanes::kGroups;
  static constexpr std::size_t kRowsOfVector = Lanes::kRowsOfVector;
  static constexpr std::size_t kVectors = kRows / kRowsOfVector;
  static constexpr int kOffset = Codes<Format>::kOffset;

  VF sums_[kCount][kRows];
  VF minimums_[kCount][kVectors];
};

}  // namespace HWY_NAMESPACE
}  // namespace simd
GEMMA_NAMESPACE_END
HWY_AFTER_NAMESPACE();
#endif  // HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX3_DL

#endif  // GEMMA_SIMD_FOUR_ROWS_INL_HPP_
