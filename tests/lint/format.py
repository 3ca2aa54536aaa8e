#!/usr/bin/env python3
"""Checks the layout of every C++ source with the pinned clang-format. `--fix` rewrites the files
named after it, or all of them, instead of reporting."""

import subprocess
import sys

import house


def main():
    clang_format = house.tool("clang-format-19")
    arguments = sys.argv[1:]
    fix = arguments[:1] == ["--fix"]
    paths = arguments[1:] if fix else arguments
    if not paths:
        paths = [house.relative(path) for path in house.files(suffixes=(".cc", ".h", ".c"))]
    if not paths:
        house.skip("no sources")
    mode = ["-i"] if fix else ["--dry-run", "-Werror", "--ferror-limit=3"]
    run = subprocess.run([clang_format, *mode, *paths], cwd=house.ROOT, capture_output=True,
                         text=True)
    sys.stdout.write(run.stderr)
    print(f"format: {len(paths)} file(s)")
    sys.exit(1 if run.returncode else 0)


main()
