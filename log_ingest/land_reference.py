"""Landing blocks of reference rows, wherever they come from: accepted rows become a part, the others are set aside.

Belongs here: what files and tables have in common. Does not: where blocks come from (take_reference, platform), casts
and reasons (formats).
"""

import hashlib
import json
from collections.abc import Collection
from datetime import datetime

import pyarrow as pa

from log_ingest.catalog import ReferenceEntity
from log_ingest.formats import reference_rows
from log_ingest.formats.csv_records import INPUT, BadRecord, RecordBlock
from log_ingest.landing import Landing
from log_ingest.late_marks import marks_of
from log_ingest.ledger import Tally
from log_ingest.set_aside import Aside, AsideRows
from log_ingest.sqltext import identifier, literal
from log_ingest.suppression import (
    ADDRESS,
    MESSAGE,
    NAMED,
    PSEUDONYM_FROM,
    RECIPIENT,
    ROW,
    Suppression,
    address_sql,
    further_fields_sql,
    is_marked_sql,
)


class RowLander:
    """Collects the blocks of one file or table in one unit, which the caller commits or discards.

    known_parts: where a source is read again and again, its landed parts (ledger paths): a row that says what the
    newest landed row of its key from this source says is not landed again. known_bad: likewise, digests of set-aside
    rows. is_read_again: a row of an erased recipient is counted once, however often it is read, and one of purged
    delivery logs is no news.
    """

    def __init__(
        self,
        entity: ReferenceEntity,
        landing: Landing,
        *,
        file_id: int,
        source_file: str,
        file_modified_at: datetime,
        ingested_at: datetime,
        known_parts: Collection[str] = (),
        known_bad: Collection[str] = (),
        is_read_again: bool = False,
    ) -> None:
        self.unit = landing.new_unit()
        self.tally = Tally()
        self.identical = 0
        self._entity, self._landing = entity, landing
        self._file_id, self._source_file = file_id, source_file
        self._file_modified_at, self._ingested_at = file_modified_at, ingested_at
        self._known_parts, self._known_bad = list(known_parts), known_bad
        self.marks: set[tuple[str, str]] = set()
        """What the commit has to add to the ledger's marks, known when all is landed (finish)."""
        self.new_messages: set[str] = set()
        """Messages to erased recipients that were new to us."""
        self._named_messages: dict[int, int] = {}
        """By message of a suppressed row: the last such row's line number."""
        self._told: dict[str, set[str]] = {}
        """By kind of mark: what suppressed rows say of the recipients whom they name."""
        self.late_count = 0
        """Suppressed rows that are of purged delivery logs."""
        self._is_read_again = is_read_again
        self._aside = AsideRows(entity.name)

    def land(self, block: RecordBlock) -> None:
        """Take one block into the unit."""
        con = self._landing.con
        columns = [name.removeprefix(INPUT) for name in block.table.column_names if name.startswith(INPUT)]
        parsed = reference_rows.parsed_sql(
            self._entity,
            columns,
            "reference_block",
            file_id=self._file_id,
            source_file=self._source_file,
            file_modified_at=self._file_modified_at,
            ingested_at=self._ingested_at,
        )
        con.register("reference_block", block.table)
        identical, copy = 0, self.unit.copy_parsed
        if self._known_parts:
            copy = self.unit.copy
            con.execute(f"create or replace temp table parsed_block as {parsed}")
            identical = self._find_known()
            parsed = "select * from parsed_block where line_number not in (select line_number from known_lines)"
        suppressed = 0
        if self._landing.suppression is not None:
            copy = self.unit.copy
            con.execute(f"create or replace temp table unsuppressed_block as {parsed}")
            suppressed, again = self._find_suppressed(self._landing.suppression, "unsuppressed_block")
            identical += again
            parsed = "select * from unsuppressed_block where line_number not in (select line_number from erased_rows)"
        if self._entity.name == "messages" and self._landing.late_lines and self._landing.late_lines.has_purged_logs:
            copy = self.unit.copy
            con.execute(f"create or replace temp table untimely_block as {parsed}")
            late = self._find_late("untimely_block")
            if self._is_read_again:
                identical += late
            else:
                suppressed += late
                self.late_count += late
            parsed = "select * from untimely_block where line_number not in (select line_number from late_rows)"
        path = self.unit.new_path(self._entity.name)
        accepted = copy(reference_rows.accepted_sql(self._entity, parsed), path)
        bad = list(block.bad)
        if accepted + identical + suppressed < block.table.num_rows:
            refused = con.execute(reference_rows.refused_sql(parsed)).fetchall()
            bad += [
                BadRecord(line, offset, _raw(block, line, offset), reason, detail)
                for line, offset, reason, detail in refused
            ]
        con.unregister("reference_block")
        if self._landing.suppression is not None:
            is_erased = self._landing.suppression.bears_mark
            # Counted like rows: what was read before of a table was counted then.
            gone = [record for record in bad if is_erased(record.raw)]
            bad = [record for record in bad if not is_erased(record.raw)]
            again = sum(self._is_known_mark(ROW, digest_of(record.raw)) for record in gone)
            suppressed, identical = suppressed + len(gone) - again, identical + again
        self.unit.add(self._entity.name, path, accepted)
        news = [record for record in bad if not self._known_bad or digest_of(record.raw) not in self._known_bad]
        self._aside.rows += [
            Aside(
                self._file_id,
                self._source_file,
                record.line_number,
                record.byte_offset,
                record.reason,
                record.raw,
                detail=record.detail,
            )
            for record in news
        ]
        identical += len(bad) - len(news)
        self.identical += identical
        self.tally.add(
            Tally(
                lines=block.records + block.blank - identical,
                accepted=accepted,
                quarantined=len(news),
                blank=block.blank,
                suppressed=suppressed,
            )
        )

    def finish(self) -> None:
        """Write what was set aside, and mark what suppressed rows told. Call once, before committing the unit."""
        if self._named_messages:
            self._mark_messages()
        if self._told:
            self.marks |= marks_of(self._landing, self._told, self.unit)
        if self._aside.rows:
            self.unit.add_table("set_aside", self._aside.table(self._ingested_at))

    @property
    def warning(self) -> str | None:
        """One line where erased recipients were written to after their erasure."""
        if not self.new_messages:
            return None
        return (
            f"{self._source_file}: {len(self.new_messages)} messages to erased recipients that were sent since; their"
            " rows are suppressed, but events that came before them are not: stop writing to them and repeat mtw erase"
        )

    def _find_suppressed(self, suppression: Suppression, rows: str) -> tuple[int, int]:
        """Fill erased_rows with the lines of erased recipients' rows; returns how many are news, and how many not."""
        con = self._landing.con
        found = suppression.find_rows(self._entity, rows)
        numbers = [line_number for line_number, _, _ in found]
        con.execute("create or replace temp table erased_rows as select unnest(?::bigint[]) as line_number", [numbers])
        for line_number, _, message in found:
            if message is not None and not suppression.knows(MESSAGE, str(message)):
                self._named_messages[message] = line_number
        if found:
            self._note_told(rows)
        again = sum(self._is_known_mark(ROW, row_hash) for _, row_hash, _ in found)
        return len(found) - again, again

    def _note_told(self, rows: str) -> None:
        """What the rows in erased_rows tell of an erased recipient: by it alone, their events may come."""
        selects = {
            "recipients": {
                ADDRESS: f"select {address_sql('email')} as value, recipient_id from own",
                NAMED: further_fields_sql("own").replace("as named", "as value"),
            },
            "messages": {ADDRESS: f"select {address_sql('address')} as value, recipient_id from own"},
        }.get(self._entity.name, {})
        for kind, select in selects.items():
            values = self._landing.con.execute(
                f"with own as (select * from {rows} where line_number in (select line_number from erased_rows)"
                f" and {is_marked_sql(RECIPIENT, 'recipient_id::varchar')})"
                f" select distinct value from ({select}) where value is not null"
            ).fetchall()
            self._told.setdefault(kind, set()).update(value for (value,) in values)

    def _mark_messages(self) -> None:
        """Lines of erased recipients are recognised by the message: it may be one that came after the erasure. Not
        where a newer row names somebody else: an older extract says whose the message was.
        """
        suppression = self._landing.suppression
        assert suppression is not None
        news = pa.table({"message_id": list(self._named_messages), "line_number": list(self._named_messages.values())})
        self._landing.con.register("named_messages", news)
        others = self._landing.con.execute(
            f"select distinct message_id from {self._landing.rows_of('messages', self.unit)} as rows"
            " join named_messages using (message_id)"
            f" where recipient_id < {PSEUDONYM_FROM} and recipient_id <> 0"
            " and (rows.file_modified_at, rows.source_file, rows.line_number) > (?, ?, named_messages.line_number)",
            [self._file_modified_at, self._source_file],
        ).fetchall()
        self._landing.con.unregister("named_messages")
        new = {str(message) for message in self._named_messages.keys() - {message for (message,) in others}}
        self.new_messages |= new
        self.marks |= {suppression.key.mark(MESSAGE, message) for message in new}

    def _find_late(self, rows: str) -> int:
        """Fill late_rows with the lines of messages of deliveries whose logs were purged; returns how many."""
        con = self._landing.con
        con.execute(
            f"create or replace temp table late_rows as select line_number from {rows}"
            " where reason is null and delivery_id in (select delivery_id from purged_logs)"
        )
        return con.execute("select count(*) from late_rows").fetchall()[0][0]

    def _is_known_mark(self, kind: str, value: str) -> bool:
        """Of a table that is read again and again: whether the row was suppressed, and counted, before."""
        suppression = self._landing.suppression
        if suppression is None or not self._is_read_again:
            return False
        mark = suppression.key.mark(kind, value)
        if suppression.knows(kind, value) or mark in self.marks:
            return True
        self.marks.add(mark)
        return False

    def _find_known(self) -> int:
        """Fill known_lines with the lines of parsed_block that are no news; returns how many."""
        con = self._landing.con
        keys = ", ".join(identifier(name) for name in self._entity.key)
        con.execute(f"""
            create or replace temp table known_lines as
            with rows as (select {keys}, row_hash, line_number from parsed_block where reason is null),
            newest as (
                select {keys}, max_by(row_hash, (file_modified_at, line_number)) as row_hash
                from {self._landing.read_parts(self._known_parts)}
                semi join rows using ({keys})
                where source_file = {literal(self._source_file)}
                group by {keys}
            )
            select rows.line_number from rows join newest using ({keys}, row_hash)
        """)
        return con.execute("select count(*) from known_lines").fetchall()[0][0]


def digest_of(raw: bytes) -> str:
    """Tells set-aside rows apart: md5 hex, as SQL says md5(raw)."""
    return hashlib.md5(raw, usedforsecurity=False).hexdigest()


def _raw(block: RecordBlock, line: int, offset: int) -> bytes:
    """The record's bytes; where the row had none (Parquet, a table), its values as JSON."""
    if offset in block.starts:
        start, end = block.starts[offset]
        return block.data[start:end]
    place = block.table["line_number"].index(line).as_py()
    values = block.table.slice(place, 1).to_pylist()[0]
    own = {name.removeprefix(INPUT): value for name, value in values.items() if name.startswith(INPUT)}
    return json.dumps(own).encode()
