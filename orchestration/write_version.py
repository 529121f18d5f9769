"""What a version is made of: the tables, the Parquet copies and the identities file of one folder, from the working
database.

Belongs here: writing them, and whether changed rows alone are written. Does not: when a folder becomes the version that
readers see (publish), copying a table (published_tables), which rows changed (row_changes) or how a column is masked
(identifiers).

Of relations that say which of their rows changed, only those are written, into a copy of the former version's file;
with time its rows are in less good order, so that now and then all is copied.
"""

import contextlib
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path

import duckdb

from log_ingest.landed_places import digest
from log_ingest.sqltext import identifier, literal
from log_ingest.storage import Location, let_read
from log_ingest.suppression import Key
from orchestration import identifiers, identities_file, restatements, row_changes
from orchestration.bounded import bound
from orchestration.identifiers import MaskedColumn, Masks
from orchestration.lineage import Table
from orchestration.publication import PUBLICATION_COLUMNS, SCHEMAS, Publication, PublishError, relations
from orchestration.published_tables import BEING_WRITTEN, MetaTable, PublishedTables, parquet_of
from orchestration.row_changes import ChangedKeys, Made, RowWise

FORMAT_VERSION = 5
"""Part of the build digest: a change of what publishing writes makes the next run publish again."""

MOST_ADDED = 24
"""Versions in a row that are made of the one before; then all is copied: rows are in order, and bytes that no row has
any more are gone."""


@dataclass(frozen=True)
class Source:
    """The working database and how it is masked. See publish."""

    working_database: Path
    landed: Location | None
    masked: Sequence[MaskedColumn]
    key: Key | None
    memory_limit: str | None


@dataclass(frozen=True)
class Former:
    """The version published before, and its folder."""

    publication: Publication
    folder: Path

    @property
    def database(self) -> Path:
        return self.folder / "marts.duckdb"

    def digest_of(self, file: Path) -> str:
        """What it was when it was written; empty where that is not known."""
        return self.publication.digests.get(file.relative_to(self.folder).as_posix(), "")


def write(
    made_of: Source,
    building: Path,
    facts: Publication,
    extra: Sequence[MetaTable],
    former: Former | None,
    row_wise: Sequence[RowWise],
) -> Publication:
    """Fill the folder `building`. facts: what is known of the version beforehand. See publish. Returns all of it."""
    if not made_of.working_database.is_file():
        raise PublishError(f"the working database {made_of.working_database} does not exist")
    (building / "marts").mkdir(parents=True)
    spill, database, known = building / "spill", building / "marts.duckdb", building / identifiers.FILE
    with contextlib.closing(duckdb.connect()) as connection:
        source = _attach_source(connection, made_of, spill)
        masks = Masks(connection, source, made_of.masked, made_of.key)
        facts = _of_run(facts, row_changes.made(connection, source), made_of.key)
        changed = _changed_since(connection, source, former, facts, masks, row_wise) if former else {}
        if former and changed and not _taken_over(former, building):
            changed = {}
        if former and changed:
            facts = replace(facts, added=former.publication.added + 1)
            masks.expect_few_rows_of(changed)
        connection.execute(f"attach {literal(str(database))} as marts {BEING_WRITTEN}")
        published = PublishedTables(connection, source, masks)
        publication = _fill(connection, source, masks, published, facts, extra, former, changed)
        for table in relations(connection, "marts"):
            origin = former.folder / "marts" / parquet_of(table) if former and table in changed else None
            known_as = former.digest_of(origin) if former and origin else ""
            published.write_parquet(table, building / "marts", publication.run_id, origin, known_as)
        connection.execute("checkpoint marts")
        connection.execute("detach marts")
        if masks.columns:
            before = former.database if former else None
            replaced = published.replaced(changed)
            identities_file.write(connection, masks, known, publication.run_id, before, replaced)
    shutil.rmtree(spill, ignore_errors=True)
    return _recorded(building, publication)


def _attach_source(connection: duckdb.DuckDBPyConnection, made_of: Source, spill: Path) -> str:
    """Attach the working database under the name that its views say, which is its file's. Returns that."""
    source = made_of.working_database.stem
    if made_of.landed is not None:
        let_read(connection, made_of.landed)
    bound(connection, made_of.memory_limit, spill)
    connection.execute(f"attach {literal(str(made_of.working_database))} as {identifier(source)} (read_only)")
    return source


def _of_run(facts: Publication, run: Made | None, key: Key | None) -> Publication:
    return replace(
        facts,
        run_number=run.run_number if run else 0,
        invocation_id=run.invocation_id if run else "",
        pseudonym_check=key.check_mark()[1] if key else "",
    )


def _fill(
    connection: duckdb.DuckDBPyConnection,
    source: str,
    masks: Masks,
    published: PublishedTables,
    facts: Publication,
    extra: Sequence[MetaTable],
    former: Former | None,
    changed: Mapping[Table, ChangedKeys],
) -> Publication:
    """All tables of the attached database `marts`. changed: by table of which changed rows alone are written."""
    comments = [column.row for column in masks.columns]
    extra = [*extra, MetaTable(identifiers.TABLE, identifiers.COMMENT, identifiers.COLUMNS, comments)]
    made_here = {("meta", "publication"), ("meta", "restatements"), *(("meta", table.name) for table in extra)}
    found = [pair for pair in relations(connection, source) if pair not in made_here]
    if not found:
        raise PublishError(f"the database {source} holds no relation in {', '.join(SCHEMAS)}; run the models first")
    for schema in SCHEMAS:
        connection.execute(f"create schema if not exists marts.{identifier(schema)}")
    tables = {
        ".".join(table): published.replace_rows(table, changed[table]) if table in changed else published.copy(table)
        for table in found
    }
    for meta in extra:
        tables[f"meta.{meta.name}"] = published.write(meta)
    publication = replace(facts, data_through_at=_data_through(connection, set(found)), tables=tables)
    row = [getattr(publication, name) for name in PUBLICATION_COLUMNS]
    comment = "Grain: one row. Which version this is, the run that made it, and how far its data goes."
    tables["meta.publication"] = published.write(MetaTable("publication", comment, PUBLICATION_COLUMNS, [row]))
    published.write(MetaTable("restatements", restatements.COMMENT, restatements.COLUMNS, []))
    compared_with = former.database if former else None
    replaced = published.replaced(changed)
    tables["meta.restatements"] = restatements.record(connection, source, compared_with, publication, masks, replaced)
    for table in set(relations(connection, "marts")) - {*found, *made_here}:
        published.drop(table)
    return publication


def _recorded(building: Path, publication: Publication) -> Publication:
    """The record with size and digests of all files, written beside them."""
    files = [path for path in building.rglob("*") if path.is_file()]
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        digests = threads.map(lambda path: (path.relative_to(building).as_posix(), digest(path)), files)
        size = sum(path.stat().st_size for path in files)
        publication = replace(publication, size_bytes=size, digests=dict(digests))
    written = asdict(publication) | {
        "published_at": publication.published_at.isoformat(),
        "data_through_at": publication.data_through_at.isoformat() if publication.data_through_at else None,
    }
    (building / "publication.json").write_text(json.dumps(written, indent=1), encoding="utf-8")
    return publication


def _changed_since(
    connection: duckdb.DuckDBPyConnection,
    source: str,
    former: Former,
    facts: Publication,
    masks: Masks,
    row_wise: Sequence[RowWise],
) -> dict[Table, ChangedKeys]:
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


def _taken_over(former: Former, building: Path) -> bool:
    """Copy the files to which changed rows are written; nobody else reads them meanwhile. False, and nothing is there,
    where one of them is not what was written.

    What is copied is looked at, not the copy: DuckDB checks the blocks that it reads of that.
    """
    try:
        for origin in filter(Path.exists, (former.database, former.folder / identifiers.FILE)):
            target = building / origin.name
            target.touch(mode=0o600)
            with ThreadPoolExecutor(1) as other:
                found = other.submit(digest, origin)
                shutil.copyfile(origin, target)
            if found.result() != former.digest_of(origin):
                break
        else:
            return True
    except OSError:  # of a disk that cannot read it; one that is full says so again
        pass
    (building / former.database.name).unlink(missing_ok=True)
    (building / identifiers.FILE).unlink(missing_ok=True)
    return False


def _data_through(connection: duckdb.DuckDBPyConnection, found: set[tuple[str, str]]) -> datetime | None:
    if ("core", "fct_tracking_events") not in found:
        return None
    # More than a day after arrival is a clock that runs ahead (flagged far_future where it is landed).
    return connection.execute(
        "select max(occurred_at) from marts.core.fct_tracking_events where occurred_at <= ingested_at + interval 1 day"
    ).fetchall()[0][0]
