"""Memory and libraries that are not graft's: blocks of the C library, of a second C library and of
libraries opened with RTLD_DEEPBIND, and dlopen that still searches its caller's RUNPATH."""

from harness import Cases, check

CASES = Cases()

MODES = ({}, {"GRAFT_DENY": "all"}, {"GRAFT_HEAP_CHECK": "1"})


@CASES("foreign.blocks-of-libc")
def libc(context):
    for mode in MODES:
        context.same([context.program("foreign.c"), "libc"], graft_env=mode)


@CASES("foreign.blocks-of-another-namespace")
def namespace(context):
    command = [context.program("foreign.c"), "namespace", context.library("duptext.c")]
    for mode in MODES:
        context.same(command, graft_env=mode)


@CASES("foreign.deepbind")
def deepbind(context):
    command = [context.program("foreign.c"), "deepbind", context.library("duptext.c")]
    for mode in MODES:
        context.same(command, graft_env=mode)


@CASES("foreign.runpath-of-the-caller")
def runpath(context):
    for folder, name in (("own", "own"), ("middles", "middles"), ("middles", "other")):
        context.library("duptext.c", output=f"runpath/{folder}/lib{name}.so")
    context.library("runpath.c", ["-DMIDDLE", "-Wl,--enable-new-dtags,-rpath,$ORIGIN/middles"],
                    output="runpath/libmiddle.so")
    folder = context.shop.bin / "runpath"
    flags = [f"-L{folder}", "-lmiddle", "-Wl,--enable-new-dtags,-rpath,$ORIGIN/own:$ORIGIN"]
    program = context.program("runpath.c", flags, output="runpath/program")
    native, _ = context.same([program])
    expected = ["own: here", "own in a namespace: here", "middle's, from the program: not found",
                "middle's, from middle: here", "own, by now loaded: here", "middle's other: here",
                "nobody's: not found"]
    check(native.out.splitlines() == expected, f"the case itself is wrong: {native.text()}")
