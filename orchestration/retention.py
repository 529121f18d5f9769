"""Retention: what is kept no longer, and purging it.

Belongs here: what is due by the settings, which published rows, lines and messages belong to it, locks. Does not:
landed rows (log_ingest.retention), or the run that builds and publishes anew (pipeline).

A purge is complete when the next version is published: as of an erasure, `log_ingest.erasure.PENDING` in the ledger
says that it is not, and any run of the pipeline brings it to its end. No number of a report changes with it unless
statistics go too, so the published version stays right until then.
"""

import itertools
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import duckdb

from log_ingest.errors import IngestError
from log_ingest.frozen import DELIVERY_LOGS, PERSON, SET_ASIDE, STATISTICS, TRACKING
from log_ingest.late_lines import TRACKING_KINDS
from log_ingest.ledger import Ledger, PurgedDelivery
from log_ingest.retention import NO_MESSAGES, PUBLISHED, Due, KeptTable, PurgeReport
from log_ingest.retention import purge as purge_landed
from log_ingest.sqltext import literal
from log_ingest.storage import reason
from orchestration import build_state, identifiers, privacy
from orchestration.bounded import connected
from orchestration.dbt import load_manifest, prepare_manifest
from orchestration.lock import PipelineLock, PipelineLocked, holder
from orchestration.publication import current
from orchestration.settings import Settings

KEPT_FROM = {"statistics": TRACKING, "log_statistics": DELIVERY_LOGS}
"""By config.meta.retention of a model whose rows of a delivery outlive what they count: from which purge on they are
kept. dbt's macro keep_statistics puts them back."""

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

# What a provider tells of a message besides acts.
_OUTCOMES = f"""
    select event_key, delivery_id from {PUBLISHED}.core.fct_esp_events
    where event_kind not in ({", ".join(map(literal, TRACKING_KINDS))})
"""  # noqa: S608 (constants)

# As the macro time_of_sending says it, for of a purged delivery the purge alone knows it.
_TIME_OF_SENDING = (
    "case when reference_event_at is null then event_at when time_flag is null then reference_event_at end"
)

# What is held of each delivery, and since when the days of all settings count.
_HELD = f"""
    with events as ({_EVENTS}),
    tracked as (
        select delivery_id, count(*) as event_count, min(occurred_at) as first_event_at,
            max(occurred_at) as last_event_at,
            coalesce(max(occurred_at) filter (where is_in_time_range), max(ingested_at)) as last_at
        from events group by delivery_id
    ),
    logged as (
        select delivery_id, count(*) as message_count,
            min({_TIME_OF_SENDING}) as first_message_at,
            max({_TIME_OF_SENDING}) as last_message_at
        from {PUBLISHED}.core.fct_messages group by delivery_id
    ),
    told as (select delivery_id, count(*) as outcome_count from ({_OUTCOMES}) group by delivery_id)
    select delivery_id, coalesce(validity_end_at, sent_at, last_at) as expired_at,
        coalesce(event_count, 0), first_event_at, last_event_at,
        coalesce(message_count, 0), first_message_at, last_message_at, coalesce(outcome_count, 0)
    from {PUBLISHED}.core.dim_deliveries
    left join tracked using (delivery_id) left join logged using (delivery_id) left join told using (delivery_id)
    where delivery_id <> 0 order by expired_at, delivery_id
"""  # noqa: S608 (constants)


class NotPublishedError(IngestError):
    """What stays could not be taken from the published version: it is behind what has landed. A run mends that."""


class WrongPeriods(IngestError):
    """Settings that contradict each other."""


@dataclass(frozen=True)
class Periods:
    """For how many days what is kept, by kind; for ever where a kind is missing."""

    days: Mapping[str, int]

    @classmethod
    def of(cls, settings: Settings) -> "Periods":
        """Raises WrongPeriods where something would be kept for a shorter time than what rests on it."""
        named = (
            ("MTW_KEEP_TRACKING_DAYS", (TRACKING, SET_ASIDE), settings.keep_tracking_days),
            ("MTW_KEEP_DELIVERY_LOGS_DAYS", (DELIVERY_LOGS,), settings.keep_delivery_logs_days),
            ("MTW_KEEP_STATISTICS_DAYS", (STATISTICS,), settings.keep_statistics_days),
        )
        for (shorter, _, less), (longer, _, more) in itertools.pairwise(named):
            if more is not None and (less is None or more < less):
                kept, or_else = ("for ever", "unset it") if less is None else (f"for {less} days", "raise it")
                raise WrongPeriods(
                    f"{longer} is {more}, but {shorter} keeps {kept} what has to go before: {or_else}, or set {shorter}"
                    f" to at most {more}"
                )
        return cls({kind: days for _, kinds, days in named for kind in kinds if days is not None})

    def before(self, kind: str, now: datetime) -> datetime | None:
        """What is older than this is kept no longer; None where it is kept for ever."""
        return now - timedelta(days=self.days[kind]) if kind in self.days else None


@dataclass
class Purge:
    """What was, or would be, purged. kept_days: the settings, by kind; none: nothing is ever purged.

    held_back: deliveries that are due but share messages with one that is not; they go together.
    """

    kept_days: Mapping[str, int]
    report: PurgeReport = field(default_factory=PurgeReport)
    held_back: list[int] = field(default_factory=list)


def purge(settings: Settings, *, dry_run: bool = False, now: datetime | None = None) -> Purge:
    """Purge what the settings keep no longer. now: UTC, the clock's where None. A dry run writes nothing.

    Takes the lock. Raises WrongPeriods, NotPublishedError, IngestError, PipelineLocked, PublishError, DbtError; then
    nothing was changed, unless the message says that the purge is recorded and the next run has to finish it.
    """
    periods = Periods.of(settings)
    if not periods.days:
        return Purge(periods.days)
    if settings.engine != "duckdb":
        raise IngestError("Spark keeps no statistics of purged deliveries; purge and build with MTW_ENGINE=duckdb")
    moment = now or datetime.now(UTC).replace(tzinfo=None)
    if dry_run:
        if busy := holder(settings.lock_path):
            raise PipelineLocked(str(busy))
        return _purge(settings, periods, moment, is_dry=True)
    # In the order in which a verification takes them: what it has built beside would outlive the purge.
    with PipelineLock(settings.warehouse_dir / privacy.VERIFY_LOCK), PipelineLock.of(settings):
        done = _purge(settings, periods, moment, is_dry=False)
    with PipelineLock.of(settings):
        if privacy.is_pending(settings):
            privacy.discard_work(settings)
    return done


def kept_tables(nodes: Iterable[Mapping[str, Any]]) -> list[KeptTable]:
    """Of the nodes of a manifest: the published tables whose rows of a delivery outlive what they count."""
    return sorted(
        (
            KeptTable(node["schema"], node["name"], PERSON in node["columns"], KEPT_FROM[kept])
            for node in nodes
            if node["resource_type"] == "model"
            and (kept := (node["config"].get("meta") or {}).get("retention")) in KEPT_FROM
            and node["config"]["materialized"] in ("table", "incremental")
            and "delivery_id" in node["columns"]
        ),
        key=lambda table: (table.schema, table.name),
    )


def _purge(settings: Settings, periods: Periods, now: datetime, *, is_dry: bool) -> Purge:
    _check_published(settings)
    with Ledger(settings.ledger, read_only=True) as ledger:
        rows = ledger.purged_deliveries()
    former = {kind: {row["delivery_id"] for row in rows if row["kind"] == kind} for kind in _KINDS}
    expired = {row["delivery_id"]: datetime.fromisoformat(row["expired_at"]) for row in rows}
    try:
        found, held_back = _expired(settings, periods, now, former, expired)
    except duckdb.Error as error:
        raise IngestError(f"the published version does not hold what a purge reads: {reason(error)}") from error
    ids = {
        kind: {entry.delivery_id for entry in found[kind]} | (former[kind] if kind in periods.days else set())
        for kind in _KINDS
    }
    database = settings.published_database.resolve()
    due = Due(
        database=database,
        deliveries=found,
        tables=[] if is_dry else kept_tables(load_manifest(prepare_manifest(settings))["nodes"].values()),
        # Those purged before: lines of theirs that only the models could tell.
        lines=f"select source, event_key, '{TRACKING}' as kind from ({_EVENTS}) where {_among(ids[TRACKING])}"  # noqa: S608 (numbers)
        f" union all select 'esp_events', event_key, '{DELIVERY_LOGS}' from ({_OUTCOMES})"
        f" where {_among(ids[DELIVERY_LOGS])}",
        kept_days=periods.days,
        messages=f"select message_id from {PUBLISHED}.core.fct_messages where {_among(ids[DELIVERY_LOGS])}"  # noqa: S608 (numbers)
        if ids[DELIVERY_LOGS]
        else NO_MESSAGES,
        set_aside_before=periods.before(SET_ASIDE, now),
        identities=identifiers.beside(database),
    )
    report = purge_landed(
        settings.warehouse_dir,
        due,
        run_id=str(uuid.uuid4()),
        landed_dir=settings.landed_dir,
        ledger_at=settings.ledger_url,
        is_dry=is_dry,
    )
    return Purge(periods.days, report, held_back)


_KINDS = (TRACKING, DELIVERY_LOGS, STATISTICS)


def _among(deliveries: Iterable[int]) -> str:
    return f"delivery_id in ({', '.join(map(str, sorted(deliveries))) or 'null'})"


def _check_published(settings: Settings) -> None:
    """What stays is taken from the published version: it has to hold all that has landed, by the models of now."""
    published = current(settings.published_dir)
    if published is None:
        raise NotPublishedError("nothing is published yet; run: mtw run")
    with Ledger(settings.ledger, read_only=True) as ledger:
        is_current = ledger.last_batch_id() == published.batch_id
    if not is_current or published.build_digest != build_state.build_digest(settings) or privacy.is_pending(settings):
        raise NotPublishedError("what has landed is not all published yet by the models of now; first run: mtw run")


def _expired(
    settings: Settings,
    periods: Periods,
    now: datetime,
    former: Mapping[str, set[int]],
    expired: Mapping[int, datetime],
) -> tuple[dict[str, list[PurgedDelivery]], list[int]]:
    """By kind, the deliveries that expired and of which something is left; and those that have to wait for others.

    former: by kind, those purged before; expired: when these had expired, where nothing says so any more.
    """
    with connected(settings) as connection:
        connection.execute(f"attach {literal(str(settings.published_database.resolve()))} as {PUBLISHED} (read_only)")
        held = connection.execute(_HELD).fetchall()
        # Verdicts look at all events of a message together, so these go together.
        shared = connection.execute(
            f"select distinct list(distinct delivery_id order by delivery_id) from ({_EVENTS}) where message_id <> 0"  # noqa: S608
            " group by message_id having count(distinct delivery_id) > 1"
        ).fetchall()
        # Events that name another delivery than that of their message, from whose row they have their recipient.
        borrowed = connection.execute(
            f"select distinct messages.delivery_id, events.delivery_id from ({_EVENTS}) as events"  # noqa: S608
            f" join {PUBLISHED}.core.fct_messages as messages using (message_id)"
            " where message_id <> 0 and messages.delivery_id <> events.delivery_id and events.delivery_id <> 0"
        ).fetchall()
    taken: dict[str, dict[int, PurgedDelivery]] = {kind: {} for kind in _KINDS}
    for delivery, known_since, events, first, last, messages, first_message, last_message, outcomes in held:
        since = known_since or expired.get(delivery)
        due = [kind for kind in _KINDS if since and (limit := periods.before(kind, now)) and since < limit]
        has_logs = messages or outcomes or STATISTICS in due
        if DELIVERY_LOGS in due and delivery not in former[DELIVERY_LOGS] and has_logs:
            taken[DELIVERY_LOGS][delivery] = PurgedDelivery(
                delivery, _iso(since), messages, _iso(first_message), _iso(last_message)
            )
        if TRACKING in due and delivery not in former[TRACKING] and (events or delivery in taken[DELIVERY_LOGS]):
            taken[TRACKING][delivery] = PurgedDelivery(delivery, _iso(since), events, _iso(first), _iso(last))
        if STATISTICS in due and delivery not in former[STATISTICS]:
            taken[STATISTICS][delivery] = PurgedDelivery(delivery, _iso(since), 0, None, None)
    held_back = _hold_back(taken[TRACKING], former[TRACKING], [group for (group,) in shared])
    untracked = taken[TRACKING].keys() | former[TRACKING]
    logs, statistics = taken[DELIVERY_LOGS], taken[STATISTICS]
    lent = {delivery for delivery, other in borrowed if other not in untracked}
    held_back |= _keep_all(logs, lent | (logs.keys() - untracked))
    held_back |= _keep_all(statistics, statistics.keys() - (logs.keys() | former[DELIVERY_LOGS]))
    return {kind: list(deliveries.values()) for kind, deliveries in taken.items()}, sorted(held_back)


def _hold_back(found: dict[int, PurgedDelivery], gone: set[int], shared: list[list[int]]) -> set[int]:
    """Take out of found those that share a message with one that stays; returns them."""
    held_back: set[int] = set()
    while True:
        more = {
            delivery
            for group in shared
            for delivery in group
            if delivery in found and any(other not in found and other not in gone for other in group)
        }
        if not more:
            return held_back
        held_back |= _keep_all(found, more)


def _keep_all(found: dict[int, PurgedDelivery], kept: Iterable[int]) -> set[int]:
    """Take deliveries out of found; returns those that were in it."""
    return {delivery for delivery in set(kept) if found.pop(delivery, None)}


def _iso(moment: datetime | None) -> Any:
    return moment.isoformat(sep=" ") if moment else None
