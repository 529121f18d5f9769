"""The second edge: candidate marts in the working database, before they are published.

Belongs here: which marts are looked at. The rules are in suites/mart_*.yml and, for what holds of every mart of
counts, here.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import dagster as dg

from log_ingest.sqltext import identifier
from log_ingest.storage import let_read
from orchestration.bounded import connected
from orchestration.checks import suites
from orchestration.checks.landed import EXPECTATIONS, sample
from orchestration.checks.verdicts import check_result
from orchestration.settings import Settings

if TYPE_CHECKING:
    import duckdb


def mart_key(suite: suites.Suite) -> dg.AssetKey:
    return dg.AssetKey(suite.table.split("."))


def build_mart_checks(settings: Settings, marts: Sequence[dg.AssetKey]) -> dg.AssetChecksDefinition | None:
    """All checks of candidate marts as one step. They block publishing. None where the project has no such mart."""
    found = [suite for suite in suites.load_all("mart_") if mart_key(suite) in set(marts)]
    if not found:
        return None

    @dg.multi_asset_check(
        name="check_marts",
        specs=[
            dg.AssetCheckSpec(EXPECTATIONS, asset=mart_key(suite), blocking=True, description=suite.description)
            for suite in found
        ],
        can_subset=True,
        required_resource_keys={"reporter"},
        description="Looks at the marts that are about to be published.",
    )
    def check_marts(context: dg.AssetCheckExecutionContext) -> Iterator[dg.AssetCheckResult]:
        context.resources.reporter.stage("check marts")
        wanted = {key.asset_key for key in context.selected_asset_check_keys}
        with connected(settings, settings.working_database) as connection:
            let_read(connection, settings.landed_dir)
            for suite in found:
                if mart_key(suite) in wanted:
                    yield run_mart_suite(connection, suite)

    return check_marts


def run_mart_suite(connection: "duckdb.DuckDBPyConnection", suite: suites.Suite) -> dg.AssetCheckResult:
    """Run one suite over its table in the working database; count and rate columns are held to their names."""
    schema, name = suite.table.split(".")
    table = f"{identifier(schema)}.{identifier(name)}"
    described = connection.execute(f"describe {table}").fetchall()
    columns = {row[0]: row[1] for row in described}
    total = connection.execute(f"select count(*) from {table}").fetchall()[0][0]  # noqa: S608 (quoted)
    frame = sample(connection, table, suite.derived | human_derived(columns), list(columns), total)
    verdicts = suites.run(suite, frame, named_rules(columns))
    return check_result(
        verdicts,
        asset_key=mart_key(suite),
        check_name=EXPECTATIONS,
        facts={"rows": total, "rows_looked_at": len(frame)},
    )


def human_derived(columns: dict[str, str]) -> dict[str, str]:
    """human_<count> may not exceed <count>: the difference, as a derived column."""
    return {
        f"machine_part_of_{name}": f"{identifier(name)} - {identifier(f'human_{name}')}"
        for name in columns
        if f"human_{name}" in columns and _counts_rows(name)
    }


def _counts_rows(name: str) -> bool:
    """Whether a column is a count of rows. Articles are summed up: a page may say that some came back."""
    return name.endswith("_count") and not name.endswith("article_count")


def named_rules(columns: dict[str, str]) -> list[dict[str, Any]]:
    """Rules that a column's name promises: *_count is not negative, human_* is not above its total."""
    rules = [
        {
            "rule": f"{name} is not negative",
            "type": "expect_column_values_to_be_between",
            "kwargs": {"column": name, "min_value": 0},
            "severity": "critical",
        }
        for name in columns
        if _counts_rows(name)
    ]
    return rules + [
        {
            "rule": f"human_{name} is not above {name}",
            "type": "expect_column_values_to_be_between",
            "kwargs": {"column": difference, "min_value": 0},
            "severity": "critical",
        }
        for difference, name in ((key, key.removeprefix("machine_part_of_")) for key in human_derived(columns))
    ]
