"""The jobs. Every one that builds is the pipeline with another configuration: the same steps, checks and lock.

Belongs here: which steps a job has, its run tags and its longest run time. Does not: when it starts (schedules).
"""

from datetime import timedelta
from typing import Any

import dagster as dg

from orchestration.checks.verified import VERIFIED
from orchestration.lock import PipelineLocked
from orchestration.resources import JOB_NAME
from orchestration.scope import RunScope
from orchestration.settings import Settings

NIGHTLY = "nightly_checks"
BACKFILL = "backfill"
VERIFY = "weekly_verify"
RETENTION = "retention"

WRITERS = (JOB_NAME, NIGHTLY, BACKFILL)
"""Jobs that take the warehouse's lock from their first step to their last."""

EXPECTED_RUN_TIME = timedelta(hours=2)
LONGEST_RUN_TIME = timedelta(hours=24)
"""Run monitoring ends a run after this, so that one that hangs does not hold up the schedule for ever. A backfill or a
verification may read all that ever landed."""

ACCESS_TAG = "mtw/access"
"""`writes` or `reads`: the run queue lets one run of each at a time (orchestration/dagster.yaml)."""


def build_jobs() -> list[Any]:  # Dagster does not export the type of an asset job
    """All of them; the one that `mtw run` runs is the first."""
    return [
        _pipeline(JOB_NAME, "Take in what is new, check it, build the models, check the marts, publish them."),
        _pipeline(
            NIGHTLY,
            "As the pipeline, and besides everything is checked, not what is new: every landed file against its digest,"
            " rows of all that ever landed, every test of every model. Tables are made anew. Publishes where something"
            " is new.",
            scope=RunScope(full_checks=True),
        ),
        _pipeline(
            BACKFILL,
            "As the pipeline, and besides chosen deliveries, or all that were sent or active on some days, are made"
            " again from the landed rows. Launchpad: resources, run_scope: deliveries, or from_day and to_day.",
            scope=RunScope(),
            longest=LONGEST_RUN_TIME,
        ),
        dg.define_asset_job(
            VERIFY,
            selection=dg.AssetSelection.checks(VERIFIED),
            description="Build all marts again beside the warehouse and compare them with the published ones.",
            executor_def=dg.in_process_executor,
            tags=_tags("reads", LONGEST_RUN_TIME),
        ),
    ]


def _pipeline(
    name: str, description: str, *, scope: RunScope | None = None, longest: timedelta = EXPECTED_RUN_TIME
) -> Any:
    return dg.define_asset_job(
        name,
        selection=dg.AssetSelection.all() - dg.AssetSelection.checks(VERIFIED),
        description=description,
        config=scope.run_config() if scope else None,
        executor_def=dg.in_process_executor,
        tags=_tags("writes", longest),
    )


def _tags(access: str, longest: timedelta) -> dict[str, str]:
    return {ACCESS_TAG: access, "dagster/max_runtime": str(int(longest.total_seconds()))}


def build_retention_job(settings: Settings) -> dg.JobDefinition:
    """Purges what the settings keep no longer, then runs the pipeline, as `mtw purge` does."""

    @dg.op(
        description="Purge what is kept no longer of deliveries that expired (MTW_KEEP_TRACKING_DAYS,"
        " MTW_KEEP_DELIVERY_LOGS_DAYS, MTW_KEEP_STATISTICS_DAYS). Then the pipeline builds and publishes anew.",
        # Of a warehouse at work: it will be free again.
        retry_policy=dg.RetryPolicy(max_retries=3, delay=900),
    )
    def purge_expired(context: dg.OpExecutionContext) -> None:
        from log_ingest.errors import IngestError
        from orchestration import privacy
        from orchestration.dbt import DbtError
        from orchestration.publication import PublishError
        from orchestration.retention import NotPublishedError, purge

        try:
            try:
                done = purge(settings)
            except NotPublishedError as error:
                context.log.info("%s", error)
                _run_pipeline(settings)
                done = purge(settings)
        except PipelineLocked as error:
            raise dg.Failure(str(error), allow_retries=True) from error
        except (IngestError, PublishError, DbtError) as error:
            raise dg.Failure(str(error), allow_retries=False) from error
        if not done.kept_days:
            context.log.info("MTW_KEEP_TRACKING_DAYS is not set: nothing is ever purged")
            return
        metadata = {"held_back": len(done.held_back)}
        for kind in done.kept_days:
            taken = done.report.taken[kind]
            rows = taken.lines.total()
            context.log.info("purged of %s: %d rows, %d deliveries", kind, rows, len(taken.deliveries))
            metadata |= {
                f"{kind}_deliveries": len(taken.deliveries),
                f"{kind}_rows": rows,
                f"{kind}_bytes": taken.bytes.total(),
            }
        context.add_output_metadata(metadata)
        if done.report.purges or privacy.is_pending(settings):
            _run_pipeline(settings)

    @dg.job(
        name=RETENTION,
        description="Purge what is kept no longer; see docs/retention.md.",
        executor_def=dg.in_process_executor,
        tags=_tags("writes", LONGEST_RUN_TIME),
    )
    def retention() -> None:
        purge_expired()

    return retention


def _run_pipeline(settings: Settings) -> None:
    """Raises dagster.Failure where the run fails."""
    from orchestration.pipeline import run_pipeline
    from orchestration.reporting import RunReporter

    outcome = run_pipeline(settings, RunReporter(), verbose=True)
    if not outcome.success:
        raise dg.Failure(outcome.failure, allow_retries=False)
