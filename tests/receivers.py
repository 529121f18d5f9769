"""Servers that receive alerts in tests: an HTTP server for the webhook, an SMTP server for mails. Both on loopback.

Belongs here: receiving and keeping, and answering as told to. Does not: what should have arrived.
"""

import json
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Webhook:
    """answers: statuses for the next requests, 200 when they are used up. received: bodies that were answered 200."""

    url: str = ""
    answers: list[int] = field(default_factory=list)
    received: list[dict[str, Any]] = field(default_factory=list)
    requests: int = 0


@contextmanager
def webhook() -> Iterator[Webhook]:
    found = Webhook()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            found.requests += 1
            body = self.rfile.read(int(self.headers["Content-Length"]))
            status = found.answers.pop(0) if found.answers else 200
            if status == 200:
                found.received.append(json.loads(body))
            self.send_response(status)
            if status == 302:
                self.send_header("Location", "http://127.0.0.1:9/elsewhere")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        found.url = f"http://127.0.0.1:{server.server_port}/services/T0KEN-canary"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield found
        finally:
            server.shutdown()
            thread.join()


@dataclass
class Mailbox:
    """logins: what was said after AUTH, base64."""

    url: str = ""
    port: int = 0
    messages: list[EmailMessage] = field(default_factory=list)
    recipients: list[str] = field(default_factory=list)
    logins: list[str] = field(default_factory=list)
    refuses_login: bool = False


@contextmanager
def mailbox() -> Iterator[Mailbox]:
    """As much of SMTP as smtplib speaks: EHLO, AUTH PLAIN, MAIL, RCPT, DATA, QUIT."""
    found = Mailbox()

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self.say("220 test")
            while line := self.rfile.readline():
                verb, _, rest = line.decode().strip().partition(" ")
                match verb.upper():
                    case "EHLO":
                        self.say("250-test", "250 AUTH PLAIN")
                    case "AUTH":
                        found.logins.append(rest.removeprefix("PLAIN "))
                        self.say("535 no" if found.refuses_login else "235 yes")
                    case "RCPT":
                        found.recipients.append(rest.partition(":")[2].strip("<>"))
                        self.say("250 ok")
                    case "DATA":
                        self.say("354 go on")
                        self.take()
                        self.say("250 ok")
                    case "QUIT":
                        self.say("221 bye")
                        return
                    case _:
                        self.say("250 ok")

        def take(self) -> None:
            lines = []
            while (line := self.rfile.readline()) != b".\r\n":
                lines.append(line[1:] if line.startswith(b"..") else line)
            found.messages.append(message_from_bytes(b"".join(lines).replace(b"\r\n", b"\n"), policy=policy.default))

        def say(self, *lines: str) -> None:
            self.wfile.write("".join(f"{line}\r\n" for line in lines).encode())

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        found.port = server.server_address[1]
        found.url = f"smtp://127.0.0.1:{found.port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield found
        finally:
            server.shutdown()
            thread.join()
