"""mtw status: control totals, gaps, the last run and the published version, as tables."""

from typing import TYPE_CHECKING

import click

from orchestration.cli.run import published_facts
from orchestration.cli.shared import load_settings, one_line_errors, terminal

if TYPE_CHECKING:
    from orchestration.settings import Settings


@click.command()
@click.option("--files", is_flag=True, help="Control totals of every file too.")
def status(files: bool) -> None:
    """What was taken in, what is missing or held, the last run and the published version."""
    with one_line_errors():
        _status(load_settings(), files=files)


def _status(settings: "Settings", *, files: bool) -> None:
    from log_ingest.status import collect
    from orchestration import console as view
    from orchestration.lock import holder

    out = terminal()
    found = collect(settings.warehouse_dir, ledger_at=settings.ledger_url)
    if not found.sources and found.last_batch_id == 0:
        out.print(f"Nothing was taken in yet into {settings.warehouse_dir}. Next: mtw run")
    else:
        out.print(view.table("Taken in so far", STATUS_HEADER, status_rows(found)))
    if files:
        out.print(view.table("Files", FILES_HEADER, file_rows(found)))
    if found.gaps:
        servers: dict[str, tuple[int, int]] = {}
        for gap in found.gaps:
            count, missing = servers.get(gap.server, (0, 0))
            servers[gap.server] = count + 1, missing + gap.missing_count
        rows: list[tuple[object, ...]] = [(server, *totals) for server, totals in sorted(servers.items())]
        out.print(view.table("Missing lines (gaps between pointers)", ("server", "gaps", "missing lines"), rows))
        widest = sorted(found.gaps, key=lambda gap: -gap.missing_count)[:10]
        gap_rows = [
            (
                gap.server,
                f"0x{gap.first_missing_pointer:X}",
                f"0x{gap.last_missing_pointer:X}",
                gap.missing_count,
                gap.before_at,
                gap.after_at,
            )
            for gap in widest
        ]
        out.print(view.table("Widest gaps", ("server", "first", "last", "lines", "after", "before"), gap_rows))
    if found.held_files:
        out.print(view.table("Held (last line not complete)", ("file", "bytes"), found.held_files[:20]))
    if found.problem_files:
        out.print(view.table("Files with a problem", ("file", "problem"), found.problem_files[:20]))
        if len(found.problem_files) > 20:
            out.print(f"… and {len(found.problem_files) - 20} more")
    if found.purges:
        names = ("purged_at", "kind", "kept_days", "delivery_count", "line_count")
        rows = [tuple(purge[name] for name in names) for purge in found.purges[-10:]]
        out.print(view.table("Purges", ("at", "kind", "days kept", "deliveries", "lines"), rows))
        if found.late_lines:
            out.print(f"{found.late_lines:,} lines of purged deliveries came since and were suppressed.")
    facts = _last_run_facts(settings) + published_facts(settings)
    busy = holder(settings.lock_path)
    if busy:
        facts.append(("lock", str(busy)))
    out.print(view.table("", ("", ""), facts))


STATUS_HEADER = (
    *("source", "files", "copies", "lines", "accepted", "duplicate", "quarantined", "not tracking", "blank"),
    *("suppressed", "purged", "held bytes", "bytes"),
)


def status_rows(found: object) -> list[tuple[object, ...]]:
    """Control totals since the beginning, per source: see STATUS_HEADER."""
    return [
        (
            *(source.source, source.files, source.copies, source.lines, source.accepted, source.duplicate),
            *(source.quarantined, source.not_tracking, source.blank, source.suppressed, source.purged),
            *(source.held_bytes, source.bytes),
        )
        for source in found.sources  # type: ignore[attr-defined]
    ]


FILES_HEADER = (
    *("file", "lines", "accepted", "duplicate", "quarantined", "not tracking", "blank", "suppressed"),
    *("purged", "held bytes", "bytes"),
)


def file_rows(found: object) -> list[tuple[object, ...]]:
    """Control totals of each content, under the path it came by: see FILES_HEADER."""
    return [
        (
            *(content.name, content.tally.lines, content.tally.accepted),
            *(content.tally.duplicate, content.tally.quarantined, content.tally.not_tracking, content.tally.blank),
            *(content.tally.suppressed, found.purged_lines.get(content.file_id, 0)),  # type: ignore[attr-defined]
            *(content.held_bytes, content.content_bytes),
        )
        for content in found.contents  # type: ignore[attr-defined]
    ]


def _last_run_facts(settings: "Settings") -> list[tuple[str, object]]:
    if not (settings.dagster_home / "dagster.yaml").is_file():
        return [("last run", "none yet")]
    from datetime import UTC, datetime

    import dagster as dg

    from orchestration.console import age, duration
    from orchestration.home import storage_problem
    from orchestration.resources import JOB_NAME

    if settings.dagster_storage_url and (problem := storage_problem(settings.dagster_storage_url)):
        return [("last run", problem)]
    settings.export()
    with dg.DagsterInstance.get() as instance:
        records = instance.get_run_records(dg.RunsFilter(job_name=JOB_NAME), limit=1)
    if not records:
        return [("last run", "none yet")]
    record = records[0]
    when = record.create_timestamp.astimezone(UTC).replace(tzinfo=None)
    took = f", took {duration(record.end_time - record.start_time)}" if record.end_time and record.start_time else ""
    ago = age(when, datetime.now(UTC).replace(tzinfo=None))
    return [("last run", f"{record.dagster_run.status.value.lower()}, {ago} ago{took} ({record.dagster_run.run_id})")]
