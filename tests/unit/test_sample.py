"""The sample generator: its format, its determinism, and its truth against a second, plain reading of the files.

The reader (tests/samplereading.py) shares nothing with the generator nor with the pipeline: it goes line by line
through the files, in plain Python, and the indicators are computed with dictionaries and sets.
"""

import csv
import html
import itertools
import re
import tracemalloc
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import pytest

from log_ingest.sample import SampleSummary, write_sample
from tests.samplereading import (
    OPT_OUT,
    TRANSACTION,
    WEB,
    Event,
    Reading,
    Reference,
    Row,
    decompressed,
    delivery_of,
    is_good,
    judge,
    milliseconds,
    newest_rows,
    read_all,
    type_of,
)

COUNTED_TYPES = (1, 2, 3, 6, 11)


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> SampleSummary:
    return write_sample(tmp_path_factory.mktemp("sample"), events=6_000, seed=7)


@pytest.fixture(scope="module")
def landed(sample: SampleSummary) -> Reference:
    """The newest reference rows as the extracts have them."""
    keys = {"deliveries": 1, "messages": 1, "tracked_urls": 2, "recipients": 1, "mail_domains": 1, "web_tags": 1}
    return {entity: newest_rows(sample.directory, entity, size) for entity, size in keys.items()}


@pytest.fixture(scope="module")
def told(sample: SampleSummary, landed: Reference) -> tuple[Reading, Reference]:
    """All acts, and the reference rows with the outcomes that the providers tell."""
    reference = {entity: {key: dict(row) for key, row in rows.items()} for entity, rows in landed.items()}
    return read_all(sample.directory, reference), reference


@pytest.fixture(scope="module")
def reading(told: tuple[Reading, Reference]) -> Reading:
    return told[0]


@pytest.fixture(scope="module")
def reference(told: tuple[Reading, Reference]) -> Reference:
    return told[1]


@pytest.fixture(scope="module")
def rules(reading: Reading, reference: Reference) -> list[str]:
    return judge(reading.events, reference)


def table(root: Path, name: str) -> list[Row]:
    with (root / "truth" / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def half_up(ratio: Fraction) -> int:
    return (ratio + Fraction(1, 2)).__floor__()


def test_indicators_agree_with_a_plain_reading(
    sample: SampleSummary,
    reading: Reading,
    rules: list[str],
    reference: Reference,
) -> None:
    messages, urls = reference["messages"], reference["tracked_urls"]
    truth = {int(row["delivery_id"]): row for row in table(sample.directory, "rpt_tracking_indicators.csv")}
    typed: dict[int, list[tuple[Event, int, str]]] = defaultdict(list)
    for event, rule in zip(reading.events, rules, strict=True):
        delivery = delivery_of(event, messages)
        typed[delivery].append((event, type_of(event, delivery, urls), rule))
    declared = {int(row["delivery_id"]) for row in reference["deliveries"].values()}
    assert set(truth) == declared | set(typed)

    sent: dict[int, list[Row]] = defaultdict(list)
    for row in messages.values():
        sent[int(row["delivery_id"])].append(row)
    for delivery, expected in truth.items():
        rows = sent[delivery]
        left = [row for row in rows if row["status"] != "0"]
        text = sum(row["content_format"] == "text" for row in left)
        values: dict[str, object] = {
            "to_deliver_count": len(left),
            "success_count": sum(row["status"] in ("1", "3", "4") and row["is_seed"] == "false" for row in rows),
            "error_count": sum(row["status"] == "2" for row in rows),
            "complaint_count": sum(row["status"] == "2" and row["failure_reason"] == "8" for row in rows),
        }
        for prefix, is_counted in (("", lambda rule: True), ("human_", lambda rule: not rule)):
            values |= {prefix + name: count for name, count in event_counts(typed[delivery], is_counted).items()}
        opens, total = int(str(values["recipient_open_count"])), int(str(values["total_open_count"]))
        clicks = int(str(values["recipient_click_count"]))
        scale = Fraction(len(left), len(left) - text) if len(left) > text else Fraction(0)
        estimated = half_up(opens * scale)
        values["estimated_recipient_open_count"] = estimated
        values["estimated_total_open_count"] = half_up(total * scale)
        values["forward_estimate"] = int(str(values["person_click_count"])) - clicks
        for name, expected_value in values.items():
            assert expected[name] == str(expected_value), (delivery, name)
        for name, whole in (("raw_reactivity", opens), ("estimated_reactivity", estimated)):
            rate = expected[name]
            assert (rate == "") if whole == 0 else abs(Fraction(rate) - Fraction(clicks, whole)) < Fraction(1, 10**11)

        declaration = reference["deliveries"].get((str(delivery),))
        assert expected["delivery_label"] == (declaration["label"] if declaration else "")
        first = min((row["event_at"] for row in rows), default="")
        assert expected["sent_at"] == ((declaration["sent_at"] if declaration else "") or first)


def event_counts(events: list[tuple[Event, int, str]], is_counted: Callable[[str], bool]) -> dict[str, int]:
    kept = [(event, kind) for event, kind, rule in events if is_counted(rule)]
    return {
        "recipient_open_count": len({e.message for e, kind in kept if kind in COUNTED_TYPES} - {0}),
        "total_open_count": sum(e.url == 1 for e, _ in kept),
        "recipient_click_count": len({e.message for e, kind in kept if kind == 1} - {0}),
        "person_click_count": len({e.visitor for e, kind in kept if kind == 1} - {""}),
        "total_click_count": sum(kind == 1 for _, kind in kept),
        "opt_out_click_count": sum(kind == 3 for _, kind in kept),
        "mirror_page_click_count": sum(kind == 6 for _, kind in kept),
    }


def test_click_streams_agree_with_a_plain_reading(
    sample: SampleSummary, reading: Reading, reference: Reference
) -> None:
    smallest: dict[tuple[str, str], int] = {}
    for row in reference["tracked_urls"].values():
        line = row["delivery_id"], row["label"]
        smallest[line] = min(smallest.get(line, 2**33), int(row["url_id"]))
    counts: dict[int, Counter[int]] = defaultdict(Counter)
    for event in reading.events:
        if event.url != 1:
            delivery = delivery_of(event, reference["messages"])
            found = reference["tracked_urls"].get((str(event.url), str(delivery)))
            counts[delivery][smallest[str(delivery), found["label"]] if found else event.url] += 1
    expected = []
    for delivery in sorted(counts):
        ranked = sorted(counts[delivery].items(), key=lambda item: (-item[1], item[0]))
        expected += [(delivery, url, count, rank) for rank, (url, count) in enumerate(ranked, start=1)]
    pages = {event.url: event.known_type for event in reading.events if event.known_type in (WEB, TRANSACTION)}
    labels = {int(row["url_id"]): row["label"] for row in reference["web_tags"].values()}
    made = {url for url in pages if url >= 2**52}
    rows = table(sample.directory, "rpt_url_click_streams.csv")
    assert {row["label"] for row in rows if int(row["url_id"]) in made} == {"spring", "voucher"}
    names = ("delivery_id", "url_id", "click_count", "position")
    assert [tuple(int(row[name]) for name in names) for row in rows] == expected
    for row in rows:
        share = Fraction(int(row["click_count"]), counts[int(row["delivery_id"])].total())
        assert abs(Fraction(row["click_share"]) - share) < Fraction(1, 10**11)
        found = reference["tracked_urls"].get((row["url_id"], row["delivery_id"]))
        if int(row["url_id"]) not in pages:
            assert row["label"] == (found["label"] if found else "")
            expected_kind = (found["category"], found["url_type"]) if found else ("", "")
            assert (row["category"], row["url_type"]) == expected_kind
        else:
            url = int(row["url_id"])
            assert int(row["url_type"]) == pages[url]
            assert url in made or row["label"] == labels[url]


def test_control_totals_gaps_and_quarantine_agree_with_a_plain_reading(sample: SampleSummary, reading: Reading) -> None:
    *files, totals = table(sample.directory, "control_totals.csv")
    names = ("lines", "accepted", "duplicate", "quarantined", "blank", "held_bytes")
    logs = {path: count for path, count in reading.control.items() if path.startswith("tracking_logs/")}
    assert [row["path"] for row in files] == list(logs)
    for row in files:
        assert {name: int(row[name]) for name in names} == {n: logs[row["path"]][n] for n in names}
    assert [int(totals[name]) for name in names] == [sum(count[name] for count in logs.values()) for name in names]
    assert totals["path"] == "totals"
    assert totals["held_files"] == "1"
    copies = {row["path"] for row in files if row["is_whole_file_copy"] == "true"}
    for row in table(sample.directory, "source_totals.csv"):
        own = [n for path, n in reading.control.items() if path.startswith(row["source"]) and path not in copies]
        for name in (*names, "not_tracking"):
            assert int(row[name]) == sum(count[name] for count in own), (row["source"], name)
    assert sum(count["lines"] for count in reading.control.values()) == sample.lines
    dropped = reading.outcomes["unattributed"] + reading.outcomes["opted_out"]
    assert sample.events == len(reading.events) + dropped
    by_source = {row["source"]: int(row["event_count"]) for row in table(sample.directory, "events_by_source.csv")}
    assert by_source == Counter(event.source for event in reading.events)
    assert sorted(reading.quarantined) == [
        (row["path"], int(row["line_number"])) for row in table(sample.directory, "quarantined_lines.csv")
    ]

    missing = []
    for server, pointers in sorted(reading.pointers.items()):
        absent = sorted(set(range(min(pointers), max(pointers))) - pointers)
        if absent:
            missing.append((server, str(absent[0]), str(absent[-1]), str(len(absent))))
    assert missing == [tuple(row.values()) for row in table(sample.directory, "gaps.csv")]


def test_recipients_and_rules_agree_with_a_plain_reading(
    sample: SampleSummary,
    reading: Reading,
    rules: list[str],
    reference: Reference,
) -> None:
    everyone: Counter[int] = Counter()
    people: Counter[int] = Counter()
    for event, rule in zip(reading.events, rules, strict=True):
        row = reference["messages"].get((str(event.message),))
        who = event.recipient or (int(row["recipient_id"]) if row else 0)
        if who:
            everyone[who] += 1
            people[who] += not rule
    rows = table(sample.directory, "events_by_recipient.csv")
    assert 150 <= len(rows) <= 420
    assert {row["recipient_id"] for row in rows} <= {key for (key,) in reference["recipients"]}
    for row in rows:
        who = int(row["recipient_id"])
        assert (int(row["event_count"]), int(row["human_event_count"])) == (everyone[who], people[who])
    by_rule = {row["rule"]: int(row["event_count"]) for row in table(sample.directory, "machine_by_rule.csv")}
    assert by_rule == {rule: Counter(rules)[rule] for rule in by_rule}
    assert all(by_rule.values())


def test_people_never_look_like_a_burst(reading: Reading, rules: list[str]) -> None:
    clicks: dict[int, list[tuple[int, str]]] = defaultdict(list)
    for event, rule in zip(reading.events, rules, strict=True):
        if event.url != 1 and event.message and event.known_type not in (WEB, TRANSACTION):
            clicks[event.message].append((event.time_ms, rule))
    for acts in clicks.values():
        acts.sort()
        for (before, first), (after, second) in itertools.pairwise(acts):
            assert (first and second) or after - before >= 3000


def test_every_line_but_the_corrupt_ones_has_the_published_form(sample: SampleSummary, reading: Reading) -> None:
    corrupt = [
        row["kind"] for row in table(sample.directory, "quarantined_lines.csv") if "tracking_logs" in row["path"]
    ]
    assert sorted(corrupt) == ["control_character", "missing_field", "overflow", "sign", "underscore"]
    lines = list(good_lines(sample.directory))
    assert {len(fields) for fields in lines} == {11, 12}
    assert {len(fields[1].partition(".")[2]) for fields in lines} == {2, 3}
    assert {fields[7] for fields in lines} == {"h", "t"}
    assert all(len(fields[8]) <= 64 for fields in lines)
    assert {fields[2] in ("", "0") for fields in lines} == {True, False}
    assert {"", "0"} <= {fields[column] for fields in lines for column in (2, 3)}
    assert any("," in fields[10] for fields in lines)
    assert any(fields[10].startswith("2001:db8:") for fields in lines)


def test_some_lines_arrive_days_late(sample: SampleSummary) -> None:
    times = [milliseconds(fields[1]) for fields in good_lines(sample.directory)]
    assert sum(earlier - later > 86_400_000 for earlier, later in itertools.pairwise(times)) >= 5


def good_lines(root: Path) -> Iterator[list[str]]:
    for path in sorted((root / "tracking_logs").rglob("*.log*")):
        for line in decompressed(path).decode("latin-1").split("\n")[:-1]:
            if is_good(line):
                yield line.split("\t")


def test_files_are_named_after_their_first_pointer_and_continue_each_other(sample: SampleSummary) -> None:
    for folder, server in (("redir1", "5"), ("redir2", "6")):
        paths = sorted((sample.directory / "tracking_logs" / folder).glob("0x*"))
        assert len(paths) >= 5
        assert {path.suffix for path in paths} == {".log", ".gz", ".zst"}
        assert paths[-1].suffix == ".log"
        next_pointer = None
        for path in paths:
            lines = [line for line in decompressed(path).decode("latin-1").split("\n")[:-1] if line]
            first, last = (int(line.split("\t")[0][3:], 16) for line in (lines[0], lines[-1]))
            assert all(line.startswith(f"{server}0x") for line in lines)
            assert path.name.startswith(f"0x{first:016X}.log")
            assert next_pointer is None or first <= next_pointer
            next_pointer = last + 1


def test_reference_tells_the_whole_story(sample: SampleSummary, landed: Reference) -> None:
    messages = list(landed["messages"].values())
    assert {int(row["status"]) for row in messages} == set(range(9))
    assert {int(row["failure_reason"]) for row in messages} == {*range(13), 14, 15, 16, 17, 20, 25, 127}
    assert {row["content_format"] for row in messages} == {"html", "text", "multipart"}
    assert {row["is_seed"] for row in messages} == {row["is_control"] for row in messages} == {"true", "false"}
    assert min(int(row["message_id"]) for row in messages) < 2**31 < max(int(r["message_id"]) for r in messages)
    for entity in ("deliveries", "messages", "tracked_urls"):
        raw = next((sample.directory / "reference" / entity).glob("*full*")).read_text(encoding="utf-8")
        assert re.search(r"^-\d+,", raw, re.MULTILINE), entity
    deliveries = list(landed["deliveries"].values())
    assert len(deliveries) == 12
    assert sum(row["is_proof"] == "true" for row in deliveries) == 1
    assert sum(row["sent_at"] == "" for row in deliveries) == 1
    for row in deliveries:
        hrefs = [url["source_url"] for url in landed["tracked_urls"].values()
                 if url["delivery_id"] == row["delivery_id"]]  # fmt: skip
        content = html.unescape(row["html_content"]) or row["text_content"]
        assert all(href in content for href in hrefs)
    listed = {domain for (domain,) in landed["mail_domains"]}
    assert {row["address"].partition("@")[2] for row in messages} - listed
    recipients = {key for (key,) in landed["recipients"]}
    assert {row["recipient_id"] for row in messages} <= recipients


def test_acts_told_by_providers_agree_with_a_plain_reading(
    sample: SampleSummary, reading: Reading, reference: Reference
) -> None:
    counts: dict[tuple[int, str], Counter[str]] = defaultdict(Counter)
    for event in reading.events:
        delivery = delivery_of(event, reference["messages"])
        kind = type_of(event, delivery, reference["tracked_urls"])
        if kind not in (WEB, TRANSACTION):
            act = "open" if event.url == 1 else "opt_out" if kind == OPT_OUT else "click"
            counts[delivery, act]["esp" if event.source == "esp_event" else "own"] += 1
    rows = table(sample.directory, "rpt_source_reconciliation.csv")
    assert {(int(row["delivery_id"]), row["kind"]) for row in rows} == set(counts)
    for row in rows:
        key = int(row["delivery_id"]), row["kind"]
        both = reading.both[key]
        found = counts[key]["own"] - both, counts[key]["esp"], both
        assert tuple(int(row[name]) for name in ("only_own_count", "only_esp_count", "both_count")) == found
    assert {event.source for event in reading.events} == {"tracking_log", "access_log", "esp_event"}

    failed: dict[int, Counter[str]] = defaultdict(Counter)
    for message in reference["messages"].values():
        count = failed[int(message["delivery_id"])]
        count["told"] += "told_by" in message
        count[message["failure_reason"] if message["status"] == "2" else ""] += 1
    for row in table(sample.directory, "bounces.csv"):
        count = failed[int(row["delivery_id"])]
        soft = sum(count[reason] for reason in ("2", "3", "4", "5", "6", "20"))
        assert tuple(map(int, row.values()))[1:] == (count["1"], soft, count["8"], count["told"])
    assert sum(count["told"] > 0 for count in failed.values()) == 4


def test_page_hits_agree_with_a_plain_reading(sample: SampleSummary, reading: Reading) -> None:
    rows = {int(row["delivery_id"]): row for row in table(sample.directory, "page_visits.csv")}
    hits = [event for event in reading.events if event.known_type in (WEB, TRANSACTION)]
    bought = [event for event in hits if event.known_type == TRANSACTION]
    assert {event.delivery for event in hits} <= rows.keys()
    for delivery, row in rows.items():
        assert int(row["page_visit_count"]) == sum(event.delivery == delivery for event in hits)
        own = [event for event in bought if event.delivery == delivery]
        assert int(row["transaction_count"]) == len(own)
        assert round(float(row["transaction_amount"]) * 100) == sum(event.cents for event in own)
        assert int(row["article_count"]) == sum(event.articles for event in own)
    assert sum(event.cents for event in bought) > 0
    outcomes = {
        row["outcome"]: int(row["web_hit_count"]) for row in table(sample.directory, "rpt_web_hits_by_outcome.csv")
    }
    assert outcomes == dict(reading.outcomes)
    assert all(outcomes.values())


def test_shares_agree_with_a_plain_reading(
    sample: SampleSummary, reading: Reading, rules: list[str], reference: Reference
) -> None:
    found: dict[tuple[int, str], Counter[str]] = defaultdict(Counter)
    for event, rule in zip(reading.events, rules, strict=True):
        delivery = delivery_of(event, reference["messages"])
        row = reference["tracked_urls"].get((str(event.url), str(delivery)))
        names = [row["category"]] if row and row["category"] in ("facebook", "twitter", "linkedin", "email") else []
        kind = "share_count"
        if event.url == 1 and "ap_category=" in event.params:
            params = dict(part.split("=", 1) for part in event.params.split("&"))
            names, kind = [params["ap_category"]], "shared_open_count"
            delivery = int(params["ap_deliveryId"], 16)
        for name in names:
            found[delivery, name].update([kind, *([] if rule else [f"human_{kind}"])])
    rows = table(sample.directory, "rpt_sharing.csv")
    assert {(int(row["delivery_id"]), row["network"]) for row in rows} == set(found)
    for row in rows:
        count = found[int(row["delivery_id"]), row["network"]]
        assert {name: int(row[name]) for name in list(row)[2:]} == {name: count[name] for name in list(row)[2:]}
    assert sum(count["shared_open_count"] for count in found.values()) > 5


def test_subscriptions_agree_with_a_plain_reading(sample: SampleSummary) -> None:
    rows = newest_rows(sample.directory, "subscriptions", 4)
    actions: dict[str, Counter[str]] = defaultdict(Counter)
    state: dict[tuple[str, str], str] = {}
    for row in sorted(rows.values(), key=lambda row: row["occurred_at"]):
        actions[row["service_id"]][row["action"]] += 1
        state[row["service_id"], row["recipient_id"]] = row["action"]
    for row in table(sample.directory, "subscriptions.csv"):
        service = row["service_id"]
        left = sum(action == "1" for (name, _), action in state.items() if name == service)
        found = actions[service]["1"], actions[service]["0"], left
        assert tuple(map(int, row.values()))[1:] == found
        assert found[1] > 0


def contents(root: Path) -> dict[str, tuple[bytes, int]]:
    return {
        str(path.relative_to(root)): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def test_the_same_seed_gives_the_same_bytes_and_times(tmp_path: Path) -> None:
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        write_sample(tmp_path / name, events=3_000, seed=seed)
    first = contents(tmp_path / "a")
    assert first == contents(tmp_path / "b")
    other = contents(tmp_path / "c")
    for name in (
        "tracking_logs/redir1/0x000000000FD7E000.log",
        "access_logs/shop-nginx/access-0001.log.gz",
        "access_logs/links-apache/access-0001.log.zst",
        *(f"esp_events/{provider}/0002.jsonl" for provider in ("sendgrid", "mailgun", "ses", "postmark")),
        "reference/subscriptions/subscriptions_20240528_incremental.csv",
        "truth/page_visits.csv",
    ):
        assert first[name] != other[name], name


def test_sizes_are_met_and_progress_is_told(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    summary = write_sample(tmp_path / "out", events=30_000, progress=lambda done, goal: told.append((done, goal)))
    assert abs(summary.events - 30_000) < 1_500
    assert told[-1][0] <= summary.events  # what only providers tell is no line of a log
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    on_disk = sum(path.stat().st_size for path in (tmp_path / "out").rglob("*") if path.is_file())
    assert on_disk < 15_000_000


def test_memory_does_not_follow_the_number_of_events(tmp_path: Path) -> None:
    tracemalloc.start()
    try:
        write_sample(tmp_path / "out", events=300_000)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # The lines alone are 70 MB, the messages' rows 25 MB.
    assert peak < 60_000_000


def test_a_used_folder_and_a_wrong_size_are_refused(tmp_path: Path) -> None:
    write_sample(tmp_path, events=1_000)
    with pytest.raises(FileExistsError, match="empty folder"):
        write_sample(tmp_path, events=1_000)
    for events in (999, 100_000_001):
        with pytest.raises(ValueError, match="between"):
            write_sample(tmp_path / "new", events=events)


def test_what_a_stopped_run_left_is_cleared(tmp_path: Path) -> None:
    (tmp_path / ".sample.partial" / "reference").mkdir(parents=True)
    write_sample(tmp_path, events=1_000)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "access_logs", "esp_events", "reference", "tracking_logs", "truth"
    ]  # fmt: skip
