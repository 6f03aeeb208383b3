#!/usr/bin/env python3
"""Runs one example with the small model and checks what it prints; and checks that the command in its head
compiles it.

  examples_test.py SOURCE PROGRAM HIGHWAY
"""
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile

source, program, highway = pathlib.Path(sys.argv[1]), sys.argv[2], sys.argv[3]
root = source.parent.parent
model = str(root / "tests" / "data" / "kjv-small.gguf")


def run(*arguments, stdin=""):
    done = subprocess.run([program, *arguments], input=stdin, capture_output=True, text=True, timeout=300)
    print(done.stdout, done.stderr, sep="\n")
    assert done.returncode == 0, f"exit status {done.returncode}"
    return done.stdout


def numbers(pattern, text):
    return [tuple(map(float, found)) for found in re.findall(pattern, text)]


def hello():
    assert len(run(model)) > 100


def tokens():
    out = run(model, "In the beginning")
    assert "back again: In the beginning\n" in out
    assert re.search(r"\n +2  '<bos>'\n", out) and re.search(r"\n +\d+  ' the'\n", out)
    assert "<0xC3>" in run(model, "caf\u00e9")


def formats():
    errors = {name: float(error) for name, error in re.findall(r"^(\w+) .*% +([\d.]+) %$", run(), re.M)}
    order = ["F32", "F16", "BF16", "Q8_0", "Q6_K", "Q5_K", "Q4_K", "Q4_0"]
    values = [errors[name] for name in order]
    assert values == sorted(values) and values[0] == 0 and 5 < values[-1] < 12, values


def by_hand():
    out = run(model)
    mine, theirs = re.search('comes "(.*)"; the library says "(.*)"', out).groups()
    assert mine == theirs
    assert float(re.search(r"logits: ([\d.]+)", out).group(1)) < 0.01


def sampling():
    parts = run(model).split("\n\n")
    different = {title: int(re.search(r": (\d+) different", part).group(1)) for part in parts[1:]
                 for title in [part.split(":")[0].split(" ")[0] + part.split(":")[0][-3:]]}
    counts = [int(n) for n in re.findall(r": (\d+) different tokens", "\n\n".join(parts))]
    assert len(counts) == 7 and len(different) == 7
    plain, greedy, cold, hot, top_k = counts[:5]
    assert greedy == 1 and cold < plain < hot and top_k == 3, counts


def kv_cache():
    out = run(model)
    assert "the same tokens" in out and "5 of 6 layers have a window" in out
    rows = numbers(r"(?m)^ *(\d+) +([\d.]+) +([\d.]+) +([\d.]+)$", out)
    assert [row[0] for row in rows] == [512, 2048, 8192, 32768]
    assert all(row[1] > row[2] > row[3] for row in rows)
    # Sixteen times the context, less than sixteen times the memory: five layers have windows.
    assert rows[2][1] < 8 * rows[0][1]


def logit_lens():
    rows = numbers(r"(?m)^ *(\d+) +(\d+) +([\d.]+) %", run(model))
    assert [row[0] for row in rows] == list(range(7))
    assert rows[-1][1] == 1 and rows[0][1] > 10 and rows[0][2] < rows[-1][2]


def attention_map():
    import xml.etree.ElementTree as xml
    picture = xml.fromstring(run(model, "5"))
    cells = [rect for rect in picture.iter("{http://www.w3.org/2000/svg}rect") if rect.get("fill-opacity")]
    texts = sum(1 for text in picture.iter("{http://www.w3.org/2000/svg}text") if text.get("text-anchor"))
    tokens = texts // 4  # heads
    assert len(cells) == 4 * tokens * (tokens + 1) // 2
    weights = sum(float(cell.get("fill-opacity")) ** 2 for cell in cells)
    assert abs(weights - 4 * tokens) < 0.1 * tokens  # each row of a head is a distribution


def quantise():
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run([program, model], cwd=folder, capture_output=True, text=True, timeout=300, check=True)
        print(done.stderr)
        assert not os.listdir(folder)
    rows = {name: (float(size), float(loss)) for name, size, loss in
            re.findall(r"(?m)^(\w+) +([\d.]+) +([\d.]+)$", done.stderr)}
    assert rows["f32"][0] > 3 * rows["q8_0"][0] > 3 * rows["q4_0"][0]
    assert abs(rows["q8_0"][1] / rows["f32"][1] - 1) < 0.02 and rows["q4_0"][1] < 2 * rows["f32"][1]
    assert done.stdout.startswith("<svg") and done.stdout.count("<circle") == len(rows)


def chat():
    out = run(model, stdin="Who art thou?\n\nAnd what is thy name?\n")
    answers = re.findall(r"model: (.+)", out)
    assert len(answers) == 2 and all(len(answer) > 5 for answer in answers)


def search():
    with tempfile.TemporaryDirectory() as folder:
        text = "And the LORD spake unto Moses, saying, Speak unto the children of Israel."
        pathlib.Path(folder, "moses.txt").write_text(text + "\n\nint main() { return 0; }  // nothing in this program\n")
        out = run(model, folder, text)
    likeness = [float(x) for x in re.findall(r"(?m)^([\d.]+)  moses.txt$", out)]
    assert out.index("LORD spake") < out.index("int main")
    assert likeness[0] > 0.98 and likeness[1] < likeness[0]


def batch():
    out = run(model)
    assert re.findall(r"(?m)^(\d)\. ", out) == list("123456")
    assert out == run(model)


def fallback():
    out = run(model)
    assert re.search("computes on: cpu\nbecause: .*\\w", out) and "insisting on OpenCL: " in out


def constrained():
    out = run(model)
    assert re.search("Let there be (light|darkness|water)\n", out)
    assert isinstance(json.loads(re.search("JSON: +(.*)", out).group(1)), list)


def server():
    lines = run(model, stdin="In the beginning\n\nAnd God said\n").splitlines()
    answers = [json.loads(line) for line in lines]
    assert len(answers) == 3
    assert answers[0]["tokens"] == 64 and answers[0]["ended_by"] == "max_tokens" and " the " in answers[0]["text"]


def command_of(file):
    return re.search(r"^// Build: (.*)$", file.read_text(), re.M).group(1)


def form_of(file):
    """Its command without its names: SOURCE is compiled to PROGRAM."""
    return command_of(file).replace(f"examples/{file.name} ", "SOURCE ").replace(f"-o {file.stem[3:]} ", "-o PROGRAM ")


def compiles_by_its_command():
    """Of examples whose commands have the same form the first one is compiled, since all are compiled in the build."""
    if source != next(file for file in sorted(source.parent.glob("*.cpp")) if form_of(file) == form_of(source)):
        return
    path = os.pathsep.join(filter(None, [highway, os.environ.get("CPLUS_INCLUDE_PATH", "")]))
    print(command_of(source))
    subprocess.run(command_of(source) + " -fsyntax-only", shell=True, check=True, cwd=root,
                   env=dict(os.environ, CPLUS_INCLUDE_PATH=path))


globals()[source.stem[3:]]()
if source.stem != "01_hello":  # which a test of its own compiles and runs by it
    compiles_by_its_command()
