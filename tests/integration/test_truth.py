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


def test_control_totals_of_every_source(demo: Demo) -> None:
    rows = truth(demo, "source_totals")
    assert [row["source"] for row in rows] == ["tracking_logs", "access_logs", "esp_events"]
    found = {source.source: source for source in collect(demo.warehouse).sources}
    for row in rows:
        counts = {name: str(getattr(found[row["source"]], name)) for name in row}
        assert counts == row
    for name in ("accepted", "duplicate", "quarantined"):
        assert all(int(row[name]) for row in rows), name


def test_every_act_is_counted_once_whoever_tells_of_it(demo: Demo) -> None:
    counted = demo.query("select source, count(*) from core.fct_tracking_events group by 1 order by 1")
    assert counted == [(row["source"], int(row["event_count"])) for row in truth(demo, "events_by_source")]
    rows = truth(demo, "rpt_source_reconciliation")
    found = published(demo, "rpt_source_reconciliation", list(rows[0]))
    assert sorted(found, key=str) == sorted(rows, key=str)
    for name in ("only_own_count", "only_esp_count", "both_count"):
        by_kind = {row["kind"]: int(row[name]) for row in rows if int(row[name])}
        assert by_kind.keys() == {"open", "click", "opt_out"}, name


def test_bounces_and_who_told_of_them(demo: Demo) -> None:
    found = demo.query(
        """
        select
            delivery_id,
            bounced.hard_bounce_count,
            bounced.soft_bounce_count,
            indicators.complaint_count,
            count(*) filter (where messages.status_source = 'esp_event')
        from reports.rpt_tracking_indicators as indicators
        join core.fct_messages as messages using (delivery_id)
        join (
            select delivery_id, sum(hard_bounce_count) as hard_bounce_count, sum(soft_bounce_count) as soft_bounce_count
            from reports.rpt_delivery_statistics group by delivery_id
        ) as bounced using (delivery_id)
        group by all
        """
    )
    rows = [tuple(map(int, row.values())) for row in truth(demo, "bounces")]
    assert sorted(found) == sorted(rows)
    assert sum(row[-1] > 0 for row in rows) == 4


def test_shares_and_what_they_led_to(demo: Demo) -> None:
    rows = truth(demo, "rpt_sharing")
    found = published(demo, "rpt_sharing", list(rows[0]), "share_count > 0 or shared_open_count > 0")
    assert sorted(found, key=str) == sorted(rows, key=str)
    assert sum(int(row["shared_open_count"]) for row in rows) > 50
    assert {row["network"] for row in rows if int(row["share_count"])} == {"facebook", "twitter", "linkedin", "email"}


def test_hot_clicks_of_every_link_in_the_content(demo: Demo) -> None:
    rows = truth(demo, "rpt_hot_clicks")
    found = published(demo, "rpt_hot_clicks", list(rows[0]), "is_in_content")
    for row in found:
        row["is_drawn"] = row["is_drawn"].lower()
    assert sorted(found, key=str) == sorted(rows, key=str)
    assert len(rows) > 50


def test_visits_and_purchases_of_every_delivery(demo: Demo) -> None:
    rows = truth(demo, "page_visits")
    found = {row["delivery_id"]: row for row in published(demo, "rpt_tracking_indicators", list(rows[0]))}
    assert found.keys() == {row["delivery_id"] for row in rows}
    for row in rows:
        amount = found[row["delivery_id"]].pop("transaction_amount")
        assert Decimal(amount) == Decimal(row.pop("transaction_amount"))
        assert found[row["delivery_id"]] == row
    (totals,) = demo.query("select count(*), sum(amount), sum(article_count) from core.fct_transactions")
    assert totals[0] == sum(int(row["transaction_count"]) for row in rows) > 50
    assert totals[1] > 0
    assert totals[2] == sum(int(row["article_count"]) for row in rows)


def test_what_became_of_page_hits(demo: Demo) -> None:
    rows = truth(demo, "rpt_web_hits_by_outcome")
    found = published(demo, "rpt_web_hits_by_outcome", list(rows[0]), "outcome <> 'anonymous'")
    for row in found:
        row["is_kept"] = row["is_kept"].lower()
    assert sorted(found, key=str) == sorted(rows, key=str)
    assert all(int(row["web_hit_count"]) for row in rows)
    steps = truth(demo, "rpt_web_paths")
    assert sorted(published(demo, "rpt_web_paths", list(steps[0])), key=str) == sorted(steps, key=str)
    visitors = [int(row["path_visitor_count"]) for row in steps]
    assert visitors == sorted(visitors, reverse=True)
    assert visitors[-1] > 10


def test_subscriptions_of_every_service(demo: Demo) -> None:
    found = demo.query(
        "select service_id, sum(subscription_count), sum(unsubscription_count),"
        " max_by(end_subscriber_count, occurred_on) from reports.rpt_subscriptions group by 1 order by 1"
    )
    rows = [tuple(map(int, row.values())) for row in truth(demo, "subscriptions")]
    assert found == rows
    assert all(min(row) > 10 for row in rows)


def test_every_report_shows_something(demo: Demo) -> None:
    tables = demo.query("select schema_name, table_name from duckdb_tables() where schema_name in ('core', 'reports')")
    empty = [
        f"{schema}.{name}" for schema, name in tables if demo.query(f"select count(*) from {schema}.{name}") == [(0,)]
    ]
    assert len(tables) > 40
    assert empty == []


def test_quarantined_lines_with_file_and_line(demo: Demo) -> None:
    import duckdb

    files = Path(demo.warehouse) / "landed" / "set_aside" / "*" / "*.parquet"
    found = duckdb.connect().execute(
        f"select source_file, line_number from read_parquet('{files}') where disposition = 'quarantined'"
    )
    rows = Counter((row["path"], int(row["line_number"])) for row in truth(demo, "quarantined_lines"))
    assert Counter(found.fetchall()) == rows
    assert {path.split("/")[0] for path, _ in rows} == {"tracking_logs", "access_logs", "esp_events"}


@pytest.mark.parametrize(
    "words",
    ["Delivery ", "recipient_open_count", "Control totals", "make serve", "mtw explain", "mtw status", "marts.duckdb"],
)
def test_the_demo_says_where_to_look(demo: Demo, words: str) -> None:
    assert words in demo.output
