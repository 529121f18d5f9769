"""Roll-ups: exact distinct counts for deliveries, campaigns, days, weeks, months and all, held to plain Python; and
what summing would have given instead."""

import csv
import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from tests.loglines import line, logs
from tests.marts import build_marts, connect

CAMPAIGNS = {501: "Spring", 502: "Spring", 503: "", 504: "Autumn", 505: "Autumn"}
"""Nobody opens anything of delivery 505."""
KINDS = {1: 2, 21: 1, 22: 1, 23: 3, 24: 6, 25: 11, 26: 5}
TRACKING = {1, 2, 3, 6, 11}
SHARED = 25
PURCHASE = {"amount": Decimal("10.25"), "article": 2}
ROBOT = "Mozilla/5.0"
MEASURES = (
    *("recipient_open_count", "recipient_click_count", "person_click_count", "total_open_count", "total_click_count"),
    *("opt_out_click_count", "mirror_page_click_count", "forward_estimate"),
    *("estimated_recipient_open_count", "estimated_total_open_count", "estimated_reactivity"),
    *("page_visit_count", "transaction_count", "transaction_amount", "article_count"),
    *("average_transaction_amount", "average_articles_per_transaction", "average_amount_per_message"),
)
OF_MESSAGES = ("to_deliver_count", "text_to_deliver_count", "success_count", "error_count", "complaint_count")


@dataclass(frozen=True)
class Event:
    delivery: int
    message: int
    url: int
    at: datetime
    visitor: str
    is_machine: bool

    @property
    def in_range(self) -> bool:
        return self.at.year >= 2000


def make_events() -> list[Event]:
    rng = random.Random(5)
    start = datetime(2024, 5, 30, 23)
    found = []
    for n in range(400):
        delivery = rng.choice([501, 501, 502, 503, 504])
        message = rng.choice([0, *range(delivery * 10, delivery * 10 + 9)])
        # Visitors come back, in other deliveries and on other days; seconds apart, so that nothing is a burst.
        visitor = f"00000000-0000-4000-8000-{rng.randrange(12):012d}"
        moment = start + timedelta(minutes=37 * n)
        found.append(Event(delivery, message, rng.choice(list(KINDS)), moment, visitor, rng.random() < 0.2))
    found.append(Event(501, 5011, 21, datetime(1999, 1, 1), "00000000-0000-4000-8000-000000000099", False))
    return found


EVENTS = make_events()


def make_messages() -> list[dict]:
    """Ignored, sent, failed and denylisted ones; every third in text format."""
    return [
        {
            "message_id": delivery * 10 + n, "delivery_id": delivery, "recipient_id": 9000 + n,
            "status": (0, 1, 2, 2, 1, 3, 1, 1, 1)[n], "failure_reason": (9, "", 1, 8, "", "", "", "", "")[n],
            "content_format": "text" if (delivery + n) % 3 == 0 else "html", "event_at": "2024-05-30T20:00:00",
        }
        for delivery in CAMPAIGNS
        for n in range(9)
    ]  # fmt: skip


MESSAGES = make_messages()


@pytest.fixture(scope="module")
def rollups(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], dict]:
    base = tmp_path_factory.mktemp("rollups")
    landing = base / "landing"
    write(landing, "deliveries", [{"delivery_id": d, "campaign_label": c} for d, c in CAMPAIGNS.items()])
    write(landing, "messages", MESSAGES)
    links = [
        {"delivery_id": d, "url_id": u, "url_type": k, "category": "facebook" if u == SHARED else ""}
        for d in CAMPAIGNS
        for u, k in KINDS.items()
        if u != 1
    ]
    write(landing, "tracked_urls", links)
    logs(
        landing,
        "s5/a.log",
        *(
            line(
                0x100 + n, at=e.at.isoformat(timespec="milliseconds"), message=e.message, delivery=e.delivery,
                url=e.url, visitor=e.visitor, **({"agent": ROBOT} if e.is_machine else {}),
                **({"params": "amount={amount}&article={article}".format(**PURCHASE)} if KINDS[e.url] == 5 else {}),
            )
            for n, e in enumerate(EVENTS)
        ),
    )  # fmt: skip
    build_marts(landing, base / "warehouse", select=["+rpt_tracking_rollups", "+rpt_tracking_indicators"])
    with connect(base / "warehouse") as con:
        found = {}
        for mart in ("rpt_tracking_rollups", "rpt_tracking_indicators"):
            rows = con.execute(f"select * from reports.{mart}")
            names = [column[0] for column in rows.description]
            for row in (dict(zip(names, values, strict=True)) for values in rows.fetchall()):
                key = (row["rollup"], row["rollup_key"]) if "rollup" in row else ("mart", str(row["delivery_id"]))
                found[key] = row
    return found


def write(landing: Path, entity: str, rows: list[dict]) -> None:
    folder = landing / "reference" / entity
    folder.mkdir(parents=True)
    with (folder / "1.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def count(events: list[Event]) -> dict[str, float | None]:
    """The definitions, over any set of events."""
    result: dict[str, float | None] = {"delivery_count": len({e.delivery for e in events})}
    for form in ("", "human_"):
        some = [e for e in events if not form or not e.is_machine]
        opens = len({e.message for e in some if e.message and KINDS[e.url] in TRACKING})
        clicks = [e for e in some if KINDS[e.url] == 1]
        recipients, persons = len({e.message for e in clicks if e.message}), len({e.visitor for e in clicks})
        result |= {
            f"{form}recipient_open_count": opens,
            f"{form}recipient_click_count": recipients,
            f"{form}person_click_count": persons,
            f"{form}forward_estimate": persons - recipients,
            f"{form}total_open_count": sum(e.url == 1 for e in some),
            f"{form}total_click_count": len(clicks),
            f"{form}opt_out_click_count": sum(KINDS[e.url] == 3 for e in some),
            f"{form}mirror_page_click_count": sum(KINDS[e.url] == 6 for e in some),
            f"{form}raw_reactivity": recipients / opens if opens else None,
        }
    return result


def count_with_messages(events: list[Event], messages: list[dict]) -> dict[str, object]:
    """What a set of deliveries has; a period has those of count_pages alone."""
    to_deliver = [m for m in messages if m["status"] != 0]
    html = sum(m["content_format"] == "html" for m in to_deliver)
    sent = sum(m["status"] in (1, 3, 4) for m in messages)
    found: dict[str, object] = {
        "to_deliver_count": len(to_deliver),
        "text_to_deliver_count": len(to_deliver) - html,
        "success_count": sent,
        "error_count": sum(m["status"] == 2 for m in messages),
        "complaint_count": sum(m["status"] == 2 and m["failure_reason"] == 8 for m in messages),
    }
    for form in ("", "human_"):
        some = [e for e in events if not form or not e.is_machine]
        counts = count(some)
        opens, total = (
            math.floor((2 * int(counts[name] or 0) * len(to_deliver) + html) / (2 * html))
            for name in ("recipient_open_count", "total_open_count")
        )
        found |= {
            f"{form}estimated_recipient_open_count": opens,
            f"{form}estimated_total_open_count": total,
            f"{form}estimated_reactivity": int(counts["recipient_click_count"] or 0) / opens if opens else None,
            f"{form}distinct_click_rate": int(counts["person_click_count"] or 0) / sent,
            f"{form}cumulated_click_rate": int(counts["total_click_count"] or 0) / sent,
            f"{form}average_amount_per_message": float(PURCHASE["amount"] * bought(some)) / len(to_deliver),
        }
    return found


def bought(events: list[Event]) -> int:
    return sum(KINDS[event.url] == 5 for event in events)


def count_pages(events: list[Event]) -> dict[str, object]:
    """Pages, purchases and shares of any set of events."""
    found: dict[str, object] = {}
    for form in ("", "human_"):
        some = [e for e in events if not form or not e.is_machine]
        found |= {
            f"{form}share_count": sum(e.url == SHARED for e in some),
            f"{form}facebook_share_count": sum(e.url == SHARED for e in some),
            f"{form}email_share_count": 0,
            f"{form}page_visit_count": bought(some),
            f"{form}transaction_count": bought(some),
            f"{form}transaction_amount": PURCHASE["amount"] * bought(some),
            f"{form}article_count": PURCHASE["article"] * bought(some),
            f"{form}average_transaction_amount": float(PURCHASE["amount"]) if bought(some) else None,
            f"{form}average_articles_per_transaction": PURCHASE["article"] if bought(some) else None,
        }
    return found


def monday(day: date) -> date:
    return day - timedelta(days=day.weekday())


SETS: dict[str, Callable[[int], str]] = {"delivery": str, "campaign": CAMPAIGNS.__getitem__, "all": lambda d: "all"}
"""The roll-ups that are sets of deliveries."""
KEYS: dict[str, Callable[[Event], str | None]] = {
    "delivery": lambda e: str(e.delivery),
    "campaign": lambda e: CAMPAIGNS[e.delivery],
    "day": lambda e: str(e.at.date()) if e.in_range else None,
    "week": lambda e: str(monday(e.at.date())) if e.in_range else None,
    "month": lambda e: str(e.at.date().replace(day=1)) if e.in_range else None,
    "all": lambda e: "all",
}


@pytest.mark.parametrize("rollup", KEYS)
def test_a_rollup_is_the_distinct_count_of_its_events(rollups: dict, rollup: str) -> None:
    sets: dict[str, list[Event]] = {SETS[rollup](d): [] for d in CAMPAIGNS} if rollup in SETS else {}
    for event in EVENTS:
        key = KEYS[rollup](event)
        if key is not None:
            sets.setdefault(key, []).append(event)
    found = {key: row for (kind, key), row in rollups.items() if kind == rollup}
    assert found.keys() == sets.keys()
    for key, events in sets.items():
        expected = count(events)
        assert {name: found[key][name] for name in expected} == expected, key


@pytest.mark.parametrize("rollup", KEYS)
def test_a_set_of_deliveries_has_messages_and_a_period_has_pages_alone(rollups: dict, rollup: str) -> None:
    for (kind, key), row in rollups.items():
        if kind != rollup:
            continue
        events = [event for event in EVENTS if KEYS[rollup](event) == key]
        members = {d for d in CAMPAIGNS if rollup in SETS and SETS[rollup](d) == key}
        expected = count_with_messages(
            events, [m for m in MESSAGES if rollup not in SETS or m["delivery_id"] in members]
        )
        if rollup not in SETS:
            expected = dict.fromkeys(expected)
        expected |= count_pages(events)
        assert {name: row[name] for name in expected} == pytest.approx(expected), key


def test_rows_say_what_they_roll_up(rollups: dict) -> None:
    assert rollups["delivery", "501"]["delivery_id"] == 501
    assert rollups["campaign", "Spring"]["campaign_label"] == "Spring"
    assert rollups["campaign", ""]["campaign_label"] is None
    assert rollups["month", "2024-06-01"]["period_on"] == date(2024, 6, 1)
    assert rollups["week", "2024-05-27"]["period_on"].weekday() == 0


def test_summing_over_deliveries_gives_another_number_of_people(rollups: dict) -> None:
    summed = sum(row["person_click_count"] for (kind, _), row in rollups.items() if kind == "mart")
    people = len({event.visitor for event in EVENTS if KINDS[event.url] == 1})
    assert rollups["all", "all"]["person_click_count"] == people < summed


def test_summing_over_days_gives_another_number_of_recipients(rollups: dict) -> None:
    for name in ("recipient_open_count", "recipient_click_count", "person_click_count"):
        summed = sum(row[name] for (kind, _), row in rollups.items() if kind == "day")
        assert summed > rollups["all", "all"][name]


def test_the_rollup_of_a_delivery_is_the_indicator_mart(rollups: dict) -> None:
    for delivery in map(str, CAMPAIGNS):
        for name in MEASURES:
            assert rollups["delivery", delivery][name] == rollups["mart", delivery][name]
            assert rollups["delivery", delivery][f"human_{name}"] == rollups["mart", delivery][f"human_{name}"]
        for name in OF_MESSAGES:
            assert rollups["delivery", delivery][name] == rollups["mart", delivery][name]
