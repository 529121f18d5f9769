"""The one lock of a warehouse: a kernel lock on a file, so it dies with the process that holds it.

Where the ledger is in PostgreSQL, other machines may work on it: then that server's locks go with the file's, and die
with the connection. Belongs here: taking it, asking who holds it. Does not: what to do while holding it.
"""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType

from log_ingest.ledger_database import Gate, PostgresUrl
from orchestration.settings import Settings

_PATIENCE_SECONDS = 0.5


class PipelineLocked(Exception):
    """Another process is at work on this warehouse: "locked by pid N since T"."""


@dataclass(frozen=True)
class Holder:
    """Who holds the lock. since is UTC ISO 8601, both are None where the holder has not written them yet."""

    pid: int | None
    since: str | None

    def __str__(self) -> str:
        return f"locked by pid {self.pid} since {self.since}" if self.pid else "locked by another process"


class PipelineLock:
    """An exclusive lock on a file, for one holder over all processes and threads. Use as a context manager.

    ledger: for one holder over all machines that work on it, too, while no ingest worker takes anything in.
    Raises PipelineLocked when it is held, IngestError where the ledger's database cannot be asked. The file stays
    behind: removing it would let two holders in.
    """

    def __init__(self, path: Path, ledger: PostgresUrl | None = None) -> None:
        self.path, self._ledger = path, ledger
        self._descriptor: int | None = None
        self._gate: Gate | None = None

    @classmethod
    def of(cls, settings: Settings) -> "PipelineLock":
        """The lock of the pipeline: who holds it may change what has landed."""
        return cls(settings.lock_path, settings.ledger_url)

    def acquire(self) -> None:
        self._acquire_file()
        try:
            if self._ledger is not None:
                self._gate = Gate(self._ledger)
                if not self._gate.close_for_others():
                    raise PipelineLocked("locked by a run, an erasure or a purge on another machine")
        except BaseException:
            self.release()
            raise

    def check(self) -> None:
        """Raises IngestError where the ledger's server has lost the lock: others may have changed what has landed."""
        if self._gate is not None:
            self._gate.check()

    @contextmanager
    def workers_let_in(self) -> Iterator[None]:
        """While others may take lines in."""
        if self._gate is None:
            yield
            return
        with self._gate.open_for_workers():
            yield

    def _acquire_file(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            # `holder` looks by taking the lock for an instant; that must never stop a run.
            deadline = time.monotonic() + _PATIENCE_SECONDS
            while True:
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > deadline:
                        raise PipelineLocked(str(_read(descriptor))) from None
                    time.sleep(0.02)
            os.ftruncate(descriptor, 0)
            since = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            os.pwrite(descriptor, f"pid {os.getpid()}\nsince {since}\n".encode(), 0)
        except BaseException:
            os.close(descriptor)
            raise
        self._descriptor = descriptor

    def keep_over_exec(self) -> None:
        """Hold it too in the program that this process becomes: until that ends."""
        assert self._descriptor is not None
        os.set_inheritable(self._descriptor, True)

    def release(self) -> None:
        if self._gate is not None:
            self._gate.release()
            self._gate = None
        if self._descriptor is not None:
            os.ftruncate(self._descriptor, 0)
            os.close(self._descriptor)
            self._descriptor = None

    def __enter__(self) -> "PipelineLock":
        self.acquire()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def holder(path: Path) -> Holder | None:
    """Who holds the lock now, or None. A file left by a dead process holds nothing."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    deadline = time.monotonic() + _PATIENCE_SECONDS
    try:
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
                return None
            except BlockingIOError:
                found = _read(descriptor)
                # Held by nobody in particular: it is just being taken, or a child of the holder is being started
                # and has not yet closed its copy of the descriptor.
                if found.pid or time.monotonic() > deadline:
                    return found
                time.sleep(0.01)
    finally:
        os.close(descriptor)


def _read(descriptor: int) -> Holder:
    words = os.pread(descriptor, 200, 0).decode("ascii", "replace").split()
    if len(words) == 4 and words[0] == "pid" and words[1].isdigit() and words[2] == "since":
        return Holder(int(words[1]), words[3])
    return Holder(None, None)
