#!/usr/bin/env python3
"""Tests of tools/install_packages with an apt-get that installs nothing: whether it asks for the right
things, waits for another program's lock, and gives up on any other trouble."""
import os
import subprocess
import tempfile
import unittest
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[2] / "tools" / "install_packages"
LOCKED = "E: Could not get lock /var/lib/dpkg/lock-frontend. It is held by process 1 (unattended-upgr)"


class InstallPackages(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.program("sudo", 'exec "$@"')

    def program(self, name, body):
        path = self.folder / name
        path.write_text(f"#!/bin/sh\n{body}\n")
        path.chmod(0o755)

    def install(self, answers):
        """Runs it where only the compiler is missing; `answers` are shell commands, one for each call of
        apt-get. Returns the finished process and those calls' arguments."""
        calls = self.folder / "calls"
        cases = "\n".join(f"{number}) {answer} ;;" for number, answer in enumerate(answers, 1))
        self.program("apt-get", f'echo "$*" >>"{calls}"\n'
                                f'case $(wc -l <"{calls}" | tr -d " ") in\n{cases}\n*) exit 99 ;;\nesac')
        environment = dict(os.environ, CXX="no-such-compiler", PATH=f"{self.folder}:{os.environ['PATH']}")
        done = subprocess.run([SCRIPT], env=environment, capture_output=True, text=True, timeout=60)
        return done, calls.read_text().splitlines()

    def test_updates_the_lists_and_installs_what_is_missing(self):
        done, calls = self.install(["exit 0", "exit 0"])
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("installing g++", done.stdout + done.stderr)
        self.assertEqual(len(calls), 2, calls)
        self.assertIn("update", calls[0])
        self.assertRegex(calls[1], r"install .*\bg\+\+")

    def test_waits_while_another_program_holds_the_lock(self):
        locked = f'echo "{LOCKED}" >&2; exit 100'
        done, calls = self.install(["exit 0", locked, locked, "exit 0"])
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(len(calls), 4, calls)
        self.assertEqual((done.stdout + done.stderr).count("another program is installing packages"), 1)

    def test_gives_up_at_once_on_other_trouble_with_the_words_of_apt(self):
        done, calls = self.install(["exit 0", "echo 'E: Unable to locate package g++' >&2; exit 100"])
        self.assertEqual(done.returncode, 1)
        self.assertEqual(len(calls), 2, calls)
        self.assertIn("E: Unable to locate package g++", done.stderr)
        self.assertIn("apt-get could not install g++", done.stderr)

    def test_an_old_list_is_better_than_none(self):
        done, calls = self.install(["exit 100", "exit 0"])
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("trying the old ones", done.stdout + done.stderr)


if __name__ == "__main__":
    unittest.main()
