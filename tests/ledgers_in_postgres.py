"""A plugin for pytest (-p tests.ledgers_in_postgres): tests that know of a ledger in a file find it in PostgreSQL.

A database stands for each file; where the file is there already, as a copy of a fixture's, what it says is moved first.
"""

import sys
from pathlib import Path
from typing import Any

import pytest

from log_ingest import status
from log_ingest.ingest import LEDGER_NAME, ingest
from log_ingest.ledger import Ledger, exists
from log_ingest.ledger_database import LedgerPlace, PostgresUrl
from log_ingest.move_ledger import copy_ledger
from tests.postgres import Server


@pytest.fixture(autouse=True)
def ledgers_in_postgres(postgres: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    found: dict[Path, PostgresUrl] = {}
    opened = Ledger.__init__

    def database_of(place: LedgerPlace) -> PostgresUrl:
        if isinstance(place, PostgresUrl):
            return place
        path = place.resolve()
        if path not in found:
            found[path] = PostgresUrl(postgres.new_database().url)
            if path.exists():
                monkeypatch.setattr(Ledger, "__init__", opened)
                copy_ledger(path, found[path])
                path.unlink()
                monkeypatch.setattr(Ledger, "__init__", open_in_postgres)
        return found[path]

    def open_in_postgres(self: Ledger, place: LedgerPlace, **keywords: Any) -> None:
        opened(self, database_of(place), **keywords)

    def ingest_in_postgres(landing: Any, warehouse: Path, **keywords: Any) -> Any:
        keywords["ledger_at"] = database_of(keywords.get("ledger_at") or warehouse / LEDGER_NAME)
        return ingest(landing, warehouse, **keywords)

    monkeypatch.setattr(Ledger, "__init__", open_in_postgres)
    monkeypatch.setattr(status, "exists", lambda place: exists(database_of(place)))
    for name, module in list(sys.modules.items()):
        if name.startswith("tests.") and getattr(module, "ingest", None) is ingest:
            monkeypatch.setattr(module, "ingest", ingest_in_postgres)
