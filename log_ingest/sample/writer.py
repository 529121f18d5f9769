"""The log folder of one redirection server: pointers, rotation, compression, faults, and what each file holds.

Belongs here: files of lines and their control totals, kept while writing. Does not: the format of a line (lines), which
faults there are (faults), indicators (truth).
"""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from log_ingest.sample.faults import FAULTS, GAP_POINTERS, OVERLAP, Fault, corrupt_line
from log_ingest.sample.files import OpenFile, gzip_writer
from log_ingest.sample.lines import BLOCK_LINES, LineFormatter

_HELD_BYTES = 70
"""Where the held line breaks off: in its visitor id, so that nobody can take it for a whole line."""


@dataclass
class FileTotals:
    """What one file holds, if the files are read in the order of their paths: each counts its framed lines.

    held_bytes are the bytes after the last newline; they belong to no line.
    """

    path: str
    lines: int = 0
    accepted: int = 0
    duplicate: int = 0
    quarantined: int = 0
    blank: int = 0
    not_tracking: int = 0
    held_bytes: int = 0
    is_whole_file_copy: bool = False


@dataclass(frozen=True)
class Gap:
    """Pointers of a server that no line has."""

    server: str
    first_missing_pointer: int
    last_missing_pointer: int


@dataclass(frozen=True)
class CorruptLine:
    """A line that must be quarantined; line_number counts from 1."""

    path: str
    line_number: int
    kind: str


class ServerLog:
    """Writes the files of one server. Call write any number of times, then begin_last_file, write, finish."""

    def __init__(
        self,
        root: Path,
        folder: str,
        character: str,
        first_pointer: int,
        lines_per_file: int,
        formatter: LineFormatter,
    ) -> None:
        """root is the landing folder; the files go to root/folder. first_pointer is the first line's."""
        self.totals: list[FileTotals] = []
        self.gaps: list[Gap] = []
        self.corrupt_lines: list[CorruptLine] = []
        self.byte_count = 0
        self._root, self._folder, self._character = root, folder, character
        self._formatter = formatter
        self._pointer = first_pointer
        self._lines_per_file = lines_per_file
        self._file: OpenFile | None = None
        self._current = FileTotals("")
        self._faults: list[Fault] = []
        self._is_last = False
        self._last_arrival_ms = 0
        self._tail: list[bytes] = []
        (root / folder).mkdir(parents=True)

    def write(self, events: npt.NDArray[np.void]) -> None:
        """Appends events in their order, rotating and inserting faults as planned."""
        start = 0
        while start < len(events):
            file = self._file or self._open()
            room = self._next_stop() - self._current.lines
            block = events[start : start + min(room, BLOCK_LINES)]
            data = self._formatter.format(self._character, self._pointer, block)
            file.write(data)
            self._current.lines += len(block)
            self._current.accepted += len(block)
            self._pointer += len(block)
            self._last_arrival_ms = int(block["arrival_ms"][-1])
            start += len(block)
            self._keep_tail(data)
            self._apply_due_faults(file)
            if not self._is_last and self._current.lines >= self._lines_per_file:
                self._close()

    def begin_last_file(self) -> None:
        """Rotates once more: what follows goes to one last, plain file, so that its end can stay open."""
        self._close()
        self._is_last = True

    def finish(self, held: npt.NDArray[np.void] | None = None) -> None:
        """Closes the last file. A held event becomes a line that breaks off before its end."""
        if held is not None:
            file = self._file or self._open()
            data = bytes(self._formatter.format(self._character, self._pointer, held))
            cut = data[:_HELD_BYTES]
            file.write(cut)
            self._current.held_bytes = len(cut)
        self._close()

    def resend_first_file(self) -> None:
        """Copies the server's first file to a sub-folder, once as it is under another name, once compressed."""
        original = self.totals[0]
        source = self._root / original.path
        modified = int(source.stat().st_mtime) + 3600
        target_folder = f"{self._folder}/resent"
        (self._root / target_folder).mkdir()
        for name in (f"copy_of_{source.name}", f"{source.name}.gz"):
            target = self._root / target_folder / name
            with source.open("rb") as plain, target.open("wb") as raw:
                sink = gzip_writer(raw) if name.endswith(".gz") else raw
                shutil.copyfileobj(plain, sink)
                if sink is not raw:
                    sink.close()
            os.utime(target, (modified, modified))
            self.byte_count += target.stat().st_size
            path = f"{target_folder}/{name}"
            self.totals.append(FileTotals(path, original.lines, duplicate=original.lines, is_whole_file_copy=True))

    def _open(self) -> OpenFile:
        index = len(self.totals)
        overlap = self._tail if (self._character, index) == OVERLAP[:2] and not self._is_last else []
        suffix = ".log" if self._is_last else _suffix(index)
        path = f"{self._folder}/0x{self._pointer - len(overlap):016X}{suffix}"
        self._file, self._current = OpenFile(self._root / path), FileTotals(path)
        self.totals.append(self._current)
        self._faults = [] if self._is_last else [f for f in FAULTS[self._character] if f.file_index == index]
        if overlap:
            self._file.write(b"".join(overlap))
            self._current.lines = self._current.duplicate = len(overlap)
        return self._file

    def _next_stop(self) -> int:
        """The number of lines in the current file at which writing pauses."""
        if self._is_last:
            return 1 << 62
        return self._line_of(self._faults[0]) if self._faults else self._lines_per_file

    def _line_of(self, fault: Fault) -> int:
        return max(1, int(fault.after_share * self._lines_per_file))

    def _apply_due_faults(self, file: OpenFile) -> None:
        while self._faults and self._current.lines >= self._line_of(self._faults[0]):
            kind = self._faults.pop(0).kind
            self._tail = []
            if kind == "gap":
                last = self._pointer + GAP_POINTERS - 1
                self.gaps.append(Gap(self._character, self._pointer, last))
                self._pointer = last + 1
                continue
            self._current.lines += 1
            if kind == "blank":
                file.write(b"\n")
                self._current.blank += 1
                continue
            file.write(corrupt_line(kind, self._character, self._pointer))
            self._current.quarantined += 1
            self.corrupt_lines.append(CorruptLine(self._current.path, self._current.lines, kind))
            self._pointer += 1

    def _keep_tail(self, data: memoryview) -> None:
        """Remembers the last lines, all accepted ones, for the file that repeats them."""
        server, index, count = OVERLAP
        if server == self._character and len(self.totals) == index:
            last_bytes = bytes(data[-count * 1024 :])
            lines = last_bytes.splitlines(keepends=True)
            if len(last_bytes) < len(data):
                # The first may be cut where the slice begins.
                del lines[0]
            self._tail = (self._tail + lines)[-count:]

    def _close(self) -> None:
        if self._file is not None:
            self.byte_count += self._file.close(self._last_arrival_ms // 1000)
            self._file = None


def _suffix(index: int) -> str:
    """File 0 is plain; later ones are gzip now and then (slow to write), plain sometimes, zstd mostly."""
    if index % 8 == 1:
        return ".log.gz"
    return ".log" if index % 4 == 0 else ".log.zst"
