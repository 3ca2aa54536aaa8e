#!/usr/bin/env python3
"""Generates the inputs of programs.toml: `inputs.py FOLDER NAME...`, each once; a name that is there
already is left as it is. The same on every machine: the random numbers have a fixed seed."""

import json
import os
import pathlib
import random
import shutil
import subprocess
import sys

WORDS = 20_000


def vocabulary(draw):
    letters = "etaoinshrdlucmfwypvbgkjqxz"
    return ["".join(draw.choices(letters, range(26, 0, -1), k=draw.randint(2, 12)))
            for _ in range(WORDS)]


def line(draw, words):
    return " ".join(words[int(draw.paretovariate(0.6)) % WORDS] for _ in range(draw.randint(3, 14)))


def text(path, draw):
    words = vocabulary(draw)
    with path.open("w") as file:
        for _ in range(250_000):
            file.write(line(draw, words) + "\n")


def records(path, draw):
    words = vocabulary(draw)
    with path.open("w") as file:
        for number in range(60_000):
            json.dump({"id": number, "name": line(draw, words), "tags": draw.sample(words, 4),
                       "at": {"x": draw.random(), "y": draw.random()}}, file)
            file.write("\n")


def source(path, draw):
    """C++ that gives the compiler templates, classes and expressions to hold in memory."""
    with path.open("w") as file:
        file.write("#include <map>\n#include <string>\n#include <vector>\n")
        for n in range(400):
            file.write(
                f"struct S{n} {{ std::map<std::string, std::vector<int>> m; int f(int x); }};\n"
                f"int S{n}::f(int x) {{\n  int a[8] = {{}};\n")
            for _ in range(25):
                i, j, k = (draw.randint(0, 7) for _ in range(3))
                file.write(f"  a[{i}] += a[{j}] * {draw.randint(1, 99)} ^ (x >> {k});\n")
            file.write(f"  m[\"k{n}\"].push_back(a[{n % 8}]);\n  return a[0] + x;\n}}\n")


def repository(path, draw):
    """A git repository with 1,500 commits over 60 files."""
    words = vocabulary(draw)
    contents = [[line(draw, words) for _ in range(120)] for _ in range(60)]
    stream = []
    for commit in range(1_500):
        stream.append(f"commit refs/heads/main\ncommitter A <a@example.org> {10 ** 9 + commit} +0000\n"
                      "data 1\nc\n")
        for number in draw.sample(range(60), 3):
            for _ in range(5):
                contents[number][draw.randrange(120)] = line(draw, words)
            body = "\n".join(contents[number]) + "\n"
            stream.append(f"M 644 inline f{number}\ndata {len(body)}\n{body}\n")
    subprocess.run(["git", "init", "-q", "--bare", path], check=True)
    subprocess.run(["git", "-C", path, "fast-import", "--quiet"], input="".join(stream).encode(),
                   check=True)


MAKERS = {"text": text, "records.json": records, "source.cc": source, "repository": repository}


def main():
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name in sys.argv[2:]:
        if (folder / name).exists():
            continue
        print(f"generating {name}", flush=True)
        unfinished = folder / f"{name}.unfinished"
        if unfinished.is_dir():
            shutil.rmtree(unfinished)
        MAKERS[name](unfinished, random.Random(1))
        os.rename(unfinished, folder / name)


main()
