"""Faults that pass by themselves, and trying again after them, ever later.

Belongs here: which errors those are, and how a step asks Dagster for another attempt. Does not: raising them.
A failed check, bad input, a full disk, a wrong password stay what they are: those fail at once.
"""

from collections.abc import Iterator

import dagster as dg

from orchestration.build_state import DatabaseInUse
from orchestration.lock import PipelineLocked
from orchestration.settings import Settings

LOCK_PATIENCE = 6
"""How many times longer than for other faults is waited for the lock: whoever holds it may be at work for minutes."""


def is_transient(error: BaseException) -> bool:
    """Whether an error, or what it was raised from, may be gone at the next attempt."""
    return any(
        isinstance(part, PipelineLocked | DatabaseInUse) or getattr(part, "is_transient", False)
        for part in _chain(error)
    )


def retry_or_fail(
    context: dg.AssetExecutionContext | dg.AssetCheckExecutionContext, settings: Settings, error: Exception, text: str
) -> Exception:
    """What a step raises for an error: a request for another attempt, or at the end a failure with one line of text."""
    waits = waits_for(settings, error)
    attempt = context.op_execution_context.retry_number
    if is_transient(error) and attempt < len(waits):
        context.log.warning("%s; attempt %d of %d in %g s", text, attempt + 2, len(waits) + 1, waits[attempt])
        return dg.RetryRequested(max_retries=len(waits), seconds_to_wait=waits[attempt])
    return dg.Failure(text, allow_retries=False)


def waits_for(settings: Settings, error: BaseException) -> tuple[float, ...]:
    """Seconds before the second attempt, the third …"""
    factor = LOCK_PATIENCE if any(isinstance(part, PipelineLocked) for part in _chain(error)) else 1
    return tuple(seconds * factor for seconds in settings.retry_seconds)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__
