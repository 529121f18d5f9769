"""A Parquet file made of another one: row groups are left out, those of a second file are added, none is encoded anew.

Belongs here: the footer of a Parquet file as it lies on disk, as much as leaving out and adding takes. Does not: which
rows changed (row_changes), or when it is worth it (published_tables).

Source: https://github.com/apache/parquet-format (parquet.thrift). Its structs are written in Thrift's compact protocol
(https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md). What is not looked at here is kept
as it is, fields of later versions among it.
"""

import os
import shutil
import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from log_ingest.landed_places import digest

_MAGIC = b"PAR1"
_TRUE, _FALSE, _BYTE, _DOUBLE, _BINARY, _LIST, _SET, _STRUCT = 1, 2, 3, 7, 8, 9, 10, 12
_INTEGERS = (4, 5, 6)

Struct = dict[int, tuple[int, Any]]
"""Fields by their number: type, and value. A list is a pair, the type of its elements and these."""

_SCHEMA, _NUM_ROWS, _ROW_GROUPS, _KEY_VALUES, _COLUMN_ORDERS = 2, 3, 4, 5, 7
_COLUMNS, _GROUP_ROWS, _GROUP_OFFSET, _GROUP_COMPRESSED, _ORDINAL = 1, 3, 5, 6, 7
_META_DATA = 3
_OFFSETS_OF_CHUNK = (2, 4, 6)
"""file_offset, offset_index_offset, column_index_offset"""
_OFFSETS_OF_META_DATA = (9, 10, 11, 14)
"""data_page_offset, index_page_offset, dictionary_page_offset, bloom_filter_offset"""


class NotAlike(Exception):
    """The two files have other columns, or one cannot be read this way: their rows cannot share a file."""


@dataclass
class Footer:
    """What a Parquet file says of itself, and where in the file that begins."""

    fields: Struct
    begins_at: int

    @classmethod
    def of(cls, path: Path) -> "Footer":
        """Raises NotAlike where the file does not end as a Parquet file does, OSError."""
        with path.open("rb") as stream:
            size = stream.seek(0, os.SEEK_END)
            stream.seek(max(size - 8, 0))
            length, magic = struct.unpack("<I4s", stream.read(8).rjust(8, b"\0"))
            begins_at = size - 8 - length
            if magic != _MAGIC or begins_at < len(_MAGIC):
                raise NotAlike(f"{path.name} is no Parquet file that could be read as one")
            stream.seek(begins_at)
            return cls._read(path.name, stream.read(length), begins_at)

    @classmethod
    def _read(cls, name: str, data: bytes, begins_at: int) -> "Footer":
        try:
            found = cls(_Reader(data).struct(), begins_at)
            is_sound = bool(found.columns) and found.live_share >= 0 and all(rows >= 0 for rows in found.rows_of_groups)
        except (KeyError, TypeError, ValueError, IndexError, RecursionError) as error:  # bits that rotted say anything
            raise NotAlike(f"the footer of {name} says nothing that a footer says") from error
        if not is_sound:
            raise NotAlike(f"the footer of {name} cannot be true")
        return found

    @property
    def row_groups(self) -> list[Struct]:
        """One for each row group, in the file's order."""
        return list(self.fields[_ROW_GROUPS][1][1])

    @property
    def rows_of_groups(self) -> list[int]:
        """Rows of each."""
        return [group[_GROUP_ROWS][1] for group in self.row_groups]

    @property
    def live_share(self) -> float:
        """Of the file's bytes, those that belong to a row group."""
        live = sum(group[_GROUP_COMPRESSED][1] for group in self.row_groups if _GROUP_COMPRESSED in group)
        return live / max(self.begins_at - len(_MAGIC), 1)

    @property
    def columns(self) -> tuple[Any, ...]:
        """Names, types and order of values."""
        return self.fields[_SCHEMA], self.fields.get(_COLUMN_ORDERS)


def splice(
    base: Path,
    digest_of_base: str,
    left_out: Iterable[int],
    more: Path | None,
    target: Path,
    metadata: Mapping[str, str],
) -> None:
    """Write `target`: base without some of its row groups, and with those of `more` after them.

    digest_of_base: when it was written. left_out: numbers of row groups, from 0; their bytes stay in the file, where
    nothing leads to them. metadata: in place of base's key-value metadata. Raises NotAlike where the columns of the two
    differ or base is not what it was, OSError.
    """
    footer, out = Footer.of(base), set(left_out)
    added = Footer.of(more) if more else None
    if added and added.columns != footer.columns:
        raise NotAlike(f"{base.name} has other columns than the rows to be added")
    groups = [group for number, group in enumerate(footer.row_groups) if number not in out]
    shutil.copyfile(base, target)
    if digest(target) != digest_of_base:
        raise NotAlike(f"{base.name} is not what was written")
    with target.open("r+b") as stream:
        stream.seek(footer.begins_at)
        stream.truncate()
        if more and added:
            with more.open("rb") as rows:
                rows.seek(len(_MAGIC))
                shutil.copyfileobj(rows, stream)
            stream.seek(footer.begins_at + added.begins_at - len(_MAGIC))
            stream.truncate()
            groups += [_moved(group, footer.begins_at - len(_MAGIC)) for group in added.row_groups]
        # An empty one says nothing, and shares its first row with the next.
        groups = [group for group in groups if group[_GROUP_ROWS][1]]
        groups = [
            group | {_ORDINAL: (group[_ORDINAL][0], number)} if _ORDINAL in group else group
            for number, group in enumerate(groups)
        ]
        pairs = [{1: (_BINARY, key.encode()), 2: (_BINARY, value.encode())} for key, value in metadata.items()]
        fields = footer.fields | {
            _NUM_ROWS: (footer.fields[_NUM_ROWS][0], sum(group[_GROUP_ROWS][1] for group in groups)),
            _ROW_GROUPS: (_LIST, (_STRUCT, groups)),
            _KEY_VALUES: (_LIST, (_STRUCT, pairs)),
        }
        written = b"".join(_written(_STRUCT, fields))
        stream.write(written + struct.pack("<I4s", len(written), _MAGIC))


def _moved(group: Struct, by: int) -> Struct:
    """A row group that lies elsewhere."""

    def shifted(fields: Struct, offsets: Iterable[int]) -> Struct:
        return fields | {
            number: (fields[number][0], fields[number][1] + by)
            for number in offsets
            # 0 says of these that there is none.
            if number in fields and fields[number][1]
        }

    chunks = []
    for chunk in group[_COLUMNS][1][1]:
        moved = shifted(chunk, _OFFSETS_OF_CHUNK)
        if _META_DATA in moved:
            moved |= {_META_DATA: (_STRUCT, shifted(moved[_META_DATA][1], _OFFSETS_OF_META_DATA))}
        chunks.append(moved)
    return shifted(group, (_GROUP_OFFSET,)) | {_COLUMNS: (_LIST, (_STRUCT, chunks))}


class _Reader:
    """Thrift's compact protocol."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def struct(self) -> Struct:
        found: Struct = {}
        number = 0
        while True:
            head = self._byte()
            if head == 0:
                return found
            kind, step = head & 0x0F, head >> 4
            number = number + step if step else self._integer()
            found[number] = (kind, self._value(kind, is_field=True))

    def _value(self, kind: int, *, is_field: bool = False) -> Any:
        if kind in _INTEGERS:
            return self._integer()
        if kind == _BINARY:
            return self._bytes(self._varint())
        if kind == _STRUCT:
            return self.struct()
        if kind in (_LIST, _SET):
            head = self._byte()
            count = head >> 4 if head >> 4 != 15 else self._varint()
            return head & 0x0F, [self._value(head & 0x0F) for _ in range(count)]
        if kind in (_TRUE, _FALSE):  # a field's type is its value
            return kind == _TRUE if is_field else self._byte() == _TRUE
        if kind == _BYTE:
            return self._byte()
        if kind == _DOUBLE:
            return self._bytes(8)
        raise NotAlike(f"the footer has a value of a kind that is not known here ({kind})")

    def _byte(self) -> int:
        return self._bytes(1)[0]

    def _bytes(self, count: int) -> bytes:
        self._at += count
        if self._at > len(self._data):
            raise NotAlike("the footer ends before it should")
        return self._data[self._at - count : self._at]

    def _varint(self) -> int:
        value = shift = 0
        while True:
            byte = self._byte()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7

    def _integer(self) -> int:
        value = self._varint()
        return (value >> 1) ^ -(value & 1)


def _written(kind: int, value: Any, *, is_field: bool = False) -> Iterator[bytes]:
    """The bytes of a value, in pieces."""
    if kind in _INTEGERS:
        yield _varint((value << 1) ^ (value >> 63))
    elif kind == _BINARY:
        yield _varint(len(value)) + value
    elif kind == _STRUCT:
        last = 0
        for number, (of, inner) in sorted(value.items()):
            kind_of = (_TRUE if inner else _FALSE) if of in (_TRUE, _FALSE) else of
            step = number - last
            yield bytes([step << 4 | kind_of]) if 0 < step < 16 else bytes([kind_of]) + _varint(number << 1)
            yield from _written(of, inner, is_field=True)
            last = number
        yield b"\0"
    elif kind in (_LIST, _SET):
        of, items = value
        yield bytes([len(items) << 4 | of]) if len(items) < 15 else bytes([0xF0 | of]) + _varint(len(items))
        for item in items:
            yield from _written(of, item)
    elif kind in (_TRUE, _FALSE):
        if not is_field:
            yield bytes([_TRUE if value else _FALSE])
    elif kind == _BYTE:
        yield bytes([value])
    else:  # _DOUBLE, as its bytes
        yield value


def _varint(value: int) -> bytes:
    found = bytearray()
    while value >= 0x80:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    found.append(value)
    return bytes(found)
