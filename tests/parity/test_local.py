"""The models on a Spark in this machine (local[2]) give the rows that they give on DuckDB: built at once, and when more
arrives. `make parity` does the same on a cluster, with more that can happen."""

from collections.abc import Iterator

import pytest

from tests.parity.arrivals import Arrivals
from tests.parity.lineage import assert_same_lineage
from tests.parity.spark import (
    FOR_TINY_DATA,
    WITHOUT_HIVE,
    SparkBuilds,
    build_both,
    differing,
    require_spark,
    row_count,
    settings_of,
    spark_builds,
)

EVENTS = 1_000


@pytest.fixture(scope="module")
def arrivals(tmp_path_factory: pytest.TempPathFactory) -> Arrivals:
    require_spark()
    return Arrivals(tmp_path_factory.mktemp("local"), events=EVENTS)


@pytest.fixture(scope="module")
def builds(arrivals: Arrivals) -> Iterator[SparkBuilds]:
    warehouse = arrivals.landing.with_name("warehouse")
    with spark_builds(settings_of(warehouse, project=arrivals.project, conf=FOR_TINY_DATA | WITHOUT_HIVE)) as started:
        yield started


def test_every_mart_is_the_same_at_first_and_when_more_arrives(arrivals: Arrivals, builds: SparkBuilds) -> None:
    arrivals.initial()
    database = build_both(arrivals.landing, builds)
    assert differing(database, builds.settings.working_database) == {}
    facts = ["core.fct_opens", "core.fct_clicks", "reports.rpt_tracking_indicators", "reports.rpt_hot_clicks"]
    before = row_count(database, facts)
    assert all(before.values())
    assert_same_lineage(builds)

    arrivals.incremental()
    arrivals.late()
    arrivals.references()
    database = build_both(arrivals.landing, builds)
    assert differing(database, builds.settings.working_database) == {}
    assert row_count(database, facts)["core.fct_clicks"] > before["core.fct_clicks"]
