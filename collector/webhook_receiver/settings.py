"""The receiver's settings: environment variables, read once at the start. Secrets are nowhere else.

Belongs here: names, defaults, what makes a setting unusable. Does not: what is done with it. No message here shows a
value, since a key may stand in the wrong variable.
"""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from .application import Receiver
from .landing_files import LandingFiles
from .providers import SKEW_SECONDS, Mailgun, Postmark, Provider, SendGrid, Ses
from .used_tokens import UsedTokens

_T = TypeVar("_T")

WINDOW_SECONDS = 25 * 3600
"""Default age up to which a signed time is taken. A provider that got no answer tries again for up to a day, with the
first signature: a short window loses what was sent during an outage, and a repetition counts once anyway."""


class SettingsError(Exception):
    """A setting is missing or unusable. The message is one line that names the variable and says what to do."""


def from_environment(environ: Mapping[str, str] | None = None) -> Receiver:
    """The application for the providers whose setting is there. Raises SettingsError."""
    environ = os.environ if environ is None else environ
    window = _seconds(environ)
    providers: list[Provider] = []
    if keys := _list(environ, "MTW_WEBHOOK_SENDGRID_KEY"):
        providers.append(_made("MTW_WEBHOOK_SENDGRID_KEY", lambda: SendGrid(keys, window)))
    if secrets := _list(environ, "MTW_WEBHOOK_MAILGUN_KEY"):
        providers.append(Mailgun(secrets, window))
    if topics := _list(environ, "MTW_WEBHOOK_SES_TOPICS"):
        certificate = environ.get("MTW_WEBHOOK_SNS_CERTIFICATE", "")
        pem = _made("MTW_WEBHOOK_SNS_CERTIFICATE", lambda: Path(certificate).read_bytes()) if certificate else None
        name = "MTW_WEBHOOK_SNS_CERTIFICATE" if certificate else "MTW_WEBHOOK_SES_TOPICS"
        providers.append(_made(name, lambda: Ses(topics, window, certificate=pem)))
    if login := environ.get("MTW_WEBHOOK_POSTMARK_LOGIN", ""):
        user, _, password = login.partition(":")
        if not user or not password:
            raise SettingsError("MTW_WEBHOOK_POSTMARK_LOGIN must be user:password, as in the webhook's URL")
        providers.append(Postmark(login))
    if not providers:
        raise SettingsError("no provider is set up; set at least one MTW_WEBHOOK_… variable (docs/webhook-receiver.md)")
    tokens = None
    if any(provider.needs_tokens for provider in providers):
        state = _folder(environ, "MTW_WEBHOOK_STATE_DIR", "Mailgun's used tokens are kept in it")
        tokens = UsedTokens(state / "used-tokens.sqlite", window + SKEW_SECONDS)
    landing = _folder(environ, "MTW_LANDING_DIR", "lines are landed in it")
    return Receiver(providers, LandingFiles(landing), tokens)


def _list(environ: Mapping[str, str], name: str) -> list[str]:
    return [part.strip() for part in environ.get(name, "").split(",") if part.strip()]


def _folder(environ: Mapping[str, str], name: str, why: str) -> Path:
    path = environ.get(name, "")
    if not path or not Path(path).is_dir():
        raise SettingsError(f"{name} must name a folder that exists: {why}")
    return Path(path).resolve()


def _seconds(environ: Mapping[str, str]) -> int:
    text = environ.get("MTW_WEBHOOK_WINDOW_SECONDS") or str(WINDOW_SECONDS)
    if not text.isascii() or not text.isdecimal() or len(text) > 9 or not 60 <= int(text) <= 7 * 86400:
        raise SettingsError("MTW_WEBHOOK_WINDOW_SECONDS must be a number from 60 to 604800")
    return int(text)


def _made(name: str, make: Callable[[], _T]) -> _T:
    try:
        return make()
    except ModuleNotFoundError:
        raise SettingsError(f"{name} needs the package cryptography: pip install cryptography") from None
    except (ValueError, OSError):
        # What a parser of keys says may quote the key.
        raise SettingsError(f"{name} cannot be used: see docs/webhook-receiver.md for what it has to be") from None
