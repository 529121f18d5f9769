"""Causes of restatements that no row of the fact itself shows: what a provider tells, a consent, a refusal. One world
of two runs; what is expected is said by hand, for each delivery."""

import csv
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.accesslines import access_log, hit, request
from tests.espevents import jsonl, sendgrid
from tests.integration.test_restatements import Warehouse, at, message

CONSENT, MERGED, REFUSED, JUDGED, NOBODY, TOLD, LATER, RESENT, REGROWN, LEFT, JOINED, BOUGHT = range(301, 313)
SHOP = 201
GOOGLEBOT = "Googlebot/2.1 (+http://www.google.com/bot.html)"
PERSON, WALKER, BUYER = (f"00000000-0000-4000-8000-00000000007{n}" for n in (1, 2, 3))
THROUGH = 6
"""Hours after noon: how far the data of the first version goes."""

Restated = dict[tuple[int, str], tuple[float, float | None, str]]
"""By delivery and indicator: old value, new value and reason."""


def seconds(hours: float) -> int:
    return int(at(hours).replace(tzinfo=UTC).timestamp())


def reference(landing: Path, entity: str, name: str, *rows: dict) -> None:
    path = landing / "reference" / entity / name
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def page(
    when: datetime, cookies: str = "", *, delivery: int = REFUSED, visitor: str = PERSON, tag: str = "page|w|f"
) -> str:
    """A hit of a page, by default in the session of the refused delivery's message; 0: in none."""
    session = f"; nlid={delivery * 10:x}|{delivery:x}" if delivery else ""
    return request(
        f"/r/12?tagid={tag}",
        at=f"{when:%d/%b/%Y:%H:%M:%S} +0000",
        appended=f' "-" "uuid230={visitor}{session}{cookies}"',
    )


def purchase(when: datetime, amount: int) -> str:
    return page(when, delivery=BOUGHT, visitor=BUYER, tag=f"paid|t&amount={amount}")


def click_before_page(delivery: int, when: datetime) -> str:
    seen = f"{when:%d/%b/%Y:%H:%M:%S} +0000"
    return hit(delivery * 10, delivery, SHOP, at=seen, appended=f' "-" "uuid230={WALKER}"')


@pytest.fixture(scope="module")
def restated(tmp_path_factory: pytest.TempPathFactory) -> Restated:
    """What the second run restated."""
    house = Warehouse(tmp_path_factory.mktemp("causes"))
    world, landing = house.world, house.world.landing

    def withdrawn(name: str, message_id: int) -> None:
        consent = {"recipient_id": message_id + 1000, "purpose": "open_tracking", "granted_at": ""}
        reference(landing, "consents", name, consent | {"withdrawn_at": "2024-04-01 00:00:00"})

    world.tell_deliveries(
        *({"delivery_id": d, "label": f"D{d}", "sent_at": "2024-05-01 08:00:00"} for d in range(CONSENT, BOUGHT + 1))
    )
    world.tell_messages(
        *(message(CONSENT * 10 + n, CONSENT) for n in range(3)),
        *(message(d * 10, d) for d in (MERGED, REFUSED, JUDGED, NOBODY, LATER)),
        *(message(TOLD * 10 + n, TOLD, status=6 if n == 3 else 1) for n in range(4)),
        message(BOUGHT * 10, BOUGHT),
    )
    # What a full extract brings again, unchanged.
    again = [message(d * 10 + n, d) for d in (RESENT, REGROWN, LEFT, JOINED) for n in range(2)]
    world.tell_messages(*again)
    link = {"label": "shop", "source_url": "http://shop.example/", "category": "", "url_type": 1}
    reference(landing, "tracked_urls", "links.csv", link | {"delivery_id": MERGED, "url_id": SHOP})
    world.happen(
        *((CONSENT * 10 + n, CONSENT, 1, at(-1)) for n in range(3)),
        *((d * 10, d, 1, at(-1)) for d in (JUDGED, NOBODY)),
        *((TOLD * 10 + n, TOLD, 1, at(-1)) for n in range(4)),
        (LATER * 10, LATER, 1, at(THROUGH)),
    )
    click = {"message_id": str(MERGED * 10), "url": "http://shop.example/"}
    jsonl(landing, "sendgrid/1.jsonl", sendgrid("click", seconds(-1), f"{MERGED * 10}@mail.example", **click))
    access_log(
        landing, "site/1.log",
        page(at(0)), click_before_page(LEFT, at(-1)), page(at(1), delivery=0, visitor=WALKER), purchase(at(-1), 10),
    )  # fmt: skip
    withdrawn("1.csv", NOBODY * 10)
    assert house.run().restated == {}

    withdrawn("2.csv", CONSENT * 10 + 1)
    # The line of the click that the provider told of first; a machine, as only our own log shows.
    world.happen((MERGED * 10, MERGED, SHOP, at(-1)), agent=GOOGLEBOT)
    # Earlier than the page that counted; and nearer to another one than the click that seemed to lead there.
    access_log(
        landing, "site/2.log",
        page(at(-0.5), "; acoptout=1"), click_before_page(JOINED, at(0.5)), purchase(at(0), 5),
    )  # fmt: skip
    # Another file: one of the same bytes is not read again.
    world.tell_messages(*reversed(again))

    def told(event: str, hours: float, message_id: int, **more: object) -> dict:
        return sendgrid(event, seconds(hours), f"{message_id}@mail.example", message_id=str(message_id), **more)

    jsonl(
        landing, "sendgrid/2.jsonl",
        *(told("open", -1, d * 10, sg_machine_open=True) for d in (JUDGED, NOBODY)),
        told("bounce", 1, TOLD * 10 + 1, type="bounce"),
        told("spamreport", THROUGH + 1, TOLD * 10 + 2),
        told("delivered", THROUGH + 1, TOLD * 10 + 3),
        told("bounce", 1, RESENT * 10 + 1, type="bounce"),
        told("bounce", THROUGH + 1, REGROWN * 10 + 1, type="bounce"),
    )  # fmt: skip
    return house.run().restated


def of(restated: Restated, delivery: int) -> Restated:
    return {key: row for key, row in restated.items() if key[0] == delivery}


def test_a_withdrawn_consent_takes_a_counted_recipient_away(restated: Restated) -> None:
    found = of(restated, CONSENT)
    # The open itself stays a counted one: only who opened is not known any more.
    assert (CONSENT, "total_open_count") not in found
    assert found[CONSENT, "recipient_open_count"] == (3, 2, "reference change")
    assert found[CONSENT, "human_delivered_total_open_count"] == (3, 2, "reference change")
    assert {reason for *_, reason in found.values()} == {"reference change"}


def test_a_line_of_our_own_takes_the_place_of_what_the_provider_told(restated: Restated) -> None:
    found = of(restated, MERGED)
    assert (MERGED, "total_click_count") not in found
    assert found[MERGED, "human_total_click_count"] == (1, 0, "late data")
    assert {reason for *_, reason in found.values()} == {"late data"}


def test_a_late_refusal_drops_a_page(restated: Restated) -> None:
    found = of(restated, REFUSED)
    assert found[REFUSED, "page_visit_count"] == (1, 0, "late data")
    assert {reason for *_, reason in found.values()} == {"late data"}


@pytest.mark.parametrize(
    "delivery", [pytest.param(JUDGED, id="opened"), pytest.param(NOBODY, id="opened without consent")]
)
def test_a_verdict_of_the_provider_comes_late(restated: Restated, delivery: int) -> None:
    found = of(restated, delivery)
    assert (delivery, "total_open_count") not in found
    assert found[delivery, "human_total_open_count"] == (1, 0, "late data")
    assert {reason for *_, reason in found.values()} == {"late data"}


def test_what_a_provider_tells_of_a_message_is_late_or_new(restated: Restated) -> None:
    found = of(restated, TOLD)
    # One came back, late; of one came a complaint, and one was delivered, after the former version.
    assert found[TOLD, "success_count"] == (3, 2, "late data, new events")
    assert found[TOLD, "error_count"] == (0, 2, "late data, new events")
    assert (TOLD, "complaint_count") not in found, "growth alone"
    # Their opens are the same: they count by what became of the message.
    assert found[TOLD, "delivered_total_open_count"] == (3, 2, "late data, new events")
    assert found[TOLD, "human_delivered_recipient_open_count"] == (3, 2, "late data, new events")
    assert {reason for *_, reason in found.values()} == {"late data, new events"}


def test_messages_that_an_extract_brings_again_unchanged_are_no_cause(restated: Restated) -> None:
    found = of(restated, RESENT)
    assert found[RESENT, "success_count"] == (2, 1, "late data")
    assert {reason for *_, reason in found.values()} == {"late data"}
    assert of(restated, REGROWN) == {}, "one came back after the former version: growth alone"


def test_a_late_click_moves_a_page_to_another_delivery(restated: Restated) -> None:
    assert restated[LEFT, "page_visit_count"] == (1, 0, "late data")
    assert restated[JOINED, "page_visit_count"] == (0, 1, "late data")
    assert {reason for (delivery, _), (*_, reason) in restated.items() if delivery in (LEFT, JOINED)} == {"late data"}


def test_a_late_purchase_changes_what_is_computed_from_it(restated: Restated) -> None:
    found = of(restated, BOUGHT)
    assert found[BOUGHT, "transaction_amount"] == (10, 15, "late data")
    assert found[BOUGHT, "average_amount_per_message"] == (10, 15, "late data")
    assert {reason for *_, reason in found.values()} == {"late data"}
