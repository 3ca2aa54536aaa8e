#!/usr/bin/env python3
"""What blocking I/O costs a program with one thread per connection: the same program (io.cc) on kernel
threads and on graft's Gs, and its counterpart in Go (io.go), in interleaved rounds: a byte handed back
and forth through pipes, and an echo server under load (load.cc, a process of its own on the same CPUs).
One line of JSON per run is kept; started again, it goes on where it stopped.

  compare/io/run.py                        # 5 rounds, build/compare/out/io.jsonl
  compare/io/run.py --repeat 3 --only 'echo_9000'

Go's part needs Debian's golang-go and is left out, with a line that says so, where it is missing.
Exit code: 0 all runs succeeded, 1 some failed, 2 nothing could be run."""

import json
import os
import pathlib
import re
import statistics
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
from versus import NAMES, compare, parser  # noqa: E402

HOPS = 100_000
BENCHES = {"pipe": None, "echo_100": 100, "echo_1000": 1000, "echo_9000": 9000}


def pipe(program, environment):
    run = subprocess.run([program, "pipe", str(HOPS)], capture_output=True, text=True, timeout=120,
                         env=environment)
    if run.returncode != 0:
        raise RuntimeError(f"status {run.returncode}: {run.stderr[-300:]}")
    return json.loads(run.stdout)


def echo(program, environment, load, connections, seconds):
    with subprocess.Popen([program, "echo"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                          env=environment) as server:
        try:
            port = json.loads(server.stdout.readline())["port"]
            run = subprocess.run([load, str(port), str(connections), str(seconds)],
                                 capture_output=True, text=True, timeout=seconds + 60)
            if run.returncode != 0:
                raise RuntimeError(f"load: status {run.returncode}: {run.stderr[-300:]}")
            status = pathlib.Path(f"/proc/{server.pid}/status").read_text()
            server.stdin.close()
            end = json.loads(server.stdout.readline())
        finally:
            if server.poll() is None:
                server.kill()
    result = {**json.loads(run.stdout), **end}
    result["rss_kib"] = int(re.search(r"VmHWM:\s+(\d+)", status)[1])
    # Of all its requests, those before the counted time too.
    result["cpu_us"] = end["cpu_s"] * 1e6 / (result["per_s"] * seconds)
    return result


def measure(args, _, found, bench):
    program, extra = found
    environment = dict(os.environ, **extra)
    try:
        if BENCHES[bench] is None:
            return {"ok": True, **pipe(program, environment)}
        load = str(args.build / "compare/io_load")
        return {"ok": True, **echo(program, environment, load, BENCHES[bench], args.seconds)}
    except (subprocess.TimeoutExpired, RuntimeError, ValueError, BrokenPipeError) as problem:
        return {"ok": False, "problem": str(problem)}


def table(runs):
    """Markdown: a row per bench and runtime."""
    lines = ["| | | requests/s, or ns per hop | CPU us per request | p50 ms | p99 ms | RSS MiB |",
             "|---|---|---|---|---|---|---|"]
    for bench in BENCHES:
        for name in NAMES:
            rows = [r for r in runs.records if r["ok"] and (r["command"], r["library"]) == (bench, name)]
            if not rows:
                continue
            key = "per_s" if BENCHES[bench] else "ns"

            def mid(key, scale=1.0, rows=rows):
                return f"{statistics.median(r[key] for r in rows) * scale:,.1f}"
            span = f"{min(r[key] for r in rows):,.0f}-{max(r[key] for r in rows):,.0f}"
            cells = [f"{statistics.median(r[key] for r in rows):,.0f} ({span})"]
            cells += [mid("cpu_us"), mid("p50_us", 1e-3), mid("p99_us", 1e-3), mid("rss_kib", 1 / 1024)] \
                if BENCHES[bench] else ["-"] * 4
            lines.append(f"| `{bench}` | {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    options = parser(__doc__)
    options.add_argument("--seconds", type=int, default=3, help="of load per run; default 3")
    sys.exit(compare(options.parse_args(), "io", HERE / "io.go", BENCHES, measure, table))
