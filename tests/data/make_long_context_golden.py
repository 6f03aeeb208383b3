#!/usr/bin/env python3
"""Logits far into a long text as the original implementation (transformers, float32) gives them:
golden/long_context.json.

Usage: make_long_context_golden.py [FIXTURES]    (default: golden/ beside this file)

The text is 9000 tokens that a linear congruential generator draws (see token_ids). Transformers' own eager attention
runs on slices of the queries, so that 6 GB of memory suffice.
"""
import pathlib
import sys

import torch
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, eager_mask
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from golden_model import HERE, load, rounded, write_json

MODELS = [("gemma3_swa", "f32"), ("gemma3_linear8", "f32"), ("gemma2_swa", "q8_0"), ("gemma3n", "q8_0"),
          ("gemma4_e", "q8_0"), ("gemma4_dense", "q8_0")]
TOKENS = 9000
# Dense at the windows' edges (12, 16, 1024), at batches of 512, at 4096 and 8192, and at the end.
POSITIONS = [0, 1, 11, 12, 13, 15, 16, 17, 31, 32, 33, 127, 128, 255, 256, 511, 512, 513, 1023, 1024, 1025, 2047, 2048,
             2049, 3000, 4094, 4095, 4096, 4097, 4098, 6000, 7168, 8190, 8191, 8192, 8193, 8194, 8500, 8703, 8704,
             8998, 8999]
TOP = 20
SLICE = 250


def token_ids(vocab):
    """BOS, then ids in [3, vocab)."""
    ids, state = [2], 1
    while len(ids) < TOKENS:
        state = (state * 1664525 + 1013904223) % 2**32
        ids.append(3 + (state >> 8) % (vocab - 3))
    return ids


def sliced_eager(module, query, key, value, attention_mask, **kwargs):
    eager = sys.modules[type(module).__module__].eager_attention_forward
    parts = [eager(module, query[:, :, i:i + SLICE], key, value, attention_mask[:, :, i:i + SLICE], **kwargs)[0]
             for i in range(0, query.shape[2], SLICE)]
    return torch.cat(parts, dim=1), None


def main():
    folder = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "golden"
    ALL_ATTENTION_FUNCTIONS.register("sliced_eager", sliced_eager)
    ALL_MASK_ATTENTION_FUNCTIONS.register("sliced_eager", eager_mask)
    golden = {"positions": POSITIONS}
    for name, kind in MODELS:
        model, _ = load(folder, name, kind)
        model.set_attn_implementation("sliced_eager")
        ids = torch.tensor([token_ids(model.config.vocab_size)])
        logits = model(input_ids=ids, use_cache=False, logits_to_keep=torch.tensor(POSITIONS)).logits[0].double()
        best = logits.topk(2, dim=-1)
        last = logits[-1].topk(TOP)
        golden[f"{name}/{kind}"] = {
            "logsumexp": rounded(logits.logsumexp(-1).tolist()), "argmax": best.indices[:, 0].tolist(),
            "max_logit": rounded(best.values[:, 0].tolist()),
            "top1_margin": rounded((best.values[:, 0] - best.values[:, 1]).tolist()),
            "last_top_ids": last.indices.tolist(), "last_top_logits": rounded(last.values.tolist())}
        print(name, kind, "smallest margin", min(golden[f"{name}/{kind}"]["top1_margin"]), flush=True)
    write_json(HERE / "golden" / "long_context.json", golden)


if __name__ == "__main__":
    main()
