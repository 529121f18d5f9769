"""Every report, computed a second time in plain Python over random worlds, equals the mart exactly.

Belongs here: a random world typed as reference files and log lines, and loops that say what each report must hold.
Nothing below reads the models' SQL, macros or seeds: codes, labels and formulas are typed from the domain page.
"""

import csv
import json
import math
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from tests.loglines import BROWSER, line, logs
from tests.marts import build_marts, connect
from tests.projection import projection

SEEDS = (1, 2, 3)
ZONES = ("Europe/Paris", "Asia/Kolkata")

IPHONE = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_4 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) "
    "Version/17.4 Mobile/15E148 Safari/604.1"
)
FIREFOX = "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:125.0) Gecko/20100101 Firefox/125.0"
OLD_FIREFOX = "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:115.0) Gecko/20100101 Firefox/115.0"
PROXY = "Mozilla/5.0 (Windows NT 5.1; rv:11.0) Gecko Firefox/11.0 (via ggpht.com GoogleImageProxy)"
MACHINE = "Mozilla/5.0"
AGENTS = {
    # text: is_machine, device class, system and its version, browser and its version
    BROWSER: (False, "desktop", "Windows", "10", "Chrome", "126.0"),
    IPHONE: (False, "phone", "iOS", "17.4", "Mobile Safari", "17.4"),
    FIREFOX: (False, "desktop", "Windows", "10", "Firefox", "125.0"),
    OLD_FIREFOX: (False, "desktop", "Windows", "10", "Firefox", "115.0"),
    PROXY: (False, "unknown", None, None, None, None),
    MACHINE: (True, "unknown", None, None, None, None),
}
LABELS = {
    0: "Not defined", 1: "User unknown", 2: "Invalid domain", 3: "Unreachable", 4: "Account disabled",
    5: "Mailbox full", 6: "Not connected", 8: "Denylisted address", 9: "Quarantined address", 10: "Duplicate",
    20: "Refused", 99: "Unknown",
}  # fmt: skip
NETWORKS = ("email", "facebook", "twitter", "delicious", "digg", "google", "linkedin")
DOMAINS = {"gmail.example": "Gmail", "yahoo.example": "Yahoo!", "empty.example": "  "}
"""Listed domains; two more are used and not listed."""


@dataclass
class Event:
    at: datetime
    message_id: int
    logged_delivery_id: int
    url_id: int
    visitor: str
    agent: str
    # What the warehouse has to find out:
    delivery_id: int = 0
    url_type: int | None = None
    network: str = ""
    recipient_id: int = 0

    @property
    def human(self) -> bool:
        return not AGENTS[self.agent][0]

    @property
    def in_range(self) -> bool:
        return datetime(2000, 1, 1) <= self.at < datetime(2100, 1, 1)


@dataclass
class World:
    deliveries: dict[int, dict] = field(default_factory=dict)
    messages: dict[int, dict] = field(default_factory=dict)
    urls: dict[tuple[int, int], dict] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)


def visitor(number: int) -> str:
    return f"00000000-0000-4000-8000-{number:012d}"


def grow(world: World, seed: int) -> None:
    """One more set of deliveries, with ids of their own. Deliveries differ in kind, not only in numbers."""
    rng = random.Random(seed)
    base = seed * 1000
    # Around both changes of the clocks in Paris (01:00 UTC), and at half past in Kolkata.
    days = [datetime(2024, 10, 26, 22, 45), datetime(2024, 3, 30, 23, 20), datetime(2024, 7, 1, 18, 29, 59, 999999)]
    for number in range(8):
        delivery_id = base + number
        start = rng.choice(days) + timedelta(minutes=rng.randrange(90))
        kind = "no_events" if number == 4 else "all_text" if number == 5 else "only_seeds" if number == 6 else ""
        declared = number != 7
        if declared:
            counted = rng.random() < 0.5
            world.deliveries[delivery_id] = {
                "delivery_id": delivery_id,
                "label": f"Delivery {delivery_id}",
                "channel": rng.choice(["email", "email", ""]),
                "typology": rng.choice(["weekly", "weekly", ""]),
                "is_proof": number == 3,
                "sent_at": start if rng.random() < 0.7 else None,
                "target_count": rng.randrange(100) if counted else None,
                "rejected_count": rng.randrange(20) if counted else None,
                "message_size_bytes": rng.choice([None, 0, 12_345]),
            }
        urls = {
            base + 100: {"label": "Shop", "category": "header", "url_type": 1},
            base + 101: {"label": " Shop ", "category": "footer", "url_type": 1},
            base + 102: {"label": "", "category": rng.choice(NETWORKS), "url_type": 1},
            base + 103: {"label": "Unsubscribe", "category": "", "url_type": 3},
            base + 104: {"label": "Mirror", "category": "", "url_type": 6},
            base + 105: {"label": "Bought", "category": "", "url_type": 5},
            base + 106: {"label": "Page", "category": "", "url_type": 4},
            base + 107: {"label": "Offer", "category": " Facebook ", "url_type": 11},
        }
        for url_id, url in urls.items():
            if rng.random() < 0.9:
                world.urls[delivery_id, url_id] = {"delivery_id": delivery_id, "url_id": url_id, **url}
        ids = []
        for n in range(rng.randrange(12, 25)):
            message_id = base * 100 + number * 100 + n
            ids.append(message_id)
            status = rng.choice([0, 0, 1, 1, 1, 1, 2, 2, 2, 3, 4, 5, 6, 7, 8])
            reason = rng.choice([0, 1, 1, 2, 3, 5, 6, 8, 20, 99, None]) if status == 2 else None
            if status == 0:
                reason = rng.choice([None, 0, 8, 9, 10])
            domain = rng.choice(["gmail.example", "gmail.example", "Yahoo.Example", "other.example", "empty.example"])
            world.messages[message_id] = {
                "message_id": message_id,
                "delivery_id": delivery_id,
                "recipient_id": base + rng.randrange(40),
                "address": "" if rng.random() < 0.1 else f"r{message_id}@{domain}",
                "status": status,
                "failure_reason": reason,
                "event_at": start + timedelta(seconds=rng.randrange(9000)) if rng.random() < 0.9 else None,
                "content_format": "text" if kind == "all_text" else rng.choice(["html", "html", "Text", "multipart"]),
                "is_seed": kind == "only_seeds" or rng.random() < 0.1,
            }
        if kind == "no_events":
            continue
        for n in range(rng.randrange(40, 70)):
            # No two events in one second: bursts have a test of their own.
            at = start + timedelta(seconds=n * 3, microseconds=rng.randrange(10**6))
            at += timedelta(
                seconds=3
                * 80
                * int(rng.choice([-2, 0, 1, rng.uniform(0, 60), rng.uniform(0, 60), rng.expovariate(1 / 200)]))
            )
            if rng.random() < 0.03:
                at = at.replace(year=rng.choice([1999, 2199]))
            message_id = rng.choice([*ids, 0, base * 100 + 90_000 + number])
            world.events.append(
                Event(
                    at=at,
                    message_id=message_id,
                    logged_delivery_id=0 if rng.random() < 0.1 else delivery_id,
                    url_id=rng.choice([1, 1, 1, *urls, base + 100, base + 105, base + 199]),
                    visitor=rng.choice(["", *(visitor(base * 100 + v) for v in range(15))]),
                    agent=rng.choice(list(AGENTS)),
                )
            )
    # An event that names one delivery and a message of another.
    strange = rng.choice([message for message in world.messages if message // 100 == base])
    world.events.append(Event(datetime(2024, 7, 1, 12), strange, base + 1, 1, visitor(1), BROWSER))


def make_world() -> World:
    world = World()
    for seed in SEEDS:
        grow(world, seed)
    # Exactly six months before, a moment more, the same moment, and a month end that the calendar clamps.
    times = [
        datetime(2023, 8, 31, 10), datetime(2023, 2, 28, 10), datetime(2023, 2, 28, 9, 59, 59, 999999),
        datetime(2023, 8, 31, 10), datetime(2023, 8, 31, 9, 59, 59, 999999),
    ]  # fmt: skip
    for n, sent_at in enumerate(times):
        delivery_id = 9000 + n
        world.deliveries[delivery_id] = {
            **{"delivery_id": delivery_id, "label": "Edge", "channel": "sms", "typology": "edge", "is_proof": False},
            **{"sent_at": sent_at, "target_count": None, "rejected_count": None, "message_size_bytes": 7},
        }
        for m in range(n + 2):
            message_id = 9_000_000 + 10 * n + m
            world.messages[message_id] = {
                **{"message_id": message_id, "delivery_id": delivery_id, "recipient_id": 9000 + m, "status": 1},
                **{"address": "", "failure_reason": None, "event_at": sent_at, "content_format": "html"},
                "is_seed": False,
            }
        world.urls[delivery_id, 9500] = {
            **{"delivery_id": delivery_id, "url_id": 9500, "label": "Go", "category": "", "url_type": 1},
        }
        world.events.append(
            Event(sent_at + timedelta(minutes=10), 9_000_000 + 10 * n, delivery_id, 9500, visitor(9), BROWSER)
        )
    for event in world.events:
        message = world.messages.get(event.message_id)
        event.delivery_id = event.logged_delivery_id or (message["delivery_id"] if message else 0)
        event.recipient_id = message["recipient_id"] if message else 0
        url = world.urls.get((event.delivery_id, event.url_id))
        event.url_type = 2 if event.url_id == 1 else url["url_type"] if url else None
        event.network = url["category"].strip().lower() if url and event.url_id != 1 else ""
    return world


def write_csv(landing: Path, entity: str, rows: Iterable[dict]) -> None:
    folder = landing / "reference" / entity
    folder.mkdir(parents=True)
    rows = list(rows)
    with (folder / "all.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


@dataclass
class Built:
    world: World
    zone: ZoneInfo
    warehouse: Path

    def mart(self, name: str) -> tuple[list[str], list[dict]]:
        """Column names and rows of a mart; its types are ones that every tool reads."""
        with connect(self.warehouse) as con:
            found = con.execute(f"select * from reports.{name}")
            columns = [column[0] for column in found.description]
            types = {column[0]: str(column[1]) for column in found.description}
            sums = {kind for name, kind in types.items() if not name.endswith("transaction_amount")}
            assert not {kind for kind in sums if kind == "HUGEINT" or kind.startswith("DECIMAL")}, types
            return columns, [dict(zip(columns, row, strict=True)) for row in found.fetchall()]

    def local(self, at: datetime) -> datetime:
        return at.replace(tzinfo=UTC).astimezone(self.zone).replace(tzinfo=None)


@pytest.fixture(scope="module", params=ZONES)
def built(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterable[Built]:
    base = tmp_path_factory.mktemp("reports")
    world = make_world()
    landing = base / "landing"
    lines = [
        line(
            n, at=event.at.isoformat(timespec="microseconds"), message=event.message_id,
            delivery=event.logged_delivery_id, url=event.url_id, visitor=event.visitor, agent=event.agent,
        )
        for n, event in enumerate(world.events)
    ]  # fmt: skip
    logs(landing, "a/0x0000000000000000.log", *lines)
    write_csv(landing, "deliveries", world.deliveries.values())
    write_csv(landing, "messages", world.messages.values())
    write_csv(landing, "tracked_urls", world.urls.values())
    write_csv(landing, "mail_domains", [{"domain": name, "domain_label": label} for name, label in DOMAINS.items()])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MTW_TIME_ZONE", request.param)
        build_marts(landing, base / "warehouse", tests=request.param == ZONES[0])
    yield Built(world, ZoneInfo(request.param), base / "warehouse")


def check(built: Built, mart: str, key: tuple[str, ...], expected: dict[tuple, dict]) -> None:
    """The mart has exactly these rows, and every column of it was computed here too."""
    columns, rows = built.mart(mart)
    assert expected, "nothing to compare"
    assert set(columns) == {*key, *next(iter(expected.values()))}
    found = {tuple(row[name] for name in key): row for row in rows}
    assert len(found) == len(rows), "the key is not unique"
    assert found.keys() == expected.keys()
    for place, row in expected.items():
        for name, value in row.items():
            got = found[place][name]
            if isinstance(value, float) and got is not None:
                assert got == pytest.approx(value, rel=1e-12, abs=1e-12), (place, name)
            else:
                assert got == value and type(got) is type(value), (place, name, got, value)


# -- the second computation


def percent(numerator: float | None, denominator: float | None) -> float | None:
    return None if not denominator or numerator is None else numerator / denominator


def by(items: Iterable, key: Callable) -> defaultdict[object, list]:
    groups = defaultdict(list)
    for item in items:
        groups[key(item)].append(item)
    return groups


def domain_of(message: dict | None) -> str:
    address = (message or {}).get("address") or ""
    return address.rsplit("@", 1)[1].lower() if "@" in address else "unknown"


def domain_label(domain: str) -> str:
    return DOMAINS.get(domain, "").strip() or "Others"


def all_deliveries(world: World) -> list[int]:
    used = {message["delivery_id"] for message in world.messages.values()}
    return sorted({*world.deliveries, *used, *(event.delivery_id for event in world.events)})


def sent_at(world: World, delivery_id: int) -> datetime | None:
    declared = world.deliveries.get(delivery_id, {}).get("sent_at")
    times = [m["event_at"] for m in world.messages.values() if m["delivery_id"] == delivery_id and m["event_at"]]
    return declared or min(times, default=None)


def delivered(message: dict) -> bool:
    return message["status"] in (1, 3, 4) and not message["is_seed"]


def processed(message: dict) -> bool:
    return message["status"] in (1, 2, 3, 4, 6, 8)


def both(name: str, count: Callable[[list[Event]], int], events: list[Event]) -> dict[str, int]:
    """The indicator as the reference counts it, and without machines."""
    return {name: count(events), f"human_{name}": count([event for event in events if event.human])}


def of_type(*types: int) -> Callable[[list[Event]], int]:
    return lambda events: sum(event.url_type in types for event in events)


def opens(events: list[Event]) -> int:
    return sum(event.url_id == 1 for event in events)


def opening_messages(events: list[Event]) -> int:
    return len({e.message_id for e in events if e.url_type in (1, 2, 3, 6, 11) and e.message_id})


def clicking_messages(events: list[Event]) -> int:
    return len({e.message_id for e in events if e.url_type == 1 and e.message_id})


def clicking_visitors(events: list[Event]) -> int:
    return len({e.visitor for e in events if e.url_type == 1 and e.visitor})


def indicators(messages: list[dict], events: list[Event]) -> dict:
    to_deliver = [m for m in messages if m["status"] != 0]
    html = sum(m["content_format"].lower() != "text" for m in to_deliver)

    reached = {m["message_id"] for m in messages if delivered(m)}
    of_delivered = [event for event in events if event.message_id in reached]

    def estimate(count: int) -> int:
        return math.floor((2 * count * len(to_deliver) + html) / (2 * html)) if html else 0

    row = {
        "to_deliver_count": len(to_deliver),
        "text_to_deliver_count": len(to_deliver) - html,
        "success_count": sum(map(delivered, messages)),
        "error_count": sum(m["status"] == 2 for m in messages),
        "complaint_count": sum(m["status"] == 2 and m["failure_reason"] == 8 for m in messages),
        **both("recipient_open_count", opening_messages, events),
        **both("total_open_count", opens, events),
        **both("delivered_recipient_open_count", opening_messages, of_delivered),
        **both("delivered_total_open_count", opens, of_delivered),
        **both("opt_out_click_count", of_type(3), events),
        **both("mirror_page_click_count", of_type(6), events),
        **both("recipient_click_count", clicking_messages, events),
        **both("person_click_count", clicking_visitors, events),
        **both("total_click_count", of_type(1), events),
        **both("share_count", lambda events: sum(event.network in NETWORKS for event in events), events),
        **both("page_visit_count", of_type(4, 5), events),
        **both("transaction_count", of_type(5), events),
    }
    for network in NETWORKS:
        row |= both(f"{network}_share_count", lambda some, n=network: sum(e.network == n for e in some), events)
    for human in ("", "human_"):
        row[f"{human}estimated_recipient_open_count"] = estimate(row[f"{human}recipient_open_count"])
        row[f"{human}estimated_total_open_count"] = estimate(row[f"{human}total_open_count"])
        row[f"{human}estimated_reactivity"] = percent(
            row[f"{human}recipient_click_count"], row[f"{human}estimated_recipient_open_count"]
        )
        row[f"{human}forward_estimate"] = row[f"{human}person_click_count"] - row[f"{human}recipient_click_count"]
        row[f"{human}raw_reactivity"] = percent(
            row[f"{human}recipient_click_count"], row[f"{human}recipient_open_count"]
        )
        # Nothing in this world says for how much; tests/integration/test_web_tracking.py does.
        row |= {f"{human}transaction_amount": Decimal("0.0000"), f"{human}article_count": 0}
        row[f"{human}average_transaction_amount"] = percent(0, row[f"{human}transaction_count"])
        row[f"{human}average_articles_per_transaction"] = percent(0, row[f"{human}transaction_count"])
        row[f"{human}average_amount_per_message"] = percent(0, row["to_deliver_count"])
    return row | projection(row)


def by_delivery(world: World) -> dict[int, dict]:
    messages = by(world.messages.values(), lambda m: m["delivery_id"])
    events = by(world.events, lambda e: e.delivery_id)
    return {delivery: indicators(messages[delivery], events[delivery]) for delivery in all_deliveries(world)}


def by_domain(world: World) -> dict[tuple[int, str], dict]:
    def domain_of_event(event: Event) -> str:
        message = world.messages.get(event.message_id)
        return domain_of(message if message and message["delivery_id"] == event.delivery_id else None)

    messages = by(world.messages.values(), lambda m: (m["delivery_id"], domain_of(m)))
    events = by(world.events, lambda e: (e.delivery_id, domain_of_event(e)))
    return {
        place: {"domain_label": domain_label(place[1]), **indicators(messages[place], events[place])}
        for place in {*messages, *events}
    }


def label(world: World, delivery_id: int) -> str | None:
    return world.deliveries.get(delivery_id, {}).get("label")


# -- the reports


def test_the_world_is_not_trivial(built: Built) -> None:
    world = built.world
    assert len(world.events) > 3 * 200
    assert any(not event.in_range for event in world.events)
    assert any(event.url_type is None for event in world.events)
    assert any(event.url_type == 5 for event in world.events)
    assert {event.delivery_id for event in world.events} - set(world.deliveries)
    assert any(
        row["estimated_reactivity"] is None and row["recipient_click_count"] for row in by_delivery(world).values()
    )
    assert any(not row["success_count"] and row["total_click_count"] for row in by_delivery(world).values())


def test_tracking_indicators(built: Built) -> None:
    world = built.world
    expected = {
        (delivery,): {"delivery_label": label(world, delivery), "sent_at": sent_at(world, delivery), **row}
        for delivery, row in by_delivery(world).items()
    }
    check(built, "rpt_tracking_indicators", ("delivery_id",), expected)


def test_tracking_indicators_by_domain(built: Built) -> None:
    check(built, "rpt_tracking_indicators_by_domain", ("delivery_id", "mail_domain"), by_domain(built.world))


def activities(world: World) -> dict[tuple[int, str], list[tuple[float, bool]]]:
    """(microseconds since sent_at, is human) of what has a believable time, sorted."""
    found = defaultdict(list)
    for event in world.events:
        name = "opens" if event.url_id == 1 else {1: "clicks", 5: "transactions"}.get(event.url_type)
        start = sent_at(world, event.delivery_id)
        if name and start and event.in_range:
            elapsed = (event.at - start) // timedelta(microseconds=1)
            found[event.delivery_id, name].append((elapsed, event.human))
    return {key: sorted(values) for key, values in found.items()}


def test_tracking_statistics(built: Built) -> None:
    expected = {}
    for (delivery, name), events in activities(built.world).items():
        everything, human = [us for us, _ in events], [us for us, is_human in events if is_human]

        def reach(times: list[int], percentile: int) -> float | None:
            for count, time in enumerate(times, 1):
                if 100 * count >= percentile * len(times):
                    return time / 1_000_000
            return None

        for percentile in range(10, 100, 10):
            expected[delivery, name, percentile] = {
                "seconds_to_reach": reach(everything, percentile),
                "human_seconds_to_reach": reach(human, percentile),
                "total_count": len(everything),
                "human_total_count": len(human),
            }
    assert any(row["seconds_to_reach"] < 0 for row in expected.values())
    check(built, "rpt_tracking_statistics", ("delivery_id", "activity", "percentile"), expected)


def test_tracking_statistics_curve(built: Built) -> None:
    expected = {}
    sizes = {"10 minutes": 600, "1 hour": 3600, "3 hours": 10800, "24 hours": 86400}
    for (delivery, name), events in activities(built.world).items():
        for bucket, seconds in sizes.items():
            numbers = [(0 if us < 0 else us // (seconds * 10**6) + 1, human) for us, human in events]
            for number in {number for number, _ in numbers}:
                expected[delivery, name, seconds, number] = {
                    "bucket": bucket,
                    "elapsed_seconds": number * seconds,
                    "event_count": sum(n == number for n, _ in numbers),
                    "human_event_count": sum(n == number and human for n, human in numbers),
                    "cumulative_count": sum(n <= number for n, _ in numbers),
                    "human_cumulative_count": sum(n <= number and human for n, human in numbers),
                }
    check(
        built,
        "rpt_tracking_statistics_curve",
        ("delivery_id", "activity", "bucket_seconds", "bucket_number"),
        expected,
    )


def shares(world: World, key: Callable[[dict], object]) -> dict[tuple, dict]:
    expected = {}
    for delivery, messages in by(world.messages.values(), lambda m: m["delivery_id"]).items():
        failed = [message for message in messages if message["status"] == 2]
        for place, group in by(failed, key).items():
            expected[delivery, place] = {
                "failure_count": len(group),
                "share_of_failures": len(group) / len(failed),
                "share_of_processed": len(group) / sum(map(processed, messages)),
            }
    return expected


def test_delivery_failures_by_reason(built: Built) -> None:
    expected = shares(built.world, lambda m: m["failure_reason"] or 0)
    for (_, reason), row in expected.items():
        row["failure_label"] = LABELS[reason]
    check(built, "rpt_delivery_failures_by_reason", ("delivery_id", "failure_reason"), expected)


def test_delivery_failures_by_domain(built: Built) -> None:
    expected = shares(built.world, domain_of)
    for (_, domain), row in expected.items():
        row["domain_label"] = domain_label(domain)
    check(built, "rpt_delivery_failures_by_domain", ("delivery_id", "mail_domain"), expected)


def summary(world: World) -> dict[int, dict]:
    expected = {}
    for delivery, row in by_delivery(world).items():
        declared = world.deliveries.get(delivery, {})
        messages = [m for m in world.messages.values() if m["delivery_id"] == delivery]
        ignored = sum(m["status"] == 0 for m in messages)
        target, rejected = declared.get("target_count"), declared.get("rejected_count")
        expected[delivery] = {
            "delivery_label": label(world, delivery),
            "sent_at": sent_at(world, delivery),
            "target_count": len(messages) if target is None else target,
            "rejected_count": ignored if rejected is None else rejected,
            **{name: row[name] for name in ("to_deliver_count", "success_count", "error_count")},
            "success_rate": percent(row["success_count"], row["to_deliver_count"]),
            "error_rate": percent(row["error_count"], row["to_deliver_count"]),
            "new_quarantine_count": sum(m["status"] == 2 and m["failure_reason"] in (1, 2) for m in messages),
        }
    return expected


def test_delivery_summary(built: Built) -> None:
    expected = {(delivery,): row for delivery, row in summary(built.world).items()}
    check(built, "rpt_delivery_summary", ("delivery_id",), expected)


def test_delivery_exclusions(built: Built) -> None:
    expected = {}
    ignored = [message for message in built.world.messages.values() if message["status"] == 0]
    for delivery, messages in by(ignored, lambda m: m["delivery_id"]).items():
        for reason, group in by(messages, lambda m: m["failure_reason"] or 0).items():
            expected[delivery, reason] = {
                "failure_label": LABELS[reason],
                "message_count": len(group),
                "share_of_rejected": len(group) / len(messages),
            }
    check(built, "rpt_delivery_exclusions", ("delivery_id", "failure_reason"), expected)


def test_delivery_statistics(built: Built) -> None:
    expected = {}
    messages = by(built.world.messages.values(), lambda m: (m["delivery_id"], domain_of(m)))
    for place, row in by_domain(built.world).items():
        failed = [m["failure_reason"] for m in messages[place] if m["status"] == 2]
        counts = {
            "processed_count": sum(map(processed, messages[place])),
            "delivered_count": row["success_count"],
            "hard_bounce_count": sum(reason == 1 for reason in failed),
            "soft_bounce_count": sum(reason in (3, 5, 2, 4, 6, 20) for reason in failed),
        }
        rates = {}
        for name in ("delivered", "hard_bounce", "soft_bounce"):
            rates[f"{name}_rate"] = percent(counts[f"{name}_count"], counts["processed_count"])
        for name in ("recipient_open", "person_click", "opt_out_click"):
            for form in (name, f"human_{name}"):
                counts[f"{form}_count"] = row[f"{form}_count"]
                rates[f"{form}_rate"] = percent(row[f"{form}_count"], row["success_count"])
        expected[place] = {"domain_label": domain_label(place[1]), **counts, **rates}
    check(built, "rpt_delivery_statistics", ("delivery_id", "mail_domain"), expected)


def six_months_before(at: datetime) -> datetime:
    year, month = (at.year, at.month - 6) if at.month > 6 else (at.year - 1, at.month + 6)
    for day in range(at.day, 0, -1):
        try:
            return at.replace(year=year, month=month, day=day)
        except ValueError:  # a day that this month does not have: its last one
            continue
    raise AssertionError


def test_delivery_rates(built: Built) -> None:
    world, rows = built.world, by_delivery(built.world)
    expected = {}
    parts = {
        "reactivity": ("recipient_click_count", "estimated_recipient_open_count"),
        "human_reactivity": ("human_recipient_click_count", "human_estimated_recipient_open_count"),
        "distinct_click_rate": ("person_click_count", "success_count"),
        "human_distinct_click_rate": ("human_person_click_count", "success_count"),
        "cumulated_click_rate": ("total_click_count", "success_count"),
        "human_cumulated_click_rate": ("human_total_click_count", "success_count"),
    }

    def kind(delivery: int) -> tuple[str | None, str | None]:
        declared = world.deliveries.get(delivery, {})
        return declared.get("typology") or None, declared.get("channel") or None

    for delivery, row in rows.items():
        until = sent_at(world, delivery)
        peers = [
            rows[other]
            for other in rows
            if until
            and (at := sent_at(world, other))
            and six_months_before(until) <= at < until
            and kind(other) == kind(delivery)
            and not world.deliveries.get(other, {}).get("is_proof")
        ]
        values: dict[str, object] = {"platform_delivery_count": len(peers)}
        for name, (numerator, denominator) in parts.items():
            human = "human_" if name.startswith("human_") else ""
            values[name] = percent(row[numerator], row[denominator])
            values[f"{human}platform_average_{name.removeprefix('human_')}"] = percent(
                sum(peer[numerator] for peer in peers), sum(peer[denominator] for peer in peers)
            )
        expected[delivery,] = values
    assert [expected[delivery,]["platform_delivery_count"] for delivery in range(9000, 9005)] == [2, 1, 0, 2, 2]
    check(built, "rpt_delivery_rates", ("delivery_id",), expected)


def lines_of(world: World) -> dict[tuple[int, int], int]:
    """Link to the line it is shown on: the same label is the same line, known by its smallest link."""
    used = {(event.delivery_id, event.url_id) for event in world.events}
    lines = {}
    for delivery, url in {*world.urls, *used}:
        text = world.urls.get((delivery, url), {}).get("label", "").strip()
        same = [
            other
            for other_delivery, other in {*world.urls, *used}
            if other_delivery == delivery
            and (other == url or (text and world.urls.get((delivery, other), {}).get("label", "").strip() == text))
        ]
        if url != 1:
            lines[delivery, url] = min(same)
    return lines


def test_url_click_streams_and_per_day(built: Built) -> None:
    world, lines = built.world, lines_of(built.world)
    clicks, days = defaultdict(list), defaultdict(list)
    for place in {(delivery, first) for (delivery, _), first in lines.items()}:
        clicks[place] = []
    for event in world.events:
        if event.url_id != 1:
            place = (event.delivery_id, lines[event.delivery_id, event.url_id])
            clicks[place].append(event)
            if event.in_range:
                days[*place, built.local(event.at).date()].append(event)
    expected = {}
    totals = Counter(event.delivery_id for event in world.events if event.url_id != 1)
    human_totals = Counter(event.delivery_id for event in world.events if event.url_id != 1 and event.human)
    for delivery, group in by(clicks, lambda place: place[0]).items():
        ranked = sorted(group, key=lambda place: (-len(clicks[place]), place[1]))
        for position, place in enumerate(ranked, 1):
            declared = world.urls.get(place, {})
            expected[place] = {
                "label": declared.get("label", "").strip() or None,
                "category": declared.get("category") or None,
                "url_type": declared.get("url_type"),
                **both("click_count", len, clicks[place]),
                "click_share": percent(len(clicks[place]), totals[delivery]),
                "human_click_share": percent(sum(e.human for e in clicks[place]), human_totals[delivery]),
                "is_unknown": place not in world.urls,
                "position": position,
            }
    check(built, "rpt_url_click_streams", ("delivery_id", "url_id"), expected)
    daily = {
        (delivery, url, day): {
            **{name: expected[delivery, url][name] for name in ("label", "category", "position")},
            **both("click_count", len, events),
        }
        for (delivery, url, day), events in days.items()
    }
    assert any(event.in_range and built.local(event.at).date() != event.at.date() for event in world.events)
    check(built, "rpt_url_click_streams_daily", ("delivery_id", "url_id", "clicked_on"), daily)


def test_user_activity(built: Built) -> None:
    groups = defaultdict(list)
    for event in built.world.events:
        if event.in_range and (event.url_id == 1 or event.url_type in (1, 5)):
            start = event.at.replace(minute=event.at.minute // 30 * 30, second=0, microsecond=0)
            groups[event.delivery_id, start].append(event)
    expected = {
        (delivery, start): {
            "local_bucket_at": built.local(start),
            **both("open_count", opens, events),
            **both("click_count", of_type(1), events),
            **both("transaction_count", of_type(5), events),
        }
        for (delivery, start), events in groups.items()
    }
    check(built, "rpt_user_activity", ("delivery_id", "bucket_at"), expected)


def test_opens_by_device(built: Built) -> None:
    expected = {}
    groups = defaultdict(list)
    for event in built.world.events:
        if event.url_type in (1, 2, 3, 6, 11):
            _, device, system, _, browser, _ = AGENTS[event.agent]
            groups[event.delivery_id, device, system or "unknown", browser or "unknown"].append(event)
    for place, events in groups.items():
        row = {"is_mobile": place[1] == "phone", **both("open_count", opens, events)}
        row |= both("recipient_open_count", opening_messages, events)
        delivery = [event for event in built.world.events if event.delivery_id == place[0]]
        row["open_share"] = percent(row["open_count"], opens(delivery))
        row["human_open_share"] = percent(row["human_open_count"], opens([event for event in delivery if event.human]))
        expected[place] = row
    check(built, "rpt_opens_by_device", ("delivery_id", "device_class", "os_name", "browser_name"), expected)


def test_delivery_throughput(built: Built) -> None:
    expected = {}
    left = [m for m in built.world.messages.values() if m["event_at"] and m["status"] in (1, 2, 3, 4, 5)]

    def hour_of(message: dict) -> datetime:
        """When the hour of the reporting zone began, in UTC."""
        local = built.local(message["event_at"])
        return message["event_at"] - (local - local.replace(minute=0, second=0, microsecond=0))

    for hour, messages in by(left, hour_of).items():
        sizes = [built.world.deliveries.get(m["delivery_id"], {}).get("message_size_bytes") for m in messages]
        known = [size for size in sizes if size is not None]
        expected[hour,] = {
            "local_bucket_at": built.local(hour),
            "message_count": len(messages),
            "success_count": sum(map(delivered, messages)),
            "error_count": sum(m["status"] == 2 for m in messages),
            "sized_message_count": len(known),
            "bits_per_second": sum(known) * 8 / 3600 if known else None,
        }
    check(built, "rpt_delivery_throughput", ("bucket_at",), expected)


@pytest.mark.parametrize(
    ("mart", "name", "place"), [("rpt_browsers", "browser", 4), ("rpt_operating_systems", "os", 2)]
)
def test_software(built: Built, mart: str, name: str, place: int) -> None:
    def visitors(events: Iterable[Event]) -> int:
        return len({event.recipient_id for event in events if event.recipient_id})

    def last_on(day: date, groups: list[list[Event]]) -> int:
        """How many recipients did none of it after that day, and some on it."""
        days: dict[int, date] = {}
        for event in (event for some in groups for event in some if event.recipient_id):
            days[event.recipient_id] = max(days.get(event.recipient_id, date.min), built.local(event.at).date())
        return sum(last == day for last in days.values())

    groups: dict[tuple[date, str, str], list[Event]] = defaultdict(list)
    for event in built.world.events:
        if event.url_type == 1 and event.in_range:
            family, version = AGENTS[event.agent][place : place + 2]
            groups[built.local(event.at).date(), family or "unknown", version or "unknown"].append(event)
    expected = {}
    for (day, family, version), events in groups.items():
        row = {**both("visitor_count", visitors, events), **both("page_count", len, events)}
        for form in ("", "human_"):

            def kept(wanted: Callable[[tuple], bool], form: str = form) -> list[list[Event]]:
                return [[e for e in some if e.human or not form] for key, some in groups.items() if wanted(key)]

            count = row[f"{form}visitor_count"]
            of_day = kept(lambda key, day=day: key[0] == day)
            of_name = kept(lambda key, day=day, family=family: key[:2] == (day, family))
            of_version = kept(lambda key, same=(family, version): key[1:] == same)
            best = max(map(visitors, of_version))
            row[f"{form}usage_rate"] = percent(count, visitors(event for some in of_day for event in some))
            row[f"{form}version_usage_rate"] = percent(count, visitors(event for some in of_name for event in some))
            row[f"{form}best_day_rate"] = percent(count, best)
            row[f"{form}last_visitor_count"] = last_on(day, of_version)
            row[f"{form}name_last_visitor_count"] = last_on(day, kept(lambda key, family=family: key[1] == family))
            row[f"{form}all_last_visitor_count"] = last_on(day, kept(lambda key: True))
        expected[day, family, version] = row
    check(built, mart, ("clicked_on", f"{name}_name", f"{name}_version"), expected)


def by_reason(messages: list[dict], status: int) -> str | None:
    """As the dashboard writes it: labels and counts, the largest count first."""
    counts = Counter(LABELS[m["failure_reason"] or 0] for m in messages if m["status"] == status)
    ranked = sorted(counts.items(), key=lambda reason: (-reason[1], reason[0]))
    return json.dumps(dict(ranked)) if ranked else None


def test_delivery_dashboard(built: Built) -> None:
    world, rows = built.world, by_delivery(built.world)
    names = "ignored sent failed taken_into_account received_on_mobile sent_to_provider pending cancelled prepared"
    main = ["estimated_recipient_open_count", "human_estimated_recipient_open_count", "complaint_count"]
    main += ["estimated_reactivity", "human_estimated_reactivity"]
    main += ["machine_only_open_count", "projected_recipient_open_count", "projected_open_rate"]
    for name in ("recipient_open", "total_open", "recipient_click", "person_click", "total_click", "opt_out_click"):
        main += [f"{name}_count", f"human_{name}_count"]
    main += ["mirror_page_click_count", "human_mirror_page_click_count", "raw_reactivity", "human_raw_reactivity"]
    for name in ("page_visit_count", "transaction_count", "transaction_amount"):
        main += [name, f"human_{name}"]
    with connect(built.warehouse) as con:
        ingested = dict(
            con.execute("select delivery_id, max(ingested_at) from core.fct_tracking_events group by 1").fetchall()
        )
    expected = {}
    for delivery, row in summary(world).items():
        messages = [m for m in world.messages.values() if m["delivery_id"] == delivery]
        left = [m["event_at"] for m in messages if m["status"] in (1, 2, 3, 4, 5) and m["event_at"]]
        waiting = sum(m["status"] in (6, 8) for m in messages)
        times = [event.at for event in world.events if event.delivery_id == delivery and event.in_range]
        expected[delivery,] = {
            **row,
            **{f"{name}_count": sum(m["status"] == s for m in messages) for s, name in enumerate(names.split())},
            **{name: rows[delivery][name] for name in main},
            "exclusions_by_reason": by_reason(messages, 0),
            "failures_by_reason": by_reason(messages, 2),
            "sending_progress": percent(row["to_deliver_count"] - waiting, row["to_deliver_count"]),
            "first_sent_at": min(left, default=None),
            "last_sent_at": max(left, default=None),
            "last_event_at": max(times, default=None),
            "last_ingested_at": ingested.get(delivery),
        }
    check(built, "delivery_dashboard", ("delivery_id",), expected)


def test_clocks_that_change(built: Built) -> None:
    """Both half-hours that Paris shows twice are kept apart, and Kolkata's days begin at half past in UTC."""
    if built.zone.key == "Europe/Paris":
        assert built.local(datetime(2024, 10, 27, 0, 30)) == built.local(datetime(2024, 10, 27, 1, 30))
    with connect(built.warehouse) as con:
        twice = con.execute(
            "select delivery_id, local_bucket_at from reports.rpt_user_activity group by all having count(*) > 1"
        ).fetchall()
        minutes = {
            row[0]
            for row in con.execute("select minute(local_bucket_at) from reports.rpt_delivery_throughput").fetchall()
        }
    assert bool(twice) == (built.zone.key == "Europe/Paris")
    assert minutes == {0}, "hours of the reporting zone"
