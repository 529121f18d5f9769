"""A reader of the published file for the soak: it holds one version open all the time, and resolves the link anew again
and again, as BI tools do. Each version it sees has to be whole and of one run.

Usage: python -m benchmarks.soak_reader PUBLISHED. Ends with its standard input, and prints JSON: looks, versions,
wrong.
"""

import json
import os
import select
import sys
from pathlib import Path

import duckdb
import pyarrow.parquet as pq

SHOWN = """
    select
        (select run_id from meta.publication),
        (select count(*) from core.fct_tracking_events),
        (select coalesce(sum(total_click_count), 0) from reports.rpt_tracking_indicators),
        (select sum(hash(e.event_key)) from core.fct_tracking_events e)
"""


def look(published: Path) -> tuple[str, list[str]]:
    """The run whose version is current, and what is wrong with it."""
    folder = Path(os.path.realpath(published / "current"))
    facts = json.loads((folder / "publication.json").read_text())
    with duckdb.connect(str(folder / "marts.duckdb"), read_only=True) as con:
        run_id, events, clicks, _ = con.execute(SHOWN).fetchall()[0]
        by_kind = con.execute("select count(*) from core.fct_tracking_events where url_id = 5").fetchall()[0][0]
    wrong = []
    if run_id != facts["run_id"]:
        wrong.append(f"{folder.name}: the file is of run {run_id}, its record of {facts['run_id']}")
    if events != facts["tables"]["core.fct_tracking_events"]:
        wrong.append(f"{folder.name}: {events} events, its record says {facts['tables']['core.fct_tracking_events']}")
    if clicks != by_kind:
        wrong.append(f"{folder.name}: {clicks} clicks in the report, {by_kind} in the facts")
    parquet = pq.read_metadata(folder / "marts" / "core" / "fct_tracking_events.parquet")
    if (parquet.num_rows, parquet.metadata[b"run_id"].decode()) != (events, run_id):
        wrong.append(f"{folder.name}: its Parquet copy is of another run")
    return run_id, wrong


def main() -> None:
    published = Path(sys.argv[1])
    held = duckdb.connect(os.path.realpath(published / "marts.duckdb"), read_only=True)
    first = held.execute(SHOWN).fetchall()
    looks, versions, wrong = 0, set(), []
    while not select.select([sys.stdin], [], [], 0.4)[0]:
        try:
            run_id, found = look(published)
        except Exception as error:  # a reader that cannot read is what this is about
            run_id, found = "", [f"{type(error).__name__}: {error}"]
        looks += 1
        versions.add(run_id)
        wrong += found
        if held.execute(SHOWN).fetchall() != first:
            wrong.append("the version that was held open has changed")
    print(json.dumps({"looks": looks, "versions": len(versions), "wrong": wrong[:20]}))


if __name__ == "__main__":
    main()
