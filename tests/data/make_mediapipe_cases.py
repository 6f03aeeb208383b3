#!/usr/bin/env python3
"""Makes tests/data/mediapipe of the samples in ../shared/mediapipe.

make_mediapipe_cases.py SAMPLES OUT

The samples are MediaPipe weight files of tiny random models, written by another program than the tests' own builder, and
the checkpoints they were rounded from. Their tokenizers, most of their bytes, are of no Gemma: a small one takes their place.
A .task bundle that MediaPipe's bundler wrote is packed again, deflated.
"""
import shutil
import struct
import sys
import zipfile
from pathlib import Path

FILES = ("mini_GEMMA_2B_cpu_int8", "mini_GEMMA_2B_gpu_int8", "mini_GEMMA_2B_gpu_int4", "mini_GEMMA2_2B_cpu_int4",
         "mini_GEMMA3_1B_gpu_int4")
CHECKPOINT = "mini_GEMMA_2B_ckpt"
VOCABULARY = 400
TASK, TASK_VOCABULARY = "gemma3_q4_block32_ekv64.task", 128


def varint(value):
    out = b""
    while value > 127:
        out, value = out + bytes([value & 127 | 128]), value >> 7
    return out + bytes([value])


def field(number, value):
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    if isinstance(value, float):
        return varint(number << 3 | 5) + struct.pack("<f", value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def tokenizer(vocabulary=VOCABULARY):
    """A SentencePiece model with special pieces, bytes if there is room for them, letters and pairs of letters."""
    normal, unknown, control, user_defined, byte = 1, 2, 3, 4, 6
    letters = [chr(c) for c in range(ord("a"), ord("z") + 1)]
    pieces = [("<pad>", control), ("<eos>", control), ("<bos>", control), ("<unk>", unknown),
              ("<start_of_turn>", user_defined), ("<end_of_turn>", user_defined)]
    with_bytes = vocabulary > 300
    pieces += [(f"<0x{b:02X}>", byte) for b in range(256 * with_bytes)]
    pieces += [(text, normal) for text in ["\u2581"] + letters + ["\u2581" + c for c in letters]
               + [a + b for a in "aeiou" for b in letters]][:vocabulary - len(pieces)]
    model = b""
    for rank, (text, kind) in enumerate(pieces):
        model += field(1, field(1, text.encode()) + field(2, float(-rank)) + field(3, kind))
    model += field(2, field(3, 2) + field(4, vocabulary) + field(35, int(with_bytes)) + field(40, 3) + field(41, 2) + field(42, 1))
    return model + field(3, field(1, b"identity") + field(3, 0) + field(4, 0))


def number(data, at, kind):
    return struct.unpack_from("<" + kind, data, at)[0]


def place(data, table, slot):
    """Where a field of a flatbuffer's table is."""
    vtable = table - number(data, table, "i")
    return table + number(data, vtable + 4 + 2 * slot, "H")


def follow(data, at):
    return at + number(data, at, "I")


def elements(data, at):
    vector = follow(data, at)
    return [follow(data, vector + 4 + 4 * i) for i in range(number(data, vector, "I"))]


def with_tokenizer(data, model):
    """The file with another tokenizer, and what lies behind it moved."""
    data = bytearray(data)
    root = follow(data, 0)
    buffers = elements(data, place(data, root, 4))
    for entry in elements(data, place(data, root, 6)):
        name = follow(data, place(data, entry, 0))
        if data[name + 4:name + 4 + number(data, name, "I")] == b"spm_vocab_model":
            own = buffers[number(data, place(data, entry, 1), "I")]
    begin, size = (number(data, place(data, own, slot), "Q") for slot in (1, 2))
    less = (size - len(model)) // 256 * 256  # of which alignments are whole parts
    for buffer in buffers[1:]:
        at = place(data, buffer, 1)
        if number(data, at, "Q") > begin:
            struct.pack_into("<Q", data, at, number(data, at, "Q") - less)
    struct.pack_into("<Q", data, place(data, own, 2), len(model))
    data[begin:begin + size] = model + bytes(size - less - len(model))
    return data


def packed_again(task, out):
    """A bundle whose parts are deflated, with the same dates whenever it is made."""
    with zipfile.ZipFile(task) as before, zipfile.ZipFile(out, "w") as after:
        for entry in before.infolist():
            data = before.read(entry)
            if entry.filename == "TOKENIZER_MODEL":
                data = tokenizer(TASK_VOCABULARY)
            after.writestr(zipfile.ZipInfo(entry.filename), data, zipfile.ZIP_DEFLATED, 9)


def main(samples, out):
    out.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        data = (samples / f"{name}.bin").read_bytes()
        (out / f"{name}.bin").write_bytes(with_tokenizer(data, tokenizer()))
    packed_again(samples / TASK, out / "gemma3_q4.task")
    (out / CHECKPOINT).mkdir(exist_ok=True)
    shutil.copyfile(samples / CHECKPOINT / "model.safetensors", out / CHECKPOINT / "model.safetensors")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(Path(sys.argv[1]), Path(sys.argv[2]))
