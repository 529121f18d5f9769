"""Restatements: which published number changed from what to what, when, and why.

Belongs here: comparing the tracking indicators of the version being written with those of the version published
before, and carrying the record on from version to version. Does not: the numbers themselves, what they count, which the
published file says (meta.indicator_counts, meta.column_lineage), or tracing counts to rows (restatement_causes).

A number of a delivery that was already published is restated when it changes for any other reason than time going
on: events that happened after the former version's data_through_at are growth, and a change that only they explain is
not recorded. Causes are found per number, not per delivery. Of a delivery that is gone, numbers other than 0 are.

A delivery whose statistics were purged has one row, without its numbers, which would otherwise outlive the purge here:
it says why roll-ups fell.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb

from log_ingest.frozen import STATISTICS
from log_ingest.sqltext import identifier, literal
from orchestration.identifiers import Masks, former_version
from orchestration.lineage import Table
from orchestration.restatement_causes import (
    ERASURE,
    LATE_DATA,
    MODELS,
    NEW_EVENTS,
    OTHER,
    REFERENCE,
    REMOVED,
    RETENTION,
    RULESET,
    Causes,
    Count,
    RowChanges,
    Versions,
    columns_of,
    has,
    one,
)

if TYPE_CHECKING:
    from orchestration.publication import Publication
    from orchestration.row_changes import ChangedKeys

MART = "rpt_tracking_indicators"
KEPT = timedelta(days=731)
"""How long a restatement stays in the record: two years."""
KEPT_ROWS = 1_000_000
"""At most so many restatements stay, the newest ones."""

REASONS = (LATE_DATA, REFERENCE, RULESET, MODELS, REMOVED, ERASURE, RETENTION, OTHER, NEW_EVENTS)
"""In the order in which several are named."""

EVERY_INDICATOR = "*"
"""The indicator of a delivery whose numbers are all gone with its statistics."""

COMMENT = (
    "Grain: one row per restated number: delivery, indicator and the version that changed it. Numbers that grew by"
    " events after the former version's data_through_at alone are not restated. Kept for two years, at most a million"
    " rows."
)
COLUMNS = {
    "delivery_id": ("bigint", "Delivery whose number changed."),
    "delivery_label": ("varchar", "Its label in the new version; in the former one where it is gone."),
    "indicator": (
        "varchar",
        "Column of reports.rpt_tracking_indicators; * for all of them, where the statistics of the delivery were"
        " purged: roll-ups hold it no longer.",
    ),
    "old_value": ("double", "Value in the version published before; NULL where it had none."),
    "new_value": ("double", "Value from this version on; NULL where it has none."),
    "restated_at": ("timestamp", "When the new version was published (UTC)."),
    "version": ("bigint", "The version that changed it."),
    "run_id": ("varchar", "The pipeline run that published it."),
    "reason": (
        "varchar",
        "Every cause that applies, comma-separated: late data (events before the former data_through_at that arrived"
        " since), reference change (messages, links or deliveries), ruleset (machine rules), models (SQL), removed"
        " data, erasure (of recipients; it should change no number), retention (its statistics were purged), other; and"
        " new events where they had a part beside one of these.",
    ),
    "detail": (
        "varchar",
        "How many events or messages each cause brought in or took out; or the numbers it came through.",
    ),
}

Changed = dict[tuple[int, str], tuple[float | None, float | None]]
"""Old and new value by delivery and indicator."""


def record(
    connection: duckdb.DuckDBPyConnection,
    source: str,
    former: Path | None,
    publication: "Publication",
    masks: Masks,
    changed: "Mapping[Table, ChangedKeys]",
) -> int:
    """Fill meta.restatements of the attached database `marts`, which is the version being written.

    source: name of the attached working database that it is made from; former: the database of the version published
    before; masks: of the version being written; changed: of relations of which that is known, what names all rows that
    differ. Returns the rows of the table.
    """
    target = "marts.meta.restatements"
    if former is None:
        return 0
    with former_version(connection, former.resolve(), masks):
        names = ", ".join(identifier(name) for name in COLUMNS)
        if has(connection, "former", "meta", "restatements"):
            connection.execute(
                f"insert into {target} select {names} from former.meta.restatements where restated_at >= ?",
                [publication.published_at - KEPT],
            )
            # What was once said of their numbers goes with them.
            purged = _without_statistics(connection)
            connection.execute(f"delete from {target} where reason <> '{RETENTION}' and delivery_id in ({purged})")
        if all(has(connection, database, "reports", MART) for database in ("former", "marts")):
            _Comparison(connection, source, publication, changed).record(target)
        newest = "restated_at desc, delivery_id, indicator"
        connection.execute(
            f"delete from {target} where rowid in"
            f" (select rowid from {target} order by {newest} limit 9223372036854775807 offset {KEPT_ROWS})"
        )
        return one(connection, f"select count(*) from {target}")


class _Comparison:
    """Two versions, attached as `former` and `marts`."""

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        source: str,
        publication: "Publication",
        changed: "Mapping[Table, ChangedKeys]",
    ) -> None:
        self._db, self._source, self._publication, self._changed = connection, source, publication, changed

    def record(self, target: str) -> None:
        """Add what the new version restates."""
        self._record_purged(target)
        changed = self._changed_numbers()
        if not changed:
            return
        published_at, through = self._rows("select published_at, data_through_at from former.meta.publication")[0]
        models_changed, ruleset_changed, mart_changed = self._what_built_them()
        versions = Versions(self._source, published_at, through, models_changed, ruleset_changed)
        unexplained = MODELS if models_changed else OTHER
        counts = self._counts()
        causes = self._causes_of_counts(RowChanges(self._db, versions, self._changed), counts, changed, unexplained)
        parts = self._parts_of_formulas()
        labels = self._labels()
        publication = self._publication
        rows = []
        for (delivery_id, indicator), (old, new) in sorted(changed.items()):
            found: set[str] = set()
            detail = ""
            is_gone = delivery_id not in labels["marts"]
            if is_gone and not old:
                continue
            if (delivery_id, indicator) in causes:
                found, detail = set(causes[delivery_id, indicator]), _counted(causes[delivery_id, indicator])
            elif indicator not in counts:
                found, names = _through(causes, parts, delivery_id, indicator)
                found |= {MODELS} if mart_changed else set()
                detail = f"through {', '.join(names)}" if names else ""
            found = found or {REMOVED if is_gone else unexplained}
            if found == {NEW_EVENTS}:
                continue
            label = labels["marts"].get(delivery_id, labels["former"].get(delivery_id))
            reason = ", ".join(_ordered(found))
            when = publication.published_at, publication.version, publication.run_id
            rows.append((delivery_id, label, indicator, old, new, *when, reason, detail))
        if rows:
            self._db.executemany(f"insert into {target} values ({', '.join('?' * len(COLUMNS))})", rows)

    def _record_purged(self, target: str) -> None:
        """One row for each delivery whose statistics were purged since."""
        publication, purged = self._publication, _without_statistics(self._db)
        self._db.execute(
            f"insert into {target} select delivery_id, delivery_label, ?, null, null, ?, ?, ?, ?,"
            f" 'its statistics were purged' from former.reports.{MART} where delivery_id in ({purged})"
            " order by delivery_id",
            [EVERY_INDICATOR, publication.published_at, publication.version, publication.run_id, RETENTION],
        )

    def _changed_numbers(self) -> Changed:
        """Every number that differs; the deliveries go into the temp table restated_scope."""
        kinds = self._rows(
            "select column_name, data_type from duckdb_columns() where database_name = 'marts'"
            f" and schema_name = 'reports' and table_name = {literal(MART)}"
        )
        numeric = {name for name, kind in kinds if kind in ("BIGINT", "INTEGER", "HUGEINT", "DOUBLE")}
        numeric |= {name for name, kind in kinds if kind.startswith("DECIMAL")}
        found: Changed = {}
        purged = _without_statistics(self._db)
        for name in sorted((numeric & set(columns_of(self._db, "former", "reports", MART))) - {"delivery_id"}):
            column = identifier(name)
            for delivery_id, old, new in self._rows(
                f"select old.delivery_id, cast(old.{column} as double), cast(new.{column} as double)"
                f" from former.reports.{MART} as old left join marts.reports.{MART} as new using (delivery_id)"
                f" where old.{column} is distinct from new.{column}"
                f" and delivery_id not in ({purged})"
            ):
                found[delivery_id, name] = old, new
        self._db.execute("create or replace temp table restated_scope (delivery_id bigint)")
        if found:
            deliveries = sorted({(delivery_id,) for delivery_id, _ in found})
            self._db.executemany("insert into restated_scope values (?)", deliveries)
        return found

    def _what_built_them(self) -> tuple[bool, bool, bool]:
        """Whether the models behind the numbers, the rules, or the mart's own SQL say something else than before."""
        sides = []
        for database in ("former", "marts"):
            if not has(self._db, database, "meta", "model_sql"):
                continue
            models = {
                f"{schema}.{name}": (kind, digest, upstreams)
                for schema, name, kind, digest, upstreams in self._rows(
                    f"select schema_name, table_name, kind, sql_digest, upstreams from {database}.meta.model_sql"
                )
            }
            reached: dict[str, str | None] = {}
            queue = [f"reports.{MART}"]
            while queue:
                name = queue.pop()
                if name in models and name not in reached:
                    reached[name] = models[name][1]
                    queue += models[name][2]
            seeds = sorted(name.split(".")[1] for name in reached if models[name][0] == "seed")
            sides.append((reached, {name: self._content(database, name) for name in seeds}))
        if len(sides) < 2:
            # A version from before the SQL was published: only the digest over everything is known.
            rules = ("machine_rules", "known_bots", "machine_networks")
            ruleset = any(self._content("former", name) != self._content("marts", name) for name in rules)
            digests = {digest for (digest,) in self._rows("select build_digest from former.meta.publication")}
            return digests != {self._publication.build_digest} and not ruleset, ruleset, False
        (old_models, old_seeds), (new_models, new_seeds) = sides
        own = f"reports.{MART}"
        return old_models != new_models, old_seeds != new_seeds, old_models.get(own) != new_models.get(own)

    def _content(self, database: str, seed: str) -> str | None:
        if not has(self._db, database, "meta", seed):
            return None
        table = f"{database}.meta.{identifier(seed)}"
        rows = self._rows(f"select cast(t as varchar) as line from {table} as t order by line")
        return "\n".join(line for (line,) in rows)

    def _counts(self) -> dict[str, Count]:
        """The counts of the mart, human forms included, by column."""
        if not has(self._db, "marts", "meta", "indicator_counts"):
            return {}
        columns = set(columns_of(self._db, "marts", "reports", MART))
        found = {}
        for name, fact, where, measure in self._rows(
            "select name, counted_from, counted_where, counted_as"
            f" from marts.meta.indicator_counts where mart = {literal(MART)} order by all"
        ):
            looked_at = re.search(r"(?:distinct |sum\()(\w+)", measure)
            column = looked_at[1] if looked_at else ""
            distinct, summed = (column, "") if "distinct" in measure else ("", column)
            found[name] = Count(name, fact, where, distinct, summed)
            if fact == "fct_tracking_events" and f"human_{name}" in columns:
                found[f"human_{name}"] = Count(f"human_{name}", fact, where, distinct, summed, is_human=True)
        return found

    def _causes_of_counts(
        self, rows: RowChanges, counts: dict[str, Count], changed: Changed, unexplained: str
    ) -> dict[tuple[int, str], Causes]:
        """By delivery and count: why it changed."""
        causes: dict[tuple[int, str], Causes] = {}
        wanted = {indicator for _, indicator in changed}
        # Those with the same predicate one after the other: it is evaluated once.
        for count in sorted(counts.values(), key=lambda each: each.where) if rows.are_known else ():
            if count.name not in wanted:
                continue
            for delivery_id, (delta, found) in rows.causes_of(count).items():
                if (delivery_id, count.name) in changed:
                    old, new = changed[delivery_id, count.name]
                    # What the rows do not account for was done by the models. A delivery that is gone counts nothing.
                    accounted = abs((new or 0) - (old or 0) - delta) < 1e-6
                    causes[delivery_id, count.name] = found | ({} if accounted else {unexplained: 0})
        return causes

    def _parts_of_formulas(self) -> dict[str, set[str]]:
        """By column that is computed from others: what it is computed from."""
        parts: dict[str, set[str]] = defaultdict(set)
        if has(self._db, "marts", "meta", "column_lineage"):
            for column, part in self._rows(
                "select column_name, source_column from marts.meta.column_lineage"
                f" where schema_name = 'reports' and table_name = {literal(MART)} and use = 'formula'"
            ):
                parts[column].add(part)
        return dict(parts)

    def _labels(self) -> dict[str, dict[int, str | None]]:
        return {
            database: dict(self._rows(f"select delivery_id, delivery_label from {database}.reports.{MART}"))
            for database in ("former", "marts")
        }

    def _rows(self, sql: str) -> list[tuple]:
        return self._db.execute(sql).fetchall()


def _without_statistics(connection: duckdb.DuckDBPyConnection) -> str:
    """SQL of the deliveries whose statistics were purged."""
    if not has(connection, "marts", "meta", "purges"):
        return "select 0 where false"
    return f"select delivery_id from marts.meta.purges where kind = {literal(STATISTICS)}"


def _through(
    causes: dict[tuple[int, str], Causes], parts: dict[str, set[str]], delivery_id: int, indicator: str
) -> tuple[set[str], list[str]]:
    """The causes of a formula, and the numbers through which they came."""
    found: set[str] = set()
    names = []
    for part in sorted(parts.get(indicator, ())):
        of_part = set(causes.get((delivery_id, part), ())) or _through(causes, parts, delivery_id, part)[0]
        if of_part:
            found |= of_part
            names.append(part)
    return found, names


def _counted(causes: Causes) -> str:
    return "; ".join(f"{cause}: {causes[cause]:,} rows" for cause in _ordered(causes) if causes[cause])


def _ordered(causes: Iterable[str]) -> list[str]:
    return [cause for cause in REASONS if cause in set(causes)]
