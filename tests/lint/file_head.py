#!/usr/bin/env python3
"""Every source file opens with a comment of at least twelve words that says what the file is: the
reader of one file should not need the rest to know where they are."""

import re

import house

WORDS = 12
SCRIPTS = (".py", ".sh", ".map", ".cmake")


def head_of(path, text):
    if path.suffix in house.CXX + (".map",):
        text = text.lstrip()
        if text.startswith("/*"):
            return text[2:text.find("*/")]
        lines = []
        for line in text.splitlines():
            if not line.startswith(("//", "#pragma once")) and line.strip():
                break
            if line.startswith("//"):
                lines.append(line[2:])
            elif not line.strip() and lines:
                break
        return "\n".join(lines)
    lines = text.splitlines()
    if lines and lines[0].startswith("#!"):
        lines = lines[1:]
    body = "\n".join(lines).lstrip()
    docstring = re.match(r'[rf]?("""|\'\'\')(.*?)\1', body, re.S)
    if docstring:
        return docstring.group(2)
    head = []
    for line in body.splitlines():
        if not line.startswith("#"):
            break
        head.append(line[1:])
    return "\n".join(head)


def is_script(path):
    if path.suffix in SCRIPTS or path.name == "CMakeLists.txt":
        return True
    if path.suffix:
        return False
    with path.open("rb") as file:
        return file.read(2) == b"#!"


def main():
    findings, count = [], 0
    for path in house.repository_files():
        if path.suffix not in house.CXX and not is_script(path):
            continue
        count += 1
        words = re.findall(r"[A-Za-z][A-Za-z0-9_'-]*", head_of(path, house.read(path)))
        if len(words) < WORDS:
            findings.append(
                f"{house.relative(path)}:1: head comment has {len(words)} words, {WORDS} are asked")
    house.finish(findings, f"file_head: {count} file(s)")


main()
