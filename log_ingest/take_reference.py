"""Taking in reference files: CSV and Parquet rows become landed rows; every version is kept, dbt picks the newest.

A file is taken whole or not at all: one batch holds it. Belongs here: that loop. Does not: landing a block of
rows (land_reference), what a file is (identify).
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from log_ingest.catalog import ReferenceEntity
from log_ingest.errors import StorageError, UnreachableFileError, UnreadableFileError
from log_ingest.files import LandingFile, digest, read_chunks, said_by_the_system
from log_ingest.formats.csv_records import INPUT, RecordBlock, read_records
from log_ingest.identify import identify, known_state
from log_ingest.land_reference import RowLander
from log_ingest.landing import Landing
from log_ingest.ledger import Commit, Content, Ledger, PathState
from log_ingest.progress import Progress
from log_ingest.report import SourceTotals

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
        self.passing_problems: dict[str, str] = {}
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
            except UnreachableFileError as error:
                self.problems.append(str(error))
                self.passing_problems[file.name] = str(error)
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
        lander = RowLander(
            self.entity,
            self._landing,
            file_id=content.file_id,
            source_file=content.name,
            file_modified_at=datetime.fromtimestamp(file.fingerprint.mtime_ns / 1e9, UTC).replace(tzinfo=None),
            ingested_at=self._ingested_at,
        )
        try:
            for block in _blocks(file):
                columns = [name.removeprefix(INPUT) for name in block.table.column_names if name.startswith(INPUT)]
                self._check_columns(columns, file)
                self._progress.advance(self.entity.name, 0, block.records, 0)
                lander.land(block)
            lander.finish()
        except BaseException:
            lander.unit.discard()
            raise
        content.tally = tally = lander.tally
        commit = Commit(
            self.entity.name,
            self._run_id,
            accepted_count=tally.accepted,
            contents=[content],
            paths=[PathState(self.entity.name, file.name, file.fingerprint, "origin", content.file_id)],
            takings={content.file_id: tally} if lander.unit.parts else {},
            marks=lander.marks,
            late_lines={content.file_id: lander.late_count} if lander.late_count else {},
        )
        batch_id = self._landing.commit(lander.unit, commit)
        if batch_id is not None:
            self.batch_ids.append(batch_id)
        self.totals.add_tally(tally)
        self.problems += [lander.warning] if lander.warning else []

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
        source = file.path if isinstance(file.path, Path) else file.path.open_at_random()
        with pq.ParquetFile(source) as parquet:
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
    except StorageError as error:
        raise UnreachableFileError(f"{file.name}: {error.problem}") from error
    except (pa.ArrowException, OSError, ValueError) as error:
        if (said := said_by_the_system(error)) is not None:
            raise UnreachableFileError(f"{file.name}: {said}; the next run tries again") from error
        raise UnreadableFileError(f"{file.name}: {str(error).splitlines()[0]}; nothing of it was taken") from error


def _as_text(column: pa.ChunkedArray) -> pa.ChunkedArray | pa.Array:
    if pa.types.is_floating(column.type):
        # How some tools write that there is no value.
        column = pc.if_else(pc.is_nan(column), pa.scalar(None, column.type), column)
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
