"""The malloc family and operator new and delete behave as glibc's and libstdc++'s: each subject
runs natively, under the preload, with every capability denied and in checked mode."""

import re

from harness import Cases, check

CASES = Cases()

MODES = ({}, {"GRAFT_DENY": "all"}, {"GRAFT_HEAP_CHECK": "1"}, {"GRAFT_HEAP_STRESS": "7"},
         {"GRAFT_SITE_IDS": "on"})


def in_all_modes(source, word):
    def run(context):
        program = context.program(source)
        for mode in MODES:
            context.same([program, word], graft_env=mode, limit=120)
    return run


for subject in ("zero-sizes", "realloc-zero", "too-large", "overflow", "alignment", "bad-alignment",
                "pages", "usable-size", "calloc-zeroes", "free-errno", "realloc-contents"):
    CASES.add(f"semantics.{subject}", in_all_modes("semantics.c", subject))
for subject in ("forms", "handlers"):
    CASES.add(f"semantics.new-{subject}", in_all_modes("new_delete.cc", subject))


@CASES("semantics.own-operator-new")
def own_new(context):
    context.same([context.program("own_new.cc")])


@CASES("semantics.mallopt")
def mallopt(context):
    context.same([context.program("info.c"), "mallopt"])


def plausible(word, modes):
    """Figures differ between mallocs: the program judges them, only its verdict is compared."""
    def run(context):
        program = context.program("info.c")
        native = context.native([program, word])
        check(native.status == 0, f"natively: {native.text()}")
        for mode in modes:
            graft = context.graft([program, word], mode)
            check((graft.status, graft.out) == (0, native.out), graft.text())
    return run


for subject in ("figures", "xml"):
    CASES.add(f"semantics.info-{subject}", plausible(subject, MODES[:2]))
# Without MADV_DONTNEED there is nothing that malloc_trim could give back.
CASES.add("semantics.info-trim", plausible("trim", MODES[:1]))


@CASES("semantics.info-stats")
def stats(context):
    program = context.program("info.c")
    for run in (context.native([program, "stats"]), context.graft([program, "stats"])):
        check((run.status, run.out) == (0, "ok\n"), run.text())
        rows = dict(re.findall(r"^(system bytes|in use bytes|max mmap bytes) *= *(\d+)$", run.err,
                               re.M))
        check(len(rows) == 3, f"malloc_stats lacks a line of glibc's\n{run.err}")
        in_use, system = int(rows["in use bytes"]), int(rows["system bytes"])
        check(100000 <= in_use <= system < 100 << 20, f"malloc_stats is not plausible\n{run.err}")
