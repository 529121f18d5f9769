"""How each provider proves that a POST is its own.

Belongs here: signing schemes as the providers document them, and how old a proof may be. Does not: HTTP, files.

SendGrid  ECDSA P-256 with SHA-256 over the time of a header and the raw body.
Mailgun   HMAC-SHA256 over time and token, both in the body. The event is not signed: a token is good for one line.
SES       Amazon SNS: RSA over a canonical text of the message; see signing_certificates.py.
Postmark  does not sign: HTTP basic authentication.
"""

import base64
import binascii
import hashlib
import hmac
import json
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from .refusal import Refused
from .signing_certificates import HOST, SigningCertificates, fetched

SKEW_SECONDS = 300
"""How far a provider's clock may be ahead of ours."""

# Ten digits always: time and what follows it are signed without a separator, so that a digit could change sides.
_SECONDS = re.compile(r"[0-9]{10}")
_TOKEN = re.compile(r"[0-9A-Za-z_-]{20,128}")
_SNS_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?Z")
_SNS_LINK = re.compile(HOST + r"/\?[A-Za-z0-9=&:%._-]{1,1024}")


@dataclass(frozen=True)
class Request:
    """headers: lower-case names. body: as it came."""

    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Accepted:
    """A genuine request. token: good for one line. notice: what to log instead of writing a line."""

    token: str = ""
    notice: str = ""


class Provider(ABC):
    """name: its path, and its folder below esp_events/."""

    name: str
    content_types: Collection[str] = ("application/json",)
    needs_tokens = False

    def check_login(self, headers: Mapping[str, str]) -> None:  # noqa: B027
        """Raises Refused where headers alone tell that the request is not to be read."""

    @abstractmethod
    def check(self, request: Request, now: float) -> Accepted:
        """Raises Refused, or Unavailable where it cannot be told now. now: seconds since 1970."""


class SendGrid(Provider):
    """The signed event webhook. keys: the public keys that its settings show, of which one must fit.

    Raises ValueError for what is no such key, ModuleNotFoundError without cryptography.
    """

    name = "sendgrid"

    def __init__(self, keys: Sequence[str], window: int) -> None:
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.hazmat.primitives.serialization import load_der_public_key

        self._keys = []
        for text in keys:
            key = load_der_public_key(base64.b64decode(text, validate=True))
            if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name != "secp256r1":
                raise ValueError("no key on the curve P-256")
            self._keys.append(key)
        self._window = window

    def check(self, request: Request, now: float) -> Accepted:
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import ec

        time = request.headers.get("x-twilio-email-event-webhook-timestamp", "")
        signature = _decoded(request.headers.get("x-twilio-email-event-webhook-signature", ""))
        if not _SECONDS.fullmatch(time):
            raise Refused("no_signature")
        for key in self._keys:
            try:
                key.verify(signature, time.encode() + request.body, ec.ECDSA(hashes.SHA256()))
            except InvalidSignature:
                continue
            _check_age(int(time), now, self._window)
            _parsed(request.body)
            return Accepted()
        raise Refused("signature")


class Mailgun(Provider):
    """keys: HTTP webhook signing keys, of which one must fit (of a subaccount: its own, or that of the account)."""

    name = "mailgun"
    needs_tokens = True

    def __init__(self, keys: Sequence[str], window: int) -> None:
        self._keys = [key.encode() for key in keys]
        self._window = window

    def check(self, request: Request, now: float) -> Accepted:
        document = _parsed(request.body)
        proof = document.get("signature") if isinstance(document, dict) else None
        if not isinstance(proof, dict):
            raise Refused("no_signature")
        time, token = str(proof.get("timestamp")), proof.get("token")
        signatures = [
            str(proof[name]).encode(errors="replace") for name in ("signature", "parent-signature") if name in proof
        ]
        if not isinstance(token, str) or not _SECONDS.fullmatch(time) or not _TOKEN.fullmatch(token):
            raise Refused("no_signature")
        said = (time + token).encode()
        expected = [hmac.new(key, said, hashlib.sha256).hexdigest().encode() for key in self._keys]
        if not any(hmac.compare_digest(one, other) for one in expected for other in signatures):
            raise Refused("signature")
        _check_age(int(time), now, self._window)
        return Accepted(token=token)


class Ses(Provider):
    """Events of Amazon SES through SNS. topics: ARNs of one's own topics; everybody can have SNS sign something.

    certificate: PEM, where certificates are not to be fetched. Raises ValueError where it is none,
    ModuleNotFoundError without cryptography.
    """

    name = "ses"
    content_types = ("text/plain", "application/json")

    def __init__(
        self,
        topics: Collection[str],
        window: int,
        *,
        certificate: bytes | None = None,
        fetch: Callable[[str], bytes] = fetched,
    ) -> None:
        self._topics = frozenset(topics)
        self._window = window
        self._certificates = SigningCertificates(certificate, fetch)

    def check(self, request: Request, now: float) -> Accepted:
        message = _parsed(request.body)
        if not isinstance(message, dict) or not isinstance(message.get("Signature"), str):
            raise Refused("no_signature")
        kind = message.get("Type")
        if kind == "Notification":
            names = ["Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"]
            if message.get("Subject") is None:
                names.remove("Subject")
        elif kind in ("SubscriptionConfirmation", "UnsubscribeConfirmation"):
            names = ["Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"]
        else:
            raise Refused("no_signature")
        values = [message.get(name) for name in names]
        if not all(isinstance(value, str) for value in values):
            raise Refused("no_signature")
        # Before anything is fetched for it.
        if message["TopicArn"] not in self._topics:
            raise Refused("topic")
        try:
            said = "".join(f"{name}\n{value}\n" for name, value in zip(names, values, strict=True)).encode()
        except UnicodeEncodeError:
            raise Refused("not_json") from None
        self._certificates.verify(
            str(message.get("SigningCertURL")),
            str(message.get("SignatureVersion")),
            _decoded(message["Signature"]),
            said,
            now,
        )
        _check_age(_sns_seconds(message["Timestamp"]), now, self._window)
        if kind == "Notification":
            return Accepted()
        return Accepted(notice=_notice(kind, message["SubscribeURL"]))


class Postmark(Provider):
    """login: user:password, as in the webhook's URL."""

    name = "postmark"

    def __init__(self, login: str) -> None:
        self._login = login.encode()

    def check_login(self, headers: Mapping[str, str]) -> None:
        scheme, _, said = headers.get("authorization", "").partition(" ")
        try:
            login = base64.b64decode(said.strip().encode("latin-1"), validate=True)
        except (binascii.Error, UnicodeEncodeError):
            login = b""
        if scheme.lower() != "basic" or not hmac.compare_digest(login, self._login):
            raise Refused("login")

    def check(self, request: Request, now: float) -> Accepted:
        _parsed(request.body)
        return Accepted()


def _parsed(body: bytes) -> Any:
    """The document of a body. Refused is also a key that comes twice: another reader might take the other value."""
    try:
        return json.loads(body.decode("utf-8"), object_pairs_hook=_without_repetition)
    except (ValueError, RecursionError):
        raise Refused("not_json") from None


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key comes twice")
    return found


def _decoded(signature: str) -> bytes:
    try:
        return base64.b64decode(signature.encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError):
        raise Refused("signature") from None


def _check_age(signed_at: float, now: float, window: int) -> None:
    if not -SKEW_SECONDS <= now - signed_at <= window:
        raise Refused("stale")


def _sns_seconds(text: str) -> float:
    try:
        if _SNS_TIME.fullmatch(text):
            return datetime.fromisoformat(text).timestamp()
    except ValueError:
        pass
    raise Refused("stale")


def _notice(kind: str, link: str) -> str:
    if kind == "UnsubscribeConfirmation":
        return "the subscription of SNS has ended: no more events will come"
    known = link if _SNS_LINK.fullmatch(link) else "(not of the known form: confirm in the console of SNS)"
    return f"SNS asks to confirm the subscription; if it is yours, open {known}"
