"""The ledger, and Dagster's runs, in one real PostgreSQL database (MTW_LEDGER_URL): the command line, other machines.

On small_project, as test_definitions: whose models they are does not matter here. How several processes take in at once
is in tests/faults/test_ingest_workers.py.
"""

import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

import pytest

from log_ingest.errors import IngestError
from log_ingest.ingest import ingest
from log_ingest.ledger_database import PostgresUrl, turn_to_take_in
from log_ingest.status import collect
from orchestration.doctor import diagnose
from orchestration.ingest_worker import take_turn
from orchestration.lock import PipelineLock, PipelineLocked
from orchestration.settings import Settings, SettingsError
from tests.conftest import mtw as mtw_of
from tests.integration.test_definitions import SMALL_PROJECT, write_log
from tests.postgres import Database, Server

PASSWORD = "c4nary p@ss/word"


def mtw(*arguments: str, root: Path, url: str, **settings: str) -> subprocess.CompletedProcess[str]:
    own = {"MTW_DBT_PROJECT_DIR": str(SMALL_PROJECT), "MTW_LEDGER_URL": url}
    return mtw_of(*arguments, landing=root / "landing", warehouse=root / "warehouse", settings=own | settings)


@pytest.fixture(scope="module")
def owned(postgres: Server) -> Database:
    return postgres.new_owned_database("ledger_owner", PASSWORD)


@pytest.fixture(scope="module")
def root(owned: Database, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A warehouse after its first run, made by the command line with two processes."""
    base = tmp_path_factory.mktemp("postgres-ledger")
    write_log(base / "landing", 0, 300)
    done = mtw("run", root=base, url=owned.url, MTW_INGEST_WORKERS="2")
    assert done.returncode == 0, done.stdout + done.stderr
    return base


@pytest.fixture
def settings(root: Path, owned: Database) -> Settings:
    return Settings(root / "landing", root / "warehouse", ledger_url=PostgresUrl(owned.url))


def test_a_run_keeps_ledger_and_history_in_the_database_and_in_no_file(root: Path, owned: Database) -> None:
    assert owned.query("select sum(accepted)::int from mtw_ledger.contents") == [(300,)]
    assert owned.query("select status, pipeline_name from public.runs") == [("SUCCESS", "pipeline")]
    assert [path.name for path in (root / "warehouse").rglob("*") if path.suffix in (".sqlite", ".db")] == []


def test_status_and_doctor_read_it(root: Path, settings: Settings) -> None:
    (found,) = [source for source in collect(settings.warehouse_dir, ledger_at=settings.ledger).sources if source.files]
    assert (found.source, found.accepted) == ("tracking_logs", 300)
    findings = {finding.topic: finding for finding in diagnose(settings)}
    assert [finding for finding in findings.values() if not finding.is_ok and finding.topic != "permissions"] == []
    assert "PostgreSQL, reachable" in findings["ledger's database"].text
    assert "whole, last batch" in findings["ledger"].text
    assert {"control totals", "landed files", "format"} <= set(findings)


def test_its_password_is_written_down_nowhere(root: Path, owned: Database) -> None:
    forms = [PASSWORD.encode(), quote(PASSWORD, safe="").encode()]
    files = [path for path in root.rglob("*") if path.is_file()]
    assert len(files) > 20
    assert [path for path in files if any(form in path.read_bytes() for form in forms)] == []
    other = owned.url.replace("c4nary", "wr0ng")
    of_dagster = {"run": {"MTW_DAGSTER_STORAGE_URL": "files"}}
    for command in ("run", "doctor", "ingest-worker"):
        done = mtw(command, root=root, url=other, **of_dagster.get(command, {}))
        said = done.stdout + done.stderr
        assert done.returncode == 1, said
        assert "password authentication failed" in " ".join(said.split()), said
        assert not any(form in said for form in ("wr0ng", "p@ss", "p%40ss")), said
        assert "Traceback" not in said, said
    assert "p%40ss" not in repr(Settings.load({"MTW_LEDGER_URL": owned.url}, dotenv=root / "none"))


def test_a_worker_takes_in_beside_runs_and_the_next_run_publishes_it(root: Path, owned: Database) -> None:
    write_log(root / "landing", 300, 100)
    elsewhere = {"MTW_WAREHOUSE_DIR": str(root / "other machine"), "MTW_LANDED_DIR": str(root / "warehouse/landed")}
    worked = mtw("ingest-worker", "--once", root=root, url=owned.url, **elsewhere)
    assert worked.returncode == 0, worked.stderr
    assert "tracking_logs: 1 new files, 100 lines: 100 accepted" in worked.stdout
    run = mtw("run", root=root, url=owned.url)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "are not published yet" in run.stdout


def test_a_pipeline_keeps_other_machines_out_and_workers_waiting(settings: Settings, tmp_path: Path) -> None:
    elsewhere = replace(settings, warehouse_dir=tmp_path, landed_override=settings.landed_dir)
    with PipelineLock.of(settings) as held, ThreadPoolExecutor() as pool:
        with pytest.raises(PipelineLocked, match="another machine"):
            PipelineLock.of(elsewhere).acquire()
        worker = pool.submit(take_turn, elsewhere)
        with pytest.raises(TimeoutError):
            worker.result(timeout=2)
        with held.workers_let_in():
            worker.result(timeout=60)
            with pytest.raises(PipelineLocked, match="another machine"):
                PipelineLock.of(elsewhere).acquire()
        worker = pool.submit(take_turn, elsewhere)
        with pytest.raises(TimeoutError):
            worker.result(timeout=2)
        held.release()
        worker.result(timeout=60)
    with PipelineLock.of(elsewhere):
        pass


def test_a_worker_gives_way_to_a_pipeline_between_its_files(settings: Settings) -> None:
    assert settings.ledger_url is not None
    lock = PipelineLock.of(settings)
    with ThreadPoolExecutor() as pool:
        with turn_to_take_in(settings.ledger_url) as is_waited_for:
            assert not is_waited_for()
            pipeline = pool.submit(lock.acquire)
            assert any(is_waited_for() or time.sleep(0.05) for _ in range(100))
            assert not pipeline.done()
        pipeline.result(timeout=10)
        lock.release()


def test_a_run_notices_before_it_publishes_that_the_server_has_forgotten_it(
    settings: Settings, postgres: Server
) -> None:
    lock = PipelineLock.of(settings)
    lock.acquire()
    try:
        lock.check()
        Database(postgres.port, "postgres").execute(
            "select pg_terminate_backend(pid) from pg_locks where locktype = 'advisory' and granted"
        )
        with pytest.raises(IngestError, match="MTW_LEDGER_URL"):
            lock.check()
    finally:
        lock.release()


def test_a_new_ledger_does_not_take_landed_rows_of_another_for_leftovers(settings: Settings, postgres: Server) -> None:
    assert isinstance(settings.landing_dir, Path)
    before = sorted((settings.warehouse_dir / "landed").rglob("*.parquet"))
    wrong = PostgresUrl(postgres.new_database().url)
    with pytest.raises(IngestError, match="belongs to another warehouse"):
        ingest(settings.landing_dir, settings.warehouse_dir, run_id="wrong", ledger_at=wrong)
    assert sorted((settings.warehouse_dir / "landed").rglob("*.parquet")) == before


def test_dagster_s_storage_follows_the_ledger_unless_something_else_is_said(tmp_path: Path) -> None:
    def storage(**given: str) -> str | None:
        settings = Settings.load(given, dotenv=tmp_path / "none")
        # Child processes see the same.
        seen = Settings.load(settings.environment(), dotenv=tmp_path / "none")
        assert (seen.ledger_url, seen.dagster_storage_url) == (settings.ledger_url, settings.dagster_storage_url)
        return settings.dagster_storage_url

    url = "postgresql://u:p%40@h:1/ledger?sslmode=require"
    assert storage() is None
    assert storage(MTW_LEDGER_URL=url) == "postgresql+psycopg2://u:p%40@h:1/ledger?sslmode=require"
    assert storage(MTW_LEDGER_URL=url, MTW_DAGSTER_STORAGE_URL="files") is None
    assert storage(MTW_LEDGER_URL=url, MTW_DAGSTER_STORAGE_URL="postgresql+psycopg2://h/d") == (
        "postgresql+psycopg2://h/d"
    )


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"MTW_LEDGER_URL": "secret"}, "MTW_LEDGER_URL is no PostgreSQL URL"),
        ({"MTW_LEDGER_URL": "postgresql://u:sec/ret@h/d"}, "MTW_LEDGER_URL cannot be read"),
        ({"MTW_INGEST_WORKERS": "2"}, "the ledger is a file"),
        ({"MTW_INGEST_WORKERS": "none"}, "MTW_INGEST_WORKERS is 'none'"),
    ],
)
def test_settings_that_cannot_be_used_are_one_line_without_secrets(
    given: dict[str, str], said: str, tmp_path: Path
) -> None:
    with pytest.raises(SettingsError, match=said) as caught:
        Settings.load(given, dotenv=tmp_path / "none")
    assert "secret" not in str(caught.value) and "sec/ret" not in str(caught.value)
