"""Whole pipeline runs on small_project: killed at any phase, two at once, without space, with a damaged cache. What is
published stays whole, the next run proceeds by itself, and no secret of the settings is in anything that was written.
"""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import duckdb
import pytest
from dagster import DagsterRunStatus

from log_ingest.ingest import LEDGER_NAME
from log_ingest.ledger import Ledger
from orchestration import build_state
from orchestration.bounded import remove_spilled
from orchestration.lock import holder
from orchestration.publication import current
from orchestration.resources import POOL
from orchestration.settings import Settings
from tests.faults.publish_child import publish_once
from tests.faults.test_ingest_faults import small_disk
from tests.faults.test_publish_faults import EVERY_POINT
from tests.faults.trials import KILLED, Server, served
from tests.integration.test_definitions import SMALL_PROJECT, write_log
from tests.integration.test_publish import assert_whole, make_working_database
from tests.invariants import assert_accounted
from tests.ownbytes import places_of
from tests.postgres import Database

MOMENTS = (
    *("dbt at work", "before the build is recorded", "after the build is recorded", "before the swap"),
    *("after the swap", "before the copy"),
)
"""Of run_child, which is not imported: it would load Dagster and Great Expectations a second time."""

CANARIES = ("canary-publish-4711", "canary-reference-4712", "canary-s3-4713", "canary-token-4714")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    errors = tmp_path_factory.mktemp("server") / "stderr"
    with errors.open("w") as stream:
        kept = os.dup(2)
        os.dup2(stream.fileno(), 2)
        try:
            with served("tests.faults.run_child") as found:
                os.dup2(kept, 2)
                yield found
        finally:
            os.close(kept)
    text = errors.read_text()
    assert not [canary for canary in CANARIES if canary in text]


class House:
    """A folder with a landing folder, a project and a warehouse; lines arrive with consecutive pointers."""

    def __init__(self, root: Path, server: Server | None, secrets: dict[str, str] | None = None) -> None:
        """server: None where nobody calls run."""
        self.root, self.server, self.secrets = root, server, secrets or {}
        self.landing, self.warehouse = root / "landing", root / "warehouse"
        self.lines = 0
        if not (root / "project").exists():
            shutil.copytree(SMALL_PROJECT, root / "project")

    def arrive(self, count: int = 20) -> None:
        write_log(self.landing, self.lines, count)
        self.lines += count

    @property
    def places(self) -> dict[str, str]:
        return {
            "MTW_LANDING_DIR": str(self.landing), "MTW_WAREHOUSE_DIR": str(self.warehouse),
            "MTW_DBT_PROJECT_DIR": str(self.root / "project"),
        }  # fmt: skip

    def run(self, moment: str = "none", **environment: str) -> int:
        outcome = self.root / "outcome"
        for path in self.root.glob("outcome*"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        assert self.server is not None
        return self.server(
            moment,
            outcome,
            *(f"{name}={value}" for name, value in {**self.places, **self.secrets, **environment}.items()),
        )

    def failure(self, of: str = "") -> str:
        """The line that the last run failed with."""
        found = json.loads((self.root / f"outcome{of}").read_text())
        assert not found["success"]
        assert "\n" not in found["failure"]
        return found["failure"]

    @property
    def published(self) -> Path:
        return self.warehouse / "published"

    def counted(self) -> int:
        with duckdb.connect(str((self.published / "marts.duckdb").resolve()), read_only=True) as con:
            return con.execute("select count(*) from core.fct_tracking_events").fetchall()[0][0]

    def clicks(self) -> list[tuple]:
        with duckdb.connect(str((self.published / "marts.duckdb").resolve()), read_only=True) as con:
            return con.execute(
                "select delivery_id, total_click_count from reports.rpt_tracking_indicators order by 1"
            ).fetchall()

    def expected_clicks(self) -> list[tuple]:
        """By how write_log and tracking_line choose URL and delivery from the pointer."""
        clicks = [pointer % 2 + 1 for pointer in range(self.lines) if pointer % 3]
        return [(delivery, clicks.count(delivery)) for delivery in (1, 2)]

    def assert_sound(self) -> None:
        """What holds whatever happened: the published version is whole, the ledger and what landed agree."""
        assert_whole(self.published, current(self.published).run_id)
        with Ledger(self.warehouse / LEDGER_NAME, read_only=True) as ledger:
            assert ledger.is_whole() and ledger.unbalanced() == []
        assert holder(self.warehouse / "run.lock") is None


def test_killed_at_phases_and_short_of_memory_with_secrets_all_around(
    server: Server, tmp_path: Path, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    password, reference, s3, token = CANARIES
    database.execute(f"create user canary superuser password '{password}'")
    url = f"postgresql://canary:{password}@127.0.0.1:{database.port}/{database.name}"
    house = House(
        tmp_path, server,
        {
            "MTW_PUBLISH_URL": url, "MTW_REFERENCE_URL": f"postgresql://someone:{reference}@127.0.0.1:1/none",
            "AWS_SECRET_ACCESS_KEY": s3, "AWS_SESSION_TOKEN": token,
        },
    )  # fmt: skip
    house.arrive()
    assert house.run() == 0
    house.assert_sound()
    moments = MOMENTS if EVERY_POINT else ["dbt at work", "before the copy"]
    for moment in moments:
        had = house.counted()
        house.arrive()
        assert house.run(moment) == KILLED, moment
        house.assert_sound()
        assert house.counted() == (house.lines if moment in ("after the swap", "before the copy") else had), moment
        ((held,),) = database.query("select count(*) from core.fct_tracking_events")
        assert held == had or moment == "before the copy", moment
    had = house.counted()
    house.arrive()
    assert house.run(MTW_MEMORY_LIMIT="1MB") == 1
    assert "Out of Memory" in house.failure() and "raise MTW_MEMORY_LIMIT" in house.failure()
    house.assert_sound()
    assert house.counted() == had
    house.arrive()
    assert house.run() == 0
    house.assert_sound()
    assert_accounted(house.warehouse)
    assert house.counted() == house.lines
    assert database.query("select count(*) from core.fct_tracking_events") == [(house.lines,)]
    assert not [path.name for path in (house.warehouse / "work").glob("mtw-copy-*")], "left by the killed copy"
    # The runs whose processes died are known as failed, and hold nothing.
    monkeypatch.setenv("DAGSTER_HOME", str(house.warehouse / "dagster"))
    with dg.DagsterInstance.get() as instance:
        runs = [run.status for run in instance.get_runs()]
        assert runs.count(DagsterRunStatus.FAILURE) == len(moments) + 1
        assert runs.count(DagsterRunStatus.SUCCESS) == 2
        assert instance.event_log_storage.get_concurrency_info(POOL).active_slot_count == 0
    assert house.clicks() == house.expected_clicks()
    assert places_of(house.root, CANARIES) == []


def test_two_schedulers_at_once(server: Server, tmp_path: Path) -> None:
    house = House(tmp_path, server)
    house.arrive()
    assert house.run("race") == 1, "one ran, one did not"
    (loser,) = [name for name in "ab" if not json.loads((tmp_path / f"outcome-{name}").read_text())["success"]]
    assert "locked by pid " in house.failure(f"-{loser}") and " since 20" in house.failure(f"-{loser}")
    house.assert_sound()
    assert (house.counted(), current(house.published).version) == (20, 1)
    assert_accounted(house.warehouse)


def test_a_full_disk_while_models_are_built(server: Server, tmp_path: Path) -> None:
    """The working database's file system is full; the ledger, Dagster's records and what is published are elsewhere."""
    house = House(tmp_path, server)
    work = house.warehouse / "work"
    house.warehouse.mkdir()
    with small_disk(work, "12m"):
        house.arrive()
        assert house.run() == 0
        house.arrive()
        ballast = work / "ballast"
        with ballast.open("wb") as stream:
            os.posix_fallocate(stream.fileno(), 0, shutil.disk_usage(work).free - 100_000)
        assert house.run() == 1
        assert "space" in house.failure()
        house.assert_sound()
        assert house.counted() == 20
        ballast.unlink()
        assert house.run() == 0
        house.assert_sound()
        assert house.clicks() == house.expected_clicks()


def test_a_rotten_block_of_the_working_database_is_found_after_a_failure(tmp_path: Path) -> None:
    settings = Settings(tmp_path / "landing", tmp_path / "warehouse")
    make_working_database(settings.working_database, events=200_000)
    publish_once(settings.working_database, settings.published_dir, "run-1")
    build_state.record_build(settings, build_state.Build("digest", "hidden", 2, "run-1"))
    assert build_state.discard_unreadable_database(settings) is False
    whole = settings.working_database.read_bytes()
    rotten = bytearray(whole)
    middle = len(whole) // 2
    rotten[middle : middle + 64] = bytes(byte ^ 0xFF for byte in rotten[middle : middle + 64])
    settings.working_database.write_bytes(rotten)
    # All is well as far as the last run knows: reading every block before every run would cost too much.
    assert build_state.discard_unreadable_database(settings) is False
    build_state.forget_build(settings)
    settings.working_database.write_bytes(whole)
    assert build_state.discard_unreadable_database(settings) is False
    settings.working_database.write_bytes(rotten)
    assert build_state.discard_unreadable_database(settings) is True
    assert not settings.working_database.exists()


SPILLING = """
import duckdb, sys
connection = duckdb.connect(sys.argv[1])
connection.execute("set memory_limit = '100MB'")
connection.execute("set enable_progress_bar = false")
connection.execute("create temp table t as select md5(range::varchar) as a, range as b from range(50000000) order by a")
"""


def test_what_a_killed_process_had_put_on_disk_goes_and_what_a_living_one_has_stays(tmp_path: Path) -> None:
    settings = Settings(tmp_path / "landing", tmp_path / "warehouse")
    settings.working_database.parent.mkdir(parents=True)
    databases = [settings.working_database, settings.working_database.with_name("other.duckdb")]
    killed, living = [subprocess.Popen([sys.executable, "-c", SPILLING, str(path)]) for path in databases]
    try:
        for each in (killed, living):
            while not _spilled_by(settings, each.pid):
                assert each.poll() is None
                time.sleep(0.05)
        killed.kill()
        killed.wait()
        assert _spilled_by(settings, killed.pid)
        remove_spilled(settings)
        assert not _spilled_by(settings, killed.pid)
        assert _spilled_by(settings, living.pid)
    finally:
        living.kill()
        living.wait()
    remove_spilled(settings)
    assert sorted(path.name for path in settings.working_database.parent.iterdir()) == [
        "other.duckdb",
        "warehouse.duckdb",
    ]


def _spilled_by(settings: Settings, pid: int) -> list[Path]:
    return list(settings.working_database.parent.rglob(f"duckdb_temp_{pid}_*_storage_*"))


def test_a_cut_write_ahead_log_costs_commits_and_their_marks_together(tmp_path: Path) -> None:
    """DuckDB opens it without a word, with commits missing: what is left has to be a state that once was."""
    path = tmp_path / "cut.duckdb"
    with contextlib.closing(duckdb.connect(str(path))) as con:
        con.execute("pragma disable_checkpoint_on_shutdown")
        con.execute("set checkpoint_threshold = '1GB'")
        con.execute("create table rows_of_model (batch bigint); create table mark (batch bigint)")
        for batch in range(40):
            # As a model's build does: rows and mark in one transaction.
            con.execute(
                f"begin; insert into rows_of_model select {batch} from range(50); delete from mark;"
                f" insert into mark values ({batch}); commit"
            )
    log = path.with_name(path.name + ".wal")
    data = log.read_bytes()
    lost = 0
    for share in (0.2, 0.5, 0.8, 0.95):
        copy = tmp_path / f"{share}.duckdb"
        shutil.copy(path, copy)
        copy.with_name(copy.name + ".wal").write_bytes(data[: int(len(data) * share)])
        with contextlib.closing(duckdb.connect(str(copy))) as con:
            newest, marked, rows = con.execute(
                "select max(batch), (select max(batch) from mark), count(*) from rows_of_model"
            ).fetchall()[0]
        assert newest == marked and rows == 50 * (marked + 1)
        lost += marked < 39
    assert lost >= 3
