"""Personal data that pages show only where a setting allows it.

Belongs here: what is left of an address, a name or a link where the published version has them in clear. Does not: who
may look (the login), how published columns are masked (the pipeline).
"""

import pandas as pd

HIDDEN = "•••"

ADDRESSES, NAMES, LINKS = ("email", "address"), ("recipient_label", "first_name", "last_name"), ("url",)
"""Columns of the queries that hold personal data, by kind."""


def mask_address(address: str) -> str:
    """`jane.doe@example.org` reads `j•••@example.org`: enough to recognise, not to write to."""
    name, at, domain = address.rpartition("@")
    if name == HIDDEN:
        return address  # published so
    return f"{name[:1]}{HIDDEN}{at}{domain}" if at else HIDDEN


def mask_name(name: str) -> str:
    """Initials. A label made of a number stays: the id is what pages are found by."""
    if "@" in name:
        return mask_address(name)
    words = name.split()
    if len(words) == 2 and words[0] == "recipient" and words[1].isdigit():
        return name
    return " ".join(f"{word[:1]}." for word in words[:4])


def mask_link(url: str) -> str:
    """Without query string and fragment: personalised links carry addresses and names there."""
    shortest = min(url.partition("?")[0], url.partition("#")[0], key=len)
    return shortest if shortest == url else f"{shortest}?{HIDDEN}"


def masked(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows with every personal column masked."""
    kinds = {ADDRESSES: mask_address, NAMES: mask_name, LINKS: mask_link}
    hidden = {
        column: rows[column].map(mask, na_action="ignore")
        for columns, mask in kinds.items()
        for column in columns
        if column in rows
    }
    return rows.assign(**hidden)
