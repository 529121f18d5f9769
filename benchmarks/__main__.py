"""`make bench`: what ingest and a run cost, next to peers on the same files and next to a run with nothing new.

Usage: python -m benchmarks [--events N] [--requests N] [--long-gigabytes G] [--tiny-files N] [--only PART]. Prints a
table for each part; the goals stand beside the figures.
Belongs here: which costs are compared. Does not: files (made_files), peers, measuring.
"""

import argparse
import gzip
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import duckdb
from rich.console import Console
from rich.table import Table

from benchmarks import made_files, peers
from benchmarks.measure import Cost, run

MTW = str(Path(sys.executable).with_name("mtw"))

INGEST = """
import sys
from pathlib import Path
from log_ingest.ingest import ingest
ingest(Path(sys.argv[1]), Path(sys.argv[2]), run_id="bench")
"""

INGEST_BESIDE = """
import sys
from pathlib import Path
from log_ingest.ingest import ingest
from log_ingest.ledger_database import PostgresUrl
landing, warehouse, url, count = sys.argv[1:]
ingest(Path(landing), Path(warehouse), run_id="bench", ledger_at=PostgresUrl(url) if url else None,
       worker_count=int(count) or 1)
"""

DECOMPRESS = """
import gzip, sys
with gzip.open(sys.argv[1]) as stream:
    while stream.read(8 << 20):
        pass
"""

PARTS: dict[str, Callable[["Bench"], None]] = {}


def part(function: Callable[["Bench"], None]) -> Callable[["Bench"], None]:
    PARTS[function.__name__.strip("_")] = function
    return function


class Bench:
    """One run of the benchmarks: its files, its console, its sizes."""

    def __init__(self, base: Path, arguments: argparse.Namespace) -> None:
        self.base, self.arguments = base, arguments
        self.console = Console(width=150)
        self._sample: Path | None = None

    @property
    def sample(self) -> Path:
        """The landing folder of a sample; made when first asked for."""
        if self._sample is None:
            self._sample = self.base / "sample"
            self.console.print(f"Writing a sample of {self.arguments.events:,} events …")
            run([MTW, "sample", "--events", str(self.arguments.events), str(self._sample)])
        return self._sample

    def landing(self, source: str, name: str) -> tuple[Path, Path]:
        """A new landing folder for one file: the folder, and where the file goes."""
        folder = self.base / name
        file = folder / source / "site" / "all.log"
        file.parent.mkdir(parents=True)
        return folder, file

    def ingest(self, landing: Path) -> Cost:
        return self.ingest_counted(landing)[0]

    def ingest_counted(self, landing: Path) -> tuple[Cost, tuple[int, int]]:
        """The cost, and how many tracking lines were kept and set aside."""
        warehouse = landing.with_name(f"{landing.name}-warehouse")
        shutil.rmtree(warehouse, ignore_errors=True)
        cost = run([sys.executable, "-c", INGEST, str(landing), str(warehouse)])
        kept, aside = (rows_in(f"{warehouse}/landed/{name}/*/*.parquet") for name in ("tracking_logs", "set_aside"))
        shutil.rmtree(warehouse)
        return cost, (kept, aside)

    def show(self, title: str, rows: list[tuple[str, Cost, int, int, str, str]]) -> None:
        """rows: what, its cost, lines, bytes, ratio, goal."""
        table = Table(title=title, title_justify="left")
        for column in ("what", "wall s", "CPU s", "CPU s / M lines", "lines / s", "MB / s", "peak MB", "ratio", "goal"):
            table.add_column(column, justify="left" if column in ("what", "goal") else "right")
        for what, cost, lines, size, ratio, goal in rows:
            table.add_row(
                what,
                f"{cost.wall_seconds:.1f}",
                f"{cost.cpu_seconds:.1f}",
                f"{cost.cpu_seconds / lines * 1e6:.2f}",
                f"{lines / cost.wall_seconds:,.0f}",
                f"{size / cost.wall_seconds / 1e6:,.0f}",
                f"{cost.peak_bytes / 1e6:,.0f}",
                ratio,
                goal,
            )
        self.console.print(table)


@part
def tracking_logs(bench: Bench) -> None:
    """Ingest of one file next to a bare DuckDB parse, scripts of other engines and decompression alone.

    Raises RuntimeError where a script that is called equivalent keeps other lines than ingest.
    """
    landing, file = bench.landing("tracking_logs", "tracking")
    lines, size = made_files.plain_logs(bench.sample, file)
    target, aside = bench.base / "peer.parquet", bench.base / "peer-aside.parquet"
    bare = run([sys.executable, "-c", peers.DUCKDB, str(file), str(target)])
    rows = [("bare DuckDB parse", bare, lines, size, "1.00", "the peer: accounts for nothing")]
    own, counts = bench.ingest_counted(landing)
    rows.append(
        ("ingest: ledger, quarantine, digests", own, lines, size, f"{_ratio(own, bare)} × bare", "≤ 1.5 × bare")
    )
    python, missing = peers.environment(bench.base / "peers")
    for peer in peers.PEERS:
        if peer.package in missing:
            bench.console.print(f"{peer.name}: {peer.package} cannot be installed here, not measured")
            continue
        for path in (target, aside):
            path.unlink(missing_ok=True)
        more = [str(aside), peers.VALID, peers.USUAL] if peer.is_equivalent else []
        cost = run([str(python), "-c", peer.script, str(file), str(target), *more])
        goal = ""
        if peer.is_equivalent:
            found = rows_in(str(target)), rows_in(str(aside))
            if found != counts:
                raise RuntimeError(f"{peer.name} kept and set aside {found} lines, ingest {counts}: not equivalent")
            goal = f"ingest costs less ({_ratio(own, cost)} ×)"
        rows.append((peer.name, cost, lines, size, f"{_ratio(cost, bare)} × bare", goal))
    bench.console.print(f"Ingest and the equivalent scripts: {counts[0]:,} lines kept, {counts[1]:,} set aside")
    few, beginning = bench.landing("tracking_logs", "few")
    with file.open("rb") as stream:
        beginning.write_bytes(b"".join(islice(stream, 1000)))
    bench.console.print(f"Of ingest's CPU {bench.ingest(few).cpu_seconds:.1f} s are its start: so much for 1,000 lines")
    packed = file.with_suffix(".gz")
    packed.write_bytes(gzip.compress(file.read_bytes(), 6))
    floor = run([sys.executable, "-c", DECOMPRESS, str(packed)])
    rows.append(("decompression alone (gzip)", floor, lines, size, f"{_ratio(floor, bare)} × bare", "the floor"))
    bench.show(f"Tracking logs: {lines:,} lines, {size / 1e6:,.0f} MB", rows)


@part
def access_logs(bench: Bench) -> None:
    """Ingest of an access log in which one line in twenty is a tracking request, next to GoAccess."""
    landing, file = bench.landing("access_logs", "access")
    lines = bench.arguments.requests
    size = made_files.access_log(file, lines)
    own = bench.ingest(landing)
    rows = [("ingest", own, lines, size, "1.00", "")]
    if program := peers.goaccess():
        cost = run(
            [program, str(file), "--log-format=COMBINED", "--no-progress", "-o", str(bench.base / "report.json")]
        )
        faster = f"{cost.wall_seconds / own.wall_seconds:.1f} × faster"
        rows.append(("GoAccess", cost, lines, size, f"ingest {faster}", "≥ 10 × GoAccess's lines / s"))
    else:
        bench.console.print("GoAccess is not installed (apt-get install goaccess), not measured")
    bench.show(f"Access log: {lines:,} lines, {size / 1e6:,.0f} MB, 5 % tracking requests", rows)


@part
def memory(bench: Bench) -> None:
    """Peak memory and linearity: one long file in two sizes, and many tiny files."""
    rows = []
    per_line = []
    whole = int(bench.arguments.long_gigabytes * 1e9)
    for size in (whole // 10, whole):
        landing, file = bench.landing("tracking_logs", f"long-{size}")
        lines = made_files.long_log(file, size)
        cost = bench.ingest(landing)
        per_line.append(cost.cpu_seconds / lines)
        rows.append(
            (
                f"one file of {size / 1e9:.1f} GB",
                cost,
                lines,
                size,
                f"{per_line[-1] / per_line[0]:.2f} × a line",
                "≤ 1000 MB, 1.0",
            )
        )
        shutil.rmtree(landing)
    landing = bench.base / "tiny"
    lines = made_files.tiny_logs(landing / "tracking_logs", bench.arguments.tiny_files)
    cost = bench.ingest(landing)
    rows.append((f"{bench.arguments.tiny_files:,} files of 3 lines", cost, lines, lines * 200, "", "≤ 1000 MB"))
    bench.show("Memory of ingest", rows)


@part
def ingest_workers(bench: Bench) -> None:
    """The same tracking lines in eight files, with the ledger in a file and in PostgreSQL, by one, two, four processes.

    They share this machine's cores with each other, and each lets DuckDB use all of them: on two cores no ratio can
    come near the number of processes.
    """
    # The tests' own server: loopback, no fsync of its own.
    from tests.postgres import running_server

    _, file = bench.landing("tracking_logs", "split")
    lines, size = made_files.plain_logs(bench.sample, file)
    made_files.split(file, 8)
    landing, warehouse = file.parents[2], bench.base / "workers"
    script = [sys.executable, "-c", INGEST_BESIDE, str(landing), str(warehouse)]
    rows = []
    with running_server() as server:
        for what, count in (
            ("SQLite, one process", 0),
            ("PostgreSQL, 1", 1),
            ("PostgreSQL, 2", 2),
            ("PostgreSQL, 4", 4),
        ):
            shutil.rmtree(warehouse, ignore_errors=True)
            cost = run([*script, server.new_database().url if count else "", str(count)])
            ratio = f"{rows[0][1].wall_seconds / cost.wall_seconds:.2f} × the lines / s" if rows else "1.00"
            rows.append((what, cost, lines, size, ratio, ""))
    bench.show(f"Ingest workers: {lines:,} lines, {size / 1e6:,.0f} MB in 8 files, {os.cpu_count()} cores", rows)


@part
def whole_run(bench: Bench) -> None:
    """The pipeline over the sample, then with nothing new."""
    lines, size = made_files.plain_logs(bench.sample, bench.base / "counted" / "all.log")
    settings = {"MTW_LANDING_DIR": str(bench.sample), "MTW_WAREHOUSE_DIR": str(bench.base / "warehouse")}
    full = run([MTW, "run"], settings)
    again = run([MTW, "run"], settings)
    bench.show(
        f"Whole run: {lines:,} tracking lines and their reference data",
        [
            ("full run", full, lines, size, "1.00", ""),
            ("run with nothing new", again, lines, size, f"{_ratio(again, full)} × full", "≤ 10 s wall"),
        ],
    )


def rows_in(parquet: str) -> int:
    """Rows of the Parquet files that a pattern names."""
    return duckdb.read_parquet(parquet).aggregate("count(*)").fetchall()[0][0]


def _ratio(cost: Cost, base: Cost) -> str:
    return f"{cost.cpu_seconds / base.cpu_seconds:.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks")
    # Of a smaller one, the start of a process decides.
    parser.add_argument("--events", type=int, default=5_000_000, help="size of the sample")
    parser.add_argument("--requests", type=int, default=1_000_000, help="size of the access log")
    parser.add_argument("--long-gigabytes", type=float, default=1.0, help="size of the one long file")
    parser.add_argument("--tiny-files", type=int, default=10_000)
    parser.add_argument("--only", choices=sorted(PARTS), action="append", help="measure this part alone")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="mtw-bench-") as folder:
        bench = Bench(Path(folder), arguments)
        for name in arguments.only or list(PARTS):
            PARTS[name](bench)


if __name__ == "__main__":
    main()
