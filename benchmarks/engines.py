"""What a whole warehouse costs by its size, on each engine.

Usage: python -m benchmarks.engines [--events N ...] [--engine duckdb] [--first-only] [--share 0.01] [--append FILE]
For each size: a sample, the first run, a run with nothing new, a run with a share of new events; by stage, with peak
memory and disk. Spark: by .venv-spark/bin/python. Do not edit the checkout meanwhile: a run that finds other models
builds all anew.

CPU seconds are those of all processes, Java among them, and are what to rely on where other work runs beside; wall
seconds are not. Belongs here: whole runs by size. Does not: what they say of other sizes (scale.py), ingest next to its
peers (__main__).
"""

import argparse
import csv
import json
import shutil
import sqlite3
import sys
import tempfile
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.measure import Cost, run

MTW = str(Path(sys.executable).with_name("mtw"))
STAGES = {"ingest": "ingest", "check_landed_rows": "landed checks", "models": "models", "published__marts": "publish"}
FIELDS = (
    *("measured_on", "engine", "events", "run", "cpu_seconds", "wall_seconds"),
    *(f"{stage.replace(' ', '_')}_seconds" for stage in STAGES.values()),
    *("peak_mb", "landing_mb", "landed_mb", "working_mb", "published_mb", "note"),
)
"""Columns of the file of measured runs (scale.py reads it)."""
SPARK_CONF = {"spark.sql.shuffle.partitions": "8"}
"""Spark's own 200 suit a cluster."""


@dataclass(frozen=True)
class Measured:
    """One run: its cost, and wall seconds by stage."""

    cost: Cost
    stages: dict[str, float]

    def stage(self, name: str) -> float:
        return self.stages.get(name, 0.0)


def measured(settings: dict[str, str]) -> Measured:
    cost = run([MTW, "run"], settings)
    return Measured(cost, _stages(Path(settings["MTW_WAREHOUSE_DIR"]) / "dagster"))


def _stages(home: Path) -> dict[str, float]:
    """Wall seconds of each step of the newest run, from Dagster's event log."""
    newest = max(home.glob("history/runs/*-*.db"), key=lambda path: path.stat().st_mtime)
    connection = sqlite3.connect(f"{newest.as_uri()}?mode=ro", uri=True)
    found: dict[str, float] = {}
    rows = connection.execute(
        "select step_key, dagster_event_type, timestamp from event_logs"
        " where dagster_event_type in ('STEP_START', 'STEP_SUCCESS') order by id"
    )
    for step, kind, at in rows:
        seconds = datetime.fromisoformat(str(at)).timestamp()
        found[step] = seconds if kind == "STEP_START" else seconds - found[step]
    connection.close()
    return {STAGES[step]: seconds for step, seconds in found.items() if step in STAGES}


def split_off(landing: Path, kept: Path, share: float) -> int:
    """Move the last lines of the newest plain tracking log out of the landing folder, into kept. Returns how many.

    They come back as lines that no run has seen: what a busy hour adds.
    """
    lines = 0
    for path in sorted(landing.glob("tracking_logs/*/*.log")):
        text = path.read_bytes().splitlines(keepends=True)
        count = int(len(text) * share)
        if count:
            target = kept / path.relative_to(landing)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, target)
            path.write_bytes(b"".join(text[:-count]))
            lines += count
    return lines


def give_back(landing: Path, kept: Path) -> None:
    for path in kept.rglob("*.log"):
        shutil.copy2(path, landing / path.relative_to(kept))


def megabytes(folder: Path) -> float:
    files = folder.rglob("*") if folder.is_dir() else [folder]
    return sum(path.stat().st_size for path in files if path.is_file() and not path.is_symlink()) / 1e6


def size(
    console: Console, base: Path, engine: str, events: int, share: float, *, first_only: bool
) -> list[list[object]]:
    """Measure one size; prints its rows. Returns them in the order of FIELDS, without date and note."""
    landing, warehouse = base / f"landing-{events}", base / f"warehouse-{engine}-{events}"
    if not landing.exists():
        run([MTW, "sample", "--events", str(events), str(landing)])
    settings = {
        "MTW_LANDING_DIR": str(landing), "MTW_WAREHOUSE_DIR": str(warehouse), "MTW_ENGINE": engine,
        "MTW_SPARK_CONF": json.dumps(SPARK_CONF),
    }  # fmt: skip
    kept = base / f"kept-{events}"
    new_lines = 0 if first_only else split_off(landing, kept, share)
    runs = {"first": measured(settings)}
    if not first_only:
        runs["nothing new"] = measured(settings)
        give_back(landing, kept)
        runs["a little new"] = measured(settings)
        shutil.rmtree(kept)
    versions = sum(1 for _ in (warehouse / "published" / "versions").iterdir())
    disk = [round(megabytes(place)) for place in (landing, warehouse / "landed", warehouse / "work")]
    disk.append(round(megabytes(warehouse / "published") / versions))
    table = Table(title=f"{engine}: {events:,} events, {new_lines:,} of them new in the last run", title_justify="left")
    for name in ("run", "CPU s", "wall s", *STAGES.values(), "models / ingest", "peak MB", "CPU next to the first"):
        table.add_column(name, justify="left" if name == "run" else "right")
    rows = []
    for name, found in runs.items():
        stages = [round(found.stage(stage), 1) for stage in STAGES.values()]
        build = found.stage("models") / found.stage("ingest") if found.stage("ingest") else 0
        peak = round(found.cost.peak_bytes / 1e6)
        cpu, wall = round(found.cost.cpu_seconds, 1), round(found.cost.wall_seconds, 1)
        table.add_row(
            *(name, str(cpu), str(wall), *(str(stage) for stage in stages), f"{build:.2f}" if build else ""),
            *(str(peak), f"{found.cost.cpu_seconds / runs['first'].cost.cpu_seconds:.2f}"),
        )
        rows.append([engine, events, name, cpu, wall, *stages, peak, *disk])
    console.print(table)
    names = ("landing", "landed", "working", "a published version")
    console.print("disk MB: " + ", ".join(f"{name} {value:,}" for name, value in zip(names, disk, strict=True)) + "\n")
    shutil.rmtree(warehouse)
    return rows


def append(path: Path, rows: list[list[object]], note: str) -> None:
    """note: what else there is to know, such as what else the machine did."""
    is_new = not path.exists()
    with path.open("a", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        if is_new:
            writer.writerow(FIELDS)
        writer.writerows([date.today().isoformat(), *row, note] for row in rows)


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.engines")
    parser.add_argument("--events", type=int, nargs="+", default=[1_000_000, 5_000_000])
    parser.add_argument(
        "--share", type=float, default=0.01, help="of the plain logs' lines that arrive in the last run"
    )
    parser.add_argument("--engine", choices=("duckdb", "spark"), default="duckdb")
    parser.add_argument("--first-only", action="store_true", help="only the first run of each size")
    parser.add_argument("--folder", type=Path, help="where samples are made; kept there")
    parser.add_argument("--append", type=Path, help="a CSV file of measured runs, such as benchmarks/engines.csv")
    parser.add_argument("--note", default="", help="for that file: what else the machine did")
    arguments = parser.parse_args()
    console = Console(width=150)
    with tempfile.TemporaryDirectory(prefix="mtw-engines-") as folder:
        base = arguments.folder or Path(folder)
        base.mkdir(parents=True, exist_ok=True)
        for events in sorted(arguments.events):
            rows = size(console, base, arguments.engine, events, arguments.share, first_only=arguments.first_only)
            if arguments.append:
                append(arguments.append, rows, arguments.note)


if __name__ == "__main__":
    main()
