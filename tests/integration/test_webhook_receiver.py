"""The webhook receiver behind real HTTP: what is genuine lands and is ingested, everything else leaves nothing."""

import json
import logging
import os
import re
import shutil
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import duckdb
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from collector.webhook_receiver import Receiver, SettingsError, from_environment
from collector.webhook_receiver.application import MAX_BODY_BYTES
from collector.webhook_receiver.landing_files import LandingFiles
from collector.webhook_receiver.providers import Mailgun, Request, SendGrid, Ses
from collector.webhook_receiver.refusal import STATUSES, Refused, Unavailable
from collector.webhook_receiver.signing_certificates import fetched
from collector.webhook_receiver.used_tokens import UsedTokens
from log_ingest.framing import MAX_LINE_BYTES
from log_ingest.ingest import ingest
from tests.conftest import ROOT
from tests.espevents import sendgrid
from tests.invariants import assert_accounted, landed
from tests.webhooks import (
    CERTIFICATE_URL,
    TOPIC,
    Post,
    another_process,
    certificate,
    mailgun_post,
    postmark_post,
    public_text,
    send,
    sendgrid_post,
    serving,
    settings,
    sns_post,
)

AT = 1_714_557_600  # 2024-05-01 10:00 UTC
OTHER_EC = ec.generate_private_key(ec.SECP256R1())
OTHER_CURVE = ec.generate_private_key(ec.SECP384R1())
OTHER_RSA = rsa.generate_private_key(65537, 2048)
TOKEN = "0123456789abcdef" * 3 + "ab"

SENDGRID_BODY = json.dumps(
    [sendgrid("open", AT, "sg@example.org"), sendgrid("click", AT + 1, "sg@example.org", url="https://a.example/é")],
    indent=2,
    ensure_ascii=False,
).replace("\n", "\r\n").encode() + b"\r\n"  # fmt: skip
MAILGUN_EVENT = {
    "event": "opened", "timestamp": AT + 2.5, "id": "x", "recipient": "mg@example.org",
    "message": {"headers": {"message-id": "m@example.org"}},
}  # fmt: skip
SES_MESSAGE = json.dumps(
    {
        "eventType": "Bounce",
        "mail": {"timestamp": "2024-05-01T10:00:00.000Z", "messageId": "s-1", "destination": ["ses@example.org"]},
        "bounce": {
            "bounceType": "Permanent", "bounceSubType": "General", "timestamp": "2024-05-01T10:00:03.000Z",
            "bouncedRecipients": [{"emailAddress": "ses@example.org", "diagnosticCode": "550\r\nno"}],
        },
    }
)  # fmt: skip
POSTMARK_EVENT = {
    "RecordType": "Delivery", "MessageID": "p-1", "Recipient": "pm@example.org",
    "DeliveredAt": "2024-05-01T10:00:04Z",
}  # fmt: skip


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[int]:
    with serving(from_environment(settings(tmp_path))) as port:
        yield port


def files(folder: Path) -> list[Path]:
    return sorted(path for path in (folder / "landing").rglob("*") if not path.is_dir())


def lines(folder: Path) -> list[bytes]:
    return [line for path in files(folder) for line in path.read_bytes().splitlines(keepends=True)]


def ingested(folder: Path, columns: str = "provider, event_kind, address") -> list[tuple]:
    warehouse = folder / "warehouse"
    ingest(folder / "landing", warehouse, run_id="test")
    assert_accounted(warehouse)
    return duckdb.connect().execute(
        f"select {columns} from {landed(warehouse, 'esp_events')} order by occurred_at, event_key"
    ).fetchall()  # fmt: skip


def test_genuine_posts_land_and_are_ingested(receiver: int, tmp_path: Path) -> None:
    """Bodies that providers write over several lines take one; what is said stays the same."""
    assert send(receiver, "/sendgrid", sendgrid_post(SENDGRID_BODY)) == (200, b"")
    assert send(receiver, "/mailgun", mailgun_post(MAILGUN_EVENT, token=TOKEN)) == (200, b"")
    assert send(receiver, "/ses", sns_post(SES_MESSAGE)) == (200, b"")
    assert send(receiver, "/postmark", postmark_post(POSTMARK_EVENT)) == (200, b"")
    assert [(path.parent.name, path.suffix) for path in files(tmp_path)] == [
        (name, ".jsonl") for name in ("mailgun", "postmark", "sendgrid", "ses")
    ]
    assert all(line.endswith(b"\n") for line in lines(tmp_path)) and len(lines(tmp_path)) == 4
    (mailgun, postmark, array, _) = (json.loads(line) for line in lines(tmp_path))
    assert mailgun["event-data"] == MAILGUN_EVENT and postmark == POSTMARK_EVENT and array == json.loads(SENDGRID_BODY)
    assert ingested(tmp_path, "provider, event_kind, address, epoch(occurred_at) - 1714557600, url, bounce_kind") == [
        ("sendgrid", "open", "sg@example.org", 0, None, None),
        ("sendgrid", "click", "sg@example.org", 1, "https://a.example/é", None),
        ("mailgun", "open", "mg@example.org", 2.5, None, None),
        ("ses", "bounce", "ses@example.org", 3, None, "hard"),
        ("postmark", "delivered", "pm@example.org", 4, None, None),
    ]


def with_headers(post: Post, **changed: str | None) -> Post:
    headers = post[1] | {name.replace("_", "-"): value for name, value in changed.items() if value is not None}
    return post[0], {
        name: value for name, value in headers.items() if changed.get(name.replace("-", "_"), "") is not None
    }


def with_body(post: Post, body: bytes) -> Post:
    return body, post[1]


SG, MG, SNS = sendgrid_post(SENDGRID_BODY), mailgun_post(MAILGUN_EVENT, token=TOKEN), sns_post(SES_MESSAGE)
PM = postmark_post(POSTMARK_EVENT)
OLD, AHEAD = time.time() - 26 * 3600, time.time() + 3600
# The first of two equal keys is signed, as one reader would see it; another reader takes the other.
TWICE = SNS[0].replace(b"{", b'{ "Message": "{}",', 1)

REFUSED: dict[str, tuple[int, str, str, Post]] = {
    "sendgrid, another key": (403, "signature", "/sendgrid", sendgrid_post(SENDGRID_BODY, key=OTHER_EC)),
    "sendgrid, body changed": (403, "signature", "/sendgrid", with_body(SG, SENDGRID_BODY.replace(b"open", b"drop"))),
    "sendgrid, line ends changed": (403, "signature", "/sendgrid", with_body(SG, SENDGRID_BODY.strip())),
    "sendgrid, time changed": (
        403, "signature", "/sendgrid",
        with_headers(SG, X_Twilio_Email_Event_Webhook_Timestamp=str(int(time.time()) - 1000)),
    ),
    "sendgrid, unsigned": (
        403, "no_signature", "/sendgrid",
        with_headers(SG, X_Twilio_Email_Event_Webhook_Signature=None, X_Twilio_Email_Event_Webhook_Timestamp=None),
    ),
    "sendgrid, no base64": (
        403, "signature", "/sendgrid", with_headers(SG, X_Twilio_Email_Event_Webhook_Signature="!é"),
    ),
    "sendgrid, replayed later": (403, "stale", "/sendgrid", sendgrid_post(SENDGRID_BODY, at=OLD)),
    "sendgrid, ahead of time": (403, "stale", "/sendgrid", sendgrid_post(SENDGRID_BODY, at=AHEAD)),
    "sendgrid, a digit changes sides": (
        403, "no_signature", "/sendgrid",
        ((stamp := SG[1]["X-Twilio-Email-Event-Webhook-Timestamp"])[-1:].encode() + SENDGRID_BODY,
         SG[1] | {"X-Twilio-Email-Event-Webhook-Timestamp": stamp[:-1]}),
    ),
    "sendgrid, no JSON": (400, "not_json", "/sendgrid", sendgrid_post(b"[{]")),
    "mailgun, another key": (403, "signature", "/mailgun", mailgun_post(MAILGUN_EVENT, token=TOKEN, key="other")),
    "mailgun, unsigned": (403, "no_signature", "/mailgun", with_body(MG, json.dumps({"event-data": {}}).encode())),
    "mailgun, strange types": (
        403, "no_signature", "/mailgun",
        with_body(MG, json.dumps({"signature": {"timestamp": [], "token": {}, "signature": None}}).encode()),
    ),
    "mailgun, half a character": (
        403, "signature", "/mailgun",
        with_body(
            MG,
            json.dumps({"signature": {"timestamp": str(AT), "token": TOKEN, "signature": "\ud800"}}).encode(),
        ),
    ),
    "mailgun, replayed later": (403, "stale", "/mailgun", mailgun_post(MAILGUN_EVENT, token=TOKEN, at=OLD)),
    "mailgun, deep": (400, "not_json", "/mailgun", with_body(MG, b"[" * 100_000)),
    "ses, another key": (403, "signature", "/ses", sns_post(SES_MESSAGE, key=OTHER_RSA)),
    "ses, message changed": (403, "signature", "/ses", with_body(SNS, SNS[0].replace(b"General", b"Changed"))),
    "ses, subject added": (
        403, "signature", "/ses",
        with_body(SNS, json.dumps(json.loads(sns_post(SES_MESSAGE, Subject=None)[0]) | {"Subject": "x"}).encode()),
    ),
    "ses, version changed": (
        403, "signature", "/ses", with_body(SNS, SNS[0].replace(b'Version": "2"', b'Version": "1"')),
    ),
    "ses, unknown version": (
        403, "signature", "/ses", with_body(SNS, SNS[0].replace(b'Version": "2"', b'Version": "3"')),
    ),
    "ses, unsigned": (403, "no_signature", "/ses", with_body(SNS, SES_MESSAGE.encode())),
    "ses, another's topic": (403, "topic", "/ses", sns_post(SES_MESSAGE, TopicArn=TOPIC.replace("1234", "9999"))),
    "ses, replayed later": (403, "stale", "/ses", sns_post(SES_MESSAGE, at=OLD)),
    "ses, a key twice": (400, "not_json", "/ses", with_body(SNS, TWICE)),
    "postmark, no login": (401, "login", "/postmark", postmark_post(POSTMARK_EVENT, login=None)),
    "postmark, wrong password": (401, "login", "/postmark", postmark_post(POSTMARK_EVENT, login="hooks:wrong")),
    "postmark, half a login": (401, "login", "/postmark", with_headers(PM, Authorization="Basic é")),
    "postmark, form": (
        415, "content_type", "/postmark", with_headers(PM, Content_Type="application/x-www-form-urlencoded"),
    ),
    "unknown provider": (404, "unknown_provider", "/other", PM),
    "a path": (404, "unknown_provider", "/../postmark", PM),
    "too large": (413, "too_large", "/postmark", with_headers(PM, Content_Length=str(MAX_BODY_BYTES + 1))),
    "no length": (411, "no_length", "/postmark", with_headers(PM, Content_Length="-1")),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_anything_else_leaves_nothing(
    case: str, receiver: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    status, reason, path, post = REFUSED[case]
    assert send(receiver, path, post) == (status, b"")
    assert send(receiver, path, post) == (status, b"")
    assert files(tmp_path) == []
    name = "-" if reason == "unknown_provider" else path[1:]
    assert [record.getMessage() for record in caplog.records] == [
        f"refused, provider={name} reason={reason} count={count}" for count in (1, 2)
    ]


def test_only_post(receiver: int, tmp_path: Path) -> None:
    for method in ("GET", "PUT", "DELETE", "HEAD"):
        assert send(receiver, "/postmark", PM, method=method) == (405, b"")
    assert files(tmp_path) == []


def test_half_a_body_leaves_nothing(receiver: int, tmp_path: Path) -> None:
    with socket.create_connection(("127.0.0.1", receiver), timeout=10) as connection:
        head = "".join(f"{name}: {value}\r\n" for name, value in PM[1].items())
        connection.sendall(
            f"POST /postmark HTTP/1.1\r\nContent-Length: {len(PM[0])}\r\n{head}\r\n".encode() + PM[0][:-9]
        )
        connection.shutdown(socket.SHUT_WR)
        assert connection.makefile("rb").readline().split()[1] == b"400"
    assert files(tmp_path) == []


def test_a_provider_that_is_not_set_up_is_unknown(tmp_path: Path) -> None:
    environ = settings(tmp_path)
    del environ["MTW_WEBHOOK_POSTMARK_LOGIN"]
    with serving(from_environment(environ)) as port:
        assert send(port, "/postmark", PM) == (404, b"")
    assert files(tmp_path) == []


def test_the_vector_that_sendgrid_publishes(tmp_path: Path) -> None:
    """Of its libraries' tests: the line end at the end is signed too."""
    key = (
        "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE83T4O/n84iotIvIW4mdBgQ/7dAfSmpqIM8kF9mN1flpVKS3GRqe62gw+2f"
        "NNRaINXvVpiglSI8eNEc6wEA3F+g=="
    )
    signature = "MEUCIGHQVtGj+Y3LkG9fLcxf3qfI10QysgDWmMOVmxG0u6ZUAiEAyBiXDWzM+uOe5W0JuG+luQAbPIqHh89M15TluLtEZtM="
    body = (
        b'[{"email":"hello@world.com","event":"dropped","reason":"Bounced Address",'
        b'"sg_event_id":"ZHJvcC0xMDk5NDkxOS1MUnpYbF9OSFN0T0doUTRrb2ZTbV9BLTA",'
        b'"sg_message_id":"LRzXl_NHStOGhQ4kofSm_A.filterdrecv-p3mdw1-756b745b58-kmzbl-18-5F5FC76C-9.0",'
        b'"smtp-id":"<LRzXl_NHStOGhQ4kofSm_A@ismtpd0039p1iad1.sendgrid.net>","timestamp":1600112492}]\r\n'
    )
    headers = {
        "Content-Type": "application/json",
        "X-Twilio-Email-Event-Webhook-Signature": signature,
        "X-Twilio-Email-Event-Webhook-Timestamp": "1600112502",
    }
    settings(tmp_path)
    provider = SendGrid([public_text(OTHER_EC), key], 600)
    application = Receiver([provider], LandingFiles(tmp_path / "landing"), None, clock=lambda: 1600112520.0)
    with serving(application) as port:
        assert send(port, "/sendgrid", (body, headers)) == (200, b"")
        assert send(port, "/sendgrid", (body[:-2], headers))[0] == 403
    assert ingested(tmp_path) == [("sendgrid", "bounce", "hello@world.com")]


def test_a_token_of_mailgun_is_good_for_one_line(receiver: int, tmp_path: Path) -> None:
    """Its signature leaves the event out, so a proof that was seen must not carry another event."""
    post = mailgun_post(MAILGUN_EVENT, token=TOKEN)
    assert send(receiver, "/mailgun", post)[0] == 200
    forged = post[0].replace(b"mg@example.org", b"victim@example.org")
    assert forged != post[0]
    assert send(receiver, "/mailgun", (forged, post[1])) == (406, b"")
    assert send(receiver, "/mailgun", post) == (406, b"")
    assert send(receiver, "/mailgun", mailgun_post(MAILGUN_EVENT, token=TOKEN[::-1], subaccount=True))[0] == 200
    assert len(lines(tmp_path)) == 2 and b"victim" not in b"".join(lines(tmp_path))


def test_equal_tokens_at_once_land_one_line(tmp_path: Path) -> None:
    environ = settings(tmp_path)
    post = mailgun_post(MAILGUN_EVENT, token=TOKEN)
    with another_process(environ) as one, another_process(environ) as other, ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda port: send(port, "/mailgun", post)[0], [one, other] * 8))
    assert sorted(answers) == [200] + [406] * 15
    assert len(lines(tmp_path)) == 1


def test_a_token_is_forgotten_when_its_time_is_over(tmp_path: Path) -> None:
    now = time.time()
    tokens = UsedTokens(tmp_path / "used", 100, clock=lambda: now)
    with tokens.once("a"):
        pass
    with pytest.raises(ZeroDivisionError), tokens.once("b"):
        raise ZeroDivisionError
    with tokens.once("b"):
        pass
    now += 90
    with pytest.raises(Refused, match="replayed"), tokens.once("a"):
        pass
    now += 20
    with tokens.once("c"):
        pass
    assert sqlite3.connect(tmp_path / "used").execute("select count(*) from used").fetchone() == (1,)


@pytest.fixture
def fetches() -> list[str]:
    return []


@pytest.fixture
def amazon(tmp_path: Path, fetches: list[str]) -> Iterator[int]:
    """A receiver that fetches certificates, from a table of this test's."""
    settings(tmp_path)
    answers: dict[str, Any] = {CERTIFICATE_URL: certificate(), CERTIFICATE_URL.replace("0123", "0000"): Unavailable()}
    answers[CERTIFICATE_URL.replace("0123", "1111")] = certificate(expired=True)
    answers[CERTIFICATE_URL.replace("0123", "2222")] = b"no certificate"

    def fetch(url: str) -> bytes:
        fetches.append(url)
        if isinstance(answers[url], Exception):
            raise answers[url]
        return answers[url]

    with serving(Receiver([Ses([TOPIC], 3600, fetch=fetch)], LandingFiles(tmp_path / "landing"), None)) as port:
        yield port


def test_both_versions_of_sns_with_one_fetch(amazon: int, fetches: list[str], tmp_path: Path) -> None:
    for version in ("1", "2"):
        assert send(amazon, "/ses", sns_post(SES_MESSAGE, version=version)) == (200, b"")
        assert send(amazon, "/ses", sns_post(SES_MESSAGE, version=version, Subject=None)) == (200, b"")
    assert fetches == [CERTIFICATE_URL]
    assert len(lines(tmp_path)) == 4
    assert ingested(tmp_path) == [("ses", "bounce", "ses@example.org")], "one event, however often it is told"


@pytest.mark.parametrize(
    "url",
    [
        "http://sns.eu-west-1.amazonaws.com/a.pem",
        "https://sns.eu-west-1.amazonaws.com.evil.example/a.pem",
        "https://evil.example/sns.eu-west-1.amazonaws.com/a.pem",
        "https://sns.eu-west-1.amazonaws.com@evil.example/a.pem",
        "https://sns.evil.eu-west-1.amazonaws.com/a.pem",
        "https://sns-eu-west-1.s3.amazonaws.com/a.pem",
        "https://sns.eu-west-1.amazonaws.com/bucket/../a.pem",
        "https://sns.eu-west-1.amazonaws.com/?Action=x&y=a.pem",
        "https://sns.eu-west-1.amazonaws.com/a.pem\n",
        "file:///etc/passwd.pem",
        None,
    ],
)
def test_a_certificate_of_another_place_is_not_fetched(
    url: str | None, amazon: int, fetches: list[str], tmp_path: Path
) -> None:
    assert send(amazon, "/ses", sns_post(SES_MESSAGE, SigningCertURL=url)) == (403, b"")
    assert (fetches, files(tmp_path)) == ([], [])


def test_certificates_that_do_not_serve(amazon: int, fetches: list[str], tmp_path: Path) -> None:
    for digits, status in (("0000", 503), ("0000", 503), ("1111", 403), ("2222", 403)):
        post = sns_post(SES_MESSAGE, SigningCertURL=CERTIFICATE_URL.replace("0123", digits))
        assert send(amazon, "/ses", post) == (status, b"")
    assert send(amazon, "/ses", sns_post(SES_MESSAGE, TopicArn="arn:of:others")) == (403, b"")
    assert len(fetches) == 4, "a failure is not kept, and for another's topic nothing is fetched"
    assert files(tmp_path) == []


def test_a_subscription_is_confirmed_by_a_human(
    amazon: int, fetches: list[str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    link = f"https://sns.eu-west-1.amazonaws.com/?Action=ConfirmSubscription&TopicArn={TOPIC}&Token=2336412f37fb"
    asked = {"Type": "SubscriptionConfirmation", "Token": "2336412f37fb", "SubscribeURL": link}
    assert send(amazon, "/ses", sns_post("You have chosen …", **asked)) == (200, b"")
    assert [record.getMessage() for record in caplog.records] == [
        f"provider=ses SNS asks to confirm the subscription; if it is yours, open {link}"
    ]
    hostile = asked | {"SubscribeURL": "https://evil.example/\n2026-01-01 provider=ses all is well"}
    assert send(amazon, "/ses", sns_post("…", **hostile)) == (200, b"")
    assert send(amazon, "/ses", sns_post("…", **hostile | {"Type": "UnsubscribeConfirmation"})) == (200, b"")
    assert not any("evil" in record.getMessage() for record in caplog.records)
    assert send(amazon, "/ses", sns_post("…", **asked, key=OTHER_RSA)) == (403, b"")
    assert (fetches, files(tmp_path)) == ([CERTIFICATE_URL], [])


def test_what_is_fetched() -> None:
    """Of a real server: no redirect is followed, no flood is taken, and a fault that may pass is told apart."""
    asked: list[str] = []

    class Server(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            status = int(self.path[1:4])
            self.send_response(status)
            if status == 302:
                self.send_header("Location", "/200")
            self.end_headers()
            self.wfile.write(b"x" * (100_000 if self.path.endswith("large") else 10))

        def log_message(self, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
        threading.Thread(target=server.serve_forever, args=[0.02]).start()
        base = f"http://127.0.0.1:{server.server_port}"
        try:
            assert fetched(f"{base}/200") == b"x" * 10
            for path, error in (
                ("/302", Refused), ("/404", Refused), ("/200large", Refused),
                ("/500", Unavailable), ("/429", Unavailable),
            ):  # fmt: skip
                with pytest.raises(error):
                    fetched(base + path)
        finally:
            server.shutdown()
    assert asked == ["/200", "/302", "/404", "/200large", "/500", "/429"]
    with pytest.raises(Unavailable):
        fetched(base + "/gone")


def test_a_full_disk_answers_503_and_leaves_whole_lines(tmp_path: Path) -> None:
    """The kernel refuses to let a file grow over 3,000 bytes, in the middle of a line."""
    small, large = dict(POSTMARK_EVENT, Details="a" * 1000), dict(POSTMARK_EVENT, Details="b" * 3000)
    with another_process(settings(tmp_path), "3000") as port:
        assert send(port, "/postmark", postmark_post(small))[0] == 200
        assert send(port, "/postmark", postmark_post(large)) == (503, b"")
        (path,) = files(tmp_path)
        assert len(path.read_bytes()) < 1500, "the piece is taken back"
        assert send(port, "/postmark", postmark_post(POSTMARK_EVENT | {"MessageID": "p-2"}))[0] == 200
    assert [json.loads(line)["MessageID"] for line in lines(tmp_path)] == ["p-1", "p-2"]
    assert ingested(tmp_path) == [("postmark", "delivered", "pm@example.org")] * 2


def test_a_token_whose_line_failed_is_good_again(tmp_path: Path) -> None:
    environ = settings(tmp_path)
    post = mailgun_post(MAILGUN_EVENT | {"note": "n" * 3000}, token=TOKEN)
    with another_process(environ, "20000") as port:
        (tmp_path / "landing").rename(tmp_path / "unmounted")
        assert send(port, "/mailgun", post) == (503, b"")
        (tmp_path / "unmounted").rename(tmp_path / "landing")
        assert send(port, "/mailgun", post) == (200, b"")
    assert len(lines(tmp_path)) == 1


def test_what_cannot_be_synced_does_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a failed fsync nobody knows what of the file is on disk, so the next line goes into another."""
    settings(tmp_path)
    landing = LandingFiles(tmp_path / "landing")
    landing.append("postmark", b"{}")
    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", lambda descriptor: (_ for _ in ()).throw(OSError(5, "Input/output error")))
        with pytest.raises(OSError):
            landing.append("postmark", b"{}")
    landing.append("postmark", b"{}")
    assert sorted(len(path.read_bytes().splitlines()) for path in files(tmp_path)) == [1, 2]


def test_a_file_per_day_and_none_that_is_gone(tmp_path: Path) -> None:
    now = 1_700_000_000.0  # 2023-11-14
    settings(tmp_path)
    landing = LandingFiles(tmp_path / "landing", clock=lambda: now)
    landing.append("ses", b"1")
    landing.append("ses", b"2")
    (first,) = files(tmp_path)
    assert first.name.startswith("2023-11-14-") and first.read_bytes() == b"1\n2\n"
    assert first.stat().st_mode & 0o777 == 0o640 & ~_umask()
    now += 86_400
    landing.append("ses", b"3")
    _, second = files(tmp_path)
    assert second.name.startswith("2023-11-15-")
    second.rename(tmp_path / "archived")
    landing.append("ses", b"4")
    assert files(tmp_path)[1] != second and files(tmp_path)[1].read_bytes() == b"4\n"


def _umask() -> int:
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


def test_two_processes_lose_and_mix_nothing(tmp_path: Path) -> None:
    environ = settings(tmp_path)
    wanted = [f"p-{number}-" + "x" * (number % 7 * 2500) for number in range(120)]
    with another_process(environ) as one, another_process(environ) as other, ThreadPoolExecutor(8) as pool:

        def post(job: tuple[int, str]) -> int:
            return send((one, other)[job[0] % 2], "/postmark", postmark_post(POSTMARK_EVENT | {"MessageID": job[1]}))[0]

        assert set(pool.map(post, enumerate(wanted))) == {200}
    assert len(files(tmp_path)) == 2
    assert sorted(json.loads(line)["MessageID"] for line in lines(tmp_path)) == sorted(wanted)
    assert sorted(row[0] for row in ingested(tmp_path, "provider_message_id")) == sorted(wanted)


def test_the_largest_body_is_a_line_that_ingest_takes(receiver: int, tmp_path: Path) -> None:
    assert MAX_BODY_BYTES == MAX_LINE_BYTES
    event = json.dumps(POSTMARK_EVENT | {"Content": ""})
    body = json.dumps(POSTMARK_EVENT | {"Content": "d" * (MAX_BODY_BYTES - len(event))}).encode()
    assert len(body) == MAX_BODY_BYTES
    assert send(receiver, "/postmark", (body, PM[1])) == (200, b"")
    (line,) = lines(tmp_path)
    assert line == body + b"\n"
    assert ingested(tmp_path) == [("postmark", "delivered", "pm@example.org")]


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"MTW_LANDING_DIR": ""}, "MTW_LANDING_DIR"),
        ({"MTW_LANDING_DIR": "s3://canary-bucket/landing"}, "MTW_LANDING_DIR"),
        ({"MTW_WEBHOOK_STATE_DIR": "/nowhere/canary"}, "MTW_WEBHOOK_STATE_DIR"),
        ({"MTW_WEBHOOK_SENDGRID_KEY": "canary"}, "MTW_WEBHOOK_SENDGRID_KEY"),
        ({"MTW_WEBHOOK_SENDGRID_KEY": "Y2FuYXJ5"}, "MTW_WEBHOOK_SENDGRID_KEY"),
        ({"MTW_WEBHOOK_SENDGRID_KEY": public_text(OTHER_CURVE)}, "MTW_WEBHOOK_SENDGRID_KEY"),
        ({"MTW_WEBHOOK_SNS_CERTIFICATE": "/nowhere/canary"}, "MTW_WEBHOOK_SNS_CERTIFICATE"),
        ({"MTW_WEBHOOK_SNS_CERTIFICATE": __file__}, "MTW_WEBHOOK_SNS_CERTIFICATE"),
        ({"MTW_WEBHOOK_POSTMARK_LOGIN": "canary"}, "MTW_WEBHOOK_POSTMARK_LOGIN"),
        ({"MTW_WEBHOOK_WINDOW_SECONDS": "-1"}, "MTW_WEBHOOK_WINDOW_SECONDS"),
        ({"MTW_WEBHOOK_WINDOW_SECONDS": "59"}, "MTW_WEBHOOK_WINDOW_SECONDS"),
        ({"MTW_WEBHOOK_WINDOW_SECONDS": "604801"}, "MTW_WEBHOOK_WINDOW_SECONDS"),
        ({"MTW_WEBHOOK_WINDOW_SECONDS": "000060480099999"}, "MTW_WEBHOOK_WINDOW_SECONDS"),
        (dict.fromkeys(("SENDGRID_KEY", "MAILGUN_KEY", "SES_TOPICS", "POSTMARK_LOGIN"), ""), "no provider"),
    ],
)  # fmt: skip
def test_a_setting_that_does_not_serve_is_named_and_not_shown(
    changed: dict[str, str], named: str, tmp_path: Path
) -> None:
    full = {name if name.startswith("MTW_") else f"MTW_WEBHOOK_{name}": value for name, value in changed.items()}
    with pytest.raises(SettingsError, match=named) as told:
        from_environment(settings(tmp_path) | full)
    assert "canary" not in str(told.value) and "\n" not in str(told.value)
    assert told.value.__suppress_context__ or told.value.__context__ is None


def test_no_secret_and_nothing_personal_is_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    with serving(from_environment(settings(tmp_path))) as port:
        for _, _, path, post in REFUSED.values():
            send(port, path, post)
        (tmp_path / "landing").rename(tmp_path / "gone")
        assert send(port, "/postmark", PM)[0] == 503
        assert send(port, "/mailgun", MG)[0] == 503
    said = caplog.text + "".join(capfd.readouterr())
    assert "error=FileNotFoundError errno=2" in said
    for word in ("canary", "example.org", "Basic", TOKEN[:16], SG[1]["X-Twilio-Email-Event-Webhook-Signature"][:16]):
        assert word not in said


def test_it_needs_no_more_than_it_says(tmp_path: Path) -> None:
    """The folder alone, on a machine without the warehouse; Mailgun and Postmark without cryptography as well."""
    shutil.copytree(ROOT / "collector" / "webhook_receiver", tmp_path / "webhook_receiver")
    program = (
        "import webhook_receiver as w\n"
        "base = {'MTW_LANDING_DIR': '.', 'MTW_WEBHOOK_STATE_DIR': '.'}\n"
        "w.from_environment(base | {'MTW_WEBHOOK_MAILGUN_KEY': 'k', 'MTW_WEBHOOK_POSTMARK_LOGIN': 'a:b'})\n"
        "try: w.from_environment(base | {'MTW_WEBHOOK_SENDGRID_KEY': 'k'})\n"
        "except w.SettingsError as error: print(error)\n"
    )
    # -S: without what is installed.
    done = subprocess.run([sys.executable, "-S", "-c", program], cwd=tmp_path, capture_output=True, text=True)
    assert (done.stderr, done.stdout) == (
        "", "MTW_WEBHOOK_SENDGRID_KEY needs the package cryptography: pip install cryptography\n",
    )  # fmt: skip


def test_the_age_that_is_taken(tmp_path: Path) -> None:
    """A provider's clock may be five minutes ahead; the window is the setting."""
    now = time.time()
    provider = Mailgun(["k"], 600)
    for age, taken in ((0, True), (590, True), (610, False), (-290, True), (-310, False)):
        body, headers = mailgun_post(MAILGUN_EVENT, token=TOKEN, key="k", at=now - age)
        if taken:
            assert provider.check(Request(headers, body), now).token == TOKEN
        else:
            with pytest.raises(Refused, match="stale"):
                provider.check(Request(headers, body), now)


def test_the_page_names_every_setting_and_reason() -> None:
    page = (ROOT / "docs" / "webhook-receiver.md").read_text(encoding="utf-8")
    code = (ROOT / "collector" / "webhook_receiver" / "settings.py").read_text(encoding="utf-8")
    named = set(re.findall(r"MTW_[A-Z_]+[A-Z]\b", code))
    assert len(named) == 8
    assert named == set(re.findall(r"MTW_[A-Z_]+[A-Z]\b", page))
    assert [reason for reason, status in STATUSES.items() if f"`{reason}`" not in page or status[:3] not in page] == []
