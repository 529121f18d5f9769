"""A whole pipeline run in a process of its own that is killed at a named moment: see trials.

A trial: <moment> <outcome file> <name=value>… (settings as environment variables). Writes the outcome as JSON, and
returns 0, or 1 where the run failed. The moment "race" runs two at once, as two schedulers with a DAGSTER_HOME each
would.
"""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import great_expectations  # noqa: F401  (what a run imports is imported once)
from dagster_dbt import DbtCliInvocation

from orchestration import build_state, pipeline, publish
from orchestration.assets import postgres
from orchestration.reporting import RunReporter
from orchestration.settings import Settings
from tests.faults.trials import kill_me, serve


def killing(original: Callable[..., Any], *, after: bool = False, when: Callable[..., bool] = lambda *a: True) -> Any:
    """A function that kills this process before it does anything, or after it did."""

    def call(*arguments: Any, **keywords: Any) -> Any:
        if not after and when(*arguments):
            kill_me()
        done = original(*arguments, **keywords)
        if after and when(*arguments):
            kill_me()
        return done

    return call


def _complete(settings: object, build: build_state.Build) -> bool:
    return build.batch_id != build_state.UNFINISHED


def _is_current(path: Path, target: str) -> bool:
    return path.name == "current"


def _dbt_at_work() -> None:
    stream = DbtCliInvocation.stream

    def cut(self: DbtCliInvocation) -> Any:
        for number, event in enumerate(stream(self)):
            if number == 2:
                kill_me()  # dbt itself lives on
            yield event

    DbtCliInvocation.stream = cut


MOMENTS: dict[str, Callable[[], None]] = {
    "none": lambda: None,
    "dbt at work": _dbt_at_work,
    "before the build is recorded": lambda: setattr(
        build_state, "record_build", killing(build_state.record_build, when=_complete)
    ),
    "after the build is recorded": lambda: setattr(
        build_state, "record_build", killing(build_state.record_build, after=True, when=_complete)
    ),
    "before the swap": lambda: setattr(publish, "_link", killing(publish._link, when=_is_current)),
    "after the swap": lambda: setattr(publish, "_link", killing(publish._link, after=True, when=_is_current)),
    "before the copy": lambda: setattr(postgres, "copy_to_postgres", killing(postgres.copy_to_postgres)),
}


def run(moment: str, outcome: Path, settings: Settings) -> int:
    MOMENTS[moment]()
    result = pipeline.run_pipeline(settings, RunReporter())
    outcome.write_text(json.dumps({"success": result.success, "failure": result.failure, "run_id": result.run_id}))
    return 0 if result.success else 1


def trial(moment: str, outcome: str, *environment: str) -> int:
    os.environ.update(entry.split("=", 1) for entry in environment)
    if moment != "race":
        return run(moment, Path(outcome), Settings.load())
    children = []
    for name in ("a", "b"):
        child = os.fork()
        if child == 0:
            os.environ["DAGSTER_HOME"] = f"{outcome}-{name}-home"
            code = 70
            try:
                code = run("none", Path(f"{outcome}-{name}"), Settings.load())
            finally:
                sys.stderr.flush()
                os._exit(code)
        children.append(child)
    return sum(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children)


if __name__ == "__main__":
    serve(trial)
