"""The project's models as plain SQL: compiled as for an empty warehouse, without paths, runs or state in it.

Belongs here: compiling, once for each state of the project, and what the manifest says of a model beside its SQL: its
grain, how a counted row finds its row of a mart. Does not: reading the SQL (lineage) or publishing it (publish).

Compiled against an empty database, so that two states of the project give the same text exactly where their models
say the same, that no run has to be waited for, and that incremental models show what they hold, not what they add.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from hashlib import md5
from pathlib import Path
from typing import Any

from log_ingest.catalog import PERSONAL_COLUMNS, READABLE_SCHEMAS
from orchestration.dbt import DbtError, load_manifest, prepare_manifest, told_alone
from orchestration.identifiers import MaskedColumn, masked_columns
from orchestration.lineage import Edge, Relation, Table, column_lineage, digest_text
from orchestration.postgres_structure import Key
from orchestration.publication import SCHEMAS
from orchestration.published_tables import MetaTable
from orchestration.row_changes import RowWise, row_wise
from orchestration.settings import Settings
from orchestration.text import plain

LANDED = "landed"
"""Schema of the landed sources in the published SQL and lineage."""

ROW_KEYS = "row_keys"
"""Entry of a model's meta: by key column, the SQL that gives it for a counted row of a fact."""

GRAIN = "grain"
"""The test that says what tells the rows of a model apart (dbt_project/tests/generic)."""
PRIMARY_KEY = "primary_key"
"""Entry of a model's meta: the columns that tell its rows apart and are never NULL; a model below it is tested."""

COMPILED_FOR = "duckdb"
"""The engine whose SQL is published."""

_FILE = "models.json"

# What an empty warehouse makes of the arrival predicates: all rows, whenever they arrived.
_ARRIVED = re.compile(r'batch_id <= (?:0\b|\(select ceiling_batch_id from (?:"?\w+"?\.)?"?state"?\."?run_window"?\))')


@dataclass(frozen=True)
class Model:
    """A model, seed or landed source. sql: empty where there is none; grain: the columns that tell rows apart."""

    schema: str
    name: str
    kind: str
    materialized: str = ""
    sql: str = ""
    columns: tuple[str, ...] = ()
    grain: tuple[str, ...] = ()
    row_keys: dict[str, str] = field(default_factory=dict)
    upstreams: tuple[str, ...] = ()
    """As schema.name."""


@dataclass(frozen=True)
class ProjectSql:
    """Everything that is known of the models of one state of the project."""

    models: tuple[Model, ...]
    edges: tuple[Edge, ...]
    unreadable: dict[str, str]
    """By schema.name of the models whose lineage could not be found out: why."""


def prepare_sql(settings: Settings, manifest_path: Path) -> ProjectSql:
    """The models of the parsed project and their lineage; compiled (about 6 seconds) only where it has changed since.

    Raises DbtError where dbt cannot compile them.
    """
    kept = manifest_path.with_name(_FILE)
    try:
        return _read(json.loads(kept.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, KeyError):
        pass
    if settings.engine != COMPILED_FOR:
        # What is explained is read with DuckDB, whatever built it.
        settings = replace(settings, engine=COMPILED_FOR)
        manifest_path = prepare_manifest(settings)
    models = models_of(load_manifest(manifest_path), _compiled(settings, manifest_path), settings.dbt_project_dir)
    found = column_lineage(Relation(model.schema, model.name, model.sql, model.columns) for model in models)
    unreadable = {".".join(table): reason for table, reason in found.unreadable.items()}
    project = ProjectSql(tuple(models), tuple(found.all_edges()), unreadable)
    temporary = kept.with_suffix(".tmp")
    temporary.write_text(json.dumps(asdict(project)), encoding="utf-8")
    temporary.replace(kept)
    return project


def meta_tables(project: ProjectSql) -> list[MetaTable]:
    """The project's models and lineage as tables to publish."""
    models = MetaTable(
        "model_sql",
        "Grain: one row per model, seed and landed source. The SQL that made the marts of this version.",
        {
            "schema_name": ("varchar", "Schema of the relation; landed for sources."),
            "table_name": ("varchar", "Name of the relation."),
            "kind": ("varchar", "model, seed or source."),
            "materialized": ("varchar", "How dbt keeps it: view, table, incremental, seed; empty for sources."),
            "sql": (
                "varchar",
                "Compiled as for an empty warehouse: all it holds, from all landed rows. Empty for seeds and sources.",
            ),
            "sql_digest": (
                "varchar",
                "md5 of the SQL without comments and layout; it differs where the SQL says another thing.",
            ),
            "grain": ("varchar[]", "The columns that tell its rows apart, by its tests."),
            "row_keys": (
                "varchar",
                "JSON object: by key column, the SQL that gives it for a counted row, where names differ.",
            ),
            "upstreams": ("varchar[]", "What it reads, as schema.table."),
        },
        [
            (
                *(model.schema, model.name, model.kind, model.materialized, model.sql),
                md5(digest_text(model.sql).encode()).hexdigest() if model.sql else None,
                *(list(model.grain), json.dumps(model.row_keys), list(model.upstreams)),
            )
            for model in project.models
        ],
    )
    lineage = MetaTable(
        "column_lineage",
        "Grain: one row per column of a model, column that it reads directly, use and condition.",
        {
            "schema_name": ("varchar", "Schema of the model."),
            "table_name": ("varchar", "Name of the model."),
            "column_name": ("varchar", "Column of the model."),
            "source_schema": ("varchar", "Schema of what it reads; landed for raw fields."),
            "source_table": ("varchar", "Name of what it reads."),
            "source_column": ("varchar", "Column of what it reads."),
            "use": (
                "varchar",
                "value: row by row; aggregate: of many rows; rows: it decides which rows count; formula: the same row's"
                " other column.",
            ),
            "condition": ("varchar", "Of rows: the filter, join or grouping; NULL otherwise."),
        },
        [
            (*edge.table, edge.column, *edge.source, edge.source_column, edge.use, edge.condition or None)
            for edge in project.edges
        ],
    )
    personal = MetaTable(
        "personal_fields",
        "Grain: one row per landed field that holds a direct identifier or free text about a person.",
        {
            "source_table": ("varchar", "Landed source, as in column_lineage where source_schema is landed."),
            "source_column": ("varchar", "Its field."),
        },
        [(table[1], column) for table, column in personal_fields()],
    )
    return [models, lineage, personal]


def masks_of(manifest: Mapping[str, Any], project: ProjectSql | None) -> tuple[list[MaskedColumn], list[str]]:
    """See identifiers.masked_columns. project: None where the lineage is not known. Raises MaskError."""
    return masked_columns(
        manifest,
        {table: key.columns for table, key in primary_keys(manifest).items()},
        SCHEMAS,
        project.edges if project else (),
        personal_fields(),
    )


def row_wise_of(manifest: Mapping[str, Any], masked: Iterable[MaskedColumn]) -> tuple[list[RowWise], list[str]]:
    """See row_changes.row_wise. Of the published relations."""
    return row_wise(manifest, {table: key.columns for table, key in primary_keys(manifest).items()}, SCHEMAS, masked)


def personal_fields() -> list[tuple[Table, str]]:
    """The landed fields that are personal, as the lineage names them."""
    return [
        ((LANDED, source), column) for source, fields in sorted(PERSONAL_COLUMNS.items()) for column in sorted(fields)
    ]


def models_of(manifest: Mapping[str, Any], compiled: Mapping[str, str], project_dir: Path) -> list[Model]:
    """The models, seeds and sources of a manifest, with their compiled SQL by unique id."""
    sources = {
        node["relation_name"]: f"{LANDED}.{node['name']}" for node in manifest["sources"].values()
    }  # A source is named by what reads it, which is a path of this machine.
    nodes = manifest["nodes"] | manifest["sources"]
    grains = _grains(manifest)
    models = []
    for unique_id, node in manifest["nodes"].items():
        if node["resource_type"] not in ("model", "seed"):
            continue
        is_model = node["resource_type"] == "model"
        models.append(
            Model(
                schema=node["schema"],
                name=node["name"],
                kind=node["resource_type"],
                materialized=node["config"].get("materialized") or "",
                sql=_cleaned(compiled.get(unique_id, ""), node["database"], sources) if is_model else "",
                columns=() if is_model else _header(project_dir / node["original_file_path"]),
                grain=grains.get(unique_id, ()),
                row_keys=dict((node["config"].get("meta") or {}).get(ROW_KEYS) or {}),
                upstreams=tuple(
                    _qualified(nodes[name]) for name in node.get("depends_on", {}).get("nodes", ()) if name in nodes
                ),
            )
        )
    for node in manifest["sources"].values():
        known = READABLE_SCHEMAS.get(node["name"])
        columns = tuple(known.names if known is not None else node["columns"])
        models.append(Model(LANDED, node["name"], "source", columns=tuple(dict.fromkeys((*columns, "batch_id")))))
    return sorted(models, key=lambda model: (model.schema, model.name))


def primary_keys(manifest: Mapping[str, Any]) -> dict[tuple[str, str], Key]:
    """By schema and name of a model or seed: the columns that tell its rows apart.

    By its uniqueness test; where it has none because a model below it is tested, by its meta (PRIMARY_KEY), which
    says that they are never NULL too.
    """
    grains, never_null = _grains(manifest), _never_null(manifest)
    found = {}
    for unique_id, node in manifest["nodes"].items():
        if node["resource_type"] not in ("model", "seed"):
            continue
        declared = (node["config"].get("meta") or {}).get(PRIMARY_KEY)
        columns = tuple(declared) if declared else grains.get(unique_id, ())
        if columns:
            is_never_null = bool(declared) or set(columns) <= never_null.get(unique_id, set())
            found[node["schema"], node["name"]] = Key(columns, is_never_null)
    return found


def _never_null(manifest: Mapping[str, Any]) -> dict[str, set[str]]:
    """By model: the columns that its tests hold to be never NULL."""
    found: dict[str, set[str]] = {}
    for node in manifest["nodes"].values():
        test = node.get("test_metadata") if node["resource_type"] == "test" else None
        if not test or test["name"] not in ("not_null", "never_null", GRAIN):
            continue
        named = test["kwargs"]
        columns = [node["column_name"]] if test["name"] == "not_null" else named["columns"]
        filled = {*columns, *named.get("never_null", ())} - {*named.get("may_be_null", ())}
        found.setdefault(node.get("attached_node") or "", set()).update(filled)
    return found


def _qualified(node: Mapping[str, Any]) -> str:
    return f"{LANDED if node['resource_type'] == 'source' else node['schema']}.{node['name']}"


def _grains(manifest: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """By model: the columns that its uniqueness test names, the test that names fewest."""
    found: dict[str, tuple[str, ...]] = {}
    for node in manifest["nodes"].values():
        test = node.get("test_metadata") if node["resource_type"] == "test" else None
        if not test or not node.get("attached_node"):
            continue
        if test["name"] == "unique":
            columns: tuple[str, ...] = (node["column_name"],)
        elif test["name"] == GRAIN:
            columns = tuple(test["kwargs"]["columns"])
        else:
            continue
        known = found.get(node["attached_node"])
        if known is None or len(columns) < len(known):
            found[node["attached_node"]] = columns
    return found


def _cleaned(sql: str, database: str, sources: Mapping[str, str]) -> str:
    for relation, name in sorted(sources.items(), key=lambda item: -len(item[0])):
        sql = sql.replace(relation, name)
    sql = _ARRIVED.sub("true", sql)
    sql = re.sub(rf'"?{re.escape(database)}"?\."(\w+)"\."(\w+)"', r"\1.\2", sql)
    return "\n".join(line.rstrip() for line in sql.strip().splitlines())


def _header(path: Path) -> tuple[str, ...]:
    with path.open(encoding="utf-8-sig") as file:
        return tuple(name.strip().strip('"') for name in file.readline().strip().split(","))


def _read(kept: dict[str, Any]) -> ProjectSql:
    tuples = ("columns", "grain", "upstreams")
    models = (Model(**{**entry, **{name: tuple(entry[name]) for name in tuples}}) for entry in kept["models"])
    edges = (Edge(**{**e, "table": tuple(e["table"]), "source": tuple(e["source"])}) for e in kept["edges"])
    return ProjectSql(tuple(models), tuple(edges), kept["unreadable"])


def _compiled(settings: Settings, manifest_path: Path) -> dict[str, str]:
    with tempfile.TemporaryDirectory(prefix="mtw-compile-") as folder:
        return compile_project(settings, Path(folder), manifest_path.with_name("partial_parse.msgpack"))


def compile_project(settings: Settings, folder: Path, parsed: Path | None = None) -> dict[str, str]:
    """Compiled SQL by unique id, from a process of its own: dbt keeps settings that later runs must not see.

    folder: an empty one; target/manifest.json is left there. parsed: the parser's work of before, where there is some.
    Raises DbtError where dbt cannot compile the models.
    """
    (folder / "work").mkdir()
    # The paths of sources were fixed by the parser; only the database is another, and empty.
    environment = {**os.environ, **settings.environment(), "MTW_WAREHOUSE_DIR": str(folder)}
    told = told_alone(settings)
    if parsed is None:
        # Nobody has parsed it for this warehouse, which may not even be one yet: nothing is kept there.
        del told["MTW_DBT_TEMPLATES"]
    result = subprocess.run(
        [
            *(sys.executable, "-m", "orchestration.compile_models", str(settings.dbt_project_dir)),
            *(settings.engine, str(parsed or ""), str(folder)),
        ],
        cwd=settings.dbt_project_dir,
        env={**environment, **told, "DBT_SEND_ANONYMOUS_USAGE_STATS": "false"},
        capture_output=True,
        text=True,
    )
    output = folder / "compiled.json"
    if result.returncode != 0 or not output.is_file():
        lines = (result.stderr or result.stdout).strip().splitlines()
        raise DbtError(f"dbt cannot compile the models: {plain(lines[-1] if lines else 'no message', 300)}")
    return dict(json.loads(output.read_text(encoding="utf-8")))
