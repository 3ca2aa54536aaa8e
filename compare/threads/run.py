#!/usr/bin/env python3
"""What threads cost: the same program (threads.cc) on kernel threads and on graft's Gs, and its
counterpart in Go (threads.go), in interleaved rounds. One line of JSON per run is kept; started again,
it goes on where it stopped. The table has medians, the spread and the ratios to kernel threads and Go.

  compare/threads/run.py                         # 5 rounds, build/compare/out/threads.jsonl
  compare/threads/run.py --repeat 3 --only 'cond|sem'

Go's part needs Debian's golang-go and is left out, with a line that says so, where it is missing.
Exit code: 0 all runs succeeded, 1 some failed, 2 nothing could be run."""

import json
import os
import pathlib
import statistics
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
from versus import NAMES, compare, parser  # noqa: E402

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


def measure(_, runtime, found, bench):
    program, environment = found
    count = BENCHES[bench][0]
    if runtime == "kernel" and count > KERNEL_LIMIT and bench.startswith("parked"):
        return None
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
              for name in NAMES}
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


if __name__ == "__main__":
    sys.exit(compare(parser(__doc__).parse_args(), "threads", HERE / "threads.go", BENCHES, measure,
                     table))
