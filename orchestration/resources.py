"""What a run holds while it runs: the warehouse's lock.

Belongs here: resources with a life of their own. Does not: settings (plain values) or assets.
"""

import contextlib
import time
from collections.abc import Iterator

import dagster as dg
from dagster import DagsterRunStatus, RunsFilter

from log_ingest.errors import IngestError
from log_ingest.ledger_database import pipeline_is_at_work
from orchestration.lock import PipelineLock, PipelineLocked
from orchestration.run_records import HOLDER_TAG, forget_old_runs
from orchestration.settings import Settings
from orchestration.transient import LOCK_PATIENCE

DIED = "The process of this run died"
"""How a run that nobody is left to run is reported as failed."""

STARTED_BY_TAG = "mtw/started_by"
"""On every run that people did not start in the UI: the schedule, the sensor or the command."""

COMMAND = "mtw run"
"""Started by the command line, where somebody waits for it."""

JOB_NAME = "pipeline"
POOL = "warehouse"
"""The Dagster pool of every step that writes. Its limit is one (orchestration/dagster.yaml)."""

_UNFINISHED = [DagsterRunStatus.STARTING, DagsterRunStatus.STARTED, DagsterRunStatus.CANCELING]


def pipeline_lock_resource(settings: Settings) -> dg.ResourceDefinition:
    """The kernel lock of the warehouse, held from a run's first step to its last.

    The in-process executor makes resources once for a run and tears them down after its last step.
    """

    @dg.resource(description="The kernel lock of the warehouse: one run at a time, released when its process dies.")
    def pipeline_lock(context: dg.InitResourceContext) -> Iterator[PipelineLock]:
        with contextlib.ExitStack() as held:
            lock = held.enter_context(_patiently_locked(context, settings))
            instance, run_id = context.instance, context.run.run_id if context.run else None
            if instance and run_id and instance.get_run_by_id(run_id):
                _give_up(instance, *_left_behind(settings, instance, except_run_id=run_id))
                instance.add_run_tags(run_id, {HOLDER_TAG: settings.lock_name})
                forget_old_runs(settings, instance)
            yield lock

    return pipeline_lock


@contextlib.contextmanager
def _patiently_locked(context: dg.InitResourceContext, settings: Settings) -> Iterator[PipelineLock]:
    """The lock. An unattended run waits for whoever holds it, ever longer; somebody at a terminal is told at once."""
    is_attended = context.run is not None and context.run.tags.get(STARTED_BY_TAG) == COMMAND
    lock = PipelineLock.of(settings)
    for seconds in () if is_attended else settings.retry_seconds:
        try:
            lock.acquire()
            break
        except PipelineLocked as error:
            if context.log:
                context.log.warning("the warehouse is %s; another attempt in %g s", error, seconds * LOCK_PATIENCE)
            time.sleep(seconds * LOCK_PATIENCE)
    else:
        lock.acquire()
    try:
        yield lock
    finally:
        lock.release()


def fail_dead_runs(settings: Settings, instance: dg.DagsterInstance) -> list[str]:
    """Report runs whose process died as failed and free the pool slots of all runs; returns the dead runs' ids.

    A killed worker leaves its run "started" and its slot taken, which would hold up every later run. Holding the
    kernel lock proves that no such process lives: a run takes the lock before its first slot. Does nothing while the
    lock is held, nor, of a ledger that machines share, while a pipeline is at work anywhere or nobody can say.
    """
    try:
        with PipelineLock(settings.lock_path):
            # First who could be dead, then whether anybody lives: who begins in between is not among them.
            left = _left_behind(settings, instance)
            if settings.ledger_url is not None and pipeline_is_at_work(settings.ledger_url):
                return []
            return _give_up(instance, *left)
    except (PipelineLocked, IngestError):
        return []


def _left_behind(
    settings: Settings, instance: dg.DagsterInstance, except_run_id: str | None = None
) -> tuple[list[dg.DagsterRun], set[str]]:
    """Runs that say they are under way, and ids of runs whose slots are theirs no more, if nobody holds the lock."""
    mine = {HOLDER_TAG: settings.lock_name}
    dead = [
        run for run in instance.get_runs(RunsFilter(statuses=_UNFINISHED, tags=mine)) if run.run_id != except_run_id
    ]
    # Also of runs that ended: one that met a full disk could not give its slot back, and Dagster waits for it for ever.
    # Not of runs of another warehouse that is recorded in the same Dagster.
    storage = instance.event_log_storage
    pool = storage.get_concurrency_info(POOL)
    claims = {slot.run_id for slot in pool.claimed_slots} | {step.run_id for step in pool.pending_steps}
    free = set()
    for run_id in claims - {except_run_id}:
        claimant = instance.get_run_by_id(run_id)
        if claimant is None or claimant.is_finished or claimant.tags.get(HOLDER_TAG) in (None, settings.lock_name):
            free.add(run_id)
    return dead, free


def _give_up(instance: dg.DagsterInstance, dead: list[dg.DagsterRun], free: set[str]) -> list[str]:
    for run in dead:
        instance.report_run_failed(run, f"{DIED}: the lock of the warehouse is free.")
    for run_id in free:
        instance.event_log_storage.free_concurrency_slots_for_run(run_id)
    return [run.run_id for run in dead]
