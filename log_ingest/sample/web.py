"""What visitors do on the site's pages, and to whom each page hit belongs.

Belongs here: the pages with a web-tracking tag, the visits, how a hit is attributed under permanent web tracking. Does
not: the text of a request (access_lines), clicks in messages (behaviour).

What makes the attribution certain: a visit begins with a click of a known message; a recipient's visit names its
session; only friends, whose cookie meets one message in all its life, are known by their cookie alone.
"""

import hashlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from log_ingest.sample import clock, user_agents
from log_ingest.sample.behaviour import (
    COOKIE,
    EVENT,
    FORWARD_COOKIE,
    IP_POOL_SIZE,
    NO_AMOUNT,
    OPEN_LINK,
    PAGE_COOKIE,
)
from log_ingest.sample.population import FIRST_RECIPIENT_ID, Population
from log_ingest.sample.scenario import EMAIL_CLICK, NGINX, OFFER_CLICK, PROVIDER, DeliveryPlan

WEB, TRANSACTION = 4, 5
SESSION, FORCED, LAST_DELIVERY, UNATTRIBUTED, OPTED_OUT = range(1, 6)
OUTCOMES = ("", "session", "forced", "last_delivery", "unattributed", "opted_out")
"""By the mode of a web hit. The last two are not kept, only counted."""
KEPT = (SESSION, FORCED, LAST_DELIVERY)


@dataclass(frozen=True)
class Page:
    """A page with a tag. tag is what its hits say; a page without URL id was made on the fly by its tag."""

    tag: str
    label: str
    url_type: int
    declared_url_id: int = 0

    @property
    def url_id(self) -> int:
        """The declared one, else 2^52 plus 48 bits of the md5 of the tag's name and the type."""
        if self.declared_url_id:
            return self.declared_url_id
        digest = hashlib.md5(f"{self.label}|{self.url_type}".encode()).hexdigest()
        return (1 << 52) + int(digest[:12], 16)


PAGES = (
    Page("home", "Home page", WEB, 0x7B000001),
    Page("product", "Product page", WEB, 0x7B000002),
    Page("cart", "Shopping basket", WEB, 0x7B000003),
    Page("order", "Order confirmed", TRANSACTION, 0x7B000004),
    Page("spring|w|campaigns", "spring", WEB),
    Page("voucher|t|campaigns", "voucher", TRANSACTION),
)
PATH_LABEL = "Purchase"
PATH = (0, 1, 2, 3)
"""Positions of its steps in PAGES, in order."""
_FORCED_PAGES = np.array([4, 5, 3])
_IS_TRANSACTION = np.array([page.url_type == TRANSACTION for page in PAGES])

_VISIT_SHARE = 0.12
_KIND_MASK = np.uint64(0xF << 60)


def visit(
    plan: DeliveryPlan, events: npt.NDArray[np.void], population: Population, rng: np.random.Generator
) -> npt.NDArray[np.void]:
    """The page hits that go with the acts on one delivery, an EVENT array in no particular order.

    `message`, `delivery` and `recipient` are those that the hit belongs to; of hits that are not kept, those that
    the request names.
    """
    starts = _starts(plan, events, rng)
    blurred = events["visitor"][(events["message"] <= 0) | (events["delivery"] <= 0)]
    is_friend = (starts["visitor"] & _KIND_MASK) == FORWARD_COOKIE
    is_known = is_friend & ~np.isin(starts["visitor"], blurred) & (rng.random(len(starts)) < 0.5)
    depth = np.searchsorted((0.45, 0.75, 0.88), rng.random(len(starts))) + 1
    parts = [_walk(starts, depth, np.where(is_known, LAST_DELIVERY, SESSION), rng)]
    if len(starts):
        number = len(starts)
        fresh = PAGE_COOKIE | np.uint64(plan.index << 36)
        forced = _strangers(starts, 2 + number // 20, fresh, FORCED, rng)
        forced["page"] = _FORCED_PAGES[rng.integers(0, len(_FORCED_PAGES), len(forced))]
        forced["message"] = 0
        # Every other of these pages knows who its visitor is and says so.
        named = rng.integers(0, len(population), len(forced))
        forced["recipient"] = np.where(np.arange(len(forced)) % 2 == 0, named, -1)
        unknown = _strangers(starts, 2 + number // 4, fresh | np.uint64(1 << 32), UNATTRIBUTED, rng)
        unknown["message"] = unknown["delivery"] = 0
        unknown["recipient"] = -1
        is_robot = rng.random(len(unknown)) < 0.2
        unknown["agent"][is_robot] = rng.choice(user_agents.BOT_AGENTS, int(is_robot.sum()))
        unknown["rule"][is_robot] = user_agents.KNOWN_BOT
        refused = _strangers(starts, 2 + number // 12, fresh | np.uint64(2 << 32), OPTED_OUT, rng)
        parts += [forced, unknown, refused]
    hits = np.concatenate(parts)
    hits["url"] = np.array([page.url_id for page in PAGES])[hits["page"]]
    _buy(hits, rng)
    return hits


def page_of_recipient(hits: npt.NDArray[np.void]) -> npt.NDArray[np.int64]:
    """What rcpid names: recipient ids of forced hits, 0 where the page names nobody."""
    is_named = (hits["mode"] == FORCED) & (hits["recipient"] >= 0)
    return np.where(is_named, hits["recipient"].astype(np.int64) + FIRST_RECIPIENT_ID, 0)


def _starts(plan: DeliveryPlan, events: npt.NDArray[np.void], rng: np.random.Generator) -> npt.NDArray[np.void]:
    """Clicks after which somebody looks around: one of each visitor that has a lasting cookie."""
    types = np.array([*(link.url_type for link in plan.links), 0, 0])[events["link"]]
    kind = events["visitor"] & _KIND_MASK
    possible = (
        np.isin(types, (EMAIL_CLICK, OFFER_CLICK))
        & (events["rule"] == user_agents.HUMAN)
        & (events["channel"] != PROVIDER)
        & (events["message"] > 0)
        & (events["delivery"] > 0)
        & ((kind == COOKIE) | (kind == FORWARD_COOKIE))
    )
    clicks = events[possible]
    # Friends are few, and the last delivery is known of them only.
    share = np.where((clicks["visitor"] & _KIND_MASK) == FORWARD_COOKIE, 0.5, _VISIT_SHARE)
    clicks = clicks[rng.random(len(clicks)) < share]
    _, first = np.unique(clicks["visitor"], return_index=True)
    return clicks[first]


def _walk(
    starts: npt.NDArray[np.void],
    depth: npt.NDArray[np.int64],
    mode: npt.NDArray[np.int64],
    rng: np.random.Generator,
) -> npt.NDArray[np.void]:
    """Each visit's hits: the first `depth` steps of the path, at least 4 s apart."""
    row = np.repeat(np.arange(len(starts)), depth)
    step = np.arange(len(row)) - (np.cumsum(depth) - depth)[row]
    moment = starts["occurred_ms"][row] + 5_000 + step * 45_000 + rng.integers(0, 40_000, len(row))
    return _hits(starts[row], moment, np.array(PATH)[step], mode[row])


def _strangers(
    starts: npt.NDArray[np.void], count: int, first_visitor: np.uint64, mode: int, rng: np.random.Generator
) -> npt.NDArray[np.void]:
    """`count` single hits of visitors never seen elsewhere, at some time after one of the starts."""
    row = rng.integers(0, len(starts), count)
    moment = starts["occurred_ms"][row] + rng.integers(clock.SECOND_MS, 6 * clock.HOUR_MS, count)
    hits = _hits(starts[row], moment, rng.integers(0, len(PATH), count), np.full(count, mode))
    hits["visitor"] = first_visitor | np.arange(count, dtype=np.uint64)
    hits["ip"] = rng.integers(0, IP_POOL_SIZE, count)
    return hits


def _hits(
    starts: npt.NDArray[np.void],
    moment: npt.NDArray[np.int64],
    page: npt.NDArray[np.int64],
    mode: npt.NDArray[np.int64],
) -> npt.NDArray[np.void]:
    hits = np.zeros(len(starts), dtype=EVENT)
    for name in ("message", "delivery", "visitor", "ip", "recipient", "agent"):
        hits[name] = starts[name]
    hits["occurred_ms"] = moment // clock.SECOND_MS * clock.SECOND_MS
    hits["arrival_ms"] = hits["occurred_ms"]
    hits["link"] = OPEN_LINK
    hits["channel"] = NGINX
    hits["page"], hits["mode"] = page, mode
    return hits


def _buy(hits: npt.NDArray[np.void], rng: np.random.Generator) -> None:
    """Amounts and articles of purchases; a few pages write an amount that nobody can read."""
    size = len(hits)
    is_purchase = _IS_TRANSACTION[hits["page"]]
    amount = np.where(rng.random(size) < 0.02, NO_AMOUNT, rng.integers(495, 30_000, size))
    hits["amount"] = np.where(is_purchase, amount, 0)
    hits["articles"] = np.where(is_purchase, rng.integers(1, 6, size), 0)
