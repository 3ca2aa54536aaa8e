#!/usr/bin/env python3
"""Runs clang-tidy with the repository's .clang-tidy over core, shims, preload and tools. Files are
checked in parallel, each with the flags that matter to its meaning (not those of one compiler)."""

import concurrent.futures
import os
import subprocess
import sys

import house

FLAGS = ["-std=c++20", "-O1", "-I", str(house.ROOT)]
RUNTIME = ["-fno-exceptions", "-fno-rtti", "-fvisibility=hidden", "-ftls-model=initial-exec"]


def main():
    tidy = house.tool("clang-tidy-19")
    sources = sys.argv[1:] or [
        house.relative(path)
        for path in house.files(("core", "shims", "preload", "tools"), (".cc",))
    ]
    if not sources:
        house.skip("no sources")

    def check(source):
        flags = FLAGS if source.startswith("tools/") else FLAGS + RUNTIME
        return subprocess.run([tidy, "--quiet", source, "--", *flags], cwd=house.ROOT,
                              capture_output=True, text=True)

    failed = 0
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        for run in pool.map(check, sources):
            if run.returncode != 0:
                failed += 1
                sys.stdout.write(run.stdout + run.stderr)
    print(f"tidy: {len(sources)} file(s), {failed} with findings")
    sys.exit(1 if failed else 0)


main()
