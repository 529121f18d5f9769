"""Retention: which deliveries are kept no longer, and purging them.

Belongs here: what is due by the settings, which published rows and lines belong to it, locks. Does not: landed rows
(log_ingest.retention), or the run that builds and publishes anew (pipeline).

A purge is complete when the next version is published: as of an erasure, `log_ingest.erasure.PENDING` in the ledger
says that it is not, and any run of the pipeline brings it to its end. No number of a report changes with it, so the
published version stays right until then.
"""

import contextlib
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import duckdb

from log_ingest.errors import IngestError
from log_ingest.frozen import PERSON
from log_ingest.late_lines import TRACKING_KINDS
from log_ingest.ledger import Ledger, PurgedDelivery
from log_ingest.retention import PUBLISHED, Due, KeptTable, PurgeReport, purge_tracking
from log_ingest.sqltext import literal
from log_ingest.storage import reason
from orchestration import build_state, identifiers, privacy, publish
from orchestration.dbt import load_manifest, prepare_manifest
from orchestration.lock import PipelineLock, PipelineLocked, holder
from orchestration.settings import Settings

STATISTICS = "statistics"
"""config.meta.retention of a model whose rows of a delivery outlive its events. dbt's macro keep_statistics puts them
back."""

_EVENTS = f"""
    select
        case source when 'tracking_log' then 'tracking_logs' when 'access_log' then 'access_logs' else 'esp_events'
        end as source, event_key, delivery_id, message_id, occurred_at, is_in_time_range, ingested_at
    from {PUBLISHED}.core.fct_tracking_events
    union all
    -- What a provider tells of an act that our own logs tell of too is in no other fact.
    select 'esp_events', event_key, delivery_id, message_id, occurred_at,
        coalesce(time_flag not in ('far_past', 'far_future'), true), ingested_at
    from {PUBLISHED}.core.fct_esp_events
    where is_counted is distinct from true and event_kind in ({", ".join(map(literal, TRACKING_KINDS))})
"""  # noqa: S608 (constants)

_EXPIRED = f"""
    with events as ({_EVENTS}),
    counted as (
        select delivery_id, count(*) as event_count, min(occurred_at) as first_event_at,
            max(occurred_at) as last_event_at,
            coalesce(max(occurred_at) filter (where is_in_time_range), max(ingested_at)) as last_at
        from events where delivery_id <> 0 group by delivery_id
    )
    select delivery_id, coalesce(validity_end_at, sent_at, last_at) as expired_at, event_count, first_event_at,
        last_event_at
    from counted join {PUBLISHED}.core.dim_deliveries using (delivery_id)
    where expired_at < ? order by expired_at, delivery_id
"""  # noqa: S608 (constants)


class NotPublishedError(IngestError):
    """What stays could not be taken from the published version: it is behind what has landed. A run mends that."""


@dataclass
class Purge:
    """What was, or would be, purged. kept_days: the setting; None: nothing is ever purged.

    held_back: deliveries that are due but share messages with one that is not; they go together.
    """

    kept_days: int | None
    report: PurgeReport = field(default_factory=lambda: PurgeReport([]))
    held_back: list[int] = field(default_factory=list)


def purge(settings: Settings, *, dry_run: bool = False, now: datetime | None = None) -> Purge:
    """Purge what the settings keep no longer. now: UTC, the clock's where None. A dry run writes nothing.

    Takes the lock. Raises NotPublishedError, IngestError, PipelineLocked, PublishError, DbtError; then nothing was
    changed.
    """
    if settings.keep_tracking_days is None:
        return Purge(None)
    if settings.engine != "duckdb":
        raise IngestError("Spark keeps no statistics of purged deliveries; purge and build with MTW_ENGINE=duckdb")
    if dry_run:
        if busy := holder(settings.lock_path):
            raise PipelineLocked(str(busy))
        return _purge(settings, now, is_dry=True)
    # In the order in which a verification takes them: what it has built beside would outlive the purge.
    with PipelineLock(settings.warehouse_dir / privacy.VERIFY_LOCK), PipelineLock(settings.lock_path):
        done = _purge(settings, now, is_dry=False)
    with PipelineLock(settings.lock_path):
        if privacy.is_pending(settings):
            privacy.discard_work(settings)
    return done


def kept_tables(nodes: Iterable[Mapping[str, Any]]) -> list[KeptTable]:
    """Of the nodes of a manifest: the published tables whose rows of a delivery outlive its events."""
    return sorted(
        (
            KeptTable(node["schema"], node["name"], PERSON in node["columns"])
            for node in nodes
            if node["resource_type"] == "model"
            and (node["config"].get("meta") or {}).get("retention") == STATISTICS
            and node["config"]["materialized"] in ("table", "incremental")
            and "delivery_id" in node["columns"]
        ),
        key=lambda table: (table.schema, table.name),
    )


def _purge(settings: Settings, now: datetime | None, *, is_dry: bool) -> Purge:
    assert settings.keep_tracking_days is not None
    _check_published(settings)
    before = (now or datetime.now(UTC).replace(tzinfo=None)) - timedelta(days=settings.keep_tracking_days)
    with Ledger(settings.ledger_path, read_only=True) as ledger:
        gone = {row["delivery_id"] for row in ledger.purged_deliveries()}
    try:
        found, held_back = _expired(settings, before, gone)
    except duckdb.Error as error:
        raise IngestError(f"the published version does not hold what a purge reads: {reason(error)}") from error
    ids = sorted(gone | {entry.delivery_id for entry in found})
    if not ids:
        return Purge(settings.keep_tracking_days, held_back=held_back)
    database = settings.published_database.resolve()
    due = Due(
        database=database,
        deliveries=found,
        tables=[] if is_dry else kept_tables(load_manifest(prepare_manifest(settings))["nodes"].values()),
        # Those purged before: lines of theirs that only the models could tell.
        lines=f"select source, event_key from ({_EVENTS}) where delivery_id in ({', '.join(map(str, ids))})",  # noqa: S608 (numbers)
        kept_days=settings.keep_tracking_days,
        identities=identifiers.beside(database),
    )
    report = purge_tracking(
        settings.warehouse_dir, due, run_id=str(uuid.uuid4()), landed_dir=settings.landed_dir, is_dry=is_dry
    )
    return Purge(settings.keep_tracking_days, report, held_back)


def _check_published(settings: Settings) -> None:
    """What stays is taken from the published version: it has to hold all that has landed, by the models of now."""
    published = publish.current(settings.published_dir)
    if published is None:
        raise NotPublishedError("nothing is published yet; run: mtw run")
    with Ledger(settings.ledger_path, read_only=True) as ledger:
        is_current = ledger.last_batch_id() == published.batch_id
    if not is_current or published.build_digest != build_state.build_digest(settings) or privacy.is_pending(settings):
        raise NotPublishedError("what has landed is not all published yet by the models of now; first run: mtw run")


def _expired(settings: Settings, before: datetime, gone: set[int]) -> tuple[list[PurgedDelivery], list[int]]:
    """Deliveries with events that expired before a moment, and those of them that have to wait for others."""
    with contextlib.closing(duckdb.connect()) as connection:
        connection.execute(f"attach {literal(str(settings.published_database.resolve()))} as {PUBLISHED} (read_only)")
        found = {
            row[0]: PurgedDelivery(row[0], _iso(row[1]), row[2], _iso(row[3]), _iso(row[4]))
            for row in connection.execute(_EXPIRED, [before]).fetchall()
            if row[0] not in gone
        }
        # Verdicts look at all events of a message together, so these go together.
        shared = connection.execute(
            f"select distinct list(distinct delivery_id order by delivery_id) from ({_EVENTS}) where message_id <> 0"  # noqa: S608
            " group by message_id having count(distinct delivery_id) > 1"
        ).fetchall()
    held_back: set[int] = set()
    while True:
        more = {
            delivery
            for (group,) in shared
            for delivery in group
            if delivery in found and any(other not in found and other not in gone for other in group)
        }
        if not more:
            return list(found.values()), sorted(held_back)
        held_back |= more
        for delivery in more:
            del found[delivery]


def _iso(moment: datetime | None) -> Any:
    return moment.isoformat(sep=" ") if moment else None
