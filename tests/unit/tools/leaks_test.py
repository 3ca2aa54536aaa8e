#!/usr/bin/env python3
"""`graft leaks` and `graft gc` against recorded answers: a fake control socket in this process, and a
stand-in for libgraft.so that copies a prepared file to GRAFT_LEAKS. Layout, exit codes, suppressions,
growth, and bad input of each kind, without a collector."""

import argparse
import json
import os
import pathlib
import re
import socket
import subprocess
import sys
import tempfile
import threading
import unittest

CLI = ""
FOLDER = pathlib.Path()
STUB = ""
SUMMARY = {"cycle": 4, "complete": True, "why": "", "stw_ns": 1500000, "mark_ns": 1000000,
           "live_objects": 10, "live_bytes": 1048576, "roots_bytes": 2097152}

# At its end it writes what STUB_REPORT holds, and its own map behind it, as libgraft.so does. @PC@
# in it becomes an address in leaky().
STUB_SOURCE = r"""
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
void leaky(void) { __asm__ volatile("nop; nop; nop; nop"); }
__attribute__((destructor)) static void report(void) {
  static char maps[1 << 20];
  const char *pattern = getenv("GRAFT_LEAKS"), *text = getenv("STUB_REPORT"), *pc;
  if (pattern == NULL || text == NULL) return;
  char path[4096];
  snprintf(path, sizeof path, "%.*s%d", (int)(strlen(pattern) - 2), pattern, (int)getpid());
  FILE* out = fopen(path, "w");
  FILE* in = fopen("/proc/self/maps", "r");
  size_t n = fread(maps, 1, sizeof maps, in);
  for (; (pc = strstr(text, "@PC@")) != NULL; text = pc + 4) {
    fprintf(out, "%.*s0x%lx", (int)(pc - text), text, (unsigned long)leaky + 2);
  }
  fputs(text, out);
  if (getenv("STUB_NO_MAPS") == NULL) {
    fprintf(out, "{\"maps\": %zu, \"bytes\": %zu}\n", n, n);
    fwrite(maps, 1, n, out);
  }
  fclose(out);
}
"""


def site(pc="0x10", direct=(2, 64), indirect=(1, 16), oldest=0):
    return {"site": 1, "pc": pc, "objects": direct[0] + indirect[0], "bytes": direct[1] + indirect[1],
            "direct_objects": direct[0], "direct_bytes": direct[1],
            "indirect_objects": indirect[0], "indirect_bytes": indirect[1],
            "oldest_cycles": oldest, "newest_cycles": 0, "reclaimed_objects": 0,
            "reclaimed_bytes": 0, "late_frees": 0, "pardoned": ""}


def lines(*objects):
    return "".join(json.dumps(o) + "\n" for o in objects)


def graft(*words, **env):
    given = {k: v for k, v in os.environ.items()
             if not k.startswith("GRAFT") and k != "LD_PRELOAD"}
    return subprocess.run([CLI, *words], capture_output=True, text=True, timeout=60,
                          env={**given, **env})


def started(report, *options, program=("true",), **env):
    return graft("leaks", f"--lib={STUB}", *options, "--", *program, STUB_REPORT=report, **env)


def suppressions(text):
    path = FOLDER / "suppressions"
    path.write_text(text)
    return f"--suppressions={path}"


class Server:
    """Answers each client's request with the next reply."""

    def __init__(self, *replies):
        self.path = FOLDER / f"{os.getpid()}.sock"
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.listener.bind(str(self.path))
        self.listener.listen(8)
        self.listener.settimeout(30)
        self.asked = []
        self.thread = threading.Thread(target=self.serve, args=(replies,))
        self.thread.start()

    def serve(self, replies):
        for reply in replies:
            client, _ = self.listener.accept()
            with client, client.makefile("rb") as requests:
                self.asked.append(requests.readline().decode().strip())
                client.sendall(reply.encode())

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.thread.join(60)
        self.listener.close()
        self.path.unlink()


def asked(command, *replies, options=()):
    with Server(*replies) as server:
        run = graft(command, *options, str(os.getpid()))
    return run, server.asked


class Case(unittest.TestCase):
    def fails(self, run, word, code=125):
        self.assertEqual(run.returncode, code, run)
        self.assertEqual(run.stderr.count("\n"), 1, run.stderr)
        self.assertIn(word, run.stderr)


class Started(Case):
    def test_layout(self):
        run = started(lines(SUMMARY, site("@PC@", oldest=3)))
        self.assertEqual(run.returncode, 23, run)
        self.assertRegex(run.stderr, r"==\d+==ERROR: graft: detected memory leaks in /\S*true\n")
        for kind, size, count in (("Direct", 64, 2), ("Indirect", 16, 1)):
            self.assertRegex(run.stderr, rf"{kind} leak of {size} byte\(s\) in {count} object\(s\) "
                             r"allocated from:\n    #0 0x[0-9a-f]+ in leaky \S+stub\.c:\d+")
        self.assertIn("first found 3 collections ago", run.stderr)
        self.assertIn("SUMMARY: graft: 80 byte(s) leaked in 3 allocation(s).\n", run.stderr)

    def test_largest_first(self):
        run = started(lines(SUMMARY, site("0x20", (1, 8), (0, 0)), site("0x30", (1, 99), (0, 0))))
        self.assertEqual(re.findall(r"leak of (\d+)", run.stderr), ["99", "8"])
        run = started(lines(SUMMARY, site("0x20", (1, 8), (0, 0)), site("0x30", (1, 99), (0, 0))),
                      "--max-leaks=1")
        self.assertEqual(re.findall(r"leak of (\d+)", run.stderr), ["99"])
        self.assertIn("1 more places", run.stderr)
        self.assertIn("107 byte(s) leaked in 2", run.stderr)

    def test_exit_codes(self):
        leak, none = lines(SUMMARY, site()), lines(SUMMARY)
        seven = ("bash", "-c", "exit 7")  # sh may end by _exit()
        self.assertEqual(started(none).returncode, 0)
        self.assertEqual(started(none, program=seven).returncode, 7)
        self.assertEqual(started(leak, program=seven).returncode, 23)
        self.assertEqual(started(leak, "--exit-code=0", program=seven).returncode, 7)
        self.assertEqual(started(leak, "--exit-code=99").returncode, 99)
        run = started(leak, program=("sh", "-c", "kill -SEGV $$"))
        self.fails(run, "signal 11", 139)
        self.fails(started(leak, program=("no-such-program",)), "no-such-program", 127)

    def test_no_report_is_no_success(self):
        self.fails(graft("leaks", f"--lib={STUB}", "--", "true"), "left no report")
        run = graft("leaks", f"--lib={STUB}", "--", "sh", "-c", "exit 7")
        self.fails(run, "left no report", 7)
        run = started(lines(dict(SUMMARY, complete=False, why="a thread does not stop")))
        self.fails(run, "a thread does not stop")

    def test_broken_files(self):
        for report, word in (("", "not understood"), ("hello\n", "not understood"),
                             (lines([]), "not understood"), (lines({"cycle": 1}), "not understood"),
                             (lines(SUMMARY, {"pc": 5}), "not understood"),
                             (lines(SUMMARY, site("1x")), "not understood"),
                             (lines(SUMMARY, dict(site(), direct_bytes=-1)), "not understood")):
            run = started(report)
            self.assertEqual(run.returncode, 125, run)
            self.assertIn(word, run.stderr, report)
        run = started(lines(SUMMARY, site()), STUB_NO_MAPS="1")
        self.assertEqual(run.returncode, 125, run)
        self.assertIn("breaks off", run.stderr)

    def test_children_and_output(self):
        path = FOLDER / "report"
        run = started(lines(SUMMARY, site()), "--json", f"--output={path}",
                      program=("bash", "-c", "/bin/true; /bin/true; exit 0"))
        self.assertEqual((run.returncode, run.stdout, run.stderr), (23, "", ""))
        programs = [p["program"].rsplit("/", 1)[1] for p in
                    json.loads(path.read_text())["processes"]]
        self.assertEqual(len(programs), 3)
        self.assertEqual(programs[1:], ["true", "true"])
        sites = [p["sites"][0] for p in json.loads(path.read_text())["processes"]]
        self.assertEqual([s["more_bytes"] for s in sites], [None] * 3)  # siblings, not earlier ones

    def test_a_program_that_only_starts_others(self):
        ends = "import os, subprocess; subprocess.run(['/bin/true']); os._exit(0)"
        for report, code in ((lines(SUMMARY), 0), (lines(SUMMARY, site()), 23)):
            run = started(report, program=(sys.executable, "-c", ends))
            self.assertEqual(run.returncode, code, run)
            self.assertIn("left no report", run.stderr)

    def test_two_files_of_suppressions(self):
        other = FOLDER / "other"
        other.write_text("leak:nothing\n")
        run = started(lines(SUMMARY, site("@PC@")), f"--suppressions={other}",
                      suppressions("leak:leaky\n"))
        self.assertEqual(run.returncode, 0, run)

    def test_suppressions(self):
        report = lines(SUMMARY, site("@PC@"))
        for pattern in ("leaky", "^leaky$", "l*k", "stub.so", "^*stub*$", "lea*y$", "stub.c"):
            run = started(report, suppressions(f"# known\n\n leak:{pattern} \n"))
            self.assertEqual(run.returncode, 0, (pattern, run))
            self.assertIn(f"      3         80 {pattern}\n", run.stderr)
        for pattern in ("other", "^eaky", "leak$", "^leak$", "k*leaky$", "leaky*leaky$"):
            run = started(report, suppressions(f"leak:{pattern}\n"))
            self.assertEqual(run.returncode, 23, (pattern, run))
            self.assertNotIn("Suppressions used", run.stderr)

    def test_bad_suppressions(self):
        for text, word in (("leak:a\nrace:b\n", ":2:"), ("leak:\n", "hides everything"),
                           ("leak:*\n", "hides everything")):
            self.fails(started("", suppressions(text)), word)
        self.fails(started("", "--suppressions=/no/such"), "/no/such")

    def test_growth_since_a_file(self):
        path = FOLDER / "before"
        started(lines(SUMMARY, site("@PC@")), "--json", f"--output={path}")
        run = started(lines(SUMMARY, site("@PC@", (5, 100))), f"--since={path}")
        self.assertIn("+36 byte(s), +3 object(s) since the report before", run.stderr)
        run = started(lines(SUMMARY, site("@PC@")), f"--since={path}")
        self.assertIn("not more than in the report before", run.stderr)
        path.write_text("[]\n")
        self.fails(started("", f"--since={path}"), "no report of")


class Running(Case):
    def test_report(self):
        run, requests = asked("leaks", lines(SUMMARY, site()) + "ok\n")
        self.assertEqual((run.returncode, run.stderr, requests), (23, "", ["leaks"]), run)
        self.assertIn("SUMMARY: graft: 80 byte(s) leaked in 3 allocation(s).", run.stdout)
        run, _ = asked("leaks", lines(SUMMARY) + "ok\n")
        self.assertEqual(run.returncode, 0, run)
        self.assertIn("no leaks", run.stdout)

    def test_growth(self):
        run, _ = asked("leaks", lines(SUMMARY, site()) + "ok\n",
                       lines(SUMMARY, site(direct=(1, 32))) + "ok\n",
                       options=("--json", "--interval=0.05", "--count=2"))
        first, second = [json.loads(line)["processes"][0]["sites"][0]
                         for line in run.stdout.splitlines()]
        self.assertEqual((first["more_objects"], first["more_bytes"]), (None, None))
        self.assertEqual((second["more_objects"], second["more_bytes"]), (-1, -32))

    def test_wrong_answers(self):
        for reply, word in (("", "breaks off"), ("hello\nok\n", "no JSON"), ("[]\nok\n", "understood"),
                            ("ok\n", "understood"), ("error: the collector is off\n", "is off"),
                            (lines(SUMMARY, {"bytes": 9}) + "ok\n", "understood"),
                            (lines(SUMMARY, site()), "breaks off")):
            run, _ = asked("leaks", reply)
            self.fails(run, word)

    def test_gc(self):
        run, requests = asked("gc", lines(SUMMARY) + "ok\n")
        self.assertEqual((run.returncode, requests), (0, ["gc"]), run)
        self.assertIn("collection 4: 10 objects of 1.0 MiB", run.stdout)
        self.assertIn("1.500 ms", run.stdout)
        run, _ = asked("gc", lines(SUMMARY) + "ok\n", options=("--json",))
        self.assertEqual(json.loads(run.stdout), SUMMARY)
        run, _ = asked("gc", lines(dict(SUMMARY, complete=False, why="busy")) + "ok\n")
        self.fails(run, "busy")
        for reply in ("ok\n", "[]\nok\n", '{"complete": 5}\nok\n', "error: off\n", ""):
            run, _ = asked("gc", reply)
            self.fails(run, "graft")

    def test_no_such_process(self):
        for command in ("leaks", "gc"):
            self.fails(graft(command, "999999999"), "no process")
            self.fails(graft(command, "12x"), "no process id")
            self.fails(graft(command, "-5"), "-5")
            self.fails(graft(command, str(os.getpid())), "does not run on graft")
            self.assertEqual(graft(command).returncode, 125)
        self.fails(graft("leaks", "1", "2"), "too many")
        self.fails(graft("leaks", "--interval=1", "--", "true"), "--interval")


def main():
    global CLI, FOLDER, STUB
    parser = argparse.ArgumentParser()
    parser.add_argument("--cli", required=True)
    parser.add_argument("--readme", help="not used here; every test of this folder gets it")
    args, rest = parser.parse_known_args()
    CLI = os.path.abspath(args.cli)
    with tempfile.TemporaryDirectory(prefix="graft-leaks-test-") as folder:
        FOLDER = pathlib.Path(folder)
        source, library = FOLDER / "stub.c", FOLDER / "stub.so"
        source.write_text(STUB_SOURCE)
        subprocess.run(["gcc", "-g", "-O1", "-shared", "-fPIC", "-o", library, source], check=True)
        STUB = str(library)
        unittest.main(argv=[sys.argv[0], *rest], verbosity=1)


main()
