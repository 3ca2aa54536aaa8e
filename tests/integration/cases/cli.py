"""The graft command: `run` becomes the program with its exit status, refuses with the codes of
env(1) and hands options over; `options` and `doctor` work. Skipped where it was not built."""

import re

from harness import Cases, Skip, agree, check, need

CASES = Cases()


def cli(context):
    if context.cli is None:
        raise Skip("no --cli given")
    return context.cli


def run(context, *words, env=None, **more):
    return context.run([cli(context), "run", "--lib", context.lib, *words],
                       {"GRAFT_SUMMARY": f"{context.path()}/summary.%p", **(env or {})}, **more)


@CASES("cli.run")
def becomes(context):
    cli(context)
    program = context.program("hello.c")
    native, graft = context.native([program, "a", "b c"]), run(context, "--", program, "a", "b c")
    agree(native, graft)
    check(context.path(f"summary.{graft.pid}").exists(), "the program did not run on graft")
    graft = run(context, "--misuse=report", "--decay-ms", "10", program, "misuse")
    check(graft.status == 0 and graft.err.count("graft: free(") == 1, graft.text())


@CASES("cli.exit-status")
def status(context):
    cli(context)
    shell = need("sh")
    plain = context.write("plain-file", "no program")
    for words, expected in (([shell, "-c", "exit 0"], 0), ([shell, "-c", "exit 93"], 93),
                            ([shell, "-c", "kill -TERM $$"], -15),
                            (["no-such-program"], 127), ([plain], 126), ([str(context.dir)], 126)):
        result = run(context, "--", *words)
        check(result.status == expected, f"{expected} expected: {result.text()}")
    for words in (["--bogus", "--", shell], ["--decay-ms=x", "--", shell], ["--deny=x", shell], []):
        result = run(context, *words)
        check(result.status == 125 and result.err, f"125 expected: {result.text()}")
    missing = context.run([cli(context), "run", "--lib", "/nonexistent/libgraft.so", shell])
    check(missing.status == 125, missing.text())


@CASES("cli.keeps-other-preloads")
def preloads(context):
    cli(context)
    other = context.library("wraplog.c")
    result = run(context, "--", context.program("hello.c"), "preload", env={"LD_PRELOAD": other})
    check(re.search(rf"preload=\S*libgraft\.so[: ]{re.escape(other)}", result.out), result.text())


@CASES("cli.options")
def options(context):
    result = context.native([cli(context), "options"])
    check(result.status == 0 and "GRAFT_MISUSE" in result.out and "GRAFT_DECAY_MS" in result.out,
          result.text())


@CASES("cli.doctor")
def doctor(context):
    result = context.native([cli(context), "doctor", "--lib", context.lib])
    if result.status not in (0, 1):
        result = context.native([cli(context), "doctor"], {"GRAFT_LIB": context.lib})
    check(result.status == 0, result.text())
    for word in ("kernel", "glibc"):
        check(word in result.out.lower(), f"no word about {word}\n{result.text()}")
