"""What a user agent says of device, system and browser: parsed once per distinct text, when first seen.

Belongs here: the parser, and landing its result. Does not: verdicts on machines (dbt_project).
"""

import hashlib
from datetime import datetime
from functools import cache

import pyarrow as pa

from log_ingest.catalog import LINE_SOURCES, USER_AGENTS_SCHEMA
from log_ingest.landing import Landing
from log_ingest.ledger import Commit, Ledger

MARK = "user_agents_through_batch"
MAX_PARSED_CHARACTERS = 1024
"""A longer text is parsed by its beginning: bounds the time of the patterns."""

_PHONE_WORDS = ("iphone", "ipod", "mobile", "windows phone", "blackberry", "opera mini")
_TABLET_WORDS = ("ipad", "tablet", "kindle", "silk/", "playbook")
_DESKTOP_SYSTEMS = ("Windows", "Mac OS X", "Linux", "Ubuntu", "Chrome OS", "Fedora", "Debian", "FreeBSD")


def land_new(landing: Landing, ledger: Ledger, *, run_id: str, ingested_at: datetime) -> int | None:
    """Land the user agents that new batches of lines brought and that were not known. Returns the batch id, if any."""
    through = int(ledger.fact(MARK, "0"))
    parts = [
        row["path"]
        for source in LINE_SOURCES
        for row in ledger.parts(source=source.name, after=through)
        if row["path"].startswith(f"{source.name}/")  # a batch also holds lines set aside
    ]
    latest = ledger.last_batch_id()
    batch_id = None
    if parts:
        known = [row["path"] for row in ledger.parts(source="user_agents")]
        select = f"select distinct user_agent from {landing.read_parts(parts)} where user_agent is not null"
        if known:
            select += f" except select user_agent from {landing.read_parts(known)}"
        texts = [row[0] for row in landing.con.execute(f"{select} order by 1").fetchall()]
        if texts:
            unit = landing.new_unit()
            unit.add_table("user_agents", describe(texts, ingested_at))
            batch_id = landing.commit(unit, Commit("user_agents", run_id, accepted_count=len(texts)))
    if latest != through:
        ledger.set_fact(MARK, str(latest))
    return batch_id


def describe(texts: list[str], ingested_at: datetime) -> pa.Table:
    """One row per text, as USER_AGENTS_SCHEMA."""
    parse, version = _parser()
    rows = [_describe(parse, text) | {"parser_version": version, "ingested_at": ingested_at} for text in texts]
    return pa.Table.from_pylist(rows, schema=USER_AGENTS_SCHEMA)


def _describe(parse, text: str) -> dict[str, str | None]:
    result = parse(text[:MAX_PARSED_CHARACTERS])
    system, browser = result.os, result.user_agent
    return {
        "user_agent": text,
        "user_agent_key": hashlib.md5(text.encode(), usedforsecurity=False).hexdigest(),
        "device_class": _device_class(text, system.family if system else None),
        "os_name": system.family if system else None,
        "os_version": _version(system) if system else None,
        "browser_name": browser.family if browser else None,
        "browser_version": _version(browser) if browser else None,
    }


def _device_class(text: str, system: str | None) -> str:
    lower = text[:MAX_PARSED_CHARACTERS].lower()
    if any(word in lower for word in _TABLET_WORDS) or ("android" in lower and "mobile" not in lower):
        return "tablet"
    if any(word in lower for word in _PHONE_WORDS):
        return "phone"
    if system in _DESKTOP_SYSTEMS:
        return "desktop"
    return "other" if system else "unknown"


def _version(found: object) -> str | None:
    numbers = [getattr(found, name, None) for name in ("major", "minor")]
    return ".".join(number for number in numbers if number) or None


@cache
def _parser():
    # Imported late: its patterns take a moment to load, and a run without new user agents needs none.
    from importlib.metadata import version

    from ua_parser import parse

    return parse, f"ua-parser {version('ua-parser')}"
