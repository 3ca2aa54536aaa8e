#!/usr/bin/env python3
"""`graft stacks` against a process that answers wrongly: this one, which listens where a process on
graft would and replies whatever a test wants. One line and exit 125 each time, never a crash."""

import argparse
import os
import pathlib
import random
import socket
import subprocess
import sys
import tempfile
import threading
import unittest

CLI = ""
FOLDER = pathlib.Path()
PROCESS = b'{"version": "0", "pid": 1, "mode": "m:n", "procs": 2}\nok\n'
ONE_G = b'{"g": 1, "state": "waiting", "name": "w", "tid": 5, "ns": 1500000000}\nok\n'


class Server:
    """Answers the n-th request of a client with replies[n]; after the last it closes."""

    def __init__(self, *replies):
        self.path = FOLDER / f"{os.getpid()}.sock"
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.listener.bind(str(self.path))
        self.listener.listen(8)
        self.asked = []
        self.thread = threading.Thread(target=self.serve, args=(replies,))
        self.thread.start()

    def serve(self, replies):
        client, _ = self.listener.accept()
        with client, client.makefile("rb") as lines:
            for reply in replies:
                self.asked.append(lines.readline().decode().strip())
                try:
                    client.sendall(reply)
                except OSError:
                    return

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.thread.join(20)
        self.listener.close()
        self.path.unlink()


def stacks(*replies):
    with Server(*replies) as server:
        run = subprocess.run([CLI, "stacks", str(os.getpid())], capture_output=True, timeout=60)
        return run, server.asked


class WrongAnswers(unittest.TestCase):
    def fails(self, replies, word):
        run, _ = stacks(*replies)
        self.assertEqual(run.returncode, 125, run)
        self.assertEqual(run.stderr.count(b"\n"), 1, run.stderr)
        self.assertIn(word, run.stderr.decode(errors="replace"))

    def test_broken_off(self):
        self.fails([], "the process")
        self.fails([b'{"mode"'], "breaks off")
        self.fails([PROCESS[:-3]], "breaks off")
        self.fails([PROCESS, ONE_G[:-3]], "breaks off")

    def test_no_json(self):
        self.fails([b"hello\nok\n"], "no JSON")
        self.fails([b"ok\n"], "empty")
        self.fails([b"error: not today\n"], "not today")
        self.fails([PROCESS, b"error: no\n"], "no")

    def test_of_another_shape(self):
        self.fails([b"[]\nok\n"], "graft")
        self.fails([b"{}\nok\n"], "not understood")
        self.fails([PROCESS, b'{"g": "x", "state": 5}\nok\n'], "graft")
        self.fails([PROCESS, b'{"state": "waiting"}\nok\n'], "graft")

    def test_stacks_that_make_no_sense(self):
        rng = random.Random(1)
        for i in range(20):
            data = rng.randbytes(rng.randrange(4096))
            registers = [rng.choice((0, 8, 2**47, 2**64 - 1, "null")) for _ in range(17)]
            head = '{"g": 1, "how": "kernel", "registers": %s, "bytes": %d}\n' % (
                str(registers).replace("'", ""), len(data))
            run, asked = stacks(PROCESS, ONE_G, head.encode() + data + b"ok\n")
            self.assertEqual(run.returncode, 0, run)
            self.assertTrue(run.stdout.startswith(b"goroutine 1 [waiting, 1.500 s, \"w\", tid 5"), run)
            self.assertEqual(asked, ["process", "gs", "stack 1"])

    def test_a_g_that_is_gone(self):
        run, _ = stacks(PROCESS, ONE_G, b"error: there is no such G\n")
        self.assertEqual(run.returncode, 0, run)
        self.assertIn(b"there is no such G", run.stdout)


def main():
    global CLI, FOLDER
    parser = argparse.ArgumentParser()
    parser.add_argument("--cli", required=True)
    parser.add_argument("--readme", help="not used here; every test of this folder gets it")
    args, rest = parser.parse_known_args()
    CLI = os.path.abspath(args.cli)
    with tempfile.TemporaryDirectory(prefix="graft-stacks-") as folder:
        FOLDER = pathlib.Path(folder)
        unittest.main(argv=[sys.argv[0], *rest], verbosity=1)


main()
