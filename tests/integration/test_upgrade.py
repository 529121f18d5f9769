"""A warehouse of an older release is brought up to date by the next run, and ends as one that is built anew."""

import shutil
import sqlite3
import tarfile
from pathlib import Path

import pytest

from log_ingest import migrations
from log_ingest.errors import IngestError
from log_ingest.ingest import LEDGER_NAME, ingest
from log_ingest.ledger import Ledger
from log_ingest.status import collect
from orchestration import privacy
from orchestration.doctor import diagnose
from orchestration.settings import Settings
from tests.conftest import mtw
from tests.invariants import assert_accounted, assert_rerun_changes_nothing
from tests.loglines import line, logs
from tests.marts import assert_same_tables, build_marts, tables
from tests.robin import DELIVERY, QUINNS

WAREHOUSES = Path(__file__).parents[1] / "fixtures" / "warehouses"
OLD_FORMATS = sorted(int(path.name.split("-")[1].split(".")[0]) for path in WAREHOUSES.glob("format-*.tar.gz"))


def unpacked(number: int, folder: Path) -> tuple[Path, Path]:
    with tarfile.open(WAREHOUSES / f"format-{number}.tar.gz") as archive:
        archive.extractall(folder, filter="data")
    return folder / "landing", folder / "warehouse"


def test_every_format_but_this_one_has_a_warehouse_to_begin_with() -> None:
    assert list(range(migrations.OLDEST_FORMAT, migrations.FORMAT)) == OLD_FORMATS
    assert [one.to_format for one in migrations.MIGRATIONS] == [number + 1 for number in OLD_FORMATS]


@pytest.mark.parametrize("number", OLD_FORMATS)
def test_an_older_warehouse_ends_with_the_marts_of_a_fresh_one(number: int, tmp_path: Path) -> None:
    landing, warehouse = unpacked(number, tmp_path)
    warehouse.chmod(0o750)
    ledger = warehouse / LEDGER_NAME
    before = ledger.read_bytes()
    settings = Settings(landing, warehouse)
    found = {finding.topic: finding for finding in diagnose(settings)}
    assert found["format"].is_ok and "the next run brings it up to date" in found["format"].text
    with pytest.raises(IngestError, match="to bring it up to date: mtw run"):
        collect(warehouse)
    assert ledger.read_bytes() == before, "looking changes nothing"
    # New lines, and the held one of the old release completed.
    logs(landing, "redir5/0x100.log", *(line(0x100 + n, message=QUINNS, delivery=DELIVERY, url=5) for n in range(5)))
    with (landing / "tracking_logs" / "redir6" / "0x1.log").open("ab") as stream:
        stream.write(line(31)[40:])
    build_marts(landing, warehouse)
    with Ledger(ledger, read_only=True) as upgraded:
        assert upgraded.is_whole() and upgraded.unbalanced() == []
    assert migrations.format_of(ledger) == migrations.FORMAT
    assert_accounted(warehouse)
    assert_rerun_changes_nothing(landing, warehouse)
    assert {finding.topic for finding in diagnose(settings) if not finding.is_ok} == set()
    fresh = tmp_path / "fresh"
    build_marts(landing, fresh)
    assert_same_tables(tables(warehouse), tables(fresh))
    # Going back: the ledger that was kept is the old one, and knows all of its landed files.
    kept = migrations.kept_copy(ledger, number)
    assert migrations.format_of(kept) == number
    with sqlite3.connect(kept) as old, sqlite3.connect(ledger) as new:
        parts = "select path, digest from parts order by 1"
        assert set(old.execute(parts)) < set(new.execute(parts))
        had = old.execute("select format from format_history").fetchall() if number > migrations.OLDEST_FORMAT else []
        assert new.execute("select format from format_history").fetchall() == [*had, (migrations.FORMAT,)]
    privacy.discard_work(settings)
    assert not kept.exists(), "an erasure is not gone back over"


@pytest.mark.parametrize("number", OLD_FORMATS)
def test_a_migration_that_fails_changes_nothing(number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    landing, warehouse = unpacked(number, tmp_path)

    def schema() -> list[tuple]:
        with sqlite3.connect(warehouse / LEDGER_NAME) as db:
            return db.execute("select name, sql from sqlite_master order by 1").fetchall()

    before = schema()
    broken = migrations.Migration(
        migrations.FORMAT + 1, "breaks", "create table a (x);\ninsert into nowhere values (1);\n"
    )
    monkeypatch.setattr(migrations, "MIGRATIONS", (*migrations.MIGRATIONS, broken))
    with pytest.raises(IngestError, match="nowhere"):
        ingest(landing, warehouse, run_id="broken")
    monkeypatch.undo()
    assert migrations.format_of(warehouse / LEDGER_NAME) == number
    assert schema() == before
    ingest(landing, warehouse, run_id="again")
    assert_accounted(warehouse)


def test_a_newer_warehouse_is_refused_in_one_line(tmp_path: Path) -> None:
    landing, warehouse = tmp_path / "landing", tmp_path / "warehouse"
    logs(landing, "a/1.log", line(1))
    ingest(landing, warehouse, run_id="first")
    newer = migrations.FORMAT + 1
    with sqlite3.connect(warehouse / LEDGER_NAME) as db:
        db.execute("update facts set value = ? where name = 'format_version'", [str(newer)])
    before = (warehouse / LEDGER_NAME).read_bytes()
    for read_only in (True, False):
        with pytest.raises(IngestError, match="it is older than the warehouse; install the newer release"):
            Ledger(warehouse / LEDGER_NAME, read_only=read_only)
    done = mtw("status", landing=landing, warehouse=warehouse)
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1
    assert f"has format {newer}" in done.stderr and "docs/upgrading.md" in done.stderr
    wrong = next(finding for finding in diagnose(Settings(landing, warehouse)) if finding.topic == "ledger")
    assert not wrong.is_ok and "install the newer release" in wrong.text
    assert (warehouse / LEDGER_NAME).read_bytes() == before
    shutil.rmtree(warehouse)


def test_a_warehouse_older_than_any_step_is_refused(warehouse: Path, landing: Path) -> None:
    ingest(landing, warehouse, run_id="first")
    with sqlite3.connect(warehouse / LEDGER_NAME) as db:
        db.execute("update facts set value = '1' where name = 'format_version'")
    with pytest.raises(IngestError, match="take the landing folder in again"):
        ingest(landing, warehouse, run_id="second")
