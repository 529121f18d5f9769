"""Who may reach what is served: this machine alone, or others once there is a login.

Belongs here: which address each server may listen on. Does not: starting them (orchestration.serve), or asking people
(reports, or a proxy in front). Dagster's UI has no login of its own, so only a proxy lets it leave this machine.
"""

import ipaddress
import tomllib
from dataclasses import dataclass
from pathlib import Path

from orchestration.settings import Settings

GUIDE = "docs/report-pages.md"
AUTH_KEYS = ("redirect_uri", "cookie_secret", "client_id", "client_secret", "server_metadata_url")
"""What [auth] of the secrets file has to hold."""


class AccessError(Exception):
    """What is asked for would be open to others. The message is one line that says what to do."""


@dataclass(frozen=True)
class Access:
    """Where the servers may listen. host_names: what a browser may call the pages; empty: anything.

    secrets: the file that the pages read their provider from.
    """

    dagster_host: str
    pages_host: str
    host_names: tuple[str, ...] = ()
    secrets: Path | None = None


def allowed(settings: Settings, host: str) -> Access:
    """What may listen where, when asked to serve on this host. Raises AccessError."""
    secrets = _checked_secrets(settings) if settings.login == "oidc" else None
    if is_loopback(host):
        # Else a web page could give itself a name that leads here, and read the pages through its visitor's browser.
        names = ("127.0.0.1", "localhost", "::1") if not settings.login else ()
        return Access(host, host, names, secrets)
    if settings.login == "proxy":
        return Access(host, host)
    if settings.login == "oidc":
        return Access("127.0.0.1", host, (), secrets)
    raise AccessError(
        f"other machines can reach {host}, so people have to log in: set MTW_LOGIN=oidc, or MTW_LOGIN=proxy where a"
        f" proxy in front asks them ({GUIDE}), or leave --host at 127.0.0.1"
    )


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _checked_secrets(settings: Settings) -> Path:
    path = settings.login_secrets
    if path is None:
        raise AccessError(f"MTW_LOGIN is oidc: name the file with its [auth] in MTW_LOGIN_SECRETS ({GUIDE})")
    try:
        with path.open("rb") as file:
            auth = tomllib.load(file).get("auth")
    except OSError as error:
        raise AccessError(f"MTW_LOGIN_SECRETS: {path} cannot be read ({error.strerror})") from error
    except tomllib.TOMLDecodeError as error:
        # Its words may quote the file.
        raise AccessError(f"MTW_LOGIN_SECRETS: {path} is no TOML; see {GUIDE}") from error
    missing = [key for key in AUTH_KEYS if not isinstance(auth, dict) or not auth.get(key)]
    if missing:
        raise AccessError(f"MTW_LOGIN_SECRETS: [auth] of {path} lacks {', '.join(missing)}; see {GUIDE}")
    return path
