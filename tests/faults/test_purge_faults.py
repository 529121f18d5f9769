"""A purge that dies at any step leaves everything as it was or everything purged, and the next one ends it."""

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from log_ingest.erasure import PENDING
from log_ingest.ingest import LEDGER_NAME, ingest
from log_ingest.landing import Landing
from log_ingest.ledger import Ledger
from log_ingest.retention import purge_tracking
from tests.conftest import ROOT
from tests.faults.test_ingest_faults import assert_nothing_left_behind
from tests.invariants import assert_accounted
from tests.purges import due, of_it, write_landing


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("purge")
    write_landing(folder / "landing")
    ingest(folder / "landing", folder / "warehouse", run_id="first")
    return folder / "warehouse"


def test_killed_on_the_way(before: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.faults.purge_child", "serve"]
    everything = of_it(before)
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
                is_purged = bool(ledger.purged_deliveries())
                assert bool(ledger.fact(PENDING)) == is_purged
                frozen = [row["path"] for row in ledger.parts(source="frozen") if row["path"].startswith("frozen/")]
                # Frozen rows and rewritten parts appear together.
                assert bool(frozen) == is_purged
                Landing(warehouse, ledger).close()  # what does not exist by the ledger goes
            assert of_it(warehouse) == ([0, 0, 0] if is_purged else everything), len(outcomes)
            outcomes.append(is_purged)
            assert_nothing_left_behind(warehouse)
            if len(outcomes) % 5 == 0:
                if not is_purged:
                    purge_tracking(warehouse, due(warehouse, tmp_path / f"{len(outcomes)}.duckdb"), run_id="again")
                assert of_it(warehouse) == [0, 0, 0]
                assert_nothing_left_behind(warehouse)
                assert_accounted(warehouse)
        assert of_it(warehouse) == [0, 0, 0]
        child.stdin.close()
    # Old until the commit, new from it on; there are steps on both sides.
    assert outcomes == sorted(outcomes) and outcomes.count(False) > 5 and outcomes.count(True) > 3
