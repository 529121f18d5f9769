"""Publishing, or the copy to PostgreSQL, in a process of its own that is killed at its n-th step: see trials.

A trial: <what> <n> <working database> <published folder> <run id> [<url>]. what: "disk" counts what separates states of
the disk; "statement" every statement that DuckDB is given (each table, comment, Parquet file, the checkpoint);
"copy" every statement and COPY that PostgreSQL is given, and before and after its commits.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb
import psycopg

from orchestration import row_changes
from orchestration.postgres_copy import copy_to_postgres
from orchestration.publish import publish
from orchestration.row_changes import RowWise
from tests.faults.ingest_child import interrupt
from tests.faults.trials import kill_me, serve
from tests.integration.test_publish import FOLLOWED

STEPS: dict[str, list[tuple[Any, str]]] = {
    "disk": [
        *((os, name) for name in ("fsync",)),
        *((Path, name) for name in ("rename", "replace", "symlink_to", "mkdir", "write_text", "unlink")),
    ],
    "statement": [(duckdb.DuckDBPyConnection, "execute")],
    "copy": [(psycopg.Connection, "execute"), (psycopg.Cursor, "copy"), (psycopg.Transaction, "__exit__")],
}


def publish_once(working: Path, published: Path, run_id: str, row_wise: Sequence[RowWise] = ()) -> None:
    publish(working, published, run_id=run_id, batch_id=2, build_digest="digest", row_wise=row_wise)


def publish_changes(working: Path, published: Path, run_id: str) -> None:
    """By the rows that changed, as often as can be, however many they are."""
    row_changes.MOST = 2
    publish_once(working, published, run_id, FOLLOWED)


def copy_once(published: Path, url: str) -> None:
    copy_to_postgres(url, published, keys={}, role="nobody_there")


def trial(what: str, at: str, working: str, published: str, run_id: str, url: str = "") -> None:
    interrupt(int(at), kill_me, STEPS[what])
    if what == "copy":
        copy_once(Path(published), url)
    else:
        publish_changes(Path(working), Path(published), run_id)


if __name__ == "__main__":
    serve(trial)
