// Bodies of tiles.hpp.
#ifndef GEMMA_OPENCL_IMPL_TILES_INL_HPP_
#define GEMMA_OPENCL_IMPL_TILES_INL_HPP_

#include <algorithm>
#include <cmath>
#include <cstring>

#include "gemma/opencl/tiles.hpp"

GEMMA_NAMESPACE_BEGIN
namespace opencl {
namespace detail {

/// Where the planes of a part lie.
struct TilePlanes {
  std::uint8_t* codes;
  std::uint8_t* high;
  std::uint8_t* scales;
  std::uint8_t* supers;

  TilePlanes(const TileFormat& format, std::size_t tiles, std::size_t blocks, std::uint8_t* part)
      : codes(part),
        high(codes + tiles * format.plane_bytes(blocks)[0]),
        scales(high + tiles * format.plane_bytes(blocks)[1]),
        supers(scales + tiles * format.plane_bytes(blocks)[2]) {}
};

template <class T>
void store(std::uint8_t* p, std::size_t index, T value) {
  std::memcpy(p + index * sizeof(T), &value, sizeof(T));
}

/// The 32 codes of a block, none negative: four bits of each to words, even columns in the lower
/// halves, and what is above them to the high plane. `at` is the index of block and row.
inline void store_nibbles(const TileFormat& format, const std::uint8_t* q, std::size_t at,
                          const TilePlanes& planes) {
  std::uint32_t words[4] = {};
  std::uint32_t high[2] = {};
  for (std::uint32_t i = 0; i < kBlockColumns; ++i) {
    const std::uint32_t pair = i % 8 / 2;
    const std::uint32_t odd = i % 2 * 16;
    words[i / 8] |= (q[i] & 15u) << (4 * pair + odd);
    if (format.bits == 5) high[0] |= static_cast<std::uint32_t>(q[i] >> 4) << (i / 2 + odd);
    if (format.bits == 6) {
      high[i / 16] |= static_cast<std::uint32_t>(q[i] >> 4) << (i % 16 / 2 * 2 + odd);
    }
  }
  std::memcpy(planes.codes + at * 16, words, 16);
  std::memcpy(planes.high + at * format.high_bytes(), high, format.high_bytes());
}

/// The integer n of scale = d · n; n = 1 where d is not a number, so that the product is none.
inline int ratio(float scale, float d) {
  const float n = d == 0.0f ? 0.0f : scale / d;
  return std::isfinite(n) ? static_cast<int>(std::lround(n)) : 1;
}

template <class Format>
void store_scales(const TileFormat& format, const std::uint8_t* block, const float* scale,
                  const float* minimum, std::size_t g32, std::size_t at, std::size_t super_at,
                  const TilePlanes& planes) {
  const std::uint16_t d = load_le<std::uint16_t>(block + Format::kScaleOffset);
  std::uint16_t dmin = 0;
  if constexpr (Format::kHasMin) dmin = load_le<std::uint16_t>(block + Format::kMinOffset);
  switch (format.scales) {
    case Scales::by_32: store(planes.scales, at, d); return;
    case Scales::by_32_with_min:
      store(planes.scales, at, static_cast<std::uint32_t>(d | static_cast<std::uint32_t>(dmin) << 16));
      return;
    case Scales::by_32_of_256:
    case Scales::by_16_of_256: break;
    case Scales::none: return;
  }
  store(planes.supers, super_at,
        static_cast<std::uint32_t>(d | static_cast<std::uint32_t>(dmin) << 16));
  const std::size_t groups = kBlockColumns / Format::kGroup;
  std::int8_t* out = reinterpret_cast<std::int8_t*>(planes.scales) + at * format.scale_bytes();
  for (std::size_t g = 0; g < groups; ++g) {
    const std::size_t i = g32 * groups + g;
    out[g] = static_cast<std::int8_t>(ratio(scale[i], half_to_float(d)));
    if constexpr (Format::kHasMin) {
      out[groups + g] = static_cast<std::int8_t>(ratio(minimum[i], half_to_float(dmin)));
    }
  }
}

template <class Format>
void fill_row(const TileFormat& format, const std::uint8_t* row, std::size_t cols,
              std::size_t blocks, std::size_t tile, std::size_t lane, const TilePlanes& planes) {
  if constexpr (Format::kBlockElements == 1) {
    const std::size_t bytes = Format::kBlockBytes;
    const std::size_t per_chunk = 16 / bytes;
    for (std::size_t i = 0; i < cols; i += per_chunk) {
      const std::size_t block = tile * blocks + i / kBlockColumns;
      const std::size_t chunk = i % kBlockColumns / per_chunk;
      const std::size_t count = (std::min)(per_chunk, cols - i);
      std::uint8_t* out = planes.codes + ((block * format.chunks() + chunk) * kTileRows + lane) * 16;
      std::memcpy(out, row + i * bytes, count * bytes);
    }
  } else {
    constexpr std::size_t kN = Format::kBlockElements;
    std::int8_t q[kN];
    float scale[kN / Format::kGroup];
    float minimum[kN / Format::kGroup];
    for (std::size_t first = 0; first < cols; first += kN, row += Format::kBlockBytes) {
      Format::decode_groups(row, q, scale, minimum);
      for (std::size_t g = 0; g < kN / kBlockColumns; ++g) {
        const std::size_t k = first / kBlockColumns + g;
        const std::size_t at = (tile * blocks + k) * kTileRows + lane;
        const std::size_t super_at = (tile * (blocks / 8) + k / 8) * kTileRows + lane;
        const std::int8_t* codes = q + g * kBlockColumns;
        if (format.bits == 8) {
          for (std::size_t half = 0; half < 2; ++half) {
            const std::size_t chunk = (tile * blocks + k) * 2 + half;
            std::memcpy(planes.codes + (chunk * kTileRows + lane) * 16, codes + half * 16, 16);
          }
        } else {
          std::uint8_t raised[kBlockColumns];
          for (std::size_t i = 0; i < kBlockColumns; ++i) {
            raised[i] = static_cast<std::uint8_t>(codes[i] + format.offset);
          }
          store_nibbles(format, raised, at, planes);
        }
        store_scales<Format>(format, row, scale, minimum, g, at, super_at, planes);
      }
    }
  }
}

}  // namespace detail

GEMMA_INLINE TileFormat tile_format(DType type) {
  switch (type) {
    case DType::F32: return {"f32", 32, 0, Scales::none, false};
    case DType::F16: return {"f16", 16, 0, Scales::none, false};
    case DType::BF16: return {"bf16", 17, 0, Scales::none, false};
    case DType::Q4_0: return {"q4_0", 4, 8, Scales::by_32, false};
    case DType::Q4_1: return {"q4_1", 4, 0, Scales::by_32_with_min, true};
    case DType::Q5_0: return {"q5_0", 5, 16, Scales::by_32, false};
    case DType::Q5_1: return {"q5_1", 5, 0, Scales::by_32_with_min, true};
    case DType::IQ4_NL:
    case DType::Q8_0: return {"q8_0", 8, 0, Scales::by_32, false};
    case DType::Q2_K: return {"q2_k", 4, 0, Scales::by_16_of_256, true};
    case DType::Q3_K: return {"q3_k", 4, 4, Scales::by_16_of_256, false};
    case DType::Q4_K: return {"q4_k", 4, 0, Scales::by_32_of_256, true};
    case DType::Q5_K: return {"q5_k", 5, 0, Scales::by_32_of_256, true};
    case DType::Q6_K: return {"q6_k", 6, 32, Scales::by_16_of_256, false};
    case DType::I8:
    case DType::I4:  // see fill_tiles()
    case DType::IQ4_XS: break;
  }
  return {"iq4_xs", 8, 0, Scales::by_32_of_256, false};
}

GEMMA_INLINE std::string TileFormat::macros() const {
  const auto define = [](const char* macro, int value) {
    return "#define " + std::string(macro) + ' ' + std::to_string(value) + '\n';
  };
  return "#define F(part) part##_" + std::string(name) + '\n' + define("BITS", bits) +
         define("OFFSET", offset) + define("SCALES", static_cast<int>(scales)) +
         define("HAS_MIN", has_min ? 1 : 0);
}

GEMMA_INLINE void fill_tiles(const WeightMatrix& matrix, std::size_t first_row, std::size_t all,
                             std::size_t begin, std::size_t end, std::uint8_t* out) {
  const TileFormat format = tile_format(matrix.type);
  const std::size_t blocks = (matrix.cols + kBlockColumns - 1) / kBlockColumns;
  const detail::TilePlanes planes(format, all, blocks, out);
  quant::visit(matrix.type, [&](auto traits) {
    using Format = decltype(traits);
    if constexpr (!quant::kRowScaled<Format>) {
      for (std::size_t tile = begin; tile < end; ++tile) {
        for (std::size_t lane = 0; lane < kTileRows; ++lane) {
          const std::size_t row = first_row + tile * kTileRows + lane;
          if (row >= matrix.rows) break;
          detail::fill_row<Format>(format, matrix.row(row), matrix.cols, blocks, tile, lane, planes);
        }
      }
    }
  });
}

}  // namespace opencl
GEMMA_NAMESPACE_END

#endif  // GEMMA_OPENCL_IMPL_TILES_INL_HPP_
