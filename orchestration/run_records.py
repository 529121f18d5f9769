"""Dagster's records of old runs are removed, so that they do not grow for ever: 10 MB a run, 80 GB a year of hourly
ones.

Belongs here: which runs' events and logs stay, and removing the others. Does not: the ledger's list of runs (a row
each), published versions (publish).
"""

import contextlib
import shutil
import sqlite3

import dagster as dg
from dagster import DagsterRunStatus, RunsFilter

from orchestration.publication import PublishError, current
from orchestration.settings import Settings

HOLDER_TAG = "mtw/holds_lock"
"""On every run that took the lock, with the lock it took. Unfinished, and the lock is free: that run's process died."""

AT_ONCE = 25
"""Runs that one run removes at most: after an upgrade, or a lower setting, the next ones go on."""

_ENDED = [DagsterRunStatus.SUCCESS, DagsterRunStatus.FAILURE, DagsterRunStatus.CANCELED]


def forget_old_runs(settings: Settings, instance: dg.DagsterInstance) -> list[str]:
    """Remove the records of ended runs beyond the newest settings.kept_runs; returns the ids of those removed.

    The run that made the published version stays: the UI shows from it what the assets are made of. Where Dagster's
    storage is a database of several projects, only runs go that held this warehouse's lock, as its tag says. The caller
    holds the lock.
    """
    if not settings.kept_runs:
        return []
    mine = {HOLDER_TAG: settings.lock_name} if settings.dagster_storage_url else {}
    published = None
    with contextlib.suppress(PublishError):
        published = current(settings.published_dir)
    old = [
        run.run_id
        for run in instance.get_runs(RunsFilter(statuses=_ENDED, tags=mine))[settings.kept_runs :]
        if published is None or run.run_id != published.run_id
    ]
    removed = old[::-1][:AT_ONCE]
    for run_id in removed:
        instance.delete_run(run_id)
        _remove_files(settings, run_id)
    return removed


def _remove_files(settings: Settings, run_id: str) -> None:
    """What Dagster leaves of a deleted run where it keeps its records in files, as the shipped dagster.yaml says."""
    home = settings.dagster_home
    events = home / "history" / "runs"
    for suffix in ("", "-wal", "-shm"):
        (events / f"{run_id}.db{suffix}").unlink(missing_ok=True)
    shutil.rmtree(home / "storage" / run_id, ignore_errors=True)
    if (events / "index.db").is_file():
        # Of all that a run leaves in the index, Dagster forgets these.
        with contextlib.suppress(sqlite3.Error), contextlib.closing(sqlite3.connect(events / "index.db")) as index:
            index.execute("delete from asset_check_executions where run_id = ?", [run_id])
            index.commit()
