"""Which landed fields the columns of the marts are made of, by the SQL that dbt compiled for one engine."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from orchestration.lineage import AGGREGATE, VALUE, Relation, column_lineage
from orchestration.model_sql import models_of
from orchestration.publish import SCHEMAS

Column = tuple[str, str, str]
"""Schema, table, column."""


def raw_fields(manifest: Mapping[str, Any], project: Path, dialect: str) -> dict[Column, frozenset[Column]]:
    """By column of a mart: the columns of landed rows and seeds that its values come from, through all models between.

    manifest: of a build of all models, with their compiled SQL.
    """
    compiled = {
        unique_id: node["compiled_code"] for unique_id, node in manifest["nodes"].items() if node.get("compiled_code")
    }
    # Relations of Spark have no database.
    nodes = {
        unique_id: {**node, "database": node["database"] or "none"} for unique_id, node in manifest["nodes"].items()
    }
    models = models_of({**manifest, "nodes": nodes}, compiled, project)
    relations = [Relation(model.schema, model.name, model.sql, model.columns) for model in models]
    found = column_lineage(relations, dialect)
    assert not found.unreadable, found.unreadable
    made_of: dict[Column, set[Column]] = {}
    for edge in found.all_edges():
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
