"""Typing access-log lines in tests, field by field."""

from pathlib import Path

from tests.loglines import BROWSER, VISITOR

WHEN = "01/May/2024:10:00:00 +0000"


def request(
    target: str,
    *,
    method: str = "GET",
    protocol: str = " HTTP/1.1",
    status: int | str = 302,
    size: int | str = 0,
    vhost: str = "",
    ip: str = "52.46.20.64",
    user: str = "-",
    at: str = WHEN,
    referrer: str = "-",
    agent: str = BROWSER,
    appended: str = "",
    common: bool = False,
) -> str:
    """One line, combined unless common; vhost stands before it, appended behind it, both verbatim."""
    line = f'{vhost}{ip} - {user} [{at}] "{method} {target}{protocol}" {status} {size}'
    return line if common else f'{line} "{referrer}" "{agent}"{appended}'


def hit(message: int = 0x787BC0, delivery: int = 0x281A4D8, url: int = 1, *, params: str = "", **fields: str) -> str:
    """A message hit as the redirection server's links read it."""
    more = f"&{params}" if params else ""
    fields = {"appended": f' "-" "uuid230={VISITOR}"', **fields}
    return request(f"/r/?id=h{message:x},{delivery:x},{url:x}{more}", **fields)


def access_log(landing: Path, name: str, *lines: str) -> Path:
    """Write a file below access_logs/."""
    path = landing / "access_logs" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes("".join(f"{line}\n" for line in lines).encode())
    return path
