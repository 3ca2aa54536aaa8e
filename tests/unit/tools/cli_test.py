#!/usr/bin/env python3
"""Tests of the `graft` command from outside: exit codes 125/126/127, which programs it refuses and
why, options on their way through the environment, and the report of `graft doctor`. Programs and a
stand-in for libgraft.so are compiled into a temporary folder, so the real library is not needed."""

import argparse
import json
import os
import pathlib
import random
import shutil
import signal
import stat
import struct
import subprocess
import sys
import tempfile
import unittest

CLI = ""
FOLDER = pathlib.Path()
STUB = ""

# Answers GRAFT_SUMMARY as libgraft.so does; STUB_GRAFT replaces the "graft" object of the summary.
STUB_SOURCE = r"""
#include <stdio.h>
#include <stdlib.h>
__attribute__((destructor)) static void summary(void) {
  const char* path = getenv("GRAFT_SUMMARY");
  const char* graft = getenv("STUB_GRAFT");
  FILE* f = path != NULL && *path != '\0' ? fopen(path, "w") : NULL;
  if (f == NULL) return;
  if (graft == NULL) {
    graft = "{\"version\": \"0\", \"enabled\": true, \"why_off\": \"\","
            " \"capabilities\": {\"reserve\": \"on\"}}";
  }
  fprintf(f, "{\"graft\": %s, \"heap\": {}}\n", graft);
  fclose(f);
}
"""
OTHER_MALLOC = """
void* __libc_malloc(unsigned long);
void* malloc(unsigned long n) { return __libc_malloc(n); }
"""
MAIN = "int main(void) { return 0; }\n"


def compiled(name, source, *flags):
    """Path of the compiled source, or skips the test when this compiler cannot."""
    path = FOLDER / name
    if not path.exists():
        (FOLDER / f"{name}.c").write_text(source)
        run = subprocess.run(["gcc", "-o", path, FOLDER / f"{name}.c", *flags],
                             capture_output=True, text=True)
        if run.returncode != 0:
            raise unittest.SkipTest(f"gcc {' '.join(flags)}: {run.stderr.splitlines()[:1]}")
    return str(path)


def script(name, text, mode=0o755):
    path = FOLDER / name
    path.write_text(text)
    path.chmod(mode)
    return str(path)


def graft(*args, env=None, **more):
    environment = {k: v for k, v in os.environ.items()
                   if not k.startswith("GRAFT") and k != "LD_PRELOAD"}
    environment.update(env or {})
    return subprocess.run([CLI, *args], env=environment, capture_output=True, text=True,
                          timeout=60, **more)


def run(*args, **more):
    return graft("run", f"--lib={STUB}", *args, **more)


class Case(unittest.TestCase):
    def fails(self, result, code, *words):
        """Exit code, nothing on stdout, one line on stderr that holds all words."""
        self.assertEqual(result.returncode, code, result.stderr)
        self.assertEqual(result.stdout, "")
        self.assertEqual(result.stderr.count("\n"), 1, result.stderr)
        self.assertTrue(result.stderr.startswith("graft"), result.stderr)
        for word in words:
            self.assertIn(word, result.stderr)


class CommandLine(Case):
    def test_version_and_help(self):
        self.assertRegex(graft("--version").stdout, r"^graft \d+\.\d+\.\d+\n$")
        for args in (["help"], ["--help"], ["help", "run"], ["run", "--help"], ["doctor", "-h"]):
            result = graft(*args)
            self.assertEqual(result.returncode, 0)
            self.assertIn("graft", result.stdout)
        self.assertIn("--decay-ms", graft("help", "run").stdout)

    def test_unknown_command(self):
        self.fails(graft("frobnicate"), 125, "frobnicate")
        self.fails(graft("help", "frobnicate"), 125, "frobnicate")
        self.assertEqual(graft().returncode, 125)

    def test_bad_options(self):
        self.fails(run("--no-such-option", "--", "true"), 125, "--no-such-option")
        self.fails(run("--decay-ms=abc", "--", "true"), 125, "--decay-ms=abc",
                   "an integer from -1 to 3600000")
        self.fails(run("--decay-ms=3600001", "--", "true"), 125)
        self.fails(run("--misuse=explode", "--", "true"), 125, "abort, report")
        self.fails(run("--verbose=perhaps", "--", "true"), 125, "--verbose=perhaps")
        self.fails(run("--deny=mreap", "--", "true"), 125, "mreap", "mremap")
        self.fails(run(), 125, "no program")
        self.fails(run("--"), 125, "no program")
        self.fails(run("--decay-ms"), 125)
        self.fails(graft("options", "--frobnicate"), 125)
        self.fails(graft("doctor", "--frobnicate"), 125)


class ExitCodes(Case):
    def test_program_decides(self):
        for code in (0, 1, 7, 125, 255):
            self.assertEqual(run("--", "sh", "-c", f"exit {code}").returncode, code)
        self.assertEqual(run("--", "sh", "-c", "kill -TERM $$").returncode, -signal.SIGTERM)

    def test_not_found(self):
        self.fails(run("--", "no-such-program-here"), 127, "no-such-program-here")
        self.fails(run("--", "/no/such/program"), 127, "/no/such/program")
        self.fails(run("--", ""), 127)
        self.fails(run("--", script("lost", "#!/no/such/interpreter\n")), 127, "/no/such/interpreter")

    def test_not_executable(self):
        self.fails(run("--", script("plain", "hello\n", 0o644)), 126, "Permission denied")
        self.fails(run("--", str(FOLDER)), 126)
        self.fails(run("--", script("bang", "#!\n")), 126)
        path = script("denied", "x\n", 0o644)
        self.fails(run("--", "denied", env={"PATH": str(FOLDER)}), 126, "denied")
        os.unlink(path)

    def test_the_kernel_has_the_last_word(self):
        path = FOLDER / "busy"
        shutil.copy(compiled("dynamic", MAIN), path)
        with path.open("r+b"):  # ETXTBSY
            self.fails(run("--", str(path)), 126, "busy")

    def test_interpreter_loop(self):
        path = FOLDER / "loop"
        script("loop", f"#!{path}\n")
        self.fails(run("--", str(path)), 126, "interpreters")

    def test_same_as_env_where_env_decides(self):
        for program in ("no-such-program-here", "/no/such/program", str(FOLDER)):
            env = subprocess.run(["env", program], capture_output=True)
            self.assertEqual(run("--", program).returncode, env.returncode, program)


class Programs(Case):
    def test_arguments_arrive_unchanged(self):
        words = ["--", "-x", "--decay-ms=9", "", "a b", "--"]
        code = "import json, sys; print(json.dumps(sys.argv[1:]))"
        for separator in (["--"], []):
            result = run(*separator, sys.executable, "-c", code, *words)
            self.assertEqual(json.loads(result.stdout), words, result.stderr)

    def test_scripts(self):
        result = run("--", script("hello", "#!/bin/sh\necho $1 $LD_PRELOAD\n"), "hi")
        self.assertEqual(result.stdout, f"hi {STUB}\n")
        result = run("--", script("bare", "echo no interpreter\n"))
        self.assertEqual(result.stdout, "no interpreter\n")
        result = run("--", script("by_env", "#!/usr/bin/env -S LC_ALL=C sh\necho hi\n"))
        self.assertEqual(result.stdout, "hi\n")

    def test_static(self):
        for name, flag in (("static", "-static"), ("static_pie", "-static-pie")):
            path = compiled(name, MAIN, flag)
            self.fails(run("--", path), 125, path, "statically linked")
            self.fails(run("--", script(f"{name}.sh", f"#!{path}\n")), 125, "statically linked")

    def test_static_behind_env(self):
        path = compiled("static", MAIN, "-static")
        result = run("--", script("env_static", "#!/usr/bin/env static\n"),
                     env={"PATH": f"{FOLDER}:{os.environ['PATH']}"})
        self.fails(result, 125, path)

    def test_the_loader_itself(self):
        loader = "/lib64/ld-linux-x86-64.so.2"
        if not os.path.exists(loader):
            self.skipTest("no loader at its usual place")
        self.assertEqual(run("--", loader, "/bin/true").returncode, 0)

    def test_sanitizers(self):
        for flag in ("address", "thread"):
            path = compiled(f"with_{flag}", MAIN, f"-fsanitize={flag}")
            self.fails(run("--", path), 125, path, "sanitizer")

    def test_static_sanitizer(self):
        path = compiled("static_asan", MAIN, "-fsanitize=address", "-static-libasan")
        self.fails(run("--", path), 125, "sanitizer")

    def test_other_machine(self):
        data = bytearray(pathlib.Path(compiled("dynamic", MAIN)).read_bytes())
        struct.pack_into("<H", data, 18, 183)
        path = FOLDER / "arm64"
        path.write_bytes(data)
        path.chmod(0o755)
        self.fails(run("--", str(path)), 125, "aarch64")
        data[4] = 1  # a 32-bit file
        struct.pack_into("<H", data, 18, 3)
        path.write_bytes(data)
        self.fails(run("--", str(path)), 125, "32-bit x86")

    def test_object_file(self):
        path = compiled("object.o", MAIN, "-c")
        os.chmod(path, 0o755)
        self.fails(run("--", path), 126, "object")


class Privileges(Case):
    def setUp(self):
        if os.geteuid() != 0:
            self.skipTest("only root can make a setuid program of another user")
        if os.statvfs(FOLDER).f_flag & os.ST_NOSUID:
            self.skipTest("the temporary folder is mounted nosuid")
        self.path = str(FOLDER / self.id().rsplit(".", 1)[-1])
        shutil.copy(compiled("dynamic", MAIN), self.path)

    def as_nobody(self, *args):
        try:
            return run(*args, user=65534, group=65534, extra_groups=[])
        except PermissionError:
            self.skipTest("the command cannot be reached by another user")

    def test_setuid(self):
        os.chown(self.path, 65534, 0)
        os.chmod(self.path, 0o4755)
        self.fails(run("--", self.path), 125, "setuid")
        os.chown(self.path, 0, 0)
        os.chmod(self.path, 0o4755)
        self.assertEqual(run("--", self.path).returncode, 0)

    def test_setgid(self):
        os.chown(self.path, 0, 65534)
        os.chmod(self.path, 0o2755)
        self.fails(run("--", self.path), 125, "setgid")
        os.chmod(self.path, 0o2745)  # without group execution the bit means something else
        self.assertEqual(run("--", self.path).returncode, 0)

    def test_file_capabilities(self):
        value = struct.pack("<5I", 0x02000001, 1 << 10, 0, 0, 0)
        try:
            os.setxattr(self.path, "security.capability", value)
        except OSError as error:
            self.skipTest(f"file capabilities: {error}")
        self.assertEqual(run("--", self.path).returncode, 0)
        self.fails(self.as_nobody("--", self.path), 125, "file capabilities")


class Options(Case):
    def test_round_trip(self):
        result = run("--decay-ms=-1", "--misuse", "report", "--verbose", "--child=off",
                     "--only=a,b", "--deny=mremap", "--heap-check=1", "--heap-check=2", "--",
                     CLI, "options", "--json")
        self.assertEqual(result.returncode, 0, result.stderr)
        values = {row["name"]: row["value"] for row in json.loads(result.stdout)}
        self.assertEqual(
            {k: values[k] for k in ("decay_ms", "misuse", "verbose", "child", "only", "deny",
                                    "heap_check", "max_caches", "enabled")},
            {"decay_ms": -1, "misuse": "report", "verbose": True, "child": False, "only": "a,b",
             "deny": "mremap", "heap_check": 2, "max_caches": 256, "enabled": True})

    def test_every_row_is_a_flag(self):
        rows = json.loads(graft("options", "--json").stdout)
        self.assertGreater(len(rows), 10)
        flags = []
        for row in rows:
            value = row["default"]
            if isinstance(value, bool):
                value = "on" if value else "off"
            flags.append(f"--{row['name'].replace('_', '-')}={value}")
        result = run(*flags, "--", CLI, "options", "--json")
        self.assertEqual(json.loads(result.stdout), rows, result.stderr)

    def test_forms(self):
        rows = json.loads(graft("options", "--json").stdout)
        text, table = graft("options").stdout, graft("options", "--markdown").stdout
        for row in rows:
            self.assertIn(row["variable"], text)
            self.assertIn(f"| `{row['variable']}` |", table)
        for line in table.splitlines():
            self.assertEqual(line.count("|"), 5, line)
        self.assertEqual(table, graft("options", "--markdown", env={"GRAFT_DECAY_MS": "5"}).stdout)
        self.assertIn("set to 5", graft("options", env={"GRAFT_DECAY_MS": "5"}).stdout)

    def test_bad_environment_is_reported(self):
        result = graft("options", env={"GRAFT_DECAY_MS": "soon", "GRAFT_NONSENSE": "1"})
        self.assertEqual(result.returncode, 0)
        self.assertEqual(len(result.stderr.splitlines()), 2, result.stderr)


class Preload(Case):
    SHOW = ("--", "sh", "-c", "echo $LD_PRELOAD")

    def test_first_and_once(self):
        other = compiled("libother.so", "int other;", "-shared", "-fPIC")
        old = FOLDER / "old" / "libgraft.so"
        old.parent.mkdir(exist_ok=True)
        shutil.copy(STUB, old)
        result = run(*self.SHOW, env={"LD_PRELOAD": f"{other} {old}:{other}"})
        self.assertEqual(result.stdout, f"{STUB}:{other}:{other}\n")

    def test_where_it_is_found(self):
        home = FOLDER / "place"
        (home / "bin").mkdir(parents=True, exist_ok=True)
        cli = shutil.copy(CLI, home / "bin" / "graft")
        beside, below = home / "bin" / "libgraft.so", home / "lib" / "graft" / "libgraft.so"
        show = [str(cli), "run", *self.SHOW]
        env = {"PATH": os.environ["PATH"]}
        result = subprocess.run(show, env=env, capture_output=True, text=True)
        self.fails(result, 125, "libgraft.so is neither in", "--lib")
        below.parent.mkdir(parents=True, exist_ok=True)
        for place in (below, beside):  # the later one wins
            shutil.copy(STUB, place)
            result = subprocess.run(show, env=env, capture_output=True, text=True)
            self.assertEqual(result.stdout, f"{place}\n", result.stderr)
        result = subprocess.run(show, env={**env, "GRAFT_LIB": STUB}, capture_output=True, text=True)
        self.assertEqual(result.stdout, f"{STUB}\n")

    def test_relative_path(self):
        result = graft("run", "--lib", "libgraft.so", *self.SHOW, cwd=os.path.dirname(STUB))
        self.assertEqual(result.stdout, f"{STUB}\n")

    def test_unusable_library(self):
        for name in ("with space", "with:colon"):
            path = FOLDER / name / "libgraft.so"
            path.parent.mkdir(exist_ok=True)
            shutil.copy(STUB, path)
            self.fails(graft("run", f"--lib={path}", *self.SHOW), 125, "space", "LD_PRELOAD")
        link = FOLDER / "link.so"
        if not link.exists():
            link.symlink_to(FOLDER / "with space" / "libgraft.so")
        self.assertEqual(graft("run", f"--lib={link}", *self.SHOW).stdout, f"{link}\n")
        self.fails(graft("run", "--lib=/no/lib.so", *self.SHOW), 125, "/no/lib.so")
        self.fails(graft("run", f"--lib={FOLDER}", *self.SHOW), 125, "directory")
        self.fails(graft("run", f"--lib={script('text', 'x')}", *self.SHOW), 125, "shared library")
        self.fails(graft("run", f"--lib={compiled('static', MAIN, '-static', '-no-pie')}",
                         *self.SHOW), 125, "shared library")


class Doctor(Case):
    def report(self, *args, code=None, env=None):
        result = graft("doctor", "--json", f"--lib={STUB}", *args, env=env)
        self.assertIn(result.returncode, (0, 1), result.stderr)
        report = json.loads(result.stdout)
        self.assertEqual(report["verdict"], "degraded" if result.returncode else "on")
        problems = [f["text"] for f in report["findings"] if f["level"] == "problem"]
        self.assertEqual(bool(problems), result.returncode == 1)
        if code is not None:
            self.assertEqual(result.returncode, code, problems)
        return report, "\n".join(problems)

    def setUp(self):
        report, problems = self.report()
        self.machine_is_fine = not problems

    def test_fully_on(self):
        if not self.machine_is_fine:
            self.skipTest("this machine or environment lacks something")
        report, _ = self.report("--", "true", code=0)
        self.assertTrue(report["library"]["loads"])
        self.assertEqual(report["target"]["state"], "ok")
        self.assertRegex(report["target"]["libc"], r"^2\.\d+$")
        self.assertIn("reserve", report["capabilities"])
        text = graft("doctor", f"--lib={STUB}", "--", "true")
        self.assertEqual(text.returncode, 0)
        self.assertIn("verdict: graft would be fully on", text.stdout)

    def test_denied(self):
        report, problems = self.report(env={"GRAFT_DENY": "mremap,wp_async"}, code=1)
        self.assertTrue(report["capabilities"]["mremap"]["denied"])
        self.assertTrue(report["capabilities"]["wp_async"]["denied"])
        self.assertIn("mremap is denied", problems)
        self.assertNotIn("wp_async", problems)  # not in use by this version

    def test_switched_off(self):
        _, problems = self.report(env={"GRAFT": "off"}, code=1)
        self.assertIn("GRAFT=off", problems)
        _, problems = self.report("--", "/bin/sh", env={"GRAFT_ONLY": "python3"}, code=1)
        self.assertIn("GRAFT_ONLY", problems)

    def test_bad_environment_is_a_note(self):
        report, _ = self.report(env={"GRAFT_DECAY_MS": "soon"})
        self.assertTrue(any("GRAFT_DECAY_MS=soon" in f["text"] for f in report["findings"]))

    def test_targets(self):
        for command, state in ((compiled("static", MAIN, "-static"), "refused"),
                               ("no-such-program-here", "not found"),
                               (str(FOLDER), "not executable")):
            report, problems = self.report("--", command, code=1)
            self.assertEqual(report["target"]["state"], state)
            self.assertIn(command, problems)

    def test_other_malloc(self):
        other = compiled("libother_malloc.so", OTHER_MALLOC, "-shared", "-fPIC")
        report, problems = self.report(env={"LD_PRELOAD": other}, code=1)
        self.assertIn(other, problems)
        self.assertEqual(report["other_preloads"][0]["malloc"], "it exports malloc")
        harmless = compiled("libother.so", "int other;", "-shared", "-fPIC")
        report, problems = self.report(env={"LD_PRELOAD": harmless})
        self.assertNotIn(harmless, problems)

    def test_limited_address_space(self):
        result = subprocess.run(
            ["sh", "-c", 'ulimit -v 4000000; exec "$@"', "sh", CLI, "doctor", "--json",
             f"--lib={STUB}"], capture_output=True, text=True)
        report = json.loads(result.stdout)
        self.assertFalse(report["capabilities"]["reserve"]["available"])
        self.assertEqual(report["system"]["address_space_limit_kib"], 4000000)
        self.assertEqual(result.returncode, 1)

    def test_library_that_stays_off_or_silent(self):
        off = '{"version": "0", "enabled": false, "why_off": "because"}'
        _, problems = self.report(env={"STUB_GRAFT": off}, code=1)
        self.assertIn("stays off: because", problems)
        lacking = '{"version": "0", "enabled": true, "capabilities": {"purge": "missing"}}'
        _, problems = self.report(env={"STUB_GRAFT": lacking}, code=1)
        self.assertIn("does without purge", problems)
        _, problems = self.report(env={"STUB_GRAFT": "]"}, code=1)
        self.assertIn("no summary", problems)
        crashing = compiled("libcrash.so", "__attribute__((constructor)) void c(void)"
                            "{ __builtin_trap(); }", "-shared", "-fPIC")
        result = graft("doctor", f"--lib={crashing}")
        self.assertEqual(result.returncode, 1)
        self.assertIn("ends with", result.stdout)

    def test_missing_library(self):
        result = graft("doctor", "--lib=/no/lib.so")
        self.assertEqual(result.returncode, 1)
        self.assertIn("/no/lib.so", result.stdout)


class CorruptFiles(Case):
    """Truncated and damaged executables: any answer, never a crash, never a hang."""

    def judged(self, data):
        path = FOLDER / "damaged"
        path.write_bytes(data)
        path.chmod(0o755)
        result = graft("doctor", "--json", "--lib=/no/lib.so", "--", str(path))
        self.assertEqual(result.returncode, 1, result.stderr)
        return json.loads(result.stdout)["target"]

    def test_truncated(self):
        data = pathlib.Path(compiled("dynamic", MAIN)).read_bytes()
        sizes = list(range(0, 70)) + list(range(70, len(data), max(1, len(data) // 80)))
        for size in sizes:
            self.judged(data[:size])
        self.assertEqual(self.judged(data[:40])["state"], "not executable")
        self.assertEqual(self.judged(data[:80])["state"], "not executable")

    def test_damaged(self):
        data = pathlib.Path(compiled("dynamic", MAIN)).read_bytes()
        rng = random.Random(1)
        table = struct.unpack_from("<Q", data, 40)[0]
        ranges = [(4, 64), (64, 64 + 13 * 56), (table, len(data)), (0x2d00, 0x3100), (0, len(data))]
        for i in range(200):
            copy = bytearray(data)
            low, high = ranges[i % len(ranges)]
            for _ in range(rng.randint(1, 8)):
                at = rng.randrange(low, min(high, len(copy)))
                copy[at] = rng.choice((0, 0xff, 0x7f, rng.randrange(256)))
            self.judged(bytes(copy))

    def test_large_counts(self):
        data = pathlib.Path(compiled("dynamic", MAIN)).read_bytes()
        for offset, kind, value in ((32, "<Q", 2**64 - 8), (40, "<Q", 2**63), (56, "<H", 0xffff),
                                    (60, "<H", 0xffff), (54, "<H", 0), (64 + 56 + 32, "<Q", 2**62)):
            copy = bytearray(data)
            struct.pack_into(kind, copy, offset, value)
            self.judged(bytes(copy))


def main():
    global CLI, FOLDER, STUB
    parser = argparse.ArgumentParser()
    parser.add_argument("--cli", required=True)
    parser.add_argument("--readme", help="not used here; every test of this folder gets it")
    args, rest = parser.parse_known_args()
    CLI = os.path.abspath(args.cli)
    with tempfile.TemporaryDirectory(prefix="graft-cli-") as folder:
        FOLDER = pathlib.Path(folder).resolve()
        FOLDER.chmod(FOLDER.stat().st_mode | stat.S_IROTH | stat.S_IXOTH)
        if shutil.which("gcc") is None:
            print("skipped: gcc is not installed")
            sys.exit(77)
        STUB = compiled("libgraft.so", STUB_SOURCE, "-shared", "-fPIC")
        unittest.main(argv=[sys.argv[0], *rest], verbosity=1)


main()
