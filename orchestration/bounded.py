"""DuckDB within MTW_MEMORY_LIMIT: what is opened otherwise takes most of the machine, if only to keep blocks for later.

Belongs here: opening a database so, and what is then put on disk. Does not: what is asked of it. Readers of one small
query need no bounds.
"""

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from log_ingest.sqltext import literal
from orchestration.settings import Settings

if TYPE_CHECKING:
    import duckdb


@contextlib.contextmanager
def connected(
    settings: Settings, database: Path | None = None, *, read_only: bool = True
) -> Iterator["duckdb.DuckDBPyConnection"]:
    """A connection to a file, or to a database in memory. What exceeds the limit goes through the disk: beside the
    file, or where the working database is. Raises duckdb.Error."""
    import duckdb

    if database is not None:
        with contextlib.closing(duckdb.connect(str(database), read_only=read_only)) as connection:
            # A file has its place for that, which all of the process that have it open share: it is not set again.
            connection.execute(f"set memory_limit = {literal(settings.memory_limit)}")
            yield connection
    else:
        with contextlib.closing(duckdb.connect()) as connection:
            bound(connection, settings.memory_limit, settings.working_database.parent / "spill")
            yield connection


def bound(connection: "duckdb.DuckDBPyConnection", memory_limit: str | None, spill: Path) -> None:
    """Let a database in memory hold no more than a limit, as DuckDB spells it (None: its own default), and put what
    exceeds it into a folder."""
    connection.execute(f"set temp_directory = {literal(str(spill))}")
    if memory_limit is not None:
        connection.execute(f"set memory_limit = {literal(memory_limit)}")


_SPILLED = re.compile(r"duckdb_temp_(\d+)_")


def remove_spilled(settings: Settings) -> None:
    """Remove what killed processes had put on disk for a moment: DuckDB leaves it for ever, and it may be more than the
    database. Its files bear the number of their process; where another one has it by now, they stay for another time.
    What cannot be removed is no reason not to run. The caller holds the pipeline lock."""
    for path in sorted(settings.working_database.parent.glob("*/duckdb_temp_*")):
        owner = _SPILLED.match(path.name)
        if owner and not _is_alive(int(owner[1])):
            with contextlib.suppress(OSError):
                path.unlink()
                path.parent.rmdir()  # fails where others are in it


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    return True
