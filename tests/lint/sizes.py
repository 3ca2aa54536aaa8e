#!/usr/bin/env python3
"""Reports files over 600 lines and functions over 80 lines. It never fails: a long table or state
machine can be right, but whoever writes it should see it listed. Functions are found by layout (the
formatter puts the closing brace of a namespace-level function into column 0)."""

import re

import house

FILE_LINES, FUNCTION_LINES = 600, 80
NOT_A_FUNCTION = re.compile(r"^(namespace|extern|class|struct|enum|union|#|//|constexpr .*=|\})")


def main():
    longest_file, longest_function = (0, ""), (0, "")
    for path in house.files(suffixes=house.CXX):
        name, lines = house.relative(path), house.read(path).splitlines()
        longest_file = max(longest_file, (len(lines), name))
        if len(lines) > FILE_LINES:
            print(f"{name}:1: {len(lines)} lines (over {FILE_LINES})")
        start = None
        for number, line in enumerate(lines, 1):
            if start is None and line[:1].strip() and not NOT_A_FUNCTION.match(line):
                if line.endswith("{"):
                    start = number
            elif start is not None and line.startswith("}"):
                length = number - start + 1
                longest_function = max(longest_function, (length, f"{name}:{start}"))
                if length > FUNCTION_LINES:
                    print(f"{name}:{start}: function of {length} lines (over {FUNCTION_LINES})")
                start = None
    print("longest file: %d lines, %s" % longest_file)
    print("longest function: %d lines, %s" % longest_function)


main()
