"""DAGSTER_HOME: where Dagster keeps its runs and events, and its settings file.

Belongs here: making that folder ready, and the choice between files in it and a PostgreSQL database.
Does not: what else is in dagster.yaml (orchestration/dagster.yaml).
"""

import hashlib
import importlib.util
from pathlib import Path

import psycopg
import yaml

from log_ingest.postgres_url import scrubbed
from orchestration.settings import Settings, SettingsError

SHIPPED = Path(__file__).with_name("dagster.yaml")
_STAMP = "# shipped "
_SETTING = "MTW_DAGSTER_STORAGE_URL"
_SQLITE = """
# Files in this folder, over connections that stay open: Dagster's own class opens and closes them for every event.
storage:
  custom:
    module: orchestration.sqlite_storage
    class: KeptOpenStorage
    config:
      base_dir:
        env: DAGSTER_HOME
"""
_POSTGRES = f"""
# Because {_SETTING} is set, or MTW_LEDGER_URL, which serves then. Each of Dagster's processes reads the
# former from its environment: it is written down nowhere.
storage:
  postgres:
    postgres_url:
      env: {_SETTING}
"""
_PATIENCE_SECONDS = 10


class StorageUnusable(SettingsError):
    """The storage that a setting names does not answer, or not to us: that may pass, and is no wrong usage."""


def prepare_dagster_home(settings: Settings) -> Path:
    """Make DAGSTER_HOME with the shipped dagster.yaml, and make sure of the storage; returns the folder.

    A file that nobody edited is replaced when a new one ships or the storage is another one; an edited one is left
    alone. Raises SettingsError where the PostgreSQL storage that is asked for cannot be used.
    """
    if settings.dagster_storage_url:
        _check_storage(settings.dagster_storage_url)
    home = settings.dagster_home
    home.mkdir(parents=True, exist_ok=True)
    path = home / "dagster.yaml"
    body = SHIPPED.read_text(encoding="utf-8") + (_POSTGRES if settings.dagster_storage_url else _SQLITE)
    found = path.read_text(encoding="utf-8") if path.exists() else None
    if found is None or _is_as_shipped(found):
        stamped = f"{_STAMP}{_digest(body)}\n{body}"
        if found != stamped:
            temporary = path.with_suffix(".tmp")
            temporary.write_text(stamped, encoding="utf-8")
            temporary.replace(path)
    elif settings.dagster_storage_url and not _names_a_storage(found):
        raise SettingsError(
            f"{_SETTING} or MTW_LEDGER_URL is set, but {path} was edited and names no storage: add there what"
            " docs/deployment.md shows, or move your changes and remove the file"
        )
    return home


def storage_problem(url: str) -> str | None:
    """Why Dagster's PostgreSQL storage cannot be used, as one line without the URL; None where it can."""
    if importlib.util.find_spec("dagster_postgres") is None:
        return (
            f"{_SETTING} and MTW_LEDGER_URL need dagster-postgres: pip install 'message-tracking-warehouse[postgres]'"
            " (or, for Dagster's runs in files beside a ledger in PostgreSQL: MTW_DAGSTER_STORAGE_URL=files)"
        )
    try:
        psycopg.connect(driverless(url), connect_timeout=_PATIENCE_SECONDS).close()
    except psycopg.Error as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        return (
            f"Dagster's storage cannot be reached ({scrubbed(reason, driverless(url))}); check the server and"
            f" {_SETTING}, or MTW_LEDGER_URL where that is not set"
        )
    return None


def driverless(url: str) -> str:
    """The storage's URL without the driver that SQLAlchemy is told by it."""
    return url.replace("+psycopg2", "", 1)


def _check_storage(url: str) -> None:
    """Here, because Dagster would try again for minutes and then show a stack of errors."""
    if problem := storage_problem(url):
        raise StorageUnusable(problem)


def _names_a_storage(text: str) -> bool:
    try:
        found = yaml.safe_load(text)
    except yaml.YAMLError:
        return True  # Dagster says what is wrong with it
    return isinstance(found, dict) and not {"storage", "run_storage"}.isdisjoint(found)


def _is_as_shipped(text: str) -> bool:
    first, _, body = text.partition("\n")
    return first == _STAMP + _digest(body)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
