"""What the ledger knows, for people: control totals, gaps, held and unreadable files."""

from dataclasses import dataclass, field
from pathlib import Path

from log_ingest.ingest import LEDGER_NAME
from log_ingest.ledger import Content, Ledger
from log_ingest.pointers import Gap


@dataclass(frozen=True)
class SourceStatus:
    """All that was ever taken of one source: control totals as in ledger.Tally."""

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
    held_bytes: int
    bytes: int


@dataclass
class Status:
    """The state of a warehouse's intake; empty where nothing ran yet."""

    sources: list[SourceStatus] = field(default_factory=list)
    contents: list[Content] = field(default_factory=list)
    gaps: list[Gap] = field(default_factory=list)
    held_files: list[tuple[str, int]] = field(default_factory=list)
    """Path and bytes behind its last line end."""
    problem_files: list[tuple[str, str]] = field(default_factory=list)
    """Path and what is wrong."""
    last_batch_id: int = 0
    last_run: dict[str, str | None] | None = None


def collect(warehouse_dir: Path) -> Status:
    """Read the status without changing anything. Raises IngestError where the ledger is damaged."""
    path = warehouse_dir / LEDGER_NAME
    if not path.exists():
        return Status()
    with Ledger(path, read_only=True) as ledger:
        copies = ledger.copies()
        last_run = ledger.last_run()
        contents = ledger.contents()
        return Status(
            sources=[SourceStatus(**{**dict(row), "copies": copies.get(row["source"], 0)}) for row in ledger.totals()],
            contents=contents,
            gaps=ledger.gaps(),
            held_files=[(content.name, content.held_bytes) for content in contents if content.held_bytes],
            problem_files=ledger.problems(),
            last_batch_id=ledger.last_batch_id(),
            last_run=dict(last_run) if last_run else None,
        )
