"""Lines on disk: one file per provider, day and process below esp_events/, each line whole and safe before it counts.

Belongs here: file names, appending, what happens when the disk is full. Does not: what is in a line.
"""

import os
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class _OpenFile:
    path: Path
    descriptor: int
    day: str
    process: int

    def is_in_place(self) -> bool:
        """Whether its path still leads to it: what somebody removed would take lines to nowhere."""
        try:
            return os.path.samestat(self.path.stat(), os.fstat(self.descriptor))
        except FileNotFoundError:
            return False


class LandingFiles:
    """Appends lines to the landing folder. Threads may share one; each process writes files of its own."""

    def __init__(self, landing: Path, clock: Callable[[], float] = time.time) -> None:
        self._landing = landing
        self._clock = clock
        self._files: dict[str, _OpenFile] = {}
        self._lock = threading.Lock()

    def append(self, provider: str, line: bytes) -> None:
        """Write the line, which has no line end, and wait until it is on disk. provider: the name of a folder.

        Raises OSError; then the line does not count, and what is there of it has no line end.
        """
        with self._lock:
            file = self._current(provider)
            before = os.fstat(file.descriptor).st_size
            try:
                _write(file.descriptor, line + b"\n")
            except OSError:
                try:
                    # Ingest takes only complete lines, so no reader knows the piece.
                    os.ftruncate(file.descriptor, before)
                except OSError:
                    self._close(provider)
                raise
            try:
                os.fsync(file.descriptor)
            except OSError:
                # What of the file is on disk is unknown from here on: never append to it again.
                self._close(provider)
                raise

    def _current(self, provider: str) -> _OpenFile:
        day = time.strftime("%Y-%m-%d", time.gmtime(self._clock()))
        file = self._files.get(provider)
        if file and (file.day, file.process) == (day, os.getpid()) and file.is_in_place():
            return file
        if file:
            self._close(provider)
        folder = self._folder(provider)
        # A name that nobody has: a file that a dead process left may end in a piece of a line.
        path = folder / f"{day}-{secrets.token_hex(6)}.jsonl"
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        self._files[provider] = file = _OpenFile(path, os.open(path, flags, 0o640), day, os.getpid())
        _sync_folder(folder)
        return file

    def _folder(self, provider: str) -> Path:
        # The landing folder itself is never made: where it is gone, a disk is not mounted.
        folder = self._landing
        for name in ("esp_events", provider):
            inner = folder / name
            if not inner.is_dir():
                inner.mkdir(mode=0o750, exist_ok=True)
                _sync_folder(folder)
            folder = inner
        return folder

    def _close(self, provider: str) -> None:
        os.close(self._files.pop(provider).descriptor)


def _write(descriptor: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
