"""DAGSTER_HOME: where Dagster keeps its runs and events, and its settings file.

Belongs here: making that folder ready. Does not: what is in dagster.yaml (orchestration/dagster.yaml).
"""

import hashlib
from pathlib import Path

from orchestration.settings import Settings

SHIPPED = Path(__file__).with_name("dagster.yaml")
_STAMP = "# shipped "


def prepare_dagster_home(settings: Settings) -> Path:
    """Make DAGSTER_HOME with the shipped dagster.yaml; returns the folder.

    A file that nobody edited is replaced when a new one ships; an edited one is left alone.
    """
    home = settings.dagster_home
    home.mkdir(parents=True, exist_ok=True)
    path = home / "dagster.yaml"
    body = SHIPPED.read_text(encoding="utf-8")
    if not path.exists() or _is_as_shipped(path.read_text(encoding="utf-8")):
        temporary = path.with_suffix(".tmp")
        temporary.write_text(f"{_STAMP}{_digest(body)}\n{body}", encoding="utf-8")
        temporary.replace(path)
    return home


def _is_as_shipped(text: str) -> bool:
    first, _, body = text.partition("\n")
    return first == _STAMP + _digest(body)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
