"""Who subscribed to which service, and who left again.

Belongs here: services and the history of subscriptions, drawn at once. Does not: files (reference), what the numbers
must be (truth).
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from log_ingest.sample import clock
from log_ingest.sample.population import Population

SERVICES = ((501, "Newsletter", "email"), (502, "Promotions by e-mail", "email"), (503, "Flash sales by SMS", "sms"))
"""Id, label and channel."""
_WEIGHTS = (0.6, 0.3, 0.1)
_MAX_SUBSCRIBERS = 50_000
_DAYS = 40
SUBSCRIBE, UNSUBSCRIBE = 1, 0


@dataclass(frozen=True)
class Subscriptions:
    """One array element per action, in the order of time. service is a position in SERVICES."""

    service: npt.NDArray[np.int64]
    recipient: npt.NDArray[np.int64]
    action: npt.NDArray[np.int64]
    occurred_ms: npt.NDArray[np.int64]
    is_last_word: npt.NDArray[np.bool_]
    """Of the recipient on the service: the state that is left."""


def draw_subscriptions(population: Population, rng: np.random.Generator) -> Subscriptions:
    """One recipient in four subscribes to one service; some leave, some of those come back, and a few leave what they
    never joined. Actions of one recipient lie at least an hour apart.
    """
    size = min(_MAX_SUBSCRIBERS, len(population) // 4)
    who = rng.choice(len(population), size, replace=False).astype(np.int64)
    service = np.searchsorted(np.cumsum(_WEIGHTS), rng.random(size))
    joined = clock.START_MS + rng.integers(0, _DAYS * clock.DAY_MS // 2, size)
    left = joined + clock.HOUR_MS + rng.integers(0, _DAYS * clock.DAY_MS // 4, size)
    back = left + clock.HOUR_MS + rng.integers(0, _DAYS * clock.DAY_MS // 4, size)
    draw = rng.random(size)
    never_joined, leaves, returns = draw < 0.01, draw < 0.25, (draw >= 0.01) & (draw < 0.05)
    rows, actions, moments, lasts = [], [], [], []
    for chosen, action, moment, is_last in (
        (~never_joined, SUBSCRIBE, joined, ~leaves),
        (leaves, UNSUBSCRIBE, left, leaves & ~returns),
        (returns, SUBSCRIBE, back, returns),
    ):
        row = np.flatnonzero(chosen)
        rows.append(row)
        actions.append(np.full(len(row), action))
        moments.append(moment[row] // clock.SECOND_MS * clock.SECOND_MS)
        lasts.append(is_last[row])
    row, moment = np.concatenate(rows), np.concatenate(moments)
    order = np.argsort(moment, kind="stable")
    row = row[order]
    return Subscriptions(
        service=service[row],
        recipient=who[row],
        action=np.concatenate(actions)[order],
        occurred_ms=moment[order],
        is_last_word=np.concatenate(lasts)[order],
    )
