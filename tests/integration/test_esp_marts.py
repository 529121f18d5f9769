"""What providers' webhooks tell, in the marts: which message it is about, which acts our own logs hold too, what became
of messages. A random world is computed a second time in plain Python, and built in one run and in several."""

import hashlib
import os
import random
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from tests.espevents import jsonl, sendgrid
from tests.loglines import line, logs
from tests.marts import assert_same_tables, build_marts, connect, tables
from tests.samplereading import UNSUBSCRIBED

MODELS = [
    "+rpt_source_reconciliation",
    "+rpt_tracking_indicators",
    "+rpt_url_click_streams",
    "+rpt_delivery_throughput",
]
START = datetime(2024, 5, 1, 10)
WINDOW = timedelta(seconds=10)
LOOKBACK = timedelta(days=90)
RUNS = 3
SHOP = "https://shop.example"
LINKS = {
    10: (f"{SHOP}/a?x=<%= recipient.id %>", 1),
    11: (f"{SHOP}/b/", 1),
    12: (f"{SHOP}/a", 1),
    13: (f"{SHOP}/leave?id=$(p1)", 3),
    14: (f"{SHOP}/p/<%= recipient.id %>/offer", 1),
    15: ("", 1),
}
SHARED = {20: ("https://shared.example/#top", 6), 11: (f"{SHOP}/b", 6)}
# Web pages, at the very addresses that clicks lead to, and one to which no link leads: no provider tells of a page.
PAGES = {21: (f"{SHOP}/b/", 4), 22: (f"{SHOP}/thanks", 5), 23: (f"{SHOP}/a?x=77", 4)}
CLICKED = {
    10: f"{SHOP}/a?x=77",
    11: f"{SHOP}/b/",
    12: f"{SHOP}/a",
    13: f"{SHOP}/Leave/?id=9",
    14: f"{SHOP}/p/77/offer",
    15: "https://nowhere.example/",
    20: "https://shared.example",
    22: f"{SHOP}/thanks",
}


@dataclass(frozen=True)
class Message:
    message: int
    delivery: int
    recipient: int
    address: str
    status: int
    event_at: datetime | None


@dataclass(frozen=True)
class Own:
    """A line of our own logs."""

    at: datetime
    message: int
    logged_delivery: int
    url: int
    text: bytes

    @property
    def key(self) -> str:
        return hashlib.md5(self.text.rstrip(b"\n"), usedforsecurity=False).hexdigest()


@dataclass(frozen=True)
class Told:
    """A provider's event, by its number in sg_message_id."""

    number: int
    kind: str
    at: datetime
    address: str
    said_message: int
    said_delivery: int
    said_recipient: int
    url: str | None
    is_machine: bool
    bounce: str | None = None

    def payload(self) -> dict[str, Any]:
        event = {"complaint": "spamreport"}.get(self.kind, self.kind)
        said = {"message_id": self.said_message, "delivery_id": self.said_delivery, "recipient_id": self.said_recipient}
        more: dict[str, Any] = {key: str(value) for key, value in said.items() if value}
        if self.url:
            more["url"] = self.url
        if self.kind == "open":
            more["sg_machine_open"] = self.is_machine
        if self.bounce:
            more |= {"soft": {"type": "blocked", "reason": "552 5.2.2 Mailbox full"}, "hard": {"type": "bounce"}}[
                self.bounce
            ]
        seconds = int(self.at.replace(tzinfo=UTC).timestamp())
        return sendgrid(event, seconds, self.address, sg_message_id=f"e{self.number}", **more)


@dataclass
class World:
    """versions: of each message, oldest first."""

    versions: dict[int, list[Message]] = field(default_factory=lambda: defaultdict(list))
    sent_at: dict[int, datetime] = field(default_factory=dict)
    own: list[Own] = field(default_factory=list)
    told: list[Told] = field(default_factory=list)

    def current(self) -> dict[int, Message]:
        return {message: versions[-1] for message, versions in self.versions.items()}


def make_world(seeds: Iterable[int]) -> World:
    """Several worlds that have nothing in common, and what fits nowhere."""
    world = World()
    for seed in seeds:
        add_world(world, seed)
    # Named, and in no extract.
    world.told.append(Told(len(world.told), "open", START, "who@example.org", 999_999, 1000, 4, None, False))
    world.told.append(Told(len(world.told), "click", START, "who@example.org", 0, 7777, 55, CLICKED[12], False))
    return world


def add_world(world: World, seed: int) -> None:
    rng = random.Random(seed)
    addresses = [f"person{n}@world{seed}.example" for n in range(9)]
    for number in range(5):
        delivery = 1000 * seed + number
        world.sent_at[delivery] = START + timedelta(days=rng.choice([0, 1, 2, 40, 120]) + number)
        for recipient, address in enumerate(addresses, 1):
            if rng.random() < 0.25:
                continue
            message = 10_000 * seed + 100 * number + recipient
            at = rng.choice([None, world.sent_at[delivery] + timedelta(seconds=rng.randrange(600))])
            status = rng.choice([1, 1, 1, 1, 2, 3, 5, 5, 6, 6, 8, 8, 0, 7])
            row = Message(message, delivery, recipient, address, status, at)
            world.versions[message].append(row)
            if rng.random() < 0.25:
                world.versions[message].append(
                    Message(message, delivery, recipient, rng.choice(addresses), rng.choice([1, 2, 5]), at)
                )
    messages = [versions[0] for message, versions in world.versions.items() if message // 10_000 == seed]
    for message in rng.choices(messages, k=120):
        at = (message.event_at or world.sent_at[message.delivery]) + timedelta(hours=1, seconds=rng.randrange(90))
        kind = rng.choice(["open", "open", "click", "click", "unsubscribe"])
        url = 1 if kind == "open" else 13 if kind == "unsubscribe" else rng.choice([*LINKS, 20, 22])
        recorded = 1 if url == 22 else rng.random()
        if recorded < 0.75:
            logged = rng.choice([message.delivery, message.delivery, 0])
            text = line(len(world.own) + 1, at=at.isoformat(), message=message.message, delivery=logged, url=url)
            world.own.append(Own(at, message.message, logged, url, text))
        if recorded > 0.25:
            said = rng.choice(["message", "delivery", "recipient", "address", "nothing"])
            moved = at + timedelta(seconds=rng.choice([-12, -10, -3, 0, 0, 1, 2, 8, 10, 11]))
            world.told.append(
                Told(
                    len(world.told),
                    kind,
                    moved,
                    message.address.upper() if rng.random() < 0.3 else message.address,
                    message.message if said == "message" else 0,
                    message.delivery if said in ("delivery", "recipient") else 0,
                    message.recipient if said == "recipient" else 0,
                    (CLICKED[url] if kind == "click" else None),
                    kind == "open" and rng.random() < 0.4,
                )
            )
            if kind == "unsubscribe" and rng.random() < 0.5:
                last = world.told[-1]
                world.told.append(
                    Told(
                        len(world.told),
                        "click",
                        moved - timedelta(seconds=rng.randrange(3)),
                        last.address,
                        last.said_message,
                        last.said_delivery,
                        last.said_recipient,
                        CLICKED[13],
                        False,
                    )
                )
    for message in rng.choices(messages, k=110):
        kind = rng.choice(["delivered", "delivered", "bounce", "bounce", "complaint", "deferred", "processed"])
        at = (message.event_at or world.sent_at[message.delivery]) + timedelta(seconds=rng.randrange(-50, 4000))
        bounce = rng.choice(["hard", "soft"]) if kind == "bounce" else None
        said = message.message if rng.random() < 0.6 else 0
        world.told.append(
            Told(len(world.told), kind, at, message.address, said, 0, 0, None, False, bounce),
        )


# -- computed a second time


@dataclass
class Seen:
    """A provider's event with what it is about; partner: the event of the same act."""

    told: Told
    message: int = 0
    delivery: int = 0
    recipient: int = 0
    url: int = 0
    resolution: str = "unknown"
    partner: str | int | None = None


def page(url: str) -> str:
    for mark in ("?", "#", "<%", "$("):
        url = url.split(mark)[0]
    return url.lower().strip().rstrip("/")


def source_url(world: World, delivery: int, url: int) -> str:
    links = LINKS if delivery in world.sent_at else {}
    return (links.get(url) or SHARED.get(url) or ("", None))[0]


def url_type(world: World, delivery: int, url: int) -> int | None:
    if url == 1:
        return 2
    links = LINKS if delivery in world.sent_at else {}
    return (links.get(url) or SHARED.get(url) or ("", None))[1]


def find_message(world: World, told: Told) -> tuple[int, str]:
    if told.said_message:
        return told.said_message, "said"

    def sent(message: Message) -> datetime:
        return message.event_at or world.sent_at[message.delivery]

    possible = [message for message in world.current().values() if message.status not in (0, 7)]
    if told.said_delivery:
        possible = [message for message in possible if message.delivery == told.said_delivery]
        if told.said_recipient:
            possible = [message for message in possible if message.recipient == told.said_recipient]
        else:
            possible = [message for message in possible if message.address == told.address.lower()]
    else:
        possible = [
            message
            for message in possible
            if message.address == told.address.lower() and sent(message) <= told.at <= sent(message) + LOOKBACK
        ]
    if not possible:
        return 0, "unknown"
    newest = max(possible, key=lambda message: (sent(message), message.message))
    return newest.message, "delivery" if told.said_delivery else "newest"


def find_url(world: World, told: Told, delivery: int) -> int:
    if told.kind in ("open", "unsubscribe"):
        return 1 if told.kind == "open" else UNSUBSCRIBED
    if told.url is None or told.kind != "click":
        return 0
    known = [(url, link, False) for url, (link, _) in LINKS.items() if delivery in world.sent_at and link]
    known += [(url, link, True) for url, (link, _) in SHARED.items()]
    found = []
    for url, link, is_shared in known:
        if link == told.url:
            found.append((0, 0, is_shared, url))
        elif page(link) == page(told.url):
            found.append((1, 0, is_shared, url))
        elif ("<%" in link.split("?")[0] or "$(" in link.split("?")[0]) and page(told.url).startswith(page(link)):
            found.append((2, -len(page(link)), is_shared, url))
    return min(found)[3] if found else 0


def see(world: World) -> list[Seen]:
    seen = []
    current = world.current()
    for told in world.told:
        number, resolution = find_message(world, told)
        row = current.get(number)
        delivery = row.delivery if row else told.said_delivery
        recipient = row.recipient if row else told.said_recipient
        seen.append(Seen(told, number, delivery, recipient, find_url(world, told, delivery), resolution))
    return seen


def own_delivery(world: World, own: Own) -> int:
    row = world.current().get(own.message)
    return own.logged_delivery or (row.delivery if row else 0)


def type_of(world: World, one: Seen) -> int | None:
    return 3 if one.told.kind == "unsubscribe" else url_type(world, one.delivery, one.url)


def reconcile(world: World, seen: list[Seen]) -> dict[str, list[Seen]]:
    """Sets the partner of each event that is not counted; returns, per own event, what the provider told of it."""

    def act(delivery: int, url: int) -> str:
        return "open" if url == 1 else page(source_url(world, delivery, url)) or str(url)

    own_of: dict[tuple, list[tuple[datetime, str, Seen | None]]] = defaultdict(list)
    told_of: dict[tuple, list[Seen]] = defaultdict(list)
    keys = event_keys
    for own in world.own:
        delivery = own_delivery(world, own)
        own_of[delivery, own.message, act(delivery, own.url)].append((own.at, own.key, None))
        if url_type(world, delivery, own.url) == 3:
            own_of[delivery, own.message, "leave"].append((own.at, own.key, None))
    for one in seen:
        if one.told.kind not in ("open", "click", "unsubscribe") or not one.message:
            continue
        is_leave = one.told.kind == "unsubscribe"
        told_of[one.delivery, one.message, "leave" if is_leave else act(one.delivery, one.url)].append(one)
        if not is_leave and type_of(world, one) == 3:
            own_of[one.delivery, one.message, "leave"].append((one.told.at, keys[one.told.number], one))
    told_by: dict[str, list[Seen]] = defaultdict(list)
    for place, events in told_of.items():
        waiting = sorted(own_of[place], key=lambda event: event[:2])
        for one in sorted(events, key=lambda event: (event.told.at, keys[event.told.number])):
            while waiting and waiting[0][0] < one.told.at - WINDOW:
                waiting.pop(0)
            if waiting and waiting[0][0] <= one.told.at + WINDOW:
                _, key, _ = waiting.pop(0)
                one.partner = key
                told_by[key].append(one)
    return told_by


event_keys: dict[int, str] = {}
"""Of provider's events: read from the warehouse, for they only break ties; that they are stable is tested elsewhere."""


# -- builds


def write_deliveries(landing: Path, world: World) -> None:
    rows = ["delivery_id,label,sent_at", *(f"{d},Delivery {d},{at.isoformat()}" for d, at in world.sent_at.items())]
    write(landing / "reference" / "deliveries" / "all.csv", rows, 1_700_000_000)


def write_urls(landing: Path, world: World, version: int) -> None:
    """The first version knows nothing of one link, another address of a second, another type of a third."""
    links = [(d, url, link, kind) for d in world.sent_at for url, (link, kind) in LINKS.items()]
    links += [(0, url, link, kind) for url, (link, kind) in (SHARED | PAGES).items()]
    if version == 0:
        old = {12: ("https://old.example/", 1), 13: (LINKS[13][0], 1), 20: (f"{SHOP}/a", 6)}
        links = [(d, url, *old.get(url, (link, kind))) for d, url, link, kind in links if url != 14]
    rows = ["delivery_id,url_id,source_url,url_type", *(f"{d},{u},{link},{kind}" for d, u, link, kind in links)]
    write(landing / "reference" / "tracked_urls" / f"v{version}.csv", rows, 1_700_000_000 + version)


def write(path: Path, rows: list[str], mtime: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(rows) + "\n")
    os.utime(path, (mtime, mtime))


def write_messages(landing: Path, world: World, version: int) -> None:
    rows = ["message_id,delivery_id,recipient_id,address,status,event_at,content_format"]
    for versions in world.versions.values():
        for row in versions[version : version + 1]:
            at = row.event_at.isoformat() if row.event_at else ""
            rows.append(f"{row.message},{row.delivery},{row.recipient},{row.address},{row.status},{at},html")
    write(landing / "reference" / "messages" / f"v{version}.csv", rows, 1_700_000_000 + version)


@pytest.fixture(scope="module")
def world() -> World:
    return make_world([14, 15, 16])


@pytest.fixture(scope="module")
def built(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("esp")
    landing = base / "landing"
    logs(landing, "a/all.log", *(own.text for own in world.own))
    jsonl(landing, "sendgrid/all.jsonl", *(told.payload() for told in world.told))
    write_deliveries(landing, world)
    for version in (0, 1):
        write_messages(landing, world, version)
        write_urls(landing, world, version)
    build_marts(landing, base / "warehouse", select=MODELS, tests=True)
    rows = query(base / "warehouse", "select provider_message_id, event_key from core.fct_esp_events")
    event_keys.clear()
    event_keys.update({int(number.removeprefix("e")): key for number, key in rows})
    return base / "warehouse"


@pytest.fixture(scope="module")
def seen(world: World, built: Path) -> list[Seen]:
    found = see(world)
    reconcile(world, found)
    return found


@pytest.fixture(scope="module")
def told_by(world: World, built: Path) -> dict[str, list[Seen]]:
    return reconcile(world, see(world))


def query(warehouse: Path, sql: str) -> list[tuple]:
    with connect(warehouse) as con:
        return con.execute(sql).fetchall()


def test_the_world_is_not_trivial(world: World, seen: list[Seen]) -> None:
    assert {one.resolution for one in seen} == {"said", "delivery", "newest", "unknown"}
    assert {one.url for one in seen} >= {0, 1, 10, 11, 12, 13, 14, 20, UNSUBSCRIBED}
    tracking = [one for one in seen if one.told.kind in ("open", "click", "unsubscribe")]
    matched = [one for one in tracking if one.partner]
    assert len(tracking) / 4 < len(matched) < len(tracking) * 3 / 4
    assert {one.told.kind for one in matched} == {"open", "click", "unsubscribe"}
    own = {event.key for event in world.own}
    assert {one.partner in own for one in matched if one.told.kind == "unsubscribe"} == {True, False}


def test_every_event_is_about_the_right_message_and_link(built: Path, seen: list[Seen]) -> None:
    rows = query(
        built,
        "select provider_message_id, event_kind, message_id, delivery_id, recipient_id, url_id, resolution"
        " from core.fct_esp_events order by all",
    )
    expected = [
        (
            *(f"e{one.told.number}", one.told.kind, one.message, one.delivery, one.recipient),
            one.url if one.told.kind in ("open", "click", "unsubscribe") else None, one.resolution,
        )
        for one in seen
    ]  # fmt: skip
    assert rows == sorted(expected, key=lambda row: row[0])


def test_every_link_that_an_event_is_on_has_a_member(built: Path, seen: list[Seen]) -> None:
    """An unsubscription that only the provider tells of is an opt-out that no link of the content was needed for."""
    facts = ("fct_tracking_events", "fct_esp_events")
    used = " union ".join(f"select delivery_id, url_id from core.{fact} where url_id is not null" for fact in facts)
    members = "core.dim_tracked_urls using (delivery_id, url_id)"
    assert query(built, f"select * from ({used}) anti join {members}") == []
    alone = [one for one in seen if one.told.kind == "unsubscribe" and not one.partner]
    assert alone
    assert query(
        built,
        "select delivery_id, click_count, label, url_type, is_unknown from reports.rpt_url_click_streams"
        f" where url_id = {UNSUBSCRIBED} order by 1",
    ) == [
        (delivery, count, "Unsubscribed at the provider", 3, False)
        for delivery, count in sorted(Counter(one.delivery for one in alone).items())
    ]


def test_an_act_told_twice_counts_once(built: Path, world: World, seen: list[Seen]) -> None:
    rows = query(
        built,
        "select provider_message_id, is_counted, matched_event_key from core.fct_esp_events"
        " where is_counted is not null and not is_counted order by all",
    )
    assert rows == sorted((f"e{one.told.number}", False, one.partner) for one in seen if one.partner)
    counted = query(built, "select event_key from core.fct_tracking_events order by all")
    tracking = [one for one in seen if one.told.kind in ("open", "click", "unsubscribe") and not one.partner]
    expected = [own.key for own in world.own] + [event_keys[one.told.number] for one in tracking]
    assert [row[0] for row in counted] == sorted(expected)


def crowded(clicks: list[tuple[str, datetime, int]]) -> set[str]:
    """Keys of clicks (key, time, link) on one message that come in bursts."""
    found = set()
    for _, at, _ in clicks:
        run = [key for key, other, _ in clicks if timedelta() <= other - at <= timedelta(seconds=1)]
        found |= set(run) if len(run) >= 5 else set()
        second = [
            (key, link) for key, other, link in clicks if other.replace(microsecond=0) == at.replace(microsecond=0)
        ]
        found |= {key for key, _ in second} if len({link for _, link in second}) >= 2 else set()
    return found


def test_the_provider_tells_machines(built: Path, world: World, seen: list[Seen], told_by: dict) -> None:
    clicks: dict[tuple, list[tuple[str, datetime, int]]] = defaultdict(list)
    expected = {}
    for own in world.own:
        expected[own.key] = any(one.told.is_machine for one in told_by.get(own.key, []))
        if own.url != 1:
            clicks["own", own.message].append((own.key, own.at, own.url))
    for one in seen:
        key = event_keys[one.told.number]
        if one.told.kind in ("open", "click", "unsubscribe") and not one.partner:
            expected[key] = one.told.is_machine
        if one.told.kind == "click" and one.message:
            clicks["told", one.message].append((key, one.told.at, one.url))
    bursts = set().union(*(crowded(of_message) for of_message in clicks.values()))
    rows = query(built, "select event_key, machine_rule from core.fct_tracking_events")
    assert dict(rows) == {
        key: "burst" if key in bursts else "provider_verdict" if is_machine else None
        for key, is_machine in expected.items()
    }
    assert sum(rule == "provider_verdict" for _, rule in rows) > 5
    own_keys = {own.key for own in world.own}
    assert any(rule == "provider_verdict" and key in own_keys for key, rule in rows)


def test_reconciliation(built: Path, world: World, seen: list[Seen], told_by: dict) -> None:
    counts: dict[tuple[int, str], Counter] = defaultdict(Counter)

    def kind(url: int, of_type: int | None) -> str:
        return "open" if url == 1 else "opt_out" if of_type == 3 else "click"

    for own in world.own:
        delivery = own_delivery(world, own)
        place = delivery, kind(own.url, url_type(world, delivery, own.url))
        counts[place]["both" if told_by.get(own.key) else "own"] += 1
    for one in seen:
        if one.told.kind in ("open", "click", "unsubscribe") and not one.partner:
            counts[one.delivery, kind(one.url, type_of(world, one))]["esp"] += 1
    expected = [
        (
            *place,
            n["own"],
            n["esp"],
            n["both"],
            n["own"] + n["both"],
            n["esp"] + n["both"],
            n.total(),
            n["both"] / n.total(),
        )
        for place, n in sorted(counts.items())
    ]
    assert query(built, "select * from reports.rpt_source_reconciliation order by delivery_id, kind") == expected


def outcome(world: World, seen: list[Seen], row: Message) -> tuple[int, int | None, datetime | None, str]:
    """Status, reason, time and who told them."""
    told = [one.told for one in seen if one.message == row.message]
    told = [one for one in told if one.kind in ("delivered", "bounce", "complaint")]
    if told:
        rank = {"complaint": 2, "bounce": 1, "delivered": 0}
        last = max(told, key=lambda one: (one.at, rank[one.kind]))
        failed = last.kind != "delivered"
        if row.status in (3, 5, 6, 8) or (
            row.status == 1 and failed and (row.event_at is None or last.at > row.event_at)
        ):
            reason = {"delivered": 0, "complaint": 8}.get(last.kind, {"hard": 1, "soft": 5}.get(last.bounce or ""))
            return 2 if failed else 1, reason, last.at, "esp_event"
    return row.status, None, row.event_at, "reference"


def test_what_became_of_messages(built: Path, world: World, seen: list[Seen]) -> None:
    rows = query(
        built, "select message_id, status, failure_reason, event_at, status_source from core.fct_messages order by all"
    )
    expected = sorted((row.message, *outcome(world, seen, row)) for row in world.current().values())
    assert rows == expected
    assert {row[4] for row in rows} == {"reference", "esp_event"}
    assert {row[2] for row in rows} >= {None, 0, 1, 5, 8}


def test_indicators(built: Path, world: World, seen: list[Seen]) -> None:
    """Of the delivery as a whole: messages by their last word, events of both records, each act once."""
    messages: dict[int, list[tuple[int, int | None]]] = defaultdict(list)
    for row in world.current().values():
        messages[row.delivery].append(outcome(world, seen, row)[:2])
    events: dict[int, list[tuple[int, int | None, int, str]]] = defaultdict(list)
    for own in world.own:
        delivery = own_delivery(world, own)
        visitor = "e5155671-4ab7-4ce4-a763-3b82dda6d881"
        events[delivery].append((own.url, url_type(world, delivery, own.url), own.message, visitor))
    for one in seen:
        if one.told.kind in ("open", "click", "unsubscribe") and not one.partner:
            person = f"message {one.message}" if one.message else one.told.address.lower()
            events[one.delivery].append((one.url, type_of(world, one), one.message, person))
    expected = []
    for delivery in sorted({*world.sent_at, *events, *messages, *(one.delivery for one in seen)}):
        of_delivery, sent = events[delivery], messages[delivery]
        clicks = [event for event in of_delivery if event[1] == 1]
        expected.append(
            (
                delivery,
                sum(status in (1, 3, 4) for status, _ in sent),
                sum(status == 2 for status, _ in sent),
                sum(status == 2 and reason == 8 for status, reason in sent),
                sum(event[0] == 1 for event in of_delivery),
                len(clicks),
                sum(event[1] == 3 for event in of_delivery),
                len({event[2] for event in of_delivery if event[1] in (1, 2, 3, 6, 11)} - {0}),
                len({event[2] for event in clicks} - {0}),
                len({event[3] for event in clicks}),
            )
        )
    found = query(
        built,
        "select delivery_id, success_count, error_count, complaint_count, total_open_count, total_click_count,"
        " opt_out_click_count, recipient_open_count, recipient_click_count, person_click_count"
        " from reports.rpt_tracking_indicators order by 1",
    )
    assert found == expected


@pytest.fixture(scope="module")
def grown(world: World, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The same world, in several runs: events before messages, newer extracts before older ones, retries of POSTs."""
    rng = random.Random(5)
    base = tmp_path_factory.mktemp("grown")
    landing, warehouse = base / "landing", base / "warehouse"
    own, told = list(world.own), list(world.told)
    rng.shuffle(own)
    rng.shuffle(told)
    for run in range(RUNS):
        logs(landing, f"x/{run}.log", *(one.text for one in own[run::RUNS]))
        again = [one.payload() | {"sg_event_id": f"again{run}"} for one in rng.choices(told[: run * 20 + 5], k=5)]
        jsonl(landing, f"sendgrid/{run}.jsonl", [one.payload() for one in told[run::RUNS]], again)
        if run == 0:
            write_urls(landing, world, 0)
            write_messages(landing, world, 1)
        elif run == 1:
            write_messages(landing, world, 0)
        else:
            write_deliveries(landing, world)
            write_urls(landing, world, 1)
        build_marts(landing, warehouse, select=MODELS)
    return landing, warehouse


def test_any_order_gives_the_same(built: Path, grown: tuple[Path, Path]) -> None:
    assert_same_tables(tables(built), tables(grown[1]))


def test_a_full_refresh_changes_nothing(grown: tuple[Path, Path]) -> None:
    before = tables(grown[1])
    build_marts(*grown, full_refresh=True, select=MODELS)
    assert_same_tables(tables(grown[1]), before)


def test_news_of_messages_and_deliveries_reach_events_that_came_before(tmp_path: Path) -> None:
    """999 is in no extract at first, and its events say two deliveries. 41 and 42 are of one recipient: the event is
    about the one that was sent last, and 42 was sent when its delivery was."""
    landing, warehouse = tmp_path / "landing", tmp_path / "warehouse"
    models = ["+fct_messages", "+fct_esp_events"]
    heading = "message_id,delivery_id,recipient_id,address,status,event_at"
    write(
        landing / "reference/messages/1.csv",
        [heading, "41,106,7,,1,2024-05-01T10:00:00", "42,106,7,,1,"],
        1_700_000_000,
    )
    write(
        landing / "reference/deliveries/1.csv",
        ["delivery_id,label,sent_at", "106,One,2024-05-01T09:00:00"],
        1_700_000_000,
    )
    jsonl(
        landing,
        "sendgrid/1.jsonl",
        sendgrid("delivered", 1_714_561_200, "n@x.example", message_id="999", delivery_id="201", sg_message_id="n1"),
        sendgrid("open", 1_714_564_800, "z@x.example", delivery_id="106", recipient_id="7", sg_message_id="o"),
    )
    build_marts(landing, warehouse, select=models)
    about = "select message_id from core.fct_esp_events where event_kind = 'open'"
    assert query(warehouse, about) == [(41,)]
    write(
        landing / "reference/deliveries/2.csv",
        ["delivery_id,label,sent_at", "106,One,2024-05-01T11:00:00"],
        1_700_000_001,
    )
    bounce = sendgrid("bounce", 1_714_564_800, "n@x.example", message_id="999", type="bounce", sg_message_id="n2")
    jsonl(landing, "sendgrid/2.jsonl", bounce)
    build_marts(landing, warehouse, tests=True, select=models)
    assert query(warehouse, about) == [(42,)]
    write(landing / "reference/messages/2.csv", [heading, "999,201,9,n@x.example,6,"], 1_700_000_001)
    build_marts(landing, warehouse, select=models)
    assert query(warehouse, "select status, status_source from core.fct_messages where message_id = 999") == [
        (2, "esp_event")
    ]
    alone = tmp_path / "alone"
    build_marts(landing, alone, select=models)
    assert_same_tables(tables(warehouse), tables(alone))


def test_a_time_that_cannot_be_is_of_no_hour_until_it_can(tmp_path: Path) -> None:
    """Sent again a day later, the same row is believed: what was not known of one arrival is of the next."""
    landing, warehouse = tmp_path / "landing", tmp_path / "warehouse"
    models = ["+rpt_delivery_throughput", "+dim_deliveries"]
    soon = (datetime.now(UTC) + timedelta(days=2)).replace(tzinfo=None, microsecond=0)
    rows = [
        *("message_id,delivery_id,recipient_id,status,event_at", "1,5,1,1,2024-05-01T10:20:00"),
        *("2,5,2,3,2999-01-01T00:00:00", "3,5,3,8,1899-12-30T00:00:00", f"4,6,4,1,{soon.isoformat()}"),
    ]
    write(landing / "reference/messages/1.csv", rows, 1_700_000_000)
    build_marts(landing, warehouse, select=models)
    hours = "select bucket_at, message_count from reports.rpt_delivery_throughput order by 1"
    sent = "select delivery_id, sent_at from core.dim_deliveries order by 1"
    assert query(warehouse, hours) == [(datetime(2024, 5, 1, 10), 1)]
    assert query(warehouse, sent) == [(5, datetime(2024, 5, 1, 10, 20)), (6, None)]
    write(landing / "reference/messages/2.csv", [*rows, "9,6,9,0,"], 1_700_000_001)
    with patch("log_ingest.ingest.datetime", wraps=datetime) as clock:
        clock.now.return_value = datetime.now(UTC) + timedelta(days=3)
        build_marts(landing, warehouse, select=models)
    assert query(warehouse, hours) == [(datetime(2024, 5, 1, 10), 1), (soon.replace(minute=0, second=0), 1)]
    assert query(warehouse, sent)[1] == (6, soon)
