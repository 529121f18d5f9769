"""What the queries of each report page cost on a published file: python -m benchmarks.report_pages

Reads the published version of MTW_WAREHOUSE_DIR, for its delivery of most events and its recipient of most. Each part
of each page is made three times without a cache; the table shows the best sum of its queries, and the slowest one.
Belongs here: running the real pages and timing what they ask. Does not: making a warehouse.
"""

import logging
import time
from typing import Any

import duckdb
import streamlit as st
from rich.console import Console
from rich.table import Table
from streamlit.testing.v1 import AppTest

from orchestration.settings import Settings
from reports import published

GOAL_SECONDS = 0.1
TIMES = 3

PARTS = {
    "dashboard": {"": ("",)},
    "delivery": {"part": ("overview", "links", "timing", "hot", "devices", "failures", "log")},
    "profile": {"profile_part": ("log", "deliveries", "subscriptions")},
    "platform": {"platform_part": ("activity", "throughput", "software", "subscriptions", "sharing", "web")},
    "health": {"": ("",)},
}


def one_page(name: str) -> None:
    """The script that the framework's test runner executes."""
    from reports.app import show_page
    from reports.language import Language
    from reports.settings import ReportSettings

    settings = ReportSettings.load()
    show_page(name, settings, Language(settings.language, settings.time_zone))


def main() -> None:
    # The framework warns that nobody serves the pages: here nobody does.
    logging.disable(logging.WARNING)
    settings = Settings.load()
    settings.export()
    with duckdb.connect(str(settings.published_database.resolve()), read_only=True, config=published.CONFIG) as con:
        events, delivery_id = con.execute(
            "select sum(n)::bigint, arg_max(delivery_id, n) from"
            " (select delivery_id, count(*) as n from core.fct_tracking_events where delivery_id <> 0 group by 1)"
        ).fetchall()[0]
        recipient_id = con.execute(
            "select recipient_id from reports.profile_tracking where recipient_id <> 0"
            " group by 1 order by count(*) desc, 1 limit 1"
        ).fetchall()[0][0]
    ids = {"delivery": {"delivery_id": delivery_id}, "profile": {"recipient_id": recipient_id}}
    asked: list[tuple[str, float]] = []
    original = published.Snapshot.rows

    def timed(self: published.Snapshot, query: str, **parameters: Any) -> Any:
        began = time.perf_counter()
        found = original(self, query, **parameters)
        asked.append((query, time.perf_counter() - began))
        return found

    published.Snapshot.rows = timed  # type: ignore[method-assign]
    table = Table(title=f"Queries of the report pages, {events:,} events (goal: {1000 * GOAL_SECONDS:.0f} ms a page)")
    for heading in ("page", "part", "queries", "ms", "slowest", "ms"):
        table.add_column(heading, justify="right" if heading in ("queries", "ms") else "left")
    for name, choices in PARTS.items():
        for key, parts in choices.items():
            for part in parts:
                runs = []
                for _ in range(TIMES):
                    st.cache_data.clear()
                    asked.clear()
                    tested = AppTest.from_function(one_page, args=(name,), default_timeout=120)
                    for parameter, value in {**ids.get(name, {}), **({key: part} if key else {})}.items():
                        tested.query_params[parameter] = str(value)
                    tested.run()
                    if tested.exception:
                        raise RuntimeError(f"{name} {part}: {tested.exception[0].message}")
                    runs.append(list(asked))
                best = min(runs, key=lambda run: sum(seconds for _, seconds in run))
                slowest, longest = max(best, key=lambda pair: pair[1])
                total = sum(seconds for _, seconds in best)
                table.add_row(name, part, str(len(best)), f"{1000 * total:.0f}", slowest, f"{1000 * longest:.0f}")
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
