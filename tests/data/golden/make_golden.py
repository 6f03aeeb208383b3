#!/usr/bin/env python3
"""Takes from a folder of fixtures (made by make_fixtures.py beside this file) what the tests need.

Usage: make_golden.py FIXTURES [NAME...]

For each fixture: the Q8_0 GGUF as model-q8_0.gguf, the F32 one only for the names in WITH_F32, and golden.json
with the float32 reference's results: all of it for 48 input ids, full logits rows for the last two.
"""
import json
import pathlib
import shutil
import sys

WITH_F32 = {"gemma3_swa", "gemma3_linear8"}
KEEP = ("logsumexp", "argmax", "top1_margin", "greedy", "greedy_margin")


def trim(results):
    kept = {key: results[key] for key in KEEP}
    kept["logits_last2"] = results["logits_last4"][-2:]
    return kept


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
            if kind in golden and model.exists() and (kind == "q8_0" or name in WITH_F32):
                data[kind] = trim(golden[kind])
                shutil.copyfile(model, out / model.name)
        (out / "golden.json").write_text(json.dumps(data, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
