"""How columns that tell a person are published: masked, with the clear values in a file of their own beside the marts.

Belongs here: the masks, what a masked table and the tables of the identities file are selected by, the key of
pseudonyms. Does not: which columns are personal (the catalogue of landed fields, and the lineage), copying tables
(publish), writing the identities file (identities_file).

A column says in its meta how it is published:

    personal: "why it is there"
    masked: hidden | pseudonym | recipient | link
    kept: true      the clear value goes into the identities file; without it, the same value is kept of another table

hidden: NULL. pseudonym: a keyed digest, equal where values are equal, so that counts and joins stay. recipient:
"recipient" and the id. link: the address as declared, without what stands for the person in it. A column that personal
fields reach and that says nothing is hidden.

    versions/<version>/identities.duckdb     its owner's (or the group's, by the setting)
      <schema>.<table>        the table's key, and the clear values of its masked columns where the mask differs
      main.pseudonyms         pseudonym, clear_value
      main.version            the run that wrote it

The working database is the pipeline's own and stays clear.
"""

from collections.abc import Container, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import duckdb

from log_ingest.frozen import PREFIX
from log_ingest.sqltext import identifier, literal
from log_ingest.suppression import PSEUDONYM_FROM, Key
from orchestration.lineage import Edge, Table
from orchestration.permissions import IDENTITIES as FILE
from orchestration.sql_lint import personal

KEY_NAME = "pseudonym.key"
HIDDEN, PSEUDONYM, RECIPIENT, LINK = "hidden", "pseudonym", "recipient", "link"
KEPT = "kept"
"""Entry of a column's meta beside `masked`."""

TABLE = "masked_columns"
COMMENT = "Grain: one row per column of this version that is masked. Empty where clear values are published."
COLUMNS = {
    "schema_name": ("varchar", "Schema of the table."),
    "table_name": ("varchar", "Name of the table."),
    "column_name": ("varchar", "The masked column."),
    "mask": (
        "varchar",
        "hidden: NULL. pseudonym: a keyed digest. recipient: the word and the id. link: the address as declared.",
    ),
    "kept_by": (
        "varchar[]",
        "The columns by which the identities file has its clear value, in a table of the same name; empty where the"
        " same value is kept of another table.",
    ),
}

NOTES = {
    HIDDEN: "Masked: NULL; the identities file has it.",
    PSEUDONYM: "Masked: a keyed digest of it, the same wherever it is the same.",
    RECIPIENT: 'Masked: "recipient" and the id; the identities file has it.',
    LINK: "Masked: the link's address as declared; the identities file has the one that was followed.",
}
"""What is added to the comment of a masked column."""

PSEUDONYMS: Table = ("main", "pseudonyms")
"""The table of the identities file that says what pseudonyms stand for."""

FEW_ROWS = 2_000_000
"""Rows whose pseudonyms are computed where they occur, rather than those of all persons beforehand."""

KNOWN_AT_ONCE = 20_000_000
"""Persons, approximately. Of more, pseudonyms are computed where they occur, and written in parts."""

LINKS, LINKS_KEY = ("core", "dim_tracked_urls"), ("delivery_id", "url_id")
"""Where the declared address of a link is, and by which columns."""
_NEEDS = {RECIPIENT: ("recipient_id",), LINK: LINKS_KEY}
_KIND = "person"
"""Of what is digested. Visitors and keys of persons share it, so that they can be told to be the same."""


class MaskError(Exception):
    """A model's meta says something that cannot be done. The message is one line."""


@dataclass(frozen=True)
class MaskedColumn:
    """One column. kept_by: see COLUMNS."""

    table: Table
    column: str
    mask: str
    kept_by: tuple[str, ...] = ()

    @property
    def row(self) -> tuple[str, str, str, str, list[str]]:
        return (*self.table, self.column, self.mask, list(self.kept_by))


def beside(database: Path) -> Path | None:
    """The identities file of a published version, given its marts.duckdb (resolved); None where it has none."""
    path = database.with_name(FILE)
    return path if path.exists() else None


def load_key(warehouse_dir: Path) -> Key:
    """The key of the warehouse's pseudonyms; made where there is none. Raises IngestError where it cannot be read.

    It is another than that of erasures: a pseudonym is published, a mark of the erased never is. Who loses it loses
    nothing but that pseudonyms are the same as before.
    """
    why = "or remove it: pseudonyms will be others from then on"
    return Key.load(warehouse_dir, KEY_NAME, why) or Key.make(warehouse_dir, KEY_NAME)


def masked_columns(
    manifest: Mapping[str, Any],
    keys: Mapping[Table, tuple[str, ...]],
    schemas: Iterable[str],
    edges: Iterable[Edge],
    fields: Iterable[personal.Column],
) -> tuple[list[MaskedColumn], list[str]]:
    """What the models say of the columns of published schemas, and the names of columns that had to say something.

    keys: by table, what tells its rows apart; edges: the lineage, empty where it is not known; fields: landed ones that
    are personal. Raises MaskError.
    """
    declared = {
        (node["schema"], node["name"]): node
        for node in manifest["nodes"].values()
        if node["resource_type"] in ("model", "seed")
    }
    published = set(schemas)
    found = {
        (table, name): _declared(table, name, meta, keys.get(table, ()), node["columns"])
        for table, node in declared.items()
        if table[0] in published
        for name in node["columns"]
        if personal.MASKED in (meta := personal.meta_of(node, name))
    }
    reached, _ = personal.followed(edges, fields, declared)
    silent = sorted((table, name) for table, name in reached if table[0] in published and (table, name) not in found)
    columns = [*found.values(), *(MaskedColumn(table, name, HIDDEN) for table, name in silent)]
    return sorted(columns, key=lambda column: column.row), [".".join((*table, name)) for table, name in silent]


def _declared(
    table: Table, name: str, meta: Mapping[str, Any], key: tuple[str, ...], columns: Mapping[str, Any]
) -> MaskedColumn:
    mask, place = meta[personal.MASKED], ".".join((*table, name))
    if mask not in NOTES:
        raise MaskError(f"{place}: masked is {mask!r}; write one of {', '.join(NOTES)}")
    if missing := set(_NEEDS.get(mask, ())) - set(columns):
        raise MaskError(f"{place} cannot be masked as {mask}: its model has no {', '.join(sorted(missing))}")
    if not meta.get(KEPT):
        return MaskedColumn(table, name, mask)
    if mask == PSEUDONYM:
        key = (name,)
    if not key:
        raise MaskError(f"{place} cannot be kept: no test or meta says what tells the rows of its model apart")
    return MaskedColumn(table, name, mask, key)


def of_published(connection: duckdb.DuckDBPyConnection, database: str) -> list[MaskedColumn]:
    """How the columns of an attached published version are masked; nothing where it has clear values."""
    has_it = connection.execute(
        "select 1 from duckdb_tables() where database_name = ? and schema_name = 'meta' and table_name = ?",
        [database, TABLE],
    ).fetchall()
    if not has_it:
        return []
    rows = connection.execute(f"select * from {identifier(database)}.meta.{TABLE} order by all").fetchall()  # noqa: S608
    return [MaskedColumn((schema, name), column, mask, tuple(by)) for schema, name, column, mask, by in rows]


@contextmanager
def former_version(connection: duckdb.DuckDBPyConnection, database: Path, masks: "Masks") -> Iterator[None]:
    """An earlier version, attached as `former`: its persons are named as in the version that has these masks, also
    where one of the two has clear values, so that rows of both can be compared.
    """
    connection.execute(f"attach {literal(str(database))} as former (read_only)")
    attached = ["former"]
    was_masked = of_published(connection, "former")
    if bool(was_masked) != bool(masks.columns):
        connection.execute("detach former")
        connection.execute(f"attach {literal(str(database))} as former_file (read_only)")
        connection.execute("attach ':memory:' as former")
        attached.append("former_file")
        then = Masks(connection, "former_file", masks.columns, masks.key)
        known = beside(database)
        if was_masked and known:
            connection.execute(f"attach {literal(str(known))} as former_identities (read_only)")
            attached.append("former_identities")
        for schema, name in connection.execute(
            "select schema_name, table_name from duckdb_tables() where database_name = 'former_file'"
        ).fetchall():
            query = (
                cleared((schema, name), was_masked, "former_file", "former_identities")
                if was_masked and known
                else then.selected((schema, name))
            )
            connection.execute(f"create schema if not exists former.{identifier(schema)}")
            connection.execute(f"create view former.{identifier(schema)}.{identifier(name)} as {query}")
    try:
        yield
    finally:
        for name in attached:
            connection.execute(f"detach {name}")


def cleared(table: Table, masked: Iterable[MaskedColumn], database: str, identities: str) -> str:
    """A query that gives a published table with clear values, as far as the identities file has them of it.

    masked: of_published; database, identities: names of the attached files.
    """
    original = ".".join(map(identifier, (database, *table)))
    columns = [each for each in masked if each.table == table and (each.mask == PSEUDONYM or each.kept_by)]
    if not columns:
        return f"select * from {original}"  # noqa: S608 (quoted)
    values, joined = [], f"{original} as original"
    kept = next((each for each in columns if each.mask != PSEUDONYM), None)
    if kept:
        place = ".".join(map(identifier, (identities, *table)))
        joined += f" left join {place} as kept on {_same('kept', kept.kept_by)}"
    for at, each in enumerate(columns):
        name, clear = identifier(each.column), f"kept.{identifier(each.column)}"
        if each.mask == PSEUDONYM:
            clear = f"known_{at}.clear_value"
            joined += f" left join {identifier(identities)}.main.pseudonyms as known_{at}"
            joined += f" on original.{name} = known_{at}.pseudonym"
        values.append(f"coalesce({clear}, original.{name}) as {name}")
    return f"select original.* replace ({', '.join(values)}) from {joined}"  # noqa: S608 (quoted)


def _same(side: str, names: Iterable[str]) -> str:
    return " and ".join(f"original.{name} = {side}.{name}" for name in map(identifier, names))


class Masks:
    """The masks of one version, over an attached database with clear values."""

    def __init__(
        self, connection: duckdb.DuckDBPyConnection, source: str, columns: Iterable[MaskedColumn], key: Key | None
    ) -> None:
        """source: the database's name. Columns that it does not have are left out."""
        self._db, self._source, self.key = connection, source, key
        self._known = f"pseudonyms_of_{source}"
        there = set(
            connection.execute(
                "select schema_name, table_name, column_name from duckdb_columns() where database_name = ?", [source]
            ).fetchall()
        )
        self.columns = [column for column in columns if (*column.table, column.column) in there]
        self._by_table: dict[Table, list[MaskedColumn]] = {}
        for column in self.columns:
            self._by_table.setdefault(column.table, []).append(column)
        if any(column.mask == PSEUDONYM for column in self.columns):
            if key is None:
                raise MaskError("pseudonyms need a key")
            key.define_in(connection)

    @cached_property
    def _parts(self) -> int:
        """Of all persons, so that each fits into memory."""
        return max(1, -(-self.count_of(self.names()) // KNOWN_AT_ONCE))

    def count_of(self, names: str) -> int:
        """How many persons a query of names tells of, approximately."""
        count = f"select approx_count_distinct(clear_value) from ({names})"  # noqa: S608 (quoted)
        return int(self._db.execute(count).fetchall()[0][0])

    @cached_property
    def _has_known(self) -> bool:
        """Whether there is a temp table of all pseudonyms; makes it. They are computed once for each value then, not
        for each row that has it. Of very many persons it is no help: a join with it holds more than fits into memory.
        """
        if self._parts == 1:
            self._db.execute(f"create or replace temp table {identifier(self._known)} as {self.persons()}")
        return self._parts == 1

    @property
    def are_in_parts(self) -> bool:
        """Whether all persons at once are more than fits into memory."""
        return self._parts > 1

    def expect_few_rows_of(self, followed: Container[Table]) -> None:
        """Of some tables few rows will be selected. Where the others have few, no pseudonym is computed beforehand."""
        others = {each.table for each in self.columns if each.mask == PSEUDONYM and each.table not in followed}
        counts = " + ".join(f"(select count(*) from {self._place(table)})" for table in sorted(others))  # noqa: S608
        if not others or self._db.execute(f"select {counts}").fetchall()[0][0] <= FEW_ROWS:
            self._has_known = False

    def mask_of(self, table: Table, column: str) -> str | None:
        return next((each.mask for each in self._by_table.get(table, ()) if each.column == column), None)

    def selected(self, table: Table, within: str = "true") -> str:
        """A query that gives the table as it is published. within: predicate of the rows that are wanted."""
        columns = self._by_table.get(table, [])
        if not columns:
            return f"select * from {self._place(table)} where {within}"  # noqa: S608 (quoted)
        replaced = ", ".join(
            f"{self._value(at, column)} as {identifier(column.column)}" for at, column in _each(columns)
        )
        return (
            f"select original.* replace ({replaced})"  # noqa: S608 (quoted)
            f" from {self._joined(table, columns, within)}"
        )

    def identities(self, within: Mapping[Table, str] | None = None) -> dict[Table, str]:
        """By table of the identities file: the query that gives it. within: by table, predicate of the wanted rows."""
        found = {}
        for table, columns in self._by_table.items():
            kept = [(at, each) for at, each in _each(columns) if each.kept_by and each.mask != PSEUDONYM]
            if kept:
                names = ", ".join(
                    f"original.{identifier(name)}"
                    for name in dict.fromkeys((*kept[0][1].kept_by, *(column.column for _, column in kept)))
                )
                differs = " or ".join(
                    f"original.{identifier(column.column)} is distinct from {self._value(at, column)}"
                    for at, column in kept
                )
                joined = self._joined(table, columns, (within or {}).get(table, "true"))
                found[table] = f"select {names} from {joined} where {differs}"  # noqa: S608
        if any(column.mask == PSEUDONYM for column in self.columns):
            known = f"select pseudonym, clear_value from temp.{identifier(self._known)}"  # noqa: S608 (quoted)
            found[PSEUDONYMS] = known if self._has_known else self.persons()
        return found

    @property
    def pseudonyms(self) -> list[MaskedColumn]:
        """The columns that between them have the clear value of every pseudonym."""
        return [column for column in self.columns if column.mask == PSEUDONYM and column.kept_by]

    def key_of(self, table: Table) -> tuple[str, ...]:
        """Of a table of the identities file: the columns that name a row without saying whom it tells."""
        kept = (each.kept_by for each in self._by_table.get(table, ()) if each.kept_by and each.mask != PSEUDONYM)
        return next(kept, ("pseudonym",))

    def names(self, within: Mapping[Table, str] | None = None) -> str:
        """A query of all values that stand for persons (clear_value), as often as they occur.

        within: by table, predicate of the wanted rows.
        """
        read = " union all ".join(
            f"select {identifier(column.column)} as clear_value from {self._place(column.table)}"  # noqa: S608 (quoted)
            f" where {(within or {}).get(column.table, 'true')}"
            for column in self.pseudonyms
        )
        return read or "select null::varchar as clear_value"

    def persons(self, within: str = "true", of: str | None = None) -> str:
        """A query of pseudonyms and what they stand for (pseudonym, clear_value), once each.

        within: predicate on clear_value. of: query of the values; all names where there is none.
        """
        return (
            f"select {_digest('clear_value')} as pseudonym, clear_value from (select distinct clear_value"  # noqa: S608
            f" from ({of or self.names()}) where {_is_told('clear_value')} and {within})"
        )

    def persons_in_parts(self) -> list[str]:
        """Queries that together give all of persons(), none of them more than fits into memory."""
        return [self.persons(f"hash(clear_value) % {self._parts} = {part}") for part in range(self._parts)]

    def _place(self, table: Table) -> str:
        return ".".join(map(identifier, (self._source, *table)))

    def _joined(self, table: Table, columns: Iterable[MaskedColumn], within: str = "true") -> str:
        joined = f"(select * from {self._place(table)} where {within}) as original"  # noqa: S608 (quoted)
        for at, column in _each(columns):
            if column.mask == PSEUDONYM and self._has_known:
                joined += (
                    f" left join temp.{identifier(self._known)} as known_{at} on original.{identifier(column.column)}"
                )
                joined += f" = known_{at}.clear_value"
            elif column.mask == LINK:
                joined += f" left join {self._place(LINKS)} as link_{at} on {_same(f'link_{at}', LINKS_KEY)}"
        return joined

    def _value(self, at: int, column: MaskedColumn) -> str:
        clear = f"original.{identifier(column.column)}"
        if column.mask == PSEUDONYM:
            digest = _digest(clear)
            pseudonym = f"coalesce(known_{at}.pseudonym, {digest})" if self._has_known else digest
            return f"case when {_is_told(clear)} then {pseudonym} else {clear} end"
        if column.mask == LINK:
            return f"link_{at}.source_url"
        if column.mask == RECIPIENT:
            # What stands for the erased is nobody's name.
            name = "'recipient ' || original.recipient_id"
            return f"case when original.recipient_id >= {PSEUDONYM_FROM} then {clear} else {name} end"
        # NULL of the column's own type.
        return f"case when false then {clear} end"


def _each(columns: Iterable[MaskedColumn]) -> list[tuple[int, MaskedColumn]]:
    return list(enumerate(columns))


def _digest(clear: str) -> str:
    return f"mark_of({literal(_KIND)}, {clear})"


def _is_told(clear: str) -> str:
    """Whether a value tells a person: what is left of those of purged deliveries is a digest already."""
    return f"{clear} <> '' and not starts_with({clear}, {literal(PREFIX)})"
