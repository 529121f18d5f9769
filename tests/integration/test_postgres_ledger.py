"""The ledger, and Dagster's runs, in one real PostgreSQL database (MTW_LEDGER_URL): the command line, other machines.

On small_project, as test_definitions: whose models they are does not matter here. How several processes take in at once
is in tests/faults/test_ingest_workers.py.
"""

import os
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

import pytest

from log_ingest.ledger import Ledger
from log_ingest.ledger_database import Gate, PostgresUrl
from orchestration.settings import Settings, SettingsError
from tests.integration.test_definitions import SMALL_PROJECT, write_log
from tests.postgres import Database, Server

PASSWORD = "c4nary p@ss/word"


def mtw(*arguments: str, root: Path, url: str, **settings: str) -> subprocess.CompletedProcess[str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("MTW_", "DAGSTER_"))}
    own = {
        "MTW_LANDING_DIR": str(root / "landing"),
        "MTW_WAREHOUSE_DIR": str(root / "warehouse"),
        "MTW_DBT_PROJECT_DIR": str(SMALL_PROJECT),
        "MTW_LEDGER_URL": url,
        "MTW_RETRY_SECONDS": "0",
        "COLUMNS": "160",
    }
    return subprocess.run(
        [str(Path(sys.executable).with_name("mtw")), *arguments],
        env=kept | own | settings, capture_output=True, text=True, cwd=root, timeout=300,
    )  # fmt: skip


@pytest.fixture(scope="module")
def owned(postgres: Server) -> Database:
    """A database of a user who is no superuser: what docs/deployment.md tells people to make."""
    admin = postgres.new_database()
    owner = admin.new_user("ledger_owner", PASSWORD)
    admin.execute(f"alter database {admin.name} owner to ledger_owner", "grant all on schema public to ledger_owner")
    return owner


@pytest.fixture(scope="module")
def root(owned: Database, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A warehouse after its first run, made by the command line with two processes."""
    base = tmp_path_factory.mktemp("postgres-ledger")
    write_log(base / "landing", 0, 300)
    done = mtw("run", root=base, url=owned.url, MTW_INGEST_WORKERS="2")
    assert done.returncode == 0, done.stdout + done.stderr
    return base


def test_a_run_keeps_ledger_and_history_in_the_database_and_in_no_file(root: Path, owned: Database) -> None:
    assert owned.query("select sum(accepted)::int from mtw_ledger.contents") == [(300,)]
    assert owned.query("select status, pipeline_name from public.runs") == [("SUCCESS", "pipeline")]
    assert [path.name for path in (root / "warehouse").rglob("*") if path.suffix in (".sqlite", ".db")] == []


def test_every_command_finds_the_ledger(root: Path, owned: Database) -> None:
    status = mtw("status", root=root, url=owned.url)
    assert "300" in status.stdout and status.returncode == 0, status.stderr
    doctor = mtw("doctor", root=root, url=owned.url)
    assert "PostgreSQL, reachable" in doctor.stdout and "every line taken in has one disposition" in doctor.stdout
    for command in (["verify"], ["quarantine", "replay"], ["quarantine", "list"], ["run"]):
        done = mtw(*command, root=root, url=owned.url)
        assert done.returncode == 0, (command, done.stdout + done.stderr)
    assert "nothing new" in done.stdout


def test_its_password_is_written_down_nowhere(root: Path, owned: Database) -> None:
    forms = [PASSWORD.encode(), quote(PASSWORD, safe="").encode()]
    files = [path for path in root.rglob("*") if path.is_file()]
    assert len(files) > 20
    assert [path for path in files if any(form in path.read_bytes() for form in forms)] == []
    other = owned.url.replace("c4nary", "wr0ng")
    for command in ("run", "status", "doctor", "ingest-worker"):
        for files_of_dagster in ({}, {"MTW_DAGSTER_STORAGE_URL": "files"}):
            done = mtw(command, root=root, url=other, **files_of_dagster)
            said = done.stdout + done.stderr
            assert done.returncode == 1, said
            assert "password authentication failed" in " ".join(said.split()), said
            assert not any(form in said for form in ("wr0ng", "p@ss", "p%40ss")), said
            assert "Traceback" not in said, said
    assert repr(PASSWORD) not in repr(Settings.load({"MTW_LEDGER_URL": owned.url}, dotenv=root / "none"))


def test_a_worker_takes_in_beside_runs_and_the_next_run_publishes_it(root: Path, owned: Database) -> None:
    write_log(root / "landing", 300, 100)
    elsewhere = {"MTW_WAREHOUSE_DIR": str(root / "other machine"), "MTW_LANDED_DIR": str(root / "warehouse/landed")}
    worked = mtw("ingest-worker", "--once", root=root, url=owned.url, **elsewhere)
    assert worked.returncode == 0, worked.stderr
    assert "tracking_logs: 1 new files, 100 lines: 100 accepted" in worked.stdout
    run = mtw("run", root=root, url=owned.url)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "are not published yet" in run.stdout


def test_a_pipeline_keeps_other_machines_out_and_workers_waiting(root: Path, owned: Database) -> None:
    gate = Gate(PostgresUrl(owned.url))
    assert gate.close_for_others()
    other = root / "third machine"
    landed = {"MTW_WAREHOUSE_DIR": str(other), "MTW_LANDED_DIR": str(root / "warehouse/landed")}
    try:
        for command in (["run"], ["erase", "--recipient", "5"], ["quarantine", "replay"]):
            done = mtw(*command, root=root, url=owned.url, **landed)
            assert done.returncode == 1
            assert "another machine" in done.stderr, done.stdout + done.stderr
        with pytest.raises(subprocess.TimeoutExpired):
            waiting(root, owned, timeout=4)
        with gate.open_for_workers():
            assert waiting(root, owned, timeout=60) == 0
            done = mtw("run", root=root, url=owned.url, **landed)
            assert "another machine" in done.stderr
        with pytest.raises(subprocess.TimeoutExpired):
            waiting(root, owned, timeout=4)
    finally:
        gate.release()
    assert waiting(root, owned, timeout=60) == 0


def waiting(root: Path, owned: Database, timeout: float) -> int:
    command = [str(Path(sys.executable).with_name("mtw")), "ingest-worker", "--once"]
    settings = {"MTW_LANDING_DIR": root / "landing", "MTW_WAREHOUSE_DIR": root / "warehouse"}
    environment = os.environ | {name: str(value) for name, value in settings.items()} | {"MTW_LEDGER_URL": owned.url}
    return subprocess.run(command, env=environment, cwd=root, timeout=timeout).returncode


def test_a_new_ledger_does_not_take_landed_rows_of_another_for_leftovers(
    root: Path, owned: Database, postgres: Server
) -> None:
    before = sorted((root / "warehouse/landed").rglob("*.parquet"))
    wrong = mtw("run", root=root, url=postgres.new_database().url, MTW_DAGSTER_STORAGE_URL="files")
    assert wrong.returncode == 1
    assert "belongs to another warehouse" in wrong.stderr
    assert sorted((root / "warehouse/landed").rglob("*.parquet")) == before
    with Ledger(PostgresUrl(owned.url), read_only=True) as ledger:
        assert len(ledger.parts()) == len([path for path in before if "=9223372036854775807" not in str(path)])


def test_dagster_s_storage_follows_the_ledger_unless_something_else_is_said(tmp_path: Path) -> None:
    def storage(**given: str) -> str | None:
        settings = Settings.load(given, dotenv=tmp_path / "none")
        # Child processes see the same.
        assert Settings.load(settings.environment(), dotenv=tmp_path / "none") == settings
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
