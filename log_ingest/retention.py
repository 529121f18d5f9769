"""Purging: what is kept no longer goes, what reports say of it stays as long as it is to, in one commit.

Belongs here: rewriting landed parts without those rows, landing the published rows that are to stay ("frozen"), the
ledger's record of both. Does not: which deliveries are due, which published tables, lines and messages belong to them
(the caller says), telling them when they come again (late_lines), or what is above the landed rows, which the caller
builds anew.

Frozen rows name no person: where a table counts persons by a key, a digest of the key with the warehouse's salt stands
in it, the same for one person in all tables and purges, so that persons can still be told apart.

Old parts are replaced by new ones through one transaction of the ledger, which also makes the frozen rows exist: a
process that dies leaves everything as it was, or everything purged, of all kinds.
"""

import secrets
import sqlite3
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import duckdb

from log_ingest.catalog import FROZEN, LINE_SOURCES
from log_ingest.erasure import PENDING, is_recorded
from log_ingest.errors import IngestError, StorageError
from log_ingest.formats.registry import LINE_FORMATS
from log_ingest.frozen import DELIVERY_LOGS, PERSON, SET_ASIDE, STATISTICS, TRACKING, message_digest, person_digest
from log_ingest.ingest import LEDGER_NAME
from log_ingest.landed_places import landed_place
from log_ingest.landing import COPY_OPTIONS, Landing
from log_ingest.late_lines import LINES_FILE, MESSAGES_FILE, LateLines, landed_messages
from log_ingest.ledger import SALT, Commit, Ledger, Purge, PurgedDelivery
from log_ingest.ledger_database import LedgerPlace
from log_ingest.ledger_tables import write_ledger_tables
from log_ingest.sqltext import identifier, literal
from log_ingest.storage import Location, reason
from log_ingest.suppression import take_out

KINDS = (TRACKING, DELIVERY_LOGS, STATISTICS, SET_ASIDE)

PUBLISHED = "published"
"""The name by which the caller's SQL knows the published file."""

_IDENTITIES = "identities"

NO_MESSAGES = "select 0::bigint as message_id where false"


@dataclass(frozen=True)
class KeptTable:
    """A published table whose rows of a delivery stay, from the delivery's purge of a kind on. counts_persons: by its
    column frozen.PERSON.
    """

    schema: str
    name: str
    counts_persons: bool = False
    kind: str = TRACKING


@dataclass(frozen=True)
class Due:
    """What is to be purged. deliveries, kept_days: by kind; nothing of a kind that has no days is taken.

    lines: SQL over the published file, giving source (of the catalogue), event_key and kind of every line that goes,
    of these deliveries and of those purged before. messages: SQL likewise, giving message_id.
    set_aside_before: lines set aside that were taken in before it (UTC) go. identities: the file beside the database
    that says what its pseudonyms of persons stand for; None where there are none.
    """

    database: Path
    deliveries: Mapping[str, Sequence[PurgedDelivery]]
    tables: Sequence[KeptTable]
    lines: str
    kept_days: Mapping[str, int]
    messages: str = NO_MESSAGES
    set_aside_before: datetime | None = None
    identities: Path | None = None

    def of(self, kind: str) -> Sequence[PurgedDelivery]:
        return self.deliveries.get(kind, ())


@dataclass
class Taken:
    """What was, or would be, taken away of one kind. lines, bytes: by landed source; bytes: their share of the
    compressed parts.
    """

    deliveries: Sequence[PurgedDelivery]
    lines: Counter[str] = field(default_factory=Counter)
    bytes: Counter[str] = field(default_factory=Counter)


@dataclass
class PurgeReport:
    """What was, or would be, done: taken by kind; frozen: rows that stay, by table. purges: none where nothing was due,
    or in a dry run.
    """

    taken: dict[str, Taken] = field(default_factory=lambda: {kind: Taken(()) for kind in KINDS})
    frozen: dict[str, int] = field(default_factory=dict)
    purges: list[Purge] = field(default_factory=list)

    @classmethod
    def of(cls, due: Due) -> "PurgeReport":
        return cls({kind: Taken(due.of(kind)) for kind in KINDS})


_RECORDED = "the purge is recorded, but what it replaced is not all removed"


def purge(
    warehouse_dir: Path,
    due: Due,
    *,
    run_id: str,
    landed_dir: Location | None = None,
    ledger_at: LedgerPlace | None = None,
    is_dry: bool = False,
) -> PurgeReport:
    """Purge what is due. The caller holds the warehouse's lock, has made sure that the published file holds all that
    has landed, and builds everything above anew. A dry run writes nothing.

    Raises IngestError where files cannot be read or written.
    """
    try:
        with Ledger(ledger_at or warehouse_dir / LEDGER_NAME, read_only=is_dry) as ledger:
            if is_dry:
                return _dry(warehouse_dir, ledger, due, landed_dir)
            landing = Landing(warehouse_dir, ledger, landed_dir)
            try:
                return _Purge(landing, ledger, due, run_id).run()
            finally:
                landing.close()
    except (duckdb.Error, StorageError) as error:
        if is_recorded(ledger_at or warehouse_dir / LEDGER_NAME, run_id):
            raise IngestError(f"{_RECORDED}: {reason(error)}; to finish: mtw run") from error
        raise IngestError(f"the purge failed and changed no landed row: {reason(error)}") from error
    except sqlite3.Error as error:
        raise IngestError(
            f"the ledger {warehouse_dir / LEDGER_NAME} could not be written ({error}); free space, then purge again"
        ) from error
    except OSError as error:
        if is_recorded(ledger_at or warehouse_dir / LEDGER_NAME, run_id):
            what = f"{error.filename or warehouse_dir}: {error.strerror or error}"
            raise IngestError(f"{_RECORDED}: {what}; free space or mend permissions; to finish: mtw run") from error
        raise IngestError(
            f"{error.filename or warehouse_dir}: {error.strerror or error}; free space or mend permissions, then purge"
            " again: no landed row was changed"
        ) from error


def _dry(warehouse_dir: Path, ledger: Ledger, due: Due, landed_dir: Location | None) -> PurgeReport:
    # Not through Landing, which clears leftovers and writes.
    place = landed_place(landed_dir or warehouse_dir / "landed", warehouse_dir)
    with duckdb.connect(":memory:") as con:
        place.attach_to(con)
        _look_up(con, due, ledger)
        report = PurgeReport.of(due)
        for source, part, _ in _parts(ledger):
            _find(con, due, source, str(place.root / part), report)
        return report


def _look_up(con: duckdb.DuckDBPyConnection, due: Due, ledger: Ledger) -> None:
    """Temp tables: due_lines (source, event_key, kind), due_messages (message_id), due_<kind> (delivery_id), and
    gone_logs (delivery_id), those due and, where logs are purged now, those purged before.
    """
    con.execute("set TimeZone = 'UTC'")
    con.execute(f"attach {literal(str(due.database))} as {PUBLISHED} (read_only)")
    if due.identities:
        con.execute(f"attach {literal(str(due.identities))} as {_IDENTITIES} (read_only)")
    con.execute(f"create or replace temp table due_lines as select distinct source, event_key, kind from ({due.lines})")
    con.execute(f"create or replace temp table due_messages as select distinct message_id from ({due.messages})")
    logs = _ids(due, DELIVERY_LOGS)
    if DELIVERY_LOGS in due.kept_days:
        logs |= {row["delivery_id"] for row in ledger.purged_deliveries(DELIVERY_LOGS)}
    kinds = {f"due_{kind}": _ids(due, kind) for kind in (TRACKING, DELIVERY_LOGS, STATISTICS)}
    for table, deliveries in (kinds | {"gone_logs": logs}).items():
        con.execute(f"create or replace temp table {table} (delivery_id bigint)")
        con.execute(f"insert into {table} select unnest(?::bigint[])", [sorted(deliveries)])


def _ids(due: Due, kind: str) -> set[int]:
    return {entry.delivery_id for entry in due.of(kind)}


def _parts(ledger: Ledger) -> Iterator[tuple[str, str, int]]:
    """Source, path and batch of every landed part that may hold what goes."""
    for row in ledger.parts():
        source = row["path"].split("/")[0]
        if source in _LINES or source in ("messages", "set_aside", FROZEN):
            yield source, row["path"], row["batch_id"]


_LINES = {source.name for source in LINE_SOURCES}


def _find(con: duckdb.DuckDBPyConnection, due: Due, source: str, path: str, report: PurgeReport) -> int:
    """Temp table suppressed (file_row_number, kind): the rows of a part that go. Counts them; returns how many."""
    wanted = _going(con, due, source, path)
    if wanted is None:
        return 0
    con.execute(f"create or replace temp table suppressed as {wanted}")
    found = con.execute("select kind, count(*) from suppressed group by all").fetchall()
    if found:
        rows, size = con.execute(
            "select (select sum(num_rows) from parquet_file_metadata($1)),"
            " (select sum(total_compressed_size) from parquet_metadata($1))",
            [path],
        ).fetchall()[0]
        for kind, count in found:
            report.taken[kind].lines[source] += count
            report.taken[kind].bytes[source] += int(size) * count // int(rows)
    return sum(count for _, count in found)


def _going(con: duckdb.DuckDBPyConnection, due: Due, source: str, path: str) -> str | None:
    """SQL of the rows of a part that go: file_row_number, kind; of lines also identity. None where none can."""
    part = f"read_parquet({literal(path)}, file_row_number = true)"
    if source in _LINES:
        identity = LINE_FORMATS[source].identity
        return (
            f"select file_row_number, rows.identity, kind from (select file_row_number, {identity} as identity"
            f" from {part}) as rows join due_lines on rows.identity = due_lines.event_key"
            f" and due_lines.source = {literal(source)}"
        )
    if source == "messages":
        return (
            f"select file_row_number, '{DELIVERY_LOGS}' as kind from {part}"
            " where message_id in (select message_id from due_messages)"
            # What an older extract said of a message that is another delivery's now.
            " or delivery_id in (select delivery_id from gone_logs)"
        )
    if source == "set_aside" and due.set_aside_before is not None:
        before = f"timestamp {literal(due.set_aside_before.isoformat(sep=' '))}"
        return f"select file_row_number, '{SET_ASIDE}' as kind from {part} where ingested_at < {before}"
    if source == FROZEN and due.of(STATISTICS) and _is_of_table(con, path):
        return (
            f"select file_row_number, '{STATISTICS}' as kind from {part} semi join due_{STATISTICS} using (delivery_id)"
        )
    return None


def _is_of_table(con: duckdb.DuckDBPyConnection, path: str) -> bool:
    """Whether a frozen part holds rows of a published table, and no digests."""
    names = con.execute("select 1 from parquet_schema(?) where name = 'delivery_id'", [path]).fetchone()
    return names is not None


class _Purge:
    def __init__(self, landing: Landing, ledger: Ledger, due: Due, run_id: str) -> None:
        self._landing, self._ledger, self._con = landing, ledger, landing.con
        self._due, self._run_id = due, run_id
        self._salt = ledger.fact(SALT) or secrets.token_hex(16)

    def run(self) -> PurgeReport:
        report = PurgeReport.of(self._due)
        self._unit = self._landing.new_unit()
        self._commit = Commit(FROZEN, self._run_id)
        self._refusals: dict[str, str] = {}
        try:
            _look_up(self._con, self._due, self._ledger)
            self._note_purged()
            self._freeze(report)
            for number, (source, part, batch_id) in enumerate(_parts(self._ledger)):
                if _find(self._con, self._due, source, str(self._landing.root / part), report):
                    self._rewrite(source, part, batch_id, number)
            self._keep_digests()
            report.purges = self._purges(report)
            if not report.purges:
                return report
            self._commit.purges = report.purges
            if any(purge.kind != SET_ASIDE for purge in report.purges):
                # Nothing above the landed rows holds the bytes of lines set aside.
                self._commit.facts = {PENDING: f"purge {report.purges[0].purge_id}", SALT: self._salt}
            self._landing.commit(self._unit, self._commit)
        finally:
            self._unit.discard()
        write_ledger_tables(self._landing, self._ledger)
        return report

    def _purges(self, report: PurgeReport) -> list[Purge]:
        """One of each kind that takes something away."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        return [
            Purge(
                str(uuid.uuid4()),
                kind,
                now,
                self._run_id,
                self._due.kept_days[kind],
                taken.lines.total(),
                list(taken.deliveries),
                self._refusals if kind == TRACKING else {},
            )
            for kind, taken in report.taken.items()
            if taken.deliveries or taken.lines
        ]

    def _note_purged(self) -> None:
        """How lines of these deliveries, and of those purged before, will be told when they come again."""
        gone = {row["delivery_id"] for row in self._ledger.purged_deliveries(TRACKING)} | _ids(self._due, TRACKING)
        self._late = LateLines(self._con, gone, (), messages=landed_messages(self._ledger, self._landing.place))
        self._con.execute("create or replace temp table untold (source varchar, identity varchar)")

    def _freeze(self, report: PurgeReport) -> None:
        for table in self._due.tables:
            if not self._due.of(table.kind):
                continue
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
            select = (
                f"select * from {rows} semi join due_{table.kind} using (delivery_id)"
                f" anti join due_{STATISTICS} using (delivery_id) order by delivery_id"
            )
            report.frozen[f"{table.schema}.{table.name}"] = self._land(f"{table.schema}.{table.name}", select)

    def _land(self, name: str, select: str) -> int:
        path = self._unit.folder / FROZEN / f"{name}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        count = self._unit.copy(select, path)
        self._unit.add(FROZEN, path, count)
        return count

    def _rewrite(self, source: str, part: str, batch_id: int, number: int) -> None:
        draft = self._unit.folder / "replacements" / f"{number}.parquet"
        draft.parent.mkdir(parents=True, exist_ok=True)
        path = self._landing.root / part
        if source in _LINES:
            self._take_out_lines(source, path, batch_id, draft)
        else:
            self._take_out_rows(source, path, batch_id, draft)
        kept = self._con.execute(f"select sum(num_rows) from parquet_file_metadata({literal(str(draft))})").fetchall()
        self._unit.replace(part, draft, int(kept[0][0]))

    def _take_out_lines(self, source: str, path: Location, batch_id: int, draft: Path) -> None:
        con, commit = self._con, self._commit
        rows = f"read_parquet({literal(str(path))}, file_row_number = true)"
        con.execute(
            f"insert into untold select {literal(source)}, identity from {rows} join suppressed using (file_row_number)"
            f" where not {self._late.told_by_id()}"
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
        commit.purged_rows[batch_id] = commit.purged_rows.get(batch_id, 0) + dropped.row_count
        _add(commit.purged_lines, dropped.lines)
        _add(commit.erased_lines, dropped.lines + dropped.cut)

    def _take_out_rows(self, source: str, path: Location, batch_id: int, draft: Path) -> None:
        """Messages, lines set aside and frozen rows: rows that are each a line of their own, or of no file."""
        con, commit = self._con, self._commit
        rows = f"read_parquet({literal(str(path))}, file_row_number = true)"
        gone = f"{rows} semi join suppressed using (file_row_number)"
        con.execute(
            f"copy (select * exclude (file_row_number) from {rows} anti join suppressed using (file_row_number)"
            f" order by file_row_number) to {literal(str(draft))} ({COPY_OPTIONS})"
        )
        if source == "messages":
            by_file = dict(con.execute(f"select file_id, count(*) from {gone} group by all").fetchall())
            commit.purged_rows[batch_id] = commit.purged_rows.get(batch_id, 0) + sum(by_file.values())
            _add(commit.purged_lines, by_file)
        elif source == "set_aside":
            # Further pieces of a line are no lines of their own.
            for file_id, disposition, count in con.execute(
                f"select file_id, disposition, count(*) from {gone} where reason <> 'continued' group by all"
            ).fetchall():
                place = (file_id, disposition)
                commit.purged_set_aside[place] = commit.purged_set_aside.get(place, 0) + count
            # Where an erasure took the bytes, it has counted them.
            bytes_of = con.execute(
                f"select file_id, count(distinct line_number) from {gone} where source in"
                f" ({', '.join(map(literal, LINE_FORMATS))}) and (octet_length(raw) > 0 or disposition = 'blank')"
                " group by all"
            ).fetchall()
            _add(commit.erased_lines, dict(bytes_of))

    def _keep_digests(self) -> None:
        """Of lines that name neither the delivery nor a message of it, and of messages: told by nothing else when they
        come, or are named, again.
        """
        self._land(LINES_FILE, "select distinct source, identity from untold order by all")
        self._land(
            MESSAGES_FILE,
            f"select distinct {message_digest('message_id', literal(self._salt))} as message_digest from due_messages"
            " order by 1",
        )


def _add(counts: dict[int, int], more: Mapping[int, int]) -> None:
    for file_id, count in more.items():
        counts[file_id] = counts.get(file_id, 0) + count
