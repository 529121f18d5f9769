"""`mtw run` as a whole with Spark: what it publishes is what DuckDB published of the same landed rows.

Takes minutes, most of them for one statement after another of the tests between the models, so it runs only with
`make parity`; what the models give is compared in every run of the tests (test_local.py).
"""

import json
import os
import sys
from pathlib import Path

import duckdb
import pytest

from tests.conftest import mtw
from tests.parity.spark import FOR_TINY_DATA, PYTHON, differing, require_spark

pytestmark = pytest.mark.skipif(not os.environ.get("MTW_TESTS_CLUSTER"), reason="whole runs are part of: make parity")

EVENTS = "500"


def published(warehouse: Path) -> Path:
    return (warehouse / "published" / "marts.duckdb").resolve()


def test_a_run_on_spark_publishes_what_duckdb_published(landing: Path, warehouse: Path) -> None:
    require_spark()
    by_spark = {
        "MTW_ENGINE": "spark",
        "MTW_SPARK_URL": "local[2]",
        "MTW_SPARK_CONF": json.dumps(FOR_TINY_DATA),
        "MTW_SPARK_PARTS": "2",
    }

    def run(*arguments: str, python: Path = Path(sys.executable), settings: dict[str, str] | None = None) -> str:
        done = mtw(*arguments, landing=landing, warehouse=warehouse, timeout=900, python=python, settings=settings)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        return done.stdout

    run("sample", "--events", EVENTS, str(landing))
    run("run")
    with_duckdb = published(warehouse)

    run("run", python=PYTHON, settings=by_spark)
    with_spark = published(warehouse)
    assert with_spark != with_duckdb
    # What the checks found is equal too; which run published, and when, is not.
    assert differing(with_duckdb, with_spark).keys() == {"meta.publication"}
    with duckdb.connect(str(with_spark), read_only=True) as connection:
        counted = "select count(*) from core.fct_clicks"
        assert connection.execute(counted).fetchall()[0][0] > 0
        # No number changed, as the restatements of a version see it too.
        assert connection.execute("select count(*) from meta.restatements").fetchall() == [(0,)]
    assert "nothing new" in run("run", python=PYTHON, settings=by_spark)
