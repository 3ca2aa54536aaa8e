"""What the preload costs a program that does nothing: every child of a shell inherits it."""

import statistics

from harness import Cases, check, need

CASES = Cases()

LIMIT_KIB = 600


@CASES("startup.max-rss", alone=True)
def max_rss(context):
    launch = context.program("launch.c", ["-static"])

    def median(preload):
        run = context.native([launch, "15", preload, need("true")])
        check(run.status == 0, run.text())
        return statistics.median(map(int, run.out.split()))
    native, graft = median(""), median(context.lib)
    check(graft > native, f"native {native:.0f} KiB, graft {graft:.0f}: was it preloaded at all?")
    check(graft <= native + LIMIT_KIB, f"native {native:.0f} KiB, graft {graft:.0f} KiB")
    return f"native {native:.0f} KiB, graft {graft:.0f} KiB"
