"""Hot clicks, links with personalisation, subscriptions and sharing, computed a second time in plain Python.

Belongs here: random worlds typed as reference files and log lines, in which the position of each link, the address
that each hit led to, the state of each subscription and the network of each share are decided first and written
after. Nothing below reads the models' SQL, macros or the HTML parser.
"""

import csv
import os
import random
import shutil
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from urllib.parse import quote
from zoneinfo import ZoneInfo

import pytest

from orchestration.explain import explainer
from tests.loglines import BROWSER, line, logs
from tests.marts import assert_same_tables, build_marts, connect, tables
from tests.published import publish_to_explain

SEEDS = (1, 2, 3)
MACHINE = "Mozilla/5.0"
START = datetime(2024, 5, 1, 8)
MARTS = (
    *("rpt_hot_clicks", "rpt_url_click_streams", "profile_tracking", "delivery_tracking"),
    *("rpt_subscriptions", "fct_subscriptions", "rpt_sharing", "indicator_counts", "indicator_catalogue"),
)
NETWORKS = ("email", "facebook", "twitter", "delicious", "digg", "google", "linkedin")
ZONE = "Europe/Paris"


@dataclass
class Click:
    """An event; of an open by somebody the message was shared with, also which delivery and where."""

    delivery_id: int
    url_id: int
    human: bool
    params: str = ""
    shared_delivery_id: int = 0
    shared_on: str = ""
    message_id: int = 0
    at: datetime = START


@dataclass
class World:
    deliveries: dict[int, dict] = field(default_factory=dict)
    old_deliveries: dict[int, dict] = field(default_factory=dict)
    messages: list[dict] = field(default_factory=list)
    urls: dict[tuple[int, int], dict] = field(default_factory=dict)
    clicks: list[Click] = field(default_factory=list)
    services: list[dict] = field(default_factory=list)
    subscriptions: list[dict] = field(default_factory=list)
    # Decided, not written: delivery and URL to the position in the content, and the number of its links.
    positions: dict[tuple[int, int], int] = field(default_factory=dict)
    link_counts: dict[int, int] = field(default_factory=dict)
    # Delivery and URL to the pieces of its address: text, placeholder, text, placeholder, …
    pieces: dict[tuple[int, int], list[str]] = field(default_factory=dict)


JUNK = (
    "<p>text & <b>more",
    "<td></p></b><% if (a < 2) { %>",
    '<a name="anchor">here</a>',
    '<!-- <a href="https://shop.example/no">no</a> -->',
    "<img src='https://t.example/r/?id=h0,0,1' alt=\"\">",
    "<script>document.write('<a href=\"https://shop.example/no\">')</script>",
)
UNTRACKED = ("mailto:us@shop.example", "#top", "https://other.example/")
TYPES = (1, 1, 1, 1, 3, 6, 11)


def anchor(rng: random.Random, address: str) -> str:
    """One link: the address escaped, or not, in one of the ways that content is written."""
    escaped = address if "<%" in address or rng.random() < 0.3 else address.replace("&", "&amp;")
    return rng.choice(
        [
            f'<a class="x" href="{escaped}">Go</a>',
            f"<A HREF = '{escaped}' >Go <i>on</i></A>",
            f"<area shape=rect href='{escaped}'>",
            f'<a href="\n{escaped} "><img src=x alt=Go></a>',
        ]
    )


def grow(world: World, seed: int) -> None:
    rng = random.Random(seed)
    base = seed * 1000
    for number in range(6):
        delivery_id = base + number
        ids = iter(rng.sample(range(base * 10 + 2, base * 10 + 500), 60))
        groups: list[tuple[list[str], str, list[int]]] = []  # address pieces, how the content writes it, URL ids
        for k in range(rng.randrange(4, 8)):
            kind = rng.choice(["plain", "plain", "query", "tags", "numbered", "redirect", "redirect"])
            where = f"https://shop.example/{delivery_id}/{k}"
            count = rng.choice([1, 1, 1, 2, 3])
            if kind == "plain":
                groups.append(([where], where, [next(ids) for _ in range(count)]))
            elif kind == "query":
                groups.append(([f"{where}?a=1&b=é"], f"{where}?a=1&b=é", [next(ids) for _ in range(count)]))
            elif kind == "redirect":
                url_id = next(ids)
                written = f"https://t.example/r/?id=h<%= message.id %>,{delivery_id:x},{url_id:X}"
                groups.append(([where], rng.choice([written, written.replace(",", "%2c")]), [url_id]))
            else:
                pieces = [f"{where}?x=", f"<%= a{k} %>", "&y=", f"<%= b.get('{k}') %>", "&z=1"]
                groups.append((pieces, "".join(pieces), [next(ids) for _ in range(count)]))
                if kind == "numbered":
                    groups[-1] = ([pieces[0], "$(p1)", "&y=", "$(p2)", "&z=1"], groups[-1][1], groups[-1][2])
        for pieces, _, url_ids in groups:
            for url_id in url_ids:
                world.pieces[delivery_id, url_id] = pieces
                world.urls[delivery_id, url_id] = {
                    "delivery_id": delivery_id,
                    "url_id": url_id,
                    "label": f"Link {url_id}",
                    "source_url": "".join(pieces) if rng.random() < 0.8 else "".join(pieces).replace("&", "&amp;"),
                    "category": rng.choice(["", "shop", "facebook", " Email ", "LINKEDIN"]),
                    "url_type": rng.choice(TYPES),
                    "link_position": "",
                    "tracking_mode": rng.choice(["", "enabled", "Always"]),
                }
        # A page with a tag, at the address of a link: no link of the content.
        world.pieces[delivery_id, base * 10 + 900] = groups[0][0]
        world.urls[delivery_id, base * 10 + 900] = {
            **{
                "delivery_id": delivery_id,
                "url_id": base * 10 + 900,
                "label": "Page",
                "source_url": "".join(groups[0][0]),
            },
            **{"category": "", "url_type": 4, "link_position": "", "tracking_mode": ""},
        }
        # The content: each address at one to three positions, some nowhere; what is no tracked link between them.
        layout = [group for group in groups for _ in range(rng.choice([0, 1, 1, 1, 2, 3]))] if number != 4 else []
        rng.shuffle(layout)
        html, position, turns = [], 0, defaultdict(int)
        for _, written, url_ids in layout:
            if rng.random() < 0.4:
                html.append(rng.choice(JUNK))
            if rng.random() < 0.3:
                position += 1
                html.append(f'<a href="{rng.choice(UNTRACKED)}">u</a>')
            position += 1
            html.append(anchor(rng, written))
            turn = turns[written]
            turns[written] += 1
            if turn < len(url_ids):
                world.positions[delivery_id, sorted(url_ids)[turn]] = position
        world.link_counts[delivery_id] = position
        world.deliveries[delivery_id] = {
            "delivery_id": delivery_id,
            "label": f"Delivery {delivery_id}",
            "html_content": "<!DOCTYPE html><body>" + "\n".join(html) if html else "",
        }
        if rng.random() < 0.5:
            world.old_deliveries[delivery_id] = {
                **world.deliveries[delivery_id],
                "html_content": "".join(anchor(rng, written) for _, written, _ in groups),
            }
        if number == 5:
            continue
        known = [url_id for of_delivery, url_id in world.urls if of_delivery == delivery_id]
        for n in range(rng.randrange(20, 40)):
            click = Click(delivery_id, rng.choice([*known, 1, base * 10 + 990, base * 10 + 991]), rng.random() < 0.7)
            # Far apart and one to a message: bursts have a test of their own.
            click.message_id = delivery_id * 100 + n
            click.at = START + timedelta(minutes=n)
            values = [rng.choice(["a", "é 1", "x&y=", "$(p2)", "100%", "a+b"]) for _ in range(2)]
            written = [f"p{p}={quote(value, safe='')}" for p, value in enumerate(values, 1)]
            click.params = "&".join(rng.choice([[], ["p1=%FF"], written, ["q=1", *written], written[1:], written[:1]]))
            if click.url_id == 1 and rng.random() < 0.8:
                share(rng, world, click)
            world.clicks.append(click)
            world.messages.append(
                {
                    **{"message_id": click.message_id, "delivery_id": delivery_id, "recipient_id": 7},
                    **{"status": 1, "event_at": START.isoformat()},
                }
            )


def share(rng: random.Random, world: World, click: Click) -> None:
    """The open is one by somebody the message was shared with, written in one of the ways that logs hold it."""
    click.shared_on = rng.choice(NETWORKS)
    click.shared_delivery_id = rng.choice(sorted(world.deliveries))
    kind = rng.choice(["whole", "whole", "cut", "unknown delivery", "no delivery", "no network"])
    delivery = f"{click.shared_delivery_id:x}"
    if kind == "cut":
        # A visitor id in front leaves two letters of the network, and nothing of the delivery.
        whole = (
            f"ap_visitorId=e5155671-4ab7-4ce4-a763-3b82dda6d881&ap_category={click.shared_on}&ap_deliveryId={delivery}"
        )
        click.params = whole[:64]
        assert click.params.endswith(f"={click.shared_on[:2]}")
        click.shared_delivery_id = click.delivery_id
    elif kind == "no network":
        click.params = rng.choice(
            [f"ap_visitorId=3f1c&ap_deliveryId={delivery}", f"ap_category=my&ap_deliveryId={delivery}"]
        )
        click.shared_on = ""
    else:
        click.params = f"ap_visitorId=3f1c&ap_category={rng.choice([click.shared_on, click.shared_on.upper()])}"
        if kind == "whole":
            click.params += f"&ap_deliveryId={delivery}"
        else:
            click.shared_delivery_id = click.delivery_id
            click.params += "&ap_deliveryId=fffffff" if kind == "unknown delivery" else ""


def subscribe(world: World, seed: int) -> None:
    """Histories with repetitions, both actions at one moment, days without action, and times around midnight."""
    rng = random.Random(seed)
    start = datetime(2024, 3, 29, 21)  # the clocks of Paris change two days later
    for service_id in range(seed * 10, seed * 10 + 3):
        if service_id % 3:
            world.services.append({"service_id": service_id, "label": rng.choice(["News", ""]), "channel": "email"})
        rows = {}
        for _ in range(rng.randrange(5, 60)):
            at = start + timedelta(minutes=rng.choice([30, 90, 119, 120, 121]), hours=24 * rng.choice([0, 1, 2, 5, 9]))
            if rng.random() < 0.1:
                at = datetime(rng.choice([1995, 1999]), 12, 31, 22, 59)
            if rng.random() < 0.05:
                at = datetime(2990, 1, 1)
            row = {
                "service_id": service_id,
                "recipient_id": 500 + rng.randrange(8),
                "occurred_at": at,
                "action": rng.randrange(2),
            }
            rows[tuple(row.values())] = row
        world.subscriptions += rows.values()


def make_world() -> World:
    world = World()
    for seed in SEEDS:
        grow(world, seed)
        subscribe(world, seed)
    return world


def write_csv(landing: Path, entity: str, rows: Iterable[dict], *, name: str = "all.csv", age: int = 0) -> None:
    """Older files have a greater age; the newest row per key wins."""
    path = landing / "reference" / entity / name
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = list(rows)
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    os.utime(path, (1_720_000_000 - age,) * 2)


def write(landing: Path, world: World) -> None:
    lines = [
        line(
            n, at=click.at.isoformat(), message=click.message_id, delivery=click.delivery_id, url=click.url_id,
            params=click.params, agent=BROWSER if click.human else MACHINE,
        )
        for n, click in enumerate(world.clicks)
    ]  # fmt: skip
    for n in range(4):
        logs(landing, f"a/{n}.log", *lines[n::4])
    write_csv(landing, "deliveries", world.old_deliveries.values(), name="old.csv", age=100)
    write_csv(landing, "deliveries", world.deliveries.values(), name="new.csv")
    write_csv(landing, "messages", world.messages)
    write_csv(landing, "tracked_urls", world.urls.values())
    write_csv(landing, "services", world.services)
    for n in range(3):
        # Extracts that overlap.
        write_csv(landing, "subscriptions", world.subscriptions[n * 30 : n * 30 + 60], name=f"{n}.csv", age=n)
    write_csv(landing, "subscriptions", world.subscriptions[90:], name="rest.csv")


@dataclass
class Built:
    world: World
    landing: Path
    warehouse: Path

    def rows(self, sql: str) -> list[dict]:
        with connect(self.warehouse) as con:
            found = con.execute(sql)
            names = [column[0] for column in found.description]
            return [dict(zip(names, row, strict=True)) for row in found.fetchall()]


def build(landing: Path, warehouse: Path) -> None:
    """The dbt tests of these marts run in test_reports, on the whole project."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MTW_TIME_ZONE", ZONE)
        build_marts(landing, warehouse, select=[f"+{mart}" for mart in MARTS])


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Built]:
    base = tmp_path_factory.mktemp("content")
    world = make_world()
    write(base / "landing", world)
    build(base / "landing", base / "warehouse")
    yield Built(world, base / "landing", base / "warehouse")


def check(found: list[dict], key: tuple[str, ...], expected: dict[tuple, dict]) -> None:
    """The rows are exactly these, and every column was computed here too."""
    assert expected, "nothing to compare"
    assert set(found[0]) == {*key, *next(iter(expected.values()))}
    by_key = {tuple(row[name] for name in key): row for row in found}
    assert len(by_key) == len(found), "the key is not unique"
    assert by_key.keys() == expected.keys()
    for place, row in expected.items():
        for name, value in row.items():
            got = by_key[place][name]
            if isinstance(value, float) and got is not None:
                assert got == pytest.approx(value, rel=1e-12), (place, name)
            else:
                assert got == value and type(got) is type(value), (place, name, got, value)


def percent(part: float, whole: float) -> float | None:
    return part / whole if whole else None


# -- hot clicks


def test_hot_clicks(built: Built) -> None:
    world = built.world
    expected = {}
    for delivery_id in world.deliveries:
        clicks = [c for c in world.clicks if c.delivery_id == delivery_id]
        clicks = [
            c for c in clicks if c.url_id != 1 and world.urls.get((delivery_id, c.url_id), {}).get("url_type") != 4
        ]
        declared = {
            url_id for of, url_id in world.urls if of == delivery_id and world.urls[of, url_id]["url_type"] != 4
        }
        url_ids = declared | {click.url_id for click in clicks}
        placed = {
            url_id: world.positions[delivery_id, url_id]
            for url_id in url_ids
            if (delivery_id, url_id) in world.positions
        }
        after = world.link_counts[delivery_id]
        for url_id in sorted(url_ids):
            position = placed.get(url_id)
            if position is None:
                after += 1
            url = world.urls.get((delivery_id, url_id), {})
            row = {"link_position": position or after, "label": url.get("label"), "source_url": url.get("source_url")}
            row |= {
                "category": url.get("category") or None,
                "url_type": url.get("url_type"),
                "is_in_content": position is not None,
            }
            row["is_drawn"] = position is not None and url.get("url_type") not in (3, 6, 11)
            for form, some in (("", clicks), ("human_", [click for click in clicks if click.human])):
                row[f"{form}click_count"] = sum(click.url_id == url_id for click in some)
                row[f"{form}click_share"] = percent(row[f"{form}click_count"], len(some))
            expected[delivery_id, url_id] = row
    check(built.rows("select * from reports.rpt_hot_clicks"), ("delivery_id", "url_id"), expected)
    by_place = built.rows(
        "select delivery_id, count(*) as n, count(distinct link_position) as d, sum(click_share) as s"
        " from reports.rpt_hot_clicks group by delivery_id"
    )
    assert all(row["n"] == row["d"] for row in by_place)
    assert {round(row["s"], 9) for row in by_place if row["s"] is not None} == {1.0}


def test_the_content_is_not_trivial(built: Built) -> None:
    world = built.world
    assert len(world.positions) > 50
    assert world.old_deliveries.keys() & {delivery_id for delivery_id, _ in world.positions}
    assert any(not row["html_content"] for row in world.deliveries.values())
    drawn = built.rows("select is_in_content, is_drawn, click_count > 0 as is_clicked from reports.rpt_hot_clicks")
    assert {tuple(row.values()) for row in drawn} == {
        *((True, True, True), (True, True, False), (True, False, True), (True, False, False)),
        *((False, False, True), (False, False, False)),
    }


# -- links


def filled(world: World, click: Click) -> str | None:
    """The declared address with the n-th placeholder replaced by the value of p<n>; values that are no text stay."""
    declared = world.urls.get((click.delivery_id, click.url_id), {}).get("source_url")
    pieces = world.pieces.get((click.delivery_id, click.url_id), [])
    values = {}
    for part in click.params.split("&"):
        name, _, value = part.partition("=")
        try:
            values[name] = bytes_of(value).decode()
        except UnicodeDecodeError:
            values[name] = value
    if not any(name in ("p1", "p2") for name in values) or len(pieces) < 2:
        return declared
    url, escaped = "", "&amp;" in declared
    for n, piece in enumerate(pieces):
        if n % 2:
            number = n // 2 + 1
            url += values.get(f"p{number}", f"$(p{number})").replace(
                "$(p2)", "%24(p2)" if f"p{number}" in values else "$(p2)"
            )
        else:
            url += piece.replace("&", "&amp;") if escaped else piece
    return url


def bytes_of(value: str) -> bytes:
    data, rest = b"", value
    while rest:
        if rest[0] == "%":
            data, rest = data + bytes([int(rest[1:3], 16)]), rest[3:]
        else:
            data, rest = data + rest[0].encode(), rest[1:]
    return data


@pytest.mark.parametrize("view", ["profile_tracking", "delivery_tracking"])
def test_the_address_that_each_hit_led_to(built: Built, view: str) -> None:
    expected = {click.message_id: filled(built.world, click) for click in built.world.clicks}
    found = {row["message_id"]: row["url"] for row in built.rows(f"select message_id, url from reports.{view}")}
    assert found == expected
    assert sum(url is not None and "é 1" in url for url in expected.values()) > 5
    assert any(url is not None and "$(p2)" in url for url in expected.values())


def test_clicked_links_without_configuration_never_vanish(built: Built) -> None:
    world = built.world
    clicked = {
        (c.delivery_id, c.url_id) for c in world.clicks if c.url_id != 1 and (c.delivery_id, c.url_id) not in world.urls
    }
    assert len(clicked) > 5
    found = built.rows(
        "select delivery_id, url_id, label, click_count from reports.rpt_url_click_streams where is_unknown"
    )
    assert {(row["delivery_id"], row["url_id"]) for row in found} == clicked
    assert all(row["label"] is None and row["click_count"] > 0 for row in found)


def test_how_a_link_is_tracked_is_kept(built: Built) -> None:
    found = built.rows(
        "select delivery_id, url_id, source_url, tracking_mode from core.dim_tracked_urls where not is_unknown"
    )
    expected = {
        place: (url["source_url"], url["tracking_mode"].lower() or None) for place, url in built.world.urls.items()
    }
    assert {
        (r["delivery_id"], r["url_id"]): (r["source_url"], r["tracking_mode"]) for r in found if r["url_id"] != 1
    } == expected


# -- sharing


def test_sharing(built: Built) -> None:
    world = built.world
    expected = {}
    for delivery_id in world.deliveries:
        to_deliver = sum(message["delivery_id"] == delivery_id for message in world.messages)
        for network in NETWORKS:
            row = {}
            for form in ("", "human_"):
                events = [click for click in world.clicks if click.human or not form]
                shares = [
                    world.urls.get((c.delivery_id, c.url_id), {}).get("category", "").strip().lower()
                    for c in events
                    if c.delivery_id == delivery_id
                ]
                count = shares.count(network)
                row[f"{form}share_count"] = count
                row[f"{form}share_of_shares"] = percent(count, sum(name in NETWORKS for name in shares))
                row[f"{form}share_rate"] = percent(count, to_deliver)
                row[f"{form}shared_open_count"] = sum(
                    c.shared_on == network and c.shared_delivery_id == delivery_id for c in events
                )
            expected[delivery_id, network] = row
    assert sum(row["share_count"] for row in expected.values()) > 50
    assert sum(row["shared_open_count"] for row in expected.values()) > 10
    check(built.rows("select * from reports.rpt_sharing"), ("delivery_id", "network"), expected)


def test_the_lines_of_shared_opens(built: Built) -> None:
    """As they were written, though parameters are masked where explain reads: whole, cut, and of unknown deliveries."""
    opens = [click for click in built.world.clicks if click.shared_on]
    names = sorted({(click.shared_delivery_id, click.shared_on) for click in opens})
    with explainer(publish_to_explain(built.warehouse), built.warehouse / "landed", None) as explain:
        for delivery, network in names:
            for form in ("", "human_"):
                expected = {
                    (click.message_id, click.params)
                    for click in opens
                    if (click.shared_delivery_id, click.shared_on) == (delivery, network) and (click.human or not form)
                }
                keys = {"delivery_id": str(delivery), "network": network}
                (part,) = explain(f"rpt_sharing.{form}shared_open_count", keys).parts
                lines = [str(line.line).split("\t") for line in part.lines]
                assert part.value == part.recount == len(lines) == len(expected)
                assert {(int(fields[2], 16), fields[8]) for fields in lines} == expected, (delivery, network, form)
    assert any(click.shared_delivery_id != click.delivery_id for click in opens)


# -- subscriptions


def local_day(at: datetime) -> date:
    return at.replace(tzinfo=UTC).astimezone(ZoneInfo(ZONE)).date()


def subscribers(rows: list[dict]) -> set[int]:
    """Who is subscribed after these actions; at one moment, an unsubscription comes after a subscription."""
    state = {}
    for row in sorted(rows, key=lambda row: (row["occurred_at"], -row["action"])):
        state[row["recipient_id"]] = row["action"]
    return {recipient_id for recipient_id, action in state.items() if action}


def test_subscriptions(built: Built) -> None:
    expected = {}
    for service_id in {row["service_id"] for row in built.world.subscriptions}:
        past = [r for r in built.world.subscriptions if r["service_id"] == service_id and r["occurred_at"].year < 2900]
        label = next((r["label"] for r in built.world.services if r["service_id"] == service_id), "")
        days = sorted({local_day(row["occurred_at"]) for row in past if row["occurred_at"].year >= 2000})
        for number in range((days[-1] - days[0]).days + 1):
            day = days[0] + timedelta(days=number)
            today = [row for row in past if local_day(row["occurred_at"]) == day]
            before = [row for row in past if local_day(row["occurred_at"]) < day]
            began, ended = len(subscribers(before)), len(subscribers(before + today))
            count = {action: sum(row["action"] == action for row in today) for action in (0, 1)}
            lost = sum(
                row["action"] == 0
                and row["recipient_id"]
                in subscribers(
                    before + [o for o in today if (o["occurred_at"], -o["action"]) < (row["occurred_at"], 0)]
                )
                for row in today
            )
            expected[service_id, day] = {
                "service_label": label or f"service {service_id}",
                "start_subscriber_count": began,
                "subscription_count": count[1],
                "unsubscription_count": count[0],
                "evolution": count[1] - count[0],
                "evolution_rate": percent(count[1] - count[0], began),
                "loyalty_rate": None if not (left := began + count[1] - count[0]) else 1 - count[0] / left,
                "new_subscriber_count": ended - began + lost,
                "lost_subscriber_count": lost,
                "end_subscriber_count": ended,
            }
    assert any(row["subscription_count"] > row["new_subscriber_count"] for row in expected.values())
    assert any(not row["subscription_count"] and not row["unsubscription_count"] for row in expected.values())
    check(built.rows("select * from reports.rpt_subscriptions"), ("service_id", "occurred_on"), expected)


def test_days_add_up_to_a_period(built: Built) -> None:
    """Counts of days summed, the first start and the last end: what one long day would say."""
    found = built.rows(
        "select service_id, min_by(start_subscriber_count, occurred_on) as first, sum(new_subscriber_count) as new,"
        " sum(lost_subscriber_count) as lost, max_by(end_subscriber_count, occurred_on) as last,"
        " sum(subscription_count) as subscriptions from reports.rpt_subscriptions group by service_id"
    )
    for row in found:
        rows = [r for r in built.world.subscriptions if r["service_id"] == row["service_id"]]
        rows = [r for r in rows if r["occurred_at"].year < 2900]
        assert row["first"] + row["new"] - row["lost"] == row["last"] == len(subscribers(rows))
        assert row["subscriptions"] == sum(r["action"] for r in rows if r["occurred_at"].year >= 2000)


def test_every_service_and_recipient_of_a_subscription_has_a_member(built: Built) -> None:
    services = {row["service_id"]: row for row in built.rows("select * from core.dim_services")}
    declared = {row["service_id"] for row in built.world.services}
    assert services.keys() == {row["service_id"] for row in built.world.subscriptions} | declared
    assert {key for key, row in services.items() if not row["is_unknown"]} == declared
    facts = built.rows("select service_id, recipient_id, action, occurred_at from core.fct_subscriptions")
    assert {tuple(row.values()) for row in facts} == {
        (row["service_id"], row["recipient_id"], row["action"], row["occurred_at"]) for row in built.world.subscriptions
    }
    assert len(facts) == len(built.world.subscriptions)
    recipients = {
        row["recipient_id"] for row in built.rows("select recipient_id from core.dim_recipients where is_unknown")
    }
    assert {row["recipient_id"] for row in built.world.subscriptions} <= recipients


# -- any order


def test_any_order_of_arrival_gives_the_same_marts(built: Built, tmp_path: Path) -> None:
    """The files arrive in two runs, newer ones before older ones: the marts are those of one run."""
    files = sorted(path for path in built.landing.rglob("*") if path.is_file())
    # What is newest comes first; logs, contents and links are dealt out to both runs.
    files.sort(key=lambda path: (path.stat().st_mtime_ns, path.name), reverse=True)
    for run in range(2):
        for path in files[run::2]:
            target = tmp_path / "landing" / path.relative_to(built.landing)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, target)
        build(tmp_path / "landing", tmp_path / "warehouse")
    assert_same_tables(tables(built.warehouse), tables(tmp_path / "warehouse"))
