"""What a whole warehouse costs by its size, on each engine; and what that says of sizes not measured.

Usage: python -m benchmarks.engines [--events N ...] [--share 0.01] [--engine duckdb ...]. For each size: a sample, the
first run, a run with nothing new, a run with a share of new events; by stage, with peak memory and disk. Then the line
through the sizes measured, and what it gives for larger ones.
Belongs here: whole runs by size. Does not: ingest next to its peers (__main__).
"""

import argparse
import shutil
import sqlite3
import sys
import tempfile
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.measure import Cost, run

MTW = str(Path(sys.executable).with_name("mtw"))
STAGES = {"ingest": "ingest", "check_landed_rows": "landed checks", "models": "models", "published__marts": "publish"}
LARGER = (100_000_000, 1_000_000_000, 10_000_000_000)


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


def size(console: Console, base: Path, engine: str, events: int, share: float) -> tuple[int, Measured]:
    """Measure one size; prints its rows. Returns the events and the first run."""
    landing, warehouse = base / f"landing-{events}", base / f"warehouse-{engine}-{events}"
    if not landing.exists():
        run([MTW, "sample", "--events", str(events), str(landing)])
    settings = {
        "MTW_LANDING_DIR": str(landing), "MTW_WAREHOUSE_DIR": str(warehouse), "MTW_ENGINE": engine,
    }  # fmt: skip
    kept = base / f"kept-{events}"
    new_lines = split_off(landing, kept, share)
    first = measured(settings)
    nothing = measured(settings)
    give_back(landing, kept)
    little = measured(settings)
    shutil.rmtree(kept, ignore_errors=True)
    table = Table(title=f"{engine}: {events:,} events, {new_lines:,} of them new in the last run", title_justify="left")
    for name in ("run", "wall s", "CPU s", *STAGES.values(), "models / ingest", "peak MB", "next to the first"):
        table.add_column(name, justify="left" if name == "run" else "right")
    spread = first.cost.wall_seconds - nothing.cost.wall_seconds
    for name, found in (("first", first), ("nothing new", nothing), ("a little new", little)):
        part = (found.cost.wall_seconds - nothing.cost.wall_seconds) / spread
        build = found.stage("models") / found.stage("ingest") if found.stage("ingest") else 0
        table.add_row(
            *(name, f"{found.cost.wall_seconds:.1f}", f"{found.cost.cpu_seconds:.1f}"),
            *(f"{found.stage(stage):.1f}" for stage in STAGES.values()),
            *(f"{build:.2f}" if build else "", f"{found.cost.peak_bytes / 1e6:.0f}", f"{part:.2f}"),
        )
    console.print(table)
    disk = {
        "landing": megabytes(landing),
        "landed": megabytes(warehouse / "landed"),
        "working": megabytes(warehouse / "work"),
        "published": megabytes(warehouse / "published"),
    }
    console.print("disk MB: " + ", ".join(f"{name} {value:,.0f}" for name, value in disk.items()) + "\n")
    shutil.rmtree(warehouse)
    return events, first


def line_through(points: list[tuple[float, float]]) -> tuple[float, float]:
    """Least squares: the fixed part and the part for each event."""
    count = len(points)
    mean_x, mean_y = sum(x for x, _ in points) / count, sum(y for _, y in points) / count
    slope = sum((x - mean_x) * (y - mean_y) for x, y in points) / sum((x - mean_x) ** 2 for x, _ in points)
    return mean_y - slope * mean_x, slope


def show_larger(console: Console, engine: str, found: list[tuple[int, Measured]]) -> None:
    """What a straight line through the sizes measured gives for larger ones: only as good as that assumption."""
    table = Table(title=f"{engine}: a line through what was measured (nothing below was run)", title_justify="left")
    for name in ("stage", "fixed s", "s / M events", *(f"{events:,} events" for events in LARGER)):
        table.add_column(name, justify="left" if name == "stage" else "right")
    for stage in STAGES.values():
        fixed, each = line_through([(events, run_.stage(stage)) for events, run_ in found])
        table.add_row(
            stage, f"{fixed:.1f}", f"{each * 1e6:.2f}", *(f"{(fixed + each * n) / 3600:.1f} h" for n in LARGER)
        )
    console.print(table)


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.engines")
    parser.add_argument("--events", type=int, nargs="+", default=[1_000_000, 5_000_000])
    parser.add_argument(
        "--share", type=float, default=0.01, help="of the plain logs' lines that arrive in the last run"
    )
    parser.add_argument("--engine", nargs="+", default=["duckdb"])
    parser.add_argument("--folder", type=Path, help="where samples are made; kept there")
    arguments = parser.parse_args()
    console = Console(width=150)
    with tempfile.TemporaryDirectory(prefix="mtw-engines-") as folder:
        base = arguments.folder or Path(folder)
        base.mkdir(parents=True, exist_ok=True)
        for engine in arguments.engine:
            found = [size(console, base, engine, events, arguments.share) for events in sorted(arguments.events)]
            if len(found) > 1:
                show_larger(console, engine, found)


if __name__ == "__main__":
    main()
