"""Landing blocks of reference rows, wherever they come from: accepted rows become a part, the others are set aside.

Belongs here: what files and tables have in common. Does not: where blocks come from (take_reference, platform), casts
and reasons (formats).
"""

import hashlib
import json
from collections.abc import Collection
from datetime import datetime

from log_ingest.catalog import ReferenceEntity
from log_ingest.formats import reference_rows
from log_ingest.formats.csv_records import INPUT, BadRecord, RecordBlock
from log_ingest.landing import Landing
from log_ingest.ledger import Tally
from log_ingest.set_aside import Aside, AsideRows
from log_ingest.sqltext import identifier, literal


class RowLander:
    """Collects the blocks of one file or table in one unit, which the caller commits or discards.

    known_parts: where a source is read again and again, its landed parts (ledger paths): a row that says what the
    newest landed row of its key from this source says is not landed again. known_bad: likewise, digests of set-aside
    rows.
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
    ) -> None:
        self.unit = landing.new_unit()
        self.tally = Tally()
        self.identical = 0
        self._entity, self._landing = entity, landing
        self._file_id, self._source_file = file_id, source_file
        self._file_modified_at, self._ingested_at = file_modified_at, ingested_at
        self._known_parts, self._known_bad = list(known_parts), known_bad
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
        path = self.unit.new_path(self._entity.name)
        accepted = copy(reference_rows.accepted_sql(self._entity, parsed), path)
        bad = list(block.bad)
        if accepted + identical < block.table.num_rows:
            refused = con.execute(reference_rows.refused_sql(parsed)).fetchall()
            bad += [
                BadRecord(line, offset, _raw(block, line, offset), reason, detail)
                for line, offset, reason, detail in refused
            ]
        con.unregister("reference_block")
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
            )
        )

    def finish(self) -> None:
        """Write what was set aside. Call once, before committing the unit."""
        if self._aside.rows:
            self.unit.add_table("set_aside", self._aside.table(self._ingested_at))

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
