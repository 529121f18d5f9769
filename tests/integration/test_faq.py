"""The FAQ's claims hold on the demo's data: every query runs, and says so itself in its column `holds`."""

import re

import pytest

from tests.conftest import ROOT, Demo

FAQ = (ROOT / "docs" / "faq.md").read_text(encoding="utf-8")


def queries(text: str) -> list[tuple[str, str]]:
    """(question, query) of each SQL block."""
    sections = re.split(r"^## ", text, flags=re.MULTILINE)[1:]
    return [
        (section.splitlines()[0], query)
        for section in sections
        for query in re.findall(r"^```sql\n(.*?)^```", section, flags=re.MULTILINE | re.DOTALL)
    ]


def assert_holds(demo: Demo, query: str) -> None:
    names, rows = demo.table(query)
    assert names[-1] == "holds"
    assert rows, "no row shows it"
    assert [row for row in rows if row[-1] is not True] == []


def test_every_question_is_answered_with_a_query() -> None:
    questions = re.findall(r"^## (.*)$", FAQ, flags=re.MULTILINE)
    assert len(questions) >= 15
    assert list(dict.fromkeys(question for question, _ in queries(FAQ))) == questions


@pytest.mark.parametrize("query", [pytest.param(query, id=question) for question, query in queries(FAQ)])
def test_the_claim_holds(demo: Demo, query: str) -> None:
    assert_holds(demo, query)


@pytest.mark.parametrize(
    ("broken", "complaint"),
    [
        ("select recipient_open_count > total_open_count as holds from reports.rpt_tracking_indicators", "False"),
        ("select cast(null as boolean) as holds", "None"),
        ("select true as holds from meta.pointer_gaps where missing_count < 0", "no row"),
        ("select true as is_true", "holds"),
    ],
)
def test_a_claim_that_does_not_hold_is_found(demo: Demo, broken: str, complaint: str) -> None:
    with pytest.raises(AssertionError, match=complaint):
        assert_holds(demo, broken)
