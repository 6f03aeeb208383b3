// The layout of matrices in files for GPUs, and the way to rows. Inputs and outputs are cut into fours:
// [inputs / 4][outputs / 4][4 inputs][4 outputs], in bytes that are 128 too large, or in nibbles that
// are 8 too large, the first of two in the low half.
#ifndef GEMMA_GENERATE_IMPL_MEDIAPIPE_TILES_INL_HPP_
#define GEMMA_GENERATE_IMPL_MEDIAPIPE_TILES_INL_HPP_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "gemma/base/threads.hpp"
#include "gemma/quant/matrix.hpp"

GEMMA_NAMESPACE_BEGIN
namespace mediapipe {
namespace detail {

/// The 4 × 4 integers at `tile` to four rows of I8, `stride` bytes apart; adds them to sums [4].
inline void untile_bytes(const std::uint8_t* tile, std::uint8_t* rows, std::size_t stride,
                         std::int64_t* sums) {
  for (std::size_t o = 0; o < 4; ++o) {
    std::uint8_t row[4];
    std::int32_t sum = 0;
    for (std::size_t i = 0; i < 4; ++i) {
      row[i] = static_cast<std::uint8_t>(tile[4 * i + o] ^ 0x80);
      sum += static_cast<std::int8_t>(row[i]);
    }
    std::memcpy(rows + o * stride, row, sizeof row);
    sums[o] += sum;
  }
}

/// The same to four rows of I4.
inline void untile_nibbles(const std::uint8_t* tile, std::uint8_t* rows, std::size_t stride,
                           std::int64_t* sums) {
  for (std::size_t o = 0; o < 4; ++o) {
    unsigned q[4];
    for (std::size_t i = 0; i < 4; ++i) q[i] = (tile[2 * i + o / 2] >> (o % 2 * 4)) & 15u;
    const std::uint8_t row[2] = {static_cast<std::uint8_t>(q[0] | q[1] << 4),
                                 static_cast<std::uint8_t>(q[2] | q[3] << 4)};
    std::memcpy(rows + o * stride, row, sizeof row);
    sums[o] += static_cast<std::int64_t>(q[0] + q[1] + q[2] + q[3]) - 4 * 8;
  }
}

/// Lays out a matrix of I8 or I4, whose sizes are multiples of 4, from `tiles` to `rows`, and sums the
/// integers of each row. Calls `done(offset, bytes)` after each stripe of inputs; it gives a Status.
template <class F>
Status untile_matrix(const WeightMatrix& m, const std::uint8_t* tiles, std::uint8_t* rows,
                     std::int64_t* sums, ThreadPool& pool, const F& done) {
  constexpr std::size_t kStripeBytes = std::size_t{16} << 20;
  constexpr std::size_t kTogether = 16;  // fours of inputs: a cache line of a row of bytes
  constexpr std::size_t kTask = 16;      // fours of outputs
  const bool bytes = m.type == DType::I8;
  const std::size_t tile_bytes = bytes ? 16 : 8;
  const std::size_t fours_in = m.cols / 4, fours_out = m.rows / 4;
  const std::size_t line = fours_out * tile_bytes;
  const std::size_t stripe = (std::max)(kStripeBytes / line / kTogether, std::size_t{1}) * kTogether;
  for (std::size_t first = 0; first < fours_in; first += stripe) {
    const std::size_t end = (std::min)(first + stripe, fours_in);
    pool.parallel_for((fours_out + kTask - 1) / kTask, [&](std::size_t task, std::size_t) {
      const std::size_t last = (std::min)((task + 1) * kTask, fours_out);
      for (std::size_t begin = first; begin < end; begin += kTogether) {
        for (std::size_t o = task * kTask; o < last; ++o) {
          std::uint8_t* to = rows + 4 * o * m.row_bytes;
          for (std::size_t i = begin; i < (std::min)(begin + kTogether, end); ++i) {
            const std::uint8_t* tile = tiles + i * line + o * tile_bytes;
            if (bytes) {
              untile_bytes(tile, to + 4 * i, m.row_bytes, sums + 4 * o);
            } else {
              untile_nibbles(tile, to + 2 * i, m.row_bytes, sums + 4 * o);
            }
          }
        }
      }
    });
    GEMMA_TRY(done(first * line, (end - first) * line));
  }
  return {};
}

}  // namespace detail
}  // namespace mediapipe
GEMMA_NAMESPACE_END

#endif  // GEMMA_GENERATE_IMPL_MEDIAPIPE_TILES_INL_HPP_
