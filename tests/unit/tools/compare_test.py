#!/usr/bin/env python3
"""Tests of `graft compare` from outside: bad input and its exit codes, what the runs get and what is
noticed about them, servers under load, interruption, and the JSON and the page that come out. A
stand-in for libgraft.so is compiled, so the real library is not needed; no figure is judged."""

import argparse
import json
import os
import pathlib
import pty
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest

CLI = ""
FOLDER = pathlib.Path()
STUB = ""
# A shell program that behaves otherwise where the stand-in for graft is preloaded.
IF_GRAFT = 'case "$LD_PRELOAD" in *libgraft*) {};; esac; {}'
SERVER = """
import os, socket, sys, threading, time
s = socket.socket()
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind(("127.0.0.1", int(sys.argv[1])))
s.listen(16)
while True:
    c, _ = s.accept()
    word = c.recv(3)
    if word == b"die" and (sys.argv[2] == "all" or "libgraft" in os.environ.get("LD_PRELOAD", "")):
        print("killed by a word", file=sys.stderr, flush=True)
        os._exit(9)
    c.close()
"""
SAY = "exec 3<>/dev/tcp/127.0.0.1/{port}; printf {word} >&3; "


def environment(env=None):
    clean = {k: v for k, v in os.environ.items()
             if not k.startswith("GRAFT") and k not in ("LD_PRELOAD", "NO_COLOR")}
    clean.update(env or {})
    return clean


def compare(*args, env=None):
    return subprocess.run([CLI, "compare", f"--lib={STUB}", *args], env=environment(env),
                          capture_output=True, text=True, timeout=60)


def quick(*args, **more):
    """Two rounds against nothing but glibc; the parsed JSON is in .data."""
    result = compare("--against=glibc", "-n2", "--warmup=0", "--json=-", *args, **more)
    result.data = json.loads(result.stdout) if result.stdout else None
    return result


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def running(word):
    """Processes that have `word` among their arguments."""
    found = []
    for path in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:
            continue
        if word.encode() in words:
            found.append(path.parent.name)
    return found


class Case(unittest.TestCase):
    def fails(self, result, code, *words):
        """Exit code, nothing on stdout, a last line on stderr that holds all words."""
        self.assertEqual(result.returncode, code, result.stderr)
        self.assertEqual(result.stdout, "")
        last = result.stderr.splitlines()[-1]
        self.assertTrue(last.startswith("graft compare: "), result.stderr)
        for word in words:
            self.assertIn(word, last)


class BadInput(Case):
    def test_numbers(self):
        for bad in ("-n0", "-n-1", "-nx", "--warmup=-1", "--time-limit=-1", "--port=0",
                    "--port=70000", "--idle=x"):
            self.fails(compare(bad, "--", "true"), 125)

    def test_programs(self):
        self.fails(compare(), 125, "no program")
        self.fails(compare("--", "no-such-program"), 127, "no-such-program")
        self.fails(compare("--", str(FOLDER)), 126)
        self.fails(compare("--bogus", "--", "true"), 125, "--bogus")

    def test_static_program(self):
        source, path = FOLDER / "static.c", FOLDER / "static"
        source.write_text("int main(void) { return 0; }\n")
        if subprocess.run(["gcc", "-static", "-o", path, source], capture_output=True).returncode:
            self.skipTest("this compiler does not link statically")
        self.fails(compare("--", str(path)), 125, "statically linked")

    def test_runtimes(self):
        self.fails(compare("--against=nosuchmalloc", "--", "true"), 125, "nosuchmalloc", "=PATH")
        self.fails(compare("--against=a=/no/lib.so", "--", "true"), 125, "/no/lib.so")
        self.fails(compare("--against=glibc,glibc", "--", "true"), 125, "glibc")
        self.fails(compare("--against=graft", "--", "true"), 125, "nothing to compare")

    def test_missing_library_is_named_with_its_package(self):
        packages = {"jemalloc": "libjemalloc2", "tcmalloc": "libtcmalloc-minimal4",
                    "mimalloc": "libmimalloc2.0"}
        tried = 0
        for name, package in packages.items():
            result = compare(f"--against={name}", "-n1", "--warmup=0", "--", "true")
            if result.returncode != 0:
                self.fails(result, 125, name, package)
                tried += 1
        if tried == 0:
            self.skipTest("all of them are installed")

    def test_options_that_do_not_fit(self):
        self.fails(compare("--port=9", "--", "true"), 125, "--port needs --load")
        self.fails(compare("--load=true", "--", "true"), 125, "--load needs --port")
        self.fails(compare("--load=true", "--port=9", "--load-unit-regex=([", "--", "true"), 125,
                   "regular expression")
        self.fails(compare("--env=novalue", "--", "true"), 125, "novalue")
        self.fails(compare("--json=/no/such/folder/f", "--", "true"), 125, "/no/such/folder/f")
        self.fails(compare("--decay-ms=soon", "--", "true"), 125, "--decay-ms=soon")
        self.fails(compare("--lib=/no/lib.so", "--", "true"), 125, "/no/lib.so")


class Programs(Case):
    def test_schema(self):
        result = quick("--env=A=b", "--decay-ms=7", "--", "sh", "-c", "sleep 0.3; exit 0")
        self.assertEqual(result.returncode, 0, result.stderr)
        d = result.data
        self.assertEqual((d["schema"], d["version"]), ("graft-compare", 1))
        self.assertEqual(list(d), [
            "schema", "version", "command", "environment", "graft_options", "load", "started",
            "ended", "interrupted", "rounds", "warmup", "baseline", "order", "machine", "sampling",
            "runtimes", "measures", "results", "runs", "findings"])
        self.assertEqual(d["order"], [["glibc", "graft"], ["graft", "glibc"]])
        self.assertEqual([r["name"] for r in d["runtimes"]], ["glibc", "graft"])
        self.assertEqual([r["library"] for r in d["runtimes"]], [None, STUB])
        self.assertEqual((d["environment"], d["graft_options"]), (["A=b"], ["GRAFT_DECAY_MS=7"]))
        self.assertEqual((d["baseline"], d["load"], d["interrupted"]), ("glibc", None, False))
        self.assertEqual(len(d["runs"]), 4)
        measured = {m["id"] for m in d["measures"]}
        self.assertLessEqual({"wall", "cpu", "user", "sys", "peak_rss", "average_rss", "final_rss",
                              "minor_faults", "major_faults"}, measured)
        self.assertFalse({"throughput", "idle_rss"} & measured)
        for run in d["runs"]:
            self.assertEqual((run["exit_code"], run["left_running"]), (0, 0))
            self.assertGreater(run["values"]["wall"], 0.29)
            self.assertGreater(run["samples"]["rss"], 2)
            self.assertEqual(len(run["rss"]["t"]), len(run["rss"]["bytes"]))
        for row in d["results"]:
            self.assertLessEqual(row["min"], row["median"])
            self.assertLessEqual(row["median"], row["max"])
            self.assertIn(row["n"], (1, 2) if row["measure"].endswith("pss") else (2,))
            if row["runtime"] == "glibc":
                self.assertNotIn("ratio", row)
            elif "ratio" in row:
                self.assertNotIn("low", row["ratio"])  # two rounds: no interval
        self.assertIn("no interval", result.stderr)

    def test_three_rounds_have_intervals(self):
        result = compare("--against=glibc", "-n3", "--warmup=0", "--json=-", "--", "true")
        ratios = [r["ratio"] for r in json.loads(result.stdout)["results"]
                  if r["measure"] == "wall" and "ratio" in r]
        self.assertEqual(len(ratios), 1)
        self.assertLessEqual(ratios[0]["low"], ratios[0]["median"])
        self.assertLessEqual(ratios[0]["median"], ratios[0]["high"])

    def test_environments(self):
        seen = FOLDER / "environments"
        quick("--env=A=1", "--env=B=two words", "--decay-ms=7", "--", "sh", "-c",
              f'echo "$A|$B|$GRAFT_DECAY_MS|$LD_PRELOAD" >> {seen}')
        lines = seen.read_text().splitlines()
        self.assertEqual(lines, ["1|two words||", f"1|two words|7|{STUB}", f"1|two words|7|{STUB}",
                                 "1|two words||"])

    def test_any_library_by_path(self):
        other = FOLDER / "libother.so"
        shutil.copy(STUB, other)
        seen = FOLDER / "preloads"
        result = compare(f"--against=mine={other},glibc", "-n1", "--warmup=1", "--", "sh", "-c",
                         f"echo $LD_PRELOAD >> {seen}")
        self.assertEqual(result.returncode, 0, result.stderr)
        lines = seen.read_text().splitlines()
        self.assertEqual(lines[:3], [str(other), "", STUB])
        self.assertEqual(lines[3:], ["", STUB, str(other)])  # rotated

    def test_exit_codes(self):
        same = quick("--", "sh", "-c", "exit 5")
        self.assertEqual(same.returncode, 0)
        self.assertIn("exit code 5", same.stderr)
        result = quick("--", "sh", "-c", IF_GRAFT.format("exit 3", "exit 0"))
        self.assertEqual(result.returncode, 1)
        self.assertIn("exit codes differ: graft 3, glibc 0", result.stderr)
        self.assertEqual(len(result.data["findings"]), 1)
        result = quick("--", "sh", "-c", IF_GRAFT.format("kill -SEGV $$", "exit 0"))
        self.assertEqual(result.returncode, 1)
        self.assertIn(str(128 + signal.SIGSEGV), result.stderr)

    def test_outputs(self):
        program = ("--", "sh", "-c", IF_GRAFT.format("echo graft", "echo end"))
        result = quick("--check-output", *program)
        self.assertEqual(result.returncode, 1)
        self.assertIn("stdout differs: graft from glibc", result.stderr)
        self.assertEqual(quick(*program).returncode, 0)
        self.assertEqual(quick("--check-output", "--", "echo", "x").returncode, 0)
        result = quick("--check-output", "--", "sh", "-c", "date +%N; echo $$")
        self.assertEqual(result.returncode, 0)
        self.assertIn("glibc itself", result.stderr)

    def test_time_limit(self):
        result = quick("--time-limit=0.3", "--", "sh", "-c",
                       IF_GRAFT.format("echo stuck >&2; sleep 60", "exit 0"))
        self.assertEqual(result.returncode, 1)
        self.assertIn("it said: stuck", result.stderr)
        self.fails(compare("--time-limit=0.2", "--", "sleep", "60"), 125, "0.2 s")

    def test_what_is_left_running_is_ended(self):
        word = f"77.{os.getpid()}"
        result = quick("--", "sh", "-c", f"setsid sleep {word} & exit 0")
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertIn("left processes behind", result.stderr)
        self.assertEqual(running(word), [])

    def test_page(self):
        page_file = FOLDER / "page.html"
        result = compare("--against=glibc", "-n1", "--warmup=0", f"--html={page_file}", "--", "sh",
                         "-c", "true </dev/null # </script><script>alert(1)</script>")
        self.assertEqual(result.returncode, 0, result.stderr)
        page = page_file.read_text()
        self.assertNotRegex(page, r"https?://")
        self.assertNotRegex(page, r"<(link|img|iframe)\b|\bsrc=|@import|url\(")
        self.assertEqual(page.count("<script"), 2)
        self.assertEqual(page.count("</script>"), 2)
        data = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)
        self.assertEqual(json.loads(data.group(1))["schema"], "graft-compare")
        for mark in ("/*STYLE*/", "/*SCRIPT*/", "/*DATA*/"):
            self.assertNotIn(mark, page)

    def test_interruption(self):
        word = f"0.2{os.getpid()}"
        file = FOLDER / "partial.json"
        process = subprocess.Popen(
            [CLI, "compare", f"--lib={STUB}", "--against=glibc", "-n1000", "--warmup=0",
             f"--json={file}", "--", "sh", "-c", f"sleep {word}; true"],
            env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(3):
            self.assertTrue(process.stderr.readline().startswith("run "))
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=30)
        self.assertEqual(process.returncode, 128 + signal.SIGINT)
        self.assertIn("wall time", stdout)
        self.assertIn("so far", stderr)
        data = json.loads(file.read_text())
        self.assertTrue(data["interrupted"])
        self.assertGreaterEqual(len(data["runs"]), 3)
        self.assertEqual(running(word), [])


class Progress(Case):
    def on_a_terminal(self, **env):
        """What arrives on the terminal that is stderr."""
        master, slave = pty.openpty()
        process = subprocess.Popen(
            [CLI, "compare", f"--lib={STUB}", "--against=glibc", "-n2", "--warmup=1", "--", "true"],
            env=environment({"TERM": "xterm", **env}), stdout=subprocess.DEVNULL, stderr=slave)
        os.close(slave)
        text = b""
        while select.select([master], [], [], 20)[0]:
            try:
                chunk = os.read(master, 4096)
            except OSError:
                break
            if not chunk:
                break
            text += chunk
        os.close(master)
        self.assertEqual(process.wait(timeout=20), 0)
        return text.decode()

    def test_bar(self):
        text = self.on_a_terminal()
        self.assertIn("run 6/6", text)
        self.assertIn("(warm-up)", text)
        self.assertIn("ETA", text)
        self.assertIn("\033[32m", text)
        self.assertNotIn("\033[32m", self.on_a_terminal(NO_COLOR="1"))

    def test_lines(self):
        stderr = compare("--against=glibc", "-n1", "--warmup=0", "--", "true").stderr
        self.assertEqual([line.split(":")[0] for line in stderr.splitlines()],
                         ["run 1/2", "run 2/2"])
        self.assertNotIn("\033", stderr)


class Servers(Case):
    def setUp(self):
        if shutil.which("bash") is None:
            self.skipTest("bash is not installed")
        self.port = free_port()

    def serve(self, load, *options, mode="graft", rounds=1):
        server = FOLDER / "server.py"
        server.write_text(SERVER)
        # `load` is bash, for /dev/tcp, and holds no single quotes.
        return quick("--load", "exec bash -c '" + load + "'", f"--port={self.port}",
                     "--idle=0.2", f"-n{rounds}", *options, "--", sys.executable, str(server),
                     str(self.port), mode)

    def say(self, word):
        return SAY.format(port=self.port, word=word)

    def test_load(self):
        seen = FOLDER / "load_preload"
        result = self.serve(self.say("hi ") + f'echo "<$LD_PRELOAD>" >> {seen}; sleep 0.2; '
                            "echo 250.5 requests per second", rounds=3)
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertEqual(set(seen.read_text().split()), {"<>"})
        d = result.data
        self.assertEqual(d["load"]["port"], self.port)
        for run in d["runs"]:
            self.assertAlmostEqual(run["values"]["throughput"], 250.5, places=3)
            self.assertGreater(run["values"]["idle_rss"], 1e6)
            self.assertLess(run["load"]["began"], run["load"]["ended"])
            self.assertAlmostEqual(run["values"]["wall"],
                                   run["load"]["ended"] - run["load"]["began"], places=3)
            self.assertGreaterEqual(run["length"], run["load"]["ended"])
            self.assertNotIn("final_rss", run["values"])
        self.assertEqual(running(str(self.port)), [])

    def test_own_regex(self):
        result = self.serve("echo rate=7.25", "--load-unit-regex=rate=([0-9.]+)")
        self.assertAlmostEqual(result.data["runs"][0]["values"]["throughput"], 7.25)

    def test_port_never_answers(self):
        result = quick("--load=true", f"--port={self.port}", "--start-limit=0.3", "--", "sh", "-c",
                       "echo no port for you >&2; exec sleep 60")
        self.fails(result, 125, f"port {self.port} does not answer", "no port for you")

    def test_program_ends_before_the_port_answers(self):
        result = quick("--load=true", f"--port={self.port}", "--", "sh", "-c",
                       "echo bad configuration >&2; exit 4")
        self.fails(result, 125, "ended with 4", "bad configuration")

    def test_port_in_use(self):
        with socket.socket() as s:
            s.bind(("127.0.0.1", self.port))
            s.listen(1)
            self.fails(self.serve("true"), 125, f"port {self.port} is in use")

    def test_program_dies_under_load(self):
        load = self.say("die") + "sleep 60"
        started = time.monotonic()
        self.fails(self.serve(load, mode="all"), 125, "under load", "killed by a word")
        self.assertLess(time.monotonic() - started, 30, "the load should have been ended")
        result = self.serve(self.say("die") + "sleep 0.5", mode="graft")
        self.assertEqual(result.returncode, 1)
        self.assertIn("graft: 1 of 1 run failed: the program ended with 9 under load",
                      result.stderr)
        self.assertEqual([bool(r.get("problem")) for r in result.data["runs"]], [False, True])
        self.assertEqual(running(str(self.port)), [])

    def test_load_fails(self):
        self.fails(self.serve("echo cannot >&2; exit 6"), 125, "the load ended with 6", "cannot")


def main():
    global CLI, FOLDER, STUB
    parser = argparse.ArgumentParser()
    parser.add_argument("--cli", required=True)
    parser.add_argument("--readme", help="not used here; every test of this folder gets it")
    args, rest = parser.parse_known_args()
    CLI = os.path.abspath(args.cli)
    with tempfile.TemporaryDirectory(prefix="graft-compare-") as folder:
        FOLDER = pathlib.Path(folder).resolve()
        if shutil.which("gcc") is None:
            print("skipped: gcc is not installed")
            sys.exit(77)
        (FOLDER / "stub.c").write_text("int graft_stub;\n")
        STUB = str(FOLDER / "libgraft.so")
        subprocess.run(["gcc", "-shared", "-fPIC", "-o", STUB, FOLDER / "stub.c"], check=True)
        unittest.main(argv=[sys.argv[0], *rest], verbosity=1)


main()
