#!/usr/bin/env python3
"""Makes tests/data/mediapipe/lora_rank8_*.f16 with MediaPipe's own converter.

make_mediapipe_lora.py OUT

Needs mediapipe==0.10.21 (for Python 3.9 to 3.12) and 4 GB of disk. The converter refuses anything but a whole Gemma 2B: of
the base model, which does not matter, it gets zeros; of the adapter, matrices of rank 8 whose numbers follow a rule that the
tests know, too. Of the LoRA file that it writes, two factors are kept: those of layer 0 that are added to the keys and to the output of the attention
(B of both). The first shows in which order tiles follow one another, the second that its numbers were in the wrong order before
they were tiled.
"""
import json
import struct
import sys
import tempfile
import types
from pathlib import Path

import ml_dtypes
import numpy as np

WIDTH, FFN, LAYERS, VOCABULARY, RANK = 2048, 16384, 18, 256000, 8
ATTENTION = {"q": (2048, WIDTH), "k": (256, WIDTH), "v": (256, WIDTH), "post": (WIDTH, 2048)}
KEPT = {"k": "right", "post": "left"}


def rule(rows, cols):
    """Numbers that binary16 holds exactly."""
    r, c = np.indices((rows, cols))
    return (((r * 131 + c * 31) % 509 - 254) / 256).astype(np.float32)


class Tensor:
    """What the converter asks of PyTorch, which is no small package."""

    def __init__(self, array):
        self.array = array

    def reshape(self, *shape):
        return Tensor(self.array.reshape(*shape))

    def float(self):
        return Tensor(self.array.astype(np.float32))

    def t(self):
        return Tensor(self.array.T)

    def contiguous(self):
        return Tensor(np.ascontiguousarray(self.array))

    def numpy(self):
        return self.array


def torch_substitute():
    torch = types.ModuleType("torch")
    torch.float16, torch.bfloat16, torch.float32 = np.float16, ml_dtypes.bfloat16, np.float32
    torch.Tensor = Tensor
    torch.frombuffer = lambda data, dtype: Tensor(np.frombuffer(data, dtype=dtype))
    return torch


def write_base(folder):
    """What the converter makes of a base model in 8 bits: files of zeros, without blocks on the disk."""

    def zeros(name, size):
        with open(folder / name, "wb") as file:
            file.truncate(size)

    def matrix(name, rows, cols):
        zeros(name + ".w", rows * cols)
        zeros(name + ".w_quantized_scale", rows * 4)

    matrix("params.lm.softmax.logits_ffn", VOCABULARY, WIDTH)
    zeros("params.lm.final_ln.scale", WIDTH * 4)
    for i in range(LAYERS):
        layer = f"params.lm.transformer.x_layers_{i}."
        for name, shape in ATTENTION.items():
            matrix(layer + "self_attention." + name, *shape)
        for name, shape in {"1": (FFN, WIDTH), "1_gate": (FFN, WIDTH), "2": (WIDTH, FFN)}.items():
            matrix(layer + "ff_layer.ffn_layer" + name, *shape)
        zeros(layer + "pre_layer_norm.scale", WIDTH * 4)
        zeros(layer + "ff_layer.pre_layer_norm.scale", WIDTH * 4)


def write_adapter(path):
    header, data = {}, []
    at = 0
    for i in range(LAYERS):
        for name, (rows, cols) in ATTENTION.items():
            for factor, shape in {"A": (RANK, cols), "B": (rows, RANK)}.items():
                module = f"base_model.model.model.layers.{i}.self_attn.{'o' if name == 'post' else name}_proj"
                data.append(rule(*shape).tobytes())
                header[f"{module}.lora_{factor}.weight"] = {
                    "dtype": "F32", "shape": shape, "data_offsets": [at, at + len(data[-1])]}
                at += len(data[-1])
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(data))


def number(data, at, kind):
    return struct.unpack_from("<" + kind, data, at)[0]


def payloads(data):
    """The bytes of each tensor of a TFLite file."""

    def place(table, slot):
        vtable = table - number(data, table, "i")
        offset = number(data, vtable + 4 + 2 * slot, "H") if 4 + 2 * slot < number(data, vtable, "H") else 0
        return table + offset if offset else None

    def follow(at):
        return at + number(data, at, "I")

    def tables(at):
        vector = follow(at)
        return [follow(vector + 4 + 4 * i) for i in range(number(data, vector, "I"))]

    root = follow(0)
    buffers = tables(place(root, 4))
    for tensor in tables(place(tables(place(root, 2))[0], 0)):
        name = follow(place(tensor, 3))
        buffer = buffers[number(data, place(tensor, 2), "I")]
        begin, size = (number(data, place(buffer, slot), "Q") for slot in (1, 2))
        yield data[name + 4:name + 4 + number(data, name, "I")].decode(), data[begin:begin + size]


def main(out):
    sys.modules["torch"] = torch_substitute()
    from mediapipe.python._framework_bindings import model_ckpt_util
    from mediapipe.tasks.python.genai import converter
    from mediapipe.tasks.python.genai.converter import converter_factory, llm_converter

    here = Path(__file__).parent
    with tempfile.TemporaryDirectory(dir=out) as name:
        folder = Path(name)
        bins = folder / "bins"
        bins.mkdir()
        write_adapter(folder / "adapter_model.safetensors")
        settings = {"is_symmetric": True, "backend": "gpu", "attention_quant_bits": 8, "feedforward_quant_bits": 8,
                    "embedding_quant_bits": 8}
        config = converter.ConversionConfig(
            input_ckpt=str(folder), ckpt_format="safetensors", model_type="GEMMA_2B", output_dir=str(bins), **settings)
        loader = converter_factory.create_ckpt_loader(
            "safetensors", ckpt_path=str(folder / "adapter_model.safetensors"), special_model="GEMMA_2B", **settings)
        llm_converter.maybe_quantize_and_write_tensors_to_bins(loader, config)
        write_base(bins)
        model_ckpt_util.GenerateGpuTfLite(
            "GEMMA_2B", str(bins), str(here / "golden/gemma3_swa/hf/tokenizer.model"), True, False,
            str(folder / "base.bin"), RANK, str(bins), str(folder / "lora.bin"), "", "", "")
        tensors = dict(payloads((folder / "lora.bin").read_bytes()))
    for matrix, side in KEPT.items():
        tensor = tensors[f"params.lm.transformer.x_layers_0.self_attention.{matrix}.w_prime_{side}"]
        (out / f"lora_rank{RANK}_{matrix}_{side}.f16").write_bytes(tensor)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]))
