"""Taking in line logs: framed blocks become parsed parts, parts become batches, every line is accounted for.

Belongs here: the loop over files and blocks, de-duplication by line identity, control totals.
Does not: the format's patterns (formats), what a file is (identify), the disk (landing).
"""

import hashlib
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa

from log_ingest.catalog import LineSource
from log_ingest.errors import UnreadableFileError
from log_ingest.files import LandingFile, read_chunks
from log_ingest.formats import trackinglogd
from log_ingest.framing import Block, Framer, text_array, unfit
from log_ingest.identify import Identity, identify, is_sealed, known_state
from log_ingest.landing import Landing, Unit
from log_ingest.ledger import Commit, Content, Ledger, PathState, Tally
from log_ingest.pointers import PointerIndex, PointerRun, runs_of
from log_ingest.progress import Progress
from log_ingest.report import SourceTotals
from log_ingest.set_aside import Aside, AsideRows
from log_ingest.sqltext import literal

PART_BYTES = 64 * 1024 * 1024
"""Lines of this many bytes are parsed at once: bounds memory."""
BATCH_BYTES = 512 * 1024 * 1024
"""Lines of this many bytes are committed at once: bounds what a killed run has to do again."""


@dataclass(frozen=True)
class _Placed:
    """A block with its file and the number of its first line among the rows of the part."""

    block: Block
    content: Content
    first_row: int


class LineIntake:
    """Takes in the files of one line source in one run. Call take for each file, then finish."""

    def __init__(
        self,
        source: LineSource,
        landing: Landing,
        ledger: Ledger,
        *,
        run_id: str,
        ingested_at: datetime,
        zones: Mapping[str, str],
        seal_after: timedelta,
        progress: Progress,
    ) -> None:
        self.source = source
        self.totals = SourceTotals()
        self.batch_ids: list[int] = []
        self.problems: list[str] = []
        self._landing, self._ledger, self._con = landing, ledger, landing.con
        self._run_id, self._ingested_at, self._zones = run_id, ingested_at, zones
        self._seal_after, self._progress = seal_after, progress
        self._next_file_id = ledger.next_file_id()
        self._pointers: dict[str, PointerIndex] = {}
        self._start_batch()
        self._start_part()

    # -- files

    def take(self, file: LandingFile, newest: Mapping[str, int]) -> None:
        """Take what is new in one file; a file that cannot be read whole is reported, and the run goes on."""
        self.totals.files_seen += 1
        state = known_state(file, self.source.name, self._ledger)
        if state is not None and not self._can_seal(file, state, newest):
            self.totals.files_skipped += 1
            if state.problem:
                self.problems.append(state.problem)
            self._progress.advance(self.source.name, file.fingerprint.size, 0, 1)
            return
        try:
            identity = identify(file, self.source.name, self._ledger, self._contents.values())
            sealed = is_sealed(file, newest, state, self._seal_after)
            self._take_identified(file, identity, sealed)
        except UnreadableFileError as error:
            self.problems.append(str(error))
            self._commit.paths.append(
                PathState(self.source.name, file.name, file.fingerprint, "problem", problem=str(error))
            )
        self._progress.advance(self.source.name, 0, 0, 1)

    def _can_seal(self, file: LandingFile, state: PathState, newest: Mapping[str, int]) -> bool:
        """True where an unchanged file holds a last line that can be sealed now."""
        if state.role != "origin" or state.file_id is None:
            return False
        held = self._ledger.content(state.file_id).held_bytes > 0
        return held and is_sealed(file, newest, state, self._seal_after)

    def _take_identified(self, file: LandingFile, identity: Identity, sealed: bool) -> None:
        content = identity.content
        role = "origin"
        if identity.verdict == "copy":
            role = "copy"
            self.totals.files_duplicate += 1
        elif identity.verdict == "new":
            content.file_id = self._next_file_id
            self._next_file_id += 1
            self.totals.files_new += 1
        if identity.verdict in ("new", "grown") or (role == "origin" and sealed and content.held_bytes):
            self._read(file, content, identity.size, sealed)
        self._commit.paths.append(
            PathState(self.source.name, file.name, file.fingerprint, role, file_id=content.file_id)
        )

    def _read(self, file: LandingFile, content: Content, size: int | None, sealed: bool) -> None:
        running = hashlib.sha256()
        prefix = content.framed_bytes
        pending = self._commit.takings.get(content.file_id, Tally()).lines
        # Progress counts bytes on disk.
        scale = file.fingerprint.size / size if size else 1.0
        chunks = _after_prefix(_bounded(read_chunks(file), size), prefix, running)
        framer = Framer(chunks, prefix, content.tally.lines + pending + 1, is_sealed=sealed)
        try:
            for block in framer:
                running.update(block.data)
                content.framed_bytes += len(block.data)
                content.framed_digest = running.hexdigest()
                self._add(block, content)
                self._progress.advance(self.source.name, int(len(block.data) * scale), 0, 0)
                if self._part_bytes >= PART_BYTES:
                    self._finish_part()
                if self._batch_bytes >= BATCH_BYTES:
                    # What was read so far is a content of its own until the rest of the file follows.
                    content.digest, content.content_bytes = content.framed_digest, content.framed_bytes
                    self._finish_part()
                    self._commit_batch()
        finally:
            content.framed_digest = running.hexdigest()
            running.update(framer.held)
            content.digest = running.hexdigest()
            content.held_bytes = len(framer.held)
            content.content_bytes = content.framed_bytes + content.held_bytes
            self._contents[content.file_id] = content
            self.totals.bytes += content.content_bytes - prefix
            self.totals.held_bytes += content.held_bytes

    # -- lines

    def _start_part(self) -> None:
        self._placed: list[_Placed] = []
        self._tables: list[pa.Table] = []
        self._part_rows = 0
        self._part_bytes = 0
        self._refused_pointers: dict[str, list[int]] = {}

    def _add(self, block: Block, content: Content) -> None:
        self._contents[content.file_id] = content
        reasons = unfit(block)
        keep = np.arange(len(block))
        if reasons:
            keep = np.delete(keep, list(reasons))
            for index, reason in reasons.items():
                server, pointer = trackinglogd.readable_pointer(block.raw(index)[:64])
                if server is not None and pointer is not None:
                    self._refused_pointers.setdefault(server, []).append(pointer)
                self._put_aside(block, content, index, reason, server=server, pointer=pointer)
        if len(keep) and block.terminators[keep[-1]] == 0:
            self._put_aside(block, content, int(keep[-1]), "unterminated")
            keep = keep[:-1]
        lines = len(block) if not block.is_piece or block.is_first_piece else 0
        self._taking(content).lines += lines
        self._placed.append(_Placed(block, content, self._part_rows))
        if len(keep):
            self._tables.append(
                pa.table(
                    {
                        "line": text_array(block, keep),
                        "row": self._part_rows + keep,
                        "line_number": block.first_line + keep,
                        "byte_offset": block.offset + block.starts[keep],
                        "terminator": block.terminators[keep],
                        "file_id": pa.repeat(content.file_id, len(keep)),
                        "source_file": pa.DictionaryArray.from_arrays(
                            pa.array(np.zeros(len(keep), np.int32)), [content.name]
                        ),
                    }
                )
            )
        self._part_rows += len(block)
        self._part_bytes += len(block.data)
        self._batch_bytes += len(block.data)
        self._progress.advance(self.source.name, 0, lines, 0)

    def _put_aside(self, block: Block, content: Content, index: int, reason: str, **known: object) -> None:
        self._aside.rows.append(
            Aside(
                file_id=content.file_id,
                source_file=content.name,
                line_number=block.first_line + index,
                byte_offset=block.offset + int(block.starts[index]),
                reason=reason,
                raw=block.raw(index),
                terminator=int(block.terminators[index]),
                **known,  # type: ignore[arg-type]
            )
        )

    def _finish_part(self) -> None:
        """Parse the collected lines, set aside what is refused or known, and write the rest as one part."""
        runs = self._parse_part() if self._tables else {}
        for server, pointers in self._refused_pointers.items():
            # A line that came but was refused is not missing.
            array = np.array(sorted(pointers), np.int64)
            runs.setdefault(server, []).extend(runs_of(array, np.full(len(array), "NaT", "datetime64[us]")))
        self._note_pointers(runs)
        self._start_part()

    def _parse_part(self) -> dict[str, list[PointerRun]]:
        con = self._con
        lines = pa.concat_tables(self._tables)
        con.register("part_lines", lines)
        parsed = trackinglogd.parsed_sql("part_lines", self._ingested_at, self._zones)
        path = self._unit.new_path(self.source.name)
        part = f"read_parquet({literal(str(path))})"
        row_count = self._unit.copy(trackinglogd.accepted_sql(parsed), path)
        if row_count < lines.num_rows:
            # Only the lines that are not in the part are parsed again, for the reason why.
            con.execute(
                "create or replace temp view refused_lines as select * from part_lines"
                f" where (file_id, line_number) not in (select file_id, line_number from {part})"
            )
            parsed = trackinglogd.parsed_sql("refused_lines", self._ingested_at, self._zones)
            refused = con.execute(trackinglogd.refused_sql(parsed)).fetchall()
            for row, reason, detail, server, pointer in refused:
                placed = self._placed_at(row)
                self._put_aside(
                    placed.block,
                    placed.content,
                    row - placed.first_row,
                    reason,
                    detail=detail,
                    server=server,
                    pointer=pointer,
                )
                if pointer is not None:
                    self._refused_pointers.setdefault(server, []).append(pointer)
        runs, may_repeat = self._runs_of_part(part)
        if may_repeat:
            row_count = self._drop_repeats(path, part, runs)
        if row_count:
            counts = con.execute(f"select file_id, count(*) from {part} group by file_id").fetchall()
            for file_id, count in counts:
                self._commit.takings[file_id].accepted += count
        self._commit.accepted_count += row_count
        self._unit.add(self.source.name, path, row_count)
        con.unregister("part_lines")
        return runs

    def _placed_at(self, row: int) -> _Placed:
        return self._placed[bisect_right(self._placed, row, key=lambda placed: placed.first_row) - 1]

    # -- identity of lines

    def _runs_of_part(self, part: str) -> tuple[dict[str, list[PointerRun]], bool]:
        """The runs of pointers of each server in a part, and whether any of its lines may have been seen before."""
        con = self._con
        runs: dict[str, list[PointerRun]] = {}
        may_repeat = False
        servers = con.execute(f"select distinct server from {part} order by 1").fetchall()
        for (server,) in servers:
            columns = con.execute(
                f"select pointer, occurred_at from {part} where server = ?",
                [server],
            ).fetchnumpy()
            pointers = np.asarray(columns["pointer"], np.int64)
            runs[server] = runs_of(pointers, np.asarray(columns["occurred_at"], "datetime64[us]"))
            rises = bool(np.all(pointers[1:] > pointers[:-1])) or len(np.unique(pointers)) == len(pointers)
            may_repeat |= not rises or self._index(server).overlaps(runs[server])
        return runs, may_repeat

    def _drop_repeats(self, path: Path, part: str, runs: dict[str, list[PointerRun]]) -> int:
        """Rewrite a part without the lines that came before in it, in this batch or in any landed part."""
        con = self._con
        earlier = self._earlier_parts(runs)
        known = f"select event_key from {earlier}" if earlier else "select '' where false"
        con.execute(
            "create or replace temp table repeats as"
            " select file_id, line_number, place from ("
            " select file_id, line_number, event_key, file_row_number as place,"
            " row_number() over (partition by event_key order by file_row_number) as occurrence"
            f" from read_parquet({literal(str(path))}, file_row_number = true)"
            f") where occurrence > 1 or event_key in ({known})"
        )
        repeats = con.execute("select file_id, line_number from repeats order by place").fetchall()
        if repeats:
            draft = path.with_suffix(".draft")
            self._unit.copy(
                f"select * exclude (file_row_number) from read_parquet({literal(str(path))}, file_row_number = true)"
                " where file_row_number not in (select place from repeats)",
                draft,
            )
            draft.rename(path)
            blocks: dict[int, list[_Placed]] = {}
            for placed in self._placed:
                blocks.setdefault(placed.content.file_id, []).append(placed)
            for file_id, line in repeats:
                of_file = blocks[file_id]
                placed = of_file[bisect_right(of_file, line, key=lambda placed: placed.block.first_line) - 1]
                self._put_aside(placed.block, placed.content, line - placed.block.first_line, "duplicate")
        con.execute("drop table repeats")
        return con.execute(f"select count(*) from {part}").fetchall()[0][0]

    def _earlier_parts(self, runs: dict[str, list[PointerRun]]) -> str:
        """SQL that reads the event keys which may equal those of a part: landed ones and those of this batch."""
        landed: set[str] = set()
        for server, of_server in runs.items():
            first, last = of_server[0].first, of_server[-1].last
            landed.update(self._ledger.parts_with_pointers(server, first, last))
        files = [str(self._landing.root / path) for path in sorted(landed)]
        files += [
            str(self._unit.folder / source / part.path)
            for source, part in self._unit.parts
            if source == self.source.name
        ]
        return f"read_parquet([{', '.join(map(literal, files))}])" if files else ""

    def _index(self, server: str) -> PointerIndex:
        if server not in self._pointers:
            self._pointers[server] = PointerIndex(self._ledger.pointer_runs(server))
        return self._pointers[server]

    def _note_pointers(self, runs: dict[str, list[PointerRun]]) -> None:
        for server, of_server in runs.items():
            self._index(server).add(of_server)
            first, last = min(run.first for run in of_server), max(run.last for run in of_server)
            low, high = self._commit.pointer_ranges.get(server, (first, last))
            self._commit.pointer_ranges[server] = (min(first, low), max(last, high))

    # -- batches

    def _start_batch(self) -> None:
        self._unit: Unit = self._landing.new_unit()
        self._commit = Commit(self.source.name, self._run_id)
        self._aside = AsideRows(self.source.name)
        self._batch_bytes = 0
        self._contents: dict[int, Content] = {}

    def _taking(self, content: Content) -> Tally:
        return self._commit.takings.setdefault(content.file_id, Tally())

    def _commit_batch(self) -> None:
        for aside in self._aside.rows:
            if aside.counts:
                tally = self._commit.takings[aside.file_id]
                setattr(tally, aside.disposition, getattr(tally, aside.disposition) + 1)
        if self._aside.rows:
            self._unit.add_table("set_aside", self._aside.table(self._ingested_at))
        self._commit.contents = list(self._contents.values())
        for content in self._commit.contents:
            taking = self._commit.takings.get(content.file_id)
            if taking is not None:
                content.tally.add(taking)
                self.totals.add_tally(taking)
        for server, (first, last) in self._commit.pointer_ranges.items():
            self._commit.pointer_runs[server] = self._index(server).around(first, last)
        batch_id = self._landing.commit(self._unit, self._commit)
        if batch_id is not None:
            self.batch_ids.append(batch_id)
        self._start_batch()

    def finish(self) -> None:
        """Write what is left."""
        self._finish_part()
        if self._contents or self._commit.paths:
            self._commit_batch()


def _bounded(chunks: Iterator[bytes], size: int | None) -> Iterator[bytes]:
    """The first `size` bytes: what a file grows by while it is read is the next run's."""
    left = size
    for chunk in chunks:
        if left is None:
            yield chunk
            continue
        if left <= 0:
            return
        yield chunk[:left]
        left -= len(chunk)


def _after_prefix(chunks: Iterator[bytes], prefix: int, running: "hashlib._Hash") -> Iterator[bytes]:
    """What follows the first `prefix` bytes, which only go into the running digest."""
    for chunk in chunks:
        if prefix >= len(chunk):
            running.update(chunk)
            prefix -= len(chunk)
            continue
        running.update(chunk[:prefix])
        yield chunk[prefix:] if prefix else chunk
        prefix = 0
