"""Publishing: whole and verified, atomic under every failure, harmless to readers, tidy."""

import contextlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from pathlib import Path

import duckdb
import pyarrow.parquet as pq
import pytest

from orchestration import publish as publishing
from orchestration import published_tables, row_changes
from orchestration.publication import PublishError, current
from orchestration.publish import publish
from orchestration.published_tables import PublishedTables, undescribed
from orchestration.row_changes import RowWise
from orchestration.write_version import MOST_ADDED

HOSTILE_TABLE = 'odd "name"; drop table x'
HOSTILE_COMMENT = "It's 'quoted'; -- and\nof two lines"


def make_working_database(path: Path, events: int = 1000) -> Path:
    """A small working database: a table, a view on it, a seed, hostile names, and a schema that stays private."""
    path.parent.mkdir(parents=True)
    with contextlib.closing(duckdb.connect(str(path))) as connection:
        connection.execute("create schema core; create schema reports; create schema meta; create schema state")
        connection.execute("create table state.model_marks as select 'int_events' as model, 1::bigint as rebuilt_run")
        connection.execute("create table state.run_window as select 1::bigint as run_number, 'one' as invocation_id")
        connection.execute("create table state.runs as from state.run_window")
        connection.execute("create table state.rewritten_rows (model varchar, row_key varchar, run_number bigint)")
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


FOLLOWED = [
    RowWise(("core", name), "event_key", {"int_events": "event_key"}) for name in ("fct_tracking_events", "fct_opens")
]
"""What is published by changed rows, of that database."""


def change_rows(working: Path) -> None:
    """A further run, as the models log it: half of the rows go, some others come, one is another."""
    with contextlib.closing(duckdb.connect(str(working))) as connection:
        connection.execute("update state.run_window set run_number = run_number + 1, invocation_id = uuid()")
        connection.execute("insert into state.runs from state.run_window")
        log = "insert into state.rewritten_rows select 'int_events', event_key::varchar, run_number from {}, state.runs"
        log += " where run_number = (select max(run_number) from state.runs)"
        connection.execute(log.format("core.fct_tracking_events") + " and delivery_id > 4")
        connection.execute("delete from core.fct_tracking_events where delivery_id > 4 and event_key % 2 = 0")
        connection.execute("update core.fct_tracking_events set delivery_id = 77 where delivery_id = 9")
        connection.execute(
            "insert into core.fct_tracking_events select hash(uuid()), 5, moment, moment"
            " from (select timestamp '2026-01-03' as moment from range(10))"
        )
        connection.execute(log.format("core.fct_tracking_events") + " and occurred_at = timestamp '2026-01-03'")


def publish_one(
    working: Path, published: Path, run_id: str = "run-1", batch_id: int = 1, row_wise: Sequence[RowWise] = ()
) -> publishing.Publication:
    return publish(working, published, run_id=run_id, batch_id=batch_id, build_digest="digest", row_wise=row_wise)


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
            path = published / "marts" / schema / f"{name}.parquet"
            parquet = pq.read_metadata(path)
            assert rows == (parquet.num_rows,)
            place = f'{schema}."{name.replace(chr(34), chr(34) * 2)}"'
            for one, other in ((place, "read_parquet($1)"), ("read_parquet($1)", place)):
                assert not connection.execute(f"from {one} except all from {other}", [str(path)]).fetchall()
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


def held_by(published: Path) -> dict[str, list[tuple]]:
    with reading(published / "marts.duckdb") as connection:
        return {
            name: connection.execute(f"select * from core.{name} order by all").fetchall()
            for name in ("fct_tracking_events", "fct_opens")
        }


@pytest.fixture
def adding(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """By changed rows, however many; in Parquet, too. The files that were made of others."""
    monkeypatch.setattr(row_changes, "MOST", 2)
    monkeypatch.setattr(published_tables, "MOST_WRITTEN_ANEW", 1)
    monkeypatch.setattr(published_tables, "LEAST_LIVE", 0)
    made, splice = [], published_tables.splice

    def noted(base: Path, *others: object) -> None:
        splice(base, *others)
        made.append(base.stem)

    monkeypatch.setattr(published_tables, "splice", noted)
    return made


def test_a_version_is_made_of_the_one_before_and_of_what_changed(working, tmp_path, adding):
    published = tmp_path / "published"
    publish_one(working, published, row_wise=FOLLOWED)
    with reading(published / "marts.duckdb") as held:
        was = held.execute("select count(*), sum(delivery_id) from core.fct_tracking_events").fetchall()
        for at in range(2, 5):
            change_rows(working)
            assert publish_one(working, published, f"run-{at}", row_wise=FOLLOWED).added == at - 1
            assert_whole(published, f"run-{at}")
            assert adding == ["fct_opens", "fct_tracking_events"] * (at - 1)
            publish_one(working, tmp_path / f"whole-{at}")
            assert held_by(published) == held_by(tmp_path / f"whole-{at}")
        assert held.execute("select count(*), sum(delivery_id) from core.fct_tracking_events").fetchall() == was
    assert len(held_by(published)["fct_opens"]) not in (0, 1001)


def in_a_copy_that_went_another_way(working: Path, published: Path) -> None:
    with contextlib.closing(duckdb.connect(str(working))) as connection:
        connection.execute("update state.runs set invocation_id = 'another' where run_number = 1")


def with_models_made_anew(working: Path, published: Path) -> None:
    with contextlib.closing(duckdb.connect(str(working))) as connection:
        connection.execute("update state.model_marks set rebuilt_run = 2")


def with_rows_that_escaped_the_log(working: Path, published: Path) -> None:
    with contextlib.closing(duckdb.connect(str(working))) as connection:
        connection.execute("delete from core.fct_tracking_events where delivery_id = 1")


def after_enough_versions(working: Path, published: Path) -> None:
    path = (published / "current").resolve() / "publication.json"
    path.chmod(0o600)
    path.write_text(json.dumps(json.loads(path.read_text()) | {"added": MOST_ADDED}))


@pytest.mark.parametrize(
    "what",
    [
        in_a_copy_that_went_another_way,
        with_models_made_anew,
        with_rows_that_escaped_the_log,
        after_enough_versions,
    ],
    ids=lambda what: what.__name__,
)
def test_all_is_copied(
    working: Path,
    tmp_path: Path,
    adding: list[str],
    what: Callable[[Path, Path], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where changed rows would not do, or nobody knows which they are."""
    published = tmp_path / "published"
    publish_one(working, published, row_wise=FOLLOWED)
    change_rows(working)
    what(working, published)
    publication = publish_one(working, published, "run-2", row_wise=FOLLOWED)
    # Of what escaped the log nobody knows before its rows have been counted.
    assert publication.added == (what is with_rows_that_escaped_the_log)
    assert_whole(published, "run-2")
    publish_one(working, tmp_path / "whole")
    assert held_by(published) == held_by(tmp_path / "whole")


@pytest.mark.parametrize(("limit", "value"), [("MOST_WRITTEN_ANEW", 0.5), ("LEAST_LIVE", 0.6)])
def test_where_little_of_a_file_would_stay_all_rows_are_written(working, tmp_path, adding, monkeypatch, limit, value):
    """The one row group of each holds changed rows."""
    monkeypatch.setattr(published_tables, limit, value)
    published = tmp_path / "published"
    publish_one(working, published, row_wise=FOLLOWED)
    change_rows(working)
    assert publish_one(working, published, "run-2", row_wise=FOLLOWED).added == 1
    assert_whole(published, "run-2")
    assert adding == []


@pytest.mark.parametrize("part", [0.02, 0.5, 0.9, 0.97, 0.99])
def test_a_parquet_file_that_rots_is_written_anew(working, tmp_path, adding, part):
    """DuckDB looks at no checksum in it."""
    published = tmp_path / "published"
    publish_one(working, published, row_wise=FOLLOWED)
    change_rows(working)
    path = (published / "marts/core/fct_opens.parquet").resolve()
    path.chmod(0o600)
    with path.open("r+b") as file:
        file.seek(int(path.stat().st_size * part))
        file.write(b"rot" * 5)
    assert publish_one(working, published, "run-2", row_wise=FOLLOWED).added == 1
    assert_whole(published, "run-2")
    assert adding == ["fct_tracking_events"]


def test_a_published_file_that_changed_since_is_no_ground_to_build_on(working, tmp_path, adding):
    published = tmp_path / "published"
    publish_one(working, published, row_wise=FOLLOWED)
    change_rows(working)
    path = (published / "marts.duckdb").resolve()
    path.chmod(0o600)
    with contextlib.closing(duckdb.connect(str(path))) as connection:
        connection.execute("update core.fct_opens set delivery_id = 4711 where delivery_id = 1")
    assert publish_one(working, published, "run-2", row_wise=FOLLOWED).added == 0
    assert_whole(published, "run-2")
    publish_one(working, tmp_path / "whole")
    assert held_by(published) == held_by(tmp_path / "whole")


def test_a_file_that_rots_is_not_handed_on(working, tmp_path, adding):
    """What changed is found by reading it, and DuckDB checks what it reads; so does whoever copies it."""
    published = tmp_path / "published"
    publish_one(working, published, row_wise=FOLLOWED)
    change_rows(working)
    publish_one(working, published, "run-2", row_wise=FOLLOWED)
    change_rows(working)
    path = (published / "marts.duckdb").resolve()
    path.chmod(0o600)
    with path.open("r+b") as file:
        # Behind the headers, which opening reads.
        for at in range(20_000, path.stat().st_size, 4_096):
            file.seek(at)
            file.write(b"rot")
    with pytest.raises(PublishError, match=r"checksum|orrupt"):
        publish_one(working, published, "run-3", row_wise=FOLLOWED)
    assert current(published).run_id == "run-2"
    # As the runbook says: an older version is pointed at, and it goes on from there.
    (published / "current").unlink()
    (published / "current").symlink_to("versions/000001")
    publish_one(working, published, "run-3", row_wise=FOLLOWED)
    publish_one(working, tmp_path / "whole")
    assert held_by(published) == held_by(tmp_path / "whole")


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


@pytest.mark.parametrize("most", [1, 90, 101, 900])
def test_many_rows_are_sorted_range_by_range(working, tmp_path, monkeypatch, most):
    """A relation with more deliveries than ranges, fewer, one much larger than the others, and rows of none."""
    with contextlib.closing(duckdb.connect(str(working))) as connection:
        connection.execute("insert into core.fct_tracking_events by name from core.fct_tracking_events limit 7")
        connection.execute("update core.fct_tracking_events set delivery_id = null where delivery_id = 7")
        connection.execute("update core.fct_tracking_events set delivery_id = 1 where delivery_id > 3")
    monkeypatch.setattr(published_tables, "SORTED_AT_ONCE", most)
    ranges, found = PublishedTables._ranges, {}
    monkeypatch.setattr(
        PublishedTables, "_ranges", lambda self, table, names: found.setdefault(table, ranges(self, table, names))
    )
    publish_one(working, tmp_path / "published")
    assert len(found["core", "fct_tracking_events"]) > 1
    with reading(tmp_path / "published" / "marts.duckdb") as connection:
        connection.execute(f"attach '{working}' as working (read_only)")
        sql = "select delivery_id, occurred_at from core.fct_tracking_events"
        sorted_sql = "select delivery_id, occurred_at from working.core.fct_tracking_events order by all"
        assert connection.execute(sql).fetchall() == connection.execute(sorted_sql).fetchall()
        both = "from core.fct_tracking_events except all from working.core.fct_tracking_events"
        assert connection.execute(both).fetchall() == []


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
    assert undescribed(published / "marts.duckdb") == ["reports.rpt_bare", "reports.rpt_bare.number"]
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
