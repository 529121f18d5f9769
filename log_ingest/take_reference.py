"""Taking in reference files: CSV and Parquet rows become landed rows; every version is kept, dbt picks the newest.

A file is taken whole or not at all: one batch holds it. Belongs here: that loop. Does not: casts and reasons
(formats), what a file is (identify).
"""

import json
from collections.abc import Iterator
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.parquet as pq

from log_ingest.catalog import ReferenceEntity
from log_ingest.errors import UnreadableFileError
from log_ingest.files import LandingFile, digest, read_chunks
from log_ingest.formats import reference_rows
from log_ingest.formats.csv_records import INPUT, BadRecord, RecordBlock, read_records
from log_ingest.identify import identify, known_state
from log_ingest.landing import Landing
from log_ingest.ledger import Commit, Content, Ledger, PathState, Tally
from log_ingest.progress import Progress
from log_ingest.report import SourceTotals
from log_ingest.set_aside import Aside, AsideRows

PARQUET_ROWS = 100_000


class ReferenceIntake:
    """Takes in the files of one reference entity in one run. Call take for each file."""

    def __init__(
        self,
        entity: ReferenceEntity,
        landing: Landing,
        ledger: Ledger,
        *,
        run_id: str,
        ingested_at: datetime,
        progress: Progress,
    ) -> None:
        self.entity = entity
        self.totals = SourceTotals()
        self.batch_ids: list[int] = []
        self.problems: list[str] = []
        self._landing, self._ledger = landing, ledger
        self._run_id, self._ingested_at, self._progress = run_id, ingested_at, progress

    def take(self, file: LandingFile) -> None:
        """Take one file whole; one that cannot be read is reported, and the run goes on."""
        name = self.entity.name
        self.totals.files_seen += 1
        state = known_state(file, name, self._ledger)
        if state is not None:
            self.totals.files_skipped += 1
            if state.problem:
                self.problems.append(state.problem)
        else:
            try:
                self._take(file)
            except UnreadableFileError as error:
                self.problems.append(str(error))
                self._ledger.note_paths([PathState(name, file.name, file.fingerprint, "problem", problem=str(error))])
        self._progress.advance(name, file.fingerprint.size, 0, 1)

    def _take(self, file: LandingFile) -> None:
        name = self.entity.name
        identity = identify(file, name, self._ledger)
        previous = self._ledger.path_state(name, file.name)
        # A path that held one extract and then an older one again says something new: the older values are back.
        is_back = previous is not None and previous.role == "origin" and previous.file_id != identity.content.file_id
        if identity.verdict in ("unchanged", "copy") and not is_back:
            role = "origin" if identity.verdict == "unchanged" else "copy"
            if role == "copy" and self._ledger.has_content_after(name, identity.content.file_id):
                self.problems.append(
                    f"{file.name}: the same content as {identity.content.name}, taken for that file re-sent; if it is"
                    " news (older values are back), write it over the newest extract's path"
                )
            self.totals.files_duplicate += role == "copy"
            self._ledger.note_paths([PathState(name, file.name, file.fingerprint, role, identity.content.file_id)])
            return
        # A changed reference file is a new extract, even where it begins like the old one.
        whole = digest(file, set())
        content = Content(
            name,
            file.name,
            identity.content.head_digest,
            digest=whole.whole,
            content_bytes=whole.size,
            framed_bytes=whole.size,
            framed_digest=whole.whole,
            file_id=self._ledger.next_file_id(),
        )
        self._land(file, content)
        self.totals.files_new += 1
        self.totals.bytes += whole.size

    def _land(self, file: LandingFile, content: Content) -> None:
        unit = self._landing.new_unit()
        aside = AsideRows(self.entity.name)
        tally = Tally()
        modified_at = datetime.fromtimestamp(file.fingerprint.mtime_ns / 1e9, UTC).replace(tzinfo=None)
        try:
            for block in _blocks(file):
                columns = [name.removeprefix(INPUT) for name in block.table.column_names if name.startswith(INPUT)]
                self._check_columns(columns, file)
                self._progress.advance(self.entity.name, 0, block.records, 0)
                parsed = reference_rows.parsed_sql(
                    self.entity,
                    columns,
                    "reference_block",
                    file_id=content.file_id,
                    source_file=content.name,
                    file_modified_at=modified_at,
                    ingested_at=self._ingested_at,
                )
                self._landing.con.register("reference_block", block.table)
                path = unit.new_path(self.entity.name)
                accepted = unit.copy(reference_rows.accepted_sql(self.entity, parsed), path)
                bad = list(block.bad)
                if accepted < block.table.num_rows:
                    refused = self._landing.con.execute(reference_rows.refused_sql(parsed)).fetchall()
                    bad += [
                        BadRecord(line, offset, _raw(block, line, offset), reason, detail)
                        for line, offset, reason, detail in refused
                    ]
                self._landing.con.unregister("reference_block")
                unit.add(self.entity.name, path, accepted)
                aside.rows += [
                    Aside(
                        content.file_id,
                        content.name,
                        record.line_number,
                        record.byte_offset,
                        record.reason,
                        record.raw,
                        detail=record.detail,
                    )
                    for record in bad
                ]
                tally.add(Tally(block.records + block.blank, accepted, 0, len(bad), block.blank))
            if aside.rows:
                unit.add_table("set_aside", aside.table(self._ingested_at))
        except BaseException:
            unit.discard()
            raise
        content.tally = tally
        commit = Commit(
            self.entity.name,
            self._run_id,
            accepted_count=tally.accepted,
            contents=[content],
            paths=[PathState(self.entity.name, file.name, file.fingerprint, "origin", content.file_id)],
            takings={content.file_id: tally} if unit.parts else {},
        )
        batch_id = self._landing.commit(unit, commit)
        if batch_id is not None:
            self.batch_ids.append(batch_id)
        self.totals.add_tally(tally)

    def _check_columns(self, columns: list[str], file: LandingFile) -> None:
        needed = {column.name for column in self.entity.columns if column.is_required} - set(columns)
        if needed:
            raise UnreadableFileError(f"{file.name}: no column {', '.join(sorted(needed))}; nothing of it was taken")


def _blocks(file: LandingFile) -> Iterator[RecordBlock]:
    if file.path.suffix.lower() == ".parquet":
        yield from _parquet_blocks(file)
    else:
        yield from read_records(read_chunks(file), file.name)


def _parquet_blocks(file: LandingFile) -> Iterator[RecordBlock]:
    """Parquet rows as text, so that one set of rules reads both. line_number is the row's number from 1."""
    row = 0
    try:
        with pq.ParquetFile(file.path) as parquet:
            for batch in parquet.iter_batches(PARQUET_ROWS):
                table = pa.Table.from_batches([batch])
                names = [name.strip().lower() for name in table.column_names]
                if len(set(names)) < len(names):
                    raise UnreadableFileError(f"{file.name}: repeated column names; nothing of it was taken")
                columns = {INPUT + name: _as_text(column) for name, column in zip(names, table.columns, strict=True)}
                numbers = pa.array(range(row + 1, row + 1 + len(batch)), pa.int64())
                yield RecordBlock(
                    table=pa.table({**columns, "line_number": numbers, "byte_offset": numbers}),
                    data=b"",
                    starts={},
                    records=len(batch),
                )
                row += len(batch)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise UnreadableFileError(f"{file.name}: {str(error).splitlines()[0]}; nothing of it was taken") from error


def _as_text(column: pa.ChunkedArray) -> pa.ChunkedArray | pa.Array:
    try:
        if pa.types.is_floating(column.type):
            # Ids that passed through a float column: 3e15 is no decimal text.
            return column.cast(pa.int64()).cast(pa.string())
    except pa.ArrowException:
        pass
    try:
        return column.cast(pa.string())
    except pa.ArrowException:
        return pa.array([None if value is None else str(value) for value in column.to_pylist()], pa.string())


def _raw(block: RecordBlock, line: int, offset: int) -> bytes:
    """The record's bytes; of a Parquet row, its values as JSON."""
    if offset in block.starts:
        start, end = block.starts[offset]
        return block.data[start:end]
    first = block.table["line_number"][0].as_py()
    values = block.table.slice(line - first, 1).to_pylist()[0]
    own = {name.removeprefix(INPUT): value for name, value in values.items() if name.startswith(INPUT)}
    return json.dumps(own).encode()
