"""A copy of the published version in PostgreSQL, for BI tools that cannot open a DuckDB file.

Belongs here: bringing the schemas core, reports and meta of one PostgreSQL database from the version that they hold to
the published one, in one transaction. Does not: deciding when (assets), types (postgres_types), or what a table
holds. Needs no Dagster.

Rows are changed in place: what has gone is deleted, what is new is inserted by COPY, and one commit shows all of it.
So PostgreSQL's own snapshots keep versions apart for every reader, whether it asks once or in a transaction of many
queries; nobody waits for anybody; and the grants and views that others hang on the tables stay. Swapping schemas by
their names cannot do that: a transaction that began before finds the new tables empty (docs/decisions.md).

What changed is found in DuckDB, between the version that PostgreSQL says it holds and the published one. Where that
version is no longer kept here, or a table in PostgreSQL has not the rows it should have, the table is filled anew.

    meta.publication        as in the published file: the version that the copy holds
    meta.postgresql_copy    which tables the copy made, their structure, and which version last changed them
"""

import contextlib
import hashlib
import json
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import numpy
import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from log_ingest.errors import IngestError
from log_ingest.postgres_url import PASSING, check_url, error_line, what_to_check
from log_ingest.sqltext import identifier, literal
from orchestration.bounded import bound
from orchestration.postgres_structure import (
    INCOMING,
    LOCK_SECONDS,
    REGISTRY,
    Column,
    Key,
    Known,
    Name,
    Structure,
    Table,
)
from orchestration.postgres_types import copy_line, is_changed, postgres_type
from orchestration.publication import Publication, PublishError, current

SETTING = "MTW_PUBLISH_URL"

RECORD_KEYS = {
    ("meta", "publication"): Key(("version",)),
    ("meta", "restatements"): Key(("delivery_id", "indicator", "version")),
    ("meta", "model_sql"): Key(("schema_name", "table_name")),
    ("meta", "personal_fields"): Key(("source_table", "source_column")),
}
"""Keys of the tables that publishing writes itself, by their grain."""

CONNECT_SECONDS = 10
_ROWS_AT_ONCE = 8192
_MOST_CHANGED = 0.5
"""A table of which more than this share changed is filled anew: the deletes cost as much as the rows."""

_LONGEST_NAME = 63
_LEAST_ROWS_TO_VACUUM = 1000
_ADVISORY_LOCK = 0x6D7477  # "mtw"
_RECORD = "postgresql.json"


class CopyError(Exception):
    """PostgreSQL does not hold the published version; it holds what it held before, whole. The message is one line
    without secrets that says what to do. is_transient: the server was out of reach or busy, which may pass."""

    def __init__(self, message: str, *, is_transient: bool = False) -> None:
        super().__init__(message)
        self.is_transient = is_transient


class _Refused(Exception):
    """Why there can be no copy, and what to do; becomes a CopyError."""

    def __init__(self, message: str, *, is_transient: bool = False) -> None:
        super().__init__(message)
        self.is_transient = is_transient


@dataclass(frozen=True)
class CopiedTable:
    """What one copy did to a table. how: unchanged, changed (some rows), filled (all rows)."""

    name: str
    rows: int
    how: str
    inserted: int = 0
    deleted: int = 0
    seconds: float = 0.0


@dataclass
class CopyReport:
    """What one copy did. notes: one line each, about what was not done but hinders nobody's reading."""

    version: int
    former_version: int | None
    tables: list[CopiedTable] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)
    seconds: float = 0.0
    notes: list[str] = field(default_factory=list)

    @property
    def rows_written(self) -> int:
        return sum(table.inserted for table in self.tables)


def is_behind(url: str, published_dir: Path, publication: Publication) -> bool:
    """Whether the database of this URL has not been brought to a published version yet, as far as is known here."""
    try:
        record = json.loads((published_dir / _RECORD).read_text(encoding="utf-8"))
        return (record["run_id"], record["target"]) != (publication.run_id, _target(url))
    except (OSError, ValueError, TypeError, KeyError):
        return True


def copied_version(url: str, published_dir: Path) -> int | None:
    """The version that the database of this URL was last brought to; None where it never was."""
    try:
        record = json.loads((published_dir / _RECORD).read_text(encoding="utf-8"))
        return int(record["version"]) if record["target"] == _target(url) else None
    except (OSError, ValueError, TypeError, KeyError):
        return None


def held_version(url: str) -> int | None:
    """The version that the database itself says it holds, None where it holds no copy. Raises CopyError."""
    try:
        check_url(url, SETTING)
        with _connected(url) as connection:
            if not Structure(connection).has_table(("meta", "publication")):
                return None
            row = connection.execute("select version from meta.publication").fetchone()
            return int(row[0]) if row else None
    except (IngestError, _Refused) as error:
        raise CopyError(f"the PostgreSQL copy cannot be read: {error}") from None
    except psycopg.Error as error:
        raise CopyError(f"the PostgreSQL copy cannot be read: {error_line(error, url)}; {_what_to_do(error)}") from None


def copy_to_postgres(
    url: str,
    published_dir: Path,
    *,
    keys: Mapping[Name, Key],
    role: str,
    spill_dir: Path | None = None,
    memory_limit: str | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> CopyReport:
    """Bring the database to the published version. Returns what was done.

    keys: by model, what tells its rows apart; a table without is filled anew when anything in it changed. role: gets
    the right to read. spill_dir: where DuckDB puts what exceeds memory_limit. progress: tables done, of all.

    The caller holds the pipeline lock. Raises CopyError; then PostgreSQL shows what it showed before.
    """
    started = time.monotonic()
    is_transient = False
    try:
        publication = current(published_dir)
    except PublishError as error:
        raise CopyError(str(error)) from None
    if publication is None:
        raise CopyError("nothing is published yet; run: mtw run")
    try:
        check_url(url, SETTING)
        with _connected(url) as connection:
            copy = _Copy(connection, published_dir, publication, keys, progress)
            with copy.published(spill_dir, memory_limit):
                report = copy.run(role)
            _tidy(connection, report)
    except (IngestError, _Refused) as error:
        why = str(error)
        is_transient = getattr(error, "is_transient", False)
    except psycopg.Error as error:
        why = f"{error_line(error, url)}; {_what_to_do(error)}"
        is_transient = isinstance(error, psycopg.OperationalError) and not isinstance(error, psycopg.errors.DiskFull)
    except (duckdb.Error, OSError) as error:
        why = (str(error).strip().splitlines() or [type(error).__name__])[0]
    else:
        report.seconds = time.monotonic() - started
        _remember(url, published_dir, publication)
        return report
    raise CopyError(
        f"the PostgreSQL copy was not made: {why}. Version {publication.label} is published as a file all the same;"
        " PostgreSQL shows what it showed before, and the next run catches up",
        is_transient=is_transient,
    )


@contextlib.contextmanager
def _connected(url: str) -> Iterator[psycopg.Connection]:
    parameters = {
        "connect_timeout": CONNECT_SECONDS,
        "application_name": "message-tracking-warehouse",
        "keepalives_idle": 60,
        "tcp_user_timeout": 120_000,
        **conninfo_to_dict(url),
    }
    try:
        connection = psycopg.connect(make_conninfo("", **parameters), autocommit=True)
    except psycopg.Error as error:
        line = error_line(error, url)
        check = what_to_check(error, line)
        # A wrong password or name of a database stays wrong.
        raise _Refused(f"{line}; {check} in {SETTING}", is_transient=check in PASSING) from None
    try:
        yield connection
    finally:
        connection.close()


def _what_to_do(error: psycopg.Error) -> str:
    match error:
        case psycopg.errors.InsufficientPrivilege():
            return f"the user of {SETTING} needs the right to create schemas in that database, and to own these tables"
        case psycopg.errors.LockNotAvailable():
            return f"its columns changed, and a reader has held it for more than {LOCK_SECONDS} s: run again"
        case psycopg.errors.DependentObjectsStillExist():
            what = (error.diag.message_detail or "").splitlines()
            return (
                f"its columns changed: drop what depends on it ({what[0] if what else 'see its views'}), then run again"
            )
        case psycopg.errors.DiskFull():
            return "free space on that server, then run again"
        case psycopg.errors.ReadOnlySqlTransaction():
            return f"{SETTING} has to name a server that can be written, not a standby"
        case psycopg.OperationalError():
            return "check that the server is up, then run again"
    return "mend that, then run again"


class _Copy:
    """One copy: the open connection, and the published version beside the one that PostgreSQL holds."""

    def __init__(
        self,
        connection: psycopg.Connection,
        published_dir: Path,
        publication: Publication,
        keys: Mapping[Name, Key],
        progress: Callable[[int, int], None],
    ) -> None:
        self._pg, self._dir, self._publication = connection, published_dir, publication
        self._keys, self._progress = {**RECORD_KEYS, **keys}, progress
        self._structure = Structure(connection)
        self._has_former = False

    @contextlib.contextmanager
    def published(self, spill_dir: Path | None, memory_limit: str | None) -> Iterator[None]:
        """The published file, attached in DuckDB as `marts`."""
        if spill_dir is not None:
            spill_dir.mkdir(parents=True, exist_ok=True)
        with (
            tempfile.TemporaryDirectory(prefix="mtw-copy-", dir=spill_dir) as spill,
            contextlib.closing(duckdb.connect()) as self._db,
        ):
            bound(self._db, memory_limit, Path(spill))
            self._db.execute("set arrow_large_buffer_size = true")
            self._attach(self._dir / "versions" / self._publication.label, "marts")
            yield

    def run(self, role: str) -> CopyReport:
        encoding = self._pg.execute("show server_encoding").fetchone()
        if encoding != ("UTF8",):
            raise _Refused(f"that database is encoded in {encoding and encoding[0]}; make one with encoding UTF8")
        tables = self._tables()
        self._structure.add_columns(tables)
        with self._pg.transaction():
            # A user's own limits are for its queries, not for this.
            self._pg.execute("set local statement_timeout = 0")
            self._pg.execute("set local idle_in_transaction_session_timeout = 0")
            self._pg.execute("set local client_min_messages = error")
            self._structure.limit_waiting()
            if self._pg.execute("select pg_try_advisory_xact_lock(%s)", [_ADVISORY_LOCK]).fetchone() != (True,):
                raise _Refused("another copy into that database is under way; give each warehouse one of its own")
            self._structure.create_schemas()
            self._structure.create_registry()
            known = self._structure.known()
            report = CopyReport(self._publication.version, self._attach_former())
            for done, table in enumerate(tables):
                self._progress(done, len(tables))
                report.tables.append(self._bring(table, known.get(table.pair)))
            made = [
                table for table in tables if table.pair not in known or known[table.pair].structure != table.structure
            ]
            # Last, because from here on readers of these tables wait.
            for table in made:
                if table.pair in known:
                    self._structure.move_in(table)
            for name in sorted(set(known) - {table.pair for table in tables} - {REGISTRY}):
                self._structure.drop(name)
                report.dropped.append(".".join(name))
            self._structure.drop_incoming()
            self._record(tables, known, report)
            for table in tables:
                self._structure.comment(table)
            not_granted = self._structure.grant(role, [table.pair for table in made])
            report.notes += [not_granted] if not_granted else []
            self._progress(len(tables), len(tables))
        return report

    # -- what there is

    def _tables(self) -> list[Table]:
        """Every published table, as DuckDB describes it."""
        comments = {
            (schema, name): comment or ""
            for schema, name, comment in self._rows(
                "select schema_name, table_name, comment from duckdb_tables() where database_name = 'marts'"
            )
        }
        columns: dict[Name, list[Column]] = {}
        for schema, table, name, kind, comment in self._rows(
            "select schema_name, table_name, column_name, data_type, comment from duckdb_columns()"
            " where database_name = 'marts' order by schema_name, table_name, column_index"
        ):
            # DuckDB names an enum by its values, which would be a long note.
            told = "ENUM" if kind.startswith("ENUM") else kind
            note = f" (DuckDB type: {told}.)" if is_changed(kind) else ""
            column = Column(name, kind, postgres_type(kind), f"{comment or ''}{note}".replace("\0", "\ufffd"))
            columns.setdefault((schema, table), []).append(column)
            for named in (table, name):
                if len(named.encode()) > _LONGEST_NAME:
                    raise _Refused(
                        f"{named} of {schema}.{table} is longer than the {_LONGEST_NAME} bytes of a name in PostgreSQL;"
                        " shorten it"
                    )
        return [
            Table(*pair, comments[pair].replace("\0", "\ufffd"), tuple(found), self._keys.get(pair))
            for pair, found in columns.items()
        ]

    def _attach_former(self) -> int | None:
        """The version that PostgreSQL holds, None where it holds none; attached as `former` where it is kept here."""
        if not self._structure.has_table(("meta", "publication")):
            return None
        row = self._pg.execute("select version, run_id from meta.publication").fetchone()
        if row is None:
            return None
        folder = self._dir / "versions" / f"{row[0]:06d}"
        try:
            run_id = json.loads((folder / "publication.json").read_text(encoding="utf-8"))["run_id"]
        except (OSError, ValueError, KeyError, TypeError):
            run_id = None
        if run_id == row[1]:
            self._attach(folder, "former")
            self._has_former = True
        return int(row[0])

    def _attach(self, version_dir: Path, name: str) -> None:
        path = literal(str(version_dir / "marts.duckdb"))
        self._db.execute(f"attach {path} as {identifier(name)} (read_only)")

    def _layout(self, database: str, table: Table) -> list[tuple[Any, ...]]:
        return self._rows(
            "select column_name, data_type from duckdb_columns() where database_name = ? and schema_name = ?"
            " and table_name = ? order by column_index",
            [database, *table.pair],
        )

    # -- rows

    def _bring(self, table: Table, known: Known | None) -> CopiedTable:
        """Bring one table to the published rows; one whose structure changed is made anew in the schema INCOMING."""
        started = time.monotonic()
        rows = int(self._rows(f"select count(*) from {_published(table)}")[0][0])  # noqa: S608 (quoted)
        how, inserted, deleted = "filled", rows, 0
        if known is None and self._structure.has_table(table.pair):
            raise _Refused(
                f"that database has a table {table.shown} of its own; name a database for the copy alone in {SETTING}"
            )
        if known is None or known.structure != table.structure:
            schema = table.schema if known is None else INCOMING
            self._structure.create(table, schema)
            self._insert(table, schema)
            self._structure.index(table, schema)
            self._check(table, schema, rows)
        else:
            done = self._change(table)
            if done is None or self._count(table, table.schema) != rows:
                deleted = self._pg.execute(sql.SQL("delete from {}").format(table.place)).rowcount
                self._insert(table, table.schema)
                self._check(table, table.schema, rows)
            else:
                inserted, deleted = done
                how = "changed" if inserted or deleted else "unchanged"
        return CopiedTable(table.shown, rows, how, inserted, deleted, time.monotonic() - started)

    def _change(self, table: Table) -> tuple[int, int] | None:
        """Delete and insert the rows in which the versions differ: (inserted, deleted). None: fill the table anew."""
        if not self._has_former or self._layout("former", table) != self._layout("marts", table):
            return None
        former, published = _published(table, "former"), _published(table)
        digest = "select count(*), sum(cast(hash(row) as hugeint)), bit_xor(hash(row)) from {} as row"
        if self._rows(digest.format(former)) == self._rows(digest.format(published)):
            return 0, 0
        if table.key is None or not table.key.is_never_null:
            return None
        names = ", ".join(map(identifier, table.key.columns))
        self._db.execute(
            "create or replace temp table difference as"  # noqa: S608 (quoted)
            f" select {names}, former_digest is not null as is_former, new_digest is not null as is_new"
            f" from (select {names}, hash(row) as former_digest from {former} as row)"
            f" full join (select {names}, hash(row) as new_digest from {published} as row) using ({names})"
            " where former_digest is distinct from new_digest"
        )
        ((gone, rows),) = self._rows(
            f"select count(*) filter (where is_former), (select count(*) from {former}) from difference"  # noqa: S608
        )
        if gone > rows * _MOST_CHANGED or (gone and self._delete(table, table.key) != gone):
            return None
        inserted = self._insert(table, table.schema, f" semi join (from difference where is_new) using ({names})")
        return inserted, gone

    def _delete(self, table: Table, key: Key) -> int:
        """Delete the rows of `difference` that the former version had; returns how many there were."""
        columns = [column for column in table.columns if column.name in key.columns]
        typed = sql.SQL(", ").join(
            sql.SQL("{} {}").format(sql.Identifier(column.name), sql.SQL(column.type)) for column in columns
        )
        gone = sql.Identifier("pg_temp", "mtw_gone")
        self._pg.execute(sql.SQL("drop table if exists {}").format(gone))
        self._pg.execute(sql.SQL("create temp table mtw_gone ({}) on commit drop").format(typed))
        self._copy_in(gone, columns, "from difference where is_former")
        self._pg.execute(sql.SQL("analyze {}").format(gone))
        same = sql.SQL(" and ").join(
            sql.SQL("kept.{0} = gone.{0}").format(sql.Identifier(column.name)) for column in columns
        )
        return self._pg.execute(
            sql.SQL("delete from {} as kept using {} as gone where {}").format(table.place, gone, same)
        ).rowcount

    def _insert(self, table: Table, schema: str, choice: str = "") -> int:
        """Insert the published rows, or those that a join after FROM chooses. Returns how many."""
        place = sql.Identifier(schema, table.name)
        return self._copy_in(place, table.columns, f"from {_published(table)}{choice}")

    def _copy_in(self, place: sql.Identifier, columns: Sequence[Column], source: str) -> int:
        """Stream rows into a table: DuckDB writes COPY's text, which goes through as it is. Returns how many."""
        line = copy_line([(column.name, column.duckdb_type) for column in columns])
        names = sql.SQL(", ").join(sql.Identifier(column.name) for column in columns)
        with self._pg.cursor() as cursor:
            with cursor.copy(sql.SQL("copy {} ({}) from stdin").format(place, names)) as copy:
                for batch in self._db.sql(f"select {line} as line {source}").to_arrow_reader(_ROWS_AT_ONCE):
                    lines = batch.column(0)
                    _, offsets, text = lines.buffers()
                    if len(lines):
                        ends = numpy.frombuffer(offsets, numpy.int64)[lines.offset : lines.offset + len(lines) + 1]
                        copy.write(memoryview(text)[int(ends[0]) : int(ends[-1])])
            return cursor.rowcount

    def _check(self, table: Table, schema: str, rows: int) -> None:
        found = self._count(table, schema)
        if found != rows:
            raise _Refused(f"{table.shown} has {found:,} rows there, {rows:,} here; look for triggers or rules on it")

    def _count(self, table: Table, schema: str) -> int:
        row = self._pg.execute(sql.SQL("select count(*) from {}").format(sql.Identifier(schema, table.name))).fetchone()
        return int(row[0]) if row else 0

    def _record(self, tables: Sequence[Table], known: Mapping[Name, Known], report: CopyReport) -> None:
        now = self._pg.execute("select now() at time zone 'UTC'").fetchone()
        assert now is not None
        rows = []
        for table, done in zip(tables, report.tables, strict=True):
            version, changed_at = self._publication.version, now[0]
            if done.how == "unchanged":
                version, changed_at = known[table.pair].changed_in_version, known[table.pair].changed_at
            rows.append((table, done.rows, version, changed_at))
        self._structure.record(rows)

    def _rows(self, query: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        return self._db.execute(query, list(values)).fetchall()


def _published(table: Table, database: str = "marts") -> str:
    return f"{database}.{identifier(table.schema)}.{identifier(table.name)}"


def _tidy(connection: psycopg.Connection, report: CopyReport) -> None:
    """Statistics for the planner, and room where many rows were deleted. Hinders no reader; a failure is a note."""
    for table in report.tables:
        if table.how == "unchanged":
            continue
        place = sql.Identifier(*table.name.split(".", 1))
        many = table.deleted >= _LEAST_ROWS_TO_VACUUM
        command = sql.SQL("vacuum (analyze, truncate off) {}" if many else "analyze {}").format(place)
        try:
            connection.execute(command)
        except psycopg.Error as error:
            first = (str(error).strip().splitlines() or [type(error).__name__])[0]
            report.notes.append(f"{table.name} could not be vacuumed or analysed ({first}); autovacuum will")
            return


def _target(url: str) -> str:
    """Tells databases apart without naming them."""
    try:
        parameters = conninfo_to_dict(url)
    except psycopg.Error:
        return ""
    place = [str(parameters.get(name) or "") for name in ("host", "hostaddr", "port", "dbname", "service")]
    return hashlib.sha256(json.dumps(place).encode()).hexdigest()[:16]


def _remember(url: str, published_dir: Path, publication: Publication) -> None:
    """Note which version PostgreSQL holds, so that a run knows without asking it whether it has to be copied."""
    path = published_dir / _RECORD
    temporary = path.with_suffix(".tmp")
    record = {"version": publication.version, "run_id": publication.run_id, "target": _target(url)}
    temporary.write_text(json.dumps(record), encoding="utf-8")
    temporary.replace(path)
