"""A purge that dies at any step leaves everything as it was or everything purged, and the next one ends it."""

import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from log_ingest.erasure import PENDING
from log_ingest.frozen import DELIVERY_LOGS, TRACKING
from log_ingest.ingest import LEDGER_NAME, ingest
from log_ingest.landing import Landing
from log_ingest.ledger import Ledger
from log_ingest.retention import purge
from tests.conftest import ROOT
from tests.faults.test_ingest_faults import assert_nothing_left_behind
from tests.invariants import assert_accounted, landed, query
from tests.purges import BELONGS, LOGS, due, due_of_all_kinds, of_it, write_landing
from tests.robin import OTHER_DELIVERY


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the other delivery, nothing but frozen rows is left."""
    folder = tmp_path_factory.mktemp("purge")
    write_landing(folder / "landing")
    ingest(folder / "landing", folder / "warehouse", run_id="first")
    wanted = due(folder / "warehouse", folder / "first.duckdb", TRACKING, DELIVERY_LOGS)
    others = {
        kind: [replace(entry, delivery_id=OTHER_DELIVERY) for entry in entries]
        for kind, entries in wanted.deliveries.items()
    }
    nothing = "select 0 as message_id where false"
    wanted = replace(wanted, deliveries=others, lines=f"{wanted.lines} where false", messages=nothing)
    purge(folder / "warehouse", wanted, run_id="earlier")
    with Ledger(folder / "warehouse" / LEDGER_NAME) as ledger:
        ledger.set_fact(PENDING, "")
    return folder / "warehouse"


def held(warehouse: Path) -> list[int]:
    """What the purge is to take: by source and kind, lines set aside, frozen rows of the other delivery."""
    with Ledger(warehouse / LEDGER_NAME, read_only=True) as ledger:
        tables = [row["path"] for row in ledger.parts(source="frozen") if row["path"].split("/")[-1].count(".") == 2]
    frozen = [f"'{warehouse}/landed/{path}'" for path in tables]
    counts = [
        query(f"select count(*) from {landed(warehouse, 'set_aside')}")[0][0],
        query(f"select count(*) from read_parquet([{', '.join(frozen)}], union_by_name = true)"
              f" where delivery_id = {OTHER_DELIVERY}")[0][0],
    ]  # fmt: skip
    return [*of_it(warehouse, BELONGS), *of_it(warehouse, LOGS), *counts]


def test_killed_on_the_way(before: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.faults.purge_child", "serve"]
    everything = held(before)
    assert all(everything)
    outcomes: list[bool] = []
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdin is not None and child.stdout is not None
        while True:
            warehouse = tmp_path / f"warehouse-{len(outcomes)}"
            shutil.copytree(before, warehouse)
            child.stdin.write(f"{len(outcomes) + 1} {warehouse}\n")
            child.stdin.flush()
            code = int(child.stdout.readline())
            if code == 0:
                break  # there is no such step any more
            assert code == -signal.SIGKILL
            with Ledger(warehouse / LEDGER_NAME) as ledger:
                kinds = sorted(row["kind"] for row in ledger.purges()[2:])
                is_purged = bool(kinds)
                # All kinds together, or none.
                assert kinds == ["delivery_logs", "set_aside", "statistics", "tracking"] * is_purged
                assert bool(ledger.fact(PENDING)) == is_purged
                # Frozen rows and rewritten parts appear together.
                assert bool(ledger.parts(source="frozen", after=before_batch(before))) == is_purged
                Landing(warehouse, ledger).close()  # what does not exist by the ledger goes
            assert held(warehouse) == ([0] * len(everything) if is_purged else everything), len(outcomes)
            outcomes.append(is_purged)
            assert_nothing_left_behind(warehouse)
            if len(outcomes) % 5 == 0:
                if not is_purged:
                    purge(warehouse, due_of_all_kinds(warehouse, tmp_path / f"{len(outcomes)}.duckdb"), run_id="again")
                assert not any(held(warehouse))
                assert_nothing_left_behind(warehouse)
                assert_accounted(warehouse)
        assert not any(held(warehouse))
        child.stdin.close()
    # Old until the commit, new from it on; there are steps on both sides.
    assert outcomes == sorted(outcomes) and outcomes.count(False) > 5 and outcomes.count(True) > 3


def before_batch(warehouse: Path) -> int:
    with Ledger(warehouse / LEDGER_NAME, read_only=True) as ledger:
        return ledger.last_batch_id()
