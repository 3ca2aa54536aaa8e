"""GRAFT_THREADS=m:n: what programs do with threads comes out as natively while the run summary proves
that the threads were Gs; each reason against it leads to kernel threads with one line that says so."""

from harness import Cases, agree, check, on_and_clean

CASES = Cases()

MN = {"GRAFT_THREADS": "m:n"}


def gs(result):
    """The threads' part of the summary of the main process, which must have had Gs."""
    said = result.summary["graft"]["threads"]
    check(said["mode"] == "m:n", f"threads were not Gs: {said}\n{result.text()}")
    return said


def subject(name, least, status=0, arguments=lambda context: []):
    """`least`: at least that many Gs must have begun."""
    def run(context):
        command = [context.program("gs.cc"), name, *arguments(context)]
        native = context.native(command)
        check(native.status == status and "wrong" not in native.out, f"natively: {native.text()}")
        for more in ({}, {"GRAFT_HEAP_CHECK": "1"}, {"GRAFT_DENY": "guard_install"}):
            graft = context.graft(command, {**MN, **more})
            agree(native, graft)
            on_and_clean(graft)
            begun = gs(graft)["gs"]
            check(begun >= least, f"only {begun} Gs\n{graft.text()}")
        return f"{gs(graft)['gs']} Gs on {gs(graft)['ms']} Ms, {gs(graft)['retakes']} Ps retaken"
    CASES.add(f"gs.{name}", run)


subject("create", 101_001)
subject("detach", 5001)
subject("errors", 3)
subject("tls", 4)
subject("exceptions", 17)
subject("loading", 21, arguments=lambda context: [context.library("gs_lib.c")])
subject("forks", 8)
subject("exit-other", 2, status=7)
subject("main-exit", 2)
subject("ping-pong", 6)
subject("pipes", 65)
subject("spin", 13)
subject("c11", 3)
subject("stacks", 4)


def thrice(context, command):
    """What depends on timing: three runs that each agree with the native one and ran on Gs."""
    native = context.native(command)
    check(native.status == 0, f"natively: {native.text()}")
    for _ in range(3):
        graft = context.graft(command, MN)
        agree(native, graft)
        on_and_clean(graft)
        threads = gs(graft)
    return threads


@CASES("gs.signals")
def signals(context):
    """Handlers run on the right thread, end the right waits, and nobody hangs."""
    thrice(context, [context.program("gs_signals.c")])


MOST_MS = {"crowded": 20}  # of hundreds of threads that wait


def blocking(program, what):
    """Reading, writing, waiting for descriptors: the same bytes, errors and times as natively, and
    on one P as well."""
    def run(context):
        command = [context.program(program), what]
        native = context.native(command)
        check(native.status == 0, f"natively: {native.text()}")
        for more in ({}, {"GOMAXPROCS": "1"}):
            graft = context.graft(command, {**MN, **more})
            agree(native, graft)
            ms = gs(graft)["ms"]
            check(ms < MOST_MS.get(what, 1000), f"{ms} Ms\n{graft.text()}")
        context.same(command)  # on kernel threads the exports are glibc's
    CASES.add(f"gs.io-{what}", run)


for done in ("streams", "interrupted", "timed", "replaced", "cancelled", "processes", "close-all",
             "servers", "odd"):
    blocking("gs_io.c", done)
for done in ("connecting", "feeding", "answers", "masked", "replacing", "ending", "messages",
             "jumping", "crowded"):
    blocking("gs_wait.c", done)


def storm(what):
    """Checked streams, polled in every way, while something goes wrong all around them: five
    seconds, and on one P as well. More by hand: gs_storm WHAT SECONDS."""
    def run(context):
        command = [context.program("gs_storm.c"), what]
        native = context.native(command + ["1"])
        check(native.status == 0, f"natively: {native.text()}")
        for more, seconds in (({}, "5"), ({"GOMAXPROCS": "1"}, "2")):
            graft = context.graft(command + [seconds], {**MN, **more})
            agree(native, graft)
            threads = gs(graft)
        return f"{threads['gs']} Gs on {threads['ms']} Ms"
    CASES.add(f"gs.storm-{what}", run)


for kind in ("signals", "cancels", "forks", "closes", "all"):
    storm(kind)


@CASES("gs.torture")
def torture(context):
    """Turns, allocations, short threads, forks, a fast timer and signals to threads, all at once."""
    threads = thrice(context, [context.program("gs_torture.cc"), "3"])
    return f"{threads['gs']} Gs on {threads['ms']} Ms, {threads['retakes']} Ps retaken"


@CASES("gs.fallbacks")
def fallbacks(context):
    """Without what Gs need, threads are kernel threads, and one line says why."""
    command = [context.program("gs.cc"), "tls"]
    native = context.native(command)
    for denied in ("fsgsbase", "calibration"):
        graft = context.graft(command, {**MN, "GRAFT_DENY": denied})
        said = graft.summary["graft"]["threads"]
        check(said["mode"] == "1:1" and denied in said["why_not"], f"{said}\n{graft.text()}")
        line = f"graft: threads stay kernel threads: GRAFT_DENY names {denied}\n"
        check(graft.err == line, graft.text())
        graft.err = ""
        agree(native, graft)
    graft = context.graft(command)
    check(graft.summary["graft"]["threads"]["mode"] == "1:1", graft.text())
    agree(native, graft)
