"""What compare/threads and compare/io have in common: one program on kernel threads, on graft's Gs and
its counterpart in Go, in interleaved rounds. One line of JSON per run is kept; started again, a
comparison goes on where it stopped. Not a command of its own."""

import argparse
import os
import pathlib
import re
import shutil
import subprocess
import sys

from run import BUILD, Runs, machine

NAMES = ("kernel", "graft", "go")


def runtimes(args, name, go_source):
    """{name: (program, environment)} of what can run here."""
    program = str(args.build / "compare" / name)
    found = {"kernel": (program, {}),
             "graft": (program, {"LD_PRELOAD": str(args.lib), "GRAFT_THREADS": "m:n"})}
    if shutil.which("go") is None:
        print("left out: Go, package golang-go is not installed", file=sys.stderr)
        return found
    out = args.build / f"compare/out/{name}-go"
    out.parent.mkdir(parents=True, exist_ok=True)
    cache = args.build / "compare/out/go-cache"
    subprocess.run(["go", "build", "-o", out, go_source], check=True,
                   env=dict(os.environ, GOCACHE=str(cache), GOFLAGS="-mod=mod", GO111MODULE="off"))
    found["go"] = (str(out), {})
    return found


def parser(doc):
    p = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--build", type=pathlib.Path, default=BUILD, help="the build tree")
    p.add_argument("--lib", type=pathlib.Path, help="default: libgraft.so of the build tree")
    p.add_argument("--out", help="the file of runs")
    p.add_argument("--only", default="", help="only benches whose name this pattern finds")
    p.add_argument("--repeat", type=int, default=5, help="rounds; default 5")
    return p


def compare(args, name, go_source, benches, measure, table):
    """measure(args, runtime, (program, environment), bench) gives a record with "ok" and, if that is false,
    "problem"; None: this runtime leaves the bench out. table(runs) is printed. Returns the exit code."""
    args.build = args.build.resolve()
    args.lib = (args.lib or args.build / "libgraft.so").resolve()
    if not (args.build / "compare" / name).is_file() or not args.lib.is_file():
        print(f"compare/{name} or libgraft.so is not built", file=sys.stderr)
        return 2
    runs = Runs(args.out or args.build / f"compare/out/{name}.jsonl")
    found = runtimes(args, name, go_source)
    if not runs.headers:
        runs.append({"header": {"machine": machine(), "scale": 100, "libraries": {}}})
    done, failed = runs.done(), 0
    for turn in range(args.repeat):
        for index, bench in enumerate(benches):
            names = list(found)
            shift = (turn + index) % len(names)
            for runtime in names[shift:] + names[:shift]:
                if not re.search(args.only, bench) or (bench, runtime, turn) in done:
                    continue
                record = measure(args, runtime, found[runtime], bench)
                if record is None:
                    continue
                runs.append({"command": bench, "library": runtime, "round": turn,
                             "load": os.getloadavg()[0], **record})
                failed += not record["ok"]
                if not record["ok"]:
                    print(f"{bench} {runtime}: {record['problem']}", file=sys.stderr)
    print(table(runs))
    return 1 if failed else 0
