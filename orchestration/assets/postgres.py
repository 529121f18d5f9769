"""The PostgreSQL copy of the published version as an asset, where MTW_PUBLISH_URL names a database.

Belongs here: calling the copy and showing the result. Does not: how a copy is made (orchestration.postgres_copy).
"""

from pathlib import Path

import dagster as dg

from orchestration.assets import published
from orchestration.dbt import load_manifest
from orchestration.links import BI_PAGE, Links
from orchestration.model_sql import primary_keys
from orchestration.postgres_copy import SETTING, CopyError, CopyReport, copy_to_postgres
from orchestration.resources import POOL
from orchestration.settings import Settings
from orchestration.text import markdown, markdown_table, plain
from orchestration.transient import retry_or_fail

KEY = dg.AssetKey(["published", "postgresql"])
STAGE = "copy to PostgreSQL"


def build_copy_asset(settings: Settings, manifest_path: Path, links: Links) -> dg.AssetsDefinition | None:
    """The step after publishing; None where no database is named. Its failure unpublishes nothing."""
    url = settings.publish_url
    if not url:
        return None

    @dg.asset(
        key=KEY,
        deps=[published.KEY],
        group_name="published",
        kinds={"postgres"},
        owners=["team:analytics"],
        tags={"layer": "published"},
        description="The published version in PostgreSQL, for BI tools that open no DuckDB file: the schemas core,"
        f" reports and meta of the database that {SETTING} names, brought to each version by one commit.",
        required_resource_keys={"pipeline_lock", "reporter"},
        pool=POOL,
        freshness_policy=published.FRESHNESS,
        metadata=links.docs(BI_PAGE),
    )
    def postgresql_copy(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        reporter = context.resources.reporter
        reporter.stage(STAGE)
        try:
            report = copy_to_postgres(
                url,
                settings.published_dir,
                keys=primary_keys(load_manifest(manifest_path)),
                role=settings.publish_role,
                spill_dir=settings.working_database.parent,
                memory_limit=settings.memory_limit,
                progress=reporter.built,
            )
        except CopyError as error:
            # Without its cause: a driver's error may show the URL.
            raise retry_or_fail(context, settings, error, plain(str(error), 600)) from None
        for note in report.notes:
            context.log.warning("PostgreSQL copy: %s", plain(note, 500))
        return dg.MaterializeResult(metadata=_metadata(report))

    return postgresql_copy


def _metadata(report: CopyReport) -> dict[str, dg.MetadataValue]:
    order = {"filled": 0, "changed": 1, "unchanged": 2}
    rows = [
        (table.name, table.how, table.rows, table.inserted, table.deleted, round(table.seconds, 2))
        for table in sorted(report.tables, key=lambda table: (order[table.how], table.name))
    ]
    metadata: dict[str, dg.MetadataValue] = {
        "version": dg.MetadataValue.text(f"{report.version:06d}"),
        "former_version": dg.MetadataValue.text(
            f"{report.former_version:06d}" if report.former_version is not None else "none"
        ),
        "dagster/row_count": dg.MetadataValue.int(sum(table.rows for table in report.tables)),
        "rows_written": dg.MetadataValue.int(report.rows_written),
        "tables_changed": dg.MetadataValue.int(sum(table.how != "unchanged" for table in report.tables)),
        "seconds": dg.MetadataValue.float(round(report.seconds, 2)),
        "tables": dg.MetadataValue.md(
            markdown_table(("table", "what was done", "rows", "inserted", "deleted", "seconds"), rows)
        ),
    }
    if report.dropped:
        metadata["dropped"] = dg.MetadataValue.text(", ".join(report.dropped))
    if report.notes:
        metadata["notes"] = dg.MetadataValue.md("\n".join(f"* {markdown(note, 500)}" for note in report.notes))
    return metadata
