#!/usr/bin/env python3
"""The repository builds and reads the same on any machine: no file names a folder outside of it or an
absolute path of the machine it was written on, and no file is left with a merge conflict in it."""

import re

import house

# Put together from pieces so that this file does not find itself.
PATTERNS = {
    "a folder beside the repository": r"\.\./" + "shared",
    "an absolute path of one machine": (r"(?<![\w.$}/-])/(?:" + "wor" + r"k\b|" + "hom" + "e/[a-z]|"
                                          + "roo" + "t/|" + "Use" + "rs/)"),
    "a merge conflict": "^(?:" + "<" * 7 + "|" + ">" * 7 + ") ",
}


def main():
    findings, count = [], 0
    for path in house.repository_files():
        count += 1
        for number, line in enumerate(house.read(path).splitlines(), 1):
            for what, pattern in PATTERNS.items():
                match = re.search(pattern, line)
                if match:
                    findings.append(f"{house.relative(path)}:{number}: {match.group(0)}: {what}")
    house.finish(findings, f"neutral: {count} file(s)")


main()
