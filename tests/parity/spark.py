"""Building the marts on Spark in tests, and comparing them with DuckDB's row by row."""

import contextlib
import json
import os
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path

import duckdb

from log_ingest.ingest import ingest
from log_ingest.sqltext import identifier, literal
from orchestration.dbt import load_manifest
from orchestration.engine import Spark
from orchestration.publication import SCHEMAS, relations
from orchestration.settings import Settings
from tests.conftest import ROOT, unless_required
from tests.marts import build_marts
from tests.parity.spark_child import ANSWER

PYTHON = ROOT / ".venv-spark" / "bin" / "python"

FOUND_FIRST = ("scala-library", "spark-catalyst", "spark-common-utils", "spark-core", "spark-sql-api", "spark-sql_")
"""Archives of Spark that come first on the class path, which it asks for the code of every closure: where they stand by
name, hundreds of others are looked into before them. A tenth of the CPU of a build."""

JAVA_FOR_SHORT_RUNS = "-XX:+UseSerialGC -XX:TieredStopAtLevel=1 -XX:ReservedCodeCacheSize=240m"
"""The quick compiler alone would get 48 MB for its code. A build of all models fills these, and from then on Java
interprets."""

FOR_TINY_DATA = {
    "spark.sql.shuffle.partitions": "1",
    "spark.default.parallelism": "1",
    "spark.sql.adaptive.enabled": "false",
    # Compiling a query takes longer than interpreting it over a few rows.
    "spark.sql.codegen.wholeStage": "false",
    "spark.sql.codegen.factoryMode": "NO_CODEGEN",
    "spark.driver.memory": "1200m",
    "spark.driver.host": "127.0.0.1",
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.driver.extraJavaOptions": f"{JAVA_FOR_SHORT_RUNS} -Dderby.stream.error.file=/dev/null",
    "spark.driver.extraClassPath": ":".join(
        str(archive)
        for name in FOUND_FIRST
        for archive in PYTHON.parents[1].glob(f"lib/python*/site-packages/pyspark/jars/{name}*.jar")
    ),
}

WITHOUT_HIVE = {"spark.sql.catalogImplementation": "in-memory"}
"""Tables are known as long as the session lasts. Hive's catalog takes a third of the time of small statements."""


def require_spark() -> None:
    """Skip, saying why, where there is no Spark; fail in CI, which has to have it."""
    if not PYTHON.exists():
        unless_required("no Spark here; run: make env-spark")
    if shutil.which("java") is None:
        unless_required("no Java here; run: sudo apt-get install openjdk-17-jre-headless")


def settings_of(
    warehouse: Path, *, project: Path, url: str = "local[2]", conf: dict[str, str] | None = None
) -> Settings:
    return Settings(
        landing_dir=warehouse.with_name("landing"),
        warehouse_dir=warehouse,
        engine="spark",
        spark_url=url,
        spark_conf=json.dumps(conf if conf is not None else FOR_TINY_DATA),
        dbt_project_dir=project,
    )


class SparkBuilds:
    """One Spark session that builds as often as asked."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.target = settings.dbt_dir / "run"
        self.target.mkdir(parents=True, exist_ok=True)
        keep = {name: value for name, value in os.environ.items() if not name.startswith(("MTW_", "SPARK_", "PYTHON"))}
        self.errors = (settings.dbt_dir / "errors.txt").open("w+")
        self.process = subprocess.Popen(
            [str(PYTHON), "-m", "tests.parity.spark_child", str(settings.dbt_project_dir), str(self.target)],
            cwd=ROOT,
            env=keep | settings.environment() | {"MTW_SPARK_PARTS": "2", "DBT_SEND_ANONYMOUS_USAGE_STATS": "false"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
        )

    def begin(self, *arguments: str) -> None:
        """Begin to build, and do not wait. Without arguments: models and seeds."""
        assert self.process.stdin
        self.process.stdin.write(
            json.dumps(arguments or ("--resource-type", "model", "--resource-type", "seed")) + "\n"
        )
        self.process.stdin.flush()

    def failures(self) -> list[str]:
        """Wait for what was begun; a text per node that failed."""
        assert self.process.stdout
        said = []
        for line in self.process.stdout:
            if line.startswith(ANSWER):
                return list(json.loads(line.removeprefix(ANSWER)))
            said.append(line)
        self.errors.seek(0)
        raise AssertionError(f"the process of Spark ended: {''.join(said)[-2000:]}{self.errors.read()[-2000:]}")

    def finish(self) -> None:
        """Wait for what was begun, and collect the marts. Fails where a node failed."""
        assert self.failures() == []
        Spark().collect(self.settings, load_manifest(self.target / "manifest.json"))

    def close(self) -> None:
        assert self.process.stdin
        self.process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(30)
        self.process.kill()
        self.process.wait()
        self.errors.close()


@contextlib.contextmanager
def spark_builds(settings: Settings) -> Iterator[SparkBuilds]:
    builds = SparkBuilds(settings)
    try:
        yield builds
    finally:
        builds.close()


def build_both(landing: Path, builds: SparkBuilds) -> Path:
    """Take in what arrived and build it with both engines, side by side. Fails where a node of either failed.

    Returns DuckDB's working database.
    """
    settings = builds.settings
    ingest(landing, settings.warehouse_dir, run_id="test")
    builds.begin()
    build_marts(landing, settings.warehouse_dir, project=settings.dbt_project_dir)
    builds.finish()
    return settings.warehouse_dir / "work" / "warehouse.duckdb"


def differing(by_duckdb: Path, by_spark: Path) -> dict[str, str]:
    """By mart that is not the same in both databases, to the last row, column and type: in what they differ.

    by_duckdb: a working database as dbt makes it, whose name its views know; by_spark: one that collects Spark's.
    """
    found = {}
    with contextlib.closing(duckdb.connect()) as connection:
        connection.execute(f"attach {literal(str(by_duckdb))} as {identifier(by_duckdb.stem)} (read_only)")
        connection.execute(f"attach {literal(str(by_spark))} as by_spark (read_only)")
        connection.execute(f"use {identifier(by_duckdb.stem)}")
        names = relations(connection, by_duckdb.stem)
        assert names == relations(connection, "by_spark")
        assert {schema for schema, _ in names} == set(SCHEMAS)
        for schema, name in names:
            sides = [f"{database}.{identifier(schema)}.{identifier(name)}" for database in (by_duckdb.stem, "by_spark")]
            kinds = [connection.execute(f"describe {side}").fetchall() for side in sides]
            columns = [[(column, kind) for column, kind, *_ in described] for described in kinds]
            if columns[0] != columns[1]:
                found[f"{schema}.{name}"] = f"columns: {set(columns[0]) ^ set(columns[1])}"
                continue
            missing, surplus = (
                connection.execute(f"select count(*) from (from {one} except all from {other})").fetchall()[0][0]
                for one, other in (sides, reversed(sides))
            )
            if missing or surplus:
                shown = [
                    connection.execute(f"select * from (from {one} except all from {other}) limit 2").fetchall()
                    for one, other in (sides, list(reversed(sides)))
                ]
                found[f"{schema}.{name}"] = f"{missing} rows missing, {surplus} too many: {shown}"[:2000]
    return found


def row_count(database: Path, names: Iterable[str]) -> dict[str, int]:
    with contextlib.closing(duckdb.connect(str(database), read_only=True)) as connection:
        return {name: connection.execute(f"select count(*) from {name}").fetchall()[0][0] for name in names}
