"""The ledger: which contents and files were taken in, in which batch, with which totals and digests.

Belongs here: the schema, its transactions and its questions. Does not: reading files, writing Parquet, what SQLite and
PostgreSQL have not in common (ledger_database).
What is not in the ledger does not exist: a commit is one transaction, made after the Parquet is on disk.
"""

import json
import sqlite3
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from pathlib import Path

from log_ingest import ledger_database, migrations
from log_ingest.errors import IngestError
from log_ingest.files import Fingerprint
from log_ingest.ledger_database import AT_WORK, COMMITTING, SCHEMA, LedgerPlace, PostgresDatabase, Row
from log_ingest.pointers import Gap, PointerIndex, PointerRun

# Format 2. Whatever came later is a step in log_ingest.migrations, which every new ledger goes through as well.
_SCHEMA = """
create table facts (name text primary key, value text not null) strict;
create table runs (
    run_id text primary key, started_at text not null, finished_at text, outcome text
) strict;
-- One row per content. Its bytes up to framed_bytes are taken in, held_bytes follow and wait for a line end.
create table contents (
    file_id integer primary key,
    source text not null,
    name text not null,
    head_digest text not null,
    digest text not null,
    content_bytes integer not null,
    framed_bytes integer not null,
    framed_digest text not null,
    held_bytes integer not null,
    lines integer not null,
    accepted integer not null,
    duplicate integer not null,
    quarantined integer not null,
    blank integer not null,
    not_tracking integer not null,
    suppressed integer not null,
    first_seen_at text not null
) strict;
create index contents_by_head on contents (source, head_digest);
-- One row per path in the landing folder: what it held when it was last opened.
create table paths (
    source text not null,
    name text not null,
    file_id integer references contents (file_id),
    role text not null check (role in ('origin', 'copy', 'problem')),
    problem text,
    size integer not null,
    mtime_ns integer not null,
    ctime_ns integer not null,
    inode integer not null,
    seen_at text not null,
    changed_at text not null,
    primary key (source, name)
) strict;
create index paths_by_file on paths (file_id);
create table batches (
    batch_id integer primary key,
    source text not null,
    run_id text not null,
    committed_at text not null,
    accepted_count integer not null
) strict;
create table parts (
    batch_id integer not null references batches (batch_id),
    path text primary key,
    digest text not null,
    row_count integer not null
) strict;
-- The extent of each file that a batch took: adds up to the file's row in contents, but for lines that were suppressed
-- where nothing else came.
create table takings (
    batch_id integer not null references batches (batch_id),
    file_id integer not null references contents (file_id),
    lines integer not null,
    accepted integer not null,
    duplicate integer not null,
    quarantined integer not null,
    blank integer not null,
    not_tracking integer not null,
    suppressed integer not null,
    primary key (batch_id, file_id)
) strict;
-- Where the lines of a batch lie on the axis of their identity: per server, log pointers; for logs that have none, one
-- scope '' and microseconds since 1970. Only batches that overlap can hold the same line.
create table batch_extents (
    batch_id integer not null references batches (batch_id),
    source text not null,
    scope text not null,
    first_position integer not null,
    last_position integer not null,
    primary key (batch_id, source, scope)
) strict;
-- Merged runs of pointers seen, accepted or quarantined. What lies between two runs of a server is missing.
create table pointer_runs (
    server text not null,
    first_pointer integer not null,
    last_pointer integer not null,
    first_at text,
    last_at text,
    primary key (server, first_pointer)
) strict;
"""

# What only a ledger has that several processes write to.
_SHARED_SCHEMA = """
create sequence file_ids;
create sequence worker_ids as integer cycle;
-- What a process is taking in, so that no other one does: paths, and beginnings of contents.
create table claims (
    source text not null,
    what text not null,
    worker_id integer not null,
    primary key (source, what)
) strict;
"""

_BEGUN = "begun_batch"
"""The fact that names the batch whose files are being put in place."""

_PASSING = "passing problems "
"""The facts that hold, per source, what note_passing was told last: JSON, rows of name, problem and since."""

SALT = "salt"
"""The fact that digests of persons in frozen rows are made with."""


@dataclass
class Tally:
    """Control totals in lines. lines = accepted + duplicate + quarantined + blank + not_tracking + suppressed.

    not_tracking: requests in a web server's log that are no tracking hits. suppressed: of erased recipients, or of
    purged deliveries. Lines that were purged since still count here as what they were: see Ledger.purged_of.
    """

    lines: int = 0
    accepted: int = 0
    duplicate: int = 0
    quarantined: int = 0
    blank: int = 0
    not_tracking: int = 0
    suppressed: int = 0

    @classmethod
    def of_row(cls, row: Row) -> "Tally":
        return cls(*(row[name] for name in TALLY_COLUMNS))

    def values(self) -> list[int]:
        return [getattr(self, name) for name in TALLY_COLUMNS]

    def add(self, other: "Tally") -> None:
        for name in vars(self):
            setattr(self, name, getattr(self, name) + getattr(other, name))


TALLY_COLUMNS = tuple(entry.name for entry in fields(Tally))


@dataclass
class Content:
    """One file content as far as it was taken in. Sizes in decompressed bytes, digests sha256 hex."""

    source: str
    name: str
    head_digest: str
    digest: str = ""
    content_bytes: int = 0
    framed_bytes: int = 0
    framed_digest: str = ""
    held_bytes: int = 0
    tally: Tally = field(default_factory=Tally)
    file_id: int = 0


@dataclass
class PathState:
    """What a landing path held when it was last opened. role: origin, copy (of file_id) or problem."""

    source: str
    name: str
    fingerprint: Fingerprint
    role: str
    file_id: int | None = None
    problem: str | None = None
    changed_at: datetime | None = None


@dataclass(frozen=True)
class Problem:
    """A file or folder that could not be taken: why, and since when it was seen so (UTC, ISO 8601)."""

    source: str
    name: str
    problem: str
    since: str


@dataclass
class Part:
    """One landed Parquet file: path below landed/, sha256 hex of its bytes, rows."""

    path: str
    digest: str
    row_count: int


@dataclass
class Commit:
    """Everything that one batch adds, written in one transaction."""

    source: str
    run_id: str
    accepted_count: int = 0
    parts: list[Part] = field(default_factory=list)
    contents: list[Content] = field(default_factory=list)
    paths: list[PathState] = field(default_factory=list)
    takings: dict[int, Tally] = field(default_factory=dict)
    pointer_runs: dict[str, list[PointerRun]] = field(default_factory=dict)
    """Per server: the merged runs that replace all stored runs of that server that they overlap or touch."""
    replaced: dict[str, Part] = field(default_factory=dict)
    """By the path of a part that exists: the part of the same batch that takes its place."""
    extents: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Per scope: the first and last position of the batch's lines (see the table batch_extents)."""
    facts: dict[str, str] = field(default_factory=dict)
    """Small facts that become true with the batch, such as how far a table was read."""
    marks: set[tuple[str, str]] = field(default_factory=set)
    """Kind and mark: see the table suppression_marks."""
    erased_lines: dict[int, int] = field(default_factory=dict)
    """By file: further lines whose bytes are not all kept."""
    erasure: "Erasure | None" = None
    purges: "list[Purge]" = field(default_factory=list)
    purged_lines: dict[int, int] = field(default_factory=dict)
    """By file: further accepted lines that are purged."""
    purged_set_aside: dict[tuple[int, str], int] = field(default_factory=dict)
    """By file and disposition: further lines set aside that are purged."""
    purged_rows: dict[int, int] = field(default_factory=dict)
    """By earlier batch: accepted rows that its parts no longer hold."""
    late_lines: dict[int, int] = field(default_factory=dict)
    """By file: further suppressed lines that are of purged deliveries."""


@dataclass(frozen=True)
class Erasure:
    """What an erasure did. erased_at: UTC, ISO 8601; counts: rows by landed source."""

    erasure_id: str
    erased_at: str
    run_id: str
    recipient_count: int
    counts: dict[str, int]


@dataclass(frozen=True)
class PurgedDelivery:
    """A delivery and what one purge took of it. Times: UTC, ISO 8601.

    event_count, first and last: of its tracking events; of delivery logs, of its messages; none of statistics.
    """

    delivery_id: int
    expired_at: str
    event_count: int
    first_event_at: str | None
    last_event_at: str | None


@dataclass(frozen=True)
class Purge:
    """What a purge took of one kind (log_ingest.retention). line_count: lines and rows of the landed sources.

    refusals: by digest of a visitor, since when they refuse web tracking.
    """

    purge_id: str
    kind: str
    purged_at: str
    run_id: str
    kept_days: int
    line_count: int
    deliveries: list[PurgedDelivery]
    refusals: dict[str, str] = field(default_factory=dict)


def exists(place: LedgerPlace) -> bool:
    """Whether there is a ledger. Raises IngestError where a database cannot be asked."""
    if isinstance(place, Path):
        return place.exists()
    with closing(ledger_database.connect(place, read_only=True)) as db:
        return ledger_database.has_table(db, "facts")


class Ledger:
    """The open ledger of one warehouse. Use as a context manager.

    In SQLite there is only one writer at a time (the run's lock). is_shared: in PostgreSQL, where others may take lines
    in at the same time; then what is read of it may be another thing a moment later, but for who is `committing`.
    """

    def __init__(
        self,
        place: LedgerPlace,
        *,
        read_only: bool = False,
        first_rows: Callable[[PostgresDatabase], None] | None = None,
    ) -> None:
        """first_rows: fills the tables of a ledger that is made now, in the transaction that makes them."""
        self.place = place
        self._first_rows = first_rows
        self._worker_id: int | None = None
        self._commits_held = 0
        try:
            self._db = ledger_database.connect(place, read_only=read_only)
            try:
                with self.committing() if not read_only else nullcontext():
                    self._open(read_only)
            except BaseException:
                self._db.close()
                raise
        except sqlite3.Error as error:
            raise IngestError(f"the ledger {place} cannot be used ({error}); restore it from a backup") from error

    @property
    def is_shared(self) -> bool:
        return isinstance(self._db, PostgresDatabase)

    def _open(self, read_only: bool) -> None:
        found = migrations.stored_format(self._db)
        if found is None:
            if read_only:
                raise IngestError(f"{self.place} is not a ledger; run: mtw run")
            with self._transaction():
                if self.is_shared:
                    self._db.execute(f"create schema if not exists {SCHEMA}")
                ledger_database.create(self._db, _SCHEMA)
                if self.is_shared:
                    ledger_database.create(self._db, _SHARED_SCHEMA)
                migrations.apply(self._db, migrations.OLDEST_FORMAT)
                if self._first_rows is not None and isinstance(self._db, PostgresDatabase):
                    self._first_rows(self._db)
            return
        migrations.check(found, self.place, read_only=read_only)
        if found < migrations.FORMAT:
            if isinstance(self.place, Path) and isinstance(self._db, sqlite3.Connection):
                migrations.keep(self._db, self.place, found)
            with self._transaction():
                migrations.apply(self._db, found)

    def __enter__(self) -> "Ledger":
        return self

    def __exit__(self, *exc: object) -> None:
        self._db.close()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("begin" if self.is_shared else "begin immediate")
        try:
            yield
        except BaseException:
            with suppress(IngestError):  # where the connection is gone, so is the transaction
                self._db.execute("rollback")
            raise
        self._db.execute("commit")

    # -- beside others, in a shared ledger

    @contextmanager
    def committing(self) -> Iterator[None]:
        """Nobody else adds a batch, or touches what is landed, meanwhile. May be entered again by who is inside."""
        if not isinstance(self._db, PostgresDatabase):
            yield
            return
        if not self._commits_held:
            self._db.lock(COMMITTING, seconds=None)
        self._commits_held += 1
        try:
            yield
        finally:
            self._commits_held -= 1
            if not self._commits_held:
                self._db.unlock(COMMITTING)

    @property
    def worker_id(self) -> int:
        """The number by which this process is known as at work, from the first use on and until the ledger closes."""
        assert isinstance(self._db, PostgresDatabase)
        while self._worker_id is None:
            number = self._db.execute("select nextval('worker_ids')").fetchone()[0]
            self._worker_id = number if self._db.lock(AT_WORK, number) else None
        return self._worker_id

    def workers(self) -> set[int]:
        """Who is at work now: their numbers. A process that died is none of them."""
        return self._db.lock_numbers(AT_WORK) if isinstance(self._db, PostgresDatabase) else set()

    def claim(self, source: str, wanted: Collection[str]) -> set[str]:
        """Claim these for this process; returns which of them it has now, those that it had before among them.

        What a process claimed that is not at work any more is free.
        """
        self._db.execute("delete from claims where worker_id <> all(?::bigint[])", [sorted(self.workers())])
        # All in one order: two who claim at once never wait for each other.
        self._db.execute(
            "insert into claims select ?, unnest(?::text[]), ? on conflict do nothing",
            [source, sorted(wanted), self.worker_id],
        )
        found = self._db.execute("select what from claims where source = ? and worker_id = ?", [source, self.worker_id])
        return {row[0] for row in found} & set(wanted)

    def give_back(self, source: str, claimed: Collection[str]) -> None:
        """Others may have these."""
        self._db.execute(
            "delete from claims where source = ? and what = any(?::text[]) and worker_id = ?",
            [source, sorted(claimed), self.worker_id],
        )

    def begin_batch(self, batch_id: int) -> bool:
        """Note that files of a batch are about to be put in place. True where somebody began so and did not come to
        the commit: then there are files of a batch that does not exist.
        """
        if not self.is_shared:
            return False  # who opens the landed rows looks for them
        is_left = bool(self.fact(_BEGUN))
        self.set_fact(_BEGUN, str(batch_id))
        return is_left

    # -- small facts and runs

    def fact(self, name: str, default: str = "") -> str:
        row = self._db.execute("select value from facts where name = ?", [name]).fetchone()
        return row["value"] if row else default

    def set_fact(self, name: str, value: str) -> None:
        self._db.execute(
            "insert into facts values (?, ?) on conflict (name) do update set value = excluded.value", [name, value]
        )

    def facts_like(self, beginning: str) -> list[tuple[str, str]]:
        """Name and value of the facts whose names begin so."""
        rows = self._db.execute(
            "select name, value from facts where substr(name, 1, ?) = ?", [len(beginning), beginning]
        )
        return [tuple(row) for row in rows]

    def start_run(self, run_id: str) -> None:
        self._db.execute(
            "insert into runs values (?, ?, null, null) on conflict (run_id) do update set"
            " started_at = excluded.started_at, finished_at = null, outcome = null",
            [run_id, _now()],
        )

    def finish_run(self, run_id: str, outcome: str) -> None:
        self._db.execute("update runs set finished_at = ?, outcome = ? where run_id = ?", [_now(), outcome, run_id])

    def last_run(self) -> Row | None:
        return self._db.execute("select * from runs order by started_at desc limit 1").fetchone()

    # -- what is known of files

    def path_state(self, source: str, name: str) -> PathState | None:
        row = self._db.execute("select * from paths where source = ? and name = ?", [source, name]).fetchone()
        return _path_state(row) if row else None

    def origins(self, file_id: int) -> list[PathState]:
        """The paths that a content was last taken from."""
        rows = self._db.execute("select * from paths where file_id = ? and role = 'origin'", [file_id])
        return [_path_state(row) for row in rows]

    def content(self, file_id: int) -> Content:
        return _content(self._db.execute("select * from contents where file_id = ?", [file_id]).fetchone())

    def find_content(self, file_id: int) -> Content | None:
        row = self._db.execute("select * from contents where file_id = ?", [file_id]).fetchone()
        return _content(row) if row else None

    def contents_like(self, source: str, head: str, name: str) -> list[Content]:
        """Contents that may be the same as, or an earlier state of, a file with this head digest or this path."""
        rows = self._db.execute(
            "select * from contents where source = ? and head_digest = ?"
            " union select contents.* from contents join paths using (file_id)"
            " where paths.source = ? and paths.name = ? and role = 'origin'",
            [source, head, source, name],
        )
        return [_content(row) for row in rows]

    def held_files(self, source: str) -> set[int]:
        """The contents of a source that hold bytes behind their last line end."""
        rows = self._db.execute("select file_id from contents where source = ? and held_bytes > 0", [source])
        return {row[0] for row in rows}

    def path_states(self, source: str, names: Collection[str]) -> dict[str, PathState]:
        """What is known of these paths."""
        rows = self._db.execute(
            f"select * from paths where source = ? and name in ({_marks(len(names))})", [source, *names]
        )
        return {row["name"]: _path_state(row) for row in rows}

    def next_file_id(self) -> int:
        """A number for a content. In a shared ledger nobody else gets the same; otherwise, until it is committed, the
        next call gives it again.
        """
        if self.is_shared:
            return self._db.execute("select nextval('file_ids')").fetchone()[0]
        return self._db.execute("select coalesce(max(file_id), 0) + 1 from contents").fetchone()[0]

    def note_paths(self, paths: Iterable[PathState]) -> None:
        """Remember what paths held where no batch is due: copies, problems, unchanged contents."""
        with self._transaction():
            self._write_paths(paths)

    def has_copies(self, source: str, contents: Collection[Content]) -> bool:
        """True where another content of the source is, to the last byte, one of these. Of a shared ledger."""
        values = list(zip(*((entry.head_digest, entry.digest, entry.file_id) for entry in contents), strict=True))
        row = self._db.execute(
            "select 1 from contents where source = ? and head_digest = any(?::text[]) and digest = any(?::text[])"
            " and file_id <> all(?::bigint[]) limit 1",
            [source, *(list(column) for column in values or ((), (), ()))],
        )
        return row.fetchone() is not None

    def has_content_after(self, source: str, file_id: int) -> bool:
        """True where another content of the source was taken after this one."""
        row = self._db.execute("select 1 from contents where source = ? and file_id > ? limit 1", [source, file_id])
        return row.fetchone() is not None

    # -- batches

    def last_batch_id(self) -> int:
        return self._db.execute("select coalesce(max(batch_id), 0) from batches").fetchone()[0]

    def batch_ids(self) -> set[int]:
        return {row[0] for row in self._db.execute("select batch_id from batches")}

    def batches(self) -> list[Row]:
        return self._db.execute("select * from batches order by batch_id").fetchall()

    def parts(self, *, source: str | None = None, after: int = 0) -> list[Row]:
        """The parts of all batches of a source after a batch id, in order."""
        of_source, values = ("", []) if source is None else (" and source = ?", [source])
        return self._db.execute(
            "select parts.*, source from parts join batches using (batch_id)"
            f" where batch_id > ?{of_source} order by batch_id, path",
            [after, *values],
        ).fetchall()

    def commit(self, batch_id: int | None, commit: Commit) -> None:
        """Make a batch exist: all of its rows, totals and digests in one transaction.

        batch_id is None where there is no row to land: then only contents and paths are remembered.
        """
        now = _now()
        with self._transaction():
            if batch_id is not None:
                self._db.execute(
                    "insert into batches values (?, ?, ?, ?, ?)",
                    [batch_id, commit.source, commit.run_id, now, commit.accepted_count],
                )
            self._db.executemany(
                "insert into parts values (?, ?, ?, ?)",
                [(batch_id, part.path, part.digest, part.row_count) for part in commit.parts],
            )
            self._db.executemany(
                "update parts set path = ?, digest = ?, row_count = ? where path = ?",
                [(part.path, part.digest, part.row_count, path) for path, part in commit.replaced.items()],
            )
            for content in commit.contents:
                self._write_content(content, now)
            self._write_paths(commit.paths)
            # What was suppressed to its last line made no batch.
            taken = commit.takings.items() if batch_id is not None else ()
            extents = commit.extents.items() if batch_id is not None else ()
            self._db.executemany(
                f"insert into takings (batch_id, file_id, {', '.join(TALLY_COLUMNS)})"
                f" values ({_marks(2 + len(TALLY_COLUMNS))})",
                [(batch_id, file_id, *tally.values()) for file_id, tally in taken],
            )
            self._db.executemany(
                "insert into batch_extents values (?, ?, ?, ?, ?)",
                [(batch_id, commit.source, scope, *bounds) for scope, bounds in extents],
            )
            for server, runs in commit.pointer_runs.items():
                self._replace_runs(server, runs)
            for name, value in commit.facts.items():
                self.set_fact(name, value)
            self._write_erasure(commit)
            self._write_purge(commit)
            if self.is_shared and batch_id is not None:
                self._db.execute("delete from facts where name = ?", [_BEGUN])

    # -- erasures

    def erasures(self) -> list[Erasure]:
        """All erasures, oldest first."""
        rows = self._db.execute("select * from erasures order by erased_at, erasure_id")
        names = ("erasure_id", "erased_at", "run_id", "recipient_count")
        return [Erasure(**{name: row[name] for name in names}, counts=json.loads(row["counts"])) for row in rows]

    def erased_lines(self) -> dict[int, int]:
        """By file: lines whose bytes are not all kept."""
        return dict(tuple(row) for row in self._db.execute("select file_id, lines from erased_lines"))

    def marks(self) -> list[tuple[str, str]]:
        """Kind and mark of everything that is not to be taken in again."""
        return [tuple(row) for row in self._db.execute("select kind, mark from suppression_marks")]

    def has_marks(self) -> bool:
        return self._db.execute("select 1 from suppression_marks limit 1").fetchone() is not None

    def _write_erasure(self, commit: Commit) -> None:
        self._db.executemany("insert into suppression_marks values (?, ?) on conflict do nothing", sorted(commit.marks))
        self._db.executemany(
            "insert into erased_lines values (?, ?) on conflict (file_id) do update set"
            " lines = erased_lines.lines + excluded.lines",
            list(commit.erased_lines.items()),
        )
        if erasure := commit.erasure:
            self._db.execute(
                "insert into erasures values (?, ?, ?, ?, ?)",
                [
                    *(erasure.erasure_id, erasure.erased_at, erasure.run_id, erasure.recipient_count),
                    json.dumps(erasure.counts, sort_keys=True),
                ],
            )

    # -- purges

    def purges(self) -> list[Row]:
        """All purges, oldest first, with delivery_count."""
        return self._db.execute(
            "select purges.*, (select count(*) from purged_deliveries where purged_deliveries.purge_id ="
            " purges.purge_id) as delivery_count from purges order by purged_at, kind, purge_id"
        ).fetchall()

    def purged_deliveries(self, kind: str | None = None) -> list[Row]:
        """Every delivery of which something is gone, of a kind or of any, with its purge, by id and kind."""
        of_kind, values = ("", []) if kind is None else (" where kind = ?", [kind])
        return self._db.execute(
            "select purged_deliveries.*, kind, purged_at, kept_days from purged_deliveries join purges using (purge_id)"
            f"{of_kind} order by delivery_id, kind",
            values,
        ).fetchall()

    def purged_of(self) -> dict[int, dict[str, int]]:
        """By file: lines that were purged since, by what had become of them ("accepted", "quarantined" …)."""
        found: dict[int, dict[str, int]] = {}
        for file_id, lines in self._purged("lines").items():
            found.setdefault(file_id, {})["accepted"] = lines
        for file_id, disposition, lines in self._db.execute("select file_id, disposition, lines from purged_set_aside"):
            found.setdefault(file_id, {})[disposition] = lines
        return found

    def late_lines(self) -> dict[int, int]:
        """By file: suppressed lines that were of purged deliveries."""
        return self._purged("late_lines")

    def refusals(self) -> list[tuple[str, str]]:
        """Digest of a visitor, and since when they refuse web tracking, where a purged line said so."""
        return [tuple(row) for row in self._db.execute("select * from refusals order by person_key")]

    def _purged(self, column: str) -> dict[int, int]:
        rows = self._db.execute(f"select file_id, {column} from purged_lines where {column} > 0")
        return dict(tuple(row) for row in rows)

    def _write_purge(self, commit: Commit) -> None:
        for purge in commit.purges:
            self._db.execute(
                "insert into purges values (?, ?, ?, ?, ?, ?)",
                [purge.purge_id, purge.kind, purge.purged_at, purge.run_id, purge.kept_days, purge.line_count],
            )
            self._db.executemany(
                "insert into purged_deliveries values (?, ?, ?, ?, ?, ?)",
                [
                    (
                        *(purge.purge_id, entry.delivery_id, entry.expired_at, entry.event_count),
                        *(entry.first_event_at, entry.last_event_at),
                    )
                    for entry in purge.deliveries
                ],
            )
            self._db.executemany(
                "insert into refusals values (?, ?) on conflict (person_key) do update set"
                " refused_at = case when excluded.refused_at < refusals.refused_at then excluded.refused_at"
                " else refusals.refused_at end",
                list(purge.refusals.items()),
            )
        self._db.executemany(
            "update batches set accepted_count = accepted_count - ? where batch_id = ?",
            [(count, batch_id) for batch_id, count in commit.purged_rows.items()],
        )
        for column, counts in (("lines", commit.purged_lines), ("late_lines", commit.late_lines)):
            self._db.executemany(
                "insert into purged_lines (file_id, lines, late_lines) values (?, 0, 0) on conflict do nothing",
                [(file_id,) for file_id in counts],
            )
            self._db.executemany(
                f"update purged_lines set {column} = {column} + ? where file_id = ?",
                [(count, file_id) for file_id, count in counts.items()],
            )
        self._db.executemany(
            "insert into purged_set_aside values (?, ?, ?) on conflict (file_id, disposition) do update set"
            " lines = purged_set_aside.lines + excluded.lines",
            [(*place, count) for place, count in commit.purged_set_aside.items()],
        )

    # -- pointers

    def pointer_runs(self, server: str) -> list[PointerRun]:
        """All merged runs of one server, by pointer."""
        rows = self._db.execute(
            "select first_pointer, last_pointer, first_at, last_at from pointer_runs where server = ?"
            " order by first_pointer",
            [server],
        )
        return [PointerRun(*row) for row in rows]

    def gaps(self) -> list[Gap]:
        """What is missing between the pointers of each server, by server and pointer."""
        return [gap for server in self.servers() for gap in PointerIndex(self.pointer_runs(server)).gaps(server)]

    def servers(self) -> list[str]:
        return [row[0] for row in self._db.execute("select distinct server from pointer_runs order by 1")]

    def parts_within(self, source: str, scope: str, first: int, last: int, *, after: int = 0) -> list[str]:
        """Landed parts of a line source whose batches may hold lines of the scope at positions first..last. after: a
        batch id; only those of later batches.
        """
        rows = self._db.execute(
            "select path from parts join batch_extents using (batch_id) where source = ? and scope = ?"
            " and first_position <= ? and last_position >= ? and path like ? and batch_id > ?",
            [source, scope, last, first, f"{source}/%", after],
        )
        return [row[0] for row in rows]

    # -- totals, for status

    def totals(self) -> list[Row]:
        """Per source: contents and their lines."""
        sums = ", ".join(f"cast(sum({name}) as bigint) as {name}" for name in (*TALLY_COLUMNS, "held_bytes"))
        return self._db.execute(
            f"select source, count(*) as files, {sums}, cast(sum(content_bytes) as bigint) as bytes from contents"
            " group by source order by source"
        ).fetchall()

    def copies(self) -> dict[str, int]:
        """Per source: paths that hold a content already known under another path."""
        rows = self._db.execute("select source, count(*) from paths where role = 'copy' group by source")
        return {row["source"]: row[1] for row in rows}

    def contents(self) -> list[Content]:
        return [_content(row) for row in self._db.execute("select * from contents order by file_id")]

    def files(self) -> list[Row]:
        """Every content with its totals and copy_count: further paths that hold the same."""
        return self._db.execute(
            "select contents.*, (select count(*) from paths where paths.file_id = contents.file_id"
            " and role = 'copy') as copy_count from contents order by file_id"
        ).fetchall()

    def problems(self) -> list[Problem]:
        """What could not be taken, by source and name. What the last look met says more than an earlier content."""
        rows = self._db.execute("select source, name, problem, changed_at from paths where role = 'problem'")
        found = {(row[0], row[1]): Problem(*row) for row in rows}
        for name, rows in self.facts_like(_PASSING):
            source = name.removeprefix(_PASSING)
            found |= {(source, row[0]): Problem(source, *row) for row in json.loads(rows)}
        return [found[key] for key in sorted(found)]

    def note_passing(self, source: str, problems: Mapping[str, str]) -> None:
        """Remember until the next look what stood in the way of a source, but is no content of a file: folders, links
        and devices that were refused, files that could not be read. problems: by name.
        """
        before = {(row[0], row[1]): row[2] for row in json.loads(self.fact(_PASSING + source, "[]"))}
        now = _now()
        rows = [[name, problem, before.get((name, problem), now)] for name, problem in sorted(problems.items())]
        if rows or before:
            self.set_fact(_PASSING + source, json.dumps(rows))

    def reopen_problems(self) -> list[str]:
        """Let the next ingest open the files again that it could not take. Returns their paths."""
        rows = self._db.execute("select name from paths where role = 'problem' order by name")
        names = [row[0] for row in rows]
        self._db.execute("delete from paths where role = 'problem' and file_id is null")
        return names

    def is_whole(self) -> bool:
        """False where the file is damaged or rows belong to none. A server looks after that by itself."""
        if self.is_shared:
            return True
        is_sound = self._db.execute("pragma integrity_check").fetchone()[0] == "ok"
        return is_sound and self._db.execute("pragma foreign_key_check").fetchone() is None

    def unbalanced(self) -> list[str]:
        """Contents whose control totals do not add up to their lines, or whose bytes not to their size."""
        parts = " + ".join(name for name in TALLY_COLUMNS if name != "lines")
        rows = self._db.execute(
            f"select name from contents where lines <> {parts} or framed_bytes + held_bytes <> content_bytes"
            " order by name"
        )
        return [row[0] for row in rows]

    def newest_time(self) -> datetime | None:
        """The latest moment (UTC) at which anything was committed or begun, by the clock of then."""
        row = self._db.execute(
            "select max(at) from"
            " (select max(committed_at) as at from batches union all select max(started_at) from runs) as times"
        ).fetchone()
        return datetime.fromisoformat(row[0]) if row[0] else None

    # -- rows

    def _write_content(self, content: Content, now: str) -> None:
        row = {
            "file_id": content.file_id,
            "source": content.source,
            "name": content.name,
            "head_digest": content.head_digest,
            "digest": content.digest,
            "content_bytes": content.content_bytes,
            "framed_bytes": content.framed_bytes,
            "framed_digest": content.framed_digest,
            "held_bytes": content.held_bytes,
            **dict(zip(TALLY_COLUMNS, content.tally.values(), strict=True)),
            "first_seen_at": now,
        }
        kept = ("file_id", "source", "first_seen_at")
        changes = ", ".join(f"{name} = excluded.{name}" for name in row if name not in kept)
        self._db.execute(
            f"insert into contents ({', '.join(row)}) values ({_marks(len(row))})"
            f" on conflict (file_id) do update set {changes}",
            list(row.values()),
        )

    def _write_paths(self, paths: Iterable[PathState]) -> None:
        now = _now()
        self._db.executemany(
            "insert into paths values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
            " on conflict (source, name) do update set file_id = excluded.file_id, role = excluded.role,"
            " problem = excluded.problem, seen_at = excluded.seen_at,"
            " changed_at = case when paths.size = excluded.size and paths.mtime_ns = excluded.mtime_ns"
            " then paths.changed_at else excluded.changed_at end,"
            " size = excluded.size, mtime_ns = excluded.mtime_ns, ctime_ns = excluded.ctime_ns, inode = excluded.inode",
            [
                (
                    path.source,
                    path.name,
                    path.file_id,
                    path.role,
                    path.problem,
                    path.fingerprint.size,
                    path.fingerprint.mtime_ns,
                    path.fingerprint.ctime_ns,
                    path.fingerprint.inode,
                    now,
                    now,
                )
                for path in paths
            ],
        )

    def _replace_runs(self, server: str, runs: list[PointerRun]) -> None:
        self._db.executemany(
            "delete from pointer_runs where server = ? and first_pointer between ? and ?",
            [(server, run.first, run.last) for run in runs],
        )
        self._db.executemany(
            "insert into pointer_runs values (?, ?, ?, ?, ?)",
            [(server, run.first, run.last, run.first_at, run.last_at) for run in runs],
        )


def _path_state(row: Row) -> PathState:
    fingerprint = Fingerprint(row["size"], row["mtime_ns"], row["ctime_ns"], row["inode"])
    changed_at = datetime.fromisoformat(row["changed_at"])
    return PathState(row["source"], row["name"], fingerprint, row["role"], row["file_id"], row["problem"], changed_at)


def _content(row: Row) -> Content:
    return Content(
        source=row["source"],
        name=row["name"],
        head_digest=row["head_digest"],
        digest=row["digest"],
        content_bytes=row["content_bytes"],
        framed_bytes=row["framed_bytes"],
        framed_digest=row["framed_digest"],
        held_bytes=row["held_bytes"],
        tally=Tally.of_row(row),
        file_id=row["file_id"],
    )


def _marks(count: int) -> str:
    return ", ".join("?" * count)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds")
