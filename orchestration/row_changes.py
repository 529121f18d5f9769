"""Which rows of a published relation are other ones than in the version before: by what the models say they wrote.

Belongs here: what a model declares of itself, the keys of rows that changed. Does not: what the models log
(dbt_project/macros/state/rewritten_rows.sql), putting the rows in place (published_tables).

A view whose rows are each made of few rows below it says in its meta which:

    changed_by: {int_messages__current: [message_id], dim_deliveries: [delivery_id]}
    changed_with: fct_tracking_events

changed_by: what the view reads, with the view's columns that name a row of it. Of a model with meta.logged_key, that is
the one column with its key. Of a published table, what to compare with the one published before. Nothing (`[]`): a
table whose rows change only with others that are named. changed_with: all that is said of another view, which has the
same key.

Seeds need not be named: with others, all is copied.

An incremental model that replaces whole deliveries needs to say nothing: state.touched_deliveries names them. Any other
relation that declares nothing is always copied as a whole, as is one that reads something it does not name.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import duckdb

from log_ingest.sqltext import identifier, literal
from orchestration.identifiers import LINK, LINKS, LINKS_KEY, MaskedColumn, Masks
from orchestration.lineage import Table

CHANGED_BY, CHANGED_WITH = "changed_by", "changed_with"
LOGGED_KEY = "logged_key"
"""Entry of an incremental model's meta: the column by which state.rewritten_rows names its rows."""

DELIVERY = "delivery_id"
LOOKED_AT = "changed_in_run"
"""Column of incremental models that the log of rewritten rows leaves out."""

MOST = 0.3
"""Of the rows of the largest relation whose rows change together. Where more did, copying all of them costs less."""


@dataclass(frozen=True)
class ChangedKeys:
    """Names the rows of a relation that came, went or changed. column: of the relation; several rows may share a value.
    keys: the temp table whose column `key` has the values."""

    column: str
    keys: str

    @property
    def within(self) -> str:
        """Predicate: a row that they name."""
        return f"{identifier(self.column)} in (select key from temp.{identifier(self.keys)})"  # noqa: S608 (quoted)


@dataclass(frozen=True)
class RowWise:
    """A relation of which it is known what its rows are made of.

    key: the column that names what changes together: one row, or the rows of a delivery. logged: by incremental model,
    its column with that model's logged key. compared: by published table, its columns that name a row of that.
    replaces_deliveries: it is an incremental model of whole deliveries.
    """

    table: Table
    key: str
    logged: Mapping[str, str] = field(default_factory=dict)
    compared: Mapping[Table, tuple[str, ...]] = field(default_factory=dict)
    replaces_deliveries: bool = False

    @property
    def made_of(self) -> tuple[object, ...]:
        """The same for relations whose rows change together."""
        # Each model of deliveries has a log of its own.
        log = self.table if self.replaces_deliveries else ()
        return self.key, log, *sorted(self.logged.items()), *sorted(self.compared.items())


@dataclass(frozen=True)
class Made:
    """The run of the working database that a version was made of: its number, and the dbt invocation it was."""

    run_number: int
    invocation_id: str


def row_wise(
    manifest: Mapping[str, Any],
    keys: Mapping[Table, tuple[str, ...]],
    schemas: Iterable[str],
    masked: Iterable[MaskedColumn],
) -> tuple[list[RowWise], list[str]]:
    """The relations of some schemas of which it is known, and what is wrong with declarations that cannot be used.

    keys: by table, what tells its rows apart.
    """
    nodes = {node["name"]: node for node in manifest["nodes"].values() if node["resource_type"] in ("model", "seed")}
    published = set(schemas)
    masks = list(masked)
    linked = {column.table for column in masks if column.mask == LINK}
    hidden = {column.table for column in masks}
    found, wrong = [], []
    for node in nodes.values():
        declared = _declared(node, nodes)
        table, place = (node["schema"], node["name"]), f"{node['schema']}.{node['name']}"
        links = {LINKS: LINKS_KEY} if table in linked else {}
        if node["schema"] not in published:
            continue
        if declared is None:
            if _replaces_deliveries(node):
                found.append(RowWise(table, DELIVERY, compared=links, replaces_deliveries=True))
        elif len(keys.get(table, ())) != 1:
            wrong.append(f"{place}: no one column tells its rows apart")
        elif missing := sorted(_read_by(node, manifest) - set(declared)):
            wrong.append(f"{place}: it reads {', '.join(missing)} and does not name it")
        elif LOOKED_AT in node["columns"]:
            wrong.append(f"{place}: {LOOKED_AT} changes without being logged")
        elif unknown := sorted(name for name, columns in declared.items() if not _is_known(nodes.get(name), columns)):
            wrong.append(f"{place}: {', '.join(unknown)} can be neither followed nor compared")
        elif veiled := sorted(
            name
            for name, columns in declared.items()
            if columns and LOGGED_KEY not in _meta(nodes[name]) and (nodes[name]["schema"], name) in hidden
        ):
            wrong.append(f"{place}: {', '.join(veiled)} is masked, so that not all changes of it show")
        else:
            logged = {name: columns[0] for name, columns in declared.items() if LOGGED_KEY in _meta(nodes[name])}
            compared = {
                (nodes[name]["schema"], name): tuple(columns)
                for name, columns in declared.items()
                if columns and name not in logged
            }
            found.append(RowWise(table, keys[table][0], logged, compared | links))
    return found, wrong


def _declared(node: Mapping[str, Any], nodes: Mapping[str, Any]) -> dict[str, list[str]] | None:
    meta = _meta(node)
    declared = dict(meta[CHANGED_BY]) if CHANGED_BY in meta else None
    if CHANGED_WITH in meta and meta[CHANGED_WITH] in nodes:
        declared = (_declared(nodes[meta[CHANGED_WITH]], nodes) or {}) | (declared or {})
    return declared


def _replaces_deliveries(node: Mapping[str, Any]) -> bool:
    """See dbt_project/macros/state/replace_scope.sql."""
    config = node["config"]
    return bool(
        (config["materialized"], config.get("incremental_strategy")) == ("incremental", "replace_scope")
        and not config.get("unique_key")
        and DELIVERY in node["columns"]
    )


def _meta(node: Mapping[str, Any]) -> Mapping[str, Any]:
    return node["config"].get("meta") or {}


def _is_known(node: Mapping[str, Any] | None, columns: Sequence[str]) -> bool:
    if node is None:
        return False
    if LOGGED_KEY in _meta(node):
        return len(columns) == 1
    return bool(node["config"]["materialized"] == "table")


def _read_by(node: Mapping[str, Any], manifest: Mapping[str, Any]) -> set[str]:
    """The tables, incremental models and sources that a view reads, through other views."""
    found: set[str] = set()
    for unique_id in node["depends_on"]["nodes"]:
        below = manifest["nodes"].get(unique_id)
        if below is None:
            found.add(unique_id)
        elif below["resource_type"] != "seed":
            found |= {below["name"]} if below["config"]["materialized"] != "view" else _read_by(below, manifest)
    return found


def made(connection: duckdb.DuckDBPyConnection, source: str) -> Made | None:
    """The last run of an attached working database. None where it keeps no record of rows, as one that Spark filled."""
    if not _has_state(connection, source):
        return None
    state = f"{identifier(source)}.state"
    rows = connection.execute(f"select run_number, invocation_id from {state}.run_window").fetchall()  # noqa: S608
    return Made(*rows[0]) if rows else None


def changed_rows(
    connection: duckdb.DuckDBPyConnection, source: str, since: Made, masks: Masks, views: Iterable[RowWise]
) -> dict[Table, ChangedKeys]:
    """By relation: what names the rows that came, went or changed, where that is known and they are few.

    source: the attached working database, as it is masked; what was published of it is attached as `marts`, unchanged
    yet: it was made of the run `since`.
    """
    changes = _Changes(connection, source, since, masks)
    alike: dict[object, list[RowWise]] = {}
    for view in views:
        if changes.has(view.table, *view.compared):
            alike.setdefault(view.made_of, []).append(view)
    found: dict[Table, ChangedKeys] = {}
    for group in alike.values():
        if keys := changes.keys_of(max(group, key=changes.rows_of)):
            found |= dict.fromkeys((view.table for view in group), keys)
    return found


class _Changes:
    """See changed_rows. Makes temp tables."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, source: str, since: Made, masks: Masks) -> None:
        self._db, self._source, self._since, self._masks = connection, source, since, masks
        self._compared: dict[tuple[Table, tuple[str, ...]], str] = {}
        self._names = self._numbered()

    def keys_of(self, view: RowWise) -> ChangedKeys | None:
        """What names the rows that came, went or changed. None: it is not known, or they are many."""
        model = view.table[1]
        if not self._are_logged([*view.logged, model] if view.replaces_deliveries else view.logged):
            return None
        column, place = identifier(view.key), ".".join(map(identifier, view.table))
        kind = self._kind(view.table, view.key)
        parts = [self._touched(model)] if view.replaces_deliveries else []
        for logged, named_by in view.logged.items():
            rows = self._rewritten(logged, self._kind(view.table, named_by))
            if named_by == view.key:
                parts.append(rows)
            elif self._count(f"({rows})"):
                parts += self._rows_with(place, column, [named_by], rows)
        for table, columns in view.compared.items():
            differing = self._differing(table, columns)
            if self._count(differing):
                parts += self._rows_with(place, column, columns, f"select * from {differing}")  # noqa: S608
        name = next(self._names)
        self._db.execute(
            f"create temp table {name} as"  # noqa: S608 (quoted)
            f" select distinct cast(key as {kind}) as key from ({' union all '.join(parts)})"
        )
        changed = ChangedKeys(view.key, name)
        count = self._count(f"marts.{place} where {changed.within}" if view.replaces_deliveries else name)
        return changed if count <= MOST * self.rows_of(view) else None

    def rows_of(self, view: RowWise) -> int:
        """Of the version before."""
        return self._count(f"marts.{'.'.join(map(identifier, view.table))}")

    def has(self, *tables: Table) -> bool:
        """Whether there are these relations, then and now."""
        found = self._db.execute(
            "select distinct database_name, schema_name, table_name from duckdb_columns()"
            " where database_name in ('marts', ?)",
            [self._source],
        ).fetchall()
        return {(database, *table) for table in tables for database in ("marts", self._source)} <= set(found)

    def _are_logged(self, models: Iterable[str]) -> bool:
        """Whether all that was written since is on record: none of the models was made anew."""
        found = dict(
            self._db.execute(f"select model, rebuilt_run from {self._state}.model_marks").fetchall()  # noqa: S608
        )
        return all(name in found and found[name] <= self._since.run_number for name in models)

    def _touched(self, model: str) -> str:
        # A change of rows that serve all deliveries (NULL) makes all of them anew, which is on record too.
        return (
            f"select delivery_id as key from {self._state}.touched_deliveries"  # noqa: S608 (quoted)
            f" where model = {literal(model)} and run_number > {self._since.run_number}"
        )

    def _rewritten(self, model: str, kind: str) -> str:
        return (
            f"select cast(row_key as {kind}) as key from {self._state}.rewritten_rows"  # noqa: S608 (quoted)
            f" where model = {literal(model)} and run_number > {self._since.run_number}"
        )

    def _rows_with(self, place: str, column: str, named_by: Sequence[str], rows: str) -> Iterator[str]:
        """Queries of the keys of rows, of then and of now, that are named by some rows of several columns."""
        names = ", ".join(map(identifier, named_by))
        for database in ("marts", identifier(self._source)):
            yield f"select {column} as key from {database}.{place} where ({names}) in ({_as_rows(rows, named_by)})"  # noqa: S608

    def _differing(self, table: Table, columns: tuple[str, ...]) -> str:
        """The temp table with the columns of rows that a published table has in one version only."""
        if (table, columns) not in self._compared:
            name, place = next(self._names), f"marts.{'.'.join(map(identifier, table))}"
            now = self._masks.selected(table)
            self._db.execute(
                f"create temp table {name} as"  # noqa: S608 (quoted)
                f" select distinct {', '.join(map(identifier, columns))} from"
                f" (((select * from {place}) except all ({now}))"
                f" union all (({now}) except all (select * from {place})))"
            )
            self._compared[table, columns] = name
        return self._compared[table, columns]

    def _kind(self, table: Table, column: str) -> str:
        return str(
            self._db.execute(
                "select data_type from duckdb_columns()"
                " where database_name = 'marts' and schema_name = ? and table_name = ? and column_name = ?",
                [*table, column],
            ).fetchall()[0][0]
        )

    @property
    def _state(self) -> str:
        return f"{identifier(self._source)}.state"

    def _count(self, rows: str) -> int:
        return int(self._db.execute(f"select count(*) from {rows}").fetchall()[0][0])  # noqa: S608 (quoted)

    @staticmethod
    def _numbered() -> Iterator[str]:
        at = 0
        while True:
            at += 1
            yield f"changed_{at}"


def _as_rows(query: str, columns: Sequence[str]) -> str:
    """The same rows as one column, where they have several: DuckDB compares a row with one."""
    if len(columns) == 1:
        return query
    return f"select ({', '.join(map(identifier, columns))}) from ({query})"  # noqa: S608 (quoted)


def can_follow(connection: duckdb.DuckDBPyConnection, source: str, since: Made) -> bool:
    """Whether a working database is the one that a version was made of, and remembers all runs since."""
    return _has_state(connection, source) and bool(
        connection.execute(
            f"select 1 from {identifier(source)}.state.runs where run_number = ? and invocation_id = ?",  # noqa: S608
            [since.run_number, since.invocation_id],
        ).fetchall()
    )


def _has_state(connection: duckdb.DuckDBPyConnection, source: str) -> bool:
    return bool(
        connection.execute(
            "select 1 from duckdb_tables() where database_name = ? and schema_name = 'state' and table_name = 'runs'",
            [source],
        ).fetchall()
    )
