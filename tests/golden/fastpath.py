#!/usr/bin/env python3
"""Disassembles the hot allocation functions of libgraft.so, counts what they cost and compares with
fastpath.txt. Only the function itself is counted: its cold part lies in another symbol, padding does
not count, and a tail jump is no call. A function that is nothing but a jump counts as its target. A change of the hot path changes fastpath.txt in the same
commit (--update rewrites it); malloc and free must have no call, no locked instruction, no push and
no division whatever the file says, and at most 45 instructions."""

import argparse
import pathlib
import re
import shutil
import subprocess
import sys

FUNCTIONS = ("malloc", "free", "calloc", "_Znwm", "_ZdlPv", "_ZdlPvm",
             "malloc_usable_size")
FREE_OF = ("calls", "locked", "pushes", "divs")
STRICT = ("malloc", "free")
MAX_INSTRUCTIONS = 45
GOLDEN = pathlib.Path(__file__).with_name("fastpath.txt")
HEAD = """\
# What the hot allocation functions of libgraft.so are made of (release build, gcc 12, -O2).
# Written by tests/golden/fastpath.py --update; a change here belongs into the commit that causes it.
# function            instructions calls locked fs pushes divs
"""


def functions(lib):
    """{name: [instruction]} for every function symbol, aliases of one address included."""
    table = subprocess.run(["nm", "-D", "--defined-only", lib], capture_output=True, text=True,
                           check=True).stdout
    addresses = {}
    for line in table.splitlines():
        address, _, name = line.split(maxsplit=2)
        addresses[name.split("@")[0]] = int(address, 16)
    text = subprocess.run(["objdump", "-d", "--no-show-raw-insn", "-M", "att", lib],
                          capture_output=True, text=True, check=True).stdout
    bodies, current = {}, None
    for line in text.splitlines():
        head = re.match(r"([0-9a-f]+) <.*>:$", line)
        if head:
            current = bodies.setdefault(int(head.group(1), 16), [])
        elif current is not None:
            instruction = re.match(r"\s*[0-9a-f]+:\s+(.*\S)", line)
            if instruction:
                current.append(instruction.group(1))

    def follow(address):
        body = bodies.get(address)
        jump = re.match(r"jmp\s+([0-9a-f]+) <(?!.*@plt)", body[0]) if body else None
        target = bodies.get(int(jump.group(1), 16)) if jump else None
        return body + target if target else body

    return {name: follow(address) for name, address in addresses.items()}


def is_padding(instruction):
    return re.match(r"(?:(?:data16|cs|rep)\s+)*nop|xchg\s+%ax,%ax|int3|endbr64", instruction)


def count(body):
    code = [i for i in body if not is_padding(i)]
    memory_xchg = re.compile(r"xchg\S*\s.*\(")
    return {
        "instructions": len(code),
        "calls": sum(bool(re.match(r"(?:\S+ )?call", i)) for i in code),
        "locked": sum(i.startswith("lock ") or bool(memory_xchg.match(i)) for i in code),
        "fs": sum("%fs:" in i for i in code),
        "pushes": sum(i.startswith("push") for i in code),
        "divs": sum(bool(re.match(r"i?div", i)) for i in code),
    }


def render(counts):
    rows = [f"{name:<22}{c['instructions']:>11} {c['calls']:>5} {c['locked']:>6} {c['fs']:>2} "
            f"{c['pushes']:>6} {c['divs']:>4}\n" for name, c in counts.items()]
    return HEAD + "".join(rows)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--lib", required=True)
    parser.add_argument("--update", action="store_true", help="rewrite fastpath.txt")
    parser.add_argument("--show", action="store_true", help="print the instructions too")
    args = parser.parse_args()
    if not shutil.which("objdump"):
        print("skipped: objdump is not installed")
        sys.exit(77)
    bodies = functions(args.lib)
    missing = [name for name in FUNCTIONS if not bodies.get(name)]
    counts = {name: count(bodies[name]) for name in FUNCTIONS if bodies.get(name)}
    if args.show:
        for name in counts:
            print(f"{name}:", *bodies[name], sep="\n    ")
    text = render(counts)
    if args.update:
        GOLDEN.write_text(text)
    print(text, end="")
    failures = [f"{name} is not exported" for name in missing]
    for name in STRICT:
        for what in FREE_OF:
            if counts.get(name, {}).get(what, 0):
                failures.append(f"{name}: {counts[name][what]} {what}, must be 0")
        if counts.get(name, {}).get("instructions", 0) > MAX_INSTRUCTIONS:
            failures.append(f"{name}: more than {MAX_INSTRUCTIONS} instructions")
    golden = GOLDEN.read_text() if GOLDEN.exists() else ""
    if text != golden:
        failures.append("differs from tests/golden/fastpath.txt:\n" + golden)
    for failure in failures:
        print("FAIL:", failure)
    sys.exit(1 if failures else 0)


main()
