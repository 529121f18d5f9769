"""One run of the job `pipeline` in this process, for the command line: same job, checks and lock as the schedule.

Belongs here: executing it against the persistent Dagster instance, and boiling its events down to an outcome.
Does not: drawing (console) or deciding an exit code (cli).
"""

import contextlib
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field

import dagster as dg

from log_ingest.storage import storage_problem
from orchestration.definitions import build_defs
from orchestration.home import events_not_waited_for, prepare_dagster_home
from orchestration.reporting import RunReporter
from orchestration.resources import COMMAND, JOB_NAME, STARTED_BY_TAG, fail_dead_runs
from orchestration.scope import RunScope
from orchestration.settings import Settings, without_secrets
from orchestration.text import plain

REPOSITORY_TAG = ".dagster/repository"
"""Lets the Dagster UI list this process's run under the job of the code location that it serves."""

LOCATION_NAME = "message_tracking_warehouse"
"""As in workspace.yaml."""


@dataclass(frozen=True)
class FailedCheck:
    """A check that did not pass. is_warning: it did not stop anything."""

    name: str
    reason: str
    is_warning: bool


@dataclass(frozen=True)
class Outcome:
    """How a run ended. failure: one line where it failed, else empty."""

    run_id: str
    success: bool
    failure: str
    checks_passed: int
    failed_checks: list[FailedCheck] = field(default_factory=list)
    steps: dict[str, float] = field(default_factory=dict)
    """Seconds by finished step."""


@contextlib.contextmanager
def silenced() -> Iterator[None]:
    """Send what libraries and dbt print to nowhere; Dagster still captures it into the run's own logs.

    Works on file descriptors, because child processes write there.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    kept = [os.dup(1), os.dup(2)]
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for descriptor, original in zip((1, 2), kept, strict=True):
            os.dup2(original, descriptor)
            os.close(original)
        os.close(nowhere)


def run_pipeline(
    settings: Settings, reporter: RunReporter, *, scope: RunScope | None = None, verbose: bool = False
) -> Outcome:
    """Run the whole pipeline once and wait for it. scope: what is asked of this run beside the usual.

    verbose: let Dagster and dbt write to the terminal.

    Raises SettingsError or DbtError (one line) where the run cannot even begin.
    """
    prepare_dagster_home(settings)
    settings.export()
    with contextlib.nullcontext() if verbose else silenced():
        reporter.stage("load")
        job = build_defs(settings, reporter=reporter).resolve_job_def(JOB_NAME)
        with events_not_waited_for(), dg.DagsterInstance.get() as instance:
            fail_dead_runs(settings, instance)
            result = job.execute_in_process(
                instance=instance,
                raise_on_error=False,
                run_config={
                    "loggers": {"console": {"config": {"log_level": "DEBUG" if verbose else "WARNING"}}},
                    **(scope or RunScope()).run_config(),
                },
                tags={STARTED_BY_TAG: COMMAND, REPOSITORY_TAG: f"__repository__@{LOCATION_NAME}"},
            )
            return outcome_of(result)


def outcome_of(result: dg.ExecuteInProcessResult) -> Outcome:
    """Boil a finished run down to what people need to know."""
    evaluations = result.get_asset_check_evaluations()
    failed = [
        FailedCheck(
            f"{evaluation.asset_key.to_user_string()}: {evaluation.check_name}",
            plain(evaluation.description or "see its metadata in the Dagster UI", 400),
            evaluation.severity == dg.AssetCheckSeverity.WARN,
        )
        for evaluation in evaluations
        if not evaluation.passed
    ]
    steps = {
        event.step_key: event.step_success_data.duration_ms / 1000
        for event in result.all_events
        if event.is_step_success and event.step_key
    }
    return Outcome(
        run_id=result.run_id,
        success=result.success,
        failure="" if result.success else _failure(result, failed),
        checks_passed=sum(evaluation.passed for evaluation in evaluations),
        failed_checks=failed,
        steps=steps,
    )


def _failure(result: dg.ExecuteInProcessResult, failed_checks: list[FailedCheck]) -> str:
    """One line: what failed, in the words of the innermost error."""
    for event in result.all_events:
        if event.is_step_failure and event.step_key and not event.step_key.startswith("check_"):
            data = event.step_failure_data
            if data.user_failure_data and data.user_failure_data.description:
                return _line(data.user_failure_data.description)
            return _line(f"step {event.step_key} failed: {_innermost(data.error)}")
    errors = [check for check in failed_checks if not check.is_warning]
    if errors:
        more = f" (and {len(errors) - 1} more checks)" if len(errors) > 1 else ""
        return _line(f"check {errors[0].name} failed: {errors[0].reason}{more}; nothing was published")
    for event in result.all_events:
        if event.is_step_failure:
            return _line(f"step {event.step_key} failed: {_innermost(event.step_failure_data.error)}")
    for event in reversed(result.all_events):
        if event.is_job_failure:
            return _line(_innermost(event.job_failure_data.error) or event.message or "the run failed")
    return "the run failed; its log is in the Dagster UI (mtw serve)"


def _innermost(error: object) -> str:
    while getattr(error, "cause", None) is not None:
        error = error.cause  # type: ignore[attr-defined]
    message = str(getattr(error, "message", "") or "").strip()
    first = storage_problem(message) or (message.splitlines()[0] if message else "")
    # "package.module.SomeError: what happened": people need what happened.
    name, separator, rest = first.partition(": ")
    return rest if separator and " " not in name and rest else first


def _line(text: str) -> str:
    return plain(without_secrets(text), 600)
