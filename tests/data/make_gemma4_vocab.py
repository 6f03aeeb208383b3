#!/usr/bin/env python3
"""Writes a GGUF file that holds only a vocabulary, from a Hugging Face tokenizer.json of Gemma 4 (.gz or not).

Usage: make_gemma4_vocab.py TOKENIZER_JSON OUT.gguf

Standard library only: the tests call it where they find the vocabulary, which is not ours to ship.
"""
import gzip
import json
import re
import struct
import sys

UINT32, FLOAT32, INT32, BOOL, STRING, ARRAY = 4, 6, 5, 7, 8, 9
NORMAL, CONTROL, USER_DEFINED, BYTE = 1, 3, 4, 6
# Special tokens that a model writes for its user to see; converters type them as user-defined.
VISIBLE = {"<|channel>", "<channel|>", "<|tool_call>", "<tool_call|>", "<|tool_response>", "<tool_response|>",
           '<|"|>'}


def text(s):
    raw = s.encode("utf-8")
    return struct.pack("<Q", len(raw)) + raw


def entry(key, kind, payload):
    return text(key) + struct.pack("<I", kind) + payload


def array(kind, items):
    return struct.pack("<IQ", kind, len(items)) + b"".join(items)


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    opener = gzip.open if sys.argv[1].endswith(".gz") else open
    with opener(sys.argv[1], "rt", encoding="utf-8") as f:
        data = json.load(f)
    vocab = data["model"]["vocab"]
    size = max(max(vocab.values()), max(t["id"] for t in data["added_tokens"])) + 1
    pieces = [f"<missing{i}>" for i in range(size)]
    types = [NORMAL] * size
    for piece, i in vocab.items():
        pieces[i] = piece
        if re.fullmatch(r"<0x[0-9A-F]{2}>", piece):
            types[i] = BYTE
    for token in data["added_tokens"]:
        pieces[token["id"]] = token["content"]
        visible = token["content"] in VISIBLE or not token["special"]
        types[token["id"]] = USER_DEFINED if visible else CONTROL
    merges = [m if isinstance(m, str) else " ".join(m) for m in data["model"]["merges"]]
    entries = [
        entry("general.architecture", STRING, text("gemma4")),
        entry("tokenizer.ggml.model", STRING, text("gemma4")),
        entry("tokenizer.ggml.tokens", ARRAY, array(STRING, [text(p) for p in pieces])),
        entry("tokenizer.ggml.token_type", ARRAY, array(INT32, [struct.pack("<i", t) for t in types])),
        entry("tokenizer.ggml.merges", ARRAY, array(STRING, [text(m) for m in merges])),
        entry("tokenizer.ggml.bos_token_id", UINT32, struct.pack("<I", vocab["<bos>"])),
        entry("tokenizer.ggml.eos_token_id", UINT32, struct.pack("<I", vocab["<eos>"])),
        entry("tokenizer.ggml.add_bos_token", BOOL, struct.pack("<?", True)),
    ]
    with open(sys.argv[2], "wb") as out:
        out.write(b"GGUF" + struct.pack("<IQQ", 3, 0, len(entries)) + b"".join(entries))


if __name__ == "__main__":
    main()
