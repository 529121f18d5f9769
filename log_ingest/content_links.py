"""The links of each delivery's HTML, in document order: parsed once per distinct content, when it first lands.

Belongs here: the HTML parser, its limits, and landing what it found. Does not: which tracked URL a link is, or what
was clicked (dbt_project). The HTML is untrusted: it is read as a stream of tags, never built into a tree, so that
no depth of nesting and no broken tag can cost more than reading it.
"""

import re
from datetime import datetime
from urllib.parse import unquote

import pyarrow as pa
from lxml import etree

from log_ingest.catalog import CONTENT_LINKS_SCHEMA
from log_ingest.landing import Landing
from log_ingest.ledger import Commit, Ledger

MARK = "content_links_through_batch"
MAX_HTML_CHARACTERS = 4_000_000
"""Mail programs cut messages long before; what lies beyond is not read."""
MAX_LINKS = 10_000
MAX_HREF_CHARACTERS = 8_192
MAX_TEXT_CHARACTERS = 500
_CONTENTS_AT_ONCE = 16

# Two characters that no text uses stand for the personalisation tags, which may hold quotes and angle brackets.
_OPEN, _CLOSE = "\ue000", "\ue001"
_MASKED = re.compile(f"{_OPEN}([0-9]+){_CLOSE}")
_HEX = re.compile(r"[0-9a-fA-F]{1,16}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]+")


def land_new(landing: Landing, ledger: Ledger, *, run_id: str, ingested_at: datetime) -> tuple[int | None, list[str]]:
    """Land the links of contents that delivery batches brought and that were not known.

    Returns the batch id, if any, and one line for each content that was not read to its end.
    """
    through = int(ledger.fact(MARK, "0"))
    parts = [row["path"] for row in ledger.parts(source="deliveries", after=through) if _is_delivery(row["path"])]
    latest = ledger.last_batch_id()
    batch_id, problems = None, []
    if parts:
        contents = landing.con.execute(_new_contents(landing, ledger, parts))
        unit = landing.new_unit()
        count = 0
        while some := contents.fetchmany(_CONTENTS_AT_ONCE):
            rows = []
            for file_id, source_file, line_number, delivery_id, html_digest, is_cut, html in some:
                found = links(html)
                if is_cut or len(found) == MAX_LINKS:
                    problems.append(
                        f"{source_file}: the HTML of delivery {delivery_id} is larger than a mail can be;"
                        " links beyond the limit have no position"
                    )
                rows += [
                    {
                        "file_id": file_id,
                        "source_file": source_file,
                        "line_number": line_number,
                        "ingested_at": ingested_at,
                        "delivery_id": delivery_id,
                        "html_digest": html_digest,
                        "link_position": position,
                        "href": href,
                        "link_text": text,
                        "redirect_delivery_id": redirect_delivery_id,
                        "redirect_url_id": redirect_url_id,
                    }
                    for position, (href, text) in enumerate(found, 1)
                    for redirect_delivery_id, redirect_url_id in [redirect_ids(href)]
                ]
            if rows:
                unit.add_table("content_links", pa.Table.from_pylist(rows, schema=CONTENT_LINKS_SCHEMA))
                count += len(rows)
        batch_id = landing.commit(unit, Commit("content_links", run_id, accepted_count=count)) if count else None
        if not count:
            unit.discard()
    if latest != through:
        ledger.set_fact(MARK, str(latest))
    return batch_id, problems


def links(html: str) -> list[tuple[str, str]]:
    """(address, text) of each <a> and <area> with an address, in document order; the n-th has position n.

    Character references are resolved. Personalisation tags (`<%= … %>`) are kept as written, wherever they stand.
    The text of a link that holds only images is their alternative text.
    """
    masked, tags = _mask(html[:MAX_HTML_CHARACTERS])
    target = _Links()
    parser = etree.HTMLParser(target=target, encoding="utf-8", recover=True, no_network=True, huge_tree=True)
    try:
        parser.feed(masked.encode("utf-8", "replace"))
        parser.close()
    except etree.LxmlError:
        # No HTML at all, or not to its end: what was found before counts.
        target.close()

    def unmask(text: str) -> str:
        return _MASKED.sub(lambda found: tags[int(found[1])] if int(found[1]) < len(tags) else "", text)

    return [
        # As browsers do, line ends within an address are left out.
        (unmask(_CONTROL.sub("", href))[:MAX_HREF_CHARACTERS], _CONTROL.sub(" ", unmask(text))[:MAX_TEXT_CHARACTERS])
        for href, text in target.found
    ]


def redirect_ids(href: str) -> tuple[int | None, int | None]:
    """(delivery, URL) that an address of the redirection server names: `…/r/?id=h<message>,<delivery>,<url>` in hex.

    None for what is not there, is 0 or is no number; the message may be a personalisation tag.
    """
    path, _, query = href.partition("?")
    if not path.endswith(("/r/", "/r")):
        return None, None
    value = next((part[3:] for part in query.split("&") if part[:3].lower() == "id="), "")
    fields = unquote(value).split(",")
    return (_number(fields[1]), _number(fields[2])) if len(fields) >= 3 else (None, None)


class _Links:
    """Receives the parser's tags. Links do not nest: one that begins ends the one before."""

    def __init__(self) -> None:
        self.found: list[tuple[str, str]] = []
        self._href = ""
        self._texts: list[str] = []
        self._alternatives: list[str] = []
        self._size = 0

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        if tag in ("a", "area"):
            self._finish()
            self._href = (attributes.get("href") or "").strip()
            if tag == "area":
                self._alternatives.append(attributes.get("alt") or "")
                self._finish()
        elif tag == "img" and self._href and len(self._alternatives) < MAX_TEXT_CHARACTERS:
            self._alternatives.append(attributes.get("alt") or "")

    def end(self, tag: str) -> None:
        if tag == "a":
            self._finish()

    def data(self, text: str) -> None:
        if self._href and self._size < 4 * MAX_TEXT_CHARACTERS:
            self._texts.append(text)
            self._size += len(text)

    def close(self) -> None:
        self._finish()

    def _finish(self) -> None:
        if self._href and len(self.found) < MAX_LINKS:
            text = " ".join("".join(self._texts).split()) or " ".join(" ".join(self._alternatives).split())
            self.found.append((self._href, text))
        self._href, self._texts, self._alternatives, self._size = "", [], [], 0


def _mask(html: str) -> tuple[str, list[str]]:
    """The HTML with each personalisation tag replaced by its number, and the tags. Linear, whatever the HTML."""
    html = html.replace(_OPEN, "").replace(_CLOSE, "")
    pieces: list[str] = []
    tags: list[str] = []
    place = 0
    while (start := html.find("<%", place)) >= 0 and (end := html.find("%>", start + 2)) >= 0:
        pieces += [html[place:start], f"{_OPEN}{len(tags)}{_CLOSE}"]
        tags.append(html[start : end + 2])
        place = end + 2
    return "".join([*pieces, html[place:]]), tags


def _new_contents(landing: Landing, ledger: Ledger, parts: list[str]) -> str:
    """One row per delivery and distinct HTML in the parts whose links have not landed, with where it first stands."""
    known = [row["path"] for row in ledger.parts(source="content_links")]
    already = f"select delivery_id, html_digest from {landing.read_parts(known)}" if known else "select 0, '' limit 0"
    return f"""
    with contents as (
        select *, md5(html_content) as html_digest from {landing.read_parts(parts)} where html_content is not null
    )
    select
        file_id, source_file, line_number, delivery_id, html_digest,
        length(html_content) > {MAX_HTML_CHARACTERS} as is_cut, left(html_content, {MAX_HTML_CHARACTERS}) as html
    from contents
    where (delivery_id, html_digest) not in ({already})
    qualify row_number() over (partition by delivery_id, html_digest order by file_id, line_number) = 1
    order by file_id, line_number
    """


def _number(text: str) -> int | None:
    number = int(text, 16) if _HEX.fullmatch(text) else 0
    return number if 0 < number < 2**63 else None


def _is_delivery(path: str) -> bool:
    return path.startswith("deliveries/")
