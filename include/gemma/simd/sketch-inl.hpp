// Sketches: matrices in 4 bits with a bound of what that leaves out, laid out for one thing only, to
// be multiplied with one token at the speed of memory. Rows lie in lanes, so sums never cross them.
#if defined(GEMMA_SIMD_SKETCH_INL_HPP_) == defined(HWY_TARGET_TOGGLE)
#ifdef GEMMA_SIMD_SKETCH_INL_HPP_
#undef GEMMA_SIMD_SKETCH_INL_HPP_
#else
#define GEMMA_SIMD_SKETCH_INL_HPP_
#endif

#include <cmath>

#include "gemma/base/float16.hpp"
#include "gemma/simd/dot-inl.hpp"
#include "gemma/simd/kernels.hpp"
#include "gemma/simd/vector-inl.hpp"

HWY_BEFORE_NAMESPACE();
GEMMA_NAMESPACE_BEGIN
namespace simd {
namespace HWY_NAMESPACE {

/// A block of 32 floats as 4-bit codes around 8, and the length of what the codes miss.
struct SketchedBlock {
  std::uint8_t codes[32];
  std::uint16_t scale;  ///< bfloat16
  float missed;

  HWY_INLINE explicit SketchedBlock(const float* x) {
    const DF d;
    const DI32 di;
    VF high = hn::Zero(d), low = hn::Zero(d), squares = hn::Zero(d);
    for (std::size_t i = 0; i < 32; i += kLanes) {
      const VF v = hn::LoadU(d, x + i);
      high = hn::Max(high, v);
      low = hn::Min(low, v);
      squares = hn::MulAdd(v, v, squares);
    }
    // The larger side gets the code 0 = −8, of which the other side has no counterpart.
    const float top = hn::ReduceMax(d, high), bottom = hn::ReduceMin(d, low);
    scale = bfloat16_from_float((top > -bottom ? top : bottom) / -8.0f);
    const float step = bfloat16_to_float(scale);
    const VF inverse = hn::Set(d, step == 0.0f ? 0.0f : 1.0f / step);
    VF errors = hn::Zero(d);
    for (std::size_t i = 0; i < 32; i += kLanes) {
      const VF v = hn::LoadU(d, x + i);
      const VI32 q = hn::NearestInt(hn::Mul(v, inverse));
      const VI32 kept = hn::Min(hn::Max(q, hn::Set(di, -8)), hn::Set(di, 7));
      const VF error = hn::NegMulAdd(hn::ConvertTo(d, kept), hn::Set(d, step), v);
      errors = hn::MulAdd(error, error, errors);
      const hn::Rebind<std::uint8_t, DI32> narrow;
      hn::StoreU(hn::DemoteTo(narrow, hn::Add(kept, hn::Set(di, 8))), narrow, codes + i);
    }
    // More than the rounding of all sums, here and in the exact product, can be.
    constexpr float kRounding = 1.2e-4f;
    missed = 1.0001f * std::sqrt(hn::ReduceSum(d, errors)) +
             kRounding * std::sqrt(hn::ReduceSum(d, squares));
  }
};

/// Rows [group · kSketchRows, …) of the sketch, from floats [kSketchRows, cols].
inline HWY_NOINLINE void make_sketch(const float* rows, std::size_t group, const Sketch& sketch) {
  const std::size_t blocks = sketch.cols / 32;
  float* missed = sketch.missed_scale + group * kSketchRows;
  for (std::size_t r = 0; r < kSketchRows; ++r) {
    float largest = 0.0f;
    float lengths[kMostSketchBlocks];
    for (std::size_t b = 0; b < blocks; ++b) {
      const SketchedBlock block(rows + r * sketch.cols + 32 * b);
      const std::size_t at = (group * blocks + b) * kSketchRows;
      for (std::size_t i = 0; i < 16; ++i) {  // quads of columns k and k + 4 share bytes
        sketch.codes[at * 16 + i / 4 * 4 * kSketchRows + r * 4 + i % 4] =
            static_cast<std::uint8_t>(block.codes[i] | block.codes[16 + i] << 4);
      }
      sketch.scale[at + r] = block.scale;
      lengths[b] = block.missed;
      largest = largest < block.missed || !(block.missed == block.missed) ? block.missed : largest;
    }
    missed[r] = largest / 255.0f;
    for (std::size_t b = 0; b < blocks; ++b) {
      const float part = largest > 0.0f ? std::ceil(lengths[b] / largest * 255.0f) : 0.0f;
      sketch.missed[(group * blocks + b) * kSketchRows + r] =
          static_cast<std::uint8_t>(part < 255.0f ? part : 255.0f);
    }
  }
}

/// One token's activations as the sketch wants them.
struct SketchInput {
  const std::int8_t* high;  ///< [cols]: q = 256 high + low
  const std::int8_t* low;
  std::int32_t* start;      ///< [cols / 32]: −8 Σq
  float* length;            ///< [cols / 32]: √Σx²

  HWY_INLINE SketchInput(const FineRow& x, std::size_t cols, std::uint8_t* scratch) {
    start = reinterpret_cast<std::int32_t*>(scratch);
    length = reinterpret_cast<float*>(start + kMostSketchBlocks);
    if constexpr (kHasQuads) {
      high = x.q;
      low = x.q + cols;
    } else {
      const std::int16_t* q = reinterpret_cast<const std::int16_t*>(x.q);
      std::int8_t* bytes = reinterpret_cast<std::int8_t*>(length + kMostSketchBlocks);
      for (std::size_t i = 0; i < cols; ++i) {
        const int rounded = (q[i] + 128) >> 8;
        bytes[i] = static_cast<std::int8_t>(rounded);
        bytes[cols + i] = static_cast<std::int8_t>(q[i] - 256 * rounded);
      }
      high = bytes;
      low = bytes + cols;
    }
    for (std::size_t b = 0; b < cols / 32; ++b) {
      std::int32_t sum = 0;
      double squares = 0.0;
      for (std::size_t i = 32 * b; i < 32 * (b + 1); ++i) {
        const std::int32_t q = 256 * high[i] + low[i];
        sum += q;
        squares += static_cast<double>(q) * q;
      }
      start[b] = -8 * sum;
      length[b] = static_cast<float>(std::sqrt(squares)) * x.scale[b];
    }
  }
};

/// Σ of the products of a block's codes with the activations from column `col` on, for the lanes of
/// vector v of the group's rows.
HWY_INLINE VI32 sketched_products(const std::uint8_t* codes, const SketchInput& x, std::size_t col) {
  const DU8 d;
  const VU8 nibble = hn::Set(d, 15);
  const DI32 di;
  if constexpr (kHasQuads) {
    VI32 coarse = hn::Zero(di), fine = hn::Zero(di);
    unroll<4>([&](auto k) HWY_ATTR {
      const VU8 both = hn::LoadU(d, codes + k * 4 * kSketchRows);
      const VU8 first = hn::And(both, nibble);
      const VU8 second = hn::ShiftRight<4>(both);
      coarse = add_quads(first, broadcast_quad(x.high + col + 4 * k), coarse);
      fine = add_quads(first, broadcast_quad(x.low + col + 4 * k), fine);
      coarse = add_quads(second, broadcast_quad(x.high + col + 16 + 4 * k), coarse);
      fine = add_quads(second, broadcast_quad(x.low + col + 16 + 4 * k), fine);
    });
    return hn::Add(hn::ShiftLeft<8>(coarse), fine);
  } else {
    const DI16 d16;  // 8 sums of two products of at most 15 · 128 fit
    VI16 coarse = hn::Zero(d16), fine = hn::Zero(d16);
    const auto add = [&](VU8 c, const std::int8_t* q, VI16& sum) HWY_ATTR {
      sum = hn::Add(sum, hn::SatWidenMulPairwiseAdd(d16, c, broadcast_quad(q)));
    };
    unroll<4>([&](auto k) HWY_ATTR {
      const VU8 both = hn::LoadU(d, codes + k * 4 * kSketchRows);
      const VU8 first = hn::And(both, nibble);
      const VU8 second = hn::ShiftRight<4>(both);
      add(first, x.high + col + 4 * k, coarse);
      add(first, x.low + col + 4 * k, fine);
      add(second, x.high + col + 16 + 4 * k, coarse);
      add(second, x.low + col + 16 + 4 * k, fine);
    });
    return hn::Add(hn::WidenMulPairwiseAdd(di, coarse, hn::Set(d16, 256)),
                   hn::WidenMulPairwiseAdd(di, fine, hn::Set(d16, 1)));
  }
}

/// How far ahead of their use codes are asked for.
inline constexpr std::size_t kSketchPrefetchBytes = 4096;

/// Groups [begin, end) of rows times one token: out[r], which the exact product differs from by at
/// most bound[r].
inline HWY_NOINLINE void multiply_sketch(const Sketch& sketch, const FineRow& activations,
                                         std::size_t begin, std::size_t end, float* out,
                                         float* bound, std::uint8_t* scratch) {
  constexpr std::size_t kVectors = kSketchRows / kLanes;
  const DF d;
  const DI32 di;
  const hn::Rebind<hwy::bfloat16_t, DF> bf16;
  const hn::Rebind<std::uint8_t, DI32> bytes;
  const std::size_t blocks = sketch.cols / 32;
  const SketchInput x(activations, sketch.cols, scratch);
  for (std::size_t group = begin; group < end; ++group) {
    VF sums[kVectors], bounds[kVectors];
    unroll<kVectors>([&](auto v) HWY_ATTR { sums[v] = bounds[v] = hn::Zero(d); });
    for (std::size_t b = 0; b < blocks; ++b) {
      const std::size_t at = (group * blocks + b) * kSketchRows;
      // The scales of a block are an eighth of its codes, the missed lengths a sixteenth.
      const std::uint8_t* codes = sketch.codes + at * 16;
      const auto* scales = reinterpret_cast<const std::uint8_t*>(sketch.scale + at);
      for (std::size_t i = 0; i < kSketchRows * 16; i += 64) hwy::Prefetch(codes + kSketchPrefetchBytes + i);
      hwy::Prefetch(scales + kSketchPrefetchBytes / 8);
      hwy::Prefetch(sketch.missed + at + kSketchPrefetchBytes / 16);
      const VF x_scale = hn::Set(d, activations.scale[b]);
      const VF x_length = hn::Set(d, x.length[b]);
      unroll<kVectors>([&](auto v) HWY_ATTR {
        const VI32 products = sketched_products(codes + v * kBytes, x, 32 * b);
        const VF value = hn::ConvertTo(d, hn::Add(products, hn::Set(di, x.start[b])));
        const auto narrow = hn::LoadU(
            bf16, reinterpret_cast<const hwy::bfloat16_t*>(sketch.scale + at + v * kLanes));
        sums[v] = hn::MulAdd(hn::Mul(value, x_scale), hn::PromoteTo(d, narrow), sums[v]);
        const VI32 missed = hn::PromoteTo(di, hn::LoadU(bytes, sketch.missed + at + v * kLanes));
        bounds[v] = hn::MulAdd(hn::ConvertTo(d, missed), x_length, bounds[v]);
      });
    }
    unroll<kVectors>([&](auto v) HWY_ATTR {
      const std::size_t row = group * kSketchRows + v * kLanes;
      hn::StoreU(sums[v], d, out + row);
      const VF factor = hn::LoadU(d, sketch.missed_scale + row);
      hn::StoreU(hn::Mul(bounds[v], factor), d, bound + row);
    });
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace simd
GEMMA_NAMESPACE_END
HWY_AFTER_NAMESPACE();

#endif  // GEMMA_SIMD_SKETCH_INL_HPP_
