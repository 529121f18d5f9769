"""An erasure that dies at any step leaves everything as it was or everything erased, and the next one ends it."""

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

from log_ingest.erasure import PENDING, erase
from log_ingest.ingest import LEDGER_NAME, ingest
from log_ingest.landing import Landing
from log_ingest.ledger import Ledger
from log_ingest.status import collect
from tests.conftest import ROOT
from tests.faults.test_ingest_faults import assert_nothing_left_behind
from tests.invariants import assert_accounted, landed
from tests.ownbytes import places_of
from tests.robin import HER_OLD_ADDRESS, HER_VISITOR, HERS, ROBIN, ROBINS, write_all


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("erasure")
    write_all(folder / "landing")
    ingest(folder / "landing", folder / "warehouse", run_id="first")
    return folder / "warehouse"


def of_her(warehouse: Path) -> list[int]:
    """Landed rows that tell her, by source."""
    where = {
        "tracking_logs": f"visitor_id = '{HER_VISITOR}' or message_id = {ROBINS}",
        "access_logs": f"message_id = {ROBINS} or line like '%{ROBINS:x}%'",
        "esp_events": f"message_id = {ROBINS} or address = '{HER_OLD_ADDRESS}'",
        "recipients": "first_name = 'Robinetta'",
        "messages": f"recipient_id = {ROBIN}",
        "set_aside": f"decode(raw) like '%{HER_VISITOR}%'",
        "user_agents": "user_agent like 'Robins%'",
    }
    counts = ", ".join(
        f"(select count(*) from {landed(warehouse, source)} where {condition})" for source, condition in where.items()
    )
    with duckdb.connect() as con:
        return list(con.execute(f"select {counts}").fetchall()[0])


STRIDE = 7
"""Steps from one trial to the next; those about the commit are tried one by one."""


def test_killed_on_the_way(before: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.faults.erase_child", "serve"]
    everything, totals = of_her(before), collect(before).sources
    assert all(everything)
    outcomes: dict[int, bool] = {}
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdin is not None and child.stdout is not None
        at, trial, ends = 1, 0, False
        while True:
            trial += 1
            warehouse = tmp_path / f"warehouse-{trial}"
            shutil.copytree(before, warehouse)
            child.stdin.write(f"{at} {warehouse}\n")
            child.stdin.flush()
            code = int(child.stdout.readline())
            if code == 0:
                break  # there is no such step any more
            assert code == -signal.SIGKILL
            with Ledger(warehouse / LEDGER_NAME) as ledger:
                is_erased = bool(ledger.erasures())
                assert bool(ledger.fact(PENDING)) == is_erased == ledger.has_marks()
                Landing(warehouse, ledger).close()  # what does not exist by the ledger goes
            assert of_her(warehouse) == ([0] * len(everything) if is_erased else everything), at
            outcomes[at] = is_erased
            if is_erased and not ends:
                # Back to behind the last step that was before the commit.
                at, ends = max(step for step, erased in outcomes.items() if not erased), True
            at += 1 if ends else STRIDE
            if trial % 3:
                continue
            erase(warehouse, [ROBIN], run_id="again")
            assert of_her(warehouse) == [0] * len(everything), at
            assert collect(warehouse).sources == totals
            assert_nothing_left_behind(warehouse)
            assert_accounted(warehouse)
        assert places_of(warehouse, HERS) == []
        child.stdin.close()
    # Old until the commit, new from it on; there are steps on both sides.
    found = [erased for _, erased in sorted(outcomes.items())]
    assert found == sorted(found) and found.count(False) > 5 and found.count(True) > 3
