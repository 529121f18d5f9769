"""Links of HTML content: found in document order, whatever the HTML, and landed once per distinct content."""

import csv
import os
import time
from pathlib import Path

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from log_ingest.content_links import MAX_HTML_CHARACTERS, MAX_LINKS, links, redirect_ids
from log_ingest.ingest import ingest
from tests.invariants import assert_accounted, assert_rerun_changes_nothing, landed


def test_links_in_document_order() -> None:
    html = """<!DOCTYPE html><body><a name="top">no address</a>
    <a href="http://x/1?a=1&amp;b=2">One <b>bold</b>
      word</a><map><area alt="Map" href="http://x/2"></map>
    <a href=' http://x/3 '><img src="i.png" alt="Picture"></a><a href="">empty</a><A HREF=http://x/4>4</A>
    <!-- <a href="http://x/comment">c</a> --><script>"<a href='http://x/script'>"</script></body>"""
    assert links(html) == [
        ("http://x/1?a=1&b=2", "One bold word"),
        ("http://x/2", "Map"),
        ("http://x/3", "Picture"),
        ("http://x/4", "4"),
    ]


def test_personalisation_tags_are_kept_as_text() -> None:
    html = """<% if (a < b && "c" > d) { %><a href="http://x/?n=<%= f("a>b") %>&amp;m=<%@ include view='M' %>"
    <% } %> class="c">Hello <%= recipient.firstName %></a><a href="&lt;%= whole %&gt;">w</a>
    <% never closed <a href="z">z</a>"""
    assert links(html) == [
        ("""http://x/?n=<%= f("a>b") %>&m=<%@ include view='M' %>""", "Hello <%= recipient.firstName %>"),
        ("<%= whole %>", "w"),
        ("z", "z"),
    ]


@pytest.mark.parametrize(
    ("href", "ids"),
    [
        ("https://t.example/r/?id=h787bc0,281a4d8,281a4da&p1=1", (0x281A4D8, 0x281A4DA)),
        ("https://t.example/r/?x=1&ID=h787BC0%2C281A4D8%2C281A4DA", (0x281A4D8, 0x281A4DA)),
        ("/r/?id=h<%= message.id %>,<%= delivery.id %>,5", (None, 5)),
        ("/r/?id=h0,0,0", (None, None)),
        ("/r/?id=h0,1,12345678901234567", (1, None)),
        ("/r/?id=h0,1", (None, None)),
        ("/r/9862?tagid=home", (None, None)),
        ("https://www.example/other/?id=h1,2,3", (None, None)),
        ("", (None, None)),
    ],
)
def test_redirection_addresses_name_delivery_and_url(href: str, ids: tuple) -> None:
    assert redirect_ids(href) == ids


HOSTILE = {
    "deep": "<div>" * 400_000 + "<a href=x>y</a>",
    "deep links": "<a href=x><b>" * 200_000,
    "many attributes": "<a " + " ".join(f"a{n}=1" for n in range(200_000)) + " href=x>y</a>",
    "open attribute": '<a href="' + "y" * 2_000_000,
    "less-than": "<" * 2_000_000,
    "comments": "<!--" * 400_000,
    "tables": "<table><tr><td><a>" * 100_000,
    "formatting": "<b><i><u><font>" * 50_000 + "<p>" * 50_000,
    "open tags": "<%" * 1_000_000,
    "empty tags": "<%%>" * 400_000,
    "private characters": "<a href='\ue0007\ue001'>\ue000</a>" * 10_000,
    "references": "&#x110000;&#0;&#xd800;" * 50_000,
    "nothing": "\0" * 1000,
    "declares another encoding": '<?xml version="1.0" encoding="utf-16"?><meta charset="utf-7"><a href="é">ü</a>',
    "lone surrogate": "<a href='\udc80'>x</a>",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_content_costs_little_and_breaks_nothing(name: str) -> None:
    start = time.process_time()
    found = links(HOSTILE[name])
    assert time.process_time() - start < 10  # far above what it takes, far below anything quadratic
    assert len(found) <= MAX_LINKS
    for href, text in found:
        (href + text).encode()
        redirect_ids(href)
    if name in ("deep", "many attributes"):
        assert found == [("x", "y")]
    if name == "declares another encoding":
        assert found == [("é", "ü")]


@given(
    st.text(max_size=300) | st.lists(st.sampled_from(["<a href=", "'", '"', ">", "</a>", "<%", "%>", "x", "&#", "<"]))
)
def test_any_text_is_read(html: str | list[str]) -> None:
    links(html if isinstance(html, str) else "".join(html))


def deliveries(landing: Path, name: str, contents: dict[int, str], at: int) -> None:
    path = landing / "reference" / "deliveries" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["delivery_id", "html_content"])
        writer.writerows(contents.items())
    os.utime(path, (at, at))


def positions(warehouse: Path) -> list[tuple]:
    return (
        duckdb.connect()
        .execute(f"select delivery_id, link_position, href from {landed(warehouse, 'content_links')} order by all")
        .fetchall()
    )


def test_each_distinct_content_is_landed_once(landing: Path, warehouse: Path) -> None:
    deliveries(landing, "1.csv", {-1: "<a href=a>", 2: "<a href=a><a href=b>", 3: "", 4: "no link"}, 1_700_000_000)
    first = ingest(landing, warehouse, run_id="1")
    assert not first.problems
    assert positions(warehouse) == [(2, 1, "a"), (2, 2, "b"), (2**32 - 1, 1, "a")]
    assert_rerun_changes_nothing(landing, warehouse)
    # A full extract with one change: only that content is parsed.
    deliveries(landing, "2.csv", {-1: "<a href=a>", 2: "<a href=c>", 3: "", 4: "no link"}, 1_700_000_001)
    ingest(landing, warehouse, run_id="2")
    assert positions(warehouse) == [(2, 1, "a"), (2, 1, "c"), (2, 2, "b"), (2**32 - 1, 1, "a")]
    assert_accounted(warehouse)


def test_a_content_larger_than_a_mail_is_named(landing: Path, warehouse: Path) -> None:
    html = "<a href=a>" + " " * MAX_HTML_CHARACTERS + "<a href=b>"
    deliveries(landing, "1.csv", {7: html, 8: "<a href=c>" * (MAX_LINKS + 5)}, 1_700_000_000)
    report = ingest(landing, warehouse, run_id="1")
    assert [problem.split(";")[0] for problem in report.problems] == [
        f"reference/deliveries/1.csv: the HTML of delivery {n} is larger than a mail can be" for n in (7, 8)
    ]
    assert len(positions(warehouse)) == 1 + MAX_LINKS


def test_an_interrupted_run_is_made_up_for(landing: Path, warehouse: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed between the deliveries' batch and that of their links: the next run parses them."""
    deliveries(landing, "1.csv", {2: "<a href=a>"}, 1_700_000_000)
    with monkeypatch.context() as patch:
        patch.setattr("log_ingest.content_links.links", lambda html: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            ingest(landing, warehouse, run_id="1")
    assert positions(warehouse) == []
    ingest(landing, warehouse, run_id="2")
    assert positions(warehouse) == [(2, 1, "a")]


def test_a_source_that_gains_a_column_keeps_its_old_rows(landing: Path, warehouse: Path) -> None:
    """The empty file that readers take the columns from follows the catalogue."""
    deliveries(landing, "1.csv", {2: "<a href=a>"}, 1_700_000_000)
    ingest(landing, warehouse, run_id="1")
    base = warehouse / "landed" / "tracked_urls" / "batch_id=9223372036854775807" / "part-0.parquet"
    con = duckdb.connect()
    con.execute(f"copy (select * exclude (tracking_mode) from read_parquet('{base}')) to '{base}.old' (format parquet)")
    Path(f"{base}.old").rename(base)
    ingest(landing, warehouse, run_id="2")
    names = [row[0] for row in con.execute(f"describe select * from read_parquet('{base}')").fetchall()]
    assert "tracking_mode" in names
