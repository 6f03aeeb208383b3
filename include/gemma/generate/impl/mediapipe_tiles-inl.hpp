// The layout of matrices in files for GPUs, and the way to rows. Inputs and outputs are cut into fours:
// [inputs / 4][outputs / 4][4 inputs][4 outputs], in bytes that are 128 too large, or in nibbles that
// are 8 too large, the first of two in the low half.
#ifndef GEMMA_GENERATE_IMPL_MEDIAPIPE_TILES_INL_HPP_
#define GEMMA_GENERATE_IMPL_MEDIAPIPE_TILES_INL_HPP_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include "gemma/base/bytes.hpp"
#include "gemma/base/float16.hpp"
#include "gemma/base/threads.hpp"
#include "gemma/quant/matrix.hpp"

GEMMA_NAMESPACE_BEGIN
namespace mediapipe {
namespace detail {

/// Tiles that are laid out together: a cache line of a row of bytes. The sums of more would not fit the
/// lanes that they are made in.
inline constexpr std::size_t kTilesTogether = 16;

/// At most kTilesTogether tiles of bytes, `line` bytes apart, to four rows of I8, `stride` bytes apart.
/// Adds the integers to sums [4].
inline void untile_bytes(const std::uint8_t* tiles, std::size_t line, std::size_t count,
                         std::uint8_t* rows, std::size_t stride, std::int64_t* sums) {
  constexpr std::uint32_t kEven = 0x00FF00FFu, kSigns = 0x80808080u;
  std::uint32_t even = 0, odd = 0;  // of the four outputs, in lanes of 16 bits
  for (std::size_t i = 0; i < count; ++i) {
    std::uint32_t in[4], out[4];
    std::memcpy(in, tiles + i * line, sizeof in);
    for (const std::uint32_t word : in) {
      even += word & kEven;
      odd += word >> 8 & kEven;
    }
    // Pairs of inputs side by side, then pairs of pairs.
    const std::uint32_t a = (in[0] & kEven) | (in[1] & kEven) << 8;
    const std::uint32_t b = (in[0] >> 8 & kEven) | (in[1] & ~kEven);
    const std::uint32_t c = (in[2] & kEven) | (in[3] & kEven) << 8;
    const std::uint32_t d = (in[2] >> 8 & kEven) | (in[3] & ~kEven);
    out[0] = (a & 0xFFFFu) | c << 16;
    out[1] = (b & 0xFFFFu) | d << 16;
    out[2] = a >> 16 | (c & 0xFFFF0000u);
    out[3] = b >> 16 | (d & 0xFFFF0000u);
    for (std::size_t o = 0; o < 4; ++o) {
      out[o] ^= kSigns;
      std::memcpy(rows + o * stride + 4 * i, &out[o], 4);
    }
  }
  const std::int64_t shift = 128 * 4 * static_cast<std::int64_t>(count);
  sums[0] += (even & 0xFFFFu) - shift;
  sums[1] += (odd & 0xFFFFu) - shift;
  sums[2] += (even >> 16) - shift;
  sums[3] += (odd >> 16) - shift;
}

/// The same of nibbles, to four rows of I4.
inline void untile_nibbles(const std::uint8_t* tiles, std::size_t line, std::size_t count,
                           std::uint8_t* rows, std::size_t stride, std::int64_t* sums) {
  constexpr std::uint64_t kEven = 0x0F0F0F0F0F0F0F0Fu;
  std::uint64_t even = 0, odd = 0;  // of four inputs and two outputs each, in lanes of 8 bits
  for (std::size_t i = 0; i < count; ++i) {
    auto x = load_le<std::uint64_t>(tiles + i * line);
    even += x & kEven;
    odd += x >> 4 & kEven;
    // Of the 4 × 4 nibbles those across the diagonal change places, in twos and then in fours.
    std::uint64_t changed = (x ^ x >> 12) & 0x0000F0F00000F0F0u;
    x ^= changed ^ changed << 12;
    changed = (x ^ x >> 24) & 0x00000000FF00FF00u;
    x ^= changed ^ changed << 24;
    for (std::size_t o = 0; o < 4; ++o) {
      const auto row = static_cast<std::uint16_t>(x >> (16 * o));
      std::memcpy(rows + o * stride + 2 * i, &row, 2);
    }
  }
  const std::int64_t shift = 8 * 4 * static_cast<std::int64_t>(count);
  for (std::size_t o = 0; o < 4; ++o) {
    const std::uint64_t lanes = (o % 2 == 0 ? even : odd) >> (o / 2 * 8);
    for (std::size_t i = 0; i < 4; ++i) sums[o] += static_cast<std::uint8_t>(lanes >> (16 * i));
    sums[o] -= shift;
  }
}

/// Lays out a matrix of I8 or I4, whose sizes are multiples of 4, from `tiles` to `rows`, and sums the
/// integers of each row. Calls `done(offset, bytes)` after each stripe of inputs; it gives a Status.
template <class F>
Status untile_matrix(const WeightMatrix& m, const std::uint8_t* tiles, std::uint8_t* rows,
                     std::int64_t* sums, ThreadPool& pool, const F& done) {
  constexpr std::size_t kStripeBytes = std::size_t{16} << 20;
  constexpr std::size_t kTask = 16;      // fours of outputs
  const bool bytes = m.type == DType::I8;
  const std::size_t tile_bytes = bytes ? 16 : 8;
  const std::size_t fours_in = m.cols / 4, fours_out = m.rows / 4;
  const std::size_t line = fours_out * tile_bytes;
  const std::size_t stripe =
      (std::max)(kStripeBytes / line / kTilesTogether, std::size_t{1}) * kTilesTogether;
  for (std::size_t first = 0; first < fours_in; first += stripe) {
    const std::size_t end = (std::min)(first + stripe, fours_in);
    pool.parallel_for((fours_out + kTask - 1) / kTask, [&](std::size_t task, std::size_t) {
      const std::size_t last = (std::min)((task + 1) * kTask, fours_out);
      for (std::size_t begin = first; begin < end; begin += kTilesTogether) {
        for (std::size_t o = task * kTask; o < last; ++o) {
          const std::uint8_t* from = tiles + begin * line + o * tile_bytes;
          std::uint8_t* to = rows + 4 * o * m.row_bytes + begin * tile_bytes / 4;
          const std::size_t count = (std::min)(kTilesTogether, end - begin);
          (bytes ? untile_bytes : untile_nibbles)(from, line, count, to, m.row_bytes, sums + 4 * o);
        }
      }
    });
    GEMMA_TRY(done(first * line, (end - first) * line));
  }
  return {};
}

/// A factor of an adapter, row by row, from tiles of binary16; `rows` and `cols` are multiples of 4.
///
/// MediaPipe 0.10.21 writes LoRA files, of ranks 4, 8 and 16 alike, in the tiles of all its matrices,
/// inputs / 4 outermost. Of `post`, the output of the attention, its converter hands the numbers of A^T
/// and B^T, row by row, to the part that cuts tiles, which takes them for those of A and B: the base
/// model's matrix of that name it transposes before, these two it does not. `rearranged` puts such
/// numbers back in order, so that the adapter does what it was trained to do.
inline std::vector<float> untile_halves(const std::uint8_t* tiles, std::size_t rows, std::size_t cols,
                                        bool rearranged) {
  std::vector<float> out(rows * cols);
  for (std::size_t r = 0; r < rows; ++r) {
    for (std::size_t c = 0; c < cols; ++c) {
      const std::size_t tiled = (c / 4 * (rows / 4) + r / 4) * 16 + c % 4 * 4 + r % 4;
      const std::size_t place = r * cols + c;
      out[rearranged ? place % rows * cols + place / rows : place] =
          half_to_float(load_le<std::uint16_t>(tiles + 2 * tiled));
    }
  }
  return out;
}

}  // namespace detail
}  // namespace mediapipe
GEMMA_NAMESPACE_END

#endif  // GEMMA_GENERATE_IMPL_MEDIAPIPE_TILES_INL_HPP_
