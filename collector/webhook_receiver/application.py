"""The WSGI application: POST /<provider>, answered 200 once the line is on disk.

Belongs here: what HTTP is allowed, the order of steps, what is logged. Does not: how a provider signs.
"""

import logging
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from typing import TYPE_CHECKING

from .landing_files import LandingFiles
from .providers import Provider, Request
from .refusal import Refused, Unavailable
from .used_tokens import UsedTokens

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment

MAX_BODY_BYTES = 1024 * 1024
"""What ingest takes as one line; a longer one would only be set aside."""

_LOG = logging.getLogger("webhook_receiver")


class Receiver:
    """The application. It logs counts, reasons and names of its own, never anything of a request.

    The exception is the link that confirms a subscription: it was signed and has a known form.
    """

    def __init__(
        self,
        providers: Iterable[Provider],
        landing: LandingFiles,
        tokens: UsedTokens | None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._providers = {provider.name: provider for provider in providers}
        self._landing = landing
        self._tokens = tokens
        self._clock = clock
        self._refused: Counter[tuple[str, str]] = Counter()
        self._lock = threading.Lock()

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        provider = self._providers.get(environ.get("PATH_INFO", "").removeprefix("/"))
        name = provider.name if provider else "-"
        headers = [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", "0")]
        try:
            if provider is None:
                raise Refused("unknown_provider")
            self._take(provider, environ)
            status = "200 OK"
        except Refused as refused:
            status = refused.status
            self._count(name, refused.reason)
            if refused.reason == "method":
                headers.append(("Allow", "POST"))
            if refused.reason == "login":
                headers.append(("WWW-Authenticate", 'Basic realm="webhooks"'))
        except (Unavailable, OSError, sqlite3.Error) as error:
            status = "503 Service Unavailable"
            # The kind and the system's number alone: a message might quote what was being written.
            _LOG.error("not taken, provider=%s error=%s errno=%s", name, type(error).__name__, _number(error))
        start_response(status, headers)
        return []

    def _take(self, provider: Provider, environ: "WSGIEnvironment") -> None:
        """Raises Refused, Unavailable, OSError, sqlite3.Error; else the line is on disk, or there is none to write."""
        request = _request(provider, environ)
        accepted = provider.check(request, self._clock())
        if accepted.notice:
            _LOG.warning("provider=%s %s", provider.name, accepted.notice)
            return
        # Line ends are only between the tokens of JSON: inside of a text they would be escaped.
        line = request.body.replace(b"\r", b" ").replace(b"\n", b" ").strip()
        once = self._tokens.once(accepted.token) if self._tokens and accepted.token else nullcontext()
        with once:
            self._landing.append(provider.name, line)

    def _count(self, provider: str, reason: str) -> None:
        with self._lock:
            self._refused[provider, reason] += 1
            count = self._refused[provider, reason]
        _LOG.warning("refused, provider=%s reason=%s count=%d", provider, reason, count)


def _request(provider: Provider, environ: "WSGIEnvironment") -> Request:
    if environ.get("REQUEST_METHOD") != "POST":
        raise Refused("method")
    if environ.get("CONTENT_TYPE", "").partition(";")[0].strip().lower() not in provider.content_types:
        raise Refused("content_type")
    length = environ.get("CONTENT_LENGTH") or ""
    if not length.isascii() or not length.isdecimal():
        raise Refused("no_length")
    if len(length) > 12 or int(length) > MAX_BODY_BYTES:
        raise Refused("too_large")
    headers = {key[5:].replace("_", "-").lower(): str(value) for key, value in environ.items() if key[:5] == "HTTP_"}
    provider.check_login(headers)
    try:
        body = environ["wsgi.input"].read(int(length))
    except OSError:
        raise Refused("incomplete") from None
    if len(body) != int(length):
        raise Refused("incomplete")
    return Request(headers, body)


def _number(error: Exception) -> int | None:
    return error.errno if isinstance(error, OSError) else None
