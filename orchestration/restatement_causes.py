"""Why a count differs between two versions: which events and messages entered or left it, and what made them.

Belongs here: tracing counts to rows, and rows to causes. Does not: which numbers differ, or what is recorded of them
(restatements). Works on two attached databases, `former` and `marts`, on the working database for what no fact shows,
and on temp tables of its own.

A row enters or leaves what a delivery counts because it arrived or is gone, because an attribute that decides about
it changed (it has moved), or because the machine verdict changed (it is judged anew). Each has causes of its own, so
that a late click that makes a burst of an older one is named for the human count of both. Of a distinct count only
those rows are causes that brought a counted value in or took it out.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import duckdb

from log_ingest.sqltext import identifier, literal
from log_ingest.suppression import PSEUDONYM_FROM
from orchestration.lineage import Table
from orchestration.row_changes import ChangedKeys

NEW_EVENTS, LATE_DATA, REFERENCE, RULESET, MODELS, REMOVED, ERASURE, RETENTION, OTHER = (
    *("new events", "late data", "reference change", "ruleset", "models", "removed data", "erasure", "retention"),
    "other",
)

_TRACED = {"occurred_at", "message_id", "url_id", "visitor_id", "is_machine"}
"""Columns without which no cause can be told."""

_EVENT_ATTRIBUTES = {
    *("delivery_id", "message_id", "recipient_id", "url_id", "url_type", "visitor_id", "is_in_time_range"),
}
_MESSAGE_ATTRIBUTES = {
    *("delivery_id", "recipient_id", "status", "failure_reason", "content_format", "is_seed", "mail_domain"),
}
_TOLD_ATTRIBUTES = {"status", "failure_reason"}
"""Of these, what a provider may tell in place of reference data."""
_PROVIDER_EVENTS = ("marts", "core", "fct_esp_events")
_IS_ERASED = f"new.message_id >= {PSEUDONYM_FROM}"
_IN_SCOPE = "delivery_id in (select delivery_id from restated_scope)"


@dataclass(frozen=True)
class Count:
    """An indicator, or a part of one, that counts rows: see seed indicator_counts."""

    name: str
    fact: str
    where: str
    distinct: str = ""
    """The column whose distinct values are counted, where they are."""
    summed: str = ""
    """The column whose values are added up, where they are."""
    is_human: bool = False

    @property
    def full(self) -> str:
        return f"({self.where}) and not is_machine" if self.is_human else self.where


Causes = dict[str, int]
"""Rows that entered or left a count, by cause."""


@dataclass(frozen=True)
class Versions:
    """What is known of the two versions. source: the attached database that the new one is made from."""

    source: str
    published_at: datetime
    """Of the former version, as is through: how far its data went."""
    through: datetime | None
    models_changed: bool
    ruleset_changed: bool


class RowChanges:
    """The rows of the facts that differ, of the deliveries in the temp table restated_scope."""

    def __init__(
        self, connection: duckdb.DuckDBPyConnection, versions: Versions, changed: Mapping[Table, ChangedKeys]
    ) -> None:
        """changed: of facts of which that is known, what names the rows that differ."""
        self._db, self._versions, self._changed = connection, versions, changed
        self._columns: dict[str, list[str]] = {}
        self._collected = ("", "")
        self.are_known = self._collect_events() and self._collect_messages()
        """False where the facts do not have what it takes."""

    def causes_of(self, count: Count) -> dict[int, tuple[float, Causes]]:
        """By delivery: by how much the traced rows change the count, and its causes."""
        is_event = count.fact == "fct_tracking_events"
        # A predicate that looks into another table can change its mind about a row that is the same.
        looks_elsewhere = "select" in count.where.lower()
        rows, key = ("events", "event_key") if is_event else ("messages", "message_id")
        machine = "is_machine" if is_event else "false as is_machine"
        asks_messages = is_event and "fct_messages" in count.where
        message = "message_id" if asks_messages else "cast(null as bigint) as message_id"
        is_human = "not coalesce(is_machine, true)" if count.is_human else "true"
        if looks_elsewhere:
            self._collect_counted(count, key, rows)
        for side, database in (("old", "former"), ("new", "marts")):
            read, is_base = f"{side}_{rows}", f"coalesce({count.where}, false)"
            if looks_elsewhere:
                read = f"{database}.core.{count.fact} where {_IN_SCOPE} and {key} in (select {key} from looked_at)"
                is_base = f"{key} in (select {key} from counted_in_{database})"
            self._db.execute(f"""
                create or replace temp table {side}_matches as
                select *, is_base and {is_human} as is_full
                from (
                    select
                        {key} as row_key, delivery_id, {message}, {machine},
                        cast({count.distinct or key} as varchar) as counted,
                        {f"coalesce({count.summed}, 0)" if count.summed else "1"} as weight, {is_base} as is_base
                    from {read}
                )
            """)
        # An event that stays as it is counts otherwise because its message does.
        of_message = "left join messages_causes as of_message using (message_id)" if asks_messages else ""
        judged = "old.is_machine is distinct from new.is_machine" if count.is_human else "false"
        self._db.execute(f"""
            create or replace temp table steps as
            with sides as (
                select
                    row_key, new.delivery_id as new_delivery, old.delivery_id as old_delivery,
                    new.counted as new_counted, old.counted as old_counted,
                    new.weight as new_weight, old.weight as old_weight,
                    coalesce(new.is_full, false) as new_full, coalesce(old.is_full, false) as old_full,
                    -- It counts the same for the same delivery, where it counts on both sides.
                    old.delivery_id is not distinct from new.delivery_id
                    and old.counted is not distinct from new.counted
                    and old.weight is not distinct from new.weight as is_same,
                    old.row_key is null or new.row_key is null as is_one_sided,
                    coalesce(old.message_id, new.message_id) as message_id,
                    {judged} as is_judged_anew,
                    not (old.is_base and new.is_base and is_same) as has_moved
                from old_matches as old full join new_matches as new using (row_key)
            ),
            -- What leaves is what was counted, what enters what is.
            stepped as (
                select *, new_delivery as delivery_id, new_counted as counted, new_weight as weight, 1 as direction
                from sides
                where new_full and not (old_full and is_same)
                union all
                select *, old_delivery as delivery_id, old_counted as counted, old_weight as weight, -1 as direction
                from sides
                where old_full and not (new_full and is_same)
            )
            select stepped.delivery_id, stepped.row_key, stepped.counted, stepped.direction, stepped.weight,
                coalesce(causes.cause, {"of_message.cause, " if asks_messages else ""}'{self._fallback}') as cause
            from stepped left join {rows}_causes as causes
                on stepped.row_key = causes.{key}
                    and (stepped.is_one_sided
                        or (causes.kind = 'moved' and stepped.has_moved)
                        or (causes.kind = 'judged' and stepped.is_judged_anew))
            {of_message}
        """)
        if count.distinct:
            self._keep_what_changes_a_distinct_count(count)
        # A row with two causes is one step, and so are all rows of a value that is counted once.
        found: dict[int, tuple[float, Causes]] = {
            delivery_id: (delta, {})
            for delivery_id, delta in self._rows(
                "select delivery_id, cast(sum(direction * weight) as double) from"
                " (select distinct delivery_id, counted, direction, weight from steps) group by delivery_id"
            )
        }
        for delivery_id, cause, row_count in self._rows(
            "select delivery_id, cause, count(distinct row_key) from steps group by all order by all"
        ):
            found[delivery_id][1][cause] = row_count
        return found

    def _collect_counted(self, count: Count, key: str, rows: str) -> None:
        """looked_at: the keys of rows that differ, and of those that one version alone counts. counted_in_former,
        counted_in_marts: those of them for which the predicate holds.

        All rows of the deliveries are asked, of which keys, which are texts, would not fit into memory twice: 64 bits
        of each stand for it. Where those of two were the same, which is not to be expected among billions, a row's
        cause would be missed, not a number.
        """
        if self._collected == (count.fact, count.where):
            return
        for database in ("former", "marts"):
            self._db.execute(f"use {database}")
            self._db.execute(
                f"create or replace temp table bits_in_{database} as"
                f" select hash({key}) as bits from core.{count.fact} where {_IN_SCOPE} and ({count.where})"
            )
        self._db.execute("use memory")
        self._db.execute(
            "create or replace temp table one_sided as from bits_in_former anti join bits_in_marts using (bits)"
        )
        self._db.execute("insert into one_sided from bits_in_marts anti join bits_in_former using (bits)")
        wanted = [f"select {key} from {side}_{rows}" for side in ("old", "new")]
        if one(self._db, "select count(*) from one_sided"):
            wanted += [
                f"select {key} from {database}.core.{count.fact} where {_IN_SCOPE}"
                f" and hash({key}) in (select bits from one_sided)"
                for database in ("former", "marts")
            ]
        self._db.execute(f"create or replace temp table looked_at as {' union '.join(wanted)}")
        for database in ("former", "marts"):
            self._db.execute(
                f"create or replace temp table counted_in_{database} as"
                f" from looked_at where hash({key}) in (select bits from bits_in_{database})"
            )
            self._db.execute(f"drop table bits_in_{database}")
        self._collected = count.fact, count.where

    def _keep_what_changes_a_distinct_count(self, count: Count) -> None:
        """Of the steps, those of values that the delivery counts in one version only."""
        for database in ("former", "marts"):
            # Tables that the predicate names are those of its side.
            self._db.execute(f"use {database}")
            self._db.execute(f"""
                create or replace temp table in_{database} as
                select distinct delivery_id, cast({count.distinct} as varchar) as counted
                from core.{count.fact}
                where delivery_id in (select delivery_id from temp.steps) and ({count.full})
            """)
        self._db.execute("use memory")
        self._db.execute("""
            create or replace temp table counted_values as
            with touched as (select distinct delivery_id, counted from steps)
            select delivery_id, counted, case when in_marts.counted is null then -1 else 1 end as direction
            from touched
            left join in_former using (delivery_id, counted)
            left join in_marts using (delivery_id, counted)
            where (in_former.counted is null) <> (in_marts.counted is null)
        """)
        self._db.execute("""
            create or replace temp table steps as
            select * from steps semi join counted_values using (delivery_id, counted, direction)
        """)

    # -- rows that differ, and why

    def _collect_events(self) -> bool:
        """old_events and new_events: both sides of every event that differs; events_causes: why it does."""
        if not self._pair("fct_tracking_events", "event_key", _EVENT_ATTRIBUTES | {"is_machine"}, "events"):
            return False
        columns = self._columns["events"]
        if not set(columns) >= _TRACED:
            return False  # a fact of the analyst's own making: its numbers are compared, their causes are not known
        self._db.execute(f"""
            create or replace temp table events_causes as
            select new.event_key, 'arrived' as kind, {self._cause_of_arrival} as cause
            from new_events as new anti join old_events as old using (event_key)
        """)
        self._db.execute("""
            create or replace temp table arrivals as
            select distinct new.message_id, new.visitor_id, causes.cause
            from events_causes as causes inner join new_events as new using (event_key)
        """)
        self._collect_provider_arrivals()
        moved = " or ".join(
            f"old.{name} is distinct from new.{name}" for name in sorted(_EVENT_ATTRIBUTES & set(columns))
        )
        self._db.execute(f"""
            create or replace temp table moved_from as
            select new.event_key, new.visitor_id, new.message_id, new.url_id,
                new.delivery_id, old.delivery_id as former_delivery_id
            from new_events as new inner join old_events as old using (event_key)
            where {moved}
        """)
        self._collect_reference_changes()
        self._db.execute("""
            create or replace temp table moved_events as
            select event_key, visitor_id,
                message_id in (select message_id from changed_messages)
                or exists (
                    select 1 from changed_urls as url
                    where url.url_id = moved_from.url_id
                        and url.delivery_id in (moved_from.former_delivery_id, moved_from.delivery_id, 0)
                ) as is_by_reference
            from moved_from
        """)
        self._db.execute(f"""
            insert into events_causes
            select event_key, 'moved', '{REFERENCE}' from moved_events where is_by_reference
            union all
            select event_key, 'moved', '{self._fallback}' from moved_events
            where not is_by_reference and ({self._models_changed}
                or visitor_id is null
                or visitor_id not in (select visitor_id from arrivals where visitor_id is not null))
            union all
            select distinct moved_events.event_key, 'moved', arrivals.cause
            from moved_events inner join arrivals using (visitor_id)
            where not moved_events.is_by_reference and not {self._models_changed}
        """)
        self._collect_gone()
        self._collect_verdicts("coalesce(new.machine_rule, old.machine_rule)" if "machine_rule" in columns else "null")
        return True

    def _collect_gone(self) -> None:
        """Add to events_causes why the fact has events no more."""
        removed = self._cause_of_removal("events", "event_key")
        self._db.execute("""
            create or replace temp table gone_events as
            select old.event_key, old.visitor_id from old_events as old anti join new_events as new using (event_key)
        """)
        self._db.execute("create or replace temp table left_out_events (event_key varchar, cause varchar)")
        if one(self._db, "select count(*) from gone_events"):
            # Nothing of them is removed: they are left out for the sake of others.
            self._collect_left_out(removed)
        self._db.execute(f"""
            insert into events_causes
            select distinct event_key, 'removed', cause from left_out_events
            union all
            select event_key, 'removed', '{removed}' from gone_events anti join left_out_events using (event_key)
        """)

    def _collect_left_out(self, removed: str) -> None:
        """left_out_events: those of gone_events that the warehouse still has, and why it does not count them."""
        hits, needed = self._web_hits, {"event_key", "visitor_id", "outcome", "attribution", "occurred_at"}
        has_hits = needed | {"message_id", "ingested_at"} <= set(columns_of(self._db, *hits))
        place = ".".join(map(identifier, hits))
        read = (
            "select hits.event_key, hits.visitor_id as clear_visitor_id, hits.outcome, hits.occurred_at"
            f" from {place} as hits where hits.event_key in (select event_key from gone_events)"
            " and hits.attribution is null and hits.outcome <> 'no_web_hit'"
            if has_hits
            else "select '' as event_key, '' as clear_visitor_id, '' as outcome, null as occurred_at where false"
        )
        self._db.execute(f"""
            create or replace temp table dropped_hits as
            select * from ({read}) inner join gone_events using (event_key)
        """)
        if one(self._db, "select count(*) from dropped_hits"):
            # A refusal drops what its visitor did after it. It is in no fact itself. Visitors of the working database
            # have other names there.
            self._db.execute(f"""
                insert into left_out_events
                select distinct dropped_hits.event_key, {self._cause_of_arrival}
                from {place} as new inner join dropped_hits on new.visitor_id = dropped_hits.clear_visitor_id
                where new.visitor_id in (select clear_visitor_id from dropped_hits)
                    and new.ingested_at > {_time(self._versions.published_at)}
                    and new.occurred_at <= dropped_hits.occurred_at
                    and new.outcome = 'opted_out' and dropped_hits.outcome = 'opted_out'
            """)
            self._db.execute(f"""
                insert into left_out_events
                select distinct dropped_hits.event_key, arrivals.cause
                from dropped_hits inner join arrivals using (visitor_id)
                where not {self._models_changed}
                    and dropped_hits.event_key not in (select event_key from left_out_events)
            """)
        if {"event_key", "matched_event_key"} <= set(columns_of(self._db, *_PROVIDER_EVENTS)):
            # What the provider tells gives way to our own line of the same act.
            self._db.execute(f"""
                insert into left_out_events
                select told.event_key, coalesce(causes.cause, '{self._fallback}')
                from {".".join(_PROVIDER_EVENTS)} as told
                left join events_causes as causes on told.matched_event_key = causes.event_key
                where told.event_key in (select event_key from gone_events)
                    and told.event_key not in (select event_key from dropped_hits)
            """)
        # A page is without its delivery where the click that led to it was removed.
        self._db.execute(f"""
            insert into left_out_events
            select event_key,
                case
                    when visitor_id in (
                        select visitor_id from gone_events
                        where visitor_id is not null
                            and event_key not in (select event_key from dropped_hits)
                            and event_key not in (select event_key from left_out_events)
                    ) then '{removed}'
                    else '{self._fallback}'
                end
            from dropped_hits
            where event_key not in (select event_key from left_out_events)
        """)

    def _collect_verdicts(self, rule: str) -> None:
        """Add to events_causes why the machine verdict of an event changed."""
        # A rule about the user agent judges an event by itself; the others look at the events around it, so that one
        # that arrives can make a machine of another.
        by_itself = [
            f"select rule from {side}.meta.machine_rules where kind like 'user_agent%'"
            for side in ("former", "marts")
            if has(self._db, side, "meta", "machine_rules")
        ]
        rules = " union ".join(by_itself) or "select '' as rule where false"
        ruleset_changed = str(self._versions.ruleset_changed).lower()
        self._db.execute(f"""
            create or replace temp table judged_events as
            select new.event_key, new.message_id, coalesce({rule} not in ({rules}), true) as looks_around
            from new_events as new inner join old_events as old using (event_key)
            where old.is_machine is distinct from new.is_machine
        """)
        # Of an open without consent nothing says whose it is; what the provider told of it names it.
        self._db.execute("""
            create or replace temp table judged_by_others as
            select judged_events.event_key, arrivals.cause
            from judged_events inner join arrivals using (message_id)
            where judged_events.looks_around and judged_events.message_id <> 0
            union
            select judged_events.event_key, told_events.cause
            from judged_events inner join told_events using (event_key)
            where judged_events.looks_around
        """)
        self._db.execute(f"""
            insert into events_causes
            select event_key, 'judged', '{RULESET}' from judged_events where {ruleset_changed}
            union all
            select event_key, 'judged', cause from judged_by_others
            union all
            select event_key, 'judged', '{self._fallback}' from judged_events
            where not {ruleset_changed} and event_key not in (select event_key from judged_by_others)
        """)

    def _collect_messages(self) -> bool:
        """old_messages and new_messages: both sides of every message that differs; messages_causes: why it does."""
        if not self._pair("fct_messages", "message_id", _MESSAGE_ATTRIBUTES, "messages"):
            return False
        removed = self._cause_of_removal("messages", "message_id")
        columns = self._columns["messages"]
        provenance = [name for name in ("ingested_at", "source_file", "source_line") if name in columns]
        # The same landed row that says something else now: the models read it differently, where no provider has told
        # anything since.
        same_row = " and ".join(f"old.{name} is not distinct from new.{name}" for name in provenance) or "false"
        # What an extract brings again is another landed row. It has changed the message where more is different than
        # what a provider tells of it.
        said = sorted((_MESSAGE_ATTRIBUTES - _TOLD_ATTRIBUTES) & set(columns))
        same_said = " and ".join(f"old.{name} is not distinct from new.{name}" for name in said) or "true"
        self._collect_told(f"(({same_row}) or ({same_said}))")
        self._db.execute(f"""
            create or replace temp table messages_causes as
            select
                message_id,
                case
                    when old.delivery_id is null then 'arrived' when new.delivery_id is null then 'removed' else 'moved'
                end as kind,
                case
                    when new.delivery_id is null then '{removed}'
                    when {_IS_ERASED} then '{ERASURE}'
                    when {same_row} then coalesce(told.cause, '{MODELS}')
                    when {same_said} then coalesce(told.cause, '{REFERENCE}')
                    else '{REFERENCE}'
                end as cause
            from old_messages as old full join new_messages as new using (message_id)
            left join told_messages as told using (message_id)
        """)
        return True

    def _collect_told(self, is_same: str) -> None:
        """told_messages: those that are the same but for what a provider tells of them, where it tells something else
        than before; and why it does.
        """
        self._db.execute("create or replace temp table told_messages (message_id bigint, cause varchar)")
        needed = {"event_key", "message_id", "event_kind", "occurred_at", "ingested_at"}
        if not (
            {"status_source", "event_at"} <= set(self._columns["messages"])
            and all(needed <= set(columns_of(self._db, side, *_PROVIDER_EVENTS[1:])) for side in ("former", "marts"))
        ):
            return
        self._db.execute(f"""
            create or replace temp table retold_messages as
            select new.message_id,
                case when new.status_source = 'esp_event' then new.event_at end as told_at,
                case when old.status_source = 'esp_event' then old.event_at end as formerly_told_at
            from old_messages as old inner join new_messages as new using (message_id)
            where {is_same} and 'esp_event' in (old.status_source, new.status_source)
        """)
        if not one(self._db, "select count(*) from retold_messages"):
            return
        about = (
            "{side}.message_id in (select message_id from retold_messages)"
            " and {side}.event_kind in ('delivered', 'bounce', 'complaint')"
        )
        self._db.execute(f"""
            insert into told_messages
            select distinct message_id, {self._cause_of_arrival}
            from {".".join(_PROVIDER_EVENTS)} as new inner join retold_messages using (message_id)
            where {about.format(side="new")} and new.occurred_at = told_at
                and new.ingested_at > {_time(self._versions.published_at)}
        """)
        # Nothing has come: what it told before is about another message now, or is gone.
        self._db.execute(f"""
            create or replace temp table formerly_told as
            select old.event_key, message_id
            from former.core.fct_esp_events as old inner join retold_messages using (message_id)
            where {about.format(side="old")} and old.occurred_at = formerly_told_at
                and message_id not in (select message_id from told_messages)
        """)
        self._db.execute(f"""
            insert into told_messages
            select message_id,
                case
                    when message_id in (
                        select message_id from formerly_told
                        where event_key not in (
                            select event_key from {".".join(_PROVIDER_EVENTS)}
                            where event_key in (select event_key from formerly_told)
                        )
                    ) then '{REMOVED}'
                    else '{self._fallback}'
                end
            from retold_messages
            where message_id not in (select message_id from told_messages)
        """)

    def _collect_provider_arrivals(self) -> None:
        """Add to arrivals what a provider has told since of acts that our own logs hold: no fact counts it, but its
        verdict holds for ours. told_events: our events of these acts.
        """
        needed = {"delivery_id", "message_id", "matched_event_key", "occurred_at", "ingested_at"}
        known = needed <= set(columns_of(self._db, *_PROVIDER_EVENTS))
        read = (
            f"select new.matched_event_key as event_key, new.message_id, {self._cause_of_arrival} as cause"
            f" from {'.'.join(_PROVIDER_EVENTS)} as new where {_IN_SCOPE}"
            f" and new.matched_event_key is not null and new.ingested_at > {_time(self._versions.published_at)}"
            if known
            else "select '' as event_key, 0 as message_id, '' as cause where false"
        )
        self._db.execute(f"create or replace temp table told_events as {read}")
        self._db.execute("insert into arrivals select distinct message_id, null, cause from told_events")

    def _cause_of_removal(self, rows: str, key: str) -> str:
        """Why rows are gone: where some of nobody have come, they took their place."""
        come = f"select 1 from new_{rows} as new anti join old_{rows} as old using ({key}) where {_IS_ERASED} limit 1"
        return ERASURE if self._db.execute(come).fetchall() else REMOVED

    def _collect_reference_changes(self) -> None:
        """changed_messages and changed_urls: of what moved_from names, that of which reference data say something else
        than in the former version, or said nothing then. A row that arrives again and says the same moves nothing.
        """
        self._collect_changed("changed_messages", "fct_messages", ("message_id",), ("delivery_id", "recipient_id"))
        self._collect_changed(
            "changed_urls",
            "dim_tracked_urls",
            ("delivery_id", "url_id"),
            ("source_url", "url_type", "is_shared", "is_unknown"),
        )
        # The dimension has a member for whatever is clicked, too.
        declared = self._versions.source, "intermediate", "int_tracked_urls__current"
        if {"delivery_id", "url_id"} <= set(columns_of(self._db, *declared)):
            self._db.execute(f"""
                create or replace temp table changed_urls as
                select * from changed_urls
                semi join {".".join(map(identifier, declared))} using (delivery_id, url_id)
            """)

    def _collect_changed(self, name: str, table: str, keys: tuple[str, ...], said: tuple[str, ...]) -> None:
        """Temp table <name>: keys of published rows that say something else than before, or did not exist. Of those
        that moved_from names by the last key."""
        columns = set(columns_of(self._db, "marts", "core", table)) & set(columns_of(self._db, "former", "core", table))
        if not columns >= set(keys):
            nothing = ", ".join(f"cast(0 as bigint) as {key}" for key in keys)
            self._db.execute(f"create or replace temp table {name} as select {nothing} where false")
            return
        compared = ", ".join([*keys, *(column for column in said if column in columns)])
        named = f"{keys[-1]} in (select {keys[-1]} from moved_from)"
        self._db.execute(f"""
            create or replace temp table {name} as
            select {", ".join(keys)}
            from (
                select {compared} from marts.core.{table} where {named}
                except
                select {compared} from former.core.{table} where {named}
            )
        """)

    def _pair(self, fact: str, key: str, attributes: set[str], name: str) -> bool:
        """Temp tables old_<name> and new_<name>: the rows of both versions whose key differs in its attributes."""
        former = set(columns_of(self._db, "former", "core", fact))
        columns = [column for column in columns_of(self._db, "marts", "core", fact) if column in former]
        if not {key, "delivery_id", "ingested_at"} <= set(columns):
            return False
        self._columns[name] = columns
        compared = sorted(attributes & set(columns))
        read = ", ".join([key, "ingested_at", *compared])
        changed = self._changed.get(("core", fact))
        within = f"{_IN_SCOPE} and {changed.within}" if changed else _IN_SCOPE
        differs = " or ".join(f"old.{column} is distinct from new.{column}" for column in compared)
        self._db.execute(f"""
            create or replace temp table differing as
            select {key}, old.{key} is not null as is_old, new.{key} is not null as is_new,
                new.ingested_at > {_time(self._versions.published_at)} as has_arrived
            from (select {read} from former.core.{fact} where {within}) as old
            full join (select {read} from marts.core.{fact} where {within}) as new using ({key})
            where old.{key} is null or new.{key} is null or {differs}
        """)
        selected = ", ".join(identifier(column) for column in columns)
        for database, side in (("former", "old"), ("marts", "new")):
            self._db.execute(f"""
                create or replace temp table {side}_{name} as
                select {selected} from {database}.core.{fact}
                where {_IN_SCOPE} and {key} in (select {key} from differing where is_{side})
            """)
            # A row seen on one side only may be on the other under a delivery whose numbers have not changed. What
            # arrived since the former version hardly is: most of them, which would be searched for in vain.
            astray = f"select {key} from differing where not is_{side}"
            astray += " and not coalesce(has_arrived, false)" if side == "old" else ""
            if one(self._db, f"select count(*) from ({astray})"):
                self._db.execute(
                    f"insert into {side}_{name} select {selected} from {database}.core.{fact} where {key} in ({astray})"
                )
        return True

    @property
    def _web_hits(self) -> tuple[str, str, str]:
        return self._versions.source, "intermediate", "int_web_hits__attributed"

    @property
    def _cause_of_arrival(self) -> str:
        """SQL of what it is that an event `new` arrived since the former version."""
        through = "cast(null as timestamp)" if self._versions.through is None else _time(self._versions.through)
        return (
            f"case when {_IS_ERASED} then '{ERASURE}'"
            f" when new.occurred_at <= {through} then '{LATE_DATA}' else '{NEW_EVENTS}' end"
        )

    @property
    def _models_changed(self) -> str:
        return str(self._versions.models_changed).lower()

    @property
    def _fallback(self) -> str:
        return MODELS if self._versions.models_changed else REFERENCE

    def _rows(self, sql: str) -> list[tuple]:
        return self._db.execute(sql).fetchall()


def has(connection: duckdb.DuckDBPyConnection, database: str, schema: str, table: str) -> bool:
    """Whether an attached database has a table."""
    return bool(columns_of(connection, database, schema, table))


def columns_of(connection: duckdb.DuckDBPyConnection, database: str, schema: str, table: str) -> list[str]:
    """The columns of a table of an attached database; none where there is no such table."""
    place = ".".join(map(identifier, (database, schema, table)))
    try:
        # duckdb_columns() lists those of all attached databases, however few are asked for.
        return [str(name) for name, *_ in connection.execute(f"describe {place}").fetchall()]
    except duckdb.CatalogException:
        return []


def one(connection: duckdb.DuckDBPyConnection, sql: str) -> int:
    """The number that a query gives."""
    return int(connection.execute(sql).fetchall()[0][0])


def _time(moment: datetime) -> str:
    return f"timestamp {literal(moment.isoformat(sep=' '))}"
