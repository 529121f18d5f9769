"""What an e-mail service provider tells of the messages of one delivery, and which acts only it tells.

Belongs here: decisions: who tells of which act, verdicts, outcomes. Does not: JSON (esp_payloads), files (esp_feed).

What makes it certain which two records are of one act: a provider tells of acts only where all opens of the message,
and all its clicks, lie at least 30 s apart, and its clock is at most 3 s off.
"""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from log_ingest.sample import clock, user_agents
from log_ingest.sample.behaviour import OPEN_LINK, PROVIDER_COOKIE
from log_ingest.sample.messages import MessageBatch
from log_ingest.sample.scenario import OPT_OUT, PROVIDER, UNSUBSCRIPTION_URL, DeliveryPlan

TOLD = np.dtype(
    [
        ("moment_ms", np.int64),
        ("row", np.int64),  # the message's position in its batch
        ("kind", np.uint8),
        ("verdict", np.uint8),
        ("link", np.int16),
        ("agent", np.int16),
        ("ip", np.uint32),
    ],
    align=True,
)
"""One event of a webhook. link and agent are those of EVENT; of opens, clicks and unsubscriptions only."""

PROCESSED, DELIVERED, DEFERRED, HARD, FULL, REFUSED, UNREACHABLE, COMPLAINT, OPENED, CLICKED, UNSUBSCRIBED = range(11)
BOUNCES = {HARD: 1, FULL: 5, REFUSED: 20, UNREACHABLE: 3}
"""Kinds of bounces, and the failure reason that each stands for."""
NO_VERDICT, PERSON, MACHINE = range(3)

_CALM_MS = 30_000
_CLOCK_OFF_MS = 3_000
_BOTH, _OWN_ONLY = 0.55, 0.75
"""Bounds of the shares of acts that both tell, that only our own log tells; the rest only the provider."""
_FAILED, _COMPLAINT_REASON, _SENT = 2, 8, 1


@dataclass(frozen=True)
class Feed:
    """What a provider tells of one delivery: a TOLD array in the order of time, and what follows from it.

    messages are those of the delivery with the outcome that counts: the provider's where the platform has no final
    word. told_outcomes counts the messages whose status the provider tells. both: by kind of act (open, click,
    opt_out), how many acts our own log tells too.
    """

    told: npt.NDArray[np.void]
    messages: MessageBatch
    told_outcomes: int
    both: dict[str, int]


def tell(plan: DeliveryPlan, messages: MessageBatch, events: npt.NDArray[np.void], rng: np.random.Generator) -> Feed:
    """Draws what plan.provider tells. `events` (all of the delivery) are changed in place: acts that only the provider
    tells get its channel, and people that it takes for machines its verdict.
    """
    possible = messages.is_referenced & ~messages.is_seed & np.isin(messages.status, (1, 2, 3, 4, 5))
    rows = np.sort(rng.permutation(np.flatnonzero(possible))[: plan.provider_messages])
    is_covered = np.zeros(len(messages), dtype=bool)
    is_covered[rows] = True
    has_acts = np.zeros(len(messages), dtype=bool)
    known = events["message"] > 0
    has_acts[events["message"][known] - messages.message_id[0]] = True

    outcomes, newest, count = _outcomes(messages, rows, has_acts, rng)
    acts, both = _acts(plan, messages, events, is_covered, rng)
    told = np.concatenate([outcomes, acts])
    told = told[np.argsort(told["moment_ms"], kind="stable")]
    return Feed(told, newest, count, both)


def _outcomes(
    messages: MessageBatch, rows: npt.NDArray[np.int64], has_acts: npt.NDArray[np.bool_], rng: np.random.Generator
) -> tuple[npt.NDArray[np.void], MessageBatch, int]:
    """What became of the messages at `rows`, the messages with it, and of how many the provider has the last word."""
    status, reason = messages.status.copy(), messages.reason.copy()
    sent = messages.event_ms[rows]
    number = np.arange(len(rows))
    was = status[rows]
    failed = was == _FAILED
    complained = failed & (reason[rows] == _COMPLAINT_REASON)
    kinds = np.array(list(BOUNCES))
    kind_of_reason = np.full(256, UNREACHABLE)
    kind_of_reason[list(BOUNCES.values())] = kinds
    # Some of those that nobody opened come back hours later, and some readers complain: the platform knows neither.
    is_eligible = np.isin(was, (1, 3, 5))
    comes_back = is_eligible & ~has_acts[rows] & (number % 16 == 3)
    objects = is_eligible & ~comes_back & (number % 25 == 11)

    arrived = ~failed | complained
    parts = [
        _told(rows, sent + 1_000, PROCESSED),
        _told(rows[arrived], sent[arrived] + rng.integers(3_000, 60_000, int(arrived.sum())), DELIVERED),
    ]
    delayed = arrived & (number % 20 == 7)
    parts.append(_told(rows[delayed], sent[delayed] + 2_000, DEFERRED))
    refused = failed & ~complained
    parts.append(_told(rows[refused], sent[refused] + 5_000, kind_of_reason[reason[rows][refused]]))
    later = kinds[number // 16 % len(kinds)]
    hours = clock.HOUR_MS * (3 + number % 5)
    parts.append(_told(rows[comes_back], (sent + hours)[comes_back], later[comes_back]))
    objecting = complained | objects
    parts.append(_told(rows[objecting], (sent + hours)[objecting], COMPLAINT))

    status[rows[is_eligible]], reason[rows[is_eligible & (was != _SENT)]] = _SENT, 0
    status[rows[comes_back | objects]] = _FAILED
    reason_of_kind = np.zeros(16, dtype=np.int16)
    reason_of_kind[kinds] = list(BOUNCES.values())
    reason[rows[comes_back]] = reason_of_kind[later[comes_back]]
    reason[rows[objects]] = _COMPLAINT_REASON
    # Of a message that was sent, that it arrived is no news.
    count = int((is_eligible & ((was != _SENT) | comes_back | objects)).sum())
    return np.concatenate(parts), replace(messages, status=status, reason=reason), count


def _acts(
    plan: DeliveryPlan,
    messages: MessageBatch,
    events: npt.NDArray[np.void],
    is_covered: npt.NDArray[np.bool_],
    rng: np.random.Generator,
) -> tuple[npt.NDArray[np.void], dict[str, int]]:
    row = events["message"] - messages.message_id[0]
    chosen = np.flatnonzero(events["message"] > 0)
    chosen = chosen[is_covered[row[chosen]]]
    chosen = chosen[_is_calm(row[chosen], events[chosen], len(messages))]
    unknown = events["link"][chosen] == len(plan.links)
    # Who shared it stands in the parameters of our own log: no provider tells of it.
    shared = events["params"][chosen] >= plan.share_params
    chosen = chosen[~unknown & ~shared]
    draw = rng.random(len(chosen))
    is_both, is_only_told = draw < _BOTH, draw >= _OWN_ONLY

    types = np.array([*(link.url_type for link in plan.links), 0, 0])[events["link"][chosen]]
    is_open = events["link"][chosen] == OPEN_LINK
    is_opt_out = types == OPT_OUT
    rule = events["rule"][chosen]
    # Some providers tell of the click on the opt-out link and of the unsubscription, some of the latter only: that
    # names no user agent, so nothing would show that a robot clicked.
    tells_click = ~is_opt_out | (rule != user_agents.HUMAN) | (rng.random(len(chosen)) < 0.5)
    moment = events["occurred_ms"][chosen] + rng.integers(-_CLOCK_OFF_MS, _CLOCK_OFF_MS, len(chosen))

    judges = (is_open if plan.provider == "sendgrid" else ~is_opt_out) & (plan.provider in ("sendgrid", "mailgun"))
    is_machine = judges & ((rule != user_agents.HUMAN) | (rng.random(len(chosen)) < 0.06))
    told = is_both | is_only_told
    convicted = chosen[told & is_machine & (rule == user_agents.HUMAN)]
    events["rule"][convicted] = user_agents.PROVIDER_VERDICT

    only = chosen[is_only_told]
    events["channel"][only] = PROVIDER
    events["visitor"][only] = PROVIDER_COOKIE | events["message"][only].astype(np.uint64)
    events["params"][only] = 0
    events["url"][chosen[is_only_told & ~tells_click]] = UNSUBSCRIPTION_URL

    parts = []
    for which, kind, delay in (
        (is_open, OPENED, 0),
        (~is_open & tells_click, CLICKED, 0),
        (is_opt_out, UNSUBSCRIBED, 1_000),
    ):
        at = which & told
        part = _told(row[chosen[at]], moment[at] + delay, kind)
        for name in ("link", "agent", "ip"):
            part[name] = events[name][chosen[at]]
        if kind != UNSUBSCRIBED:
            part["verdict"] = np.where(judges[at], np.where(is_machine[at], MACHINE, PERSON), NO_VERDICT)
        parts.append(part)
    both = {
        "open": int((is_open & is_both).sum()),
        "opt_out": int((is_opt_out & is_both).sum()),
        "click": int((~is_open & ~is_opt_out & is_both).sum()),
    }
    return np.concatenate(parts), both


def _is_calm(row: npt.NDArray[np.int64], events: npt.NDArray[np.void], message_count: int) -> npt.NDArray[np.bool_]:
    """Events of messages of which no two opens, and no two other acts, are near each other."""
    group = row * 2 + (events["link"] == OPEN_LINK)
    order = np.lexsort((events["occurred_ms"], group))
    near = (np.diff(group[order]) == 0) & (np.diff(events["occurred_ms"][order]) < _CALM_MS)
    is_hasty = np.zeros(message_count, dtype=bool)
    is_hasty[row[order][:-1][near]] = True
    return ~is_hasty[row]


def _told(
    row: npt.NDArray[np.int64], moment_ms: npt.NDArray[np.int64], kind: npt.NDArray[np.int64] | int
) -> npt.NDArray[np.void]:
    told = np.zeros(len(row), dtype=TOLD)
    told["row"], told["moment_ms"], told["kind"] = row, moment_ms, kind
    return told
