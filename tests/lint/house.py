"""What the lint scripts share: where the sources are, how a C++ file splits into code and comments,
how findings are printed. A lint script prints `file:line: what` per finding and leaves with 1 if
there is one, 0 if there is none, 77 (skipped, with the reason) if a tool it needs is missing."""

import pathlib
import re
import shutil
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
FOLDERS = ("core", "shims", "preload", "tools", "tests", "compare")
CXX = (".cc", ".h", ".c", ".S", ".def")
SKIPPED = 77


def files(folders=FOLDERS, suffixes=None):
    """Files below `folders`, sorted; generated caches left out."""
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*")):
            if not path.is_file() or path.is_symlink() or "__pycache__" in path.parts:
                continue
            if suffixes is None or path.suffix in suffixes:
                yield path


def repository_files():
    """Every file of the repository but build trees: the layer folders and the top level."""
    yield from files()
    for path in sorted(ROOT.iterdir()):
        if path.is_file() and path.name not in ("LICENSE", ".git"):  # .git: of a work tree
            yield path
    yield from (p for p in sorted((ROOT / ".ci").rglob("*")) if p.is_file())


def read(path):
    return path.read_text(encoding="utf-8", errors="replace")


def relative(path):
    return path.relative_to(ROOT).as_posix()


_TOKEN = re.compile(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])+\'', re.S)


def comments(text):
    """(line, comment) for each C++ comment; strings that look like comments are not."""
    for match in _TOKEN.finditer(text):
        token = match.group(0)
        if token.startswith("/"):
            yield text.count("\n", 0, match.start()) + 1, token


def without_comments(text):
    """The text with comments blanked and every line kept in place."""

    def blank(match):
        token = match.group(0)
        return re.sub(r"[^\n]", " ", token) if token.startswith("/") else token

    return _TOKEN.sub(blank, text)


def tool(*names):
    """Path of the first tool that exists; leaves as skipped if none does."""
    for name in names:
        path = shutil.which(name)
        if path:
            return path
    skip(f"{names[0]} is not installed")


def skip(reason):
    print(f"skipped: {reason}")
    sys.exit(SKIPPED)


def finish(findings, summary):
    for finding in findings:
        print(finding)
    print(f"{summary}: {len(findings)} finding(s)")
    sys.exit(1 if findings else 0)
