"""The sensors. Stopped until someone turns them on in the Dagster UI, or sets up where alerts go."""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

import dagster as dg

from log_ingest.errors import IngestError, StorageError
from log_ingest.storage import Location, ObjectUrl
from orchestration.alerts import watch
from orchestration.alerts.channels import channels
from orchestration.resources import JOB_NAME, STARTED_BY_TAG, fail_dead_runs
from orchestration.schedules import busy_with
from orchestration.settings import Settings
from orchestration.text import plain


@dataclass(frozen=True)
class LandingFingerprint:
    """What a landing folder looks like from outside: enough to see that something was added, grew or changed."""

    file_count: int
    newest_mtime_ns: int
    total_bytes: int


def landing_fingerprint(landing_dir: Location) -> LandingFingerprint:
    """Count, newest change and size of the regular files below a folder, or of the objects below a prefix.

    Links are not followed. Raises StorageError where a bucket cannot be listed.
    """
    count = newest = total = 0
    if isinstance(landing_dir, ObjectUrl):
        from log_ingest.object_store import ObjectStore

        for info in ObjectStore(landing_dir).list(landing_dir):
            changed = int(info.modified_at.timestamp()) * 1_000_000_000
            count, newest, total = count + 1, max(newest, changed), total + info.size
        return LandingFingerprint(count, newest, total)
    for folder, _, names in os.walk(landing_dir):
        for name in names:
            try:
                status = (Path(folder) / name).lstat()
            except FileNotFoundError:
                continue  # moved away while we look: the next tick sees the rest
            count, newest, total = count + 1, max(newest, status.st_mtime_ns), total + status.st_size
    return LandingFingerprint(count, newest, total)


def build_landing_sensor(settings: Settings) -> dg.SensorDefinition:
    """Starts a run when the landing folder has changed since the last run that this sensor asked for."""

    @dg.sensor(
        name="landing_folder",
        job_name=JOB_NAME,
        minimum_interval_seconds=60,
        default_status=dg.DefaultSensorStatus.STOPPED,
        description="Starts a pipeline run when files were added to the landing folder or have grown.",
    )
    def landing_folder(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        if isinstance(settings.landing_dir, Path) and not settings.landing_dir.is_dir():
            return dg.SkipReason(f"landing folder {settings.landing_dir} does not exist")
        try:
            now = json.dumps(asdict(landing_fingerprint(settings.landing_dir)))
        except (IngestError, StorageError) as error:
            return dg.SkipReason(f"the landing location {plain(str(error), 400)}")
        if now == context.cursor:
            return dg.SkipReason("nothing has changed in the landing folder")
        if busy := busy_with(settings, context.instance):
            # The cursor stays: what that run is too late to see is found at the next tick.
            return dg.SkipReason(busy)
        return dg.SensorResult(run_requests=[dg.RunRequest(tags={STARTED_BY_TAG: "landing_folder"})], cursor=now)

    return landing_folder


def build_alert_sensors(settings: Settings) -> list[dg.SensorDefinition]:
    """Three that tell people (orchestration.alerts). They run by themselves where somebody is to be told."""
    status = dg.DefaultSensorStatus.RUNNING if channels(settings) else dg.DefaultSensorStatus.STOPPED

    @dg.run_failure_sensor(
        name="failed_runs",
        default_status=status,
        description="Alerts of runs that failed: by webhook and e-mail, and as one line of the daemon's log.",
    )
    def failed_runs(context: dg.RunFailureSensorContext) -> None:
        context.log.error(
            "run %s of %s failed: %s",
            context.dagster_run.run_id,
            context.dagster_run.job_name,
            plain(context.failure_event.message or "no message", 500),
        )
        watch.run_finished(settings, context.instance, context.dagster_run.run_id, context.log.error)

    @dg.run_status_sensor(
        name="finished_runs",
        run_status=dg.DagsterRunStatus.SUCCESS,
        default_status=status,
        description="Alerts of checks that warn, and that what was told of is over.",
    )
    def finished_runs(context: dg.RunStatusSensorContext) -> None:
        watch.run_finished(settings, context.instance, context.dagster_run.run_id, context.log.error)

    @dg.sensor(
        name="published_data_age",
        minimum_interval_seconds=600,
        default_status=status,
        description="Alerts when the newest event that readers see is older than MTW_ALERT_STALE_HOURS.",
    )
    def published_data_age(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        # Also here, where no schedule that would notice is on: a run whose process died is a failed run.
        fail_dead_runs(settings, context.instance)
        return dg.SkipReason(watch.published_data_is_old(settings, context.log.error))

    return [failed_runs, finished_runs, published_data_age]
