"""Clear values of a published version, where it is masked: who a recipient is, which link was followed.

Belongs here: looking them up in the identities file beside it, row by row. Does not: who may see them (view).

The file is opened for one look-up and closed again. Who runs the pages may not be allowed to read it, or it may not be
there because the version has clear values itself: then nothing is found, and rows stay as they are published.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd

FILE = "identities.duckdb"

LOOKED_UP = {
    "recipient_id": ("identities/recipients", ("recipient_label", "email")),
    "event_key": ("identities/links", ("url",)),
}
"""By key column of rows: the query that gives clear values for keys, and of which columns."""


class Identities:
    """The identities file of one version. sql: gives the text of a query by its name."""

    def __init__(self, database: Path, config: dict[str, Any], sql: Any) -> None:
        self._path, self._config, self._sql = database.with_name(FILE), config, sql

    def clear(self, rows: pd.DataFrame) -> pd.DataFrame:
        """The rows with clear values where they are known."""
        for key, (query, columns) in LOOKED_UP.items():
            wanted = [column for column in columns if column in rows]
            if key not in rows or not wanted or rows.empty:
                continue
            found = self._rows(query, keys=rows[key].dropna().unique().tolist())
            if found is None:
                return rows
            known = found.set_index(key)
            is_known = rows[key].isin(known.index)
            rows = rows.assign(
                **{column: rows[column].where(~is_known, rows[key].map(known[column])) for column in wanted}
            )
        return rows

    def recipients(self, search: str, *, partly: bool) -> list[int]:
        """Ids of those who have this address; partly: or whose address or name has it in it."""
        found = self._rows("identities/search", search=search, partly=partly)
        return [] if found is None else [int(number) for number in found["recipient_id"]]

    def _rows(self, query: str, **parameters: Any) -> pd.DataFrame | None:
        with self._opened() as connection:
            return connection.execute(self._sql(query), parameters).df() if connection else None

    @contextlib.contextmanager
    def _opened(self) -> Iterator[duckdb.DuckDBPyConnection | None]:
        try:
            connection = duckdb.connect(str(self._path), read_only=True, config=self._config)
        except duckdb.Error:
            yield None
            return
        with contextlib.closing(connection):
            yield connection
