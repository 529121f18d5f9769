"""PostgreSQL URLs of the settings: whether they can be used, and messages without what is secret in them.

Belongs here: what holds of every such URL, whoever connects with it. Does not: connecting.
"""

import hashlib
import json
import re
from urllib.parse import unquote, urlsplit

import psycopg
from psycopg.conninfo import conninfo_to_dict

from log_ingest.errors import IngestError

_ADDRESS = re.compile(r"""connection to server (at|on socket) ".*?"( \([^)]*\))?(, port \d+)? failed: """)
_HOW_TO_WRITE = "write it like postgresql://host:5432/database, with user:password@ before the host"
"""Not with both in one: what stands there is masked wherever messages are shown, in an example too."""


def check_url(url: str, setting: str) -> None:
    """Raises IngestError, naming the setting, where its value is no PostgreSQL URL. The message never shows it."""
    if not url.startswith(("postgresql://", "postgres://")):
        raise IngestError(f"{setting} is no PostgreSQL URL; {_HOW_TO_WRITE}")
    try:
        parameters = conninfo_to_dict(url)
        # A password with a bare / or @ spills into these, from where error messages would show it.
        is_sound = re.fullmatch(r"[0-9,]*", str(parameters.get("port") or "")) is not None and not any(
            "@" in str(parameters.get(name) or "") for name in ("host", "dbname")
        )
    except psycopg.Error:  # its message quotes parts of the URL
        is_sound = False
    if not is_sound:
        raise IngestError(f"{setting} cannot be read; {_HOW_TO_WRITE}, special characters of the password as %XX")


def identity(info: psycopg.ConnectionInfo) -> str:
    """Tells the database of an open connection from others without naming it."""
    place = json.dumps([info.host, info.port, info.dbname]).encode()
    return hashlib.sha256(place).hexdigest()[:16]


def error_line(error: psycopg.Error, url: str) -> str:
    """The first line of what the server or the driver says, without address and secrets."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    # The address adds nothing for whoever set the URL, and problems are published (meta.problem_files).
    line = _ADDRESS.sub("", lines[0].strip().removeprefix("connection failed: ")).removeprefix("FATAL:")
    return scrubbed(line.strip().rstrip("."), url)


_NO_ANSWER = "check that host and port are right and no firewall is between"
_REFUSED = "check that the server is up, and its host and port"
PASSING = (_NO_ANSWER, _REFUSED)
"""What to check where nobody answered: that may pass by itself."""


def what_to_check(error: psycopg.Error, line: str) -> str:
    """What to look at where a connection was refused."""
    if isinstance(error, psycopg.errors.ConnectionTimeout) or "timeout" in line:
        return _NO_ANSWER
    if re.search(r"password|authentication|no pg_hba\.conf entry|role .* does not exist", line):
        return "check user and password"
    if "database" in line and "does not exist" in line:
        return "check the name of the database"
    return _REFUSED


def scrubbed(text: str, url: str) -> str:
    """The text without the URL, the secrets in it and the host."""
    try:
        parameters = conninfo_to_dict(url)
    except psycopg.Error:
        parameters = {}
    secrets = {url, urlsplit(url).netloc.rpartition("@")[0].partition(":")[2]}
    secrets |= {str(value) for name, value in parameters.items() if "password" in name}
    secrets |= {unquote(secret) for secret in secrets}
    for secret in sorted(filter(None, secrets), key=len, reverse=True):
        text = text.replace(secret, "***")
    for host in filter(None, (parameters.get("host"), parameters.get("hostaddr"))):
        text = re.sub(f"""(['"]){re.escape(str(host))}\\1""", "***", text)
    return text
