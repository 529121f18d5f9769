"""What one ingest did, for whoever called it. Counting belongs to the intakes, showing to the caller."""

from dataclasses import dataclass, field

from log_ingest.ledger import Tally


@dataclass
class SourceTotals:
    """One source in one run, over the files taken now: see ledger.Tally.

    files_duplicate: files whose whole content was known under another path (their lines are not framed again).
    bytes: decompressed bytes taken or held. held_bytes: bytes behind the last line end of a file still growing.
    """

    files_seen: int = 0
    files_new: int = 0
    files_skipped: int = 0
    files_duplicate: int = 0
    lines: int = 0
    accepted: int = 0
    duplicate: int = 0
    quarantined: int = 0
    blank: int = 0
    not_tracking: int = 0
    suppressed: int = 0
    held_bytes: int = 0
    bytes: int = 0

    def add_tally(self, tally: Tally) -> None:
        for name, value in vars(tally).items():
            setattr(self, name, getattr(self, name) + value)


@dataclass
class IngestReport:
    """One ingest. problems: one line for each file that could not be taken, with what happened to it.

    platform_problems: those of them that are about the marketing platform's database. passing_problems: per source that
    was looked at and by name, those that are remembered until the next look only (Ledger.note_passing).
    """

    run_id: str
    totals: dict[str, SourceTotals] = field(default_factory=dict)
    batch_ids: list[int] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    platform_problems: list[str] = field(default_factory=list)
    passing_problems: dict[str, dict[str, str]] = field(default_factory=dict)
    latest_batch_id: int = 0

    @property
    def has_new(self) -> bool:
        return bool(self.batch_ids)
