"""Threads: ten thousand short ones, six hundred at a time on eight caches, destructors that
allocate at a thread's end, a thread that only frees; caches and memory stay bounded.
The synchronisation functions with kernel threads."""

from harness import Cases, agree, check, figures, on_and_clean

CASES = Cases()

SHARED = 8  # caches that threads without one of their own share

MODES = ({}, {"GRAFT_MAX_CACHES": "1"}, {"GRAFT_HEAP_CHECK": "1"}, {"GRAFT_DENY": "all"})


def threads(kind, caches, extra_mib, modes=MODES[:1]):
    """`caches`: at most that many at the end. `extra_mib`: max RSS over the native one."""
    def run(context):
        program = context.program("threads.cc")
        native = context.native([program, kind])
        check(native.status == 0, f"natively: {native.text()}")
        notes = []
        for mode in modes:
            graft = context.graft([program, kind], mode)
            check(graft.status == 0, graft.text())
            native_rss = figures(native.err)["max_rss_kib"]
            rss = figures(graft.err)["max_rss_kib"]
            native.err = graft.err = ""
            agree(native, graft)
            on_and_clean(graft)
            made = graft.summary["heap"]["caches"]
            limit = min(caches, int(mode.get("GRAFT_MAX_CACHES", caches)) + SHARED)
            check(made <= limit, f"{made} caches were made, at most {limit} expected ({mode})")
            check(rss <= native_rss + extra_mib * 1024,
                  f"max RSS {rss} KiB, natively {native_rss} ({mode})")
            native.err = f"figure max_rss_kib {native_rss}\n"
            notes.append(f"{made} caches, {rss} KiB (native {native_rss})")
        return "; ".join(notes)
    CASES.add(f"threads.{kind}", run)


threads("many", 40, 16, ({}, {"GRAFT_HEAP_CHECK": "1"}))
threads("detached", 264, 32)
threads("live", 264, 64, ({}, {"GRAFT_MAX_CACHES": "8"}, {"GRAFT_MAX_CACHES": "1"}))
threads("destructors", 40, 16, MODES)
threads("late-first", 40, 16, MODES)
threads("only-frees", 8, 24)
threads("keys", 2, 8)


@CASES("threads.handlers")
def handlers(context):
    """signal() and its relatives, siginterrupt(), and what a handler does to read()."""
    program = context.program("handlers.c")
    native = context.native([program, "threads"])
    check(native.status == 0, f"natively: {native.text()}")
    for mode in ("1:1", "m:n"):
        graft = context.graft([program, "threads"], {"GRAFT_THREADS": mode})
        agree(native, graft)
        on_and_clean(graft)


@CASES("threads.sync")
def sync(context):
    """Every exported synchronisation function: results and errors are those of the native run."""
    program = context.program("sync.c")
    native = context.native([program])
    check(native.status == 0, f"natively: {native.text()}")
    graft = context.graft([program])
    agree(native, graft)
    on_and_clean(graft)
