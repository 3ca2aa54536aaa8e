#!/usr/bin/env python3
"""Compiles core with clang's thread-safety analysis (syntax only): a field marked GUARDED_BY that is
touched without its lock, or a function called without the lock it REQUIRES, is an error. A lock that
is the same but reached by another path (`m.mu` for `central[cls].mu`) is accepted."""

import concurrent.futures
import os
import subprocess
import sys

import house

FLAGS = ["-std=c++20", "-fsyntax-only", "-fno-exceptions", "-fno-rtti", "-Wall", "-Wextra",
         "-Wthread-safety", "-Wno-thread-safety-precise", "-Werror", "-I", str(house.ROOT)]


def main():
    clang = house.tool("clang++-19")
    sources = [house.relative(path) for path in house.files(("core",), (".cc",))]
    if not sources:
        house.skip("no sources")

    def check(source):
        return subprocess.run([clang, *FLAGS, source], cwd=house.ROOT, capture_output=True,
                              text=True)

    failed = 0
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        for run in pool.map(check, sources):
            sys.stdout.write(run.stderr)
            failed += run.returncode != 0
    print(f"thread_safety: {len(sources)} file(s), {failed} with findings")
    sys.exit(1 if failed else 0)


main()
