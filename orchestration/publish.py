"""Write, audit, publish: from the working database to a whole, verified snapshot that readers see at once.

Belongs here: what a version is made of, verifying it, swapping the link, keeping and removing versions. Does not:
deciding whether to publish (assets, checks), what a mart holds (dbt_project), copying a table (published_tables), which
rows changed (row_changes) or how a column is masked (identifiers). Needs no Dagster.

    published/versions/<version>/marts.duckdb           one file with every table, comments and meta.publication
    published/versions/<version>/marts/<schema>/<table>.parquet
    published/versions/<version>/identities.duckdb      clear values of what is masked there (identifiers); its owner's
    published/versions/<version>/publication.json       the same facts as meta.publication, readable without DuckDB
    published/current -> versions/<version>             the only thing that changes, by one rename

A version is written under a name that readers never look at, and gets its own name when it is complete and on disk.
A process that dies at any point leaves the old version in place.

Of relations that say which of their rows changed, only those are written, into a copy of the former version's file;
with time its rows are in less good order, so that now and then all is copied.
"""

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import duckdb

from log_ingest.errors import StorageError
from log_ingest.sqltext import identifier, literal
from log_ingest.storage import Location, let_read, reason
from log_ingest.suppression import Key
from orchestration import identifiers, restatements, row_changes
from orchestration.identifiers import MaskedColumn, MaskError, Masks
from orchestration.lineage import Table
from orchestration.permissions import set_published_modes
from orchestration.published_tables import MetaTable, PublishedTables
from orchestration.row_changes import Made, RowWise
from orchestration.settings import KEPT_VERSIONS

SCHEMAS = ("core", "reports", "meta")
"""The schemas of the working database that are published, every relation of them."""

FORMAT_VERSION = 4
"""Part of the build digest: a change of what publishing writes makes the next run publish again."""

PUBLICATION_COLUMNS = {
    "version": ("bigint", "Rises by one or more with every publication."),
    "run_id": ("varchar", "The pipeline run that built and audited this version."),
    "published_at": ("timestamp", "When this version was written (UTC)."),
    "data_through_at": (
        "timestamp",
        "The newest tracking event in this version (UTC), leaving out clocks that run more than a day ahead.",
    ),
    "batch_id": ("bigint", "The newest landed batch that is part of this version."),
    "build_digest": ("varchar", "Digest of the models and settings that built this version."),
}

_BUILDING = ".building-"

MOST_ADDED = 24
"""Versions in a row that are made of the one before; then all is copied: rows are in order, and bytes that no row has
any more are gone."""


class PublishError(Exception):
    """Nothing was published, the former version stays. The message is one line that says why."""


@dataclass(frozen=True)
class Publication:
    """One published version. Times are UTC; tables maps "schema.table" to its rows.

    run_number, invocation_id: the working database's run that it was made of; empty where that keeps no record.
    pseudonym_check: tells whether pseudonyms were made with a key. added: versions since one that was copied whole.
    """

    version: int
    run_id: str
    published_at: datetime
    data_through_at: datetime | None
    batch_id: int
    build_digest: str
    tables: dict[str, int] = field(default_factory=dict)
    size_bytes: int = 0
    run_number: int = 0
    invocation_id: str = ""
    pseudonym_check: str = ""
    added: int = 0

    @property
    def label(self) -> str:
        return f"{self.version:06d}"


def current(published_dir: Path) -> Publication | None:
    """The published version, or None where nothing has been published. Raises PublishError if it is damaged."""
    path = published_dir / "current" / "publication.json"
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        through = facts["data_through_at"]
        return Publication(
            **{
                **facts,
                "published_at": datetime.fromisoformat(facts["published_at"]),
                "data_through_at": datetime.fromisoformat(through) if through else None,
            }
        )
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise PublishError(
            f"{path} cannot be read ({error}); point published/current at an older version or remove it, then: mtw run"
        ) from error


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
        made_of = _Source(working_database, landed, masked, key, memory_limit)
        facts = Publication(version, run_id, datetime.now(UTC).replace(tzinfo=None), None, batch_id, build_digest)
        latest = _Former(former, (published_dir / "current").resolve()) if former else None
        try:
            publication = _write(made_of, building, facts, extra, latest, row_wise)
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


def relations(connection: duckdb.DuckDBPyConnection, database: str) -> list[tuple[str, str]]:
    """(schema, name) of every table and view in SCHEMAS of an attached database, in order."""
    return connection.execute(
        "select schema_name, table_name from duckdb_tables() where database_name = $1 and schema_name in $2"
        " union all select schema_name, view_name from duckdb_views()"
        " where database_name = $1 and schema_name in $2 and not internal order by all",
        [database, list(SCHEMAS)],
    ).fetchall()


@dataclass(frozen=True)
class _Source:
    """What a version is made of, and how it is masked. See publish."""

    working_database: Path
    landed: Location | None
    masked: Sequence[MaskedColumn]
    key: Key | None
    memory_limit: str | None


@dataclass(frozen=True)
class _Former:
    """The version published before, and its folder."""

    publication: Publication
    folder: Path

    @property
    def database(self) -> Path:
        return self.folder / "marts.duckdb"


def _write(
    made_of: _Source,
    building: Path,
    facts: Publication,
    extra: Sequence[MetaTable],
    former: _Former | None,
    row_wise: Sequence[RowWise],
) -> Publication:
    if not made_of.working_database.is_file():
        raise PublishError(f"the working database {made_of.working_database} does not exist")
    (building / "marts").mkdir(parents=True)
    # Views name their tables with the database's name, which DuckDB and dbt take from the file's.
    source = made_of.working_database.stem
    spill, database = building / "spill", building / "marts.duckdb"
    with _connection() as connection:
        if made_of.landed is not None:
            let_read(connection, made_of.landed)
        connection.execute(f"set temp_directory = {literal(str(spill))}")
        if made_of.memory_limit is not None:
            connection.execute(f"set memory_limit = {literal(made_of.memory_limit)}")
        connection.execute(f"attach {literal(str(made_of.working_database))} as {identifier(source)} (read_only)")
        masks = Masks(connection, source, made_of.masked, made_of.key)
        run = row_changes.made(connection, source)
        facts = replace(
            facts,
            run_number=run.run_number if run else 0,
            invocation_id=run.invocation_id if run else "",
            pseudonym_check=made_of.key.check_mark()[1] if made_of.key else "",
        )
        changed = _changed_since(connection, source, former, facts, masks, row_wise) if former else {}
        if former and changed:
            _copy_file(former.database, database)
            facts = replace(facts, added=former.publication.added + 1)
        connection.execute(f"attach {literal(str(database))} as marts (storage_version 'v1.0.0')")
        columns = MetaTable(
            identifiers.TABLE, identifiers.COMMENT, identifiers.COLUMNS, [column.row for column in masks.columns]
        )
        extra = [*extra, columns]
        made_here = {("meta", "publication"), ("meta", "restatements"), *(("meta", table.name) for table in extra)}
        found = [pair for pair in relations(connection, source) if pair not in made_here]
        if not found:
            raise PublishError(
                f"{made_of.working_database} holds no relation in {', '.join(SCHEMAS)}; run the models first"
            )
        for schema in SCHEMAS:
            connection.execute(f"create schema if not exists marts.{identifier(schema)}")
        published = PublishedTables(connection, source, masks)
        keys = {each.table: each.key for each in row_wise}
        tables = {}
        for table in found:
            rows = changed.get(table)
            tables[".".join(table)] = (
                published.replace_rows(table, keys[table], rows) if rows else published.copy(table)
            )
        for meta in extra:
            tables[f"meta.{meta.name}"] = published.write(meta)
        publication = replace(facts, data_through_at=_data_through(connection, set(found)), tables=tables)
        row = [getattr(publication, name) for name in PUBLICATION_COLUMNS]
        comment = "Grain: one row. Which version this is, the run that made it, and how far its data goes."
        tables["meta.publication"] = published.write(MetaTable("publication", comment, PUBLICATION_COLUMNS, [row]))
        published.write(MetaTable("restatements", restatements.COMMENT, restatements.COLUMNS, []))
        compared_with = former.database if former else None
        tables["meta.restatements"] = restatements.record(
            connection, source, compared_with, publication, masks, changed
        )
        for table in set(relations(connection, "marts")) - {*found, *made_here}:
            published.drop(table)
        for table in [*found, *sorted(made_here)]:
            published.write_parquet(table, building / "marts", publication.run_id)
        connection.execute("checkpoint marts")
        connection.execute("detach marts")
        if masks.columns:
            if former and changed:
                _copy_file(former.folder / identifiers.FILE, building / identifiers.FILE)
            masks.write(building / identifiers.FILE, publication.run_id, changed)
    shutil.rmtree(spill, ignore_errors=True)
    files = [path for path in building.rglob("*") if path.is_file()]
    publication = replace(publication, size_bytes=sum(path.stat().st_size for path in files))
    written = asdict(publication) | {
        "published_at": publication.published_at.isoformat(),
        "data_through_at": publication.data_through_at.isoformat() if publication.data_through_at else None,
    }
    (building / "publication.json").write_text(json.dumps(written, indent=1), encoding="utf-8")
    return publication


def _changed_since(
    connection: duckdb.DuckDBPyConnection,
    source: str,
    former: _Former,
    facts: Publication,
    masks: Masks,
    row_wise: Sequence[RowWise],
) -> dict[Table, str]:
    """See changed_rows. Nothing where what the working database wrote is not all that this version differs by."""
    was = former.publication
    since = Made(was.run_number, was.invocation_id)
    if was.added >= MOST_ADDED or not row_changes.can_follow(connection, source, since):
        return {}
    if (was.build_digest, was.pseudonym_check) != (facts.build_digest, facts.pseudonym_check):
        return {}
    connection.execute(f"attach {literal(str(former.database))} as marts (read_only)")
    try:
        if identifiers.of_published(connection, "marts") != masks.columns:
            return {}
        if masks.columns and not (former.folder / identifiers.FILE).exists():
            return {}
        return row_changes.changed_rows(connection, source, since, masks, row_wise)
    finally:
        connection.execute("detach marts")


def _copy_file(origin: Path, target: Path) -> None:
    """Copy a published file, to be written to; nobody else reads it meanwhile."""
    target.touch(mode=0o600)
    shutil.copyfile(origin, target)


def _data_through(connection: duckdb.DuckDBPyConnection, found: set[tuple[str, str]]) -> datetime | None:
    if ("core", "fct_tracking_events") not in found:
        return None
    # More than a day after arrival is a clock that runs ahead (flagged far_future where it is landed).
    return connection.execute(
        "select max(occurred_at) from marts.core.fct_tracking_events where occurred_at <= ingested_at + interval 1 day"
    ).fetchall()[0][0]


def _verify(building: Path, publication: Publication) -> None:
    """Open the finished files as a reader would, and compare them with what was meant to be written."""
    database = building / "marts.duckdb"
    if database.with_name(database.name + ".wal").exists():
        raise PublishError("the new version was not written out whole (a .wal file lies beside it)")
    with _connection(database) as connection:
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
        with _connection(identities) as connection:
            if connection.execute("select run_id from main.version").fetchall() != [(publication.run_id,)]:
                raise PublishError(f"{identities.name} is of another run")


@contextmanager
def _connection(read_only: Path | None = None) -> Iterator[duckdb.DuckDBPyConnection]:
    connection = duckdb.connect(str(read_only), read_only=True) if read_only else duckdb.connect()
    try:
        yield connection
    finally:
        connection.close()


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
