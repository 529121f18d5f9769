"""What the pages are told by whoever starts them: environment variables that `mtw serve` has resolved.

Belongs here: reading them. Does not: .env files, defaults of paths, refusing an address (orchestration does that).
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from zoneinfo import ZoneInfo


@dataclass(frozen=True)
class ReportSettings:
    """time_zone: of all times shown. login: "" (none), "oidc" (pages ask for it) or "proxy" (one in front does)."""

    published_database: Path
    time_zone: str = "UTC"
    language: str = "en"
    show_personal_data: bool = False
    login: str = ""

    @classmethod
    def load(cls, environ: Mapping[str, str] | None = None) -> "ReportSettings":
        environ = os.environ if environ is None else environ
        zone = environ.get("MTW_TIME_ZONE") or "UTC"
        ZoneInfo(zone)
        return cls(
            published_database=Path(environ.get("MTW_WAREHOUSE_DIR") or "data/warehouse") / "published/marts.duckdb",
            time_zone=zone,
            language=environ.get("MTW_LANGUAGE") or "en",
            show_personal_data=environ.get("MTW_SHOW_PERSONAL_DATA") == "1",
            login=environ.get("MTW_LOGIN") or "",
        )
