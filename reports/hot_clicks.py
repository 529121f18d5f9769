"""The delivery's own HTML with each link's share of clicks, as a document that is safe to show.

Belongs here: finding the n-th link, drawing on it, taking out everything that runs, loads or leads anywhere. Does not:
shares, or which tracked URL a link is (rpt_hot_clicks).

The HTML is whatever somebody sent. Three things hold, each enough on its own: nh3 keeps only harmless tags and
attributes; the frame is sandboxed without any permission; its policy allows no fetch and no script. A link has no
address left, so that nobody clicks the mail's tracking by mistake, and only images that the mail itself holds are
drawn: its open pixel is not called.

Positions are those of rpt_hot_clicks (docs/decisions.md, 14): the n-th <a> or <area> with an address, as libxml2 reads
the tags. Another parser repairs broken HTML in another way and would count otherwise, so the same one draws; nh3 comes
after.
"""

import html
import re
from collections.abc import Mapping
from dataclasses import dataclass

import nh3
from lxml import etree

POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
MAX_HTML_CHARACTERS = 4_000_000
MAX_LINKS = 10_000
"""Beyond either, links have no position."""

# Characters that no text uses: personalisation tags stand between the first two, places of badges between the others.
_OPEN, _CLOSE, _BADGE_OPEN, _BADGE_CLOSE = "\ue000", "\ue001", "\ue002", "\ue003"
_TAG = re.compile(f"{_OPEN}([0-9]+){_CLOSE}")
_BADGE = re.compile(f"{_BADGE_OPEN}([0-9]+){_BADGE_CLOSE}")
_RESERVED = str.maketrans("", "", _BADGE_OPEN + _BADGE_CLOSE)
_VOID = frozenset(("area", "br", "col", "hr", "img"))
_UNREAD = frozenset(("script", "style", "title"))

_TAGS = {
    "a", "abbr", "address", "area", "b", "big", "blockquote", "br", "caption", "center", "cite", "code", "col",
    "colgroup", "dd", "del", "dfn", "div", "dl", "dt", "em", "figcaption", "figure", "font", "footer", "h1", "h2",
    "h3", "h4", "h5", "h6", "header", "hr", "i", "img", "ins", "kbd", "li", "main", "map", "mark", "ol", "p", "pre",
    "q", "s", "samp", "section", "small", "span", "strike", "strong", "sub", "sup", "table", "tbody", "td", "tfoot",
    "th", "thead", "tr", "tt", "u", "ul", "var",
}  # fmt: skip
_ATTRIBUTES = {
    "*": {
        "align", "alt", "bgcolor", "border", "cellpadding", "cellspacing", "class", "color", "colspan", "dir", "face",
        "height", "hspace", "lang", "rowspan", "size", "style", "title", "valign", "vspace", "width",
    },
    "img": {"src"},
    "ol": {"start", "type"},
}  # fmt: skip

_HEAT = (
    ("#fff3bf", "#3d2e00"),
    ("#ffd08a", "#3d2000"),
    ("#ffab7a", "#331000"),
    ("#c2341c", "#ffffff"),
    ("#8f1010", "#ffffff"),
)
"""Background and text, from few clicks to most; contrast at least 4.5."""

_STYLE = """
html,body {margin:0;background:#fff;color:#1c2733;font-family:sans-serif}
img {max-width:100% !important}
img:not([src]) {background:#eef1f4;outline:1px dashed #8a97a3;color:#1c2733}
a {text-decoration:underline}
@media (max-width:659px) {
  table,div,td,th,img {max-width:100% !important;min-width:0 !important;overflow-wrap:anywhere}
  table[width],table[style] {width:100% !important}
  td[width],th[width],div {width:auto !important}
  img {height:auto !important}
}
"""
_BADGE_STYLE = (
    "display:inline-block!important;visibility:visible!important;opacity:1!important;position:static!important;"
    "margin:0 0 0 4px!important;padding:1px 6px!important;border-radius:9px!important;"
    "border:1px solid #5b1a00!important;"
    "font:700 12px/1.4 sans-serif!important;text-decoration:none!important;text-transform:none!important;"
    "letter-spacing:0!important;white-space:nowrap!important;text-indent:0!important;vertical-align:middle!important;"
    "width:auto!important;height:auto!important;max-width:none!important;"
)


@dataclass(frozen=True)
class Badge:
    """What is drawn on one link. strength: 0–1, beside the link of most clicks; title: more words, for a pointer."""

    text: str
    strength: float
    title: str = ""


def drawn(content: str, badges: Mapping[int, Badge]) -> str:
    """The HTML of a mail, made harmless, with badges by link position. Not yet a document: see framed."""
    masked, tags = _mask(content[:MAX_HTML_CHARACTERS])
    target = _Drawing(badges)
    parser = etree.HTMLParser(target=target, encoding="utf-8", recover=True, no_network=True, huge_tree=True)
    try:
        parser.feed(masked.encode("utf-8", "replace"))
        parser.close()
    except etree.LxmlError:
        target.close()
    clean = nh3.clean(
        "".join(target.pieces),
        tags=_TAGS,
        attributes=_ATTRIBUTES,
        clean_content_tags={"script", "style", "title"},
        url_schemes={"data"},
        strip_comments=True,
        link_rel=None,
    )
    # Only now, so that nothing in the mail can look like a badge, or like a tag of ours.
    clean = _TAG.sub(lambda found: html.escape(tags[int(found[1])]) if int(found[1]) < len(tags) else "", clean)
    clean = _BADGE.sub(lambda found: _badge(badges[int(found[1])]), clean)
    # Style sheets cannot end their element, and the policy lets them fetch nothing.
    sheet = _TAG.sub("", " ".join(target.sheets)).replace("<", "")
    return f"<style>{sheet}</style><style>{_STYLE}</style>{clean}"


def framed(body: str, title: str, language: str) -> str:
    """The document for the page's frame: it holds the mail in a second one, which has no permission at all."""
    mail = _document(body, title, language)
    return _document(
        f'<iframe title="{html.escape(title)}" sandbox="" srcdoc="{html.escape(mail)}"'
        ' style="display:block;width:100%;height:100vh;border:0"></iframe>',
        title,
        language,
    )


def _document(body: str, title: str, language: str) -> str:
    return (
        f'<!doctype html><html lang="{html.escape(language)}"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}"><title>{html.escape(title)}</title>'
        f"<style>body {{margin:0}}</style></head><body>{body}</body></html>"
    )


class _Drawing:
    """Receives the parser's tags and writes the harmless ones again, with the places of badges.

    Tags whose content another parser would not read as text (textarea, noscript, iframe …) are left out here already.
    """

    def __init__(self, badges: Mapping[int, Badge]) -> None:
        self.pieces: list[str] = []
        self.sheets: list[str] = []
        self._badges = badges
        self._position = 0
        self._pending: int | None = None
        self._unread: list[str] = []

    def start(self, tag: str, attributes: Mapping[str, str]) -> None:
        if tag in _UNREAD:
            self._unread.append(tag)
            return
        if tag in ("a", "area"):
            self._finish()
            if (attributes.get("href") or "").strip() and self._position < MAX_LINKS:
                self._position += 1
                self._pending = self._position
        name = "div" if tag == "body" else tag
        if name in _TAGS:
            allowed = _ATTRIBUTES["*"] | _ATTRIBUTES.get(name, set())
            written = "".join(
                f' {key}="{html.escape(_TAG.sub("", (value or "").translate(_RESERVED)))}"'
                for key, value in attributes.items()
                # nh3 lets addresses without a scheme pass.
                if key in allowed and (key != "src" or (value or "").startswith("data:image/"))
            )
            self.pieces.append(f"<{name}{written}>")
        if tag == "area":
            self._finish()

    def end(self, tag: str) -> None:
        if tag in _UNREAD:
            if self._unread:
                self._unread.pop()
            return
        if tag == "a":
            self._finish()
        name = "div" if tag == "body" else tag
        if name in _TAGS and name not in _VOID:
            self.pieces.append(f"</{name}>")

    def data(self, text: str) -> None:
        if not self._unread:
            # A character reference may have spelled a reserved character.
            self.pieces.append(html.escape(text.translate(_RESERVED)))
        elif self._unread[-1] == "style":
            self.sheets.append(text)

    def comment(self, text: str) -> None:
        """Comments are left out."""

    def close(self) -> None:
        self._finish()

    def _finish(self) -> None:
        if self._pending in self._badges:
            self.pieces.append(f"{_BADGE_OPEN}{self._pending}{_BADGE_CLOSE}")
        self._pending = None


def _badge(badge: Badge) -> str:
    background, colour = _HEAT[min(int(badge.strength * len(_HEAT)), len(_HEAT) - 1)]
    style = f"{_BADGE_STYLE}background:{background}!important;color:{colour}!important"
    return (
        f'<span class="mtw-badge" title="{html.escape(badge.title)}" style="{style}">{html.escape(badge.text)}</span>'
    )


def _mask(content: str) -> tuple[str, list[str]]:
    """The HTML with each personalisation tag (`<% … %>`) replaced by its number, and the tags."""
    for reserved in (_OPEN, _CLOSE, _BADGE_OPEN, _BADGE_CLOSE):
        content = content.replace(reserved, "")
    pieces: list[str] = []
    tags: list[str] = []
    place = 0
    while (start := content.find("<%", place)) >= 0 and (end := content.find("%>", start + 2)) >= 0:
        pieces += [content[place:start], f"{_OPEN}{len(tags)}{_CLOSE}"]
        tags.append(content[start : end + 2])
        place = end + 2
    return "".join([*pieces, content[place:]]), tags
