"""CSV reference files as records with their bytes, line and offset, and as Arrow columns of text.

Records are cut here (a quoted value may hold line ends), fields by pyarrow. A record that is not well formed is
given back with its bytes; a file whose header is unusable raises UnreadableFileError.
"""

import csv as plain_csv
import io
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from pyarrow import csv

from log_ingest.errors import UnreadableFileError
from log_ingest.framing import is_utf8

MAX_RECORD_BYTES = 64 * 1024 * 1024
INPUT = "in_"
"""Prefix of the file's own columns in a block: no header can clash with ours."""

_DELIMITERS = ",;\t|"
_LF, _CR, _QUOTE = 10, 13, 34
_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class BadRecord:
    """A record that cannot be read as a row: where it starts, its bytes (line end excluded), why."""

    line_number: int
    byte_offset: int
    raw: bytes
    reason: str
    detail: str


@dataclass
class RecordBlock:
    """Some MB of records. table: one text column per header name, each behind the prefix INPUT, plus line_number and
    byte_offset (int64).
    """

    table: pa.Table
    data: bytes
    starts: dict[int, tuple[int, int]]
    """Byte offset in the file to start and end in data, of the records in table."""
    bad: list[BadRecord] = field(default_factory=list)
    blank: int = 0
    records: int = 0


def read_records(chunks: Iterable[bytes], name: str) -> Iterator[RecordBlock]:
    """Blocks of records of one CSV file, the header taken off."""
    cutter = _Cutter(name)
    header: list[str] | None = None
    offset, line = 0, 1
    for data in cutter.whole_records(chunks):
        start = 0
        if header is None:
            ends = cutter.record_ends(data)
            start = int(ends[0]) + 1 if len(ends) else len(data)
            first = data[:start].removeprefix(_BOM)
            if not is_utf8(first):
                raise UnreadableFileError(f"{name}: the header is not UTF-8; nothing of it was taken")
            header = _header(first, cutter.delimiter, name)
        block = _block(data, start, offset, line, header, cutter)
        if block.records or block.blank:
            yield block
        offset += len(data)
        line += len(_line_ends(np.frombuffer(data, np.uint8)))
    if header is None:
        raise UnreadableFileError(f"{name}: an empty file, not even a header; nothing of it was taken")


class _Cutter:
    """Cuts bytes behind whole records. The delimiter is guessed from the first line, outside quotes."""

    def __init__(self, name: str) -> None:
        self.delimiter = ","
        self._name = name

    def whole_records(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        rest = b""
        is_first = True
        for chunk in chunks:
            data = rest + chunk if rest else chunk
            if is_first:
                header = re.split(rb"[\r\n]", data, maxsplit=1)[0].decode("utf-8", "replace")
                self.delimiter = max(_DELIMITERS, key=re.sub('"[^"]*"', "", header).count)
                is_first = False
            # A final CR may be half of a CRLF, so it waits.
            ends = self.record_ends(data[:-1] if data.endswith(b"\r") else data)
            cut = int(ends[-1]) + 1 if len(ends) else 0
            if cut:
                yield data[:cut]
            rest = data[cut:]
            if len(rest) > MAX_RECORD_BYTES:
                raise UnreadableFileError(
                    f"{self._name}: a quoted value is not closed within 64 MiB; nothing of it was taken"
                )
        while rest:
            ends = self.record_ends(rest)
            if len(self.quotes(rest)) % 2:
                # A quote was opened and never closed: its line is a record of its own, and the rest starts anew.
                start = int(ends[-1]) + 1 if len(ends) else 0
                lines = _line_ends(np.frombuffer(rest, np.uint8)[start:])
                cut = start + int(lines[0]) + 1 if len(lines) else len(rest)
            else:
                cut = len(rest)
            yield rest[:cut]
            rest = rest[cut:]

    def record_ends(self, data: bytes) -> np.ndarray:
        """Positions of the line ends that end a record: those outside quotes."""
        ends = _line_ends(np.frombuffer(data, np.uint8))
        quotes = self.quotes(data)
        return ends[np.searchsorted(quotes, ends) % 2 == 0] if len(quotes) else ends

    def quotes(self, data: bytes) -> np.ndarray:
        """Positions of the quotes that open and close values, by turns; two side by side inside a value do both.

        data: from the beginning of a record. What opens stands behind a delimiter or a line end, what closes before
        one. Any other quote is text (5" tab).
        """
        view = np.frombuffer(data, np.uint8)
        quotes = np.flatnonzero(view == _QUOTE)
        if len(quotes) == 0:
            return quotes
        is_edge = np.isin(view, [ord(self.delimiter), _LF, _CR])
        first = len(_BOM) if data.startswith(_BOM) else 0
        opens = (quotes == first) | (is_edge[np.maximum(quotes - 1, 0)] & (quotes > 0))
        closes = (quotes == len(view) - 1) | is_edge[np.minimum(quotes + 1, len(view) - 1)]
        follows = np.append(False, np.diff(quotes) == 1)
        closes |= np.append(follows[1:], False)
        can_turn = opens | closes | follows
        quotes, opens, closes, follows = quotes[can_turn], opens[can_turn], closes[can_turn], follows[can_turn]
        if (opens | follows)[::2].all() and closes[1::2].all():
            return quotes
        return quotes[_turns(quotes, opens, closes)]


def _turns(quotes: np.ndarray, opens: np.ndarray, closes: np.ndarray) -> list[int]:
    """Places of the quotes that open and close values, where some only look like it: asked one after the other."""
    found: list[int] = []
    is_open, closed_at = False, -2
    for place, (at, can_open, can_close) in enumerate(
        zip(quotes.tolist(), opens.tolist(), closes.tolist(), strict=True)
    ):
        # Two side by side inside a value: the first seems to close it, the second goes on.
        if can_close if is_open else can_open or at == closed_at + 1:
            closed_at = at if is_open else closed_at
            is_open = not is_open
            found.append(place)
    return found


def _line_ends(view: np.ndarray) -> np.ndarray:
    """LF, and CR where no LF follows."""
    is_end = view == _LF
    is_cr = view == _CR
    if is_cr.any():
        is_cr[:-1] &= view[1:] != _LF
        is_end |= is_cr
    return np.flatnonzero(is_end)


def _header(first: bytes, delimiter: str, name: str) -> list[str]:
    table = (
        csv.read_csv(io.BytesIO(first.rstrip(b"\r\n") + b"\n"), parse_options=csv.ParseOptions(delimiter=delimiter))
        if first.strip()
        else None
    )
    names = [column.strip().lower() for column in table.column_names] if table is not None else []
    if not names or "" in names or len(set(names)) < len(names):
        raise UnreadableFileError(f"{name}: the header has empty or repeated names; nothing of it was taken")
    return names


def _block(data: bytes, start: int, offset: int, line: int, header: list[str], cutter: _Cutter) -> RecordBlock:
    ends = cutter.record_ends(data)
    ends = ends[ends >= start]
    if len(data) > start and (not len(ends) or ends[-1] != len(data) - 1):
        ends = np.append(ends, len(data))
    starts = np.concatenate(([start], ends[:-1] + 1)) if len(ends) else np.zeros(0, np.int64)
    lines = line + np.searchsorted(_line_ends(np.frombuffer(data, np.uint8)), starts)
    contents = [data[a:b].removesuffix(b"\n").removesuffix(b"\r") for a, b in zip(starts, ends, strict=True)]
    blank = {index for index, content in enumerate(contents) if not content}
    bad: dict[int, tuple[str, str]] = {}
    if not is_utf8(data):
        bad |= {i: ("invalid_utf8", "not valid UTF-8") for i, content in enumerate(contents) if not is_utf8(content)}
    if contents and len(cutter.quotes(contents[-1])) % 2:
        # Only the last record of what was cut can have an open quote.
        bad[len(contents) - 1] = ("open_quote", "a quoted value is not closed before the file ends")
    good = [index for index in range(len(contents)) if index not in blank and index not in bad]

    columns = [INPUT + column for column in header]
    table, wrong = _rows([contents[index] for index in good], columns, cutter.delimiter)
    bad |= {good[place]: why for place, why in wrong.items()}
    kept = [index for index in good if index not in bad]
    table = table.append_column("line_number", pa.array(lines[kept], pa.int64()))
    table = table.append_column("byte_offset", pa.array(offset + starts[kept], pa.int64()))
    return RecordBlock(
        table=table,
        data=data,
        starts={int(offset + starts[i]): (int(starts[i]), int(starts[i]) + len(contents[i])) for i in kept},
        bad=[BadRecord(int(lines[i]), int(offset + starts[i]), contents[i], *why) for i, why in sorted(bad.items())],
        blank=len(blank),
        records=len(contents) - len(blank),
    )


def _rows(records: list[bytes], columns: list[str], delimiter: str) -> tuple[pa.Table, dict[int, tuple[str, str]]]:
    """The records as text columns, and those that are not one row of the right width: place to reason and detail."""
    wrong: dict[int, tuple[str, str]] = {}

    def skip(row: csv.InvalidRow) -> str:
        wrong[row.number - 1] = ("field_count", f"has {row.actual_columns} fields, needs {row.expected_columns}")
        return "skip"

    if not records:
        return pa.table({column: pa.array([], pa.string()) for column in columns}), wrong
    try:
        table = csv.read_csv(
            io.BytesIO(b"\n".join(records) + b"\n"),
            read_options=csv.ReadOptions(use_threads=False, column_names=columns, block_size=2**31 - 1),
            parse_options=csv.ParseOptions(
                delimiter=delimiter, newlines_in_values=True, ignore_empty_lines=False, invalid_row_handler=skip
            ),
            convert_options=csv.ConvertOptions(
                column_types={column: pa.string() for column in columns}, strings_can_be_null=False
            ),
        )
        if table.num_rows + len(wrong) == len(records):
            return table, wrong
    except pa.ArrowInvalid:
        pass
    # Somewhere a quote makes the reader see other records than were cut: find out which, one by one.
    wrong.clear()
    rows: list[list[str]] = []
    for place, record in enumerate(records):
        try:
            parsed = list(plain_csv.reader(io.StringIO(record.decode(), newline=""), delimiter=delimiter, strict=True))
        except plain_csv.Error as error:
            wrong[place] = ("bad_quoting", str(error))
            continue
        if len(parsed) == 1 and len(parsed[0]) == len(columns):
            rows.append(parsed[0])
        else:
            wrong[place] = ("field_count", f"does not have {len(columns)} fields")
    by_column = zip(*rows, strict=True) if rows else [[] for _ in columns]
    return pa.table(
        {name: pa.array(list(values), pa.string()) for name, values in zip(columns, by_column, strict=True)}
    ), wrong
