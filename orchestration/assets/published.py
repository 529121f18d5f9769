"""The published snapshot as an asset: the last step, after every blocking check.

Belongs here: calling publish and showing the result. Does not: how a snapshot is written (orchestration.publish).
"""

import contextlib
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import dagster as dg

from log_ingest.errors import IngestError
from log_ingest.suppression import Key
from orchestration import build_state, held_memory, privacy
from orchestration.check_results import check_results
from orchestration.dbt import DbtError, load_manifest
from orchestration.identifiers import MaskedColumn, MaskError, load_key
from orchestration.links import BI_PAGE, Links
from orchestration.model_sql import ProjectSql, masks_of, meta_tables, prepare_sql, row_wise_of
from orchestration.postgres_copy import is_behind
from orchestration.publication import Publication, PublishError, current
from orchestration.publish import publish
from orchestration.published_tables import undescribed
from orchestration.resources import POOL
from orchestration.settings import Settings
from orchestration.text import markdown_table, plain

KEY = dg.AssetKey(["published", "marts"])

FRESHNESS = dg.FreshnessPolicy.time_window(fail_window=timedelta(hours=26), warn_window=timedelta(hours=4))
"""As for the logs: a version is published whenever anything new has arrived, hourly in daily use."""

MAIN_INDICATORS = (
    *("delivery_id", "delivery_label", "sent_at", "success_count", "recipient_open_count"),
    *("recipient_click_count", "total_click_count", "raw_reactivity"),
)
SHOWN_DELIVERIES = 10


def build_publish_asset(
    settings: Settings, manifest_path: Path, marts: Sequence[dg.AssetKey], links: Links
) -> dg.AssetsDefinition:
    """The publish step: depends on every mart, so that a failed model or blocking check stops it."""

    @dg.asset(
        key=KEY,
        deps=list(marts),
        group_name="published",
        kinds={"duckdb", "parquet"},
        owners=["team:analytics"],
        tags={"layer": "published"},
        description="The complete, read-only snapshot that BI tools read: published/marts.duckdb and its Parquet "
        "copies, replaced at once after every audited run.",
        required_resource_keys={"pipeline_lock", "reporter"},
        pool=POOL,
        freshness_policy=FRESHNESS,
        metadata=links.docs(BI_PAGE) | links.pages(name="page_dashboard"),
    )
    def published_marts(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        context.resources.reporter.stage("publish")
        try:
            context.resources.pipeline_lock.check()
        except IngestError as error:
            raise dg.Failure(str(error), allow_retries=False) from error
        build = build_state.last_build(settings)
        if build is None or build.batch_id == build_state.UNFINISHED:
            raise dg.Failure("the models were not built to the end; run all of it: mtw run", allow_retries=False)
        plan = context.resources.reporter.plan
        if published := _already_published(settings, build, is_check_only=bool(plan and plan.is_check_only)):
            context.log.info("version %s holds all of it; no other is published", published.label)
            return dg.MaterializeResult(metadata=_metadata(settings, published))
        try:
            project: ProjectSql | None = prepare_sql(settings, manifest_path)
        except DbtError as error:
            context.log.warning("published without the models' SQL, which mtw explain needs: %s", error)
            project = None
        extra = [*(meta_tables(project) if project else ()), check_results(context.instance, context.run.run_id)]
        try:
            manifest = load_manifest(manifest_path)
            masked: list[MaskedColumn] = []
            key: Key | None = None
            if not settings.publishes_clear:
                masked, silent = masks_of(manifest, project)
                key = load_key(settings.warehouse_dir)
                if silent:
                    context.log.warning(
                        "hidden, because personal fields reach them: %s; say in their meta how they are masked, or why"
                        " they are sanitised (docs/sql-lint.md)",
                        plain(", ".join(silent), 500),
                    )
            followed, wrong = row_wise_of(manifest, masked)
            if wrong:
                context.log.warning(
                    "copied as a whole in each version, for what their meta says: %s", plain("; ".join(wrong), 500)
                )
            is_pending = privacy.is_pending(settings)
            held_memory.give_back()
            publication = publish(
                settings.working_database,
                settings.published_dir,
                run_id=context.run.run_id,
                batch_id=build.batch_id,
                build_digest=build.build_digest,
                extra=extra,
                masked=masked,
                key=key,
                landed=settings.landed_dir,
                # Bytes that no row has any more would stay in a copy of the former file.
                row_wise=() if is_pending else followed,
                memory_limit=settings.memory_limit,
                keep=settings.kept_versions,
                mode=settings.published_mode,
                group_reads_identities=settings.published_identifiers == "group",
            )
            if is_pending:
                if build.run_id != context.run.run_id:
                    raise PublishError("an erasure or a purge is to be finished, for which all is built anew: mtw run")
                privacy.finish(settings)
        except (PublishError, MaskError, IngestError) as error:
            raise dg.Failure(str(error), allow_retries=False) from error
        bare = undescribed(settings.published_database)
        if bare:
            context.log.warning("%d tables or columns have no description: %s", len(bare), plain(", ".join(bare), 500))
        context.instance.add_run_tags(context.run.run_id, {"mtw/version": publication.label})
        return dg.MaterializeResult(metadata=_metadata(settings, publication) | {"undescribed_count": len(bare)})

    return published_marts


def _already_published(settings: Settings, build: build_state.Build, *, is_check_only: bool) -> Publication | None:
    """The published version, where only its copy in PostgreSQL is missing, or all was built to be checked: another
    version would be the same again. Versions that readers may want to look back at are not pushed out.
    """
    try:
        published = current(settings.published_dir)
    except PublishError:
        return None
    if published is None or (published.batch_id, published.build_digest) != (build.batch_id, build.build_digest):
        return None
    url = settings.publish_url
    return published if is_check_only or (url and is_behind(url, settings.published_dir, published)) else None


def main_indicators(settings: Settings, limit: int = SHOWN_DELIVERIES) -> tuple[list[str], list[tuple[object, ...]]]:
    """The main indicators of the newest deliveries in the published version: columns and rows. Empty without it."""
    import duckdb

    path = settings.published_database.resolve()
    with contextlib.closing(duckdb.connect(str(path), read_only=True)) as connection:
        present = {
            name
            for (name,) in connection.execute(
                "select column_name from duckdb_columns()"
                " where schema_name = 'reports' and table_name = 'rpt_tracking_indicators'"
            ).fetchall()
        }
        columns = [name for name in MAIN_INDICATORS if name in present]
        if not columns:
            return [], []
        rows = connection.execute(
            f"select {', '.join(columns)} from reports.rpt_tracking_indicators"  # noqa: S608 (constants)
            f" order by {'sent_at desc nulls last' if 'sent_at' in columns else columns[0]} limit ?",
            [limit],
        ).fetchall()
        return columns, rows


def _metadata(settings: Settings, publication: Publication) -> dict[str, dg.MetadataValue]:
    tables = [(name, rows) for name, rows in publication.tables.items()]
    columns, rows = main_indicators(settings)
    metadata: dict[str, dg.MetadataValue] = {
        "version": dg.MetadataValue.text(publication.label),
        "size_bytes": dg.MetadataValue.int(publication.size_bytes),
        "batch_id": dg.MetadataValue.int(publication.batch_id),
        "table_count": dg.MetadataValue.int(len(tables)),
        "tables": dg.MetadataValue.md(markdown_table(("table", "rows"), tables)),
        "database": dg.MetadataValue.path(str(settings.published_database)),
        "data_through_at": dg.MetadataValue.text(
            f"{publication.data_through_at:%Y-%m-%d %H:%M:%S} UTC" if publication.data_through_at else "no event yet"
        ),
    }
    if rows:
        metadata["main_indicators"] = dg.MetadataValue.md(markdown_table(columns, rows))
    return metadata
