"""`make parity`: a standalone master with two workers, a Spark Connect server, several builds, a killed worker, a run.

Takes minutes and gigabytes, so it runs only where MTW_TESTS_CLUSTER is set; every run of the tests has test_local.py.
"""

import json
import os
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import duckdb
import pytest

from log_ingest.ingest import ingest
from tests.conftest import mtw
from tests.marts import build_marts
from tests.parity.arrivals import Arrivals
from tests.parity.cluster import Cluster
from tests.parity.lineage import assert_same_lineage
from tests.parity.spark import (
    FOR_TINY_DATA,
    JAVA_FOR_SHORT_RUNS,
    PYTHON,
    WITHOUT_HIVE,
    build_both,
    differing,
    require_spark,
    settings_of,
    spark_builds,
)

pytestmark = pytest.mark.skipif(not os.environ.get("MTW_TESTS_CLUSTER"), reason="a cluster is started by: make parity")

EVENTS = 1_000
EVENTS_OF_RUN = 500
ON_TWO_WORKERS = FOR_TINY_DATA | {
    # Of scans: work for both workers. What follows them is too little to be split.
    "spark.default.parallelism": "2",
    "spark.executor.memory": "640m",
    "spark.executor.cores": "1",
    "spark.cores.max": "2",
    "spark.executor.extraJavaOptions": JAVA_FOR_SHORT_RUNS,
    "spark.locality.wait": "0",
}
KILLED_AFTER_SECONDS = 25


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


def test_every_arrival_through_spark_connect(cluster: Cluster, tmp_path: Path) -> None:
    """What comes first; then all that can come later, in a build that loses a worker; then other rules."""
    arrivals = Arrivals(tmp_path, events=EVENTS)
    # The settings of a driver, for the server: it is one.
    driver = settings_of(
        tmp_path / "warehouse", project=arrivals.project, url=cluster.url, conf=ON_TWO_WORKERS | WITHOUT_HIVE
    )
    session = json.loads(driver.environment()["MTW_SPARK_SESSION"])
    url = cluster.start_connect(
        {name: value for name, value in session.items() if name not in ("spark.master", "spark.app.name")}
    )
    settings = replace(driver, spark_url=url, spark_conf="{}")
    with spark_builds(settings) as builds:
        arrivals.initial()
        database = build_both(arrivals.landing, builds)
        assert differing(database, settings.working_database) == {}
        # Each worker has one core, so two executors are of both.
        assert len(cluster.executors()) == 2
        assert_same_lineage(builds)

        arrivals.incremental()
        arrivals.references()
        arrivals.late()
        ingest(arrivals.landing, settings.warehouse_dir, run_id="test")
        killer = threading.Timer(KILLED_AFTER_SECONDS, cluster.kill, ["worker-1"])
        builds.begin()
        killer.start()
        build_marts(arrivals.landing, settings.warehouse_dir, project=arrivals.project)
        failures = builds.failures()
        killer.join()
        assert "worker-1" not in cluster.processes
        assert all("Traceback" not in failure for failure in failures)
        cluster.add_worker("worker-3")
        # After a build that failed, and after one that did not.
        builds.begin()
        builds.finish()
        assert differing(database, settings.working_database) == {}

        arrivals.rule()
        database = build_both(arrivals.landing, builds)
        assert differing(database, settings.working_database) == {}
    cluster.stop_connect()


def test_a_run_as_driver_of_the_cluster(cluster: Cluster, landing: Path, warehouse: Path) -> None:
    """`mtw run` as a whole, with Hive's catalog: it publishes what DuckDB published of the same landed rows."""
    by_spark = {
        "MTW_ENGINE": "spark",
        "MTW_SPARK_URL": cluster.url,
        "MTW_SPARK_CONF": json.dumps(ON_TWO_WORKERS),
        "MTW_SPARK_PARTS": "2",
    }

    def run(*arguments: str, python: Path = Path(sys.executable), settings: dict[str, str] | None = None) -> str:
        done = mtw(*arguments, landing=landing, warehouse=warehouse, timeout=900, python=python, settings=settings)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        return done.stdout

    def published() -> Path:
        return (warehouse / "published" / "marts.duckdb").resolve()

    run("sample", "--events", str(EVENTS_OF_RUN), str(landing))
    run("run")
    with_duckdb = published()

    run("run", python=PYTHON, settings=by_spark)
    with_spark = published()
    assert with_spark != with_duckdb
    # What the checks found is equal too; which run published, and when, is not.
    assert differing(with_duckdb, with_spark).keys() == {"meta.publication"}
    with duckdb.connect(str(with_spark), read_only=True) as connection:
        counted = "select count(*) from core.fct_clicks"
        assert connection.execute(counted).fetchall()[0][0] > 0
        # No number changed, as the restatements of a version see it too.
        assert connection.execute("select count(*) from meta.restatements").fetchall() == [(0,)]
    assert "nothing new" in run("run", python=PYTHON, settings=by_spark)
