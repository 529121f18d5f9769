"""Data as text that stays text: in HTML, and in files that spreadsheets open.

Belongs here: escaping, and characters that would change what stands beside them. Does not: tables and layout.
"""

import csv
import html
import io
import re
from typing import Any

import pandas as pd

# Controls, and the characters that turn the direction of the text around them.
_UNSEEN = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff]")
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


def visible(text: Any) -> str:
    """The text with control and direction characters shown as a replacement character."""
    return _UNSEEN.sub("\ufffd", str(text))


def escaped(text: Any) -> str:
    """The text as HTML content or attribute value."""
    return html.escape(visible(text), quote=True)


def shortened(text: Any, length: int = 60) -> str:
    """The text with its middle left out where it is longer than length."""
    text = visible(text)
    return text if len(text) <= length else f"{text[: length * 2 // 3]}…{text[-(length // 3) :]}"


def csv_bytes(rows: pd.DataFrame) -> bytes:
    """Rows as CSV, in UTF-8 with a mark, so that spreadsheets read it. A text that would be a formula gets a quote."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(rows.columns)
    for row in rows.itertuples(index=False):
        writer.writerow([_cell(value) for value in row])
    return out.getvalue().encode("utf-8-sig")


def _cell(value: Any) -> Any:
    if value is None or (not isinstance(value, str) and pd.isna(value)):
        return ""
    if isinstance(value, str) and value.lstrip(" ").startswith(_FORMULA):
        return f"'{value}"
    return value
