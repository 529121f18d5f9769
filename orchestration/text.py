"""Making other people's text safe to show: on a terminal, in Markdown, in CSV.

User agents, labels, URLs and file names are hostile until shown otherwise. They are stored raw and pass through
here on their way to a screen. Does not belong here: what to show.
"""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from decimal import Decimal

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
"""What a spreadsheet takes for a formula begins so, after blanks; the report pages have the same list."""
_MARKDOWN = re.compile(r"([\\`*_{}\[\]()<>#+\-.!|~&$:@/])")


def plain(value: object, limit: int = 200) -> str:
    """One printable line: control, bidi and other invisible characters become U+FFFD; cut at limit characters."""
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
    shown = "".join(
        " " if character in "\t\n\r" else "\ufffd" if unicodedata.category(character)[0] == "C" else character
        for character in text[: limit + 1]
    )
    return shown if len(shown) <= limit else shown[: limit - 1] + "…"


def markdown(value: object, limit: int = 200) -> str:
    """Text that Markdown shows as it is: no link, image, HTML or table cell can come out of it."""
    shown = plain(value, limit)
    # Entities for what HTML reads, backslashes for what Markdown reads: renderers differ in which comes first.
    return _MARKDOWN.sub(
        lambda match: {"&": "&amp;", "<": "&lt;", ">": "&gt;", "|": "&#124;"}.get(match[1], "\\" + match[1]), shown
    )


def number(value: object) -> str:
    """A value for a table: thousands separated, NULL as an empty cell, ratios with four digits."""
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:,.4f}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return str(value)


def csv_cell(value: object) -> object:
    """A value for a cell of CSV: text that a spreadsheet would take for a formula is set off by an apostrophe, numbers
    stay numbers, NULL is an empty cell."""
    if value is None:
        return ""
    if isinstance(value, int | float | Decimal) and not isinstance(value, bool):
        return value
    text = str(value)
    return f"'{text}" if text.lstrip(" ").startswith(FORMULA_STARTS) else text


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table; every cell is escaped, numbers are aligned by their text."""
    lines = ["| " + " | ".join(markdown(cell) for cell in header) + " |", "|" + " --- |" * len(header)]
    lines += ["| " + " | ".join(_cell(cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines)


def _cell(value: object) -> str:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return number(value)
    return "" if value is None else markdown(value)
