"""Moving a ledger from its file into a PostgreSQL database, with all that it knows.

Belongs here: the copy, table by table. Does not: landed files, which stay where they are.
"""

import sqlite3
from contextlib import closing
from pathlib import Path

from log_ingest import ledger_database
from log_ingest.errors import IngestError
from log_ingest.ledger import Ledger, exists
from log_ingest.ledger_database import PostgresDatabase, PostgresUrl
from log_ingest.sqltext import identifier

MOVED = ".moved"
"""What the name of a file ends in whose ledger is elsewhere now."""


def move_ledger(file: Path, to: PostgresUrl) -> Path:
    """Copy the ledger, then rename its file: nothing must go on with that one. Returns the file's new name.

    All is copied in one transaction. The caller holds the warehouse's lock. Raises IngestError.
    """
    if not file.exists():
        raise IngestError(f"{file} does not exist: there is no ledger to move")
    if exists(to):
        raise IngestError(f"{to} holds a ledger already; name an empty database")
    with Ledger(file) as ledger:  # brings it to this program's format
        if not ledger.is_whole():
            raise IngestError(f"{file} is damaged; restore it from a backup first")
    copy_ledger(file, to)
    moved = file.with_name(file.name + MOVED)
    file.rename(moved)
    return moved


def copy_ledger(file: Path, to: PostgresUrl) -> None:
    """Make a ledger in an empty database that says what the file does. Raises IngestError."""
    with (
        closing(ledger_database.connect(file, read_only=True)) as source,
        Ledger(to, first_rows=lambda target: _copy(source, target)),
    ):
        pass


def _copy(source: ledger_database.Database, target: PostgresDatabase) -> None:
    assert isinstance(source, sqlite3.Connection)
    # As they were made: a table comes after those that it refers to.
    tables = source.execute("select name from sqlite_master where type = 'table' order by rowid").fetchall()
    for (name,) in tables:
        table = identifier(name)
        target.execute(f"delete from {table}")
        rows = source.execute(f"select * from {table}")
        marks = ", ".join("?" * len(rows.description))
        while some := rows.fetchmany(10_000):
            target.executemany(f"insert into {table} values ({marks})", [tuple(row) for row in some])
    target.execute("select setval('file_ids', (select coalesce(max(file_id), 0) + 1 from contents), false)")
