"""A dbt build beside the live warehouse: in a folder of its own, over the same landed rows.

Belongs here: making such a folder, and building in it. Does not: comparing what comes out (rulesets, verify).
"""

import os
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from orchestration.dbt import DBT, FLAGS, DbtError, failure, told_alone
from orchestration.settings import Settings


def settings_beside(settings: Settings, folder: Path) -> Settings:
    """The settings of a warehouse in folder that reads the live one's landed rows, with a copy of its dbt project.

    It builds with DuckDB, whatever the live one builds with: Spark's tables have one catalog, and another engine that
    comes to the same numbers proves more.
    """
    project = folder / "dbt_project"
    shutil.copytree(settings.dbt_project_dir, project, ignore=shutil.ignore_patterns("target", "logs"))
    return replace(
        settings,
        engine="duckdb",
        warehouse_dir=folder / "warehouse",
        landed_override=settings.landed_dir,
        dbt_project_dir=project,
    )


def copy_working_database(settings: Settings, beside: Settings) -> None:
    """Begin with what the live warehouse has built. Hold its lock: a file that is written to cannot be copied."""
    beside.working_database.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(settings.working_database, beside.working_database)
    log = settings.working_database.with_name(settings.working_database.name + ".wal")
    if log.exists():
        shutil.copy2(log, beside.working_database.with_name(beside.working_database.name + ".wal"))


def build(beside: Settings, *, select: Iterable[str] = ()) -> None:
    """Run dbt's seeds and models there, those of the selectors where given. Raises DbtError."""
    target = beside.dbt_dir / "run"
    target.mkdir(parents=True, exist_ok=True)
    selectors = [argument for selector in select for argument in ("--select", selector)]
    project = str(beside.dbt_project_dir)
    done = subprocess.run(
        [
            *(*DBT, *FLAGS, "--no-send-anonymous-usage-stats"),
            *("build", "--resource-type", "model", "--resource-type", "seed", *selectors),
            *("--project-dir", project, "--profiles-dir", project, "--target", beside.engine),
            *("--target-path", str(target), "--log-path", str(target)),
        ],
        cwd=project,
        env={**os.environ, **beside.environment(), **told_alone(beside)},
        capture_output=True,
        text=True,
    )
    if done.returncode != 0:
        raise DbtError(failure(target))
