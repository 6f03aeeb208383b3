// Sketches: matrices in few bits with a bound of what that leaves out, laid out for one thing only, to
// be multiplied with one token at the speed of memory. Rows lie in lanes, so sums never cross them.
#if defined(GEMMA_SIMD_SKETCH_INL_HPP_) == defined(HWY_TARGET_TOGGLE)
#ifdef GEMMA_SIMD_SKETCH_INL_HPP_
#undef GEMMA_SIMD_SKETCH_INL_HPP_
#else
#define GEMMA_SIMD_SKETCH_INL_HPP_
#endif

#include <cmath>
#include <limits>

#include "gemma/simd/dot-inl.hpp"
#include "gemma/simd/sketch.hpp"
#include "gemma/simd/vector-inl.hpp"

HWY_BEFORE_NAMESPACE();
GEMMA_NAMESPACE_BEGIN
namespace simd {
namespace HWY_NAMESPACE {

/// 32 weights on their way to codes of 4 or 8 bits.
class SketchedBlock {
 public:
  float largest;  ///< of their sizes
  float length;   ///< √Σw²; not finite where a weight is not

  HWY_INLINE SketchedBlock(const float* w, bool fine)
      : w_(w), half_(fine ? 128.0f : 8.0f), step_(fine ? kFineStep : kCoarseStep) {
    const DF d;
    VF most = hn::Zero(d), squares = hn::Zero(d);
    unroll<kVectors>([&](auto v) HWY_ATTR {
      const VF x = hn::LoadU(d, w_ + v * kLanes);
      most = hn::Max(most, hn::Abs(x));
      squares = hn::MulAdd(x, x, squares);
    });
    largest = hn::ReduceMax(d, most);
    length = std::sqrt(hn::ReduceSum(d, squares));
  }

  /// The scale at which no weight is cut off, with the row's factor 1.
  float whole() const { return largest / (half_ * step_); }

  /// The square of what the activations' length must be multiplied with to bound what codes of this scale
  /// miss.
  HWY_INLINE float missed_squared(float scale) const {
    const DF d;
    const Codes codes(half_, scale * step_);
    VF errors = hn::Zero(d);
    unroll<kVectors>([&](auto v) HWY_ATTR {
      const VF x = hn::LoadU(d, w_ + v * kLanes);
      const VF error = codes.error(x, codes.of(x));
      errors = hn::MulAdd(error, error, errors);
    });
    const float error = hn::ReduceSum(d, errors);
    const float rest = length * (8.0f / half_ / kSketchLength);
    return (error > rest * rest ? error : rest * rest) / (step_ * step_);
  }

  /// Codes from 0 on.
  HWY_INLINE void encode(float scale, std::uint8_t* out) const {
    const DF d;
    const Codes codes(half_, scale * step_);
    unroll<kVectors>([&](auto v) HWY_ATTR {
      const VF c = hn::Add(codes.of(hn::LoadU(d, w_ + v * kLanes)), hn::Set(d, half_));
      const hn::Rebind<std::uint8_t, DI32> narrow;
      hn::StoreU(hn::DemoteTo(narrow, hn::ConvertTo(DI32(), c)), narrow, out + v * kLanes);
    });
  }

 private:
  static constexpr std::size_t kVectors = kSketchBlock / kLanes;

  struct Codes {
    VF half, step, inverse;

    HWY_INLINE Codes(float half_range, float width)
        : half(hn::Set(DF(), half_range)), step(hn::Set(DF(), width)),
          inverse(hn::Set(DF(), width == 0.0f ? 0.0f : 1.0f / width)) {}
    /// Whole numbers from −half to half − 1, which stand for the middles of steps.
    HWY_INLINE VF of(VF x) const {
      const VF below = hn::Floor(hn::Mul(x, inverse));
      return hn::Min(hn::Max(below, hn::Neg(half)), hn::Sub(half, hn::Set(DF(), 1.0f)));
    }
    HWY_INLINE VF error(VF x, VF code) const {
      return hn::NegMulAdd(hn::Add(code, hn::Set(DF(), 0.5f)), step, x);
    }
  };

  const float* w_;
  float half_;
  float step_;
};

/// The scale, of 1 to 255 times `factor`, that misses least over its size: the first that is good enough,
/// from one on that cuts off a little. `missed` becomes the larger of itself and what it misses.
HWY_INLINE std::uint8_t choose_scale(const SketchedBlock& block, float factor, float& missed) {
  constexpr float kGoodEnough = 1.75f;  // the rounding of 32 even numbers is 1.63 steps long
  const float whole = block.whole() / factor;
  const float step = (std::max)(1.0f, whole / 64.0f);
  const float most = (std::min)(255.0f, whole * 1.3f + 1.0f);
  float best = 1.0f, least = std::numeric_limits<float>::infinity();
  for (float scale = (std::max)(1.0f, std::ceil(whole * 0.93f)); scale <= most; scale += step) {
    const float rounded = std::floor(scale);
    const float size = rounded * factor;
    const float here = block.missed_squared(size);
    if (!(here < least * (size * size))) continue;
    least = here / (size * size);
    best = rounded;
    if (least <= kGoodEnough * kGoodEnough) break;
  }
  missed = (std::max)(missed, std::sqrt(least));
  return static_cast<std::uint8_t>(best);
}

/// Rows [group · kSketchRows, …) of the sketch, from floats [kSketchRows, cols].
inline HWY_NOINLINE void make_sketch(const float* rows, std::size_t group, const Sketch& sketch) {
  const std::size_t blocks = sketch.blocks(), fine_blocks = sketch.fine_blocks();
  std::uint8_t* const data = sketch.data + group * sketch.group_bytes();
  std::uint8_t* const scales = data + sketch.planes() * kSketchPlane;
  for (std::size_t r = 0; r < kSketchRows; ++r) {
    const auto block_of = [&](std::size_t b) {
      return SketchedBlock(rows + r * sketch.cols + kSketchBlock * b, b < fine_blocks);
    };
    float whole = 0.0f, length = 0.0f;
    for (std::size_t b = 0; b < blocks; ++b) {
      const SketchedBlock block = block_of(b);
      whole = (std::max)(whole, block.whole());
      length += block.length;
    }
    constexpr float kLargestWhole = 195.0f;  // leaves larger scales to choose from
    // So small that squares would vanish, or no numbers at all: nothing is known of this row.
    const bool known = std::isfinite(length) && (whole == 0.0f || whole > 1e-12f);
    const float factor = known ? whole / kLargestWhole : 0.0f;
    float missed = 0.0f;
    for (std::size_t b = 0; b < blocks; ++b) {
      const SketchedBlock block = block_of(b);
      const bool empty = factor == 0.0f || block.largest == 0.0f;
      const std::uint8_t scale = empty ? 0 : choose_scale(block, factor, missed);
      scales[b * kSketchRows + r] = scale;
      std::uint8_t codes[kSketchBlock] = {};
      if (!empty) block.encode(scale * factor, codes);
      const auto store = [&](std::size_t plane, unsigned shift) {
        for (std::size_t i = 0; i < kSketchBlock / 2; ++i) {
          const unsigned first = codes[i] >> shift & 15, second = codes[16 + i] >> shift & 15;
          data[plane * kSketchPlane + i / 4 * 4 * kSketchRows + r * 4 + i % 4] =
              static_cast<std::uint8_t>(first | second << 4);
        }
      };
      if (b < fine_blocks) {
        store(2 * b, 4);
        store(2 * b + 1, 0);
      } else {
        store(fine_blocks + b, 0);
      }
    }
    sketch.factor[group * kSketchRows + r] = factor;
    sketch.missed[group * kSketchRows + r] =
        known ? 1.0001f * missed * factor : std::numeric_limits<float>::quiet_NaN();
  }
}

/// Σ of the products of a plane's nibbles with 32 activations, for the lanes of a vector of rows.
HWY_INLINE VI32 nibble_products(const std::uint8_t* plane, const std::int8_t* x) {
  const DU8 d;
  const DI32 di;
  const VU8 nibble = hn::Set(d, 15);
  if constexpr (kHasQuads) {
    VI32 even = hn::Zero(di), odd = hn::Zero(di);
    unroll<4>([&](auto k) HWY_ATTR {
      const VU8 both = hn::LoadU(d, plane + k * 4 * kSketchRows);
      even = add_quads(hn::And(both, nibble), broadcast_quad(x + 4 * k), even);
      odd = add_quads(hn::ShiftRight<4>(both), broadcast_quad(x + 16 + 4 * k), odd);
    });
    return hn::Add(even, odd);
  } else {
    const DI16 d16;  // 8 sums of two products of at most 15 · 128 fit
    VI16 sum = hn::Zero(d16);
    unroll<4>([&](auto k) HWY_ATTR {
      const VU8 both = hn::LoadU(d, plane + k * 4 * kSketchRows);
      const VU8 first = hn::And(both, nibble);
      const VU8 second = hn::ShiftRight<4>(both);
      sum = hn::Add(sum, hn::SatWidenMulPairwiseAdd(d16, first, broadcast_quad(x + 4 * k)));
      sum = hn::Add(sum, hn::SatWidenMulPairwiseAdd(d16, second, broadcast_quad(x + 16 + 4 * k)));
    });
    return hn::WidenMulPairwiseAdd(di, sum, hn::Set(d16, 1));
  }
}

/// How far ahead of their use bytes are asked for.
inline constexpr std::size_t kSketchPrefetchBytes = 4096;

/// Groups [begin, end) of rows times one token, `x` of sketch.blocks(): the exact product is about out[r],
/// and at most most[r], which is not a number where nothing is known.
inline HWY_NOINLINE void multiply_sketch(const Sketch& sketch, const SketchedActivations* x,
                                         std::size_t begin, std::size_t end, float* out, float* most) {
  constexpr std::size_t kVectors = kSketchRows / kLanes;
  const DF d;
  const DI32 di;
  const hn::Rebind<std::uint8_t, DI32> bytes;
  const std::size_t blocks = sketch.blocks(), fine_blocks = sketch.fine_blocks();
  const std::size_t group_bytes = sketch.group_bytes();
  for (std::size_t group = begin; group < end; ++group) {
    const std::uint8_t* const data = sketch.data + group * group_bytes;
    const std::uint8_t* scales = data + sketch.planes() * kSketchPlane;
    const auto prefetch = [&](const std::uint8_t* from, std::size_t count) {
      for (std::size_t i = 0; i < count; i += 64) hwy::Prefetch(from + kSketchPrefetchBytes + i);
    };
    VF sums[kVectors], bounds[kVectors];
    unroll<kVectors>([&](auto v) HWY_ATTR { sums[v] = bounds[v] = hn::Zero(d); });
    const auto add = [&](auto v, VI32 products, const SketchedActivations& a) GEMMA_INLINE_LAMBDA {
      const VI32 narrow = hn::PromoteTo(di, hn::LoadU(bytes, scales + v * kLanes));
      const VF scale = hn::ConvertTo(d, narrow);
      const VF value = hn::MulAdd(hn::ConvertTo(d, products), hn::Set(d, a.scale), hn::Set(d, a.start));
      sums[v] = hn::MulAdd(value, scale, sums[v]);
      bounds[v] = hn::MulAdd(scale, hn::Set(d, a.length), bounds[v]);
    };
    const std::uint8_t* plane = data;
    for (std::size_t b = 0; b < fine_blocks; ++b) {
      prefetch(plane, 2 * kSketchPlane);
      unroll<kVectors>([&](auto v) HWY_ATTR {
        const std::uint8_t* high = plane + v * kBytes;
        const auto products = [&](const std::int8_t* q) HWY_ATTR {
          return hn::Add(hn::ShiftLeft<4>(nibble_products(high, q)),
                         nibble_products(high + kSketchPlane, q));
        };
        add(v, hn::Add(hn::ShiftLeft<8>(products(x[b].high)), products(x[b].low)), x[b]);
      });
      plane += 2 * kSketchPlane;
      scales += kSketchRows;
    }
    for (std::size_t b = fine_blocks; b < blocks; ++b) {
      prefetch(plane, kSketchPlane);
      unroll<kVectors>([&](auto v) HWY_ATTR {
        add(v, nibble_products(plane + v * kBytes, x[b].high), x[b]);
      });
      plane += kSketchPlane;
      scales += kSketchRows;
    }
    prefetch(plane, blocks * kSketchRows);
    unroll<kVectors>([&](auto v) HWY_ATTR {
      const std::size_t row = group * kSketchRows + v * kLanes;
      const VF value = hn::Mul(sums[v], hn::LoadU(d, sketch.factor + row));
      hn::StoreU(value, d, out + row);
      hn::StoreU(hn::MulAdd(bounds[v], hn::LoadU(d, sketch.missed + row), value), d, most + row);
    });
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace simd
GEMMA_NAMESPACE_END
HWY_AFTER_NAMESPACE();

#endif  // GEMMA_SIMD_SKETCH_INL_HPP_
