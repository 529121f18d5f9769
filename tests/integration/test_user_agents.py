"""User agents over several ingests: parsed once, again when the parser changes, and only its events judged."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb
import pyarrow.parquet as pq
import pytest

from log_ingest import user_agents
from log_ingest.catalog import USER_AGENTS_SCHEMA
from log_ingest.ingest import ingest
from log_ingest.ledger import Ledger
from tests.conftest import ROOT
from tests.loglines import BROWSER, line, logs
from tests.marts import build_marts, connect

PHONE = (
    "Mozilla/5.0 (Linux; Android 14; Pixel 8) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/124.0 Mobile Safari/537.36"
)
CRAWLER = "Mozilla/5.0 (compatible; bingbot/2.0; +http://www.bing.com/bingbot.htm)"
PATTERNS = {"ua_parser", "ua_parser_rs", "regex", "crawleruseragents", "crawlerdetect", "device_detector"}


def landed_agents(warehouse: Path, after: int = 0) -> list[tuple[str, str | None]]:
    """Text and crawler's name of every row landed after a batch."""
    return duckdb.sql(
        "select user_agent, crawler_name"
        f" from read_parquet('{warehouse}/landed/user_agents/*/*.parquet', hive_partitioning = true,"
        f" union_by_name = true) where batch_id > {after} order by all"
    ).fetchall()


def three_agents(landing: Path) -> None:
    agents = (BROWSER, PHONE, CRAWLER)
    logs(landing, "a/x.log", *(line(n + 1, message=n + 1, agent=agent) for n, agent in enumerate(agents)))


@contextmanager
def upgraded() -> Iterator[None]:
    """With a parser that takes the telephone for a crawler, and thinks of the rest as before."""
    before = user_agents._describe

    def describe(text: str) -> dict[str, str | None]:
        return before(text) | ({"crawler_name": "Pixel"} if "Pixel" in text else {})

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(user_agents, "_describe", describe)
        patch.setattr(user_agents, "RULES_VERSION", "upgraded")
        yield


def test_another_parser_lands_again_what_it_reads_differently(landing: Path, warehouse: Path) -> None:
    three_agents(landing)
    first = ingest(landing, warehouse, run_id="1").latest_batch_id
    assert landed_agents(warehouse) == [(PHONE, None), (BROWSER, None), (CRAWLER, "BingBot")]
    assert ingest(landing, warehouse, run_id="2").batch_ids == []
    with upgraded():
        logs(landing, "a/y.log", line(9, message=9, agent="curl/8.5"))
        third = ingest(landing, warehouse, run_id="3")
        assert [name for name, _ in landed_agents(warehouse, after=first)] == [PHONE, "curl/8.5"]
        assert (PHONE, "Pixel") in landed_agents(warehouse, after=first)
        assert ingest(landing, warehouse, run_id="4").batch_ids == [], "once is enough"
    # Back to the former one: what the newest row says counts, not what was once said.
    ingest(landing, warehouse, run_id="5")
    assert landed_agents(warehouse, after=third.latest_batch_id) == [(PHONE, None)]


def test_rows_of_an_older_catalogue_are_parsed_anew(landing: Path, warehouse: Path) -> None:
    three_agents(landing)
    first = ingest(landing, warehouse, run_id="1").latest_batch_id
    added = {"mail_client_name", "mail_client_version", "crawler_name", "crawler_list"}
    for path in (warehouse / "landed" / "user_agents").glob("*/*.parquet"):
        kept = [name for name in USER_AGENTS_SCHEMA.names if name not in added]
        pq.write_table(pq.read_table(path, partitioning=None).select(kept), path)
    with Ledger(warehouse / "ledger.sqlite") as ledger:
        ledger._db.execute("delete from facts where name = ? or name like 'columns_of:%'", [user_agents.PARSER])
    ingest(landing, warehouse, run_id="2")
    assert landed_agents(warehouse, after=first) == [(CRAWLER, "BingBot")], "of the others it says what it said"


def test_nothing_new_loads_no_pattern(landing: Path, warehouse: Path) -> None:
    three_agents(landing)
    ingest(landing, warehouse, run_id="1")
    code = (
        "import sys; from pathlib import Path; from log_ingest.ingest import ingest;"
        "report = ingest(Path(sys.argv[1]), Path(sys.argv[2]), run_id='2');"
        f"print(report.batch_ids, sorted({PATTERNS!r} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(landing), str(warehouse)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["[]", "[]"]


def test_a_changed_parsing_judges_exactly_its_events_again(landing: Path, warehouse: Path) -> None:
    three_agents(landing)
    build_marts(landing, warehouse, select=["+int_tracking_events__judged"])
    with upgraded():
        build_marts(landing, warehouse, select=["+int_tracking_events__judged"])
    with connect(warehouse) as con:
        judged = con.execute(
            "select message_id, machine_rule, changed_in_run from intermediate.int_tracking_events__judged order by 1"
        ).fetchall()
    assert judged == [(1, None, 1), (2, "known_bot", 2), (3, "known_bot", 1)]
