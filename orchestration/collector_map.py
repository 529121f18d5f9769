"""Where the collector's links lead: the declared tracked URLs as a map that nginx or Apache reads.

Belongs here: which links are in it, and writing an address so that it is nothing but an address to the server. Does
not: the servers' configuration (collector/), or reading a request: an address comes from here alone, never from there.
"""

from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from urllib.parse import quote, urlsplit

import duckdb

Server = Literal["nginx", "apache"]

MAX_CHARACTERS = 3000
"""nginx refuses a configuration that holds a longer word than 4096 bytes."""

# Everything that means something in an address. Quotes, backslashes, blanks and $ (a variable, to nginx) are escaped.
_ADDRESS_CHARACTERS = "%/:?#[]@!&'()*+,;=-._~"


@dataclass
class CollectorMap:
    """lines: the map. left_out: why a link is not in it, to how many."""

    lines: list[str] = field(default_factory=list)
    left_out: dict[str, int] = field(default_factory=dict)


def collector_map(published: Path, server: Server) -> CollectorMap:
    """The map of the published links. Raises RuntimeError where nothing is published."""
    if not published.exists():
        raise RuntimeError(f"nothing is published yet ({published}); land the tracked URLs, then: mtw run")
    with closing(duckdb.connect(str(published.resolve()), read_only=True)) as connection:
        links = connection.execute(
            "select delivery_id, url_id, source_url from core.dim_tracked_urls"
            " where url_id > 1 and source_url is not null order by delivery_id, url_id"
        ).fetchall()
    return written(links, server)


def written(links: Iterable[tuple[int, int, str]], server: Server) -> CollectorMap:
    """The map of (delivery, URL id, address): `delivery:url` in hex, delivery 0 for all of them."""
    found = CollectorMap()
    for delivery_id, url_id, address in links:
        reason = unfit(address)
        if reason:
            found.left_out[reason] = found.left_out.get(reason, 0) + 1
            continue
        target = quote(address.strip(), safe=_ADDRESS_CHARACTERS)
        key = f"{delivery_id:x}:{url_id:x}"
        found.lines.append(f'"{key}" "{target}";' if server == "nginx" else f"{key} {target}")
    return found


def unfit(address: str) -> str:
    """Why a link cannot be redirected to; empty where it can."""
    if "<%" in address or "$(" in address:
        return "personalised: the collector fills no placeholders"
    try:
        parts = urlsplit(address.strip())
        has_host = bool(parts.hostname)
    except ValueError:
        return "no web address"
    if parts.scheme not in ("http", "https") or not has_host:
        return "no web address"
    if len(quote(address, safe=_ADDRESS_CHARACTERS)) > MAX_CHARACTERS:
        return f"longer than {MAX_CHARACTERS} characters"
    return ""


def summary(found: CollectorMap) -> Iterator[str]:
    """What to tell whoever made the map, line by line."""
    yield f"{len(found.lines)} links"
    for reason, count in sorted(found.left_out.items()):
        yield f"left out: {count} ({reason})"
