// Reads the numbers of the KV cache, whatever their type.
#if defined(GEMMA_SIMD_KV_ROWS_INL_HPP_) == defined(HWY_TARGET_TOGGLE)
#ifdef GEMMA_SIMD_KV_ROWS_INL_HPP_
#undef GEMMA_SIMD_KV_ROWS_INL_HPP_
#else
#define GEMMA_SIMD_KV_ROWS_INL_HPP_
#endif

#include "gemma/simd/kernels.hpp"
#include "gemma/simd/vector-inl.hpp"

HWY_BEFORE_NAMESPACE();
GEMMA_NAMESPACE_BEGIN
namespace simd {
namespace HWY_NAMESPACE {

/// Numbers of the KV cache as floats.
HWY_INLINE VF load_kv(const float* p) { return hn::LoadU(DF(), p); }
HWY_INLINE VF load_kv_n(const float* p, std::size_t n) { return hn::LoadN(DF(), p, n); }
template <class T>
HWY_INLINE VF load_kv(const T* p) {
  return hn::PromoteTo(DF(), hn::LoadU(hn::Rebind<T, DF>(), p));
}
template <class T>
HWY_INLINE VF load_kv_n(const T* p, std::size_t n) {
  return hn::PromoteTo(DF(), hn::LoadN(hn::Rebind<T, DF>(), p, n));
}

/// Keys or values of one KV head, used where they lie in the ring buffer.
template <class T>
class RingRows {
 public:
  HWY_INLINE RingRows(const AttentionArgs& a, const std::uint8_t* cache, std::size_t kv_head,
                      std::uint8_t* /*scratch*/)
      : first_(reinterpret_cast<const T*>(cache) + kv_head * a.head_dim),
        capacity_(a.capacity),
        stride_(a.kv_heads * a.head_dim) {}

  /// Makes positions [begin, end) of one block ready.
  HWY_INLINE void prepare(std::size_t /*begin*/, std::size_t /*end*/) {}
  HWY_INLINE const T* operator[](std::size_t position) const {
    return first_ + position % capacity_ * stride_;
  }

 private:
  const T* first_;
  std::size_t capacity_;
  std::size_t stride_;
};

/// Keys or values in Q8_0, turned into floats block by block.
class QuantizedRows {
 public:
  HWY_INLINE QuantizedRows(const AttentionArgs& a, const std::uint8_t* cache, std::size_t kv_head,
                           std::uint8_t* scratch)
      : first_(cache + kv_bytes(KvType::q8_0, kv_head * a.head_dim)),
        capacity_(a.capacity),
        stride_(kv_bytes(KvType::q8_0, a.kv_heads * a.head_dim)),
        head_dim_(a.head_dim),
        floats_(reinterpret_cast<float*>(scratch)) {}

  HWY_INLINE void prepare(std::size_t begin, std::size_t end) {
    for (std::size_t j = begin; j < end; ++j) {
      decode(block(j), head_dim_, floats_ + j % kKeyBlock * head_dim_);
    }
  }
  HWY_INLINE const std::uint8_t* block(std::size_t position) const {
    return first_ + position % capacity_ * stride_;
  }

  static HWY_INLINE void decode(const std::uint8_t* block, std::size_t n, float* out) {
    using Q8 = quant::Q8_0;
    const DF d;
    const hn::Rebind<std::int8_t, DF> narrow;
    const DI32 di;
    for (std::size_t i = 0; i < n; i += Q8::kBlockElements, block += Q8::kBlockBytes) {
      const VF scale = hn::Set(d, quant::detail::load_half(block + Q8::kScaleOffset));
      const auto* q = reinterpret_cast<const std::int8_t*>(block + Q8::kQuantsOffset);
      for (std::size_t v = 0; v < Q8::kBlockElements; v += kLanes) {
        const VI32 integers = hn::PromoteTo(di, hn::LoadU(narrow, q + v));
        hn::StoreU(hn::Mul(hn::ConvertTo(d, integers), scale), d, out + i + v);
      }
    }
  }
  HWY_INLINE const float* operator[](std::size_t position) const {
    return floats_ + position % kKeyBlock * head_dim_;
  }

 private:
  const std::uint8_t* first_;
  std::size_t capacity_;
  std::size_t stride_;
  std::size_t head_dim_;
  float* floats_;  ///< [kKeyBlock, head_dim]
};

/// Writes whole vectors, with zeros behind the n-th number.
template <class T>
HWY_INLINE void copy_kv_row(const T* row, std::size_t n, float* out) {
  const DF d;
  for_vectors(
      n, [&](std::size_t i) HWY_ATTR { hn::StoreU(load_kv(row + i), d, out + i); },
      [&](std::size_t i, std::size_t rest)
          HWY_ATTR { hn::StoreU(load_kv_n(row + i, rest), d, out + i); });
}

/// Keys or values of positions [begin, begin + count) as floats, rows of `padded` numbers with zeros
/// behind head_dim.
inline HWY_NOINLINE void load_kv_rows(const AttentionArgs& a, const std::uint8_t* cache,
                                      std::size_t kv_head, std::size_t begin, std::size_t count,
                                      std::size_t padded, float* out) {
  const auto copy = [&](const auto& rows) HWY_ATTR {
    for (std::size_t j = 0; j < count; ++j) {
      copy_kv_row(rows[begin + j], a.head_dim, out + j * padded);
    }
  };
  switch (a.kv_type) {
    case KvType::f32: return copy(RingRows<float>(a, cache, kv_head, nullptr));
    case KvType::f16: return copy(RingRows<hwy::float16_t>(a, cache, kv_head, nullptr));
    case KvType::bf16: return copy(RingRows<hwy::bfloat16_t>(a, cache, kv_head, nullptr));
    case KvType::q8_0: {
      // Heads are whole blocks: nothing is padded.
      for (std::size_t j = 0; j < count; ++j) {
        QuantizedRows::decode(QuantizedRows(a, cache, kv_head, nullptr).block(begin + j),
                              a.head_dim, out + j * padded);
      }
      return;
    }
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace simd
GEMMA_NAMESPACE_END
HWY_AFTER_NAMESPACE();

#endif  // GEMMA_SIMD_KV_ROWS_INL_HPP_
