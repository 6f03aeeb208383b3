#!/usr/bin/env python3
"""Takes from a folder of fixtures (made by make_fixtures.py beside this file) what the tests need.

Usage: make_golden.py FIXTURES [NAME...]

For each fixture: the Q8_0 GGUF as model-q8_0.gguf, the F32 one only for the names in WITH_F32, and golden.json
with the float32 reference's results: all of it for 48 input ids, full logits rows for the last two.

Of the Hugging Face folder: both config files, the tokenizer for the names in WITH_TOKENIZER, and tensors.json, which
says for each tensor of the safetensors file where in the GGUF file the same numbers stand (found by comparing the
numbers, not the names), so that the tests can make the folder again. Fixtures without a GGUF are copied whole.
"""
import json
import pathlib
import shutil
import sys

import gguf
import numpy as np

WITH_F32 = {"gemma3_swa", "gemma3_linear8"}
WITH_TOKENIZER = {"gemma1_mqa", "gemma3_swa", "gemma4_e"}
KEEP = ("logsumexp", "argmax", "top1_margin", "greedy", "greedy_margin")


def trim(results):
    kept = {key: results[key] for key in KEEP}
    kept["logits_last2"] = results["logits_last4"][-2:]
    return kept


def read_safetensors(path):
    raw = path.read_bytes()
    length = int.from_bytes(raw[:8], "little")
    for name, entry in json.loads(raw[8:8 + length]).items():
        if name != "__metadata__":
            begin, end = entry["data_offsets"]
            data = np.frombuffer(raw[8 + length + begin:8 + length + end], dtype="<f4")
            yield name, entry["shape"], data


def find_tensors(folder, model):
    """name -> {shape, gguf, part: [index, parts], offset: added to what is in the GGUF file}."""
    numbers = {tensor.name: tensor.data.reshape(-1) for tensor in gguf.GGUFReader(model).tensors}
    found = {}
    for name, shape, data in read_safetensors(folder / "model.safetensors"):
        # Whole tensors first: a part of a few numbers may look like this one by chance.
        for stored, values in sorted(numbers.items(), key=lambda item: item[1].size):
            parts, rest = divmod(values.size, data.size)
            for part, offset in [(p, o) for p in range(0 if rest else parts) for o in (0, -1)]:
                if name not in found and np.allclose(values[part * data.size:(part + 1) * data.size] + offset, data,
                                                     rtol=0, atol=1e-6):
                    found[name] = {"shape": shape, "gguf": stored, "part": [part, parts], "offset": offset}
        if name not in found:
            raise SystemExit(f"{folder}: {name} is not in {model}")
    return found


def take_folder(folder, model, out, with_tokenizer):
    out.mkdir(exist_ok=True)
    names = ["config.json", "config.v5.json"]
    if with_tokenizer or not model.exists():
        names += ["tokenizer.model", "tokenizer.json"]
    if model.exists():
        found = find_tensors(folder, model)
        lines = (f"{json.dumps(k)}:{json.dumps(v, separators=(',', ':'))}" for k, v in found.items())
        (out / "tensors.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")
    else:
        names.append("model.safetensors")
    for name in names:
        if (folder / name).exists():
            shutil.copyfile(folder / name, out / name)


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    source = pathlib.Path(sys.argv[1])
    names = sys.argv[2:] or sorted(p.name for p in source.iterdir() if (p / "golden.json").exists())
    here = pathlib.Path(__file__).parent
    for name in names:
        golden = json.loads((source / name / "golden.json").read_text())
        out = here / name
        out.mkdir(exist_ok=True)
        data = {"family": golden["family"], "input_ids": golden["input_ids"],
                "tokenizer_samples": golden["tokenizer_samples"]}
        for kind in ("f32", "q8_0"):
            model = source / name / f"model-{kind}.gguf"
            if not model.exists() and kind == "f32" and not (source / name / "model-q8_0.gguf").exists():
                data[kind] = trim(golden[kind])
            if kind in golden and model.exists() and (kind == "q8_0" or name in WITH_F32):
                data[kind] = trim(golden[kind])
                shutil.copyfile(model, out / model.name)
        if (source / name / "hf").exists():
            take_folder(source / name / "hf", source / name / "model-f32.gguf", out / "hf", name in WITH_TOKENIZER)
        (out / "golden.json").write_text(json.dumps(data, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
