#!/usr/bin/env python3
"""A memory barrier is half of a pair. Comments mark both halves with one tag in brackets (capitals, a
dash, capitals or digits); a tag that occurs once has lost its other half. Tags that no model test
mentions are reported."""

import re

import house

TAG = re.compile(r"\[([A-Z]+-[A-Z0-9]+)\]")
RANGES = {"A-Z", "A-F", "A-Z0-9"}


def main():
    places = {}
    for path in house.files(suffixes=house.CXX):
        for line, comment in house.comments(house.read(path)):
            for match in TAG.finditer(comment):
                if match.group(1) not in RANGES:
                    at = line + comment.count("\n", 0, match.start())
                    places.setdefault(match.group(1), []).append((house.relative(path), at))
    findings = [f"{where[0][0]}:{where[0][1]}: tag [{tag}] occurs only here"
                for tag, where in sorted(places.items()) if len(where) < 2]
    for tag, where in sorted(places.items()):
        if not any(name.startswith("tests/model/") for name, _ in where):
            print(f"note: no model test mentions [{tag}]")
    house.finish(findings, f"tags: {len(places)} tag(s)")


main()
