"""No more memory: limits set before and after the start, requests that fail at random, mappings
used up, strict overcommit. A null pointer, ENOMEM or bad_alloc each time, and the heap works on."""

import os
import pathlib
import resource
import subprocess
import sys

from harness import Cases, Skip, check, figures, on_and_clean

CASES = Cases()

KIB, MIB = 1 << 10, 1 << 20


def exhausts(context, options, share, limits=(), graft_env=None, shell=None, on=True):
    """Both runs meet the end of memory; graft has held at least `share` of what native has."""
    command = [context.program("exhaust.c"), *options]
    if shell is not None:
        command = ["/bin/sh", "-c", f'{shell}; exec "$@"', "sh", *command]
    native = context.native(command, limits=limits)
    check(native.status == 0, f"natively: {native.text()}")
    graft = context.graft(command, graft_env, limits=limits)
    check((graft.status, graft.out) == (0, native.out), graft.text())
    check("end met" in native.out and "threads started" in native.out, native.text())
    on_and_clean(graft, on)
    had, has = figures(native.err)["held_kib"], figures(graft.err)["held_kib"]
    check(has >= had * share, f"only {has} KiB could be had, natively {had}")
    return f"{has} KiB held, natively {had}"


for label, size, share in (("300000-KiB", 300000 * KIB, 0.6), ("64-MiB", 64 * MIB, 0.4)):
    for extra, options in (("", []), ("-threads", ["-t", "4"])):
        def before_exec(context, size=size, share=share, options=options):
            return exhausts(context, options, share, [(resource.RLIMIT_AS, size)])
        CASES.add(f"memory.limit-before-exec-{label}{extra}", before_exec)

        def by_shell(context, size=size, share=share, options=options):
            return exhausts(context, options, share, shell=f"ulimit -v {size // KIB}")
        CASES.add(f"memory.limit-by-preloaded-shell-{label}{extra}", by_shell)

        def inside(context, size=size, share=share, options=options):
            return exhausts(context, ["-l", str(size // MIB), *options], share)
        CASES.add(f"memory.limit-from-inside-{label}{extra}", inside)


@CASES("memory.limit-denied-reserve")
def denied(context):
    return exhausts(context, ["-t", "4"], 0.5, [(resource.RLIMIT_AS, 300000 * KIB)],
                    {"GRAFT_DENY": "all"})


@CASES("memory.limit-checked")
def with_checks(context):
    return exhausts(context, [], 0.4, [(resource.RLIMIT_AS, 300000 * KIB)],
                    {"GRAFT_HEAP_CHECK": "1"})


@CASES("memory.no-more-means-no-more")
def no_more(context):
    command = [context.program("exhaust_exact.c")]
    native, graft = context.native(command), context.graft(command)
    check(native.status == 0, native.text())
    check((graft.status, graft.out) == (0, native.out), graft.text())


@CASES("memory.no-more-mappings")
def no_mappings(context):
    """max_map_count reached by the program itself: no setting of the system has to change. How much
    can still be had differs; that it ends well does not. -c: graft may not need new mappings."""
    command = [context.program("exhaust.c"), "-m", "-c", "64"]
    for options in ([], ["-t", "1"]):
        native = context.native([*command, *options])
        for mode in ({}, {"GRAFT_DENY": "all"}, {"GRAFT_DECAY_MS": "0"}):
            graft = context.graft([*command, *options], mode)
            # A thread's stack is a mapping too, so that natively none can start.
            if options:
                check(graft.status in (0, 1) and native.status in (0, 1), graft.text())
            else:
                check(graft.status == 0 or "pthread_create" in graft.err, graft.text())


@CASES("memory.data-limit")
def data_limit(context):
    """RLIMIT_DATA counts private writable memory, so it ends the heap but not the reservation."""
    return exhausts(context, ["-t", "2"], 0.5, [(resource.RLIMIT_DATA, 200 * MIB)])


@CASES("memory.data-limit-then-blocks-of-40-KiB")
def data_limit_spans(context):
    """After everything was freed: many middling blocks need new span records, not new memory."""
    return exhausts(context, [], 0.5, [(resource.RLIMIT_DATA, 400 * MIB)])


for every in (3, 7):
    def some_fail(context, every=every):
        program = context.program("faults.cc")
        native = context.native([program])
        check((native.status, native.out) == (0, "ok\n"), f"natively: {native.text()}")
        seen = 0
        for mode in ({}, {"GRAFT_DENY": "all"}, {"GRAFT_DECAY_MS": "0"}, {"GRAFT_HEAP_CHECK": "1"}):
            graft = context.graft([program], {"GRAFT_FAULT_MAP": str(every), **mode})
            check((graft.status, graft.out) == (0, "ok\n"), graft.text())
            on_and_clean(graft)
            seen += figures(graft.err)["failures"]
        return f"the program saw {seen} failures"
    CASES.add(f"memory.every-{every}th-request-fails", some_fail)


@CASES("memory.every-request-fails")
def all_fail(context):
    """Shows that the injection of the cases above is real: with nothing to be had, graft is off."""
    graft = context.graft([context.program("faults.cc")], {"GRAFT_FAULT_MAP": "1"})
    check((graft.status, graft.out) == (0, "ok\n"), graft.text())
    check(graft.err.startswith("graft: off: ") and graft.err.count("\n") == 2, graft.text())
    on_and_clean(graft, on=False)


@CASES("memory.bad-alloc-under-a-limit")
def bad_alloc(context):
    """The same program where the kernel says no: natively and on graft it sees failures."""
    program = context.program("faults.cc")
    limits = [(resource.RLIMIT_AS, 44 * MIB)]
    native = context.native([program], limits=limits)
    check((native.status, native.out) == (0, "ok\n"), f"natively: {native.text()}")
    seen = [figures(native.err)["failures"]]
    for mode in ({}, {"GRAFT_DENY": "all"}):
        graft = context.graft([program], mode, limits=limits)
        check((graft.status, graft.out) == (0, "ok\n"), graft.text())
        on_and_clean(graft)
        seen.append(figures(graft.err)["failures"])
    check(all(seen), f"the limit was too wide: {seen} failures")
    return f"failures natively and on graft: {seen}"


@CASES("memory.huge-requests")
def huge(context):
    for mode in ({}, {"GRAFT_DENY": "all"}, {"GRAFT_HEAP_CHECK": "1"}):
        context.same([context.program("huge.cc")], graft_env=mode)


OVERCOMMIT = pathlib.Path("/proc/sys/vm/overcommit_memory")
# Waits for the end of its input, which comes when the runner ends in whatever way, and puts the
# setting back: even a SIGKILL of the runner does not leave the machine with strict overcommit.
GUARDIAN = "import sys; sys.stdin.read(); open(sys.argv[1], 'w').write(sys.argv[2])"


def strict_overcommit_is_safe():
    """Why vm.overcommit_memory must not be set to 2 here, or an empty string."""
    if os.geteuid() != 0 or not os.access(OVERCOMMIT, os.W_OK):
        return "only root can set vm.overcommit_memory"
    facts = dict(line.split()[:2] for line in open("/proc/meminfo", encoding="ascii"))
    if int(facts["CommitLimit:"]) - int(facts["Committed_AS:"]) < 2 * MIB:
        return "less than 2 GiB would be left for the other programs of this machine"
    for status in pathlib.Path("/proc").glob("[0-9]*/status"):
        try:
            text = status.read_text()
        except OSError:
            continue
        size = [int(line.split()[1]) for line in text.splitlines() if line.startswith("VmSize:")]
        if size and size[0] > 4 << 30:  # 4 TiB: a sanitizer's shadow
            return "a program with a sanitizer is running here; its children could not start"
    return ""


@CASES("memory.strict-overcommit", alone=True)
def strict_overcommit(context):
    program = context.program("exhaust.c")
    huge_program = context.program("huge.cc")
    reason = strict_overcommit_is_safe()
    if reason:
        raise Skip(reason)
    before = OVERCOMMIT.read_text()
    limits = [(resource.RLIMIT_DATA, 400 * MIB)]
    guardian = subprocess.Popen([sys.executable, "-c", GUARDIAN, OVERCOMMIT, before],
                                stdin=subprocess.PIPE, start_new_session=True)
    try:
        OVERCOMMIT.write_text("2")
        native = context.native([program], limits=limits, limit=20)
        graft = context.graft([program], limits=limits, limit=20)
        nothing = context.graft([huge_program], limit=20)
    finally:
        OVERCOMMIT.write_text(before)
        guardian.communicate(timeout=20)
    check(native.status == 0, f"natively: {native.text()}")
    check((graft.status, graft.out) == (0, native.out), graft.text())
    check(nothing.status == 0, nothing.text())
    on_and_clean(graft)
    on_and_clean(nothing)
    reserved = graft.summary["heap"]["reserved"]
    return f"reserved {reserved >> 30} GiB"
