"""What recipients, the people they forward to, and machines do with the messages of one delivery.

Belongs here: decisions, drawn as arrays, that become events. Does not: text formats (lines), file faults (writer)
or counting (truth).

What keeps people and machines apart by construction:

* a gateway acts within 62 s of its message's sending: in one wall-clock second, or on one link after the other;
* people start 120 s after the sending at the earliest, and the non-open events of one message, by whomever, are
  at least 31 s apart.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from log_ingest.sample import clock, user_agents
from log_ingest.sample.messages import TEXT, MessageBatch
from log_ingest.sample.population import Population
from log_ingest.sample.scenario import (
    EMAIL_CLICK,
    HONEYPOT,
    OPEN_URL_ID,
    OPT_OUT,
    PARAMS,
    SHARED_ON,
    TRACKING_LOG,
    DeliveryPlan,
)

EVENT = np.dtype(
    [
        ("arrival_ms", np.int64),  # when the server wrote the line: later than occurred_ms for late lines
        ("occurred_ms", np.int64),
        ("message", np.int64),  # as written: 0 unknown, BLANK an empty field
        ("delivery", np.int64),  # as written, likewise
        ("url", np.int64),
        ("visitor", np.uint64),  # 0: empty field
        ("ip", np.uint32),
        ("recipient", np.int32),  # from here on: decided, not written. -1: no reference row leads to one
        ("link", np.int16),  # OPEN_LINK, a position in the plan's links, or their number for an unknown link
        ("agent", np.int16),
        ("params", np.int16),
        ("forwarded", np.int16),
        ("rule", np.uint8),
        ("kind", np.uint8),
        ("channel", np.uint8),  # who tells of it (scenario)
        ("method", np.uint8),  # where that is an access log
        ("page", np.int8),  # of a web hit, a position in web.PAGES; NO_PAGE: an act on a message
        ("mode", np.uint8),  # of a web hit, how it is attributed (web)
        ("articles", np.int16),
        ("amount", np.int32),  # cents; NO_AMOUNT: it cannot be read
    ],
    align=True,
)
"""One tracking event: what its line says, and what the generator knows about it (recipient, link, rule)."""

NO_PAGE = -1
NO_AMOUNT = -1
GET, HEAD, POST = range(3)
METHODS = ("GET", "HEAD", "POST")

BLANK = -1
OPEN_LINK = -1
KIND_HTML, KIND_TEXT = range(2)
KIND_LETTERS = ("h", "t")
IP_POOL_SIZE = 20_000
FORWARDED_POOL_SIZE = 64

_UNKNOWN_LINK_WEIGHT = 0.01
_THOROUGH = 3
"""To follow fewer links than this, though all, proves nothing."""
_LONGEST_DELAY_MS = 20 * clock.DAY_MS
COOKIE, FORWARD_COOKIE, FRESH_COOKIE, PROVIDER_COOKIE, PAGE_COOKIE = (np.uint64(kind << 60) for kind in range(1, 6))
"""What tells visitors apart, in the highest digit: a recipient, the friend a message was forwarded to, nobody seen
twice, what a provider tells of a message, and somebody on the site whom no message led there.
"""
_MAX_CLICKS_WITHOUT_MESSAGE = 20


@dataclass
class _Acts:
    """Events in the making: arrays of one length; `row` is the message's position in its batch.

    pattern: the machine rule that what is done together proves, whatever the user agent; HUMAN for none.
    """

    row: npt.NDArray[np.int64]
    occurred_ms: npt.NDArray[np.int64]
    link: npt.NDArray[np.int64]
    agent: npt.NDArray[np.int64]
    is_forwarded: npt.NDArray[np.bool_]
    pattern: npt.NDArray[np.uint8]


def act(
    plan: DeliveryPlan, messages: MessageBatch, population: Population, rng: np.random.Generator
) -> npt.NDArray[np.void]:
    """All events of a delivery, an EVENT array in no particular order."""
    if plan.is_pending:
        return np.zeros(0, dtype=EVENT)
    reached = np.flatnonzero(messages.is_trackable)
    parts = [
        *_people(plan, messages, reached, population, rng),
        *_prefetches(messages, reached, population, rng),
        *_gateways(plan, messages, reached, population, rng),
    ]
    events = _events(plan, messages, parts, population, rng)
    _blur_messages(events, rng)
    _blur_deliveries(events, messages, rng)
    return events


def act_without_reference(
    delivery_id: int, first_message: int, start_ms: int, count: int, rng: np.random.Generator
) -> npt.NDArray[np.void]:
    """Events of a delivery that no extract declares, one message each; delivery_id 0 leaves both ids unknown.

    One in four is a click on a link without configuration; events are at least a minute apart. With
    delivery_id 0 the message is 0, a blank or (one in eight) an id that no extract knows.
    """
    events = np.zeros(count, dtype=EVENT)
    order = np.arange(count)
    events["occurred_ms"] = start_ms + order * 61_000 + rng.integers(0, 1000, count)
    events["message"] = first_message + order
    events["delivery"] = delivery_id
    is_click = order % 4 == 3
    events["link"] = np.where(is_click, 0, OPEN_LINK)
    events["url"] = np.where(is_click, 0x7A000000 + order % 3, OPEN_URL_ID)
    if delivery_id == 0:
        is_known = order % 8 == 0
        events["message"] = np.where(is_known, first_message + order, np.where(order % 3 == 0, BLANK, 0))
        events["delivery"] = np.where(order % 5 == 0, BLANK, 0)
    events["visitor"] = COOKIE | np.uint64(1 << 40) | (order // 2).astype(np.uint64)
    events["ip"] = rng.integers(0, IP_POOL_SIZE, count)
    profile = user_agents.PROFILES[-3]
    events["agent"] = np.where(is_click, profile.click_agents[0], profile.open_agent)
    events["recipient"] = -1
    events["page"] = NO_PAGE
    events["arrival_ms"] = events["occurred_ms"]
    return events


def _people(
    plan: DeliveryPlan,
    messages: MessageBatch,
    reached: npt.NDArray[np.int64],
    population: Population,
    rng: np.random.Generator,
) -> list[_Acts]:
    """Opens, repeated opens, clicks, and forwards to somebody who opens and clicks too."""
    size = len(reached)
    who = messages.recipient[reached]
    is_text = messages.content_format[reached] == TEXT
    sees_images = ~is_text & ~population.blocks_images[who]
    is_engaged = rng.random(size) < np.minimum(0.95, 0.75 * plan.activity * population.activity[who] + 0.12)
    is_opener = is_engaged & sees_images
    is_clicker = is_engaged & (rng.random(size) < 0.30)
    opens = np.where(is_opener, np.minimum(rng.geometric(0.55, size), 12), 0)
    clicks = np.where(is_clicker, np.minimum(rng.geometric(0.45, size), 15), 0)
    forwards = is_clicker & (rng.random(size) < 0.07)
    forward_opens = np.where(forwards & ~is_text, rng.integers(1, 3, size), 0)
    forward_clicks = np.where(forwards, rng.integers(0, 4, size), 0)

    delay = np.minimum(rng.lognormal(np.log(3 * clock.HOUR_MS), 1.5, size), _LONGEST_DELAY_MS).astype(np.int64)
    first = messages.event_ms[reached] + 120_000 + delay

    row, ordinal = _expand(opens)
    pause = (rng.exponential(clock.DAY_MS, len(row))).astype(np.int64) + clock.SECOND_MS
    open_times = first[row] + np.where(ordinal > 0, np.minimum(pause, _LONGEST_DELAY_MS), 0)
    open_agent = np.array([profile.open_agent for profile in user_agents.PROFILES])
    parts = [_acts(reached[row], open_times, OPEN_LINK, open_agent[population.profile[who[row]]])]

    row, ordinal = _expand(clicks)
    times = first[row] + 5 * clock.SECOND_MS + _running_gaps(row, clicks, 25_000, rng)
    last = first + 5 * clock.SECOND_MS
    np.maximum.at(last, row, times)
    browser = _click_agents(population.profile[who[row]], who[row] + ordinal // 6)
    parts.append(_acts(reached[row], times, _links(plan, len(row), rng), browser))

    # Whoever gets the forward acts after the recipient's last click: so no two people click at once.
    forward_at = (
        last + 600_000 + np.minimum(rng.exponential(6 * clock.HOUR_MS, size).astype(np.int64), _LONGEST_DELAY_MS)
    )
    friend = rng.integers(0, len(user_agents.PROFILES), size)
    row, ordinal = _expand(forward_opens)
    opened = forward_at[row] + ordinal * 30_000
    parts.append(_acts(reached[row], opened, OPEN_LINK, open_agent[friend[row]], is_forwarded=True))
    row, _ = _expand(forward_clicks)
    times = forward_at[row] + 3_000 + _running_gaps(row, forward_clicks, 40_000, rng)
    browser = _click_agents(friend[row], who[row])
    parts.append(_acts(reached[row], times, _links(plan, len(row), rng), browser, is_forwarded=True))
    return parts


def _prefetches(
    messages: MessageBatch,
    reached: npt.NDArray[np.int64],
    population: Population,
    rng: np.random.Generator,
) -> list[_Acts]:
    """Opens that mail services make on their own: most of Apple's readers, a few of Gmail's."""
    profile = population.profile[messages.recipient[reached]]
    has_images = messages.content_format[reached] != TEXT
    parts = []
    for of_profile, agent, share in (
        (user_agents.PROFILE_APPLE_MPP, user_agents.AGENT_APPLE_MPP, 0.6),
        (user_agents.PROFILE_GMAIL, user_agents.AGENT_GMAIL_PREFETCH, 0.05),
    ):
        row = reached[(profile == of_profile) & has_images & (rng.random(len(reached)) < share)]
        times = messages.event_ms[row] + rng.integers(2_000, 6 * clock.HOUR_MS, len(row))
        parts.append(_acts(row, times, OPEN_LINK, np.full(len(row), agent)))
    return parts


def _gateways(
    plan: DeliveryPlan,
    messages: MessageBatch,
    reached: npt.NDArray[np.int64],
    population: Population,
    rng: np.random.Generator,
) -> list[_Acts]:
    """Security gateways: known robots, and disguised ones that only what they do betrays.

    Ways of the disguised: every link at once; two different links; one link five to eight times; and, patiently, one
    link after the other. Some are so hasty that their opens betray them, too.
    """
    has_gateway = population.has_gateway[messages.recipient[reached]]
    draw = rng.random(len(reached))
    scanned = reached[has_gateway & (draw < 0.7)]
    size, links = len(scanned), len(plan.links)
    way = np.searchsorted((0.25, 0.45, 0.70, 0.87), rng.random(size))
    is_robot = way <= 1
    clicks = np.where(way == 4, rng.integers(5, 9, size), np.array([1, links, links, 2, 0])[way])
    start = rng.integers(0, links, size)
    second = (messages.event_ms[scanned] + rng.integers(5_000, 60_000, size)) // 1000 * 1000 + 1000
    # The newest row of a message may name a later moment; and a provider's clock is not the platform's.
    is_hasty = (rng.random(size) < 0.25) & ~messages.in_second_extract[scanned] & (not plan.provider)
    second[is_hasty] = messages.event_ms[scanned[is_hasty]] + clock.SECOND_MS
    agent = np.where(is_robot, rng.choice(user_agents.BOT_AGENTS, size), rng.choice(user_agents.DISGUISED_AGENTS, size))

    row, ordinal = _expand(clicks)
    link = np.where(way[row] == 4, start[row], (start[row] + ordinal) % links)
    times = second[row] + rng.integers(0, 1000, len(row))
    traps = np.flatnonzero([link.category == HONEYPOT for link in plan.links])
    is_trapped = np.zeros(size, dtype=bool)
    is_trapped[row[np.isin(link, traps)]] = True
    pattern = np.where(is_trapped, user_agents.HONEYPOT, np.where(clicks > 1, user_agents.BURST, user_agents.HUMAN))
    parts = [_acts(scanned[row], times, link, agent[row], pattern[row])]

    # Some load the images too. A disguised one's open has nothing that betrays it but haste: else it stays human.
    opens = np.flatnonzero((messages.content_format[scanned] != TEXT) & ((rng.random(size) < 0.3) | is_hasty))
    is_known = messages.is_referenced[scanned]
    haste = np.where(is_hasty & is_known & (pattern != user_agents.HUMAN), user_agents.TOO_FAST, user_agents.HUMAN)
    times = second[opens] + rng.integers(0, 1000, len(opens))
    parts.append(_acts(scanned[opens], times, OPEN_LINK, agent[opens], haste[opens]))

    patient = reached[has_gateway & (draw > 0.85)] if not plan.provider else reached[:0]
    return [*parts, _patient_gateways(plan, messages, patient, rng)]


def _patient_gateways(
    plan: DeliveryPlan, messages: MessageBatch, scanned: npt.NDArray[np.int64], rng: np.random.Generator
) -> _Acts:
    """Every link that people see, and the opt-out: more than a second apart, within a minute."""
    seen = [
        position
        for position, link in enumerate(plan.links)
        if link.url_type in (EMAIL_CLICK, OPT_OUT) and link.category != HONEYPOT
    ]
    if sum(plan.links[position].url_type == EMAIL_CLICK for position in seen) < _THOROUGH:
        scanned = scanned[:0]
    row, ordinal = _expand(np.full(len(scanned), len(seen)))
    start = messages.event_ms[scanned] + rng.integers(5_000, 30_000, len(scanned))
    times = start[row] + ordinal * 2_000 + rng.integers(0, 900, len(row))
    agent = rng.choice(user_agents.DISGUISED_AGENTS, len(scanned))
    return _acts(scanned[row], times, np.array(seen)[ordinal], agent[row], np.full(len(row), user_agents.ALL_LINKS))


def _events(
    plan: DeliveryPlan,
    messages: MessageBatch,
    parts: list[_Acts],
    population: Population,
    rng: np.random.Generator,
) -> npt.NDArray[np.void]:
    """Completes the acts: cookies, addresses, parameters, verdicts, late arrival."""
    row = np.concatenate([part.row for part in parts])
    size = len(row)
    events = np.zeros(size, dtype=EVENT)
    who = messages.recipient[row]
    events["occurred_ms"] = np.concatenate([part.occurred_ms for part in parts])
    events["message"] = messages.message_id[row]
    events["delivery"] = plan.delivery_id
    events["recipient"] = np.where(messages.is_referenced[row], who, -1)

    link = np.concatenate([part.link for part in parts])
    # Taking position -1 of the table gives its last element: the open.
    url_ids = np.array([*(item.url_id for item in plan.links), plan.unknown_url_id, OPEN_URL_ID])
    events["link"], events["url"] = link, url_ids[link]
    first_param = np.array([*(item.params[0] for item in plan.links), 0, 0])
    param_count = np.array([*(item.params[1] for item in plan.links), len(PARAMS), 1])
    events["params"] = first_param[link] + rng.integers(0, 1 << 16, size) % param_count[link]

    is_forwarded = np.concatenate([part.is_forwarded for part in parts])
    is_shared = is_forwarded & (link == OPEN_LINK) & (rng.random(size) < 0.4)
    events["params"][is_shared] = plan.share_params + rng.integers(0, len(SHARED_ON), int(is_shared.sum()))

    agent = np.concatenate([part.agent for part in parts])
    rules = np.array([item.rule for item in user_agents.AGENTS], dtype=np.uint8)
    pattern = np.concatenate([part.pattern for part in parts])
    events["agent"] = agent
    events["rule"] = np.where(rules[agent] == user_agents.HUMAN, pattern, rules[agent])

    is_proxy = np.array([item.is_proxy for item in user_agents.AGENTS])[agent]
    is_scan = pattern != user_agents.HUMAN
    is_fresh = is_proxy | is_scan | (population.refuses_cookies[who] & ~is_forwarded)
    fresh = FRESH_COOKIE | np.uint64(plan.index << 36) | np.arange(size, dtype=np.uint64)
    kept = np.where(
        is_forwarded,
        FORWARD_COOKIE | events["message"].astype(np.uint64),
        COOKIE | who.astype(np.uint64),
    )
    events["visitor"] = np.where(is_fresh, fresh, kept)
    events["visitor"][rng.random(size) < 0.003] = 0

    is_text_kind = (messages.content_format[row] == TEXT) | ((link != OPEN_LINK) & (rng.random(size) < 0.02))
    events["kind"] = np.where(is_text_kind, KIND_TEXT, KIND_HTML)
    spread = who * 7919 + np.where(is_forwarded, 104_729, 0) + np.where(is_proxy, agent * 31, 0)
    events["ip"] = spread % IP_POOL_SIZE
    has_chain = rng.random(size) < 0.05
    events["forwarded"] = np.where(has_chain, rng.integers(1, FORWARDED_POOL_SIZE, size), 0)

    is_late = rng.random(size) < 0.003
    lateness = rng.integers(2 * clock.DAY_MS, 9 * clock.DAY_MS, size)
    events["arrival_ms"] = events["occurred_ms"] + np.where(is_late, lateness, 0)
    events["page"] = NO_PAGE
    events["channel"] = plan.collector
    if plan.collector != TRACKING_LOG:
        _request(plan, events, is_scan & (link != OPEN_LINK), rng)
    return events


def _request(
    plan: DeliveryPlan, events: npt.NDArray[np.void], is_scan: npt.NDArray[np.bool_], rng: np.random.Generator
) -> None:
    """What only a web server's log shows: times in whole seconds, at once, and the method.

    Some gateways ask for no content; mail programs unsubscribe with one click.
    """
    events["occurred_ms"] //= clock.SECOND_MS
    events["occurred_ms"] *= clock.SECOND_MS
    events["arrival_ms"] = events["occurred_ms"]
    draw = rng.random(len(events))
    is_head = is_scan & (draw < 0.2)
    types = np.array([*(item.url_type for item in plan.links), 0, 0])[events["link"]]
    is_one_click = (types == OPT_OUT) & (events["rule"] == user_agents.HUMAN) & (draw < 0.3)
    events["method"] = np.where(is_head, HEAD, np.where(is_one_click, POST, GET))
    # The rules stand in the order of their priority.
    beaten = (events["rule"] == user_agents.HUMAN) | (events["rule"] > user_agents.HEAD_REQUEST)
    events["rule"][is_head & beaten] = user_agents.HEAD_REQUEST


def _blur_messages(events: npt.NDArray[np.void], rng: np.random.Generator) -> None:
    """Lines whose message id is 0 or empty: some opens, and a few clicks that stay well apart from each other."""
    draw = rng.random(len(events))
    is_open = events["link"] == OPEN_LINK
    chosen = is_open & (draw < 0.004)
    candidates = np.flatnonzero(~is_open & (events["rule"] == 0) & (draw < 0.03))
    last = 0
    taken = 0
    for position in candidates[np.argsort(events["occurred_ms"][candidates], kind="stable")].tolist():
        moment = int(events["occurred_ms"][position])
        if moment - last >= clock.HOUR_MS:
            chosen[position] = True
            last = moment
            taken += 1
            if taken == _MAX_CLICKS_WITHOUT_MESSAGE:
                break
    events["message"][chosen] = np.where(rng.random(int(chosen.sum())) < 0.5, 0, BLANK)
    events["recipient"][chosen] = -1
    # Without its message nobody knows when that was sent.
    events["rule"][chosen & (events["rule"] == user_agents.TOO_FAST)] = user_agents.HUMAN


def _blur_deliveries(events: npt.NDArray[np.void], messages: MessageBatch, rng: np.random.Generator) -> None:
    """Lines whose delivery id is 0 or empty, where the message still tells the delivery."""
    chosen = (events["recipient"] >= 0) & (events["message"] > 0) & (rng.random(len(events)) < 0.003)
    events["delivery"][chosen] = np.where(rng.random(int(chosen.sum())) < 0.5, 0, BLANK)


def _acts(
    row: npt.NDArray[np.int64],
    occurred_ms: npt.NDArray[np.int64],
    link: npt.NDArray[np.int64] | int,
    agent: npt.NDArray[np.int64],
    pattern: npt.NDArray[np.int64] | None = None,
    *,
    is_forwarded: bool = False,
) -> _Acts:
    size = len(row)
    links = np.full(size, link, dtype=np.int64) if isinstance(link, int) else link.astype(np.int64)
    patterns = np.zeros(size, dtype=np.uint8) if pattern is None else pattern.astype(np.uint8)
    return _Acts(row, occurred_ms, links, agent.astype(np.int64), np.full(size, is_forwarded), patterns)


def _expand(counts: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Position n counts[n] times in a row, and the ordinal (from 0) of each repetition."""
    row = np.repeat(np.arange(len(counts)), counts)
    start = np.cumsum(counts) - counts
    return row, np.arange(len(row)) - start[row]


def _running_gaps(
    row: npt.NDArray[np.int64], counts: npt.NDArray[np.int64], mean_ms: int, rng: np.random.Generator
) -> npt.NDArray[np.int64]:
    """Milliseconds from each group's start, rising by 31 s plus an exponential pause per repetition.

    So nobody follows three links in a minute, which would be a machine's way.
    """
    gaps = 31_000 + rng.exponential(mean_ms, len(row)).astype(np.int64)
    total = np.concatenate([[0], np.cumsum(gaps)])
    start = np.cumsum(counts) - counts
    return total[1:] - total[start[row]]


def _links(plan: DeliveryPlan, size: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """A link per click by weight; len(plan.links) stands for one without configuration."""
    weights = np.array([link.weight for link in plan.links])
    bounds = np.cumsum([*(weights / weights.sum()), _UNKNOWN_LINK_WEIGHT])
    return np.searchsorted(bounds / bounds[-1], rng.random(size))


_CLICK_AGENTS = np.array(
    # Repeating each profile's browsers to a common length makes one table of them.
    [[profile.click_agents[n % len(profile.click_agents)] for n in range(12)] for profile in user_agents.PROFILES]
)


def _click_agents(profile: npt.NDArray[np.integer], who: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    return _CLICK_AGENTS[profile, who % 12]
