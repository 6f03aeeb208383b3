#!/usr/bin/env python3
"""Prints the root of the mean squared error that ggml makes on the numbers of encode_test.cpp.

Needs: pip install gguf numpy llama-cpp-python (for its libggml-base).
"""
import ctypes
import pathlib

import llama_cpp
import numpy as np
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType as T
from gguf.quants import dequantize

COUNT = 64 * 256


def numbers(kind):
    """The same as numbers() of encode_test.cpp, bit by bit."""
    state = 20250301
    out = np.empty(COUNT, np.float32)
    for i in range(COUNT):
        total = 0
        for _ in range(4):
            state = (state * 1664525 + 1013904223) % 2**32
            total += (state >> 8) - 2**23
        if kind == "flat":
            total = (state >> 8) - 2**23
        x = total / 2**28
        out[i] = np.float32(x * abs(x) * 32 if kind == "spiky" else x)
    return out


def main():
    folder = pathlib.Path(llama_cpp.__file__).parent / "lib"
    ggml = ctypes.CDLL(str(folder / "libggml-base.so"))
    ggml.ggml_quantize_chunk.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p,
                                         ctypes.c_int64, ctypes.c_int64, ctypes.c_int64,
                                         ctypes.c_void_p]
    for dtype in [T.F16, T.BF16, T.Q4_0, T.Q5_0, T.Q5_1, T.Q8_0, T.Q4_K, T.Q5_K, T.Q6_K]:
        errors = []
        for kind in ["bell", "spiky", "flat"]:
            x = numbers(kind)
            elements, size = GGML_QUANT_SIZES[dtype]
            blocks = np.zeros((1, COUNT // elements * size), np.uint8)
            ggml.ggml_quantize_chunk(int(dtype), x.ctypes.data, blocks.ctypes.data, 0, 1, COUNT,
                                     None)
            y = dequantize(blocks, dtype).reshape(-1)
            errors.append(np.sqrt(np.mean((y.astype(np.float64) - x) ** 2)))
        print(f"    {{DType::{dtype.name}, {{{', '.join(f'{e:.9g}' for e in errors)}}}}},")


if __name__ == "__main__":
    main()
