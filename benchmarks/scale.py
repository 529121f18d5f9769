"""What the runs that were measured (engines.csv) say of sizes that were not: tables and the picture of docs/scale.md.

Usage: python -m benchmarks.scale: writes the tables between their marks in docs/scale.md, and docs/images/scale.svg.
Belongs here: the model of cost by size, its assumptions among the constants. Does not: measuring (engines.py).

A straight line through first runs: a fixed part, and a part for each event. That is an assumption, and beyond the
largest size measured a bold one: sorts and joins that no longer fit into memory cost more for each event, not the same.
"""

import csv
import io
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

from report_docs.charts import COLOURS, STYLE

ROOT = Path(__file__).parents[1]
MEASURED = Path(__file__).with_name("engines.csv")
PAGE = ROOT / "docs" / "scale.md"
PICTURE = ROOT / "docs" / "images" / "scale.svg"

SIZES = (1_000_000, 10_000_000, 100_000_000, 1_000_000_000, 10_000_000_000)
"""Events a day that the model is asked for."""
CORES_OF_MACHINE = 2
CORES_USED_BY_DUCKDB = 1.5
"""Of the two: CPU by wall seconds of first runs over 5 million events that nothing else disturbed (noted "quiet")."""
USED_OF_CLUSTER = 0.5
"""Assumed, not measured: the part of a cluster's cores that work while it builds."""
ENGINES = ("duckdb", "spark")
HOUR, DAY = 3600.0, 86400.0


@dataclass(frozen=True)
class Run:
    """One measured run. Sizes in megabytes; publish_seconds: wall."""

    engine: str
    events: int
    kind: str
    cpu_seconds: float
    wall_seconds: float
    publish_seconds: float
    peak_mb: int
    landed_mb: int
    working_mb: int
    published_mb: int
    measured_on: str
    note: str


@dataclass(frozen=True)
class Line:
    """seconds = fixed + each * events."""

    fixed: float
    each: float

    def at(self, events: float) -> float:
        return self.fixed + self.each * events

    def events_within(self, seconds: float) -> float:
        return max(0.0, (seconds - self.fixed) / self.each)


def measured_runs(path: Path = MEASURED) -> list[Run]:
    with path.open(newline="", encoding="utf-8") as stream:
        return [
            Run(
                *(row["engine"], int(row["events"]), row["run"]),
                *(float(row[name] or 0) for name in ("cpu_seconds", "wall_seconds", "publish_seconds")),
                *(int(row[name] or 0) for name in ("peak_mb", "landed_mb", "working_mb", "published_mb")),
                *(row["measured_on"], row["note"]),
            )
            for row in csv.DictReader(stream)
        ]


def line_through(points: Iterable[tuple[float, float]]) -> Line:
    """Least squares of the relative errors: the smallest size weighs as much as the largest. Needs two sizes."""
    found = list(points)
    if len({x for x, _ in found}) < 2:
        raise ValueError("a line needs two sizes")
    weights = [1 / y**2 for _, y in found]
    total = sum(weights)
    mean_x = sum(weight * x for weight, (x, _) in zip(weights, found, strict=True)) / total
    mean_y = sum(weight * y for weight, (_, y) in zip(weights, found, strict=True)) / total
    each = sum(weight * (x - mean_x) * (y - mean_y) for weight, (x, y) in zip(weights, found, strict=True)) / sum(
        weight * (x - mean_x) ** 2 for weight, (x, _) in zip(weights, found, strict=True)
    )
    return Line(mean_y - each * mean_x, each)


def first_runs(runs: Iterable[Run], engine: str) -> list[Run]:
    return sorted((run for run in runs if run.engine == engine and run.kind == "first"), key=lambda run: run.events)


def cpu_line(runs: Iterable[Run], engine: str) -> Line:
    """CPU seconds of a first run by its events."""
    return line_through((run.events, run.cpu_seconds) for run in first_runs(runs, engine))


def modelled(runs: Iterable[Run]) -> list[str]:
    """The engines of which two sizes were measured; of others nothing can be said of other sizes."""
    found = list(runs)
    return [engine for engine in ENGINES if len({run.events for run in first_runs(found, engine)}) > 1]


def dearest_line(runs: Iterable[Run], engine: str) -> Line:
    """At the cost of an event in the largest run: less bold than cpu_line where larger runs cost more."""
    largest = first_runs(runs, engine)[-1]
    return Line(0.0, largest.cpu_seconds / largest.events)


def publish_seconds_each(runs: Iterable[Run], kind: str) -> float:
    """Wall seconds of publishing for each event that is kept, of the largest run that nothing else disturbed.

    kind: "first", which copies all, or "a little new", which writes rows that changed.
    """
    quiet = [run for run in runs if run.engine == "duckdb" and run.kind == kind and run.note.startswith("quiet")]
    largest = sorted(quiet, key=lambda run: (run.events, run.measured_on))[-1]  # of one day the one that was added last
    return largest.publish_seconds / largest.events


# -- what is written


def measured_table(runs: Iterable[Run]) -> str:
    header = (
        "engine",
        "events",
        "run",
        "CPU s",
        "wall s",
        "peak MB",
        "landed MB",
        "working MB",
        "published MB",
        "when, and what else the machine did",
    )
    return _table(
        header,
        (
            (
                *(run.engine, f"{run.events:,}", run.kind, f"{run.cpu_seconds:,.0f}"),
                f"{run.wall_seconds:,.0f}" if run.wall_seconds else "",
                *(
                    f"{size:,}" if size else ""
                    for size in (run.peak_mb, run.landed_mb, run.working_mb, run.published_mb)
                ),
                f"{run.measured_on}, {run.note}",
            )
            for run in runs
        ),
    )


def lines_table(runs: list[Run]) -> str:
    rows = []
    for engine in modelled(runs):
        line, points = cpu_line(runs, engine), first_runs(runs, engine)
        worst = max(abs(line.at(run.events) / run.cpu_seconds - 1) for run in points)
        rows.append(
            (
                engine,
                str(len(points)),
                f"{points[-1].events:,}",
                f"{line.fixed:,.0f}",
                f"{line.each * 1e6:,.0f}",
                f"{worst:.0%}",
            )
        )
    return _table(("engine", "sizes", "largest", "fixed CPU s", "CPU s / M events", "worst miss of a point"), rows)


def sizes_table(runs: list[Run]) -> str:
    duckdb = cpu_line(runs, "duckdb")
    spark = cpu_line(runs, "spark") if "spark" in modelled(runs) else None
    largest = first_runs(runs, "duckdb")[-1].events
    rows = []
    for events in SIZES:
        wall = duckdb.at(events) / CORES_USED_BY_DUCKDB
        rows.append(
            (
                f"{events:,}",
                "near what was measured" if events <= 2 * largest else f"{events / largest:,.0f} × beyond",
                _cpu(duckdb.at(events)),
                _wall(wall),
                "yes" if wall <= HOUR else "in a day" if wall <= DAY else "no",
                *(
                    (_cpu(spark.at(events)), f"{math.ceil(spark.at(events) / HOUR / USED_OF_CLUSTER):,}")
                    if spark
                    else ()
                ),
            )
        )
    header = (
        *("events a day", "the model is", "DuckDB: CPU", f"DuckDB: wall on {CORES_OF_MACHINE} cores", "in an hour?"),
        *(("Spark: CPU", "Spark: cores to build them in an hour") if spark else ()),
    )
    return _table(header, rows)


def limits_table(runs: list[Run]) -> str:
    cpu = CORES_USED_BY_DUCKDB

    def within(seconds: float) -> str:
        events = [
            line.events_within(seconds * cpu) for line in (dearest_line(runs, "duckdb"), cpu_line(runs, "duckdb"))
        ]
        return " to ".join(f"{count / 1e6:,.0f}" for count in sorted(events)) + " million events a day"

    # Runs that hold all sizes of the disk; the largest is the one in which fixed parts weigh least.
    sized = [run for run in first_runs(runs, "duckdb") if run.landed_mb and run.working_mb and run.published_mb][-1]
    each = (sized.landed_mb + sized.working_mb + sized.published_mb) * 1e6 / sized.events
    rows = (
        ("a first build of a day's events takes an hour", within(HOUR)),
        ("it takes the whole day", within(DAY)),
        (
            "publishing alone takes an hour, in every run: rows that changed, and all Parquet",
            f"{_millions(HOUR / publish_seconds_each(runs, 'a little new'))} events kept",
        ),
        (
            "publishing alone takes an hour, where all is copied: in every 25th run",
            f"{_millions(HOUR / publish_seconds_each(runs, 'first'))} events kept",
        ),
        (
            f"1 TB of disk is full ({each:,.0f} bytes an event: landed, working, one published version)",
            f"{_millions(1e12 / each)} events kept",
        ),
    )
    return _table((f"on {CORES_OF_MACHINE} cores, with DuckDB", "by the model, at"), rows)


TABLES: dict[str, Callable[[list[Run]], str]] = {
    "measured": measured_table,
    "lines": lines_table,
    "sizes": sizes_table,
    "limits": limits_table,
}
"""By the mark in the page that it stands between."""


def with_tables(page: str, runs: list[Run]) -> str:
    """The page with its tables written anew. Raises ValueError where a mark is missing."""
    for name, render in TABLES.items():
        begin, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
        if begin not in page or end not in page:
            raise ValueError(f"{PAGE.name} has no mark {begin.strip()}")
        before, _, rest = page.partition(begin)
        page = before + begin + render(runs) + end + rest.partition(end)[2]
    return page


def picture(runs: list[Run]) -> str:
    """CPU hours by events on two logarithmic axes: points that were measured, and lines that were not."""
    with matplotlib.rc_context(STYLE | {"svg.hashsalt": "scale"}):
        figure = Figure(figsize=(6.4, 3.6), layout="constrained")
        axes = figure.add_subplot()
        axes.set_title("CPU of a first run by its events: points were measured, lines are the model")
        for engine, colour in zip(ENGINES, COLOURS, strict=False):
            points = first_runs(runs, engine)
            if not points:
                continue
            if engine in modelled(runs):
                line = cpu_line(runs, engine)
                places = [10 ** (at / 10) for at in range(40, 101)]
                inside = [place for place in places if place <= points[-1].events]
                beyond = [place for place in places if place >= points[-1].events]
                axes.plot(inside, [line.at(x) / HOUR for x in inside], color=colour)
                axes.plot(beyond, [line.at(x) / HOUR for x in beyond], color=colour, linestyle=":")
            axes.plot(
                [run.events for run in points], [run.cpu_seconds / HOUR for run in points],
                color=colour, marker="o", markersize=4, linestyle="", label=engine,
            )  # fmt: skip
        for hours, label in ((CORES_USED_BY_DUCKDB, "an hour"), (CORES_USED_BY_DUCKDB * 24, "a day")):
            axes.axhline(hours, color="#999999", linewidth=0.6)
            axes.text(1e4, hours * 1.1, f"{label} of two cores, as DuckDB uses them", color="#666666", fontsize=7)
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.xaxis.set_major_formatter(lambda events, _: _short(events))
        axes.yaxis.set_major_formatter(lambda hours, _: f"{hours:g}")
        axes.set_xlabel("events")
        axes.set_ylabel("CPU hours")
        axes.legend(loc="lower right")
        stream = io.StringIO()
        figure.savefig(stream, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    return "".join(f"{line.rstrip()}\n" for line in stream.getvalue().splitlines())


def _table(header: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    names = list(header)
    lines = [names, ["--:" if at else "---" for at in range(len(names))], *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def _cpu(seconds: float) -> str:
    return f"{seconds / HOUR:,.2f} h" if seconds < 10 * HOUR else f"{seconds / HOUR:,.0f} h"


def _wall(seconds: float) -> str:
    return f"{seconds / 60:,.0f} min" if seconds < 2 * HOUR else f"{seconds / HOUR:,.0f} h"


def _short(events: float) -> str:
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if events >= size:
            return f"{events / size:g} {letter}"
    return f"{events:g}"


def _millions(count: float) -> str:
    return f"{count / 1e6:,.0f} million"


def main() -> None:
    runs = measured_runs()
    PAGE.write_text(with_tables(PAGE.read_text(encoding="utf-8"), runs), encoding="utf-8")
    PICTURE.write_text(picture(runs), encoding="utf-8")


if __name__ == "__main__":
    main()
