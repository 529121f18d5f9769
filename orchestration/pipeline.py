"""One run of the job `pipeline` in this process, for the command line: same job, checks and lock as the schedule.

Belongs here: executing it against the persistent Dagster instance, and telling who watches how it ended.
Does not: what its events mean (outcome), drawing (console) or deciding an exit code (cli).
"""

import contextlib
import os
import sys
from collections.abc import Iterator

import dagster as dg

from orchestration.alerts import watch
from orchestration.dbt import DbtError
from orchestration.definitions import build_defs
from orchestration.home import prepare_dagster_home
from orchestration.outcome import Outcome, outcome_of
from orchestration.reporting import RunReporter
from orchestration.resources import COMMAND, JOB_NAME, STARTED_BY_TAG, fail_dead_runs
from orchestration.scope import RunScope
from orchestration.settings import Settings, SettingsError

REPOSITORY_TAG = ".dagster/repository"
"""Lets the Dagster UI list this process's run under the job of the code location that it serves."""

LOCATION_NAME = "message_tracking_warehouse"
"""As in workspace.yaml."""


class RecordsError(Exception):
    """Dagster's records of runs cannot be read or written. The message is one line that says what to do."""


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

    Raises SettingsError, DbtError or RecordsError (one line) where the run cannot even begin, or not be recorded.
    """
    prepare_dagster_home(settings)
    settings.export()
    with contextlib.nullcontext() if verbose else silenced(), _records_errors(settings):
        reporter.stage("load")
        try:
            job = build_defs(settings, reporter=reporter).resolve_job_def(JOB_NAME)
        except (SettingsError, DbtError) as error:
            watch.could_not_begin(settings, str(error), reporter.note)
            raise
        with dg.DagsterInstance.get() as instance:
            for dead in fail_dead_runs(settings, instance):
                watch.run_finished(settings, instance, dead, reporter.note)
            result = job.execute_in_process(
                instance=instance,
                raise_on_error=False,
                run_config={
                    "loggers": {"console": {"config": {"log_level": "DEBUG" if verbose else "WARNING"}}},
                    **(scope or RunScope()).run_config(),
                },
                tags={STARTED_BY_TAG: COMMAND, REPOSITORY_TAG: f"__repository__@{LOCATION_NAME}"},
            )
            outcome = outcome_of(result.run_id, result.success, result.all_events)
            watch.run_finished(settings, instance, result.run_id, reporter.note)
            watch.published_data_is_old(settings, reporter.note)
            return outcome


@contextlib.contextmanager
def _records_errors(settings: Settings) -> Iterator[None]:
    """Errors of Dagster's own storage as one line: they do not fail a step, they end the run where it is."""
    from sqlalchemy.exc import DBAPIError

    try:
        yield
    except DBAPIError as error:
        raise RecordsError(
            f"Dagster's records in {settings.dagster_home} cannot be used ({_first_line(error.orig or error)}); free"
            " space or mend permissions there, then run again"
        ) from None


def _first_line(error: object) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
