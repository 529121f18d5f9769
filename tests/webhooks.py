"""Providers' webhooks in tests: keys, signatures as the providers' pages describe them, the receiver behind HTTP.

Belongs here: signing and POSTing as a provider does, independently of collector/webhook_receiver; running it in this
process, or in one of its own (`python -m tests.webhooks [BYTES]`: at most so many in one file, like a disk that is
full; prints its port). Does not: what is to be taken or refused.
"""

import base64
import hashlib
import hmac
import http.client
import json
import os
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from collector.webhook_receiver import from_environment
from tests.conftest import ROOT

TOPIC = "arn:aws:sns:eu-west-1:123456789012:mail-events"
CERTIFICATE_URL = "https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-0123456789abcdef.pem"
MAILGUN_KEY = "mailgun-canary-5f1c9"
POSTMARK_LOGIN = "hooks:postmark-canary-77e0"
SENDGRID_PRIVATE = ec.generate_private_key(ec.SECP256R1())
SNS_PRIVATE = rsa.generate_private_key(65537, 2048)

Post = tuple[bytes, dict[str, str]]
"""Body and headers."""


def public_text(key: ec.EllipticCurvePrivateKey) -> str:
    """As SendGrid's settings show it."""
    return base64.b64encode(key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).decode()


def certificate(key: rsa.RSAPrivateKey = SNS_PRIVATE, *, expired: bool = False) -> bytes:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sns.amazonaws.com")])
    start = datetime.now(UTC) - timedelta(days=30)
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + timedelta(days=1 if expired else 365))
        .sign(key, hashes.SHA256())
        .public_bytes(Encoding.PEM)
    )


def sendgrid_post(body: bytes, *, key: ec.EllipticCurvePrivateKey = SENDGRID_PRIVATE, at: float | None = None) -> Post:
    stamp = str(int(time.time() if at is None else at))
    signature = base64.b64encode(key.sign(stamp.encode() + body, ec.ECDSA(hashes.SHA256()))).decode()
    return body, {
        "Content-Type": "application/json",
        "X-Twilio-Email-Event-Webhook-Signature": signature,
        "X-Twilio-Email-Event-Webhook-Timestamp": stamp,
    }


def mailgun_post(
    event: dict[str, Any], *, token: str, key: str = MAILGUN_KEY, at: float | None = None, subaccount: bool = False
) -> Post:
    stamp = str(int(time.time() if at is None else at))
    hexdigits = hmac.new(key.encode(), f"{stamp}{token}".encode(), hashlib.sha256).hexdigest()
    signature = {"timestamp": stamp, "token": token, "signature": hexdigits}
    if subaccount:
        signature |= {"signature": "0" * 64, "parent-signature": hexdigits}
    body = json.dumps({"signature": signature, "event-data": event}, indent=1).encode()
    return body, {"Content-Type": "application/json; charset=utf-8"}


def sns_post(
    message: str,
    *,
    version: str = "2",
    key: rsa.RSAPrivateKey = SNS_PRIVATE,
    at: float | None = None,
    **changed: str | None,
) -> Post:
    """A notification, or with Type=… one of the others; further names replace or (None) drop what is there before."""
    moment = datetime.fromtimestamp(time.time() if at is None else at, UTC)
    said: dict[str, Any] = {
        "Type": "Notification",
        "MessageId": "22b80b92-fdea-4c2c-8f9d-bdfb0c7bf324",
        "TopicArn": TOPIC,
        "Subject": "Amazon SES Email Event Notification",
        "Message": message,
        "Timestamp": moment.strftime("%Y-%m-%dT%H:%M:%S.000Z"),
        "SignatureVersion": version,
        "SigningCertURL": CERTIFICATE_URL,
        "UnsubscribeURL": "https://sns.eu-west-1.amazonaws.com/?Action=Unsubscribe",
    } | changed
    said = {name: value for name, value in said.items() if value is not None}
    text = f"Message\n{said['Message']}\nMessageId\n{said['MessageId']}\n"
    if said["Type"] != "Notification":
        text += f"SubscribeURL\n{said['SubscribeURL']}\nTimestamp\n{said['Timestamp']}\nToken\n{said['Token']}\n"
    elif "Subject" in said:
        text += f"Subject\n{said['Subject']}\nTimestamp\n{said['Timestamp']}\n"
    else:
        text += f"Timestamp\n{said['Timestamp']}\n"
    text += f"TopicArn\n{said['TopicArn']}\nType\n{said['Type']}\n"
    algorithm = hashes.SHA1() if version == "1" else hashes.SHA256()
    said["Signature"] = base64.b64encode(key.sign(text.encode(), padding.PKCS1v15(), algorithm)).decode()
    return json.dumps(said, indent=2).encode(), {"Content-Type": "text/plain; charset=UTF-8"}


def postmark_post(event: dict[str, Any], *, login: str | None = POSTMARK_LOGIN) -> Post:
    headers = {"Content-Type": "application/json"}
    if login is not None:
        headers["Authorization"] = "Basic " + base64.b64encode(login.encode()).decode()
    return json.dumps(event).encode(), headers


def send(port: int, path: str, post: Post, *, method: str = "POST") -> tuple[int, bytes]:
    """The answer's status and body."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request(method, path, *post)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


class _Quiet(WSGIRequestHandler):
    def log_message(self, *args: Any) -> None:
        pass


class _Threading(ThreadingMixIn, WSGIServer):
    daemon_threads = True


@contextmanager
def serving(application: Any) -> Iterator[int]:
    """The port at which the application answers, in this process."""
    with make_server("127.0.0.1", 0, application, _Threading, _Quiet) as server:
        thread = threading.Thread(target=server.serve_forever, args=[0.02])
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


def settings(folder: Path) -> dict[str, str]:
    """Settings for all four providers, with the folders that they name, which are made below folder."""
    for name in ("landing", "state"):
        (folder / name).mkdir(exist_ok=True)
    pem = folder / "sns.pem"
    pem.write_bytes(certificate())
    return {
        "MTW_LANDING_DIR": str(folder / "landing"),
        "MTW_WEBHOOK_STATE_DIR": str(folder / "state"),
        "MTW_WEBHOOK_SENDGRID_KEY": public_text(SENDGRID_PRIVATE),
        "MTW_WEBHOOK_MAILGUN_KEY": MAILGUN_KEY,
        "MTW_WEBHOOK_SES_TOPICS": TOPIC,
        "MTW_WEBHOOK_SNS_CERTIFICATE": str(pem),
        "MTW_WEBHOOK_POSTMARK_LOGIN": POSTMARK_LOGIN,
    }


@contextmanager
def another_process(environ: dict[str, str], *arguments: str) -> Iterator[int]:
    """The port of a receiver in a process of its own."""
    command = [sys.executable, "-m", "tests.webhooks", *arguments]
    with subprocess.Popen(
        command, cwd=ROOT, env={"PATH": os.environ["PATH"], **environ}, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        try:
            yield int(process.stdout.readline())
        finally:
            # Not terminate: where the tests run in the background of a shell, SIGINT is ignored, Dagster then ignores
            # SIGTERM too, and a child inherits that.
            process.kill()


if __name__ == "__main__":
    if len(sys.argv) > 1:
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), resource.RLIM_INFINITY))
    with make_server("127.0.0.1", 0, from_environment(), _Threading, _Quiet) as found:
        print(found.server_port, flush=True)
        found.serve_forever()
