"""Web tracking, computed a second time in plain Python over random logs, in all three modes; and any order of arrival
gives the same.

Belongs here: a random world typed as log lines and reference files, and loops that say from the definitions what
becomes of each web hit. Nothing below reads the models' SQL or macros.
"""

import csv
import hashlib
import json
import os
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from pathlib import Path
from urllib.parse import quote, quote_plus, unquote_plus

import pytest

from orchestration.explain import Explanation, explainer
from tests.accesslines import access_log, request
from tests.loglines import BROWSER, line, logs
from tests.marts import assert_same_tables, build_marts, connect, tables
from tests.published import publish_to_explain

SEEDS = (1, 2, 3)
MODES = ("session", "permanent", "anonymous")
MACHINE = "Mozilla/5.0"
MODELS = (
    *("+rpt_tracking_indicators", "+rpt_tracking_indicators_by_domain", "+rpt_web_paths", "+rpt_web_hits_by_outcome"),
    *("+rpt_url_click_streams", "+rpt_user_activity", "+fct_web_visits", "+fct_transactions", "+profile_tracking"),
    *("indicator_counts", "indicator_catalogue"),
)
START = datetime(2024, 5, 1, 10)
Explain = Callable[[str, Mapping[str, str]], Explanation]


@dataclass
class Event:
    text: bytes
    at: datetime
    message: int
    logged_delivery: int
    url: int
    forced: int
    visitor: str
    params: str
    human: bool
    opted_out: bool
    source: str

    @property
    def key(self) -> str:
        return hashlib.md5(self.text.rstrip(b"\n")).hexdigest()

    @property
    def in_range(self) -> bool:
        return datetime(2000, 1, 1) <= self.at < datetime(2100, 1, 1)


@dataclass
class World:
    """Reference rows in the order of their versions: the last one of a key is the newest."""

    reference: dict[str, list[dict]] = field(default_factory=lambda: defaultdict(list))
    events: list[Event] = field(default_factory=list)

    def current(self, entity: str, *key: str) -> dict[tuple, dict]:
        return {tuple(row[name] for name in key): row for row in self.reference[entity]}

    def happens(
        self, at: datetime, *, message: int = 0, delivery: int = 0, url: int = 0, forced: int = 0,
        visitor: str = "", params: str = "", human: bool = True,
    ) -> None:  # fmt: skip
        text = line(
            len(self.events), at=at.isoformat(timespec="microseconds"), message=message, delivery=delivery, url=url,
            forced=forced, visitor=visitor, params=params, agent=BROWSER if human else MACHINE,
        )  # fmt: skip
        self.events.append(
            Event(text, at, message, delivery, url, forced, visitor, params, human, False, "tracking_logs")
        )

    def is_requested(
        self, at: datetime, *, message: int = 0, delivery: int = 0, url: int = 0, forced: int = 0,
        visitor: str = "", params: str = "", human: bool = True, opted_out: bool = False,
    ) -> None:  # fmt: skip
        """The same in an access log, which shows cookies. A page has no url: its tag is in params."""
        at = at.replace(microsecond=0)
        cookies = [f"uuid230={visitor}"] if visitor else []
        cookies += ["acoptout=1"] if opted_out else []
        if url:
            target = f"/r/?id=h{message:x},{delivery:x},{url:x}"
        else:
            cookies += [f"nlid={message:x}|{delivery:x}"] if message or delivery else []
            params += f"&jobid={forced:x}" if forced else ""
            target = f"/r/{len(self.events)}?{params}"
        text = request(
            target, at=at.strftime("%d/%b/%Y:%H:%M:%S +0000"), agent=BROWSER if human else MACHINE,
            appended=f' "{"; ".join(cookies) or "-"}"', size=len(self.events),
        ).encode() + b"\n"  # fmt: skip
        params = params if not url else ""
        self.events.append(
            Event(text, at, message, delivery, url, forced, visitor, params, human, opted_out, "access_logs")
        )


def grow(world: World, seed: int) -> None:
    """One more site with deliveries, tags, recipients and visitors of its own."""
    rng = random.Random(seed)
    base = seed * 1000
    deliveries = [base + n for n in range(4)]
    recipients = [base + n for n in range(8)]
    messages = [base * 10 + n for n in range(24)]
    links = {base + 50: 1, base + 51: 3, base + 52: 6, base + 53: 11, base + 54: 4, base + 55: 5}
    home, cart, shared_page = base + 100, base + 101, base + 102
    for delivery in deliveries[:3]:
        world.reference["deliveries"].append({"delivery_id": delivery, "label": f"D{delivery}"})
        for url, kind in links.items():
            row = {"url_id": url, "delivery_id": delivery, "label": f"L{url}", "url_type": kind}
            if rng.random() < 0.8:
                world.reference["tracked_urls"].append(row)
    world.reference["tracked_urls"] += [
        {"url_id": shared_page, "delivery_id": 0, "label": "Shared", "url_type": 4},
        # Declared as a tag too: the link wins.
        {"url_id": base + 103, "delivery_id": 0, "label": "Both", "url_type": 5},
    ]
    for n, message in enumerate(messages[:-4]):
        row = {"message_id": message, "delivery_id": deliveries[n % 4], "recipient_id": recipients[n % 7], "status": 1}
        world.reference["messages"].append({**row, "address": f"m{message}@{rng.choice('ab')}.example"})
    for n, recipient in enumerate(recipients):
        old = {"recipient_id": recipient, "email": f"old{n}@s{seed}.example", "Account": f"A{seed}-{n}"}
        new = {"recipient_id": recipient, "email": f"R{n % 6}@S{seed}.Example", "Account": f"A{seed}-{n}"}
        world.reference["recipients"] += [old, new]
    world.reference["web_tags"] += [
        {"tag_id": f"moved{seed}", "url_id": home, "label": "Old", "url_type": 5},
        {"tag_id": f"home{seed}", "url_id": home, "label": "Home", "url_type": 4},
        {"tag_id": f"cart{seed}", "url_id": cart, "label": "", "url_type": 5},
        {"tag_id": f"both{seed}", "url_id": base + 103, "label": "Both", "url_type": 4},
        {"tag_id": f"bare{seed}", "url_id": "", "label": "Bare", "url_type": 5},
        {"tag_id": f"plain{seed}", "url_id": "", "label": "", "url_type": ""},
        {"tag_id": f"odd{seed}", "url_id": base + 104, "label": "Odd", "url_type": 1},
        {"tag_id": f"moved{seed}", "url_id": base + 105, "label": "Moved", "url_type": 5},
    ]
    pages = [home, cart, shared_page, base + 103, base + 104, base + 105, base + 54]
    for step, page in ((10, home), (20, shared_page), (30, cart)):
        world.reference["web_paths"].append(
            {
                "path_label": f"buy{seed}",
                "step_number": step,
                "url_id": page,
                "traffic_source": "ads" if step > 10 else "",
            }
        )
    for label, steps in (
        ("again", (home, shared_page, home)),
        ("one", (cart,)),
        ("twice", (home, home)),
        ("hidden", (home, base + 999, cart)),
    ):
        for step, page in enumerate(steps, 1):
            world.reference["web_paths"].append(
                {"path_label": f"{label}{seed}", "step_number": step, "url_id": page, "traffic_source": ""}
            )
    visitors = ["", *(f"0000000{seed}-0000-4000-8000-{n:012d}" for n in range(12))]
    tags = [f"{name}{seed}" for name in ("home", "home", "cart", "cart", "both", "bare", "plain", "odd", "moved")]
    tags += [f"fly{seed}|w|shop", f"fly{seed}|t|shop", f" fly{seed} |T|", f"cart{seed}|w|x", f"nobody{seed}", "|w|x"]
    amounts = ["10", "12,5", "0.10", "19.990000000000002", "-3.00", "1e5", "ten", "1.234,5", "", "99999999999999999"]
    for _ in range(320):
        # A coarse clock, so that much happens at the same moment.
        at = START + timedelta(seconds=rng.randrange(240))
        if rng.random() < 0.04:
            at = at.replace(year=rng.choice([1999, 2199]))
        visitor, human = rng.choice(visitors), rng.random() < 0.85
        message = rng.choice(messages)
        delivery = rng.choice([*deliveries, 0])
        if rng.random() < 0.25:
            world.happens(
                at, message=rng.choice([message, 0]), delivery=delivery, url=rng.choice([1, 1, *links]),
                visitor=visitor, human=human, params=rng.choice(["", "", "p1=x&tagid=no"]),
            )  # fmt: skip
            continue
        session = rng.random() < 0.2
        if rng.random() < 0.3:
            said = {"visitor": visitor, "human": human, "opted_out": rng.random() < 0.04}
            if rng.random() < 0.2:
                world.is_requested(at, message=message, delivery=delivery, url=rng.choice([1, *links]), **said)
            else:
                ids = {"message": message, "delivery": delivery} if session else {"forced": rng.choice([0, 0, base])}
                text = f"tagid={quote(rng.choice(tags[:-1]))}&amount={rng.choice(amounts)}&rcpid=id%3D{base + 1}"
                world.is_requested(at, params=text if rng.random() < 0.3 else text.partition("&")[0], **ids, **said)
            continue
        given = []
        url = 0
        if rng.random() < 0.6:
            given.append(("tagid", rng.choice(tags)))
        if not given or rng.random() < 0.1:
            url = rng.choice(pages)
        if rng.random() < 0.25:
            n = rng.randrange(8)
            who = rng.choice(
                [
                    *(f"email=r{n}@s{seed}.example", f"@email= R{n}@S{seed}.EXAMPLE", f"account=A{seed}-{n}"),
                    *(f"recipient_id={base + n}", f"id={base + n}"),
                    *("email=", "email=nobody@x.example", "12", "shoe=42", "=5"),
                ]
            )
            given.append(("rcpid", who))
        if rng.random() < 0.5:
            given.append(("amount", rng.choice(amounts)))
        if rng.random() < 0.4:
            given.append(("article", rng.choice(["1", "2l", "-1", "3.5", "x", "9999999999", ""])))
        if rng.random() < 0.4:
            given += [("Colour", "bleu ciel é"), ("size", "1=2"), ("size", "again")][: rng.randrange(1, 4)]
        rng.shuffle(given)
        params = "&".join(f"{name}={quote_plus(value)}" for name, value in given)
        if params and rng.random() < 0.2:
            params = (params + "&pad=" + "0" * 64)[:64]
        world.happens(
            at, message=rng.choice([message, message, 0]) if session else 0,
            delivery=rng.choice([delivery, delivery, 0]) if session else 0,
            url=url, forced=rng.choice([0, 0, 0, deliveries[0], base + 900]), visitor=visitor, params=params,
            human=human,
        )  # fmt: skip


# -- small cases, computed by hand

A, B, C, D = (f"aaaaaaaa-0000-4000-8000-{n:012d}" for n in range(4))
HAND = 900_000


def by_hand(world: World) -> None:
    """Pages 900100 (web) and 900101 (transaction); message 900001 of delivery 900010 to 900020, 900002 of 900011 to
    900021. What must become of the hits is typed in test_small_cases."""
    world.reference["web_tags"] += [
        {"tag_id": "page", "url_id": HAND + 100, "label": "Page", "url_type": 4},
        {"tag_id": "buy", "url_id": HAND + 101, "label": "Buy", "url_type": 5},
    ]
    for n in (0, 1):
        world.reference["messages"].append(
            {"message_id": HAND + 1 + n, "delivery_id": HAND + 10 + n, "recipient_id": HAND + 20 + n, "status": 1}
        )
        world.reference["tracked_urls"].append(
            {"url_id": HAND + 50, "delivery_id": HAND + 10 + n, "label": "Go", "url_type": 1}
        )
    world.reference["recipients"].append({"recipient_id": HAND + 30, "email": "Ann@x.example", "Account": "k7"})

    def minute(n: int) -> datetime:
        return START + timedelta(days=1, minutes=n)

    click = {"url": HAND + 50}
    first = {"message": HAND + 1, "delivery": HAND + 10}
    second = {"message": HAND + 2, "delivery": HAND + 11}
    # Last delivery: a page before any click, after the first, after the second; a session; a page that forces.
    world.happens(minute(0), url=HAND + 100, visitor=A, params="case=before")
    world.happens(minute(0), url=HAND + 100, forced=HAND + 13, visitor=A, params="case=forced_before")
    world.happens(minute(1), **click, **first, visitor=A)
    world.happens(minute(2), url=HAND + 100, visitor=A, params="case=first")
    world.happens(minute(3), **click, **second, visitor=A)
    world.happens(minute(3), url=HAND + 100, visitor=A, params="case=same_moment")
    world.happens(minute(4), url=HAND + 101, **first, visitor=A, params="case=session&amount=10%2C50&article=2l")
    world.happens(minute(5), url=HAND + 101, forced=HAND + 12, visitor=A, params="case=forced&amount=0.1")
    world.happens(minute(6), url=HAND + 101, visitor=A, params="case=after_session&amount=0.2")
    # Recipients that pages name, and a visitor who never clicks.
    world.happens(minute(7), url=HAND + 100, visitor=A, params="case=named&rcpid=email%3Dann%40x.example")
    world.happens(minute(8), url=HAND + 100, visitor=B, params="case=stranger")
    world.happens(minute(9), url=HAND + 100, visitor=B, params="case=stranger_named&rcpid=account%3Dk7")
    # Only an open: no identification; then without a cookie.
    world.happens(minute(10), url=HAND + 100, visitor=C, params="case=before_open")
    world.happens(minute(11), url=1, **second, visitor=C)
    world.happens(minute(12), url=HAND + 100, params="case=no_cookie")
    # One who refuses: pages from then on are dropped, in a session or not; messages are not web tracking.
    world.is_requested(minute(13), **first, visitor=D, params="tagid=page&case=in_session")
    world.is_requested(minute(14), visitor=D, params="tagid=page&case=refuses", opted_out=True)
    world.is_requested(minute(15), **first, visitor=D, params="tagid=page&case=refused_in_session")
    world.happens(minute(16), url=HAND + 101, **first, visitor=D, params="case=refused_elsewhere&amount=5")
    world.happens(minute(17), **click, **first, visitor=D)


def test_small_cases(built: "Built") -> None:
    anonymous = built.mode == "anonymous"
    after_click = built.mode != "session"
    none = ("anonymous", 0, 0)
    expected = {
        "before": (*none, HAND + 20) if anonymous else None,
        "forced_before": ("forced", 0, HAND + 13, HAND + 20 if anonymous else 0),
        "first": ("last_delivery", HAND + 1, HAND + 10, HAND + 20) if after_click else None,
        "same_moment": ("last_delivery", HAND + 2, HAND + 11, HAND + 21) if after_click else None,
        "session": ("session", HAND + 1, HAND + 10, HAND + 20),
        "forced": ("forced", 0, HAND + 12, HAND + 20 if after_click else 0),
        "after_session": ("last_delivery", HAND + 1, HAND + 10, HAND + 20) if after_click else None,
        "named": ("last_delivery", HAND + 1, HAND + 10, HAND + 30) if after_click else None,
        "stranger": (*none, 0) if anonymous else None,
        "stranger_named": (*none, HAND + 30) if anonymous else None,
        "before_open": (*none, 0) if anonymous else None,
        "no_cookie": (*none, 0) if anonymous else None,
        "in_session": ("session", HAND + 1, HAND + 10, HAND + 20),
    }
    rows = built.query(
        "select json_extract_string(custom_params, '$.case'), attribution, message_id, delivery_id, recipient_id"
        " from core.fct_tracking_events where json_extract_string(custom_params, '$.case') is not null"
    )
    assert {row[0]: row[1:] for row in rows} == {case: row for case, row in expected.items() if row}
    assert built.query(
        "select page_visit_count, transaction_count, transaction_amount, article_count, average_transaction_amount,"
        " average_articles_per_transaction, average_amount_per_message, recipient_open_count"
        f" from reports.rpt_tracking_indicators where delivery_id = {HAND + 10}"
    ) == [
        (2, 1, Decimal("10.5000"), 2, 10.5, 2.0, 10.5, 1)
        if built.mode == "session"
        else (5, 2, Decimal("10.7000"), 2, 5.35, 1.0, 10.7, 1)
    ]
    # Nothing to deliver is known of the forced one.
    assert built.query(
        "select transaction_amount, average_transaction_amount, average_amount_per_message, to_deliver_count"
        f" from reports.rpt_tracking_indicators where delivery_id = {HAND + 12}"
    ) == [(Decimal("0.1000"), 0.1, None, 0)]


# -- the second computation


@dataclass
class Hit:
    event: Event
    outcome: str
    message: int
    delivery: int
    recipient: int
    url: int
    url_type: int | None
    given: dict[str, str]

    @property
    def kept(self) -> bool:
        return self.outcome in ("session", "forced", "last_delivery", "anonymous")


def parameters(params: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for part in params.split("&") if params else []:
        name, _, value = part.partition("=")
        found.setdefault(unquote_plus(name), unquote_plus(value))
    found.pop("", None)
    return found


class Reference:
    def __init__(self, world: World) -> None:
        self.messages = {key[0]: row for key, row in world.current("messages", "message_id").items()}
        self.urls = {
            (int(row["delivery_id"]), int(row["url_id"])): int(row["url_type"])
            for row in world.current("tracked_urls", "delivery_id", "url_id").values()
        }
        self.tags: dict[str, tuple[int, int]] = {}
        for row in world.current("web_tags", "tag_id").values():
            kind = int(row["url_type"] or 4)
            if kind in (4, 5):
                self.tags[row["tag_id"]] = (int(row["url_id"] or 0), kind)
        self.recipients = list(world.current("recipients", "recipient_id").values())

    def delivery(self, event: Event) -> int:
        return event.logged_delivery or self.messages.get(event.message, {}).get("delivery_id", 0)

    def recipient(self, event: Event) -> int:
        return self.messages.get(event.message, {}).get("recipient_id", 0)

    def page(self, event: Event) -> tuple[int, int | None, str | None]:
        """URL id, URL type and tag of an event."""
        tag = parameters(event.params).get("tagid", "").strip() or None
        name = (tag or "").split("|")[0].strip()
        kind = {"w": 4, "t": 5}.get("".join((tag or "").split("|")[1:2]).strip().lower())
        declared = self.tags.get(name)
        url = event.url or (declared[0] if declared else 0)
        same_url = sorted((tag_id, its[1]) for tag_id, its in self.tags.items() if its[0] == event.url and event.url)
        candidates = [
            2 if event.url == 1 else None, self.urls.get((self.delivery(event), url)), self.urls.get((0, url)),
            declared[1] if declared else None, same_url[0][1] if same_url else None, kind,
        ]  # fmt: skip
        url_type = next((candidate for candidate in candidates if candidate), None)
        if not url and name:
            digest = hashlib.md5(f"{name}|{url_type or ''}".encode()).hexdigest()
            url = 2**52 + int(digest[:12], 16)
        return url, url_type, tag

    def is_hit(self, event: Event) -> bool:
        _, url_type, tag = self.page(event)
        return url_type in (4, 5) if url_type else tag is not None

    def named(self, event: Event) -> int | None:
        """Whom the page names: None where nobody, 0 where somebody whom nobody knows."""
        text = parameters(event.params).get("rcpid", "").strip()
        if not text:
            return None
        name, equals, value = text.partition("=")
        value = value.strip()
        cut = (
            event.source == "tracking_logs"
            and len(event.params) == 64
            and event.params.split("&")[-1].startswith("rcpid=")
        )
        if cut or not equals:
            return 0
        if not value:
            return None
        field_name = {"id": "recipient_id"}.get(name.lstrip("@").lower(), name.lstrip("@").lower())
        column = {"recipient_id": "recipient_id", "email": "email", "account": "Account"}.get(field_name)

        def same(row: dict) -> bool:
            mine = str(row[column])
            return mine.lower() == value.lower() if column == "email" else mine == value

        return min((row["recipient_id"] for row in self.recipients if column and same(row)), default=0)


def weigh(world: World, mode: str) -> list[Hit]:
    known = Reference(world)
    by_visitor = defaultdict(list)
    for event in world.events:
        if event.visitor:
            by_visitor[event.visitor].append(event)
    hits = []
    for event in filter(known.is_hit, world.events):
        own_delivery = known.delivery(event)
        refusals = [other.at for other in by_visitor[event.visitor] if other.opted_out and other.in_range]
        others = [other for other in by_visitor[event.visitor] if other.in_range] if event.in_range else []
        before = [other for other in others if known.delivery(other) and other.at <= event.at]
        last = max(before, key=lambda other: (other.at, other.key), default=None)
        clicks = [
            other
            for other in others
            if other.at > event.at and known.recipient(other) and known.page(other)[1] in (1, 3, 6, 11)
        ]
        later = min(clicks, key=lambda other: (other.at, other.key), default=None)
        if event.opted_out or any(event.at >= at for at in refusals):
            found = ("opted_out", 0, 0, 0)
        elif own_delivery:
            found = ("session", event.message, own_delivery, known.recipient(event))
        elif event.forced:
            cookie = 0
            if last and mode != "session":
                cookie = known.recipient(last)
            elif later and mode == "anonymous":
                cookie = known.recipient(later)
            found = ("forced", event.message, event.forced, known.recipient(event) if event.message else cookie)
        elif event.message:
            found = ("session", event.message, 0, known.recipient(event))
        elif last and mode != "session":
            found = ("last_delivery", last.message, known.delivery(last), known.recipient(last))
        elif mode == "anonymous":
            found = ("anonymous", 0, 0, known.recipient(later) if later else 0)
        else:
            found = ("unattributed", 0, 0, 0)
        outcome, message, delivery, recipient = found
        named = known.named(event)
        if named is not None and outcome not in ("unattributed", "opted_out"):
            recipient = named
        url, url_type, _ = known.page(event)
        hits.append(Hit(event, outcome, message, delivery, recipient, url, url_type, parameters(event.params)))
    return hits


def amount_of(hit: Hit) -> tuple[Decimal | None, str | None]:
    text = hit.given.get("amount", "").strip()
    if hit.url_type != 5 or not text:
        return None, None
    try:
        if text.count(",") + text.count(".") > 1 or not set(text.lstrip("-")) <= set("0123456789.,"):
            raise InvalidOperation
        exact = Decimal(text.replace(",", "."))
        if abs(exact) >= 10**14:
            raise InvalidOperation
    except InvalidOperation:
        return None, "unreadable"
    value = exact.quantize(Decimal("0.0001"), ROUND_HALF_UP)
    if cut(hit, "amount"):
        return value, "possibly_cut"
    return value, "rounded" if value != exact else None


def articles_of(hit: Hit) -> tuple[int | None, str | None]:
    text = hit.given.get("article", "").strip().removesuffix("l")
    if hit.url_type != 5 or not hit.given.get("article", "").strip():
        return None, None
    if not text.lstrip("-").isdigit() or abs(int(text)) >= 2**31:
        return None, "unreadable"
    return int(text), "possibly_cut" if cut(hit, "article") else None


def cut(hit: Hit, name: str) -> bool:
    is_cut = hit.event.source == "tracking_logs" and len(hit.event.params) == 64
    return is_cut and hit.event.params.split("&")[-1].startswith(f"{name}=")


# -- the warehouses


@dataclass
class Built:
    mode: str
    world: World
    hits: list[Hit]
    warehouse: Path

    def query(self, sql: str) -> list[tuple]:
        with connect(self.warehouse) as con:
            return con.execute(sql).fetchall()

    @property
    def kept(self) -> list[Hit]:
        return [hit for hit in self.hits if hit.kept]


@pytest.fixture(scope="module")
def world() -> World:
    world = World()
    by_hand(world)
    for seed in SEEDS:
        grow(world, seed)
    return world


def write_lines(landing: Path, name: str, events: list[Event]) -> None:
    logs(landing, f"a/{name}.log", *(event.text for event in events if event.source == "tracking_logs"))
    requests = [event.text.decode().rstrip("\n") for event in events if event.source == "access_logs"]
    access_log(landing, f"site/{name}", *requests)


def write_reference(landing: Path, name: str, part: dict[str, Iterable[tuple[int, dict]]]) -> None:
    """One file per row version: its time is its place among the versions, whenever it arrives."""
    for entity, rows in part.items():
        folder = landing / "reference" / entity
        folder.mkdir(parents=True, exist_ok=True)
        for version, row in rows:
            path = folder / f"{name}-{version}.csv"
            with path.open("w", newline="") as stream:
                writer = csv.DictWriter(stream, list(row))
                writer.writeheader()
                writer.writerow(row)
            os.utime(path, (1_700_000_000 + version, 1_700_000_000 + version))


@pytest.fixture(scope="module")
def landing(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    landing = tmp_path_factory.mktemp("web") / "landing"
    write_lines(landing, "0", world.events)
    for entity, rows in world.reference.items():
        groups = defaultdict(list)
        for row in rows:
            groups[tuple(row)].append(row)
        for columns, group in groups.items():
            folder = landing / "reference" / entity
            folder.mkdir(parents=True, exist_ok=True)
            with (folder / f"{len(columns)}.csv").open("w", newline="") as stream:
                writer = csv.DictWriter(stream, columns)
                writer.writeheader()
                writer.writerows(group)
    return landing


def build(landing: Path, warehouse: Path, mode: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MTW_WEB_TRACKING_MODE", mode)
        build_marts(landing, warehouse, select=MODELS)


@pytest.fixture(scope="module")
def warehouse_of(landing: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A warehouse built in one run, by mode."""
    base = tmp_path_factory.mktemp("modes")

    def warehouse(mode: str) -> Path:
        if not (base / mode).exists():
            build(landing, base / mode, mode)
        return base / mode

    return warehouse


@pytest.fixture(scope="module", params=MODES)
def built(request: pytest.FixtureRequest, world: World, warehouse_of: Callable[[str], Path]) -> Built:
    return Built(request.param, world, weigh(world, request.param), warehouse_of(request.param))


def test_the_world_is_not_trivial(built: Built) -> None:
    outcomes = Counter(hit.outcome for hit in built.hits)
    wanted = {
        "session": {"unattributed"},
        "permanent": {"unattributed", "last_delivery"},
        "anonymous": {"last_delivery", "anonymous"},
    }[built.mode] | {"session", "forced", "opted_out"}
    assert outcomes.keys() == wanted
    assert min(outcomes.values()) > 20, outcomes
    assert any(hit.recipient for hit in built.hits if hit.outcome == "anonymous") == (built.mode == "anonymous")
    assert {hit.url_type for hit in built.hits} == {None, 4, 5}
    flags = Counter(amount_of(hit)[1] for hit in built.kept) + Counter(articles_of(hit)[1] for hit in built.kept)
    assert flags.keys() == {None, "unreadable", "rounded", "possibly_cut"}


def test_every_hit(built: Built) -> None:
    rows = built.query(
        "select event_key, attribution, message_id, delivery_id, recipient_id, url_id, url_type, tag, is_machine,"
        " amount, amount_flag, article_count, article_count_flag, custom_params"
        " from core.fct_tracking_events where attribution is not null"
    )
    known = Reference(built.world)
    expected = {}
    for hit in built.kept:
        custom = {
            name: value
            for name, value in hit.given.items()
            if name.lower() not in ("tagid", "jobid", "rcpid", "amount", "article")
        }
        expected[hit.event.key] = (
            *(hit.outcome, hit.message, hit.delivery, hit.recipient, hit.url, hit.url_type, known.page(hit.event)[2]),
            *(not hit.event.human, *amount_of(hit), *articles_of(hit), custom),
        )
    found = {row[0]: (*row[1:-1], json.loads(row[-1] or "{}")) for row in rows}
    assert len(found) == len(rows)
    for key, row in expected.items():
        assert found.get(key) == row, key
    assert found.keys() == expected.keys()


def test_the_facts_of_pages_and_transactions(built: Built) -> None:
    for fact, url_type in (("fct_web_visits", 4), ("fct_transactions", 5)):
        found = [row[0] for row in built.query(f"select event_key from core.{fact}")]
        assert sorted(found) == sorted(hit.event.key for hit in built.kept if hit.url_type == url_type)


def test_no_address_is_published(built: Built) -> None:
    assert built.query("select count(*) from core.fct_tracking_events where params ilike '%rcpid=_%'")[0][0] <= len(
        # An e-mail's own link may say what it likes.
        [event for event in built.world.events if not Reference(built.world).is_hit(event)]
    )
    assert not built.query(
        "select 1 from core.fct_tracking_events where attribution is not null and params like '%40%'"
    )


def test_what_is_not_kept_is_counted(built: Built) -> None:
    names = ("session", "forced", "last_delivery", "anonymous", "unattributed", "opted_out")
    expected = {
        name: (
            name not in ("unattributed", "opted_out"), built.mode,
            sum(hit.outcome == name for hit in built.hits),
            sum(hit.outcome == name and hit.event.human for hit in built.hits),
        )
        for name in names
    }  # fmt: skip
    rows = built.query(
        "select outcome, is_kept, web_tracking_mode, web_hit_count, human_web_hit_count"
        " from reports.rpt_web_hits_by_outcome"
    )
    assert {row[0]: row[1:] for row in rows} == expected
    assert built.query("select count(*) from core.fct_tracking_events") == [
        (len(built.world.events) - sum(not hit.kept for hit in built.hits),)
    ]


def web_indicators(hits: list[Hit], to_deliver: int) -> list[object]:
    bought = [hit for hit in hits if hit.url_type == 5]
    amount = sum((amount_of(hit)[0] or Decimal(0) for hit in bought), Decimal("0.0000"))
    articles = sum(articles_of(hit)[0] or 0 for hit in bought)

    def div(a: float, b: int) -> float | None:
        return pytest.approx(a / b, rel=1e-12) if b else None

    return [
        sum(hit.url_type in (4, 5) for hit in hits), len(bought), amount, articles,
        div(float(amount), len(bought)), div(articles, len(bought)), div(float(amount), to_deliver),
    ]  # fmt: skip


WEB_COLUMNS = (
    *("page_visit_count", "transaction_count", "transaction_amount", "article_count"),
    *("average_transaction_amount", "average_articles_per_transaction", "average_amount_per_message"),
)


@pytest.mark.parametrize("by_domain", [False, True])
def test_indicators(built: Built, by_domain: bool) -> None:
    known = Reference(built.world)

    def domain(message: int, delivery: int) -> str:
        row = known.messages.get(message)
        address = row.get("address", "") if row and row["delivery_id"] == delivery else ""
        return address.split("@")[1] if address else "unknown"

    def place(message: int, delivery: int) -> tuple:
        return (delivery, domain(message, delivery)) if by_domain else (delivery,)

    groups, to_deliver = defaultdict(list), Counter()
    for hit in built.kept:
        groups[place(hit.message, hit.delivery)].append(hit)
    for message, row in known.messages.items():
        to_deliver[place(message, row["delivery_id"])] += 1
    columns = [*WEB_COLUMNS, *(f"human_{name}" for name in WEB_COLUMNS)]
    mart, key = ("rpt_tracking_indicators_by_domain", ["delivery_id", "mail_domain"]) if by_domain else (
        "rpt_tracking_indicators", ["delivery_id"]
    )  # fmt: skip
    rows = built.query(f"select {', '.join([*key, *columns])} from reports.{mart}")
    assert groups.keys() <= {row[: len(key)] for row in rows}
    for row in rows:
        hits = groups[row[: len(key)]]
        human = [hit for hit in hits if hit.event.human]
        count = to_deliver[row[: len(key)]]
        assert list(row[len(key) :]) == web_indicators(hits, count) + web_indicators(human, count), row


def test_a_visit_opens_no_message(built: Built) -> None:
    known = Reference(built.world)
    opened = defaultdict(set)
    for event in built.world.events:
        if event.message and known.page(event)[1] in (1, 2, 3, 6, 11):
            opened[known.delivery(event)].add(event.message)
    rows = dict(built.query("select delivery_id, recipient_open_count from reports.rpt_tracking_indicators"))
    assert {delivery: count for delivery, count in rows.items() if count} == {
        delivery: len(messages) for delivery, messages in opened.items()
    }


def test_user_activity_counts_the_transactions_of_the_delivery(built: Built) -> None:
    expected = Counter(hit.delivery for hit in built.kept if hit.url_type == 5 and hit.event.in_range)
    rows = built.query(
        "select delivery_id, sum(transaction_count) from reports.rpt_user_activity"
        " group by delivery_id having sum(transaction_count) > 0"
    )
    assert dict(rows) == dict(expected)


def chains(steps: list[int], visits: list[tuple[datetime, int]]) -> int:
    """How many steps, from the first, some way through the visits takes in order, each visit used once."""

    def reach(position: int, now: datetime, used: frozenset[int]) -> int:
        if position == len(steps):
            return position
        return max(
            (
                reach(position + 1, at, used | {n})
                for n, (at, url) in enumerate(visits)
                if n not in used
                and at >= now
                and url == steps[position]
                # The page that is a step once more has to be seen later, not at the same moment.
                and not (at == now and steps[position] in steps[:position])
            ),
            default=position,
        )

    return reach(0, datetime.min, frozenset())


def test_web_paths(built: Built) -> None:
    paths = defaultdict(list)
    for row in sorted(built.world.reference["web_paths"], key=lambda row: (row["path_label"], row["step_number"])):
        paths[row["path_label"]].append((row["step_number"], int(row["url_id"] or 0), row["traffic_source"]))
    visits: dict[str, list[Hit]] = defaultdict(list)
    for hit in built.kept:
        who = hit.event.visitor or (f"recipient {hit.recipient}" if hit.recipient else "")
        if who and hit.event.in_range:
            visits[who].append(hit)
    expected: dict[tuple, dict] = defaultdict(dict)
    for label, declared in paths.items():
        pages = [url or -1 for _, url, _ in declared]
        source = next((text for _, _, text in declared if text), None)
        for form in ("", "human_"):
            reached, from_delivery, bounced = Counter(), Counter(), 0
            for hits in visits.values():
                counted = [hit for hit in hits if (hit.event.human or not form) and hit.url in pages]
                seen = sorted((hit.event.at, hit.url) for hit in counted)
                count = chains(pages, seen)
                if not count:
                    continue
                first = min(at for at, url in seen if url == pages[0])
                session = any(
                    hit.outcome == "session" and hit.delivery
                    for hit in counted
                    if hit.url == pages[0] and hit.event.at == first
                )
                for position in range(count):
                    reached[position] += 1
                    from_delivery[position] += session
                bounced += {url for _, url in seen} == {pages[0]}
            for position, (number, url, _) in enumerate(declared):
                here, rest = reached[position], reached[position] - from_delivery[position]
                is_last = position == len(declared) - 1
                expected[label, number] |= {
                    "position": position + 1, "url_id": url, "traffic_source": source,
                    f"{form}path_visitor_count": here,
                    f"{form}delivery_visitor_count": from_delivery[position],
                    f"{form}path_source_visitor_count": rest if source else 0,
                    f"{form}no_source_visitor_count": 0 if source else rest,
                    f"{form}entered_visitor_count": reached[0],
                    f"{form}converted_visitor_count": reached[len(declared) - 1],
                    f"{form}bounced_visitor_count": bounced if len(set(pages)) > 1 else None,
                    f"{form}lost_visitor_count": None if is_last else here - reached[position + 1],
                    f"{form}lost_visitor_rate": None if is_last or not here else (here - reached[position + 1]) / here,
                    f"{form}conversion_rate": reached[len(declared) - 1] / reached[0] if reached[0] else None,
                    f"{form}bounce_rate": bounced / reached[0] if reached[0] and len(set(pages)) > 1 else None,
                }  # fmt: skip
    names = list(next(iter(expected.values())))
    rows = built.query(f"select path_label, step_number, {', '.join(names)} from reports.rpt_web_paths")
    assert {row[:2] for row in rows} == expected.keys()
    for row in rows:
        assert dict(zip(names, row[2:], strict=True)) == expected[row[:2]], row[:2]
    assert any(row["conversion_rate"] not in (None, 0, 1) for row in expected.values())


@pytest.fixture(scope="module")
def explained(world: World, warehouse_of: Callable[[str], Path]) -> Iterator[tuple[Built, Explain]]:
    warehouse = warehouse_of("permanent")
    with explainer(publish_to_explain(warehouse), warehouse / "landed", None) as explain:
        yield Built("permanent", world, weigh(world, "permanent"), warehouse), explain


def texts_of(hits: Iterable[Hit]) -> list[str]:
    return sorted(hit.event.text.decode().rstrip("\n") for hit in hits)


def test_the_lines_of_web_paths(explained: tuple[Built, Explain]) -> None:
    """A visitor's line is the hit by which they reached the step: of the first step, their first on its page."""
    built, explain = explained
    pages = {
        (row["path_label"], row["step_number"]): int(row["url_id"] or 0) for row in built.world.reference["web_paths"]
    }
    first_steps = 0
    ways: dict[tuple, dict[int, tuple[list[str], dict]]] = defaultdict(dict)
    for label, number, position in built.query("select path_label, step_number, position from reports.rpt_web_paths"):
        for form in ("", "human_"):
            found = {}
            for name in ("path", "delivery", "path_source", "no_source"):
                column = f"{form}{name}_visitor_count"
                (part,) = explain(f"rpt_web_paths.{column}", {"path_label": label, "step_number": number}).parts
                assert part.value == part.recount, (label, number, column)
                found[name] = sorted(str(line.line) for line in part.lines)
                assert len(found[name]) == part.line_count >= part.value
            assert found["path"] == sorted(found["delivery"] + found["path_source"] + found["no_source"])
            ways[label, form][position] = found["path"], explain_way(explain, label, number, form)
            if position > 1:
                continue
            visits: dict[str, list[Hit]] = defaultdict(list)
            for hit in built.kept:
                who = hit.event.visitor or (f"recipient {hit.recipient}" if hit.recipient else "")
                is_seen = who and hit.event.in_range and (hit.event.human or not form)
                if is_seen and hit.url == pages[label, number]:
                    visits[who].append(hit)
            reached = [
                [hit for hit in hits if hit.event.at == min(hit.event.at for hit in hits)] for hits in visits.values()
            ]
            assert found["path"] == texts_of(hit for hits in reached for hit in hits)
            assert found["delivery"] == texts_of(
                hit
                for hits in reached
                for hit in hits
                if any(first.outcome == "session" and first.delivery for first in hits)
            )
            first_steps += len(reached)
    assert first_steps > 50
    who = {
        hit.event.text.decode().rstrip("\n"): hit.event.visitor or f"recipient {hit.recipient}" for hit in built.kept
    }
    lines_of_rates = 0
    for (label, form), steps in ways.items():
        for position, (_, own) in steps.items():
            lost = own["lost_visitor_rate"].get(f"{form}lost_visitor_count", [])
            lines_of_rates += len(lost)
            # Who does not go on to the next step is lost.
            here, further = ({who[text] for text in steps.get(n, [()])[0]} for n in (position, position + 1))
            assert {who[text] for text in lost} == (here - further if position < max(steps) else set())
            converted = own["conversion_rate"][f"{form}converted_visitor_count"]
            bounced = own["bounce_rate"][f"{form}bounced_visitor_count"]
            assert own["conversion_rate"][f"{form}entered_visitor_count"] == steps[1][0]
            assert own["bounce_rate"][f"{form}entered_visitor_count"] == steps[1][0]
            assert converted == steps[max(steps)][0], (label, position)
            assert set(bounced) <= set(steps[1][0])
            lines_of_rates += len(converted) + len(bounced)
    assert lines_of_rates > 50


def explain_way(explain: Explain, label: str, number: int, form: str) -> dict[str, dict[str, list[str]]]:
    """By rate of a step: the lines of the counts that it is computed from. Each is counted again, and the same."""
    ways: dict[str, dict[str, list[str]]] = {}
    for rate in ("lost_visitor_rate", "conversion_rate", "bounce_rate"):
        parts = explain(f"rpt_web_paths.{form}{rate}", {"path_label": label, "step_number": number}).parts
        ways[rate] = {}
        for part in (part for part in parts if part.column.endswith("_count")):
            ways[rate][part.column] = sorted(str(line.line) for line in part.lines)
            assert part.value == part.recount, (label, number, part.column)
            assert part.count or part.value is None
        assert len(ways[rate]) == 2
    return ways


def test_the_lines_of_web_hits(explained: tuple[Built, Explain]) -> None:
    """Those that are dropped are said to be: they are in no fact."""
    built, explain = explained
    for outcome in ("session", "forced", "last_delivery", "anonymous", "unattributed", "opted_out"):
        for form in ("", "human_"):
            hits = [hit for hit in built.hits if hit.outcome == outcome and (hit.event.human or not form)]
            (part,) = explain(f"rpt_web_hits_by_outcome.{form}web_hit_count", {"outcome": outcome}).parts
            assert part.value == len(hits)
            lines = sorted(str(line.line) for line in part.lines)
            if outcome in ("unattributed", "opted_out"):
                assert (part.count, lines) == (None, []) and "only counted" in part.without_lines
            else:
                assert part.recount == part.value and lines == texts_of(hits)


def test_pages_have_names(built: Built) -> None:
    """A declared tag names its page, in every delivery; a tag made on the fly names itself."""
    names = dict(built.query("select distinct url_id, label from core.dim_tracked_urls where tag is not null"))
    for hit in built.kept:
        name = (hit.given.get("tagid") or "").split("|")[0].strip()
        if hit.url >= 2**52:
            label = {f"bare{seed}": "Bare" for seed in SEEDS}.get(name, name)
            assert names[hit.url] == label
    assert names[HAND + 100] == "Page"
    assert built.query(
        "select count(*) from core.fct_tracking_events as f anti join core.dim_tracked_urls as d"
        " on f.delivery_id = d.delivery_id and f.url_id = d.url_id"
    ) == [(0,)]


# -- any order of arrival


def test_any_order_gives_the_same(world: World, warehouse_of: Callable[[str], Path], tmp_path: Path) -> None:
    """The same lines and rows, shuffled, in three runs: pages before clicks, reference rows late. Then another mode."""
    landing, warehouse = tmp_path / "landing", tmp_path / "warehouse"
    landing.mkdir()
    rng = random.Random(5)
    events = list(world.events)
    rng.shuffle(events)
    rows = [(entity, version, row) for entity, rows in world.reference.items() for version, row in enumerate(rows)]
    rng.shuffle(rows)
    for run in range(3):
        # The first run has no reference at all; the last brings few lines.
        write_lines(landing, str(run), [events[0::2], events[1::4], events[3::4]][run])
        part = defaultdict(list)
        for entity, version, row in rows[run - 1 :: 2] if run else []:
            part[entity].append((version, row))
        write_reference(landing, f"run{run}", part)
        build(landing, warehouse, "anonymous")
    with connect(warehouse) as con:
        # Nothing below would be tested if the models had been made afresh each time.
        rebuilt = con.execute(
            "select max(rebuilt_run) from state.model_marks"
            " where model in ('int_tracking_events__judged', 'int_web_hits__attributed')"
        ).fetchall()
    assert rebuilt == [(1,)]
    assert_same_tables(tables(warehouse_of("anonymous")), tables(warehouse))
    build(landing, warehouse, "permanent")
    assert_same_tables(tables(warehouse_of("permanent")), tables(warehouse))
