"""The PostgreSQL copy against a real server: same rows, one version at a time for every reader, whatever goes wrong.

Expected values are written down here or read from the published file by DuckDB; PostgreSQL is asked through psycopg,
SQLAlchemy, pandas and psql.
"""

import contextlib
import datetime as dt
import json
import shutil
import subprocess
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path

import dagster as dg
import duckdb
import pandas as pd
import psycopg
import pytest
import sqlalchemy
from sqlalchemy.pool import NullPool

from orchestration import postgres_copy
from orchestration.assets import postgres as asset
from orchestration.dbt import load_manifest
from orchestration.doctor import diagnose
from orchestration.links import Links
from orchestration.model_sql import primary_keys
from orchestration.postgres_copy import CopyError, CopyReport, copy_to_postgres, held_version
from orchestration.postgres_structure import Key
from orchestration.postgres_types import postgres_type
from orchestration.publication import current
from orchestration.publish import publish
from orchestration.reporting import RunReporter
from orchestration.settings import Settings
from tests.conftest import mtw
from tests.integration.test_definitions import SMALL_PROJECT, write_log
from tests.postgres import Database, Server, require

KEYS = {
    ("core", "events"): Key(("event_key",)),
    ("reports", "rpt_numbers"): Key(("delivery_id", "day")),
}
ROLE = "copy_reader"


class Warehouse:
    """A small working database and what is published of it."""

    def __init__(self, folder: Path) -> None:
        self.working, self.published = folder / "work" / "warehouse.duckdb", folder / "published"
        self.working.parent.mkdir(parents=True)
        self.version = 0
        self.change(
            "create schema core", "create schema reports", "create schema meta",
            "create table core.events as select 'key-' || range as event_key, range % 7 as delivery_id,"
            " 1 as version from range(1000)",
            "create table core.keyless as select range as number, 1 as version from range(50)",
            "create table core.still as select range as number from range(500)",
            "create table reports.rpt_numbers as select range as delivery_id, date '2026-01-01' as day, 1 as version"
            " from range(200)",
            "comment on table reports.rpt_numbers is 'It''s; -- 100% {quoted}'",
            "comment on column reports.rpt_numbers.day is 'Local day'",
        )  # fmt: skip

    def change(self, *statements: str) -> None:
        with contextlib.closing(duckdb.connect(str(self.working))) as connection:
            for statement in statements:
                connection.execute(statement)

    def publish(self, *statements: str) -> int:
        self.change(*statements)
        self.version += 1
        return publish(
            self.working, self.published, run_id=f"run-{self.version}", batch_id=self.version, build_digest="digest"
        ).version

    def copy(self, database: Database, keys: dict = KEYS, role: str = ROLE) -> CopyReport:
        return copy_to_postgres(database.url, self.published, keys=keys, role=role)

    def rows(self, table: str) -> list[tuple]:
        with contextlib.closing(duckdb.connect(str((self.published / "marts.duckdb").resolve()), read_only=True)) as db:
            return sorted(db.execute(f"select * from {table}").fetchall(), key=repr)


@pytest.fixture
def house(tmp_path: Path) -> Warehouse:
    return Warehouse(tmp_path)


def rows_of(database: Database, table: str) -> list[tuple]:
    return sorted(database.query(f"select * from {table}"), key=repr)


def assert_equal(house: Warehouse, database: Database) -> None:
    """Every published table is there, row for row."""
    with contextlib.closing(duckdb.connect(str((house.published / "marts.duckdb").resolve()), read_only=True)) as db:
        tables = [f"{schema}.{name}" for schema, name in db.execute(
            "select schema_name, table_name from duckdb_tables()").fetchall()]  # fmt: skip
    assert tables
    for table in tables:
        assert rows_of(database, table) == house.rows(table), table
    there = database.query(
        "select nspname || '.' || relname from pg_class join pg_namespace n on n.oid = relnamespace"
        " where relkind = 'r' and nspname in ('core', 'reports', 'meta', 'mtw_incoming')"
    )
    assert {name for (name,) in there} == {*tables, "meta.postgresql_copy"}
    assert database.query("select nspname from pg_namespace where nspname = 'mtw_incoming'") == []


def how(report: CopyReport) -> dict[str, str]:
    return {table.name: table.how for table in report.tables}


# -- what is in it


def test_the_demo_is_there_row_for_row_with_keys_comments_and_rights(demo, database, tmp_path):
    """Every table of the real project."""
    (manifest,) = (demo.warehouse / "work" / "dbt" / "parsed").glob("*/manifest.json")
    keys = primary_keys(load_manifest(manifest))
    # A copy: what the copy notes beside the published versions is none of the demo's business.
    published = tmp_path / "published"
    shutil.copytree(demo.warehouse / "published", published, symlinks=True)
    report = copy_to_postgres(database.url, published, keys=keys, role=ROLE)
    assert set(how(report).values()) == {"filled"}
    for table in report.tables:
        there = database.query(f"select * from {table.name}")
        here = demo.query(f"from {table.name}")
        assert sorted(map(repr, there)) == sorted(map(repr, here)), table.name
    bare = database.query(
        "select attrelid::regclass, attname from pg_attribute join pg_class c on c.oid = attrelid"
        " join pg_namespace n on n.oid = relnamespace where nspname in ('core', 'reports', 'meta') and relkind = 'r'"
        " and attnum > 0 and not attisdropped and coalesce(col_description(attrelid, attnum), '') = ''"
    )
    assert bare == []
    with_key = {
        name for (name,) in database.query("select conrelid::regclass::text from pg_constraint where contype = 'p'")
    }
    every = {table.name for table in report.tables}
    assert every - with_key == {
        *("meta.check_results", "meta.column_lineage", "meta.machine_rules", "meta.masked_columns")
    }, "no test says what tells their rows apart"
    indexed = {row[0] for row in database.query("select indexdef from pg_indexes where tablename = 'fct_opens'")}
    for column in ("event_key", "delivery_id", "recipient_id", "message_id", "occurred_at"):
        assert any(f"({column})" in definition for definition in indexed), column
    reader = database.new_user("demo_reader", "pw")
    database.execute(f"grant {ROLE} to demo_reader")
    assert reader.query("select count(*) from reports.rpt_tracking_indicators") == demo.query(
        "select count(*) from reports.rpt_tracking_indicators"
    )
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        reader.execute("delete from reports.rpt_tracking_indicators")
    database.execute("drop owned by demo_reader", "drop user demo_reader")


HOSTILE = "tab\t newline\nreturn\r backslash\\ \\N \\.\n\\.\n quote'\" é 漢 \U0001f600 \u202e"


def test_every_type_keeps_its_value(house, database):
    house.publish(
        "create table reports.types as select true as a_boolean, 7::tinyint as a_tinyint, "
        " (-32768)::smallint as a_smallint,"
        " 2147483647 as an_integer, (-9223372036854775808)::bigint as a_bigint,"
        " 170141183460469231731687303715884105727::hugeint as a_hugeint, 255::utinyint as a_utinyint,"
        " 65535::usmallint as a_usmallint, 4294967295::uinteger as a_uinteger,"
        " 18446744073709551615::ubigint as a_ubigint,"
        " 0.1::float as a_float, 0.1::double as a_double, 'infinity'::double as an_infinity, 'nan'::double as a_nan,"
        " 12345678901234567890.1234::decimal(38,4) as a_decimal, date '2026-02-28' as a_date,"
        " timestamp '2026-02-28 23:59:59.999999' as a_timestamp, time '23:59:59.5' as a_time,"
        " timestamp_ns '2026-02-28 01:02:03.123456789' as a_timestamp_ns,"
        " interval '1 month 2 days 3 seconds' as an_interval,"
        " '5f6a1d2e-0000-4000-8000-000000000001'::uuid as a_uuid, 'a\\x00\\xFFb'::blob as a_blob,"
        " ['x', null, 'ta\tb'] as a_list, {'k': 1, 'l': [1.5]} as a_struct, map {'m': 2} as a_map,"
        " 'on'::enum('on', 'off') as an_enum, 'nul' || chr(0) || 'nul' as a_nul, '' as an_empty,"
        " null::varchar as a_null",
        "create table reports.ancient as select timestamp '0044-03-15 12:00:00' - interval 87 year as at,"
        " date '0001-01-01' - 1 as \"on\"",
        f"create table reports.hostile as select $${HOSTILE}$$ as text",
    )  # fmt: skip
    house.copy(database)
    with database.connect() as connection:
        cursor = connection.execute("select * from reports.types")
        found = dict(zip((column.name for column in cursor.description), cursor.fetchone(), strict=True))
    nan = found.pop("a_nan")
    assert nan != nan
    assert found.pop("an_infinity") == float("inf")
    assert found == {
        "a_boolean": True, "a_tinyint": 7, "a_smallint": -32768, "an_integer": 2147483647,
        "a_bigint": -9223372036854775808, "a_hugeint": Decimal(170141183460469231731687303715884105727),
        "a_utinyint": 255, "a_usmallint": 65535, "a_uinteger": 4294967295, "a_ubigint": Decimal(18446744073709551615),
        "a_float": 0.1, "a_double": 0.1, "a_decimal": Decimal("12345678901234567890.1234"),
        "a_date": dt.date(2026, 2, 28), "a_timestamp": dt.datetime(2026, 2, 28, 23, 59, 59, 999999),
        "a_time": dt.time(23, 59, 59, 500000), "a_timestamp_ns": dt.datetime(2026, 2, 28, 1, 2, 3, 123457),
        "an_interval": dt.timedelta(days=32, seconds=3), "a_uuid": uuid.UUID("5f6a1d2e-0000-4000-8000-000000000001"),
        "a_blob": b"a\x00\xffb", "a_list": ["x", None, "ta\tb"], "a_struct": {"k": 1, "l": [1.5]}, "a_map": {"m": 2},
        "an_enum": "on", "a_nul": "nul\ufffdnul", "an_empty": "", "a_null": None,
    }  # fmt: skip
    assert database.query("select text from reports.hostile") == [(HOSTILE,)]
    assert database.query('select at::text, "on"::text from reports.ancient') == [
        ("0044-03-15 12:00:00 BC", "0001-12-31 BC")
    ]
    told = database.query(
        "select col_description('reports.types'::regclass, attnum) from pg_attribute"
        " where attrelid = 'reports.types'::regclass and attname in ('a_list', 'an_enum') order by attnum"
    )
    assert [text.rpartition("(")[2] for (text,) in told] == ["DuckDB type: VARCHAR[].)", "DuckDB type: ENUM.)"]


def test_a_type_without_counterpart_is_text():
    assert postgres_type("GEOMETRY") == "text"
    assert postgres_type("DECIMAL(18,4)") == "numeric(18,4)"
    assert postgres_type("STRUCT(a INTEGER)[]") == "json"


# -- what a further version costs


def test_only_what_changed_is_written(house, database):
    house.publish()
    assert set(how(house.copy(database)).values()) == {"filled"}
    stamp = "select xmin::text::bigint, event_key from core.events"
    before = {key: xmin for xmin, key in database.query(stamp)}
    still = database.query("select distinct xmin::text from core.still")

    house.publish(
        "update core.events set delivery_id = 99 where event_key in ('key-1', 'key-2')",
        "delete from core.events where event_key = 'key-3'",
        "insert into core.events values ('key-new', 5, 2)",
        "update core.keyless set version = 2 where number = 1",
    )
    report = house.copy(database)
    assert (report.former_version, report.version) == (1, 2)
    tables = {table.name: table for table in report.tables}
    events = tables["core.events"]
    assert (events.how, events.inserted, events.deleted, events.rows) == ("changed", 3, 3, 1000)
    assert tables["core.keyless"].how == "filled", "without a key there is no telling its rows apart"
    assert tables["core.still"].how == tables["reports.rpt_numbers"].how == "unchanged"
    assert_equal(house, database)
    after = {key: xmin for xmin, key in database.query(stamp)}
    assert {key for key, xmin in after.items() if before.get(key) != xmin} == {"key-1", "key-2", "key-new"}
    assert database.query("select distinct xmin::text from core.still") == still
    changed = dict(database.query("select table_name, changed_in_version from meta.postgresql_copy"))
    assert (changed["still"], changed["events"], changed["keyless"]) == (1, 2, 2)


def test_the_same_version_again_writes_no_row(house, database):
    house.publish()
    house.copy(database)
    report = house.copy(database)
    assert set(how(report).values()) == {"unchanged"}
    assert report.rows_written == 0


@pytest.mark.parametrize("damage", ["delete from core.still where number < 9", "delete from core.events"
                                    " where event_key = 'key-1'", "delete from meta.publication"])  # fmt: skip
def test_rows_that_others_changed_are_brought_back(house, database, damage):
    house.publish()
    house.copy(database)
    database.execute(damage)
    house.publish("update core.events set delivery_id = 99 where event_key = 'key-1'")
    house.copy(database)
    assert_equal(house, database)


def test_a_version_that_is_no_longer_kept_is_no_base(house, database):
    house.publish()
    house.copy(database)
    for n in range(2, 7):
        house.publish(f"update core.still set number = number + {n}")
    assert not (house.published / "versions" / "000001").exists()
    report = house.copy(database)
    assert (report.former_version, report.version) == (1, 6)
    assert set(how(report).values()) == {"filled"}
    assert_equal(house, database)


def test_another_warehouse_that_began_anew_is_no_base(house, database, tmp_path):
    """Version 1 of another run is another version 1."""
    house.publish()
    house.copy(database)
    other = Warehouse(tmp_path / "other")
    other.version = 41
    other.publish("delete from core.still where number % 2 = 0", "insert into core.still from range(1000, 1250)")
    other.copy(database)
    assert_equal(other, database)


# -- structure


def test_what_others_made_of_the_tables_stays(house, database):
    """A view, a grant and an index of a BI team outlive new rows and a new column."""
    house.publish()
    house.copy(database)
    database.execute(
        "create schema team",
        "create view team.totals as select delivery_id, sum(version) as total from reports.rpt_numbers group by 1",
        "create index of_the_team on reports.rpt_numbers (version)",
        "create role team_reader",
        "grant select on reports.rpt_numbers to team_reader",
        f"revoke select on core.still from {ROLE}",
    )
    house.publish(
        "alter table reports.rpt_numbers add column more varchar default 'x'",
        "update reports.rpt_numbers set version = 2",
    )
    house.copy(database)
    assert_equal(house, database)
    assert database.query("select sum(total) from team.totals") == [(400,)]
    assert database.query("select has_table_privilege('team_reader', 'reports.rpt_numbers', 'select')") == [(True,)]
    assert database.query("select 1 from pg_indexes where indexname = 'of_the_team'") == [(1,)]
    assert database.query(f"select has_table_privilege('{ROLE}', 'core.still', 'select')") == [(False,)], "as revoked"
    house.copy(database, role="another_reader")
    assert database.query("select has_table_privilege('another_reader', 'core.still', 'select')") == [(True,)]
    database.execute("drop owned by another_reader", "drop role another_reader")
    database.execute("drop owned by team_reader", "drop role team_reader")


def test_changed_columns_keys_and_tables_follow(house, database):
    house.publish()
    house.copy(database)
    house.publish(
        "drop table core.keyless",
        "alter table core.still alter number type varchar",
        "create table reports.fresh as select 1 as delivery_id, timestamp '2026-01-01' as occurred_at",
    )
    keys = {**KEYS, ("reports", "rpt_numbers"): Key(("delivery_id",))}
    report = house.copy(database, keys)
    assert report.dropped == ["core.keyless"]
    assert how(report)["reports.rpt_numbers"] == "filled"
    assert_equal(house, database)
    assert database.query("select count(*) from core.still where number = '7'") == [(1,)]
    assert database.query(
        "select pg_get_constraintdef(oid) from pg_constraint where conrelid = 'reports.rpt_numbers'::regclass"
    ) == [("PRIMARY KEY (delivery_id)",)]
    for table in ("reports.fresh", "core.still"):
        assert database.query(f"select has_table_privilege('{ROLE}', '{table}', 'select')") == [(True,)], table


def test_a_key_that_may_be_null_is_unique_all_the_same(house, database):
    house.publish("insert into reports.rpt_numbers values (null, null, 1)")
    house.copy(database, {("reports", "rpt_numbers"): Key(("delivery_id", "day"), is_never_null=False)})
    house.publish("update reports.rpt_numbers set version = 5 where delivery_id is null")
    house.copy(database, {("reports", "rpt_numbers"): Key(("delivery_id", "day"), is_never_null=False)})
    assert_equal(house, database)
    with pytest.raises(psycopg.errors.UniqueViolation):
        database.execute("insert into reports.rpt_numbers values (7, '2026-01-01', 1)")


def test_a_view_in_the_way_of_a_changed_column_is_named_and_nothing_happens(house, database):
    house.publish()
    house.copy(database)
    before = rows_of(database, "core.still")
    database.execute("create view public.theirs as select number from core.still")
    house.publish("alter table core.still alter number type varchar", "update core.events set version = 2")
    with pytest.raises(CopyError, match=r"view theirs depends on table core\.still") as caught:
        house.copy(database)
    assert "\n" not in str(caught.value)
    assert rows_of(database, "core.still") == before
    assert held_version(database.url) == 1
    database.execute("drop view public.theirs")
    house.copy(database)
    assert_equal(house, database)


def test_a_reader_in_the_way_of_a_changed_column_is_waited_for_not_killed(house, database, monkeypatch):
    monkeypatch.setattr("orchestration.postgres_structure.LOCK_SECONDS", 1)
    house.publish()
    house.copy(database)
    with psycopg.connect(database.url) as reader:
        reader.execute("select count(*) from core.still")
        house.publish("alter table core.still alter number type varchar")
        with pytest.raises(CopyError, match="a reader has held it"):
            house.copy(database)
        assert reader.execute("select count(*) from core.still").fetchone() == (500,)
    house.copy(database)
    assert_equal(house, database)


def test_tables_of_others_are_never_touched(house, database):
    database.execute(
        "create schema core", "create table core.still (theirs text)", "insert into core.still values ('x')"
    )
    house.publish()
    with pytest.raises(CopyError, match=r"has a table core\.still of its own; name a database for the copy alone"):
        house.copy(database)
    assert database.query("select * from core.still") == [("x",)]
    assert database.query("select count(*) from pg_namespace where nspname in ('reports', 'meta')") == [(0,)]


def test_a_role_that_cannot_be_made_is_told(house, database):
    owner = database.new_user("plain_owner", "pw")
    database.execute(f"grant create on database {database.name} to plain_owner")
    house.publish()
    report = house.copy(owner, role="nobody_there")
    assert "the role nobody_there does not exist" in report.notes[0]
    assert_equal(house, database)
    database.execute("drop owned by plain_owner", "drop user plain_owner")


# -- readers

TWENTY = 20
VERSION_OF_EVERY_TABLE = """
    select
        (select min(version) from core.events) as oldest_event,
        (select max(version) from core.events) as newest_event,
        (select count(*) from core.events) - 1000 as more_events,
        (select min(version) from core.keyless) as keyless,
        (select max(version) from reports.rpt_numbers) as numbers,
        (select version from meta.publication) as publication
"""


class Readers:
    """Threads that ask on and on, and keep the versions that each saw, and what went wrong."""

    def __init__(self) -> None:
        self.seen: dict[str, list[int]] = {}
        self.wrong: list[str] = []
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []

    def start(self, name: str, ask: Callable[[], tuple]) -> None:
        """ask: returns numbers that have to be one version."""
        self.seen[name] = []

        def work() -> None:
            while not self._stop.is_set():
                try:
                    answer = ask()
                except Exception as error:  # any error of a reader is what this is about
                    self.wrong.append(f"{name}: {type(error).__name__}: {error}")
                    return
                if len({int(number) for number in answer}) != 1:
                    self.wrong.append(f"{name} saw versions {answer}")
                self.seen[name].append(int(answer[0]))
                time.sleep(0.01)  # two cores also publish

        self._threads.append(threading.Thread(target=work, name=name))
        self._threads[-1].start()

    def wait_for(self, version: int) -> None:
        """Until every reader has seen a version, or one has failed."""
        deadline = time.monotonic() + 60
        while not self.wrong and any(not seen or seen[-1] < version for seen in self.seen.values()):
            assert time.monotonic() < deadline, {name: seen[-1:] for name, seen in self.seen.items()}
            time.sleep(0.005)

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(60)


def test_readers_see_whole_versions_during_twenty_publications(house, database):
    """Seven clients ask without a pause while twenty versions are published and copied."""
    require(shutil.which("psql") is not None, "no psql: apt-get install postgresql-client")
    assert house.publish() == 1
    house.copy(database)
    url = sqlalchemy.make_url(database.url).set(drivername="postgresql+psycopg")
    pooled = sqlalchemy.create_engine(url)
    unpooled = sqlalchemy.create_engine(url, poolclass=NullPool)
    everything = VERSION_OF_EVERY_TABLE.strip()

    def numbers(row: tuple) -> tuple:
        """more_events is one less than the version."""
        return (*row[:2], row[2] + 1, *row[3:])

    def through_sqlalchemy() -> tuple:
        with pooled.connect() as connection:
            return numbers(tuple(connection.execute(sqlalchemy.text(everything)).one()))

    def through_pandas() -> tuple:
        with unpooled.connect() as connection:
            return numbers(tuple(pd.read_sql(sqlalchemy.text(everything), connection).iloc[0]))

    def through_psql() -> tuple:
        done = subprocess.run(
            ["psql", "-X", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-c", everything, database.url],
            capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return numbers(tuple(int(part) for part in done.stdout.strip().split("|")))

    repeatable = psycopg.connect(database.url)
    repeatable.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ

    def in_one_transaction() -> tuple:
        """Each table by a query of its own, as a dashboard asks, with time in between for a commit."""
        with repeatable.transaction():
            found = []
            for query in ("min(version) from core.events", "count(*) - 999 from core.events",
                          "max(version) from core.keyless", "version from meta.publication"):  # fmt: skip
                found.append(repeatable.execute(f"select {query}").fetchone()[0])
                time.sleep(0.02)
            return tuple(found)

    marts = house.published / "marts.duckdb"

    def from_the_file() -> tuple:
        with contextlib.closing(duckdb.connect(str(marts.resolve()), read_only=True)) as connection:
            first = connection.execute(everything).fetchone()
            time.sleep(0.02)
            assert connection.execute(everything).fetchone() == first, "an open file is one version"
            return numbers(first)

    held = duckdb.connect(str(marts.resolve()), read_only=True)

    def from_parquet() -> tuple:
        folder = (house.published / "current" / "marts").resolve()
        return tuple(
            pd.read_parquet(folder / f"{name}.parquet", columns=["version"])["version"].max()
            for name in ("core/keyless", "reports/rpt_numbers", "meta/publication")
        )

    readers = Readers()
    try:
        for name, ask in (
            ("SQLAlchemy", through_sqlalchemy), ("pandas", through_pandas), ("psql", through_psql),
            ("one transaction", in_one_transaction), ("DuckDB file", from_the_file), ("Parquet", from_parquet),
        ):  # fmt: skip
            readers.start(name, ask)
        for version in range(2, TWENTY + 2):
            published = house.publish(
                f"update core.events set version = {version}",
                f"insert into core.events values ('more-{version}', 1, {version})",
                f"update core.keyless set version = {version}",
                f"update reports.rpt_numbers set version = {version} where delivery_id < 20",
            )
            assert published == version
            report = house.copy(database)
            assert (report.former_version, report.version) == (version - 1, version)
            if version % 5 == 0:
                readers.wait_for(version)
        readers.wait_for(TWENTY + 1)
    finally:
        readers.stop()
        repeatable.close()
        pooled.dispose()
        unpooled.dispose()
    assert readers.wrong == []
    assert numbers(held.execute(everything).fetchone()) == (1,) * 6, "held open since version 1"
    held.close()
    for name, seen in readers.seen.items():
        assert seen == sorted(seen), f"{name} went back in time"
        assert len(set(seen)) > 4, (name, sorted(set(seen)))
    assert_equal(house, database)


# -- what goes wrong


def test_a_server_that_goes_away_in_the_middle_leaves_the_old_version(house, database, monkeypatch):
    house.publish()
    house.copy(database)
    tables = ("core.events", "core.keyless", "meta.publication")
    before = {table: rows_of(database, table) for table in tables}
    house.publish("update core.events set version = 2", "update core.keyless set version = 2")
    original = postgres_copy._Copy._check

    def cut(self, table, schema, rows):
        original(self, table, schema, rows)
        if table.name == "keyless":
            database.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity"
                " where application_name = 'message-tracking-warehouse' and datname = current_database()"
            )

    monkeypatch.setattr(postgres_copy._Copy, "_check", cut)
    with pytest.raises(CopyError, match="the next run catches up") as caught:
        house.copy(database)
    assert "\n" not in str(caught.value)
    assert {table: rows_of(database, table) for table in before} == before
    assert current(house.published).version == 2, "the file is published"
    assert postgres_copy.is_behind(database.url, house.published, current(house.published))
    monkeypatch.undo()
    house.copy(database)
    assert_equal(house, database)
    assert not postgres_copy.is_behind(database.url, house.published, current(house.published))
    elsewhere = Database(database.port, "postgres")
    assert postgres_copy.is_behind(elsewhere.url, house.published, current(house.published))


def test_two_copies_at_once_do_not_mix(house, database):
    house.publish()
    with psycopg.connect(database.url) as other:
        other.execute("select pg_advisory_xact_lock(%s)", [postgres_copy._ADVISORY_LOCK])
        with pytest.raises(CopyError, match="another copy into that database is under way"):
            house.copy(database)
    house.copy(database)
    assert_equal(house, database)


SECRET = "hunter2&%/?#@ s3cret"


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("mysql://u:hunter2@h/d", "MTW_PUBLISH_URL is no PostgreSQL URL"),
        ("postgresql://u:hunter2/x@h/d", "special characters of the password as %XX"),
        ("postgresql://u:hunter2@127.0.0.1:1/d", "check that the server is up"),
        ("postgresql://u:hunter2@h:port/d", "MTW_PUBLISH_URL cannot be read"),
    ],
)
def test_a_url_that_leads_nowhere_is_told_without_its_secrets(house, url, says):
    house.publish()
    with pytest.raises(CopyError, match="the PostgreSQL copy was not made") as caught:
        copy_to_postgres(url, house.published, keys={}, role=ROLE)
    text = str(caught.value)
    assert says in text
    assert "hunter2" not in text and "\n" not in text
    assert caught.value.__cause__ is None


def test_a_database_in_another_encoding_is_refused(house, postgres: Server):
    latin = postgres.new_database(options="encoding 'LATIN1' template template0")
    house.publish()
    with pytest.raises(CopyError, match="is encoded in LATIN1; make one with encoding UTF8"):
        house.copy(latin)


def test_a_name_too_long_for_postgresql_is_refused(house, database):
    house.publish(f"create table reports.{'é' * 32} as select 1 as number")
    with pytest.raises(CopyError, match="longer than the 63 bytes"):
        house.copy(database)


def test_nothing_published_is_told(database, tmp_path):
    with pytest.raises(CopyError, match="nothing is published yet"):
        copy_to_postgres(database.url, tmp_path, keys={}, role=ROLE)


# -- as a step of the pipeline


@pytest.fixture
def owner(database: Database) -> Iterator[Database]:
    user = database.new_user("copy_owner", SECRET)
    database.execute(f"grant create on database {database.name} to copy_owner", "alter role copy_owner createrole")
    yield user
    database.execute("drop owned by copy_owner", "drop user copy_owner")


def test_a_run_copies_and_one_that_cannot_fails_but_publishes(owner, landing, warehouse):
    """Unreachable at first, then reachable with nothing new: exit codes, what is published, what is told and hidden."""
    wrong = Database(owner.port, owner.name, owner.user, "not " + SECRET)
    write_log(landing, 0, 200)

    def command(database: Database, *arguments: str) -> subprocess.CompletedProcess[str]:
        settings = {
            "MTW_PUBLISH_URL": database.url, "MTW_PUBLISH_ROLE": ROLE, "MTW_DBT_PROJECT_DIR": str(SMALL_PROJECT),
        }  # fmt: skip
        return mtw(*arguments, landing=landing, warehouse=warehouse, settings=settings)

    refused = command(wrong, "run")
    assert refused.returncode == 1, refused.stdout
    assert current(warehouse / "published").version == 1
    (line,) = refused.stderr.strip().splitlines()
    assert line.startswith("mtw: the PostgreSQL copy was not made: password authentication failed")
    assert "Version 000001 is published as a file all the same" in line
    settings = Settings(landing, warehouse, publish_url=wrong.url)
    told = [finding for finding in diagnose(settings) if finding.topic == "PostgreSQL copy"]
    assert [(finding.is_ok, "check user and password" in finding.text) for finding in told] == [(False, True)]

    done = command(owner, "run")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "the PostgreSQL copy does not hold version 000001 yet" in done.stdout
    assert current(warehouse / "published").version == 1, "the same version, not one more"
    assert owner.query("select version from meta.publication") == [(1,)]
    assert owner.query("select count(*) from core.fct_tracking_events") == [(200,)]
    assert "version 000001" in command(owner, "status").stdout.split("PostgreSQL copy")[1]

    again = command(owner, "run")
    assert again.returncode == 0 and "nothing new" in again.stdout

    outputs = [part for result in (refused, done, again) for part in (result.stdout, result.stderr)]
    outputs.append(told[0].text)
    files = [path for path in warehouse.rglob("*") if path.is_file() and not path.is_symlink()]
    assert any(path.suffix == ".db" for path in files), "Dagster's event log is among them"
    for secret in {SECRET, owner.url, owner.url.split("@")[0].rpartition(":")[2], "not " + SECRET}:
        assert all(secret not in output for output in outputs)
        for path in files:
            assert secret.encode() not in path.read_bytes(), path


def test_the_step_shows_what_it_did(house, database, monkeypatch, tmp_path):
    """The asset's metadata, without running the pipeline before it."""
    house.publish()
    manifest = tmp_path / "manifest.json"
    manifest.write_text(json.dumps({"nodes": {}}))
    settings = Settings(tmp_path, tmp_path, publish_url=database.url, publish_role=ROLE)
    links = Links("http://127.0.0.1:8501")
    monkeypatch.setattr(Settings, "published_dir", house.published)
    definition = asset.build_copy_asset(settings, manifest, links)
    result = dg.materialize(
        [definition, dg.AssetSpec(["published", "marts"])],
        instance=dg.DagsterInstance.ephemeral(),
        resources={"pipeline_lock": None, "reporter": RunReporter()},
    )
    (event,) = result.asset_materializations_for_node("published__postgresql")
    assert (
        event.metadata["rows_written"].value == event.metadata["dagster/row_count"].value == 1000 + 50 + 500 + 200 + 1
    )
    assert event.metadata["version"].value == "000001"
    assert event.metadata["seconds"].value > 0
    assert "rpt\\_numbers" in event.metadata["tables"].value
    assert asset.build_copy_asset(Settings(tmp_path, tmp_path), manifest, links) is None
