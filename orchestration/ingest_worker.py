"""`mtw ingest-worker`: a process that takes in lines beside runs, with the settings of an installation.

Belongs here: from settings to the worker of log_ingest, and what is said of its work. Does not: the work.
"""

import uuid
from collections.abc import Iterator

from log_ingest.ingest import SEAL_AFTER, checked_zones
from log_ingest.report import IngestReport
from log_ingest.workers import Job
from log_ingest.workers import take_turn as take_in
from orchestration.settings import Settings
from orchestration.text import plain

_SHOWN_PROBLEMS = 20


def take_turn(settings: Settings) -> IngestReport:
    """Take in what is there and nobody else takes. Waits while a run needs that nothing lands. Raises IngestError,
    ValueError where there is no ledger that others could share.
    """
    if settings.ledger_url is None:
        raise ValueError("the ledger is a file, which one process writes to; set MTW_LEDGER_URL, or run: mtw run")
    return take_in(
        Job(
            landing_dir=settings.landing_dir,
            warehouse_dir=settings.warehouse_dir,
            landed_dir=settings.landed_dir,
            ledger=settings.ledger_url,
            run_id=str(uuid.uuid4()),
            zones=checked_zones(settings.zone_by_server()),
            seal_after=SEAL_AFTER,
            accepts_drift=settings.accept_new_formats,
        )
    )


def told(report: IngestReport) -> Iterator[str]:
    """What a turn did, in lines; none where nothing was new."""
    for source, totals in report.totals.items():
        if totals.lines or totals.files_duplicate:
            yield (
                f"{source}: {totals.files_new} new files, {totals.lines} lines: {totals.accepted} accepted,"
                f" {totals.duplicate} duplicate, {totals.quarantined} quarantined, {totals.not_tracking} not tracking"
            )
    yield from (f"! {plain(problem, 400)}" for problem in report.problems[:_SHOWN_PROBLEMS])
