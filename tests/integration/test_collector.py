"""The shipped collector configurations under the real nginx and the real Apache: what they answer and what they log."""

import re
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from log_ingest.ingest import ingest
from orchestration.collector_map import Server, written
from tests.collectors import Collector, running
from tests.invariants import assert_accounted, landed

MESSAGE, DELIVERY, LINK, SHARED, HOSTILE = 0x787BC0, 0x281A4D8, 0x281A4DA, 0x11, 0x12
LINKS = [
    (DELIVERY, LINK, "https://shop.example/?a=1&b=$host#top"),
    (0, SHARED, "http://shop.example/bye"),
    (DELIVERY, HOSTILE, 'https://x.example/";return 302 "http://evil.example/";#\\'),
    (DELIVERY + 1, 0x99, "https://shop.example/other"),
]
TARGET = "https://shop.example/?a=1&b=%24host#top"
VISITOR = "e5155671-4ab7-4ce4-a763-3b82dda6d881"
ID = r"[0-9A-Za-z_@-]{20,40}"


@pytest.fixture(scope="module", params=["nginx", "apache"])
def collector(request: pytest.FixtureRequest) -> Iterator[Collector]:
    kind: Server = request.param
    with running(kind, "\n".join(written(LINKS, kind).lines) + "\n") as found:
        yield found


def link(url: int, message: int = MESSAGE, delivery: int = DELIVERY) -> str:
    return f"/r/?id=h{message:x},{delivery:x},{url:x}"


def test_an_open_gets_an_image_and_a_visitor(collector: Collector) -> None:
    status, location, cookies = collector.ask(link(1))
    assert (status, location) == (200, None)
    (cookie,) = cookies
    assert re.fullmatch(f"uuid230={ID}", cookie)


def test_a_click_is_redirected_and_starts_a_session(collector: Collector) -> None:
    status, location, cookies = collector.ask(link(LINK) + "&p1=7")
    assert (status, location) == (302, TARGET)
    assert len(cookies) == 2
    assert "nlid=787bc0|281a4d8" in cookies
    assert collector.ask(link(SHARED))[1] == "http://shop.example/bye"
    assert collector.ask(link(LINK).upper().replace("/R/?ID", "/r/?id"))[1] == TARGET
    assert collector.ask(link(LINK).replace(",", "%2C"))[1] == TARGET
    assert collector.ask(link(HOSTILE))[1] == "https://x.example/%22;return%20302%20%22http://evil.example/%22;#%5C"


def test_a_known_visitor_stays_the_same(collector: Collector) -> None:
    assert collector.ask(link(1), Cookie=f"uuid230={VISITOR}")[2] == []
    assert collector.ask(link(LINK), Cookie=f"a=b; uuid230={VISITOR}; c=d")[2] == ["nlid=787bc0|281a4d8"]
    assert len(collector.ask(link(1), Cookie='uuid230=<no "id">')[2]) == 1


def test_each_visitor_without_a_cookie_is_a_new_one(collector: Collector) -> None:
    cookies = {collector.ask(link(1))[2][0] for _ in range(20)}
    assert len(cookies) == 20


@pytest.mark.parametrize(
    "target",
    [
        link(0x98), link(0x99), "/r/", "/r/?id=", "/r/?id=hx", "/r/?id=h1,2", link(LINK) + "x",
        link(LINK) + "//evil.example", link(LINK) + ",https://evil.example/", "/r/?url=https://evil.example/",
        "/r/?id=https://evil.example/", "/r/9862", "/r/9862?tag=x", "//evil.example/r/", "/r/../etc/passwd",
        "/etc/passwd", "/mtw-pixel", "/", "/r/test/x",
    ],
)  # fmt: skip
def test_nothing_else_leads_anywhere(collector: Collector, target: str) -> None:
    status, location, cookies = collector.ask(target)
    assert (status, location, cookies) == (404, None, [])


def test_health_checks_are_answered(collector: Collector) -> None:
    assert collector.ask("/r/test")[0] in (200, 204)


def test_the_log_is_taken_in(collector: Collector, landing: Path, warehouse: Path) -> None:
    before = collector.log.stat().st_size
    session = f"uuid230={VISITOR}; nlid={MESSAGE:x}|{DELIVERY:x}; acoptout=1"
    agent = 'a "quoted" \\ agent'
    collector.ask(link(1), Cookie=f"uuid230={VISITOR}", User_Agent=agent)
    collector.ask(link(LINK) + "&p1=7", X_Forwarded_For="10.1.2.3, 10.0.0.1")
    collector.ask(link(SHARED), method="POST")
    collector.ask(link(1), method="HEAD")
    collector.ask("/r/9862?tagid=home%7Cw%7Cshop&amount=3", Cookie=session)
    # What a client sends instead of a chain of proxies is no cookie of ours.
    collector.ask(link(1), Cookie=f"uuid230={VISITOR}", X_Forwarded_For="1.2.3.4; uuid230=evil; acoptout=1")
    for target in ("/r/test", "/favicon.ico", link(0x98), "/r/?id=hx"):
        collector.ask(target)
    collector.finish_log(before, 10)
    path = landing / "access_logs" / "collector" / "tracking.log"
    path.parent.mkdir(parents=True)
    path.write_bytes(collector.log.read_bytes()[before:])
    report = ingest(landing, warehouse, run_id="test")
    assert_accounted(warehouse)
    totals = report.totals["access_logs"]
    assert (totals.lines, totals.accepted, totals.not_tracking, totals.quarantined) == (10, 6, 2, 2)
    rows = duckdb.connect().execute(
        "select method, status, hit_kind, message_id, delivery_id, url_id, params, tag, has_session, is_opted_out,"
        f" user_agent, forwarded_for, ip from {landed(warehouse, 'access_logs')} order by line_number"
    )
    ids = (MESSAGE, DELIVERY)
    rest = ("127.0.0.1",)
    assert rows.fetchall() == [
        ("GET", 200, "message", *ids, 1, None, None, None, False, agent, None, *rest),
        ("GET", 302, "message", *ids, LINK, "p1=7", None, None, False, "", "10.1.2.3, 10.0.0.1", *rest),
        ("POST", 302, "message", *ids, SHARED, None, None, None, False, "", None, *rest),
        ("HEAD", 200, "message", *ids, 1, None, None, None, False, "", None, *rest),
        ("GET", 200, "web", *ids, 0, "tagid=home%7Cw%7Cshop&amount=3", "home|w|shop", True, True, "", None, *rest),
        ("GET", 200, "message", *ids, 1, None, None, None, False, "", "1.2.3.4", *rest),
    ]
    visitors = [
        visitor
        for (visitor,) in duckdb.connect()
        .execute(f"select visitor_id from {landed(warehouse, 'access_logs')} order by line_number")
        .fetchall()
    ]
    assert [visitors[n] for n in (0, 4, 5)] == [VISITOR] * 3
    assert len(set(visitors)) == 4
    assert all(re.fullmatch(ID, visitor) for visitor in visitors)
    reasons = duckdb.connect().execute(
        f"select reason from {landed(warehouse, 'set_aside')} where disposition = 'quarantined' order by line_number"
    )
    assert reasons.fetchall() == [("error_status",), ("bad_id",)]
    fractions = duckdb.connect().execute(
        f"select count(*) from {landed(warehouse, 'access_logs')} where microsecond(occurred_at) % 1000000 <> 0"
    )
    assert fractions.fetchall()[0][0] >= 4
