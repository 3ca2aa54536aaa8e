#!/usr/bin/env python3
"""What preloading libgraft.so costs a program that does nothing: every child of a shell pays it.
/bin/true runs alternately without and with the library (spawn.c measures); the median of max RSS may
grow by 600 KiB, the wall time by half; the library's initialised data, which every process maps from
the file and copies, may be 16 KiB, so the runtime's tables are .bss. Wall time is the smaller of two ratios, of the best runs and
of the medians, because a busy machine only adds."""

import argparse
import os
import statistics
import subprocess
import sys

RSS_LIMIT_KIB, WALL_LIMIT, DATA_LIMIT = 600, 1.5, 16 * 1024
RUNS = 101
PROGRAM = "/bin/true"


def data_size(lib):
    sections = subprocess.run(["readelf", "-SW", lib], capture_output=True, text=True, check=True)
    for line in sections.stdout.splitlines():
        fields = line.replace("[ ", "[").split()
        if len(fields) > 5 and fields[1] == ".data":
            return int(fields[5], 16)
    return 0


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--lib", required=True)
    parser.add_argument("--spawn", required=True, help="the program made of spawn.c")
    args = parser.parse_args()
    if not os.path.exists(PROGRAM):
        print(f"skipped: no {PROGRAM}")
        sys.exit(77)
    run = subprocess.run([args.spawn, os.path.abspath(args.lib), str(RUNS), PROGRAM],
                         capture_output=True, text=True)
    if run.returncode != 0 or run.stderr:
        sys.exit(f"{PROGRAM} under the library: exit {run.returncode}\n{run.stderr}")
    rss, wall = {}, {}
    for line in run.stdout.splitlines():
        who, kib, nanoseconds = line.split()
        rss.setdefault(who, []).append(int(kib))
        wall.setdefault(who, []).append(int(nanoseconds) / 1e6)

    def medians(figures):
        return statistics.median(figures["native"]), statistics.median(figures["preloaded"])

    native_rss, graft_rss = medians(rss)
    native_wall, graft_wall = medians(wall)
    growth = graft_rss - native_rss
    ratio = min(graft_wall / native_wall, min(wall["preloaded"]) / min(wall["native"]))
    print(f"max RSS: native {native_rss:.0f} KiB, graft {graft_rss:.0f} KiB, +{growth:.0f} KiB "
          f"(limit {RSS_LIMIT_KIB})")
    print(f"wall: native {native_wall:.2f} ms, graft {graft_wall:.2f} ms, x {ratio:.2f} "
          f"(limit {WALL_LIMIT})")
    data = data_size(args.lib)
    print(f".data: {data} bytes (limit {DATA_LIMIT})")
    sys.exit(1 if growth > RSS_LIMIT_KIB or ratio > WALL_LIMIT or data > DATA_LIMIT else 0)


main()
