"""The ways an alert goes out: a POST to a webhook, a mail. Each either worked or says in one line why not.

Belongs here: protocols, time limits, what may be said of a failure. Does not: what an alert says (alert).
No message of this module holds an address, a user or a password: they are secrets, or lead to one.
"""

import contextlib
import json
import smtplib
import socket
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from http.client import HTTPException
from ipaddress import ip_address
from typing import Any
from urllib.parse import unquote, urlsplit

from orchestration.alerts.alert import Alert
from orchestration.settings import Settings

SECONDS = 10
"""Longest wait for an answer: a run that ended waits no longer for this."""
_AGAIN_AFTER = 1.0
_BUSY = {429, 500, 502, 503, 504}


class NotSent(Exception):
    """The alert did not go out by this channel. The message is one line without secrets."""


class NotReached(NotSent):
    """Nobody answered, which took its time, or nobody can: the next alert would fare the same."""


def channels(settings: Settings) -> dict[str, Callable[[Alert], None]]:
    """The channels that are set up, by name. Each sends an alert or raises NotSent."""
    found: dict[str, Callable[[Alert], None]] = {}
    if settings.alert_webhook_url:
        found["webhook"] = lambda alert: post(str(settings.alert_webhook_url), alert)
    if settings.alert_email:
        found["e-mail"] = lambda alert: mail(settings, alert)
    return found


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *arguments: Any) -> None:
        """A redirected POST becomes a GET elsewhere, and counts as sent: not here."""


def post(url: str, alert: Alert) -> None:
    """POST the alert as JSON. Raises NotSent."""
    request = urllib.request.Request(
        url, json.dumps(alert.json()).encode(), {"Content-Type": "application/json"}, method="POST"
    )
    opener = urllib.request.build_opener(_NoRedirect)
    for is_last in (False, True):
        try:
            with opener.open(request, timeout=SECONDS):
                return
        except urllib.error.HTTPError as error:
            error.close()
            if is_last or error.code not in _BUSY:
                raise NotSent(f"the webhook answered {error.code}") from None
        except (OSError, HTTPException, ValueError) as error:
            if is_last:
                name = type(getattr(error, "reason", None) or error).__name__
                raise NotReached(f"the webhook cannot be reached ({name})") from None
        time.sleep(_AGAIN_AFTER)


def mail(settings: Settings, alert: Alert) -> None:
    """Send the alert as a plain-text mail. Raises NotSent."""
    message = EmailMessage()
    message["Subject"] = f"[message tracking] {alert.subject}"
    message["From"] = settings.alert_sender or f"message-tracking@{socket.gethostname()}"
    message["To"] = ", ".join(settings.alert_email)
    message["Date"] = formatdate()
    message["Message-ID"] = make_msgid(domain="message-tracking.invalid")
    # Out-of-office replies to it would be answered by nobody.
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(alert.text() + "\n")
    parts = urlsplit(settings.smtp_url)
    host = parts.hostname or "localhost"
    try:
        with contextlib.ExitStack() as held:
            context = ssl.create_default_context()
            if parts.scheme == "smtps":
                server: smtplib.SMTP = smtplib.SMTP_SSL(host, parts.port or 465, timeout=SECONDS, context=context)
            else:
                server = smtplib.SMTP(host, parts.port or (587 if parts.username else 25), timeout=SECONDS)
            held.callback(server.close)
            server.ehlo()
            if parts.scheme == "smtp" and server.has_extn("starttls"):
                server.starttls(context=context)
                server.ehlo()
            elif parts.scheme == "smtp" and parts.username and not _is_this_machine(host):
                raise NotSent("the mail server offers no encryption; the password is not sent to it")
            if parts.username:
                server.login(unquote(parts.username), unquote(parts.password or ""))
            if server.send_message(message):
                raise NotSent("the mail server refused some of the recipients")
            server.quit()
    except smtplib.SMTPAuthenticationError:
        raise NotSent("the mail server refused user and password of MTW_SMTP_URL") from None
    except smtplib.SMTPResponseException as error:
        raise NotSent(f"the mail server answered {error.smtp_code}") from None
    except (OSError, ValueError, smtplib.SMTPException) as error:
        # ValueError: a host, an address or a password that cannot be written as the protocol wants it.
        raise NotReached(f"the mail cannot be sent ({type(error).__name__})") from None


def _is_this_machine(host: str) -> bool:
    with contextlib.suppress(ValueError):
        return ip_address(host).is_loopback
    return host == "localhost"
