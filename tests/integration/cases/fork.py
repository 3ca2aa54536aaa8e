"""Processes made from processes that allocate: fork with threads, from signal handlers, against
stdio's locks and with handlers that allocate; vfork, posix_spawn, popen, system and daemon."""

from harness import Cases, check, need, on_and_clean

CASES = Cases()

MODES = ({}, {"GRAFT_DENY": "all"}, {"GRAFT_HEAP_STRESS": "5"}, {"GRAFT_HEAP_CHECK": "1"})


@CASES("fork.with-threads")
def with_threads(context):
    program = context.program("forks.c")
    context.same([program, "500"])
    context.same([program, "60"], graft_env={"GRAFT_MAX_CACHES": "2"})
    for mode in MODES[1:]:
        context.same([program, "60"], graft_env=mode)


@CASES("fork.from-signal-handler")
def from_handler(context):
    program = context.program("fork_signal.c")
    for mode in MODES:
        context.same([program], graft_env=mode)


@CASES("fork.against-stdio")
def against_stdio(context):
    lines = context.write("lines", "".join(f"line {i} {'x' * (i * 7 % 300)}\n" for i in range(500)))
    for mode in ({}, {"GRAFT_MAX_CACHES": "1"}):
        context.same([context.program("fork_stdio.c"), lines, "400"], graft_env=mode)


@CASES("fork.handlers-that-allocate")
def handlers(context):
    context.library("atfork.c", ["-DEARLY"], output="atfork/libearly.so")
    folder = context.shop.bin / "atfork"
    program = context.program("atfork.c", [f"-L{folder}", "-learly", "-Wl,-rpath,$ORIGIN"],
                              output="atfork/program")
    for threads in ("0", "4"):
        for mode in MODES:
            context.same([program, threads], graft_env=mode)


for way in ("fork", "vfork", "vfork-fails", "posix_spawn", "popen", "system"):
    def spawn(context, way=way):
        _, graft = context.same([context.program("spawning.c"), way, need("bash")])
        check(way == "vfork-fails" or len(graft.summaries) > 10,
              "the children did not run under the preload")
        for pid in graft.summaries:
            check(graft.summaries[pid]["graft"]["enabled"], f"off in process {pid}")
    CASES.add(f"fork.{way}", spawn)


@CASES("fork.daemon")
def daemon(context):
    _, graft = context.same([context.program("spawning.c"), "daemon", "/bin/sh"], on=None)
    check(any(pid != graft.pid for pid in graft.summaries), "the daemon wrote no summary")


@CASES("fork.shell-pipeline")
def pipeline(context):
    script = ("for i in 1 2 3; do seq 2000 | sort -rn | awk '{s += $1} END {print s}' & done; wait;"
              " (exit 4); echo $?; x=$(printf '%s\\n' a b c | tail -n 1); echo $x")
    _, graft = context.same([need("bash"), "-c", script])
    check(len(graft.summaries) >= 12, f"only {len(graft.summaries)} processes wrote a summary")
    on_and_clean(graft)
