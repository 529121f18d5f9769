"""Publishing: whole and verified, atomic under every failure, harmless to readers, tidy."""

import contextlib
import json
import os
import shutil
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import duckdb
import pyarrow.parquet as pq
import pytest

from orchestration import publish as publishing
from orchestration.publish import PublishError, current, publish

HOSTILE_TABLE = 'odd "name"; drop table x'
HOSTILE_COMMENT = "It's 'quoted'; -- and\nof two lines"


def make_working_database(path: Path, events: int = 1000) -> Path:
    """A small working database: a table, a view on it, a seed, hostile names, and a schema that stays private."""
    path.parent.mkdir(parents=True)
    with contextlib.closing(duckdb.connect(str(path))) as connection:
        connection.execute("create schema core; create schema reports; create schema meta; create schema state")
        connection.execute("create table state.model_marks (model varchar, batch_id bigint)")
        connection.execute(
            "create table core.fct_tracking_events as select hash(range) as event_key, 9 - range % 10 as delivery_id,"
            " timestamp '2026-01-02' - interval (range) second as occurred_at, timestamp '2026-01-02' as ingested_at"
            f" from range({events})"
        )
        connection.execute(
            "insert into core.fct_tracking_events values (1, 3, timestamp '2027-06-01', timestamp '2026-01-02')"
        )
        # As dbt writes it: the view names its table with the database's name.
        connection.execute(
            "create view core.fct_opens as select event_key, delivery_id from warehouse.core.fct_tracking_events"
        )
        connection.execute("create table meta.indicator_catalogue (name varchar)")
        connection.execute(f"""create table reports."{HOSTILE_TABLE.replace('"', '""')}" ("a ""b" varchar)""")
        for schema, name in publishing.relations(connection, "warehouse"):
            quoted = f"{schema}.{publishing.identifier(name)}"
            kind = "view" if name == "fct_opens" else "table"
            connection.execute(f"comment on {kind} {quoted} is {publishing.literal(HOSTILE_COMMENT)}")
            for column, *_ in connection.execute(f"describe {quoted}").fetchall():
                connection.execute(f"comment on column {quoted}.{publishing.identifier(column)} is 'What it is.'")
    return path


@pytest.fixture(scope="session")
def working_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_working_database(tmp_path_factory.mktemp("working") / "work" / "warehouse.duckdb")


@pytest.fixture
def working(working_template: Path, tmp_path: Path) -> Path:
    path = tmp_path / "work" / "warehouse.duckdb"
    path.parent.mkdir()
    shutil.copy(working_template, path)
    return path


def publish_one(working: Path, published: Path, run_id: str = "run-1", batch_id: int = 1) -> publishing.Publication:
    return publish(working, published, run_id=run_id, batch_id=batch_id, build_digest="digest")


@contextlib.contextmanager
def reading(path: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    with contextlib.closing(duckdb.connect(str(path.resolve()), read_only=True)) as connection:
        yield connection


def assert_whole(published: Path, run_id: str) -> None:
    """What readers see is one complete version of one run, and nothing half-made lies about after a clean run."""
    with reading(published / "marts.duckdb") as connection:
        assert connection.execute("select run_id from meta.publication").fetchall() == [(run_id,)]
        tables = connection.execute("select schema_name, table_name from duckdb_tables()").fetchall()
        for schema, name in tables:
            rows = connection.execute(
                f'select count(*) from {schema}."{name.replace(chr(34), chr(34) * 2)}"'
            ).fetchone()
            parquet = pq.read_metadata(published / "marts" / schema / f"{name}.parquet")
            assert rows == (parquet.num_rows,)
            assert parquet.metadata[b"run_id"] == run_id.encode()
    assert not list((published / "current").resolve().rglob("*.wal"))
    assert current(published).run_id == run_id


def test_everything_of_the_published_schemas_and_nothing_else(working, tmp_path):
    publication = publish_one(working, tmp_path / "published")
    assert publication.version == 1
    assert publication.tables == {
        "core.fct_opens": 1001,
        "core.fct_tracking_events": 1001,
        "meta.indicator_catalogue": 0,
        "meta.masked_columns": 0,
        "meta.publication": 1,
        "meta.restatements": 0,
        f"reports.{HOSTILE_TABLE}": 0,
    }
    assert_whole(tmp_path / "published", "run-1")
    with reading(tmp_path / "published" / "marts.duckdb") as connection:
        kinds = connection.execute("select count(*) from duckdb_views() where not internal").fetchone()
        assert kinds == (0,), "views are made tables: a published file needs no other file"
        schemas = connection.execute("select distinct schema_name from duckdb_tables() order by 1").fetchall()
        assert schemas == [("core",), ("meta",), ("reports",)]


def test_comments_come_along_to_the_letter(working, tmp_path):
    publish_one(working, tmp_path / "published")
    with reading(tmp_path / "published" / "marts.duckdb") as connection:
        comments = connection.execute(
            "select distinct comment from duckdb_tables() where table_name not in ('publication', 'restatements',"
            " 'masked_columns')"
        ).fetchall()
        assert comments == [(HOSTILE_COMMENT,)]
        assert connection.execute(
            "select count(*) from duckdb_columns() where not internal and comment is null"
        ).fetchone() == (0,)


def test_rows_are_sorted_for_lookups(working, tmp_path):
    publish_one(working, tmp_path / "published")
    expected = "select delivery_id, occurred_at from {0} order by delivery_id, occurred_at"
    with reading(tmp_path / "published" / "marts.duckdb") as connection:
        stored = connection.execute("select delivery_id, occurred_at from core.fct_tracking_events").fetchall()
        assert stored == connection.execute(expected.format("core.fct_tracking_events")).fetchall()


def test_data_reach_to_the_newest_event_whose_clock_can_be_right(working, tmp_path):
    publication = publish_one(working, tmp_path / "published")
    assert publication.data_through_at == datetime(2026, 1, 2)
    with reading(tmp_path / "published" / "marts.duckdb") as connection:
        row = connection.execute("select version, batch_id, data_through_at from meta.publication").fetchone()
    assert row == (1, 1, datetime(2026, 1, 2))


def test_an_old_client_can_read_the_file(working, tmp_path):
    publish_one(working, tmp_path / "published")
    with contextlib.closing(duckdb.connect()) as connection:
        connection.execute(f"attach '{(tmp_path / 'published/marts.duckdb').resolve()}' as marts (read_only)")
        (tags,) = connection.execute("select tags from duckdb_databases() where database_name = 'marts'").fetchone()
    assert tags["storage_version"].startswith("v1.0.0")


def test_a_version_is_read_only_and_links_are_relative(working, tmp_path):
    publish_one(working, tmp_path / "published")
    published = tmp_path / "published"
    assert (published / "marts.duckdb").resolve().stat().st_mode & 0o222 == 0
    links = {path.name: str(path.readlink()) for path in published.iterdir() if path.is_symlink()}
    assert links == {"current": "versions/000001", "marts.duckdb": "current/marts.duckdb", "marts": "current/marts"}
    published.rename(tmp_path / "moved")
    assert_whole(tmp_path / "moved", "run-1")


def test_versions_rise_and_the_last_three_stay(working, tmp_path):
    published = tmp_path / "published"
    versions = [publish_one(working, published, f"run-{n}").version for n in range(1, 6)]
    assert versions == [1, 2, 3, 4, 5]
    assert sorted(path.name for path in (published / "versions").iterdir()) == ["000003", "000004", "000005"]
    assert_whole(published, "run-5")


def test_a_reader_of_the_old_version_is_undisturbed(working, tmp_path):
    published = tmp_path / "published"
    publish_one(working, published)
    with reading(published / "marts.duckdb") as reader:
        before = reader.execute("select sum(hash(t)) from core.fct_tracking_events t").fetchone()
        with contextlib.closing(duckdb.connect(str(working))) as writer:
            writer.execute("delete from core.fct_tracking_events where delivery_id > 2")
        for n in range(2, 6):
            publish_one(working, published, f"run-{n}")
        assert reader.execute("select sum(hash(t)) from core.fct_tracking_events t").fetchone() == before
        assert reader.execute("select run_id from meta.publication").fetchone() == ("run-1",)
    assert_whole(published, "run-5")


def test_leftovers_of_a_killed_run_go(working, tmp_path):
    published = tmp_path / "published"
    publish_one(working, published)
    (published / "versions" / ".building-000002" / "marts").mkdir(parents=True)
    (published / ".link-current").symlink_to("nowhere")
    assert publish_one(working, published, "run-2").version == 2
    names = {path.name for path in [*published.iterdir(), *(published / "versions").iterdir()]}
    assert not any(name.startswith(".") for name in names)


def test_what_nobody_described_is_published_and_named(working, tmp_path):
    published = tmp_path / "published"
    with contextlib.closing(duckdb.connect(str(working))) as connection:
        connection.execute("create table reports.rpt_bare as select 1 as number")
    publish_one(working, published)
    assert publishing.undescribed(published / "marts.duckdb") == ["reports.rpt_bare", "reports.rpt_bare.number"]
    with reading(published / "marts.duckdb") as connection:
        bare = "select count(*) from duckdb_columns() where not internal and coalesce(comment, '') = ''"
        assert connection.execute(bare).fetchall() == [(0,)]


def test_an_empty_or_missing_working_database_is_a_clear_failure(tmp_path):
    with pytest.raises(PublishError, match=r"does not exist; nothing is published yet"):
        publish_one(tmp_path / "none.duckdb", tmp_path / "published")
    duckdb.connect(str(tmp_path / "empty.duckdb")).close()
    with pytest.raises(PublishError, match=r"run the models first"):
        publish_one(tmp_path / "empty.duckdb", tmp_path / "published")
    (tmp_path / "broken.duckdb").write_bytes(b"not a database" * 1000)
    with pytest.raises(PublishError, match=r"failed .*nothing is published yet"):
        publish_one(tmp_path / "broken.duckdb", tmp_path / "published")
    assert not (tmp_path / "published" / "current").exists()


def test_a_damaged_record_is_reported_not_overwritten(working, tmp_path):
    published = tmp_path / "published"
    publish_one(working, published)
    record = published / "current" / "publication.json"
    record.chmod(0o644)
    record.write_text(json.dumps({"version": 1}))
    with pytest.raises(PublishError, match="cannot be read"):
        publish_one(working, published, "run-2")


class Broken(OSError):
    """The injected fault."""


def test_a_failure_at_any_write_leaves_the_old_version(working, tmp_path, monkeypatch):
    """The n-th fsync, rename or link fails, for n = 1, 2, … until publishing gets through."""
    published = tmp_path / "published"
    publish_one(working, published, "run-old")
    calls = {"count": 0, "fail_at": 0}

    def counted(original):
        def call(*args, **kwargs):
            calls["count"] += 1
            if calls["count"] == calls["fail_at"]:
                raise Broken(f"injected into call {calls['count']}")
            return original(*args, **kwargs)

        return call

    monkeypatch.setattr(os, "fsync", counted(os.fsync))
    for name in ("rename", "replace", "symlink_to", "mkdir", "write_text", "chmod"):
        monkeypatch.setattr(Path, name, counted(getattr(Path, name)))
    failures = 0
    for fail_at in range(1, 200):
        calls.update(count=0, fail_at=fail_at)
        try:
            publish_one(working, published, f"run-{fail_at}")
        except PublishError as error:
            failures += 1
            assert "injected" in str(error)
            calls["fail_at"] = 0
            # The very last fsync comes after the swap: then the new version is there, whole.
            assert_whole(published, current(published).run_id)
            assert current(published).run_id in ("run-old", f"run-{fail_at}")
            assert not list((published / "versions").glob(".building*"))
        else:
            break
    assert calls["count"] < fail_at, "the last round ran without an injected fault"
    assert failures > 15
    assert_whole(published, f"run-{fail_at}")
