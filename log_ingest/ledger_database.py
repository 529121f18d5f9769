"""Where the ledger is kept: an SQLite file, or a PostgreSQL database that several processes write to.

Belongs here: connections, the few words in which the two dialects differ, the locks of a shared ledger. Does not: what
stands in the tables (ledger), who does what (claims, line_work).

The ledger's SQL is written so that both understand it; only what makes tables is translated, and the placeholders.
A lock of a shared ledger is one of its server and belongs to the connection: it is gone with the process that took it.
"""

import contextlib
import re
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import psycopg

from log_ingest.errors import IngestError
from log_ingest.postgres_url import check_url, error_line, what_to_check

SETTING = "MTW_LEDGER_URL"
SCHEMA = "mtw_ledger"
"""Of the tables in a PostgreSQL database: Dagster's, which are in `public`, may be beside them."""


@dataclass(frozen=True)
class PostgresUrl:
    """A database that holds one ledger. The URL may hold a password: it shows nowhere."""

    url: str = field(repr=False)

    def __post_init__(self) -> None:
        """Raises IngestError where it is no PostgreSQL URL."""
        check_url(self.url, SETTING)

    def __str__(self) -> str:
        return f"the ledger's database ({SETTING})"


LedgerPlace = Path | PostgresUrl


class LedgerDatabaseError(IngestError):
    """The ledger's PostgreSQL database cannot be used. is_transient: nobody answered, which may pass."""

    def __init__(self, message: str, *, is_transient: bool) -> None:
        super().__init__(message)
        self.is_transient = is_transient


class Row(tuple):
    """A row that answers by place and by name, as sqlite3.Row does."""

    places: dict[str, int]

    def __getitem__(self, key: Any) -> Any:
        return tuple.__getitem__(self, self.places[key] if isinstance(key, str) else key)

    def keys(self) -> list[str]:
        return list(self.places)


class PostgresDatabase:
    """A connection with the methods of sqlite3.Connection that the ledger uses. Every statement commits by itself but
    between begin and commit. Raises LedgerDatabaseError.
    """

    def __init__(self, place: PostgresUrl, *, read_only: bool) -> None:
        self._url = place.url
        with self._told():
            self._db = psycopg.connect(
                place.url,
                autocommit=True,
                row_factory=_rows,
                connect_timeout=10,
                application_name="mtw ledger",
                # A machine that is gone gives up its locks within a minute or so, on either side.
                keepalives_idle=30,
                keepalives_interval=10,
                keepalives_count=3,
            )
            with contextlib.suppress(psycopg.Error):  # over a socket there is nothing to keep alive
                for name, value in (("idle", 30), ("interval", 10), ("count", 3)):
                    self._db.execute(f"set tcp_keepalives_{name} = {value}")
            self._db.execute("select set_config(name, '0', false) from pg_settings where name = 'idle_session_timeout'")
            self._db.execute(f"set search_path = {SCHEMA}")
            if read_only:
                self._db.execute("set default_transaction_read_only = on")

    def execute(self, statement: str, values: Sequence[object] = ()) -> Any:
        with self._told():
            return self._db.execute(_with_marks(statement), [_fit(value) for value in values])

    def executemany(self, statement: str, rows: Sequence[Sequence[object]]) -> Any:
        with self._told():
            cursor = self._db.cursor()
            cursor.executemany(_with_marks(statement), [[_fit(value) for value in row] for row in rows])
            return cursor

    def create(self, statement: str) -> None:
        """A statement that makes tables or indexes, as SQLite has it."""
        statement = re.sub(r"--[^\n]*", "", statement).strip()
        statement = re.sub(r"\) strict(, without rowid)?$", ")", statement)
        statement = re.sub(r"\binteger\b", "bigint", statement)
        # Sorted by code points, as SQLite does, whatever the language of the server.
        self.execute(re.sub(r"\btext\b", 'text collate "C"', statement))

    def close(self) -> None:
        self._db.close()

    # -- locks

    def lock(self, kind: int, number: int = 0, *, shared: bool = False, seconds: float | None = 0.0) -> bool:
        """Take a lock, waiting for it this long (None: as long as it takes). False where somebody else has it."""
        suffix = "_shared" if shared else ""
        if seconds is None:
            self.execute(f"select pg_advisory_lock{suffix}(?, ?)", [kind, number])
            return True
        if not seconds:
            return bool(self.execute(f"select pg_try_advisory_lock{suffix}(?, ?)", [kind, number]).fetchone()[0])
        # Not by trying again and again: who waits is served before those who come later.
        self.execute(f"set lock_timeout = '{int(seconds * 1000)}ms'")
        try:
            with self._told():
                self._db.execute(f"select pg_advisory_lock{suffix}(%s, %s)", [kind, number])
            return True
        except LedgerDatabaseError as error:
            if isinstance(error.__cause__, psycopg.errors.LockNotAvailable):
                return False
            raise
        finally:
            if not self._db.closed:
                self.execute("set lock_timeout = 0")

    def unlock(self, kind: int, number: int = 0, *, shared: bool = False) -> None:
        """Give a lock back. A connection that is gone has none."""
        if not self._db.closed and not self._db.broken:
            self.execute(f"select pg_advisory_unlock{'_shared' if shared else ''}(?, ?)", [kind, number])

    def lock_numbers(self, kind: int, *, waited_for: bool = False) -> set[int]:
        """The numbers of the locks of a kind that are held, or waited for, by anybody."""
        rows = self.execute(
            "select objid::bigint from pg_catalog.pg_locks where locktype = 'advisory' and classid = ? and objsubid = 2"
            " and database = (select oid from pg_catalog.pg_database where datname = current_database())"
            " and granted = ?",
            [kind, not waited_for],
        )
        return {row[0] for row in rows}

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except psycopg.Error as error:
            line = error_line(error, self._url)
            is_away = isinstance(error, psycopg.OperationalError) and not isinstance(
                error, psycopg.errors.LockNotAvailable | psycopg.errors.DiskFull
            )
            what = what_to_check(error, line) if is_away else "mend that"
            raise LedgerDatabaseError(
                f"the ledger's database failed: {line}; {what} ({SETTING}), then run again: nothing is lost",
                is_transient=is_away and "password" not in line,
            ) from error


Database = sqlite3.Connection | PostgresDatabase


def connect(place: LedgerPlace, *, read_only: bool) -> Database:
    """Open the database of a ledger, making the file where it may be written. Raises sqlite3.Error, IngestError."""
    if isinstance(place, PostgresUrl):
        return PostgresDatabase(place, read_only=read_only)
    if read_only:
        db = sqlite3.connect(f"{place.resolve().as_uri()}?mode=ro", uri=True, isolation_level=None)
    else:
        place.parent.mkdir(parents=True, exist_ok=True)
        db = sqlite3.connect(place, isolation_level=None)
        db.execute("pragma journal_mode = wal")
        db.execute("pragma synchronous = full")
    db.execute("pragma foreign_keys = on")
    db.row_factory = sqlite3.Row
    return db


def has_table(db: Database, name: str) -> bool:
    if isinstance(db, PostgresDatabase):
        return db.execute("select to_regclass(?)", [f"{SCHEMA}.{name}"]).fetchone()[0] is not None
    return db.execute("select 1 from sqlite_master where name = ?", [name]).fetchone() is not None


def create(db: Database, statements: str) -> None:
    """Run statements that make tables, each ended by ";" and a line end."""
    make: Callable[[str], object] = db.create if isinstance(db, PostgresDatabase) else db.execute
    for statement in statements.split(";\n"):
        if statement.strip():
            make(statement)


# -- the locks of a shared ledger (see docs/ingest-workers.md)

_KIND = 0x6D7477
COMMITTING = _KIND + 1
"""Held while files of a batch are put in place and its rows are written: batches become visible in their order."""
AT_WORK = _KIND + 2
"""One for each process that may have claims and temporary files; its number is theirs."""
PIPELINE = _KIND + 3
"""Held by a run, an erasure or a purge from beginning to end, wherever it runs."""
INTAKE = _KIND + 4
"""Shared by those who take lines in; held by a pipeline alone while it needs that nothing lands."""


def workers_of(place: LedgerPlace) -> int:
    """How many processes take part in the ledger now."""
    if not isinstance(place, PostgresUrl):
        return 0
    with contextlib.closing(PostgresDatabase(place, read_only=True)) as db:
        return len(db.lock_numbers(AT_WORK))


def pipeline_is_at_work(place: PostgresUrl) -> bool:
    """Whether a run, an erasure or a purge holds the ledger, on whatever machine. Takes nothing: it is in nobody's way.

    Raises LedgerDatabaseError.
    """
    with contextlib.closing(PostgresDatabase(place, read_only=True)) as db:
        return bool(db.lock_numbers(PIPELINE))


class Gate:
    """What keeps those who work on one shared ledger apart, on any machine. Taken with the lock of the warehouse.

    Raises LedgerDatabaseError.
    """

    PATIENCE_SECONDS = 900.0
    """A worker gives way between two batches; a large one takes a minute."""

    def __init__(self, place: PostgresUrl) -> None:
        self._db = PostgresDatabase(place, read_only=True)

    def close_for_others(self) -> bool:
        """Keep other pipelines out, then wait until nobody takes lines in. False where another pipeline is at work."""
        if not self._db.lock(PIPELINE):
            return False
        if not self._db.lock(INTAKE, seconds=self.PATIENCE_SECONDS):
            raise self._too_long()
        return True

    @staticmethod
    def _too_long() -> LedgerDatabaseError:
        return LedgerDatabaseError(
            "an ingest worker has not given way for a quarter of an hour; end it, then run again", is_transient=True
        )

    @contextlib.contextmanager
    def open_for_workers(self) -> Iterator[None]:
        """Let others take lines in meanwhile, but no pipeline."""
        self._db.lock(INTAKE, shared=True)
        self._db.unlock(INTAKE)
        try:
            yield
        finally:
            if not self._db.lock(INTAKE, seconds=self.PATIENCE_SECONDS):
                raise self._too_long()
            self._db.unlock(INTAKE, shared=True)

    def check(self) -> None:
        """Raises where the server has forgotten that this pipeline is at work: it was restarted, or out of reach."""
        self._db.execute("select 1")

    def release(self) -> None:
        self._db.close()


@contextlib.contextmanager
def turn_to_take_in(place: PostgresUrl, *, seconds: float | None = None) -> Iterator[Callable[[], bool]]:
    """What a worker holds while it takes lines in; waits while a pipeline needs that nothing lands.

    Gives a function that tells whether somebody waits for its end.
    """
    with contextlib.closing(PostgresDatabase(place, read_only=True)) as db:
        deadline = None if seconds is None else time.monotonic() + seconds
        while not db.lock(INTAKE, shared=True, seconds=1):
            if deadline is not None and time.monotonic() > deadline:
                raise LedgerDatabaseError("a pipeline keeps the ledger to itself; try again later", is_transient=True)
        yield lambda: bool(db.lock_numbers(INTAKE, waited_for=True))


@cache
def _with_marks(statement: str) -> str:
    return statement.replace("%", "%%").replace("?", "%s")


def _fit(value: object) -> object:
    # The one character that PostgreSQL has no place for in a text.
    return value.replace("\0", "\N{SYMBOL FOR NULL}") if isinstance(value, str) else value


def _rows(cursor: psycopg.Cursor[Any]) -> Callable[[Sequence[Any]], Row]:
    places = {column.name: place for place, column in enumerate(cursor.description or ())}

    def row(values: Sequence[Any]) -> Row:
        made = Row(values)
        made.places = places
        return made

    return row
