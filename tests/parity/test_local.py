"""The models on a Spark in this machine (local[2]) give the rows that they give on DuckDB: built at once, and when more
arrives. `make parity` does the same on a cluster, with more that can happen."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from orchestration.dbt import load_manifest, prepare_manifest
from orchestration.model_sql import prepare_sql
from tests.marts import build_marts
from tests.parity.arrivals import Arrivals
from tests.parity.lineage import edges_on_spark, raw_fields
from tests.parity.spark import (
    FOR_TINY_DATA,
    WITHOUT_HIVE,
    SparkBuilds,
    differing,
    require_spark,
    row_count,
    settings_of,
    spark_builds,
)

EVENTS = 1_000

READ_MORE_ON_SPARK = {("core", "fct_esp_events", "is_counted"), ("core", "fct_esp_events", "matched_event_key")}
"""Which records are one act is found by joins on times in DuckDB's recursion, where they only choose rows; the fold on
Spark computes with them."""


@pytest.fixture(scope="module")
def arrivals(tmp_path_factory: pytest.TempPathFactory) -> Arrivals:
    require_spark()
    return Arrivals(tmp_path_factory.mktemp("local"), events=EVENTS)


@pytest.fixture(scope="module")
def builds(arrivals: Arrivals) -> Iterator[SparkBuilds]:
    warehouse = arrivals.landing.with_name("warehouse")
    with spark_builds(settings_of(warehouse, project=arrivals.project, conf=FOR_TINY_DATA | WITHOUT_HIVE)) as started:
        yield started


def build_both(arrivals: Arrivals, builds: SparkBuilds) -> Path:
    """Returns DuckDB's working database."""
    warehouse = builds.settings.warehouse_dir
    build_marts(arrivals.landing, warehouse, project=arrivals.project)
    builds.build()
    return warehouse / "work" / "warehouse.duckdb"


def test_every_mart_is_the_same_at_first_and_when_more_arrives(arrivals: Arrivals, builds: SparkBuilds) -> None:
    arrivals.initial()
    database = build_both(arrivals, builds)
    assert differing(database, builds.settings.working_database) == {}
    facts = ["core.fct_opens", "core.fct_clicks", "reports.rpt_tracking_indicators", "reports.rpt_hot_clicks"]
    before = row_count(database, facts)
    assert all(before.values())
    assert_same_lineage(arrivals, builds)

    arrivals.incremental()
    arrivals.late()
    arrivals.references()
    database = build_both(arrivals, builds)
    assert differing(database, builds.settings.working_database) == {}
    assert row_count(database, facts)["core.fct_clicks"] > before["core.fct_clicks"]


def assert_same_lineage(arrivals: Arrivals, builds: SparkBuilds) -> None:
    """Of the SQL of a first build: it says what a mart holds, not what a run adds."""
    settings = replace(builds.settings, engine="duckdb")
    on_duckdb = raw_fields(prepare_sql(settings, prepare_manifest(settings)).edges)
    on_spark = raw_fields(edges_on_spark(load_manifest(builds.target / "manifest.json"), arrivals.project))
    assert on_duckdb.keys() == on_spark.keys()
    assert len(on_duckdb) > 500
    assert {column for column, fields in on_duckdb.items() if on_spark[column] != fields} <= READ_MORE_ON_SPARK
    assert all(on_spark[column] >= on_duckdb[column] for column in READ_MORE_ON_SPARK)
