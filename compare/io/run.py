#!/usr/bin/env python3
"""What blocking I/O costs a program with one thread per connection: the same program (io.cc) on kernel
threads and on graft's Gs, and its counterpart in Go (io.go), in interleaved rounds: a byte handed back
and forth through pipes, and an echo server under load (load.cc, a process of its own on the same CPUs).
One line of JSON per run is kept; started again, it goes on where it stopped.

  compare/io/run.py                        # 5 rounds, build/compare/out/io.jsonl
  compare/io/run.py --repeat 3 --only 'echo_9000'

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

HOPS = 100_000
BENCHES = {"pipe": None, "echo_100": 100, "echo_1000": 1000, "echo_9000": 9000}
NAMES = ("kernel", "graft", "go")


def runtimes(args):
    """{name: (program, environment)} of what can run here."""
    program = str(args.build / "compare/io")
    found = {"kernel": (program, {}),
             "graft": (program, {"LD_PRELOAD": str(args.lib), "GRAFT_THREADS": "m:n"})}
    if shutil.which("go") is None:
        print("left out: Go, package golang-go is not installed", file=sys.stderr)
        return found
    out = args.build / "compare/out/io-go"
    out.parent.mkdir(parents=True, exist_ok=True)
    cache = args.build / "compare/out/go-cache"
    subprocess.run(["go", "build", "-o", out, HERE / "io.go"], check=True,
                   env=dict(os.environ, GOCACHE=str(cache), GOFLAGS="-mod=mod", GO111MODULE="off"))
    found["go"] = (str(out), {})
    return found


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


def measure(args, runtime, bench):
    program, extra = runtime
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


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=pathlib.Path, default=BUILD, help="the build tree")
    parser.add_argument("--lib", type=pathlib.Path, help="default: libgraft.so of the build tree")
    parser.add_argument("--out", help="the file of runs")
    parser.add_argument("--only", default="", help="only benches whose name this pattern finds")
    parser.add_argument("--repeat", type=int, default=5, help="rounds; default 5")
    parser.add_argument("--seconds", type=int, default=3, help="of load per run; default 3")
    args = parser.parse_args()
    args.build = args.build.resolve()
    args.lib = (args.lib or args.build / "libgraft.so").resolve()
    if not (args.build / "compare/io").is_file() or not args.lib.is_file():
        print("compare/io or libgraft.so is not built", file=sys.stderr)
        return 2
    runs = Runs(args.out or args.build / "compare/out/io.jsonl")
    found = runtimes(args)
    if not runs.headers:
        runs.append({"header": {"machine": machine(), "scale": 100, "libraries": {}}})
    done, failed = runs.done(), 0
    for turn in range(args.repeat):
        for index, bench in enumerate(BENCHES):
            names = list(found)
            shift = (turn + index) % len(names)
            for name in names[shift:] + names[:shift]:
                if not re.search(args.only, bench) or (bench, name, turn) in done:
                    continue
                record = measure(args, found[name], bench)
                runs.append({"command": bench, "library": name, "round": turn,
                             "load": os.getloadavg()[0], **record})
                failed += not record["ok"]
                if not record["ok"]:
                    print(f"{bench} {name}: {record['problem']}", file=sys.stderr)
    print(table(runs))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
