"""Dagster's records of runs: bounded, and no run hangs or shows a traceback because of them."""

import json
import os
import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import dagster as dg
import pytest
from dagster import DagsterRunStatus
from sqlalchemy.exc import OperationalError

from log_ingest.ledger_database import Gate, PostgresUrl
from orchestration import outcome, pipeline, run_records
from orchestration.dbt import failure
from orchestration.home import prepare_dagster_home
from orchestration.lock import PipelineLock
from orchestration.pipeline import RecordsError
from orchestration.reporting import RunReporter
from orchestration.resources import POOL, fail_dead_runs
from orchestration.run_records import HOLDER_TAG, forget_old_runs
from orchestration.settings import Settings, SettingsError
from tests.postgres import Server


@dg.op
def nothing() -> None:
    pass


@dg.job
def pipeline_job() -> None:
    nothing()


@pytest.fixture
def settings(tmp_path: Path) -> Iterator[Settings]:
    """A run exports its settings; they must not reach other tests."""
    before = dict(os.environ)
    found = Settings(tmp_path / "landing", tmp_path / "warehouse", kept_runs=3)
    os.environ["DAGSTER_HOME"] = str(prepare_dagster_home(found))
    yield found
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture
def instance(settings: Settings) -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.get() as found:
        yield found


def test_old_runs_leave_nothing_and_new_ones_all(
    settings: Settings, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran = [pipeline_job.execute_in_process(instance=instance).run_id for _ in range(6)]
    going_on = instance.create_run_for_job(pipeline_job, status=DagsterRunStatus.STARTED)
    index = settings.dagster_home / "history" / "runs" / "index.db"
    with sqlite3.connect(index) as db:
        for run_id in ran:
            db.execute("insert into asset_check_executions (asset_key, run_id) values ('x', ?)", [run_id])
    monkeypatch.setattr(run_records, "AT_ONCE", 2)
    assert forget_old_runs(settings, instance) == ran[:2], "the oldest first, not all at once"
    assert forget_old_runs(settings, instance) == ran[2:3]
    assert forget_old_runs(settings, instance) == []
    assert {run.run_id for run in instance.get_runs()} == {*ran[3:], going_on.run_id}
    names = "\n".join(str(path) for path in settings.dagster_home.rglob("*"))
    for run_id in ran:
        assert (run_id in names) == (run_id in ran[3:])
    with sqlite3.connect(index) as db:
        assert {run_id for (run_id,) in db.execute("select run_id from asset_check_executions")} == set(ran[3:])
        assert not db.execute("select 1 from event_logs where run_id = ?", [ran[0]]).fetchall()
    assert instance.all_logs(ran[-1])


def test_what_another_warehouse_has_in_the_same_storage_is_left_alone(
    settings: Settings, instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    other = replace(settings, warehouse_dir=tmp_path / "other")
    shared = replace(settings, dagster_storage_url="postgresql://dagster@db/dagster", kept_runs=1)
    ours, theirs = (
        [pipeline_job.execute_in_process(instance=instance, tags={HOLDER_TAG: who.lock_name}).run_id for _ in range(3)]
        for who in (settings, other)
    )
    assert forget_old_runs(shared, instance) == ours[:2]
    alive = instance.create_run_for_job(
        pipeline_job, tags={HOLDER_TAG: other.lock_name}, status=DagsterRunStatus.STARTED
    )
    storage = instance.event_log_storage
    storage.initialize_concurrency_limit_to_default(POOL)
    storage.claim_concurrency_slot(POOL, alive.run_id, "models")
    assert fail_dead_runs(shared, instance) == []
    assert storage.get_concurrency_info(POOL).active_run_ids == {alive.run_id}
    assert {run.run_id for run in instance.get_runs()} == {ours[2], *theirs, alive.run_id}


def test_a_run_of_another_machine_on_the_same_ledger_is_not_taken_for_dead(
    settings: Settings, instance: dg.DagsterInstance, postgres: Server
) -> None:
    """Its machine calls the warehouse's folder the same, and its kernel lock is not seen here."""
    place = PostgresUrl(postgres.new_database().url)
    here = replace(settings, ledger_url=place)
    alive = instance.create_run_for_job(
        pipeline_job, tags={HOLDER_TAG: here.lock_name}, status=DagsterRunStatus.STARTED
    )
    there = Gate(place)
    assert there.close_for_others()
    assert fail_dead_runs(here, instance) == []
    assert fail_dead_runs(replace(here, ledger_url=PostgresUrl("postgresql://nobody@127.0.0.1:1/none")), instance) == []
    there.release()
    assert fail_dead_runs(here, instance) == [alive.run_id]


def test_a_run_that_ended_without_giving_back_its_slot_holds_up_nobody(
    settings: Settings, instance: dg.DagsterInstance
) -> None:
    """As one does that meets a full disk: Dagster would wait for its slot for ever, with the lock held."""
    ended = instance.create_run_for_job(pipeline_job, status=DagsterRunStatus.FAILURE)
    storage = instance.event_log_storage
    storage.initialize_concurrency_limit_to_default(POOL)
    storage.claim_concurrency_slot(POOL, ended.run_id, "models")
    with PipelineLock(settings.lock_path):
        assert fail_dead_runs(settings, instance) == []
        assert storage.get_concurrency_info(POOL).active_slot_count == 1, "its process may be alive"
    fail_dead_runs(settings, instance)
    assert storage.get_concurrency_info(POOL).active_slot_count == 0


def test_records_that_cannot_be_written_are_one_line(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object, **keywords: object) -> None:
        raise OperationalError("insert …", {}, sqlite3.OperationalError("database or disk is full"))

    monkeypatch.setattr(pipeline, "build_defs", full)
    with pytest.raises(
        RecordsError, match=r"dagster cannot be used \(database or disk is full\); free space"
    ) as failed:
        pipeline.run_pipeline(settings, RunReporter())
    assert "\n" not in str(failed.value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[Errno 28] No space left on device", "free space, then run again"),
        ("Out of Memory Error: could not allocate block", "raise MTW_MEMORY_LIMIT, then run again"),
        ("dbt model x failed: Binder Error", "Binder Error"),
    ],
)
def test_what_a_machine_lacks_is_said_with_what_to_do(text: str, says: str) -> None:
    assert outcome._line(text).startswith(text) and outcome._line(text).endswith(says)


def test_numbers_of_what_is_kept() -> None:
    nowhere = Path("/nowhere")
    assert Settings.load({}, dotenv=nowhere).kept_runs == 200
    assert Settings.load({"MTW_KEPT_RUNS": "0", "MTW_KEPT_VERSIONS": "1"}, dotenv=nowhere).kept_versions == 1
    for name, text in (("MTW_KEPT_RUNS", "-1"), ("MTW_KEPT_VERSIONS", "0"), ("MTW_KEPT_VERSIONS", "many")):
        with pytest.raises(SettingsError, match=name):
            Settings.load({name: text}, dotenv=nowhere)


def test_what_dbt_wrote_before_it_died_is_told_in_words(tmp_path: Path) -> None:
    lines = [
        {"info": {"level": "debug", "msg": "running with args warn_error: False"}, "data": {"warn_error": "x"}},
        {"info": {"level": "error", "msg": "Runtime Error: it cannot go on"}},
    ]
    (tmp_path / "dbt.log").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert failure(tmp_path).startswith("dbt stopped: Runtime Error: it cannot go on; the whole log is ")
