"""What Spark wrote becomes the DuckDB file that checks and publishing read."""

from dataclasses import replace
from pathlib import Path

import duckdb
import pytest

from orchestration.engine import EngineError, Spark, discard_tables, engine_of
from orchestration.publication import relations
from orchestration.settings import Settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(landing_dir=tmp_path / "landing", warehouse_dir=tmp_path / "ware[1]house's", engine="spark")


def node(
    name: str, *, schema: str = "core", kind: str = "table", description: str = "", **columns: str
) -> dict[str, object]:
    described = {column: {"description": text, "data_type": "bigint"} for column, text in columns.items()}
    return {
        "resource_type": "model",
        "config": {"materialized": kind},
        "schema": schema,
        "alias": name,
        "description": description,
        "columns": described,
    }


def write(settings: Settings, place: str, query: str, *, part: int = 0) -> None:
    """place: below the folder of Spark's tables."""
    folder = settings.spark_warehouse_dir / place
    folder.mkdir(parents=True, exist_ok=True)
    target = str(folder / f"part-{part}.parquet").replace("'", "''")
    with duckdb.connect() as connection:
        connection.execute(f"copy ({query}) to '{target}' (format parquet)")


def collect(settings: Settings, nodes: dict[str, object]) -> None:
    settings.working_database.parent.mkdir(parents=True, exist_ok=True)
    Spark().collect(settings, {"nodes": nodes})


def test_marts_are_collected_with_their_comments(settings: Settings) -> None:
    write(settings, "core/dim_things", "select 1::bigint as thing_id, 'it''s' as label")
    write(settings, "core/dim_things", "select 2::bigint as thing_id, 'two' as label", part=1)
    nodes = {
        "a": node("dim_things", description="Grain: a thing. It's here.", thing_id="Its key.", gone="No column."),
        "b": node("int_things", schema="intermediate"),
        "c": {"resource_type": "test", "schema": "core"},
    }
    collect(settings, nodes)
    with duckdb.connect(str(settings.working_database), read_only=True) as connection:
        assert relations(connection, "warehouse") == [("core", "dim_things")]
        assert connection.execute("from core.dim_things order by 1").fetchall() == [(1, "it's"), (2, "two")]
        assert connection.execute("select comment from duckdb_views() where not internal").fetchall() == [
            ("Grain: a thing. It's here.",)
        ]
        comments = connection.execute("select column_name, comment from duckdb_columns()").fetchall()
        assert ("thing_id", "Its key.") in comments


def test_of_a_table_in_parts_the_parts_are_read_and_nothing_else(settings: Settings) -> None:
    for day in ("2024-05-01", "2024-05-02"):
        write(settings, f"core/fct_things/mtw_part={day}", f"select date '{day}' as day")
    # What a build that died was writing.
    write(settings, "core/fct_things/.spark-staging-1/mtw_part=2024-05-03", "select date '2024-05-03' as day")
    (settings.spark_warehouse_dir / "core" / "agg_things").mkdir()
    collect(
        settings,
        {
            "a": node("fct_things", kind="incremental"),
            "b": node("agg_things", kind="incremental", thing_count="A count."),
        },
    )
    with duckdb.connect(str(settings.working_database), read_only=True) as connection:
        assert [str(day) for (day,) in connection.execute("from core.fct_things order by 1").fetchall()] == [
            "2024-05-01",
            "2024-05-02",
        ]
        described = [(name, kind) for name, kind, *_ in connection.execute("describe core.agg_things").fetchall()]
        assert described == [("thing_count", "BIGINT")]
        assert connection.execute("from core.agg_things").fetchall() == []


def test_views_and_tables_in_another_format_are_read_where_a_build_wrote_them_out(settings: Settings) -> None:
    write(settings, "export/core/things", "select 1 as thing_id")
    write(settings, "core/things/mtw_part=0", "select 2 as thing_id")
    for kind, file_format in (("view", "parquet"), ("incremental", "iceberg")):
        collect(replace(settings, spark_file_format=file_format), {"a": node("things", kind=kind)})
        with duckdb.connect(str(settings.working_database), read_only=True) as connection:
            assert connection.execute("from core.things").fetchall() == [(1,)]


def test_a_mart_that_spark_did_not_write_is_named_and_the_former_file_stays(settings: Settings) -> None:
    settings.working_database.parent.mkdir(parents=True)
    settings.working_database.write_text("former")
    with pytest.raises(EngineError, match=r"core\.dim_things is not in .*MTW_SPARK_WAREHOUSE_DIR"):
        Spark().collect(settings, {"nodes": {"a": node("dim_things")}})
    assert settings.working_database.read_text() == "former"


def test_each_engine_has_a_working_database_of_its_own(settings: Settings) -> None:
    assert settings.working_database != replace(settings, engine="duckdb").working_database
    assert isinstance(engine_of(settings), Spark)


def test_only_our_own_folders_are_discarded(settings: Settings) -> None:
    write(settings, "core/dim_things", "select 1 as thing_id")
    other = settings.spark_warehouse_dir / "somebody-elses"
    other.mkdir()
    discard_tables(settings)
    assert [path.name for path in settings.spark_warehouse_dir.iterdir()] == [other.name]


def test_over_many_rows_duckdb_has_one_model_at_a_time(settings: Settings) -> None:
    duckdb_engine = engine_of(replace(settings, engine="duckdb"))
    assert [duckdb_engine.is_best_alone(rows) for rows in (0, 19_999_999, 20_000_000)] == [False, False, True]
    assert not engine_of(settings).is_best_alone(10**10)
