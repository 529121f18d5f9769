"""Cutting bytes into lines, all of them, with line number and byte offset.

Belongs here: line ends, blank lines, over-long lines, what makes bytes unfit to be parsed as text.
Does not: fields (formats). Work is per block of some MB in numpy; no Python per line.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa

MAX_LINE_BYTES: Final = 1024 * 1024
TERMINATORS: Final = ("", "\n", "\r\n", "\r")
"""Index = the code in Block.terminators."""

_LF, _CR, _TAB, _DEL = 10, 13, 9, 127


@dataclass(frozen=True)
class Block:
    """Whole lines of one file. All arrays have one entry a line.

    data: the bytes that the lines are cut from. starts / ends: positions in data, terminator excluded.
    offset: of data[0] in the decompressed file. first_line: number of the first line (from 1).
    is_piece: data is a part of one line over MAX_LINE_BYTES; only its first piece counts as a line.
    """

    data: bytes
    starts: np.ndarray
    ends: np.ndarray
    terminators: np.ndarray
    offset: int
    first_line: int
    is_piece: bool = False
    is_first_piece: bool = True

    def __len__(self) -> int:
        return len(self.starts)

    def raw(self, index: int) -> bytes:
        """The bytes of one line, terminator excluded."""
        return self.data[self.starts[index] : self.ends[index]]


@dataclass(frozen=True)
class Lines:
    """Lines over one buffer, one entry each, ascending. starts / ends: positions in data, terminator excluded."""

    data: bytes
    starts: np.ndarray
    ends: np.ndarray

    def __len__(self) -> int:
        return len(self.starts)

    def part(self, begin: int, end: int) -> "Lines":
        return Lines(self.data, self.starts[begin:end], self.ends[begin:end])


class Framer:
    """Cuts a stream of bytes, which starts at a line start, into blocks of whole lines.

    Iterate over it once. What follows the last line end is not yielded but left in `held`, unless is_sealed: then
    it comes as a line with no terminator. A line that outgrows MAX_LINE_BYTES comes as pieces, so that memory
    stays bounded.
    """

    def __init__(self, chunks: Iterable[bytes], offset: int, first_line: int, *, is_sealed: bool) -> None:
        self.held = b""
        self._chunks = chunks
        self._offset = offset
        self._line = first_line
        self._is_sealed = is_sealed
        self._in_piece = False

    def __iter__(self) -> Iterator[Block]:
        rest = b""
        for chunk in self._chunks:
            if cut := _last_line_end(chunk):
                yield from self._lines(b"".join((rest, memoryview(chunk)[:cut])))
                rest = chunk[cut:]
                continue
            # Only now is known whether a CR at the end of the rest was a line end of its own.
            data = rest + chunk
            if cut := _last_line_end(data):
                yield from self._lines(data[:cut])
                rest = data[cut:]
            elif len(data) <= MAX_LINE_BYTES:
                rest = data
            else:
                # A final CR may be half of a CRLF: it stays for the next chunk.
                end = len(data) - data.endswith(b"\r")
                yield self._piece(data[:end], 0)
                rest = data[end:]
        if rest and self._is_sealed:
            code = 3 if rest.endswith(b"\r") else 0
            end = len(rest) - len(TERMINATORS[code])
            if self._in_piece:
                yield self._piece(rest[:end], code)
            else:
                ends = np.array([end])
                yield Block(rest, np.zeros_like(ends), ends, np.array([code], np.int8), self._offset, self._line)
            rest = b""
        self.held = rest

    def _lines(self, data: bytes) -> Iterator[Block]:
        block = cut_lines(data, self._offset, self._line)
        if self._in_piece:
            end, code = int(block.ends[0]), int(block.terminators[0])
            yield self._piece(data[:end], code)
            data = data[end + len(TERMINATORS[code]) :]
            if not data:
                return
            block = cut_lines(data, self._offset, self._line)
        self._offset += len(data)
        self._line += len(block)
        yield block

    def _piece(self, data: bytes, code: int) -> Block:
        ends = np.array([len(data)])
        block = Block(
            data + TERMINATORS[code].encode(),
            np.zeros_like(ends),
            ends,
            np.array([code], np.int8),
            self._offset,
            self._line,
            is_piece=True,
            is_first_piece=not self._in_piece,
        )
        self._offset += len(block.data)
        self._in_piece = code == 0
        if code:
            self._line += 1
        return block


def cut_lines(data: bytes, offset: int, first_line: int) -> Block:
    """The lines of data, which ends with a line end. LF, CRLF and lone CR each end a line."""
    view = np.frombuffer(data, np.uint8)
    if data.find(b"\r") < 0:
        ends = np.flatnonzero(view == _LF)
        after = ends + 1
        terminators = np.ones(len(ends), np.int8)
    else:
        is_end = (view == _LF) | (view == _CR)
        # The CR of a CRLF is not an end of its own.
        is_end[:-1] &= ~((view[:-1] == _CR) & (view[1:] == _LF))
        last = np.flatnonzero(is_end)
        is_lone_cr = view[last] == _CR
        is_crlf = ~is_lone_cr & (last > 0) & (view[np.maximum(last - 1, 0)] == _CR)
        ends = last - is_crlf
        after = last + 1
        terminators = np.where(is_lone_cr, 3, np.where(is_crlf, 2, 1)).astype(np.int8)
    starts = np.empty_like(ends)
    starts[:1] = 0
    starts[1:] = after[:-1]
    return Block(data, starts, ends, terminators, offset, first_line)


def unfit(block: Block) -> dict[int, str]:
    """Lines that cannot be text of a log, by index: blank, over-long, control characters, invalid UTF-8."""
    if block.is_piece:
        return {0: "line_too_long" if block.is_first_piece else "continued"}
    found: dict[int, str] = {}
    lengths = block.ends - block.starts
    for index in np.flatnonzero(lengths > MAX_LINE_BYTES):
        found[int(index)] = "line_too_long"
    view = np.frombuffer(block.data, np.uint8)
    if not block.data.isascii() and not is_utf8(block.data):
        for index in np.unique(_lines_at(block, np.flatnonzero(view > _DEL))):
            if not is_utf8(block.raw(index)):
                found[int(index)] = "invalid_utf8"
    expected = sum(int(np.count_nonzero(view == byte)) for byte in (_LF, _CR, _TAB))
    if np.count_nonzero(view < 32) != expected or block.data.find(b"\x7f") >= 0:
        is_control = (view < 32) & (view != _LF) & (view != _CR) & (view != _TAB) | (view == _DEL)
        for index in np.unique(_lines_at(block, np.flatnonzero(is_control))):
            found.setdefault(int(index), "control_character")
    for index in np.flatnonzero(lengths == 0):
        found[int(index)] = "blank"
    return found


def text_array(lines: Lines) -> pa.Array:
    """The lines as an Arrow string_view array over their own buffer (no copy).

    Lines of 12 bytes or fewer are stored inline by that layout.
    """
    lengths = lines.ends - lines.starts
    views = np.zeros((len(lines), 4), np.int32)
    views[:, 0] = lengths
    views[:, 3] = lines.starts
    data = np.frombuffer(lines.data, np.uint8)
    is_long = lengths > 12
    views[is_long, 1] = data[lines.starts[is_long][:, None] + np.arange(4)].view(np.int32)[:, 0]
    for row in np.flatnonzero(~is_long):
        line = lines.data[lines.starts[row] : lines.ends[row]]
        views[row, 1:] = np.frombuffer(line.ljust(12, b"\0"), np.int32)
    return pa.Array.from_buffers(pa.string_view(), len(lines), [None, pa.py_buffer(views), pa.py_buffer(lines.data)])


def is_utf8(data: bytes) -> bool:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _last_line_end(data: bytes) -> int:
    """The length of the part of data that is whole lines. A final CR may be half of a CRLF, so it waits."""
    return max(data.rfind(b"\n"), data.rfind(b"\r", 0, len(data) - 1)) + 1


def _lines_at(block: Block, positions: np.ndarray) -> np.ndarray:
    return np.searchsorted(block.starts, positions, side="right") - 1
