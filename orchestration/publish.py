"""Write, audit, publish: from the working database to a whole, verified snapshot that readers see at once.

Belongs here: copying the marts, verifying the copy, swapping the link, keeping and removing versions.
Does not: deciding whether to publish (assets, checks), what a mart holds (dbt_project) or how a column is masked
(identifiers). Needs no Dagster.

    published/versions/<version>/marts.duckdb           one file with every table, comments and meta.publication
    published/versions/<version>/marts/<schema>/<table>.parquet
    published/versions/<version>/identities.duckdb      clear values of what is masked there (identifiers); its owner's
    published/versions/<version>/publication.json       the same facts as meta.publication, readable without DuckDB
    published/current -> versions/<version>             the only thing that changes, by one rename

A version is written under a name that readers never look at, and gets its own name when it is complete and on disk.
A process that dies at any point leaves the old version in place.
"""

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pyarrow as pa

from log_ingest.errors import StorageError
from log_ingest.sqltext import identifier, literal
from log_ingest.storage import Location, let_read, reason
from log_ingest.suppression import Key
from orchestration import identifiers, restatements
from orchestration.identifiers import MaskedColumn, MaskError, Masks
from orchestration.permissions import set_published_modes
from orchestration.settings import KEPT_VERSIONS

SCHEMAS = ("core", "reports", "meta")
"""The schemas of the working database that are published, every relation of them."""

FORMAT_VERSION = 4
"""Part of the build digest: a change of what publishing writes makes the next run publish again."""

SORT_KEYS = {
    ("core", "fct_tracking_events"): ("delivery_id", "occurred_at"),
    ("reports", "profile_tracking"): ("recipient_id", "occurred_at"),
    ("reports", "delivery_tracking"): ("delivery_id", "occurred_at"),
}
"""Row order of the tables that are looked up by key: readers then skip most row groups."""

UNDESCRIBED = "Not described yet: give it a description in the model's YAML."
"""The comment of what nobody described. An analyst's first draft is published with it, not held back."""

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


@dataclass(frozen=True)
class MetaTable:
    """A table of the schema meta that no model makes. columns: by name, type and comment; rows in their order."""

    name: str
    comment: str
    columns: dict[str, tuple[str, str]]
    rows: Sequence[Sequence[object]]


class PublishError(Exception):
    """Nothing was published, the former version stays. The message is one line that says why."""


@dataclass(frozen=True)
class Publication:
    """One published version. Times are UTC; tables maps "schema.table" to its rows."""

    version: int
    run_id: str
    published_at: datetime
    data_through_at: datetime | None
    batch_id: int
    build_digest: str
    tables: dict[str, int] = field(default_factory=dict)
    size_bytes: int = 0

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
    memory_limit: str | None = None,
    keep: int = KEPT_VERSIONS,
    mode: int | None = None,
    group_reads_identities: bool = False,
) -> Publication:
    """Copy every relation of SCHEMAS into a new version, verify it, make it the current one, drop old versions.

    extra: tables of the schema meta to publish beside them. masked: columns whose clear values go into the identities
    file alone; key: of their pseudonyms. landed: where landed rows are, for views that read them.
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
        try:
            (building / "marts").mkdir(parents=True)
            compared_with = published_dir / "current" / "marts.duckdb" if former else None
            publication = _write(
                working_database,
                building,
                version,
                run_id,
                batch_id,
                build_digest,
                extra,
                masked,
                key,
                compared_with,
                landed,
                memory_limit,
            )
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


def _write(
    working_database: Path,
    building: Path,
    version: int,
    run_id: str,
    batch_id: int,
    build_digest: str,
    extra: Sequence[MetaTable],
    masked: Sequence[MaskedColumn],
    key: Key | None,
    former: Path | None,
    landed: Location | None,
    memory_limit: str | None,
) -> Publication:
    if not working_database.is_file():
        raise PublishError(f"the working database {working_database} does not exist")
    # Views name their tables with the database's name, which DuckDB and dbt take from the file's.
    source = working_database.stem
    spill = building / "spill"
    with _connection() as connection:
        if landed is not None:
            let_read(connection, landed)
        connection.execute(f"set temp_directory = {literal(str(spill))}")
        if memory_limit is not None:
            connection.execute(f"set memory_limit = {literal(memory_limit)}")
        connection.execute(f"attach {literal(str(working_database))} as {identifier(source)} (read_only)")
        connection.execute(f"attach {literal(str(building / 'marts.duckdb'))} as marts (storage_version 'v1.0.0')")
        masks = Masks(connection, source, masked, key)
        columns = MetaTable(
            identifiers.TABLE, identifiers.COMMENT, identifiers.COLUMNS, [column.row for column in masks.columns]
        )
        extra = [*extra, columns]
        made_here = {("meta", "publication"), ("meta", "restatements"), *(("meta", table.name) for table in extra)}
        found = [pair for pair in relations(connection, source) if pair not in made_here]
        if not found:
            raise PublishError(f"{working_database} holds no relation in {', '.join(SCHEMAS)}; run the models first")
        for schema in SCHEMAS:
            connection.execute(f"create schema if not exists marts.{identifier(schema)}")
        tables = {}
        for schema, name in found:
            copied = _copy(connection, source, schema, name, masks)
            tables[f"{schema}.{name}"] = copied
        for table in extra:
            write_table(connection, table)
            tables[f"meta.{table.name}"] = len(table.rows)
        publication = Publication(
            version=version,
            run_id=run_id,
            published_at=datetime.now(UTC).replace(tzinfo=None),
            data_through_at=_data_through(connection, set(found)),
            batch_id=batch_id,
            build_digest=build_digest,
            tables=tables,
        )
        _write_publication(connection, publication)
        write_table(connection, MetaTable("restatements", restatements.COMMENT, restatements.COLUMNS, []))
        tables["meta.restatements"] = restatements.record(connection, source, former, publication, masks)
        tables["meta.publication"] = 1
        for schema, name in [*found, *sorted(made_here)]:
            folder = building / "marts" / schema
            folder.mkdir(exist_ok=True)
            target = folder / f"{name}.parquet"
            connection.execute(
                f"copy (from marts.{identifier(schema)}.{identifier(name)}) to {literal(str(target))}"
                " (format parquet, compression zstd, compression_level 1, dictionary_size_limit 20000,"
                f" kv_metadata {{run_id: {literal(run_id)}}})"
            )
        connection.execute("checkpoint marts")
        connection.execute("detach marts")
        if masks.columns:
            masks.write(building / identifiers.FILE, run_id)
    shutil.rmtree(spill, ignore_errors=True)
    files = [path for path in building.rglob("*") if path.is_file()]
    publication = Publication(**{**vars(publication), "size_bytes": sum(path.stat().st_size for path in files)})
    facts = asdict(publication) | {
        "published_at": publication.published_at.isoformat(),
        "data_through_at": publication.data_through_at.isoformat() if publication.data_through_at else None,
    }
    (building / "publication.json").write_text(json.dumps(facts, indent=1), encoding="utf-8")
    return publication


def _copy(connection: duckdb.DuckDBPyConnection, source: str, schema: str, name: str, masks: Masks) -> int:
    """Copy one relation with its comments, masked; a view becomes a table. Returns its rows."""
    target = f"marts.{identifier(schema)}.{identifier(name)}"
    comments = connection.execute(
        "select column_name, comment from duckdb_columns()"
        " where database_name = ? and schema_name = ? and table_name = ? order by column_index",
        [source, schema, name],
    ).fetchall()
    names = {column for column, _ in comments}
    keys = [key for key in SORT_KEYS.get((schema, name), ()) if key in names]
    order = f" order by {', '.join(identifier(key) for key in keys)}" if keys else ""
    selected = masks.selected((schema, name))
    count = connection.execute(f"create table {target} as {selected}{order}").fetchall()[0][0]
    table_comment = connection.execute(
        "select comment from duckdb_tables() where database_name = $1 and schema_name = $2 and table_name = $3"
        " union all select comment from duckdb_views()"
        " where database_name = $1 and schema_name = $2 and view_name = $3",
        [source, schema, name],
    ).fetchall()[0][0]
    connection.execute(f"comment on table {target} is {literal(table_comment or UNDESCRIBED)}")
    for column, comment in comments:
        text = comment or UNDESCRIBED
        if mask := masks.mask_of((schema, name), column):
            text = f"{text} {identifiers.NOTES[mask]}"
        connection.execute(f"comment on column {target}.{identifier(column)} is {literal(text)}")
    return count


def _data_through(connection: duckdb.DuckDBPyConnection, found: set[tuple[str, str]]) -> datetime | None:
    if ("core", "fct_tracking_events") not in found:
        return None
    # More than a day after arrival is a clock that runs ahead (flagged far_future where it is landed).
    return connection.execute(
        "select max(occurred_at) from marts.core.fct_tracking_events where occurred_at <= ingested_at + interval 1 day"
    ).fetchall()[0][0]


def _write_publication(connection: duckdb.DuckDBPyConnection, publication: Publication) -> None:
    row = [getattr(publication, name) for name in PUBLICATION_COLUMNS]
    comment = "Grain: one row. Which version this is, the run that made it, and how far its data goes."
    write_table(connection, MetaTable("publication", comment, PUBLICATION_COLUMNS, [row]))


def write_table(connection: duckdb.DuckDBPyConnection, table: MetaTable) -> None:
    """Create a table with comments in the schema meta of the attached database marts."""
    target = f"marts.meta.{identifier(table.name)}"
    columns = ", ".join(f"{identifier(name)} {kind}" for name, (kind, _) in table.columns.items())
    connection.execute(f"create table {target} ({columns})")
    connection.execute(f"comment on table {target} is {literal(table.comment)}")
    for name, (_, comment) in table.columns.items():
        connection.execute(f"comment on column {target}.{identifier(name)} is {literal(comment)}")
    if table.rows:
        arrow = pa.table({name: [row[at] for row in table.rows] for at, name in enumerate(table.columns)})
        connection.register("rows_of_table", arrow)
        connection.execute(f"insert into {target} select * from rows_of_table")  # noqa: S608 (quoted)
        connection.unregister("rows_of_table")


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


def undescribed(database: Path) -> list[str]:
    """Published tables and columns without a description of their own, as schema.table or schema.table.column."""
    with _connection(database.resolve()) as connection:
        return [
            name
            for (name,) in connection.execute(
                "select schema_name || '.' || table_name from duckdb_tables() where comment = $1"
                " union all select schema_name || '.' || table_name || '.' || column_name from duckdb_columns()"
                " where comment = $1 order by all",
                [UNDESCRIBED],
            ).fetchall()
        ]


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
