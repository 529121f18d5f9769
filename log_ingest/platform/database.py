"""The platform's PostgreSQL database: one read-only snapshot, its tables checked against the mapping, rows as text.

Belongs here: connecting, composing queries, streaming COPY into Arrow, and saying in one line without any secret what
went wrong. Does not: which rows are due (take_tables), what becomes of them.

Values are cast to text by the server, so that one set of rules (formats/reference_rows) reads files and tables.
Names from the mapping are quoted; only what the mapping declares as sql is taken as SQL.
"""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from difflib import get_close_matches
from itertools import pairwise
from typing import cast

import psycopg
import pyarrow as pa
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from pyarrow import csv

from log_ingest.formats.csv_records import INPUT, BadRecord
from log_ingest.framing import is_utf8
from log_ingest.platform.mapping import BASE, Mapping, TableMapping, Value
from log_ingest.postgres_url import error_line, identity, what_to_check

CONNECT_SECONDS = 10
LOCK_SECONDS = 30
BLOCK_BYTES = 16 * 1024 * 1024
"""Rows are handed on in blocks of about so many bytes, whatever the size of the table."""

_TIMESTAMP, _TIMESTAMPTZ, _DATE = 1114, 1184, 1082
_SQL_TYPES = {_TIMESTAMP: "timestamp", _TIMESTAMPTZ: "timestamptz"}
_MODIFIED, _KEY = "position_modified", "position_key_"


class PlatformError(Exception):
    """The database, or one of its tables, cannot be read. The message is one line, without secrets, that says what
    to do. Nothing is lost: the next run goes on where the last commit was."""


@dataclass(frozen=True)
class Span:
    """Which rows of a table are due. Times are texts as the server wrote them.

    high, since: rows modified from (the lesser of them, less the overlap) on; None and None: all rows.
    after: (modified or None, *key) of the last row that was taken; the rows behind it in order are due.
    """

    high: str | None = None
    since: str | None = None
    after: tuple[str | None, ...] | None = None

    @property
    def is_full(self) -> bool:
        return self.since is None


@dataclass(frozen=True)
class Rows:
    """A block of rows. table: a text column per name, each behind the prefix INPUT. last: (modified or None, *key) of
    the last row that can be read, None where there is none yet. line_number of bad: its place in the block.
    """

    table: pa.Table
    bad: list[BadRecord]
    count: int
    size: int
    last: tuple[str | None, ...] | None


@dataclass(frozen=True)
class Layout:
    """What the database says of an entry: the types (oid) of the columns of its tables, by the entry's names."""

    types: dict[str, dict[str, int]]
    bytes: int


class Database:
    """The open database in one transaction: REPEATABLE READ, READ ONLY, so that all tables show one moment.

    Use as a context manager. Raises PlatformError.
    """

    def __init__(self, url: str, mapping: Mapping) -> None:
        self._url, self._mapping = url, mapping

    def __enter__(self) -> "Database":
        parameters = conninfo_to_dict(self._url)
        timeout = int(self._mapping.statement_timeout.total_seconds() * 1000)
        options = {
            "default_transaction_read_only": "on",
            "default_transaction_isolation": "repeatable read",
            "statement_timeout": str(timeout),
            "lock_timeout": f"{LOCK_SECONDS}s",
            "datestyle": "ISO",
            "extra_float_digits": "1",
            "timezone": self._mapping.time_zone,
        }
        parameters = {
            "connect_timeout": CONNECT_SECONDS,
            "application_name": "message-tracking-warehouse",
            "keepalives_idle": 60,
            "tcp_user_timeout": 120_000,
            **parameters,
        }
        try:
            self._connection = psycopg.connect(make_conninfo("", **parameters))
            self._connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            self._connection.read_only = True
            # A server without an encoding hands out bytes as they are, if the client claims one that fits all bytes.
            is_raw = self._connection.info.parameter_status("server_encoding") == "SQL_ASCII"
            options["client_encoding"] = "LATIN1" if is_raw else "UTF8"
            # By SET and not by start-up options, which connection poolers refuse.
            for name, value in options.items():
                self._connection.execute(sql.SQL("set {} = {}").format(sql.Identifier(name), sql.Literal(value)))
            self._connection.commit()
            row = self._connection.execute("select now()").fetchone()
            assert row is not None
            self.snapshot_at: datetime = row[0].astimezone(UTC)
        except psycopg.Error as error:
            self.__exit__()
            raise PlatformError(self._unreachable(error)) from None
        self.identity = identity(self._connection.info)
        """Tells databases apart without naming them: marks of one say nothing about another."""
        return self

    def __exit__(self, *exc: object) -> None:
        if hasattr(self, "_connection"):
            self._connection.close()

    # -- what is there

    def layout(self, table: TableMapping) -> Layout:
        """Look the entry's tables and columns up. Raises PlatformError naming the file and the entry."""
        where = self._mapping.where(table)
        with self._told(table):
            places = [(BASE, table.schema, table.table)] + [(j.name, j.schema, j.table) for j in table.joins]
            types: dict[str, dict[str, int]] = {}
            size = 0
            for name, schema, relation in places:
                shown = f"{schema}.{relation}" if schema else relation
                found = self._connection.execute(
                    "select to_regclass(%s)::oid", [_qualified(schema, relation).as_string(self._connection)]
                ).fetchone()
                if found is None or found[0] is None:
                    raise PlatformError(
                        f"{where}: the database has no table {shown} that this user can see; name the one it has"
                        " (schema: where it is not in the search path), or take the entry out"
                    )
                types[name] = dict(
                    self._connection.execute(
                        "select attname::text, atttypid::int from pg_attribute"
                        " where attrelid = %s and attnum > 0 and not attisdropped",
                        [found[0]],
                    ).fetchall()
                )
                if name == BASE:
                    row = self._connection.execute("select pg_relation_size(%s)", [found[0]]).fetchone()
                    size = row[0] if row else 0
        self._check_columns(table, types)
        return Layout(types, size)

    def _check_columns(self, table: TableMapping, types: dict[str, dict[str, int]]) -> None:
        names = {BASE: table.table, **{join.name: join.table for join in table.joins}}
        used = [("key", BASE, column) for column in table.key]
        used += [("modified", BASE, table.modified)] if table.modified else []
        for join in table.joins:
            used += [(f"joins.{join.name}.by", join.name, its) for its, _ in join.by]
            used += [(f"joins.{join.name}.by", BASE, ours) for _, ours in join.by]
        for part, values in (("columns", table.columns), ("extra", table.extra)):
            used += [(f"{part}.{value.name}", value.table, value.column) for value in values if value.column]
        for place, name, column in used:
            if column not in types[name]:
                near = get_close_matches(column.lower(), types[name], 1, 0.8)
                hint = f"; did you mean {near[0]}?" if near else "; name one that it has, or take the line out"
                raise PlatformError(
                    f"{self._mapping.where(table)}.{place}: table {names[name]} has no column {column}{hint}"
                )
        if table.modified and types[BASE][table.modified] not in _SQL_TYPES:
            raise PlatformError(
                f"{self._mapping.where(table)}.modified: {table.modified} is no timestamp; name one, or take the line"
                " out: the table is then read whole in every run"
            )

    # -- rows

    def rows(self, table: TableMapping, layout: Layout, span: Span) -> Iterator[Rows]:
        """The due rows in the order of (modified, nulls first; key), block by block."""
        names = [INPUT + value.name for value in (*table.columns, *table.extra)]
        columns = [*names, _MODIFIED, *(f"{_KEY}{place}" for place in range(len(table.key)))]
        with self._told(table), self._connection.transaction():
            statement = sql.SQL("copy ({}) to stdout (format csv)").format(self._query(table, layout, span, columns))
            with self._connection.cursor() as cursor, cursor.copy(statement) as copy:
                rows: list[bytes] = []
                size = 0
                last = None
                for row in copy:
                    rows.append(bytes(row))
                    size += len(row)
                    if size >= BLOCK_BYTES:
                        yield (block := self._block(table, rows, size, columns, last))
                        rows, size, last = [], 0, block.last
                if rows:
                    yield self._block(table, rows, size, columns, last)

    def _block(
        self,
        table: TableMapping,
        rows: list[bytes],
        size: int,
        columns: list[str],
        before: tuple[str | None, ...] | None,
    ) -> Rows:
        bad: list[BadRecord] = []
        try:
            values = _parsed(rows, columns)
        except pa.ArrowInvalid:
            # Only a server without an encoding (SQL_ASCII) hands out text that is not UTF-8.
            bad = [
                BadRecord(place, place, row.rstrip(b"\n"), "invalid_utf8", "not valid UTF-8")
                for place, row in enumerate(rows)
                if not is_utf8(row)
            ]
            values = _parsed([row for row in rows if is_utf8(row)], columns)
        inputs = [name for name in columns if name.startswith(INPUT)]
        keys = [name for name in columns if not name.startswith(INPUT)]
        positions = list(zip(*(values[name].to_pylist() for name in keys), strict=True))
        # Rows come in the order of their positions: what is there twice stands side by side.
        for position, following in pairwise([before, *positions] if before else positions):
            if position == following:
                shown = ", ".join(str(value) for value in following[1:])
                raise PlatformError(
                    f"{self._mapping.where(table)}: the row with the key ({shown}) comes more than once; name a key"
                    " that tells the rows apart, and joins that find one row at most"
                )
        return Rows(values.select(inputs), bad, len(rows), size, positions[-1] if positions else before)

    def try_rows(self, table: TableMapping, layout: Layout) -> None:
        """Plan the entry's query and read one row of it: expressions and rights are right, or PlatformError."""
        columns = [value.name for value in (*table.columns, *table.extra)] + [_MODIFIED]
        columns += [f"{_KEY}{place}" for place in range(len(table.key))]
        with self._told(table), self._connection.transaction():
            query = self._query(table, layout, Span(), columns, is_ordered=False)
            self._connection.execute(sql.SQL("select * from ({}) as rows limit 1").format(query)).fetchall()

    def _query(
        self, table: TableMapping, layout: Layout, span: Span, columns: list[str], *, is_ordered: bool = True
    ) -> sql.Composed:
        modified = _reference(BASE, table.modified) if table.modified else None
        key = [_reference(BASE, column) for column in table.key]
        kinds = {column.name: column.kind for column in table.entity.columns}
        selected = [
            *(_value(value, kinds.get(value.name) == "timestamp", layout) for value in (*table.columns, *table.extra)),
            sql.SQL("{}::text").format(modified) if modified else sql.SQL("null::text"),
            *(sql.SQL("{}::text").format(column) for column in key),
        ]
        conditions = [_expression(table.where)] if table.where else []
        conditions += self._due(table, layout, span, modified, key)
        joins = [
            sql.SQL("left join {} as {} on {}").format(
                _qualified(join.schema, join.table),
                sql.Identifier(join.name),
                sql.SQL(" and ").join(
                    sql.SQL("{} = {}").format(_reference(join.name, its), _reference(BASE, ours))
                    for its, ours in join.by
                ),
            )
            for join in table.joins
        ]
        order = [sql.SQL("{} nulls first").format(modified)] if modified else []
        return sql.SQL(" ").join(
            [
                sql.SQL("select {} from {} as {}").format(
                    sql.SQL(", ").join(
                        sql.SQL("{} as {}").format(value, sql.Identifier(name))
                        for value, name in zip(selected, columns, strict=True)
                    ),
                    _qualified(table.schema, table.table),
                    sql.Identifier(BASE),
                ),
                *joins,
                *([sql.SQL("where {}").format(sql.SQL(" and ").join(conditions))] if conditions else []),
                *([sql.SQL("order by {}").format(sql.SQL(", ").join([*order, *key]))] if is_ordered else []),
            ]
        )

    def _due(
        self,
        table: TableMapping,
        layout: Layout,
        span: Span,
        modified: sql.Composable | None,
        key: list[sql.Composable],
    ) -> list[sql.Composable]:
        """The conditions of a span. A row without a modified time is due in every pass."""
        due: list[sql.Composable] = []
        if modified is None:
            if span.after:
                due.append(_behind(key, span.after[1:]))
            return due
        kind = sql.SQL(_SQL_TYPES[layout.types[BASE][str(table.modified)]])
        if span.since is not None:
            # The server's clock bounds the mark: a row stamped with a future time must not hide what comes before it.
            since = sql.SQL("{}::timestamptz::{}").format(sql.Literal(span.since), kind)
            high = sql.SQL("{}::{}").format(sql.Literal(span.high), kind) if span.high else since
            overlap = sql.Literal(f"{self._mapping.overlap.total_seconds()} seconds")
            due.append(
                sql.SQL("({} is null or {} >= least({}, {}) - {}::interval)").format(
                    modified, modified, high, since, overlap
                )
            )
        if span.after and span.after[0] is None:
            due.append(sql.SQL("({} is not null or {})").format(modified, _behind(key, span.after[1:])))
        elif span.after:
            # Row comparison: an index on (modified, key) serves it.
            due.append(_behind([modified, *key], span.after))
        return due

    # -- errors

    @contextmanager
    def _told(self, table: TableMapping) -> Iterator[None]:
        try:
            yield
        except psycopg.Error as error:
            raise PlatformError(self._refused(error, table)) from None

    def _refused(self, error: psycopg.Error, table: TableMapping) -> str:
        where = self._mapping.where(table)
        message = self._line(error)
        match error:
            case psycopg.errors.InsufficientPrivilege():
                return f"{table.source_file}: {message}; grant select on it to the user of MTW_REFERENCE_URL"
            case psycopg.errors.QueryCanceled():
                return (
                    f"{table.source_file}: not done within {self._mapping.statement_timeout} ({message}); the next run"
                    f" goes on from here, or raise statement_timeout_minutes in {self._mapping.path}"
                )
            case psycopg.errors.LockNotAvailable():
                return f"{table.source_file}: locked by another session ({message}); run again"
            case psycopg.errors.SerializationFailure():
                return f"{table.source_file}: the snapshot was cancelled ({message}); the next run goes on from here"
        if isinstance(error, psycopg.OperationalError) or self._connection.broken:
            return f"{table.source_file}: the connection broke ({message}); the next run goes on from here"
        return f"{where}: the database refuses it ({message}); mend the entry"

    def _unreachable(self, error: psycopg.Error) -> str:
        message = self._line(error)
        return (
            f"postgresql: the platform's database cannot be read ({message}); {what_to_check(error, message)} in"
            " MTW_REFERENCE_URL. Reference rows that landed before stay in use"
        )

    def _line(self, error: psycopg.Error) -> str:
        return error_line(error, self._url)


def _qualified(schema: str | None, table: str) -> sql.Identifier:
    return sql.Identifier(schema, table) if schema else sql.Identifier(table)


def _reference(table: str, column: str) -> sql.Composable:
    return sql.Identifier(table, column)


def _expression(text: str) -> sql.Composable:
    """SQL from the mapping file: whoever may write that file may run it with this user's rights."""
    return sql.SQL("({})").format(sql.SQL(cast("str", text)))


def _value(value: Value, is_time: bool, layout: Layout) -> sql.Composable:
    """One value as text. Times are UTC: one without a zone is in the session's zone, the mapping's time_zone."""
    if value.column is not None:
        inner = _reference(value.table, value.column)
        is_time = is_time and layout.types[value.table][value.column] in (_TIMESTAMP, _TIMESTAMPTZ, _DATE)
    else:
        inner = _expression(str(value.sql))
    if is_time:
        return sql.SQL("({}::timestamptz at time zone 'UTC')::text").format(inner)
    text = sql.SQL("{}::text").format(inner)
    if not value.codes:
        return text
    cases = sql.SQL(" ").join(
        sql.SQL("when {} then {}").format(sql.Literal(code), sql.Literal(ours)) for code, ours in value.codes
    )
    return sql.SQL("case {} {} else {} end").format(text, cases, text)


def _behind(columns: list[sql.Composable], values: tuple[str | None, ...]) -> sql.Composable:
    return sql.SQL("({}) > ({})").format(
        sql.SQL(", ").join(columns), sql.SQL(", ").join(sql.Literal(value) for value in values)
    )


def _parsed(rows: list[bytes], columns: list[str]) -> pa.Table:
    return csv.read_csv(
        io.BytesIO(b"".join(rows)),
        read_options=csv.ReadOptions(use_threads=False, column_names=columns, block_size=2**31 - 1),
        parse_options=csv.ParseOptions(newlines_in_values=True, ignore_empty_lines=False),
        convert_options=csv.ConvertOptions(
            column_types={column: pa.string() for column in columns},
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
            null_values=[""],
        ),
    )
