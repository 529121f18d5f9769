"""What people see on a terminal: live progress and tables.

Belongs here: rich. Does not: computing what is shown. Every text that came from outside goes through `shown`.
"""

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from orchestration.reporting import RunReporter
from orchestration.text import number, plain

STAGES = {
    "load": "Load the models",
    "ingest": "Take in new files",
    "check landed rows": "Check landed rows",
    "build": "Build and test models",
    "check marts": "Check marts",
    "publish": "Publish",
    "copy to PostgreSQL": "Copy to PostgreSQL",
    "check landed files": "Check landed files",
    "rebuild": "Rebuild all marts",
    "compare": "Compare",
}


def shown(value: object, limit: int = 200) -> Text:
    """A value as text that cannot carry markup, control characters or escape sequences."""
    return Text(plain(number(value) if isinstance(value, int | float) else value, limit) if value is not None else "")


def table(title: str, header: Sequence[str], rows: Sequence[Sequence[object]], limit: int = 200) -> Table:
    """A compact table; numbers are aligned right, cells cut at limit characters."""
    result = Table(title=title and Text(title, no_wrap=True), title_justify="left", box=None, pad_edge=False)
    result.title_style = "bold"
    # A title longer than the table would be wrapped to the table's width.
    result.min_width = len(title.strip())
    for index, name in enumerate(header):
        numeric = any(isinstance(row[index], int | float) for row in rows)
        result.add_column(Text(name, style="dim"), justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        result.add_row(*(shown(cell, limit) for cell in row))
    return result


def age(moment: datetime, now: datetime | None = None) -> str:
    """How long ago a UTC time was: "3 minutes"."""
    seconds = int(((now or datetime.now(UTC).replace(tzinfo=None)) - moment).total_seconds())
    for unit, size in (("day", 86_400), ("hour", 3_600), ("minute", 60)):
        if seconds >= size:
            count = seconds // size
            return f"{count} {unit}{'s' * (count != 1)}"
    return f"{max(seconds, 0)} second{'s' * (seconds != 1)}"


def duration(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 60 else f"{int(seconds // 60)} min {int(seconds % 60)} s"


def bytes_shown(size: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


class _IngestProgress:
    """Draws what log_ingest reports: log_ingest.progress.Progress."""

    def __init__(self, progress: Progress, task: TaskID) -> None:
        self._progress, self._task = progress, task
        self._source, self._done, self._total, self._lines = "", 0, 0, 0

    def start(self, source: str, total_bytes: int, total_files: int) -> None:
        self._source, self._done, self._total = source, 0, total_bytes
        self._draw()

    def advance(self, source: str, bytes: int, lines: int, files: int) -> None:
        self._done += bytes
        self._lines += lines
        self._draw()

    def finish(self, source: str) -> None:
        self._progress.update(self._task, detail=f"{self._lines:,} lines")

    def _draw(self) -> None:
        # How much of a table is new is known at its end.
        total = f" of {bytes_shown(self._total)}" if self._total else ""
        part = f"{self._source} {bytes_shown(self._done)}{total}, {self._lines:,} lines"
        self._progress.update(self._task, detail=part)


class LiveReporter(RunReporter):
    """Draws the stages of a run while it goes on: one line each, with a bar where the end is known."""

    def __init__(self, progress: Progress) -> None:
        super().__init__()
        self._progress_display = progress
        self._task: TaskID | None = None

    def stage(self, name: str) -> None:
        self.end_stage()
        label = STAGES.get(name, name)
        self._task = self._progress_display.add_task(label, total=None, detail="")
        if name == "ingest":
            self.progress = _IngestProgress(self._progress_display, self._task)

    def built(self, done: int, total: int) -> None:
        if self._task is not None:
            self._progress_display.update(self._task, completed=min(done, total), total=total)

    def end_stage(self) -> None:
        if self._task is not None:
            task = self._progress_display.tasks[self._task]
            self._progress_display.update(self._task, total=task.total or 1, completed=task.total or 1)
            self._progress_display.stop_task(self._task)
            self._task = None


@contextmanager
def reporter() -> Iterator[RunReporter]:
    """A reporter that draws on the terminal (standard error), or a silent one where there is none.

    It writes to a copy of the descriptor: standard error itself is silenced while the pipeline runs.
    """
    if not sys.stderr.isatty():
        yield RunReporter()
        return
    with os.fdopen(os.dup(2), "w", encoding="utf-8") as terminal:
        columns = (
            SpinnerColumn(finished_text="[green]✓[/]"),
            TextColumn("{task.description}"),
            TimeElapsedColumn(),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[detail]}", style="dim", markup=False),
        )
        with Progress(
            *columns, console=Console(file=terminal), redirect_stdout=False, redirect_stderr=False
        ) as progress:
            live = LiveReporter(progress)
            yield live
            live.end_stage()
