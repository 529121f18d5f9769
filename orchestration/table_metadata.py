"""Columns and rows of what dbt built, as Dagster shows them with each asset.

Belongs here: reading them from the working database, all at once. dagster-dbt's own way asks through dbt's adapter for
one table after the other, and opens the database anew for each, which took a tenth of a run. Does not: what marts say
(highlights), lineage (model_sql).
"""

from collections import defaultdict
from collections.abc import Collection
from typing import TYPE_CHECKING

import dagster as dg

from log_ingest.sqltext import identifier, literal

if TYPE_CHECKING:
    import duckdb


def table_metadata(
    connection: "duckdb.DuckDBPyConnection", outputs: Collection[str]
) -> dict[str, dict[str, dg.MetadataValue]]:
    """By output (schema__name): the columns, and of tables the count of rows; views are not computed for it.

    connection: of a database that holds what was built. What is not in it has no entry.
    """
    columns: dict[str, list[dg.TableColumn]] = defaultdict(list)
    for schema, name, column, data_type in connection.execute(
        "select schema_name, table_name, column_name, data_type from duckdb_columns() where not internal"
        " order by schema_name, table_name, column_index"
    ).fetchall():
        columns[f"{schema}__{name}"].append(dg.TableColumn(column, data_type))
    found: dict[str, dict[str, dg.MetadataValue]] = {
        output: {"dagster/column_schema": dg.MetadataValue.table_schema(dg.TableSchema(columns[output]))}
        for output in outputs
        if output in columns
    }
    counts = [
        f"select {literal(f'{schema}__{name}')}, count(*) from {identifier(schema)}.{identifier(name)}"  # noqa: S608
        for schema, name in connection.execute(
            "select schema_name, table_name from duckdb_tables() where not internal and not temporary"
        ).fetchall()
        if f"{schema}__{name}" in found
    ]
    if counts:
        for output, count in connection.execute(" union all ".join(counts)).fetchall():
            found[output]["dagster/row_count"] = dg.MetadataValue.int(count)
            found[output]["dagster/storage_kind"] = dg.MetadataValue.text("duckdb")
    return found
