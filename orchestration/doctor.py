"""Looks at an installation and says what to do about what is wrong.

Versions, clock and time zones, folders and permissions, space, lock, Dagster's storage, ledger, landed files, erasures,
the platform's database, the published version. Belongs here: looking, as long as it takes seconds. Does not: reading
all landed bytes (the checks of a run do).
"""

import contextlib
import os
import shutil
import sqlite3
import stat
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path

import duckdb

from log_ingest import migrations
from log_ingest.catalog import LINE_SOURCES, REFERENCE_ENTITIES
from log_ingest.erasure import PENDING
from log_ingest.errors import IngestError, StorageError
from log_ingest.ledger import Ledger, exists
from log_ingest.ledger_database import workers_of
from log_ingest.storage import ObjectUrl
from log_ingest.suppression import KEY_NAME
from log_ingest.zones import is_zone
from orchestration.console import bytes_shown
from orchestration.engine import EngineError, engine_of
from orchestration.home import storage_problem
from orchestration.identifiers import KEY_NAME as PSEUDONYM_KEY
from orchestration.lock import holder
from orchestration.publication import PublishError, current
from orchestration.settings import Settings
from orchestration.text import plain

LEAST_FREE_BYTES = 1_000_000_000
CLOCK_TOLERANCE = timedelta(minutes=5)
OLDEST_YEAR = 2025
"""No installation ran before this year."""
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
        *(_versions, _engine, _clock, _time_zones, _folders, _permissions, _lock, _dagster_storage, _ledger, _erasure),
        *(_platform, _published, _copy),
    ]
    found: list[Finding] = []
    for look in looks:
        try:
            found.extend(look(settings))
        except OSError as error:
            # What it may not even look at, as whoever does not own the warehouse.
            what = f"{error.filename or settings.warehouse_dir}: {error.strerror or error}; run mtw as its owner"
            found.append(Finding(look.__name__.strip("_").replace("_", " "), False, what))
    return found


def _versions(settings: Settings) -> Iterator[Finding]:
    ok = sys.version_info >= (3, 11)
    text = ".".join(map(str, sys.version_info[:3]))
    yield Finding("python", ok, text if ok else f"{text}; 3.11 or newer is needed: make env PYTHON=python3.11")
    yield Finding("packages", True, ", ".join(f"{name} {version(name)}" for name in _PINNED))


def _engine(settings: Settings) -> Iterator[Finding]:
    if settings.engine == "duckdb":
        return
    try:
        engine_of(settings).check(settings)
    except EngineError as error:
        yield Finding("engine", False, str(error))
    else:
        yield Finding("engine", True, f"Spark at {settings.spark_url.partition(';')[0]}")


def _clock(settings: Settings) -> Iterator[Finding]:
    """A clock that was set back would order versions and reference rows wrongly; one years off would flag all lines."""
    now = datetime.now(UTC)
    seen: dict[str, datetime | None] = {}
    with contextlib.suppress(IngestError, OSError, PublishError):
        publication = current(settings.published_dir)
        seen["the published version"] = publication.published_at.replace(tzinfo=UTC) if publication else None
        if exists(settings.ledger):
            with Ledger(settings.ledger, read_only=True) as ledger:
                seen["a run of this warehouse"] = ledger.newest_time()
    shown = f"{now:%Y-%m-%d %H:%M:%S} UTC"
    later = {what: at for what, at in seen.items() if at is not None and at > now + CLOCK_TOLERANCE}
    if later:
        what, at = max(later.items(), key=lambda entry: entry[1])
        yield Finding(
            "clock", False, f"{shown}, but {what} is of {at:%Y-%m-%d %H:%M:%S}; set the clock (NTP), then run"
        )
    elif now.year < OLDEST_YEAR:
        yield Finding("clock", False, f"{shown} cannot be right; set the clock (NTP), then run")
    else:
        yield Finding("clock", True, shown)


def _time_zones(settings: Settings) -> Iterator[Finding]:
    """Each zone must be known to Python, which checks it, and to DuckDB, which converts with it."""
    wanted = {"MTW_TIME_ZONE": settings.time_zone}
    wanted |= {f"MTW_SERVER_TIME_ZONES ({server})": zone for server, zone in settings.zone_by_server().items()}
    for name, zone in wanted.items():
        if not is_zone(zone):
            yield Finding("time zone", False, f"{name} is {zone}, which is no known zone; use a name like Europe/Paris")
            return
    servers = ", ".join(f"{server}={zone}" for server, zone in settings.zone_by_server().items())
    yield Finding("time zone", True, f"reports in {settings.time_zone}; servers write {servers or 'UTC'}")


def _landing_names(landing: Path) -> Finding:
    """A misspelt folder is read by nobody, and no run can tell it from one that is somebody else's."""
    folders = [source.folder for source in LINE_SOURCES] + [entity.folder for entity in REFERENCE_ENTITIES]
    tops = sorted({folder.partition("/")[0] for folder in folders})
    found = sorted(path.name for path in landing.iterdir() if not path.name.startswith("."))
    unread = [name for name in found if name not in tops]
    reference = landing / "reference"
    if reference.is_dir() and os.access(reference, os.R_OK | os.X_OK):
        entities = sorted(f"reference/{path.name}" for path in reference.iterdir() if not path.name.startswith("."))
        unread += [name for name in entities if name not in folders]
    if found and not set(found) & set(tops):
        return Finding("landing folder", False, f"{landing} has none of the folders that are read: {', '.join(tops)}")
    shown = ", ".join(plain(name, 60) for name in unread[:5]) + (f" and {len(unread) - 5} more" if unread[5:] else "")
    return Finding("landing folder", True, f"{landing}{f'; read by no source: {shown}' if unread else ''}")


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
        yield _landing_names(landing)
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
    # A new version is written beside the old one, and a full build beside what it replaces.
    working = settings.working_database
    used = 0
    with contextlib.suppress(PublishError):
        publication = current(settings.published_dir)
        used = (publication.size_bytes if publication else 0) + (working.stat().st_size if working.is_file() else 0)
    needed = max(LEAST_FREE_BYTES, 2 * used)
    yield Finding(
        "space",
        free >= needed,
        f"{bytes_shown(free)} free"
        + ("" if free >= needed else f"; a run needs up to {bytes_shown(needed)} beside what is there: free some"),
    )


def _permissions(settings: Settings) -> Iterator[Finding]:
    """What runs have to write can be written by this user, and nobody but its owner reads the key."""
    folder = settings.warehouse_dir
    if not folder.is_dir():
        return
    needed = [
        *(settings.ledger_path, settings.lock_path, settings.working_database, settings.published_dir / "versions"),
        settings.dagster_home / "history",
        *([settings.landed_dir] if isinstance(settings.landed_dir, Path) else []),
    ]
    barred = [path for path in needed if path.exists() and not os.access(path, os.W_OK)]
    for path in barred:
        yield Finding("permissions", False, f"{path} cannot be written; run as its owner, or give this user permission")
    if folder.stat().st_mode & stat.S_IWOTH:
        yield Finding("permissions", False, f"anybody may write to {folder}; take that away: chmod o-w {folder}")
    open_to_others = _open_to_others(settings)
    if open_to_others:
        yield Finding(
            "permissions", False,
            f"anybody may read {open_to_others[0]}; take that away: chmod -R o-rwx"
            f" {' '.join(map(str, open_to_others))}",
        )  # fmt: skip
    yield _published_readers(settings)
    keys = [folder / KEY_NAME, folder / PSEUDONYM_KEY]
    shared = [key for key in keys if key.exists() and key.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO)]
    for key in shared:
        yield Finding("permissions", False, f"{key} may be read by others than its owner; chmod 600 {key}")
    if not shared and not barred and not open_to_others and not folder.stat().st_mode & stat.S_IWOTH:
        yield Finding("permissions", True, f"this user may write what runs write below {folder}")


def _open_to_others(settings: Settings) -> list[Path]:
    """What holds rows or names of people and may be read by every user of the machine, through the folders above it."""
    if not settings.warehouse_dir.stat().st_mode & stat.S_IXOTH:
        return []
    private = [settings.ledger_path, settings.working_database.parent, settings.dagster_home]
    private += [settings.landed_dir] if isinstance(settings.landed_dir, Path) else []
    return [path for path in private if path.exists() and path.stat().st_mode & stat.S_IROTH]


def _published_readers(settings: Settings) -> Finding:
    """Whom the modes let read the published file: everybody, the group, or this user alone."""
    path = settings.published_database.resolve()
    if not path.is_file():
        return Finding("published to", True, "nothing yet")
    folders = [folder for folder in path.parents if folder.is_relative_to(settings.warehouse_dir.resolve())]
    mode = path.stat().st_mode
    for read, passing, who in (
        (stat.S_IROTH, stat.S_IXOTH, "every user of this machine"),
        (stat.S_IRGRP, stat.S_IXGRP, f"members of the group {_group(path)}"),
    ):
        if mode & read and all(folder.stat().st_mode & passing for folder in folders):
            return Finding("published to", True, f"{who} (MTW_PUBLISHED_MODE)")
    return Finding("published to", True, "this user alone; for others set MTW_PUBLISHED_MODE")


def _group(path: Path) -> str:
    try:
        return path.group()
    except KeyError:
        return str(path.stat().st_gid)


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


def _dagster_storage(settings: Settings) -> Iterator[Finding]:
    if settings.dagster_storage_url:
        problem = storage_problem(settings.dagster_storage_url)
        yield Finding("Dagster storage", problem is None, problem or "PostgreSQL, reachable")


def _ledger(settings: Settings) -> Iterator[Finding]:
    try:
        if not exists(settings.ledger):
            yield Finding("ledger", True, "none yet; the first run makes it")
            return
        if settings.ledger_url is not None:
            count = workers_of(settings.ledger_url)
            beside = f"; {count} processes take part in it now" if count else ""
            yield Finding("ledger's database", True, f"PostgreSQL, reachable{beside}")
        found = migrations.format_of(settings.ledger)
        if found is not None and migrations.OLDEST_FORMAT <= found < migrations.FORMAT:
            kept = "your dump of it is what you can go back to"
            if settings.ledger_url is None:
                kept = f"keeps {migrations.kept_copy(settings.ledger_path, found).name} to go back to"
            yield Finding(
                "format", True,
                f"{found}, this program works with {migrations.FORMAT}: the next run brings it up to date and"
                f" {kept} ({migrations.GUIDE})",
            )  # fmt: skip
            return
        if found == migrations.FORMAT:
            yield Finding("format", True, f"{found}, which this program works with")
        with Ledger(settings.ledger, read_only=True) as ledger:
            whole, last = ledger.is_whole(), ledger.last_batch_id()
            unbalanced = ledger.unbalanced() if whole else []
            parts = [row["path"] for row in ledger.parts()] if whole else []
    except sqlite3.Error as error:
        yield Finding("ledger", False, f"{settings.ledger} cannot be read ({error}); restore it from a backup")
        return
    except (IngestError, OSError) as error:
        yield Finding("ledger", False, str(error))
        return
    text = f"whole, last batch {last}" if whole else f"{settings.ledger} is damaged; stop runs and restore a backup"
    yield Finding("ledger", whole, text)
    if unbalanced:
        yield Finding(
            "control totals",
            False,
            f"of {len(unbalanced)} files the totals do not add up, first {unbalanced[0]}; restore the ledger from a"
            " backup",
        )
    elif whole:
        yield Finding("control totals", True, "every line taken in has one disposition")
    landed = settings.landed_dir
    if isinstance(landed, Path):
        missing = [path for path in parts if not (landed / path).is_file()]
        text = f"all {len(parts)} files are there"
        if missing:
            text = f"{len(missing)} of {len(parts)} are gone, first {landed / missing[0]}; restore them from a backup"
        yield Finding("landed files", not missing, text)


def _erasure(settings: Settings) -> Iterator[Finding]:
    with contextlib.suppress(IngestError, OSError):
        if not exists(settings.ledger):
            return
        with Ledger(settings.ledger, read_only=True) as ledger:
            erasures, pending, has_marks = ledger.erasures(), ledger.fact(PENDING), ledger.has_marks()
        key = settings.warehouse_dir / KEY_NAME
        if pending:
            yield Finding(
                "erasures",
                False,
                "an erasure or a purge is not finished: older versions hold what it removed; run: mtw run",
            )
        elif has_marks and not key.exists():
            yield Finding("erasures", False, f"{key} is gone, so nothing can be taken in; restore it from a backup")
        elif erasures:
            yield Finding("erasures", True, f"{len(erasures)}, all finished; back up {key} with the ledger")


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
        publication = current(settings.published_dir)
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
    except (PublishError, duckdb.Error, OSError) as error:
        reason = str(error).strip().splitlines()[0]
        yield Finding("published version", False, f"cannot be read ({reason}); to publish again: mtw run")


def _copy(settings: Settings) -> Iterator[Finding]:
    if settings.publish_url is None:
        return
    from orchestration.postgres_copy import CopyError, held_version

    try:
        held = held_version(settings.publish_url)
        publication = current(settings.published_dir)
    except (CopyError, PublishError) as error:
        yield Finding("PostgreSQL copy", False, str(error))
        return
    says = "reachable, holds nothing" if held is None else f"reachable, holds version {held:06d}"
    ok = publication is None or held == publication.version
    yield Finding("PostgreSQL copy", ok, says if ok else f"{says}; to bring it up to date: mtw run")
