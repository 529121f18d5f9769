"""The identities file of a version: what the masks hide, written anew or into a copy of the former version's file.

Belongs here: writing its tables. Does not: what they hold and how columns are masked (identifiers), which rows changed
(row_changes), who may read it (permissions).
"""

from collections.abc import Mapping
from pathlib import Path

import duckdb

from log_ingest.sqltext import identifier, literal
from orchestration import identifiers
from orchestration.identifiers import PSEUDONYMS, Masks
from orchestration.lineage import Table
from orchestration.published_tables import BEING_WRITTEN
from orchestration.row_changes import ChangedKeys

_PSEUDONYMS = f"identities.{'.'.join(map(identifier, PSEUDONYMS))}"


def write(
    connection: duckdb.DuckDBPyConnection,
    masks: Masks,
    path: Path,
    run_id: str,
    former: Path | None,
    changed: Mapping[Table, ChangedKeys],
) -> None:
    """Make the file; or write what is other in it, where path is a copy of the former version's.

    former: the published tables of the version before, masked in the same way. changed: by table of which it is known,
    what names the rows that differ; empty: all is written.
    """
    connection.execute(f"attach {literal(str(path))} as identities {BEING_WRITTEN}")
    path.chmod(0o600)  # before anything is in it
    # A kept row goes with the row whose clear values it has, where its key contains what names changed rows.
    within = {table: keys.within for table, keys in changed.items() if keys.column in masks.key_of(table)}
    for table, query in masks.identities(within).items():
        place = f"identities.{'.'.join(map(identifier, table))}"
        if table == PSEUDONYMS:
            if former and changed and _are_few(masks, changed):
                _replace_persons(connection, masks, former, changed)
                continue
            first, *others = masks.persons_in_parts() if masks.are_in_parts else [query]
        elif table in within:
            connection.execute(f"delete from {place} where {within[table]}")  # noqa: S608 (quoted)
            connection.execute(f"insert into {place} by name {query}")
            continue
        else:
            first, *others = [query]
        connection.execute(f"create schema if not exists identities.{identifier(table[0])}")
        connection.execute(f"create or replace table {place} as {first}")
        for other in others:
            connection.execute(f"insert into {place} {other}")
        connection.execute(f"comment on table {place} is {literal(_told(table))}")
    connection.execute(f"create or replace table identities.main.version as select {literal(run_id)} as run_id")
    connection.execute("checkpoint identities")
    connection.execute("detach identities")


def _are_few(masks: Masks, changed: Mapping[Table, ChangedKeys]) -> bool:
    """Whether the persons of rows that changed, and of tables of which all rows may have, fit into memory."""
    names = masks.names({table: keys.within for table, keys in changed.items()})
    return bool(masks.pseudonyms) and masks.count_of(names) <= identifiers.KNOWN_AT_ONCE


def _replace_persons(
    connection: duckdb.DuckDBPyConnection, masks: Masks, former: Path, changed: Mapping[Table, ChangedKeys]
) -> None:
    """Add whoever occurs in rows that came, take out whoever occurs in no row any more."""
    within = {table: keys.within for table, keys in changed.items()}
    connection.execute(f"create or replace temp table persons_now as {masks.persons(of=masks.names(within))}")
    # Those that are known already first, which are few: of the whole table nothing is held in memory.
    known = f"from {_PSEUDONYMS} semi join persons_now using (pseudonym)"
    connection.execute(f"insert into {_PSEUDONYMS} by name from persons_now anti join ({known}) using (pseudonym)")
    connection.execute(f"attach {literal(str(former))} as former_marts (read_only)")
    was = " union all ".join(
        f"select {identifier(column.column)} as pseudonym from former_marts.{'.'.join(map(identifier, column.table))}"  # noqa: S608
        f" where {within.get(column.table, 'true')}"
        for column in masks.pseudonyms
    )
    connection.execute(
        "create or replace temp table persons_gone as"  # noqa: S608 (quoted)
        f" select pseudonym, clear_value from {_PSEUDONYMS} where pseudonym in ({was})"
        " and pseudonym not in (select pseudonym from persons_now)"
    )
    connection.execute("detach former_marts")
    if connection.execute("select 1 from persons_gone limit 1").fetchall():
        connection.execute(
            f"delete from {_PSEUDONYMS} where pseudonym in (select pseudonym from persons_gone"  # noqa: S608 (quoted)
            f" anti join ({masks.names()}) using (clear_value))"
        )


def _told(table: Table) -> str:
    if table == PSEUDONYMS:
        return "Grain: one row per pseudonym. What it stands for."
    place = ".".join(table)
    return f"Clear values of masked columns of {place}, by its key; rows whose mask says all are left out."
