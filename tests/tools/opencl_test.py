#!/usr/bin/env python3
"""Drives a gemma command built with GEMMA_OPENCL: opencl_test.py GEMMA MODEL. Each case sets its own environment, so
that any OpenCL will do; PoCL, which runs on the CPU, is enough."""
import json
import os
import subprocess
import sys
import tempfile
import time
import unittest

GEMMA, MODEL = sys.argv[1], sys.argv[2]
PLAIN = {name: value for name, value in os.environ.items() if name != "GEMMA_OPENCL_ALLOW_CPU"}
ALLOWED = {**PLAIN, "GEMMA_OPENCL_ALLOW_CPU": "1"}


def gemma(*args, env):
    return subprocess.run([GEMMA, *map(str, args)], env=env, capture_output=True, timeout=600)


def run_args(*more):
    return ("run", MODEL, "--prompt-ids", "2,10,20,30", "--max-tokens", 8, "--temperature", 0, "--ignore-eos", "--ctx",
            64, "--json", *more)


class Case(unittest.TestCase):
    def json(self, *args, env=None):
        done = gemma(*args, env=env or ALLOWED)
        self.assertEqual(done.returncode, 0, done.stderr)
        return json.loads(done.stdout)

    def fails(self, part, *args, env):
        done = gemma(*args, env=env)
        self.assertEqual(done.returncode, 1, done.stderr)
        lines = done.stderr.decode().splitlines()
        self.assertEqual(len(lines), 1, lines)
        self.assertTrue(lines[0].startswith("gemma: error: the OpenCL backend cannot be used: "), lines)
        self.assertIn(part, lines[0])

    def falls_back(self, part, env):
        """`auto` runs on the CPU and says why; `opencl` is an error for the same reason."""
        result = self.json(*run_args(), env=env)
        self.assertEqual(result["backend"], "cpu")
        self.assertIn(part, result["backend_reason"])
        self.fails(part, *run_args("--backend", "opencl"), env=env)
        devices = self.json("devices", "--json", env=env)
        self.assertEqual(devices["default"], "cpu")
        self.assertIn(part, devices["reason"])


class Devices(Case):
    def test_devices_are_described(self):
        result = self.json("devices", "--json")
        self.assertEqual(list(result), ["devices", "remarks", "default", "reason"])
        for device in result["devices"]:
            self.assertIn(device["type"], ("GPU", "CPU", "accelerator"))
            self.assertGreater(device["memory"], 0)
            self.assertTrue(device["usable"], device)
        self.assertEqual([d["verdict"] for d in result["devices"]].count("chosen"), 1)
        self.assertTrue(result["default"].startswith("opencl: "))

    def test_text_names_devices_and_the_default(self):
        text = gemma("devices", env=ALLOWED).stdout.decode()
        self.assertIn("usable (chosen): ", text)
        self.assertIn("default: opencl: ", text)
        self.assertIn("the CPU's SIMD: ", text)

    def test_memory_of_a_model(self):
        small = self.json("devices", "--model", MODEL, "--ctx", 16, "--json")
        large = self.json("devices", "--model", MODEL, "--ctx", 1024, "--json")
        self.assertEqual(small["needed"]["weights"], large["needed"]["weights"])
        self.assertGreater(small["needed"]["scratch"], 0)
        self.assertGreater(large["needed"]["kv_cache"], small["needed"]["kv_cache"])
        self.assertIn("needed of a device's memory: ", gemma("devices", "--model", MODEL, env=ALLOWED).stdout.decode())
        self.assertEqual(gemma("devices", "--ctx", 16, env=ALLOWED).returncode, 2)

    def test_started_devices_are_tested_and_timed(self):
        result = self.json("devices", "--model", MODEL, "--ctx", 64, "--start", "--json")
        self.assertEqual(list(result), ["devices", "needed", "remarks", "default", "reason"])
        verdicts = [d["verdict"] for d in result["devices"]]
        self.assertEqual(verdicts.count("too_slow"), int(result["default"] == "cpu"))
        self.assertEqual(verdicts.count("chosen"), int(result["default"] != "cpu"))
        self.assertIn(" ms per token, the CPU ", result["reason"])
        self.assertEqual(gemma("devices", "--start", env=ALLOWED).returncode, 2)

    def test_info_tells_the_choice_without_starting_it(self):
        info = self.json("info", MODEL, "--json")
        self.assertEqual(info["backend"], self.json("devices", "--json")["default"])
        self.assertEqual(self.json("info", MODEL, "--backend", "cpu", "--json")["backend"], "cpu")

    def test_version_names_opencl(self):
        self.assertIn(b"OpenCL on", gemma("--version", env=PLAIN).stdout)


class Runs(Case):
    def test_opencl_writes_what_the_cpu_writes(self):
        cpu = self.json(*run_args("--backend", "cpu"))
        device = self.json(*run_args("--backend", "opencl"))
        self.assertEqual((cpu["backend"], cpu["backend_reason"]), ("cpu", "asked for"))
        self.assertTrue(device["backend"].startswith("opencl: "), device["backend"])
        self.assertEqual(device["ids"], cpu["ids"])

    def test_layers_are_divided_between_device_and_cpu(self):
        cpu = self.json(*run_args("--backend", "cpu"))
        device = self.json(*run_args("--backend", "opencl", "--gpu-layers", 1))
        self.assertIn(" with 1 of ", device["backend"])
        self.assertEqual(device["ids"], cpu["ids"])
        few, all_layers = (self.json("devices", "--model", MODEL, *more, "--json")["needed"] for more in (("--gpu-layers", 1), ()))
        self.assertLess(few["weights"], all_layers["weights"])
        self.fails("gpu_layers is 0", *run_args("--backend", "opencl", "--gpu-layers", 0), env=ALLOWED)

    def test_auto_takes_one_of_both_and_says_why(self):
        result = self.json(*run_args())
        self.assertTrue(result["backend"] == "cpu" or result["backend"].startswith("opencl: "), result["backend"])
        self.assertNotEqual(result["backend_reason"], "")
        done = gemma(*(a for a in run_args() if a != "--json"), env=ALLOWED)
        lines = done.stderr.decode().splitlines()
        self.assertEqual(len(lines), 1, lines)
        self.assertRegex(lines[0], "; (cpu|opencl: .*): .")


class Fallbacks(Case):
    def test_no_library(self):
        self.falls_back("/nonexistent.so", {**ALLOWED, "GEMMA_OPENCL_LIBRARY": "/nonexistent.so"})

    def test_a_library_that_is_not_opencl(self):
        self.falls_back("libm.so.6 has none of OpenCL's functions", {**ALLOWED, "GEMMA_OPENCL_LIBRARY": "libm.so.6"})

    def test_no_platform(self):
        with tempfile.TemporaryDirectory() as folder:
            self.falls_back("no OpenCL platform", {**ALLOWED, "OCL_ICD_VENDORS": folder})

    def test_denied_and_not_allowed(self):
        self.falls_back("denied", {**ALLOWED, "GEMMA_OPENCL_DEVICES": "-opencl,-portable, !oclgrind, -nvidia"})
        self.falls_back("allowed", {**ALLOWED, "GEMMA_OPENCL_DEVICES": "no such device"})

    def test_a_start_that_did_not_end_is_not_repeated(self):
        with tempfile.TemporaryDirectory() as folder:
            # Without any cache the start takes long enough to be hit.
            env = {**ALLOWED, "GEMMA_OPENCL_CACHE": folder, "POCL_CACHE_DIR": os.path.join(folder, "pocl")}
            os.mkdir(env["POCL_CACHE_DIR"])
            args = run_args("--backend", "opencl")
            hit = subprocess.Popen([GEMMA, *map(str, args)], env=env, stdout=subprocess.DEVNULL)
            notes = []
            while not notes and hit.poll() is None:
                notes = [name for name in os.listdir(folder) if name.endswith(".started")]
                time.sleep(0.001)
            hit.kill()
            self.assertLess(hit.wait(), 0)
            note = os.path.join(folder, notes[0])
            self.falls_back(f"delete {note} to try again", env)
            os.remove(note)
            self.json(*args, env=env)
            self.assertFalse(os.path.exists(note))

    def test_a_cache_that_cannot_be_written_does_no_harm(self):
        device = self.json(*run_args("--backend", "opencl"), env={**ALLOWED, "GEMMA_OPENCL_CACHE": "/proc/nope"})
        self.assertTrue(device["backend"].startswith("opencl: "), device["backend"])


class Pocl(Case):
    """What only PoCL can be made to do."""

    @classmethod
    def setUpClass(cls):
        devices = json.loads(gemma("devices", "--json", env=ALLOWED).stdout)["devices"]
        if [d["platform"] for d in devices] != ["Portable Computing Language"]:
            raise unittest.SkipTest("PoCL is not the only platform")

    def test_no_device(self):
        self.falls_back("has no device", {**ALLOWED, "POCL_DEVICES": "none"})

    def test_a_cpu_is_not_a_gpu(self):
        self.falls_back("not a GPU", PLAIN)

    def test_two_devices(self):
        devices = self.json("devices", "--json", env={**ALLOWED, "POCL_DEVICES": "basic pthread"})["devices"]
        self.assertEqual(sorted(d["verdict"] for d in devices), ["chosen", "usable"])

    def fails_to_start(self, verdict, part, flags):
        with tempfile.TemporaryDirectory() as folder:
            env = {**ALLOWED, "GEMMA_OPENCL_CACHE": folder, "POCL_CACHE_DIR": folder}
            env["POCL_EXTRA_BUILD_FLAGS"] = f"{PLAIN.get('POCL_EXTRA_BUILD_FLAGS', '')} {flags}"
            result = self.json("devices", "--model", MODEL, "--ctx", 64, "--start", "--json", env=env)
            device = result["devices"][0]
            self.assertEqual((device["verdict"], device["usable"]), (verdict, False), device)
            self.assertIn(part, device["reason"])
            self.assertEqual(result["default"], "cpu")
            text = gemma("devices", "--model", MODEL, "--ctx", 64, "--start", env=env).stdout.decode()
            self.assertIn(f"not usable ({verdict}): {device['reason'][:20]}", text)

    def test_kernels_that_cannot_be_built(self):
        self.fails_to_start("build_failed", "clBuildProgram failed", "-Dgroup_sum=")

    def test_kernels_that_give_wrong_numbers(self):
        self.fails_to_start("self_test_failed", "its driver computes wrong numbers", "-DGEMMA_WIDTH=4")

    def test_a_device_is_denied_and_the_other_one_used(self):
        env = {**ALLOWED, "POCL_DEVICES": "basic pthread"}  # whose names differ from version to version
        listed = self.json("devices", "--json", env=env)
        names = [device["name"] for device in listed["devices"]]
        self.assertEqual(len(names), 2)
        denied = listed["default"].removeprefix("opencl: ")
        names.remove(denied)
        listed = self.json("devices", "--json", env={**env, "GEMMA_OPENCL_DEVICES": "-" + denied})
        self.assertEqual(listed["default"], "opencl: " + names[0])


if __name__ == "__main__":
    if not os.path.exists(GEMMA):
        print(f"skipped: {GEMMA} is not there; tools/test builds it")
        sys.exit(0)
    listed = gemma("devices", "--json", env=ALLOWED)
    if listed.returncode == 0 and not json.loads(listed.stdout)["devices"]:
        print("skipped: no OpenCL device here; tools/install_packages --tests installs PoCL")
        sys.exit(0)
    unittest.main(argv=sys.argv[:1])
