"""`mtw verify`: what the landed bytes give against what is published; found, named, resumable, harmless to runs.

On small_project: whether the real models give the same when built anew is tested in test_same_marts.
"""

import contextlib
import shutil
from dataclasses import replace
from pathlib import Path

import duckdb
import pytest

from log_ingest.catalog import EMPTY_BATCH
from log_ingest.ingest import ingest
from log_ingest.ledger import Ledger
from orchestration import beside
from orchestration import verify as verifying
from orchestration.build_state import build_digest
from orchestration.lock import PipelineLock, PipelineLocked
from orchestration.publish import publish
from orchestration.settings import Settings
from orchestration.verify import VerifyError, verify
from tests.conftest import mtw
from tests.integration.test_definitions import SMALL_PROJECT, write_log

MARTS = ["core.fct_opens", "core.fct_tracking_events", "meta.indicator_catalogue", "reports.rpt_tracking_indicators"]


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a landing folder, a project, and a warehouse that has published 200 lines."""
    root = tmp_path_factory.mktemp("verify")
    shutil.copytree(SMALL_PROJECT, root / "project")
    write_log(root / "landing", 0, 200)
    settings = Settings(root / "landing", root / "warehouse", dbt_project_dir=root / "project")
    ingest(settings.landing_dir, settings.warehouse_dir, run_id="run-1")
    settings.working_database.parent.mkdir(parents=True)
    beside.build(settings)
    with Ledger(settings.ledger_path, read_only=True) as ledger:
        batch_id = ledger.last_batch_id()
    publish(
        settings.working_database, settings.published_dir, run_id="run-1", batch_id=batch_id,
        build_digest=build_digest(settings),
    )  # fmt: skip
    return root


@pytest.fixture
def settings(once: Path, tmp_path: Path) -> Settings:
    """A copy of it, to change."""
    root = tmp_path / "copy"
    shutil.copytree(once, root, symlinks=True)
    return Settings(root / "landing", root / "warehouse", dbt_project_dir=root / "project")


def change_published(settings: Settings, *statements: str) -> None:
    path = settings.published_database.resolve()
    path.chmod(0o644)
    with contextlib.closing(duckdb.connect(str(path))) as connection:
        for statement in statements:
            connection.execute(statement)


def test_an_interrupted_verification_goes_on_and_later_batches_do_not_count(settings, monkeypatch):
    """Killed within the comparison, after the rebuild, during which a run took in another batch."""
    built, compared = [], []
    build, compare = beside.build, verifying._compare

    def and_a_run_meanwhile(rebuilt: Settings) -> None:
        with PipelineLock(settings.lock_path):
            write_log(settings.landing_dir, 1000, 50)
            ingest(settings.landing_dir, settings.warehouse_dir, run_id="run-2")
        built.append(rebuilt.warehouse_dir)
        build(rebuilt)

    def killed_at_the_third(connection, masks, schema, name):
        if len(compared) == 2:
            raise KeyboardInterrupt
        compared.append(f"{schema}.{name}")
        return compare(connection, masks, schema, name)

    monkeypatch.setattr(beside, "build", and_a_run_meanwhile)
    monkeypatch.setattr(verifying, "_compare", killed_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        verify(settings)
    assert compared == MARTS[:2]
    compared.clear()
    stages: list[str] = []
    done: list[tuple[int, int]] = []
    found = verify(settings, stage=stages.append, progress=lambda *step: done.append(step))
    assert (found.went_on, stages) == (True, ["compare"])
    assert compared == MARTS[2:], "the others were compared before"
    assert len(built) == 1, "and the rebuild was there"
    assert done[-1] == (4, 4)
    assert [result.name for result in found.results] == MARTS
    assert found.differing == []
    assert [result.rows_rebuilt for result in found.results][:2] == [67, 200]
    assert not (settings.warehouse_dir / "verify").exists()
    with Ledger(settings.ledger_path, read_only=True) as ledger:
        assert ledger.last_batch_id() > found.batch_id, "the run was not held up"


def test_a_difference_is_found_both_ways_and_named(settings):
    """By the command: exit code 1, the mart and the keys in its output."""
    change_published(
        settings,
        "update reports.rpt_tracking_indicators set total_click_count = total_click_count + 1 where delivery_id = 2",
        "insert into core.fct_opens select 'invented', 7, null",
        "delete from core.fct_opens where event_key = (select min(event_key) from core.fct_opens)",
        "create table reports.rpt_of_nobody as select 1 as number",
    )
    done = mtw(
        "verify", landing=settings.landing_dir, warehouse=settings.warehouse_dir,
        settings={"MTW_DBT_PROJECT_DIR": str(settings.dbt_project_dir)},
    )  # fmt: skip
    assert done.returncode == 1, done.stdout + done.stderr
    lines = {line.split()[0]: line.split()[1:] for line in done.stdout.splitlines() if line.startswith(tuple("crm"))}
    assert lines["core.fct_opens"] == ["67", "67", "1", "1", "DIFFERS"]
    assert lines["reports.rpt_tracking_indicators"] == ["2", "2", "1", "1", "DIFFERS"]
    assert lines["core.fct_tracking_events"] == ["200", "200", "0", "0", "equal"]
    assert "! core.fct_opens: only published: event_key=invented, delivery_id=7, occurred_at=None" in done.stdout
    assert "! core.fct_opens: only rebuilt: event_key=" in done.stdout
    assert "the rebuild does not have it" in done.stdout
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("mtw: 3 of 5 marts differ from what the landed bytes give, core.fct_opens among them")
    assert not (settings.warehouse_dir / "verify").exists()


def test_what_cannot_be_verified_is_told_in_one_line(settings, tmp_path):
    with pytest.raises(VerifyError, match="nothing is published yet"):
        verify(Settings(settings.landing_dir, tmp_path / "none", dbt_project_dir=settings.dbt_project_dir))
    with pytest.raises(VerifyError, match="by other models or settings; publish anew first: mtw run"):
        verify(replace(settings, time_zone="Europe/Paris"))
    with (
        PipelineLock(settings.lock_path),
        pytest.raises(PipelineLocked, match="locked by pid"),
    ):
        verify(settings)


def test_a_landed_file_that_rotted_is_named_before_anything_is_built(settings):
    (part,) = (
        path
        for path in (settings.warehouse_dir / "landed" / "tracking_logs").rglob("*.parquet")
        if str(EMPTY_BATCH) not in str(path)
    )
    content = bytearray(part.read_bytes())
    content[len(content) // 2] ^= 1
    part.chmod(0o644)
    part.write_bytes(content)
    with pytest.raises(VerifyError, match=r"landed file tracking_logs/.*its bytes are not those") as caught:
        verify(settings)
    assert "\n" not in str(caught.value)


def test_a_batch_that_is_not_published_yet_is_published_first(settings):
    write_log(settings.landing_dir, 1000, 50)
    ingest(settings.landing_dir, settings.warehouse_dir, run_id="run-2")
    with pytest.raises(VerifyError, match=r"batch \d+ has landed, version 000001 .*; publish it first: mtw run"):
        verify(settings)


def test_what_a_purge_that_died_has_left_is_not_read(settings):
    """The file that was to take another's place, put there before the ledger says so: every row would come twice."""
    parts = (settings.landed_dir / "tracking_logs").glob("batch_id=*/*.parquet")
    part = next(path for path in parts if path.parent.name != f"batch_id={EMPTY_BATCH}")
    left = part.with_name("left-" + part.name)
    shutil.copy2(part, left)
    with pytest.raises(VerifyError, match=r"left-.* is not known"):
        verify(settings)
    ingest(settings.landing_dir, settings.warehouse_dir, run_id="run-2")
    assert part.exists() and not left.exists()
    assert not verify(settings).differing
