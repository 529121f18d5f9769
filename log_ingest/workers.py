"""Processes that take in lines of one landing folder at the same time, with one ledger in PostgreSQL.

Belongs here: starting them for a run and hearing what they did; the turn of one, on this or another machine. Does not:
who takes which file (line_work).

A process that dies takes its locks along: what it had claimed is free, what it had not committed does not exist. The
run's own process takes that over, so a run ends with everything taken in whatever became of the others.
"""

import contextlib
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

from log_ingest.errors import IngestError
from log_ingest.failures import told_in_one_line
from log_ingest.files import LandingPlace
from log_ingest.formats.line_format import ParseSettings
from log_ingest.landing import Landing
from log_ingest.ledger import Ledger
from log_ingest.ledger_database import PostgresUrl, turn_to_take_in
from log_ingest.line_work import LineWork, is_there_work
from log_ingest.progress import NullProgress, Progress
from log_ingest.report import IngestReport
from log_ingest.storage import Location

WORTH_A_PROCESS_BYTES = 4 * 1024 * 1024
"""Of fewer bytes one process makes an end before another is ready to begin."""


@dataclass(frozen=True)
class Job:
    """What a worker has to know: see ingest, whose arguments these are. arrived_at: UTC, now where None."""

    landing_dir: Location
    warehouse_dir: Path
    landed_dir: Location | None
    ledger: PostgresUrl
    run_id: str
    zones: Mapping[str, str]
    seal_after: timedelta
    arrived_at: datetime | None = None
    sources: tuple[str, ...] | None = None
    accepts_drift: bool = False


def take_turn(
    job: Job, progress: Progress | None = None, *, is_orphan: Callable[[], bool] = lambda: False
) -> IngestReport:
    """Take in what is there and nobody else takes, then return; earlier where a pipeline waits for its turn.

    Waits while a pipeline needs that nothing lands. Raises IngestError.
    """
    report = IngestReport(job.run_id)
    settings = ParseSettings(job.arrived_at or datetime.now(UTC).replace(tzinfo=None), job.zones)
    place = LandingPlace.open(job.landing_dir)
    # All that a pipeline may change is read anew in each turn: who was erased, what was purged.
    with (
        told_in_one_line(job.warehouse_dir),
        turn_to_take_in(job.ledger) as is_waited_for,
        Ledger(job.ledger) as ledger,
    ):
        if not is_there_work(place, ledger, job.seal_after, job.sources, accepts_drift=job.accepts_drift):
            return report
        landing = Landing(job.warehouse_dir, ledger, job.landed_dir, joins=True)
        try:
            work = LineWork(place, landing, ledger, settings, job.seal_after, job.sources, job.accepts_drift)
            work.take_beside(report, progress or NullProgress(), gives_way=lambda: is_orphan() or is_waited_for())
        finally:
            landing.close()
    return report


class Workers:
    """Further processes, at most count, that take in lines while this one does. Leaving the block waits for them and
    adds what they did to the report. progress: to be used within the block.
    """

    def __init__(self, job: Job, count: int, report: IngestReport, progress: Progress) -> None:
        self._job, self._count, self._report = job, count, report
        self.progress: Progress = _Shared(progress) if count > 0 else progress
        self._processes: list[_Worker] = []

    def __enter__(self) -> "Workers":
        return self

    def start(self, size: int) -> None:
        """Start as many as are worth the second that it takes. size: of the files to take in, in bytes."""
        count = min(self._count, size // WORTH_A_PROCESS_BYTES)
        self._processes = [_Worker(self._job, self.progress) for _ in range(count)]

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self._processes:
            if error is not None:
                process.kill()
            process.join()
        for process in self._processes if error is None else ():
            process.tell(self._report)


class _Worker:
    """One process of this machine. It reads its job from standard input: the ledger's URL is in no argument."""

    def __init__(self, job: Job, progress: Progress) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "log_ingest.workers"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self._report: IngestReport | None = None
        self._problem = ""
        self._thread = threading.Thread(target=self._listen, args=(progress,), daemon=True)
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError), self._process.stdin as stream:
            pickle.dump(job, stream)
        self._thread.start()

    def _listen(self, progress: Progress) -> None:
        assert self._process.stdout is not None
        for kind, content in _messages(self._process.stdout):
            if kind == "advance":
                progress.advance(*content)
            elif kind == "report":
                self._report = content
            else:
                self._problem = content

    def kill(self) -> None:
        self._process.kill()

    def join(self) -> None:
        self._process.wait()
        self._thread.join()

    def tell(self, report: IngestReport) -> None:
        """Add to a report what this process did, or why it ended before it could say so."""
        if self._report is None:
            why = self._problem or f"ended with code {self._process.returncode}"
            report.problems.append(f"a further ingest worker took nothing more: {why} (its files were taken by others)")
            return
        report.batch_ids = sorted({*report.batch_ids, *self._report.batch_ids})
        # What it could not list, this process could not either.
        report.problems += [problem for problem in self._report.problems if problem not in report.problems]
        for source, passing in self._report.passing_problems.items():
            report.passing_problems.setdefault(source, {}).update(passing)
        for source, totals in self._report.totals.items():
            own = report.totals[source]
            for name, value in vars(totals).items():
                setattr(own, name, getattr(own, name) + value)


class _Shared:
    """Progress that several threads tell."""

    def __init__(self, progress: Progress) -> None:
        self._progress, self._lock = progress, threading.Lock()

    def start(self, source: str, total_bytes: int, total_files: int) -> None:
        with self._lock:
            self._progress.start(source, total_bytes, total_files)

    def advance(self, source: str, bytes: int, lines: int, files: int) -> None:
        with self._lock:
            self._progress.advance(source, bytes, lines, files)

    def finish(self, source: str) -> None:
        with self._lock:
            self._progress.finish(source)


class _Told:
    """Progress of this process, for the one that started it."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream

    def start(self, source: str, total_bytes: int, total_files: int) -> None:
        pass

    def advance(self, source: str, bytes: int, lines: int, files: int) -> None:
        _send(self._stream, "advance", (source, bytes, lines, files))

    def finish(self, source: str) -> None:
        pass


def _send(stream: BinaryIO, kind: str, content: object) -> None:
    pickle.dump((kind, content), stream)
    stream.flush()


def _messages(stream: Any) -> Iterator[tuple[str, Any]]:
    with contextlib.suppress(EOFError, pickle.UnpicklingError):  # it ended, maybe amid a message
        while True:
            yield pickle.load(stream)


def main() -> int:
    """A worker of a run: its job on standard input, what it does on standard output."""
    job: Job = pickle.load(sys.stdin.buffer)
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # nothing else that is printed may get among the messages
    parent = os.getppid()
    try:
        report = take_turn(job, _Told(out), is_orphan=lambda: os.getppid() != parent)
    except IngestError as error:
        with contextlib.suppress(BrokenPipeError):
            _send(out, "problem", str(error))
        return 1
    with contextlib.suppress(BrokenPipeError):  # whoever asked is gone; what was taken in is committed
        _send(out, "report", report)
    return 0


if __name__ == "__main__":
    sys.exit(main())
