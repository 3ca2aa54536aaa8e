#!/usr/bin/env python3
"""Tests of compare/run.py and compare/report.py: the arithmetic of the tables, the order of the runs,
what is measured of a command, going on after an interruption, and the tables drawn from real runs."""

import argparse
import contextlib
import html.parser
import io
import json
import os
import pathlib
import sys
import tempfile
import time
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "compare"))

import commands  # noqa: E402
import figures  # noqa: E402
import libraries  # noqa: E402
import report  # noqa: E402
import run  # noqa: E402

ARGS = None
GLIBC = libraries.Library("glibc", "")


def record(command, library, wall, **more):
    return {"command": command, "library": library, "round": 0, "wall": wall, "user": wall, "sys": 0.0,
            "max_rss_kib": 1024, "ok": True, "load": 0.0, **more}


def time_rows(records, base="je"):
    return figures.rows(records, figures.METRICS[0], base)


class Arithmetic(unittest.TestCase):
    def test_geomean(self):
        self.assertAlmostEqual(figures.geomean([1, 2, 4]), 2)
        self.assertAlmostEqual(figures.geomean([0.5, 2]), 1)
        self.assertIsNone(figures.geomean([]))
        self.assertIsNone(figures.geomean([1, 0]))

    def test_median_and_spread(self):
        cell = figures.Cell([9, 1, 2, 3, 2])
        self.assertEqual(cell.median, 2)
        self.assertEqual(cell.spread, 2)
        self.assertEqual(figures.Cell([0, 0]).spread, 0)

    def test_ratios_are_those_of_medians(self):
        row, = time_rows([record("a", "je", 2), record("a", "je", 4), record("a", "je", 90),
                          record("a", "graft", 1)])
        self.assertEqual(row.ratios, {"je": 1, "graft": 0.25})
        self.assertEqual((row.best_peer, row.to_best, row.behind), ("je", 0.25, False))

    def test_own_builds_are_no_peers_and_failed_runs_no_figures(self):
        row, = time_rows([record("a", "je", 2), record("a", "mi", 1, ok=False),
                          record("a", "graft-old", 1), record("a", "graft", 2.4)])
        self.assertEqual(row.best_peer, "je")
        self.assertTrue(row.behind)
        self.assertNotIn("mi", row.cells)

    def test_behind_begins_above_fifteen_percent(self):
        for wall, behind in ((1.14, False), (1.16, True)):
            row, = time_rows([record("a", "je", 1), record("a", "graft", wall)])
            self.assertEqual(row.behind, behind)

    def test_means_leave_out_rows_with_a_hole(self):
        table = time_rows([record("a", "je", 1), record("a", "graft", 0.5), record("b", "je", 1),
                           record("b", "graft", 2), record("c", "je", 1)])
        means, count = figures.means(table, ["je", "graft"])
        self.assertEqual(count, 2)
        self.assertAlmostEqual(means["graft"], 1)

    def test_interval(self):
        self.assertEqual(figures.interval([3, 3, 3], [2, 2]), (1.5, 1.5))
        low, high = figures.interval([1, 1.1, 0.9, 1.05, 0.95], [2, 2.1, 1.9, 2.05, 1.95])
        self.assertTrue(0.4 < low < 0.5 < high < 0.6, (low, high))

    def test_a_commands_own_figures_replace_what_was_seen_from_outside(self):
        plain = record("a", "je", 3)
        own = record("a", "je", 3, own={"seconds": 1, "cpu": 2, "max_rss_kib": 2048,
                                        "rss_final_kib": 100, "live_bytes": 51200})
        values = [[m.read(r) for m in figures.METRICS if m.main] for r in (plain, own)]
        self.assertEqual(values, [[3, 3, 1], [1, 2, 2]])
        per_live = figures.METRICS[-1]
        self.assertEqual((per_live.read(plain), per_live.read(own)), (None, 2))
        self.assertEqual(figures.METRICS[0].read(record("a", "je", 3, time=0.5)), 0.5)


class Order(unittest.TestCase):
    def test_each_once_and_each_malloc_first_equally_often(self):
        order = list(run.schedule(["a", "b"], ["x", "y", "z"], 3))
        self.assertEqual(len(order), len(set(order)), 18)
        self.assertEqual([turn for _, _, turn in order], sorted(turn for _, _, turn in order))
        for name in "ab":
            first = [[m for n, m, t in order if n == name and t == turn][0] for turn in range(3)]
            self.assertEqual(sorted(first), ["x", "y", "z"])


class Measuring(unittest.TestCase):
    def measure(self, *argv, **more):
        return run.measure(commands.Command("c", list(argv), **more), GLIBC, ARGS.launch)

    def test_figures_of_the_last_line(self):
        done = self.measure("sh", "-c", "echo noise; echo '{\"ops\": 3, \"who\": \"x\", \"ok\": true}'")
        self.assertTrue(done["ok"], done)
        self.assertEqual(done["own"], {"ops": 3})

    def test_cpu_time_of_descendants_counts(self):
        done = self.measure("sh", "-c", f"{sys.executable} -c 'while __import__(\"time\")"
                                        ".process_time() < 0.3: pass'; true")
        self.assertGreater(done["user"] + done["sys"], 0.29)

    def test_max_rss_is_not_that_of_the_driver(self):
        ballast = bytearray(os.urandom(1)) * (100 << 20)
        self.assertLess(self.measure("true")["max_rss_kib"], 20 << 10)
        del ballast

    def test_failures_are_told_apart(self):
        failed = self.measure("sh", "-c", "echo why >&2; exit 3")
        self.assertEqual((failed["ok"], failed["status"]), (False, 3))
        self.assertIn("why", failed["errors"])
        self.assertFalse(self.measure("/does/not/exist")["ok"])
        self.assertIn("status 137", self.measure("sh", "-c", "kill -9 $$")["problem"])

    def test_a_time_that_the_command_prints(self):
        done = self.measure("echo", "took time: 1.25 s", time="time: ([0-9.]+)")
        self.assertEqual(done["time"], 1.25)
        self.assertFalse(self.measure("echo", "nothing", time="time: ([0-9.]+)")["ok"])

    def test_a_command_over_its_time_is_ended_with_all_it_started(self):
        with tempfile.TemporaryDirectory() as folder:
            pid_file = pathlib.Path(folder) / "pid"
            done = self.measure("sh", "-c", f"sleep 100 & echo $! > {pid_file}; wait", timeout=1)
            self.assertIn("not done after 1 s", done["problem"])
            stat = pathlib.Path(f"/proc/{int(pid_file.read_text())}/stat")
            for _ in range(100):
                if not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] == "Z":
                    return
                time.sleep(0.05)
            self.fail("the child of the command still runs")


class Files(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def write(self, name, text):
        path = self.folder / name
        path.write_text(text)
        return path

    def test_a_line_cut_off_is_dropped_and_failed_runs_are_due_again(self):
        good, bad = record("a", "je", 1), record("b", "je", 1, ok=False)
        path = self.write("runs", f"{json.dumps(good)}\n{json.dumps(bad)}\n{{\"command\": \"c")
        runs = run.Runs(path)
        self.assertEqual(runs.done(), {("a", "je", 0)})
        runs.append(record("c", "je", 1))
        self.assertEqual([r["command"] for r in run.Runs(path).records], ["a", "b", "c"])

    def test_entries_of_a_command_file(self):
        path = self.write("c.toml", '[a]\nargv = ["{here}/x", "{build}"]\nenv = {V = "{inputs}/t"}\n'
                                    '[b]\nshell = "exit 0"\nneeds = ["no-such-program", "sh"]\n')
        first, second = commands.load(path, "/b", "/i")
        self.assertEqual(first.argv, [f"{self.folder.resolve()}/x", "/b"])
        self.assertEqual(first.env, {"V": "/i/t"})
        self.assertEqual(second.argv, ["sh", "-c", "exit 0"])
        self.assertEqual(second.missing(), ["no-such-program"])
        same = self.write("c.json", json.dumps({"a": {"argv": ["x"], "timeout": 2}}))
        self.assertEqual(commands.load(same, "/b", "/i")[0].timeout, 2)

    def test_wrong_command_files_name_the_entry(self):
        for text, said in (("[a]\n", r"\[a\].*argv or shell"), ("[a]\nargv=['x']\ntme='1'\n", "tme"),
                           ("[a", "c.toml")):
            with self.assertRaisesRegex(commands.Wrong, said):
                commands.load(self.write("c.toml", text), "/b", "/i")

    def test_the_table_of_programs_is_sound(self):
        every = commands.load(commands.PROGRAMS, ROOT / "build", "/i")
        self.assertGreater(len(every), 8)
        self.assertTrue(all(command.needs for command in every))

    def test_a_missing_library_names_its_package(self):
        with self.assertRaisesRegex(libraries.Missing, "does not exist"):
            libraries.find("jemalloc", "/b", {"jemalloc": "/does/not/exist"})
        with self.assertRaisesRegex(libraries.Missing, "--lib other=PATH"):
            libraries.find("other", "/b", {})

    def drive(self, *more):
        out = io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
            code = run.main(["--build", ARGS.build, "--out", str(self.folder / "runs.jsonl"),
                             "--commands", str(self.folder / "c.toml"), "--repeat", "2", *more])
        return code, out.getvalue()

    def test_goes_on_where_it_stopped_and_draws_the_tables(self):
        log = self.folder / "log"
        self.write("c.toml", f"[one]\nshell = 'echo \"$LD_PRELOAD\" >> {log}'\n"
                             f"[two]\npreload = 'script'\nshell = 'echo \"$LD_PRELOAD:$PRELOAD\" >> "
                             f"{log}'\n[bad]\nshell = 'test -z \"$PRELOAD\"'\n")
        own = ["--lib", f"graft={ARGS.lib}"]
        code, said = self.drive("--libs", "glibc", *own)
        self.assertEqual((code, log.read_text().count("\n")), (0, 4), said)
        code, said = self.drive("--libs", "glibc,graft", *own)
        lib = str(pathlib.Path(ARGS.lib).resolve())
        self.assertEqual(log.read_text().splitlines().count(lib), 2)
        self.assertEqual(log.read_text().splitlines().count(f":{lib}"), 2)
        self.assertEqual((code, said.count("FAILED")), (1, 2), said)
        code, said = self.drive("--libs", "glibc,graft", *own)
        self.assertEqual((log.read_text().count("\n"), said.count("FAILED")), (8, 2), said)
        other = self.write("other.so", "another build")
        code, said = self.drive("--libs", "graft", "--lib", f"graft={other}")
        self.assertEqual(code, 2)
        self.assertIn("runs of another graft", said)

        out = io.StringIO()
        page = self.folder / "page.html"
        with contextlib.redirect_stdout(out):
            report.main([str(self.folder / "runs.jsonl"), "--base", "glibc", "--html", str(page)])
        table = out.getvalue()
        self.assertRegex(table, r"\| one \| 1\.00 \| \d+\.\d\d \| \d")
        self.assertRegex(table, r"\| bad \| 1\.00 \| failed \|")
        self.assertRegex(table, r"\*\*geomean of 2\*\*")
        self.assertIn("failed 4 times: bad under graft: ended with status 1", table)
        self.check_page(page.read_text())

    def check_page(self, text):
        open_tags, void = [], {"meta", "line", "circle"}

        class Checker(html.parser.HTMLParser):
            def handle_starttag(self, tag, attributes):
                if tag not in void:
                    open_tags.append(tag)

            def handle_startendtag(self, tag, attributes):
                assert tag in void, f"<{tag}/>"

            def handle_endtag(self, tag):
                assert open_tags and open_tags.pop() == tag, f"unexpected </{tag}>"

        Checker().feed(text)
        self.assertEqual(open_tags, [])
        self.assertEqual(text.count("<svg"), 3)
        self.assertNotRegex(text, r"(src|href)=")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--build", required=True)
    parser.add_argument("--launch", required=True)
    parser.add_argument("--lib", required=True)
    ARGS, rest = parser.parse_known_args()
    unittest.main(argv=[sys.argv[0], *rest], verbosity=2)
