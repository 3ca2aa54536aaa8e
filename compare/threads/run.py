#!/usr/bin/env python3
"""What threads cost: the same program (threads.cc) on kernel threads and on graft's Gs, and its
counterpart in Go (threads.go), in interleaved rounds. One line of JSON per run is kept; started again,
it goes on where it stopped. The table has medians, the spread and the ratios to kernel threads and Go.

  compare/threads/run.py                         # 5 rounds, build/compare/out/threads.jsonl
  compare/threads/run.py --repeat 3 --only 'cond|sem'

Go's part needs Debian's golang-go and is left out, with a line that says so, where it is missing.
Exit code: 0 all runs succeeded, 1 some failed, 2 nothing could be run."""

import argparse
import json
import os
import pathlib
import re
import shutil
import statistics
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
from run import BUILD, Runs, machine  # noqa: E402

# Name: operations, and what one of them is.
BENCHES = {
    "create_join": (100_000, "create a thread, join it"),
    "batch": (100_000, "the same for 1,000 at once, each"),
    "cond": (500_000, "hand-over by condition variable"),
    "sem": (500_000, "hand-over by semaphore"),
    "ring": (400_000, "hop in a ring of 100 threads"),
    "yield": (1_000_000, "yield, 4 threads"),
    "mutex": (20_000_000, "lock and unlock, nobody else wants it"),
    "contended": (4_000_000, "lock and unlock, 4 threads want it"),
    "barrier": (80_000, "arrival at a barrier of 8"),
    "parked": (10_000, "start of one of 10,000 that wait"),
    "parked_100k": (100_000, "start of one of 100,000 that wait"),
    "parked_small": (100_000, "the same with stacks of 64 KiB"),
}
KERNEL_LIMIT = 30_000  # kernel threads end at pid_max


def runtimes(args):
    """{name: (program, environment)} of what can run here."""
    program = str(args.build / "compare/threads")
    found = {"kernel": (program, {}),
             "graft": (program, {"LD_PRELOAD": str(args.lib), "GRAFT_THREADS": "m:n"})}
    if shutil.which("go") is None:
        print("left out: Go, package golang-go is not installed", file=sys.stderr)
        return found
    out = args.build / "compare/out/threads-go"
    out.parent.mkdir(parents=True, exist_ok=True)
    cache = args.build / "compare/out/go-cache"
    subprocess.run(["go", "build", "-o", out, HERE / "threads.go"], check=True,
                   env=dict(os.environ, GOCACHE=str(cache), GOFLAGS="-mod=mod", GO111MODULE="off"))
    found["go"] = (str(out), {})
    return found


def measure(runtime, bench, count):
    program, environment = runtime
    name = "parked" if bench == "parked_100k" else bench
    try:
        run = subprocess.run([program, name, str(count)], capture_output=True, text=True, timeout=120,
                             env=dict(os.environ, **environment))
    except subprocess.TimeoutExpired:
        return {"ok": False, "problem": "not done after 120 s"}
    if run.returncode != 0 or not run.stdout.startswith("{"):
        return {"ok": False, "problem": f"status {run.returncode}: {run.stderr[-300:]}"}
    return {"ok": True, **json.loads(run.stdout)}


def table(runs):
    """Markdown: a row per bench."""
    lines = ["| | kernel threads, ns | graft, ns | Go, ns | graft / kernel | graft / Go | memory each, KiB"
             " (kernel, graft, Go) |", "|---|---|---|---|---|---|---|"]
    for bench, (count, what) in BENCHES.items():
        of = {name: [r for r in runs.records if r["ok"] and (r["command"], r["library"]) == (bench, name)]
              for name in ("kernel", "graft", "go")}
        if not any(of.values()):
            continue
        ns = {name: [r["ns"] for r in rows] for name, rows in of.items()}
        mid = {name: statistics.median(v) for name, v in ns.items() if v}
        cells = [f"{mid[n]:,.0f} ({min(ns[n]):,.0f}-{max(ns[n]):,.0f})" if n in mid else "-" for n in ns]
        ratios = [f"{mid['graft'] / mid[n]:.3f}" if n in mid and "graft" in mid else "-"
                  for n in ("kernel", "go")]
        memory = [f"{statistics.median(r['kib_each'] for r in rows):.1f}" if rows else "-"
                  for rows in of.values()] if any("kib_each" in r for v in of.values() for r in v) else []
        lines.append(f"| `{bench}` {count:,}: {what} | " + " | ".join(cells + ratios) + " | " +
                     ", ".join(memory) + " |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=pathlib.Path, default=BUILD, help="the build tree")
    parser.add_argument("--lib", type=pathlib.Path, help="default: libgraft.so of the build tree")
    parser.add_argument("--out", help="the file of runs")
    parser.add_argument("--only", default="", help="only benches whose name this pattern finds")
    parser.add_argument("--repeat", type=int, default=5, help="rounds; default 5")
    args = parser.parse_args()
    args.build = args.build.resolve()
    args.lib = (args.lib or args.build / "libgraft.so").resolve()
    if not (args.build / "compare/threads").is_file() or not args.lib.is_file():
        print("compare/threads or libgraft.so is not built", file=sys.stderr)
        return 2
    runs = Runs(args.out or args.build / "compare/out/threads.jsonl")
    found = runtimes(args)
    if not runs.headers:
        runs.append({"header": {"machine": machine(), "scale": 100, "libraries": {}}})
    done, failed = runs.done(), 0
    for turn in range(args.repeat):
        for index, (bench, (count, _)) in enumerate(BENCHES.items()):
            names = list(found)
            shift = (turn + index) % len(names)
            for name in names[shift:] + names[:shift]:
                if not re.search(args.only, bench) or (bench, name, turn) in done:
                    continue
                if name == "kernel" and count > KERNEL_LIMIT and bench.startswith("parked"):
                    continue
                record = measure(found[name], bench, count)
                runs.append({"command": bench, "library": name, "round": turn,
                             "load": os.getloadavg()[0], **record})
                failed += not record["ok"]
                if not record["ok"]:
                    print(f"{bench} {name}: {record['problem']}", file=sys.stderr)
    print(table(runs))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
