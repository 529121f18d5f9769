"""The published worked example, typed in as log lines: 2, 6, 3, 4 and 2/3."""

from pathlib import Path

import pytest

from tests.loglines import line, logs
from tests.marts import build_marts, connect

DELIVERY = 0x1AEAB4B6
JOHN, MARIE, FLORIAN, HENRY = 101, 102, 103, 104
OPEN, LINK = 1, 0x10
FLORIANS = "fe37a503-77e8-4394-bf88-51ee39edc13b"
FORWARDED = "9ab648f9-5c73-4502-9527-dcb0b71d89d3"


def visitor(number: int) -> str:
    return f"00000000-0000-4000-8000-{number:012d}"


@pytest.fixture(scope="module")
def warehouse(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("worked")
    landing = base / "landing"
    hits = [(MARIE, OPEN, visitor(1)), (FLORIAN, OPEN, FLORIANS)]
    hits += [(FLORIAN, LINK, FLORIANS)] * 9
    hits += [(FLORIAN, OPEN, FORWARDED), (FLORIAN, LINK, FORWARDED), (FLORIAN, LINK, FORWARDED)]
    hits += [(HENRY, OPEN, visitor(2))] + [(HENRY, LINK, visitor(10 + n)) for n in range(4)]
    lines = [
        line(n, message=message, delivery=DELIVERY, url=url, visitor=who, at=f"2024-05-01T10:{n:02d}:00.00")
        for n, (message, url, who) in enumerate(hits)
    ]
    logs(landing, "redir1/0x0000000000000000.log", *lines)
    for entity, text in {
        "deliveries": f"delivery_id,label\n{DELIVERY},Spring\n",
        "messages": "message_id,delivery_id,recipient_id,status,content_format\n"
        + "".join(f"{message},{DELIVERY},{message},1,html\n" for message in (JOHN, MARIE, FLORIAN, HENRY))
        # Another delivery's message with a status that nobody knows: the build below, dbt's tests included, goes on.
        + f"999,{DELIVERY + 1},999,99,html\n",
        "tracked_urls": f"url_id,delivery_id,label,url_type\n{LINK},{DELIVERY},Shop,1\n",
    }.items():
        (landing / "reference" / entity).mkdir(parents=True)
        (landing / "reference" / entity / "all.csv").write_text(text)
    build_marts(landing, base / "warehouse", tests=True)
    return base / "warehouse"


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        ("recipient_click_count", 2),
        ("person_click_count", 6),
        ("recipient_open_count", 3),
        ("forward_estimate", 4),
        ("raw_reactivity", pytest.approx(2 / 3)),
        ("to_deliver_count", 4),
        ("success_count", 4),
        ("total_open_count", 4),
        ("total_click_count", 15),
        ("estimated_recipient_open_count", 3),
        ("delivery_label", "Spring"),
    ],
)
def test_the_published_numbers(warehouse: Path, column: str, expected: object) -> None:
    with connect(warehouse) as con:
        ((value,),) = con.execute(
            f"select {column} from reports.rpt_tracking_indicators where delivery_id = {DELIVERY}"
        ).fetchall()
    assert value == expected
