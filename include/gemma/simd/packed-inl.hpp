// Packed weights (quant/packed.hpp): rows lie in lanes from the start, so that unpacking is a mask and
// a shift, scales come 16 rows at a time, and no sum crosses lanes. For targets with instructions that
// multiply quads of bytes.
#if defined(GEMMA_SIMD_PACKED_INL_HPP_) == defined(HWY_TARGET_TOGGLE)
#ifdef GEMMA_SIMD_PACKED_INL_HPP_
#undef GEMMA_SIMD_PACKED_INL_HPP_
#else
#define GEMMA_SIMD_PACKED_INL_HPP_
#endif

#include "gemma/quant/packed.hpp"
#include "gemma/simd/matvec-inl.hpp"
#include "gemma/simd/panel-inl.hpp"
#include "gemma/simd/vector-inl.hpp"

HWY_BEFORE_NAMESPACE();
GEMMA_NAMESPACE_BEGIN
namespace simd {
namespace HWY_NAMESPACE {

/// Whether this target multiplies packed weights: a vector is a word of each row of a group.
inline constexpr bool kUsesPacked = kHasQuads && kLanes == kPackedRows;

/// How far ahead of their use packed weights are asked for. More makes it slower again.
inline constexpr std::size_t kPackedPrefetchBytes = 1024;

template <class Format>
inline constexpr bool kPacked = kUsesPacked && quant::PackedLayout<Format>::kExists;

/// A block of each row of a group: chunks of kParts groups of the format's kGroup columns.
template <class Format>
class PackedBlock {
  using Layout = quant::PackedLayout<Format>;

 public:
  static constexpr std::size_t kQuads = Format::kGroup / 4;
  static constexpr std::size_t kGroups = Format::kBlockElements / Format::kGroup;
  static constexpr std::size_t kParts = Format::kType == DType::Q6_K ? 4 : kGroups > 1 ? 2 : 1;
  static constexpr std::size_t kChunks = kGroups / kParts;
  static constexpr int kOffset = Codes<Format>::kOffset;

  HWY_INLINE explicit PackedBlock(const std::uint8_t* bytes) : bytes_(bytes) {}

  /// Which group of the block a part of a chunk is.
  static constexpr std::size_t group_of(std::size_t chunk, std::size_t part) {
    return Format::kType == DType::Q6_K ? chunk / 2 * 8 + 2 * part + chunk % 2
                                        : chunk * kParts + part;
  }

  /// The quads of a group.
  template <std::size_t kPart>
  HWY_INLINE void codes(std::size_t chunk, VU8* out) const {
    const DU8 d;
    const VU8 nibble = hn::Set(d, 15);
    if constexpr (Format::kType == DType::Q8_0) {
      const VU8 shift = hn::Set(d, static_cast<std::uint8_t>(kByteOffset));
      unroll<kQuads>([&](auto k)
                         GEMMA_INLINE_LAMBDA { out[k] = hn::Xor(load(Layout::kQuants, k), shift); });
    } else if constexpr (Format::kBlockElements == 32) {
      unroll<kQuads / 2>([&](auto k) GEMMA_INLINE_LAMBDA {
        const VU8 both = load(Layout::kQuants, k);
        out[k] = hn::And(both, nibble);
        out[kQuads / 2 + k] = hn::ShiftRight<4>(both);
      });
      if constexpr (Format::kType == DType::Q5_0) {
        const VU8 all = load(Layout::kHighBits, 0);
        unroll<kQuads>([&](auto k) GEMMA_INLINE_LAMBDA {
          const VU8 bit = hn::And(shifted<4 - static_cast<int>(decltype(k)::value)>(all),
                                  hn::Set(d, 16));
          out[k] = hn::Or(out[k], bit);
        });
      }
    } else if constexpr (Format::kType == DType::Q6_K) {
      // Part t of a chunk: nibble t / 2 of the even or odd words, bits 2 t and 2 t + 1 of the high
      // ones.
      const std::uint8_t* at = bytes_ + kChunksOffset + chunk * 3 * kQuads * kBytes;
      unroll<kQuads>([&](auto k) GEMMA_INLINE_LAMBDA {
        const VU8 both = hn::LoadU(d, at + (kPart % 2 * kQuads + k) * kBytes);
        const VU8 low = kPart < 2 ? hn::And(both, nibble) : hn::ShiftRight<4>(both);
        const VU8 high = hn::LoadU(d, at + (2 * kQuads + k) * kBytes);
        out[k] = hn::Or(low, hn::And(shifted<4 - 2 * static_cast<int>(kPart)>(high),
                                     hn::Set(d, 0x30)));
      });
    } else {  // Q4_K
      unroll<kQuads>([&](auto k) GEMMA_INLINE_LAMBDA {
        const VU8 both = load(Layout::kQuants, chunk * kQuads + k);
        out[k] = kPart == 0 ? hn::And(both, nibble) : hn::ShiftRight<4>(both);
      });
    }
  }

  /// Scales and, where kHasMin, minimums of all groups, a lane for each row.
  HWY_INLINE void scales(VF* scale, VF* minimum) const {
    const VF factor = load_halves(Layout::kScale);
    if constexpr (Format::kBlockElements == 32) {
      scale[0] = factor;
    } else if constexpr (Format::kType == DType::Q6_K) {
      unroll<kGroups>([&](auto g) GEMMA_INLINE_LAMBDA {
        constexpr int kUp = 24 - 8 * static_cast<int>(decltype(g)::value % 4);
        const VI32 word = hn::BitCast(DI32(), load(Layout::kScales, g / 4));
        const VI32 own = hn::ShiftRight<24>(hn::ShiftLeft<kUp>(word));
        scale[g] = hn::Mul(hn::ConvertTo(DF(), own), factor);
      });
    } else {
      const VF min_factor = load_halves(Layout::kMin);
      unroll<kGroups>([&](auto g) GEMMA_INLINE_LAMBDA {
        scale[g] = hn::Mul(six_bits<decltype(g)::value, 0>(), factor);
        minimum[g] = hn::Mul(six_bits<decltype(g)::value, 1>(), min_factor);
      });
    }
  }

 private:
  /// Word i of a field.
  HWY_INLINE VU8 load(const quant::PackedField& field, std::size_t i) const {
    return hn::LoadU(DU8(), bytes_ + quant::packed_offset<Format>(field) + i * kBytes);
  }
  HWY_INLINE VF load_halves(const quant::PackedField& field) const {
    const hn::Rebind<hwy::float16_t, DF> narrow;
    const std::uint8_t* at = bytes_ + quant::packed_offset<Format>(field);
    return hn::PromoteTo(DF(), hn::LoadU(narrow, reinterpret_cast<const hwy::float16_t*>(at)));
  }
  /// Bytes shifted to the left, or to the right if kBits is negative; neighbours' bits come in.
  template <int kBits>
  static HWY_INLINE VU8 shifted(VU8 v) {
    const VU32 words = hn::BitCast(DU32(), v);
    if constexpr (kBits >= 0) {
      return hn::BitCast(DU8(), hn::ShiftLeft<kBits>(words));
    } else {
      return hn::BitCast(DU8(), hn::ShiftRight<-kBits>(words));
    }
  }
  /// Scale, or with kPart 1 minimum, of a group of Q4_K: see k_quants.hpp.
  template <std::size_t kGroup, std::size_t kPart>
  HWY_INLINE VF six_bits() const {
    const DU32 d;
    constexpr int kByte = 8 * static_cast<int>(kGroup % 4);
    const VU32 own = hn::BitCast(d, load(Layout::kScales, kPart));
    VU32 value;
    if constexpr (kGroup < 4) {
      value = hn::And(hn::ShiftRight<kByte>(own), hn::Set(d, 63));
    } else {
      const VU32 rest = hn::BitCast(d, load(Layout::kScales, 2));
      constexpr int kNibble = kByte + 4 * static_cast<int>(kPart);
      value = hn::Or(hn::And(hn::ShiftRight<kNibble>(rest), hn::Set(d, 15)),
                     hn::And(hn::ShiftRight<kByte + 2>(own), hn::Set(d, 48)));
    }
    return hn::ConvertTo(DF(), hn::BitCast(DI32(), value));
  }

  /// Of Q6_K, whose first chunk follows its scales.
  static constexpr std::size_t kChunksOffset = kPackedRows * (2 + 16);

  const std::uint8_t* bytes_;
};

/// out[t][lane] = Σ of a group of rows, for kCount tokens of 15 bits.
template <class Format, std::size_t kCount>
HWY_INLINE void multiply_packed(const std::uint8_t* group, std::size_t cols, const FineInput* x,
                                VF* out) {
  using Block = PackedBlock<Format>;
  const DF d;
  const DI32 di;
  VF sums[kCount];
  unroll<kCount>([&](auto t) GEMMA_INLINE_LAMBDA { sums[t] = hn::Zero(d); });
  for (std::size_t b = 0; b < cols / Format::kBlockElements; ++b) {
    const std::uint8_t* bytes = group + b * kPackedRows * Format::kBlockBytes;
    const Block block(bytes);
    for (std::size_t line = 0; line < kPackedRows * Format::kBlockBytes; line += 64) {
      hwy::Prefetch(bytes + kPackedPrefetchBytes + line);
    }
    VF scale[Block::kGroups], minimum[Block::kGroups];
    block.scales(scale, minimum);
    for (std::size_t chunk = 0; chunk < Block::kChunks; ++chunk) {
      unroll<Block::kParts>([&](auto part) GEMMA_INLINE_LAMBDA {
        VU8 codes[Block::kQuads];
        block.template codes<decltype(part)::value>(chunk, codes);
        const std::size_t g = Block::group_of(chunk, part);
        const std::size_t at = b * Block::kGroups + g;
        const std::size_t col = at * Format::kGroup;
        unroll<kCount>([&](auto t) GEMMA_INLINE_LAMBDA {
          VI32 coarse = hn::Zero(di), fine = hn::Zero(di);
          unroll<Block::kQuads>([&](auto k) GEMMA_INLINE_LAMBDA {
            const std::int8_t* quad = x[t].q + col + 4 * k;
            coarse = add_quads(codes[k], broadcast_quad(quad), coarse);
            fine = add_quads(codes[k], broadcast_quad(quad + cols), fine);
          });
          const VF sum = hn::ConvertTo(d, hn::Add(hn::ShiftLeft<8>(coarse), fine));
          const VF x_scale = hn::Set(d, x[t].scale[col / kActivationGroup]);
          if constexpr (Format::kHasMin) {
            sums[t] = hn::MulAdd(hn::Mul(sum, x_scale), scale[g], sums[t]);
            sums[t] = hn::NegMulAdd(minimum[g], hn::Set(d, x[t].sum[at]), sums[t]);
          } else {
            const VF shift = hn::Set(d, static_cast<float>(Block::kOffset) * x[t].sum[at]);
            sums[t] = hn::MulAdd(hn::MulSub(sum, x_scale, shift), scale[g], sums[t]);
          }
        });
      });
    }
  }
  unroll<kCount>([&](auto t) GEMMA_INLINE_LAMBDA { out[t] = sums[t]; });
}

template <class Format, std::size_t kCount>
inline HWY_NOINLINE void packed_tokens(const MatmulArgs& a, std::size_t row_begin, std::size_t row_end,
                              std::size_t token) {
  constexpr std::size_t kRows = kPackedRows;
  FineInput x[kCount];
  for (std::size_t t = 0; t < kCount; ++t) x[t] = fine_input<Format>(a.x, token + t);
  for (std::size_t row = row_begin / kRows * kRows; row < row_end; row += kRows) {
    VF sums[kCount];
    multiply_packed<Format, kCount>(a.weights.packed + row * a.weights.row_bytes, a.weights.cols, x,
                                    sums);
    for (std::size_t t = 0; t < kCount; ++t) {
      float* out = a.out + (token + t) * a.out_stride;
      if (row >= row_begin && row + kRows <= row_end) {
        hn::StoreU(sums[t], DF(), out + row);
        continue;
      }
      float some[kRows];
      hn::StoreU(sums[t], DF(), some);
      const std::size_t first = HWY_MAX(row, row_begin), last = HWY_MIN(row + kRows, row_end);
      std::memcpy(out + first, some + (first - row), (last - first) * sizeof(float));
    }
  }
}

/// Few tokens; see quantized_matvec().
template <class Format>
inline HWY_NOINLINE void packed_matvec(const MatmulArgs& a, std::size_t row_begin,
                                       std::size_t row_end) {
  std::size_t token = 0;
  for (; token + 4 <= a.x.tokens; token += 4) packed_tokens<Format, 4>(a, row_begin, row_end, token);
  for (; token < a.x.tokens; ++token) packed_tokens<Format, 1>(a, row_begin, row_end, token);
}

/// fill_panel() from packed rows; `row` begins a group.
template <class Format>
HWY_INLINE void fill_panel_from_packed(const WeightMatrix& w, std::size_t row, std::size_t rows,
                                       std::size_t col, std::size_t cols, Panel& panel) {
  using Block = PackedBlock<Format>;
  const DF d;
  panel.offset = Block::kOffset;
  for (std::size_t half = 0; half < rows; half += kLanes) {
    const std::uint8_t* group = w.packed + (row + half) * w.row_bytes;
    for (std::size_t c = 0; c < cols; c += Format::kBlockElements) {
      const std::size_t b = (col + c) / Format::kBlockElements;
      const std::uint8_t* bytes = group + b * kPackedRows * Format::kBlockBytes;
      const Block block(bytes);
      // The next rows, which follow when all tokens have met these.
      for (std::size_t line = 0; line < kPackedRows * Format::kBlockBytes; line += 64) {
        prefetch_far(bytes + kPanelRows * w.row_bytes + line);
      }
      VF scale[Block::kGroups], minimum[Block::kGroups];
      block.scales(scale, minimum);
      for (std::size_t chunk = 0; chunk < Block::kChunks; ++chunk) {
        unroll<Block::kParts>([&](auto part) GEMMA_INLINE_LAMBDA {
          VU8 codes[Block::kQuads];
          block.template codes<decltype(part)::value>(chunk, codes);
          const std::size_t g = Block::group_of(chunk, part);
          const std::size_t at = c / Format::kGroup + g;
          std::uint8_t* to = panel.codes + (at * Block::kQuads * kPanelRows + half) * 4;
          unroll<Block::kQuads>([&](auto k) GEMMA_INLINE_LAMBDA {
            hn::StoreU(codes[k], DU8(), to + k * kPanelRows * 4);
          });
          hn::StoreU(scale[g], d, panel.scale + at * kPanelRows + half);
          if constexpr (Format::kHasMin) {
            hn::StoreU(minimum[g], d, panel.minimum + at * kPanelRows + half);
          }
        });
      }
    }
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace simd
GEMMA_NAMESPACE_END
HWY_AFTER_NAMESPACE();

#endif  // GEMMA_SIMD_PACKED_INL_HPP_
