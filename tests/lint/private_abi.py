#!/usr/bin/env python3
"""Knowledge of glibc's private side (symbol versions, loader and libc internals) lives in shims/glibc
and preload, where it is probed and checked at start; `graft doctor` may show it. Nowhere else. The
environment variable GLIBC_TUNABLES is public."""

import re

import house

PRIVATE = re.compile(r"(?<![A-Za-z0-9_])(?:GLIBC_(?!TUNABLES)|_dl_|__libc_)\w*")
ALLOWED = re.compile(r"^(shims/glibc/|preload/|tools/doctor)")


def main():
    findings = []
    for path in house.files(("core", "shims", "tools"), house.CXX):
        name = house.relative(path)
        if ALLOWED.match(name):
            continue
        for number, line in enumerate(house.read(path).splitlines(), 1):
            for match in PRIVATE.finditer(line):
                findings.append(f"{name}:{number}: {match.group(0)} belongs into shims/glibc")
    house.finish(findings, "private_abi")


main()
