"""The engines that dbt builds with, and what of them the rest of the pipeline has to know.

Belongs here: what differs between engines outside the SQL: what has to be there before a build, and how what was built
becomes the DuckDB file that checks, publishing and highlights read. Does not: SQL (dbt_project/macros), settings.

On DuckDB that file is dbt's own database. On Spark it holds views of Parquet files, with the comments of the manifest:
the files of the tables themselves; of views, and of tables in another format, those that a build writes at its end
(macros/spark/export.sql).
"""

import contextlib
import shutil
import subprocess
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

import duckdb

from log_ingest.sqltext import identifier, literal
from orchestration.bounded import connected
from orchestration.publication import SCHEMAS
from orchestration.settings import Settings

OLDEST_JAVA = 17

PART_COLUMN = "mtw_part"
"""What incremental tables are partitioned by: part_column() in macros/spark/places.sql."""

FOLDERS = ("staging", "intermediate", *SCHEMAS, "state", "export", "managed")
"""What lies in MTW_SPARK_WAREHOUSE_DIR."""


class EngineError(Exception):
    """The engine is not there, or what it built is not whole. The message is one line that says what to do."""


class Engine(Protocol):
    """What a run asks of an engine."""

    def check(self, settings: Settings) -> None:
        """Raises EngineError where it cannot build."""

    def is_best_alone(self, rows: int) -> bool:
        """Whether models are made sooner one after the other than two at a time, where so many rows are new."""

    def collect(self, settings: Settings, manifest: Mapping[str, Any]) -> None:
        """After a whole build: make settings.working_database show it. Raises EngineError."""


class DuckDB:
    """The default: one process, one file, which is dbt's own."""

    MUCH = 20_000_000
    """Rows. One statement has all cores; two share the memory, and each sends the other's rows to disk. Over few rows
    it leaves cores idle while dbt's Python is at work."""

    def check(self, settings: Settings) -> None:
        pass

    def is_best_alone(self, rows: int) -> bool:
        return rows >= self.MUCH

    def collect(self, settings: Settings, manifest: Mapping[str, Any]) -> None:
        pass


class Spark:
    """Apache Spark, by MTW_SPARK_URL."""

    def check(self, settings: Settings) -> None:
        if find_spec("pyspark") is None or find_spec("dbt.adapters.spark") is None:
            raise EngineError(
                "MTW_ENGINE is spark, and Spark is not installed here; run: make env-spark (docs/spark.md)"
            )
        if not settings.spark_url.startswith("sc://") and (java := _java_version()) < OLDEST_JAVA:
            raise EngineError(
                f"Spark needs Java {OLDEST_JAVA} or newer, and there is {f'Java {java}' if java else 'none'};"
                " run: sudo apt-get install openjdk-17-jre-headless"
            )

    def is_best_alone(self, rows: int) -> bool:
        # A cluster has room for both.
        return False

    def collect(self, settings: Settings, manifest: Mapping[str, Any]) -> None:
        target = settings.working_database
        building = target.with_name(target.name + ".building")
        building.unlink(missing_ok=True)
        with connected(settings) as connection:
            # Views name nothing of the file, so that it may be attached under any name.
            connection.execute(f"attach {literal(str(building))} as built")
            for schema in SCHEMAS:
                connection.execute(f"create schema built.{identifier(schema)}")
            for node in manifest["nodes"].values():
                if node["resource_type"] in ("model", "seed") and node["schema"] in SCHEMAS:
                    _add_view(connection, settings, node)
        building.replace(target)


def engine_of(settings: Settings) -> Engine:
    return Spark() if settings.engine == "spark" else DuckDB()


def discard_tables(settings: Settings) -> None:
    """Remove what Spark keeps of landed rows, whichever engine is set now; its next build starts from nothing."""
    for name in FOLDERS:
        shutil.rmtree(settings.spark_warehouse_dir / name, ignore_errors=True)


def _add_view(connection: duckdb.DuckDBPyConnection, settings: Settings, node: Mapping[str, Any]) -> None:
    materialized = node["config"]["materialized"]
    is_exported = materialized == "view" or settings.spark_file_format != "parquet"
    place = settings.spark_warehouse_dir / "export" if is_exported else settings.spark_warehouse_dir
    folder = place / node["schema"] / node["alias"]
    is_divided = materialized == "incremental" and not is_exported
    files = sorted(folder.glob(f"{PART_COLUMN}=*/*.parquet" if is_divided else "*.parquet"))
    if files:
        listed = ", ".join(literal(_without_globs(path)) for path in files)
        query = f"select * from read_parquet([{listed}], hive_partitioning = false)"  # noqa: S608 (quoted)
    elif is_divided and folder.is_dir():
        # A table without rows has no parts. Its contract says what columns it has.
        typed = ", ".join(
            f"cast(null as {column['data_type']}) as {identifier(name)}" for name, column in node["columns"].items()
        )
        query = f"select {typed} where false"
    else:
        raise EngineError(
            f"{node['schema']}.{node['alias']} is not in {folder}; is MTW_SPARK_WAREHOUSE_DIR the same storage for"
            " Spark and for this machine?"
        )
    view = f"built.{identifier(node['schema'])}.{identifier(node['alias'])}"
    connection.execute(f"create view {view} as {query}")
    connection.execute(f"comment on view {view} is {literal(node.get('description') or '')}")
    columns = {name for (name, *_) in connection.execute(f"describe {view}").fetchall()}
    for name, column in node["columns"].items():
        if name in columns and column.get("description"):
            connection.execute(f"comment on column {view}.{identifier(name)} is {literal(column['description'])}")


def _without_globs(path: Path) -> str:
    return str(path).replace("[", "[[]")


def _java_version() -> int:
    """The major version of the Java on this machine; 0 where there is none."""
    with contextlib.suppress(OSError, subprocess.SubprocessError, ValueError, IndexError):
        told = subprocess.run(["java", "-version"], capture_output=True, text=True, timeout=30).stderr
        return int(told.split('"')[1].split(".")[0])
    return 0
