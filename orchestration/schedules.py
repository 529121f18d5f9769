"""The schedules. Stopped until someone turns them on in the Dagster UI.

Belongs here: when jobs start, and when a tick is let pass because another run would only wait. Does not: jobs.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import dagster as dg
from dagster import DagsterRunStatus, RunsFilter

from orchestration.jobs import NIGHTLY, RETENTION, VERIFY, WRITERS
from orchestration.lock import holder
from orchestration.resources import JOB_NAME, STARTED_BY_TAG, fail_dead_runs
from orchestration.settings import Settings

_WRITING = (*WRITERS, RETENTION)
"""Jobs of which one at a time is at work: the queue lets others wait."""

_UNDER_WAY = [
    DagsterRunStatus.QUEUED,
    DagsterRunStatus.NOT_STARTED,
    DagsterRunStatus.STARTING,
    DagsterRunStatus.STARTED,
    DagsterRunStatus.CANCELING,
]


def run_under_way(instance: dg.DagsterInstance, jobs: Sequence[str] = _WRITING) -> str | None:
    """The id of a run of these jobs that is queued or at work, or None. Another one would only wait behind it."""
    for job in jobs:
        if runs := instance.get_runs(RunsFilter(job_name=job, statuses=_UNDER_WAY), limit=1):
            return runs[0].run_id
    return None


def busy_with(settings: Settings, instance: dg.DagsterInstance, jobs: Sequence[str] = _WRITING) -> str | None:
    """Why another run of one of these jobs would only wait, or None. Reports runs whose process died as failed."""
    fail_dead_runs(settings, instance)
    if run_id := run_under_way(instance, jobs):
        return f"run {run_id} is still under way"
    found = holder(settings.lock_path)
    if not found or not set(jobs) & set(_WRITING) or run_under_way(instance):
        # Behind a run of another job one waits in the queue.
        return None
    # A command that is no Dagster run: erase, replay. Nobody waits for it.
    return f"the warehouse is {found}"


@dataclass(frozen=True)
class _Plan:
    name: str
    job: str
    cron: str
    description: str
    busy: tuple[str, ...] = _WRITING
    """A tick passes while a run of one of these jobs is queued or at work."""


_PLANS = (
    _Plan(
        "hourly_tracking",
        JOB_NAME,
        "5 * * * *",
        "One pipeline run an hour, as the marketing platform's own tracking workflow does. At minute 5: the servers"
        " close their files on the hour.",
    ),
    # Not skipped for an hourly run that is at work: it waits in the queue, the hourly ones do not wait for it.
    _Plan("nightly_full_checks", NIGHTLY, "35 2 * * *", "Everything is checked, once a night.", busy=(NIGHTLY,)),
    _Plan(
        "nightly_retention",
        RETENTION,
        "35 4 * * *",
        "What is kept no longer of deliveries (MTW_KEEP_TRACKING_DAYS and others) is purged; without it nothing is.",
    ),
    _Plan(
        "weekly_verify", VERIFY, "35 3 * * 0", "The marts are built again from the landed bytes, on Sundays.", (VERIFY,)
    ),
)


def build_schedules(settings: Settings) -> list[dg.ScheduleDefinition]:
    """All of them: hours and days are UTC, so that none is left out or doubled when clocks change."""
    return [_schedule(settings, plan) for plan in _PLANS]


def _schedule(settings: Settings, plan: _Plan) -> dg.ScheduleDefinition:
    @dg.schedule(
        name=plan.name,
        job_name=plan.job,
        cron_schedule=plan.cron,
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.STOPPED,
        description=plan.description,
    )
    def evaluate(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        if busy := busy_with(settings, context.instance, plan.busy):
            return dg.SkipReason(busy)
        return dg.RunRequest(tags={STARTED_BY_TAG: plan.name})

    return evaluate
