"""The messages of one delivery: who got one, what became of it, and when the reference extracts learn of it.

Belongs here: message rows as the marketing platform knows them. Does not: tracking (behaviour).
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from log_ingest.sample import clock
from log_ingest.sample.population import Population
from log_ingest.sample.scenario import DeliveryPlan

HTML, TEXT, MULTIPART = range(3)
FORMAT_NAMES = ("html", "text", "multipart")

_IGNORED_REASONS = (6, 7, 8, 9, 10, 11, 12, 14, 15, 16, 17, 25, 127)
_FAILED_REASONS = (1, 2, 3, 4, 5, 6, 8, 20)
_CONTROL_GROUP = 127
_COMPLAINT = 8
_TRACKABLE = (1, 3, 4, 5)
"""Statuses of messages that reached somebody, who may act."""


@dataclass(frozen=True)
class MessageBatch:
    """One array element per message. The first_ arrays are what the full extract says, the others the newest."""

    message_id: npt.NDArray[np.int64]
    recipient: npt.NDArray[np.int64]
    status: npt.NDArray[np.int16]
    reason: npt.NDArray[np.int16]
    event_ms: npt.NDArray[np.int64]
    content_format: npt.NDArray[np.int8]
    is_seed: npt.NDArray[np.bool_]
    is_control: npt.NDArray[np.bool_]
    in_full_extract: npt.NDArray[np.bool_]
    in_second_extract: npt.NDArray[np.bool_]
    first_status: npt.NDArray[np.int16]
    first_reason: npt.NDArray[np.int16]

    def __len__(self) -> int:
        return len(self.message_id)

    @property
    def is_referenced(self) -> npt.NDArray[np.bool_]:
        """Messages of which any extract has a row."""
        return self.in_full_extract | self.in_second_extract

    @property
    def is_trackable(self) -> npt.NDArray[np.bool_]:
        """Messages whose recipient received something to open or click."""
        reached_first = np.isin(self.first_status, _TRACKABLE)
        return reached_first & (np.isin(self.status, _TRACKABLE) | (self.reason == _COMPLAINT))


def draw_messages(
    plan: DeliveryPlan, count: int, first_id: int, population: Population, rng: np.random.Generator
) -> MessageBatch:
    """`count` messages with ids from first_id on. The very first is always sent, referenced and the earliest."""
    recipient = rng.choice(len(population), count, replace=False).astype(np.int64)
    status, reason = _statuses(plan, count, rng)
    is_seed = np.zeros(count, dtype=bool)
    if plan.is_seeds_only:
        is_seed[:] = True
    elif plan.is_proof:
        is_seed[::2] = True
    elif not plan.is_pending:
        is_seed[-3:] = True
    status[is_seed & (status == 0)] = 1
    reason[is_seed & (status == 1)] = 0

    seconds = np.sort(rng.integers(0, max(60, count // 60), count))
    event_ms = plan.sent_ms + seconds * clock.SECOND_MS
    event_ms[0] = plan.sent_ms

    draw = rng.random(count)
    is_missing = (draw < 0.006) & ~is_seed
    is_late = (draw > 0.990) & ~is_seed
    is_changed = (draw > 0.970) & ~is_late & ~is_seed
    for exception in (is_missing, is_late, is_changed):
        exception[: 40 if plan.covers_all_statuses else 1] = False
    if not plan.weight:
        for exception in (is_missing, is_late, is_changed):
            exception[:] = False

    first_status, first_reason = status.copy(), reason.copy()
    # What changes between the extracts: pending ones get sent or fail, and some readers complain.
    complains = is_changed & (status == 1) & (rng.random(count) < 0.3)
    status[complains], reason[complains] = 2, _COMPLAINT
    was_pending = is_changed & ~complains
    first_status[was_pending & (status == 2)] = 6
    first_reason[was_pending & (status == 2)] = 0
    first_status[was_pending & (status == 1)] = 5

    content_format = np.searchsorted((0.70, 0.78), rng.random(count)).astype(np.int8)
    if plan.is_text_only:
        content_format[:] = TEXT
    return MessageBatch(
        message_id=np.arange(first_id, first_id + count, dtype=np.int64),
        recipient=recipient,
        status=status,
        reason=reason,
        event_ms=event_ms,
        content_format=content_format,
        is_seed=is_seed,
        is_control=(status == 0) & (reason == _CONTROL_GROUP),
        in_full_extract=~is_missing & ~is_late,
        in_second_extract=is_late | is_changed,
        first_status=first_status,
        first_reason=first_reason,
    )


def _statuses(
    plan: DeliveryPlan, count: int, rng: np.random.Generator
) -> tuple[npt.NDArray[np.int16], npt.NDArray[np.int16]]:
    """Status and failure reason per message; one delivery starts with every documented combination."""
    if plan.is_pending:
        status = np.where(np.arange(count) % 4 == 3, 6, 8).astype(np.int16)
        return status, np.zeros(count, dtype=np.int16)
    if not plan.weight:
        return np.ones(count, dtype=np.int16), np.zeros(count, dtype=np.int16)
    shares = {1: 0.80, 3: 0.08, 0: 0.06, 2: 0.035, 5: 0.012, 6: 0.006, 7: 0.003, 8: 0.002, 4: 0.002}
    codes = np.array(list(shares), dtype=np.int16)
    bounds = np.cumsum(list(shares.values()))
    status = codes[np.searchsorted(bounds / bounds[-1], rng.random(count))]
    reason = np.zeros(count, dtype=np.int16)
    ignored, failed = status == 0, status == 2
    reason[ignored] = rng.choice(_IGNORED_REASONS, int(ignored.sum()))
    reason[failed] = rng.choice(_FAILED_REASONS, int(failed.sum()), p=(0.4, 0.1, 0.1, 0.1, 0.15, 0.02, 0.05, 0.08))
    status[0], reason[0] = 1, 0
    if plan.covers_all_statuses:
        cover = [(code, 0) for code in (3, 4, 5, 6, 7, 8, 0)]
        cover += [(0, code) for code in _IGNORED_REASONS] + [(2, code) for code in (*_FAILED_REASONS, 0)]
        length = min(len(cover), count - 4)
        status[1 : length + 1] = [code for code, _ in cover[:length]]
        reason[1 : length + 1] = [code for _, code in cover[:length]]
    return status, reason
