"""Access logs through the models: the same hits give the same numbers whichever log they came in."""

from pathlib import Path

import pytest

from tests.accesslines import access_log, hit, request
from tests.loglines import line, logs
from tests.marts import PROVENANCE, assert_same_tables, build_marts, connect, tables

DELIVERY = 0x1AEAB4B6
OPEN, LINK, OPT_OUT = 1, 0x10, 0x11
LOG_ONLY = {"source", "server", "event_key", "is_pointer_conflict"}
"""What tells the two kinds of log apart; everything else is the same."""


def visitor(number: int) -> str:
    return f"00000000-0000-4000-8000-{number:012d}"


def reference(landing: Path) -> None:
    for entity, text in {
        "deliveries": f"delivery_id,label,sent_at\n{DELIVERY},Spring,2024-05-01 09:00:00\n",
        "messages": "message_id,delivery_id,recipient_id,status,content_format\n"
        + "".join(f"{n},{DELIVERY},{n},1,html\n" for n in range(1, 9)),
        "tracked_urls": f"url_id,delivery_id,label,url_type\n{LINK},{DELIVERY},Shop,1\n{OPT_OUT},{DELIVERY},Bye,3\n",
    }.items():
        (landing / "reference" / entity).mkdir(parents=True)
        (landing / "reference" / entity / "all.csv").write_text(text)


HITS = [
    *((n, OPEN, visitor(n), n) for n in range(1, 6)),
    *((n, LINK, visitor(n), 10 + n) for n in range(1, 4)),
    *((3, LINK, visitor(100 + n), 20 + 2 * n) for n in range(4)),
    (4, OPT_OUT, visitor(4), 50),
]
"""Message, URL, visitor, second."""


def as_access_lines() -> list[str]:
    return [
        hit(message, DELIVERY, url, at=f"01/May/2024:12:00:{second:02d} +0200", appended=f' "-" "uuid230={who}"')
        for message, url, who, second in HITS
    ]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    base = tmp_path_factory.mktemp("access")
    reference(base / "one")
    logs(
        base / "one",
        "redir1/0x0000000000000000.log",
        *(
            line(n, message=message, delivery=DELIVERY, url=url, visitor=who, at=f"2024-05-01T10:00:{second:02d}.00")
            for n, (message, url, who, second) in enumerate(HITS)
        ),
    )
    build_marts(base / "one", base / "tracking")
    reference(base / "two")
    lines = as_access_lines()
    access_log(base / "two", "shop/access.log", *lines[:7], request("/favicon.ico"))
    build_marts(base / "two", base / "access")
    # The second half arrives later, with hits of other kinds that the first log cannot have.
    access_log(base / "two", "shop/access.log.2", *lines[7:], lines[3], request("/r/"))
    build_marts(base / "two", base / "access")
    build_marts(base / "two", base / "access", tests=True, select=["assert_facts_reconcile_to_landed_lines"])
    return {"tracking": base / "tracking", "access": base / "access"}


def test_both_logs_give_the_same_marts(built: dict[str, Path]) -> None:
    found = [tables(built[name], without=PROVENANCE | LOG_ONLY) for name in ("tracking", "access")]
    assert_same_tables(*found)
    assert len(found[0]["core.fct_tracking_events"]) == len(HITS)


def test_the_numbers_are_those_of_the_hits(built: dict[str, Path]) -> None:
    with connect(built["access"]) as con:
        found = con.execute(
            "select recipient_open_count, total_open_count, recipient_click_count, person_click_count,"
            " total_click_count, opt_out_click_count from reports.rpt_tracking_indicators"
            f" where delivery_id = {DELIVERY}"
        ).fetchall()
        sources = con.execute("select source, server, is_pointer_conflict from core.fct_tracking_events").fetchall()
    clicks = [(message, who) for message, url, who, _ in HITS if url == LINK]
    expected = (
        len({message for message, *_ in HITS}),
        sum(url == OPEN for _, url, *_ in HITS),
        len({message for message, _ in clicks}),
        len({who for _, who in clicks}),
        len(clicks),
        1,
    )
    assert found == [expected]
    assert set(sources) == {("access_log", None, False)}


def test_web_hits_and_head_requests_flow_in(tmp_path: Path) -> None:
    reference(tmp_path / "landing")
    cookies = f"uuid230={visitor(1)}; nlid=1%7C{DELIVERY:x}"
    access_log(
        tmp_path / "landing",
        "shop/access.log",
        hit(1, DELIVERY, LINK),
        hit(2, DELIVERY, LINK, method="HEAD"),
        hit(2, DELIVERY, OPEN, method="HEAD"),
        hit(6, DELIVERY, OPT_OUT, method="POST"),
        request("/r/9862?tagid=home", status=200, appended=f' "{cookies}"', at="01/May/2024:11:00:00 +0000"),
    )
    build_marts(tmp_path / "landing", tmp_path / "warehouse", select=["+int_tracking_events__judged"])
    with connect(tmp_path / "warehouse") as con:
        events = con.execute(
            "select message_id, url_id, machine_rule, machine_confidence"
            " from intermediate.int_tracking_events__judged order by all"
        ).fetchall()
        accepted = con.execute(
            "select message_id, logged_delivery_id, url_id, tag, has_session, is_opted_out, request_method, visitor_id"
            " from intermediate.int_tracking_events__accepted where tag is not null"
        ).fetchall()
    assert (2, LINK, "head_request", "certain") in events
    assert (2, OPEN, "head_request", "certain") in events
    assert (1, LINK, None, None) in events
    assert (6, OPT_OUT, None, None) in events
    assert accepted == [(1, DELIVERY, 0, "home", True, False, "GET", visitor(1))]
