"""Last lines without their end that were sealed, and whose file grew all the same: it was still being copied.

Belongs here: finding such a line among those set aside, and taking it out of them, so that it is read anew with what
follows. Does not: when a file counts as sealed (identify), reading it (take_lines).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from log_ingest.landing import Landing, Unit
from log_ingest.ledger import Content, Ledger
from log_ingest.set_aside import Aside
from log_ingest.sqltext import literal

UNTERMINATED = "unterminated"


@dataclass(frozen=True)
class SealedLine:
    """The last line of what is known of a content. part: the landed part that has it; None: the batch at hand."""

    file_id: int
    line_number: int
    byte_offset: int
    part: str | None


class SealedLines:
    """Those of one source."""

    def __init__(self, source: str, landing: Landing, ledger: Ledger) -> None:
        self._source, self._landing, self._ledger, self._con = source, landing, ledger, landing.con

    def before(self, content: Content, batch: Sequence[Aside]) -> SealedLine | None:
        """The line in whose middle the known bytes of a content end. batch: lines set aside that are not landed yet.

        None where there is none any more: it was erased or purged. Nor in a shared ledger, where another process may
        write the same part anew.
        """
        end = content.framed_bytes
        for aside in batch:
            is_last = aside.reason == UNTERMINATED and aside.byte_offset + len(aside.raw) == end
            if aside.file_id == content.file_id and is_last:
                return SealedLine(content.file_id, aside.line_number, aside.byte_offset, None)
        if self._ledger.is_shared:
            return None
        for row in self._ledger.parts(source=self._source):
            if row["path"].startswith("set_aside/"):
                found = self._con.execute(
                    f"select line_number, byte_offset from {self._rows(row['path'])} where source = ? and file_id = ?"
                    " and reason = ? and byte_offset + octet_length(raw) = ?",
                    [self._source, content.file_id, UNTERMINATED, end],
                ).fetchall()
                for line_number, byte_offset in found:
                    return SealedLine(content.file_id, line_number, byte_offset, row["path"])
        return None

    def take_out(self, lines: Sequence[SealedLine], unit: Unit) -> None:
        """Write the parts that have them anew, without them, in a batch."""
        by_part: dict[str, list[SealedLine]] = {}
        for line in lines:
            if line.part is not None:
                by_part.setdefault(line.part, []).append(line)
        for part, gone in by_part.items():
            places = ", ".join(f"({line.file_id}, {line.byte_offset})" for line in gone)
            draft = unit.new_path("set_aside").with_suffix(".replaces")
            query = f"select * from {self._rows(part)} where (file_id, byte_offset) not in ({places})"
            unit.replace(part, draft, unit.copy(query, draft))

    def _rows(self, part: str) -> str:
        return f"read_parquet({literal(str(self._landing.root / part))})"
