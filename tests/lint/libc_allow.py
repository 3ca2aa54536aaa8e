#!/usr/bin/env python3
"""Holds the undefined symbols of the core archive against libc_allow.txt: core runs on stacks and at
moments where a call into libc can lock, allocate or touch dynamic TLS, so it makes none."""

import argparse
import subprocess

import house


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--archive", required=True)
    archive = parser.parse_args().archive
    nm = house.tool("nm")
    allowed = set()
    for line in house.read(house.ROOT / "tests/lint/libc_allow.txt").splitlines():
        allowed.update(line.split("#")[0].split())

    def symbols(option):
        found, member = {}, ""
        run = subprocess.run([nm, option, archive], capture_output=True, text=True, check=True)
        for line in run.stdout.splitlines():
            if line.endswith(":"):
                member = line[:-1]
            elif line.strip():
                found.setdefault(line.split()[-1], member)
        return found

    defined = symbols("--defined-only")
    findings = [
        f"{member}: needs {name}, which tests/lint/libc_allow.txt does not list"
        for name, member in sorted(symbols("--undefined-only").items())
        if name not in defined and name not in allowed
    ]
    house.finish(findings, f"libc_allow: {len(defined)} symbol(s) defined")


main()
