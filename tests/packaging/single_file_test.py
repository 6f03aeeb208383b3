#!/usr/bin/env python3
"""Tests of tools/amalgamate: what it writes, and the hello example compiled with nothing but that file.

single_file_test.py HIGHWAY COMPILER GROUP: HIGHWAY is the folder of Highway's headers, GROUP one of the classes below.
"""
import os
import re
import subprocess

from compiling import ROOT, WARNINGS, Case, main, run

HELLO = (ROOT / "examples/01_hello.cpp").read_text(encoding="utf-8")


class SingleFile(Case):
    def amalgamate(self, *options, name="gemma.hpp"):
        """Writes the single file as a project would keep it, and returns its path."""
        run(ROOT / "tools/amalgamate", "-o", self.folder / "third_party" / name, *options,
            env={**os.environ, "GEMMA_HIGHWAY_DIR": str(self.HIGHWAY)})
        return self.folder / "third_party" / name

    def hello(self, *before):
        return self.source("hello.cpp", "".join(before) + HELLO.replace("<gemma/gemma.hpp>", '"third_party/gemma.hpp"'))

    def text_of_headers(self, *flags):
        return self.text_of(*self.headers(), ROOT / "examples/01_hello.cpp", *flags)


class Output(SingleFile):
    def test_the_same_bytes_each_time(self):
        for options in ((), ("--with-highway",)):
            first = self.amalgamate(*options).read_bytes()
            self.assertEqual(first, self.amalgamate(*options).read_bytes())
            self.assertNotIn(str(ROOT).encode(), first)
            self.assertNotIn(str(self.HIGHWAY).encode(), first)

    def test_says_its_version_and_the_licences(self):
        version = re.findall(r"VERSION_(?:MAJOR|MINOR|PATCH) (\d+)",
                             (ROOT / "include/gemma/version.hpp").read_text(encoding="utf-8"))
        licence = (ROOT / "LICENSE").read_text(encoding="utf-8").split("\n")
        for options, highway in (((), r":"), (("--with-highway",), r" with Highway \d+\.\d+\.\d+:")):
            lines = self.amalgamate(*options).read_text(encoding="utf-8").split("\n")
            self.assertRegex(lines[0], r"^// gemma\.hpp " + re.escape(".".join(version)) + highway)
            for line in licence:
                self.assertIn(("// " + line).rstrip(), lines)
            self.assertTrue(any("Copyright Google LLC" in line for line in lines))

    def test_every_header_stands_in_it_once(self):
        text = self.amalgamate().read_text(encoding="utf-8")
        headers = {str(path.relative_to(ROOT / "include")) for path in (ROOT / "include").rglob("*.hpp")}
        pasted = re.findall(r"^// From (gemma/\S+)", text, re.M)
        self.assertEqual(len(pasted), len(set(pasted)))
        self.assertEqual(headers - set(pasted), {"gemma/src.hpp"})

    def test_nothing_else_is_read(self):
        self.amalgamate("--with-highway")
        hello = self.hello()
        flags_of_builds = ([], ["-march=native"], ["-DGEMMA_DYNAMIC_DISPATCH"], ["-DGEMMA_OPENCL"],
                           ["-DGEMMA_SEPARATE_COMPILATION", "-DGEMMA_SRC"])
        for flags in flags_of_builds:
            rule = self.compile("-M", "-I", self.folder, *flags, hello).decode()
            files = rule.replace("\\\n", " ").split()[1:]
            self.assertIn("third_party/gemma.hpp", rule)
            self.assertEqual([file for file in files if "hwy" in file or file.startswith(f"{ROOT}/")], [])

    def test_without_highway_its_headers_are_read(self):
        self.amalgamate()
        rule = self.compile("-M", "-I", self.folder, "-isystem", self.HIGHWAY, self.hello()).decode()
        self.assertIn("hwy/highway.h", rule)
        self.assertNotIn(str(ROOT / "include/gemma"), rule)

    def test_another_name(self):
        self.amalgamate(name="llm.hpp")
        unit = self.source("unit.cpp", '#include "third_party/llm.hpp"\nint main() {}\n')
        self.compile("-fsyntax-only", *WARNINGS, "-I", self.folder, "-isystem", self.HIGHWAY, unit)

    def test_what_is_missing_is_said(self):
        done = subprocess.run([ROOT / "tools/amalgamate", "-o", self.folder / "gemma.hpp"], capture_output=True,
                              env={**os.environ, "GEMMA_HIGHWAY_DIR": str(self.folder)}, check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn(b"tools/get_deps", done.stderr)
        self.assertFalse((self.folder / "gemma.hpp").exists())


class Static(SingleFile):
    UNIT = ('#include "third_party/gemma.hpp"\nstd::string other_unit();\n'
            "std::string other_unit() { return gemma::build_info(); }\n")
    USE = "#include <string>\nstd::string other_unit();\nextern const bool linked;\nconst bool linked = !other_unit().empty();\n"

    def test_same_text_as_with_the_headers(self):
        self.amalgamate("--with-highway")
        # Two translation units include it, and without the flags' warnings.
        self.assertEqual(self.text_of_headers("-march=native"), self.text_of(
            self.hello(self.USE), self.source("unit.cpp", self.UNIT), "-I", ".", "-march=native", *WARNINGS))


class Dynamic(SingleFile):
    def test_same_text_from_one_unit_and_from_several(self):
        self.amalgamate()
        one = self.text_of(self.hello(), "-I", ".", "-DGEMMA_DYNAMIC_DISPATCH", *WARNINGS, "-isystem", self.HIGHWAY)
        # With Highway folded in, and compiled once for the whole program.
        self.amalgamate("--with-highway")
        bodies = self.source("bodies.cpp", '#define GEMMA_SRC\n#include "third_party/gemma.hpp"\n')
        several = self.text_of(self.hello(), bodies, "-I", ".", "-DGEMMA_SEPARATE_COMPILATION", *WARNINGS)
        self.assertEqual(one, several)


if __name__ == "__main__":
    main()
