"""The format of a warehouse, and how one that an older release left is brought to it: forward, one step per format.

Belongs here: the format's number, a step for each number, the copy of the ledger that is kept before. Does not: what
the tables mean (ledger). What follows from the landed rows has no format: models that changed are built again from
them.

A new format is a new last entry of MIGRATIONS, never a change of an older one; a new ledger goes through all of them.
Steps run under the pipeline's lock, all in one transaction: a ledger has its old format or the new one. A ledger in
PostgreSQL begins with the newest format and takes the same steps; its copy from before is what its backup holds.
"""

import os
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from log_ingest import ledger_database
from log_ingest.errors import IngestError
from log_ingest.ledger_database import Database, LedgerPlace

OLDEST_FORMAT = 2
"""The oldest format that can be brought up to date. It is also what the ledger's own schema makes."""

GUIDE = "docs/upgrading.md"


@dataclass(frozen=True)
class Migration:
    """From the format below to this one. statements: SQL, each ends with ";" and a line end."""

    to_format: int
    what: str
    statements: str


MIGRATIONS = (
    Migration(
        3,
        "tables of erasures, and a record of when the warehouse came to which format",
        # The tables of erasures are there in a ledger of format 2 that was written to after they were introduced.
        """
-- One row per erasure: a receipt that names nobody. counts: JSON, rows by landed source.
create table if not exists erasures (
    erasure_id text primary key,
    erased_at text not null,
    run_id text not null,
    recipient_count integer not null,
    counts text not null
) strict;
-- Lines of a file whose bytes are not, or no longer, all kept: the file cannot be put together again.
create table if not exists erased_lines (
    file_id integer primary key references contents (file_id),
    lines integer not null
) strict;
-- What erased recipients are recognised by when they arrive again: keyed digests, no values (log_ingest.suppression).
create table if not exists suppression_marks (
    kind text not null,
    mark text not null,
    primary key (kind, mark)
) strict, without rowid;
-- One row per format that this warehouse had: since when (UTC, ISO 8601), and the release that brought it there.
create table format_history (
    format integer primary key,
    since text not null,
    release text not null
) strict;
""",
    ),
    Migration(
        4,
        "tables of purges",
        """
-- One row per purge that took something away: by which setting, what from the landed sources.
create table purges (
    purge_id text primary key,
    kind text not null,
    purged_at text not null,
    run_id text not null,
    kept_days integer not null,
    line_count integer not null
) strict;
-- Deliveries whose lines are gone, and are not taken in again.
create table purged_deliveries (
    delivery_id integer primary key,
    purge_id text not null references purges (purge_id),
    expired_at text not null,
    event_count integer not null,
    first_event_at text,
    last_event_at text
) strict;
-- Of a file's accepted lines, those that were purged since; of its suppressed ones, those of purged deliveries.
create table purged_lines (
    file_id integer primary key references contents (file_id),
    lines integer not null,
    late_lines integer not null
) strict;
-- Who refused web tracking in a purged line, as a digest, and since when.
create table refusals (
    person_key text primary key,
    refused_at text not null
) strict;
""",
    ),
    Migration(
        5,
        "purges of several kinds, and of lines set aside",
        """
-- Deliveries of which something is gone, and is not taken in again: what, the kind of the purge says.
create table purged_deliveries_by_purge (
    purge_id text not null references purges (purge_id),
    delivery_id integer not null,
    expired_at text not null,
    event_count integer not null,
    first_event_at text,
    last_event_at text,
    primary key (purge_id, delivery_id)
) strict;
insert into purged_deliveries_by_purge
select purge_id, delivery_id, expired_at, event_count, first_event_at, last_event_at from purged_deliveries;
drop table purged_deliveries;
alter table purged_deliveries_by_purge rename to purged_deliveries;
-- Of a file's lines that were set aside, those that were purged since, by what had become of them.
create table purged_set_aside (
    file_id integer not null references contents (file_id),
    disposition text not null,
    lines integer not null,
    primary key (file_id, disposition)
) strict;
""",
    ),
)

FORMAT = MIGRATIONS[-1].to_format
"""What this program reads and writes."""


def format_of(ledger: LedgerPlace) -> int | None:
    """The format of a ledger, without changing it; None where it is none. Raises sqlite3.Error, IngestError."""
    with closing(ledger_database.connect(ledger, read_only=True)) as db:
        return stored_format(db)


def stored_format(db: Database) -> int | None:
    if not ledger_database.has_table(db, "facts"):
        return None
    row = db.execute("select value from facts where name = 'format_version'").fetchone()
    return int(row[0]) if row and str(row[0]).isdigit() else 0


def check(found: int, ledger: LedgerPlace, *, read_only: bool) -> None:
    """Raises IngestError where this program cannot work with a ledger of that format."""
    if found > FORMAT:
        raise IngestError(
            f"{ledger} has format {found}, this program knows formats up to {FORMAT}: it is older than the warehouse;"
            f" install the newer release again, or go back to the ledger kept before ({GUIDE})"
        )
    if found < OLDEST_FORMAT:
        raise IngestError(
            f"{ledger} has format {found}, older than {OLDEST_FORMAT}, the first that can be brought up to date; set"
            " MTW_WAREHOUSE_DIR to an empty folder and take the landing folder in again"
        )
    if found < FORMAT and read_only:
        raise IngestError(
            f"{ledger} has format {found}, this program works with {FORMAT}; to bring it up to date: mtw run ({GUIDE})"
        )


def kept_copy(ledger: Path, found: int) -> Path:
    """Where the ledger of an older format is kept, to go back to."""
    return ledger.with_name(f"{ledger.name}.format-{found}")


def keep(db: sqlite3.Connection, ledger: Path, found: int) -> None:
    """Copy the ledger beside itself before it is changed. An older copy of the same format is replaced."""
    target = kept_copy(ledger, found)
    draft = target.with_name(target.name + ".tmp")
    draft.unlink(missing_ok=True)
    with closing(sqlite3.connect(draft)) as copy:
        db.backup(copy)
    with draft.open("rb") as stream:
        os.fsync(stream.fileno())
    draft.replace(target)


def apply(db: Database, found: int) -> None:
    """All steps from a format to FORMAT, within the transaction that the caller has begun."""
    for migration in MIGRATIONS:
        if migration.to_format > found:
            ledger_database.create(db, migration.statements)
    db.execute(
        "insert into facts values ('format_version', ?) on conflict (name) do update set value = excluded.value",
        [str(FORMAT)],
    )
    db.execute(
        "insert into format_history values (?, ?, ?) on conflict (format) do update set since = excluded.since,"
        " release = excluded.release",
        [FORMAT, datetime.now(UTC).isoformat(timespec="seconds"), _release()],
    )


def _release() -> str:
    try:
        return version("message-tracking-warehouse")
    except PackageNotFoundError:
        return "unknown"
