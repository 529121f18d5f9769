"""What has to be done: compares the ledger, the models and the working database with what is published.

Belongs here: the build digest, the record of the last complete build, the decision to build (and how).
Does not: building or publishing.
"""

import hashlib
import json
import os
import re
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from log_ingest.ledger_database import Row
from log_ingest.sqltext import identifier
from log_ingest.storage import let_read
from orchestration import postgres_copy, write_version
from orchestration.bounded import connected
from orchestration.publication import current
from orchestration.settings import PUBLISHED_IDENTIFIERS, Settings

if TYPE_CHECKING:
    import duckdb

_NOT_PART_OF_THE_PROJECT = {"target", "logs", "dbt_packages", "__pycache__", ".user.yml"}

UNFINISHED = -1
"""The batch of a build that has begun and not ended."""


@dataclass(frozen=True)
class Build:
    """The last complete build of the working database: its digest, and the newest batch that it had to absorb."""

    build_digest: str
    hidden_digest: str
    batch_id: int
    run_id: str


@dataclass(frozen=True)
class Plan:
    """What this run has to do. No reasons: everything published is up to date.

    published_batch_id: the newest batch that readers see; rows of later batches are new to the landing checks.
    full_refresh: the models are rebuilt from all landed rows, because what they were built by has changed.
    is_check_only: models are built to be checked, and readers have it all: a further version would be the same again.
    """

    reasons: tuple[str, ...]
    published_batch_id: int
    full_refresh: bool
    is_check_only: bool = False


def build_digest(settings: Settings) -> str:
    """sha256 hex over the files of the dbt project and the settings that change what is published. Differs: build."""
    digest = _digest(settings, settings.dbt_project_dir)
    # How it is published is no matter of the models: they are not built anew for it.
    form = settings.published_identifiers
    return digest if form == PUBLISHED_IDENTIFIERS[0] else hashlib.sha256(f"{digest} {form}".encode()).hexdigest()


def hidden_digest(settings: Settings) -> str:
    """sha256 hex over what models cannot see has changed: macros and settings. It differs: rebuild from all rows.

    A model whose own SQL or seeds have changed notices by itself (dbt_project/macros/state).
    """
    return _digest(settings, settings.dbt_project_dir / "macros")


def rows_anew(settings: Settings, plan: "Plan", batches: Iterable[Row]) -> int:
    """Landed rows that the next build looks at for the first time: all of them, where it may have to begin anew.

    batches: of the ledger, with batch_id and accepted_count.
    """
    build = last_build(settings)
    goes_on = build and not plan.full_refresh and build.build_digest == build_digest(settings)
    built = build.batch_id if build and goes_on and build.batch_id != UNFINISHED else 0
    return sum(batch["accepted_count"] for batch in batches if batch["batch_id"] > built)


def _digest(settings: Settings, root: Path) -> str:
    digest = hashlib.sha256(
        f"{write_version.FORMAT_VERSION} {settings.engine} {settings.time_zone} {settings.web_tracking_mode}\n".encode()
    )
    for folder, subfolders, names in os.walk(root):
        subfolders[:] = sorted(name for name in subfolders if name not in _NOT_PART_OF_THE_PROJECT)
        for name in sorted(names):
            if name not in _NOT_PART_OF_THE_PROJECT:
                path = Path(folder) / name
                digest.update(f"{path.relative_to(root)}\0{path.stat().st_size}\0".encode())
                digest.update(path.read_bytes())
    return digest.hexdigest()


def last_build(settings: Settings) -> Build | None:
    """The last complete build, or None: no working database, or one that was never built to the end."""
    if not settings.working_database.is_file():
        return None
    try:
        return Build(**json.loads(_record(settings).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def record_build(settings: Settings, build: Build) -> None:
    """Remember that the working database is complete up to a batch."""
    path = _record(settings)
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(asdict(build)), encoding="utf-8")
    temporary.replace(path)


def forget_build(settings: Settings) -> None:
    """A build begins: until it is complete, the working database counts as unfinished, not as outdated."""
    build = last_build(settings)
    if build:
        # The digest stays: an unfinished incremental build goes on where it stopped, without a full refresh.
        record_build(settings, replace(build, batch_id=UNFINISHED))


class DatabaseInUse(Exception):
    """Another process has the working database open. The message is one line that says what to do."""


def discard_unreadable_database(settings: Settings, patience_seconds: float = 60) -> bool:
    """Remove a working database that DuckDB cannot read: it is a cache, the next build makes it again.

    That it opens is looked at always; after a run that did not come to its end, every block is read: DuckDB finds a
    rotten one by its checksum only when it gets there, and each run would fail at it anew.

    Returns whether there was one. A killed run may leave its dbt behind, which ends by itself: it is waited for.
    Raises DatabaseInUse where another process keeps the database open for longer; PublishError as plan does.
    """
    import duckdb

    path = settings.working_database
    if not path.exists():
        return False
    build, published = last_build(settings), current(settings.published_dir)
    has_failed = build is None or published is None or build.batch_id != published.batch_id
    deadline = time.monotonic() + patience_seconds
    while True:
        try:
            with connected(settings, path) as connection:
                let_read(connection, settings.landed_dir)
                connection.execute("select count(*) from duckdb_columns()").fetchall()
                if has_failed:
                    _read_all(connection)
            return False
        except duckdb.OutOfMemoryException:
            return False
        except duckdb.Error as error:
            if "Could not set lock" not in str(error):
                break
            if time.monotonic() > deadline:
                pid = re.search(r"PID (\d+)", str(error))
                who = f"process {pid[1]}" if pid else "another process"
                raise DatabaseInUse(f"{path} is open in {who}; end that, then run again") from error
            time.sleep(0.5)
    for file in (path, path.with_name(path.name + ".wal"), _record(settings)):
        file.unlink(missing_ok=True)
    return True


def _read_all(connection: "duckdb.DuckDBPyConnection") -> None:
    """Read every column of every table. Raises duckdb.Error at a block that is not what was written."""
    for schema, name in connection.execute(
        "select schema_name, table_name from duckdb_tables() where not internal and not temporary"
    ).fetchall():
        table = f"{identifier(schema)}.{identifier(name)}"
        connection.execute(f"select count(hash(stored)) from {table} as stored").fetchall()  # noqa: S608 (quoted)


def plan(settings: Settings, latest_batch_id: int) -> Plan:
    """Decide what a run has to do after ingest, whose newest batch is latest_batch_id (0: none ever).

    Raises PublishError if the published version's record is damaged.
    """
    published = current(settings.published_dir)
    build = last_build(settings)
    digest = build_digest(settings)
    after = published.batch_id if published else 0
    reasons = []
    full_refresh = False
    if build is None:
        reasons.append("the working database has to be built")
        # Without that file DuckDB has nothing to refresh; what Spark has is elsewhere.
        full_refresh = settings.engine != "duckdb" or settings.working_database.is_file()
    elif build.build_digest != digest:
        reasons.append("the models or the settings have changed")
        full_refresh = build.hidden_digest != hidden_digest(settings)
    elif build.batch_id == UNFINISHED:
        reasons.append("the last build did not finish")
    elif latest_batch_id < build.batch_id:
        reasons.append("the ledger was started anew")
        full_refresh = True
    if published is None:
        reasons.append("nothing is published yet")
    elif published.build_digest != digest and build and build.build_digest == digest:
        reasons.append("the published version was built by other models or settings")
    if latest_batch_id > after:
        reasons.append(f"batches {after + 1} to {latest_batch_id} are not published yet")
    if latest_batch_id < after:
        after = 0
        reasons.append("the published version is ahead of the ledger")
    if (
        settings.publish_url
        and published
        and postgres_copy.is_behind(settings.publish_url, settings.published_dir, published)
    ):
        reasons.append(f"the PostgreSQL copy does not hold version {published.label} yet")
    return Plan(tuple(reasons), after, full_refresh)


def _record(settings: Settings) -> Path:
    return settings.working_database.with_name("build.json")
