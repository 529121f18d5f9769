"""CSV reference files as records with their bytes, line and offset, and as Arrow columns of text.

Records are cut here (a quoted value may hold line ends), fields by pyarrow. A record that is not well formed is
given back with its bytes; a file whose header is unusable raises UnreadableFileError.
"""

import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from pyarrow import csv

from log_ingest.errors import UnreadableFileError
from log_ingest.framing import is_utf8

MAX_RECORD_BYTES = 64 * 1024 * 1024
_DELIMITERS = ",;\t|"
_LF, _QUOTE = 10, 34


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
    """Some MB of records. table: one text column per header name plus line_number and byte_offset (int64)."""

    table: pa.Table
    data: bytes
    starts: dict[int, tuple[int, int]]
    """Byte offset in the file to start and end in data, of the records in table."""
    bad: list[BadRecord] = field(default_factory=list)
    blank: int = 0
    records: int = 0


def read_records(chunks: Iterable[bytes], name: str) -> Iterator[RecordBlock]:
    """Blocks of records of one CSV file, the header taken off."""
    header: list[str] | None = None
    delimiter = ","
    offset, line = 0, 1
    for data in _whole_records(chunks, name):
        start = 0
        if header is None:
            start = _first_end(data)
            first = data[:start].removeprefix(b"\xef\xbb\xbf")
            if not is_utf8(first):
                raise UnreadableFileError(f"{name}: the header is not UTF-8; nothing of it was taken")
            delimiter = max(_DELIMITERS, key=first.decode().count)
            header = _header(first, delimiter, name)
        block = _block(data, start, offset, line, header, delimiter, name)
        if block.records or block.blank:
            yield block
        offset += len(data)
        line += data.count(b"\n")
    if header is None:
        raise UnreadableFileError(f"{name}: an empty file, not even a header; nothing of it was taken")


def _whole_records(chunks: Iterable[bytes], name: str) -> Iterator[bytes]:
    rest = b""
    for chunk in chunks:
        data = rest + chunk if rest else chunk
        ends = _record_ends(data)
        cut = int(ends[-1]) + 1 if len(ends) else 0
        if cut:
            yield data[:cut]
        rest = data[cut:]
        if len(rest) > MAX_RECORD_BYTES:
            raise UnreadableFileError(f"{name}: a quoted value is not closed within 64 MiB; nothing of it was taken")
    if rest:
        yield rest


def _record_ends(data: bytes) -> np.ndarray:
    view = np.frombuffer(data, np.uint8)
    ends = np.flatnonzero(view == _LF)
    quotes = np.flatnonzero(view == _QUOTE)
    if len(quotes):
        ends = ends[np.searchsorted(quotes, ends) % 2 == 0]
    return ends


def _first_end(data: bytes) -> int:
    ends = _record_ends(data)
    return int(ends[0]) + 1 if len(ends) else len(data)


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


def _block(
    data: bytes, start: int, offset: int, line: int, header: list[str], delimiter: str, name: str
) -> RecordBlock:
    ends = _record_ends(data)
    ends = ends[ends >= start]
    if len(data) > start and (not len(ends) or ends[-1] != len(data) - 1):
        ends = np.append(ends, len(data))
    starts = np.concatenate(([start], ends[:-1] + 1)) if len(ends) else np.zeros(0, np.int64)
    newlines = np.flatnonzero(np.frombuffer(data, np.uint8) == _LF)
    lines = line + np.searchsorted(newlines, starts)
    contents = [data[a:b].removesuffix(b"\r") for a, b in zip(starts, ends, strict=True)]
    blank = {index for index, content in enumerate(contents) if not content}
    bad: dict[int, tuple[str, str]] = {}
    if not is_utf8(data):
        bad |= {i: ("invalid_utf8", "not valid UTF-8") for i, content in enumerate(contents) if not is_utf8(content)}
    if contents and contents[-1].count(b'"') % 2:
        # Only what follows the last record end can have an open quote.
        bad[len(contents) - 1] = ("open_quote", "a quoted value is not closed before the file ends")
    good = [index for index in range(len(contents)) if index not in blank and index not in bad]

    def skip(row: csv.InvalidRow) -> str:
        skipped.append(row)
        return "skip"

    skipped: list[csv.InvalidRow] = []
    table = pa.table({column: pa.array([], pa.string()) for column in header})
    if good:
        try:
            table = csv.read_csv(
                io.BytesIO(b"\n".join(contents[index] for index in good) + b"\n"),
                read_options=csv.ReadOptions(use_threads=False, column_names=header, block_size=2**31 - 1),
                parse_options=csv.ParseOptions(
                    delimiter=delimiter,
                    newlines_in_values=True,
                    ignore_empty_lines=False,
                    invalid_row_handler=skip,
                ),
                convert_options=csv.ConvertOptions(
                    column_types={column: pa.string() for column in header}, strings_can_be_null=False
                ),
            )
        except pa.ArrowInvalid as error:
            raise UnreadableFileError(f"{name}: {str(error).splitlines()[0]}; nothing of it was taken") from error
    for row in skipped:
        bad[good[row.number - 1]] = (
            "field_count",
            f"has {row.actual_columns} fields, needs {row.expected_columns}",
        )
    kept = [index for index in good if index not in bad]
    if len(kept) != table.num_rows:
        raise UnreadableFileError(f"{name}: its quoting is not consistent; nothing of it was taken")
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
