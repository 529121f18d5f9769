"""Two schedulers over one warehouse, each a real dagster-daemon with its own code server and run workers, due in the
same minute: one run works, the other says who does, nothing is doubled.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import pytest

from orchestration.home import prepare_dagster_home
from orchestration.lock import holder
from orchestration.outcome import outcome_of
from orchestration.publication import current
from orchestration.settings import Settings
from tests.conftest import ROOT, mtw
from tests.faults.test_run_faults import House
from tests.faults.two_schedulers import GATE, RUNS
from tests.invariants import assert_accounted

_PATIENCE_SECONDS = 480


class Scheduler:
    """A dagster-daemon with the definitions of two_schedulers, on a DAGSTER_HOME."""

    def __init__(self, house: House, home: Path, gate: Path, *, wanted: int) -> None:
        environment = {key: text for key, text in os.environ.items() if not key.startswith(("MTW_", "DAGSTER_"))}
        environment |= house.places | {"MTW_RETRY_SECONDS": "0", "DAGSTER_HOME": str(home)}
        prepare_dagster_home(Settings.load(environment, dotenv=Path("/nowhere")))
        runs(home)  # makes the storage, which two processes at once cannot
        self._log = (home / "daemon.txt").open("a")
        self._process = subprocess.Popen(
            [str(Path(sys.executable).with_name("dagster-daemon")), "run", "-m", "tests.faults.two_schedulers"],
            cwd=ROOT,
            env=environment | {GATE: str(gate), RUNS: str(wanted)},
            stdout=self._log,
            stderr=self._log,
            start_new_session=True,
        )

    def is_alive(self) -> bool:
        return self._process.poll() is None

    def stop(self) -> None:
        self._process.terminate()
        try:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(60)
        finally:
            # Its code server and run workers.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._log.close()


def wait_for(what: Callable[[], bool], schedulers: list[Scheduler]) -> None:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while not what():
        assert all(scheduler.is_alive() for scheduler in schedulers), "a scheduler ended"
        assert time.monotonic() < deadline, "the runs did not end"
        time.sleep(0.5)


def runs(home: Path) -> list[tuple[dg.DagsterRun, str]]:
    """The runs of a DAGSTER_HOME, oldest first, with the line that each failed with."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("DAGSTER_HOME", str(home))  # as its dagster.yaml reads it
        with dg.DagsterInstance.from_config(str(home)) as instance:
            found = []
            for run in reversed(instance.get_runs()):
                events = [entry.dagster_event for entry in instance.all_logs(run.run_id) if entry.dagster_event]
                failure = outcome_of(run.run_id, run.is_success, events).failure if run.is_failure else ""
                found.append((run, failure))
            return found


@pytest.fixture
def house(tmp_path: Path) -> House:
    found = House(tmp_path, None)
    found.arrive()
    return found


def assert_nothing_doubled(house: House) -> None:
    house.assert_sound()
    assert (house.counted(), current(house.published).version) == (20, 1)
    assert house.clicks() == house.expected_clicks()
    assert_accounted(house.warehouse)


def test_one_runs_and_the_other_says_who_does(house: House, tmp_path: Path) -> None:
    """Two hosts, each with records of its own; both runs come to the lock in the same moment."""
    gate, homes = tmp_path / "gate", [tmp_path / "home-a", tmp_path / "home-b"]
    gate.mkdir()
    schedulers = [Scheduler(house, home, gate, wanted=2) for home in homes]
    try:
        wait_for(lambda: all(len(found := runs(home)) > 0 and found[0][0].is_finished for home in homes), schedulers)
    finally:
        for scheduler in schedulers:
            scheduler.stop()
    ended = [runs(home) for home in homes]
    assert [len(of_home) for of_home in ended] == [1, 1]
    both = [of_home[0] for of_home in ended]
    assert {run.tags["mtw/started_by"] for run, _ in both} == {"hourly_tracking"}
    assert sorted(run.status.value for run, _ in both) == ["FAILURE", "SUCCESS"]
    (why,) = [failure for run, failure in both if run.is_failure]
    pids = {path.name for path in gate.iterdir()}
    assert len(pids) == 2
    assert any(f"locked by pid {pid} since 20" in why for pid in pids), why
    assert_nothing_doubled(house)


def test_two_on_the_same_records_are_refused(house: House, tmp_path: Path) -> None:
    """Dagster would start each run twice, and take for failed the one that works."""
    (tmp_path / "nothing.py").write_text("import dagster as dg\n\ndefs = dg.Definitions()\n")
    workspace = tmp_path / "workspace.yaml"
    workspace.write_text("load_from: [{python_file: nothing.py}]\n")
    lock = house.warehouse / "dagster" / "daemon.lock"
    environment = {key: text for key, text in os.environ.items() if not key.startswith(("MTW_", "DAGSTER_"))}
    serve = ["serve", "--only", "daemon", "--workspace", str(workspace)]
    with subprocess.Popen(
        [str(Path(sys.executable).with_name("mtw")), *serve],
        env=environment | house.places,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as first:
        try:
            deadline = time.monotonic() + _PATIENCE_SECONDS
            # It holds the lock as the program that it has become.
            while b"dagster-daemon" not in Path(f"/proc/{first.pid}/cmdline").read_bytes():
                assert first.poll() is None and time.monotonic() < deadline
                time.sleep(0.2)
            found = holder(lock)
            assert found is not None and found.pid == first.pid
            second = mtw(*serve, landing=house.landing, warehouse=house.warehouse)
            assert (second.returncode, second.stdout) == (1, "")
            (line,) = second.stderr.splitlines()
            assert f"a Dagster daemon is at work on {lock.parent} (locked by pid {first.pid} since 20" in line
        finally:
            os.killpg(first.pid, signal.SIGKILL)
    assert holder(lock) is None


def test_a_run_that_dagster_gave_up_has_a_reason() -> None:
    """The event that it writes of such a run says nothing but a sentence."""
    event = dg.DagsterEvent("PIPELINE_FAILURE", "pipeline", message="This run has been marked as failed.")
    assert outcome_of("run", False, [event]).failure == "This run has been marked as failed."
