"""Taking in the platform's tables: each pass reads what was written since the last one and lands what is news.

Belongs here: passes, their marks in the ledger, batches. Does not: queries (database), landing a block of rows
(land_reference).

A pass reads the rows modified from a mark on, in the order of (modified, key), and commits them batch by batch; the
ledger row that makes a batch exist also says how far the pass has come, so that a killed run goes on there. The mark
of the next pass is the highest modified time seen, or the server's time when the pass began where that is earlier,
less the overlap: transactions that were open then and commit later are found. Rows read again are recognised by
their row_hash. A row counts from the moment of the snapshot that first showed it in its present form
(file_modified_at), as a row of a file counts from the file's modification time: what was seen last is true.
"""

import hashlib
import json
from collections.abc import Collection
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa

from log_ingest.files import Fingerprint
from log_ingest.formats.csv_records import RecordBlock
from log_ingest.land_reference import RowLander
from log_ingest.landing import Landing
from log_ingest.ledger import Commit, Content, Ledger, PathState, Tally
from log_ingest.platform.database import Database, Layout, PlatformError, Rows, Span
from log_ingest.platform.mapping import Mapping, TableMapping, load_mapping
from log_ingest.postgres_url import check_url
from log_ingest.progress import Progress
from log_ingest.report import IngestReport, SourceTotals
from log_ingest.sqltext import literal

BATCH_BYTES = 128 * 1024 * 1024
"""A batch is committed once so many bytes of rows were read: what a killed run has to read again at most."""

READ, UNREAD = Fingerprint(0, 0, 0, 0), Fingerprint(-1, 0, 0, 0)
"""A table has no directory entry. Two that differ: the ledger notes since when a table cannot be read."""


@dataclass(frozen=True)
class PlatformSource:
    """Where reference rows are read from: a checked URL and mapping. is_full: read whole tables in this run."""

    url: str
    mapping: Mapping
    is_full: bool = False

    @classmethod
    def load(cls, url: str, mapping: Path | None = None, *, is_full: bool = False) -> "PlatformSource":
        """Raises IngestError where the URL or the mapping file cannot be used. Connects to nothing."""
        check_url(url, "MTW_REFERENCE_URL")
        return cls(url, load_mapping(mapping), is_full)


@dataclass(frozen=True)
class Mark:
    """How far an entry's table has been read: one fact of the ledger. Times are texts as the server wrote them.

    file_id, rows, bytes: the content that the table is in the ledger, and what was read of it so far.
    query: which database and which entry of the mapping the mark is about.
    high, since: of the last whole pass; what the next one begins with. full_at: when the last full pass began.
    seen_at: the newest snapshot that rows were landed from.
    pass_since: when the unfinished pass began, None where none is; pass_full: it reads everything; pass_first: nothing
    was read before it; pass_high, pass_after: the highest modified time and the last position that it has committed.
    """

    file_id: int | None = None
    rows: int = 0
    bytes: int = 0
    query: str = ""
    high: str | None = None
    since: str | None = None
    full_at: str | None = None
    seen_at: str | None = None
    pass_since: str | None = None
    pass_full: bool = False
    pass_first: bool = False
    pass_high: str | None = None
    pass_after: tuple[str | None, ...] | None = None

    @classmethod
    def from_text(cls, text: str) -> "Mark":
        if not text:
            return cls()
        found = json.loads(text)
        after = found["pass_after"]
        return cls(**{**found, "pass_after": None if after is None else tuple(after)})

    def to_text(self) -> str:
        return json.dumps(asdict(self))

    @property
    def span(self) -> Span:
        """What the pass still has to read."""
        return Span(after=self.pass_after) if self.pass_full else Span(self.high, self.since, self.pass_after)


def mark_name(table: TableMapping) -> str:
    """The name of the ledger's fact that holds the mark of an entry."""
    return f"platform mark of {table.name}"


def forget_positions(ledger: Ledger) -> dict[str, str]:
    """The facts with which unfinished passes begin again: a position names the last row that was read."""
    found = {}
    for name, text in ledger.facts_like("platform mark of "):
        mark = Mark.from_text(text)
        if mark.pass_after is not None:
            found[name] = replace(mark, pass_high=None, pass_after=None).to_text()
    return found


def take_platform(
    source: PlatformSource,
    landing: Landing,
    ledger: Ledger,
    report: IngestReport,
    *,
    sources: Collection[str] | None,
    ingested_at: datetime,
    progress: Progress,
) -> None:
    """Take what is new in all tables of the mapping, in one snapshot. What cannot be read becomes a problem of the
    report and of the ledger's paths; the other tables, and later runs, go on.
    """
    tables = [table for table in source.mapping.tables if sources is None or table.entity.name in sources]
    try:
        with Database(source.url, source.mapping) as database:
            for table in tables:
                progress.start(table.entity.name, 0, 1)
                intake = _TableIntake(source, table, database, landing, ledger, report, ingested_at, progress)
                try:
                    intake.take()
                except PlatformError as error:
                    _note_problem(ledger, report, table, str(error))
                progress.finish(table.entity.name)
    except PlatformError as error:
        report.platform_problems.append(str(error))
        for table in tables:
            _note_problem(ledger, report, table, str(error), is_reported=True)
    report.problems += report.platform_problems


def look(source: PlatformSource) -> list[str]:
    """What would keep the tables from being read, one line each. Reads a row of each and changes nothing."""
    problems = []
    try:
        with Database(source.url, source.mapping) as database:
            for table in source.mapping.tables:
                try:
                    database.try_rows(table, database.layout(table))
                except PlatformError as error:
                    problems.append(str(error))
    except PlatformError as error:
        problems.append(str(error))
    return problems


def _note_problem(
    ledger: Ledger, report: IngestReport, table: TableMapping, problem: str, *, is_reported: bool = False
) -> None:
    if not is_reported:
        report.platform_problems.append(problem)
    file_id = Mark.from_text(ledger.fact(mark_name(table))).file_id
    ledger.note_paths([PathState(table.entity.name, table.source_file, UNREAD, "problem", file_id, problem)])


class _TableIntake:
    """One entry of the mapping in one run."""

    def __init__(
        self,
        source: PlatformSource,
        table: TableMapping,
        database: Database,
        landing: Landing,
        ledger: Ledger,
        report: IngestReport,
        ingested_at: datetime,
        progress: Progress,
    ) -> None:
        self._source, self._table, self._database = source, table, database
        self._landing, self._ledger, self._report = landing, ledger, report
        self._ingested_at, self._progress = ingested_at, progress
        self._totals = report.totals.setdefault(table.entity.name, SourceTotals())
        self._mark = Mark.from_text(ledger.fact(mark_name(table)))
        self._has_news = False

    def take(self) -> None:
        """Begin a pass, or go on with the one that a run did not finish. Raises PlatformError."""
        self._totals.files_seen += 1
        layout = self._database.layout(self._table)
        self._begin()
        self._read(layout)
        self._finish()
        self._totals.files_new += self._has_news
        self._totals.files_skipped += not self._has_news

    def _begin(self) -> None:
        mark, now = self._mark, self._database.snapshot_at
        description = json.dumps([self._database.identity, self._table.description()], sort_keys=True)
        query = hashlib.sha256(description.encode()).hexdigest()
        is_other = query != mark.query
        is_full = self._source.is_full or is_other or mark.full_at is None or self._table.modified is None
        is_full |= mark.full_at is not None and now - _time(mark.full_at) >= self._source.mapping.full_every
        # Rows that a committed position lies behind were read; unless all are wanted anew, they are not read again.
        if mark.pass_since is None or is_other or (self._source.is_full and not mark.pass_full):
            mark = replace(
                mark,
                query=query,
                pass_since=now.isoformat(),
                pass_full=is_full,
                pass_first=mark.rows == 0,
                pass_high=None,
                pass_after=None,
            )
        # Also where the server's clock went back: what is seen later counts as later.
        seen_at = max(now, _time(mark.seen_at) + timedelta(microseconds=1)) if mark.seen_at else now
        self._mark = replace(mark, seen_at=seen_at.isoformat())

    def _read(self, layout: Layout) -> None:
        # In the very first pass nothing can have been read before.
        parts = [] if self._mark.pass_first else self._landed_parts(self._table.entity.name)
        bad = set() if self._mark.pass_first else self._bad_rows()
        lander: RowLander | None = None
        size = 0
        try:
            for block in self._database.rows(self._table, layout, self._mark.span):
                lander = lander or self._lander(parts, bad)
                self._land(lander, block)
                size += block.size
                if size >= BATCH_BYTES:
                    self._commit(lander)
                    lander, size = None, 0
        except PlatformError:
            # What came before the connection broke is whole: it need not be read again.
            if lander is not None:
                self._commit(lander)
            raise
        except BaseException:
            if lander is not None:
                lander.unit.discard()
            raise
        if lander is not None:
            self._commit(lander)

    def _lander(self, known_parts: list[str], known_bad: set[str]) -> RowLander:
        mark = self._mark
        if mark.file_id is None:
            self._mark = mark = replace(mark, file_id=self._ledger.next_file_id())
        return RowLander(
            self._table.entity,
            self._landing,
            file_id=mark.file_id or 0,
            source_file=self._table.source_file,
            file_modified_at=_time(str(mark.seen_at)).astimezone(UTC).replace(tzinfo=None),
            ingested_at=self._ingested_at,
            known_parts=known_parts,
            known_bad=known_bad,
            is_read_again=True,
        )

    def _land(self, lander: RowLander, rows: Rows) -> None:
        mark = self._mark
        first = mark.rows + 1
        bad = [
            replace(row, line_number=first + row.line_number, byte_offset=first + row.line_number) for row in rows.bad
        ]
        bad_lines = {record.line_number for record in bad}
        numbers = [line for line in range(first, first + rows.count) if line not in bad_lines]
        column = pa.array(numbers, pa.int64())
        table = rows.table.append_column("line_number", column).append_column("byte_offset", column)
        before = lander.identical
        lander.land(RecordBlock(table, b"", {}, bad, records=rows.count))
        identical = lander.identical - before
        self._totals.lines += identical
        self._totals.duplicate += identical
        self._totals.bytes += rows.size
        self._progress.advance(self._table.entity.name, rows.size, rows.count, 0)
        last = rows.last or mark.pass_after
        self._mark = replace(
            mark,
            rows=mark.rows + rows.count,
            bytes=mark.bytes + rows.size,
            pass_high=(last[0] if last else None) or mark.pass_high,
            pass_after=last,
        )

    def _commit(self, lander: RowLander) -> None:
        """Commit what was read: the rows that are news, their totals, and the position behind the last row."""
        lander.finish()
        tally, mark, table = lander.tally, self._mark, self._table
        commit = Commit(table.entity.name, self._report.run_id, accepted_count=tally.accepted)
        commit.facts = {mark_name(table): mark.to_text()}
        commit.marks = lander.marks
        if lander.unit.parts or tally.lines:
            commit.contents = [self._content(tally)]
            self._has_news = True
        if lander.unit.parts:
            commit.takings = {commit.contents[0].file_id: tally}
        batch_id = self._landing.commit(lander.unit, commit)
        if batch_id is not None:
            self._report.batch_ids.append(batch_id)
        self._totals.add_tally(tally)
        self._report.problems += [lander.warning] if lander.warning else []

    def _content(self, news: Tally) -> Content:
        """The table as the ledger counts it: one content that grows by the rows that are news."""
        mark, name = self._mark, self._table.source_file
        file_id = mark.file_id or 0
        known = self._ledger.find_content(file_id)
        content = known or Content(self._table.entity.name, name, head_digest=name, file_id=file_id)
        content.tally.add(news)
        content.content_bytes = content.framed_bytes = mark.bytes
        return content

    def _finish(self) -> None:
        """The pass is whole: the next one begins with its mark. Nothing is wrong with the table any more."""
        mark, table = self._mark, self._table
        self._mark = replace(
            mark,
            file_id=mark.file_id if mark.file_id and self._ledger.find_content(mark.file_id) else None,
            high=mark.pass_high or mark.high,
            since=mark.pass_since,
            full_at=mark.pass_since if mark.pass_full else mark.full_at,
            pass_since=None,
            pass_full=False,
            pass_first=False,
            pass_high=None,
            pass_after=None,
        )
        origin = PathState(table.entity.name, table.source_file, READ, "origin", self._mark.file_id)
        facts = {mark_name(table): self._mark.to_text()}
        self._ledger.commit(None, Commit(table.entity.name, self._report.run_id, paths=[origin], facts=facts))

    def _landed_parts(self, folder: str) -> list[str]:
        rows = self._ledger.parts(source=self._table.entity.name)
        return [row["path"] for row in rows if row["path"].startswith(f"{folder}/")]

    def _bad_rows(self) -> set[str]:
        parts = self._landed_parts("set_aside")
        if not parts:
            return set()
        rows = self._landing.con.execute(
            f"select distinct md5(raw) from {self._landing.read_parts(parts)}"
            f" where source_file = {literal(self._table.source_file)}"
        ).fetchall()
        return {row[0] for row in rows}


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)
