#!/usr/bin/env python3
"""Checks what loading libgraft.so costs and drags in: NEEDED is libc and the loader only, thread
variables are in static TLS, and the constructors are at most our own one (a static constructor of
some object would run malloc's state through a moment nobody planned for)."""

import argparse
import re
import subprocess

import house

ALLOWED = {"libc.so.6", "ld-linux-x86-64.so.2"}
COMPILER_OWN = {"frame_dummy", "__do_global_dtors_aux"}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--lib", required=True)
    lib = parser.parse_args().lib
    readelf, nm = house.tool("readelf"), house.tool("nm")

    def run(*command):
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    findings = []
    dynamic = run(readelf, "-dW", lib)
    for name in re.findall(r"\(NEEDED\).*\[(.+)\]", dynamic):
        print(f"NEEDED {name}")
        if name not in ALLOWED:
            findings.append(f"{lib}: NEEDED {name}")
    if "TEXTREL" in dynamic:
        findings.append(f"{lib}: has text relocations")

    sections = run(readelf, "-SW", lib)
    names = {}
    for line in run(nm, "--defined-only", lib).splitlines():
        address, _, name = line.split(maxsplit=2)
        names.setdefault(int(address, 16), name)
    where = re.search(r"\.init_array\s+INIT_ARRAY\s+([0-9a-f]+)\s+[0-9a-f]+\s+([0-9a-f]+)", sections)
    constructors = []
    if where:
        start, size = int(where.group(1), 16), int(where.group(2), 16)
        for line in run(readelf, "-rW", lib).splitlines():
            relocation = re.match(r"([0-9a-f]+)\s+\S+\s+R_X86_64_RELATIVE\s+([0-9a-f]+)", line)
            if relocation and start <= int(relocation.group(1), 16) < start + size:
                target = int(relocation.group(2), 16)
                constructors.append(names.get(target, hex(target)))
    ours = [name for name in constructors if name not in COMPILER_OWN]
    print("constructors:", ", ".join(ours) or "none")
    for name in ours:
        if name.startswith("_GLOBAL__"):
            findings.append(f"{lib}: static constructor {name}; make the object constinit")
    if len(ours) > 1:
        findings.append(f"{lib}: {len(ours)} constructors, the preload constructor should be alone")

    for relocation in re.findall(r"R_X86_64_(?:DTPMOD64|TLSDESC)\S*.*", run(readelf, "-rW", lib)):
        findings.append(f"{lib}: dynamic TLS: {relocation}")
    house.finish(findings, "needed")


main()
