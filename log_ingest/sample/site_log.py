"""The access logs of one site: rotation, compression, what is wrong in them, and what all its files hold.

Belongs here: files of lines and the control totals of the source, kept while writing. Does not: the format of a line
(access_lines), who asks for what (behaviour, web).
"""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from log_ingest.sample import clock
from log_ingest.sample.access_lines import MANGLED, AccessFormatter
from log_ingest.sample.files import OpenFile
from log_ingest.sample.writer import CorruptLine, FileTotals

_BLOCK_LINES = 32_768
_ORDINARY_SHARE = 0.4
"""Ordinary requests per tracking request."""
_OVERLAP_FILE, _OVERLAP_LINES = 1, 12
_FAULTY_FILE = 1
_LAST_REQUESTS = 20


class SiteLog:
    """Writes the files of one site. Call write any number of times, then finish."""

    def __init__(
        self,
        root: Path,
        site: str,
        *,
        is_apache: bool,
        suffixes: tuple[str, ...],
        lines_per_file: int,
        formatter: AccessFormatter,
        rng: np.random.Generator,
    ) -> None:
        """root is the landing folder. Rotated files get the suffixes in turn; the last one is plain: access.log."""
        self.totals: list[FileTotals] = []
        self.corrupt_lines: list[CorruptLine] = []
        self.byte_count = 0
        self._root, self._folder = root, f"access_logs/{site}"
        self._is_apache, self._suffixes, self._lines_per_file = is_apache, suffixes, lines_per_file
        self._formatter, self._rng = formatter, rng
        self._number = 0
        self._file: OpenFile | None = None
        self._current = FileTotals("")
        self._last_ms = 0
        self._tail: list[tuple[str, bool]] = []
        (root / self._folder).mkdir(parents=True)

    def write(self, events: npt.NDArray[np.void]) -> None:
        """Appends events in their order, with ordinary requests between them."""
        for start in range(0, len(events), _BLOCK_LINES):
            lines, is_tracking = self._mixed(events[start : start + _BLOCK_LINES])
            done = 0
            while done < len(lines):
                file = self._file or self._open(self._next_name())
                part = slice(done, done + max(1, self._lines_per_file - self._current.lines))
                self._put(file, lines[part], is_tracking[part])
                done = part.stop
                self._last_ms = int(events["arrival_ms"][min(len(events), start + _BLOCK_LINES) - 1])
                if self._current.lines >= self._lines_per_file:
                    self._close()

    def finish(self, events: npt.NDArray[np.void]) -> None:
        """Appends the last events, to the file that the server is still writing, and what was asked since."""
        self._close()
        file = self._open("access.log")
        self._lines_per_file = 1 << 62
        self.write(events)
        since = self._last_ms + clock.SECOND_MS * 60 * np.arange(1, _LAST_REQUESTS + 1)
        lines = self._formatter.format_ordinary(self._is_apache, self._number, since, self._rng)
        self._put(file, lines, np.zeros(len(lines), dtype=bool))
        self._last_ms = int(since[-1])
        self._close()

    def _mixed(self, events: npt.NDArray[np.void]) -> tuple[pa.Array, npt.NDArray[np.bool_]]:
        """The lines of events and of ordinary requests among them in the order of time, and which are which."""
        moments = events["occurred_ms"]
        count = int(len(events) * _ORDINARY_SHARE)
        others = np.sort(self._rng.integers(moments.min(), moments.max() + 1, count))
        own = self._formatter.format(self._is_apache, self._number, events)
        ordinary = self._formatter.format_ordinary(self._is_apache, self._number + len(own), others, self._rng)
        self._number += len(own) + len(ordinary)
        order = np.argsort(np.concatenate([moments, others]), kind="stable")
        lines = pa.concat_arrays([own, ordinary]).take(pa.array(order))
        return lines, order < len(own)

    def _next_name(self) -> str:
        number = len(self.totals)
        return f"access-{number + 1:04d}.log{self._suffixes[number % len(self._suffixes)]}"

    def _put(self, file: OpenFile, lines: pa.Array, is_tracking: npt.NDArray[np.bool_]) -> None:
        # A slice of an array keeps the offsets of the whole.
        offsets = np.frombuffer(lines.buffers()[1], dtype=np.int32)[lines.offset : lines.offset + len(lines) + 1]
        file.write(memoryview(lines.buffers()[2])[int(offsets[0]) : int(offsets[-1])])
        accepted = int(is_tracking.sum())
        self._current.lines += len(lines)
        self._current.accepted += accepted
        self._current.not_tracking += len(lines) - accepted
        last = slice(max(0, len(lines) - _OVERLAP_LINES), None)
        self._tail = list(zip(lines[last].to_pylist(), is_tracking[last].tolist(), strict=True))

    def _open(self, name: str) -> OpenFile:
        number = len(self.totals)
        path = f"{self._folder}/{name}"
        self._current = FileTotals(path)
        self.totals.append(self._current)
        self._file = OpenFile(self._root / path)
        if number == _OVERLAP_FILE:
            # Copied and truncated while the server went on: the end of one file is the beginning of the next.
            self._repeat(self._file)
        if number == _FAULTY_FILE:
            self._spoil(self._file)
        return self._file

    def _repeat(self, file: OpenFile) -> None:
        file.write("".join(text for text, _ in self._tail).encode())
        repeated = sum(is_tracking for _, is_tracking in self._tail)
        self._current.lines += len(self._tail)
        self._current.duplicate += repeated
        self._current.not_tracking += len(self._tail) - repeated

    def _spoil(self, file: OpenFile) -> None:
        for mangled in MANGLED:
            file.write(f"{mangled.text}\n".encode())
            self._current.lines += 1
            self._current.quarantined += 1
            self.corrupt_lines.append(CorruptLine(self._current.path, self._current.lines, mangled.kind))
        file.write(b"\n")
        self._current.lines += 1
        self._current.blank += 1

    def _close(self) -> None:
        if self._file is not None:
            self.byte_count += self._file.close(self._last_ms // 1000)
            self._file = None
