#!/usr/bin/env python3
"""Checks every #include between our own folders against layers.txt, so that arrows keep pointing
down. A header whose name ends in _inl.h is private to its folder (and its tests)."""

import re

import house

INCLUDE = re.compile(r'^\s*#\s*include\s*"([^"]+)"', re.M)


def table():
    rules = {}
    for line in house.read(house.ROOT / "tests/lint/layers.txt").splitlines():
        line = line.split("#")[0].strip()
        if line:
            folder, _, allowed = line.partition(":")
            rules[folder.strip()] = allowed.split()
    return rules


def layer(path, rules):
    """Longest folder of the table that holds `path`, or None."""
    fits = [folder for folder in rules if path.startswith(folder + "/")]
    return max(fits, key=len, default=None)


def main():
    rules = table()
    findings, edges = [], 0
    for path in house.files(suffixes=house.CXX):
        name = house.relative(path)
        own = layer(name, rules)
        if own is None:
            findings.append(f"{name}:1: lies in no layer of tests/lint/layers.txt")
            continue
        text = house.read(path)
        for match in INCLUDE.finditer(house.without_comments(text)):
            target = match.group(1)
            line = text.count("\n", 0, match.start(1)) + 1
            if not (house.ROOT / target).exists() and (path.parent / target).exists():
                target = house.relative((path.parent / target).resolve())
            other = layer(target, rules)
            edges += 1
            if other is None:
                findings.append(f"{name}:{line}: \"{target}\" is in no layer; system headers take <>")
            elif other != own and other not in rules[own] and "*" not in rules[own]:
                findings.append(f"{name}:{line}: {own} may not include {other} (\"{target}\")")
            elif other != own and target.endswith("_inl.h") and own != "tests":
                findings.append(f"{name}:{line}: \"{target}\" is private to {other}")
    house.finish(findings, f"layers: {edges} include(s)")


main()
