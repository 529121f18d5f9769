"""Which lines were seen before, whatever file they came in, and which pointers of a server were.

Belongs here: the comparison of a part with earlier ones, only where they can overlap; runs of pointers. In a shared
ledger others commit batches meanwhile: a batch is compared with those once more before it is committed.
Does not: what makes two lines the same (the format's identity), files (identify).
"""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa

from log_ingest.formats.line_format import LineFormat
from log_ingest.landing import Landing, Unit
from log_ingest.ledger import Commit, Ledger
from log_ingest.pointers import PointerIndex, PointerRun, runs_of
from log_ingest.raw_lines import line_sql
from log_ingest.sqltext import literal

EVERYWHERE = ""
"""The scope of lines that carry no server and pointer: any two of the source may be the same."""


@dataclass
class Repeats:
    """What was taken out of a part: rows, and the lines (file_id, line_number) of which no row is left."""

    row_count: int = 0
    lines: list[tuple[int, int]] = field(default_factory=list)


@dataclass
class Overtaken:
    """What others have landed while a batch was made, and was taken out of it. rows: how many; lines: those of which no
    row is left, as rows (file_id, source_file, line_number, byte_offset, terminator, text), text NULL where it is not
    kept.
    """

    rows: int = 0
    lines: list[tuple[int, str, int, int, str, str | None]] = field(default_factory=list)


class KnownLines:
    """The lines of one source, landed or in the batch at hand. Call begin for each batch; drop_repeats, then note, for
    each part; drop_overtaken and close_batch at the end of the batch.
    """

    def __init__(self, source: str, line_format: LineFormat, landing: Landing, ledger: Ledger) -> None:
        self._source, self._format = source, line_format
        self._landing, self._ledger, self._con = landing, ledger, landing.con
        self._pointers: dict[str, PointerIndex] = {}
        self._extents: dict[str, tuple[int, int]] = {}
        self._runs: dict[str, list[PointerRun]] = {}
        self.begin()

    def begin(self) -> None:
        """A batch begins: what others have committed by now is known to it."""
        self._batch_runs: dict[str, list[PointerRun]] = {}
        if self._ledger.is_shared:
            self._compared_through = self._ledger.last_batch_id()
            self._pointers = {}

    def drop_repeats(self, unit: Unit, path: Path) -> Repeats:
        """Take out of a part the lines that came before: in it, in this batch or in any landed part."""
        part = f"read_parquet({literal(str(path))})"
        self._runs = {}
        if self._format.has_pointers:
            self._extents, suspects = self._by_pointer(part)
            if not len(suspects):
                return Repeats()
            self._con.register("suspects", suspects)
            repeats = self._rewritten(
                unit, path, self._earlier_parts(unit), "(server, pointer) in (select (server, pointer) from suspects)"
            )
            self._con.unregister("suspects")
            return repeats
        first, last, rows, distinct = self._con.execute(
            f"select epoch_us(min(occurred_at)), epoch_us(max(occurred_at)), count(*),"
            f" count(distinct {self._format.identity}) from {part}"
        ).fetchall()[0]
        self._extents = {EVERYWHERE: (first, last)}
        earlier = self._earlier_parts(unit)
        if distinct == rows and not earlier:
            return Repeats()
        return self._rewritten(unit, path, earlier, f"epoch_us(occurred_at) between {first} and {last}")

    def note(self, path: Path | None, refused_pointers: Mapping[str, list[int]], commit: Commit) -> None:
        """Remember the part that was just written (None: no row) and the pointers of lines that were refused."""
        runs = {server: list(of_server) for server, of_server in self._runs.items()}
        for server, pointers in refused_pointers.items():
            # A line that came but was refused is not missing.
            array = np.array(sorted(pointers), np.int64)
            runs.setdefault(server, []).extend(runs_of(array, np.full(len(array), "NaT", "datetime64[us]")))
        extents = dict(self._extents) if path is not None else {}
        for server, of_server in runs.items():
            self._index(server).add(of_server)
            if self._ledger.is_shared:
                self._batch_runs.setdefault(server, []).extend(of_server)
            extents[server] = min(run.first for run in of_server), max(run.last for run in of_server)
        for scope, (first, last) in extents.items():
            low, high = commit.extents.get(scope, (first, last))
            commit.extents[scope] = min(first, low), max(last, high)
        self._extents, self._runs = {}, {}

    def drop_overtaken(self, unit: Unit, commit: Commit) -> Overtaken:
        """Take out of the batch's parts what others have landed since it began, or since the last call."""
        found, through = Overtaken(), self._compared_through
        self._compared_through = self._ledger.last_batch_id()
        if self._compared_through == through:
            return found
        paths: set[str] = set()
        for scope, (first, last) in commit.extents.items():
            paths.update(self._ledger.parts_within(self._source, scope, first, last, after=through))
        # The pointers that others have seen, without those of this batch.
        self._pointers = {}
        later = [str(self._landing.root / path) for path in sorted(paths)]
        for place in reversed(range(len(unit.parts) if later else 0)):
            if unit.parts[place][0] == self._source:
                self._drop_from(unit, place, later, commit, found)
        self._runs = {}
        return found

    def _drop_from(self, unit: Unit, place: int, later: list[str], commit: Commit, found: Overtaken) -> None:
        source, part = unit.parts[place]
        path = unit.folder / source / part.path
        if self._format.has_pointers:
            _, suspects = self._by_pointer(f"read_parquet({literal(str(path))})")
            self._con.register("suspects", suspects)
            is_suspect = "(server, pointer) in (select (server, pointer) from suspects)"
        else:
            first, last = commit.extents[EVERYWHERE]
            is_suspect = f"epoch_us(occurred_at) between {first} and {last}"
        before = path.with_suffix(".before")
        shutil.copyfile(path, before)
        repeats = self._rewritten(unit, path, later, is_suspect)
        if repeats.row_count:
            found.rows += repeats.row_count
            found.lines += self._lines_in(before, repeats.lines)
            unit.renew(place, part.row_count - repeats.row_count)
        before.unlink()
        if self._format.has_pointers:
            self._con.unregister("suspects")

    def _lines_in(self, path: Path, wanted: list[tuple[int, int]]) -> list[tuple]:
        """These lines (file_id, line_number) of a part, as Overtaken has them."""
        self._con.execute("create or replace temp table wanted_lines (file_id bigint, line_number bigint)")
        self._con.execute(
            "insert into wanted_lines select unnest(?::bigint[]), unnest(?::bigint[])",
            [[file_id for file_id, _ in wanted], [line_number for _, line_number in wanted]],
        )
        return self._con.execute(
            "select file_id, any_value(source_file), line_number, any_value(byte_offset), any_value(terminator),"
            f" any_value({line_sql(self._source)}) from read_parquet({literal(str(path))})"
            " semi join wanted_lines using (file_id, line_number) group by file_id, line_number order by 1, 3"
        ).fetchall()

    def close_batch(self, commit: Commit) -> None:
        """Give the batch the merged runs that its pointers have altered."""
        if not self._format.has_pointers:
            return
        if self._ledger.is_shared:
            self._pointers = {}
            for server, runs in self._batch_runs.items():
                self._index(server).add(runs)
        for server, (first, last) in commit.extents.items():
            commit.pointer_runs[server] = self._index(server).around(first, last)

    def _by_pointer(self, part: str) -> tuple[dict[str, tuple[int, int]], pa.Table]:
        """What a part may have in common with others (server to first and last pointer), and the lines that may be
        repeats (server, pointer): their pointer was seen before, or comes twice.
        """
        extents: dict[str, tuple[int, int]] = {}
        suspects = [pa.table({"server": pa.array([], pa.string()), "pointer": pa.array([], pa.int64())})]
        for (server,) in self._con.execute(f"select distinct server from {part} order by 1").fetchall():
            columns = self._con.execute(
                f"select pointer, occurred_at from {part} where server = ?", [server]
            ).fetchnumpy()
            pointers = np.asarray(columns["pointer"], np.int64)
            times = np.asarray(columns["occurred_at"], "datetime64[us]")
            self._runs[server] = runs_of(pointers, times)
            found = pointers[self._index(server).seen(pointers)]
            if not np.all(pointers[1:] > pointers[:-1]):
                values, counts = np.unique(pointers, return_counts=True)
                found = np.union1d(found, values[counts > 1])
            if len(found):
                extents[server] = int(found.min()), int(found.max())
                suspects.append(pa.table({"server": pa.repeat(server, len(found)), "pointer": found}))
        return extents, pa.concat_tables(suspects)

    def _earlier_parts(self, unit: Unit) -> list[str]:
        """Parts that may hold lines of the extents: landed ones and those of this batch."""
        found: set[str] = set()
        for scope, (first, last) in self._extents.items():
            found.update(self._ledger.parts_within(self._source, scope, first, last))
        if not self._extents:
            return []
        files = [str(self._landing.root / path) for path in sorted(found)]
        return files + [str(unit.folder / name / part.path) for name, part in unit.parts if name == self._source]

    def _rewritten(self, unit: Unit, path: Path, earlier: list[str], is_suspect: str) -> Repeats:
        """Write the part anew without its repeats. is_suspect: SQL that is true for any line that may be one."""
        con, identity = self._con, self._format.identity
        part = f"read_parquet({literal(str(path))}, file_row_number = true)"
        known = "select '' where false"
        if earlier:
            known = f"select {identity} from read_parquet([{', '.join(map(literal, earlier))}]) where {is_suspect}"
        con.execute(
            "create or replace temp table repeats as"
            " select file_id, line_number, place from ("
            f" select file_id, line_number, {identity} as identity, file_row_number as place,"
            f" row_number() over (partition by {identity} order by file_row_number) as occurrence"
            f" from {part} where {is_suspect}"
            f") where occurrence > 1 or identity in ({known})"
        )
        repeats = Repeats(con.execute("select count(*) from repeats").fetchall()[0][0])
        if repeats.row_count:
            draft = path.with_suffix(".draft")
            kept = f"select * from {part} where file_row_number not in (select place from repeats)"
            if not self._format.gives_one_row:
                kept = _with_lines(kept, part)
            unit.copy(f"select * exclude (file_row_number) from ({kept})", draft)
            draft.rename(path)
            repeats.lines = con.execute(
                "select distinct file_id, line_number from repeats where (file_id, line_number) not in"
                f" (select (file_id, line_number) from read_parquet({literal(str(path))})) order by 1, 2"
            ).fetchall()
        con.execute("drop table repeats")
        return repeats

    def _index(self, server: str) -> PointerIndex:
        if server not in self._pointers:
            self._pointers[server] = PointerIndex(self._ledger.pointer_runs(server))
        return self._pointers[server]


def _with_lines(kept: str, part: str) -> str:
    """The rows kept of a part, where the text of a line stands on the first row of it that is left."""
    return f"""
    select kept.* replace (
        case when row_number() over (partition by file_id, line_number order by file_row_number) = 1
            then texts.line end as line
    )
    from ({kept}) as kept
    left join (select file_id, line_number, line from {part} where line is not null) as texts
        using (file_id, line_number)
    order by file_row_number
    """
