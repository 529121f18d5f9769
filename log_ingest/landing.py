"""Landed Parquet: writing parts so that a batch appears whole or not at all, and reading them back.

Belongs here: the landed folder's layout, temp names, the base files, the order of a commit. Does not: what is in the
rows (formats), what was decided (ledger), how a file gets into a folder or a bucket (landed_places).
"""

import contextlib
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from log_ingest.catalog import BATCHES_SCHEMA, EMPTY_BATCH, LANDED_SCHEMAS
from log_ingest.landed_places import (
    OWNER_FACT,
    OWNER_FILE,
    claim,
    clear,
    clear_temp,
    digest,
    fsync,
    landed_place,
    sweep,
    temp_of,
)
from log_ingest.late_lines import LateLines
from log_ingest.ledger import Commit, Ledger, Part
from log_ingest.part_columns import renew_parts
from log_ingest.sqltext import literal
from log_ingest.storage import Location
from log_ingest.suppression import Suppression

# Level 1 costs a third less CPU than the default and gives the same size on logs.
# Version 2 pages (delta-packed numbers and lengths) are a tenth smaller and cheaper to write.
# A dictionary of more values than this is no gain, and finding that out later costs a quarter of the writing.
COPY_OPTIONS = "format parquet, parquet_version v2, compression zstd, compression_level 1, dictionary_size_limit 5000"

_WRITER_OPTIONS = {
    **{"compression": "zstd", "compression_level": 1, "data_page_version": "2.0", "store_schema": False},
    **{"dictionary_pagesize_limit": 256 * 1024, "write_batch_size": 16_384},
}
"""The same for what pyarrow writes."""
_ROW_GROUP_ROWS = 122_880
"""Or some more: as many as DuckDB puts into a group."""
_NUMBERS = (pa.int64(), pa.timestamp("us"))
_DICTIONARIES = ("source_file", "terminator")


class Landing:
    """The landed folder of one warehouse, with a DuckDB connection (in memory) that parses and writes.

    landed: where it is, None: in the warehouse. joins: beside the pipeline, which looks after the whole; then of what
    dead processes left only temp files are looked for. Raises IngestError where the folder cannot be used.
    """

    def __init__(
        self, warehouse_dir: Path, ledger: Ledger, landed: Location | None = None, *, joins: bool = False
    ) -> None:
        own = warehouse_dir / "landed"
        self.place = landed_place(landed or own, warehouse_dir)
        self.root = self.place.root
        self._temp = temp_of(self.place, ledger)
        self._ledger = ledger
        self.con = duckdb.connect(":memory:")
        self.con.execute("set TimeZone = 'UTC'")
        self.con.execute("set preserve_insertion_order = true")
        self.con.execute("set enable_progress_bar = false")
        self.warehouse_dir = warehouse_dir
        try:
            self.place.attach_to(self.con)
            self._open(own, joins=joins)
            self.suppression = Suppression.load(warehouse_dir, ledger, self.con)
            self.late_lines = LateLines.load(ledger, self.place, self.con)
        except BaseException:
            self.con.close()
            raise

    def _open(self, own: Location, *, joins: bool) -> None:
        """See to it that the landed rows are the ledger's, all of them and nothing else, in the columns of today."""
        ledger = self._ledger
        with ledger.committing():
            # A ledger in the same folder needs no mark to be told from others, unless there was another one.
            marked = bool(ledger.fact(OWNER_FACT)) or self.root != own or self.place.has(OWNER_FILE)
            if ledger.is_shared or marked:
                claim(self.place, ledger)
            if joins:
                clear_temp(self.place, ledger)
            else:
                clear(self.place, ledger)
                renew_parts(self.place, ledger, self.con, COPY_OPTIONS)
                self._write_base_files()

    def close(self) -> None:
        self.con.close()
        if self._ledger.is_shared:
            shutil.rmtree(self._temp, ignore_errors=True)

    def new_unit(self) -> "Unit":
        """A place for the parts of one batch to come."""
        return Unit(self, self._temp / uuid4().hex)

    def read_parts(self, paths: list[str]) -> str:
        """The SQL that reads landed parts by their ledger paths."""
        files = ", ".join(literal(str(self.root / path)) for path in paths)
        return f"read_parquet([{files}])"

    def rows_of(self, source: str, unit: "Unit | None" = None, *, places: bool = False) -> str:
        """The SQL that reads all landed rows of a source, and those of a unit that is not committed yet. places: with
        filename and file_row_number.
        """
        paths = [str(self.root / row["path"]) for row in self._ledger.parts() if row["path"].startswith(f"{source}/")]
        paths.append(str(self.root / f"{source}/batch_id={EMPTY_BATCH}/part-0.parquet"))
        if unit is not None:
            paths += [str(unit.folder / source / part.path) for name, part in unit.parts if name == source]
        files = ", ".join(map(literal, paths))
        further = ", filename = true, file_row_number = true" if places else ""
        return f"read_parquet([{files}], hive_partitioning = false, union_by_name = true{further})"

    def commit(self, unit: "Unit", commit: Commit) -> int | None:
        """Make the unit's parts and the ledger's rows exist. Returns the batch id; None where there was no row."""
        with self._ledger.committing():
            return self._commit(unit, commit)

    def _commit(self, unit: "Unit", commit: Commit) -> int | None:
        batch_id = None
        if unit.parts or unit.replacements:
            batch_id = self._ledger.last_batch_id() + 1
            if self._ledger.begin_batch(batch_id):
                sweep(self.place, self._ledger)
            commit.replaced = unit.place_replacements(batch_id)
            for source in sorted({source for source, _ in unit.parts}):
                self.place.take_batch(unit.folder / source, f"{source}/batch_id={batch_id}")
            commit.parts = [
                Part(f"{source}/batch_id={batch_id}/{part.path}", part.digest, part.row_count)
                for source, part in unit.parts
            ]
        self._ledger.commit(batch_id, commit)
        if self.suppression is not None:
            self.suppression.add(commit.marks)
        for path in commit.replaced:
            self.place.remove(path)
        if batch_id is not None:
            self.write_batches()
        unit.discard()
        return batch_id

    def write_batches(self) -> None:
        """landed/batches.parquet: the ledger's batches, for readers that do not open the ledger."""
        rows = [dict(row) for row in self._ledger.batches()]
        columns = {
            "batch_id": [row["batch_id"] for row in rows],
            "source": [row["source"] for row in rows],
            "run_id": [row["run_id"] for row in rows],
            "committed_at": pa.array([row["committed_at"][:26] for row in rows]).cast(pa.timestamp("us")),
            "accepted_count": [row["accepted_count"] for row in rows],
        }
        self.write_table("batches", pa.table(columns, schema=BATCHES_SCHEMA))

    def write_table(self, name: str, table: pa.Table) -> None:
        """A table of what the ledger knows, as one file beside the sources' folders, swapped as a whole."""
        self._write_whole(table, f"{name}.parquet")

    def _write_base_files(self) -> None:
        for source, schema in LANDED_SCHEMAS.items():
            path = f"{source}/batch_id={EMPTY_BATCH}/part-0.parquet"
            # Readers take the columns of a source from this file: one that an older catalogue wrote is replaced.
            if self.place.has(path):
                with self.place.open(path) as stream:
                    if pq.read_schema(stream).equals(schema):
                        continue
            self._write_whole(schema.empty_table(), path)
        self.write_batches()

    def _write_whole(self, table: pa.Table, path: str) -> None:
        self._temp.mkdir(parents=True, exist_ok=True)
        draft = self._temp / uuid4().hex
        pq.write_table(table, draft, compression="zstd")
        self.place.take(draft, path)


class Unit:
    """The parts of one batch before it exists, below a temp folder on the same file system."""

    def __init__(self, landing: Landing, folder: Path) -> None:
        self.folder = folder
        self.parts: list[tuple[str, Part]] = []
        self.replacements: dict[str, Part] = {}
        self._landing = landing
        self._emptied = 0

    def new_path(self, source: str) -> Path:
        """Where the next part of a source goes; call add once it is written."""
        path = self.folder / source / f"part-{len(self.parts) + self._emptied}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def copy(self, select: str, path: Path) -> int:
        """Write the rows of a SELECT to path as Parquet; returns how many."""
        statement = f"copy ({select}) to {literal(str(path))} ({COPY_OPTIONS})"
        return self._landing.con.execute(statement).fetchall()[0][0]

    def copy_parsed(self, select: str, path: Path) -> int:
        """As copy, for a SELECT that parses and keeps what is valid."""
        with self._parsing():
            return self.copy(select, path)

    def parsed(self, select: str) -> pa.Table:
        """The rows of such a SELECT."""
        with self._parsing():
            return self._landing.con.sql(select).to_arrow_table()

    @contextlib.contextmanager
    def _parsing(self) -> Iterator[None]:
        """Pushing the validity filter below the projection would compute every parsed column twice, at three times the
        CPU.
        """
        con = self._landing.con
        con.execute("set disabled_optimizers = 'filter_pushdown'")
        try:
            yield
        finally:
            con.execute("reset disabled_optimizers")

    @contextlib.contextmanager
    def writing(self, source: str, path: Path) -> Iterator[Callable[[pa.Table], None]]:
        """Write rows of a source to path as Parquet: call what it gives with tables of the landed columns.

        Rows that are in memory anyway cost half of what copy takes.
        """
        schema = pa.schema([_as_written(field) for field in LANDED_SCHEMAS[source]])
        numbers = [field.name for field in schema if field.type in _NUMBERS]
        texts = [name for name in schema.names if name not in numbers]
        encodings = dict.fromkeys(numbers, "DELTA_BINARY_PACKED")
        with pq.ParquetWriter(
            path,
            schema,
            use_dictionary=texts,
            column_encoding=encodings,
            write_statistics=numbers,  # what readers skip by; least and greatest texts say nothing
            **_WRITER_OPTIONS,
        ) as writer:
            waiting: list[pa.Table] = []

            def flush() -> None:
                # One group, unless a table is far too long.
                writer.write_table(pa.concat_tables(waiting), row_group_size=2 * _ROW_GROUP_ROWS)
                waiting.clear()

            def write(rows: pa.Table) -> None:
                waiting.append(rows.select(schema.names).cast(schema))
                if sum(table.num_rows for table in waiting) >= _ROW_GROUP_ROWS:
                    flush()

            yield write
            if waiting:
                flush()

    def add(self, source: str, path: Path, row_count: int) -> None:
        """Take a written part into the unit: flushed to disk, with its digest. A part without rows is dropped."""
        if row_count == 0:
            path.unlink()
            if not any(path.parent.iterdir()):
                path.parent.rmdir()
            return
        fsync(path)
        self.parts.append((source, Part(path.name, digest(path), row_count)))

    def renew(self, place: int, row_count: int) -> None:
        """Take in that rows were taken out of the part at this place of `parts`; without rows it is no part."""
        source, part = self.parts[place]
        path = self.folder / source / part.path
        if row_count:
            fsync(path)
            self.parts[place] = (source, Part(part.path, digest(path), row_count))
        else:
            del self.parts[place]
            self._emptied += 1
            path.unlink()

    def replace(self, part: str, path: Path, row_count: int) -> None:
        """Let a written part take the place of one that exists (its ledger path), in the same batch."""
        fsync(path)
        self.replacements[part] = Part(str(path), digest(path), row_count)

    def place_replacements(self, batch_id: int) -> dict[str, Part]:
        """Move them beside the parts that they replace; until the ledger says so they do not exist."""
        placed = {}
        for old, part in self.replacements.items():
            name = old.removesuffix(".parquet").split("-r")[0] + f"-r{batch_id}.parquet"
            self._landing.place.take(Path(part.path), name)
            placed[old] = Part(name, part.digest, part.row_count)
        return placed

    def add_table(self, source: str, table: pa.Table) -> None:
        path = self.new_path(source)
        pq.write_table(table.cast(LANDED_SCHEMAS[source]), path, compression="zstd")
        self.add(source, path, table.num_rows)

    def discard(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)


def _as_written(field: pa.Field) -> pa.Field:
    """Written from a dictionary, a column of few texts costs next to nothing."""
    return field.with_type(pa.dictionary(pa.int32(), pa.string())) if field.name in _DICTIONARIES else field
