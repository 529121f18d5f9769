"""A run keeps within its memory limit, and gives back what it held."""

from datetime import datetime
from pathlib import Path

import duckdb

from log_ingest import user_agents
from log_ingest.user_agents import describe
from orchestration import held_memory
from orchestration.bounded import connected
from orchestration.settings import Settings

NOW = datetime(2026, 1, 2)
MORE_THAN_FITS = "create temp table spilled as select md5(range::varchar) as a from range(3_000_000) order by a"


def small(tmp_path: Path) -> Settings:
    settings = Settings(tmp_path / "landing", tmp_path / "warehouse", memory_limit="100MB")
    settings.working_database.parent.mkdir(parents=True)
    duckdb.connect(str(settings.working_database)).close()
    return settings


def test_a_file_may_be_opened_again_while_rows_of_it_are_on_disk(tmp_path: Path) -> None:
    settings = small(tmp_path)
    with connected(settings, settings.working_database) as first:
        first.execute(MORE_THAN_FITS)
        assert list(settings.working_database.parent.glob("*/duckdb_temp_*"))
        with connected(settings, settings.working_database) as second:
            assert second.execute("select current_setting('memory_limit')").fetchone() == ("95.3 MiB",)


def test_in_memory_what_does_not_fit_goes_beside_the_working_database(tmp_path: Path) -> None:
    settings = small(tmp_path)
    with connected(settings) as connection:
        connection.execute(MORE_THAN_FITS)
        assert list((settings.working_database.parent / "spill").glob("duckdb_temp_*"))


def test_lists_that_were_let_go_of_are_read_again() -> None:
    texts = ["Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"]
    before = describe(texts, NOW)
    held_memory.give_back()
    assert user_agents._lists.cache_info().currsize == user_agents._parser.cache_info().currsize == 0
    assert describe(texts, NOW) == before
