#!/usr/bin/env python3
"""Tests that what the documentation says of the code is so.

documentation_test.py HIGHWAY COMPILER [GROUP]   HIGHWAY is the folder of Highway's headers
documentation_test.py --fix                      corrects the line numbers of links
"""
import re
import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent / "packaging"))
from compiling import ROOT, Case, main  # noqa: E402

PAGES = [ROOT / page for page in ("README.md", "CHANGELOG.md", ".github/SECURITY.md", "include/gemma/README.md",
                                  "examples/README.md", "examples/coming_from.md")]
LINK = re.compile(r"\[([^\]]+)\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)")


def read(page):
    return (ROOT / page).read_text(encoding="utf-8")


def without_code(text):
    """The text without its code blocks, whose brackets are no links; line numbers stay."""
    return re.sub(r"^```.*?^```", lambda block: "\n" * block[0].count("\n"), text, flags=re.M | re.S)


def defines(line, name):
    """Whether the line declares or defines a function or class of that name, with or without its scope."""
    return re.search(rf"(\b(class|struct)\s+|[\w>&*]\s+(?:\w+::)*)(?<!return ){re.escape(name)}\b(\(| \{{| final)", line)


def anchors(text):
    """What GitHub calls the headings of a page."""
    for heading in re.findall(r"^#+ (.*)", without_code(text), re.M):
        yield re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def fix():
    """Makes each link `code`(file#Ln) lead to the line that has the code."""
    for page in PAGES:
        def corrected(match):
            text, path, anchor = match.groups()
            code = re.fullmatch(r"`(.*)`", text)
            if not code or not re.fullmatch(r"L\d+", anchor or ""):
                return match[0]
            lines = (page.parent / path).read_text(encoding="utf-8").splitlines()
            found = [number for number, line in enumerate(lines, 1) if defines(line, code[1])]
            if not found:
                sys.exit(f"{page.relative_to(ROOT)}: no line of {path} defines {code[1]}")
            return f"[{text}]({path}#L{min(found, key=lambda number: abs(number - int(anchor[1:])))})"
        page.write_text(LINK.sub(corrected, page.read_text(encoding="utf-8")), encoding="utf-8")


class Links(Case):
    def test_links_lead_to_what_they_name(self):
        for page in PAGES:
            for text, path, anchor in LINK.findall(without_code(page.read_text(encoding="utf-8"))):
                with self.subTest(page=page.name, link=text):
                    target = page.parent / path if path else page
                    self.assertTrue(target.exists(), f"{path} does not exist")
                    line = re.fullmatch(r"L(\d+)", anchor)
                    if line:
                        lines = target.read_text(encoding="utf-8").splitlines()
                        self.assertTrue(defines(lines[int(line[1]) - 1], text.strip("`")),
                                        f"line {line[1]} of {path} does not define it; tests/documentation_test.py --fix")
                    elif anchor:
                        self.assertIn(anchor, anchors(target.read_text(encoding="utf-8")))

    def test_every_example_is_in_the_course(self):
        course = read("examples/README.md")
        for example in (ROOT / "examples").glob("[0-9]*.cpp"):
            self.assertIn(f"[{example.name}]({example.name})", course)

    def test_every_room_is_in_the_walk(self):
        walk = read("include/gemma/README.md")
        for folder in (ROOT / "include/gemma").iterdir():
            if folder.is_dir() and folder.name != "impl":
                self.assertIn(f"| `{folder.name}/` |", walk)

    def test_every_macro_is_in_the_readme(self):
        listed = dict(re.findall(r"^// \| (GEMMA_\w+) +\| (\w+) +\|", read("include/gemma/config.hpp"), re.M))
        self.assertGreater(len(listed), 5)
        self.assertEqual(dict(re.findall(r"^\| `(GEMMA_\w+)` \| (\w+) \|", read("README.md"), re.M)), listed)

    def test_versions_agree(self):
        version = ".".join(re.findall(r"VERSION_(?:MAJOR|MINOR|PATCH) (\d+)", read("include/gemma/version.hpp")))
        self.assertEqual(re.search(r"^## ([\d.]+)", read("CHANGELOG.md"), re.M)[1], version)
        self.assertIn(f"find_package(gemma {version.rsplit('.', 1)[0]} ", read("README.md"))

    def test_every_subcommand_is_in_the_readme(self):
        commands = set(re.findall(r'add_subcommand\("(\w+)"', "".join(
            file.read_text(encoding="utf-8") for file in (ROOT / "tools/cli").glob("*.hpp"))))
        for command in commands:
            self.assertRegex(read("README.md"), rf"`(gemma )?{command}\b")
        for page in PAGES:
            for command in re.findall(r"`gemma (\w+)", page.read_text(encoding="utf-8")):
                self.assertIn(command, commands, page.name)


class Code(Case):
    """Code in the documentation compiles."""
    NAMES = """
#include <gemma/gemma.hpp>
#include <gemma/generate/quantize.hpp>
#include <cstdio>
#include <iostream>
#include <thread>
void page(gemma::Model& model, gemma::Session& session, gemma::LoadOptions& load_options,
          gemma::SessionOptions& session_options, gemma::GenerateOptions& options, gemma::GenerateResult& result,
          gemma::Outputs& outputs, const gemma::TextSink& sink, const std::vector<gemma::TokenId>& ids,
          gemma::TokenId id, const std::string& text);
"""

    def check(self, blocks):
        """Compiles the blocks, each in a scope of its own, with the names above."""
        text = self.NAMES + self.NAMES[self.NAMES.index("void page"):].replace(";", " {") + "\n".join(
            f"{{ {block}; }}" for block in blocks) + "\n}\n"
        # A name alone is a block, too.
        self.compile("-fsyntax-only", "-Werror", "-Wno-unused-value", "-DGEMMA_SEPARATE_COMPILATION",
                     "-DGEMMA_OPENCL", *self.headers(), self.source("page.cpp", text))

    def test_of_the_page_for_users_of_other_engines(self):
        page = read("examples/coming_from.md")
        cells = [row[1] for row in re.findall(r"^\|(.*?)\|(.*)\|$", without_code(page), re.M)]
        code = [code for cell in cells for code in re.findall(r"`([^`]+)`", cell)
                if not re.match(r"gemma \w+$|GEMMA_|\w+$", code)]
        self.assertGreater(len(code), 50)
        self.check(code)
        self.check(re.findall(r"^```cpp\n(.*?)^```", page, re.M | re.S))

    def test_of_the_readme(self):
        blocks = re.findall(r"^```cpp\n(.*?)^```", read("README.md"), re.M | re.S)
        self.assertGreaterEqual(len(blocks), 2)
        whole = [block for block in blocks if "int main" in block]
        self.check([block for block in blocks if block not in whole])
        for block in whole:
            self.compile("-fsyntax-only", "-DGEMMA_SEPARATE_COMPILATION", *self.headers(),
                         self.source("whole.cpp", block))

    def test_a_mistake_would_be_seen(self):
        with self.assertRaises(AssertionError):
            self.check(["session.no_such_name()"])


if __name__ == "__main__":
    if sys.argv[1:] == ["--fix"]:
        fix()
    elif len(sys.argv) < 3 or sys.argv[1].startswith("-"):
        sys.exit(__doc__)
    else:
        main()
