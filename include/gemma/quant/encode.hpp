// Floats to quantised blocks: the inverse of decode_row(), which rounds.
#ifndef GEMMA_QUANT_ENCODE_HPP_
#define GEMMA_QUANT_ENCODE_HPP_

#include <cstddef>
#include <cstdint>

#include "gemma/config.hpp"
#include "gemma/quant/types.hpp"

GEMMA_NAMESPACE_BEGIN
namespace quant {

/// Whether encode_row() can write `type`: F32, F16, BF16, Q4_0, Q5_0, Q5_1, Q8_0, Q4_K, Q5_K and
/// Q6_K.
bool can_encode(DType type);

/// Encodes n numbers, whole blocks, so that decode_row() gives them back with a small squared
/// error; `dst` holds row_bytes(type, n) bytes. can_encode(type) and n are checked by the caller.
///
/// Each block is encoded by itself: a row may be cut at blocks and shared among threads. Values
/// that are not finite count as 0, those beyond the range of the format become its largest: what is
/// decoded is always finite. Numbers that were decoded from Q4_0, Q5_0 or Q8_0 come back as they
/// were (of Q8_0, blocks that use 3/4 of its range).
void encode_row(DType type, const float* src, std::size_t n, std::uint8_t* dst);

}  // namespace quant
GEMMA_NAMESPACE_END

#if !defined(GEMMA_DECLARATIONS_ONLY)
#include "gemma/quant/impl/encode-inl.hpp"
#endif

#endif  // GEMMA_QUANT_ENCODE_HPP_
