"""The commands of docs/backup-and-restore.md: while a run is going on, with the warehouse lost afterwards."""

import os
import re
import shutil
import subprocess
import time
from pathlib import Path

import duckdb
import pytest

from log_ingest.ingest import ingest
from orchestration import beside
from orchestration.doctor import diagnose
from orchestration.lock import PipelineLock
from orchestration.settings import Settings
from tests.conftest import ROOT
from tests.integration.test_definitions import SMALL_PROJECT, write_log
from tests.invariants import assert_accounted, assert_rerun_changes_nothing

BACKUP, RESTORE = re.findall(r"```sh\n(.*?)```", (ROOT / "docs" / "backup-and-restore.md").read_text(), re.DOTALL)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(tmp_path / "landing", tmp_path / "warehouse", dbt_project_dir=SMALL_PROJECT)


def started(script: str, settings: Settings, backup: Path) -> subprocess.Popen:
    places = {"MTW_WAREHOUSE_DIR": str(settings.warehouse_dir), "BACKUP": str(backup)}
    return subprocess.Popen(["sh", "-ec", script], env=os.environ | places, stderr=subprocess.PIPE, text=True)


def marts(settings: Settings) -> list[list[tuple]]:
    settings.working_database.parent.mkdir(exist_ok=True)
    beside.build(settings)
    with duckdb.connect(str(settings.working_database), read_only=True) as con:
        return [
            con.execute(f"select * exclude (ingested_at) from {name} order by all").fetchall()
            for name in (
                "core.fct_tracking_events",
                "(select *, 0 as ingested_at from reports.rpt_tracking_indicators)",
            )
        ]


def test_a_lost_warehouse_comes_back_from_a_copy_made_during_a_run(settings: Settings, tmp_path: Path) -> None:
    landing, warehouse, backup = settings.landing_dir, settings.warehouse_dir, tmp_path / "backup"
    assert isinstance(landing, Path)
    write_log(landing, 0, 100)
    ingest(landing, warehouse, run_id="first")
    write_log(landing, 100, 50)
    with PipelineLock(settings.lock_path):
        copying = started(BACKUP, settings, backup)
        time.sleep(0.5)
        assert copying.poll() is None, "it waits for the run"
        ingest(landing, warehouse, run_id="second")
        assert not (backup / "new").exists()
    assert copying.wait(60) == 0, copying.stderr
    # A second backup takes the place of the first, which stays as the one before.
    assert started(BACKUP, settings, backup).wait(60) == 0
    assert sorted(path.name for path in backup.iterdir()) == ["last", "old"]
    write_log(landing, 150, 50)
    ingest(landing, warehouse, run_id="third")
    expected = marts(settings)
    assert len(expected[0]) == 200
    shutil.rmtree(warehouse)
    assert started(RESTORE, settings, backup).wait(60) == 0
    assert [finding.text for finding in diagnose(settings) if finding.topic in ("ledger", "landed files", "format")]
    # What landed after the copy comes from the landing folder again.
    report = ingest(landing, warehouse, run_id="after")
    assert report.totals["tracking_logs"].accepted == 50
    assert_accounted(warehouse)
    assert_rerun_changes_nothing(landing, warehouse)
    assert marts(settings) == expected
