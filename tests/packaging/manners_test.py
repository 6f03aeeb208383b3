#!/usr/bin/env python3
"""Tests of how gemma.hpp behaves in programs of others: units with other options, other -march, other uses of Highway, compilers.

manners_test.py HIGHWAY COMPILER GROUP: HIGHWAY is the folder of Highway's headers, GROUP one of the classes below.
"""
import itertools
import os
import platform
import re
import subprocess
import unittest

from compiling import MODEL, ROOT, WARNINGS, Case, main, run

# A unit with a function NAME, which prints one line: its name, what its build is, and what the model writes, as ids.
UNIT = r"""
#include "gemma/gemma.hpp"
#include <cstdio>
void NAME(const char* path);
void NAME(const char* path) {
  auto model = gemma::try_load(path);
  gemma::SessionOptions session_options;
  session_options.backend = gemma::Backend::cpu;
  session_options.threads = 2;
  auto session = gemma::Session::create(*model, session_options);
  gemma::GenerateOptions options;
  options.max_tokens = 24;
  options.sampler.temperature = 0.0f;
  auto result = session->try_generate("The capital of", {}, options);
  std::printf("NAME|%s|", gemma::build_info().c_str());
  for (gemma::TokenId id : result->ids) std::printf(" %d", static_cast<int>(id));
  std::printf("\n");
}
"""

# A unit of a program's own kernels, on every target that Highway knows, with gemma.hpp before or after them.
KERNELS = r"""
#include <string>
@BEFORE@
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "src/@NAME@.cpp"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
@AFTER@
HWY_BEFORE_NAMESPACE();
namespace user {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;
float sum(const float* x) {
  const hn::ScalableTag<float> d;
  return hn::ReduceSum(d, hn::LoadU(d, x));
}
}
}
HWY_AFTER_NAMESPACE();
#if HWY_ONCE
std::string @NAME@();
std::string @NAME@() {
  float x[64] = {1};
  return user::HWY_NAMESPACE::sum(x) == 1.0f ? hwy::TargetName(HWY_TARGET) : "";
}
#endif
"""


class Program(Case):
    def unit(self, name, *flags):
        """Compiles UNIT as a function of that name, and returns the object file."""
        file = self.folder / (name + ".o")
        self.compile("-O0", "-c", *WARNINGS, *self.headers(), *flags, self.source(name + ".cpp", UNIT.replace("NAME", name)),
                     "-o", file)
        return file

    def said(self, objects, *flags):
        """Links the units in this order, calls each one, and returns {name: (build, ids)}."""
        names = [path.stem for path in objects]
        calls = self.source("main.cpp", "".join(f"void {name}(const char*);\n" for name in names) +
                            "int main(int, char** argv) { " + " ".join(f"{name}(argv[1]);" for name in names) + " }\n")
        self.compile(*flags, calls, *objects, "-o", "program", "-pthread", "-ldl")
        said = {name: (build, ids) for name, build, ids in
                (line.split("|") for line in run(self.folder / "program", MODEL).decode().splitlines())}
        self.assertEqual(list(said), names)
        for _, ids in said.values():
            self.assertEqual(len(ids.split()), 24)
        return said


class Options(Program):
    def test_units_with_different_options_share_a_program(self):
        units = {"plain": [], "opencl": ["-DGEMMA_OPENCL", "-DGEMMA_HUGGINGFACE"],
                 "newer": ["-std=c++20", "-fno-exceptions", "-fno-rtti"]}
        objects = [self.unit(name, "-march=native", *flags) for name, flags in units.items()]
        said = self.said(objects)
        self.assertEqual({ids for _, ids in said.values()}, {said["plain"][1]})
        self.assertIn("OpenCL on", said["opencl"][0])
        self.assertIn("OpenCL off", said["plain"][0])


@unittest.skipUnless(platform.machine() in ("x86_64", "AMD64"), "for x86")
class March(Program):
    def test_each_unit_keeps_its_target_in_any_order(self):
        levels = {"sse4": "-march=x86-64-v2", "avx2": "-march=x86-64-v3", "dispatched": "-DGEMMA_DYNAMIC_DISPATCH"}
        with open("/proc/cpuinfo", encoding="ascii") as file:
            features = file.read()
        if " avx2 " not in features:
            self.skipTest("this CPU has no AVX2")
        if " avx_vnni " in features:
            levels["vnni"] = "-march=alderlake"
        objects = [self.unit(name, flag) for name, flag in levels.items()]
        alone = {path.stem: self.said([path])[path.stem] for path in objects}
        if "vnni" in alone:
            self.assertIn("SIMD AVX2_VNNI (static)", alone["vnni"][0])
        self.assertIn("SIMD SSE4 (static)", alone["sse4"][0])
        self.assertIn("SIMD AVX2 (static)", alone["avx2"][0])
        self.assertIn("(chosen at run time)", alone["dispatched"][0])
        for turned, backwards in itertools.product(range(len(objects)), (False, True)):
            order = objects[turned:] + objects[:turned]
            self.assertEqual(self.said(order[::-1] if backwards else order), alone)


class Highway(Case):
    """A program's own kernels for many targets, in the unit that includes gemma.hpp."""

    def kernels(self, name, before="", after=""):
        return self.source(name + ".cpp", KERNELS.replace("@BEFORE@", before).replace("@AFTER@", after).replace("@NAME@", name))

    def test_declarations_go_with_them(self):
        include = '#include "gemma/gemma.hpp"'
        for name, options in (("first", {"before": include}), ("last", {"after": include})):
            self.compile("-fsyntax-only", "-DGEMMA_SEPARATE_COMPILATION", "-I", ".", *self.headers(),
                         self.kernels(name, **options))

    def test_bodies_refuse_them_with_the_remedy(self):
        for option in ("-O0", "-DGEMMA_DYNAMIC_DISPATCH"):
            errors = self.errors_of(option, "-I", ".", *self.headers(), self.kernels("k", after='#include "gemma/gemma.hpp"'))
            first = re.search(r"error: (.*)", errors).group(1)
            self.assertIn("GEMMA_SEPARATE_COMPILATION", first)
            self.assertIn("another source file", first)

    def test_other_units_are_free(self):
        unit = self.source("gemma_unit.cpp", '#include "gemma/gemma.hpp"\n#include <cstdio>\nstd::string k();\n'
                           'int main() { std::printf("%s\\n%s\\n", gemma::build_info().c_str(), k().c_str()); }\n')
        self.compile("-O0", "-march=native", "-DHWY_HEADER_ONLY", "-I", ".", *self.headers(), unit, self.kernels("k"),
                     "-o", "program", "-pthread")
        build, target = run(self.folder / "program").decode().splitlines()
        self.assertIn("(static)", build)
        self.assertTrue(target)


class Threads(Program):
    def test_two_sessions_on_two_threads_have_no_data_race(self):
        race = self.source("race.cpp", "int main() { int x = 0; std::thread other([&] { x = 1; }); x = 2; other.join(); }\n")
        flags = "-fsanitize=thread", "-g1"
        try:
            self.compile(*flags, "-include", "thread", race, "-o", "race", "-pthread")
        except AssertionError:
            self.skipTest("this compiler has no thread sanitizer")
        with self.assertRaises(AssertionError):
            run(self.folder / "race")  # so that silence means something
        program = self.source("two.cpp", r"""
#include "gemma/gemma.hpp"
#include <cstdio>
int main(int, char** argv) {
  const gemma::Model model = gemma::load(argv[1]);
  std::string texts[2];
  const auto work = [&](std::string& text) {
    gemma::SessionOptions session_options;
    session_options.threads = 2;
    gemma::GenerateOptions options;
    options.max_tokens = 24;
    options.sampler.temperature = 0.0f;
    text = gemma::Session(model, session_options).generate("The capital of France is a city in the north of", {}, options).text;
  };
  std::thread other([&] { work(texts[1]); });
  work(texts[0]);
  other.join();
  std::printf("%s", texts[0].c_str());
  return texts[0] == texts[1] && !texts[0].empty() ? 0 : 1;
}
""")
        self.compile(*flags, "-O1", "-march=native", *self.headers(), "-include", "thread", program, "-o", "program", "-pthread")
        run(self.folder / "program", MODEL)


class Compiling(Case):
    def test_hello_by_the_command_in_its_head_in_no_more_memory_than_readme_says(self):
        hello = ROOT / "examples/01_hello.cpp"
        command = re.search(r"^// Build: g\+\+ (.* -o (\S+) .*)$", hello.read_text(encoding="utf-8"), re.M)
        # A folder like a checkout, and Highway where compilers find installed headers.
        for name in ("include", "examples"):
            (self.folder / name).symlink_to(ROOT / name)
        found = os.environ.get("CPLUS_INCLUDE_PATH")
        process = subprocess.Popen([self.COMPILER, *command.group(1).split()], cwd=self.folder, env={
            **os.environ, "CPLUS_INCLUDE_PATH": os.pathsep.join([str(self.HIGHWAY)] + ([found] if found else []))})
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        self.assertEqual(process.returncode, 0)
        # GCC 14 to 16 take 4 to 8 % more than 1 GB. (Of what 16 takes more than 12, Highway's headers are two thirds.)
        version = run(self.COMPILER, "-dumpversion").decode().split(".")[0]
        newer = b"clang" not in run(self.COMPILER, "--version") and int(version) >= 14
        self.assertLess(usage.ru_maxrss * 1024, 1.1e9 if newer else 1e9)
        self.assertGreater(len(run(self.folder / command.group(2), ROOT / "tests/data/kjv-small.gguf")), 100)


if __name__ == "__main__":
    main()
