"""`mtw doctor`: each thing that is wrong is found, and nothing is found where nothing is."""

import os
import re
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from log_ingest.erasure import erase
from log_ingest.ingest import ingest
from orchestration.doctor import Finding, diagnose
from orchestration.identifiers import load_key
from orchestration.permissions import UMASK
from orchestration.settings import Settings
from tests.robin import ROBIN, write_all


@pytest.fixture
def settings(landing: Path, warehouse: Path) -> Settings:
    write_all(landing)
    umask = os.umask(UMASK)
    ingest(landing, warehouse, run_id="first")
    os.umask(umask)
    environment = {"MTW_LANDING_DIR": str(landing), "MTW_WAREHOUSE_DIR": str(warehouse)}
    return Settings.load(environment, dotenv=landing / "none")


def wrong(settings: Settings) -> dict[str, str]:
    return {finding.topic: finding.text for finding in diagnose(settings) if not finding.is_ok}


def change(settings: Settings, sql: str) -> None:
    with sqlite3.connect(settings.ledger_path) as ledger:
        ledger.execute(sql)


def gone_part(settings: Settings) -> None:
    next((settings.warehouse_dir / "landed/messages").glob("batch_id=?/*.parquet")).unlink()


def open_to_all(settings: Settings) -> None:
    settings.warehouse_dir.chmod(0o777)


def readable_by_all(settings: Settings) -> None:
    settings.warehouse_dir.chmod(0o755)
    settings.ledger_path.chmod(0o644)


FAULTS: list[tuple[str, Callable[[Settings], None], str]] = [
    ("control totals", lambda s: change(s, "update contents set accepted = accepted + 1 where file_id = 1"), "0x1.log"),
    ("ledger", lambda s: change(s, "delete from batches where batch_id = 1"), "is damaged"),
    ("landed files", gone_part, "1 of"),
    ("clock", lambda s: change(s, "update batches set committed_at = '2999-01-01T00:00:00+00:00'"), "set the clock"),
    ("permissions", open_to_all, "chmod o-w"),
    ("permissions", readable_by_all, "chmod -R o-rwx"),
    ("erasures", lambda s: change(s, "insert into facts values ('erasure_pending', 'x')"), "run: mtw run"),
]


@pytest.mark.parametrize(("topic", "spoil", "says"), FAULTS, ids=[topic for topic, _, _ in FAULTS])
def test_what_is_wrong_is_found(settings: Settings, topic: str, spoil: Callable[[Settings], None], says: str) -> None:
    assert wrong(settings) == {}
    spoil(settings)
    found = wrong(settings)
    assert set(found) == {topic} and says in found[topic]


def test_a_zone_that_is_none(settings: Settings) -> None:
    assert "Mars/Olympus" in wrong(replace(settings, time_zone="Mars/Olympus"))["time zone"]
    assert "(6)" in wrong(replace(settings, server_time_zones="5=Europe/Paris,6=Mars/Olympus"))["time zone"]


def test_the_key_of_pseudonyms(settings: Settings) -> None:
    load_key(settings.warehouse_dir)
    assert wrong(settings) == {}
    (settings.warehouse_dir / "pseudonym.key").chmod(0o640)
    assert re.search("pseudonym.key may be read by others .* chmod 600", wrong(settings)["permissions"])


def test_the_key_of_erasures(settings: Settings) -> None:
    erase(settings.warehouse_dir, [ROBIN], run_id="erasure")
    change(settings, "update facts set value = '' where name = 'erasure_pending'")
    assert wrong(settings) == {}
    assert Finding("erasures", True, "") in [replace(finding, text="") for finding in diagnose(settings)]
    key = settings.warehouse_dir / "erasure.key"
    key.chmod(0o644)
    assert "chmod 600" in wrong(settings)["permissions"]
    key.unlink()
    assert "is gone" in wrong(settings)["erasures"]


def test_what_may_not_be_looked_at_is_a_finding(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(_: Settings) -> Iterator[Finding]:
        yield Finding("first", True, "seen")
        raise PermissionError(13, "Permission denied", "/var/lib/mtw/warehouse")

    monkeypatch.setattr("orchestration.doctor._folders", forbidden)
    found = {finding.topic: finding for finding in diagnose(settings)}
    assert found["first"].is_ok
    (bad,) = [finding for finding in found.values() if "Permission denied; run mtw as its owner" in finding.text]
    assert not bad.is_ok and "/var/lib/mtw/warehouse" in bad.text
    assert "packages" in found and len(found) > 4, "the other looks are taken"


def test_folders_of_the_landing_folder_that_nobody_reads_are_named(settings: Settings) -> None:
    assert isinstance(settings.landing_dir, Path)
    (settings.landing_dir / "tracking_log").mkdir()
    (settings.landing_dir / "reference" / "message\x1b[31m").mkdir(parents=True, exist_ok=True)

    def landing_folder() -> Finding:
        (found,) = [finding for finding in diagnose(settings) if finding.topic == "landing folder"]
        return found

    found = landing_folder()
    assert found.is_ok and found.text.endswith("; read by no source: tracking_log, reference/message\ufffd[31m")
    alone = settings.landing_dir / "alone"
    (alone / "tracking_log").mkdir(parents=True)
    found = next(iter(f for f in diagnose(replace(settings, landing_dir=alone)) if f.topic == "landing folder"))
    assert not found.is_ok and "none of the folders that are read: access_logs, esp_events, reference" in found.text
