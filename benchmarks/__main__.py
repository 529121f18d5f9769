"""`make bench`: what a run costs next to a bare DuckDB parse of the same files, and next to a run with nothing new.

Usage: python -m benchmarks [--events N]. Prints a table; the goals stand beside the figures.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.measure import Cost, run

BARE_PARSE = """
import duckdb, sys
con = duckdb.connect()
con.execute(f'''
copy (
    select
        f[1][1] as server, try_cast('0x' || f[1][4:] as bigint) as pointer, try_cast(f[2] as timestamp) as logged_at,
        try_cast('0x' || f[3] as bigint) as message_id, try_cast('0x' || f[4] as bigint) as delivery_id,
        try_cast('0x' || f[5] as bigint) as url_id, f[6] as forced, f[7] as visitor_id, f[8] as content_kind,
        f[9] as params, f[10] as user_agent, f[11] as ip
    from (
        select string_split(line, chr(9)) as f
        from read_csv('{sys.argv[1]}', columns = {{'line': 'varchar'}}, delim = chr(1), quote = '', escape = '',
            header = false, auto_detect = false, strict_mode = false)
    )
) to '{sys.argv[2]}' (format parquet, compression zstd)
''')
"""
"""What a script does that accounts for nothing: no digest, no quarantine, no ledger, no identity, no raw bytes."""

MTW = str(Path(sys.executable).with_name("mtw"))

INGEST = """
import sys
from pathlib import Path
from log_ingest.ingest import ingest
ingest(Path(sys.argv[1]), Path(sys.argv[2]), run_id="bench")
"""


def main() -> None:
    arguments = argparse.ArgumentParser(prog="benchmarks")
    arguments.add_argument("--events", type=int, default=1_000_000)
    events = arguments.parse_args().events
    console = Console(width=130)
    with tempfile.TemporaryDirectory(prefix="mtw-bench-") as folder:
        base = Path(folder)
        console.print(f"Writing a sample of {events:,} events …")
        landing = base / "landing"
        run([MTW, "sample", "--events", str(events), str(landing)])
        plain = base / "plain"
        lines, size = _plain_logs(landing, plain)
        only_logs = base / "only-logs"
        (only_logs / "tracking_logs").mkdir(parents=True)
        (only_logs / "tracking_logs" / "all.log").hardlink_to(plain / "all.log")
        settings = {"MTW_LANDING_DIR": str(landing), "MTW_WAREHOUSE_DIR": str(base / "warehouse")}
        mtw_run = [MTW, "run"]
        costs = {
            "bare DuckDB parse": run(
                [sys.executable, "-c", BARE_PARSE, str(plain / "all.log"), str(base / "bare.parquet")]
            ),
            "ingest of the same file": run([sys.executable, "-c", INGEST, str(only_logs), str(base / "ingested")]),
            "full run (sample, all steps)": run(mtw_run, settings),
            "run with nothing new": run(mtw_run, settings),
        }
    _show(console, costs, lines, size)


def _plain_logs(landing: Path, target: Path) -> tuple[int, int]:
    """The log lines of the sample in one plain file, which the bare parse can read; re-sent copies left out.

    Returns its lines and bytes.
    """
    from log_ingest.files import discover, read_chunks

    target.mkdir()
    lines = size = 0
    with (target / "all.log").open("wb") as stream:
        for file in discover(landing, "tracking_logs", (".log", ".log.gz", ".log.zst"))[0]:
            if "resent" in file.path.parts:
                continue
            for chunk in read_chunks(file):
                stream.write(chunk)
                lines += chunk.count(b"\n")
                size += len(chunk)
    return lines, size


def _show(console: Console, costs: dict[str, Cost], lines: int, size: int) -> None:
    table = Table(title=f"{lines:,} lines, {size / 1e6:,.0f} MB", title_justify="left")
    for column in ("what", "wall s", "CPU s", "CPU s / M lines", "peak MB", "CPU ratio", "goal"):
        table.add_column(column, justify="left" if column in ("what", "goal") else "right")
    bare, full = costs["bare DuckDB parse"], costs["full run (sample, all steps)"]
    ratios = {
        "bare DuckDB parse": ("1.00", "the peer: accounts for nothing"),
        "ingest of the same file": (
            f"{costs['ingest of the same file'].cpu_seconds / bare.cpu_seconds:.2f} × bare",
            "≤ 1.5 × bare",
        ),
        "full run (sample, all steps)": (f"{full.cpu_seconds / bare.cpu_seconds:.2f} × bare", ""),
        "run with nothing new": (
            f"{costs['run with nothing new'].cpu_seconds / full.cpu_seconds:.2f} × full",
            "≤ 10 s wall",
        ),
    }
    for name, cost in costs.items():
        table.add_row(
            name,
            f"{cost.wall_seconds:.1f}",
            f"{cost.cpu_seconds:.1f}",
            f"{cost.cpu_seconds / lines * 1e6:.2f}",
            f"{cost.peak_bytes / 1e6:.0f}",
            *ratios[name],
        )
    console.print(table)


if __name__ == "__main__":
    main()
