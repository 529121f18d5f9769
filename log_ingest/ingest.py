"""One ingest: everything new in the landing folder, source after source, into landed Parquet and the ledger.

Belongs here: the order of sources and the report. Does not: how one source is taken (take_lines, take_reference).
The caller holds the warehouse's lock.
"""

import sqlite3
from collections.abc import Collection, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import duckdb

from log_ingest import content_links, user_agents
from log_ingest.catalog import LINE_SOURCES, REFERENCE_ENTITIES, REFERENCE_SUFFIXES
from log_ingest.errors import IngestError, StorageError
from log_ingest.files import LandingFile, LandingPlace
from log_ingest.formats.line_format import ParseSettings
from log_ingest.formats.registry import LINE_FORMATS
from log_ingest.identify import Siblings
from log_ingest.landing import Landing
from log_ingest.ledger import Ledger
from log_ingest.ledger_tables import write_ledger_tables
from log_ingest.platform.take_tables import PlatformSource, take_platform
from log_ingest.progress import NullProgress, Progress
from log_ingest.report import IngestReport
from log_ingest.storage import Location, reason
from log_ingest.take_lines import LineIntake
from log_ingest.take_reference import ReferenceIntake

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
) -> IngestReport:
    """Take in what is new below landing_dir. Running again with nothing new changes nothing.

    landed_dir: where the rows go, None: into the warehouse.
    sources: names of the catalogue, all where None. server_time_zones: server character to IANA zone.
    accepts_drift: take in files whose lines as a whole no longer have the known format, instead of holding them.
    platform: the database that reference rows are read from, besides the files.
    Raises IngestError where a setting, the landing folder or the warehouse is unusable; bad input never raises.
    """
    place = LandingPlace.open(landing_dir)
    zones = _checked_zones(server_time_zones or {})
    progress = progress or NullProgress()
    report = IngestReport(run_id)
    try:
        with Ledger(warehouse_dir / LEDGER_NAME) as ledger:
            ledger.start_run(run_id)
            landing = Landing(warehouse_dir, ledger, landed_dir)
            try:
                settings = ParseSettings(datetime.now(UTC).replace(tzinfo=None), zones)
                _take_all(place, landing, ledger, report, sources, progress, settings, seal_after, accepts_drift)
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
                write_ledger_tables(landing, ledger)
            finally:
                landing.close()
            report.latest_batch_id = ledger.last_batch_id()
            ledger.finish_run(run_id, "done")
    except duckdb.Error as error:
        raise IngestError(f"ingest failed: {reason(error)}") from error
    except StorageError as error:
        raise IngestError(f"ingest failed: {error}") from error
    except sqlite3.Error as error:
        raise IngestError(
            f"the ledger {warehouse_dir / LEDGER_NAME} could not be written ({error}); free space, then run again"
        ) from error
    except MemoryError as error:
        raise IngestError("ingest ran out of memory; give it more, then run again: nothing is lost") from error
    except OSError as error:
        where = error.filename or warehouse_dir
        raise IngestError(
            f"{where}: {error.strerror or error}; free space or mend permissions, then run again"
        ) from error
    return report


def _take_all(
    place: LandingPlace,
    landing: Landing,
    ledger: Ledger,
    report: IngestReport,
    sources: Collection[str] | None,
    progress: Progress,
    settings: ParseSettings,
    seal_after: timedelta,
    accepts_drift: bool,
) -> None:
    now = settings.ingested_at
    for source in LINE_SOURCES:
        if sources is not None and source.name not in sources:
            continue
        files = _found(place, source.folder, source.suffixes, report)
        progress.start(source.name, sum(file.fingerprint.size for file in files), len(files))
        lines = LineIntake(
            source,
            LINE_FORMATS[source.name],
            landing,
            ledger,
            run_id=report.run_id,
            settings=settings,
            seal_after=seal_after,
            progress=progress,
            accepts_drift=accepts_drift,
        )
        siblings = Siblings(files)
        for file in files:
            lines.take(file, siblings)
        lines.finish()
        _note(report, source.name, lines)
        progress.finish(source.name)
    batch_id = user_agents.land_new(landing, ledger, run_id=report.run_id, ingested_at=now)
    if batch_id is not None:
        report.batch_ids.append(batch_id)
    for entity in REFERENCE_ENTITIES:
        if sources is not None and entity.name not in sources:
            continue
        files = _found(place, entity.folder, REFERENCE_SUFFIXES, report)
        progress.start(entity.name, sum(file.fingerprint.size for file in files), len(files))
        rows = ReferenceIntake(entity, landing, ledger, run_id=report.run_id, ingested_at=now, progress=progress)
        for file in sorted(files, key=lambda file: (file.fingerprint.mtime_ns, file.name)):
            rows.take(file)
        _note(report, entity.name, rows)
        progress.finish(entity.name)


def _found(place: LandingPlace, folder: str, suffixes: tuple[str, ...], report: IngestReport) -> list[LandingFile]:
    files, problems = place.discover(folder, suffixes)
    report.problems += problems
    return files


def _note(report: IngestReport, source: str, intake: LineIntake | ReferenceIntake) -> None:
    report.totals[source] = intake.totals
    report.batch_ids += intake.batch_ids
    report.problems += intake.problems


def _checked_zones(zones: Mapping[str, str]) -> dict[str, str]:
    for server, zone in zones.items():
        try:
            ZoneInfo(zone)
        except (ZoneInfoNotFoundError, ValueError) as error:
            raise IngestError(f"server {server!r}: {zone!r} is not a time zone; use an IANA name") from error
    return {server: zone for server, zone in zones.items() if zone != "UTC"}
