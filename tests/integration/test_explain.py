"""mtw explain: the lines that it prints, counted by plain Python, give the published number; and they are the very
lines of the files. Needs nothing but the published version and the landed rows."""

import csv
import gzip
import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from functools import cache
from pathlib import Path
from urllib.parse import unquote

import pytest
import zstandard

from orchestration.explain import Count, Explanation, NotThere, Part, RawLine, UnknownName, explained, explainer
from orchestration.explain_output import disagreements, write_csv, write_json
from tests.conftest import Demo

MART = "rpt_tracking_indicators"
NETWORKS = ("email", "facebook", "twitter", "delicious", "digg", "google", "linkedin")
OF_MESSAGES = {
    # What a reference row must say to be counted.
    "to_deliver_count": lambda row: row["status"] != 0,
    "text_to_deliver_count": lambda row: row["status"] != 0 and row.get("content_format") == "text",
    "success_count": lambda row: row["status"] in (1, 3, 4) and not row.get("is_seed"),
    "error_count": lambda row: row["status"] == 2,
    "complaint_count": lambda row: row["status"] == 2 and row["failure_reason"] == 8,
}
OF_EVENTS = {
    # What the line says of which distinct values are counted; None: lines are.
    "recipient_open_count": "message",
    "total_open_count": None,
    "delivered_recipient_open_count": "message",
    "delivered_total_open_count": None,
    "opt_out_click_count": None,
    "mirror_page_click_count": None,
    "recipient_click_count": "message",
    "person_click_count": "visitor",
    "total_click_count": None,
    "page_visit_count": None,
    "transaction_count": None,
    "share_count": None,
    **{f"{network}_share_count": None for network in NETWORKS},
}
FORMULAS = {
    "forward_estimate": ["person_click_count", "recipient_click_count"],
    "raw_reactivity": ["recipient_click_count", "recipient_open_count"],
}


@pytest.fixture(scope="module")
def deliveries(demo: Demo) -> list[int]:
    return [row[0] for row in demo.query(f"select delivery_id from reports.{MART} order by 1")]


@pytest.fixture(scope="module")
def logged(demo: Demo) -> int:
    """A delivery of which our own tracking logs alone tell."""
    ((delivery,),) = demo.query(
        "select delivery_id from core.fct_clicks group by 1 having bool_and(source = 'tracking_log')"
        " order by count(*) desc limit 1"
    )
    return delivery


@pytest.fixture(scope="module")
def told(demo: Demo) -> dict[int, dict[str, int]]:
    """Outcomes of messages that a provider tells: the reference row does not have them."""
    rows = demo.query(
        "select message_id, status, failure_reason from core.fct_messages where status_source = 'esp_event'"
    )
    assert rows
    return {message: {"status": status, "failure_reason": reason} for message, status, reason in rows}


def explain(demo: Demo, target: str, limit: int | None = None, **keys: object):
    return explained(
        demo.published, demo.warehouse / "landed", target, {name: str(value) for name, value in keys.items()}, limit
    )


def lines_of_file(demo: Demo, name: str) -> list[bytes]:
    """The lines of a landing file, as a text editor counts them."""
    return _lines(demo.landing / name)


@cache
def _lines(path: Path) -> list[bytes]:
    data = path.read_bytes()
    if path.suffix == ".gz":
        data = gzip.decompress(data)
    elif path.suffix == ".zst":
        data = zstandard.ZstdDecompressor().decompressobj().decompress(data)
    return data.splitlines()


@dataclass(frozen=True)
class Said:
    """What a raw line says; message 0 where it names none."""

    message: int
    url: int
    visitor: str


def said(line: RawLine) -> Said:
    text, source = str(line.line), line.source_file.split("/")[0]
    if source == "tracking_logs":
        fields = text.split("\t")
        return Said(int(fields[2] or "0", 16), int(fields[4], 16), fields[6])
    if source == "access_logs":
        found = re.search(r"/r/\?id=[a-z]([0-9a-f]+),[0-9a-f]+,([0-9a-f]+)", unquote(unquote(text)), re.IGNORECASE)
        message, url = (int(hexadecimal, 16) for hexadecimal in found.groups()) if found else (0, 0)
        return Said(message, url, text.partition("uuid230=")[2][:36])
    # A POST may tell of several events: its text does not say which of them is meant.
    assert source == "esp_events"
    json.loads(text)
    return Said(0, int('"open' in text.lower()), "")


def is_posted(line: RawLine) -> bool:
    return line.source_file.startswith("esp_events/")


def published(demo: Demo, delivery: int) -> dict[str, object]:
    with_names = demo.query(f"select to_json(t) from reports.{MART} as t where delivery_id = {delivery}")
    return json.loads(with_names[0][0])


def expected_columns() -> set[str]:
    return {*OF_MESSAGES, *OF_EVENTS, *(f"human_{name}" for name in OF_EVENTS)}


def test_every_count_is_explainable(demo: Demo) -> None:
    """A count that is added needs a row in indicator_counts; ratios and differences lead to their parts."""
    columns = demo.query(
        f"select column_name from duckdb_columns() where table_name = '{MART}' and data_type = 'BIGINT'"
        " and column_name not like '%forward_estimate' and column_name not like '%estimated_%'"
        " and column_name not like 'projected_%' and column_name <> 'machine_only_open_count'"
        " and column_name <> 'delivery_id'"
    )
    assert {name for (name,) in columns} == expected_columns() | {"article_count", "human_article_count"}


@pytest.mark.parametrize("column", sorted(expected_columns()))
def test_the_lines_of_every_count_of_every_delivery(
    demo: Demo, deliveries: list[int], told: dict[int, dict[str, int]], column: str
) -> None:
    base = column.removeprefix("human_")
    total, found = 0, {}
    with explainer(demo.published, demo.warehouse / "landed", None) as explain_one:
        for delivery in deliveries:
            (part,) = explain_one(f"{MART}.{column}", {"delivery_id": str(delivery)}).parts
            found[delivery] = part, list(part.lines)
    for delivery, (part, lines) in found.items():
        assert part.value == part.recount == published(demo, delivery)[column]
        assert len(lines) == part.line_count == part.lines_shown
        own = [line for line in lines if not is_posted(line)]
        assert len({(line.source_file, line.source_line) for line in own}) == len(own), "a line twice"
        assert None not in {line.line for line in lines}
        total += len(lines)
        if base in OF_EVENTS:
            place = OF_EVENTS[base]
            # What a provider tells of a message counts as that message and, without a cookie, as one person.
            values = {line.counted if is_posted(line) else getattr(said(line), place or "url") for line in lines}
            counted = len(lines) if place is None else len(values)
            for line in lines[:: max(len(lines) // 40, 1)]:
                assert str(line.line).encode() == lines_of_file(demo, line.source_file)[line.source_line - 1]
            if base == "total_open_count":
                assert {said(line).url for line in lines} <= {1}
        else:
            rows = [json.loads(str(line.line)) for line in lines]
            rows = [row | told.get(row["message_id"], {}) for row in rows]
            counted = sum(row["delivery_id"] == delivery and OF_MESSAGES[base](row) for row in rows)
            assert len({row["message_id"] for row in rows}) == len(rows)
            for line, row in list(zip(lines, rows, strict=True))[:: max(len(lines) // 40, 1)]:
                text = lines_of_file(demo, line.source_file)
                fields_of_row = next(csv.DictReader([text[0].decode(), text[line.source_line - 1].decode()]))
                assert int(fields_of_row["message_id"]) % 2**32 == row["message_id"]
        assert counted == part.value, (delivery, column)
    assert total or column == "complaint_count" or "share" in column


def test_human_lines_are_some_of_all_lines(demo: Demo, deliveries: list[int]) -> None:
    def places(column: str) -> set[tuple[str, int]]:
        with explain(demo, f"{MART}.{column}", delivery_id=deliveries[-1]) as found:
            return {(line.source_file, line.source_line) for line in found.parts[0].lines}

    human, everything = places("human_total_click_count"), places("total_click_count")
    assert human < everything


@pytest.mark.parametrize("column", [*FORMULAS, *(f"human_{name}" for name in FORMULAS)])
def test_formulas_lead_to_their_parts(demo: Demo, deliveries: list[int], column: str) -> None:
    prefix = "human_" if column.startswith("human_") else ""
    with explain(demo, f"{MART}.{column}", limit=3, delivery_id=deliveries[-1]) as found:
        rate, *parts = found.parts
        assert [part.column for part in parts] == [prefix + name for name in FORMULAS[column.removeprefix("human_")]]
        first, second = (part.value for part in parts)
        expected = first - second if "forward" in column else first / second
        assert rate.value == pytest.approx(expected)
        assert all(len(list(part.lines)) == 3 for part in parts)


def test_an_estimate_leads_down_to_counts(demo: Demo, deliveries: list[int]) -> None:
    with explain(demo, f"{MART}.estimated_reactivity", limit=0, delivery_id=deliveries[-1]) as found:
        assert [part.column for part in found.parts] == [
            "estimated_reactivity", "estimated_recipient_open_count", "recipient_click_count", "recipient_open_count",
            "text_to_deliver_count", "to_deliver_count",
        ]  # fmt: skip


def test_a_rate_of_another_mart_leads_to_the_mart_that_counts(demo: Demo, deliveries: list[int]) -> None:
    with explain(demo, "rpt_delivery_rates.distinct_click_rate", limit=1, delivery_id=deliveries[-1]) as found:
        parts = {f"{part.mart}.{part.column}" for part in found.parts[1:]}
    assert parts == {f"{MART}.person_click_count", f"{MART}.success_count"}
    with explain(demo, "delivery_dashboard.recipient_click_count", limit=1, delivery_id=deliveries[-1]) as found:
        assert found.parts[0].count.looked_at == "message_id"


def test_labels_lead_to_their_reference_rows(demo: Demo) -> None:
    (delivery, label), *_ = demo.query(
        f"select delivery_id, delivery_label from reports.{MART} where delivery_label is not null order by 1"
    )
    with explain(demo, f"{MART}.delivery_label", delivery_id=delivery) as found:
        (part,) = found.parts
        newest = next(part.lines)
    assert part.value == label == json.loads(newest.line)["label"]
    assert str(delivery) in lines_of_file(demo, newest.source_file)[newest.source_line - 1].decode()
    with explain(demo, f"{MART}.sent_at", limit=1, delivery_id=delivery) as found:
        fields = [(field.source, field.column) for field in found.fields if field.use != "rows"]
    # What the delivery says; else its first message, whose time an ESP's outcome may have moved, or a purge has kept.
    assert fields[0] == ("deliveries", "sent_at")
    assert ("messages", "event_at") in fields and ("esp_events", "occurred_at") in fields
    assert {source for source, _ in fields} == {"deliveries", "messages", "esp_events", "ledger_purges"}


@pytest.mark.parametrize(
    ("mart", "column", "keys"),
    [
        ("rpt_tracking_indicators_by_domain", "recipient_click_count", ("delivery_id", "mail_domain")),
        ("rpt_tracking_indicators_by_domain", "human_total_open_count", ("delivery_id", "mail_domain")),
        ("rpt_url_click_streams", "click_count", ("delivery_id", "url_id")),
        ("rpt_url_click_streams_daily", "human_click_count", ("delivery_id", "url_id", "clicked_on")),
        ("rpt_delivery_statistics", "soft_bounce_count", ("delivery_id", "mail_domain")),
        ("rpt_delivery_failures_by_reason", "failure_count", ("delivery_id", "failure_reason")),
        ("rpt_delivery_throughput", "success_count", ("bucket_at",)),
        ("rpt_sharing", "shared_open_count", ("delivery_id", "network")),
        ("rpt_opens_by_device", "recipient_open_count", ("delivery_id", "device_class", "os_name", "browser_name")),
        ("rpt_user_activity", "click_count", ("delivery_id", "bucket_at")),
        ("rpt_subscriptions", "subscription_count", ("service_id", "occurred_on")),
        ("rpt_subscriptions", "unsubscription_count", ("service_id", "occurred_on")),
        ("rpt_browsers", "human_visitor_count", ("clicked_on", "browser_name", "browser_version")),
        ("rpt_hot_clicks", "human_click_count", ("delivery_id", "link_position")),
        ("rpt_tracking_statistics", "human_total_count", ("delivery_id", "activity", "percentile")),
        (
            *("rpt_tracking_statistics_curve", "cumulative_count"),
            ("delivery_id", "activity", "bucket_seconds", "bucket_number"),
        ),
        ("rpt_tracking_rollups", "recipient_click_count", ("rollup", "rollup_key")),
        ("rpt_tracking_rollups", "human_person_click_count", ("rollup", "rollup_key")),
        ("rpt_tracking_rollups", "success_count", ("rollup", "rollup_key")),
    ],
)
def test_counts_of_finer_grains(demo: Demo, mart: str, column: str, keys: tuple[str, ...]) -> None:
    rows = demo.query(
        f"select {column}, {', '.join(keys)} from reports.{mart} where {column} is not null"
        f" order by {column} desc, {', '.join(keys)} limit 40"
    )
    for value, *row in rows[::13]:
        with explain(demo, f"{mart}.{column}", **dict(zip(keys, row, strict=True))) as found:
            (part,) = found.parts
            lines = [line for line in part.lines if line.line]
        assert part.value == part.recount == value
        counted = {line.counted for line in lines} if "distinct" in part.count.measure else lines
        assert len(counted) == value


@pytest.mark.parametrize("column", ["success_count", "complaint_count", "estimated_reactivity"])
def test_a_period_has_no_messages_and_says_so(demo: Demo, column: str) -> None:
    (month,) = demo.query("select max(rollup_key) from reports.rpt_tracking_rollups where rollup = 'month'")[0]
    with explain(demo, f"rpt_tracking_rollups.{column}", rollup="month", rollup_key=month) as found:
        first, *_ = found.parts
        assert first.value is None
        assert all(part.recount == part.value for part in found.parts if part.count is not None)
        assert column == "estimated_reactivity" or first.without_lines == "this row has no such number."


@pytest.mark.parametrize("column", ["share_count", "page_visit_count", "transaction_amount", "human_transaction_count"])
def test_pages_purchases_and_shares_of_a_period_have_lines(demo: Demo, column: str) -> None:
    rows = demo.query(
        f"select rollup, rollup_key, {column} from reports.rpt_tracking_rollups"
        f" where rollup in ('day', 'week', 'month')"
        f" qualify row_number() over (partition by rollup order by {column} desc) = 1"
    )
    assert len(rows) == 3
    for rollup, key, value in rows:
        with explain(demo, f"rpt_tracking_rollups.{column}", limit=0, rollup=rollup, rollup_key=key) as found:
            part, *_ = found.parts
            assert part.recount == part.value == value > 0
            assert part.line_count > 0


def test_every_count_gives_the_number_of_its_mart(demo: Demo) -> None:
    """Of every row of indicator_counts, and of its human form: the fullest row of the mart and one in the middle."""
    marts: dict[str, tuple[str, list[str]]] = {
        name: (schema, grain)
        for schema, name, grain in demo.query("select schema_name, table_name, grain from meta.model_sql")
    }
    columns = set(demo.query("select table_name, column_name from duckdb_columns()"))
    counts = demo.query("select mart, name from meta.indicator_counts order by all")
    explained_counts = set()
    with explainer(demo.published, demo.warehouse / "landed", 0) as explain_one:
        for mart, name in counts:
            schema, grain = marts[mart]
            for column in (name, f"human_{name}"):
                if (mart, column) not in columns:
                    continue
                rows = demo.query(
                    f"select {column}, {', '.join(grain)} from {schema}.{mart}"
                    f" where {' and '.join(f'{key} is not null' for key in grain)}"
                    f" order by {column} desc nulls last, {', '.join(grain)}"
                )
                for value, *row in (rows[0], rows[len(rows) // 2]):
                    keys = {key: str(said) for key, said in zip(grain, row, strict=True)}
                    part = explain_one(f"{mart}.{column}", keys).parts[0]
                    assert part.value == value
                    if not part.without_lines:
                        assert part.count is not None and part.recount == value, (mart, column, keys)
                        explained_counts.add((mart, name))
    assert explained_counts == set(counts)


def test_what_is_said_to_be_counted_gives_the_number(demo: Demo) -> None:
    """Where the key of the row is no column of the fact, too."""
    value, delivery, network = demo.query(
        "select share_count, delivery_id, network from reports.rpt_sharing order by all desc limit 1"
    )[0]
    with explain(demo, "rpt_sharing.share_count", limit=0, delivery_id=delivery, network=network) as found:
        (part,) = found.parts
    count = part.count
    counted = demo.query(
        f"select {count.measure} from core.{count.fact} as counted"
        f" where delivery_id = {delivery} and ({count.where}) and {count.of_row}"
    )
    assert counted == [(value,)] and value > 0


def test_bits_are_those_of_the_sized_messages(demo: Demo) -> None:
    rows = demo.query(
        "select bits_per_second, sized_message_count, bucket_at from reports.rpt_delivery_throughput"
        " order by bits_per_second desc nulls last, bucket_at limit 3"
    )
    assert rows[0][0] > 0
    sizes = dict(demo.query("select delivery_id, message_size_bytes from core.dim_deliveries"))
    for value, message_count, hour in rows:
        with explain(demo, "rpt_delivery_throughput.bits_per_second", bucket_at=hour) as found:
            (part,) = found.parts
            messages = [json.loads(str(line.line)) for line in part.lines]
        assert len(messages) == message_count
        bits = sum(sizes[row["delivery_id"]] * 8 for row in messages)
        assert part.value == part.recount == value == pytest.approx(bits / 3600)


def test_any_columns_may_choose_the_row(demo: Demo) -> None:
    """What the keys of the row are, the row says."""
    label, number, value = demo.query(
        "select path_label, step_number, path_visitor_count from reports.rpt_web_paths where position = 2"
    )[0]
    for keys in ({"path_label": label, "position": 2}, {"path_label": label, "step_number": number}):
        with explain(demo, "rpt_web_paths.path_visitor_count", limit=0, **keys) as found:
            assert found.parts[0].recount == found.parts[0].value == value > 0


def test_an_id_may_be_signed(demo: Demo, deliveries: list[int]) -> None:
    delivery = max(deliveries)
    assert 2**31 <= delivery < 2**32
    with explain(demo, f"{MART}.sent_at", limit=0, delivery_id=delivery - 2**32) as found:
        assert found.keys == {"delivery_id": delivery}
    ((url,),) = demo.query(f"select max(url_id) from core.fct_clicks where url_id < {2**32}")
    with explain(demo, "fct_clicks", limit=0, url_id=url - 2**32 if url >= 2**31 else url) as found:
        assert found.keys == {"url_id": url}


def test_a_percentile_is_found_again_in_its_lines(demo: Demo) -> None:
    """By sorting: the first time by which so many of the counted lines had come."""
    rows = demo.query(
        "select seconds_to_reach, delivery_id, activity, percentile from reports.rpt_tracking_statistics order by all"
    )
    for value, delivery, activity, percentile in rows[::29]:
        keys = {"delivery_id": delivery, "activity": activity, "percentile": percentile}
        with explain(demo, "rpt_tracking_statistics.seconds_to_reach", **keys) as found:
            (part,) = found.parts
            times = [line.line for line in part.lines if line.line]
        assert part.value == part.recount == value
        assert len(times) == part.line_count > 0


def test_the_lines_behind_a_recipient(demo: Demo) -> None:
    with (demo.landing / "truth" / "events_by_recipient.csv").open() as stream:
        busy = [row for row in csv.DictReader(stream) if row["event_count"] != "0"]
    rows = sorted(busy, key=lambda row: -int(row["event_count"]))
    for row in rows[:: len(rows) // 5]:
        with explain(demo, "profile_tracking", recipient_id=row["recipient_id"]) as found:
            (part,) = found.parts
            lines = list(part.lines)
        assert part.line_count == len(lines) == int(row["event_count"])
        messages = {said(line).message for line in lines} - {0}
        known = demo.query(f"select message_id from core.fct_messages where recipient_id = {row['recipient_id']}")
        assert messages <= {message for (message,) in known}


@pytest.mark.parametrize("target", ["fct_esp_events", "fct_esp_events.event_kind"])
def test_events_that_are_no_tracking_events_have_their_lines(demo: Demo, target: str) -> None:
    """Deliveries, bounces and acts that our own logs tell of, too, are in no other fact."""
    ((kind, count),) = demo.query(
        "select event_kind, count(*) from core.fct_esp_events"
        " where event_key not in (select event_key from core.fct_tracking_events) group by 1 order by 2 desc limit 1"
    )
    with explain(demo, target, event_kind=kind) as found:
        (part,) = found.parts
        lines = list(part.lines)
    assert part.value == part.recount == part.line_count == len(lines) >= count
    assert all(line.line and line.source_file.startswith("esp_events/") for line in lines)
    assert part.count == Count("fct_esp_events", f"event_kind = '{kind}'", "count(*)")
    assert list(disagreements(found)) == []


def test_lineage_reaches_the_raw_fields(demo: Demo, deliveries: list[int]) -> None:
    with explain(demo, f"{MART}.human_total_click_count", limit=0, delivery_id=deliveries[-1]) as found:
        fields = {(field.source, field.column): field for field in found.fields}
        assert fields["tracked_urls", "url_type"].models[-1] == "stg_reference__tracked_urls"
        assert fields["tracked_urls", "url_type"].models[0] == MART
        assert ("tracking_logs", "user_agent") in fields, "the verdict rests on it"
        assert any("url_type = 1" in condition for _, condition in found.filters)
        assert f"reports.{MART}" in found.models
        text = json.dumps(found.models)
    assert str(demo.warehouse) not in text, "no path of this machine is published"


def test_events_of_a_profile_have_the_lineage_of_all_their_columns(demo: Demo) -> None:
    (recipient,) = demo.query("select max(recipient_id) from reports.profile_tracking")[0]
    with explain(demo, "profile_tracking", limit=0, recipient_id=recipient) as found:
        whole = {(field.source, field.column) for field in found.fields}
    assert {("tracking_logs", "user_agent"), ("tracked_urls", "label"), ("messages", "recipient_id")} <= whole
    for column in ("url", "occurred_at", "is_machine"):
        with explain(demo, f"profile_tracking.{column}", limit=0, recipient_id=recipient) as one:
            assert {(field.source, field.column) for field in one.fields} <= whole
            assert set(one.filters) <= set(found.filters) and one.models.keys() <= found.models.keys()


@pytest.mark.parametrize(
    ("target", "keys", "error", "words"),
    [
        ("rpt_tracking_indicator.total_click_count", {}, UnknownName, "did you mean rpt_tracking_indicators"),
        (f"{MART}.recipient_clicks", {}, UnknownName, "did you mean recipient_click_count"),
        (f"{MART}.total_click_count", {"delivery_id": 5}, NotThere, "no row for delivery_id 5"),
        (f"{MART}.total_click_count", {"delivery_id": "x"}, UnknownName, "'x' is no BIGINT"),
        (f"{MART}.total_click_count", {}, UnknownName, "--delivery …"),
        (MART, {"delivery_id": 5}, UnknownName, "name a column"),
        ("rpt_url_click_streams.click_count", {"mail_domain": "x"}, UnknownName, "no column 'mail_domain'"),
        ("profile_tracking", {"recipient_id": 5}, NotThere, "no row for recipient_id 5"),
        ("profile_tracking", {}, UnknownName, "--recipient ID"),
        (f"{MART}.total_click_count; drop table x", {}, UnknownName, "has no column"),
    ],
)
def test_what_cannot_be_explained(demo: Demo, target: str, keys: dict, error: type, words: str) -> None:
    with pytest.raises(error, match=words.replace("(", r"\(")), explain(demo, target, **keys):
        pass


# -- the command


@pytest.fixture(scope="module")
def bare(demo: Demo, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A warehouse folder with the published version and the landed rows, and nothing else."""
    path = tmp_path_factory.mktemp("bare")
    for name in ("published", "landed"):
        (path / name).symlink_to(demo.warehouse / name)
    return path


def mtw(bare: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("MTW_")}
    environment |= {"MTW_WAREHOUSE_DIR": str(bare), "MTW_LANDING_DIR": "/nonexistent", "COLUMNS": "120"}
    command = [str(Path(sys.executable).with_name("mtw")), "explain", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)


def test_the_table_says_how_many_of_how_many(bare: Path, demo: Demo, logged: int) -> None:
    total = published(demo, logged)["total_click_count"]
    done = mtw(bare, f"{MART}.total_click_count", "--delivery", str(logged), "--limit", "2")
    assert done.returncode == 0, done.stderr
    assert f"Raw lines: 2 of {total:,}" in done.stdout
    assert f"{total}: the same" in done.stdout
    for words in (
        "Events of URL type 1 (email click).",
        "D1 D2",
        "landed.tracked_urls",
        "url_type = 1",
        "tracking_logs/",
    ):
        assert words in done.stdout, words


def test_lines_that_are_dropped_are_said_to_be(bare: Path) -> None:
    arguments = ("rpt_web_hits_by_outcome.web_hit_count", "--key", "outcome=opted_out")
    done = mtw(bare, *arguments)
    assert done.returncode == 0, done.stderr
    said = "hits with this outcome are dropped from the facts, and only counted."
    assert f"No raw lines: {said}" in done.stdout
    (part,) = json.loads(mtw(bare, *arguments, "--format", "json").stdout)["parts"]
    assert part["without_lines"] == said and part["lines"] == [] and part["value"] > 0


def test_where_nothing_says_what_is_counted_that_is_said(bare: Path, logged: int) -> None:
    done = mtw(bare, "rpt_delivery_rates.platform_delivery_count", "--delivery", str(logged))
    assert done.returncode == 0, done.stderr
    assert "Raw fields it is made of" in done.stdout
    assert "No raw lines: nothing says which rows this number counts." in done.stdout


def test_json_has_everything(bare: Path, demo: Demo, logged: int) -> None:
    done = mtw(bare, f"{MART}.recipient_click_count", "--delivery", str(logged), "--format", "json")
    found = json.loads(done.stdout)
    (part,) = found["parts"]
    assert part["value"] == len({line["message_id"] for line in part["lines"]})
    assert part["lines_total"] == part["lines_shown"] == len(part["lines"])
    assert "\t" in part["lines"][0]["line"], "as it stood in the file"
    assert found["models"] and found["fields"] and found["filters"]


def test_csv_has_one_row_for_each_line(bare: Path, demo: Demo, deliveries: list[int]) -> None:
    done = mtw(bare, f"{MART}.raw_reactivity", "--delivery", str(deliveries[-1]), "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    clicks = [row for row in rows if row["column"] == "recipient_click_count"]
    assert len(clicks) == int(clicks[0]["lines_total"])
    assert len({row["counted"] for row in clicks}) == int(clicks[0]["value"])


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("nothing.at_all",), 2), ((f"{MART}.nothing", "--delivery", "1"), 2), ((MART,), 2),
        ((f"{MART}.sent_at", "--delivery", "5"), 1), ((f"{MART}.sent_at", "--key", "x"), 2),
        (("profile_tracking", "--recipient", "5"), 1),
    ],
)  # fmt: skip
def test_exit_codes_with_one_line(bare: Path, arguments: tuple[str, ...], code: int) -> None:
    done = mtw(bare, *arguments)
    assert (done.returncode, done.stdout) == (code, "")
    assert len(done.stderr.strip().splitlines()) == 1


def test_nothing_published_yet(tmp_path: Path) -> None:
    done = mtw(tmp_path, f"{MART}.sent_at", "--delivery", "1")
    assert (done.returncode, "run: mtw run" in done.stderr) == (1, True)


def test_marts_of_which_the_lines_say_something_else_are_named(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of events without a column, by the mart alone."""
    import contextlib

    from click.testing import CliRunner

    from orchestration import cli

    @contextlib.contextmanager
    def disagreeing(*_: object) -> Iterator[Explanation]:
        parts = [Part("m", column, 2, count=Count("f", "true", "count(*)"), recount=1) for column in ("", "c")]
        yield Explanation("m", "", {}, 1, datetime(2024, 1, 1), None, parts, [], [], {})

    monkeypatch.setattr("orchestration.explain.explained", disagreeing)
    monkeypatch.setenv("MTW_WAREHOUSE_DIR", str(bare))
    done = CliRunner().invoke(cli.main, ["explain", "m", "--format", "csv"])
    assert (done.exit_code, "published value of m, m.c; run mtw verify" in done.stderr) == (1, True)


# -- hostile text

HOSTILE = '=cmd|"/c calc"!A1\x1b[2J'


def hostile() -> Explanation:
    part = Part(
        "m", "c", HOSTILE, count=Count("fct_tracking_events", "true", "count(*)"), recount=HOSTILE, line_count=1,
        lines_shown=1, lines=iter([RawLine("+file", 1, HOSTILE, "@x")]),
    )  # fmt: skip
    return Explanation("m", "c", {}, 1, datetime(2024, 1, 1), None, [part], [], [], {})


def test_no_cell_of_csv_is_a_formula() -> None:
    stream = io.StringIO()
    write_csv(stream, hostile())
    _, row = csv.reader(io.StringIO(stream.getvalue()))
    assert not [cell for cell in row if cell.startswith(("=", "+", "-", "@", "\t"))]
    assert row[-1] == f"'{HOSTILE}"


@pytest.mark.parametrize("value", [-1, -0.5, Decimal("-2.50")])
def test_numbers_of_csv_stay_numbers(value: object) -> None:
    stream = io.StringIO()
    part = Part("m", "c", value, count=Count("f", "true", "sum(x)"), lines=iter([RawLine("file", 1, "text", value)]))
    write_csv(stream, Explanation("m", "c", {}, 1, datetime(2024, 1, 1), None, [part], [], [], {}))
    _, row = csv.reader(io.StringIO(stream.getvalue()))
    assert (row[2], row[-2]) == (str(value), str(value))


def test_json_keeps_the_text() -> None:
    stream = io.StringIO()
    write_json(stream, hostile())
    assert "\x1b" not in stream.getvalue()
    assert json.loads(stream.getvalue())["parts"][0]["lines"][0]["line"] == HOSTILE


def test_a_terminal_gets_no_escape_sequence(capsys: pytest.CaptureFixture[str]) -> None:
    from rich.console import Console

    from orchestration.explain_output import print_table

    print_table(Console(highlight=False, markup=False, width=100), hostile())
    assert "\x1b[2J" not in capsys.readouterr().out
