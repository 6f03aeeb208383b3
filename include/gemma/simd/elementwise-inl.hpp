// The steps between matrices: RMSNorm, RoPE, GELU, soft-cap, sums, 16-bit storage. What each computes, and of what
// shape, stands at Kernels in kernels.hpp.
#if defined(GEMMA_SIMD_ELEMENTWISE_INL_HPP_) == defined(HWY_TARGET_TOGGLE)
#ifdef GEMMA_SIMD_ELEMENTWISE_INL_HPP_
#undef GEMMA_SIMD_ELEMENTWISE_INL_HPP_
#else
#define GEMMA_SIMD_ELEMENTWISE_INL_HPP_
#endif

#include "gemma/base/float16.hpp"
#include "gemma/simd/kernels.hpp"
#include "gemma/simd/vector-inl.hpp"
#include "hwy/contrib/math/math-inl.h"

HWY_BEFORE_NAMESPACE();
GEMMA_NAMESPACE_BEGIN
namespace simd {
namespace HWY_NAMESPACE {

inline HWY_NOINLINE void rms_norm(const float* x, const float* gain, std::size_t n, float eps,
                           float* out) {
  const DF d;
  VF squares = hn::Zero(d);
  for_vectors(
      n,
      [&](std::size_t i) HWY_ATTR {
        const VF v = hn::LoadU(d, x + i);
        squares = hn::MulAdd(v, v, squares);
      },
      [&](std::size_t i, std::size_t rest) HWY_ATTR {
        const VF v = hn::LoadN(d, x + i, rest);
        squares = hn::MulAdd(v, v, squares);
      });
  const float mean = hn::ReduceSum(d, squares) / static_cast<float>(n);
  const VF inverse = hn::Div(hn::Set(d, 1.0f), hn::Sqrt(hn::Set(d, mean + eps)));
  if (gain == nullptr) {
    map(x, n, out, [&](VF v) HWY_ATTR { return hn::Mul(v, inverse); });
  } else {
    map2(x, gain, n, out,
         [&](VF v, VF g) HWY_ATTR { return hn::Mul(hn::Mul(v, inverse), g); });
  }
}

inline HWY_NOINLINE void add(const float* y, std::size_t n, float* x) {
  map2(x, y, n, x, [](VF a, VF b) HWY_ATTR { return hn::Add(a, b); });
}

inline HWY_NOINLINE void scale(float factor, std::size_t n, float* x) {
  const VF f = hn::Set(DF(), factor);
  map(x, n, x, [&](VF v) HWY_ATTR { return hn::Mul(v, f); });
}

/// gelu_tanh(z) = z / (1 + exp(−2u)), u = √(2/π) (z + 0.044715 z³): the same as with tanh.
inline HWY_NOINLINE void gelu_mul(const float* gate, const float* up, std::size_t n, float* out) {
  const DF d;
  const VF one = hn::Set(d, 1.0f);
  const VF cubic = hn::Set(d, 0.044715f);
  const VF minus_two_root = hn::Set(d, -2.0f * 0.7978845608028654f);
  // Exp() is right up to 104; e^80 already makes the result vanish.
  const VF limit = hn::Set(d, 80.0f);
  map2(gate, up, n, out, [&](VF z, VF u) HWY_ATTR {
    const VF inner = hn::MulAdd(hn::Mul(hn::Mul(z, z), z), cubic, z);
    const VF e = hn::Exp(d, hn::Min(hn::Mul(inner, minus_two_root), limit));
    return hn::Mul(hn::Div(z, hn::Add(one, e)), u);
  });
}

inline HWY_NOINLINE void rope(const float* cos, const float* sin, std::size_t half, float* x) {
  const DF d;
  const auto turn = [&](VF a, VF b, VF c, VF s, VF* first, VF* second) HWY_ATTR {
    *first = hn::NegMulAdd(b, s, hn::Mul(a, c));
    *second = hn::MulAdd(a, s, hn::Mul(b, c));
  };
  VF first, second;
  for_vectors(
      half,
      [&](std::size_t i) HWY_ATTR {
        turn(hn::LoadU(d, x + i), hn::LoadU(d, x + half + i), hn::LoadU(d, cos + i),
             hn::LoadU(d, sin + i), &first, &second);
        hn::StoreU(first, d, x + i);
        hn::StoreU(second, d, x + half + i);
      },
      [&](std::size_t i, std::size_t rest) HWY_ATTR {
        turn(hn::LoadN(d, x + i, rest), hn::LoadN(d, x + half + i, rest),
             hn::LoadN(d, cos + i, rest), hn::LoadN(d, sin + i, rest), &first, &second);
        hn::StoreN(first, d, x + i, rest);
        hn::StoreN(second, d, x + half + i, rest);
      });
}

/// cap · tanh(x / cap).
HWY_INLINE VF capped(VF x, float cap) {
  const DF d;
  return hn::Mul(hn::Set(d, cap), hn::Tanh(d, hn::Div(x, hn::Set(d, cap))));
}

inline HWY_NOINLINE void softcap(float cap, std::size_t n, float* x) {
  map(x, n, x, [&](VF v) HWY_ATTR { return capped(v, cap); });
}

template <class T>
HWY_INLINE void store_as(const float* x, std::size_t n, T* out) {
  const DF d;
  const hn::Rebind<T, DF> narrow;
  for_vectors(
      n,
      [&](std::size_t i)
          HWY_ATTR { hn::StoreU(hn::DemoteTo(narrow, hn::LoadU(d, x + i)), narrow, out + i); },
      [&](std::size_t i, std::size_t rest) HWY_ATTR {
        hn::StoreN(hn::DemoteTo(narrow, hn::LoadN(d, x + i, rest)), narrow, out + i, rest);
      });
}

/// Blocks of Q8_0, with scale = max|x| / 127. A block that holds a number that is not finite gets a
/// scale that is not a number either, so that nothing hides it.
HWY_INLINE void store_q8_0(const float* x, std::size_t n, std::uint8_t* out) {
  using Q8 = quant::Q8_0;
  const DF d;
  const hn::Rebind<std::int8_t, DF> narrow;
  for (std::size_t i = 0; i < n; i += Q8::kBlockElements, out += Q8::kBlockBytes) {
    VF largest = hn::Zero(d);
    VF finite = hn::Zero(d);
    for (std::size_t v = 0; v < Q8::kBlockElements; v += kLanes) {
      const VF values = hn::LoadU(d, x + i + v);
      largest = hn::Max(largest, hn::Abs(values));
      finite = hn::Add(finite, hn::Sub(values, values));
    }
    const float check = hn::ReduceSum(d, finite);
    const float scale = check == 0.0f ? hn::ReduceMax(d, largest) / 127.0f : check;
    const std::uint16_t half = half_from_float(scale);
    // Of the scale as it is stored; one too small for a binary16 makes the block 0.
    const float stored = half_to_float(half);
    const VF inverse = hn::Set(d, stored > 0.0f ? 1.0f / stored : 0.0f);
    std::memcpy(out + Q8::kScaleOffset, &half, sizeof half);
    for (std::size_t v = 0; v < Q8::kBlockElements; v += kLanes) {
      const auto q = hn::DemoteTo(
          narrow, hn::NearestInt(hn::Mul(hn::LoadU(d, x + i + v), inverse)));
      hn::StoreU(q, narrow, reinterpret_cast<std::int8_t*>(out + Q8::kQuantsOffset) + v);
    }
  }
}

inline HWY_NOINLINE void store_kv(const float* x, std::size_t n, KvType type, std::uint8_t* out) {
  switch (type) {
    case KvType::f32: std::memcpy(out, x, n * sizeof(float)); return;
    case KvType::f16: store_as(x, n, reinterpret_cast<hwy::float16_t*>(out)); return;
    case KvType::bf16: store_as(x, n, reinterpret_cast<hwy::bfloat16_t*>(out)); return;
    case KvType::q8_0: store_q8_0(x, n, out); return;
  }
}

inline HWY_NOINLINE std::size_t argmax(const float* x, std::size_t n) {
  // The largest value first, vector by vector; then where it stands.
  const DF d;
  VF best = hn::Set(d, hwy::LowestValue<float>());
  const auto update = [&](VF v) HWY_ATTR {
    best = hn::IfThenElse(hn::Gt(v, best), v, best);
  };
  for_vectors(
      n, [&](std::size_t i) HWY_ATTR { update(hn::LoadU(d, x + i)); },
      [&](std::size_t i, std::size_t rest) HWY_ATTR {
        update(hn::LoadNOr(hn::Set(d, hwy::LowestValue<float>()), d, x + i, rest));
      });
  const float largest = hn::ReduceMax(d, best);
  for (std::size_t i = 0; i < n; ++i) {
    if (x[i] == largest) return i;
  }
  return 0;
}

}  // namespace HWY_NAMESPACE
}  // namespace simd
GEMMA_NAMESPACE_END
HWY_AFTER_NAMESPACE();

#endif  // GEMMA_SIMD_ELEMENTWISE_INL_HPP_
