"""A soak: accelerated hourly runs over a landing folder that grows and is mishandled, runs killed, disks filled,
readers attached all the time. After each run the invariants hold; memory and disk stay where they belong.

Usage: python -m benchmarks.soak --runs 100 --seed 1. Belongs here: the story, what is asserted, the table. Does not:
how files are mishandled (soak_landing), how a run is started (soak_run) or what a reader asks (soak_reader).
"""

import argparse
import contextlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import duckdb

from benchmarks.soak_landing import ERASED, ERASED_WORDS, Landing
from log_ingest.ledger import Ledger
from log_ingest.status import collect
from orchestration import verify
from orchestration.lock import holder
from orchestration.publication import current
from orchestration.settings import Settings
from tests.invariants import assert_accounted, assert_rerun_changes_nothing
from tests.ownbytes import places_of

ROOT = Path(__file__).parents[1]
PARTS = ("landed", "work", "published", "dagster")
KEPT_RUNS = 5
"""Few, so that the table shows within some runs whether Dagster's records stay where they are."""


@dataclass
class Row:
    """One line of the table. sizes: MB by part of the warehouse."""

    run: int
    faults: list[str]
    seconds: float = 0.0
    peak_mb: int = 0
    sizes: dict[str, float] = field(default_factory=dict)
    versions: int = 0
    events: int = 0
    invariants: str = ""

    def text(self) -> str:
        sizes = "".join(f"{self.sizes[part]:>11.1f}" for part in PARTS)
        return (
            f"{self.run:>4}{self.seconds:>8.1f}{self.peak_mb:>8}{sizes}{self.versions:>10}{self.events:>9}"
            f"  {self.invariants:<22}{', '.join(self.faults) or '-'}"
        )


HEADER = (
    f"{'run':>4}{'seconds':>8}{'peak MB':>8}"
    + "".join(f"{part + ' MB':>11}" for part in PARTS)
    + f"{'versions':>10}{'events':>9}  {'invariants':<22}faults"
)


class Runner:
    """Runs in forks of one process: see soak_run."""

    def __init__(self, settings: Settings) -> None:
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("MTW_", "DAGSTER_"))}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.soak_run"], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            text=True, env=environment | settings.environment(),
        )  # fmt: skip

    def run(self, words: str = "run", kill_after: float | None = None) -> tuple[int, float, int, str]:
        """Exit code, seconds, peak KB, the failure's line. kill_after: seconds until the run is killed."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(words + "\n")
        self._process.stdin.flush()
        pid = int(self._process.stdout.readline().split()[1])
        if kill_after is not None:
            time.sleep(kill_after)
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)  # not what it started: dbt lives on for a moment
        code, seconds, peak, text = self._process.stdout.readline().rstrip("\n").split("\t")
        return int(code), float(seconds), int(peak), text

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


class Soak:
    """One soak in a folder of its own."""

    def __init__(self, base: Path, options: argparse.Namespace) -> None:
        self.base, self.options, self.rng = base, options, random.Random(options.seed)
        project = ROOT / "tests/integration/small_project" if options.models == "small" else ROOT / "dbt_project"
        shutil.copytree(project, base / "project", ignore=shutil.ignore_patterns("target", "logs"))
        self.settings = Settings(
            base / "landing", base / "disk" / "warehouse", dbt_project_dir=base / "project", kept_runs=KEPT_RUNS
        )
        self.landing = Landing(base / "landing", self.rng, options.lines)
        self.rows: list[Row] = []
        self.usual_seconds = 20.0

    def go(self) -> list[str]:
        """All runs. Returns what was wrong; raises AssertionError where an invariant does not hold."""
        wrong: list[str] = []
        print(HEADER, flush=True)
        with contextlib.ExitStack() as held:
            can_fill = held.enter_context(_disk(self.base / "disk", self.options.disk))
            runner = Runner(self.settings)
            held.callback(runner.close)
            readers: list[subprocess.Popen] = []
            until = time.monotonic() + self.options.minutes * 60
            for number in range(1, self.options.runs + 1):
                if time.monotonic() > until:
                    print(f"stopped after {number - 1} runs: {self.options.minutes:g} minutes are over")
                    break
                row = Row(number, self._mishandle(number))
                self.landing.next_hour()
                if number > 1:
                    row.faults += self._disturb(runner, can_fill)
                words = "run"
                if number == max(2, self.options.runs * 2 // 5):
                    # What lies in the landing folder is the couriers': extracts without her from now on.
                    self.landing.is_erased = True
                    words = f"erase {ERASED}"
                    row.faults.append("erasure")
                code, row.seconds, peak, text = runner.run(words)
                assert code == 0, f"run {number} failed: {text}"
                self.usual_seconds = row.seconds
                row.peak_mb = peak // 1024
                row.invariants = self._invariants(number)
                self._measure(row)
                print(row.text(), flush=True)
                if number == 1:
                    command = [sys.executable, "-m", "benchmarks.soak_reader", str(self.settings.published_dir)]
                    readers = [
                        subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
                        for _ in range(self.options.readers)
                    ]
            for reader in readers:
                answer, _ = reader.communicate("")
                found = json.loads(answer)
                says = found["wrong"] or "nothing"
                print(f"reader: {found['looks']} looks, {found['versions']} versions, wrong: {says}")
                wrong += found["wrong"]
        return wrong + self._slopes()

    def _mishandle(self, number: int) -> list[str]:
        if number == 1:
            return []
        mishandlings = self.landing.mishandlings()
        names = self.rng.sample(sorted(mishandlings), k=self.rng.choice([0, 1, 1, 2, 3]))
        for name in names:
            mishandlings[name]()
        return names

    def _disturb(self, runner: Runner, can_fill: bool) -> list[str]:
        """Perhaps a run that dies or meets a full disk, before the one that has to make it good."""
        fault = self.rng.choice(["", "", "kill", "kill", "disk full"])
        if fault == "kill":
            after = self.rng.uniform(0.2, self.usual_seconds)
            code, *_, text = runner.run(kill_after=after)
            assert code in (0, -signal.SIGKILL), (code, text)
            fault = f"kill after {after:.1f} s" + (" (was done)" if code == 0 else "")
        elif fault and not can_fill:
            fault = ""
        elif fault:
            left = self.rng.choice([50_000, 300_000, 1_000_000, 3_000_000])
            ballast = self.base / "disk" / "ballast"
            with ballast.open("wb") as stream:
                os.posix_fallocate(stream.fileno(), 0, max(shutil.disk_usage(ballast.parent).free - left, 1))
            code, *_, text = runner.run()
            ballast.unlink()
            # Where what was left sufficed it is a run like any other.
            assert code == 0 or (code == 1 and text != "''" and r"\n" not in text), (code, text)
            fault = f"disk full at {left // 1000} kB" + (" (sufficed)" if code == 0 else "")
        self._assert_standing()
        return [fault] if fault else []

    # -- what must hold

    def _assert_standing(self) -> None:
        """After a run that did not end: the published version is whole, the ledger too, nobody holds the lock."""
        publication = current(self.settings.published_dir)
        assert publication is not None
        assert holder(self.settings.lock_path) is None
        with contextlib.suppress(FileNotFoundError), Ledger(self.settings.ledger_path, read_only=True) as ledger:
            assert ledger.is_whole() and ledger.unbalanced() == []

    def _invariants(self, number: int) -> str:
        warehouse = self.settings.warehouse_dir
        self._assert_standing()
        # 1, 2: control totals, and the bytes of every line. 3: nothing is new when it is looked at again.
        assert_accounted(warehouse)
        assert_rerun_changes_nothing(self.landing.root, warehouse)
        # 4, 6: whatever the order and the mishandling, the numbers are those of the lines that were written.
        publication = current(self.settings.published_dir)
        assert publication is not None
        with _reading(self.settings.published_database) as con:
            (events,) = con.execute("select count(*) from core.fct_tracking_events").fetchall()[0]
            clicks = dict(
                con.execute("select delivery_id, total_click_count from reports.rpt_tracking_indicators").fetchall()
            )
            run_ids = con.execute("select run_id from meta.publication").fetchall()
        expected, by_delivery = self.landing.expected
        assert events == expected, (events, expected)
        assert {delivery: count for delivery, count in clicks.items() if count} == by_delivery, (clicks, by_delivery)
        (logs,) = [row for row in collect(warehouse).sources if row.source == "tracking_logs"]
        assert logs.quarantined == self.landing.corrupt, logs
        # 7: one run everywhere, nothing half-made. 9: and no leftovers.
        assert run_ids == [(publication.run_id,)]
        for pattern in ("published/versions/.*", "published/.link-*", "landed/.temp/*", "work/mtw-copy-*"):
            assert not list(warehouse.glob(pattern)), pattern
        done = "1 2 3 4 6 7 9"
        if self.landing.is_erased:
            found = places_of(warehouse, ERASED_WORDS)
            assert found == [], found
            done = "1 2 3 4 6 7 8 9"
        if (self.options.models == "real" and number % self.options.verify_every == 0) or number == self.options.runs:
            # 5: a rebuild from what landed.
            differing = verify.verify(self.settings).differing
            assert differing == [], differing
            done = done.replace("4 6", "4 5 6")
        return done

    # -- what it costs

    def _measure(self, row: Row) -> None:
        warehouse = self.settings.warehouse_dir
        row.sizes = {part: _megabytes(warehouse / part) for part in PARTS}
        row.versions = len(list((warehouse / "published" / "versions").iterdir()))
        row.events = self.landing.expected[0]
        self.rows.append(row)

    def _slopes(self) -> list[str]:
        """What grows from run to run, by least squares over the second half. Returns what must not have."""
        half = self.rows[len(self.rows) // 2 :]
        if len(half) < 8:
            print(f"{len(self.rows)} runs: too few for slopes")
            return []
        peak = _slope([row.peak_mb for row in half])
        seconds = _slope([row.seconds for row in half])
        print(f"per run, over the last {len(half)}: seconds {seconds:+.2f}, peak {peak:+.2f} MB", end="")
        for part in PARTS:
            print(f", {part} {_slope([row.sizes[part] for row in half]):+.3f} MB", end="")
        print()
        wrong = []
        if peak > 5:
            wrong.append(f"memory rises by {peak:.1f} MB a run")
        if _slope([row.sizes["dagster"] for row in half]) > 1:
            wrong.append("Dagster's records grow")
        if max(row.versions for row in half) > self.settings.kept_versions:
            wrong.append("published versions are not removed")
        return wrong


@contextlib.contextmanager
def _disk(path: Path, size: str) -> Iterator[bool]:
    """A file system of its own where this user may mount one, so that it can be filled; else a folder."""
    path.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(path)], capture_output=True)
    try:
        yield mounted.returncode == 0
    finally:
        if mounted.returncode == 0:
            subprocess.run(["umount", "-l", str(path)], check=True)


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect(os.path.realpath(path), read_only=True) as con:
        yield con


def _megabytes(folder: Path) -> float:
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6


def _slope(values: list[float]) -> float:
    middle, mean = (len(values) - 1) / 2, sum(values) / len(values)
    spread = sum((place - middle) ** 2 for place in range(len(values)))
    return sum((place - middle) * (value - mean) for place, value in enumerate(values)) / spread


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="A soak of accelerated hourly runs.")
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--models", choices=["small", "real"], default="real", help="small: five models instead of all")
    parser.add_argument("--lines", type=int, default=200, help="tracking lines an hour")
    parser.add_argument("--readers", type=int, default=2)
    parser.add_argument("--verify-every", type=int, default=10, help="rebuild and compare after every so many runs")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="begin no further run after so long")
    parser.add_argument("--disk", default="3g", help="size of the warehouse's file system, where one can be mounted")
    options = parser.parse_args(arguments)
    if not re.fullmatch("[0-9]+[mg]", options.disk):
        parser.error("--disk is written like 500m or 3g")
    base = Path(tempfile.mkdtemp(prefix="mtw-soak-"))
    try:
        wrong = Soak(base, options).go()
    finally:
        shutil.rmtree(base, ignore_errors=True)
    for line in wrong:
        print(f"WRONG: {line}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
