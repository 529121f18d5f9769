"""The published file: which version is current, and rows of the queries in reports/queries.

Belongs here: following the link, one connection per version, the cache. Does not: any query.
"""

import os
import threading
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import streamlit as st

from reports.identities import Identities

QUERIES = Path(__file__).parent / "queries"

CONFIG: dict[str, str | bool | int | float | list[str]] = {
    # The file holds all there is to read; nothing else is opened, and no extension is looked for on the network.
    "enable_external_access": "false",
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "memory_limit": "1GB",
    "threads": "2",
    # Nothing is written beside the published file: what does not fit into memory fails.
    "temp_directory": "",
}


class NotPublished(Exception):
    """There is no published file, or it cannot be opened."""


@dataclass
class Snapshot:
    """One published version. A page reads all of its numbers from one snapshot, so that no two versions mix.

    identity: tells versions apart, also those of a warehouse that was made anew.
    """

    identity: tuple[str, int, int]
    connection: duckdb.DuckDBPyConnection = field(repr=False)

    def rows(self, query: str, **parameters: Any) -> pd.DataFrame:
        """The rows of queries/<query>.sql; parameters are bound as $name, never written into the text."""
        return _rows(self, self.identity, query, parameters)

    def many_rows(self, query: str, **parameters: Any) -> pd.DataFrame:
        """The same without keeping them: for exports."""
        return self.connection.execute(sql(query), parameters).df()

    @property
    def identities(self) -> Identities:
        """The clear values of this version."""
        return Identities(Path(self.identity[0]), CONFIG, sql)

    def has(self, table: str) -> bool:
        """Whether this version holds schema.table, or schema.table.column: older ones lack newer ones."""
        return table in set(self.rows("tables")["name"])


class Published:
    """The published database behind its link."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._current: Snapshot | None = None

    def snapshot(self) -> Snapshot:
        """The version that is current now. Raises NotPublished."""
        try:
            resolved = os.path.realpath(self._path)
            status = os.stat(resolved)  # noqa: PTH116 (the link may move on; what it pointed to is what is opened)
        except OSError as error:
            raise NotPublished(str(self._path)) from error
        identity = (resolved, status.st_ino, status.st_mtime_ns)
        with self._lock:
            if self._current is None or self._current.identity != identity:
                if self._current is not None:
                    # DuckDB hands out a file that is open in this process again, whatever has become of it.
                    self._current.connection.close()
                try:
                    connection = duckdb.connect(resolved, read_only=True, config=CONFIG)
                except duckdb.Error as error:
                    self._current = None
                    raise NotPublished(resolved) from error
                self._current = Snapshot(identity, connection)
            return Snapshot(identity, self._current.connection.cursor())


@st.cache_resource(show_spinner=False)
def published(path: Path) -> Published:
    """One per process: sessions share its connection."""
    return Published(path)


@cache
def sql(query: str) -> str:
    """The text of queries/<query>.sql."""
    return (QUERIES / f"{query}.sql").read_text(encoding="utf-8")


@st.cache_data(show_spinner=False, max_entries=400)
def _rows(_snapshot: Snapshot, identity: tuple[str, int, int], query: str, parameters: dict[str, Any]) -> pd.DataFrame:
    return _snapshot.many_rows(query, **parameters)
