#!/usr/bin/env python3
"""Tests that every public name of the headers has a comment that doxygen finds: /// before it, or ///< behind it.

Public are classes, functions, fields, types, constants and enumerators outside of detail:: and *-inl.hpp, unless they
are private members. Nothing need be said of what is deleted or defaulted, of destructors, and of constructors without
arguments. Without doxygen the test is skipped.
"""
import re
import shutil
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parent.parent
CONFIGURATION = """
INPUT = "{headers}"
STRIP_FROM_PATH = "{headers.parent}"
OUTPUT_DIRECTORY = "{output}"
RECURSIVE = YES
FILE_PATTERNS = *.hpp
EXCLUDE_PATTERNS = *-inl.hpp
EXCLUDE_SYMBOLS = *::detail *::detail::*
EXTRACT_ALL = YES
EXTRACT_STATIC = YES
GENERATE_HTML = NO
GENERATE_LATEX = NO
GENERATE_XML = YES
XML_PROGRAMLISTING = NO
MACRO_EXPANSION = YES
EXPAND_ONLY_PREDEF = YES
PREDEFINED = "GEMMA_NAMESPACE_BEGIN=namespace gemma {{" "GEMMA_NAMESPACE_END=}}" GEMMA_INLINE= \\
  GEMMA_OPENCL GEMMA_HUGGINGFACE
"""


def text_of(node, tag):
    child = node.find(tag)
    return "" if child is None else "".join(child.itertext()).strip()


def goes_without_saying(member, scope):
    name, arguments = text_of(member, "name"), text_of(member, "argsstring")
    is_constructor = name == re.sub(r"\s*<.*", "", scope).split("::")[-1]
    return (re.search(r"=\s*(delete|default)$", arguments) or name.startswith("~")
            or is_constructor and arguments.startswith("()"))


def names_of(compound):
    """The public names of a class or namespace: the node of each, its place and itself."""
    scope = text_of(compound, "compoundname")
    if compound.get("kind") != "namespace":
        yield compound, compound.find("location"), scope
    for member in compound.iter("memberdef"):
        if (member.get("prot") == "private" or goes_without_saying(member, scope)
                or member.get("kind") not in ("function", "variable", "typedef", "enum")):
            continue
        name, place = f"{scope}::{text_of(member, 'name')}", member.find("location")
        yield member, place, name + text_of(member, "argsstring")
        for value in member.findall("enumvalue"):
            yield value, place, f"{name}::{text_of(value, 'name')}"


def undocumented(headers):
    """How many public names the headers in a folder have, and "FILE:LINE: NAME" of those without a comment."""
    count, missing = 0, []
    with tempfile.TemporaryDirectory() as output:
        configuration = CONFIGURATION.format(headers=headers, output=output)
        subprocess.run(["doxygen", "-"], input=configuration, text=True, capture_output=True, check=True)
        for page in Path(output, "xml").glob("*.xml"):
            for compound in ElementTree.parse(page).getroot().findall("compounddef"):
                kind = compound.get("kind")
                if kind not in ("class", "struct", "union", "namespace") or compound.get("prot") == "private":
                    continue
                for node, place, name in names_of(compound):
                    count += 1
                    if not text_of(node, "briefdescription") and not text_of(node, "detaileddescription"):
                        missing.append((place.get("file"), int(place.get("line")), name))
    return count, [f"{file}:{line}: {name}" for file, line, name in sorted(missing)]


class Names(unittest.TestCase):
    def test_every_public_name_is_documented(self):
        count, missing = undocumented(ROOT / "include")
        self.assertGreater(count, 1000)
        self.assertFalse(missing, "document with /// or ///<, or move into detail:\n" + "\n".join(missing))

    def test_a_name_without_a_comment_would_be_seen(self):
        with tempfile.TemporaryDirectory() as folder:
            headers = Path(folder).resolve() / "include"
            headers.mkdir()
            (headers / "some.hpp").write_text("""
GEMMA_NAMESPACE_BEGIN
namespace detail { int inner(); }
/// Documented.
class Class {
 public:
  Class();
  Class(const Class&) = delete;
  int field;  ///< Documented.
  int bare_field;
 private:
  int own;
};
/// Documented.
enum class Choice {
  first,  ///< Documented.
  second
};
struct Bare {};
int bare_function(int x);
GEMMA_NAMESPACE_END
""", encoding="utf-8")
            count, missing = undocumented(headers)
        self.assertEqual(count, 8)
        self.assertEqual([line.split(": ")[1] for line in missing],
                         ["gemma::Class::bare_field", "gemma::Choice::second", "gemma::Bare",
                          "gemma::bare_function(int x)"])


if __name__ == "__main__":
    if not shutil.which("doxygen"):
        print("skipped: doxygen is not installed")
        sys.exit()
    unittest.main()
