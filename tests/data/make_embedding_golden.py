#!/usr/bin/env python3
"""Embeddings as the original implementation (transformers, float32) gives them: golden/embeddings.json.

Usage: make_embedding_golden.py [FIXTURES]    (default: golden/ beside this file)

For each model, named "fixture/kind of weights": the last hidden states after the final norm for the input_ids of
its golden.json, as their mean over all positions and as that of the last token; not normalised.
"""
import pathlib
import sys

import torch

from golden_model import HERE, load, rounded, write_json

MODELS = [("gemma3_swa", "f32"), ("gemma3_linear8", "f32"), ("gemma3_base", "q8_0"), ("gemma2_swa", "q8_0"),
          ("gemma3n", "q8_0"), ("gemma4_e", "q8_0"), ("gemma4_moe", "q8_0")]


def main():
    folder = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "golden"
    golden = {}
    for name, kind in MODELS:
        model, ids = load(folder, name, kind)
        hidden = model.model(input_ids=torch.tensor([ids]), use_cache=False).last_hidden_state[0].double()
        golden[f"{name}/{kind}"] = {"mean": rounded(hidden.mean(0).tolist()), "last": rounded(hidden[-1].tolist())}
    write_json(HERE / "golden" / "embeddings.json", golden)


if __name__ == "__main__":
    main()
