"""Pages and pictures of the reports: the committed ones are up to date, and nothing in data becomes markup."""

import datetime as dt
import re
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

from report_docs.__main__ import REPORTS
from report_docs.charts import KINDS, draw
from report_docs.pages import picture_of, prose, render_all
from report_docs.reports import read_reports

FOUND = read_reports()
PAGES = render_all(FOUND, REPORTS)
DOCS = REPORTS.parent
HOSTILE = "<script>alert(1)</script> & $x^2$ \x00\x1b\u202e ]]> \"quote\" 'q' --> | `"
SVG = "{http://www.w3.org/2000/svg}"

# -- pages


def test_there_is_a_page_for_each_mart_and_none_besides() -> None:
    marts = {path.stem for path in (DOCS.parent / "dbt_project/models/marts/reports").glob("*.sql")}
    assert {path.stem for path in REPORTS.glob("*.md")} == marts | {"README"}


@pytest.mark.parametrize("name", PAGES)
def test_the_committed_page_is_up_to_date(name: str) -> None:
    assert (REPORTS / name).read_text(encoding="utf-8") == PAGES[name], "run: python -m report_docs --pages"


@pytest.mark.parametrize("report", FOUND, ids=lambda report: report.name)
def test_a_page_shows_every_column_and_every_formula(report: Any) -> None:
    page = PAGES[f"{report.name}.md"]
    for column in report.columns:
        assert f"`{column.name}`" in page
        if column.indicator:
            assert prose(column.indicator["definition"], {r.name for r in FOUND}) in page
            assert prose(column.indicator["additivity"], {r.name for r in FOUND}) in page
    assert report.chart["kind"] in KINDS


def test_the_links_of_the_documentation_lead_somewhere() -> None:
    lost = []
    for path in [DOCS.parent / "README.md", DOCS.parent / "CONTRIBUTING.md", *DOCS.rglob("*.md")]:
        text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
        for target in re.findall(r"\]\(([^)\s]+)\)|(?:src|href)=\"([^\"]+)\"", text):
            link = "".join(target)
            if not re.match(r"https?:|#", link):
                file, _, anchor = link.partition("#")
                found = path.parent / file
                if not found.is_file() or (anchor and anchor not in anchors(found)):
                    lost.append(f"{path.name}: {link}")
    assert lost == []


def anchors(path: Path) -> set[str]:
    """Of the headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a_b of rpt_x, `c|d` and human_ *x*", r"`a_b` of [`rpt_x`](rpt_x.md), `c\|d` and `human_` \*x\*"),
        ("<b> & [x](y) | ~", r"&lt;b&gt; &amp; \[x\](y) \| \~"),
    ],
)
def test_plain_text_stays_plain(text: str, expected: str) -> None:
    assert prose(text, {"rpt_x"}) == expected


# -- pictures


@pytest.mark.parametrize("report", FOUND, ids=lambda report: report.name)
def test_the_committed_picture_is_sound(report: Any) -> None:
    """Where there is none the page says so; whether there should be one is for the test with the sample."""
    path = REPORTS / picture_of(report)
    if not path.is_file():
        assert "No picture yet" in PAGES[f"{report.name}.md"]
        return
    text = path.read_text(encoding="utf-8")
    assert ET.fromstring(text).tag == f"{SVG}svg"
    assert len(text) < 100_000
    assert not re.search(r"<script|<image|@font-face|<dc:date", text)


def test_no_picture_is_of_no_report() -> None:
    assert {path.name for path in REPORTS.glob("*.svg")} <= {picture_of(report) for report in FOUND}


ROWS: dict[str, tuple[list[str], list[tuple]]] = {
    "bars": (["label", HOSTILE, "human_" + HOSTILE], [(HOSTILE, 3, 2), (None, None, 1)]),
    "lines": (["day", "series", "n"], [(dt.date(2024, 5, day), HOSTILE, day) for day in (1, 2, 3)]),
    "curve": (["hours", "n"], [(hour, hour * 2) for hour in range(5)]),
    "pareto": (["label", "n"], [(HOSTILE, 5), (HOSTILE, 3), ("x" * 500, 0)]),
    "heat": (["row", "column", "n"], [(HOSTILE, HOSTILE, 0.5), ("b", "c", None)]),
    "timeline": (
        ["at", "what", "is_machine"], [(dt.datetime(2024, 5, 1, hour), HOSTILE, hour % 2 == 0) for hour in range(3)]
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_a_chart_is_reproducible_and_shows_labels_as_text(kind: str) -> None:
    chart = {"kind": kind, "title": HOSTILE, "axis": HOSTILE, "x_axis": HOSTILE}
    drawn = draw(chart, *ROWS[kind])
    assert drawn is not None
    assert drawn == draw(chart, *ROWS[kind])
    root = ET.fromstring(drawn)
    assert not list(root.iter(f"{SVG}script"))
    texts = [element.text or "" for element in root.iter(f"{SVG}text")]
    assert any("<script>alert(1)</script>" in text and "$x^2$" in text for text in texts), texts
    assert not any(character in drawn for character in "\x00\x1b\u202e")


def test_nothing_to_show_is_no_picture() -> None:
    assert draw({"kind": "bars", "title": "t"}, ["a", "b"], []) is None
    assert draw({"kind": "bars", "title": "t"}, ["a", "b"], [("x", 0), ("y", None)]) is None
    with pytest.raises(ValueError, match="none of: bars"):
        draw({"kind": "pie", "title": "t"}, ["a", "b"], [("x", 1)])


# -- what is read


def test_a_report_that_does_not_say_its_question_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "models/marts/reports"
    folder.mkdir(parents=True)
    (folder / "rpt_x.yml").write_text("models:\n  - {name: rpt_x, description: 'Grain: one row.', columns: []}\n")
    with pytest.raises(ValueError, match=r"rpt_x lacks config.meta.report.question"):
        read_reports(tmp_path)
