"""Landed Parquet: writing parts so that a batch appears whole or not at all, and reading them back.

Belongs here: the landed folder's layout, temp names, fsync, rename, the base files, clearing what no ledger row
names. Does not: what is in the rows (formats), what was decided (ledger).
"""

import hashlib
import os
import shutil
from pathlib import Path
from uuid import uuid4

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from log_ingest.catalog import BATCHES_SCHEMA, LANDED_SCHEMAS
from log_ingest.errors import IngestError
from log_ingest.ledger import Commit, Ledger, Part
from log_ingest.sqltext import literal

_GLOB_CHARACTERS = "*?[]{}"


class Landing:
    """The landed folder of one warehouse, with a DuckDB connection (in memory) that parses and writes.

    Raises IngestError where the folder cannot be used.
    """

    def __init__(self, warehouse_dir: Path, ledger: Ledger) -> None:
        if any(character in str(warehouse_dir) for character in _GLOB_CHARACTERS):
            raise IngestError(f"{warehouse_dir}: a warehouse path may not contain any of {_GLOB_CHARACTERS}; move it")
        self.root = warehouse_dir / "landed"
        self._temp = self.root / ".temp"
        self._ledger = ledger
        self.con = duckdb.connect(":memory:")
        self.con.execute("set TimeZone = 'UTC'")
        self.con.execute("set preserve_insertion_order = true")
        self.con.execute("set enable_progress_bar = false")
        self._clear_uncommitted()
        self._write_base_files()

    def close(self) -> None:
        self.con.close()

    def new_unit(self) -> "Unit":
        """A place for the parts of one batch to come."""
        return Unit(self, self._temp / uuid4().hex)

    def read_parts(self, paths: list[str]) -> str:
        """The SQL that reads landed parts by their ledger paths."""
        files = ", ".join(literal(str(self.root / path)) for path in paths)
        return f"read_parquet([{files}], union_by_name = true)"

    def commit(self, unit: "Unit", commit: Commit) -> int | None:
        """Make the unit's parts and the ledger's rows exist. Returns the batch id; None where there was no row."""
        batch_id = None
        if unit.parts or unit.replacements:
            batch_id = self._ledger.last_batch_id() + 1
            commit.replaced = unit.place_replacements(batch_id)
            for source in sorted({source for source, _ in unit.parts}):
                target = self.root / source / f"batch_id={batch_id}"
                (unit.folder / source).rename(target)
                _fsync(target.parent)
            commit.parts = [
                Part(f"{source}/batch_id={batch_id}/{part.path}", part.digest, part.row_count)
                for source, part in unit.parts
            ]
        self._ledger.commit(batch_id, commit)
        for path in commit.replaced:
            (self.root / path).unlink(missing_ok=True)
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
        _write_whole(table, self.root / f"{name}.parquet", self._temp)

    def _clear_uncommitted(self) -> None:
        """Remove temp files, and what a run that died next to its ledger row left: folders of batches that do not
        exist, files that took the place of others or gave it up.
        """
        shutil.rmtree(self._temp, ignore_errors=True)
        known: dict[str, set[str]] = {}
        for part in self._ledger.parts():
            folder, _, name = part["path"].rpartition("/")
            known.setdefault(folder, set()).add(name)
        for source in LANDED_SCHEMAS:
            for folder in (self.root / source).glob("batch_id=*"):
                if folder.name == "batch_id=0":
                    continue
                names = known.get(f"{source}/{folder.name}")
                if names is None:
                    shutil.rmtree(folder)
                    continue
                for path in folder.iterdir():
                    if path.name not in names:
                        path.unlink()

    def _write_base_files(self) -> None:
        for source, schema in LANDED_SCHEMAS.items():
            path = self.root / source / "batch_id=0" / "part-0.parquet"
            # Readers take the columns of a source from this file: one that an older catalogue wrote is replaced.
            if not path.exists() or not pq.read_schema(path).equals(schema):
                _write_whole(schema.empty_table(), path, self._temp)
        self.write_batches()


class Unit:
    """The parts of one batch before it exists, below a temp folder on the same file system."""

    def __init__(self, landing: Landing, folder: Path) -> None:
        self.folder = folder
        self.parts: list[tuple[str, Part]] = []
        self.replacements: dict[str, Part] = {}
        self._landing = landing

    def new_path(self, source: str) -> Path:
        """Where the next part of a source goes; call add once it is written."""
        path = self.folder / source / f"part-{len(self.parts)}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def copy(self, select: str, path: Path) -> int:
        """Write the rows of a SELECT to path as Parquet; returns how many."""
        # Level 1 costs a third less CPU than the default and gives the same size on logs.
        # Version 2 pages (delta-packed numbers and lengths) are a tenth smaller and cheaper to write.
        options = "format parquet, parquet_version v2, compression zstd, compression_level 1"
        statement = f"copy ({select}) to {literal(str(path))} ({options})"
        return self._landing.con.execute(statement).fetchall()[0][0]

    def copy_parsed(self, select: str, path: Path) -> int:
        """As copy, for a SELECT that parses and keeps what is valid.

        Pushing the validity filter below the projection would compute every parsed column twice (three times the CPU).
        """
        con = self._landing.con
        con.execute("set disabled_optimizers = 'filter_pushdown'")
        try:
            return self.copy(select, path)
        finally:
            con.execute("reset disabled_optimizers")

    def add(self, source: str, path: Path, row_count: int) -> None:
        """Take a written part into the unit: flushed to disk, with its digest. A part without rows is dropped."""
        if row_count == 0:
            path.unlink()
            if not any(path.parent.iterdir()):
                path.parent.rmdir()
            return
        _fsync(path)
        self.parts.append((source, Part(path.name, _digest(path), row_count)))

    def replace(self, part: str, path: Path, row_count: int) -> None:
        """Let a written part take the place of one that exists (its ledger path), in the same batch."""
        _fsync(path)
        self.replacements[part] = Part(str(path), _digest(path), row_count)

    def place_replacements(self, batch_id: int) -> dict[str, Part]:
        """Move them beside the parts that they replace; until the ledger says so they do not exist."""
        placed = {}
        for old, part in self.replacements.items():
            name = old.removesuffix(".parquet").split("-r")[0] + f"-r{batch_id}.parquet"
            target = self._landing.root / name
            Path(part.path).rename(target)
            _fsync(target.parent)
            placed[old] = Part(name, part.digest, part.row_count)
        return placed

    def add_table(self, source: str, table: pa.Table) -> None:
        path = self.new_path(source)
        pq.write_table(table.cast(LANDED_SCHEMAS[source]), path, compression="zstd")
        self.add(source, path, table.num_rows)

    def discard(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)


def _write_whole(table: pa.Table, path: Path, temp: Path) -> None:
    temp.mkdir(parents=True, exist_ok=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = temp / uuid4().hex
    pq.write_table(table, draft, compression="zstd")
    _fsync(draft)
    draft.rename(path)
    _fsync(path.parent)


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _fsync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
