"""Reading what was set aside: quarantined lines with their reason, place and bytes. Changing them is not done here."""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import duckdb

from log_ingest.storage import Location, let_read, rows_sql
from log_ingest.storage import reason as why
from orchestration.text import plain

LONGEST_NAME = 5000
"""Longer than any path: a file's name is shown whole, as it is typed again to see the line."""


@dataclass(frozen=True)
class QuarantinedLine:
    """One line that was not accepted. raw: its bytes without the terminator; offsets in decompressed bytes."""

    source: str
    source_file: str
    line_number: int
    byte_offset: int
    reason: str
    detail: str
    raw: bytes
    ingested_at: datetime


def reasons(
    landed_dir: Location, *, source: str | None = None, reason: str | None = None
) -> list[tuple[str, str, int, int]]:
    """(source, reason, lines, files), most lines first."""
    with _rows(landed_dir) as (connection, rows):
        return connection.execute(
            f"select source, reason, count(*), count(distinct source_file) from {rows}"  # noqa: S608 (quoted)
            " where ($1 is null or source = $1) and ($2 is null or reason = $2) group by all order by 3 desc, 1, 2",
            [source, reason],
        ).fetchall()


def newest(landed_dir: Location, *, source: str | None, reason: str | None, limit: int) -> list[QuarantinedLine]:
    """The lines that were set aside last."""
    with _rows(landed_dir) as (connection, rows):
        found = connection.execute(
            f"select {_COLUMNS} from {rows} where ($1 is null or source = $1) and ($2 is null or reason = $2)"  # noqa: S608
            " order by batch_id desc, source_file, line_number limit $3",
            [source, reason, limit],
        ).fetchall()
    return [QuarantinedLine(*row) for row in found]


def find(landed_dir: Location, source_file: str, line_number: int) -> list[QuarantinedLine]:
    """The quarantined rows of one line; several where different contents arrived under the same name."""
    with _rows(landed_dir) as (connection, rows):
        found = connection.execute(
            f"select {_COLUMNS} from {rows} where line_number = ? order by batch_id",  # noqa: S608
            [line_number],
        ).fetchall()
    lines = [QuarantinedLine(*row) for row in found]
    # A name that holds control characters is typed as the list shows it.
    return [line for line in lines if source_file in (line.source_file, plain(line.source_file, LONGEST_NAME))]


_COLUMNS = "source, source_file, line_number, byte_offset, reason, coalesce(detail, ''), raw, ingested_at"


@contextlib.contextmanager
def _rows(landed_dir: Location) -> Iterator[tuple[duckdb.DuckDBPyConnection, str]]:
    with contextlib.closing(duckdb.connect()) as connection:
        let_read(connection, landed_dir)
        rows = rows_sql(landed_dir, "set_aside")
        try:
            connection.execute(f"describe from {rows}")
        except duckdb.Error as error:
            if "No files found" in str(error):
                _refuse_unreadable(landed_dir)
                raise RuntimeError(f"nothing was taken in yet ({landed_dir} is empty); run: mtw run") from error
            raise RuntimeError(f"{why(error)}; check the landed location") from error
        yield connection, f"(select * from {rows} where disposition = 'quarantined')"  # noqa: S608 (quoted)


def _refuse_unreadable(landed_dir: Location) -> None:
    """Raises PermissionError where this user may not look: DuckDB takes such a folder for an empty one."""
    if isinstance(landed_dir, Path):
        with contextlib.suppress(FileNotFoundError, NotADirectoryError), os.scandir(landed_dir / "set_aside") as parts:
            for part in parts:
                os.scandir(part.path).close()
