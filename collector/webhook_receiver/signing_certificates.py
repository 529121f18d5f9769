"""The certificates that Amazon SNS signs with: where they may come from, and whether a signature is of one.

Belongs here: fetching, keeping, validity, the two versions of the signature. Does not: what text is signed.

A certificate is believed because it came over TLS from a host of SNS, or because the operator put it there. It is
one without its chain, so there is none to check.
"""

import http.client
import re
import urllib.error
import urllib.request
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from .refusal import Refused, Unavailable

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

HOST = r"https://sns\.[a-z]{2}(?:-[a-z]+)+-[0-9]{1,2}\.amazonaws\.com(?:\.cn)?"
"""A regular expression: scheme and host of SNS in any region."""

_URL = re.compile(HOST + r"/[A-Za-z0-9_-]{1,128}\.pem")
_MAX_BYTES = 64 * 1024
_MAX_KEPT = 16
_SECONDS = 10


class SigningCertificates:
    """pem: the certificates to believe; None: those that messages name. Raises ValueError where pem holds none."""

    def __init__(self, pem: bytes | None, fetch: "Callable[[str], bytes]") -> None:
        from cryptography.x509 import load_pem_x509_certificates

        self._given = None if pem is None else load_pem_x509_certificates(pem)
        self._fetch = fetch
        self._kept: dict[str, list[Certificate]] = {}

    def verify(self, url: str, version: str, signature: bytes, said: bytes, now: float) -> None:
        """Raises Refused where the signature is none of a valid certificate, Unavailable where that cannot be had."""
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import padding, rsa

        algorithm: hashes.HashAlgorithm
        if version == "1":
            algorithm = hashes.SHA1()
        elif version == "2":
            algorithm = hashes.SHA256()
        else:
            raise Refused("signature")
        moment = datetime.fromtimestamp(now, UTC)
        for certificate in self._given if self._given is not None else self._named(url):
            key = certificate.public_key()
            if not certificate.not_valid_before_utc <= moment <= certificate.not_valid_after_utc:
                continue
            if not isinstance(key, rsa.RSAPublicKey):
                continue
            try:
                key.verify(signature, said, padding.PKCS1v15(), algorithm)
            except InvalidSignature:
                continue
            return
        raise Refused("signature")

    def _named(self, url: str) -> "list[Certificate]":
        from cryptography.x509 import load_pem_x509_certificates

        if not _URL.fullmatch(url):
            raise Refused("certificate")
        if url not in self._kept:
            try:
                found = load_pem_x509_certificates(self._fetch(url))
            except ValueError:
                raise Refused("certificate") from None
            if len(self._kept) >= _MAX_KEPT:
                self._kept.clear()
            self._kept[url] = found
        return self._kept[url]


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *args: Any, **more: Any) -> None:
        return None


def fetched(url: str) -> bytes:
    """What is at the URL. Raises Refused where the server says that nothing is there, Unavailable for other faults."""
    try:
        with urllib.request.build_opener(_NoRedirect).open(url, timeout=_SECONDS) as answer:
            found: bytes = answer.read(_MAX_BYTES + 1)
    except urllib.error.HTTPError as error:
        with error:
            if error.code < 500 and error.code != 429:
                raise Refused("certificate") from None
        raise Unavailable from None
    except (OSError, http.client.HTTPException):
        raise Unavailable from None
    if len(found) > _MAX_BYTES:
        raise Refused("certificate")
    return found
