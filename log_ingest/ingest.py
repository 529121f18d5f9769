"""One ingest: everything new in the landing folder, source after source, into landed Parquet and the ledger.

Belongs here: the order of sources and the report. Does not: how one source is taken (take_lines, take_reference).
The caller holds the warehouse's lock. Lines of a shared ledger may be taken in by several processes at once
(workers); all that follows is this one's alone.
"""

import sqlite3
from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime, timedelta
from pathlib import Path

from log_ingest import content_links, user_agents
from log_ingest.catalog import REFERENCE_ENTITIES, REFERENCE_SUFFIXES
from log_ingest.errors import IngestError
from log_ingest.failures import told_in_one_line
from log_ingest.files import LandingPlace
from log_ingest.formats.line_format import ParseSettings
from log_ingest.landing import Landing
from log_ingest.ledger import Ledger
from log_ingest.ledger_database import LedgerPlace, PostgresUrl
from log_ingest.ledger_tables import write_tables_of_news
from log_ingest.line_work import LineWork
from log_ingest.platform.take_tables import PlatformSource, take_platform
from log_ingest.progress import NullProgress, Progress
from log_ingest.report import IngestReport
from log_ingest.storage import Location
from log_ingest.take_reference import ReferenceIntake
from log_ingest.workers import Job, Workers
from log_ingest.zones import is_zone

LEDGER_NAME = "ledger.sqlite"
SEAL_AFTER = timedelta(hours=6)
"""A last line without its line end is sealed when its file has not changed for this long."""


def ingest(
    landing_dir: Location,
    warehouse_dir: Path,
    *,
    run_id: str,
    landed_dir: Location | None = None,
    sources: Collection[str] | None = None,
    progress: Progress | None = None,
    server_time_zones: Mapping[str, str] | None = None,
    seal_after: timedelta = SEAL_AFTER,
    accepts_drift: bool = False,
    platform: PlatformSource | None = None,
    ledger_at: LedgerPlace | None = None,
    worker_count: int = 1,
    let_workers_in: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> IngestReport:
    """Take in what is new below landing_dir. Running again with nothing new changes nothing.

    landed_dir: where the rows go, None: into the warehouse.
    sources: names of the catalogue, all where None. server_time_zones: server character to IANA zone.
    accepts_drift: take in files whose lines as a whole no longer have the known format, instead of holding them.
    platform: the database that reference rows are read from, besides the files.
    ledger_at: where the ledger is, None: in the warehouse. worker_count: processes that take in lines, this one among
    them; more than one need a ledger in PostgreSQL. let_workers_in: entered while others may take in lines, too.
    Raises IngestError where a setting, the landing folder or the warehouse is unusable; bad input never raises.
    """
    place = LandingPlace.open(landing_dir)
    zones = checked_zones(server_time_zones or {})
    progress = progress or NullProgress()
    report = IngestReport(run_id)
    try:
        with told_in_one_line(warehouse_dir), Ledger(ledger_at or warehouse_dir / LEDGER_NAME) as ledger:
            ledger.start_run(run_id)
            landing = Landing(warehouse_dir, ledger, landed_dir)
            try:
                settings = ParseSettings(datetime.now(UTC).replace(tzinfo=None), zones)
                work = LineWork(place, landing, ledger, settings, seal_after, sources, accepts_drift)
                if isinstance(ledger_at, PostgresUrl):
                    job = Job(
                        landing_dir=landing_dir,
                        warehouse_dir=warehouse_dir,
                        landed_dir=landed_dir,
                        ledger=ledger_at,
                        run_id=run_id,
                        zones=zones,
                        seal_after=seal_after,
                        arrived_at=settings.ingested_at,
                        sources=tuple(sources) if sources is not None else None,
                        accepts_drift=accepts_drift,
                    )
                    with let_workers_in(), Workers(job, worker_count - 1, report, progress) as workers:
                        work.take_beside(report, workers.progress, call_others=workers.start)
                else:
                    work.take_alone(report, progress)
                _take_rest(place, landing, ledger, report, sources, progress, settings.ingested_at)
                if platform is not None:
                    # After the files: a database that cannot be reached holds up nothing.
                    take_platform(
                        platform,
                        landing,
                        ledger,
                        report,
                        sources=sources,
                        ingested_at=settings.ingested_at,
                        progress=progress,
                    )
                if sources is None or "deliveries" in sources:
                    batch_id, problems = content_links.land_new(
                        landing, ledger, run_id=run_id, ingested_at=settings.ingested_at
                    )
                    report.batch_ids += [batch_id] if batch_id is not None else []
                    report.problems += problems
                for source, passing in report.passing_problems.items():
                    ledger.note_passing(source, passing)
                write_tables_of_news(landing, ledger)
            finally:
                landing.close()
            report.latest_batch_id = ledger.last_batch_id()
            ledger.finish_run(run_id, "done")
    except sqlite3.Error as error:
        raise IngestError(
            f"the ledger {warehouse_dir / LEDGER_NAME} could not be written ({error}); free space, then run again"
        ) from error
    return report


def _take_rest(
    place: LandingPlace,
    landing: Landing,
    ledger: Ledger,
    report: IngestReport,
    sources: Collection[str] | None,
    progress: Progress,
    now: datetime,
) -> None:
    batch_id = user_agents.land_new(landing, ledger, run_id=report.run_id, ingested_at=now)
    if batch_id is not None:
        report.batch_ids.append(batch_id)
    for entity in REFERENCE_ENTITIES:
        if sources is not None and entity.name not in sources:
            continue
        files, problems = place.discover(entity.folder, REFERENCE_SUFFIXES)
        report.problems += problems.values()
        progress.start(entity.name, sum(file.fingerprint.size for file in files), len(files))
        rows = ReferenceIntake(entity, landing, ledger, run_id=report.run_id, ingested_at=now, progress=progress)
        for file in sorted(files, key=lambda file: (file.fingerprint.mtime_ns, file.name)):
            rows.take(file)
        report.totals[entity.name] = rows.totals
        report.batch_ids += rows.batch_ids
        report.problems += rows.problems
        report.passing_problems[entity.name] = problems | rows.passing_problems
        progress.finish(entity.name)


def checked_zones(zones: Mapping[str, str]) -> dict[str, str]:
    """Those that differ from UTC. Raises IngestError where one is no time zone."""
    for server, zone in zones.items():
        if not is_zone(zone):
            raise IngestError(f"server {server!r}: {zone!r} is not a time zone; use an IANA name")
    return {server: zone for server, zone in zones.items() if zone != "UTC"}
