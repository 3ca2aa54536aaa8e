#!/usr/bin/env python3
"""Runs real and purpose-made programs under libgraft.so and compares them with a native run: same
output, same exit status, unless a case says what else it expects. One line per case, then the sum
`N passed, N failed, N skipped`; exit 1 if a case failed.

  run.py --lib build/libgraft.so [--cli build/graft] [--case REGEX] [--list] [--jobs N] [--keep]

The cases are in cases/*.py by subject, the programs in prog/, the machinery in harness.py. A case
that changes the system for a moment or measures it runs alone, after the others."""

import argparse
import concurrent.futures
import os
import pathlib
import re
import shutil
import signal
import sys
import tempfile
import time
import traceback

import harness
from cases import (cli, foreign, fork, gc, gs, memory, misuse, observe, programs, semantics, startup,
                   switches, threads, tools)

MODULES = (semantics, misuse, foreign, memory, fork, threads, gs, gc, observe, switches, startup,
           programs, tools, cli)


def verdict_of(case, context):
    """('passed' | 'failed' | 'skipped', what to say about it)"""
    started = time.monotonic()
    try:
        note = case.run(context) or ""
        word = "passed"
    except harness.Skip as reason:
        word, note = "skipped", str(reason)
    except harness.Failed as reason:
        word, note = "failed", str(reason)
    except Exception:  # a mistake of the case itself must not hide the others
        word, note = "failed", traceback.format_exc()
    finally:
        context.stop_everything()
    return word, note, time.monotonic() - started


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("--lib", help="libgraft.so (needed unless --list)")
    parser.add_argument("--cli", help="the graft command; its cases are skipped without it")
    parser.add_argument("--case", default="", help="only cases whose name this pattern finds")
    parser.add_argument("--list", action="store_true", help="print the names and stop")
    parser.add_argument("--jobs", type=int, default=min(os.cpu_count() or 1, 4))
    parser.add_argument("--keep", action="store_true", help="keep the scratch directory")
    args = parser.parse_args()
    chosen = [c for module in MODULES for c in module.CASES if re.search(args.case, c.name)]
    if args.list:
        print("\n".join(c.name for c in chosen))
        return 0
    if not args.lib or not os.path.isfile(args.lib):
        parser.error("--lib must name libgraft.so")
    # A polite end runs the finally blocks that put the system's settings back.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    signal.signal(signal.SIGHUP, lambda *_: sys.exit(129))

    scratch = pathlib.Path(tempfile.mkdtemp(prefix="graft-integration-"))
    scratch.chmod(0o755)
    # The library under test is copied: a rebuild during the run must not mix two versions, and
    # programs that run as another user must be able to read it.
    lib = scratch / "lib" / "libgraft.so"
    lib.parent.mkdir()
    shutil.copy(args.lib, lib)
    lib.chmod(0o755)
    shop = harness.Workshop(scratch, lib, os.path.abspath(args.cli) if args.cli else None)
    count = {"passed": 0, "failed": 0, "skipped": 0}

    def report(case, result):
        word, note, seconds = result
        count[word] += 1
        note = note.strip().replace("\n", "\n    ")
        print(f"{word:8}{case.name}{': ' if note else ''}{note}  ({seconds:.1f} s)", flush=True)

    try:
        with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
            running = {pool.submit(verdict_of, c, harness.Context(shop, c.name)): c
                       for c in chosen if not c.alone}
            try:
                for done in concurrent.futures.as_completed(running):
                    report(running[done], done.result())
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        for c in chosen:
            if c.alone:
                report(c, verdict_of(c, harness.Context(shop, c.name)))
    finally:
        if args.keep:
            print(f"kept: {scratch}")
        else:
            shutil.rmtree(scratch, ignore_errors=True)
    print("{passed} passed, {failed} failed, {skipped} skipped".format(**count))
    return 1 if count["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
