"""The published marts and the ledger equal the sample's truth exactly: every delivery, link, total and gap."""

import csv
from collections import Counter
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path

import pytest

from log_ingest.status import collect
from tests.conftest import Demo

RATES = {"raw_reactivity", "estimated_reactivity", "click_share"}


def truth(demo: Demo, name: str) -> list[dict[str, str]]:
    with (demo.landing / "truth" / f"{name}.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def text(column: str, value: object) -> str:
    """A published value as truth writes it."""
    if value is None:
        return ""
    if column in RATES:
        return str(Decimal(repr(value)).quantize(Decimal("1e-9"), ROUND_HALF_UP))
    return str(value).removesuffix("+00:00")


def expected(row: dict[str, str]) -> dict[str, str]:
    return {
        column: str(Decimal(value).quantize(Decimal("1e-9"), ROUND_HALF_UP)) if column in RATES and value else value
        for column, value in row.items()
    }


def published(demo: Demo, mart: str, columns: list[str], where: str = "true") -> list[dict[str, str]]:
    rows = demo.query(f"select {', '.join(columns)} from reports.{mart} where {where}")
    return [{column: text(column, value) for column, value in zip(columns, row, strict=True)} for row in rows]


def test_tracking_indicators_of_every_delivery(demo: Demo) -> None:
    rows = [expected(row) for row in truth(demo, "rpt_tracking_indicators")]
    found = {row["delivery_id"]: row for row in published(demo, "rpt_tracking_indicators", list(rows[0]))}
    assert found.keys() == {row["delivery_id"] for row in rows}
    for row in rows:
        if not row["delivery_label"]:  # how an undeclared delivery is called is the warehouse's own affair
            row["delivery_label"] = found[row["delivery_id"]]["delivery_label"]
        assert found[row["delivery_id"]] == row


def test_click_streams_of_every_link(demo: Demo) -> None:
    rows = [expected(row) for row in truth(demo, "rpt_url_click_streams")]
    found = published(demo, "rpt_url_click_streams", list(rows[0]), "click_count > 0")

    def key(row: dict[str, str]) -> tuple[int, int]:
        return int(row["delivery_id"]), int(row["url_id"])

    for row in rows + found:
        # A link without configuration has no label in truth; the mart may say so in words.
        if not row["url_type"]:
            row["label"] = row["category"] = ""
    assert sorted(found, key=key) == sorted(rows, key=key)


def test_machine_events_by_rule(demo: Demo) -> None:
    counted = dict(
        demo.query("select machine_rule, count(*) from core.fct_tracking_events where is_machine group by 1")
    )
    assert counted == {row["rule"]: int(row["event_count"]) for row in truth(demo, "machine_by_rule")}


def test_events_of_recipients(demo: Demo) -> None:
    counted = {
        recipient: (events, human)
        for recipient, events, human in demo.query(
            "select recipient_id, count(*), count(*) filter (where not is_machine) from reports.profile_tracking"
            " group by 1"
        )
    }
    rows = truth(demo, "events_by_recipient")
    assert len(rows) > 100
    for row in rows:
        assert counted.get(int(row["recipient_id"]), (0, 0)) == (int(row["event_count"]), int(row["human_event_count"]))


def test_control_totals_of_the_ledger(demo: Demo) -> None:
    (total,) = (row for row in truth(demo, "control_totals") if row["path"] == "totals")
    copies = sum(row["is_whole_file_copy"] == "true" for row in truth(demo, "control_totals"))
    status = collect(demo.warehouse)
    (logs,) = (source for source in status.sources if source.source == "tracking_logs")
    whole_copies = [row for row in truth(demo, "control_totals") if row["is_whole_file_copy"] == "true"]
    for name in ("lines", "accepted", "duplicate", "quarantined", "blank", "held_bytes"):
        # The ledger counts a re-sent file as a file, not line by line.
        assert getattr(logs, name) == int(total[name]) - sum(int(row[name]) for row in whole_copies), name
    assert logs.copies == copies > 0


def test_gaps_of_every_server(demo: Demo) -> None:
    found = [
        (gap.server, gap.first_missing_pointer, gap.last_missing_pointer, gap.missing_count)
        for gap in collect(demo.warehouse).gaps
    ]
    rows = truth(demo, "gaps")
    assert found == [
        (
            row["server"],
            *(int(row[name]) for name in ("first_missing_pointer", "last_missing_pointer", "missing_count")),
        )
        for row in rows
    ]


def test_quarantined_lines_with_file_and_line(demo: Demo) -> None:
    import duckdb

    files = Path(demo.warehouse) / "landed" / "set_aside" / "*" / "*.parquet"
    found = duckdb.connect().execute(
        f"select source_file, line_number from read_parquet('{files}')"
        " where source = 'tracking_logs' and disposition = 'quarantined'"
    )
    rows = Counter((row["path"], int(row["line_number"])) for row in truth(demo, "quarantined_lines"))
    assert Counter(found.fetchall()) == rows


@pytest.mark.parametrize(
    "words",
    ["Delivery ", "recipient_open_count", "Control totals", "make serve", "mtw explain", "mtw status", "marts.duckdb"],
)
def test_the_demo_says_where_to_look(demo: Demo, words: str) -> None:
    assert words in demo.output
