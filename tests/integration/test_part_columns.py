"""Landed parts of an older catalogue, which lack a column or have it without its type."""

from contextlib import closing
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from log_ingest.catalog import LANDED_SCHEMAS
from log_ingest.ingest import LEDGER_NAME, ingest
from log_ingest.landing import Landing
from log_ingest.ledger import Ledger
from tests.invariants import assert_accounted, assert_rerun_changes_nothing
from tests.marts import assert_same_tables, build_marts, tables
from tests.robin import write_all

LACKING, UNTYPED = "is_control", "event_at"


def age(warehouse: Path) -> dict[Path, pa.Table]:
    """Take a column and a type from the parts of messages, as if they had landed before the catalogue had them. Returns
    what they held besides.
    """
    held = {}
    for path in (warehouse / "landed" / "messages").glob("*/*.parquet"):
        table = pq.read_table(path, partitioning=None)
        old = table.drop_columns([LACKING])
        old = old.set_column(old.schema.get_field_index(UNTYPED), UNTYPED, pa.nulls(len(old)))
        pq.write_table(old, path)
        held[path] = old.drop_columns([UNTYPED])
    with Ledger(warehouse / LEDGER_NAME) as ledger:
        ledger._db.execute("delete from facts where name like 'columns_of:%'")
    return held


def test_they_get_the_columns_of_today_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    landing, warehouse = tmp_path / "landing", tmp_path / "warehouse"
    write_all(landing)
    ingest(landing, warehouse, run_id="first")
    held = age(warehouse)
    with monkeypatch.context() as patched, Ledger(warehouse / LEDGER_NAME) as ledger:
        patched.setattr(Ledger, "commit", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            Landing(warehouse, ledger)
    assert all(path.exists() for path in held), "what dies before the commit has replaced nothing"
    with Ledger(warehouse / LEDGER_NAME) as ledger, closing(Landing(warehouse, ledger)):
        parts = {row["path"]: row["row_count"] for row in ledger.parts(source="messages")}
    for source, schema in LANDED_SCHEMAS.items():
        for path in (warehouse / "landed" / source).glob("*/*.parquet"):
            now = pq.read_schema(path)
            assert [(field.name, field.type) for field in now] == [(field.name, field.type) for field in schema], path
    found = sorted((warehouse / "landed" / "messages").glob("batch_id=?/*.parquet"))
    assert [str(path.relative_to(warehouse / "landed")) for path in found] == sorted(parts)
    for path in found:
        (before,) = [table for old, table in held.items() if old.parent == path.parent]
        now = pq.read_table(path, partitioning=None)
        assert now.drop_columns([LACKING, UNTYPED]).equals(before.cast(now.drop_columns([LACKING, UNTYPED]).schema))
        count = parts[str(path.relative_to(warehouse / "landed"))]
        assert now[LACKING].null_count == now[UNTYPED].null_count == len(before) == count > 0
    # As a warehouse that never heard of these values.
    build_marts(landing, warehouse, select=["+rpt_tracking_indicators"])
    assert_accounted(warehouse)
    assert_rerun_changes_nothing(landing, warehouse)
    for path in (landing / "reference" / "messages").glob("*.csv"):
        assert not {LACKING, UNTYPED} & set(path.read_text().splitlines()[0].split(",")), "else a fresh one has values"
    fresh = tmp_path / "fresh"
    build_marts(landing, fresh, select=["+rpt_tracking_indicators"])
    assert_same_tables(tables(warehouse), tables(fresh))
