#!/usr/bin/env python3
"""Runs every workload of compare/ with little work: natively, under libgraft.so, against Boehm's
collector where it was built so, and under a malloc that hands out blocks twice, which each must find."""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[3]
NAMES = sorted(source.stem for source in (ROOT / "compare/workloads").glob("*.cc"))
ARGS = None
SCALE = "2"
IDLE = {"fragmentation": ["20"]}


def run(path, name, preload=""):
    environment = dict(os.environ)
    environment.pop("LD_PRELOAD", None)
    if preload:
        environment["LD_PRELOAD"] = preload
    return subprocess.run([path / name, SCALE, *IDLE.get(name, [])], env=environment,
                          capture_output=True, text=True, timeout=60)


class Workloads(unittest.TestCase):
    def passes(self, path, name, preload=""):
        done = run(path, name, preload)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        figures = json.loads(done.stdout)
        self.assertEqual(figures["workload"], name)
        self.assertIs(figures["ok"], True)
        self.assertGreater(figures["seconds"], 0)
        return figures

    def test_there_are_workloads(self):
        self.assertGreaterEqual(len(NAMES), 12)

    def test_pass_natively_and_under_graft_with_the_same_work(self):
        for name in NAMES:
            with self.subTest(name):
                native = self.passes(ARGS.folder, name)
                graft = self.passes(ARGS.folder, name, ARGS.lib)
                self.assertEqual(native.get("ops"), graft.get("ops"))

    def test_pass_on_the_collector(self):
        built = sorted((ARGS.folder / "gc").glob("*"))
        if not built:
            self.skipTest("built without gc.h")
        for path in built:
            with self.subTest(path.name):
                done = run(path.parent, path.name)
                self.assertEqual(done.returncode, 0, done.stderr)
                self.assertIs(json.loads(done.stdout)["ok"], True)

    def test_notice_a_malloc_that_hands_out_blocks_twice(self):
        for name in NAMES:
            with self.subTest(name):
                done = run(ARGS.folder, name, ARGS.broken)
                self.assertEqual(done.returncode, 1, done.stdout + done.stderr)
                self.assertIn("FAIL: ", done.stderr)

    def test_a_scale_that_is_no_number_is_refused(self):
        done = subprocess.run([ARGS.folder / NAMES[0], "fast"], capture_output=True, text=True)
        self.assertEqual(done.returncode, 2)
        self.assertIn("usage", done.stderr)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", required=True, type=pathlib.Path)
    parser.add_argument("--lib", required=True)
    parser.add_argument("--broken", required=True)
    ARGS, rest = parser.parse_known_args()
    unittest.main(argv=[sys.argv[0], *rest], verbosity=2)
