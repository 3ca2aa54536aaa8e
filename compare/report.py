#!/usr/bin/env python3
"""Draws what run.py measured: tables of medians as ratios to a base malloc, geometric means, the best
peer of each row, and a mark where graft is more than 15 % behind that.

  compare/report.py [RUNS.jsonl] [--base jemalloc] [--html page.html] > table.md"""

import argparse
import dataclasses
import pathlib
import sys
import time

import figures
import page
import run


@dataclasses.dataclass
class Grid:
    head: list
    rows: list  # (class, cells)

    def markdown(self):
        lines = ["| " + " | ".join(self.head) + " |",
                 "|---|" + "---:|" * (len(self.head) - 1)]
        lines += ["| " + " | ".join(f"**{cell}**" if kind == "mean" and cell else cell
                                    for cell in cells) + " |" for kind, cells in self.rows]
        return "\n".join(lines)


def number(value):
    return f"{value:.3g}" if value < 1000 else f"{value:.0f}"


def ratio_grid(metric, rows, libraries, base, subject, failed):
    """One row per command: ratios to the base, the base's own figure, and graft beside its peers."""
    grid = Grid(["", *libraries, f"{base}, {metric.unit}", f"{subject}: 95 % interval",
                 f"{subject} / best peer"], [])
    for row in rows:
        cells = [row.command]
        for name in libraries:
            cells.append(f"{row.ratios[name]:.2f}" if name in row.ratios else
                         "failed" if (row.command, name) in failed else "-")
        cells.append(f"{number(row.cells[base].median)} ± {row.cells[base].spread * 100:.0f} %"
                     if base in row.cells else "-")
        cells.append(f"{row.interval[0]:.2f} - {row.interval[1]:.2f}" if row.interval else "-")
        cells.append(f"{row.to_best:.2f} ({row.best_peer})" + (" behind" if row.behind else "")
                     if row.to_best is not None else "-")
        grid.rows.append(("behind" if row.behind else "", cells))
    means, count = figures.means(rows, libraries)
    if count:
        cells = [f"geomean of {count}", *(f"{means[name]:.2f}" for name in libraries), "", "", ""]
        grid.rows.append(("mean", cells))
    return grid


def plain_grid(metric, rows, libraries):
    """Figures that only some workloads print: as they are."""
    grid = Grid([metric.unit, *libraries], [])
    for row in rows:
        grid.rows.append(("", [row.command, *(number(row.cells[name].median) if name in row.cells
                                              else "-" for name in libraries)]))
    return grid


def sections(records, libraries, base, subject):
    result = []
    good = {(record["command"], record["library"]) for record in records if record["ok"]}
    failed = {(record["command"], record["library"]) for record in records} - good
    for metric in figures.METRICS:
        rows = figures.rows(records, metric, base, subject)
        if rows and metric.main:
            result.append((f"{metric.title}, ratio to {base}", rows,
                           ratio_grid(metric, rows, libraries, base, subject, failed)))
        elif rows:
            title = f"{metric.title}, {metric.unit}" if metric.unit else metric.title
            result.append((title, rows, plain_grid(metric, rows, libraries)))
    return result


def how(runs):
    last = runs.headers[-1]["header"]
    machine = last["machine"]
    good = [record for record in runs.records if record["ok"]]
    loads = sorted(record["load"] for record in good)
    lines = [
        f"{machine['cpu']}, {machine['cpus']} CPUs, {machine['memory_kib'] // 2 ** 20} GiB, "
        f"Linux {machine['kernel']}; {time.strftime('%Y-%m-%d', time.gmtime(last['when']))}",
        f"{len(good)} runs, interleaved and rotated; workloads at scale {last['scale']} %; load "
        f"average of the machine before a run: median {loads[len(loads) // 2]:.1f}, highest "
        f"{loads[-1]:.1f}" if loads else "no run succeeded",
        "medians; ± is half the range; the interval is that of the ratio of medians, by resampling"]
    for entry in runs.headers:
        for name, library in entry["header"]["libraries"].items():
            line = f"{name}: {library['path'] or 'the C library'} {library['digest']}".rstrip()
            if line not in lines:
                lines.append(line)
    problems = {}
    for record in runs.records:
        if not record["ok"]:
            key = (record["command"], record["library"], record.get("problem", ""),
                   (record.get("errors", "").strip().splitlines() or [""])[-1])
            problems[key] = problems.get(key, 0) + 1
    lines += [f"failed {count} times: {command} under {library}: {problem}; {error}".rstrip("; ")
              for (command, library, problem, error), count in problems.items()]
    return lines


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="?", default=run.RUNS)
    parser.add_argument("--base", default="jemalloc", help="ratios are to this malloc")
    parser.add_argument("--subject", default="graft", help="the malloc that is held against its peers")
    parser.add_argument("--html", help="write the page with plots here")
    args = parser.parse_args(arguments)
    runs = run.Runs(args.runs)
    if not runs.records:
        sys.exit(f"{args.runs} has no runs")
    libraries = list(dict.fromkeys(
        name for entry in runs.headers for name in entry["header"]["libraries"]))
    if args.base not in libraries:
        sys.exit(f"no runs of {args.base}; --base can be {', '.join(libraries)}")
    drawn = sections(runs.records, libraries, args.base, args.subject)
    lines = how(runs)
    for title, _, grid in drawn:
        print(f"## {title}\n\n{grid.markdown()}\n")
    print("## How it was measured\n\n" + "\n".join(f"- {line}" for line in lines))
    if args.html:
        pathlib.Path(args.html).write_text(page.page(
            "graft beside other mallocs", drawn, lines, libraries, args.subject, args.base))
    return 0


if __name__ == "__main__":
    sys.exit(main())
