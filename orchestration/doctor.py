"""Looks at an installation and says what to do: versions, folders, space, lock, ledger, published version."""

import contextlib
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import duckdb

from log_ingest.errors import IngestError, StorageError
from log_ingest.ledger import Ledger
from log_ingest.storage import ObjectUrl
from orchestration import publish
from orchestration.console import bytes_shown
from orchestration.lock import holder
from orchestration.settings import Settings

LEAST_FREE_BYTES = 1_000_000_000
_PINNED = ("duckdb", "dagster", "dagster-dbt", "dbt-core", "dbt-duckdb", "great-expectations")


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at. text says what to do where it is not ok."""

    topic: str
    is_ok: bool
    text: str


def diagnose(settings: Settings) -> list[Finding]:
    """Look at everything; never raises for what it finds, and changes nothing."""
    looks: list[Callable[[Settings], Iterator[Finding]]] = [
        _versions,
        _folders,
        _lock,
        _ledger,
        _platform,
        _published,
        _copy,
    ]
    return [finding for look in looks for finding in look(settings)]


def _versions(settings: Settings) -> Iterator[Finding]:
    ok = sys.version_info >= (3, 11)
    text = ".".join(map(str, sys.version_info[:3]))
    yield Finding("python", ok, text if ok else f"{text}; 3.11 or newer is needed: make env PYTHON=python3.11")
    yield Finding("packages", True, ", ".join(f"{name} {version(name)}" for name in _PINNED))


def _folders(settings: Settings) -> Iterator[Finding]:
    landing = settings.landing_dir
    if isinstance(landing, ObjectUrl):
        yield _bucket("landing location", landing)
    elif not landing.is_dir():
        yield Finding(
            "landing folder", False, f"{landing} does not exist; set MTW_LANDING_DIR, or: mtw sample {landing}"
        )
    elif not os.access(landing, os.R_OK | os.X_OK):
        yield Finding("landing folder", False, f"{landing} cannot be read; give this user read permission")
    else:
        yield Finding("landing folder", True, str(landing))
    if isinstance(settings.landed_dir, ObjectUrl):
        yield _bucket("landed location", settings.landed_dir)
    for topic, folder in (("warehouse folder", settings.warehouse_dir), ("DAGSTER_HOME", settings.dagster_home)):
        existing = next(path for path in (folder, *folder.parents) if path.exists())
        ok = existing.is_dir() and os.access(existing, os.W_OK | os.X_OK)
        note = "" if folder.exists() else " (made by the first run)"
        yield Finding(
            topic, ok, f"{folder}{note}" if ok else f"{existing} cannot be written; give this user write permission"
        )
    free = shutil.disk_usage(_existing(settings.warehouse_dir)).free
    yield Finding(
        "space",
        free >= LEAST_FREE_BYTES,
        f"{bytes_shown(free)} free" + ("" if free >= LEAST_FREE_BYTES else "; a run needs at least 1 GB: free some"),
    )


def _bucket(topic: str, url: ObjectUrl) -> Finding:
    try:
        from log_ingest.object_store import ObjectStore

        ObjectStore(url).check()
    except (IngestError, StorageError) as error:
        return Finding(topic, False, str(error))
    return Finding(topic, True, f"{url} can be listed")


def _existing(folder: Path) -> Path:
    return next(path for path in (folder, *folder.parents) if path.exists())


def _lock(settings: Settings) -> Iterator[Finding]:
    busy = holder(settings.lock_path)
    yield Finding("lock", True, f"{busy} (a run is going on)" if busy else "free")


def _ledger(settings: Settings) -> Iterator[Finding]:
    if not settings.ledger_path.exists():
        yield Finding("ledger", True, "none yet; the first run makes it")
        return
    try:
        with Ledger(settings.ledger_path, read_only=True) as ledger:
            whole, last = ledger.is_whole(), ledger.last_batch_id()
    except (IngestError, OSError) as error:
        yield Finding("ledger", False, str(error))
        return
    text = (
        f"whole, last batch {last}" if whole else f"{settings.ledger_path} is damaged; stop runs and restore a backup"
    )
    yield Finding("ledger", whole, text)


def _platform(settings: Settings) -> Iterator[Finding]:
    if settings.reference_url is None:
        return
    from log_ingest.platform.take_tables import PlatformSource, look

    try:
        source = PlatformSource.load(settings.reference_url, settings.reference_mapping)
    except IngestError as error:
        yield Finding("platform database", False, str(error))
        return
    problems = look(source)
    for problem in problems:
        yield Finding("platform database", False, problem)
    if not problems:
        names = ", ".join(table.table for table in source.mapping.tables)
        yield Finding("platform database", True, f"reachable; can be read: {names}")


def _published(settings: Settings) -> Iterator[Finding]:
    try:
        publication = publish.current(settings.published_dir)
        if publication is None:
            yield Finding("published version", True, "none yet; run: mtw run")
            return
        path = settings.published_database.resolve(strict=True)
        with contextlib.closing(duckdb.connect(str(path), read_only=True)) as connection:
            found = connection.execute("select version, run_id from meta.publication").fetchall()
        if found != [(publication.version, publication.run_id)]:
            yield Finding("published version", False, f"{path} says {found}; remove published/current, then: mtw run")
            return
        yield Finding("published version", True, f"{publication.label}, readable, {len(publication.tables)} tables")
    except (publish.PublishError, duckdb.Error, OSError) as error:
        reason = str(error).strip().splitlines()[0]
        yield Finding("published version", False, f"cannot be read ({reason}); to publish again: mtw run")


def _copy(settings: Settings) -> Iterator[Finding]:
    if settings.publish_url is None:
        return
    from orchestration.postgres_copy import CopyError, held_version

    try:
        held = held_version(settings.publish_url)
        publication = publish.current(settings.published_dir)
    except (CopyError, publish.PublishError) as error:
        yield Finding("PostgreSQL copy", False, str(error))
        return
    says = "reachable, holds nothing" if held is None else f"reachable, holds version {held:06d}"
    ok = publication is None or held == publication.version
    yield Finding("PostgreSQL copy", ok, says if ok else f"{says}; to bring it up to date: mtw run")
