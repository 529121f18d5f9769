"""Links of assets: to the report pages that show them, and to the page of the documentation that explains them.

Belongs here: addresses. Does not: which page reads which mart, which dbt's exposures say (models/exposures.yml).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import dagster as dg

from orchestration.settings import Settings

DOCS = "docs"
"""Metadata entry of the documentation's page; those of report pages begin with PAGE."""
PAGE = "page_"

LANDED_PAGE = "architecture.md"
BI_PAGE = "connect-your-bi-tool.md"


@dataclass(frozen=True)
class Links:
    """reports_url, docs_url: without a slash at the end. exposures: those of a manifest, by unique id."""

    reports_url: str
    docs_url: str | None = None
    exposures: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, settings: Settings, manifest: Mapping[str, Any]) -> "Links":
        return cls(settings.reports_url, settings.docs_url, manifest.get("exposures") or {})

    def docs(self, page: str) -> dict[str, dg.MetadataValue]:
        """The entry of a page below docs/: its address, or where nobody said under which, its path in the checkout."""
        if self.docs_url:
            return {DOCS: dg.MetadataValue.url(f"{self.docs_url}/{page}")}
        return {DOCS: dg.MetadataValue.path(f"docs/{page}")}

    def pages(self, unique_id: str | None = None, *, name: str | None = None) -> dict[str, dg.MetadataValue]:
        """An entry for each report page that reads a dbt node, or for the page of a name."""
        return {
            exposure["name"]: dg.MetadataValue.url(self.reports_url + urlsplit(exposure["url"]).path)
            for exposure in self.exposures.values()
            if exposure.get("url")
            and exposure["name"].startswith(PAGE)
            and (unique_id in exposure["depends_on"]["nodes"] or exposure["name"] == name)
        }
