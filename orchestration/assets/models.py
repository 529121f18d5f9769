"""The dbt models as assets, their tests as asset checks.

Belongs here: one dbt invocation per run and what is attached to its events. Does not: models.
"""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import dagster as dg

from log_ingest.ledger import Ledger
from log_ingest.storage import let_read
from orchestration import build_state, held_memory
from orchestration.bounded import connected
from orchestration.dagster_dbt_alone import dbt_assets
from orchestration.dbt import (
    DbtError,
    ProjectTranslator,
    dbt_args,
    dbt_resource,
    engine_broke_down,
    failure,
    load_manifest,
    prepare_target,
    ran_out_of_memory,
)
from orchestration.engine import EngineError, engine_of
from orchestration.highlights import Mart, all_highlights, marts_of
from orchestration.lineage import AGGREGATE, ROWS, VALUE, Edge, Table
from orchestration.links import Links
from orchestration.model_sql import ProjectSql, prepare_sql
from orchestration.publication import SCHEMAS
from orchestration.resources import POOL
from orchestration.settings import Settings
from orchestration.table_metadata import table_metadata
from orchestration.text import plain

LINEAGE = "dagster/column_lineage"


def build_dbt_assets(settings: Settings, manifest_path: Path) -> dg.AssetsDefinition:
    """All models, seeds and snapshots of the project as one step."""
    manifest = load_manifest(manifest_path)
    marts = marts_of(manifest["nodes"].values())

    @dbt_assets(
        manifest=manifest,
        name="models",
        dagster_dbt_translator=ProjectTranslator(Links.of(settings, manifest)),
        required_resource_keys={"pipeline_lock", "reporter"},
        pool=POOL,
    )
    def models(context: dg.AssetExecutionContext) -> Iterator[Any]:
        reporter = context.resources.reporter
        reporter.stage("build")
        with Ledger(settings.ledger, read_only=True) as ledger:
            batch_id = ledger.last_batch_id()
            batches = ledger.batches()
        plan = build_state.plan(settings, batch_id)
        # Digests of what dbt is about to read, not of what an editor saves meanwhile.
        digests = build_state.build_digest(settings), build_state.hidden_digest(settings)
        engine = engine_of(settings)
        alone = engine.is_best_alone(build_state.rows_anew(settings, plan, batches))
        try:
            engine.check(settings)
        except EngineError as error:
            raise dg.Failure(str(error), allow_retries=False) from error
        settings.working_database.parent.mkdir(parents=True, exist_ok=True)
        build_state.forget_build(settings)
        held_memory.give_back()
        whole = not context.is_subset
        total = len(context.selected_asset_keys) + len(context.selected_asset_check_keys)

        def build(*, one_at_a_time: bool, cautious: bool = False) -> tuple[Path, list[Any], bool]:
            """dbt's target folder, its events, whether it failed."""
            target = prepare_target(settings, manifest_path)
            invocation = dbt_resource(settings, cautious=cautious).cli(
                dbt_args(full_refresh=plan.full_refresh and whole, one_at_a_time=one_at_a_time),
                context=context,
                target_path=target,
                raise_on_error=False,
            )
            # All of them first: while dbt works, nobody else can open the database that tells more of them.
            events = []
            for event in invocation.stream():
                events.append(event)
                reporter.built(len(events), total)
            return target, events, invocation.get_error() is not None

        with ThreadPoolExecutor(max_workers=1) as beside:
            # It reads no warehouse, so it need not wait for this one, and dbt leaves a core idle now and then.
            sql = beside.submit(prepare_sql, settings, manifest_path)
            target, events, failed = build(one_at_a_time=alone)
            if failed and ran_out_of_memory(target) and not alone:
                # Two models share the limit, and one alone has all of it. Models that only add have little left to do.
                context.log.warning("%s; building once more, one model at a time", failure(target))
                target, events, failed = build(one_at_a_time=True)
            elif failed and engine_broke_down(target):
                context.log.warning("%s; building once more, without some of DuckDB's optimizers", failure(target))
                target, events, failed = build(one_at_a_time=alone, cautious=True)
        if not failed:
            try:
                engine.collect(settings, manifest)
            except EngineError as error:
                raise dg.Failure(str(error), allow_retries=False) from error
        lineage = {} if failed else _lineage(context, sql)
        numbers = {} if failed else _numbers(context, settings, marts)
        yield from _with_metadata(events, lineage, numbers)
        if failed:
            raise dg.Failure(failure(target), allow_retries=False)
        told = {str(getattr(event, "output_name", "")) for event in events}
        untold = sorted(key.to_user_string() for key in context.selected_asset_keys if "__".join(key.path) not in told)
        if untold:
            # dbt tells by lines of its output. Where one is lost, Dagster would leave out what follows, in silence.
            raise dg.Failure(
                f"dbt built all, but its word on {len(untold)} models was lost, {untold[0]} among them, so nothing is"
                " published; what else writes to its output? The step's log in the Dagster UI shows it",
                allow_retries=False,
            )
        if whole:
            build_state.record_build(settings, build_state.Build(*digests, batch_id, context.run.run_id))

    return models


def _with_metadata(
    events: list[Any],
    lineage: dict[str, dg.TableColumnLineage],
    numbers: dict[str, dict[str, dg.MetadataValue]],
) -> Iterator[Any]:
    """The events with row counts, columns, column lineage and what their marts say."""
    for event in events:
        name = getattr(event, "output_name", None)
        more: dict[str, Any] = dict(numbers.get(str(name), {}))
        if name in lineage:
            more[LINEAGE] = dg.MetadataValue.column_lineage(lineage[name])
        yield event.with_metadata({**event.metadata, **more}) if more else event


def _numbers(
    context: dg.AssetExecutionContext, settings: Settings, marts: list[Mart]
) -> dict[str, dict[str, dg.MetadataValue]]:
    """Columns and row counts of what was built, and what its marts say, by output.

    A mart that cannot be read so is none the worse for it.
    """
    selected = {"__".join(key.path) for key in context.selected_asset_keys}
    with connected(settings, settings.working_database) as connection:
        let_read(connection, settings.landed_dir)
        found = table_metadata(connection, selected)
        said, problems = all_highlights(connection, [mart for mart in marts if mart.output in selected])
    for problem in problems:
        context.log.warning("no numbers of %s", problem)
    for output, values in said.items():
        found[output] = found.get(output, {}) | values
    return found


def _lineage(context: dg.AssetExecutionContext, sql: Future[ProjectSql]) -> dict[str, dg.TableColumnLineage]:
    """Column lineage by output. A model whose lineage cannot be found out is none the worse for it."""
    try:
        project = sql.result()
    except DbtError as error:
        context.log.warning("no column lineage: %s", error)
        return {}
    for name, reason in project.unreadable.items():
        context.log.warning("no column lineage of %s: %s", name, plain(reason))
    by_column: dict[tuple[Table, str], list[Edge]] = {}
    for edge in project.edges:
        by_column.setdefault((edge.table, edge.column), []).append(edge)
    by_output: dict[str, dict[str, list[dg.TableColumnDep]]] = {}
    for (table, column), edges in by_column.items():
        # A count of rows is made of no column: then what decides which rows count.
        made_of = [edge for edge in edges if edge.use in (VALUE, AGGREGATE)] or [e for e in edges if e.use == ROWS]
        read = dict.fromkeys((edge.source, edge.source_column) for edge in made_of)
        by_output.setdefault("__".join(table), {})[column] = [
            dg.TableColumnDep(dg.AssetKey(list(source)), name) for source, name in read
        ]
    return {name: dg.TableColumnLineage(columns) for name, columns in by_output.items()}


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
