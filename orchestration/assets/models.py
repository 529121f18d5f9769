"""The dbt models as assets, their tests as asset checks.

Belongs here: one dbt invocation per run and what is attached to its events. Does not: models.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
from dagster_dbt import DbtCliInvocation, dbt_assets
from dagster_dbt.core.dbt_event_iterator import DbtEventIterator

from log_ingest.ledger import Ledger
from orchestration import build_state
from orchestration.dbt import (
    ProjectTranslator,
    dbt_args,
    dbt_resource,
    failure,
    keeps_open,
    load_manifest,
    prepare_target,
)
from orchestration.publish import SCHEMAS
from orchestration.resources import POOL
from orchestration.settings import Settings

LINEAGE = "dagster/column_lineage"

Lineage = dict[str, dict[str, list[tuple[list[str], str]]]]
"""By output and column: the asset keys and columns that the column is made of."""


def build_dbt_assets(settings: Settings, manifest_path: Path) -> dg.AssetsDefinition:
    """All models, seeds and snapshots of the project as one step."""

    @dbt_assets(
        manifest=load_manifest(manifest_path),
        name="models",
        dagster_dbt_translator=ProjectTranslator(),
        required_resource_keys={"pipeline_lock", "reporter"},
        pool=POOL,
    )
    def models(context: dg.AssetExecutionContext) -> Iterator[Any]:
        reporter = context.resources.reporter
        reporter.stage("build")
        with Ledger(settings.ledger_path, read_only=True) as ledger:
            batch_id = ledger.last_batch_id()
        plan = build_state.plan(settings, batch_id)
        # Digests of what dbt is about to read, not of what an editor saves meanwhile.
        digests = build_state.build_digest(settings), build_state.hidden_digest(settings)
        target = prepare_target(settings, manifest_path)
        settings.working_database.parent.mkdir(parents=True, exist_ok=True)
        build_state.forget_build(settings)
        whole = not context.is_subset
        with keeps_open():
            invocation = dbt_resource(settings).cli(
                dbt_args(full_refresh=plan.full_refresh and whole),
                context=context,
                target_path=target,
                raise_on_error=False,
            )
        total = len(context.selected_asset_keys) + len(context.selected_asset_check_keys)
        # Draining first: the metadata fetchers below spin while dbt runs, at the cost of what dbt needs.
        events = []
        for event in invocation.stream():
            events.append(event)
            reporter.built(len(events), total)
        # Of an incomplete run, lineage would be incomplete too, and kept.
        failed = invocation.get_error() is not None
        kept = target if failed or not whole else manifest_path.parent
        yield from _with_metadata(invocation, events, kept / "column_lineage.json")
        if failed:
            raise dg.Failure(failure(target), allow_retries=False)
        if whole:
            build_state.record_build(settings, build_state.Build(*digests, batch_id, context.run.run_id))

    return models


def _with_metadata(invocation: DbtCliInvocation, events: list[Any], lineage_path: Path) -> Iterator[Any]:
    """The events with row counts, column schema and column lineage, fetched after dbt has closed the database.

    Lineage follows from the SQL alone, and takes as long to find out as all the models take to build: it is looked
    up once for each state of the project, and kept in lineage_path.
    """
    known = _read_lineage(lineage_path)
    stream: Any = DbtEventIterator(iter(events), invocation)
    found: Lineage = {}
    for event in stream.fetch_row_counts().fetch_column_metadata(with_column_lineage=known is None):
        name = getattr(event, "output_name", None)
        if name and known and name in known:
            event = event.with_metadata({**event.metadata, LINEAGE: _lineage_value(known[name])})
        elif name and LINEAGE in event.metadata:
            found[name] = {
                column: [(list(dep.asset_key.path), dep.column_name) for dep in deps]
                for column, deps in event.metadata[LINEAGE].value.deps_by_column.items()
            }
        yield event
    if known is None and found:
        temporary = lineage_path.with_suffix(".tmp")
        temporary.write_text(json.dumps(found), encoding="utf-8")
        temporary.replace(lineage_path)


def _read_lineage(path: Path) -> Lineage | None:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _lineage_value(columns: dict[str, list[tuple[list[str], str]]]) -> dg.MetadataValue:
    return dg.MetadataValue.column_lineage(
        dg.TableColumnLineage(
            {
                column: [dg.TableColumnDep(dg.AssetKey(key), source) for key, source in deps]
                for column, deps in columns.items()
            }
        )
    )


def mart_keys(manifest_path: Path) -> list[dg.AssetKey]:
    """The assets that publishing copies: models and seeds of the published schemas."""
    nodes = load_manifest(manifest_path)["nodes"].values()
    translator = ProjectTranslator()
    return sorted(
        translator.get_asset_key(node)
        for node in nodes
        if node["resource_type"] in ("model", "seed", "snapshot")
        and node["schema"] in SCHEMAS
        and node["config"]["materialized"] != "ephemeral"
    )
