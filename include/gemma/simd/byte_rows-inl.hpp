// Products of rows of signed bytes with few tokens, for targets with vectors of 16 bytes and no instruction for four
// products of bytes (SSE4, WebAssembly, older Arm): codes become words as they are loaded.
#if defined(GEMMA_SIMD_BYTE_ROWS_INL_HPP_) == defined(HWY_TARGET_TOGGLE)
#ifdef GEMMA_SIMD_BYTE_ROWS_INL_HPP_
#undef GEMMA_SIMD_BYTE_ROWS_INL_HPP_
#else
#define GEMMA_SIMD_BYTE_ROWS_INL_HPP_
#endif

#include "gemma/simd/activations-inl.hpp"
#include "gemma/simd/codes-inl.hpp"
#include "gemma/simd/dot-inl.hpp"
#include "gemma/simd/vector-inl.hpp"

HWY_BEFORE_NAMESPACE();
GEMMA_NAMESPACE_BEGIN
namespace simd {
namespace HWY_NAMESPACE {

/// Whether ByteRowSums is the way for a format.
template <class Format>
inline constexpr bool kWidensBytes = !kHasQuads && kBytes == 16 && !kIsSlow<Format> && Codes<Format>::kBits == 8;

/// Σ_c W[r, c] x_c of kRowCount rows for kCount tokens, as RowByRowSums.
template <class Format, std::size_t kRowCount, std::size_t kCount>
class ByteRowSums {
 public:
  static constexpr std::size_t kRows = kRowCount;
  static constexpr FineOrder kOrder = FineOrder::plain;

  HWY_INLINE ByteRowSums() {
    unroll<kRows * kCount>([&](auto i) GEMMA_INLINE_LAMBDA { sums_[i] = hn::Zero(DF()); });
  }

  /// Adds a span of each row, `stride` bytes apart; activations x [kCount] are words.
  HWY_INLINE void add(const std::uint8_t* spans, std::size_t stride, std::size_t /*n*/, const FineInput* x) {
    constexpr std::size_t kGroups = Codes<Format>::kSpan / kActivationGroup;
    float scale[kRows][kGroups];
    unroll<kRows>([&](auto r) GEMMA_INLINE_LAMBDA {
      Codes<Format>(spans + r * stride).scales(scale[r], nullptr);
    });
    repeat<kGroups>([&](auto g) GEMMA_INLINE_LAMBDA {
      unroll<kCount>([&](auto t) GEMMA_INLINE_LAMBDA {
        const VF x_scale = hn::Set(DF(), x[t].scale[g]);
        unroll<kRows>([&](auto r) GEMMA_INLINE_LAMBDA {
          const std::uint8_t* block = spans + r * stride + g * Format::kBlockBytes;
          const VI32 all = products(codes_of(block), words_of(x[t]) + kActivationGroup * g);
          const VF factor = hn::Mul(hn::Set(DF(), scale[r][g]), x_scale);
          VF& sum = sums_[r * kCount + t];
          sum = hn::MulAdd(hn::ConvertTo(DF(), all), factor, sum);
        });
      });
    });
  }

  /// out [kRows]: those of token t.
  HWY_INLINE void results(std::size_t t, float* out) const {
    unroll<kRows>([&](auto r) GEMMA_INLINE_LAMBDA { out[r] = hn::ReduceSum(DF(), sums_[r * kCount + t]); });
  }

 private:
  static HWY_INLINE const std::int16_t* words_of(const FineInput& x) {
    return reinterpret_cast<const std::int16_t*>(x.q);
  }

  static HWY_INLINE const std::int8_t* codes_of(const std::uint8_t* block) {
    if constexpr (!quant::kRowScaled<Format>) block += Format::kQuantsOffset;
    return reinterpret_cast<const std::int8_t*>(block);
  }

  /// Eight codes.
  static HWY_INLINE VI16 load_words(const std::int8_t* codes) {
#if HWY_TARGET == HWY_WASM
    return VI16{wasm_i16x8_load8x8(codes)};  // Clang 14 makes two instructions of what stands below
#else
    return hn::PromoteTo(DI16(), hn::LoadU(hn::Rebind<std::int8_t, DI16>(), codes));
#endif
  }

  /// Σ of 32 products, in four lanes.
  static HWY_INLINE VI32 products(const std::int8_t* codes, const std::int16_t* x) {
    const DI16 d;
    VI32 sum = hn::Zero(DI32());
    unroll<4>([&](auto i) GEMMA_INLINE_LAMBDA {
      sum = hn::Add(sum, hn::WidenMulPairwiseAdd(DI32(), load_words(codes + 8 * i), hn::LoadU(d, x + 8 * i)));
    });
    return sum;
  }

  VF sums_[kRows * kCount];  // row by row
};

}  // namespace HWY_NAMESPACE
}  // namespace simd
GEMMA_NAMESPACE_END
HWY_AFTER_NAMESPACE();

#endif  // GEMMA_SIMD_BYTE_ROWS_INL_HPP_
