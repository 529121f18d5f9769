"""What is gone from a count, and why: versions of a few rows made by hand, for what runs of the models hardly show."""

from collections.abc import Iterator
from datetime import datetime

import duckdb
import pytest

from orchestration.restatement_causes import Count, RowChanges, Versions

THEN, SINCE = "timestamp '2024-05-01 10:00'", "timestamp '2024-05-02 10:00'"
VERSIONS = Versions(
    "working", datetime(2024, 5, 2), datetime(2024, 5, 1, 12), models_changed=False, ruleset_changed=False
)
CLICKS = Count("total_click_count", "fct_tracking_events", "url_type = 1")
PAGES = Count("page_visit_count", "fct_tracking_events", "url_type = 4")
PERSONS = Count("person_click_count", "fct_tracking_events", "url_type = 1 and visitor_id <> ''", distinct="visitor_id")
ERRORS = Count("error_count", "fct_messages", "status = 2")


@pytest.fixture
def versions() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as con:
        for side in ("former", "marts"):
            con.execute(f"attach ':memory:' as {side}")
            con.execute(f"create schema {side}.core")
            con.execute(
                f"create table {side}.core.fct_tracking_events (event_key varchar, delivery_id bigint,"
                " message_id bigint, url_id bigint, url_type bigint, visitor_id varchar, is_machine boolean,"
                " occurred_at timestamp, ingested_at timestamp)"
            )
            con.execute(
                f"create table {side}.core.fct_messages (message_id bigint, delivery_id bigint, status bigint,"
                " event_at timestamp, status_source varchar, ingested_at timestamp)"
            )
            con.execute(
                f"create table {side}.core.fct_esp_events (event_key varchar, delivery_id bigint, message_id bigint,"
                " event_kind varchar, occurred_at timestamp, matched_event_key varchar, ingested_at timestamp)"
            )
        con.execute("attach ':memory:' as working")
        con.execute("create schema working.intermediate")
        con.execute(
            "create table working.intermediate.int_web_hits__attributed (event_key varchar, visitor_id varchar,"
            " message_id bigint, outcome varchar, attribution varchar, occurred_at timestamp, ingested_at timestamp)"
        )
        con.execute("create temp table restated_scope as select cast(7 as bigint) as delivery_id")
        yield con


def event(con: duckdb.DuckDBPyConnection, side: str, key: str, *, kind: int = 1, visitor: str = "v") -> None:
    con.execute(
        f"insert into {side}.core.fct_tracking_events values (?, 7, 1, 5, ?, ?, false, {THEN}, {THEN})",
        [key, kind, visitor],
    )


def told(con: duckdb.DuckDBPyConnection, side: str, key: str, message: int, *, kind: str, at: str = THEN) -> None:
    con.execute(f"insert into {side}.core.fct_esp_events values (?, 7, ?, ?, {THEN}, null, {at})", [key, message, kind])


def hit(con: duckdb.DuckDBPyConnection, key: str, outcome: str, visitor: str) -> None:
    con.execute(
        f"insert into working.intermediate.int_web_hits__attributed values (?, ?, 1, ?, null, {THEN}, {THEN})",
        [key, visitor, outcome],
    )


def message(
    con: duckdb.DuckDBPyConnection, side: str, key: int, status: int, source: str = "reference", at: str = THEN
) -> None:
    con.execute(f"insert into {side}.core.fct_messages values (?, 7, ?, {THEN}, ?, {at})", [key, status, source])


def link(con: duckdb.DuckDBPyConnection, side: str, url_type: int) -> None:
    columns = f"7::bigint as delivery_id, 5::bigint as url_id, {url_type}::bigint as url_type"
    con.execute(f"create table {side}.core.dim_tracked_urls as select {columns}, false as is_unknown")


def causes(con: duckdb.DuckDBPyConnection, count: Count) -> tuple[float, dict[str, int]]:
    return RowChanges(con, VERSIONS, {}).causes_of(count)[7]


def test_only_what_the_warehouse_lacks_was_removed(versions: duckdb.DuckDBPyConnection) -> None:
    for key in ("landed no more", "told of still"):
        event(versions, "former", key)
    told(versions, "marts", "told of still", 1, kind="click")
    assert causes(versions, CLICKS) == (-2, {"reference change": 1, "removed data": 1})


def test_a_page_goes_with_the_click_that_led_to_it(versions: duckdb.DuckDBPyConnection) -> None:
    event(versions, "former", "click", visitor="a")
    for visitor in ("a", "b"):
        event(versions, "former", f"page of {visitor}", kind=4, visitor=visitor)
        hit(versions, f"page of {visitor}", "unattributed", visitor)
    assert causes(versions, PAGES) == (-2, {"reference change": 1, "removed data": 1})


def test_a_value_takes_the_place_of_another(versions: duckdb.DuckDBPyConnection) -> None:
    """Neither of the two is counted twice, and both are accounted for."""
    event(versions, "former", "first", visitor="a")
    event(versions, "marts", "first", visitor="b")
    event(versions, "former", "second", visitor="c")
    event(versions, "marts", "second", visitor="b")
    assert causes(versions, PERSONS) == (-1, {"reference change": 2})


def test_a_status_whose_event_is_gone_or_another_s(versions: duckdb.DuckDBPyConnection) -> None:
    for key in (1, 2):
        message(versions, "former", key, 2, "esp_event")
        message(versions, "marts", key, 1, "reference")
        told(versions, "former", f"bounce of {key}", key, kind="bounce")
    told(versions, "marts", "bounce of 2", 3, kind="bounce")
    assert causes(versions, ERRORS) == (-2, {"reference change": 1, "removed data": 1})


@pytest.mark.parametrize(("arrived", "cause"), [(SINCE, "late data"), (THEN, "reference change")])
def test_a_status_is_late_by_its_event(versions: duckdb.DuckDBPyConnection, arrived: str, cause: str) -> None:
    message(versions, "former", 1, 1, "reference")
    message(versions, "marts", 1, 2, "esp_event")
    told(versions, "marts", "bounce", 1, kind="bounce", at=arrived)
    assert causes(versions, ERRORS) == (1, {cause: 1})


@pytest.mark.parametrize("landed", [THEN, SINCE])
def test_what_a_provider_tells_is_late_whenever_the_message_landed(
    versions: duckdb.DuckDBPyConnection, landed: str
) -> None:
    message(versions, "former", 1, 1)
    message(versions, "marts", 1, 2, "esp_event", at=landed)
    told(versions, "marts", "bounce", 1, kind="bounce", at=SINCE)
    assert causes(versions, ERRORS) == (1, {"late data": 1})


def test_a_message_that_says_something_else_is_a_reference_change(versions: duckdb.DuckDBPyConnection) -> None:
    """Also where a provider had told of it before, who is not asked any more."""
    for key, source in ((1, "reference"), (2, "esp_event")):
        message(versions, "former", key, 1, source)
        message(versions, "marts", key, 2, at=SINCE)
    for side in ("former", "marts"):
        told(versions, side, "delivered", 2, kind="delivered")
    assert causes(versions, ERRORS) == (2, {"reference change": 2})


@pytest.mark.parametrize(
    ("before", "cause"),
    [
        pytest.param(1, "late data", id="the same message, landed again"),
        pytest.param(None, "reference change", id="a message that was not known"),
    ],
)
def test_an_event_moves_by_its_message_where_that_changed(
    versions: duckdb.DuckDBPyConnection, before: int | None, cause: str
) -> None:
    event(versions, "former", "page", kind=1)
    event(versions, "marts", "page", kind=4)
    event(versions, "marts", "late click")
    if before:
        message(versions, "former", 1, before)
    message(versions, "marts", 1, 1, at=SINCE)
    assert causes(versions, PAGES) == (1, {cause: 1})


@pytest.mark.parametrize(
    ("before", "cause"),
    [
        pytest.param(4, "late data", id="the same link, landed again"),
        pytest.param(1, "reference change", id="a link of another type"),
    ],
)
def test_an_event_moves_by_its_link_where_that_changed(
    versions: duckdb.DuckDBPyConnection, before: int, cause: str
) -> None:
    event(versions, "former", "page", kind=1)
    event(versions, "marts", "page", kind=4)
    event(versions, "marts", "late click")
    link(versions, "former", before)
    link(versions, "marts", 4)
    versions.execute(
        f"create table working.intermediate.int_tracked_urls__current as select 7 as delivery_id, 5 as url_id,"
        f" {SINCE} as ingested_at"
    )
    assert causes(versions, PAGES) == (1, {cause: 1})
