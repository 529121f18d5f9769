"""The tables of the PostgreSQL copy: columns, keys, indexes, comments and grants, and the record of which are ours.

Belongs here: what makes, changes and drops a table. Does not: its rows, or when what is done (postgres_copy).

    meta.postgresql_copy    the registry: which tables the copy made, their structure, which version last changed them
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg
from psycopg import sql

from orchestration.publication import SCHEMAS

INDEXED = ("delivery_id", "recipient_id", "message_id", "occurred_at")
"""Columns that people filter and join by: each gets an index, unless the key begins with it."""

LOCK_SECONDS = 10
"""How long a change of a table's columns waits for those who read it. Changes of rows wait for nobody."""

REGISTRY = ("meta", "postgresql_copy")
INCOMING = "mtw_incoming"
"""Schema of tables that take the place of others at the end of the transaction; gone with it."""

_REGISTRY_COLUMNS = {
    "schema_name": ("text", "Schema of the table."),
    "table_name": ("text", "Name of the table."),
    "row_count": ("bigint", "Its rows."),
    "changed_in_version": ("bigint", "The published version that last changed its rows."),
    "changed_at": ("timestamp without time zone", "When the copy took that change over (UTC)."),
    "structure": ("json", "Columns, key and indexes as the copy made them."),
}
_REGISTRY_COMMENT = "Grain: one row per table of this copy. Which tables the copy made, and when each last changed."

Name = tuple[str, str]
"""Schema and table."""


@dataclass(frozen=True)
class Key:
    """The columns that tell a table's rows apart. is_never_null: by its tests; then they are the primary key."""

    columns: tuple[str, ...]
    is_never_null: bool = True


@dataclass(frozen=True)
class Column:
    """A column; type as PostgreSQL spells it."""

    name: str
    duckdb_type: str
    type: str
    comment: str


@dataclass(frozen=True)
class Table:
    """A published table and what PostgreSQL should have of it."""

    schema: str
    name: str
    comment: str
    columns: tuple[Column, ...]
    key: Key | None

    @property
    def pair(self) -> Name:
        return self.schema, self.name

    @property
    def shown(self) -> str:
        return f"{self.schema}.{self.name}"

    @property
    def place(self) -> sql.Identifier:
        return sql.Identifier(self.schema, self.name)

    @property
    def indexes(self) -> list[list[str]]:
        names = {column.name for column in self.columns}
        first = self.key.columns[0] if self.key else None
        return [[name] for name in INDEXED if name in names and name != first]

    @property
    def structure(self) -> dict[str, Any]:
        """Everything that a change of makes another table necessary; as the registry keeps it."""
        return {
            "columns": [[column.name, column.type] for column in self.columns],
            "key": [*self.key.columns] if self.key else [],
            "is_primary": bool(self.key and self.key.is_never_null),
            "indexes": self.indexes,
        }


@dataclass(frozen=True)
class Known:
    """What the registry says of a table that the copy made. changed_at: when its rows last changed (UTC)."""

    structure: dict[str, Any]
    changed_in_version: int
    changed_at: datetime


class Structure:
    """The structure of one database's copy, by an open connection. Raises psycopg.Error."""

    def __init__(self, connection: psycopg.Connection) -> None:
        self._pg = connection

    # -- what there is

    def has_table(self, table: Name) -> bool:
        return (
            self._pg.execute(
                "select 1 from pg_class join pg_namespace on pg_namespace.oid = relnamespace"
                " where nspname = %s and relname = %s",
                table,
            ).fetchone()
            is not None
        )

    def known(self) -> dict[Name, Known]:
        """The tables that the copy made and that are still there; none where the copy was never made."""
        if not self.has_table(REGISTRY):
            return {}
        rows = self._pg.execute(
            sql.SQL("select schema_name, table_name, structure, changed_in_version, changed_at from {}").format(
                sql.Identifier(*REGISTRY)
            )
        ).fetchall()
        return {(schema, name): Known(*facts) for schema, name, *facts in rows if self.has_table((schema, name))}

    # -- making and changing

    def create_schemas(self) -> None:
        for schema in (*SCHEMAS, INCOMING):
            if self._pg.execute("select 1 from pg_namespace where nspname = %s", [schema]).fetchone() is None:
                self._pg.execute(sql.SQL("create schema {}").format(sql.Identifier(schema)))

    def drop_incoming(self) -> None:
        self._pg.execute(sql.SQL("drop schema {}").format(sql.Identifier(INCOMING)))

    def limit_waiting(self) -> None:
        self._pg.execute(sql.SQL("set local lock_timeout = {}").format(sql.Literal(f"{LOCK_SECONDS}s")))

    def add_columns(self, tables: Iterable[Table]) -> None:
        """Add the columns that tables gain and that are their only change, in transactions of their own.

        For a moment they are empty. So a table stays the one that others' views are made on, and no reader waits
        while its rows are copied.
        """
        known = self.known()
        for table in tables:
            before = known[table.pair].structure if table.pair in known else None
            gained = _gained(before, table.structure) if before else []
            if before is None or not gained:
                continue
            with self._pg.transaction():
                self.limit_waiting()
                for name, kind in gained:
                    self._pg.execute(
                        sql.SQL("alter table {} add column if not exists {} {}").format(
                            table.place, sql.Identifier(name), sql.SQL(kind)
                        )
                    )
                self._pg.execute(
                    sql.SQL("update {} set structure = %s where (schema_name, table_name) = (%s, %s)").format(
                        sql.Identifier(*REGISTRY)
                    ),
                    [json.dumps({**before, "columns": [*before["columns"], *gained]}), *table.pair],
                )

    def create(self, table: Table, schema: str) -> None:
        """An empty table, in the schema that is named."""
        columns = sql.SQL(", ").join(
            sql.SQL("{} {}").format(sql.Identifier(column.name), sql.SQL(column.type)) for column in table.columns
        )
        self._pg.execute(sql.SQL("create table {} ({})").format(sql.Identifier(schema, table.name), columns))

    def index(self, table: Table, schema: str) -> None:
        """Its key and indexes. Made after the first rows: faster, and the same."""
        place = sql.Identifier(schema, table.name)
        if table.key:
            columns = sql.SQL(", ").join(map(sql.Identifier, table.key.columns))
            how = "alter table {} add primary key ({})" if table.key.is_never_null else "create unique index on {} ({})"
            self._pg.execute(sql.SQL(how).format(place, columns))
        for names in table.indexes:
            columns = sql.SQL(", ").join(map(sql.Identifier, names))
            self._pg.execute(sql.SQL("create index on {} ({})").format(place, columns))

    def move_in(self, table: Table) -> None:
        """Put a table of the schema INCOMING into the place of its predecessor. From here on readers of it wait."""
        self.drop(table.pair)
        incoming = sql.Identifier(INCOMING, table.name)
        self._pg.execute(sql.SQL("alter table {} set schema {}").format(incoming, sql.Identifier(table.schema)))

    def drop(self, table: Name) -> None:
        self._pg.execute(sql.SQL("drop table {}").format(sql.Identifier(*table)))

    def comment(self, table: Table) -> None:
        """Comments of the table and its columns, where they differ."""
        found = self._pg.execute(
            "select attname, col_description(attrelid, attnum), obj_description(attrelid, 'pg_class') from pg_attribute"
            " where attrelid = %s::regclass and attnum > 0 and not attisdropped",
            [table.place.as_string(self._pg)],
        ).fetchall()
        if found and (found[0][2] or "") != table.comment:
            self._pg.execute(sql.SQL("comment on table {} is {}").format(table.place, sql.Literal(table.comment)))
        known = {name: comment or "" for name, comment, _ in found}
        for column in table.columns:
            if known.get(column.name) != column.comment:
                where = sql.Identifier(table.schema, table.name, column.name)
                self._pg.execute(sql.SQL("comment on column {} is {}").format(where, sql.Literal(column.comment)))

    def grant(self, role: str, made: Sequence[Name]) -> str | None:
        """Let the role read the tables that this copy made, or all where it may not use the schemas yet.

        What somebody took from it (a table about persons) is not given again. The role is made where there is none.
        Returns what could not be done.
        """
        quoted = sql.Identifier(role)
        if self._pg.execute("select 1 from pg_roles where rolname = %s", [role]).fetchone() is None:
            may = "select rolcreaterole or rolsuper from pg_roles where rolname = current_user"
            if self._pg.execute(may).fetchone() != (True,):
                return (
                    f"the role {role} does not exist, and the user of MTW_PUBLISH_URL may not create it: nobody else"
                    " can read the copy yet; have the role created (create role … nologin), then run again"
                )
            self._pg.execute(sql.SQL("create role {} nologin").format(quoted))
        is_new = False
        for schema in SCHEMAS:
            if self._pg.execute("select has_schema_privilege(%s, %s, 'usage')", [role, schema]).fetchone() != (True,):
                self._pg.execute(sql.SQL("grant usage on schema {} to {}").format(sql.Identifier(schema), quoted))
                is_new = True
        for name in self.known() if is_new else made:
            self._pg.execute(sql.SQL("grant select on {} to {}").format(sql.Identifier(*name), quoted))
        return None

    # -- the registry

    def create_registry(self) -> None:
        if self.has_table(REGISTRY):
            return
        columns = sql.SQL(", ").join(
            sql.SQL("{} {}").format(sql.Identifier(name), sql.SQL(kind))
            for name, (kind, _) in _REGISTRY_COLUMNS.items()
        )
        place = sql.Identifier(*REGISTRY)
        self._pg.execute(sql.SQL("create table {} ({}, primary key (schema_name, table_name))").format(place, columns))
        self._pg.execute(sql.SQL("comment on table {} is {}").format(place, sql.Literal(_REGISTRY_COMMENT)))
        for name, (_, comment) in _REGISTRY_COLUMNS.items():
            column = sql.Identifier(*REGISTRY, name)
            self._pg.execute(sql.SQL("comment on column {} is {}").format(column, sql.Literal(comment)))

    def record(self, tables: Sequence[tuple[Table, int, int, datetime]]) -> None:
        """Replace the registry by these tables, with their rows and last change, and itself."""
        rows = [
            (*table.pair, row_count, version, changed_at, json.dumps(table.structure))
            for table, row_count, version, changed_at in tables
        ]
        newest = max(rows, key=lambda row: row[3])
        own = {"columns": [[name, kind] for name, (kind, _) in _REGISTRY_COLUMNS.items()]}
        rows.append((*REGISTRY, len(rows) + 1, newest[3], newest[4], json.dumps(own)))
        self._pg.execute(sql.SQL("delete from {}").format(sql.Identifier(*REGISTRY)))
        with self._pg.cursor() as cursor:
            cursor.executemany(
                sql.SQL("insert into {} values (%s, %s, %s, %s, %s, %s)").format(sql.Identifier(*REGISTRY)), rows
            )


def _gained(known: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[list[str]]:
    """The columns to add where the structures differ in nothing else, in order at the end; else none."""
    before, after = known["columns"], wanted["columns"]
    same = {**known, "columns": []} == {**wanted, "columns": []}
    return list(after[len(before) :]) if same and after[: len(before)] == before else []
