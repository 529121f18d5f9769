"""What a candidate ruleset would change: built beside the live warehouse and compared with it; nothing is published.

Belongs here: finding a candidate's seeds, and the comparison. Does not: building (beside), the rules themselves
(dbt_project/seeds, dbt_project/rulesets), drawing (cli).
"""

import csv
import shutil
import tempfile
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import duckdb

from log_ingest.ledger import Ledger
from log_ingest.sqltext import identifier, literal
from orchestration import beside
from orchestration.bounded import connected
from orchestration.lock import PipelineLock
from orchestration.settings import Settings
from orchestration.text import csv_cell

Number = int | float | Decimal

SEEDS = ("machine_rules", "known_bots", "machine_networks")
"""What a ruleset may consist of; a candidate brings those that it changes."""
MART = "rpt_tracking_indicators"
EVENTS = "intermediate.int_tracking_events__counted"


class UnknownRuleset(ValueError):
    """There is no such candidate, or it holds something else than rules. The message says what to do."""


@dataclass(frozen=True)
class IndicatorChange:
    """One indicator over all deliveries. Sums of what does not add up stand for nothing: those are None."""

    name: str
    deliveries: int
    old_total: Number | None
    new_total: Number | None


@dataclass(frozen=True)
class DeliveryChange:
    """One number of one delivery."""

    delivery_id: int
    label: str
    indicator: str
    old: Number | None
    new: Number | None


@dataclass(frozen=True)
class Comparison:
    """verdicts: live rule, candidate's rule (empty for people), events; the rest as named."""

    verdicts: list[tuple[str, str, int]]
    indicators: list[IndicatorChange]
    deliveries: list[DeliveryChange]

    def write(self, path: Path) -> None:
        """Every changed number of every delivery as CSV."""
        with path.open("w", encoding="utf-8", newline="") as stream:
            writer = csv.writer(stream)
            writer.writerow(("delivery_id", "delivery_label", "indicator", "live", "candidate"))
            for change in self.deliveries:
                row = (change.delivery_id, change.label, change.indicator, change.old, change.new)
                writer.writerow(map(csv_cell, row))


def seeds_of(settings: Settings, ruleset: str) -> dict[str, Path]:
    """The candidate's seeds by name: those of dbt_project/rulesets/<ruleset>, or of a folder given by its path.

    Raises UnknownRuleset where there are none, or others than rules.
    """
    named = settings.dbt_project_dir / "rulesets" / ruleset
    folder = named if "/" not in ruleset and named.is_dir() else Path(ruleset)
    if not folder.is_dir():
        known = sorted(path.name for path in named.parent.glob("*") if path.is_dir())
        raise UnknownRuleset(
            f"no ruleset {ruleset!r}: make the folder {named} with the changed files ({', '.join(SEEDS)}.csv), or name"
            f" a folder that holds them{'; there are ' + ', '.join(known) if known else ''}"
        )
    found = {path.stem: path for path in sorted(folder.glob("*.csv"))}
    if not found:
        raise UnknownRuleset(f"{folder} holds no .csv; a ruleset is one or more of {', '.join(SEEDS)}.csv")
    if strange := sorted(set(found) - set(SEEDS)):
        raise UnknownRuleset(
            f"{folder}/{strange[0]}.csv is no part of a ruleset; that is one or more of {', '.join(SEEDS)}.csv"
        )
    return found


def compare(settings: Settings, ruleset: str) -> Comparison:
    """Build the marts with the candidate's rules beside the live warehouse, and compare.

    Raises ValueError for a ruleset that cannot be used, DbtError where it cannot be built, PipelineLocked while a run
    is at work.
    """
    if settings.engine != "duckdb":
        raise ValueError("a comparison needs a warehouse built with DuckDB; build a sample of it so: MTW_ENGINE=duckdb")
    seeds = seeds_of(settings, ruleset)
    if not settings.working_database.exists():
        raise ValueError("there is nothing to compare with yet; run: mtw run")
    with (
        PipelineLock.of(settings),
        tempfile.TemporaryDirectory(prefix="ruleset-", dir=settings.working_database.parent) as folder,
    ):
        _refuse_unbuilt_batches(settings)
        candidate = beside.settings_beside(settings, Path(folder))
        for name, path in seeds.items():
            shutil.copyfile(path, candidate.dbt_project_dir / "seeds" / f"{name}.csv")
        beside.copy_working_database(settings, candidate)
        beside.build(candidate, select=[f"+{MART}"])
        return _compared(settings, candidate)


def _refuse_unbuilt_batches(settings: Settings) -> None:
    with connected(settings, settings.working_database) as connection:
        (built,) = connection.execute("select max(ceiling_batch_id) from state.run_window").fetchall()[0]
    with Ledger(settings.ledger, read_only=True) as ledger:
        landed = ledger.last_batch_id()
    if landed > (built or 0):
        raise ValueError("files were taken in that no build has seen yet: the comparison would mix both; run: mtw run")


def _compared(settings: Settings, candidate: Settings) -> Comparison:
    with connected(settings) as connection:
        for name, database in (("live", settings), ("candidate", candidate)):
            connection.execute(f"attach {literal(str(database.working_database))} as {name} (read_only)")
        verdicts = connection.execute(
            "select coalesce(live.machine_rule, '') as old, coalesce(candidate.machine_rule, '') as new, count(*)"
            f" from live.{EVENTS} as live join candidate.{EVENTS} as candidate using (event_key)"
            " where live.machine_rule is distinct from candidate.machine_rule group by 1, 2 order by 3 desc, 1, 2"
        ).fetchall()
        additive = {
            name
            for (name,) in connection.execute(
                f"select name from live.meta.indicator_catalogue where mart = {literal(MART)}"
                " and additivity like 'additive%'"
            ).fetchall()
        }
        indicators, deliveries = [], []
        for name in _numbers(connection):
            column = identifier(name)
            both = f"live.reports.{MART} as live join candidate.reports.{MART} as candidate using (delivery_id)"
            rows = connection.execute(
                f"select delivery_id, coalesce(candidate.delivery_label, ''), live.{column},"
                f" candidate.{column} from {both}"
                f" where live.{column} is distinct from candidate.{column} order by delivery_id"
            ).fetchall()
            if not rows:
                continue
            totals: tuple[Number | None, Number | None] = None, None
            if name.removeprefix("human_") in additive:
                totals = connection.execute(
                    f"select sum(live.{column}), sum(candidate.{column}) from {both}"
                ).fetchall()[0]
            indicators.append(IndicatorChange(name, len(rows), *totals))
            deliveries += [DeliveryChange(key, label, name, before, after) for key, label, before, after in rows]
        return Comparison(verdicts, indicators, deliveries)


def _numbers(connection: duckdb.DuckDBPyConnection) -> list[str]:
    """The mart's columns of numbers that both sides have."""
    found = connection.execute(
        "select column_name, max(data_type) from duckdb_columns() where database_name in ('live', 'candidate')"
        f" and schema_name = 'reports' and table_name = {literal(MART)} group by column_name having count(*) = 2"
        " order by max(column_index)"
    ).fetchall()
    return [
        name
        for name, kind in found
        if name != "delivery_id" and (kind in ("BIGINT", "HUGEINT", "DOUBLE") or kind.startswith("DECIMAL"))
    ]
