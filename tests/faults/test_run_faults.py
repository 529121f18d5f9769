"""Whole pipeline runs on small_project: killed at any phase, two at once, without space, with a damaged cache. What is
published stays whole, the next run proceeds by itself, and no secret of the settings is in anything that was written.
"""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import duckdb
import pytest
from dagster import DagsterRunStatus

from log_ingest.catalog import EMPTY_BATCH
from log_ingest.ingest import LEDGER_NAME
from log_ingest.ledger import Ledger
from orchestration import publish
from orchestration.lock import holder
from orchestration.resources import HOLDER_TAG, POOL
from tests.faults.run_child import MOMENTS
from tests.faults.test_ingest_faults import small_disk
from tests.faults.test_publish_faults import EVERY_POINT
from tests.faults.trials import KILLED, Server, served
from tests.integration.test_definitions import SMALL_PROJECT, write_log
from tests.integration.test_publish import assert_whole
from tests.invariants import assert_accounted
from tests.ownbytes import places_of
from tests.postgres import Database

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

    def __init__(self, root: Path, server: Server, secrets: dict[str, str] | None = None) -> None:
        self.root, self.server, self.secrets = root, server, secrets or {}
        self.landing, self.warehouse = root / "landing", root / "warehouse"
        self.lines = 0
        if not (root / "project").exists():
            shutil.copytree(SMALL_PROJECT, root / "project")

    def arrive(self, count: int = 20) -> None:
        write_log(self.landing, self.lines, count)
        self.lines += count

    def run(self, moment: str = "none", **environment: str) -> int:
        places = {
            "MTW_LANDING_DIR": str(self.landing), "MTW_WAREHOUSE_DIR": str(self.warehouse),
            "MTW_DBT_PROJECT_DIR": str(self.root / "project"),
        }  # fmt: skip
        outcome = self.root / "outcome"
        for path in self.root.glob("outcome*"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        return self.server(
            moment, outcome, *(f"{name}={value}" for name, value in {**places, **self.secrets, **environment}.items())
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
        assert_whole(self.published, publish.current(self.published).run_id)
        with Ledger(self.warehouse / LEDGER_NAME, read_only=True) as ledger:
            assert ledger.is_whole() and ledger.unbalanced() == []
        assert holder(self.warehouse / "run.lock") is None


def test_killed_at_every_phase_with_secrets_all_around(
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
    moments = list(MOMENTS)[1:] if EVERY_POINT else ["dbt at work", "before the build is recorded", "before the copy"]
    for moment in moments:
        had = house.counted()
        house.arrive()
        assert house.run(moment) == KILLED, moment
        house.assert_sound()
        assert house.counted() == (house.lines if moment in ("after the swap", "before the copy") else had), moment
        ((held,),) = database.query("select count(*) from core.fct_tracking_events")
        assert held == had or moment == "before the copy", moment
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
        assert runs.count(DagsterRunStatus.FAILURE) == len(moments)
        assert runs.count(DagsterRunStatus.SUCCESS) == 2
        assert instance.event_log_storage.get_concurrency_info(POOL).active_slot_count == 0
    assert house.clicks() == house.expected_clicks()
    # An error that names the databases is written as well.
    assert house.run(MTW_PUBLISH_URL=url.replace(password, f"{password}x")) in (0, 1)
    assert places_of(house.root, CANARIES) == []


def test_two_schedulers_at_once(server: Server, tmp_path: Path) -> None:
    house = House(tmp_path, server)
    house.arrive()
    assert house.run("race") == 1, "one ran, one did not"
    (loser,) = [name for name in "ab" if not json.loads((tmp_path / f"outcome-{name}").read_text())["success"]]
    assert "locked by pid " in house.failure(f"-{loser}") and " since 20" in house.failure(f"-{loser}")
    house.assert_sound()
    assert (house.counted(), publish.current(house.published).version) == (20, 1)
    assert_accounted(house.warehouse)
