#!/usr/bin/env python3
"""Runs the workloads and real programs of this folder under several mallocs and appends one line of
JSON per run to a file. Runs are interleaved: in every round each command runs once under every malloc,
and the order of the mallocs rotates, so that a machine that slows down slows all of them.

  compare/run.py                                  # everything, 5 rounds, build/compare/out/
  compare/run.py --only 'larson|phases' --libs glibc,graft --repeat 3
  compare/run.py --lib graft-old=/tmp/libgraft.so --libs graft,graft-old
  compare/run.py --commands suite.toml            # commands of one's own, see commands.py

Started again, it goes on where it stopped: runs that are in the file and succeeded are not repeated.
A library that has changed since is refused, give another --out then. compare/report.py draws the
tables. Exit code: 0 all runs succeeded, 1 some failed, 2 nothing could be run."""

import argparse
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import time

import commands
import libraries

HERE = pathlib.Path(__file__).resolve().parent
BUILD = HERE.parent / "build"
RUNS = BUILD / "compare/out/runs.jsonl"
TAIL = 64 * 1024  # of a command's output, searched for its figures


def machine():
    def first(path, pattern):
        try:
            found = re.search(pattern, pathlib.Path(path).read_text())
        except OSError:
            return ""
        return found.group(1).strip() if found else ""
    return {"cpu": first("/proc/cpuinfo", r"model name\s*:(.*)"), "cpus": os.cpu_count(),
            "memory_kib": int(first("/proc/meminfo", r"MemTotal:\s*(\d+)") or 0),
            "kernel": os.uname().release}


def schedule(names, mallocs, repeat):
    """(command, malloc, round): every command under every malloc in each round, rotated."""
    for turn in range(repeat):
        for index, name in enumerate(names):
            for shift in range(len(mallocs)):
                yield name, mallocs[(turn + index + shift) % len(mallocs)], turn


class Runs:
    """The file of runs: lines {"header": ...} that say what was measured where, and records."""

    def __init__(self, path):
        self.path = pathlib.Path(path)
        self.headers, self.records = [], []
        if self.path.exists():
            text = self.path.read_text()
            whole = text[:text.rfind("\n") + 1]
            if whole != text:  # cut off in the middle of a line
                self.path.write_text(whole)
            for line in whole.splitlines():
                entry = json.loads(line)
                (self.headers if "header" in entry else self.records).append(entry)

    def digests(self):
        return {name: library["digest"] for entry in self.headers
                for name, library in entry["header"]["libraries"].items()}

    def changed(self, chosen):
        """Names of the libraries that the file has runs of another build of."""
        known = self.digests()
        return [lib.name for lib in chosen if known.get(lib.name, lib.digest()) != lib.digest()]

    def scales(self):
        return {entry["header"]["scale"] for entry in self.headers}

    def done(self):
        return {(r["command"], r["library"], r["round"]) for r in self.records if r["ok"]}

    def append(self, entry):
        (self.headers if "header" in entry else self.records).append(entry)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a") as file:
            file.write(json.dumps(entry) + "\n")


def figures_of(output):
    """The numbers of the last line, if that is a JSON object."""
    lines = output.strip().splitlines()
    try:
        last = json.loads(lines[-1]) if lines and lines[-1].startswith("{") else {}
    except ValueError:
        return {}
    return {key: value for key, value in last.items()
            if isinstance(value, (int, float)) and not isinstance(value, bool)}


def tail_of(file):
    file.seek(0, os.SEEK_END)
    file.seek(max(0, file.tell() - TAIL))
    return file.read().decode(errors="replace")


def measure(command, library, launch):
    """One run as a dictionary; `ok` is false if it failed or took too long."""
    with tempfile.TemporaryDirectory(prefix="graft-compare-") as scratch:
        result = pathlib.Path(scratch) / "result"
        cwd = pathlib.Path(scratch) / "cwd"
        cwd.mkdir()
        environment = dict(os.environ, LC_ALL="C", PRELOAD=library.path, **command.env)
        preload = library.path if command.preload == "all" else ""
        with open(pathlib.Path(scratch) / "out", "w+b") as out, \
                open(pathlib.Path(scratch) / "err", "w+b") as err:
            child = subprocess.Popen([launch, str(result), preload, *command.argv],
                                     cwd=command.cwd or cwd, env=environment, stdout=out, stderr=err,
                                     stdin=subprocess.DEVNULL, start_new_session=True)
            try:
                child.wait(command.timeout)
                problem = "" if result.exists() else "could not be started"
            except subprocess.TimeoutExpired:
                problem = f"not done after {command.timeout:g} s"
            finally:  # also what the command left running
                try:
                    os.killpg(child.pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
                child.wait()
            output, errors = tail_of(out), tail_of(err)
        record = json.loads(result.read_text()) if result.exists() else {}
    own = figures_of(output)
    if own:
        record["own"] = own
    if not problem and record.get("status") != 0:
        problem = f"ended with status {record.get('status')}"
    if not problem and command.time:
        found = re.search(command.time, output + errors)
        if found:
            record["time"] = float(found.group(1))
        else:
            problem = "its output has no time"
    record["ok"] = not problem
    if problem:
        record["problem"] = problem
        record["errors"] = errors[-400:]
    return record


def choose(args, inputs):
    """(commands, libraries, messages about what is left out)"""
    messages, chosen, mallocs = [], [], []
    overrides = dict(entry.split("=", 1) for entry in args.lib)
    names = args.libs.split(",") if args.libs else [
        *libraries.DEFAULT, *(name for name in overrides if name not in libraries.DEFAULT)]
    for name in names:
        try:
            mallocs.append(libraries.find(name, args.build, overrides))
        except libraries.Missing as problem:
            messages.append(f"left out: {problem}")
    if args.commands:
        every = [command for path in args.commands for command in commands.load(path, args.build,
                                                                                inputs)]
    else:
        every = (commands.workloads(args.build, args.scale) +
                 commands.load(commands.PROGRAMS, args.build, inputs))
    for command in every:
        if not re.search(args.only, command.name):
            continue
        if command.missing():
            messages.append(f"left out: {command.name}: {', '.join(command.missing())} not installed")
        else:
            chosen.append(command)
    return chosen, mallocs, messages


def parse(arguments):
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", default=BUILD, help="the build tree")
    parser.add_argument("--out", default=RUNS, help="the file of runs")
    parser.add_argument("--libs", help="comma list of mallocs; default " + ",".join(libraries.DEFAULT))
    parser.add_argument("--lib", action="append", default=[], metavar="NAME=PATH",
                        help="where a malloc is, or a further one")
    parser.add_argument("--only", default="", help="only commands whose name this pattern finds")
    parser.add_argument("--repeat", type=int, default=5, help="rounds; default 5")
    parser.add_argument("--scale", type=int, default=100, help="size of the workloads in percent")
    parser.add_argument("--commands", action="append", metavar="FILE",
                        help="run these commands and not those of this folder")
    parser.add_argument("--list", action="store_true", help="print the commands and stop")
    args = parser.parse_args(arguments)
    if any("=" not in entry for entry in args.lib):
        parser.error("--lib takes NAME=PATH")
    return args


def prepare_inputs(chosen, folder):
    wanted = sorted({name for command in chosen for name in command.inputs})
    if wanted:
        subprocess.run([sys.executable, HERE / "programs/inputs.py", folder, *wanted], check=True)


def run_all(chosen, mallocs, runs, repeat, launch):
    """Number of failed runs."""
    by_name = {command.name: command for command in chosen}
    done = runs.done()
    left = [item for item in schedule(list(by_name), mallocs, repeat)
            if (item[0], item[1].name, item[2]) not in done]
    failed, started = 0, time.monotonic()
    for count, (name, library, turn) in enumerate(left, 1):
        record = {"command": name, "library": library.name, "round": turn, "when": int(time.time()),
                  "load": os.getloadavg()[0], **measure(by_name[name], library, launch)}
        runs.append(record)
        remaining = (time.monotonic() - started) / count * (len(left) - count)
        shown = "FAILED: " + record["problem"] if not record["ok"] else (
            f"{record['wall']:.2f} s, cpu {record['user'] + record['sys']:.2f} s, "
            f"max RSS {record['max_rss_kib'] / 1024:.1f} MiB")
        print(f"[{count}/{len(left)}, {remaining / 60:.0f} min left] {name} {library.name}: {shown}",
              flush=True)
        failed += not record["ok"]
    return failed


def main(arguments=None):
    args = parse(arguments)
    inputs = pathlib.Path(args.build) / "compare/out/inputs"
    try:
        chosen, mallocs, messages = choose(args, inputs)
    except commands.Wrong as problem:
        print(problem, file=sys.stderr)
        return 2
    if args.list:
        print("\n".join(command.name for command in chosen))
        return 0
    print("".join(message + "\n" for message in messages), end="", file=sys.stderr)
    launch = pathlib.Path(args.build) / "compare/launch"
    if not launch.is_file():
        print(f"{launch} is missing; build with -DGRAFT_COMPARE=ON (the release preset does)",
              file=sys.stderr)
        return 2
    if not chosen or not mallocs:
        print("nothing to run", file=sys.stderr)
        return 2
    runs = Runs(args.out)
    if runs.changed(mallocs) or runs.scales() - {args.scale}:
        what = ", ".join(runs.changed(mallocs)) or "--scale"
        print(f"{args.out} has runs of another {what}; give another --out", file=sys.stderr)
        return 2
    prepare_inputs(chosen, inputs)
    runs.append({"header": {
        "when": int(time.time()), "machine": machine(), "scale": args.scale,
        "libraries": {lib.name: {"path": lib.path, "digest": lib.digest()} for lib in mallocs}}})
    failed = run_all(chosen, mallocs, runs, args.repeat, str(launch.resolve()))
    print(f"runs are in {args.out}; {failed} failed")
    return 1 if failed else 0


def stop(*_):
    raise KeyboardInterrupt


if __name__ == "__main__":
    # So that the command under way ends too: it has a session of its own.
    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGTERM, stop)
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("stopped; the same command goes on from here")
