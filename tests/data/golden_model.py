"""The golden models of tests/data/golden as transformers models, for the make_*_golden.py scripts."""
import json
import pathlib
import sys

import gguf
import numpy as np
import torch

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE / "golden"))
import make_fixtures  # noqa: E402

SPECS = {spec["name"]: spec for spec in make_fixtures.DEV}


def load(folder, name, kind):
    """-> (model, input ids). The weights are those of FOLDER/NAME/model-KIND.gguf, widened to float32."""
    reader = gguf.GGUFReader(pathlib.Path(folder) / name / f"model-{kind}.gguf")
    weights = {}
    for tensor in reader.tensors:
        shape = [int(n) for n in reversed(tensor.shape)]
        weights[tensor.name] = gguf.quants.dequantize(tensor.data, tensor.tensor_type).reshape(shape)
    model = make_fixtures.new_model(SPECS[name])
    make_fixtures.load_gguf_into(SPECS[name], weights, model)
    golden = json.loads((pathlib.Path(folder) / name / "golden.json").read_text())
    ids = golden["input_ids"]
    logits = torch.tensor(make_fixtures.logits_of(model, ids), dtype=torch.float64)
    error = np.abs(logits.logsumexp(-1).numpy() - golden[kind]["logsumexp"]).max()
    if error > 5e-5:
        raise SystemExit(f"{name} ({kind}): logsumexp differs from golden.json by {error}")
    return model, ids


def rounded(values):
    """Seven significant digits: more than float32 runs agree on."""
    if isinstance(values, (int, float)):
        return float(f"{values:.7g}")
    return [rounded(value) for value in values]


def write_json(path, data):
    """One entry of the outer object per line."""
    lines = (f"{json.dumps(key)}:{json.dumps(value, separators=(',', ':'))}" for key, value in data.items())
    pathlib.Path(path).write_text("{\n" + ",\n".join(lines) + "\n}\n")
