"""Bad frees and reallocs: each is reported with address, span and state and ends in SIGABRT, or is
reported, counted and survived with GRAFT_MISUSE=report. Nothing here runs natively but `copies`."""

import re
import signal

from harness import Cases, check

CASES = Cases()


def victim_of(result):
    match = re.search(r"^victim (0x[0-9a-f]+)$", result.out, re.M)
    check(match, f"the program did not come to its bad call\n{result.text()}")
    return match[1]


def reported(result, call, state, lines=1):
    """One line that names the call, the address, the span and what state it is in."""
    address = victim_of(result)
    said = [line for line in result.err.splitlines() if line.startswith("graft: ")]
    check(len(said) == lines, f"{len(said)} reports, {lines} expected\n{result.text()}")
    check(f"{call}({address})" in said[0], f"no `{call}({address})` in: {said[0]}")
    check(re.search(state, said[0]), f"no /{state}/ in: {said[0]}")


def misuse(fault, size, state, call="free", span=True, env=None):
    """The two runs of one fault: fatal by default, survived on request."""
    pattern = f"{state}.*; span 0x[0-9a-f]+ of \\d+ [KM]iB" if span else state

    def run(context):
        program = context.program("misuse.c")
        command = [program, fault, str(size), call]
        fatal = context.graft(command, env)
        check(fatal.status == -signal.SIGABRT, f"not ended by SIGABRT: {fatal.text()}")
        check("survived" not in fatal.out, fatal.text())
        reported(fatal, call, pattern)
        lenient = context.graft(command, {**(env or {}), "GRAFT_MISUSE": "report"})
        check(lenient.status == 0 and "survived" in lenient.out, lenient.text())
        reported(lenient, call, pattern)
        count = lenient.summary["heap"]["misuse"]
        check(count == 1, f"the summary counts {count} misuses instead of 1")
    CASES.add(f"misuse.{fault}-{size}-{call}", run)


SMALL, LARGE = (16, 24, 100, 1000, 8000, 32768), (40000, 300000, 5 << 20)
TWICE = r"double free"
INSIDE = r"middle of a block"

for kind in ("free", "realloc"):
    for n in SMALL:
        misuse("twice", n, TWICE, kind)
    for n in (32, 1000, 20000):
        misuse("twice-later", n, TWICE, kind)
        misuse("twice-thread", n, TWICE, kind)
        misuse("twice-trimmed", n, TWICE, kind)
    for n in LARGE:
        misuse("twice", n, TWICE, kind)
        misuse("twice-thread", n, TWICE, kind)
        misuse("twice-trimmed", n, TWICE, kind)
        misuse("interior-half", n, INSIDE, kind)
        misuse("interior+16", n, INSIDE, kind)
        misuse("interior+8192", n, INSIDE, kind)
    misuse("twice-returned", 1000, TWICE, kind, span=False)  # its pages are in no span any more
    for n in (16, 64, 1000, 32768):
        misuse("interior-half", n, INSIDE, kind)
        misuse("interior+1", n, INSIDE, kind)
        misuse("interior+8", n, INSIDE, kind)
        if n > 16:
            misuse("interior+16", n, INSIDE, kind)
    for n in (48, 1000):
        misuse("fresh-neighbour", n, "never handed out", kind)
    misuse("tail", 48, "never handed out.*; span .* is no slot", kind, span=False)
    misuse("far", 64, "never handed out", kind, span=False)
    misuse("arena-end", 64, "never handed out", kind, span=False)


def found_later(fault, size):
    """The second free looks like a first one; the slot must not go to two owners all the same."""
    def run(context):
        command = [context.program("misuse.c"), fault, str(size), "free"]
        fatal = context.graft(command)
        check(fatal.status == -signal.SIGABRT, f"not ended by SIGABRT: {fatal.text()}")
        reported_somewhere(fatal)
        lenient = context.graft(command, {"GRAFT_MISUSE": "report"})
        check(lenient.status == 0 and "survived" in lenient.out, lenient.text())
        check("handed out twice" not in lenient.out, lenient.text())
        check(lenient.summary["heap"]["misuse"] >= 1, lenient.text())
    return run


def reported_somewhere(result):
    """Found when the block is reused: the call differs, the address does not."""
    address = victim_of(result)
    said = [line for line in result.err.splitlines() if line.startswith("graft: ")]
    check(said and f"({address})" in said[0] and "; span 0x" in said[0],
          f"no report of {address}\n{result.text()}")


for n in (16, 48, 1000, 20000):
    CASES.add(f"misuse.twice-written-{n}", found_later("twice-written", n))
    CASES.add(f"misuse.twice-large-{n}", found_later("twice-large", n))
    CASES.add(f"misuse.twice-large-goes-{n}", found_later("twice-large-goes", n))


@CASES("misuse.twice-large-checked")
def at_the_call(context):
    """Checked mode finds it at the call whatever the size of the heap."""
    command = [context.program("misuse.c"), "twice-large", "48", "free"]
    fatal = context.graft(command, {"GRAFT_HEAP_CHECK": "1"})
    check(fatal.status == -signal.SIGABRT, f"not ended by SIGABRT: {fatal.text()}")
    reported(fatal, "free", TWICE)


def write_after_free(size, offset):
    def run(context):
        command = [context.program("misuse.c"), "write-after-free", str(size), str(offset)]
        fatal = context.graft(command, {"GRAFT_HEAP_CHECK": "1"})
        check(fatal.status == -signal.SIGABRT, f"not ended by SIGABRT: {fatal.text()}")
        reported_somewhere(fatal)
        check("after it was freed" in fatal.err, fatal.text())
        lenient = context.graft(command, {"GRAFT_HEAP_CHECK": "1", "GRAFT_MISUSE": "report"})
        check(lenient.status == 0 and "survived" in lenient.out, lenient.text())
        check(lenient.summary["heap"]["misuse"] == 1, lenient.text())
    return run


for n, at in ((24, 0), (24, 8), (64, 20), (64, 63), (1000, 999), (20000, 7), (20000, 19999)):
    CASES.add(f"misuse.write-after-free-{n}+{at}", write_after_free(n, at))
for n in (8, 24, 100, 1000, 20000, 40000, 100000):
    misuse("overflow", n, "past its end", env={"GRAFT_HEAP_CHECK": "1"})


def sized(size, claimed, form):
    def run(context):
        program = context.program("sized.cc")
        checked = {"GRAFT_HEAP_CHECK": "1"}
        right = context.graft([program, str(size), str(size), form], checked)
        check(right.status == 0 and right.err == "", right.text())
        wrong = context.graft([program, str(size), str(claimed), form], checked)
        check(wrong.status == -signal.SIGABRT, f"not ended by SIGABRT: {wrong.text()}")
        reported(wrong, "operator delete", "size differs.*; span 0x")
        unchecked = context.graft([program, str(size), str(size), form])
        check(unchecked.status == 0 and unchecked.err == "", unchecked.text())
    return run


for n, said in ((24, 32), (24, 8), (100, 101), (1000, 2000), (50000, 40000)):
    for which, letter in (("plain", "p"), ("array", "v"), ("aligned", "a")):
        CASES.add(f"misuse.sized-{which}-{n}-as-{said}", sized(n, said, letter))


def copies(size):
    def run(context):
        command = [context.program("misuse.c"), "copies", str(size), "free"]
        for mode in ({}, {"GRAFT_DENY": "all"}):
            context.same(command, graft_env=mode)
    return run


for n in (16, 64, 1000, 20000):
    CASES.add(f"misuse.copies-of-freed-{n}", copies(n))


@CASES("misuse.report-goes-on")
def many_reports(context):
    """A hundred faults in one run are a hundred lines and a hundred in the summary."""
    program = context.program("misuse_many.c")
    result = context.graft([program, "100"], {"GRAFT_MISUSE": "report"})
    check((result.status, result.out) == (0, "survived\n"), result.text())
    lines = [line for line in result.err.splitlines() if line.startswith("graft: ")]
    check(len(lines) == 100, f"{len(lines)} lines instead of 100\n{result.text()}")
    check(result.summary["heap"]["misuse"] == 100, str(result.summary["heap"]))


@CASES("misuse.abort-can-be-handled")
def handled(context):
    """The program's own SIGABRT handler sees the end, as with glibc."""
    program = context.program("misuse_many.c")
    for run in (context.native([program, "handler"]), context.graft([program, "handler"])):
        check(run.status == 7 and "handler" in run.out, run.text())
