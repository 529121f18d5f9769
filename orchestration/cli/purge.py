"""mtw purge: retention."""

from typing import TYPE_CHECKING

import click

from orchestration.cli.run import run_and_tell
from orchestration.cli.shared import check_taken_in, fail, load_settings, one_line_errors, terminal

if TYPE_CHECKING:
    from orchestration.retention import Purge


@click.command()
@click.option("--dry-run", is_flag=True, help="Say what would be purged; write nothing.")
@click.option("-v", "--verbose", is_flag=True, help="Let Dagster and dbt write their logs to the terminal.")
def purge(dry_run: bool, verbose: bool) -> None:
    """Purge what is kept no longer of deliveries that expired: tracking events (MTW_KEEP_TRACKING_DAYS), messages and
    what became of them (MTW_KEEP_DELIVERY_LOGS_DAYS), and last their rows in reports (MTW_KEEP_STATISTICS_DAYS).

    Until that last one, no number of a report changes. Lines set aside go with the tracking events, by the day they
    were taken in. Lines that arrive later are suppressed. The landing folder is not ours: its files stay.
    """
    with one_line_errors():
        from orchestration import console as view
        from orchestration import privacy, retention

        settings = load_settings()
        out = terminal()
        try:
            periods = retention.Periods.of(settings)
        except retention.WrongPeriods as error:
            fail(str(error), 2)
        if not periods.days:
            out.print("MTW_KEEP_TRACKING_DAYS is not set: everything is kept for ever, nothing is purged.")
            return
        check_taken_in(settings)
        done = retention.purge(settings, dry_run=dry_run)
        out.print(view.table("To be purged" if dry_run else "Purged", PURGE_HEADER, purge_rows(done)))
        deliveries = purged_delivery_rows(done)
        if deliveries:
            out.print(view.table("", PURGED_DELIVERY_HEADER, deliveries[:20]))
        if len(deliveries) > 20:
            out.print(f"… and {len(deliveries) - 20} more deliveries")
        if done.held_back:
            shown = ", ".join(map(str, done.held_back[:20]))
            out.print(view.shown(f"Kept, because events of their messages name deliveries that are kept: {shown}", 400))
        if done.report.purges or (not dry_run and privacy.is_pending(settings)):
            run_and_tell(settings, verbose=verbose)


PURGE_HEADER = ("kind", "days kept", "deliveries", "rows", "bytes", "oldest event", "newest event")


def purge_rows(done: "Purge") -> list[tuple[object, ...]]:
    """What a purge takes away, by kind: see PURGE_HEADER. Of delivery logs, messages are the events."""
    rows: list[tuple[object, ...]] = []
    for kind, taken in done.report.taken.items():
        if kind in done.kept_days:
            firsts = [entry.first_event_at for entry in taken.deliveries if entry.first_event_at]
            lasts = [entry.last_event_at for entry in taken.deliveries if entry.last_event_at]
            counts = (done.kept_days[kind], len(taken.deliveries), taken.lines.total(), taken.bytes.total())
            rows.append((kind, *counts, min(firsts, default=None), max(lasts, default=None)))
    return rows


PURGED_DELIVERY_HEADER = ("delivery", "expired at", "tracking events", "messages", "what goes")


def purged_delivery_rows(done: "Purge") -> list[tuple[object, ...]]:
    """Each delivery that a purge takes something of: see PURGED_DELIVERY_HEADER."""
    found: dict[int, tuple[str, dict[str, int]]] = {}
    for kind, taken in done.report.taken.items():
        for entry in taken.deliveries:
            found.setdefault(entry.delivery_id, (entry.expired_at, {}))[1][kind] = entry.event_count
    return [
        (str(delivery), expired_at, counts.get("tracking", 0), counts.get("delivery_logs", 0), ", ".join(counts))
        for delivery, (expired_at, counts) in found.items()
    ]
