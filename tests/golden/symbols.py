#!/usr/bin/env python3
"""Compares what libgraft.so exports with symbols.txt, name by name with kind and version. An export
that appears by accident takes part in symbol resolution of every program; one that goes missing lets
calls slip past graft. --update rewrites the list."""

import argparse
import difflib
import pathlib
import shutil
import subprocess
import sys

GOLDEN = pathlib.Path(__file__).with_name("symbols.txt")
HEAD = """\
# Every dynamic symbol that libgraft.so defines: kind as in nm(1), name, version.
# Written by tests/golden/symbols.py --update.
"""


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--lib", required=True)
    parser.add_argument("--update", action="store_true", help="rewrite symbols.txt")
    args = parser.parse_args()
    if not shutil.which("nm"):
        print("skipped: nm is not installed")
        sys.exit(77)
    out = subprocess.run(["nm", "-D", "--defined-only", args.lib], capture_output=True, text=True,
                         check=True).stdout
    rows = {" ".join(line.split()[-2:]) for line in out.splitlines()}
    text = HEAD + "".join(f"{row}\n" for row in sorted(rows, key=lambda row: row.split()[1]))
    if args.update:
        GOLDEN.write_text(text)
    golden = GOLDEN.read_text() if GOLDEN.exists() else ""
    for line in difflib.unified_diff(golden.splitlines(), text.splitlines(), "symbols.txt",
                                     "libgraft.so", lineterm="", n=0):
        print(line)
    print(f"symbols: {len(rows)} exported")
    sys.exit(0 if text == golden else 1)


main()
