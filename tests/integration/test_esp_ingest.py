"""Webhook events of e-mail service providers, end to end on files: what is read, what is refused, nothing twice."""

import gzip
import json
import random
import shutil
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
import pytest

from log_ingest.ingest import ingest
from tests.espevents import jsonl, sendgrid
from tests.invariants import assert_accounted, assert_rerun_changes_nothing, landed

FIXTURES = Path(__file__).parents[1] / "fixtures" / "esp"
AT = 1_714_557_600  # 2024-05-01 10:00 UTC


def run(landing: Path, warehouse: Path):
    report = ingest(landing, warehouse, run_id="test")
    assert_accounted(warehouse)
    return report.totals["esp_events"]


def rows(warehouse: Path, columns: str, where: str = "true") -> list[tuple]:
    return (
        duckdb.connect()
        .execute(
            f"select {columns} from {landed(warehouse, 'esp_events')} where {where}"
            " order by source_file, line_number, element_number"
        )
        .fetchall()
    )


def refused(warehouse: Path) -> list[tuple]:
    return (
        duckdb.connect()
        .execute(
            f"select line_number, disposition, reason from {landed(warehouse, 'set_aside')}"
            " where disposition <> 'duplicate' order by source_file, line_number"
        )
        .fetchall()
    )


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


# line, kind, time, message, machine, bounce: read off the samples by hand, from the providers' documentation.
SENDGRID = [
    (1, "processed", at("2017-12-15 00:59:29"), 0, None, None),
    (1, "deferred", at("2017-12-15 00:59:29"), 0, None, "soft"),
    (1, "delivered", at("2017-12-15 00:59:29"), 0, None, None),
    (2, "open", at("2017-12-15 00:59:29"), 17, False, None),
    (2, "click", at("2017-12-15 00:59:29"), 17, None, None),
    (3, "open", at("2017-12-15 00:59:30"), 0, True, None),
    (4, "bounce", at("2017-12-15 00:59:29"), 0, None, "hard"),
    (5, "bounce", at("2017-12-15 00:59:29"), 0, None, "soft"),
    (6, "bounce", at("2017-12-15 00:59:29"), 0, None, "dropped"),
    (7, "complaint", at("2017-12-15 00:59:29"), 0, None, None),
    (8, "unsubscribe", at("2017-12-15 00:59:29"), 0, None, None),
    (9, "unsubscribe", at("2017-12-15 00:59:29"), 0, None, None),
    (10, "other", at("2017-12-15 00:59:29"), 0, None, None),
    (11, "other", at("2024-02-28 17:47:08"), 0, None, None),
]
MAILGUN = [
    (1, "processed", at("2026-02-03 19:26:38.372891"), 0, None, None),
    (2, "delivered", at("2026-02-03 19:20:31.658528"), 18, None, None),
    (3, "deferred", at("2026-02-03 19:20:36.200000"), 18, None, "soft"),
    (4, "bounce", at("2026-02-03 19:20:37"), 18, None, "hard"),
    (5, "bounce", at("2026-02-03 19:20:38"), 18, None, "dropped"),
    (6, "open", at("2026-02-03 19:20:40.100000"), 18, None, None),
    (7, "open", at("2026-02-03 19:20:41.100000"), 18, True, None),
    (8, "click", at("2026-02-03 19:20:42.100000"), 18, None, None),
    (9, "unsubscribe", at("2026-02-03 19:20:43.100000"), 18, None, None),
    (10, "complaint", at("2026-02-03 19:20:44.100000"), 18, None, None),
    (11, "bounce", at("2026-02-03 19:20:45.100000"), 18, None, "dropped"),
]
SES = [
    (3, "processed", at("2017-08-05 00:40:02.012"), 19, None, None),
    (4, "delivered", at("2017-08-05 00:40:59.500"), 19, None, None),
    (5, "bounce", at("2017-08-05 00:41:02.669"), 19, None, "hard"),
    (6, "bounce", at("2017-08-05 00:42:02.669"), 20, None, "soft"),
    (6, "bounce", at("2017-08-05 00:42:02.669"), 20, None, "soft"),
    (7, "complaint", at("2017-08-05 00:43:02.669"), 19, None, None),
    (8, "open", at("2017-08-09 22:00:19.652"), 19, None, None),
    (9, "click", at("2017-08-09 23:51:25.570"), 19, None, None),
    (10, "bounce", at("2017-08-05 00:40:02.012"), 19, None, "dropped"),
    (11, "bounce", at("2017-08-05 00:40:02.012"), 19, None, "dropped"),
    (12, "deferred", at("2020-06-16 00:25:40.095"), 19, None, "soft"),
    (13, "unsubscribe", at("2022-01-12 01:00:17.910"), 19, None, None),
    (14, "other", at("2022-01-13 01:00:17.910"), 19, None, None),
]
POSTMARK = [
    (1, "delivered", at("2019-11-05 16:33:54.907025"), 21, None, None),
    (2, "bounce", at("2019-11-05 16:33:54.907025"), 21, None, "hard"),
    (3, "bounce", at("2019-11-05 16:34:54.907025"), 21, None, "soft"),
    (4, "deferred", at("2019-11-05 16:35:54.907025"), 21, None, "soft"),
    (5, "other", at("2019-11-05 16:36:54.907025"), 21, None, None),
    (6, "complaint", at("2019-11-05 16:37:54.907025"), 21, None, None),
    (7, "open", at("2019-11-05 16:38:54.907025"), 21, None, None),
    (8, "click", at("2019-11-05 16:39:54.907025"), 21, None, None),
    (9, "unsubscribe", at("2020-02-01 10:53:34.416071"), 21, None, None),
    (10, "other", at("2020-02-02 10:53:34.416071"), 21, None, None),
    (11, "other", at("2020-02-03 10:53:34.416071"), 0, None, None),
]
SAMPLES = {"sendgrid": SENDGRID, "mailgun": MAILGUN, "ses": SES, "postmark": POSTMARK}


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("samples")
    for name in SAMPLES:
        folder = base / "landing" / "esp_events" / {"ses": "Amazon_SES"}.get(name, name) / "2026"
        folder.mkdir(parents=True)
        shutil.copy(FIXTURES / f"{name}.jsonl", folder)
    # A sample of each once more, in a folder that says nothing, compressed.
    other = base / "landing" / "esp_events" / "collector"
    other.mkdir()
    for name in SAMPLES:
        data = (FIXTURES / f"{name}.jsonl").read_bytes()
        (other / f"{name}.jsonl.gz").write_bytes(gzip.compress(data.replace(b"@", b"@x-")))
    run(base / "landing", base / "warehouse")
    assert_rerun_changes_nothing(base / "landing", base / "warehouse")
    return base / "warehouse"


@pytest.mark.parametrize("provider", SAMPLES)
def test_the_documented_payloads_are_read(samples: Path, provider: str) -> None:
    found = rows(
        samples,
        "line_number, event_kind, occurred_at, message_id, is_machine, bounce_kind",
        f"provider = '{provider}' and source_file not like '%collector%'",
    )
    assert found == SAMPLES[provider]


@pytest.mark.parametrize("provider", SAMPLES)
def test_a_folder_without_a_name_is_told_by_what_it_holds(samples: Path, provider: str) -> None:
    found = rows(samples, "line_number, event_kind", f"source_file like '%collector/{provider}%'")
    # SendGrid's note on the account says nothing that another provider could not say.
    assert found == [row[:2] for row in SAMPLES[provider] if row[:2] != (11, "other") or provider == "postmark"]


def test_what_an_event_is_about(samples: Path) -> None:
    found = rows(
        samples,
        "provider, address, delivery_id, recipient_id, url, ip, user_agent[:11], provider_message_id",
        "event_kind = 'click' and source_file not like '%collector%'",
    )
    assert sorted(found) == [
        (
            *("mailgun", "alice@example.com", 0, 0, "http://example.com/signup", "50.56.129.169", "Mozilla/5.0"),
            "20130503182626.18666.16540@sample.mailgun.org",
        ),
        (
            *("postmark", "john@example.com", 0, 0, "https://example.com/offers?id=9", "188.2.95.4", "Mozilla/5.0"),
            "883953f4-6105-42a2-a16a-77a8eac79483",
        ),
        (
            # -5 as unsigned 32 bits.
            *("sendgrid", "example@test.com", 4294967291, 0, "http://www.sendgrid.com/", "255.255.255.255"),
            *("Mozilla/4.0", "14c5d75ce93.dfd.64b469.filter0001.16648.5515E0B88.0"),
        ),
        (
            *("ses", "recipient@example.com", 0, 255),
            *("http://docs.aws.amazon.com/ses/latest/DeveloperGuide/send-email-smtp.html", "192.0.2.1", "Mozilla/5.0"),
            "EXAMPLE7c191be45-e9aedb9a-02f9-4d12-a87d-dd0099a07f8a-000000",
        ),
    ]
    assert rows(samples, "delivery_id", "provider = 'sendgrid' and line_number = 2 and event_kind = 'open'")[0] == (
        0x1AEAB4B6,
    )
    assert rows(samples, "address, bounce_text", "provider = 'ses' and line_number = 6")[:2] == [
        ("jane@example.com", "smtp; 552 5.2.2 mailbox full"),
        ("richard@example.com", "MailboxFull"),
    ]


def test_confirmations_are_no_events_and_no_errors(samples: Path) -> None:
    found = refused(samples)
    assert [row for row in found if row[1] == "not_tracking"] == [
        (number, "not_tracking", "control_message") for number in (1, 2, 1, 2)
    ]
    assert [row[2] for row in found if row[1] == "quarantined"] == ["unknown_provider"]


def test_a_retry_with_new_ids_is_the_same_event(landing: Path, warehouse: Path) -> None:
    """Everything that a repeated POST may say anew is said anew."""
    for name in SAMPLES:
        (landing / "esp_events" / name).mkdir(parents=True)
        shutil.copy(FIXTURES / f"{name}.jsonl", landing / "esp_events" / name / "first.jsonl")
    first = run(landing, warehouse)
    keys = rows(warehouse, "event_key")
    assert len(set(keys)) == len(keys)
    again = {"sg_event_id": "new", "attempt": 9, "id": "new", "ID": 77, "feedbackId": "new", "MessageId": "new"}
    again["Signature"] = "new"

    def renewed(value: Any) -> Any:
        if isinstance(value, list):
            return [renewed(one) for one in value]
        if not isinstance(value, dict):
            return value
        found = {key: renewed(again.get(key, one)) for key, one in value.items()}
        if "event-data" in found:
            found["signature"] = {"token": "new", "timestamp": "1999999999", "signature": "new"}
        if value.get("Type") == "Notification" and value["Message"].startswith("{"):
            found["Message"] = json.dumps(renewed(json.loads(value["Message"])))
            found["Timestamp"] = "2030-01-01T00:00:00.000Z"
        return found

    for name in SAMPLES:
        lines = (FIXTURES / f"{name}.jsonl").read_text().splitlines()
        jsonl(landing, f"{name}/retry.jsonl", *(renewed(json.loads(line)) for line in lines))
    second = run(landing, warehouse)
    assert rows(warehouse, "event_key") == keys
    assert (second.accepted, second.duplicate, second.not_tracking) == (0, first.accepted, first.not_tracking)
    assert_rerun_changes_nothing(landing, warehouse)


def test_another_act_is_another_event(landing: Path, warehouse: Path) -> None:
    click = sendgrid("click", AT, url="https://shop.example/a")
    others = [
        click | {"timestamp": AT + 1},
        click | {"url": "https://shop.example/b"},
        click | {"email": "bob@example.org"},
        click | {"useragent": "curl/8"},
        click | {"ip": "192.0.2.2"},
        click | {"event": "open"},
        click | {"sg_message_id": "another"},
        click | {"message_id": 5},
    ]
    jsonl(landing, "sendgrid/a.jsonl", click, *others)
    assert run(landing, warehouse).accepted == 9
    assert len(set(rows(warehouse, "event_key"))) == 9


def test_an_array_that_is_partly_known_keeps_its_bytes(landing: Path, warehouse: Path) -> None:
    """The first event of the second line came before, the others are new; the third line says nothing new."""
    events = [sendgrid("open", AT + n) for n in range(5)]
    jsonl(landing, "sendgrid/a.jsonl", events[:2], events[1:4], [events[3], events[0]], events[4])
    totals = run(landing, warehouse)
    assert (totals.lines, totals.accepted, totals.duplicate) == (4, 3, 1)
    assert [row[0] for row in rows(warehouse, "line_number")] == [1, 1, 2, 2, 4]
    jsonl(landing, "sendgrid/b.jsonl", [events[4], sendgrid("open", AT + 9)])
    assert (run(landing, warehouse).accepted, len(rows(warehouse, "1"))) == (1, 6)
    assert_rerun_changes_nothing(landing, warehouse)


OPEN = json.dumps(sendgrid("open", AT, sg_event_id="x")).encode()
TIME = b"1714557600"
BAD: list[tuple[bytes, str]] = [
    (b"nope", "invalid_json"),
    (OPEN[:-1], "invalid_json"),
    (OPEN + b" x", "invalid_json"),
    (OPEN.replace(b'"open"', b"'open'"), "invalid_json"),
    (OPEN.replace(b'"open"', b'"\\ud800"'), "invalid_json"),
    (b"[" * 400_000, "invalid_json"),
    (b"[" * 100_000 + b"]" * 100_000, "not_an_object"),
    (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "bad_event_type"),
    (b'{"event":' * 100_000 + b"1" + b"}" * 100_000, "bad_event_type"),
    (b"5", "not_an_object"),
    (b"null", "not_an_object"),
    (b'"text"', "not_an_object"),
    (b"{}", "bad_event_type"),
    (b"[" + OPEN + b",5]", "not_an_object"),
    (b"[" + OPEN + b',{"event":"open"}]', "bad_time"),
    (OPEN.replace(b'"open"', b"null"), "bad_event_type"),
    (OPEN.replace(b'"open"', b"[1]"), "bad_event_type"),
    (OPEN.replace(b'"open"', b'{"a":1}'), "bad_event_type"),
    (OPEN.replace(TIME, b"NaN"), "bad_time"),
    (OPEN.replace(TIME, b"-Infinity"), "bad_time"),
    (OPEN.replace(TIME, b"1714557600000"), "bad_time"),
    (OPEN.replace(TIME, b'"yesterday"'), "bad_time"),
    (OPEN.replace(TIME, b'"2024-05-01T10:00:00"'), "bad_time"),
    (OPEN.replace(TIME, b"true"), "bad_time"),
    (OPEN.replace(b'"ann@example.org"', b'{"a":1}'), "bad_address"),
    (OPEN.replace(b'"ann@example.org"', b'["a"]'), "bad_address"),
    (OPEN.replace(b"192.0.2.1", b"192\\u0000"), "control_character"),
    (OPEN.replace(b'"event"', b'"email":"bob@example.org","event"'), "duplicate_keys"),
    (OPEN.replace(b"192.0.2.1", b"1" * 20_000), "value_too_long"),
    (b"x" * (10 * 1024 * 1024), "line_too_long"),
]


def test_bad_input_is_quarantined_and_the_rest_loads(landing: Path, warehouse: Path) -> None:
    lines = []
    for number, (bad, _) in enumerate(BAD):
        lines += [json.dumps(sendgrid("open", AT + number + 7)).encode(), bad]
    jsonl(landing, "sendgrid/a.jsonl", *lines)
    totals = run(landing, warehouse)
    assert (totals.accepted, totals.quarantined, totals.lines) == (len(BAD), len(BAD), 2 * len(BAD))
    expected = [(2 * n + 2, "quarantined", reason) for n, (_, reason) in enumerate(BAD)]
    assert [row for row in refused(warehouse) if row[2] != "continued"] == expected
    assert_rerun_changes_nothing(landing, warehouse)


def test_what_is_odd_but_clear_is_taken(landing: Path, warehouse: Path) -> None:
    odd = [
        b"\xef\xbb\xbf" + OPEN,
        OPEN.replace(TIME, b'"1714557601.5"'),
        OPEN.replace(TIME, b'"2024-05-01T12:00:02+02:00"'),
        OPEN.replace(TIME, b"1714557603").replace(b"{", b'{"score":NaN,"list":[1,],"deep":[[[[[]]]]],'),
        OPEN.replace(TIME, b"1714557604").replace(b"{", b'\t{ "message_id":"not an id","delivery_id":{"a":1},'),
        OPEN.replace(TIME, b"1714557605").replace(b"{", b'{"message_id":"0x1_0","recipient_id":1e400,'),
        OPEN.replace(TIME, b"1714557606").replace(b"{", b'{"message_id":99999999999999999999,"recipient_id":-1,'),
    ]
    jsonl(landing, "sendgrid/a.jsonl", *odd)
    assert run(landing, warehouse).accepted == len(odd)
    assert rows(warehouse, "second(occurred_at), message_id, delivery_id, recipient_id") == [
        (0, 0, 0, 0),
        (1, 0, 0, 0),
        (2, 0, 0, 0),
        (3, 0, 0, 0),
        (4, 0, 0, 0),
        (5, 0, 0, 0),
        (6, 0, 0, 2**32 - 1),
    ]


def test_one_line_cannot_blow_up_memory(landing: Path, warehouse: Path) -> None:
    """A line of 1 MiB with very many events, or an event with very many recipients."""
    small = b'{"event":"open","timestamp":1,"email":"%d@x"}'
    many = b"[" + b",".join(small % n for n in range(20_000)) + b"]"
    bounced = [{"emailAddress": f"{n}@example.org"} for n in range(20_000)]
    bounce = {"bounceType": "Permanent", "bouncedRecipients": bounced, "timestamp": "2024-05-01T10:00:00Z"}
    jsonl(landing, "sendgrid/a.jsonl", many)
    jsonl(landing, "ses/a.jsonl", {"eventType": "Bounce", "bounce": bounce, "mail": {"messageId": "m"}})
    totals = run(landing, warehouse)
    assert (totals.accepted, len(rows(warehouse, "1"))) == (1, 20_000)
    assert [row[2] for row in refused(warehouse)] == ["too_many_recipients"]


def test_a_folder_of_something_else_is_held(landing: Path, warehouse: Path) -> None:
    jsonl(landing, "sendgrid/a.jsonl", *[b"event,email,timestamp"] * 30)
    report = ingest(landing, warehouse, run_id="test")
    assert report.totals["esp_events"].lines == 0
    assert "not JSON objects" in report.problems[0]


def test_any_order_and_split_gives_the_same_events(tmp_path: Path) -> None:
    rng = random.Random(3)
    documents = [json.loads(line) for name in ("sendgrid", "mailgun") for line in (FIXTURES / f"{name}.jsonl").open()]
    documents += [sendgrid("open", AT + n % 40) for n in range(60)]
    found = []
    for world in range(2):
        landing, warehouse = tmp_path / f"landing{world}", tmp_path / f"warehouse{world}"
        mixed = documents + rng.choices(documents, k=20)
        rng.shuffle(mixed)
        for part in range(2):
            jsonl(landing, f"collector/{rng.random()}.jsonl", *mixed[part::2])
            run(landing, warehouse)
        assert_rerun_changes_nothing(landing, warehouse)
        keys = "event_key, event_kind, occurred_at, message_id, delivery_id, address, url, is_machine"
        found.append(sorted(rows(warehouse, keys), key=lambda row: row[0]))
    assert found[0] == found[1]
    assert len(found[0]) == len({row[0] for row in found[0]}) == 13 + 11 + 40
