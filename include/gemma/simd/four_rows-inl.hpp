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

  /// Whether codes come as activations do in an order.
  static constexpr bool comes_in(FineOrder order) {
    for (std::size_t i = 0; i < 8; ++i) {
      const std::size_t place = place_in_order(order, i / 2, i % 2);
      if (FourSpans<Format>::column(place / 64, place % 64 / 4) != 16 * i) return false;
    }
    return true;
  }
  static constexpr FineOrder kOrder = comes_in(FineOrder::plain)    ? FineOrder::plain
                                      : comes_in(FineOrder::halves) ? FineOrder::halves
                                                                    : FineOrder::even_groups;
  static_assert(comes_in(kOrder), "an order that activations have");

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

/// sums [4 · kSums], row by row: products of a row's 128 codes with activations 256 · high + low, each of two vectors.
/// With one sum for a row both vectors are in it. All rows go step by step, since each step waits for the one before.
template <std::size_t kSums, std::size_t... kSum>
HWY_INLINE void multiply_rows(const VU8 (&rows)[4][2], const VI8* high, const VI8* low, VI32* sums,
                              std::index_sequence<kSum...>) {
  ((sums[kSum] = add_quads(rows[kSum / kSums][kSum % kSums], high[kSum % kSums], hn::Zero(DI32()))), ...);
  if constexpr (kSums == 1) ((sums[kSum] = add_quads(rows[kSum][1], high[1], sums[kSum])), ...);
  ((sums[kSum] = hn::ShiftLeft<8>(sums[kSum])), ...);
  ((sums[kSum] = add_quads(rows[kSum / kSums][kSum % kSums], low[kSum % kSums], sums[kSum])), ...);
  if constexpr (kSums == 1) ((sums[kSum] = add_quads(rows[kSum][1], low[1], sums[kSum])), ...);
}

/// Σ_c W[r, c] x_c of four rows for kCount tokens. No row's result depends on the other rows.
template <class Format, std::size_t kCount>
class FourRowSums {
 public:
  static constexpr std::size_t kRows = 4;
  static constexpr FineOrder kOrder = FourRowLanes<Format>::kOrder;

  HWY_INLINE FourRowSums() {
    unroll<kCount>([&](auto t) GEMMA_INLINE_LAMBDA {
      clear(sums_[t], std::make_index_sequence<kRows>());
      clear(minimums_[t], std::make_index_sequence<kVectors>());
    });
  }

  /// Adds a span of each row, `stride` bytes apart; the activations' low bytes lie `n` behind the high ones.
  HWY_INLINE void add(const std::uint8_t* spans, std::size_t stride, std::size_t n, const FineInput* x) {
    const FourSpans<Format> codes(spans, stride);
    VF scale[kVectors], minimum[kVectors], factors[kCount][kVectors];
    codes.scales(scale, minimum);
    unroll<kCount>([&](auto t) GEMMA_INLINE_LAMBDA {
      const VF x_scale = Lanes::by_group(x[t].scale, kActivationGroup);
      const VF x_sum = Lanes::by_group(x[t].sum, Format::kGroup);
      multiply(scale, x_scale, factors[t], std::make_index_sequence<kVectors>());
      if constexpr (Format::kHasMin || kOffset != 0) {
        const VF* less = Format::kHasMin ? minimum : scale;
        add_products(less, x_sum, minimums_[t], std::make_index_sequence<kVectors>());
      }
    });
    unroll<Codes<Format>::kSpan / 128>([&](auto half) GEMMA_INLINE_LAMBDA {
      constexpr std::size_t kHalf = decltype(half)::value;
      VU8 rows[kRows][2];
      get_rows<kHalf>(codes, rows, std::make_index_sequence<kRows>());
      unroll<kCount>([&](auto t) GEMMA_INLINE_LAMBDA {
        const std::int8_t* q = x[t].q + 128 * kHalf;
        const VI8 high[2] = {hn::LoadU(DI8(), q), hn::LoadU(DI8(), q + 64)};
        const VI8 low[2] = {hn::LoadU(DI8(), q + n), hn::LoadU(DI8(), q + n + 64)};
        constexpr std::size_t kSums = Lanes::kShared ? 1 : 2;
        VI32 all[kRows * kSums];
        multiply_rows<kSums>(rows, high, low, all, std::make_index_sequence<kRows * kSums>());
        add_scaled<kHalf, kSums>(all, factors[t], sums_[t], std::make_index_sequence<kRows * kSums>());
      });
    });
  }

  /// The results of the four rows.
  HWY_INLINE void results(std::size_t t, float* out) const {
    const DF d;
    const hn::Repartition<double, DF> pairs;
    const VF factor = hn::Set(d, Format::kHasMin ? 1.0f : static_cast<float>(kOffset));
    VF own[kRows];
    subtract_minimums(minimums_[t], factor, sums_[t], own, std::make_index_sequence<kRows>());
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

  // Fold expressions, since a lambda for each row would cost compilers a lot of memory.

  template <std::size_t... kVector>
  static HWY_INLINE void clear(VF* sums, std::index_sequence<kVector...>) {
    ((sums[kVector] = hn::Zero(DF())), ...);
  }
  template <std::size_t... kVector>
  static HWY_INLINE void multiply(const VF* a, VF b, VF* out, std::index_sequence<kVector...>) {
    ((out[kVector] = hn::Mul(a[kVector], b)), ...);
  }
  template <std::size_t... kVector>
  static HWY_INLINE void add_products(const VF* a, VF b, VF* sums, std::index_sequence<kVector...>) {
    ((sums[kVector] = hn::MulAdd(a[kVector], b, sums[kVector])), ...);
  }
  template <std::size_t kHalf, std::size_t... kRow>
  static HWY_INLINE void get_rows(const FourSpans<Format>& codes, VU8 (*rows)[2], std::index_sequence<kRow...>) {
    (codes.template get<kHalf>(kRow, rows[kRow]), ...);
  }
  /// Adds sums of integers, kSums for each row, times the factors of their lanes.
  template <std::size_t kHalf, std::size_t kSums, std::size_t... kSum>
  static HWY_INLINE void add_scaled(const VI32* all, const VF* factors, VF* sums, std::index_sequence<kSum...>) {
    constexpr std::size_t kFirst = kHalf * 128 / Format::kGroup;
    ((sums[kSum / kSums] = hn::MulAdd(
          hn::ConvertTo(DF(), all[kSum]),
          Lanes::template spread<kSum / kSums % kRowsOfVector * kGroups + kFirst, kSum % kSums>(
              factors[kSum / kSums / kRowsOfVector]),
          sums[kSum / kSums])),
     ...);
  }
  /// Minimums go to the first lanes for every row: then additions come in the same order.
  template <std::size_t... kRow>
  static HWY_INLINE void subtract_minimums(const VF* minimums, VF factor, const VF* sums, VF* out,
                                           std::index_sequence<kRow...>) {
    ((out[kRow] = hn::NegMulAdd(
          Lanes::template to_first_lanes<kRow % kRowsOfVector * kGroups>(minimums[kRow / kRowsOfVector]), factor,
          sums[kRow])),
     ...);
  }

  VF sums_[kCount][kRows];
  VF minimums_[kCount][kVectors];
};

}  // namespace HWY_NAMESPACE
}  // namespace simd
GEMMA_NAMESPACE_END
HWY_AFTER_NAMESPACE();
#endif  // HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX3_DL

#endif  // GEMMA_SIMD_FOUR_ROWS_INL_HPP_
