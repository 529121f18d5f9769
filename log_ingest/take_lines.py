"""Taking in line logs: framed blocks become parsed parts, parts become batches, every line is accounted for.

Belongs here: the loop over files and blocks, what each line becomes, control totals.
Does not: the format's patterns (formats), what a file is (identify), lines seen before (known_lines), the disk.
"""

import hashlib
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa

from log_ingest.catalog import LineSource
from log_ingest.errors import UnreachableFileError, UnreadableFileError
from log_ingest.files import LandingFile, read_chunks
from log_ingest.formats.line_format import LineFormat, ParseSettings, ReadUsual, terminator_sql
from log_ingest.framing import TERMINATORS, Block, Framer, unfit
from log_ingest.identify import Identity, Siblings, identify, is_sealed, known_state
from log_ingest.known_lines import KnownLines
from log_ingest.landing import COPY_OPTIONS, Landing, Unit
from log_ingest.late_marks import marks_of
from log_ingest.ledger import Commit, Content, Ledger, PathState, Tally
from log_ingest.part_lines import PartLines, Placed, gathered
from log_ingest.progress import Progress
from log_ingest.report import SourceTotals
from log_ingest.sealed_lines import UNTERMINATED, SealedLine, SealedLines
from log_ingest.set_aside import Aside, AsideRows
from log_ingest.sqltext import literal
from log_ingest.suppression import Dropped

PART_BYTES = 64 * 1024 * 1024
"""Lines of this many bytes are parsed at once: bounds memory."""
PART_BLOCKS = 2048
"""So are lines of this many blocks: thousands of tiny files hold more memory than their bytes."""
BATCH_BYTES = 512 * 1024 * 1024
"""Lines of this many bytes are committed at once: bounds what a killed run has to do again."""
BATCH_FILES = 10_000
"""So are this many files: what is known of each is held until then."""
DRIFT_BYTES = 64 * 1024
"""The beginning of a new file that shows whether its format is the known one."""


class BatchOvertaken(Exception):
    """Another process has taken in a content of this batch, or more of one: the batch has to be made anew."""


class LineIntake:
    """Takes in the files of one line source in one run. Call take for each file, then finish.

    In a shared ledger both may raise BatchOvertaken: call discard, then take the files again that were taken since
    commit_count last rose.
    """

    def __init__(
        self,
        source: LineSource,
        line_format: LineFormat,
        landing: Landing,
        ledger: Ledger,
        *,
        run_id: str,
        settings: ParseSettings,
        seal_after: timedelta,
        progress: Progress,
        accepts_drift: bool = False,
    ) -> None:
        self.source = source
        self.totals = SourceTotals()
        self.batch_ids: list[int] = []
        self.problems: list[str] = []
        self.passing_problems: dict[str, str] = {}
        self.commit_count = 0
        self._format = line_format
        self._landing, self._ledger, self._con = landing, ledger, landing.con
        self._run_id, self._settings = run_id, settings
        self._seal_after, self._progress, self._accepts_drift = seal_after, progress, accepts_drift
        self._next_file_id = ledger.next_file_id()
        self._known = KnownLines(source.name, line_format, landing, ledger)
        self._sealed_lines = SealedLines(source.name, landing, ledger)
        self._found: dict[int, object] = {}
        self._is_made_anew = False
        self._start_batch()
        self._start_part()

    # -- files

    def take(self, file: LandingFile, siblings: Siblings) -> None:
        """Take what is new in one file; a file that cannot be read whole is reported, and the run goes on."""
        state = known_state(file, self.source.name, self._ledger)
        if state is not None and state.role == "problem" and self._accepts_drift:
            state = None  # it may be held for its format alone
        if state is not None and not self.can_seal(file, state, siblings):
            self.skip(file, state)
            return
        self.totals.files_seen += 1
        self.passing_problems.pop(file.name, None)  # of a batch that is made anew
        try:
            identity = identify(file, self.source.name, self._ledger, self._by_head)
            sealed = is_sealed(file, siblings, state, self._seal_after)
            self._take_identified(file, identity, sealed, siblings)
        except UnreachableFileError as error:
            self.problems.append(str(error))
            self.passing_problems[file.name] = str(error)
        except UnreadableFileError as error:
            self.problems.append(str(error))
            self._commit.paths.append(
                PathState(self.source.name, file.name, file.fingerprint, "problem", problem=str(error))
            )
        self._progress.advance(self.source.name, 0, 0, 1)
        if len(self._commit.paths) >= BATCH_FILES:
            self._finish_part()
            self._commit_batch()

    def skip(self, file: LandingFile, state: PathState) -> None:
        """Account for a file that is as it was when it was last opened."""
        self.totals.files_seen += 1
        self.totals.files_skipped += 1
        if state.problem:
            self.problems.append(state.problem)
        self._progress.advance(self.source.name, file.fingerprint.size, 0, 1)

    def can_seal(self, file: LandingFile, state: PathState, siblings: Siblings) -> bool:
        """True where an unchanged file holds a last line that can be sealed now."""
        if state.role == "problem" or state.file_id is None:
            return False
        content = self._ledger.content(state.file_id)
        if not content.held_bytes or not is_sealed(file, siblings, state, self._seal_after):
            return False
        return state.role == "origin" or self._is_left(content, siblings)

    def _is_left(self, content: Content, siblings: Siblings) -> bool:
        """True where nothing more can come to a content by the paths it came from: they are gone or hold others."""
        is_of_this_batch = any(path.file_id == content.file_id and path.role == "origin" for path in self._commit.paths)
        origins = self._ledger.origins(content.file_id)
        return not is_of_this_batch and not any(siblings.may_hold(content, origin) for origin in origins)

    def _take_identified(self, file: LandingFile, identity: Identity, sealed: bool, siblings: Siblings) -> None:
        content = identity.content
        role = "origin"
        if content.file_id and content.file_id not in self._contents:
            self._found.setdefault(content.file_id, _progress_of(content))
        # A copy whose original is gone was renamed: its last line, if it has no end yet, is sealed here.
        if identity.verdict == "copy" and not (content.held_bytes and self._is_left(content, siblings)):
            role = "copy"
            self.totals.files_duplicate += 1
        elif identity.verdict == "new":
            if not self._accepts_drift:
                self._check_drift(file)
            content.file_id = self._next_file_id
            self._next_file_id = self._ledger.next_file_id() if self._ledger.is_shared else content.file_id + 1
            self.totals.files_new += 1
        if identity.verdict in ("new", "grown") or (role == "origin" and sealed and content.held_bytes):
            reopened = self._sealed_lines.before(content, self._aside.rows) if identity.is_amid_line else None
            self._read(file, content, identity.size, sealed, reopened)
        self._commit.paths.append(
            PathState(self.source.name, file.name, file.fingerprint, role, file_id=content.file_id)
        )

    def _check_drift(self, file: LandingFile) -> None:
        """Raises UnreadableFileError where the format of the whole file has changed: better late than wrong."""
        beginning = next(iter(read_chunks(file, chunk_bytes=DRIFT_BYTES)), b"")[:DRIFT_BYTES].rpartition(b"\n")[0]
        if reason := self._format.drift([line for line in beginning.splitlines() if line]):
            raise UnreadableFileError(
                f"{file.name}: {reason}; the file is held. If the new format is meant, set MTW_ACCEPT_NEW_FORMATS=1"
                " and run again"
            )

    def _read(
        self, file: LandingFile, content: Content, size: int | None, sealed: bool, reopened: SealedLine | None
    ) -> None:
        """Take in what follows the known bytes of a content. reopened: its last line, which is read anew."""
        running = hashlib.sha256()
        known = content.framed_bytes
        prefix = reopened.byte_offset if reopened else known
        pending = self._commit.takings.get(content.file_id, Tally()).lines
        first_line = reopened.line_number if reopened else content.tally.lines + pending + 1
        # Progress counts bytes on disk.
        scale = file.fingerprint.size / size if size else 1.0
        chunks = _after_prefix(_bounded(read_chunks(file), size), prefix, running)
        framer = Framer(chunks, prefix, first_line, is_sealed=sealed)
        is_untouched = False
        try:
            for block in framer:
                if reopened:
                    self._take_back(reopened, content)
                    reopened = None
                running.update(block.data)
                content.framed_bytes += len(block.data)
                content.framed_digest = running.hexdigest()
                self._add(block, content)
                self._progress.advance(self.source.name, int(len(block.data) * scale), 0, 0)
                if self._part_bytes >= PART_BYTES or len(self._placed) >= PART_BLOCKS:
                    self._finish_part()
                if self._batch_bytes >= BATCH_BYTES:
                    # What was read so far is a content of its own until the rest of the file follows.
                    content.digest, content.content_bytes = content.framed_digest, content.framed_bytes
                    self._finish_part()
                    self._commit_batch()
            if reopened:
                self._take_back(reopened, content)
        except UnreadableFileError:
            # Before anything new was framed, `running` may be amid the prefix: what is known of the content stays.
            is_untouched = content.framed_bytes == known
            raise
        finally:
            if not is_untouched:
                content.framed_digest = running.hexdigest()
                running.update(framer.held)
                content.digest = running.hexdigest()
                content.held_bytes = len(framer.held)
                content.content_bytes = content.framed_bytes + content.held_bytes
                self._remember(content)
                self.totals.bytes += content.content_bytes - prefix
                self.totals.held_bytes += content.held_bytes

    def _take_back(self, line: SealedLine, content: Content) -> None:
        """A line that was sealed is no line yet: it goes on."""
        content.framed_bytes = line.byte_offset
        self._remember(content)
        taking = self._taking(content)
        taking.lines -= 1
        if line.part is None:
            self._aside.rows = [
                row for row in self._aside.rows if (row.file_id, row.byte_offset) != (line.file_id, line.byte_offset)
            ]
        else:
            taking.quarantined -= 1
            self._taken_back.append(line)

    # -- lines

    def _start_part(self) -> None:
        self._placed: list[Placed] = []
        self._by_file: dict[int, list[Placed]] = {}
        self._part_rows = 0
        self._part_bytes = 0
        self._refused_pointers: dict[str, list[int]] = {}

    def _add(self, block: Block, content: Content) -> None:
        self._remember(content)
        reasons = unfit(block)
        keep = np.arange(len(block))
        if reasons:
            keep = np.delete(keep, list(reasons))
            for index, reason in reasons.items():
                server, pointer = self._format.position(block.raw(index)[:64])
                if server is not None and pointer is not None:
                    self._refused_pointers.setdefault(server, []).append(pointer)
                self._put_aside(block, content, index, reason, server=server, pointer=pointer)
        if len(keep) and block.terminators[keep[-1]] == 0:
            self._put_aside(block, content, int(keep[-1]), UNTERMINATED)
            keep = keep[:-1]
        lines = len(block) if not block.is_piece or block.is_first_piece else 0
        self._taking(content).lines += lines
        self._placed.append(Placed(block, content, self._part_rows, keep))
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
        path = self._parse_part() if any(len(placed.keep) for placed in self._placed) else None
        self._known.note(path, self._refused_pointers, self._commit)
        self._start_part()

    def _parse_part(self) -> Path | None:
        """Write the accepted, new lines as one part; returns its path if it has any row."""
        path = self._unit.new_path(self.source.name)
        row_count, taken = self._write_part(path)
        if row_count and (gone := self._suppress(path)):
            row_count -= gone
            taken = self._places_in(path) if row_count else _NONE
        if row_count:
            repeats = self._known.drop_repeats(self._unit, path)
            row_count -= repeats.row_count
            for file_id, line in repeats.lines:
                self._put_aside_line(file_id, line, "duplicate")
            if repeats.row_count:
                taken = self._places_in(path) if row_count else _NONE
            files, counts = np.unique(taken >> _LINE_BITS, return_counts=True)
            for file_id, count in zip(files.tolist(), counts.tolist(), strict=True):
                self._commit.takings[file_id].accepted += count
        self._commit.accepted_count += row_count
        self._unit.add(self.source.name, path, row_count)
        return path if row_count else None

    def _write_part(self, path: Path) -> tuple[int, np.ndarray]:
        """Write the rows of the acceptable lines, and set the others aside. Returns how many rows, and the places of
        their lines.
        """
        lines = list(gathered(self._placed))
        if self._format.read_usual is not None:
            return self._write_usual(lines, path, self._format.read_usual)
        relation = pa.concat_tables([some.relation() for some in lines])
        self._con.register("part_lines", relation)
        row_count = self._unit.copy_parsed(self._format.accepted_sql("part_lines", self._settings), path)
        if row_count == relation.num_rows and self._format.gives_one_row:
            taken = _places_of(relation)
        else:
            taken = self._places_in(path) if row_count else _NONE
            self._set_aside_rest(relation, taken)
        self._con.unregister("part_lines")
        return row_count, taken

    def _write_usual(self, lines: list[PartLines], path: Path, read_usual: ReadUsual) -> tuple[int, np.ndarray]:
        """The same: the usual lines first, then those that only SQL reads."""
        left, places = [], []
        with self._unit.writing(self.source.name, path) as write:
            for some in lines:
                usual = read_usual(some.text, self._settings, self._con)
                where_from = some.provenance(usual.lines, self._settings.ingested_at)
                write(pa.table(where_from | dict(usual.columns)))
                places.append(_placed_at(some.file_id[usual.lines], some.line_number[usual.lines]))
                left.append(some.without(usual.lines).relation())
            relation = pa.concat_tables(left)
            self._con.register("part_lines", relation)
            rows = self._unit.parsed(self._format.accepted_sql("part_lines", self._settings))
            write(rows)
        taken = _places_of(rows)
        self._set_aside_rest(relation, taken)
        self._con.unregister("part_lines")
        places.append(taken)
        return sum(map(len, places)), np.concatenate(places)

    def _suppress(self, path: Path) -> int:
        """Take the lines of erased recipients and of purged deliveries out of a part, and count them. Returns how many
        rows are gone.
        """
        gone = 0
        if self._landing.suppression is not None:
            gone += self._count_dropped(self._landing.suppression.drop_lines(path, self.source.name, COPY_OPTIONS))
        if self._landing.late_lines is not None:
            dropped = self._landing.late_lines.drop(path, self.source.name, COPY_OPTIONS)
            for file_id, count in dropped.lines.items():
                self._commit.late_lines[file_id] = self._commit.late_lines.get(file_id, 0) + count
            gone += self._count_dropped(dropped)
        return gone

    def _count_dropped(self, dropped: Dropped) -> int:
        for kind, values in dropped.told.items():
            self._told.setdefault(kind, set()).update(values)
        for file_id, count in dropped.lines.items():
            self._commit.takings[file_id].suppressed += count
        for file_id, count in (dropped.lines + dropped.cut).items():
            self._commit.erased_lines[file_id] = self._commit.erased_lines.get(file_id, 0) + count
        for server, pointers in dropped.pointers.items():
            # What came and is not kept is not missing.
            self._refused_pointers.setdefault(server, []).extend(pointers)
        return dropped.row_count

    def _places_in(self, path: Path) -> np.ndarray:
        """The places of the lines in a part, each once."""
        part = f"read_parquet({literal(str(path))})"
        columns = self._con.execute(f"select file_id, line_number from {part}").fetchnumpy()
        places = _placed_at(columns["file_id"], columns["line_number"])
        return places if self._format.gives_one_row else np.unique(places)

    def _set_aside_rest(self, lines: pa.Table, taken: np.ndarray) -> None:
        """Account for the lines of a part that gave no row: refused ones one by one, others as a part of their own."""
        con = self._con
        is_taken = np.isin(_places_of(lines), taken)
        left = len(is_taken) - int(np.count_nonzero(is_taken))
        if not left:
            return
        con.register("taken_rows", pa.table({"row": lines["row"].to_numpy()[is_taken]}))
        con.execute("create or replace temp view rest_lines as from part_lines anti join taken_rows using (row)")
        con.execute(f"create temp table rest as {self._format.set_aside_sql('rest_lines', self._settings)}")
        refused = con.execute(
            "select row, reason, detail, server, pointer from rest where disposition = 'quarantined' order by row"
        ).fetchall()
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
        if len(refused) < left:
            self._set_aside_others()
        con.execute("drop table rest")
        con.unregister("taken_rows")

    def _set_aside_others(self) -> None:
        """The lines that no one would look at one by one (requests for images): written without touching Python."""
        path = self._unit.new_path("set_aside")
        count = self._unit.copy(
            f"select file_id, source_file, line_number, {self._settings.arrived} as ingested_at, disposition,"
            f" {literal(self.source.name)} as source, byte_offset, reason, detail, server, pointer,"
            f" raw, {terminator_sql()} as terminator"
            " from rest join part_lines using (row) where disposition <> 'quarantined'",
            path,
        )
        if self._landing.suppression is not None:
            suppressed = self._landing.suppression.drop_aside(path, COPY_OPTIONS)
            count -= suppressed.total()
            for file_id, lines in suppressed.items():
                self._commit.takings[file_id].suppressed += lines
                self._commit.erased_lines[file_id] = self._commit.erased_lines.get(file_id, 0) + lines
        found = self._con.execute(
            f"select file_id, disposition, count(*) from read_parquet({literal(str(path))}) group by all"
        ).fetchall()
        for file_id, disposition, lines in found:
            tally = self._commit.takings[file_id]
            setattr(tally, disposition, getattr(tally, disposition) + lines)
        self._unit.add("set_aside", path, count)

    def _put_aside_line(self, file_id: int, line: int, reason: str) -> None:
        """Set aside a line of this part that is known by its number."""
        of_file = self._blocks_of().get(file_id, [])
        placed = of_file[bisect_right(of_file, line, key=lambda placed: placed.block.first_line) - 1]
        self._put_aside(placed.block, placed.content, line - placed.block.first_line, reason)

    def _blocks_of(self) -> dict[int, list[Placed]]:
        if not self._by_file:
            for placed in self._placed:
                self._by_file.setdefault(placed.content.file_id, []).append(placed)
        return self._by_file

    def _placed_at(self, row: int) -> Placed:
        return self._placed[bisect_right(self._placed, row, key=lambda placed: placed.first_row) - 1]

    # -- batches

    def _start_batch(self) -> None:
        self._unit: Unit = self._landing.new_unit()
        self._commit = Commit(self.source.name, self._run_id)
        self._aside = AsideRows(self.source.name)
        self._taken_back: list[SealedLine] = []
        self._told: dict[str, set[str]] = {}
        self._batch_bytes = 0
        self._contents: dict[int, Content] = {}
        self._by_head: dict[str, dict[int, Content]] = {}
        self._known.begin()
        self._before = replace(self.totals), len(self.problems)

    def discard(self) -> None:
        """Forget the batch at hand, as if its files had not been taken yet."""
        self._unit.discard()
        totals, problem_count = self._before
        vars(self.totals).update(vars(totals))
        del self.problems[problem_count:]
        self._found = {}
        self._is_made_anew = True
        self._start_batch()
        self._start_part()

    def _remember(self, content: Content) -> None:
        former = self._contents.get(content.file_id)
        if former is not None and former.head_digest != content.head_digest:
            del self._by_head[former.head_digest][content.file_id]  # it grew: nothing else goes on from there
        self._contents[content.file_id] = content
        self._by_head.setdefault(content.head_digest, {})[content.file_id] = content

    def _taking(self, content: Content) -> Tally:
        return self._commit.takings.setdefault(content.file_id, Tally())

    def _commit_batch(self) -> None:
        if self._ledger.is_shared:
            self._drop_overtaken()  # as much as can be done while others may commit
        with self._ledger.committing():
            if self._ledger.is_shared:
                self._drop_overtaken()
                self._check_contents()
            self._close_batch()
        self._is_made_anew = False
        self.commit_count += 1
        self._start_batch()

    def _drop_overtaken(self) -> None:
        """Take out of the batch, as duplicates, what others have landed since it was compared."""
        overtaken = self._known.drop_overtaken(self._unit, self._commit)
        self._commit.accepted_count -= overtaken.rows
        for file_id, source_file, line_number, offset, terminator, text in overtaken.lines:
            tally = self._commit.takings[file_id]
            tally.accepted -= 1
            if text is None:  # a part of it was of an erased recipient, and the text went with that
                tally.suppressed += 1
                continue
            code = TERMINATORS.index(terminator)
            self._aside.rows.append(
                Aside(file_id, source_file, line_number, offset, "duplicate", text.encode(), terminator=code)
            )

    def _check_contents(self) -> None:
        """Raises BatchOvertaken where a content is no longer as it was found, or was taken as another one meanwhile."""
        for file_id in self._contents:
            if file_id in self._found and _progress_of(self._ledger.content(file_id)) != self._found[file_id]:
                raise BatchOvertaken
        # Once: what was known when the batch was made anew is meant, as where a file begins like another one that ends.
        if not self._is_made_anew and self._ledger.has_copies(self.source.name, self._contents.values()):
            raise BatchOvertaken

    def _close_batch(self) -> None:
        if self._landing.suppression is not None:
            self._aside.rows = self._landing.suppression.keep_aside(self._aside.rows, self._commit, self.source.name)
        if self._told:
            self._commit.marks |= marks_of(self._landing, self._told, self._unit)
        for aside in self._aside.rows:
            if aside.counts:
                tally = self._commit.takings[aside.file_id]
                setattr(tally, aside.disposition, getattr(tally, aside.disposition) + 1)
        if self._aside.rows:
            self._unit.add_table("set_aside", self._aside.table(self._settings.ingested_at))
        self._sealed_lines.take_out(self._taken_back, self._unit)
        self._commit.contents = list(self._contents.values())
        for content in self._commit.contents:
            taking = self._commit.takings.get(content.file_id)
            if taking is not None:
                content.tally.add(taking)
                self.totals.add_tally(taking)
        self._known.close_batch(self._commit)
        batch_id = self._landing.commit(self._unit, self._commit)
        if batch_id is not None:
            self.batch_ids.append(batch_id)
        self._found = {file_id: _progress_of(content) for file_id, content in self._contents.items()}

    def finish(self) -> None:
        """Write what is left."""
        self._finish_part()
        if self._contents or self._commit.paths:
            self._commit_batch()


def _progress_of(content: Content) -> tuple[object, ...]:
    """How far a content was taken in."""
    return content.framed_bytes, content.framed_digest, content.held_bytes, *content.tally.values()


_LINE_BITS = 40
_NONE = np.zeros(0, np.int64)


def _places_of(lines: pa.Table) -> np.ndarray:
    """One number per line: its file and its line number."""
    return _placed_at(lines["file_id"].to_numpy(), lines["line_number"].to_numpy())


def _placed_at(file_ids: np.ndarray, line_numbers: np.ndarray) -> np.ndarray:
    return (np.asarray(file_ids, np.int64) << _LINE_BITS) | np.asarray(line_numbers, np.int64)


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
