// What a sketch of a matrix is: its codes with a bound of what they leave out, and what one token's
// activations must be to meet it.
#ifndef GEMMA_SIMD_SKETCH_HPP_
#define GEMMA_SIMD_SKETCH_HPP_

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>

#include "gemma/config.hpp"

GEMMA_NAMESPACE_BEGIN
namespace simd {

/// Rows of a sketch that lie together.
inline constexpr std::size_t kSketchRows = 16;
/// Columns of a sketch that share a scale.
inline constexpr std::size_t kSketchBlock = 32;
/// Bytes of a block's nibbles, in all rows of a group.
inline constexpr std::size_t kSketchPlane = kSketchRows * kSketchBlock / 2;
/// A step of 4-bit codes is so many times the block's scale.
inline constexpr float kCoarseStep = 1.0f;
/// A step of 8-bit codes.
inline constexpr float kFineStep = 0.25f;
/// How much longer a block of weights may be than what its 4-bit codes miss (16 times that for 8 bits), so
/// that one number bounds both what the weights' codes and what the activations' rounding leave out.
inline constexpr float kSketchLength = 14.0f;

/// A matrix in few bits, with a bound of what that misses. With S what the codes stand for and B the
/// blocks of columns, |(W − S) x| ≤ missed · Σ_B scale_B · length_B(x). The first blocks have codes of 8
/// bits, for the columns where activations are large; the others of 4. A code c stands for
/// (c − middle) · step · scale_B · factor. With x̂ what x is rounded to, length_B(x) is step · (‖x̂_B‖ +
/// kSketchLength · ‖x_B − x̂_B‖), in the first blocks with 16 kSketchLength, and a little for rounding.
/// Groups of kSketchRows rows; those behind the last row are zero.
struct Sketch {
  std::size_t rows = 0;           ///< of the matrix
  std::size_t cols = 0;           ///< whole blocks
  std::uint8_t* data = nullptr;   ///< [groups, group_bytes()]: planes, then scales [blocks, kSketchRows]
  float* factor = nullptr;        ///< [groups · kSketchRows]
  float* missed = nullptr;        ///< likewise; not a number where nothing is known

  /// Of rows, the last one filled up.
  std::size_t groups() const { return (rows + kSketchRows - 1) / kSketchRows; }
  /// Of columns.
  std::size_t blocks() const { return cols / kSketchBlock; }
  /// How many of the blocks have 8 bits, as two planes: high nibbles, then low ones.
  std::size_t fine_blocks() const { return (blocks() + 19) / 20; }
  /// A plane is [4, kSketchRows, 4] bytes: columns k + 16 are in the high nibbles of k's bytes.
  std::size_t planes() const { return blocks() + fine_blocks(); }
  /// Bytes of a group, whole cache lines.
  std::size_t group_bytes() const {
    return (planes() * kSketchPlane + blocks() * kSketchRows + 63) / 64 * 64;
  }
};

/// 32 activations as a sketch wants them.
struct SketchedActivations {
  std::int8_t high[kSketchBlock];  ///< x ≈ scale · high, in fine blocks scale · (256 high + low)
  std::int8_t low[kSketchBlock];   ///< of fine blocks
  float scale;                     ///< times the step of the block
  float start;                     ///< what the codes' middle takes away
  float length;                    ///< see Sketch

  /// Of x [kSketchBlock].
  SketchedActivations(const float* x, bool fine) {
    float largest = 0.0f;
    for (std::size_t i = 0; i < kSketchBlock; ++i) {
      const float size = std::abs(x[i]);
      if (!(size <= largest)) largest = size;  // takes what is not a number
    }
    const float step = fine ? kFineStep : kCoarseStep;
    const float levels = fine ? 32512.0f : 127.0f;
    const float unit = largest / levels;
    const bool finite = std::isfinite(largest);
    const float inverse = finite && unit > 1e-30f ? 1.0f / unit : 0.0f;
    int sum = 0;
    double kept = 0.0, lost = 0.0, all = 0.0;
    for (std::size_t i = 0; i < kSketchBlock; ++i) {
      const float steps = finite ? x[i] * inverse : 0.0f;
      const int q = static_cast<int>(std::lrint((std::min)((std::max)(steps, -levels), levels)));
      const int coarse = fine ? (q + 128) >> 8 : q;
      high[i] = static_cast<std::int8_t>(coarse);
      low[i] = static_cast<std::int8_t>(fine ? q - 256 * coarse : 0);
      sum += q;
      const double value = double{unit} * q, error = double{x[i]} - value;
      kept += value * value;
      lost += error * error;
      all += double{x[i]} * double{x[i]};
    }
    scale = unit * step;
    start = (fine ? -127.5f : -7.5f) * static_cast<float>(sum) * scale;
    // More than the rounding of all sums, here and in the exact product, can be.
    constexpr double kRounding = 1.2e-4;
    const double weights = double{kSketchLength} * (fine ? 16.0 : 1.0);
    length = step * static_cast<float>(1.0001 * std::sqrt(kept) +
                                       weights * (std::sqrt(lost) + kRounding * std::sqrt(all)));
  }
};

}  // namespace simd
GEMMA_NAMESPACE_END

#endif  // GEMMA_SIMD_SKETCH_HPP_
