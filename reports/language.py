"""English and French: words of the pages, and how numbers, times and durations are written.

Belongs here: anything that differs between the two languages, and the reporting zone. Does not: what is shown.
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import cache
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pandas as pd
import yaml

LANGUAGES = {"en": "English", "fr": "Français"}
NOTHING = "–"
"""Shown for NULL: a rate without a denominator, a time that never came."""

_WORDS = Path(__file__).parent / "words.yml"
_THIN, _NO_BREAK = "\u202f", "\u00a0"


@cache
def words() -> dict[str, list[str]]:
    """English and French by key."""
    found: dict[str, list[str]] = yaml.safe_load(_WORDS.read_text(encoding="utf-8"))
    return found


@dataclass(frozen=True)
class Language:
    """code: en or fr. zone: IANA name of the zone that times are shown in."""

    code: str
    zone: str = "UTC"

    def __call__(self, key: str, **values: object) -> str:
        """The words for a key; a key without words is an error of the pages."""
        return words()[key][list(LANGUAGES).index(self.code)].format(**values)

    def indicator(self, name: str) -> str:
        """The label of a column of the marts; one that has none yet is its name, spelled out."""
        entry = words().get(f"column_{name}")
        return self(f"column_{name}") if entry else name.removesuffix("_count").replace("_", " ").capitalize()

    def count(self, value: Any) -> str:
        """12,345 or 12 345."""
        return NOTHING if pd.isna(value) else self._localised(f"{int(value):,}")

    def amount(self, value: Any) -> str:
        """1,234.50 or 1 234,50."""
        return NOTHING if pd.isna(value) else self._localised(f"{float(value):,.2f}")

    def rate(self, value: Any) -> str:
        """A ratio (0–1) in percent."""
        if pd.isna(value):
            return NOTHING
        text = self._localised(f"{100 * float(value):,.1f}")
        return f"{text}{_NO_BREAK}%" if self.code == "fr" else f"{text}%"

    def duration(self, seconds: Any) -> str:
        """The two largest units: 2 d 4 h, 3 h 05 min, 4 min 10 s."""
        if pd.isna(seconds):
            return NOTHING
        sign, whole = ("−" if seconds < 0 else ""), abs(round(float(seconds)))
        days, hours, minutes, rest = whole // 86400, whole // 3600 % 24, whole // 60 % 60, whole % 60
        day = "j" if self.code == "fr" else "d"
        if days:
            return f"{sign}{days} {day} {hours} h"
        if hours:
            return f"{sign}{hours} h {minutes:02d} min"
        return f"{sign}{minutes} min {rest:02d} s" if minutes else f"{sign}{rest} s"

    def local(self, value: Any) -> datetime | None:
        """A UTC time of the marts as wall-clock time of the reporting zone; both without zone."""
        if pd.isna(value):
            return None
        moment = pd.Timestamp(value).to_pydatetime(warn=False)
        return moment.replace(tzinfo=UTC).astimezone(ZoneInfo(self.zone)).replace(tzinfo=None)

    def time(self, value: Any) -> str:
        """A UTC time of the marts, to the minute, in the reporting zone."""
        return self.wall_clock(self.local(value))

    def wall_clock(self, value: Any) -> str:
        """A time that is local already."""
        if pd.isna(value):
            return NOTHING
        return pd.Timestamp(value).strftime("%d/%m/%Y %H:%M" if self.code == "fr" else "%Y-%m-%d %H:%M")

    def day(self, value: date | Any) -> str:
        if pd.isna(value):
            return NOTHING
        return pd.Timestamp(value).strftime("%d/%m/%Y" if self.code == "fr" else "%Y-%m-%d")

    def _localised(self, text: str) -> str:
        if self.code == "fr":
            return text.replace(",", _THIN).replace(".", ",")
        return text
