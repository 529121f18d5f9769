"""mtw run: one pipeline run, and what came of it in tables. Other commands end with such a run too."""

from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from orchestration.cli.shared import (
    COPY_FIRST,
    fail,
    from_here,
    is_installed,
    load_settings,
    note,
    one_line_errors,
    terminal,
)

if TYPE_CHECKING:
    from orchestration.scope import RunScope
    from orchestration.settings import Settings


@click.command()
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

    with one_line_errors():
        settings = load_settings()
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
        run_and_tell(replace(settings, reference_full=full_reference), scope=scope, verbose=verbose)


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
    out = terminal()
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
    seeds = from_here(settings.dbt_project_dir / "seeds")
    first = f" (first {COPY_FIRST})" if is_installed(settings.dbt_project_dir) else ""
    out.print(view.shown(f"Nothing was published. To adopt it, copy its files into {seeds}{first}, then: mtw run", 500))


def run_and_tell(settings: "Settings", *, scope: "RunScope | None" = None, verbose: bool) -> None:
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

    out = terminal()
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
    facts += published_facts(settings)
    facts += [("run", outcome.run_id), ("elapsed", view.duration(time.monotonic() - started))]
    out.print(view.table("", ("", ""), facts))
    for text in reporter.notes:
        note(text)
    if not outcome.success:
        fail(outcome.failure)


def _tell_and_fail(settings: "Settings", message: str) -> NoReturn:
    """End with one line, and an alert where somebody is to be told: of a command that cron started, nobody reads it."""
    if settings.alert_webhook_url or settings.alert_email:
        from orchestration.alerts.watch import could_not_begin

        could_not_begin(settings, message, note)
    fail(message)


def published_facts(settings: "Settings") -> list[tuple[str, object]]:
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
