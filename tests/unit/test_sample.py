"""The sample generator: its format, its determinism, and its truth against a second, plain reading of the files.

The reader below shares nothing with the generator nor with the pipeline: it goes line by line through the files, in
plain Python, and computes the indicators with dictionaries and sets.
"""

import csv
import gzip
import html
import io
import itertools
import re
import tracemalloc
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from fractions import Fraction
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import zstandard

from log_ingest.sample import SampleSummary, write_sample

# The published validity pattern, translated from POSIX character classes; Python's $ would accept a newline.
ALNUM, PRINT = "[0-9A-Za-z]", r"[\x20-\x7e]"
PUBLISHED = re.compile(
    rf"^{ALNUM}{{2}}x{ALNUM}*\t[0-9T:\.-]*\t[0-9a-fA-F]*\t[0-9a-fA-F]*\t[0-9a-fA-F]*\t{ALNUM}*\t"
    rf"[0-9A-Za-z-]*\t{PRINT}*\t{PRINT}*\t{PRINT}*\t"
    rf"([0-9a-fA-F\.:]*|[0-9a-fA-F\.:]*\t{PRINT}*|[0-9a-fA-F\.:]*,{PRINT}*)\Z"
)
STRICT_ID = re.compile(r"[0-9a-f]{0,16}\Z")
BOTS = ("Barracuda Sentinel", "proofpoint-urldefense", "bingbot", "Googlebot", "Slackbot-LinkExpanding")
PREFETCH = "Chrome/42.0.2311.135 Safari/537.36 Edge/12.246 Mozilla/5.0"
COUNTED_TYPES = (1, 2, 3, 6, 11)

Row = dict[str, str]


@dataclass(frozen=True)
class Event:
    """One accepted line, as the test reads it."""

    time_ms: int
    message: int
    delivery: int
    url: int
    visitor: str
    agent: str


@dataclass
class Reading:
    """Everything the test's own reader finds in a landing folder."""

    events: list[Event] = field(default_factory=list)
    control: dict[str, Counter[str]] = field(default_factory=dict)
    quarantined: list[tuple[str, int]] = field(default_factory=list)
    pointers: dict[str, set[int]] = field(default_factory=lambda: defaultdict(set))


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> SampleSummary:
    return write_sample(tmp_path_factory.mktemp("sample"), events=6_000, seed=7)


@pytest.fixture(scope="module")
def reading(sample: SampleSummary) -> Reading:
    return read_logs(sample.directory)


@pytest.fixture(scope="module")
def reference(sample: SampleSummary) -> dict[str, dict[tuple[str, ...], Row]]:
    keys = {"deliveries": 1, "messages": 1, "tracked_urls": 2, "recipients": 1, "mail_domains": 1}
    return {entity: newest_rows(sample.directory, entity, size) for entity, size in keys.items()}


@pytest.fixture(scope="module")
def rules(reading: Reading) -> list[str]:
    return judge(reading.events)


def decompressed(path: Path) -> bytes:
    data = path.read_bytes()
    if path.suffix == ".gz":
        return gzip.decompress(data)
    if path.suffix == ".zst":
        return zstandard.ZstdDecompressor().stream_reader(io.BytesIO(data)).read()
    return data


def is_good(line: str) -> bool:
    fields = line.split("\t")
    return bool(PUBLISHED.match(line)) and all(STRICT_ID.match(text) for text in fields[2:5])


def read_logs(root: Path) -> Reading:
    result = Reading()
    seen: set[bytes] = set()
    for path in sorted((root / "tracking_logs").rglob("*.log*"), key=str):
        name = str(path.relative_to(root))
        count = result.control[name] = Counter()
        *lines, held = decompressed(path).split(b"\n")
        count["held_bytes"] = len(held)
        for number, raw in enumerate(lines, start=1):
            count["lines"] += 1
            if not raw:
                count["blank"] += 1
                continue
            line = raw.decode("latin-1")
            fields = line.split("\t")
            result.pointers[line[0]].add(int(fields[0][3:], 16))
            if not is_good(line):
                count["quarantined"] += 1
                result.quarantined.append((name, number))
            elif raw in seen:
                count["duplicate"] += 1
            else:
                seen.add(raw)
                count["accepted"] += 1
                message, delivery, url = (int(text or "0", 16) for text in fields[2:5])
                result.events.append(Event(milliseconds(fields[1]), message, delivery, url, fields[6], fields[9]))
    return result


def milliseconds(text: str) -> int:
    moment = datetime.fromisoformat(text.partition(".")[0] + "+00:00")
    return int(moment.timestamp()) * 1000 + int(text.partition(".")[2].ljust(3, "0"))


def newest_rows(root: Path, entity: str, key_size: int) -> dict[tuple[str, ...], Row]:
    rows: dict[tuple[str, ...], Row] = {}
    files = sorted((root / "reference" / entity).iterdir(), key=lambda path: (path.stat().st_mtime, str(path)))
    assert [str(path) for path in files] == sorted(str(path) for path in files)
    for path in files:
        if path.suffix == ".csv":
            with path.open(encoding="utf-8", newline="") as file:
                found = list(csv.DictReader(file))
        else:
            found = [{name: str(value) for name, value in row.items()} for row in pq.read_table(path).to_pylist()]
        for row in found:
            for name in row:
                if name.endswith("_id"):
                    row[name] = str(int(row[name]) % 2**32)
            rows[tuple(list(row.values())[:key_size])] = row
    return rows


def judge(events: list[Event]) -> list[str]:
    """The first machine rule that fits each event; empty for people."""
    clicks: dict[int, list[int]] = defaultdict(list)
    for position, event in enumerate(events):
        if event.url != 1 and event.message:
            clicks[event.message].append(position)
    bursts: set[int] = set()
    for positions in clicks.values():
        positions.sort(key=lambda position: events[position].time_ms)
        for start, first in enumerate(positions):
            window = [p for p in positions[start:] if events[p].time_ms - events[first].time_ms <= 1000]
            second = [p for p in positions if events[p].time_ms // 1000 == events[first].time_ms // 1000]
            if len(window) >= 5:
                bursts.update(window)
            if len({events[p].url for p in second}) >= 2:
                bursts.update(second)
    verdicts = []
    for position, event in enumerate(events):
        verdict = "burst" if position in bursts else ""
        if event.agent == "Mozilla/5.0":
            verdict = "apple_mpp"
        elif event.agent.endswith(PREFETCH):
            verdict = "gmail_prefetch"
        elif any(text in event.agent for text in BOTS):
            verdict = "known_bot"
        verdicts.append(verdict)
    return verdicts


def table(root: Path, name: str) -> list[Row]:
    with (root / "truth" / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def half_up(ratio: Fraction) -> int:
    return (ratio + Fraction(1, 2)).__floor__()


def delivery_of(event: Event, messages: dict[tuple[str, ...], Row]) -> int:
    row = messages.get((str(event.message),)) if event.delivery == 0 and event.message else None
    return int(row["delivery_id"]) if row else event.delivery


def type_of(delivery: int, url: int, urls: dict[tuple[str, ...], Row]) -> int:
    if url == 1:
        return 2
    row = urls.get((str(url), str(delivery)))
    return int(row["url_type"]) if row else 0


def test_indicators_agree_with_a_plain_reading(
    sample: SampleSummary,
    reading: Reading,
    rules: list[str],
    reference: dict[str, dict[tuple[str, ...], Row]],
) -> None:
    messages, urls = reference["messages"], reference["tracked_urls"]
    truth = {int(row["delivery_id"]): row for row in table(sample.directory, "rpt_tracking_indicators.csv")}
    typed: dict[int, list[tuple[Event, int, str]]] = defaultdict(list)
    for event, rule in zip(reading.events, rules, strict=True):
        delivery = delivery_of(event, messages)
        typed[delivery].append((event, type_of(delivery, event.url, urls), rule))
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
    sample: SampleSummary, reading: Reading, reference: dict[str, dict[tuple[str, ...], Row]]
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
    rows = table(sample.directory, "rpt_url_click_streams.csv")
    names = ("delivery_id", "url_id", "click_count", "position")
    assert [tuple(int(row[name]) for name in names) for row in rows] == expected
    for row in rows:
        share = Fraction(int(row["click_count"]), counts[int(row["delivery_id"])].total())
        assert abs(Fraction(row["click_share"]) - share) < Fraction(1, 10**11)
        found = reference["tracked_urls"].get((row["url_id"], row["delivery_id"]))
        assert row["label"] == (found["label"] if found else "")
        assert (row["category"], row["url_type"]) == ((found["category"], found["url_type"]) if found else ("", ""))


def test_control_totals_gaps_and_quarantine_agree_with_a_plain_reading(sample: SampleSummary, reading: Reading) -> None:
    *files, totals = table(sample.directory, "control_totals.csv")
    names = ("lines", "accepted", "duplicate", "quarantined", "blank", "held_bytes")
    assert [row["path"] for row in files] == list(reading.control)
    for row in files:
        assert {name: int(row[name]) for name in names} == {n: reading.control[row["path"]][n] for n in names}
    assert [int(totals[name]) for name in names] == [
        sum(count[name] for count in reading.control.values()) for name in names
    ]
    assert totals["path"] == "totals"
    assert totals["held_files"] == "1"
    assert int(totals["accepted"]) == sample.events == len(reading.events)
    assert int(totals["lines"]) == sample.lines
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
    reference: dict[str, dict[tuple[str, ...], Row]],
) -> None:
    everyone: Counter[int] = Counter()
    people: Counter[int] = Counter()
    for event, rule in zip(reading.events, rules, strict=True):
        row = reference["messages"].get((str(event.message),))
        if row:
            everyone[int(row["recipient_id"])] += 1
            people[int(row["recipient_id"])] += not rule
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
        if event.url != 1 and event.message:
            clicks[event.message].append((event.time_ms, rule))
    for acts in clicks.values():
        acts.sort()
        for (before, first), (after, second) in itertools.pairwise(acts):
            assert (first and second and before // 1000 == after // 1000) or after - before >= 3000


def test_every_line_but_the_corrupt_ones_has_the_published_form(sample: SampleSummary, reading: Reading) -> None:
    kinds = {row["kind"] for row in table(sample.directory, "quarantined_lines.csv")}
    assert kinds == {"missing_field", "control_character", "underscore", "sign", "overflow"}
    assert len(reading.quarantined) == 5
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


def test_reference_tells_the_whole_story(
    sample: SampleSummary, reference: dict[str, dict[tuple[str, ...], Row]]
) -> None:
    messages = list(reference["messages"].values())
    assert {int(row["status"]) for row in messages} == set(range(9))
    assert {int(row["failure_reason"]) for row in messages} == {*range(13), 14, 15, 16, 17, 20, 25, 127}
    assert {row["content_format"] for row in messages} == {"html", "text", "multipart"}
    assert {row["is_seed"] for row in messages} == {row["is_control"] for row in messages} == {"true", "false"}
    assert min(int(row["message_id"]) for row in messages) < 2**31 < max(int(r["message_id"]) for r in messages)
    for entity in ("deliveries", "messages", "tracked_urls"):
        raw = next((sample.directory / "reference" / entity).glob("*full*")).read_text(encoding="utf-8")
        assert re.search(r"^-\d+,", raw, re.MULTILINE), entity
    deliveries = list(reference["deliveries"].values())
    assert len(deliveries) == 12
    assert sum(row["is_proof"] == "true" for row in deliveries) == 1
    assert sum(row["sent_at"] == "" for row in deliveries) == 1
    for row in deliveries:
        hrefs = [url["source_url"] for url in reference["tracked_urls"].values()
                 if url["delivery_id"] == row["delivery_id"]]  # fmt: skip
        content = html.unescape(row["html_content"]) or row["text_content"]
        assert all(href in content for href in hrefs)
    listed = {domain for (domain,) in reference["mail_domains"]}
    assert {row["address"].partition("@")[2] for row in messages} - listed
    recipients = {key for (key,) in reference["recipients"]}
    assert {row["recipient_id"] for row in messages} <= recipients


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
    log = "tracking_logs/redir1/0x000000000FD7E000.log"
    assert first[log] != other[log]


def test_sizes_are_met_and_progress_is_told(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    summary = write_sample(tmp_path / "out", events=30_000, progress=lambda done, goal: told.append((done, goal)))
    assert abs(summary.events - 30_000) < 1_500
    assert told[-1][0] == summary.events
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
    assert sorted(path.name for path in tmp_path.iterdir()) == ["reference", "tracking_logs", "truth"]
