"""Typing webhook events in tests: what a provider would POST for one act, kept small."""

import json
from pathlib import Path
from typing import Any

BROWSER = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0"


def sendgrid(event: str, at: int, email: str = "ann@example.org", **more: Any) -> dict[str, Any]:
    """One event as SendGrid's webhook tells it; at: seconds since 1970."""
    event_id = more.pop("sg_event_id", f"{event}-{at}")
    found = {"email": email, "timestamp": at, "event": event, "sg_event_id": event_id, "sg_message_id": f"m.{email}"}
    if event in ("open", "click"):
        found |= {"useragent": BROWSER, "ip": "192.0.2.1"}
    return found | more


def jsonl(landing: Path, name: str, *documents: object) -> Path:
    """Write a file below esp_events/; bytes are written as they are, anything else as JSON."""
    path = landing / "esp_events" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = (one if isinstance(one, bytes) else json.dumps(one).encode() for one in documents)
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    return path
