// From the formats of files to the tiles that kernels read (kernels/formats.hpp shows how they lie).
// Codes and scales stay what they are, bit for bit; only their places change. Formats of unevenly
// spaced codes (IQ4) become 8 bits.
#ifndef GEMMA_OPENCL_TILES_HPP_
#define GEMMA_OPENCL_TILES_HPP_

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>

#include "gemma/quant/matrix.hpp"
#include "gemma/quant/registry.hpp"

GEMMA_NAMESPACE_BEGIN
namespace opencl {

inline constexpr std::size_t kTileRows = 16;      ///< rows of a matrix side by side in a tile
inline constexpr std::size_t kBlockColumns = 32;  ///< columns of a block, whatever the format

/// How scales stand beside the codes; the numbers are SCALES of kernels/formats.hpp.
enum class Scales {
  none,            ///< codes are floats
  by_32,           ///< d of 32 columns, float16
  by_32_with_min,  ///< d and m of 32 columns, float16
  by_32_of_256,    ///< an integer for 32 columns, and d of 256
  by_16_of_256     ///< an integer for 16 columns, and d of 256
};

/// A format on the device.
struct TileFormat {
  const char* name;  ///< part of the kernels' names
  int bits;          ///< BITS of kernels/formats.hpp: 17 is bfloat16
  int offset;        ///< that codes are stored with
  Scales scales;     ///< how wide a scale reaches
  bool has_min;      ///< whether minimums stand beside the scales

  /// 16 bytes of codes in a row of a block.
  std::size_t chunks() const { return bits <= 6 ? 1 : bits == 8 ? 2 : bits == 32 ? 8 : 4; }
  /// Bytes of what is above 4 bits in a row of a block.
  std::size_t high_bytes() const { return bits == 5 ? 4 : bits == 6 ? 8 : 0; }
  /// Bytes of scales, and minimums, in a row of a block.
  std::size_t scale_bytes() const {
    if (scales == Scales::none) return 0;
    return scales == Scales::by_32 || scales == Scales::by_32_of_256 ? 2 : 4;
  }
  /// Whether 8 blocks share a d (and dmin): 4 bytes in a row of a tile.
  bool has_supers() const { return scales >= Scales::by_32_of_256; }

  /// Bytes of codes, high bits, scales and supers in a tile of `blocks` blocks of columns.
  std::array<std::size_t, 4> plane_bytes(std::size_t blocks) const {
    return {kTileRows * blocks * chunks() * 16, kTileRows * blocks * high_bytes(),
            kTileRows * blocks * scale_bytes(), has_supers() ? kTileRows * (blocks / 8) * 4 : 0};
  }
  /// The sum of plane_bytes().
  std::size_t tile_bytes(std::size_t blocks) const {
    const std::array<std::size_t, 4> planes = plane_bytes(blocks);
    return planes[0] + planes[1] + planes[2] + planes[3];
  }
  /// The macros that stand before the format's kernels.
  std::string macros() const;
};

/// How `type`, which is supported, is kept on a device.
TileFormat tile_format(DType type);

/// Lays out tiles [begin, end) of a part of `all` tiles that begins at row `first_row` of `matrix`.
/// `out`, the whole part, holds all · tile_bytes zeros; rows after the last stay zero.
void fill_tiles(const WeightMatrix& matrix, std::size_t first_row, std::size_t all,
                std::size_t begin, std::size_t end, std::uint8_t* out);

}  // namespace opencl
GEMMA_NAMESPACE_END

#if !defined(GEMMA_DECLARATIONS_ONLY)
#include "gemma/opencl/impl/tiles-inl.hpp"
#endif

#endif  // GEMMA_OPENCL_TILES_HPP_
