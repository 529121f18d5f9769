"""Reading quarantined lines again, after a fix of a format or a setting.

Belongs here: which lines are read again, and moving the ones that are acceptable now from quarantine into a batch.
Does not: formats, or the rows of reference files (their header is not part of a row: send the file again).

A part of set-aside lines is done at a time, in one commit: a run that dies goes on with the next call.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from log_ingest.catalog import LINE_SOURCES, LineSource
from log_ingest.formats.line_format import ParseSettings
from log_ingest.formats.registry import LINE_FORMATS
from log_ingest.framing import TERMINATORS
from log_ingest.ingest import LEDGER_NAME
from log_ingest.known_lines import KnownLines
from log_ingest.landing import COPY_OPTIONS, Landing, Unit
from log_ingest.late_marks import marks_of
from log_ingest.ledger import Commit, Ledger, Tally
from log_ingest.ledger_database import LedgerPlace
from log_ingest.ledger_tables import write_ledger_tables
from log_ingest.set_aside import DETAILS
from log_ingest.sqltext import literal
from log_ingest.storage import Location
from log_ingest.suppression import Dropped

NEVER_READ_AGAIN = ("line_too_long", "continued", "unterminated", "invalid_utf8", "erased")
"""Reasons that no change of a format can cure."""

_CONTROL = r"[\x00-\x08\x0a-\x1f\x7f]"


@dataclass
class ReplayReport:
    """looked_at and what became of the lines, over all sources (suppressed: of erased recipients, and gone); reopened:
    files that the next ingest opens again.
    """

    looked_at: int = 0
    accepted: int = 0
    duplicate: int = 0
    not_tracking: int = 0
    suppressed: int = 0
    batch_ids: list[int] = field(default_factory=list)
    reopened: list[str] = field(default_factory=list)

    @property
    def still_quarantined(self) -> int:
        return self.looked_at - self.accepted - self.duplicate - self.not_tracking - self.suppressed


def replay(
    warehouse_dir: Path,
    *,
    run_id: str,
    source: str | None = None,
    reason: str | None = None,
    server_time_zones: Mapping[str, str] | None = None,
    landed_dir: Location | None = None,
    ledger_at: LedgerPlace | None = None,
) -> ReplayReport:
    """Read quarantined lines again (all, or those of a source or with a reason code), and held files at the next run.

    landed_dir, ledger_at: as ingest was given. The caller holds the warehouse's lock.
    Raises IngestError where the ledger or the landed folder is unusable.
    """
    report = ReplayReport()
    settings = ParseSettings(datetime.now(UTC).replace(tzinfo=None), dict(server_time_zones or {}))
    with Ledger(ledger_at or warehouse_dir / LEDGER_NAME) as ledger:
        landing = Landing(warehouse_dir, ledger, landed_dir)
        try:
            for line_source in LINE_SOURCES:
                if source in (None, line_source.name):
                    _Replay(line_source, reason, landing, ledger, run_id, settings, report).run()
            if reason is None:
                report.reopened = ledger.reopen_problems()
            write_ledger_tables(landing, ledger)
        finally:
            landing.close()
    return report


class _Replay:
    """One source."""

    def __init__(
        self,
        source: LineSource,
        reason: str | None,
        landing: Landing,
        ledger: Ledger,
        run_id: str,
        settings: ParseSettings,
        report: ReplayReport,
    ) -> None:
        self._source, self._reason, self._run_id = source, reason, run_id
        self._landing, self._ledger, self._con = landing, ledger, landing.con
        self._settings, self._report = settings, report
        self._format = LINE_FORMATS[source.name]

    def run(self) -> None:
        for row in self._ledger.parts(source=self._source.name):
            if row["path"].startswith("set_aside/"):
                self._take(row["path"])

    def _take(self, part: str) -> None:
        con = self._con
        rows = f"read_parquet({literal(str(self._landing.root / part))}, file_row_number = true)"
        codes = " ".join(f"when {literal(text)} then {code}" for code, text in enumerate(TERMINATORS))
        never = ", ".join(map(literal, NEVER_READ_AGAIN))
        only = f" and reason = {literal(self._reason)}" if self._reason else ""
        con.execute(
            "create or replace temp table lines_again as select * from ("
            " select file_row_number as row, try(decode(raw)) as line, line_number, byte_offset,"
            f" cast(case terminator {codes} end as tinyint) as terminator, file_id, source_file from {rows}"
            f" where disposition = 'quarantined' and source = {literal(self._source.name)} and reason not in ({never})"
            f"{only}) where line is not null and not regexp_matches(line, {literal(_CONTROL)})"
        )
        looked_at = con.execute("select count(*) from lines_again").fetchall()[0][0]
        if looked_at:
            self._report.looked_at += looked_at
            self._judge(part, rows)
        con.execute("drop table lines_again")

    def _judge(self, part: str, rows: str) -> None:
        con, unit = self._con, self._landing.new_unit()
        known = KnownLines(self._source.name, self._format, self._landing, self._ledger)
        path = unit.new_path(self._source.name)
        row_count = unit.copy_parsed(self._format.accepted_sql("lines_again", self._settings), path)
        accepted = f"(select file_id, line_number from read_parquet({literal(str(path))}))"
        con.execute(
            "create or replace temp table verdicts as select row, file_id, 'accepted' as disposition,"
            " '' as reason, '' as detail from lines_again"
            f" where (file_id, line_number) in (select (file_id, line_number) from {accepted})"
        )
        commit = Commit(self._source.name, self._run_id)
        dropped = self._suppress(path, commit) if row_count else Dropped()
        row_count -= dropped.row_count
        if row_count:
            repeats = known.drop_repeats(unit, path)
            row_count -= repeats.row_count
            for file_id, line_number in repeats.lines:
                con.execute(
                    "update verdicts set disposition = 'duplicate', reason = 'duplicate', detail = ? where row in"
                    " (select row from lines_again where file_id = ? and line_number = ?)",
                    [DETAILS["duplicate"], file_id, line_number],
                )
        known.note(path if row_count else None, dropped.pointers, commit)
        con.execute(
            "create or replace temp view lines_left as select * from lines_again where row not in"
            " (select row from verdicts)"
        )
        con.execute(
            "insert into verdicts select row, file_id, found.disposition, found.reason, found.detail"
            f" from ({self._format.set_aside_sql('lines_left', self._settings)}) as found join lines_again using (row)"
        )
        unit.add(self._source.name, path, row_count)
        if dropped.told:
            commit.marks |= marks_of(self._landing, dropped.told, unit)
        if self._changes(rows):
            self._commit(part, rows, unit, commit, row_count, known)
        con.execute("drop view lines_left")
        con.execute("drop table verdicts")
        unit.discard()

    def _suppress(self, path: Path, commit: Commit) -> Dropped:
        """Take the lines of erased recipients out of a part: what could not be read told nobody whose they are."""
        if self._landing.suppression is None:
            return Dropped()
        dropped = self._landing.suppression.drop_lines(path, self._source.name, COPY_OPTIONS)
        for file_id, count in (dropped.lines + dropped.cut).items():
            commit.erased_lines[file_id] = commit.erased_lines.get(file_id, 0) + count
        if dropped.lines:
            self._con.execute(
                "update verdicts set disposition = 'suppressed' where row not in (select row from lines_again where"
                f" (file_id, line_number) in (select (file_id, line_number) from read_parquet({literal(str(path))})))"
            )
        return dropped

    def _changes(self, rows: str) -> bool:
        found = self._con.execute(
            f"select count(*) from {rows} as stored join verdicts on stored.file_row_number = verdicts.row"
            " where (stored.disposition, stored.reason, stored.detail)"
            " is distinct from (verdicts.disposition, verdicts.reason, verdicts.detail)"
        )
        return found.fetchall()[0][0] > 0

    def _commit(self, part: str, rows: str, unit: Unit, commit: Commit, row_count: int, known: KnownLines) -> None:
        draft = unit.new_path("set_aside").with_suffix(".replaces")
        kept = unit.copy(
            "select stored.* exclude (file_row_number) replace ("
            " coalesce(verdicts.disposition, stored.disposition) as disposition,"
            " coalesce(verdicts.reason, stored.reason) as reason,"
            f" coalesce(verdicts.detail, stored.detail) as detail) from {rows} as stored"
            " left join verdicts on stored.file_row_number = verdicts.row"
            " where coalesce(verdicts.disposition, '') not in ('accepted', 'suppressed')",
            draft,
        )
        unit.replace(part, draft, kept)
        counts = self._con.execute(
            "select file_id, disposition, count(*) from verdicts where disposition <> 'quarantined' group by all"
        ).fetchall()
        for file_id, disposition, count in counts:
            taking = commit.takings.setdefault(file_id, Tally())
            setattr(taking, disposition, getattr(taking, disposition) + count)
            taking.quarantined -= count
            setattr(self._report, disposition, getattr(self._report, disposition) + count)
        for file_id, taking in commit.takings.items():
            content = self._ledger.content(file_id)
            content.tally.add(taking)
            commit.contents.append(content)
        commit.accepted_count = row_count
        known.close_batch(commit)
        batch_id = self._landing.commit(unit, commit)
        if batch_id is not None:
            self._report.batch_ids.append(batch_id)
