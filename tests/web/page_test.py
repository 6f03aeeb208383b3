#!/usr/bin/env python3
"""Tests of examples/web: builds it, serves it, and uses it in a headless Chromium with the small model.

page_test.py GEMMA HIGHWAY SITE: the gemma command, whose text is compared; the folder of Highway's headers; and the one to
build in. Prints "skipped: …" where Emscripten or a Chromium is missing.
"""
import http.server
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import threading
import unittest

import chromium

ROOT = pathlib.Path(__file__).resolve().parents[2]
WEB = ROOT / "examples/web"
MODEL = ROOT / "tests/data/kjv-small.gguf"
PSALM = ("The LORD is my shepherd; I shall not want.\nHe maketh me to lie down in green pastures: he leadeth me beside "
         "the still waters.\nHe restoreth my soul: he leadeth me in the paths of righteousness for his name's sake.\n")
BUSY = "!document.getElementById('stop').disabled"
READY = "document.getElementById('model').dataset.ready === 'yes'"


def native_text(prompt, tokens, *options):
    done = subprocess.run([GEMMA, "run", str(MODEL), "--prompt", prompt, "--temperature", "0", "--max-tokens", str(tokens),
                           "--json", *options], capture_output=True, check=True)
    return json.loads(done.stdout)["text"]


class Server:
    """examples/web/serve on a free port."""

    def __init__(self, *arguments):
        self.process = subprocess.Popen([sys.executable, str(WEB / "serve"), "--folder", SITE, "--port", "0",
                                         "--model", str(MODEL), *arguments], stdout=subprocess.PIPE, text=True)
        self.address = self.process.stdout.readline().strip()
        self.with_model = self.process.stdout.readline().strip()

    def close(self):
        self.process.terminate()
        self.process.wait()
        self.process.stdout.close()


class Elsewhere(http.server.BaseHTTPRequestHandler):
    """A server of another origin, which lets anybody read the model, and notes who asks."""
    asked = []

    def do_GET(self):
        self.asked.append(self.path)
        data = MODEL.read_bytes()
        self.send_response(200)
        self.send_header("Access-Control-Allow-Origin", "*")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass


class Case(unittest.TestCase):
    isolated = True

    @classmethod
    def setUpClass(cls):
        cls.browser = chromium.Browser(chromium.find())
        cls.addClassCleanup(cls.browser.close)
        cls.server = Server(*([] if cls.isolated else ["--no-isolation"]))
        cls.addClassCleanup(cls.server.close)

    def open(self, address=None):
        self.page = self.browser.page(address or self.server.address)
        self.addCleanup(self.page.close)

    def get(self, name):
        return self.page.value(f"document.getElementById('{name}').textContent")

    def set(self, **fields):
        for name, value in fields.items():
            self.page.value(f"document.getElementById('{name}').value = {json.dumps(str(value))}")

    def click(self, name):
        self.page.value(f"document.getElementById('{name}').click()")

    def load_by_url(self, url):
        self.set(url=url)
        self.page.value("document.getElementById('from-url').requestSubmit()")

    def loaded(self):
        self.page.wait(f"{READY} || !document.getElementById('error').hidden")
        self.assertEqual(self.get("error"), "")

    def error(self):
        self.page.wait("!document.getElementById('error').hidden")
        self.assertEqual(self.page.value(BUSY), False)
        return self.get("error")

    def write(self, prompt, tokens):
        self.set(prompt=prompt, tokens=tokens, temperature=0)
        self.click("generate")
        self.page.wait("!(" + BUSY + ")")
        self.assertEqual(self.get("error"), "")
        return self.get("output")

    def rate(self, name):
        return float(self.get(name).split(" ")[0])


class Isolated(Case):
    def check_text(self):
        self.assertEqual(self.write("In the beginning", 40), "In the beginning" + native_text("In the beginning", 40))
        self.assertIn("40 tokens written: as many as were asked for", self.get("status"))
        self.assertGreater(self.rate("prefill"), 0)
        self.assertGreater(self.rate("decode"), 0)
        # A long prompt is read with coarser activations: after it the first words are the same.
        words = self.write(PSALM, 12)[len(PSALM):].split()
        self.assertEqual(words[:5], native_text(PSALM, 12).split()[:5])
        self.assertRegex(self.get("prefill"), r"tokens/s \(\d\d+ tokens\)")

    def engine(self):
        return r"SIMD WASM .*with threads: \d"

    def test_a_model_by_its_address_gives_the_text_of_the_command(self):
        self.open(self.server.with_model)
        self.loaded()
        self.assertEqual(self.page.value("crossOriginIsolated"), self.isolated)
        self.assertRegex(self.get("engine"), self.engine())
        self.assertRegex(self.get("model"), r"^kjv-small.gguf \(Gemma 3, \d+ layers, 1 MB\), context of \d+ tokens")
        self.check_text()
        self.assertRegex(self.get("memory"), r"^\d+ MB$")

    def test_a_dropped_file_gives_the_text_of_the_command(self):
        self.open()
        self.page.drop_file("#drop", MODEL)
        self.loaded()
        self.check_text()

    def test_stopping_ends_writing_and_reading_within_a_step(self):
        self.open()
        self.page.choose_file("#file", MODEL)
        self.loaded()
        self.set(prompt="In the beginning", tokens=100000, temperature=0)  # which does not end by itself for long
        self.click("generate")
        self.page.wait("document.getElementById('decode').textContent !== '–'")
        self.click("stop")
        self.page.wait("!(" + BUSY + ")")
        self.assertRegex(self.get("status"), r"^\d{1,3} tokens written: stopped")

        self.click("generate")
        self.page.wait("document.getElementById('decode').textContent !== '–'")
        self.page.press("Escape")
        self.page.wait("!(" + BUSY + ")")
        self.assertIn("stopped", self.get("status"))

        self.set(prompt=PSALM * 5)
        self.page.value("document.getElementById('generate').click(); document.getElementById('stop').click()")
        self.page.wait("!(" + BUSY + ")")
        self.assertEqual(self.get("status"), "0 tokens written: stopped.")
        self.assertIn("(64 tokens)", self.get("prefill"))
        self.assertTrue(self.write("In the beginning", 8).startswith("In the beginning of the reign"))

    def test_what_is_no_model_is_refused_with_its_name_and_the_next_one_loads(self):
        with tempfile.TemporaryDirectory() as name:
            folder = pathlib.Path(name)
            (folder / "cut.gguf").write_bytes(MODEL.read_bytes()[:-1000])
            (folder / "page.gguf").write_text("<html>not found</html>")
            (folder / "empty.gguf").write_bytes(b"")
            with open(folder / "huge.gguf", "wb") as file:
                file.truncate(5_000_000_000)
            self.open()
            for file, message in (("cut.gguf", r"^cut.gguf: tensor '.*exceeds the file, which has \d+ bytes"),
                                  ("page.gguf", "^page.gguf: is not a model this version reads, it begins with '<html>.*a web page"),
                                  ("empty.gguf", "^empty.gguf: is not a model this version reads, it is empty"),
                                  ("huge.gguf", "^huge.gguf: has 5,000 MB, .*at most 4,127.2 MB")):
                self.page.choose_file("#file", folder / file)
                self.page.wait(f"document.getElementById('error').textContent.startsWith('{file}')")
                self.assertRegex(self.error(), message)
                self.assertTrue(self.page.value("document.getElementById('generate').disabled"))
        self.load_by_url("models/none.gguf")
        self.page.wait("document.getElementById('error').textContent.includes('none.gguf')")
        self.assertIn("models/none.gguf: the server answers with status 404", self.error())
        self.load_by_url("models/kjv-small.gguf")
        self.loaded()

    def test_a_prompt_longer_than_the_context_is_refused_and_the_model_stays(self):
        self.open()
        self.set(context=64)
        self.page.choose_file("#file", MODEL)
        self.loaded()
        self.set(prompt=PSALM * 5)
        self.click("generate")
        self.assertRegex(self.error(), r"the prompt has \d+ tokens, but the context only 64")
        self.assertTrue(self.write("In the beginning", 8).startswith("In the beginning of the reign"))
        self.write("In the beginning", 1000)
        self.assertIn("the context is full", self.get("status"))

    def test_a_prompt_is_answered_where_the_model_knows_turns(self):
        self.open(self.server.with_model)
        self.loaded()
        self.click("chat")
        self.assertEqual(self.write("Who art thou?", 12), native_text("Who art thou?", 12, "--chat"))

    def test_loading_can_be_stopped(self):
        self.open()
        self.page.value("load({url: location.href + 'models/kjv-small.gguf'}); document.getElementById('stop').click()")
        self.assertEqual(self.get("status"), "Loading stopped.")
        self.assertTrue(self.page.value("document.getElementById('generate').disabled"))
        self.page.choose_file("#file", MODEL)
        self.loaded()

    def test_markup_is_text(self):
        self.open(self.server.with_model)
        self.loaded()
        prompt = "<img src=x onerror='document.title = 1'><b>"
        self.assertTrue(self.write(prompt, 4).startswith(prompt))
        self.assertEqual(self.page.value("document.getElementById('output').children.length"), 0)

    def test_everything_has_a_name_for_screen_readers(self):
        self.open()
        self.assertEqual(self.page.value(
            "[...document.querySelectorAll('input, textarea, button, progress')].filter(e => !e.textContent.trim() &&"
            " !e.labels?.length && !e.ariaLabel).map(e => e.id)"), [])


class NotIsolated(Isolated):
    isolated = False

    def engine(self):
        return "SIMD WASM .*without threads, as this page is not cross-origin isolated"


class Origins(Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        elsewhere = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Elsewhere)
        threading.Thread(target=elsewhere.serve_forever, daemon=True).start()
        cls.addClassCleanup(elsewhere.server_close)
        cls.addClassCleanup(elsewhere.shutdown)
        cls.elsewhere = f"http://127.0.0.1:{elsewhere.server_port}"

    def test_no_request_leaves_the_origin(self):
        del self.browser.requested[:], Elsewhere.asked[:]
        self.open(self.server.with_model)
        self.loaded()
        self.write("In the beginning", 8)
        self.load_by_url(f"{self.elsewhere}/m.gguf")
        self.assertIn(f"serve --allow {self.elsewhere}", self.error())
        self.assertEqual(Elsewhere.asked, [])
        seen = [url for url in self.browser.requested if not url.startswith(("data:", self.elsewhere))]
        self.assertTrue(any(url.endswith("/models/kjv-small.gguf") for url in seen), seen)
        self.assertTrue(any(url.endswith("/gemma-threads.wasm") for url in seen), seen)
        self.assertEqual([url for url in seen if not url.startswith(self.server.address)], [])

    def test_another_origin_can_be_allowed(self):
        server = Server("--allow", self.elsewhere)
        self.addCleanup(server.close)
        self.open(server.address)
        self.load_by_url(f"{self.elsewhere}/m.gguf")
        self.loaded()
        self.assertEqual(Elsewhere.asked[-1:], ["/m.gguf"])


if __name__ == "__main__":
    GEMMA, HIGHWAY, SITE = sys.argv[1:4]
    del sys.argv[1:4]
    if not shutil.which(os.environ.get("EMXX", "em++")):
        print("skipped: no Emscripten (em++) is installed; tools/install_packages --tests gets it")
    elif chromium.find() is None:
        print("skipped: no Chromium is installed that can be driven (a snap cannot)")
    else:
        subprocess.run([str(WEB / "build"), SITE], check=True, env={**os.environ, "GEMMA_HIGHWAY_DIR": HIGHWAY})
        unittest.main()
