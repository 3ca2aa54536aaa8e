"""The arithmetic of the report: medians, spread, ratios to a base malloc and their intervals, geometric
means over the rows that every malloc has, and the rows in which graft is behind its best peer. Input
are the records that run.py writes. Without I/O, so that tests can hold it against numbers."""

import dataclasses
import math
import random
import statistics

KIB_PER_MIB = 1024
BEHIND = 1.15


def own(record, key):
    value = record.get("own", {}).get(key)
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def _time(record):
    for value in (record.get("time"), own(record, "seconds"), record["wall"]):
        if value is not None:
            return value


def _cpu(record):
    value = own(record, "cpu")
    return record["user"] + record["sys"] if value is None else value


def _max_rss(record):
    value = own(record, "max_rss_kib")
    return (record["max_rss_kib"] if value is None else value) / KIB_PER_MIB


def _mib(key):
    def read(record):
        value = own(record, key)
        return None if value is None else value / KIB_PER_MIB
    return read


def _per_live(record):
    kib, live = own(record, "rss_final_kib"), own(record, "live_bytes")
    return None if kib is None or not live else kib * 1024 / live


@dataclasses.dataclass(frozen=True)
class Metric:
    key: str
    title: str
    unit: str
    read: object
    main: bool = False  # has a row for every command and a geometric mean


METRICS = (
    Metric("time", "Time", "s", _time, main=True),
    Metric("cpu", "CPU time, user + system", "s", _cpu, main=True),
    Metric("max_rss", "Max RSS", "MiB", _max_rss, main=True),
    Metric("rss_average", "Average RSS", "MiB", _mib("rss_average_kib")),
    Metric("rss_final", "RSS after idling", "MiB", _mib("rss_final_kib")),
    Metric("rss_end", "RSS at the end of the work", "MiB", _mib("rss_end_kib")),
    Metric("rss_standing", "RSS while the large wave of threads stands", "MiB",
           _mib("rss_standing_kib")),
    Metric("per_live", "RSS after idling, per byte that is live", "", _per_live),
)


@dataclasses.dataclass
class Cell:
    values: list

    @property
    def median(self):
        return statistics.median(self.values)

    @property
    def spread(self):
        """Half the range, as a part of the median."""
        return (max(self.values) - min(self.values)) / 2 / self.median if self.median else 0.0


def geomean(values):
    values = list(values)
    if not values or min(values) <= 0:
        return None
    return math.exp(sum(math.log(value) for value in values) / len(values))


def interval(values, base, resamples=1000):
    """95 % of the ratios of medians lie in here when both sides are drawn again from their runs."""
    draw = random.Random(1)
    ratios = sorted(
        statistics.median(draw.choices(values, k=len(values))) /
        statistics.median(draw.choices(base, k=len(base))) for _ in range(resamples))
    return ratios[resamples * 25 // 1000], ratios[resamples * 975 // 1000 - 1]


def cells(records, metric):
    """{command: {malloc: Cell}}, commands in the order in which they were first run."""
    table = {}
    for record in records:
        value = metric.read(record) if record["ok"] else None
        if value is not None:
            row = table.setdefault(record["command"], {})
            row.setdefault(record["library"], Cell([])).values.append(value)
    return table


@dataclasses.dataclass
class Row:
    command: str
    cells: dict
    ratios: dict      # malloc -> median over the base's median; empty without a base
    best_peer: str    # empty if there is none
    to_best: float | None
    interval: tuple | None

    @property
    def behind(self):
        return self.to_best is not None and self.to_best > BEHIND


def is_peer(name):
    """Further builds of graft (graft-old, graft-nodecay) are compared, but are nobody's peers."""
    return name.split("-")[0] != "graft"


def rows(records, metric, base, subject="graft"):
    result = []
    for command, row in cells(records, metric).items():
        ratios = {}
        if base in row and row[base].median > 0:
            ratios = {name: cell.median / row[base].median for name, cell in row.items()}
        peers = {name: cell.median for name, cell in row.items() if is_peer(name)}
        best = min(peers, key=peers.get, default="")
        to_best = None
        if subject in row and best and peers[best] > 0:
            to_best = row[subject].median / peers[best]
        bounds = None
        if subject in row and base in row and min(row[base].values) > 0:
            bounds = interval(row[subject].values, row[base].values)
        result.append(Row(command, row, ratios, best, to_best, bounds))
    return result


def means(table, libraries):
    """Geometric means of the ratios over the rows that hold all `libraries`, and how many these are."""
    full = [row for row in table if all(name in row.ratios for name in libraries)]
    return {name: geomean(row.ratios[name] for row in full) for name in libraries}, len(full)
