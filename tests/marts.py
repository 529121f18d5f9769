"""Building marts in tests without Dagster, and comparing what two warehouses say."""

import hashlib
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path
from unittest.mock import patch

import duckdb
from dbt.adapters.duckdb.connections import DuckDBConnectionManager
from dbt.cli.main import dbtRunner
from dbt.contracts.graph.manifest import Manifest
from dbt.contracts.graph.nodes import SeedNode

from log_ingest.ingest import ingest
from orchestration import dbt_process

PROJECT = Path(__file__).parents[1] / "dbt_project"
dbt_process.spare()
"""As every pipeline runs dbt."""

SETTINGS = ("MTW_TIME_ZONE", "MTW_WEB_TRACKING_MODE")
"""What dbt reads of the environment, besides where the warehouse is."""
PROVENANCE = {"ingested_at", "source_file", "source_line", "batch_id", "recorded_at", "last_ingested_at"}
"""Which file brought a line depends on the order of arrival; what the line says does not."""


def build_marts(
    landing: Path,
    warehouse: Path,
    *,
    full_refresh: bool = False,
    tests: bool = False,
    project: Path = PROJECT,
    select: Iterable[str] = (),
    threads: int = 1,
) -> None:
    """Ingest what is new, then run the dbt models (and its tests, where asked) in this process.

    select: dbt selectors, everything where empty; tests of what they leave out are left out too.
    threads: of dbt; models of a few rows gain nothing by a second one, each waits for the other's Python.
    """
    ingest(landing, warehouse, run_id="test")
    (warehouse / "work").mkdir(parents=True, exist_ok=True)
    # Lines for a log are made whether or not it wants them.
    silent = ["--quiet", "--log-level", "none", "--log-level-file", "none"]
    arguments = [*silent, "build", "--threads", str(threads), *_places(project, warehouse / "dbt-target")]
    if not tests:
        arguments += ["--resource-type", "model", "--resource-type", "seed"]
    for selector in select:
        arguments += ["--select", selector, "--indirect-selection", "cautious"]
    if full_refresh:
        arguments.append("--full-refresh")
    manifest = parsed(project, warehouse)
    places = {"MTW_WAREHOUSE_DIR": str(warehouse), "DBT_SEND_ANONYMOUS_USAGE_STATS": "false"}
    with patch.dict(os.environ, places | {"MTW_DBT_KEEP_OPEN": "True"}):
        try:
            result = dbtRunner(manifest=manifest).invoke(arguments)
        finally:
            DuckDBConnectionManager.close_all_connections()
    failed = [
        f"{r.node.name}: {r.message}" for r in getattr(result.result, "results", []) if r.status in ("error", "fail")
    ]
    assert result.success, (failed, result.exception)


_manifests: dict[str, bytes] = {}
_NOWHERE = "/nowhere"


def parsed(project: Path, warehouse: Path) -> Manifest:
    """The project as dbt's parser leaves it: parsed once for each state of it, for all warehouses of this process.

    The parser writes one thing of the warehouse into it: where the landed rows are.
    """
    state = hashlib.sha256(repr([os.environ.get(name) for name in SETTINGS]).encode())
    for path in sorted(project.rglob("*")):
        if path.is_file() and not {"target", "logs"} & set(path.relative_to(project).parts):
            state.update(repr((str(path.relative_to(project)), path.read_bytes())).encode())
    key = state.hexdigest()
    if key not in _manifests:
        with tempfile.TemporaryDirectory() as folder:
            places = {"MTW_WAREHOUSE_DIR": _NOWHERE, "MTW_LANDED_DIR": "", "DBT_SEND_ANONYMOUS_USAGE_STATS": "false"}
            with patch.dict(os.environ, places):
                result = dbtRunner().invoke(["--quiet", "parse", *_places(project, Path(folder))])
            assert result.success, result.exception
            _manifests[key] = (Path(folder) / "partial_parse.msgpack").read_bytes()
    manifest = Manifest.from_msgpack(_manifests[key])
    for source in manifest.sources.values():
        for meta in (source.meta, source.config.meta, source.source_meta):
            if "landed" in meta:
                assert meta["landed"] == f"{_NOWHERE}/landed"
                meta["landed"] = str(warehouse / "landed").replace("[", "[[]").replace("'", "''")
    for node in manifest.nodes.values():
        # The same project in another folder may have been the first: seeds are read when they are built, from here.
        if isinstance(node, SeedNode):
            node.root_path = str(project)
    manifest.build_flat_graph()
    return manifest


def _places(project: Path, target: Path) -> list[str]:
    return [
        *("--project-dir", str(project), "--profiles-dir", str(project)),
        *("--target-path", str(target), "--log-path", str(target)),
    ]


def connect(warehouse: Path) -> duckdb.DuckDBPyConnection:
    """The working database, read-only."""
    return duckdb.connect(str(warehouse / "work" / "warehouse.duckdb"), read_only=True)


def tables(
    warehouse: Path, schemas: tuple[str, ...] = ("core", "reports"), *, without: set[str] = PROVENANCE
) -> dict[str, list[tuple]]:
    """The sorted rows of every table and view of the schemas, without provenance, by schema.table."""
    found = {}
    with connect(warehouse) as con:
        names = con.execute(
            "select table_schema, table_name from information_schema.tables where table_schema in"
            f" ({', '.join(repr(schema) for schema in schemas)}) order by all"
        ).fetchall()
        for schema, name in names:
            columns = [
                row[0] for row in con.execute(f'describe "{schema}"."{name}"').fetchall() if row[0] not in without
            ]
            selected = ", ".join(f'"{column}"' for column in columns)
            found[f"{schema}.{name}"] = con.execute(
                f'select {selected} from "{schema}"."{name}" order by all'
            ).fetchall()
    assert found, "no tables"
    return found


def assert_same_tables(left: dict[str, list[tuple]], right: dict[str, list[tuple]]) -> None:
    """Equal as multisets of rows, table by table; says which table and which rows differ."""
    assert left.keys() == right.keys()
    for name in left:
        if left[name] != right[name]:
            only_left = [row for row in left[name] if row not in right[name]][:5]
            only_right = [row for row in right[name] if row not in left[name]][:5]
            raise AssertionError(
                f"{name}: {len(left[name])} and {len(right[name])} rows; only left {only_left}; only right {only_right}"
            )
