"""The guest's manners: kill switches, options and what is wrong with them, where messages go,
denied capabilities, the summary, secure execution, other preloads, valgrind and sanitizers."""

import os
import pathlib
import resource
import shutil
import signal
import subprocess

from harness import Cases, Skip, agree, check, need, on_and_clean, system_library

CASES = Cases()

DEFINITIONS = pathlib.Path(__file__).resolve().parents[3] / "core/base"
HELLO = "hello.c"


def capabilities():
    rows = (DEFINITIONS / "capability.def").read_text().split("\nCAPABILITY(")[1:]
    return [(row.split(",")[0], "true" in row.split(",")[1]) for row in rows]


def runs_off(context, env, why):
    native, graft = context.same([context.program(HELLO)], graft_env=env, on=False)
    state = graft.summary["graft"]
    check(why in state["why_off"], f"why_off is {state['why_off']!r}")


@CASES("switches.off")
def off(context):
    for word in ("off", "0", "no", "false"):
        runs_off(context, {"GRAFT": word}, "GRAFT=off")


@CASES("switches.only-and-skip")
def only_and_skip(context):
    runs_off(context, {"GRAFT_SKIP": "hello"}, "GRAFT_SKIP")
    runs_off(context, {"GRAFT_SKIP": "other,hello"}, "GRAFT_SKIP")
    runs_off(context, {"GRAFT_ONLY": "other,hell,helloo"}, "GRAFT_ONLY")
    runs_off(context, {"GRAFT_ONLY": "hello", "GRAFT_SKIP": "hello"}, "GRAFT_SKIP")
    for on in ({"GRAFT_ONLY": "hello"}, {"GRAFT_ONLY": "other,hello"}, {"GRAFT_SKIP": "hell,x"}):
        context.same([context.program(HELLO)], graft_env=on)
    # Spaces around names, which GRAFT_DENY takes too.
    context.same([context.program(HELLO)], graft_env={"GRAFT_ONLY": "other, hello ,x"})
    runs_off(context, {"GRAFT_SKIP": "other, hello"}, "GRAFT_SKIP")


@CASES("switches.children")
def children(context):
    program, other = context.program(HELLO), context.library("wraplog.c")
    # name of the list -> what a child inherits
    lists = {context.lib: "", f"{context.lib}:{other}": other, f"{other}:{context.lib}": other,
             f"{other} {context.lib}": other}
    for preload, left in lists.items():
        graft = context.graft([program, "preload"], {"GRAFT_CHILD": "0"}, preload=preload)
        check(graft.status == 0, graft.text())
        child = graft.out.rpartition("child=")[2].strip().strip(": ")
        check(child == left, f"LD_PRELOAD={preload}: a child inherits {child!r}, not {left!r}")
        on_and_clean(graft)
        check(len(graft.summaries) == 1, "a child wrote a summary")
        graft = context.graft([program, "preload"], preload=preload)
        check(graft.out.rpartition("child=")[2].strip() == preload, graft.text())


def one_line(context, env, *words):
    """Exactly one line on stderr, with these words; everything else as natively."""
    program = context.program(HELLO)
    native, graft = context.native([program]), context.graft([program], env)
    check((graft.status, graft.out) == (0, native.out), graft.text())
    check(graft.err.count("\n") == 1 and graft.err.startswith("graft: "),
          f"not exactly one line: {graft.text()}")
    for word in words:
        check(word in graft.err, f"no {word!r} in {graft.err!r}")
    on_and_clean(graft)


@CASES("switches.unknown-option")
def unknown(context):
    one_line(context, {"GRAFT_BOGUS": "1"}, "GRAFT_BOGUS", "unknown")
    one_line(context, {"GRAFT_MISUES": "report"}, "GRAFT_MISUES", "did you mean GRAFT_MISUSE")
    one_line(context, {"GRAFT_": "1"}, "unknown")


@CASES("switches.value-out-of-range")
def out_of_range(context):
    for name, value in (("DECAY_MS", "3600001"), ("DECAY_MS", "-2"), ("DECAY_MS", "1s"),
                        ("MAX_CACHES", "0"), ("MAX_CACHES", "99999999999999999999999"),
                        ("RESERVE_GIB", "0"), ("HEAP_CHECK", "3"), ("MISUSE", "explode"),
                        ("CHILD", "perhaps"), ("HEAP_STRESS", "0x10")):
        one_line(context, {f"GRAFT_{name}": value}, f"GRAFT_{name}", value[:30], "using")


@CASES("switches.off-is-silent")
def off_is_silent(context):
    runs_off(context, {"GRAFT": "off", "GRAFT_BOGUS": "1", "GRAFT_DECAY_MS": "x"}, "GRAFT=off")


@CASES("switches.log-to-file")
def log(context):
    program = context.program(HELLO)
    pattern = context.path("log.%p.txt")
    for misuse, status in (("report", 0), ("abort", -signal.SIGABRT)):
        graft = context.graft([program, "misuse"], {"GRAFT_LOG": pattern, "GRAFT_MISUSE": misuse})
        check((graft.status, graft.err) == (status, ""), graft.text())
        lines = context.path(f"log.{graft.pid}.txt").read_text().splitlines()
        check(len(lines) == 1 and "middle of a block" in lines[0], f"the log holds {lines}")
    # A log that cannot be written to: the messages go where they would without it.
    graft = context.graft([program], {"GRAFT_LOG": "/nonexistent/folder/log", "GRAFT_BOGUS": "1"})
    check(graft.status == 0 and "GRAFT_BOGUS" in graft.err, graft.text())


@CASES("switches.log-takes-option-errors")
def log_of_options(context):
    log = context.path("log")
    graft = context.graft([context.program(HELLO)], {"GRAFT_BOGUS": "1", "GRAFT_LOG": log})
    check((graft.status, graft.err) == (0, ""), graft.text())
    check("GRAFT_BOGUS" in log.read_text(), f"the log holds {log.read_text()!r}")


@CASES("switches.closed-or-replaced-stderr")
def silence(context):
    program = context.program(HELLO)
    report = {"GRAFT_MISUSE": "report"}
    graft = context.graft([program, "misuse"], report)
    check(graft.err.count("\n") == 1, f"this should have been said: {graft.text()}")
    graft = context.graft([program, "close2", "misuse"], report)
    check((graft.status, graft.err) == (0, ""), graft.text())
    # The program's own file has descriptor 2 now: not a byte of ours in it, not even at the end.
    file = context.path("replaced")
    for misuse, status in (("report", 0), ("abort", -signal.SIGABRT)):
        for words in (["replace2=" + str(file)], ["close2", "open=" + str(file)]):
            graft = context.graft([program, *words, "misuse"], {"GRAFT_MISUSE": misuse})
            check((graft.status, graft.err) == (status, ""), graft.text())
            check(file.read_text() == "", f"graft wrote into the file: {file.read_text()}")
            check(status != 0 or "fd 2" in graft.out or "replace2" in graft.out, graft.text())


@CASES("switches.stderr-closed-from-the-start")
def closed_at_start(context):
    """The program's first file gets descriptor 2: it is no place for messages of graft."""
    program = context.program(HELLO)
    file = context.path("first-file")
    graft = context.graft([need("sh"), "-c", 'exec "$@" 2>&-', "sh", program, f"open={file}",
                           "misuse"],
                          {"GRAFT_BOGUS": "1", "GRAFT_MISUSE": "report", "GRAFT_LOG": None})
    check(graft.status == 0 and "fd 2" in graft.out, graft.text())
    check(file.read_text() == "", f"graft wrote into the program's file: {file.read_text()}")


@CASES("switches.no-descriptors")
def descriptors(context):
    log = context.path("log")
    context.same([context.program(HELLO), "descriptors"],
                 graft_env={"GRAFT_LOG": log, "GRAFT_VERBOSE": "1"})


@CASES("switches.deny-each")
def deny_each(context):
    program = context.program(HELLO)
    for name, in_use in capabilities():
        _, graft = context.same([program], graft_env={"GRAFT_DENY": name})
        states = graft.summary["graft"]["capabilities"]
        for other, _ in capabilities():
            if other == name:
                check(states[other] == "denied", f"{name} was denied, the summary says {states}")
            else:
                check(states[other] != "denied", f"only {name} was denied, but {states}")
        check(in_use or states[name] == "denied", str(states))


@CASES("switches.deny-all")
def deny_all(context):
    _, graft = context.same([context.program(HELLO)], graft_env={"GRAFT_DENY": "all"})
    states = graft.summary["graft"]["capabilities"]
    check(set(states.values()) == {"denied"}, f"the summary says {states}")
    names = ",".join(name for name, _ in capabilities())
    context.same([context.program(HELLO)], graft_env={"GRAFT_DENY": names})


@CASES("switches.deny-bad-name")
def deny_bad(context):
    one_line(context, {"GRAFT_DENY": "mremapp"}, "unknown capability", "mremapp", "mremap?")
    one_line(context, {"GRAFT_DENY": "purge,,nonsense, mremap"}, "unknown capability", "nonsense")


@CASES("switches.summary")
def summary(context):
    """What fell back is in the summary, and the figures fit together."""
    program = context.program(HELLO)
    _, graft = context.same([program])
    states, heap = graft.summary["graft"]["capabilities"], graft.summary["heap"]
    for name, in_use in capabilities():
        check(states[name] == ("on" if in_use else "unused"), f"{name} is {states[name]}")
    check(graft.summary["graft"]["pid"] == graft.pid, "a wrong pid")
    check(heap["committed"] <= heap["reserved"] and heap["caches_owned"] <= heap["caches"] <= 4
          and heap["refills"] > 0 and heap["returned_total"] >= 0, str(heap))
    check(heap["small_used"] + heap["small_free"] + heap["large_used"] <= heap["committed"],
          str(heap))

    limited = context.graft([program], limits=[(resource.RLIMIT_AS, 1 << 30)])
    check(limited.status == 0, limited.text())
    states = limited.summary["graft"]["capabilities"]
    check(states["reserve"] == "missing" or limited.summary["heap"]["reserved"] < 1 << 30,
          f"a limit of 1 GiB, but {states}, {limited.summary['heap']}")


@CASES("switches.environment-overwritten")
def overwritten(context):
    """Servers write their title over the environment they were started with (setproctitle in redis,
    postgres, nginx): what graft was told at the start still counts."""
    log = context.path("log")
    graft = context.graft([context.program(HELLO), "misuse", "title"],
                          {"GRAFT_LOG": log, "GRAFT_MISUSE": "report"})
    check(graft.status == 0 and graft.summary["heap"]["misuse"] == 1, graft.text())
    check(log.read_text().count("\n") == 1, "the log is gone")


@CASES("switches.library-before-libc")
def before_libc(context):
    """A library marked initfirst allocates before the C library has set `environ`: the options
    count all the same (libasan is such a library)."""
    early = context.library("early.c", ["-Wl,-z,initfirst"])
    program = context.program(HELLO)
    for env, on in (({}, True), ({"GRAFT": "off"}, False), ({"GRAFT_SKIP": "hello"}, False)):
        graft = context.graft([program], env, preload=f"{context.lib}:{early}")
        check((graft.status, graft.out) == (0, "hello\n"), graft.text())
        on_and_clean(graft, on)


@CASES("switches.verbose")
def verbose(context):
    program = context.program(HELLO)
    graft = context.graft([program], {"GRAFT_VERBOSE": "1", "GRAFT_DENY": "mremap"})
    check(graft.err.count("\n") == 1 and "heap on" in graft.err and "mremap denied" in graft.err,
          graft.text())
    graft = context.graft([program], {"GRAFT_VERBOSE": "1", "GRAFT_SKIP": "hello"})
    check(graft.err.count("\n") == 1 and "off" in graft.err and "GRAFT_SKIP" in graft.err,
          graft.text())


@CASES("switches.secure-execution")
def secure(context):
    """A set-user-ID program: the loader drops the preload, the program simply runs. Its owner is an
    unprivileged user, and so is the one who runs it."""
    if os.geteuid() != 0:
        raise Skip("only root can make a set-user-ID program of another user")
    setpriv = need("setpriv")
    program = context.path("secure")
    shutil.copy(context.program(HELLO), program)
    os.chown(program, 65533, 65533)
    program.chmod(0o4755)
    for folder in (context.dir, context.dir.parent, context.shop.scratch):
        folder.chmod(0o755)
    command = [setpriv, "--reuid=65534", "--regid=65534", "--clear-groups", program, "secure"]
    native = context.native(command)
    graft = context.graft(command, {"GRAFT_BOGUS": "1", "GRAFT_SKIP": "setpriv"})
    if "secure=1" not in native.out:
        raise Skip(f"set-user-ID has no effect here: {native.out}")
    check((graft.status, graft.out) == (0, native.out), graft.text())
    check("hello" not in graft.err, graft.text())


@CASES("switches.another-user")
def another_user(context):
    """The library is readable by all, nothing else of ours is: runs as nobody all the same."""
    if os.geteuid() != 0:
        raise Skip("only root can become another user")
    context.path().chmod(0o755)
    context.dir.parent.chmod(0o755)
    command = [need("setpriv"), "--reuid=65534", "--regid=65534", "--clear-groups",
               context.program(HELLO), "secure"]
    native, graft = context.native(command), context.graft(command)
    check((native.status, graft.status) == (0, 0), graft.text())
    check(graft.out == native.out.replace("none", "preload"), graft.text())
    on_and_clean(graft)


@CASES("switches.with-jemalloc")
def jemalloc(context):
    other = system_library("libjemalloc.so.2")
    program = context.program(HELLO)
    native = context.native([program])
    for preload in (f"{other}:{context.lib}", f"{context.lib}:{other}"):
        graft = context.graft([program], preload=preload)
        agree(native, graft)
        if preload.startswith(context.lib):
            on_and_clean(graft)
            check(graft.summary["heap"]["refills"] > 10, "graft did not serve the program")


@CASES("switches.with-wrapper")
def wrapper(context):
    other = context.library("wraplog.c")
    for source, words in (("hello.c", []), ("threads.cc", ["destructors"])):
        command = [context.program(source), *words]
        native = context.run(command, {"LD_PRELOAD": other, "WRAPLOG": "1"})
        check(native.status == 0 and "wrapped many" in native.out, native.text())
        before = context.graft(command, {"WRAPLOG": "1"}, preload=f"{other}:{context.lib}")
        check((before.status, before.out) == (0, native.out), before.text())
        on_and_clean(before)
        after = context.graft(command, {"WRAPLOG": "1"}, preload=f"{context.lib}:{other}")
        check(after.status == 0 and "wrapped few" in after.out, after.text())
        on_and_clean(after)


@CASES("switches.under-valgrind")
def valgrind(context):
    command = [need("valgrind"), "-q", "--error-exitcode=9", "--leak-check=full"]
    program = context.program(HELLO)
    native = context.native([program])
    graft = context.graft([*command, program], limit=120)
    check((graft.status, graft.out) == (0, native.out), graft.text())
    state = [s["graft"] for s in graft.summaries.values() if "valgrind" in s["graft"]["why_off"]]
    check(state and not any(s["enabled"] for s in state), f"heap not off: {graft.summaries}")
    check(graft.err.count("\n") <= 1, f"more than one line: {graft.err}")
    wrong = context.graft([*command, context.program("misuse.c"), "interior+8", "64", "free"],
                          limit=120)
    check("Invalid free" in wrong.err, f"memcheck finds nothing any more: {wrong.text()}")


@CASES("switches.valgrind-without-malloc")
def callgrind(context):
    """A tool of valgrind that does not replace malloc: graft stays on."""
    program = context.program(HELLO)
    native = context.native([program])
    graft = context.graft([need("valgrind"), "-q", "--tool=none", program], limit=120)
    check((graft.status, graft.out) == (0, native.out), graft.text())


def sanitized(context, program, env):
    native = context.native([program], env)
    if native.status != 0:
        raise Skip(f"does not run natively: {native.err[:200]}")
    graft = context.graft([program], env)
    check((graft.status, graft.out) == (0, native.out), graft.text())
    check(all(not s["graft"]["enabled"] and "sanitizer" in s["graft"]["why_off"]
              for s in graft.summaries.values()), f"not off: {graft.summaries}")
    check(graft.summaries, "no summary")
    wrong = context.graft([program, "x"], env)
    check(wrong.status != 0 and "heap-buffer-overflow" in wrong.err, wrong.text())


@CASES("switches.with-asan")
def asan(context):
    # The order of libraries is asan's own worry: it wants to be the first.
    sanitized(context, context.program("asan.c", ["-fsanitize=address"]),
              {"ASAN_OPTIONS": "verify_asan_link_order=0:detect_leaks=0"})


@CASES("switches.with-static-asan")
def static_asan(context):
    compiler = shutil.which("clang-19") or shutil.which("clang")
    if compiler is None:
        raise Skip("clang is not installed")
    source = pathlib.Path(__file__).resolve().parents[1] / "prog/asan.c"
    program = context.path("asan")
    build = subprocess.run([compiler, "-g", "-fno-builtin", "-fsanitize=address", source, "-o",
                            program], capture_output=True, text=True, timeout=120, check=False)
    if build.returncode != 0:
        raise Skip(f"clang cannot build it: {build.stderr[:200]}")
    sanitized(context, program, {"ASAN_OPTIONS": "detect_leaks=0"})
