"""Purging: the lines of deliveries that are kept no longer go, what reports say of them stays, in one commit.

Belongs here: rewriting landed parts without those lines, landing the published rows that are to stay ("frozen"), the
ledger's record of both. Does not: which deliveries are due, which published tables and rows belong to them (the caller
says), telling their lines when they come again (late_lines), or what is above the landed rows, which the caller builds
anew.

Frozen rows name no person: where a table counts persons by a key, a digest of the key with the warehouse's salt stands
in it, the same for one person in all tables and purges, so that persons can still be told apart.

Old parts are replaced by new ones through one transaction of the ledger, which also makes the frozen rows exist: a
process that dies leaves everything as it was, or everything purged.
"""

import secrets
import sqlite3
import uuid
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import duckdb

from log_ingest.catalog import FROZEN, LINE_SOURCES
from log_ingest.erasure import PENDING
from log_ingest.errors import IngestError, StorageError
from log_ingest.formats.registry import LINE_FORMATS
from log_ingest.frozen import PERSON, person_digest
from log_ingest.ingest import LEDGER_NAME
from log_ingest.landing import COPY_OPTIONS, Landing
from log_ingest.late_lines import LINES_FILE, LateLines, told_by_id
from log_ingest.ledger import SALT, Commit, Ledger, Purge, PurgedDelivery
from log_ingest.ledger_tables import write_ledger_tables
from log_ingest.sqltext import identifier, literal
from log_ingest.storage import Location, reason
from log_ingest.suppression import take_out

TRACKING = "tracking"
"""The kind of a purge: tracking events."""

PUBLISHED = "published"
"""The name by which the caller's SQL knows the published file."""

_IDENTITIES = "identities"


@dataclass(frozen=True)
class KeptTable:
    """A published table whose rows of a purged delivery stay. counts_persons: by its column frozen.PERSON."""

    schema: str
    name: str
    counts_persons: bool = False


@dataclass(frozen=True)
class Due:
    """What is to be purged. lines: SQL over the published file, giving source (of the catalogue) and event_key of every
    tracking line of the deliveries, and of those purged before. identities: the file beside it that says what its
    pseudonyms of persons stand for; None where there are none.
    """

    database: Path
    deliveries: Sequence[PurgedDelivery]
    tables: Sequence[KeptTable]
    lines: str
    kept_days: int
    identities: Path | None = None


@dataclass
class PurgeReport:
    """What was, or would be, done. lines, bytes: by source, taken from the landed rows; bytes: their share of the
    compressed parts. frozen: rows that stay, by table. purge: None where nothing was due, or in a dry run.
    """

    deliveries: Sequence[PurgedDelivery]
    lines: Counter[str] = field(default_factory=Counter)
    bytes: Counter[str] = field(default_factory=Counter)
    frozen: dict[str, int] = field(default_factory=dict)
    purge: Purge | None = None


def purge_tracking(
    warehouse_dir: Path, due: Due, *, run_id: str, landed_dir: Location | None = None, is_dry: bool = False
) -> PurgeReport:
    """Purge tracking lines. The caller holds the warehouse's lock, has made sure that the published file holds all that
    has landed, and builds everything above anew. A dry run writes nothing.

    Raises IngestError where files cannot be read or written.
    """
    try:
        with Ledger(warehouse_dir / LEDGER_NAME, read_only=is_dry) as ledger:
            if is_dry:
                return _dry(warehouse_dir, ledger, due, landed_dir)
            landing = Landing(warehouse_dir, ledger, landed_dir)
            try:
                return _Purge(landing, ledger, due, run_id).run()
            finally:
                landing.close()
    except (duckdb.Error, StorageError) as error:
        raise IngestError(f"the purge failed and changed no landed row: {reason(error)}") from error
    except sqlite3.Error as error:
        raise IngestError(
            f"the ledger {warehouse_dir / LEDGER_NAME} could not be written ({error}); free space, then purge again"
        ) from error
    except OSError as error:
        raise IngestError(
            f"{error.filename or warehouse_dir}: {error.strerror or error}; free space or mend permissions, then purge"
            " again: no landed row was changed"
        ) from error


def _dry(warehouse_dir: Path, ledger: Ledger, due: Due, landed_dir: Location | None) -> PurgeReport:
    # Not through Landing, which clears leftovers and writes.
    from log_ingest.landed_places import landed_place

    place = landed_place(landed_dir or warehouse_dir / "landed", warehouse_dir)
    with duckdb.connect(":memory:") as con:
        place.attach_to(con)
        _look_up(con, due)
        report = PurgeReport(due.deliveries)
        for source, part, _ in _parts(ledger):
            _find(con, source, str(place.root / part), report)
        return report


def _look_up(con: duckdb.DuckDBPyConnection, due: Due) -> None:
    """Temp tables: due_lines (source, event_key), due_deliveries (delivery_id)."""
    con.execute("set TimeZone = 'UTC'")
    con.execute(f"attach {literal(str(due.database))} as {PUBLISHED} (read_only)")
    if due.identities:
        con.execute(f"attach {literal(str(due.identities))} as {_IDENTITIES} (read_only)")
    con.execute(f"create or replace temp table due_lines as select distinct source, event_key from ({due.lines})")
    con.execute("create or replace temp table due_deliveries (delivery_id bigint)")
    con.execute(
        "insert into due_deliveries select unnest(?::bigint[])", [[entry.delivery_id for entry in due.deliveries]]
    )


def _parts(ledger: Ledger) -> list[tuple[str, str, int]]:
    """Source, path and batch of every landed part of lines."""
    return [
        (source.name, row["path"], row["batch_id"])
        for source in LINE_SOURCES
        for row in ledger.parts(source=source.name)
        if row["path"].startswith(f"{source.name}/")
    ]


def _find(con: duckdb.DuckDBPyConnection, source: str, path: str, report: PurgeReport) -> int:
    """Temp table suppressed: the rows of a part that go. Counts them; returns how many."""
    part = f"read_parquet({literal(path)}, file_row_number = true)"
    identity = LINE_FORMATS[source].identity
    con.execute(
        f"create or replace temp table suppressed as select file_row_number, {identity} as identity"
        f" from {part} where {identity} in"
        f" (select event_key from due_lines where source = {literal(source)})"
    )
    found = con.execute("select count(*) from suppressed").fetchall()[0][0]
    if found:
        rows, size = con.execute(
            "select (select sum(num_rows) from parquet_file_metadata($1)),"
            " (select sum(total_compressed_size) from parquet_metadata($1))",
            [path],
        ).fetchall()[0]
        report.lines[source] += found
        report.bytes[source] += int(size) * found // int(rows)
    return found


class _Purge:
    def __init__(self, landing: Landing, ledger: Ledger, due: Due, run_id: str) -> None:
        self._landing, self._ledger, self._con = landing, ledger, landing.con
        self._due, self._run_id = due, run_id
        self._salt = ledger.fact(SALT) or secrets.token_hex(16)

    def run(self) -> PurgeReport:
        report = PurgeReport(self._due.deliveries)
        self._unit = self._landing.new_unit()
        self._commit = Commit(FROZEN, self._run_id)
        self._refusals: dict[str, str] = {}
        try:
            _look_up(self._con, self._due)
            self._note_messages()
            self._freeze(report)
            for number, (source, part, batch_id) in enumerate(_parts(self._ledger)):
                if _find(self._con, source, str(self._landing.root / part), report):
                    self._rewrite(source, part, batch_id, number)
            self._keep_identities()
            if not self._due.deliveries and not report.lines:
                return report
            purge = Purge(
                str(uuid.uuid4()),
                TRACKING,
                datetime.now(UTC).isoformat(timespec="seconds"),
                self._run_id,
                self._due.kept_days,
                sum(report.lines.values()),
                list(self._due.deliveries),
                self._refusals,
            )
            self._commit.purge = report.purge = purge
            self._commit.facts = {PENDING: f"purge {purge.purge_id}", SALT: self._salt}
            self._landing.commit(self._unit, self._commit)
        finally:
            self._unit.discard()
        write_ledger_tables(self._landing, self._ledger)
        return report

    def _note_messages(self) -> None:
        """Temp tables purged_deliveries, of this purge and earlier ones, and purged_messages."""
        known = [row["delivery_id"] for row in self._ledger.purged_deliveries()]
        known += [entry.delivery_id for entry in self._due.deliveries]
        messages = [row["path"] for row in self._ledger.parts(source="messages") if row["path"].startswith("messages/")]
        paths = [literal(str(self._landing.root / path)) for path in messages]
        self._messages = LateLines(known, paths, [], self._con).messages_sql()
        self._con.execute("create or replace temp table untold (source varchar, identity varchar)")

    def _freeze(self, report: PurgeReport) -> None:
        for table in self._due.tables if self._due.deliveries else ():
            rows = f"{PUBLISHED}.{identifier(table.schema)}.{identifier(table.name)}"
            if table.counts_persons:
                person, known = f"kept.{PERSON}", ""
                if self._due.identities:
                    person, known = (
                        f"coalesce(known.clear_value, {person})",
                        (f" left join {_IDENTITIES}.main.pseudonyms as known on kept.{PERSON} = known.pseudonym"),
                    )
                digest = person_digest(person, literal(self._salt))
                rows = f"(select kept.* replace ({digest} as {PERSON}) from {rows} as kept{known})"
            path = self._unit.folder / FROZEN / f"{table.schema}.{table.name}.parquet"
            path.parent.mkdir(parents=True, exist_ok=True)
            count = self._unit.copy(
                f"select * from {rows} semi join due_deliveries using (delivery_id) order by delivery_id",
                path,
            )
            self._unit.add(FROZEN, path, count)
            report.frozen[f"{table.schema}.{table.name}"] = count

    def _rewrite(self, source: str, part: str, batch_id: int, number: int) -> None:
        con = self._con
        draft = self._unit.folder / "replacements" / f"{number}.parquet"
        draft.parent.mkdir(parents=True, exist_ok=True)
        path = self._landing.root / part
        rows = f"read_parquet({literal(str(path))}, file_row_number = true)"
        con.execute(
            f"insert into untold select {literal(source)}, identity from {rows} join suppressed using (file_row_number)"
            f" where not {told_by_id(self._messages)}"
        )
        if source == "access_logs":
            refused = con.execute(
                f"select {person_digest('visitor_id', literal(self._salt))}, min(occurred_at)::varchar from {rows}"
                " semi join suppressed using (file_row_number) where is_opted_out and visitor_id <> ''"
                " and coalesce(time_flag, '') not in ('far_past', 'far_future') group by visitor_id"
            ).fetchall()
            for person, refused_at in refused:
                self._refusals[person] = min(refused_at, self._refusals.get(person, refused_at))
        dropped = take_out(con, path, source, draft, COPY_OPTIONS)
        kept = con.execute(f"select sum(num_rows) from parquet_file_metadata({literal(str(draft))})").fetchall()[0][0]
        self._unit.replace(part, draft, int(kept))
        self._commit.purged_rows[batch_id] = self._commit.purged_rows.get(batch_id, 0) + dropped.row_count
        for file_id, count in dropped.lines.items():
            self._commit.purged_lines[file_id] = self._commit.purged_lines.get(file_id, 0) + count
        for file_id, count in (dropped.lines + dropped.cut).items():
            self._commit.erased_lines[file_id] = self._commit.erased_lines.get(file_id, 0) + count

    def _keep_identities(self) -> None:
        """Of lines that name neither the delivery nor a message of it: told by nothing else when they come again."""
        path = self._unit.folder / FROZEN / f"{LINES_FILE}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        self._unit.add(FROZEN, path, self._unit.copy("select distinct source, identity from untold order by all", path))
