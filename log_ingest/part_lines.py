"""The lines of one part, each with its place: what a format reads.

Belongs here: gathering them from the blocks of files. Does not: what becomes of a line (take_lines), fields (formats).
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import pyarrow as pa

from log_ingest.framing import TERMINATORS, Block, Lines, text_array
from log_ingest.ledger import Content


@dataclass(frozen=True)
class Placed:
    """A block with its file and the number of its first line among all of the part. keep: indexes of the lines of the
    block that are fit to be read.
    """

    block: Block
    content: Content
    first_row: int
    keep: np.ndarray


JOINED_BYTES = 1024 * 1024
"""Blocks of fewer bytes are joined: each buffer costs some time, whatever it holds, and joining some for each byte."""


def gathered(placed: Iterable[Placed]) -> Iterator["PartLines"]:
    """The lines that are fit to be read, in order: of a large block alone, of small ones together."""
    waiting: list[Placed] = []
    size = 0
    for each in placed:
        if not len(each.keep):
            continue
        if size + len(each.block.data) >= JOINED_BYTES and waiting:
            yield PartLines.of(waiting)
            waiting, size = [], 0
        waiting.append(each)
        size += len(each.block.data)
    if waiting:
        yield PartLines.of(waiting)


@dataclass(frozen=True)
class PartLines:
    """Lines that are fit to be read, in order. All arrays have one entry a line.

    row: the line's number among all of the part. terminator: the code of framing.TERMINATORS. name: its file's place in
    names.
    """

    text: Lines
    row: np.ndarray
    line_number: np.ndarray
    byte_offset: np.ndarray
    terminator: np.ndarray
    file_id: np.ndarray
    name: np.ndarray
    names: list[str]

    @classmethod
    def of(cls, placed: Sequence[Placed]) -> "PartLines":
        """The lines of some blocks. At least one has to be fit."""
        found = defaultdict(list)
        data, begin = [], 0
        places: dict[str, int] = {}
        for each in placed:
            block, keep = each.block, each.keep
            found["starts"].append(block.starts[keep] + begin)
            found["ends"].append(block.ends[keep] + begin)
            found["row"].append(each.first_row + keep)
            found["line_number"].append(block.first_line + keep)
            found["byte_offset"].append(block.offset + block.starts[keep])
            found["terminator"].append(block.terminators[keep])
            found["file_id"].append(np.full(len(keep), each.content.file_id))
            found["name"].append(np.full(len(keep), places.setdefault(each.content.name, len(places)), np.int32))
            data.append(block.data)
            begin += len(block.data)
        arrays = {name: np.concatenate(some) for name, some in found.items()}
        text = Lines(b"".join(data) if len(data) > 1 else data[0], arrays.pop("starts"), arrays.pop("ends"))
        return cls(text, **arrays, names=list(places))

    def __len__(self) -> int:
        return len(self.row)

    def without(self, lines: np.ndarray) -> "PartLines":
        """The lines but those at these places."""
        arrays = {
            name: np.delete(getattr(self, name), lines)
            for name in ("row", "line_number", "byte_offset", "terminator", "file_id", "name")
        }
        text = Lines(self.text.data, np.delete(self.text.starts, lines), np.delete(self.text.ends, lines))
        return PartLines(text, **arrays, names=self.names)

    def relation(self) -> pa.Table:
        """The lines as formats.line_format.LineFormat has them, and `raw`: the line's bytes."""
        text = text_array(self.text)
        return pa.table(
            {
                "line": text,
                # The same bytes again, for what is kept as bytes: encoding the text would copy it.
                "raw": text.view(pa.binary_view()),
                "row": self.row,
                "line_number": self.line_number,
                "byte_offset": self.byte_offset,
                "terminator": self.terminator,
                "file_id": self.file_id,
                "source_file": pa.DictionaryArray.from_arrays(self.name, pa.array(self.names)),
            }
        )

    def provenance(self, lines: np.ndarray, ingested_at: datetime) -> dict[str, pa.Array]:
        """The landed columns that say where the lines at these places come from, and when."""
        return {
            "file_id": pa.array(self.file_id[lines]),
            "source_file": pa.DictionaryArray.from_arrays(self.name[lines], pa.array(self.names)),
            "line_number": pa.array(self.line_number[lines]),
            "ingested_at": pa.repeat(pa.scalar(ingested_at, pa.timestamp("us")), len(lines)),
            "byte_offset": pa.array(self.byte_offset[lines]),
            "terminator": pa.DictionaryArray.from_arrays(
                self.terminator[lines].astype(np.int32), pa.array(TERMINATORS)
            ),
        }
