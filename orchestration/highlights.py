"""What a mart says, in a few numbers: shown with its asset after each build.

Belongs here: choosing and reading them. Does not: what they mean, which the catalogue and the models' YAML say.

    totals      sums of the mart's additive indicators, as numbers: the UI plots them over the builds
    example     the first rows of the report's own example query (config.meta.report), as a table
    by_day      of a fact: its rows of the last days, as a picture of bars; newest_days: the last of them as a table

Of marts about single persons there is neither an example nor anything else than counts: the UI's event log is kept for
long. A picture is a few bars within the text (a data URI, which the UI's Markdown shows): nothing is fetched.
"""

from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import dagster as dg

from log_ingest.sqltext import identifier
from orchestration.publication import SCHEMAS
from orchestration.text import markdown, markdown_table, plain

if TYPE_CHECKING:
    import duckdb

TOTALS = 8
EXAMPLE_ROWS = 10
SPARK_DAYS = 30
TABLE_DAYS = 7

PERSONAL = {"recipient_id", "address", "email", "message_id", "visitor_id"}
"""Columns that tell of single persons."""

_BAR_WIDTH, _HEIGHT, _COLOUR = 8, 40, "#4f43dd"


@dataclass(frozen=True)
class Mart:
    """A published model: output is the name of its Dagster output; example its example query, else empty."""

    schema: str
    name: str
    output: str
    example: str = ""


def marts_of(nodes: Iterable[Mapping[str, Any]]) -> list[Mart]:
    """The published models among the nodes of a manifest."""
    found = []
    for node in nodes:
        if node["resource_type"] == "model" and node["schema"] in SCHEMAS:
            report = (node["config"].get("meta") or {}).get("report") or {}
            output = f"{node['schema']}__{node['name']}"
            found.append(Mart(node["schema"], node["name"], output, str(report.get("example") or "")))
    return found


def highlights(connection: "duckdb.DuckDBPyConnection", mart: Mart) -> dict[str, dg.MetadataValue]:
    """The metadata of one mart. Raises duckdb.Error where its tables are not what its YAML says."""
    table = f"{identifier(mart.schema)}.{identifier(mart.name)}"
    columns = [row[0] for row in connection.execute(f"describe {table}").fetchall()]
    found = _totals(connection, mart, table, columns)
    if {"occurred_at", "ingested_at"} <= set(columns) and mart.schema == "core":
        found |= _by_day(connection, table)
    if mart.example and not PERSONAL & set(columns):
        cursor = connection.execute(mart.example)
        header = [column[0] for column in cursor.description or ()]
        rows = cursor.fetchmany(EXAMPLE_ROWS)
        if rows:
            found["example"] = dg.MetadataValue.md(markdown_table(header, rows))
    return found


def _totals(
    connection: "duckdb.DuckDBPyConnection", mart: Mart, table: str, columns: Sequence[str]
) -> dict[str, dg.MetadataValue]:
    additive = [
        name
        for (name,) in connection.execute(
            "select name from meta.indicator_catalogue where mart = ? and additivity = 'additive'", [mart.name]
        ).fetchall()
        if name in columns
    ][:TOTALS]
    wanted = [name for indicator in additive for name in (indicator, f"human_{indicator}") if name in columns]
    if not wanted:
        return {}
    sums = ", ".join(f"cast(coalesce(sum({identifier(name)}), 0) as double)" for name in wanted)
    (values,) = connection.execute(f"select {sums} from {table}").fetchall()  # noqa: S608 (quoted)
    return {
        name: dg.MetadataValue.int(int(value)) if value == int(value) else dg.MetadataValue.float(value)
        for name, value in zip(wanted, values, strict=True)
    }


def _by_day(connection: "duckdb.DuckDBPyConnection", table: str) -> dict[str, dg.MetadataValue]:
    days = connection.execute(
        "with counted as ("  # noqa: S608 (quoted)
        f"select cast(occurred_at as date) as day, count(*) as number from {table} where occurred_at is not null"
        " and occurred_at <= ingested_at + interval 1 day group by day)"
        " select cast(range as date), coalesce(number, 0)"
        " from (select max(day) as newest from counted),"
        f" range(cast(newest as timestamp) - interval {SPARK_DAYS - 1} day, newest + interval 1 day, interval 1 day)"
        " left join counted on day = cast(range as date) order by 1 desc"
    ).fetchall()
    if not days:
        return {}
    counts = [count for _, count in reversed(days)]
    told = f"{days[-1][0]} to {days[0][0]} (UTC), at most {max(counts):,} a day"
    shown = markdown_table(("day", "rows"), [(str(day), count) for day, count in days[:TABLE_DAYS]])
    return {
        "by_day": dg.MetadataValue.md(f"![rows by day]({picture(counts)})\n\n{markdown(told)}"),
        "newest_days": dg.MetadataValue.md(shown),
    }


def picture(counts: Sequence[int]) -> str:
    """Bars from 0 to the highest count, as the data URI of an SVG. Whatever is more than 0 can be seen.

    One short path: the UI puts Markdown of 1,000 characters and more behind a click.
    """
    top = max(counts, default=0) or 1
    bars = "".join(
        f"M{place * _BAR_WIDTH} {_HEIGHT}v-{max(1, round(count / top * _HEIGHT))}h{_BAR_WIDTH - 1}V{_HEIGHT}"
        for place, count in enumerate(counts)
        if count
    )
    size = f'width="{len(counts) * _BAR_WIDTH}" height="{_HEIGHT}"'
    svg = f'<svg xmlns="http://www.w3.org/2000/svg" {size}><path fill="{_COLOUR}" d="{bars}"/></svg>'
    return f"data:image/svg+xml;base64,{b64encode(svg.encode()).decode()}"


def all_highlights(
    connection: "duckdb.DuckDBPyConnection", marts: Iterable[Mart]
) -> tuple[dict[str, dict[str, dg.MetadataValue]], list[str]]:
    """The metadata of several marts by output, and one line for each that could not be read: no reason to fail."""
    import duckdb

    found: dict[str, dict[str, dg.MetadataValue]] = {}
    problems = []
    for mart in marts:
        try:
            found[mart.output] = highlights(connection, mart)
        except duckdb.Error as error:
            problems.append(f"{mart.schema}.{mart.name}: {plain(str(error).splitlines()[0], 300)}")
    return found, problems
