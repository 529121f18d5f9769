"""`make parity`: a standalone master with two workers and a Spark Connect server, several builds, a killed worker.

Takes minutes and gigabytes, so it runs only where MTW_TESTS_CLUSTER is set; every run of the tests has test_local.py.
"""

import json
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from orchestration.settings import Settings
from tests.marts import build_marts
from tests.parity.arrivals import Arrivals
from tests.parity.cluster import Cluster
from tests.parity.spark import (
    FOR_TINY_DATA,
    JAVA_FOR_SHORT_RUNS,
    WITHOUT_HIVE,
    differing,
    require_spark,
    settings_of,
    spark_builds,
)

pytestmark = pytest.mark.skipif(not os.environ.get("MTW_TESTS_CLUSTER"), reason="a cluster is started by: make parity")

EVENTS = 1_000
ON_TWO_WORKERS = (
    FOR_TINY_DATA
    | WITHOUT_HIVE
    | {
        "spark.sql.shuffle.partitions": "2",
        "spark.default.parallelism": "2",
        # Small files in tasks of their own, so that there is work for both workers.
        "spark.sql.files.maxPartitionBytes": "65536",
        "spark.executor.memory": "640m",
        "spark.executor.cores": "1",
        "spark.cores.max": "2",
        "spark.executor.extraJavaOptions": JAVA_FOR_SHORT_RUNS,
        "spark.locality.wait": "0",
    }
)
MODELS = ("--resource-type", "model", "--resource-type", "seed")
KILLED_AFTER_SECONDS = 25


@pytest.fixture(scope="module")
def arrivals(tmp_path_factory: pytest.TempPathFactory) -> Arrivals:
    require_spark()
    return Arrivals(tmp_path_factory.mktemp("parity"), events=EVENTS)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    require_spark()
    started = Cluster(tmp_path_factory.mktemp("cluster"))
    try:
        for worker in ("worker-1", "worker-2"):
            started.add_worker(worker)
        yield started
    finally:
        started.close()


@pytest.fixture(scope="module")
def settings(arrivals: Arrivals, cluster: Cluster) -> Settings:
    return settings_of(
        arrivals.landing.with_name("warehouse"), project=arrivals.project, url=cluster.url, conf=ON_TWO_WORKERS
    )


def by_duckdb(arrivals: Arrivals, settings: Settings) -> Path:
    """Take in what arrived and build it with DuckDB."""
    build_marts(arrivals.landing, settings.warehouse_dir, project=arrivals.project)
    return settings.warehouse_dir / "work" / "warehouse.duckdb"


def test_as_driver_of_a_cluster(arrivals: Arrivals, cluster: Cluster, settings: Settings) -> None:
    """What comes first; then all that can come later, in a build that loses a worker."""
    with spark_builds(settings) as builds:
        arrivals.initial()
        database = by_duckdb(arrivals, settings)
        answer = builds.build()
        assert differing(database, settings.working_database) == {}
        # Each worker has one core, so two executors are of both.
        assert len(answer["executors"]) == 2, answer

        arrivals.incremental()
        arrivals.references()
        arrivals.late()
        database = by_duckdb(arrivals, settings)
        killer = threading.Timer(KILLED_AFTER_SECONDS, cluster.kill, ["worker-1"])
        killer.start()
        answer = builds.answer(*MODELS)
        killer.join()
        assert "worker-1" not in cluster.processes
        assert all("Traceback" not in failure for failure in answer["failed"])
        builds.build()
        assert differing(database, settings.working_database) == {}
    cluster.add_worker("worker-3")


def test_through_spark_connect(arrivals: Arrivals, cluster: Cluster, settings: Settings, tmp_path: Path) -> None:
    """By a server that holds the tables: all at once, then by other rules."""
    session = json.loads(settings.environment()["MTW_SPARK_SESSION"])
    served = {name: value for name, value in session.items() if name not in ("spark.master", "spark.app.name")}
    url = cluster.start_connect(served)
    time.sleep(1)
    with spark_builds(replace(settings, spark_url=url, spark_conf="{}", spark_dir=tmp_path / "tables")) as builds:
        database = by_duckdb(arrivals, settings)
        builds.build()
        assert differing(database, settings.working_database) == {}

        arrivals.rule()
        database = by_duckdb(arrivals, settings)
        builds.build()
        assert differing(database, settings.working_database) == {}
