"""The tables of the version that is being written: copied as a whole, or by the rows that changed.

Belongs here: what is done to one table of the attached database `marts`, its comments, its Parquet copy. Does not:
which tables there are, what a version is (publish), which rows changed (row_changes), how they are masked (identifiers)
or what a Parquet file looks like inside (parquet_splice).
"""

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, pairwise
from pathlib import Path

import duckdb
import pyarrow as pa

from log_ingest.sqltext import identifier, literal
from orchestration import identifiers
from orchestration.identifiers import Masks
from orchestration.lineage import Table
from orchestration.parquet_splice import Footer, NotAlike, splice
from orchestration.row_changes import ChangedKeys

_BY_DELIVERY = ("delivery_id", "occurred_at")
SORT_KEYS = {
    ("core", "fct_tracking_events"): _BY_DELIVERY,
    ("core", "fct_opens"): _BY_DELIVERY,
    ("core", "fct_clicks"): _BY_DELIVERY,
    ("core", "fct_opt_outs"): _BY_DELIVERY,
    ("core", "fct_mirror_page_views"): _BY_DELIVERY,
    ("core", "fct_web_visits"): _BY_DELIVERY,
    ("reports", "delivery_tracking"): _BY_DELIVERY,
    ("reports", "profile_tracking"): ("recipient_id", "occurred_at"),
}
"""Row order of the tables that are looked up by key: readers then skip most row groups, and what changed lies in few of
them. First a whole number."""

SORTED_AT_ONCE = 20_000_000
"""Rows. Of more, ranges of the first key are sorted one after the other: a sort of all would hold several times the
published file on disk for a moment. Each range reads the whole relation again."""

MOST_WRITTEN_ANEW = 0.5
"""Of a Parquet file's rows. Where more of them lie in row groups that hold a changed row, all are written."""

LEAST_LIVE = 0.6
"""Of a Parquet file's bytes. The others are those of row groups that were left out; then all rows are written."""

_PARQUET = "format parquet, compression zstd, compression_level 1, dictionary_size_limit 20000"

BEING_WRITTEN = "(storage_version 'v1.0.0', recovery_mode 'no_wal_writes')"
"""How a database of a version that nobody reads yet is attached: by a format that older DuckDBs read, and without a
write-ahead log. With one each statement waits for the disk, some 600 in a version, to keep what would be thrown away
after a crash. Whoever attaches it ends with a checkpoint; publish then waits for the disk once."""

UNDESCRIBED = "Not described yet: give it a description in the model's YAML."
"""The comment of what nobody described. An analyst's first draft is published with it, not held back."""


@dataclass(frozen=True)
class _Replaced:
    """Rows of a table that other ones have taken the place of. changed: names all that went or came; rows: the temp
    table with those that came; order: in which rows lie."""

    changed: ChangedKeys
    rows: str
    order: str


@dataclass(frozen=True)
class MetaTable:
    """A table of the schema meta that no model makes. columns: by name, type and comment; rows in their order."""

    name: str
    comment: str
    columns: dict[str, tuple[str, str]]
    rows: Sequence[Sequence[object]]


class PublishedTables:
    """The attached database `marts`, which is filled from an attached working database."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, source: str, masks: Masks) -> None:
        """source: name of the working database. masks: how its columns are published."""
        self._db, self._source, self._masks = connection, source, masks
        self._replaced: dict[Table, _Replaced] = {}

    @cached_property
    def _comments(self) -> dict[Table, list[tuple[str, str | None]]]:
        """By relation of the working database: its columns in their order, with their comments."""
        found: dict[Table, list[tuple[str, str | None]]] = {}
        rows = self._db.execute(
            "select schema_name, table_name, column_name, comment from duckdb_columns() where database_name = ?"
            " order by schema_name, table_name, column_index",
            [self._source],
        ).fetchall()
        for schema, name, column, comment in rows:
            found.setdefault((schema, name), []).append((column, comment))
        return found

    @cached_property
    def _table_comments(self) -> dict[Table, str | None]:
        rows = self._db.execute(
            "select schema_name, table_name, comment from duckdb_tables() where database_name = $1"
            " union all select schema_name, view_name, comment from duckdb_views() where database_name = $1",
            [self._source],
        ).fetchall()
        return {(schema, name): comment for schema, name, comment in rows}

    def copy(self, table: Table) -> int:
        """Copy one relation with its comments, masked; a view becomes a table. Returns its rows."""
        target = _place(table)
        comments = self._comments[table]
        names = {column for column, _ in comments}
        order = _order(table, names)
        first, *others = self._ranges(table, names)
        count = self._count(f"create or replace table {target} as {self._masks.selected(table, first)}{order}")
        for within in others:
            count += self._count(f"insert into {target} {self._masks.selected(table, within)}{order}")
        table_comment = self._table_comments[table] or UNDESCRIBED
        self._db.execute(f"comment on table {target} is {literal(table_comment)}")
        for column, comment in comments:
            text = comment or UNDESCRIBED
            if mask := self._masks.mask_of(table, column):
                text = f"{text} {identifiers.NOTES[mask]}"
            self._db.execute(f"comment on column {target}.{identifier(column)} is {literal(text)}")
        return count

    def replace_rows(self, table: Table, changed: ChangedKeys) -> int:
        """Take out the rows that are named and put in those that the working database has. Returns the table's rows.

        Where the table then has another number of rows than the working database, something escaped the record of
        changes: all are copied.
        """
        target, within = _place(table), changed.within
        names = {column for column, *_ in self._db.execute(f"describe {target}").fetchall()}
        rows = f"temp.{identifier('rows_of_' + '_'.join(table))}"
        order = _order(table, names)
        self._db.execute(f"create temp table {rows} as {self._masks.selected(table, within)}{order}")
        self._db.execute(f"delete from {target} where {within}")  # noqa: S608 (quoted)
        self._db.execute(f"insert into {target} by name from {rows}")
        count = self._count(f"select count(*) from {target}")  # noqa: S608 (quoted)
        original = ".".join(map(identifier, (self._source, *table)))
        if count != self._count(f"select count(*) from {original}"):  # noqa: S608 (quoted)
            return self.copy(table)
        self._replaced[table] = _Replaced(changed, rows, order)
        return count

    def replaced(self, changed: Mapping[Table, ChangedKeys]) -> dict[Table, ChangedKeys]:
        """Of tables of which changed rows were to be written: those of which they were. The others were copied."""
        return {table: keys for table, keys in changed.items() if table in self._replaced}

    def write(self, table: MetaTable) -> int:
        """Create a table of the schema meta, with comments. Returns its rows."""
        target = _place(("meta", table.name))
        columns = ", ".join(f"{identifier(name)} {kind}" for name, (kind, _) in table.columns.items())
        self._db.execute(f"create or replace table {target} ({columns})")
        self._db.execute(f"comment on table {target} is {literal(table.comment)}")
        for name, (_, comment) in table.columns.items():
            self._db.execute(f"comment on column {target}.{identifier(name)} is {literal(comment)}")
        if table.rows:
            arrow = pa.table({name: [row[at] for row in table.rows] for at, name in enumerate(table.columns)})
            self._db.register("rows_of_table", arrow)
            self._db.execute(f"insert into {target} select * from rows_of_table")  # noqa: S608 (quoted)
            self._db.unregister("rows_of_table")
        return len(table.rows)

    def drop(self, table: Table) -> None:
        self._db.execute(f"drop table {_place(table)}")

    def write_parquet(
        self, table: Table, folder: Path, run_id: str, former: Path | None = None, digest: str = ""
    ) -> None:
        """The same rows as <folder>/<schema>/<table>.parquet, which names the run.

        former: such a file of the version before, with its digest. Where rows were replaced, only the row groups that
        held some of them are written anew: they come last.
        """
        target = folder / parquet_of(table)
        target.parent.mkdir(exist_ok=True)
        replaced = self._replaced.get(table)
        if former and replaced and self._splice(replaced, former, digest, target, run_id):
            return
        self._write_rows(f"from {_place(table)}", target, run_id)

    def _write_rows(self, query: str, target: Path, run_id: str) -> None:
        self._db.execute(
            f"copy ({query}) to {literal(str(target))} ({_PARQUET}, kv_metadata {{run_id: {literal(run_id)}}})"
        )

    def _splice(self, replaced: _Replaced, former: Path, digest: str, target: Path, run_id: str) -> bool:
        """Make the file of the former one. False where that saves little, or the two cannot share a file."""
        more = target.with_suffix(".rows")
        try:
            footer = Footer.of(former)
            starts = list(accumulate(footer.rows_of_groups, initial=0))
            touched = self._touched(replaced, former, starts)
            if sum(footer.rows_of_groups[number] for number in touched) > MOST_WRITTEN_ANEW * starts[-1]:
                return False
            if footer.live_share * (1 - len(touched) / max(len(footer.rows_of_groups), 1)) < LEAST_LIVE:
                return False
            ranges = [f"file_row_number >= {starts[at]} and file_row_number < {starts[at + 1]}" for at in touched]
            # Not `not in`: a row without a key stays. Not `false`: DuckDB would conclude that no column has a NULL, and
            # write another kind of file.
            left = (
                f"select * exclude (file_row_number) from {_numbered(former)}"  # noqa: S608 (quoted)
                f" where ({' or '.join(ranges) or 'file_row_number < 0'})"
                f" and ({replaced.changed.within}) is not true"
            )
            self._write_rows(f"from ({left} union all by name from {replaced.rows}){replaced.order}", more, run_id)
            splice(former, digest, touched, more, target, {"run_id": run_id})
        except (NotAlike, OSError, duckdb.Error):  # what is no fault of the former file comes again
            return False
        finally:
            more.unlink(missing_ok=True)
        return True

    def _touched(self, replaced: _Replaced, former: Path, starts: Sequence[int]) -> list[int]:
        """The numbers of the row groups that hold a row which has gone or changed. starts: their first rows."""
        groups = pa.table({"number": range(len(starts)), "start": pa.array(starts, pa.int64())})
        self._db.register("row_groups", groups)
        found = self._db.execute(
            "select distinct row_groups.number from"  # noqa: S608 (quoted)
            f" (select file_row_number from {_numbered(former)}"
            f" where {replaced.changed.within}) as gone"
            " asof join row_groups on gone.file_row_number >= row_groups.start order by all"
        ).fetchall()
        self._db.unregister("row_groups")
        return [number for (number,) in found]

    def _ranges(self, table: Table, names: set[str]) -> list[str]:
        """Predicates that part the rows of the working database's relation, in the order in which they are sorted."""
        key, *_ = SORT_KEYS.get(table, ("",))
        if key not in names:
            return ["true"]
        original = ".".join(map(identifier, (self._source, *table)))
        parts = -(-self._count(f"select count(*) from {original}") // SORTED_AT_ONCE)  # noqa: S608 (quoted)
        if parts <= 1:
            return ["true"]
        shares = [part / parts for part in range(1, parts)]
        column = identifier(key)
        found = self._db.execute(f"select approx_quantile({column}, {shares}) from {original}").fetchall()[0][0]  # noqa: S608
        bounds = sorted({int(bound) for bound in found or ()})
        if not bounds:
            return ["true"]
        return [
            f"{column} < {bounds[0]}",
            *(f"{column} >= {low} and {column} < {high}" for low, high in pairwise(bounds)),
            f"({column} >= {bounds[-1]} or {column} is null)",
        ]

    def _count(self, sql: str) -> int:
        return int(self._db.execute(sql).fetchall()[0][0])


def parquet_of(table: Table) -> Path:
    """Its place below `marts`."""
    return Path(table[0], f"{table[1]}.parquet")


def _numbered(parquet: Path) -> str:
    return f"read_parquet({literal(str(parquet))}, file_row_number = true)"


def _place(table: Table) -> str:
    return f"marts.{'.'.join(map(identifier, table))}"


def _order(table: Table, names: set[str]) -> str:
    keys = [identifier(key) for key in SORT_KEYS.get(table, ()) if key in names]
    return f" order by {', '.join(keys)}" if keys else ""


def undescribed(database: Path) -> list[str]:
    """Tables and columns of a published file without a description of their own: schema.table, schema.table.column."""
    with contextlib.closing(duckdb.connect(str(database.resolve()), read_only=True)) as connection:
        return [
            name
            for (name,) in connection.execute(
                "select schema_name || '.' || table_name from duckdb_tables() where comment = $1"
                " union all select schema_name || '.' || table_name || '.' || column_name from duckdb_columns()"
                " where comment = $1 order by all",
                [UNDESCRIBED],
            ).fetchall()
        ]
