"""Every byte that a warehouse owns, and every value in it, to be searched for what must not be there."""

import re
import sqlite3
from collections.abc import Collection, Iterator
from pathlib import Path

import duckdb

from log_ingest.sqltext import identifier, literal


def places_of(warehouse: Path, words: Collection[str]) -> list[str]:
    """Where any of the words stands, in any case: raw bytes of files, values of Parquet, DuckDB and SQLite files.

    A word of digits and letters stands where none of those touches it, but for the letter that a link writes before a
    message and for leading zeros.
    """
    needles = [(word.lower().encode(), _needle(word)) for word in sorted(words)]
    found = []
    for place, data in _texts(warehouse):
        lower = data.lower()
        found += [f"{place}: {word!r}" for word, needle in needles if word in lower and needle.search(lower)]
    return found


def _needle(word: str) -> re.Pattern[bytes]:
    text = re.escape(word.lower()).encode()
    bare = re.fullmatch("[0-9a-f]+", word) is not None
    return re.compile(rb"(?<![0-9a-z])(?:[a-z]|0x)?0*" + text + rb"(?![0-9a-z])" if bare else text)


def _texts(warehouse: Path) -> Iterator[tuple[str, bytes]]:
    for path in sorted(warehouse.rglob("*")):
        if path.is_symlink() or not path.is_file():
            continue
        data = path.read_bytes()
        name = str(path.relative_to(warehouse))
        if data.startswith(b"PAR1"):
            relation = f"read_parquet({literal(str(path))}, hive_partitioning = false)"
            with duckdb.connect() as con:
                yield from _columns(con, name, relation)
        elif data[8:12] == b"DUCK":
            with duckdb.connect(str(path), read_only=True) as con:
                tables = con.execute("select schema_name, table_name from duckdb_tables() where not internal")
                for schema, table in tables.fetchall():
                    yield from _columns(con, f"{name} {schema}.{table}", f"{identifier(schema)}.{identifier(table)}")
        elif data.startswith(b"SQLite format 3"):
            yield from _sqlite(name, path)
        # Also what no reader shows: free pages, logs of databases, deleted rows.
        yield name, data


def _columns(con: duckdb.DuckDBPyConnection, name: str, relation: str) -> Iterator[tuple[str, bytes]]:
    for column, *_ in con.execute(f"describe select * from {relation}").fetchall():
        text = con.execute(
            f"select string_agg(distinct cast({identifier(column)} as varchar), chr(10)) from {relation}"
        ).fetchall()[0][0]
        yield f"{name} {column}", (text or "").encode()


def _sqlite(name: str, path: Path) -> Iterator[tuple[str, bytes]]:
    con = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)
    for (table,) in con.execute("select name from sqlite_master where type = 'table'").fetchall():
        rows = con.execute(f"select * from {identifier(table)}").fetchall()
        yield f"{name} {table}", "\n".join(str(value) for row in rows for value in row).encode()
    con.close()
