"""mtw quarantine: lines that were not accepted."""

import click

from orchestration.cli.shared import check_taken_in, fail, load_settings, one_line_errors, terminal


@click.group()
def quarantine() -> None:
    """Look at lines that were not accepted, and read them again after a fix."""


@quarantine.command("list")
@click.option("--source", help="Only lines of this source, such as tracking_logs.")
@click.option("--reason", help="Only lines with this reason code.")
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True, help="Lines to show.")
def quarantine_list(source: str | None, reason: str | None, limit: int) -> None:
    """Reasons with their counts, and the newest lines with file, line and the first bytes."""
    with one_line_errors():
        from log_ingest.catalog import LINE_SOURCES, REFERENCE_ENTITIES
        from orchestration import console as view
        from orchestration.quarantine import LONGEST_NAME, newest, reasons

        settings = load_settings()
        names = [known.name for known in (*LINE_SOURCES, *REFERENCE_ENTITIES)]
        if source is not None and source not in names:
            fail(f"there is no source {source}; --source is one of {', '.join(names)}", 2)
        out = terminal()
        counts = reasons(settings.landed_dir, source=source, reason=reason)
        if not counts:
            out.print("No quarantined line" + (" like that." if source or reason else "."))
            return
        out.print(view.table("Quarantined lines", ("source", "reason", "lines", "files"), counts))
        rows = newest(settings.landed_dir, source=source, reason=reason, limit=limit)
        out.print("Newest: file, line, reason and first bytes", style="bold")
        for row in rows:
            # No table, which would break or cut a long name: as it stands here, it is what `show` takes.
            place = view.shown(f"{row.source_file} {row.line_number}", LONGEST_NAME)
            out.print(place, style="dim", soft_wrap=True)
            out.print(view.shown(f"  {row.reason}: {view.plain(row.raw, 60)}"), soft_wrap=True)
        out.print("One of them in full: mtw quarantine show FILE LINE")


@quarantine.command("show")
@click.argument("file")
@click.argument("line", type=click.IntRange(min=1))
def quarantine_show(file: str, line: int) -> None:
    """One quarantined line of FILE (as `list` prints it): reason, place and bytes."""
    with one_line_errors():
        from orchestration import console as view
        from orchestration.quarantine import LONGEST_NAME, find

        rows = find(load_settings().landed_dir, file, line)
        if not rows:
            fail(f"no quarantined line {line} of {file}; mtw quarantine list shows what there is")
        out = terminal()
        for row in rows:
            facts: list[tuple[str, object]] = [
                ("source", row.source),
                ("file", row.source_file),
                ("line", str(row.line_number)),
                ("byte offset", str(row.byte_offset)),
                ("reason", row.reason),
                ("detail", row.detail),
                ("taken in", f"{row.ingested_at} UTC"),
                ("bytes", str(len(row.raw))),
            ]
            out.print(view.table("", ("", ""), facts, LONGEST_NAME))
            # The exact bytes, in a form that no terminal interprets.
            out.print(view.shown(repr(row.raw)[2:-1], 20_000))


@quarantine.command("replay")
@click.option("--source", help="Only lines of this source, such as tracking_logs.")
@click.option("--reason", help="Only lines with this reason code; held files are then left alone.")
def quarantine_replay(source: str | None, reason: str | None) -> None:
    """Read quarantined lines again after a fix: what is acceptable now is taken in, and held files are opened again."""
    with one_line_errors():
        import uuid

        from log_ingest.catalog import LINE_SOURCES
        from log_ingest.replay import replay
        from orchestration import console as view
        from orchestration.lock import PipelineLock

        settings = load_settings()
        names = [line_source.name for line_source in LINE_SOURCES]
        if source is not None and source not in names:
            fail(f"lines of {source} cannot be read again; --source is one of {', '.join(names)}", 2)
        check_taken_in(settings)
        with PipelineLock.of(settings):
            report = replay(
                settings.warehouse_dir,
                run_id=str(uuid.uuid4()),
                source=source,
                reason=reason,
                server_time_zones=settings.zone_by_server(),
                landed_dir=settings.landed_dir,
                ledger_at=settings.ledger_url,
            )
        out = terminal()
        facts: list[tuple[str, object]] = [
            ("read again", report.looked_at),
            ("accepted now", report.accepted),
            ("known already", report.duplicate),
            ("no tracking request", report.not_tracking),
            ("suppressed", report.suppressed),
            ("still quarantined", report.still_quarantined),
            ("held files to open again", len(report.reopened)),
        ]
        out.print(view.table("", ("", ""), facts))
        if report.accepted or report.reopened:
            out.print("Next: mtw run")
