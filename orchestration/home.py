"""DAGSTER_HOME: where Dagster keeps its runs and events, and its settings file.

Belongs here: making that folder ready and quick. Does not: what is in dagster.yaml (orchestration/dagster.yaml).
"""

import contextlib
import hashlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from orchestration.settings import Settings

SHIPPED = Path(__file__).with_name("dagster.yaml")
_STAMP = "# shipped "


def prepare_dagster_home(settings: Settings) -> Path:
    """Make DAGSTER_HOME with the shipped dagster.yaml; returns the folder.

    A file that nobody edited is replaced when a new one ships; an edited one is left alone.
    """
    home = settings.dagster_home
    home.mkdir(parents=True, exist_ok=True)
    path = home / "dagster.yaml"
    body = SHIPPED.read_text(encoding="utf-8")
    if not path.exists() or _is_as_shipped(path.read_text(encoding="utf-8")):
        temporary = path.with_suffix(".tmp")
        temporary.write_text(f"{_STAMP}{_digest(body)}\n{body}", encoding="utf-8")
        temporary.replace(path)
    return home


@contextlib.contextmanager
def storage_kept_open(home: Path, run_id: str) -> Iterator[None]:
    """Hold a connection to each of Dagster's SQLite files that a run writes to.

    Dagster opens and closes one for every event, and the last close of a file writes its log back: with this
    connection there is no last close, and storing the hundreds of events of a run takes half the time.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(events_not_waited_for())
        for name in ("runs.db", "runs/index.db", f"runs/{run_id}.db"):
            path = home / "history" / name
            # Best effort: a Dagster that keeps its events elsewhere is only slower.
            if path.is_file():
                with contextlib.suppress(sqlite3.Error):
                    connection = sqlite3.connect(path, timeout=5, check_same_thread=False)
                    stack.callback(connection.close)
                    connection.execute("select count(*) from sqlite_master").fetchall()
        yield


@contextlib.contextmanager
def events_not_waited_for() -> Iterator[None]:
    """Let none of the thousands of commits of Dagster's event log wait until it is on the disk.

    A power cut may take the last moments of that log, and no more: what is acknowledged stands in the ledger, which
    waits.
    """
    from sqlalchemy import Engine, event

    if event.contains(Engine, "connect", _wait_for_no_disk):
        yield  # somebody further out does so already
        return
    event.listen(Engine, "connect", _wait_for_no_disk)
    try:
        yield
    finally:
        event.remove(Engine, "connect", _wait_for_no_disk)


def _wait_for_no_disk(connection: object, _record: object) -> None:
    # Only where a write-ahead log keeps the file whole.
    if isinstance(connection, sqlite3.Connection) and connection.execute("pragma journal_mode").fetchone() == ("wal",):
        connection.execute("pragma synchronous = normal")


def _is_as_shipped(text: str) -> bool:
    first, _, body = text.partition("\n")
    return first == _STAMP + _digest(body)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
