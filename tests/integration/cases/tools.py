"""The tools of the trade on a preloaded program: core files in gdb, a debugger with breakpoints in
malloc, strace and perf."""

import os
import pathlib
import re
import resource
import time

from harness import Cases, Failed, Skip, check, need, on_and_clean

CASES = Cases()

GDB = ["gdb", "-nx", "-batch", "-ex", "set debuginfod enabled off", "-ex", "set confirm off"]


def debug(context, words, **more):
    need("gdb")
    return context.native([*GDB, *words], limit=40, **more)


def resident_of(text):
    match = re.search(r"^resident (\d+)$", text, re.M)
    check(match, f"the program did not say its size: {text}")
    check(45_000 < int(match[1]) < 90_000, f"{match[1]} KiB resident, about 50 MiB expected")
    return int(match[1]) * 1024


def core_is_good(context, core, resident):
    run = debug(context, ["-ex", "bt", "-ex", "frame function fillHeap", "-ex",
                          "print *blocks[1]@3", context.program("bigheap.c"), core])
    trace = [line for line in run.out.splitlines() if line.startswith("#")]
    check(any("innermost" in line for line in trace) and any(" main (" in line for line in trace),
          f"bt does not reach main\n{run.text()}")
    check(r'"\001\001\001"' in run.out, f"the heap cannot be read from the core\n{run.text()}")
    size = os.path.getsize(core)
    check(size <= 2 * resident, f"a core of {size >> 10} KiB for {resident >> 10} KiB of RSS")
    return f"core {size >> 10} KiB, resident {resident >> 10} KiB"


@CASES("tools.core-file")
def core_file(context):
    need("gdb")
    pattern = pathlib.Path("/proc/sys/kernel/core_pattern").read_text().strip()
    if not re.fullmatch(r"core[^|/]*", pattern):
        raise Skip(f"cores go to {pattern}; see the case live-core")
    program = context.program("bigheap.c")
    for mode in ({}, {"GRAFT_DENY": "all"}):
        for old in context.dir.glob("core*"):
            old.unlink()
        run = context.graft([program, "abort"], mode, core_limit=resource.RLIM_INFINITY)
        check(run.status == -6, run.text())
        cores = list(context.dir.glob("core*"))
        check(len(cores) == 1, f"cores: {cores}")
        note = core_is_good(context, cores[0], resident_of(run.out))
    return note


def waiting(context):
    """A live program with its heap filled; its pid and its resident bytes."""
    log = context.path("out")
    with open(log, "wb") as out:
        child = context.start([context.program("bigheap.c"), "wait"], {"LD_PRELOAD": context.lib},
                              stdout=out)
    for _ in range(100):
        if log.read_text():
            return child.pid, resident_of(log.read_text())
        time.sleep(0.1)
    raise Failed("the program does not come to its point")


@CASES("tools.live-core")
def live_core(context):
    """gdb's gcore dumps every mapping that is not excluded (VmFlags dd), a bare reservation too."""
    pid, resident = waiting(context)
    core = context.path("live-core")
    run = debug(context, ["-p", str(pid), "-ex", f"generate-core-file {core}", "-ex", "detach"],
                limits=[(resource.RLIMIT_FSIZE, 1 << 29)])
    check(core.exists(), run.text())
    check(core.stat().st_size <= 2 * resident,
          f"{core.stat().st_size >> 10} KiB and more for {resident >> 10} KiB of RSS\n{run.text()}")
    run = debug(context, ["-ex", "bt", context.program("bigheap.c"), core])
    check(" main (" in run.out and "fillHeap" in run.out, f"bt does not reach main\n{run.text()}")
    return f"core {core.stat().st_size >> 10} KiB, resident {resident >> 10} KiB"


@CASES("tools.gdb-attach")
def attach(context):
    pid, _ = waiting(context)
    run = debug(context, ["-p", str(pid), "-ex", "bt", "-ex", "print (long)getpid()", "-ex",
                          "print ((void*(*)(unsigned long))malloc)(1000) != 0", "-ex", "detach"])
    check(" main (" in run.out and f"= {pid}" in run.out and re.search(r"^\$2 = 1$", run.out, re.M),
          run.text())


@CASES("tools.gdb-break-in-malloc")
def breakpoint_in_malloc(context):
    program = context.program("bigheap.c")
    script = [f"set environment LD_PRELOAD {context.lib}", "break fillHeap", "run", "break malloc",
              "continue", "bt", "info symbol $pc", "finish", "finish", "delete", "continue"]
    # Twice: gdb may count malloc's first instruction to a function that is inlined there.
    run = debug(context, [*(word for line in script for word in ("-ex", line)), "--args", program,
                          "work"])
    check("fillHeap" in run.out and "libgraft.so" in run.out and " main (" in run.out, run.text())
    check("Value returned" in run.out or "Run till exit" in run.out, run.text())
    check("done" in run.out and "exited normally" in run.out, run.text())


@CASES("tools.strace")
def strace(context):
    report = context.path("strace")
    program = context.program("threads.cc")
    graft = context.graft([need("strace"), "-f", "-c", "-o", report, program, "late-first"])
    if "ptrace" in graft.err and graft.status != 0:
        raise Skip(f"strace may not trace here: {graft.err[:200]}")
    check((graft.status, graft.out) == (0, "ok\n"), graft.text())
    check(re.search(r"\b(clone3?|mmap)$", report.read_text(), re.M), report.read_text()[:1000])
    check(len(graft.summaries) >= 1, "no summary")


@CASES("tools.perf")
def perf(context):
    data = context.path("perf.data")
    command = [need("perf"), "record", "-q", "-e", "cpu-clock", "-g", "-o", data,
               context.program("bigheap.c"), "work", "1"]
    probe = context.native([need("perf"), "record", "-q", "-e", "cpu-clock", "-o",
                            context.path("probe.data"), need("true")])
    if probe.status != 0:
        raise Skip(f"perf cannot record here: {probe.err[:200]}")
    graft = context.graft(command)
    check(graft.status == 0 and "done" in graft.out, graft.text())
    report = context.native([need("perf"), "report", "-i", data, "--stdio", "--no-children", "-g",
                             "none"])
    check(report.status == 0 and "libgraft.so" in report.out, report.text())
    check(re.search(r"libgraft.so\s+\[\.\] \w*malloc|libgraft.so\s+\[\.\] free", report.out),
          f"no symbols of graft in the report\n{report.text()}")
    graft.pid = max(graft.summaries)  # of the program, not of perf
    on_and_clean(graft)
