"""What a mart says after a build: right numbers, safe text, nothing about single persons."""

import contextlib
from base64 import b64decode
from collections.abc import Iterator
from xml.etree import ElementTree

import duckdb
import pytest

from orchestration.highlights import Mart, all_highlights, highlights, marts_of, picture


@pytest.fixture
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    with contextlib.closing(duckdb.connect()) as found:
        found.execute("create schema core; create schema reports; create schema meta")
        found.execute(
            "create table meta.indicator_catalogue as select * from (values"
            " ('click_count', 'rpt_links', 'additive'), ('click_share', 'rpt_links', 'ratio: not additive'),"
            " ('gone_count', 'rpt_links', 'additive'), ('amount', 'rpt_links', 'additive')) t(name, mart, additivity)"
        )
        found.execute(
            "create table reports.rpt_links as select * from (values"
            " ('<img src=x onerror=y>|![p](http://evil/x)', 7, 5, 0.5, 1.25), ('b', 3, 3, 0.25, null))"
            " t(label, click_count, human_click_count, click_share, amount)"
        )
        yield found


def test_additive_indicators_are_summed_and_no_other(connection):
    found = highlights(connection, Mart("reports", "rpt_links", "reports__rpt_links"))
    assert {name: value.value for name, value in found.items()} == {
        "click_count": 10,
        "human_click_count": 8,
        "amount": 1.25,
    }


def test_the_example_is_a_table_of_inert_text(connection):
    mart = Mart("reports", "rpt_links", "x", "select label, click_count from reports.rpt_links order by 2 desc")
    text = highlights(connection, mart)["example"].value
    assert "| 7 |" in text
    assert "<img" not in text and "](http" not in text
    assert len(text.splitlines()) == 4


@pytest.mark.parametrize("column", ["recipient_id", "email", "visitor_id", "message_id"])
def test_there_is_no_example_of_a_mart_about_persons(connection, column):
    connection.execute(f"create table reports.rpt_people as select 1 as {column}, 'Jane' as name")
    found = highlights(connection, Mart("reports", "rpt_people", "x", "select name from reports.rpt_people"))
    assert found == {}


def test_a_fact_is_counted_by_day_with_its_empty_days(connection):
    connection.execute(
        "create table core.fct_opens as select * from (values (timestamp '2026-01-01 10:00', timestamp '2026-02-01'),"
        " (timestamp '2026-01-03 10:00', timestamp '2026-02-01'),"
        " (timestamp '2026-01-03 11:00', timestamp '2026-02-01'),"
        " (timestamp '2031-01-01', timestamp '2026-02-01')) t(occurred_at, ingested_at)"
    )
    found = highlights(connection, Mart("core", "fct_opens", "x"))
    text = found["newest_days"].value
    assert r"| 2026\-01\-03 | 2 |" in text
    assert r"| 2026\-01\-02 | 0 |" in text
    assert "at most 2 a day" in found["by_day"].value
    assert "2031" not in text, "a clock that runs ahead makes no month of empty days"
    connection.execute("delete from core.fct_opens")
    assert highlights(connection, Mart("core", "fct_opens", "x")) == {}


def test_the_picture_has_a_bar_for_each_count():
    uri = picture([0, 1, 1000, 500])
    svg = ElementTree.fromstring(b64decode(uri.removeprefix("data:image/svg+xml;base64,")))
    assert (svg.get("width"), svg.get("height")) == ("32", "40")
    assert svg[0].get("d") == "M8 40v-1h7V40M16 40v-40h7V40M24 40v-20h7V40"
    assert len(picture(range(1_000_000, 30_000_000, 1_000_000))) < 900, "longer Markdown is behind a click"
    assert picture([0, 0]).startswith("data:image/svg+xml")


def test_a_mart_that_cannot_be_read_is_named_and_the_others_are_shown(connection):
    broken = Mart("reports", "rpt_links", "broken", "select nothing from reports.rpt_links")
    found, problems = all_highlights(connection, [broken, Mart("reports", "rpt_links", "sound")])
    assert list(found) == ["sound"]
    assert len(problems) == 1 and problems[0].startswith("reports.rpt_links: ")


def test_marts_are_the_models_of_published_schemas():
    nodes = [
        {"resource_type": "model", "schema": "reports", "name": "a", "config": {"meta": {"report": {"example": "q"}}}},
        {"resource_type": "model", "schema": "intermediate", "name": "b", "config": {}},
        {"resource_type": "seed", "schema": "meta", "name": "c", "config": {}},
    ]
    assert marts_of(nodes) == [Mart("reports", "a", "reports__a", "q")]
