#!/usr/bin/env python3
"""The block of README.md between `<!-- options -->` and `<!-- /options -->` is exactly what
`graft options --markdown` prints: options are declared once, in core/base/options.def."""

import argparse
import difflib
import pathlib
import subprocess
import sys

BEGIN, END = "<!-- options -->", "<!-- /options -->"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--cli", required=True)
    parser.add_argument("--readme", required=True)
    args = parser.parse_args()
    readme = pathlib.Path(args.readme)
    if not readme.exists():
        print(f"skipped: {readme} does not exist")
        sys.exit(77)
    text = readme.read_text(encoding="utf-8")
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        sys.exit(f"{readme}: there has to be one {BEGIN} and after it one {END}")
    stands = text[text.index(BEGIN) + len(BEGIN):text.index(END)].strip().splitlines()
    run = subprocess.run([args.cli, "options", "--markdown"], capture_output=True, text=True)
    if run.returncode != 0:
        sys.exit(f"graft options --markdown: exit {run.returncode}\n{run.stderr}")
    printed = run.stdout.strip().splitlines()
    if stands == printed:
        print(f"options: {readme.name} holds the table as printed, {len(printed)} lines")
        return
    for line in difflib.unified_diff(stands, printed, str(readme), "graft options --markdown",
                                     lineterm=""):
        print(line)
    sys.exit(1)


main()
