"""The landed sources: one asset each, all written by one ingest step.

Belongs here: calling log_ingest and showing what it did. Does not: reading files.
"""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

from log_ingest.catalog import LINE_SOURCES, PERSONAL_COLUMNS, READABLE_SCHEMAS, REFERENCE_ENTITIES
from log_ingest.errors import IngestError
from log_ingest.storage import Location
from orchestration import build_state, privacy
from orchestration.bounded import remove_spilled
from orchestration.links import LANDED_PAGE, Links
from orchestration.publication import PublishError
from orchestration.remake import RemakeError, ask
from orchestration.resources import POOL
from orchestration.scope import RESOURCE, RunScope
from orchestration.settings import Settings
from orchestration.text import markdown, markdown_table, plain
from orchestration.transient import retry_or_fail

if TYPE_CHECKING:
    from log_ingest.report import IngestReport

GROUP = "landing"
OWNERS = ["team:data-platform"]

LOGS_FRESHNESS = dg.FreshnessPolicy.time_window(fail_window=timedelta(hours=26), warn_window=timedelta(hours=4))
"""Servers hand over their logs hourly; one missed hour is usual, a whole day and its nightly rotation is not."""

PLATFORM_CHECK = "platform_database_was_read"
"""On the asset `batches`, where MTW_REFERENCE_URL is set."""

BY_PRODUCTS = {
    "user_agents": "Grain: one distinct user agent ever seen, with the device, system and browser read from it once.",
    "content_links": "Grain: one link of one distinct HTML content of a delivery, in document order.",
    "set_aside": "Grain: one framed line or row that was not accepted, with its bytes, place and reason.",
    "batches": "Grain: one committed batch; what arrived since is batch_id > n.",
    "ledger_files": "Grain: one file content ever taken in, with its control totals.",
    "ledger_gaps": "Grain: one gap between the log pointers of a server: lines that no file has delivered.",
    "ledger_problems": "Grain: one file or folder of the landing folder that could not be taken, with the reason.",
    "ledger_purges": "Grain: one delivery and kind of what was purged of it.",
    "ledger_frozen": "Grain: one landed file of report rows of purged deliveries.",
    "ledger_salt": "Grain: one row, once something was purged: what digests of persons are made with.",
    "ledger_refusals": "Grain: one visitor who refused web tracking in a line that was purged.",
}
DESCRIPTIONS = {
    "tracking_logs": "Grain: one accepted, distinct line of a redirection server's tracking log.",
    "access_logs": "Grain: one accepted, distinct tracking request in a web server's access log.",
    "esp_events": "Grain: one accepted, distinct event of an e-mail service provider's webhook.",
    **{
        entity.name: f"Grain: one row of a reference file of {entity.name}; all versions are kept, keyed by "
        f"{', '.join(entity.key)}."
        for entity in REFERENCE_ENTITIES
    },
    **BY_PRODUCTS,
}
INPUTS = {source.name for source in LINE_SOURCES} | {entity.name for entity in REFERENCE_ENTITIES}
"""What ingest reads; the other landed assets follow from these."""


def landed_key(name: str) -> dg.AssetKey:
    return dg.AssetKey(["landed", name])


def landed_spec(name: str, links: Links) -> dg.AssetSpec:
    """The asset of one landed source. Skippable: a run with nothing to do writes none of them."""
    columns = [
        dg.TableColumn(
            column.name,
            str(column.type),
            tags={"personal_data": ""} if column.name in PERSONAL_COLUMNS.get(name, ()) else {},
        )
        for column in READABLE_SCHEMAS[name]
    ]
    return dg.AssetSpec(
        landed_key(name),
        description=DESCRIPTIONS.get(name, f"Landed rows of {name}."),
        group_name=GROUP,
        skippable=True,
        kinds={"parquet", "python"},
        owners=OWNERS,
        tags={"layer": "landed"},
        metadata={
            "dagster/column_schema": dg.TableSchema(columns),
            **links.docs(LANDED_PAGE),
            **links.pages(name="page_health"),
        },
        freshness_policy=LOGS_FRESHNESS if name == "tracking_logs" else None,
    )


def build_ingest_asset(settings: Settings, links: Links) -> dg.AssetsDefinition:
    """The ingest step. Yields every landed asset, or none where all that is published is up to date."""

    @dg.multi_asset(
        name="ingest",
        specs=[landed_spec(name, links) for name in READABLE_SCHEMAS],
        check_specs=[_platform_check_spec()] if settings.reference_url else None,
        required_resource_keys={"pipeline_lock", "reporter", RESOURCE},
        pool=POOL,
        description="Takes in what is new in the landing folder and in the platform's database: one commit per batch.",
    )
    def ingest(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult | dg.AssetCheckResult]:
        from log_ingest.ingest import ingest as take_in
        from log_ingest.platform.take_tables import PlatformSource

        reporter = context.resources.reporter
        reporter.stage("ingest")
        check_landing_dir(settings.landing_dir)
        try:
            platform = (
                PlatformSource.load(settings.reference_url, settings.reference_mapping, is_full=settings.reference_full)
                if settings.reference_url
                else None
            )
            report = take_in(
                settings.landing_dir,
                settings.warehouse_dir,
                landed_dir=settings.landed_dir,
                run_id=context.run.run_id,
                progress=reporter.progress,
                server_time_zones=settings.zone_by_server(),
                accepts_drift=settings.accept_new_formats,
                platform=platform,
                ledger_at=settings.ledger_url,
                worker_count=settings.ingest_workers,
                let_workers_in=context.resources.pipeline_lock.workers_let_in,
            )
        except IngestError as error:
            raise retry_or_fail(context, settings, error, str(error)) from error
        reporter.ingest_report = report
        for problem in report.problems:
            context.log.warning("ingest: %s", plain(problem, 500))
        if platform is not None:
            yield platform_check_result(report.platform_problems)
        if privacy.is_pending(settings):
            context.log.info("an erasure or a purge is to be finished: everything is built anew from the landed rows")
            privacy.discard_work(settings)
        try:
            remove_spilled(settings)
            if build_state.discard_unreadable_database(settings):
                context.log.warning("the working database could not be opened; it is built again from the landed rows")
            plan = build_state.plan(settings, report.latest_batch_id)
            plan = _with_wishes(settings, plan, context.resources.run_scope)
        except (PublishError, build_state.DatabaseInUse, RemakeError) as error:
            raise retry_or_fail(context, settings, error, str(error)) from error
        note_run(context, plan, report)
        reporter.plan = plan
        if not plan.reasons:
            context.log.info("nothing new: the published version is up to date, models and publishing are skipped")
            return
        context.log.info("to do: %s", "; ".join(plan.reasons))
        for name in READABLE_SCHEMAS:
            yield dg.MaterializeResult(asset_key=landed_key(name), metadata=_metadata(name, report))

    return ingest


def _with_wishes(settings: Settings, plan: build_state.Plan, scope: RunScope) -> build_state.Plan:
    """The plan with what was asked of this run in particular. Notes deliveries that are to be made again."""
    if scope.asks_for_deliveries and (asked := ask(settings, scope)):
        shown = f"delivery {asked[0]} is" if len(asked) == 1 else f"{len(asked)} deliveries are"
        return replace(plan, reasons=(*plan.reasons, f"{shown} made again from the landed rows"))
    if scope.full_checks:
        return replace(plan, reasons=(*plan.reasons, "everything is checked"), is_check_only=not plan.reasons)
    return plan


def note_run(context: dg.AssetExecutionContext, plan: build_state.Plan, report: "IngestReport") -> None:
    """Tag the run with what it is about, so that the UI's list of runs can be searched for it."""
    tags = {"mtw/batches": f"{report.batch_ids[0]}-{report.batch_ids[-1]}" if report.batch_ids else "none"}
    if plan.reasons:
        tags["mtw/why"] = plain("; ".join(plan.reasons), 200)
    context.instance.add_run_tags(context.run.run_id, tags)


def _platform_check_spec() -> dg.AssetCheckSpec:
    return dg.AssetCheckSpec(
        PLATFORM_CHECK,
        asset=landed_key("batches"),
        description="Every table of the mapping was read in this run. Where not, the run goes on with the reference"
        " rows that landed before, and says so.",
    )


def platform_check_result(problems: list[str]) -> dg.AssetCheckResult:
    """A warning where the platform's database, or a table of it, was not read: the logs are published all the same."""
    first = plain(problems[0], 400) if problems else ""
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return dg.AssetCheckResult(
        asset_key=landed_key("batches"),
        check_name=PLATFORM_CHECK,
        passed=not problems,
        severity=dg.AssetCheckSeverity.WARN,
        description=first + more if problems else None,
        metadata={"problems": dg.MetadataValue.md("\n".join(f"* {markdown(line, 500)}" for line in problems[:50]))}
        if problems
        else {},
    )


def check_landing_dir(landing_dir: Location) -> None:
    """Raises dagster.Failure with one line where the landing folder is missing; ingest looks at a bucket itself."""
    if isinstance(landing_dir, Path) and not landing_dir.is_dir():
        raise dg.Failure(missing_landing_dir(landing_dir), allow_retries=False)


def missing_landing_dir(landing_dir: Path) -> str:
    return (
        f"landing folder {landing_dir} does not exist; set MTW_LANDING_DIR to where the log files arrive, "
        f"or make a sample with: mtw sample {landing_dir}"
    )


def totals_rows(report: "IngestReport") -> list[list[object]]:
    """Control totals of one ingest, per source: see TOTALS_HEADER."""
    return [
        [
            *(name, totals.files_seen, totals.files_new, totals.files_duplicate, totals.files_skipped),
            *(totals.lines, totals.accepted, totals.duplicate, totals.quarantined, totals.not_tracking, totals.blank),
            *(totals.suppressed, totals.held_bytes),
        ]
        for name, totals in report.totals.items()
    ]


TOTALS_HEADER = (
    *("source", "files seen", "new", "duplicate files", "skipped"),
    *("lines", "accepted", "duplicate", "quarantined", "not tracking", "blank", "suppressed", "held bytes"),
)


def _metadata(name: str, report: "IngestReport") -> dict[str, Any]:
    metadata: dict[str, Any] = {
        "batch_ids": dg.MetadataValue.text(", ".join(map(str, report.batch_ids)) or "none in this run"),
        "latest_batch_id": report.latest_batch_id,
    }
    if name in INPUTS:
        rows = [row for row in totals_rows(report) if row[0] == name]
        metadata["control_totals"] = dg.MetadataValue.md(markdown_table(TOTALS_HEADER, rows))
        if name in report.totals:
            metadata["accepted_rows"] = report.totals[name].accepted
            metadata["quarantined_rows"] = report.totals[name].quarantined
        problems = [problem for problem in report.problems if problem.startswith((f"{name}/", f"reference/{name}/"))]
    else:
        problems = list(report.problems) if name == "batches" else []
        if name == "batches":
            metadata["control_totals"] = dg.MetadataValue.md(markdown_table(TOTALS_HEADER, totals_rows(report)))
    if problems:
        shown = "\n".join(f"* {markdown(problem, 500)}" for problem in problems[:50])
        metadata["problems"] = dg.MetadataValue.md(shown)
    return metadata
