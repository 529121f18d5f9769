"""What a user agent says of device, system, browser, mail client and crawler: parsed once per distinct text.

Belongs here: the parser, landing what is new or is read differently now. Does not: the lists of names
(user_agent_lists), the classes of devices (device_classes), verdicts on machines (dbt_project).
"""

import hashlib
from collections.abc import Callable
from datetime import datetime
from functools import cache
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from log_ingest.catalog import EMPTY_BATCH, LINE_SOURCES, USER_AGENTS_SCHEMA
from log_ingest.landing import Landing
from log_ingest.ledger import Commit, Ledger

if TYPE_CHECKING:
    from ua_parser import Parser

MARK = "user_agents_through_batch"
PARSER = "user_agents_parser"
"""The fact of the ledger that names the parser by which all landed user agents have been read."""

ERASED = "erased "
"""With this begins the text that stands for user agents of erased recipients (log_ingest.erasure)."""

MAX_PARSED_CHARACTERS = 1024
"""A longer text is parsed by its beginning: bounds the time of the patterns. No browser sends as much."""

RULES_VERSION = "1"
"""Of what is decided here, in user_agent_lists and in device_classes. Raise it with them: then every known text is
parsed again."""

_PACKAGES = (
    *("ua-parser", "ua-parser-builtins", "ua-parser-rs", "device-detector", "crawler-user-agents", "crawlerdetect"),
)

_TEXT_COLUMNS = [name for name in USER_AGENTS_SCHEMA.names if name not in ("parser_version", "ingested_at")]


def parser_version() -> str:
    """Names everything that a parsing depends on; cheap, loads no pattern."""
    return ", ".join([*(f"{package} {version(package)}" for package in _PACKAGES), f"rules {RULES_VERSION}"])


def land_new(landing: Landing, ledger: Ledger, *, run_id: str, ingested_at: datetime) -> int | None:
    """Land the user agents that new batches of lines brought and that were not known. Where the parser is another one
    than before, also those known ones that it reads differently. Returns the batch id, if any.
    """
    through, latest = int(ledger.fact(MARK, "0")), ledger.last_batch_id()
    parts = [
        row["path"]
        for source in LINE_SOURCES
        for row in ledger.parts(source=source.name, after=through)
        if row["path"].startswith(f"{source.name}/")  # a batch also holds lines set aside
    ]
    known = [row["path"] for row in ledger.parts(source="user_agents")]
    parser = parser_version()
    table = _parsed_new(landing, parts, known, ingested_at)
    if known and ledger.fact(PARSER) != parser:
        table = pa.concat_tables([table, _parsed_otherwise(landing, known, ingested_at)])
    facts = {PARSER: parser, MARK: str(latest)}
    if table.num_rows:
        unit = landing.new_unit()
        unit.add_table("user_agents", table)
        return landing.commit(unit, Commit("user_agents", run_id, accepted_count=table.num_rows, facts=facts))
    for name, value in facts.items():
        if ledger.fact(name) != value:
            ledger.set_fact(name, value)
    return None


def _parsed_new(landing: Landing, parts: list[str], known: list[str], ingested_at: datetime) -> pa.Table:
    if not parts:
        return USER_AGENTS_SCHEMA.empty_table()
    select = f"select distinct user_agent from {landing.read_parts(parts)} where user_agent is not null"
    if known:
        select += f" except select user_agent from {landing.read_parts(known)}"
    return describe([row[0] for row in landing.con.execute(f"{select} order by 1").fetchall()], ingested_at)


def _parsed_otherwise(landing: Landing, known: list[str], ingested_at: datetime) -> pa.Table:
    """Known texts of which the parser says something else than what landed last: only their events are judged again."""
    # The base file has every column; one that an older catalogue wrote lacks some.
    paths = [f"user_agents/batch_id={EMPTY_BATCH}/part-0.parquet", *known]
    rows = landing.con.execute(
        f"select {', '.join(_TEXT_COLUMNS)} from {landing.read_parts(paths)}"
        # What stands for an erased one was never sent: there is nothing in it to be read again.
        f" where not starts_with(user_agent, '{ERASED}')"
        " qualify row_number() over (partition by user_agent order by ingested_at desc, filename desc) = 1"
        " order by user_agent"
    ).fetchall()
    table = describe([row[_TEXT_COLUMNS.index("user_agent")] for row in rows], ingested_at)
    said = table.select(_TEXT_COLUMNS).to_pylist()
    return table.filter(
        pa.array([tuple(now.values()) != then for now, then in zip(said, rows, strict=True)], pa.bool_())
    )


def describe(texts: list[str], ingested_at: datetime) -> pa.Table:
    """One row per text, as USER_AGENTS_SCHEMA."""
    if not texts:
        return USER_AGENTS_SCHEMA.empty_table()
    said = {"parser_version": parser_version(), "ingested_at": ingested_at}
    return pa.Table.from_pylist([_describe(text) | said for text in texts], schema=USER_AGENTS_SCHEMA)


def _describe(text: str) -> dict[str, str | None]:
    read = text[:MAX_PARSED_CHARACTERS]
    # Imported late, like what follows: patterns take a moment to load, and a run without new user agents needs none.
    from log_ingest.device_classes import device_class

    result = _parser().parse(read)
    system, browser, device = result.os, result.user_agent, result.device
    mail_clients, crawlers = _lists()
    mail_client = mail_clients.find(read)
    crawler_list, crawler_name = _crawler(crawlers, read)
    if crawler_name is None and device is not None and device.family == "Spider":
        crawler_list, crawler_name = "ua-parser", browser.family if browser else "Spider"
    return {
        "user_agent": text,
        "user_agent_key": hashlib.md5(text.encode(), usedforsecurity=False).hexdigest(),
        "device_class": device_class(read, system.family if system else None),
        "os_name": system.family if system else None,
        "os_version": _version(system) if system else None,
        "browser_name": browser.family if browser else None,
        "browser_version": _version(browser) if browser else None,
        "mail_client_name": mail_client[0] if mail_client else None,
        "mail_client_version": mail_client[1] if mail_client else None,
        "crawler_name": crawler_name,
        "crawler_list": crawler_list,
    }


def _crawler(lists: dict[str, Callable[[str], str | None]], text: str) -> tuple[str, str] | tuple[None, None]:
    for package, name_of in lists.items():
        name = name_of(text)
        if name is not None:
            return package, name
    return None, None


def _version(found: Any) -> str | None:
    numbers = [getattr(found, name, None) for name in ("major", "minor")]
    return ".".join(number for number in numbers if number) or None


@cache
def _parser() -> "Parser":
    from ua_parser import Parser
    from ua_parser.loaders import load_lazy_builtins
    from ua_parser.regex import Resolver

    return Parser(Resolver(load_lazy_builtins()))


@cache
def _lists() -> tuple[Any, dict[str, Callable[[str], str | None]]]:
    from log_ingest.user_agent_lists import crawler_lists, mail_client_list

    return mail_client_list(), crawler_lists()


def forget_lists() -> None:
    """Let go of the compiled lists, nearly 100 MB; whoever asks next reads them again."""
    _parser.cache_clear()
    _lists.cache_clear()
