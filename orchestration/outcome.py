"""How a run ended, boiled down from its events to what people need to know.

Belongs here: which checks failed, which step did, in one line. Does not: running (pipeline), telling (console, alerts).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import dagster as dg

from log_ingest.storage import storage_problem
from orchestration.settings import without_secrets
from orchestration.text import plain


@dataclass(frozen=True)
class FailedCheck:
    """A check that did not pass. is_warning: it did not stop anything."""

    name: str
    reason: str
    is_warning: bool


@dataclass(frozen=True)
class Outcome:
    """How a run ended. failure: one line where it failed, else empty. failed_step: the step of that line, if one."""

    run_id: str
    success: bool
    failure: str
    checks_passed: int
    failed_checks: list[FailedCheck] = field(default_factory=list)
    steps: dict[str, float] = field(default_factory=dict)
    """Seconds by finished step."""
    failed_step: str = ""
    passed_checks: tuple[str, ...] = ()


def outcome_of(run_id: str, success: bool, events: Sequence[dg.DagsterEvent]) -> Outcome:
    """Boil a finished run down. A check that was evaluated twice counts each time."""
    evaluations = [
        event.asset_check_evaluation_data
        for event in events
        if event.event_type == dg.DagsterEventType.ASSET_CHECK_EVALUATION
    ]
    failed = [
        FailedCheck(
            check_name(evaluation.asset_key, evaluation.check_name),
            plain(evaluation.description or "see its metadata in the Dagster UI", 400),
            evaluation.severity == dg.AssetCheckSeverity.WARN,
        )
        for evaluation in evaluations
        if not evaluation.passed
    ]
    steps = {
        event.step_key: event.step_success_data.duration_ms / 1000
        for event in events
        if event.is_step_success and event.step_key
    }
    step, failure = ("", "") if success else _failure(events, failed)
    return Outcome(
        run_id=run_id,
        success=success,
        failure=failure,
        checks_passed=sum(evaluation.passed for evaluation in evaluations),
        failed_checks=failed,
        steps=steps,
        failed_step=step,
        passed_checks=tuple(check_name(one.asset_key, one.check_name) for one in evaluations if one.passed),
    )


def check_name(asset_key: dg.AssetKey, name: str) -> str:
    """A check as people are told of it."""
    return f"{asset_key.to_user_string()}: {name}"


def _failure(events: Sequence[dg.DagsterEvent], failed_checks: list[FailedCheck]) -> tuple[str, str]:
    """The step that failed, or "", and one line: what failed, in the words of the innermost error."""
    for event in events:
        if event.is_step_failure and event.step_key and not event.step_key.startswith("check_"):
            data = event.step_failure_data
            if _is_interruption(data.error):
                return event.step_key, f"interrupted in step {event.step_key}; the next run goes on from what it left"
            if data.user_failure_data and data.user_failure_data.description:
                return event.step_key, _line(data.user_failure_data.description)
            return event.step_key, _line(f"step {event.step_key} failed: {_innermost(data.error)}")
    errors = [check for check in failed_checks if not check.is_warning]
    if errors:
        more = f" (and {len(errors) - 1} more checks)" if len(errors) > 1 else ""
        return "", _line(f"check {errors[0].name} failed: {errors[0].reason}{more}; nothing was published")
    for event in events:
        if event.is_step_failure:
            error = _innermost(event.step_failure_data.error)
            return event.step_key or "", _line(f"step {event.step_key} failed: {error}")
    for event in reversed(events):
        if event.is_job_failure:
            # Without data where Dagster found that the run's process had ended.
            told = getattr(event.event_specific_data, "error", None)
            return "", _line(_innermost(told) or event.message or "the run failed")
    return "", "the run failed; its log is in the Dagster UI (mtw serve)"


def _is_interruption(error: object) -> bool:
    """Whether somebody ended it, by Ctrl-C for instance: Dagster's error for that says nothing but its own name."""
    while error is not None:
        if getattr(error, "cls_name", "") in _INTERRUPTIONS:
            return True
        error = getattr(error, "cause", None)
    return False


def _innermost(error: object) -> str:
    while getattr(error, "cause", None) is not None:
        error = error.cause  # type: ignore[attr-defined]
    message = str(getattr(error, "message", "") or "").strip()
    first = storage_problem(message) or (message.splitlines()[0] if message else "")
    # "package.module.SomeError: what happened": people need what happened.
    name, separator, rest = first.partition(": ")
    return rest if separator and " " not in name and rest else first


_INTERRUPTIONS = ("DagsterExecutionInterruptedError", "KeyboardInterrupt")

OUT_OF_MEMORY = "Out of Memory Error"
"""How DuckDB begins to say that its limit was too low."""

_ADVICE = {
    "free space, then run again": ("No space left on device", "disk is full", "failed to offload data block"),
    "raise MTW_MEMORY_LIMIT, then run again": (OUT_OF_MEMORY,),
}
"""What to do, by how the system, SQLite and DuckDB say what they lack."""


def _line(text: str) -> str:
    text = without_secrets(text)
    for advice, signs in _ADVICE.items():
        if "run again" not in text and any(sign in text for sign in signs):
            text = f"{plain(text, 600 - len(advice) - 2)}; {advice}"
    return plain(text, 600)
