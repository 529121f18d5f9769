"""The command `mtw`. Exit codes: 0 done, 1 a check or a run failed, 2 wrong usage.

Belongs here: arguments, exit codes, what is printed in which order. Does not: doing any of it. Imports that take
long are inside the commands: `mtw --help` answers at once.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

if TYPE_CHECKING:
    from datetime import datetime

    from rich.console import Console

    from orchestration.retention import Purge
    from orchestration.scope import RunScope
    from orchestration.settings import Settings

DEMO_EVENTS = 200_000
SAMPLE_EVENTS = (1_000, 100_000_000)


def fail(message: str, code: int = 1) -> NoReturn:
    """End with one line on standard error and an exit code."""
    from orchestration.settings import without_secrets
    from orchestration.text import plain

    click.echo(f"mtw: {plain(without_secrets(message), 700)}", err=True)
    sys.exit(code)


@contextmanager
def _one_line_errors() -> Iterator[None]:
    """Errors whose message says what to do become that one line; a broken pipe ends quietly."""
    try:
        yield
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(1)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        fail(f"{where}{error.strerror or error}; check the path and its permissions")
    except (RuntimeError, ValueError) as error:
        fail(str(error) or type(error).__name__)
    except Exception as error:
        if type(error).__name__ in _SAYS_WHAT_TO_DO:
            # A setting is given as an option is: one that cannot be used is wrong usage.
            fail(str(error), 2 if type(error).__name__ == "SettingsError" else 1)
        raise


# By name: importing these classes would take longer than most commands.
_SAYS_WHAT_TO_DO = {
    "SettingsError",
    "StorageUnusable",
    "DbtError",
    "PublishError",
    "IngestError",
    "LedgerDatabaseError",
    "NotPublishedError",
    "StorageError",
    "PipelineLocked",
    "VerifyError",
    "AccessError",
    "RecordsError",
}


def _settings() -> "Settings":
    from orchestration.settings import Settings, SettingsError

    try:
        return Settings.load()
    except SettingsError as error:
        fail(str(error), 2)


def _check_taken_in(settings: "Settings") -> None:
    """End with one line where there is no ledger yet."""
    from log_ingest.ledger import exists

    if not exists(settings.ledger):
        fail(f"nothing was taken in yet ({settings.ledger} does not exist); run: mtw run")


def _console() -> "Console":
    from rich.console import Console

    # Piped output is not wrapped to an imagined terminal of 80 columns.
    return Console(highlight=False, emoji=False, markup=False, width=None if sys.stdout.isatty() else 160)


def _is_installed(project: Path) -> bool:
    """Whether this dbt project is the one that a wheel brought: an upgrade replaces it."""
    from orchestration.settings import IS_CHECKOUT, PROJECT_DIR

    return not IS_CHECKOUT and project.is_relative_to(PROJECT_DIR)


_COPY_FIRST = "mtw dbt-project DIR, and set MTW_DBT_PROJECT_DIR to it"


def _from_here(path: Path) -> Path:
    """The path as a user in the working directory would type it."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="message-tracking-warehouse", prog_name="mtw")
def main() -> None:
    """The message-tracking warehouse: from raw tracking logs to numbers that people can trust.

    Settings come from the environment or a .env file: MTW_LANDING_DIR, MTW_WAREHOUSE_DIR, MTW_TIME_ZONE.
    """
    from orchestration.permissions import restrict

    restrict()


@main.command()
@click.option("--full-reference", is_flag=True, help="Read the tables behind MTW_REFERENCE_URL whole, not what is new.")
@click.option(
    "--deliveries", metavar="ID,ID", default="", help="Make these deliveries again from the landed rows (backfill)."
)
@click.option("--from", "from_day", metavar="DAY", default="", help="Make again all that was sent or active since.")
@click.option("--to", "to_day", metavar="DAY", default="", help="With --from: until this day; else that day alone.")
@click.option("--full-checks", is_flag=True, help="Check all that ever landed and all models, as the nightly job does.")
@click.option("-v", "--verbose", is_flag=True, help="Let Dagster and dbt write their logs to the terminal.")
@click.option("--ruleset", metavar="NAME", help="A candidate's machine rules: dbt_project/rulesets/NAME, or a folder.")
@click.option("--compare", is_flag=True, help="With --ruleset: show what it would change, and change nothing.")
@click.option(
    "--csv", "csv_path", type=click.Path(dir_okay=False, path_type=Path), help="With --compare: every changed number."
)
def run(
    full_reference: bool,
    deliveries: str,
    from_day: str,
    to_day: str,
    full_checks: bool,
    verbose: bool,
    ruleset: str | None,
    compare: bool,
    csv_path: Path | None,
) -> None:
    """Take in what is new, build what it affects, check it and publish it."""
    from dataclasses import replace

    with _one_line_errors():
        settings = _settings()
        if (compare or csv_path) and not ruleset:
            raise click.UsageError("--compare needs --ruleset: the candidate to compare with")
        if ruleset and not compare:
            raise click.UsageError(
                "--ruleset needs --compare; to adopt a candidate, copy its files into dbt_project/seeds, then: mtw run"
            )
        if ruleset:
            _compare_ruleset(settings, ruleset, csv_path)
            return
        scope = _scope(deliveries, from_day, to_day, full_checks=full_checks)
        if full_reference and not settings.reference_url:
            raise click.UsageError("--full-reference needs MTW_REFERENCE_URL: the database to read")
        _run(replace(settings, reference_full=full_reference), scope=scope, verbose=verbose)


def _scope(deliveries: str, from_day: str, to_day: str, *, full_checks: bool) -> "RunScope | None":
    """What is asked of a run; None where nothing is, which needs no Dagster to find out."""
    if not (deliveries or from_day or to_day or full_checks):
        return None
    from orchestration.scope import RunScope, ScopeError

    try:
        ids = [int(part) for part in deliveries.split(",") if part.strip()] if deliveries else []
    except ValueError:
        raise click.UsageError("--deliveries takes ids as numbers, with commas between: --deliveries 7,12") from None
    try:
        return RunScope.of(ids, from_day, to_day, full_checks=full_checks)
    except ScopeError as error:
        raise click.UsageError(str(error)) from None


def _compare_ruleset(settings: "Settings", ruleset: str, csv_path: Path | None) -> None:
    from orchestration import console as view
    from orchestration.rulesets import UnknownRuleset, compare

    try:
        with view.reporter() as reporter:
            reporter.stage("build the candidate beside the warehouse")
            found = compare(settings, ruleset)
    except UnknownRuleset as error:
        fail(str(error), 2)
    out = _console()
    if not found.verdicts and not found.deliveries:
        out.print(f"Ruleset {ruleset} changes nothing.")
    if found.verdicts:
        rows = [(old or "(a person)", new or "(a person)", count) for old, new, count in found.verdicts]
        out.print(view.table(f"Verdicts that {ruleset} changes", ("rule now", "rule then", "events"), rows))
    if found.indicators:
        totals = [(one.name, one.deliveries, one.old_total, one.new_total) for one in found.indicators]
        header = ("indicator", "deliveries", "total now", "total then")
        out.print(view.table("Indicators that change (totals where they add up)", header, totals))
        ranked = sorted(found.deliveries, key=lambda one: -abs(float(one.new or 0) - float(one.old or 0)))[:15]
        largest = [(str(one.delivery_id), one.label, one.indicator, one.old, one.new) for one in ranked]
        out.print(view.table("The largest changes", ("delivery", "label", "indicator", "now", "then"), largest))
    if csv_path:
        found.write(csv_path)
        out.print(view.shown(f"Every changed number: {csv_path}", 400))
    seeds = _from_here(settings.dbt_project_dir / "seeds")
    first = f" (first {_COPY_FIRST})" if _is_installed(settings.dbt_project_dir) else ""
    out.print(view.shown(f"Nothing was published. To adopt it, copy its files into {seeds}{first}, then: mtw run", 500))


def _run(settings: "Settings", *, scope: "RunScope | None" = None, verbose: bool) -> None:
    """Run the pipeline and print what came of it; ends the process with exit code 1 where it failed."""
    import time

    from orchestration.lock import holder

    started = time.monotonic()
    landing = settings.landing_dir
    if isinstance(landing, Path) and landing.exists() and not landing.is_dir():
        _tell_and_fail(
            settings, f"landing folder {landing} is a file; set MTW_LANDING_DIR to the folder where logs arrive"
        )
    if isinstance(landing, Path) and not landing.is_dir():
        _tell_and_fail(
            settings,
            f"landing folder {landing} does not exist; set MTW_LANDING_DIR to where the log files "
            f"arrive, or make a sample there with: mtw sample {landing}",
        )
    busy = holder(settings.lock_path)
    if busy:
        fail(f"{busy}; wait for that run to finish, then run again")

    from orchestration import console as view

    with view.reporter() as reporter:
        reporter.stage("load")
        from orchestration.pipeline import run_pipeline

        outcome = run_pipeline(settings, reporter, scope=scope, verbose=verbose)

    out = _console()
    if reporter.ingest_report is not None:
        from orchestration.assets.landing import TOTALS_HEADER, totals_rows

        rows = [row for row in totals_rows(reporter.ingest_report) if any(row[1:])]  # others have nothing to say
        out.print(view.table("Taken in by this run", TOTALS_HEADER, rows))
        for problem in reporter.ingest_report.problems[:20]:
            out.print(view.shown(f"! {problem}", 400))
        if len(reporter.ingest_report.problems) > 20:
            out.print(f"! … and {len(reporter.ingest_report.problems) - 20} more: mtw status")
    for check in outcome.failed_checks:
        kind = "warning" if check.is_warning else "failed"
        out.print(view.shown(f"! check {kind}: {check.name}: {check.reason}", 500))
    facts: list[tuple[str, object]] = []
    if outcome.success and reporter.plan is not None and not reporter.plan.reasons:
        facts.append(("result", "nothing new: the published version is up to date"))
    elif reporter.plan is not None:
        facts.append(("why", "; ".join(reporter.plan.reasons)))
    if outcome.checks_passed or outcome.failed_checks:
        facts.append(("checks", f"{outcome.checks_passed} passed, {len(outcome.failed_checks)} failed"))
    facts += _published_facts(settings)
    facts += [("run", outcome.run_id), ("elapsed", view.duration(time.monotonic() - started))]
    out.print(view.table("", ("", ""), facts))
    for note in reporter.notes:
        _note(note)
    if not outcome.success:
        fail(outcome.failure)


def _tell_and_fail(settings: "Settings", message: str) -> NoReturn:
    """End with one line, and an alert where somebody is to be told: of a command that cron started, nobody reads it."""
    if settings.alert_webhook_url or settings.alert_email:
        from orchestration.alerts.watch import could_not_begin

        could_not_begin(settings, message, _note)
    fail(message)


def _note(text: str) -> None:
    from orchestration.text import plain

    click.echo(f"mtw: {plain(text, 400)}", err=True)


def _published_facts(settings: "Settings") -> list[tuple[str, object]]:
    from orchestration.console import age
    from orchestration.publication import PublishError, current

    try:
        publication = current(settings.published_dir)
    except PublishError as error:
        return [("published", str(error))]
    if publication is None:
        return [("published", "nothing yet")]
    through = publication.data_through_at
    copy: list[tuple[str, object]] = []
    if settings.publish_url:
        from orchestration.postgres_copy import copied_version

        copied = copied_version(settings.publish_url, settings.published_dir)
        copy = [("PostgreSQL copy", "nothing yet" if copied is None else f"version {copied:06d}")]
    return [
        (
            "published",
            f"version {publication.label}, {age(publication.published_at)} ago, {len(publication.tables)} tables",
        ),
        ("data through", f"{through:%Y-%m-%d %H:%M:%S} UTC" if through else "no event yet"),
        *copy,
    ]


@main.command()
@click.option(
    "--events",
    type=click.IntRange(min=SAMPLE_EVENTS[0], max=SAMPLE_EVENTS[1], clamp=True),
    default=DEMO_EVENTS,
    show_default=True,
    help="Tracking events, 1,000 to 100,000,000 (other numbers: the nearest of these).",
)
@click.option(
    "--seed", type=click.IntRange(min=0), default=1, show_default=True, help="The same seed writes the same sample."
)
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path))
def sample(events: int, seed: int, directory: Path) -> None:
    """Write a realistic landing folder into DIRECTORY, with a truth/ folder of independently computed results."""
    with _one_line_errors():
        if str(directory).startswith("s3:/"):
            fail("a sample is written into a local folder; write it there, then copy it to the bucket", 2)
        if directory.is_dir() and any(directory.iterdir()):
            fail(f"{directory} is not empty; name a folder that is empty or does not exist", 2)
        _write_sample(directory, events, seed)
        _console().print(f"Sample of {events:,} events in {directory}.\nNext: MTW_LANDING_DIR={directory} mtw run")


def _write_sample(directory: Path, events: int, seed: int) -> None:
    from log_ingest.sample import write_sample

    directory.mkdir(parents=True, exist_ok=True)
    write_sample(directory, events=events, seed=seed)


@main.command()
@click.option("--files", is_flag=True, help="Control totals of every file too.")
def status(files: bool) -> None:
    """What was taken in, what is missing or held, the last run and the published version."""
    with _one_line_errors():
        _status(_settings(), files=files)


def _status(settings: "Settings", *, files: bool) -> None:
    from log_ingest.status import collect
    from orchestration import console as view
    from orchestration.lock import holder

    out = _console()
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
    facts = _last_run_facts(settings) + _published_facts(settings)
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


@main.group()
def quarantine() -> None:
    """Look at lines that were not accepted, and read them again after a fix."""


@quarantine.command("list")
@click.option("--source", help="Only lines of this source, such as tracking_logs.")
@click.option("--reason", help="Only lines with this reason code.")
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True, help="Lines to show.")
def quarantine_list(source: str | None, reason: str | None, limit: int) -> None:
    """Reasons with their counts, and the newest lines with file, line and the first bytes."""
    with _one_line_errors():
        from log_ingest.catalog import LINE_SOURCES, REFERENCE_ENTITIES
        from orchestration import console as view
        from orchestration.quarantine import LONGEST_NAME, newest, reasons

        settings = _settings()
        names = [known.name for known in (*LINE_SOURCES, *REFERENCE_ENTITIES)]
        if source is not None and source not in names:
            fail(f"there is no source {source}; --source is one of {', '.join(names)}", 2)
        out = _console()
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
    with _one_line_errors():
        from orchestration import console as view
        from orchestration.quarantine import LONGEST_NAME, find

        rows = find(_settings().landed_dir, file, line)
        if not rows:
            fail(f"no quarantined line {line} of {file}; mtw quarantine list shows what there is")
        out = _console()
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
    with _one_line_errors():
        import uuid

        from log_ingest.catalog import LINE_SOURCES
        from log_ingest.replay import replay
        from orchestration import console as view
        from orchestration.lock import PipelineLock

        settings = _settings()
        names = [line_source.name for line_source in LINE_SOURCES]
        if source is not None and source not in names:
            fail(f"lines of {source} cannot be read again; --source is one of {', '.join(names)}", 2)
        _check_taken_in(settings)
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
        out = _console()
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


@main.command("ingest-worker")
@click.option("--once", is_flag=True, help="Take in what is there and nobody else takes, then end.")
@click.option(
    "--every", "pause", type=click.FloatRange(min=1), default=10.0, show_default=True, help="Seconds between looks."
)
def ingest_worker(once: bool, pause: float) -> None:
    """Take in lines beside runs and other workers, on this or another machine, until it is ended.

    Needs MTW_LEDGER_URL, and the landing folder and landed rows of the run under the same settings. It never builds or
    publishes, takes in no reference data, and stands still while a run builds. It may be killed at any moment.
    """
    with _one_line_errors():
        import time

        from orchestration import ingest_worker as worker

        settings = _settings()
        while True:
            report = worker.take_turn(settings)
            for line in worker.told(report):
                click.echo(line)
            if once:
                return
            time.sleep(pause)


@main.command("move-ledger")
def move_ledger_command() -> None:
    """Move the ledger from its file into the database that MTW_LEDGER_URL names. Landed rows stay where they are."""
    with _one_line_errors():
        from log_ingest.move_ledger import move_ledger
        from orchestration.lock import PipelineLock

        settings = _settings()
        if settings.ledger_url is None:
            fail("MTW_LEDGER_URL is not set: it names the database to move the ledger to")
        with PipelineLock.of(settings):
            kept = move_ledger(settings.ledger_path, settings.ledger_url)
        _console().print(f"The ledger is in PostgreSQL now; {kept} is what it was. Next: mtw run")


RECIPIENT = click.option(
    "--recipient", "recipients", type=int, multiple=True, required=True, help="The recipient's id."
)


@main.command()
@RECIPIENT
@click.argument("further", nargs=-1, type=int, metavar="[ID]...")
@click.option("--dry-run", is_flag=True, help="Say what would be erased; change nothing.")
@click.option("-v", "--verbose", is_flag=True, help="Let Dagster and dbt write their logs to the terminal.")
def erase(recipients: tuple[int, ...], further: tuple[int, ...], dry_run: bool, verbose: bool) -> None:
    """Erase recipients from everything the warehouse keeps; numbers stay. It cannot be undone.

    Lines and rows of theirs that arrive again are suppressed. The landing folder is not ours: its files are named.
    """
    with _one_line_errors():
        from orchestration import console as view
        from orchestration import privacy

        settings = _settings()
        try:
            ids = sorted({privacy.unsigned(number) for number in (*recipients, *further)})
        except ValueError as error:
            fail(str(error), 2)
        _check_taken_in(settings)
        report = privacy.erase(settings, ids, is_dry=dry_run)
        out = _console()
        rows = [(name, count) for name, count in report.counts.items() if count]
        title = "To be erased" if dry_run else "Erased"
        if rows:
            out.print(view.table(title, ("landed rows", "rows"), rows))
            found = [(name.replace("_", " "), count) for name, count in report.identifier_counts.items() if count]
            out.print(view.table("", ("identifiers", "distinct"), found))
        else:
            out.print("They were erased before; nothing of theirs has come since.")
        if report.files:
            out.print("Files of the landing folder that hold their lines; the warehouse never writes there:")
            for name in report.files:
                out.print(view.shown(f"  {name}", 400))
        if dry_run:
            return
        if privacy.is_pending(settings):
            _run(settings, verbose=verbose)
        if report.erasure is not None:
            receipt = report.erasure
            facts: list[tuple[str, object]] = [
                ("receipt", receipt.erasure_id),
                ("erased at", receipt.erased_at),
                ("recipients", receipt.recipient_count),
            ]
            out.print(view.table("", ("", ""), facts))


@main.command()
@click.option("--dry-run", is_flag=True, help="Say what would be purged; write nothing.")
@click.option("-v", "--verbose", is_flag=True, help="Let Dagster and dbt write their logs to the terminal.")
def purge(dry_run: bool, verbose: bool) -> None:
    """Purge what is kept no longer of deliveries that expired: tracking events (MTW_KEEP_TRACKING_DAYS), messages and
    what became of them (MTW_KEEP_DELIVERY_LOGS_DAYS), and last their rows in reports (MTW_KEEP_STATISTICS_DAYS).

    Until that last one, no number of a report changes. Lines set aside go with the tracking events, by the day they
    were taken in. Lines that arrive later are suppressed. The landing folder is not ours: its files stay.
    """
    with _one_line_errors():
        from orchestration import console as view
        from orchestration import privacy, retention

        settings = _settings()
        out = _console()
        try:
            periods = retention.Periods.of(settings)
        except retention.WrongPeriods as error:
            fail(str(error), 2)
        if not periods.days:
            out.print("MTW_KEEP_TRACKING_DAYS is not set: everything is kept for ever, nothing is purged.")
            return
        _check_taken_in(settings)
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
            _run(settings, verbose=verbose)


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


@main.command()
@click.option("--recipient", type=int, required=True, help="The recipient's id.")
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), help="A new file; else standard output.")
def export(recipient: int, output: Path | None) -> None:
    """Everything held of a recipient, as JSON, with where each value came from."""
    with _one_line_errors():
        import json
        import os

        from orchestration import privacy

        settings = _settings()
        try:
            number = privacy.unsigned(recipient)
        except ValueError as error:
            fail(str(error), 2)
        _check_taken_in(settings)
        if output is not None and output.exists():
            fail(f"{output} exists; name a file that does not", 2)
        text = json.dumps(privacy.export(settings, number), ensure_ascii=False, indent=1)
        if output is None:
            click.echo(text)
            return
        # It is all about one person: for the eyes of whoever asked.
        with os.fdopen(os.open(output, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as stream:
            stream.write(text + "\n")


@main.command()
@click.argument("target", metavar="MART[.COLUMN]")
@click.option("--delivery", type=int, help="The delivery's id.")
@click.option("--recipient", type=int, help="The recipient's id: for profile_tracking and other marts of events.")
@click.option("--domain", help="The recipient domain, where the mart has one row for each.")
@click.option("--url", type=int, help="The tracked URL's id, where the mart has one row for each.")
@click.option("--key", multiple=True, metavar="NAME=VALUE", help="Any other column that chooses the row; repeatable.")
@click.option("--format", "form", type=click.Choice(["table", "csv", "json"]), default="table", show_default=True)
@click.option("--limit", type=click.IntRange(min=0), help="Raw lines for each number; a table shows 20, else all.")
def explain(
    target: str,
    delivery: int | None,
    recipient: int | None,
    domain: str | None,
    url: int | None,
    key: tuple[str, ...],
    form: str,
    limit: int | None,
) -> None:
    """A published number's definition, its lineage and the raw lines that make it.

    Examples: mtw explain rpt_tracking_indicators.recipient_click_count --delivery 1767440431;
    mtw explain profile_tracking --recipient 7
    """
    from orchestration.explain import UnknownName, explained

    named = {"delivery_id": delivery, "recipient_id": recipient, "mail_domain": domain, "url_id": url}
    keys = {name: str(value) for name, value in named.items() if value is not None}
    for entry in key:
        name, separator, value = entry.partition("=")
        if not separator:
            fail(f"--key {entry}: write it as NAME=VALUE", 2)
        keys[name] = value
    shown = 20 if limit is None and form == "table" else limit
    with _one_line_errors():
        settings = _settings()
        try:
            with explained(settings.published_database, settings.landed_dir, target, keys, shown) as found:
                from orchestration import explain_output as output

                if form == "csv":
                    output.write_csv(sys.stdout, found)
                elif form == "json":
                    output.write_json(sys.stdout, found)
                else:
                    output.print_table(_console(), found)
                wrong = [".".join(filter(None, (part.mart, part.column))) for part in output.disagreements(found)]
        except UnknownName as error:
            fail(str(error), 2)
        if wrong:
            fail(f"the lines do not give the published value of {', '.join(wrong)}; run mtw verify")


@main.command()
@click.option("--events", type=click.IntRange(min=1), default=DEMO_EVENTS, show_default=True, help="Sample size.")
@click.option("-v", "--verbose", is_flag=True, help="Let Dagster and dbt write their logs to the terminal.")
def demo(events: int, verbose: bool) -> None:
    """Make a sample where the landing folder is empty, run the pipeline and show what came out."""
    with _one_line_errors():
        from orchestration import console as view

        settings = _settings()
        out = _console()
        published = _from_here(settings.published_database)  # now: a run may change the working directory
        landing = settings.landing_dir
        # What is in a bucket is taken as it is.
        if isinstance(landing, Path) and (not landing.is_dir() or not any(landing.iterdir())):
            out.print(f"Writing a sample of {events:,} events into {_from_here(landing)}")
            _write_sample(landing, events, 1)
        _run(settings, verbose=verbose)

        from log_ingest.status import collect
        from orchestration.indicators import one_delivery
        from orchestration.settings import IS_CHECKOUT

        mtw, serving = (".venv/bin/mtw", "make serve") if IS_CHECKOUT else ("mtw", "mtw serve")
        explained = ""
        if shown := one_delivery(settings.published_database):
            out.print(view.table(f"\n{view.plain(shown.title)}", ("indicator", "all", "human"), shown.rows))
            number = f"rpt_tracking_indicators.recipient_click_count --delivery {shown.delivery_id}"
            explained = (
                f"  {mtw} explain {number}\n"
                "                            what a number means, and the raw lines that make it\n"
            )
        out.print(
            view.table(
                "\nControl totals",
                STATUS_HEADER,
                status_rows(collect(settings.warehouse_dir, ledger_at=settings.ledger_url)),
            )
        )
        out.print(
            "\nWhere to look next\n"
            f"  {serving:<26}the Dagster UI on http://127.0.0.1:3000: assets, checks, runs, schedule;\n"
            "                            the report pages on http://127.0.0.1:8501\n"
            f"  {published}\n"
            "                            the published database, for any DuckDB client; Parquet copies beside it\n"
            f"{explained}"
            f"  {mtw + ' status':<26}what was taken in, what is missing\n"
            f"  {mtw} quarantine list\n"
            "                            what was not accepted, and why"
        )


@main.command()
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="Address to listen on; any but this machine's needs MTW_LOGIN.",
)
@click.option("--port", type=click.IntRange(1, 65535), default=3000, show_default=True, help="Of the Dagster UI.")
@click.option(
    "--reports-port", type=click.IntRange(1, 65535), default=8501, show_default=True, help="Of the report pages."
)
@click.option(
    "--only",
    type=click.Choice(["webserver", "daemon", "reports"]),
    help="One of the three, in this process: for systemd and containers.",
)
@click.option(
    "--workspace",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A workspace.yaml of code servers; the pipeline's code, loaded by each process, where not given.",
)
def serve(host: str, port: int, reports_port: int, only: str | None, workspace: Path | None) -> None:
    """Run the Dagster web server, its daemon (schedules, sensors) and the report pages until interrupted."""
    with _one_line_errors():
        from orchestration import serve as serving

        workspace = workspace.absolute() if workspace else serving.WORKSPACE
        if only:
            serving.become(_settings(), only, host, port, reports_port, workspace)
        sys.exit(serving.serve(_settings(), host, port, reports_port, workspace))


@main.command("collector-map")
@click.argument("server", type=click.Choice(["nginx", "apache"]))
def collector_map(server: str) -> None:
    """Print where the collector's links lead, from the published links, as a map for its server."""
    with _one_line_errors():
        from orchestration import collector_map as made

        found = made.collector_map(_settings().published_database, "nginx" if server == "nginx" else "apache")
        for line in found.lines:
            click.echo(line)
        for line in made.summary(found):
            click.echo(line, err=True)


@main.command("machine-networks")
@click.argument("network")
@click.argument("listing", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--listed-on", type=click.DateTime(["%Y-%m-%d"]), help="Day of the list; today where not given.")
def machine_networks(network: str, listing: Path, listed_on: "datetime | None") -> None:
    """Replace a network's address ranges in the rules by those of a newer list, one range a line.

    NETWORK is a name that a rule asks for: apple_private_relay. The next run judges anew and records what changes.
    """
    from datetime import UTC, datetime

    with _one_line_errors():
        from orchestration.machine_networks import replace

        project = _settings().dbt_project_dir
        if _is_installed(project):
            fail(f"the rules of an installation stay as they are; for a copy of your own: {_COPY_FIRST}")
        seed = project / "seeds" / "machine_networks.csv"
        count = replace(seed, network, listing, (listed_on or datetime.now(UTC)).date())
        click.echo(f"{network}: {count:,} ranges. Next: mtw run")


@main.command("dbt-project")
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path))
def dbt_project(directory: Path) -> None:
    """Copy the dbt project in use (models, rules, tests) into DIRECTORY, to change it there.

    The pipeline uses the copy where MTW_DBT_PROJECT_DIR names it.
    """
    with _one_line_errors():
        import shutil

        source = _settings().dbt_project_dir
        if directory.exists() and any(directory.iterdir()):
            fail(f"{directory} is not empty; name a folder that is empty or does not exist", 2)
        ignored = shutil.ignore_patterns("target", "logs", ".user.yml")
        shutil.copytree(source, directory, ignore=ignored, dirs_exist_ok=True)
        click.echo(f"A copy of {source} in {directory}.\nNext: MTW_DBT_PROJECT_DIR={directory} mtw run")


@main.command("verify")
def verify_command() -> None:
    """Build all marts again from the landed bytes, beside the warehouse, and compare them with the published ones.

    Runs may go on meanwhile. After an interruption the same command goes on where it stopped.
    """
    with _one_line_errors():
        from orchestration import console as view
        from orchestration.verify import verify

        with view.reporter() as reporter:
            found = verify(_settings(), stage=reporter.stage, progress=reporter.built)
        out = _console()
        header = ("mart", "rows published", "rows rebuilt", "only published", "only rebuilt", "verdict")
        rows = [
            (
                *(result.name, result.rows_published, result.rows_rebuilt, result.only_published, result.only_rebuilt),
                "equal" if result.is_equal else result.problem or "DIFFERS",
            )
            for result in found.results
        ]
        out.print(view.table(f"Version {found.version:06d}, rebuilt from batches 1 to {found.batch_id}", header, rows))
        for result in found.differing:
            for key in result.keys:
                out.print(view.shown(f"! {result.name}: only {key}", 300))
        facts: list[tuple[str, object]] = [
            ("marts", f"{len(found.results) - len(found.differing)} equal, {len(found.differing)} differ"),
            ("elapsed", view.duration(found.seconds) + (", after an interrupted one" if found.went_on else "")),
        ]
        out.print(view.table("", ("", ""), facts))
        if found.differing:
            first = found.differing[0]
            what = first.problem or f"first: {first.keys[0] if first.keys else first.name}"
            fail(
                f"{len(found.differing)} of {len(found.results)} marts differ from what the landed bytes give,"
                f" {first.name} among them ({what}); to publish what the bytes give, remove"
                " work/warehouse.duckdb from the warehouse folder, then: mtw run"
            )


@main.command("lint")
def lint_command() -> None:
    """Look through the models for SQL that means another thing on another engine, that multiplies rows, or that shows
    personal data in a report.

    Reads the project of MTW_DBT_PROJECT_DIR and runs nothing. Layout and style are sqlfluff's.
    """
    with _one_line_errors():
        from orchestration.console import table
        from orchestration.sql_lint.project import lint

        found = lint(_settings())
    if not found:
        return
    console = _console()
    rows = [[each.model, each.rule, each.line or "", f"{each.message}\n{each.text}".strip()] for each in found]
    console.print(table(f"{len(found)} findings", ["model", "rule", "line", "what is wrong"], rows, limit=400))
    fail("the models need a change; line is of the compiled SQL, which is below dbt's target/compiled")


@main.command()
@click.option("--test", "is_test", is_flag=True, help="Send a test by every channel that is set up.")
def alerts(is_test: bool) -> None:
    """Show the alerts that are open, or try whether alerts arrive (MTW_ALERT_WEBHOOK_URL, MTW_ALERT_EMAIL)."""
    with _one_line_errors():
        from orchestration import console as view
        from orchestration.alerts.memory import open_alerts

        settings = _settings()
        if not is_test:
            rows = [
                (told.since.replace("T", " "), told.kind, key, f"docs/runbook/{told.kind}.md")
                for key, told in sorted(open_alerts(settings.warehouse_dir).items(), key=lambda entry: entry[1].since)
            ]
            if not rows:
                click.echo("No alert is open.")
                return
            _console().print(view.table("Open alerts", ("since (UTC)", "alert", "about", "what to do"), rows))
            return
        from orchestration.alerts.watch import try_channels

        found = try_channels(settings)
        if not found:
            fail("nobody is told of anything; set MTW_ALERT_WEBHOOK_URL, or MTW_ALERT_EMAIL (and MTW_SMTP_URL)")
        for name, problem in found.items():
            if not problem:
                click.echo(f"A test went out by {name}.")
        if problems := [problem for problem in found.values() if problem]:
            fail("; ".join(problems))


@main.command()
def doctor() -> None:
    """Check this installation and say what to do about what is wrong."""
    with _one_line_errors():
        from orchestration import console as view
        from orchestration.doctor import diagnose

        findings = diagnose(_settings())
        rows = [("ok" if finding.is_ok else "WRONG", finding.topic, finding.text) for finding in findings]
        _console().print(view.table("", ("", "", ""), rows))
        wrong = [finding for finding in findings if not finding.is_ok]
        if wrong:
            fail(f"{len(wrong)} of {len(findings)} findings need attention; the first: {wrong[0].text}")
