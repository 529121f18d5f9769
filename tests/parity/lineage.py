"""Which landed fields the columns of the marts are made of, by the lineage of the SQL that dbt compiled."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from orchestration.dbt import load_manifest, prepare_manifest
from orchestration.lineage import AGGREGATE, VALUE, Edge, Relation, column_lineage
from orchestration.model_sql import models_of, prepare_sql
from orchestration.publication import SCHEMAS
from tests.parity.spark import SparkBuilds

Column = tuple[str, str, str]
"""Schema, table, column."""

READ_MORE_ON_SPARK = {("core", "fct_esp_events", "is_counted"), ("core", "fct_esp_events", "matched_event_key")}
"""Which records are one act is found by joins on times in DuckDB's recursion, where they only choose rows; the fold on
Spark computes with them."""


def edges_on_spark(manifest: Mapping[str, Any], project: Path) -> list[Edge]:
    """manifest: of a first build on Spark, with its compiled SQL. Fails where a model cannot be read."""
    # Relations of Spark have no database.
    nodes = {
        unique_id: {**node, "database": node["database"] or "none"} for unique_id, node in manifest["nodes"].items()
    }
    compiled = {unique_id: node["compiled_code"] for unique_id, node in nodes.items() if node.get("compiled_code")}
    models = models_of({**manifest, "nodes": nodes}, compiled, project)
    found = column_lineage((Relation(each.schema, each.name, each.sql, each.columns) for each in models), "spark")
    assert not found.unreadable, found.unreadable
    return list(found.all_edges())


def raw_fields(edges: Iterable[Edge]) -> dict[Column, frozenset[Column]]:
    """By column of a mart: the columns of landed rows and seeds that its values come from, through all models."""
    made_of: dict[Column, set[Column]] = {}
    for edge in edges:
        if edge.use in (VALUE, AGGREGATE):
            made_of.setdefault((*edge.table, edge.column), set()).add((*edge.source, edge.source_column))
    ends: dict[Column, frozenset[Column]] = {}

    def of(column: Column) -> frozenset[Column]:
        if column not in ends:
            ends[column] = frozenset([column])
            below = [of(source) for source in made_of.get(column, ())]
            if below:
                ends[column] = frozenset().union(*below)
        return ends[column]

    return {column: of(column) for column in made_of if column[0] in SCHEMAS}


def assert_same_lineage(builds: SparkBuilds) -> None:
    """Of both compiled projects, after a first build: its SQL says what a mart holds, not what a run adds."""
    settings = replace(builds.settings, engine="duckdb")
    on_duckdb = raw_fields(prepare_sql(settings, prepare_manifest(settings)).edges)
    on_spark = raw_fields(edges_on_spark(load_manifest(builds.target / "manifest.json"), settings.dbt_project_dir))
    assert on_duckdb.keys() == on_spark.keys()
    assert len(on_duckdb) > 500
    assert {column for column, fields in on_duckdb.items() if on_spark[column] != fields} <= READ_MORE_ON_SPARK
    assert all(on_spark[column] >= on_duckdb[column] for column in READ_MORE_ON_SPARK)
