"""Publishing in tests without Dagster, with masks and by changed rows as the pipeline does it; comparing versions."""

import os
from pathlib import Path
from unittest.mock import patch

import duckdb

from log_ingest.sqltext import identifier, literal
from orchestration.dbt import load_manifest
from orchestration.identifiers import load_key
from orchestration.lineage import Table
from orchestration.model_sql import masks_of, meta_tables, prepare_sql, row_wise_of
from orchestration.publication import Publication
from orchestration.publish import publish
from orchestration.published_tables import PublishedTables
from orchestration.row_changes import ChangedKeys
from orchestration.settings import Settings

OWN_TO_A_VERSION = {("meta", "publication"), ("meta", "restatements"), ("main", "version")}


def publish_marts(warehouse: Path, published: Path, *, is_whole: bool = False, digest: str = "d") -> Publication:
    """What tests.marts.build_marts built, as the pipeline publishes it."""
    with patch.object(PublishedTables, "replace_rows", _replace_rows_alone):
        return _publish(warehouse, published, is_whole=is_whole, digest=digest)


_replace_rows = PublishedTables.replace_rows


def _replace_rows_alone(self: PublishedTables, table: Table, changed: ChangedKeys) -> int:
    """Rows that escaped the record of changes would be mended by copying all, which would hide it."""
    with patch.object(PublishedTables, "copy", None):
        return _replace_rows(self, table, changed)


def _publish(warehouse: Path, published: Path, *, is_whole: bool, digest: str) -> Publication:
    manifest = load_manifest(warehouse / "dbt-target" / "manifest.json")
    masked, _ = masks_of(manifest, None)
    followed, wrong = row_wise_of(manifest, masked)
    assert wrong == []
    assert followed
    return publish(
        warehouse / "work" / "warehouse.duckdb", published, run_id="run", batch_id=1, build_digest=digest,
        masked=masked, key=load_key(warehouse), row_wise=() if is_whole else followed,
    )  # fmt: skip


def publish_to_explain(warehouse: Path) -> Path:
    """The published database of what tests.marts.build_marts built, with what `mtw explain` reads of it."""
    settings = Settings(warehouse / "nowhere", warehouse)
    manifest = warehouse / "dbt-target" / "manifest.json"
    project = prepare_sql(settings, manifest)
    publish(
        settings.working_database, settings.published_dir, run_id="run", batch_id=1, build_digest="d",
        extra=meta_tables(project), masked=masks_of(load_manifest(manifest), project)[0], key=load_key(warehouse),
    )  # fmt: skip
    return Path(os.path.realpath(settings.published_dir / "marts.duckdb"))


def assert_same_version(left: Path, right: Path) -> None:
    """Two published folders hold the same rows in every table of both files, and in every Parquet copy."""
    with duckdb.connect() as con:
        compared = 0
        for file in ("marts", "identities"):
            for name, folder in (("left_side", left), ("right_side", right)):
                con.execute(
                    f"attach {literal(str((folder / 'current' / f'{file}.duckdb').resolve()))} as {name} (read_only)"
                )
            names = [
                set(con.execute(
                    "select schema_name, table_name from duckdb_tables() where database_name = ?", [side]
                ).fetchall())
                for side in ("left_side", "right_side")
            ]  # fmt: skip
            assert names[0] == names[1]
            for table in sorted(names[0] - OWN_TO_A_VERSION):
                place = ".".join(map(identifier, table))
                _assert_same_rows(con, f"left_side.{place}", f"right_side.{place}")
                if file == "marts":
                    copy = (left / "current" / "marts" / table[0] / f"{table[1]}.parquet").resolve()
                    _assert_same_rows(con, f"read_parquet({literal(str(copy))})", f"right_side.{place}")
                compared += 1
            con.execute("detach left_side")
            con.execute("detach right_side")
    assert compared > 60


def _assert_same_rows(con: duckdb.DuckDBPyConnection, left: str, right: str) -> None:
    for one, other in ((left, right), (right, left)):
        rows = con.execute(f"(from {one} except all from {other}) limit 3").fetchall()
        assert not rows, (f"only in {one}", rows)
