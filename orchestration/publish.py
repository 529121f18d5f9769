"""Write, audit, publish: from the working database to a whole, verified snapshot that readers see at once.

Belongs here: verifying a version, swapping the link, keeping and removing versions. Does not: deciding whether to
publish (assets, checks), what a mart holds (dbt_project), what a version is made of (write_version). Needs no Dagster.

    published/versions/<version>/marts.duckdb           one file with every table, comments and meta.publication
    published/versions/<version>/marts/<schema>/<table>.parquet
    published/versions/<version>/identities.duckdb      clear values of what is masked there (identifiers); its owner's
    published/versions/<version>/publication.json       the same facts as meta.publication, readable without DuckDB
    published/current -> versions/<version>             the only thing that changes, by one rename

A version is written under a name that readers never look at, and gets its own name when it is complete and on disk.
A process that dies at any point leaves the old version in place.
"""

import contextlib
import os
import shutil
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import duckdb

from log_ingest.errors import StorageError
from log_ingest.sqltext import identifier, literal
from log_ingest.storage import Location, reason
from log_ingest.suppression import Key
from orchestration import identifiers, write_version
from orchestration.identifiers import MaskedColumn, MaskError
from orchestration.permissions import set_published_modes
from orchestration.publication import Publication, PublishError, current, relations
from orchestration.published_tables import MetaTable
from orchestration.row_changes import RowWise
from orchestration.settings import KEPT_VERSIONS
from orchestration.write_version import Former, Source

_BUILDING = ".building-"


def publish(
    working_database: Path,
    published_dir: Path,
    *,
    run_id: str,
    batch_id: int,
    build_digest: str,
    extra: Sequence[MetaTable] = (),
    masked: Sequence[MaskedColumn] = (),
    key: Key | None = None,
    landed: Location | None = None,
    row_wise: Sequence[RowWise] = (),
    memory_limit: str | None = None,
    keep: int = KEPT_VERSIONS,
    mode: int | None = None,
    group_reads_identities: bool = False,
) -> Publication:
    """Copy every relation of SCHEMAS into a new version, verify it, make it the current one, drop old versions.

    extra: tables of the schema meta to publish beside them. masked: columns whose clear values go into the identities
    file alone; key: of their pseudonyms. landed: where landed rows are, for views that read them. row_wise: relations
    of which only changed rows are written, where that is known; all others are copied.
    memory_limit: what DuckDB may hold, as it spells it (None: its own default); sorting more goes through the disk.
    mode: of the published files (orchestration.permissions); group_reads_identities: also the identities file.

    The caller holds the pipeline lock. Raises PublishError; then the former version is still the current one.
    """
    former = current(published_dir)
    stays = f"version {former.label} stays published" if former else "nothing is published yet"
    versions_dir = published_dir / "versions"
    try:
        versions_dir.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(published_dir)
        version = max(_versions(versions_dir), default=0) + 1
        building = versions_dir / f"{_BUILDING}{version:06d}"
        made_of = Source(working_database, landed, masked, key, memory_limit)
        facts = Publication(version, run_id, datetime.now(UTC).replace(tzinfo=None), None, batch_id, build_digest)
        latest = Former(former, (published_dir / "current").resolve()) if former else None
        try:
            publication = write_version.write(made_of, building, facts, extra, latest, row_wise)
            set_published_modes(building, mode, group_reads_identities=group_reads_identities)
            _verify(building, publication)
            _sync_tree(building)
            final = versions_dir / publication.label
            building.rename(final)
        except BaseException:
            shutil.rmtree(building, ignore_errors=True)
            raise
        _sync_directory(versions_dir)
        _link(published_dir / "marts.duckdb", "current/marts.duckdb")
        _link(published_dir / "marts", "current/marts")
        _link(published_dir / "current", f"versions/{publication.label}")
        _sync_directory(published_dir)
    except PublishError as error:
        raise PublishError(f"{error}; {stays}") from error
    except (duckdb.Error, StorageError, OSError, MaskError) as error:
        raise PublishError(f"publishing into {published_dir} failed ({reason(error)}); {stays}") from error
    _prune(versions_dir, publication.version, keep)
    return publication


def _verify(building: Path, publication: Publication) -> None:
    """Open the finished files as a reader would, and compare them with what was meant to be written."""
    database = building / "marts.duckdb"
    if database.with_name(database.name + ".wal").exists():
        raise PublishError("the new version was not written out whole (a .wal file lies beside it)")
    with contextlib.closing(duckdb.connect(str(database), read_only=True)) as connection:
        found = {f"{schema}.{name}" for schema, name in relations(connection, "marts")}
        if found != set(publication.tables):
            raise PublishError(f"the new version's tables differ: {sorted(found ^ set(publication.tables))}")
        run_ids = connection.execute("select run_id from meta.publication").fetchall()
        if run_ids != [(publication.run_id,)]:
            raise PublishError(f"the new version names {run_ids} as its run, not {publication.run_id}")
        for qualified, expected in publication.tables.items():
            schema, name = qualified.split(".", 1)
            parquet = literal(str(building / "marts" / schema / f"{name}.parquet"))
            rows, in_parquet = connection.execute(
                f"select (select count(*) from {identifier(schema)}.{identifier(name)}),"  # noqa: S608 (quoted)
                f" (select sum(num_rows)::bigint from parquet_file_metadata({parquet}))"
            ).fetchall()[0]
            if not rows == in_parquet == expected:
                raise PublishError(f"{qualified} has {rows} rows, its Parquet copy {in_parquet}, expected {expected}")
            run_ids = connection.execute(
                f"select decode(value) from parquet_kv_metadata({parquet}) where decode(key) = 'run_id'"  # noqa: S608
            ).fetchall()
            if run_ids != [(publication.run_id,)]:
                raise PublishError(f"the Parquet copy of {qualified} is of another run: {run_ids}")
    identities = building / identifiers.FILE
    if identities.exists():
        with contextlib.closing(duckdb.connect(str(identities), read_only=True)) as connection:
            if connection.execute("select run_id from main.version").fetchall() != [(publication.run_id,)]:
                raise PublishError(f"{identities.name} is of another run")


def _versions(versions_dir: Path) -> list[int]:
    return sorted(int(path.name) for path in versions_dir.iterdir() if path.name.isdigit())


def _remove_leftovers(published_dir: Path) -> None:
    """Remove what a process that died left: unfinished versions and links that were never swapped in."""
    for path in (published_dir / "versions").glob(f"{_BUILDING}*"):
        shutil.rmtree(path)
    for path in published_dir.glob(".link-*"):
        path.unlink()


def _prune(versions_dir: Path, newest: int, keep: int) -> None:
    """Drop all but the last versions. A failure here is no failure of the publication: the next one tries again."""
    for version in _versions(versions_dir)[:-keep]:
        if version != newest:
            shutil.rmtree(versions_dir / f"{version:06d}", ignore_errors=True)


def remove_other_versions(published_dir: Path, kept: Publication) -> None:
    """Drop all versions but one, also unfinished ones. Raises PublishError where one cannot be removed."""
    try:
        _remove_leftovers(published_dir)
        for path in (published_dir / "versions").iterdir():
            if path.name != kept.label:
                shutil.rmtree(path)
    except OSError as error:
        raise PublishError(
            f"{error.filename or published_dir}: {error.strerror or error}; older versions hold what was erased: mend"
            " permissions, then run again"
        ) from error


def _link(path: Path, target: str) -> None:
    """Make path a symbolic link to target, replacing an older link in one step."""
    if path.is_symlink() and path.readlink() == Path(target):
        return
    temporary = path.with_name(f".link-{path.name}")
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(target)
    temporary.replace(path)


def _sync_tree(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
        else:
            _sync_directory(path)
    _sync_directory(folder)


def _sync_directory(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
