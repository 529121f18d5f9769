"""A purge of one of Robin's deliveries without models: what would be published is written by hand."""

from pathlib import Path

import duckdb

from log_ingest.formats.registry import LINE_FORMATS
from log_ingest.ledger import PurgedDelivery
from log_ingest.retention import Due, KeptTable
from tests.espevents import jsonl, sendgrid
from tests.invariants import landed
from tests.robin import (
    DELIVERY,
    HER_VISITOR,
    NOON,
    OTHER_DELIVERY,
    QUINNS,
    QUINNS_VISITOR,
    ROBIN,
    ROBINS,
    SAMS,
    write_all,
)

TABLES = [KeptTable("core", "agg_person_clicks", True), KeptTable("reports", "rpt_clicks")]

BELONGS = {
    # The page of line 4 names no delivery: say that models linked it to this one by her cookie.
    "tracking_logs": f"delivery_id = {DELIVERY} or (delivery_id = 0 and visitor_id = '{HER_VISITOR}')",
    "access_logs": f"delivery_id = {DELIVERY}",
    "esp_events": f"message_id in ({ROBINS}, {QUINNS}) and event_kind = 'open'",
}
"""By source: the landed rows that are tracking of DELIVERY."""


def write_landing(landing: Path) -> None:
    write_all(landing)
    # One POST that tells of both deliveries.
    both = [
        sendgrid("open", NOON + 5, "quinn@home.example", message_id=str(QUINNS)),
        sendgrid("open", NOON + 6, "sam@home.example", message_id=str(SAMS)),
    ]
    jsonl(landing, "sendgrid/b.jsonl", both)


def due(warehouse: Path, database: Path) -> Due:
    """What is due of a warehouse that took in write_landing; database: the published file that is written."""
    lines = " union all ".join(
        f"select '{source}' as source, {LINE_FORMATS[source].identity} as event_key from {landed(warehouse, source)}"
        f" where {condition}"
        for source, condition in BELONGS.items()
    )
    with duckdb.connect(str(database)) as con:
        con.execute(f"create schema core; create schema reports; create table core.lines as {lines}")
        con.execute(
            "create table reports.rpt_clicks as select * from (values"
            f" ({DELIVERY}, 3), ({OTHER_DELIVERY}, 1)) as r (delivery_id, click_count)"
        )
        con.execute(
            "create table core.agg_person_clicks as select * from (values"
            f" ({DELIVERY}, '{HER_VISITOR}'), ({DELIVERY}, '{QUINNS_VISITOR}'), ({DELIVERY}, '{ROBIN}'),"
            f" ({OTHER_DELIVERY}, '{HER_VISITOR}')) as r (delivery_id, person_key)"
        )
        count = con.execute("select count(*) from core.lines").fetchall()[0][0]
    gone = [PurgedDelivery(DELIVERY, "2024-05-08 00:00:00", count, "2024-05-01 10:00:00", "2024-05-01 12:00:05")]
    return Due(database, gone, TABLES, "select source, event_key from published.core.lines", 30)


def of_it(warehouse: Path) -> list[int]:
    """Landed rows that are tracking of DELIVERY, by source."""
    counts = ", ".join(
        f"(select count(*) from {landed(warehouse, source)} where {condition})" for source, condition in BELONGS.items()
    )
    with duckdb.connect() as con:
        return list(con.execute(f"select {counts}").fetchall()[0])
