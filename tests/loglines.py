"""Typing tracking-log lines in tests: field by field, as the format's table names them."""

from pathlib import Path

VISITOR = "e5155671-4ab7-4ce4-a763-3b82dda6d881"
BROWSER = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36"
)


def line(
    pointer: int,
    *,
    server: str = "5",
    at: str = "2024-05-01T10:00:00.00",
    message: int | str = 1,
    delivery: int | str = 0x1AEAB4B6,
    url: int | str = 1,
    forced: int | str = 0,
    visitor: str = VISITOR,
    kind: str = "h",
    params: str = "",
    agent: str = BROWSER,
    ip: str = "52.46.20.64",
) -> bytes:
    """One line with its LF. Ids given as numbers are written in hex, as text verbatim."""
    ids = [f"{value:x}" if isinstance(value, int) else value for value in (message, delivery, url, forced)]
    fields = [f"{server}0x{pointer:016X}", at, *ids, visitor, kind, params, agent, ip]
    return "\t".join(fields).encode() + b"\n"


def numbered(count: int, *, server: str = "5", first: int = 0xFD7E000) -> list[bytes]:
    """Distinct lines with rising pointers."""
    times = (f"2024-05-01T10:{n // 60 % 60:02d}:{n % 60:02d}.{n % 100:02d}" for n in range(count))
    return [line(first + n, server=server, message=n % 97 + 1, at=at) for n, at in enumerate(times)]


def logs(landing: Path, name: str, *lines: bytes) -> Path:
    """Write a file below tracking_logs/."""
    path = landing / "tracking_logs" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(lines))
    return path
