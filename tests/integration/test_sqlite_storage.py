"""Dagster's event log over connections that stay open: what is stored is seen, at once, by whoever else reads it."""

import threading
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.storage.event_log.sqlite.sqlite_event_log import SqliteEventLogStorage
from dagster._core.storage.sqlite_storage import DagsterSqliteStorage

from orchestration.home import prepare_dagster_home
from orchestration.settings import Settings
from orchestration.sqlite_storage import KeptOpenEventLog

RUNS = 6


@dg.asset
def thing() -> dg.MaterializeResult:
    return dg.MaterializeResult(metadata={"rows": 3})


@dg.asset_check(asset=thing)
def thing_is_right() -> dg.AssetCheckResult:
    return dg.AssetCheckResult(passed=True)


JOB = dg.Definitions(assets=[thing], asset_checks=[thing_is_right], jobs=[dg.define_asset_job("all_of_it")])


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    home = prepare_dagster_home(Settings(tmp_path / "landing", tmp_path / "warehouse"))
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    return home


def events_of(storage: SqliteEventLogStorage, run_id: str) -> list[tuple[str, str]]:
    return [(entry.dagster_event_type.value, entry.message) for entry in storage.get_logs_for_run(run_id)]


def test_events_are_stored_as_dagsters_own_class_stores_them_and_told_while_the_run_lasts(home: Path) -> None:
    told: list[str] = []
    ended = threading.Event()

    def tell(entry: dg.EventLogEntry, _cursor: str) -> None:
        told.append(entry.dagster_event.event_type_value)
        if told[-1] == "PIPELINE_SUCCESS":
            ended.set()

    with dg.DagsterInstance.get() as instance, dg.DagsterInstance.get() as onlooker:
        storage = instance.event_log_storage
        assert isinstance(storage, KeptOpenEventLog)
        run_id = "11111111-2222-3333-4444-555555555555"
        onlooker.event_log_storage.watch(run_id, None, tell)
        job = JOB.resolve_job_def("all_of_it")
        runs = [job.execute_in_process(instance=instance, run_id=run_id)]
        # Files are still open here, so that nothing but their logs has grown.
        assert ended.wait(30), told
        runs += [job.execute_in_process(instance=instance) for _ in range(RUNS - 1)]
        assert len(storage._engines) <= 4 < RUNS
        # Of a run whose file was closed meanwhile, and of the newest one.
        plain = DagsterSqliteStorage.from_local(str(home))
        plain.register_instance(instance)
        for run in (runs[0], runs[-1]):
            seen = events_of(plain.event_log_storage, run.run_id)
            assert seen == events_of(storage, run.run_id)
            assert {"ASSET_MATERIALIZATION", "ASSET_CHECK_EVALUATION", "PIPELINE_SUCCESS"} <= {kind for kind, _ in seen}
        key = dg.AssetKey("thing")
        assert len(plain.event_log_storage.fetch_materializations(key, limit=100).records) == RUNS
        latest = onlooker.get_latest_materialization_event(key)
        assert latest is not None
        assert latest.run_id == runs[-1].run_id
    assert not list(home.glob("history/runs/*-wal")), "closed files have no log beside them"
