"""The schedules. Stopped until someone turns them on in the Dagster UI."""

import dagster as dg
from dagster import DagsterRunStatus, RunsFilter

from orchestration.resources import JOB_NAME, fail_dead_runs
from orchestration.settings import Settings

_UNDER_WAY = [
    DagsterRunStatus.QUEUED,
    DagsterRunStatus.NOT_STARTED,
    DagsterRunStatus.STARTING,
    DagsterRunStatus.STARTED,
    DagsterRunStatus.CANCELING,
]


def run_under_way(instance: dg.DagsterInstance) -> str | None:
    """The id of a pipeline run that is queued or at work, or None. Another one would only wait behind it."""
    runs = instance.get_runs(RunsFilter(job_name=JOB_NAME, statuses=_UNDER_WAY), limit=1)
    return runs[0].run_id if runs else None


def build_hourly_schedule(settings: Settings) -> dg.ScheduleDefinition:
    """Every hour at minute 5: the servers close their files on the hour."""

    @dg.schedule(
        name="hourly_tracking",
        job_name=JOB_NAME,
        cron_schedule="5 * * * *",
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.STOPPED,
        description="One pipeline run an hour, as the marketing platform's own tracking workflow does.",
    )
    def hourly_tracking(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        fail_dead_runs(settings, context.instance)
        busy = run_under_way(context.instance)
        if busy:
            return dg.SkipReason(f"run {busy} is still under way")
        return dg.RunRequest()

    return hourly_tracking
