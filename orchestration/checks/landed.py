"""The first edge: rows that landed since the last publication.

Belongs here: which landed rows are looked at, and the rules that need all of them (SQL). Rules over a sample are in
suites/landed_*.yml.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import dagster as dg

from log_ingest.audit import damaged_parts
from log_ingest.catalog import LANDED_SCHEMAS, LINE_SOURCES, REFERENCE_ENTITIES
from log_ingest.ledger import Ledger
from log_ingest.raw_lines import line_sources, line_sql
from log_ingest.sqltext import identifier, literal
from log_ingest.storage import let_read, rows_sql
from orchestration import build_state
from orchestration.assets.landing import landed_key
from orchestration.bounded import connected
from orchestration.checks import intake, suites
from orchestration.checks.verdicts import Verdict, check_result
from orchestration.publication import current
from orchestration.scope import RESOURCE
from orchestration.settings import Settings

if TYPE_CHECKING:
    import duckdb

SAMPLE_ROWS = 100_000
"""Great Expectations looks at so many rows of a source: about a second and 0.5 GB, whatever the batch."""

EXPECTATIONS = "expectations"
TOTALS = "rows_match_the_ledger"
WHOLE = "landed_files_are_whole"
QUARANTINE_RATE = "few_lines_are_quarantined"
MISSING_RATE = "few_lines_are_missing"
FULL_SCAN = "every_new_line_is_sound"
LOGS = "tracking_logs"


def reference_suite(name: str) -> suites.Suite:
    """The rules of a reference entity follow from the catalogue: its columns, and its keys are there."""
    entity = next(entity for entity in REFERENCE_ENTITIES if entity.name == name)
    # delivery_id of a tracked URL may be 0 (serves every delivery); it is never NULL once landed.
    return suites.Suite(
        name=f"landed_{name}",
        table=name,
        description=f"The newly landed rows of {name} have their columns and keys (Great Expectations, a sample).",
        identify=("source_file", "line_number"),
        expectations=[
            {
                "rule": f"{column} is there",
                "type": "expect_column_values_to_not_be_null",
                "kwargs": {"column": column},
                "severity": "critical",
            }
            for column in entity.key
        ],
    )


def landed_suites() -> list[suites.Suite]:
    lines = [suites.load(f"landed_{source.name}") for source in LINE_SOURCES]
    return [*lines, *(reference_suite(entity.name) for entity in REFERENCE_ENTITIES)]


def build_landed_checks(settings: Settings) -> dg.AssetChecksDefinition:
    """All checks of landed rows as one step. They block the models."""
    found = landed_suites()
    specs = [
        *(
            dg.AssetCheckSpec(EXPECTATIONS, asset=landed_key(suite.table), blocking=True, description=suite.description)
            for suite in found
        ),
        dg.AssetCheckSpec(
            FULL_SCAN,
            asset=landed_key(LOGS),
            blocking=True,
            description="Every newly landed line, not a sample: servers, pointers, ids and times are there (SQL).",
        ),
        dg.AssetCheckSpec(
            TOTALS,
            asset=landed_key("batches"),
            blocking=True,
            description="Each new batch holds as many accepted rows as the ledger says (SQL).",
        ),
        dg.AssetCheckSpec(
            WHOLE,
            asset=landed_key("batches"),
            blocking=True,
            description="The landed files that are about to be read are the bytes that were committed (sha256).",
        ),
        dg.AssetCheckSpec(
            QUARANTINE_RATE,
            asset=landed_key("set_aside"),
            description="Quarantined lines of each source stay below MTW_MAX_QUARANTINE_RATE. Warns.",
        ),
        dg.AssetCheckSpec(
            MISSING_RATE,
            asset=landed_key("ledger_gaps"),
            description="Lines that no file has delivered, per server, stay below MTW_MAX_MISSING_RATE. Warns.",
        ),
    ]

    @dg.multi_asset_check(
        name="check_landed_rows",
        specs=specs,
        can_subset=True,
        required_resource_keys={"reporter", RESOURCE},
        description="Looks at what landed since the last publication, before the models read it.",
    )
    def check_landed_rows(context: dg.AssetCheckExecutionContext) -> Iterator[dg.AssetCheckResult]:
        context.resources.reporter.stage("check landed rows")
        wanted = {(key.asset_key, key.name) for key in context.selected_asset_check_keys}
        published = current(settings.published_dir)
        with Ledger(settings.ledger, read_only=True) as ledger:
            quarantined = intake.quarantine_verdicts(ledger, settings.max_quarantine_rate)
            missing, facts = intake.gap_verdicts(ledger, settings.max_missing_rate)
            plan = build_state.plan(settings, ledger.last_batch_id())
            scope = context.resources.run_scope
            after = plan.published_batch_id if published and not scope.full_checks else 0
            rebuilds = plan.full_refresh or build_state.last_build(settings) is None or scope.asks_for_deliveries
            damaged = damaged_parts(settings.landed_dir, ledger, after=0 if rebuilds else after)
        # First of all: below, a file that has rotted may not be readable at all.
        if (landed_key("batches"), WHOLE) in wanted:
            yield check_result([whole_files(damaged)], asset_key=landed_key("batches"), check_name=WHOLE)
        with connected(settings) as connection:
            let_read(connection, settings.landed_dir)
            for suite in found:
                key = landed_key(suite.table)
                if (key, EXPECTATIONS) in wanted:
                    yield _run_suite(connection, settings, suite, after)
            if (landed_key(LOGS), FULL_SCAN) in wanted:
                yield check_result(
                    full_scan(connection, settings, after), asset_key=landed_key(LOGS), check_name=FULL_SCAN
                )
            if (landed_key("batches"), TOTALS) in wanted:
                yield check_result(
                    [batch_totals(connection, settings, after)], asset_key=landed_key("batches"), check_name=TOTALS
                )

            for name, asset, verdicts, known in (
                (QUARANTINE_RATE, "set_aside", quarantined, None),
                (MISSING_RATE, "ledger_gaps", missing, facts),
            ):
                if (landed_key(asset), name) in wanted:
                    yield check_result(verdicts, asset_key=landed_key(asset), check_name=name, facts=known)

    return check_landed_rows


def _rows(settings: Settings, source: str, after: int) -> str:
    """SQL for the landed rows of a source in batches after one."""
    return f"(select * from {rows_sql(settings.landed_dir, source)} where batch_id > {int(after)})"  # noqa: S608 (quoted)


def _run_suite(
    connection: "duckdb.DuckDBPyConnection", settings: Settings, suite: suites.Suite, after: int
) -> dg.AssetCheckResult:
    rows = _rows(settings, suite.table, after)
    total = connection.execute(f"select count(*) from {rows}").fetchall()[0][0]  # noqa: S608 (quoted)
    columns = [row[0] for row in connection.execute(f"describe select * from {rows}").fetchall()]  # noqa: S608
    columns.remove("batch_id")
    frame = sample(connection, rows, derived(suite), columns, total)
    verdicts = [columns_verdict(columns, suite.table), *suites.run(suite, frame)]
    return check_result(
        verdicts,
        asset_key=landed_key(suite.table),
        check_name=EXPECTATIONS,
        facts={"new_rows": total, "rows_looked_at": len(frame), "after_batch_id": after},
    )


def derived(suite: suites.Suite) -> dict[str, str]:
    """The columns that a suite's rules look at besides the landed ones; of a line source also its line."""
    if suite.table not in line_sources() or "line" in LANDED_SCHEMAS[suite.table].names:
        return suite.derived
    return suite.derived | {"line": line_sql(suite.table)}


def columns_verdict(columns: Sequence[str], source: str) -> Verdict:
    """Whether landed files have exactly the catalogue's columns. A difference is drift, not a bad row."""
    expected = set(LANDED_SCHEMAS[source].names)
    missing, unexpected = sorted(expected - set(columns)), sorted(set(columns) - expected)
    parts = [f"missing: {', '.join(missing)}"] * bool(missing) + [f"unexpected: {', '.join(unexpected)}"] * bool(
        unexpected
    )
    return Verdict("the columns are exactly the catalogue's", not parts, problem="; ".join(parts))


def sample(
    connection: "duckdb.DuckDBPyConnection", rows: str, derived: dict[str, str], columns: Sequence[str], total: int
) -> Any:
    """At most SAMPLE_ROWS of a query as a pandas frame, with derived columns whose inputs exist."""
    available = [(name, sql) for name, sql in derived.items() if _can_derive(connection, rows, sql)]
    extra = "".join(f", {sql} as {identifier(name)}" for name, sql in available)
    # Whole vectors (2,048 rows) are skipped: a row sample would have to decode every row of a large batch.
    share = f" using sample {100.0 * SAMPLE_ROWS / total:.6f} percent (system, 42)" if total > SAMPLE_ROWS else ""
    return connection.execute(f"select *{extra} from {rows}{share} limit {SAMPLE_ROWS}").df()  # noqa: S608 (own SQL)


def _can_derive(connection: "duckdb.DuckDBPyConnection", rows: str, sql: str) -> bool:
    import duckdb

    try:
        connection.execute(f"describe select {sql} from {rows}").fetchall()  # noqa: S608 (own SQL)
    except duckdb.BinderException:
        return False
    return True


def full_scan(connection: "duckdb.DuckDBPyConnection", settings: Settings, after: int) -> list[Verdict]:
    """The rules that every new line must keep, in one pass over all of them."""
    rules = {
        "server is one character": "server is null or length(server) <> 1",
        "pointer is there and not negative": "pointer is null or pointer < 0",
        "ids are there and not negative": "message_id is null or delivery_id is null or url_id is null"
        " or least(message_id, delivery_id, url_id) < 0",
        "occurred_at and ingested_at are there": "occurred_at is null or ingested_at is null",
    }
    rows = _rows(settings, LOGS, after)
    counts = connection.execute(
        f"select {', '.join(f'count(*) filter ({condition})' for condition in rules.values())} from {rows}"  # noqa: S608
    ).fetchall()[0]
    verdicts = []
    for (rule, condition), count in zip(rules.items(), counts, strict=True):
        some: tuple[dict[str, Any], ...] = ()
        if count:
            found = connection.execute(
                f"select source_file, line_number, log_id, server, pointer from {rows} where {condition} limit 5"  # noqa: S608
            )
            names = [column[0] for column in found.description or ()]
            some = tuple(dict(zip(names, row, strict=True)) for row in found.fetchall())
        verdicts.append(Verdict(rule, not count, offending=count, sample=some))
    return verdicts


def whole_files(damaged: Sequence[tuple[str, str]]) -> Verdict:
    """Whether no landed file has rotted. The rule names one that has: people must know which to restore."""
    first = f" (landed/{damaged[0][0]}: {damaged[0][1]}; restore it from a backup)" if damaged else ""
    return Verdict(
        f"landed files are the bytes that were committed{first}",
        not damaged,
        offending=len(damaged),
        sample=[{"file": path, "problem": problem} for path, problem in damaged[:5]],
    )


def batch_totals(connection: "duckdb.DuckDBPyConnection", settings: Settings, after: int) -> Verdict:
    """Whether each new batch's rows are as many as the ledger recorded when it was committed."""
    batches = literal(str(settings.landed_dir / "batches.parquet"))
    counts = " union all ".join(
        f"select {literal(source)} as source, batch_id, count(*) as row_count"  # noqa: S608 (quoted)
        f" from {_rows(settings, source, after)} group by all"
        for source in LANDED_SCHEMAS
        if source != "set_aside"
    )
    found = connection.execute(
        f"select batches.source, batches.batch_id, accepted_count, coalesce(row_count, 0) as rows_landed"  # noqa: S608
        f" from (select * from read_parquet({batches}) where batch_id > {int(after)}) as batches"
        f" left join ({counts}) as counts using (source, batch_id) where accepted_count <> coalesce(row_count, 0)"
        " order by 2 limit 1000"
    ).fetchall()
    names = ("source", "batch_id", "accepted_in_ledger", "rows_landed")
    return Verdict(
        "each batch has as many rows as the ledger counted",
        not found,
        offending=len(found),
        sample=[dict(zip(names, row, strict=True)) for row in found[:5]],
    )
