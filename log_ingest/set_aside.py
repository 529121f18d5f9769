"""Lines that were framed but not accepted: quarantined, duplicate, blank. Kept with their bytes and the reason."""

from dataclasses import dataclass, field
from datetime import datetime

import pyarrow as pa

from log_ingest.catalog import SET_ASIDE_SCHEMA
from log_ingest.framing import TERMINATORS

DETAILS = {
    "blank": "an empty line",
    "duplicate": "the same line was taken in before",
    "line_too_long": "longer than the cap of 1 MiB; its bytes follow in pieces",
    "continued": "a further piece of an over-long line",
    "invalid_utf8": "not valid UTF-8",
    "control_character": "has a control character",
    "unterminated": "the file was sealed with no line end behind this line",
}


@dataclass(frozen=True)
class Aside:
    """One line set aside. terminator is the code of framing.TERMINATORS."""

    file_id: int
    source_file: str
    line_number: int
    byte_offset: int
    reason: str
    raw: bytes
    terminator: int = 1
    detail: str = ""
    server: str | None = None
    pointer: int | None = None

    @property
    def disposition(self) -> str:
        return self.reason if self.reason in ("blank", "duplicate") else "quarantined"

    @property
    def counts(self) -> bool:
        """A further piece of a line is no line of its own."""
        return self.reason != "continued"


@dataclass
class AsideRows:
    """Collects lines set aside until their batch is written."""

    source: str
    rows: list[Aside] = field(default_factory=list)

    def table(self, ingested_at: datetime) -> pa.Table:
        """As SET_ASIDE_SCHEMA, in the order of file and offset."""
        rows = sorted(self.rows, key=lambda row: (row.file_id, row.byte_offset))
        columns = {
            name: [getattr(row, name) for row in rows]
            for name in ("file_id", "source_file", "line_number", "byte_offset", "disposition", "reason")
        }
        columns |= {name: [getattr(row, name) for row in rows] for name in ("server", "pointer", "raw")}
        columns["detail"] = [row.detail or DETAILS.get(row.reason, "") for row in rows]
        columns["terminator"] = [TERMINATORS[row.terminator] for row in rows]
        columns["source"] = [self.source] * len(rows)
        columns["ingested_at"] = [ingested_at] * len(rows)
        return pa.table({name: columns[name] for name in SET_ASIDE_SCHEMA.names}, schema=SET_ASIDE_SCHEMA)
