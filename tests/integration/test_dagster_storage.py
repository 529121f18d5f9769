"""Dagster's runs and events in a real PostgreSQL: a run by hand, what it leaves where, what an erasure does.

On small_project, as test_definitions: whose models they are does not matter here.
"""

import os
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

import pytest
import yaml

from log_ingest.subject import Identifiers
from orchestration.home import SHIPPED, prepare_dagster_home
from orchestration.privacy import _clean_logs
from orchestration.settings import Settings, SettingsError
from tests.integration.test_definitions import SMALL_PROJECT, write_log
from tests.postgres import Database, Server

PASSWORD = "c4nary p@ss/word"
VISITOR = "e5155671-4ab7-4ce4-a763-3b82dda6d881"
"""Of every line that write_log writes."""


def storage_url(database: Database, password: str | None = None) -> str:
    secret = quote(database.password if password is None else password, safe="")
    return f"postgresql+psycopg2://{database.user}:{secret}@127.0.0.1:{database.port}/{database.name}"


def mtw(*arguments: str, root: Path, url: str) -> subprocess.CompletedProcess[str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("MTW_", "DAGSTER_"))}
    own = {
        "MTW_LANDING_DIR": str(root / "landing"),
        "MTW_WAREHOUSE_DIR": str(root / "warehouse"),
        "MTW_DBT_PROJECT_DIR": str(SMALL_PROJECT),
        "MTW_DAGSTER_STORAGE_URL": url,
        "COLUMNS": "160",
    }
    return subprocess.run(
        [str(Path(sys.executable).with_name("mtw")), *arguments],
        env=kept | own, capture_output=True, text=True, cwd=root, timeout=300,
    )  # fmt: skip


@pytest.fixture(scope="module")
def owned(postgres: Server) -> Database:
    return postgres.new_owned_database("dagster_owner", PASSWORD)


@pytest.fixture(scope="module")
def root(owned: Database, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A warehouse after its first run, made by the command line. Tests must not change it."""
    base = tmp_path_factory.mktemp("dagster-storage")
    write_log(base / "landing", 0, 300)
    done = mtw("run", root=base, url=storage_url(owned))
    assert done.returncode == 0, done.stdout + done.stderr
    return base


def test_a_run_is_recorded_in_postgresql_and_nowhere_else(root: Path, owned: Database) -> None:
    runs = owned.query("select run_id, status, pipeline_name from runs")
    assert [row[1:] for row in runs] == [("SUCCESS", "pipeline")]
    run_id = runs[0][0]
    kinds = {row[0] for row in owned.query(f"select dagster_event_type from event_logs where run_id = '{run_id}'")}
    assert {"PIPELINE_START", "ASSET_MATERIALIZATION", "ASSET_CHECK_EVALUATION", "PIPELINE_SUCCESS"} <= kinds
    status = mtw("status", root=root, url=storage_url(owned))
    assert status.returncode == 0, status.stderr
    assert f"({run_id})" in status.stdout
    home = root / "warehouse" / "dagster"
    assert [path.name for path in home.rglob("*.db")] == []
    found = yaml.safe_load((home / "dagster.yaml").read_text())
    assert found.pop("storage") == {"postgres": {"postgres_url": {"env": "MTW_DAGSTER_STORAGE_URL"}}}
    assert found == yaml.safe_load(SHIPPED.read_text())


def test_its_password_is_written_down_nowhere(root: Path, owned: Database) -> None:
    forms = [PASSWORD.encode(), quote(PASSWORD, safe="").encode()]
    files = [path for path in root.rglob("*") if path.is_file()]
    assert len(files) > 20
    assert [path for path in files if any(form in path.read_bytes() for form in forms)] == []
    wrong = mtw("status", root=root, url=storage_url(owned, PASSWORD + "!"))
    assert "password authentication failed" in " ".join(wrong.stdout.split())
    assert not any(form.decode() in wrong.stdout + wrong.stderr for form in forms)


def test_an_erasure_reaches_what_dagster_keeps(root: Path, owned: Database) -> None:
    """Events quote rows where something failed: here one does, and its neighbour tells of somebody else."""
    (event,) = owned.query("select event from event_logs order by id limit 1")[0]
    owned.execute(
        "create table quoted (id int primary key, body text, data jsonb, short varchar(10))",
        f"insert into quoted values (1, 'visitor {VISITOR.upper()} failed', '{{\"v\": \"{VISITOR}\"}}', 'x')",
        "insert into quoted values (2, 'visitor 11111111-2222-3333-4444-555555555555', '{\"v\": null}', null)",
    )
    with owned.connect() as connection:
        spoilt = event.replace('"level": ', f'"{VISITOR}": 0, "level": ')
        assert spoilt != event
        connection.execute("update event_logs set event = %s where id = (select min(id) from event_logs)", (spoilt,))
    settings = Settings(root / "landing", root / "warehouse", dagster_storage_url=storage_url(owned))
    _clean_logs(settings, Identifiers(visitor_ids={VISITOR}))
    assert owned.query("select * from quoted order by id") == [
        (1, "visitor erased failed", {"v": "erased"}, "x"),
        (2, "visitor 11111111-2222-3333-4444-555555555555", {"v": None}, None),
    ]
    assert owned.query("select event from event_logs order by id limit 1") == [(spoilt.replace(VISITOR, "erased"),)]
    for table in ("quoted", "event_logs"):
        assert VISITOR not in pages_of(owned, table)


def pages_of(database: Database, table: str) -> str:
    """What the table's file holds, dead rows too: as the superuser, whom alone the server lets read it."""
    with Database(database.port, database.name).connect() as connection:
        connection.execute("checkpoint")
        found = connection.execute("select pg_read_binary_file(pg_relation_filepath(%s))", (table,)).fetchone()
    assert found is not None
    return bytes(found[0]).decode("latin-1")


def test_a_server_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "landing").mkdir()
    url = "postgresql+psycopg2://dagster:secret@127.0.0.1:1/dagster"
    for command in ("run", "doctor"):
        done = mtw(command, root=tmp_path, url=url)
        assert done.returncode == 1
        assert done.stderr.startswith("mtw: ")
        assert "MTW_DAGSTER_STORAGE_URL" in done.stderr
        assert len(done.stderr.splitlines()) == 1
        assert "secret" not in done.stdout + done.stderr
    assert not (tmp_path / "warehouse/dagster").exists()


def test_a_url_without_the_driver_is_refused_and_not_quoted(tmp_path: Path) -> None:
    for url in (
        "postgresql://d:secret@h/dagster",
        "postgresql+psycopg2://d:secret@h",
        "secret",
        "postgresql+psycopg2:[/d",
    ):
        with pytest.raises(SettingsError, match="has to be like postgresql\\+psycopg2://") as caught:
            Settings.load({"MTW_DAGSTER_STORAGE_URL": url}, dotenv=tmp_path / "none")
        assert "secret" not in str(caught.value)


def test_the_storage_follows_the_setting_and_an_edited_file_is_not_passed_over(tmp_path: Path, owned: Database) -> None:
    files = Settings(tmp_path / "l", tmp_path / "w")
    server = Settings(tmp_path / "l", tmp_path / "w", dagster_storage_url=storage_url(owned))
    path = prepare_dagster_home(server) / "dagster.yaml"
    assert set(yaml.safe_load(path.read_text())["storage"]) == {"postgres"}
    prepare_dagster_home(files)
    assert set(yaml.safe_load(path.read_text())["storage"]) == {"custom"}
    path.write_text("telemetry: {enabled: false}\n")
    with pytest.raises(SettingsError, match="was edited and names no storage"):
        prepare_dagster_home(server)
    path.write_text("storage: {sqlite: {base_dir: /srv/dagster}}\n")
    prepare_dagster_home(server)
    assert path.read_text() == "storage: {sqlite: {base_dir: /srv/dagster}}\n"
