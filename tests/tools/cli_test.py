#!/usr/bin/env python3
"""Drives the gemma command on the small model: cli_test.py GEMMA MODEL GROUP, where GROUP is a test class."""
import json
import os
import signal
import struct
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path

GEMMA, MODEL = sys.argv[1], sys.argv[2]


def gemma(*args, stdin=b""):
    return subprocess.run([GEMMA, *map(str, args)], input=stdin, capture_output=True, timeout=120)


class Case(unittest.TestCase):
    def out(self, *args, **more):
        done = gemma(*args, **more)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def json(self, *args):
        return json.loads(self.out(*args))

    def fails(self, code, part, *args, **more):
        done = gemma(*args, **more)
        self.assertEqual(done.returncode, code, done.stderr)
        lines = done.stderr.decode().splitlines()
        self.assertEqual(len(lines), 1, lines)
        self.assertTrue(lines[0].startswith("gemma: error: "), lines)
        self.assertIn(part, lines[0])
        self.assertEqual(done.stdout, b"")


class Run(Case):
    IDS = "2,10,20,30"

    def test_json_has_the_keys_of_the_contract(self):
        result = self.json("run", MODEL, "--prompt-ids", self.IDS, "--max-tokens", 5, "--ignore-eos", "--json")
        self.assertEqual(list(result), ["text", "ids", "prompt_ids", "stop", "backend", "backend_reason", "timing"])
        self.assertEqual(list(result["timing"]), ["load_s", "prefill_tok_s", "decode_tok_s"])
        self.assertEqual(result["prompt_ids"], [2, 10, 20, 30])
        self.assertEqual(len(result["ids"]), 5)
        self.assertEqual(result["stop"], "max_tokens")
        self.assertEqual(result["backend"], "cpu")

    def test_greedy_is_the_argmax_of_logits(self):
        result = self.json("run", MODEL, "--prompt-ids", self.IDS, "--max-tokens", 4, "--temperature", 0,
                           "--ignore-eos", "--json")
        ids = [2, 10, 20, 30]
        for token in result["ids"]:
            row = self.json("logits", MODEL, "--ids", ",".join(map(str, ids)), "--top", 1)["positions"][0]
            self.assertEqual(row["argmax"], token)
            ids.append(token)

    def test_text_streams_and_ends_with_a_newline(self):
        args = ("--prompt", "hello", "--max-tokens", 6, "--temperature", 0, "--ignore-eos")
        text = self.json("run", MODEL, *args, "--json")["text"]
        shown = self.out("run", MODEL, *args, "--quiet")
        self.assertEqual(shown.decode("utf-8", "replace"), text + "\n")

    def test_seed_and_threads(self):
        args = ("run", MODEL, "--prompt-ids", self.IDS, "--max-tokens", 20, "--ignore-eos", "--json", "--seed")
        first = self.json(*args, 1, "--threads", 1)["ids"]
        self.assertEqual(first, self.json(*args, 1, "--threads", 2)["ids"])
        self.assertNotEqual(first, self.json(*args, 2)["ids"])

    def test_a_saved_session_goes_on_as_if_it_had_not_ended(self):
        args = ("--temp", 0, "--ignore-eos", "--json")
        whole = self.json("run", MODEL, "--prompt", "hello", "-n", 12, *args)
        with tempfile.TemporaryDirectory() as folder:
            saved = os.path.join(folder, "state")
            first = self.json("run", MODEL, "-p", "hello", "-n", 5, "--save", saved, *args)
            rest = self.json("run", MODEL, "--restore", saved, "-n", 7, *args)
            self.assertEqual(first["ids"] + rest["ids"], whole["ids"])
            more = self.json("run", MODEL, "--restore", saved, "-p", "you", "-n", 1, *args)
            self.assertNotIn(2, more["prompt_ids"])
            turn = self.json("run", MODEL, "--restore", saved, "-p", "you", "--chat", "-n", 1, *args)
            fresh = self.json("run", MODEL, "-p", "you", "--chat", "-n", 1, *args)
            self.assertEqual(turn["prompt_ids"][-len(fresh["prompt_ids"]) + 1:], fresh["prompt_ids"][1:])
            self.assertIn(turn["prompt_ids"][0], fresh["prompt_ids"][2:-1])  # <end_of_turn>
            with open(saved, "r+b") as file:
                file.seek(100)
                file.write(b"x")
            self.fails(1, "damaged", "run", MODEL, "--restore", saved)
            self.fails(1, "not a saved session", "run", MODEL, "--restore", MODEL)
        self.fails(2, "--restore", "run", MODEL)

    def test_memory_limits_are_kept_or_explained(self):
        args = ("run", MODEL, "--prompt-ids", self.IDS, "-n", 4, "--ignore-eos", "--temp", 0, "--ctx", 32)
        small = self.json(*args, "--json", "--batch", 8, "--max-resident", "1400KB", "--weights", "map")
        self.assertEqual(small["ids"], self.json(*args, "--json", "--weights", "map")["ids"])
        self.assertIn("max_resident_bytes", small["backend_reason"])
        self.fails(1, "weights 0.2 MB + KV cache", *args, "--memory-limit", "400KB")
        self.fails(1, "max_resident_bytes is 0.1 MB", *args, "--max-resident", "100KB")
        self.fails(1, "the weights alone", *args, "--memory-limit", "100KB")
        self.fails(2, "--memory-limit", *args, "--memory-limit", "much")

    def test_full_context(self):
        result = self.json("run", MODEL, "--prompt-ids", self.IDS, "--ctx", 8, "--ignore-eos", "--json")
        self.assertEqual(result["stop"], "context_full")
        self.fails(1, "do not fit", "run", MODEL, "--prompt-ids", self.IDS, "--ctx", 3)

    def test_prompt_from_file_and_standard_input(self):
        with tempfile.NamedTemporaryFile(suffix=".txt") as f:
            f.write(b"hello")
            f.flush()
            args = ("--max-tokens", 1, "--json")
            a = self.json("run", MODEL, "--prompt-file", f.name, *args)
        b = json.loads(self.out("run", MODEL, "--prompt-file", "-", *args, stdin=b"hello"))
        self.assertEqual(a["prompt_ids"], b["prompt_ids"])

    def test_json_is_utf8_whatever_the_bytes(self):
        # Random text of a small model is full of lone byte tokens.
        out = self.out("run", MODEL, "--prompt", "hi", "--ignore-eos", "--max-tokens", 300, "--json")
        self.assertIn("\ufffd", json.loads(out.decode("utf-8"))["text"])

    def test_stop_strings_and_texts_that_look_like_options(self):
        args = ("run", MODEL, "--prompt", "--json", "--max-tokens", 12, "--temperature", 0, "--ignore-eos", "--json")
        text = self.json(*args)["text"]
        stop = next(c for c in text[1:] if c.isascii() and c.isalpha())
        cut = self.json(*args, "--stop", "[never,found]", "--stop", stop)
        self.assertEqual(cut["stop"], "stop_string")
        self.assertEqual(cut["text"], text[:text.index(stop)])

    def test_faster_ways_write_the_same(self):
        args = ("run", MODEL, "--prompt-ids", self.IDS, "--temperature", 0, "--max-tokens", 60, "--ignore-eos", "--json")
        plain = self.json(*args)
        for option in (("--two-pass-head",), ("--draft", 3), ("--weights", "map"), ("--weights", "memory")):
            self.assertEqual(self.json(*args, *option)["ids"], plain["ids"], option)
        self.assertGreater(self.json(*args, "--draft", 3)["draft"]["right"], 0)

    def test_chat_wraps_the_prompt_in_a_turn(self):
        ids = self.json("run", MODEL, "--chat", "--prompt", "hi", "--max-tokens", 1, "--json")["prompt_ids"]
        turn = "<bos><start_of_turn>user\nhi<end_of_turn>\n<start_of_turn>model\n"
        self.assertEqual(ids, self.json("tokenize", MODEL, "--text", turn, "--parse-special", "--json")["ids"])

    def test_interrupt_stops_cleanly(self):
        process = subprocess.Popen([GEMMA, "run", MODEL, "--prompt-ids", self.IDS, "--max-tokens", "30000",
                                    "--ctx", "32000", "--ignore-eos"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        process.stdout.read(1)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
        self.assertEqual(process.returncode, 130)
        self.assertIn(b"cancelled", errors)


def write_adapter(path, scale_of_numbers):
    """A LoRA of rank 2 for the first layer's queries, whose numbers are all the same."""

    def text(value):
        return struct.pack("<Q", len(value)) + value.encode()

    rows, cols = 64, 64
    keys = {"general.type": "adapter", "general.architecture": "gemma3", "adapter.type": "lora"}
    head = b"".join(text(key) + struct.pack("<I", 8) + text(value) for key, value in keys.items())
    head += text("adapter.lora.alpha") + struct.pack("<If", 6, 4.0)
    data = b""
    for name, shape in {"a": (cols, 2), "b": (2, rows)}.items():
        head += text("blk.0.attn_q.weight.lora_" + name) + struct.pack("<IQQIQ", 2, *shape, 0, len(data))
        data += struct.pack("<f", scale_of_numbers) * (shape[0] * shape[1])
    head = b"GGUF" + struct.pack("<IQQ", 3, 2, len(keys) + 1) + head
    path.write_bytes(head + bytes(-len(head) % 32) + data)


class Lora(Case):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.adapter = Path(folder.name) / "adapter.gguf"
        write_adapter(self.adapter, 0.25)

    def logits(self, *args):
        return self.json("logits", MODEL, "--ids", "2,10,20,30", *args)["positions"][0]["logits"]

    def test_scales_multiply_the_adapter_and_adapters_add_up(self):
        plain, once = self.logits(), self.logits("--lora", self.adapter)
        self.assertNotEqual(plain, once)
        self.assertEqual(plain, self.logits("--lora", f"{self.adapter}:0"))
        self.assertEqual(once, self.logits("--lora", f"{self.adapter}:2", "--lora-scale", 0.5))
        twice = self.logits("--lora", f"{self.adapter}:0.5", "--lora", f"{self.adapter}:1.5")
        doubled = self.logits("--lora", self.adapter, "--lora-scale", 2)

        def largest_difference(x, y):
            return max(abs(a - b) for a, b in zip(x, y))

        # A sum in another order differs in its last bit, which moves activations by a step of 15 bits.
        self.assertLess(largest_difference(twice, doubled), largest_difference(doubled, plain) / 1000)

    def test_every_command_that_runs_a_model_takes_it(self):
        write_adapter(self.adapter, 2.0)
        for args in (("run", MODEL, "--prompt-ids", "2,10,20", "--max-tokens", 1, "--json"), ("score", MODEL, "--ids", "2,10,20,30"),
                     ("embed", MODEL, "--ids", "2,10,20", "--json"), ("bench", MODEL, "-p", "4", "-n", "1", "-r", "1", "--json")):
            self.json(*args, "--lora", self.adapter)
        self.assertNotEqual(self.json("score", MODEL, "--ids", "2,10,20,30")["nll"],
                            self.json("score", MODEL, "--ids", "2,10,20,30", "--lora", self.adapter)["nll"])
        self.out("chat", MODEL, "--max-tokens", 2, "--lora", self.adapter, stdin=b"hello\n")

    def test_info(self):
        result = self.json("info", self.adapter, "--json")
        self.assertEqual((result["rank"], result["alpha"]), (2, 4))
        self.assertEqual(result["matrices"],
                         [{"name": "blk.0.attn_q.weight", "rows": 64, "cols": 64, "rank": 2, "scale": 2}])
        shown = self.out("info", self.adapter).decode()
        self.assertIn("LoRA adapter, GGUF v3, rank 2, alpha 4", shown)
        self.assertIn("attn_q.weight 64 x 64, rank 2, scale 2.0: 1 matrix", shown)

    def test_wrong_use(self):
        self.fails(1, "is a LoRA adapter, not a model", "run", self.adapter, "--prompt", "a")
        self.fails(1, "is a model (GGUF of gemma3), not an adapter", "run", MODEL, "--prompt", "a", "--lora", MODEL)
        self.fails(1, "no-such.gguf", "run", MODEL, "--prompt", "a", "--lora", "no-such.gguf:0.5")
        self.fails(2, "--lora-scale", "run", MODEL, "--prompt", "a", "--lora", self.adapter, "--lora-scale", 1, "--lora-scale", 2)
        self.fails(2, "--reference", "logits", MODEL, "--ids", "2", "--reference", "--lora", self.adapter)


class Tokens(Case):
    def test_round_trip(self):
        for text in ("Hello world", "  two  spaces\n\ttab", "naïve 日本 😀"):
            ids = self.out("tokenize", MODEL, "--text", text).decode().split()
            self.assertEqual(self.out("detokenize", MODEL, "--ids", ",".join(ids)).decode(), text)

    def test_json_bos_and_special(self):
        result = self.json("tokenize", MODEL, "--text", "a<eos>", "--bos", "--parse-special", "--json")
        self.assertEqual(result["ids"][0], 2)
        self.assertEqual(result["ids"][-1], 1)
        self.assertEqual(len(result["ids"]), len(result["pieces"]))
        self.assertGreater(len(self.json("tokenize", MODEL, "--text", "<eos>", "--json")["ids"]), 1)

    def test_hex_lines(self):
        with tempfile.NamedTemporaryFile("w", suffix=".hex") as f:
            f.write("48656c6c6f\n\nff\n")
            f.flush()
            lines = self.out("tokenize", MODEL, "--hex-lines", f.name).decode().split("\n")
            self.assertEqual(len(lines), 4)
            self.assertEqual(lines[0], self.out("tokenize", MODEL, "--text", "Hello").decode().strip())
            self.assertEqual(lines[1], "")
            rows = self.json("tokenize", MODEL, "--hex-lines", f.name, "--json")
            self.assertEqual([" ".join(map(str, row["ids"])) for row in rows], lines[:3])
        with tempfile.NamedTemporaryFile("w", suffix=".hex") as f:
            f.write("zz\n")
            f.flush()
            self.fails(1, "line 1", "tokenize", MODEL, "--hex-lines", f.name)
        with tempfile.NamedTemporaryFile("w", suffix=".hex") as f:
            f.write("48\n4\n")
            f.flush()
            done = gemma("tokenize", MODEL, "--hex-lines", f.name)
            self.assertEqual(done.returncode, 1)
            self.assertIn(b"line 2", done.stderr)

    def test_names_of_files_are_utf8(self):
        with tempfile.TemporaryDirectory() as folder:
            text, model = (os.path.join(folder, "caf\u00e9 \u65e5\u672c" + ending) for ending in (".txt", ".gguf"))
            with open(text, "w") as file:
                file.write("hello")
            self.assertEqual(self.out("tokenize", MODEL, "--file", text), self.out("tokenize", MODEL, "--text", "hello"))
            self.assertIn(text.encode(), self.out("quantize", MODEL, model).replace(b".gguf", b".txt"))
            self.assertTrue(os.path.exists(model))
            self.assertEqual(self.json("info", model, "--json")["family"], "Gemma 3")
            self.fails(1, os.path.join(folder, "\u00e9"), "info", os.path.join(folder, "\u00e9"))

    def test_empty_text(self):
        self.assertEqual(self.out("tokenize", MODEL, "--text", ""), b"\n")
        self.assertEqual(self.out("detokenize", MODEL, "--ids", ""), b"")


class Numbers(Case):
    IDS = "2,10,20,30,40,50"

    def test_logits(self):
        result = self.json("logits", MODEL, "--ids", self.IDS, "--last", 0)
        self.assertEqual([p["pos"] for p in result["positions"]], list(range(6)))
        row = result["positions"][-1]["logits"]
        self.assertEqual(max(range(len(row)), key=row.__getitem__), result["positions"][-1]["argmax"])
        top = self.json("logits", MODEL, "--ids", self.IDS, "--top", 3)["positions"]
        self.assertEqual(len(top), 1)
        self.assertEqual(len(top[0]["top"]), 3)

    def test_reference_is_close(self):
        fast = self.json("logits", MODEL, "--ids", self.IDS)["positions"][0]["logits"]
        exact = self.json("logits", MODEL, "--ids", self.IDS, "--reference")
        self.assertEqual(exact["backend"], "reference")
        for a, b in zip(fast, exact["positions"][0]["logits"]):
            self.assertAlmostEqual(a, b, delta=0.05)

    def test_score(self):
        a = self.json("score", MODEL, "--ids", self.IDS)
        self.assertEqual(list(a), ["tokens", "nll", "perplexity", "tok_s"])
        self.assertEqual(a["tokens"], 5)
        b = self.json("score", MODEL, "--ids", self.IDS, "--reference")
        self.assertAlmostEqual(a["nll"], b["nll"], delta=0.01)
        rows = self.json("logits", MODEL, "--ids", self.IDS, "--last", 0)["positions"]
        ids = [int(i) for i in self.IDS.split(",")]
        nll = [row["logsumexp"] - row["logits"][next_id] for row, next_id in zip(rows, ids[1:])]
        self.assertAlmostEqual(a["nll"], sum(nll) / len(nll), places=5)
        with tempfile.NamedTemporaryFile(suffix=".txt") as f:
            f.write(b"some words to be scored, twice over")
            f.flush()
            self.assertGreater(self.json("score", MODEL, "--file", f.name, "--ctx", 8)["perplexity"], 1)
            # Every token of the text is predicted once, whatever the window.
            text_ids = self.json("tokenize", MODEL, "--file", f.name, "--json")["ids"]
            for window in (2, 8, 1000):
                self.assertEqual(self.json("score", MODEL, "--file", f.name, "--ctx", window)["tokens"], len(text_ids))

    def test_interrupt_ends_a_score_of_many_short_windows(self):
        with tempfile.NamedTemporaryFile(suffix=".txt") as f:
            f.write(b"some words to be scored " * 100000)
            f.flush()
            for delay in (1, 2, 4, 8):
                process = subprocess.Popen([GEMMA, "score", MODEL, "--file", f.name, "--ctx", "64"],
                                           stdout=subprocess.PIPE, stderr=subprocess.PIPE)
                try:
                    time.sleep(delay)
                    process.send_signal(signal.SIGINT)
                    out, errors = process.communicate(timeout=10)
                finally:
                    process.kill()
                if process.returncode != -signal.SIGINT:  # that came before scoring began
                    break
        self.assertEqual((process.returncode, out), (130, b""))
        self.assertEqual(errors, b"gemma: error: cancelled\n")

    def test_small_batches_read_the_same(self):
        args = ("logits", MODEL, "--ids", self.IDS, "--last", 0, "--top", 2)
        self.assertEqual(self.json(*args), self.json(*args, "--batch", 2))

    def test_bench(self):
        result = self.json("bench", MODEL, "-p", "16,8", "-n", 4, "-t", "1,2", "-r", 2, "--json")
        self.assertEqual([(r["test"], r["threads"]) for r in result["rows"]],
                         [(t, n) for n in (1, 2) for t in ("pp16", "pp8", "tg4")])
        self.assertEqual(len(result["rows"][0]["tok_s_all"]), 2)
        only_decode = self.json("bench", MODEL, "-p", 0, "-n", 4, "-t", 1, "-r", 1, "--json")["rows"]
        self.assertEqual([row["test"] for row in only_decode], ["tg4"])
        for key in ("load_s", "first_token_s", "peak_rss_mb", "bandwidth_gb_s"):
            self.assertGreater(result[key], 0)
        self.assertEqual([roof["threads"] for roof in result["roofline"]], [1, 2])
        self.assertGreater(result["roofline"][0]["product_gop_s"], 0)
        self.assertIn("GB/s", self.out("bench", MODEL, "-p", 8, "-n", 2, "-t", 1, "-r", 1, "--two-pass-head").decode())

    def test_bench_script(self):
        script = os.path.join(os.path.dirname(__file__), "..", "..", "tools", "bench")
        with tempfile.TemporaryDirectory() as folder:
            out = os.path.join(folder, "bench")
            done = subprocess.run([sys.executable, script, MODEL, "--gemma", GEMMA, "--alone", "-p", "8", "-n", "2",
                                   "-t", "1", "-r", "1", "--out", out], capture_output=True, timeout=120)
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertIn(b"| pp8 | 1 |", done.stdout)
            with open(out + ".json") as file:
                self.assertEqual([row["test"] for row in json.load(file)["rows"]], ["pp8", "tg2"])
            with open(out + ".svg") as file:
                self.assertTrue(file.read().startswith("<svg"))

    def test_bench_script_compares_two_builds(self):
        script = os.path.join(os.path.dirname(__file__), "..", "..", "tools", "bench")
        with tempfile.TemporaryDirectory() as folder:
            out = os.path.join(folder, "bench")
            command = [sys.executable, script, MODEL, "--gemma", GEMMA, "-p", "8", "-n", "2", "-t", "1", "-r", "1"]
            done = subprocess.run([*command, "--against", GEMMA, "--out", out], capture_output=True, timeout=120)
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertIn(b"| gemma.hpp | the other | ratio |", done.stdout)
            with open(out + ".json") as file:
                for row in json.load(file)["rows"]:
                    self.assertAlmostEqual(row["ratio"], row["tok_s"] / row["peer_tok_s"])
            done = subprocess.run([*command, "--against", out + ".none"], capture_output=True, timeout=120)
            self.assertEqual(done.returncode, 2)
            self.assertIn(b"bench.none is not there", done.stderr)


class Embed(Case):
    IDS = "2,10,20,30,40,50"

    def test_vectors_have_the_models_width_and_length_1(self):
        for more in ((), ("--pooling", "last"), ("--kv", "f32")):
            result = self.json("embed", MODEL, "--ids", self.IDS, "--json", *more)
            self.assertEqual(result["tokens"], 6)
            self.assertAlmostEqual(sum(x * x for x in result["embedding"]), 1, places=5)
        raw = self.json("embed", MODEL, "--ids", self.IDS, "--raw", "--json")["embedding"]
        self.assertNotAlmostEqual(sum(x * x for x in raw), 1, places=2)
        self.assertEqual(len(self.out("embed", MODEL, "--text", "hello").split()), len(raw))

    def test_what_cannot_be_written_is_an_error(self):
        if not os.path.exists("/dev/full"):
            self.skipTest("there is no /dev/full here")
        with open("/dev/full", "wb") as full:
            result = subprocess.run([GEMMA, "embed", MODEL, "--text", "a"], stdout=full, stderr=subprocess.PIPE)
        self.assertEqual(result.returncode, 1)
        self.assertIn(b"cannot write to standard output", result.stderr)

    def test_text_file_and_errors(self):
        a = self.out("embed", MODEL, "--text", "hello")
        self.assertEqual(a, self.out("embed", MODEL, "--file", "-", stdin=b"hello"))
        self.fails(2, "", "embed", MODEL)
        self.fails(2, "pooling", "embed", MODEL, "--text", "a", "--pooling", "max")
        self.fails(1, "no-such", "embed", MODEL, "--file", "no-such.txt")
        self.fails(1, "do not fit", "embed", MODEL, "--ids", self.IDS, "--ctx", 4)


class Quantize(Case):
    IDS = "2,10,20,30,40,50"

    def test_every_type_makes_a_file_that_runs(self):
        want = self.json("logits", MODEL, "--ids", self.IDS, "--reference")["positions"][0]["logits"]
        with tempfile.TemporaryDirectory() as folder:
            out = os.path.join(folder, "out.gguf")
            sizes = {}
            for kind in ("f32", "f16", "bf16", "q8_0", "q6_k", "q5_k_m", "q5_k", "q5_0", "q4_k_m", "q4_k", "q4_0"):
                done = self.json("quantize", MODEL, out, "--type", kind, "--force", "--json")
                self.assertEqual((done["file"], done["type"]), (out, kind))
                self.assertEqual(os.listdir(folder), ["out.gguf"])
                sizes[kind] = os.path.getsize(out)
                self.assertGreater(sizes[kind], done["bytes_after"])
                got = self.json("logits", out, "--ids", self.IDS)["positions"][0]["logits"]
                self.assertEqual(len(got), len(want))
            # Rows that are not whole blocks of 256 take a larger format, so not all are in order.
            falling = [sizes[kind] for kind in ("f32", "f16", "q8_0", "q5_0", "q4_0")]
            self.assertEqual(falling, sorted(falling, reverse=True))

    def test_converting_keeps_every_number(self):
        with tempfile.TemporaryDirectory() as folder:
            out = os.path.join(folder, "out.gguf")
            done = self.json("convert", MODEL, out, "--json")
            self.assertEqual(done["type"], "keep")
            self.assertEqual(done["bytes_before"], done["bytes_after"])
            args = ("--ids", self.IDS)
            self.assertEqual(self.json("logits", out, *args)["positions"], self.json("logits", MODEL, *args)["positions"])

    def test_an_existing_file_is_kept_unless_forced(self):
        with tempfile.TemporaryDirectory() as folder:
            out = os.path.join(folder, "out.gguf")
            with open(out, "w") as f:
                f.write("mine")
            self.fails(1, "--force", "quantize", MODEL, out)
            self.assertEqual(os.path.getsize(out), 4)
            self.assertIn(b"q8_0", self.out("quantize", MODEL, out, "--type", "Q8_0", "--force"))
            self.assertGreater(os.path.getsize(out), 10000)

    def test_errors(self):
        with tempfile.TemporaryDirectory() as folder:
            out = os.path.join(folder, "out.gguf")
            self.fails(2, "q4_k_m", "quantize", MODEL, out, "--type", "q3_x")
            self.fails(1, "no-such-file", "quantize", "no-such-file.gguf", out)
            self.fails(1, "no-such-folder", "quantize", MODEL, os.path.join(folder, "no-such-folder", "out.gguf"))
            self.fails(1, folder, "quantize", MODEL, folder)
            self.assertEqual(os.listdir(folder), [])


class Help(Case):
    def test_info_and_devices(self):
        result = self.json("info", MODEL, "--json", "--ctx", 64)
        self.assertEqual(result["family"], "Gemma 3")
        self.assertEqual(result["context"], 64)
        self.assertIn("tokenizer", self.out("info", MODEL).decode())
        self.assertEqual(self.json("devices", "--json")["default"], "cpu")

    def test_info_says_whether_memory_suffices(self):
        for limit, word in (("100KB", "refused"), ("1GB", "suffices")):
            shown = self.out("info", MODEL, "--ctx", 64, "--memory-limit", limit).decode()
            self.assertIn(word, next(line for line in shown.splitlines() if "memory limit" in line))
        self.assertNotIn("memory limit", self.out("info", MODEL).decode())

    def test_help_and_version(self):
        self.assertIn(b"gemma.hpp", self.out("--version"))
        for command in ("run", "chat", "tokenize", "detokenize", "logits", "score", "embed", "bench", "info", "quantize", "devices"):
            self.assertIn(b"[OPTIONS]", self.out(command, "--help"))  # "Usage" is gone from CLI11 2.6
        self.assertEqual(gemma().returncode, 2)

    def test_wrong_use(self):
        self.fails(2, "--prompt", "run", MODEL)
        self.fails(2, "", "run", MODEL, "--prompt", "a", "--prompt-ids", "1")
        self.fails(2, "not a token id", "logits", MODEL, "--ids", "2,x")
        self.fails(2, "not a token id", "logits", MODEL, "--ids", "2,-5")
        self.fails(2, "backend", "run", MODEL, "--prompt", "a", "--backend", "tpu")
        self.fails(2, "", "frobnicate")
        self.fails(2, "frobnicate", "frobnicate")
        self.fails(2, "--chat", "run", MODEL, "--chat", "--prompt-ids", "2")
        for ids in ("", "2,", "2,,3", "2,1.5", "2,99999999999"):
            self.fails(2, "not a token id", "run", MODEL, "--prompt-ids", ids)

    def test_numbers_out_of_range_are_wrong_use(self):
        for option in ("--max-tokens", "--top-k", "--seed", "--ctx", "--threads", "--batch"):
            for number in ("-1", "2.5", "99999999999999999999999"):
                self.fails(2, option, "run", MODEL, "--prompt", "a", option, number)
        self.fails(2, "--last", "logits", MODEL, "--ids", "2", "--last", "-1")
        self.fails(2, "--top", "logits", MODEL, "--ids", "2", "--top", "-1")
        self.fails(2, "-p", "bench", MODEL, "-p", "-4")

    def test_wrong_sampling_is_wrong_use(self):
        self.fails(2, "temperature", "run", MODEL, "--prompt", "a", "--temperature", "-1")
        self.fails(2, "top-p", "run", MODEL, "--prompt", "a", "--top-p", "1.5")

    def test_run_time_errors(self):
        self.fails(1, "no-such-file.gguf", "run", "no-such-file.gguf", "--prompt", "a")
        self.fails(1, "not in the vocabulary", "logits", MODEL, "--ids", "99999999")
        self.fails(1, "not in the vocabulary", "detokenize", MODEL, "--ids", "99999999")
        self.fails(1, "OpenCL", "run", MODEL, "--prompt", "a", "--backend", "opencl")
        self.fails(1, "32768", "info", MODEL, "--ctx", 99999)
        with tempfile.TemporaryDirectory() as folder:
            self.fails(1, folder, "run", MODEL, "--prompt-file", folder)
        self.fails(1, "no-such", "score", MODEL, "--file", "no-such.txt")
        self.fails(1, "two tokens", "score", MODEL, "--ids", "2")
        self.fails(1, "two lines", "info", "two\nlines")
        with tempfile.NamedTemporaryFile(suffix=".gguf") as f:
            with open(MODEL, "rb") as model:
                f.write(model.read(5000))
            f.flush()
            self.fails(1, f.name, "info", f.name)

    def test_chat(self):
        shown = self.out("chat", MODEL, "--max-tokens", 4, stdin=b"/help\nhello\n/stats\n/reset\n").decode()
        self.assertIn("/save FILE", shown)
        self.assertIn("positions used", shown)


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], sys.argv[3]])
