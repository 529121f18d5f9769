"""The pipeline's definitions as each scheduler of test_two_schedulers loads them: a schedule that is on and due every
minute, with the evaluation of the hourly one, and runs that meet before they take the lock.

GATE names a folder; a run leaves its pid there and goes on when as many have come as RUNS says. From then on ticks are
let pass.
"""

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg

from orchestration import resources
from orchestration.definitions import build_defs
from orchestration.permissions import restrict

GATE, RUNS = "GATE_OF_TEST", "RUNS_OF_TEST"
_PATIENCE_SECONDS = 300
_lock = resources._patiently_locked


def arrived() -> int:
    return len(list(Path(os.environ[GATE]).iterdir()))


@contextlib.contextmanager
def _meeting(*arguments: Any) -> Iterator[Any]:
    (Path(os.environ[GATE]) / str(os.getpid())).touch()
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while arrived() < int(os.environ[RUNS]):
        if time.monotonic() > deadline:
            raise TimeoutError("no other run came")
        time.sleep(0.02)
    with _lock(*arguments) as lock:
        yield lock


@dg.definitions
def defs() -> dg.Definitions:
    restrict()
    resources._patiently_locked = _meeting
    made = build_defs()
    hourly = made.get_schedule_def("hourly_tracking")

    @dg.schedule(job_name=hourly.job_name, cron_schedule="* * * * *", default_status=dg.DefaultScheduleStatus.RUNNING)
    def every_minute(context: dg.ScheduleEvaluationContext) -> Any:
        return hourly(context) if arrived() < int(os.environ[RUNS]) else dg.SkipReason("the test has what it wants")

    return dg.Definitions.merge(dg.Definitions(schedules=[every_minute]), made)
