"""What every page is given: the snapshot, the language, the switch, and how links to other pages are written.

Belongs here: reading ids out of the address, links, masking. Does not: drawing.
"""

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import pandas as pd

from reports.language import Language
from reports.personal import masked
from reports.published import Snapshot
from reports.settings import ReportSettings

MAX_ID = 2**63 - 1


@dataclass(frozen=True)
class View:
    """One run of one page. human: leave machine events out of the counts."""

    snapshot: Snapshot
    settings: ReportSettings
    language: Language
    human: bool

    def rows(self, query: str, **parameters: Any) -> pd.DataFrame:
        """Rows of a query, personal data masked, or clear where the setting shows it."""
        return self._allowed(self.snapshot.rows(query, **parameters))

    def many_rows(self, query: str, **parameters: Any) -> pd.DataFrame:
        """The same for exports, which nobody asks for twice: they are not kept in memory."""
        return self._allowed(self.snapshot.many_rows(query, **parameters))

    def row(self, query: str, **parameters: Any) -> dict[str, Any] | None:
        """The first row by column names, NULL as None; None where there is none."""
        found = self.rows(query, **parameters)
        if found.empty:
            return None
        return {str(name): None if pd.isna(value) else value for name, value in found.iloc[0].items()}

    def delivery(self, label: Any, delivery_id: Any) -> str:
        """The label of a delivery, or what stands for it where it has none."""
        if label is not None and not pd.isna(label):
            return str(label)
        if pd.isna(delivery_id) or not int(delivery_id):
            return self.language("delivery_none")
        return self.language("delivery_unnamed", id=int(delivery_id))

    def deliveries(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Rows whose delivery_label has no gap."""
        pairs = zip(rows["delivery_label"], rows["delivery_id"], strict=True)
        return rows.assign(delivery_label=[self.delivery(label, delivery_id) for label, delivery_id in pairs])

    def _allowed(self, rows: pd.DataFrame) -> pd.DataFrame:
        return self.snapshot.identities.clear(rows) if self.settings.show_personal_data else masked(rows)

    def path(self, page: str, **parameters: Any) -> str:
        """The address of a page on this server; language and switch go along."""
        kept = {"lang": self.language.code} if self.language.code != self.settings.language else {}
        if self.human:
            kept["events"] = "human"
        query = urlencode({**parameters, **kept})
        return f"/{page}?{query}" if query else f"/{page}"


def as_id(text: str | None) -> int | None:
    """The id that an address names, or None: only ASCII digits, no more than a BIGINT holds."""
    if not text or len(text) > 19 or not (text.isascii() and text.isdigit()):
        return None
    number = int(text)
    return number if number <= MAX_ID else None
