#!/usr/bin/env python3
"""Packs texts with Python's zlib, for tests/formats/inflate_test.cpp, into tests/data/inflate."""
import pathlib
import zlib

here = pathlib.Path(__file__).parent
text = (here / "kjv-small.txt").read_bytes()
numbers = b"".join(b"%d %d\n" % (i, i * i % 1009) for i in range(6000))


def pack(data, level, strategy):
    packer = zlib.compressobj(level, zlib.DEFLATED, 15, 8, strategy)
    return packer.compress(data) + packer.flush()


for name, data, level, strategy in [
    ("text_dynamic", text, 9, zlib.Z_DEFAULT_STRATEGY),
    ("text_fixed", text, 9, zlib.Z_FIXED),
    ("text_stored", text, 0, zlib.Z_DEFAULT_STRATEGY),
    ("text_literals", text, 9, zlib.Z_HUFFMAN_ONLY),
    ("zeros", bytes(100_000), 9, zlib.Z_DEFAULT_STRATEGY),
    ("empty", b"", 9, zlib.Z_DEFAULT_STRATEGY),
    ("numbers", numbers, 9, zlib.Z_DEFAULT_STRATEGY),
]:
    (here / "inflate" / (name + ".zlib")).write_bytes(pack(data, level, strategy))
