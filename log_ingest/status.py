"""What the ledger knows, for people: control totals, gaps, held and unreadable files."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from log_ingest.ingest import LEDGER_NAME
from log_ingest.ledger import Content, Ledger, exists
from log_ingest.ledger_database import LedgerPlace
from log_ingest.pointers import Gap


@dataclass(frozen=True)
class SourceStatus:
    """All that was ever taken of one source: control totals as in ledger.Tally, but that lines which were purged since
    are no longer among those that they were.
    """

    source: str
    files: int
    copies: int
    lines: int
    accepted: int
    duplicate: int
    quarantined: int
    blank: int
    not_tracking: int
    suppressed: int
    purged: int
    held_bytes: int
    bytes: int


@dataclass
class Status:
    """The state of a warehouse's intake; empty where nothing ran yet."""

    sources: list[SourceStatus] = field(default_factory=list)
    contents: list[Content] = field(default_factory=list)
    """As in SourceStatus, without what was purged."""
    gaps: list[Gap] = field(default_factory=list)
    held_files: list[tuple[str, int]] = field(default_factory=list)
    """Path and bytes behind its last line end."""
    problem_files: list[tuple[str, str]] = field(default_factory=list)
    """Path and what is wrong."""
    purged_lines: dict[int, int] = field(default_factory=dict)
    """By file: lines that have been purged since."""
    late_lines: int = 0
    """Suppressed lines that were of purged deliveries."""
    purges: list[dict[str, str | int]] = field(default_factory=list)
    """Purges, oldest first: purged_at, kind, kept_days, delivery_count, line_count."""
    last_batch_id: int = 0
    last_run: dict[str, str | None] | None = None


def collect(warehouse_dir: Path, *, ledger_at: LedgerPlace | None = None) -> Status:
    """Read the status without changing anything. ledger_at: as ingest was given. Raises IngestError where the ledger is
    damaged.
    """
    place = ledger_at or warehouse_dir / LEDGER_NAME
    if not exists(place):
        return Status()
    with Ledger(place, read_only=True) as ledger:
        copies = ledger.copies()
        last_run = ledger.last_run()
        contents = ledger.contents()
        purged: dict[str, Counter[str]] = {}
        by_file = ledger.purged_of()
        for content in contents:
            purged.setdefault(content.source, Counter()).update(by_file.get(content.file_id, {}))
            for disposition, lines in by_file.get(content.file_id, {}).items():
                setattr(content.tally, disposition, getattr(content.tally, disposition) - lines)
        return Status(
            sources=[_source(dict(row), copies, purged) for row in ledger.totals()],
            contents=contents,
            gaps=ledger.gaps(),
            held_files=[(content.name, content.held_bytes) for content in contents if content.held_bytes],
            problem_files=sorted((found.name, found.problem) for found in ledger.problems()),
            purged_lines={file_id: sum(lines.values()) for file_id, lines in by_file.items()},
            late_lines=sum(ledger.late_lines().values()),
            purges=[dict(row) for row in ledger.purges()],
            last_batch_id=ledger.last_batch_id(),
            last_run=dict(last_run) if last_run else None,
        )


def _source(row: dict[str, Any], copies: dict[str, int], purged: dict[str, Counter[str]]) -> SourceStatus:
    gone = purged.get(row["source"], Counter())
    left = {name: row[name] - lines for name, lines in gone.items()}
    return SourceStatus(**{**row, **left, "purged": gone.total(), "copies": copies.get(row["source"], 0)})
