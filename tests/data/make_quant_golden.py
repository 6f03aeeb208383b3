#!/usr/bin/env python3
"""Writes quant_golden.bin: blocks of every number format with the floats gguf-py decodes them to.

Needs: pip install gguf numpy. Run it in this folder.

Records until the end of the file, little-endian: u32 type, u32 bytes per block, u32 numbers per
block, u32 blocks, then all blocks, then all numbers as float32.
"""
import struct

import numpy as np
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType as T
from gguf.quants import dequantize

# Where each format has its binary16 scales; everything else in a block may be any bits.
HALVES = {
    T.Q4_0: [0], T.Q4_1: [0, 2], T.Q5_0: [0], T.Q5_1: [0, 2], T.Q8_0: [0], T.IQ4_NL: [0],
    T.Q2_K: [80, 82], T.Q3_K: [108], T.Q4_K: [0, 2], T.Q5_K: [0, 2], T.Q6_K: [208], T.IQ4_XS: [0],
}
# Zero, minus zero, subnormals, the smallest normal number, ordinary, the largest.
SCALES = [0x0000, 0x8000, 0x0001, 0x83FF, 0x0400, 0x2E66, 0xB00D, 0x7BFF, 0xFBFF]
PATTERNS = [0x00, 0xFF, 0xAA, 0x55, 0x0F, 0xF0]


def quantised_blocks(rng, dtype, size):
    """Patterns of all bits with edge-case scales, then random bits with ordinary scales."""
    blocks = []
    for i in range(max(len(PATTERNS), len(SCALES))):
        block = np.full(size, PATTERNS[i % len(PATTERNS)], np.uint8)
        if i >= len(PATTERNS):
            block = (np.arange(size) * (2 * i + 1) % 256).astype(np.uint8)
        for n, offset in enumerate(HALVES[dtype]):
            scale = SCALES[(i + 4 * n) % len(SCALES)]
            block[offset:offset + 2] = np.frombuffer(struct.pack("<H", scale), np.uint8)
        blocks.append(block)
    for _ in range(5 if size > 40 else 15):
        block = rng.integers(0, 256, size, np.uint8)
        for offset in HALVES[dtype]:
            scale = np.float16(rng.normal() * 0.02)
            block[offset:offset + 2] = np.frombuffer(scale.tobytes(), np.uint8)
        blocks.append(block)
    return np.stack(blocks)


def plain_blocks(rng, dtype, size):
    """Random bits without infinities and NaN, one number per block."""
    bits = rng.integers(0, 1 << (8 * size), 512, np.uint64)
    exponent = {T.F32: 0x7F800000, T.F16: 0x7C00, T.BF16: 0x7F80}[dtype]
    bits = bits[bits & exponent != exponent]
    kind = {2: np.uint16, 4: np.uint32}[size]
    return bits.astype(kind).view(np.uint8).reshape(-1, size)


def main():
    rng = np.random.default_rng(20250301)
    with open("quant_golden.bin", "wb") as out:
        for dtype in [T.F32, T.F16, T.BF16, *HALVES]:
            elements, size = GGML_QUANT_SIZES[dtype]
            make = quantised_blocks if dtype in HALVES else plain_blocks
            blocks = make(rng, dtype, size)
            numbers = np.ascontiguousarray(dequantize(blocks, dtype), np.float32)
            assert numbers.size == elements * len(blocks) and np.isfinite(numbers).all()
            out.write(struct.pack("<4I", dtype, size, elements, len(blocks)))
            out.write(blocks.tobytes() + numbers.tobytes())


if __name__ == "__main__":
    main()
