"""What the tests that compile small programs share."""
import os
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MODEL = ROOT / "tests/data/tiny-gemma3.gguf"
WARNINGS = ("-Wall", "-Wextra", "-Wpedantic", "-Wshadow", "-Wconversion", "-Werror")


def run(*command, **options):
    done = subprocess.run([str(part) for part in command], capture_output=True, check=False, **options)
    if done.returncode != 0:
        sys.stderr.buffer.write(done.stderr)
        raise AssertionError(f"{' '.join(map(str, command))} failed with status {done.returncode}")
    return done.stdout


class Case(unittest.TestCase):
    """A test with a folder of its own; main() sets where Highway's headers are, and the compiler."""
    HIGHWAY = COMPILER = None

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def source(self, name, text):
        file = self.folder / "src" / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(text, encoding="utf-8")
        return file

    def headers(self):
        return "-I", ROOT / "include", "-isystem", self.HIGHWAY

    def compile(self, *command):
        return run(self.COMPILER, "-std=c++17", *command, cwd=self.folder)

    def errors_of(self, *command):
        """What the compiler says of a unit that it must refuse."""
        done = subprocess.run([str(part) for part in (self.COMPILER, "-std=c++17", "-fsyntax-only", "-Wfatal-errors", *command)],
                              cwd=self.folder, capture_output=True, text=True, check=False)
        self.assertNotEqual(done.returncode, 0)
        return done.stderr

    def text_of(self, *command):
        """Compiles the program, and returns what it writes with the model of the tests."""
        program = self.folder / "program"
        self.compile("-O0", *command, "-o", program, "-pthread")
        text = run(program, MODEL)
        self.assertGreater(len(text), 100)
        return text


def main():
    """NAME_test.py HIGHWAY COMPILER GROUP"""
    Case.HIGHWAY, Case.COMPILER = Path(sys.argv[1]).resolve(), sys.argv[2]
    unittest.main(argv=[sys.argv[0], *sys.argv[3:]])
