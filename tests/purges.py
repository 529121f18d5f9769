"""A purge of one of Robin's deliveries without models: what would be published is written by hand."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

import duckdb

from log_ingest.formats.registry import LINE_FORMATS
from log_ingest.frozen import DELIVERY_LOGS, SET_ASIDE, STATISTICS, TRACKING
from log_ingest.ledger import PurgedDelivery
from log_ingest.retention import NO_MESSAGES, Due, KeptTable
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

TABLES = [
    KeptTable("core", "agg_person_clicks", True),
    KeptTable("reports", "rpt_clicks"),
    KeptTable("reports", "rpt_sent", kind=DELIVERY_LOGS),
]

BELONGS = {
    # The page of line 4 names no delivery: say that models linked it to this one by her cookie.
    "tracking_logs": f"delivery_id = {DELIVERY} or (delivery_id = 0 and visitor_id = '{HER_VISITOR}')",
    "access_logs": f"delivery_id = {DELIVERY}",
    "esp_events": f"message_id in ({ROBINS}, {QUINNS}) and event_kind = 'open'",
}
"""By source: the landed rows that are tracking of DELIVERY."""

LOGS = {
    # Only the address says whom it is about.
    "esp_events": "event_kind = 'bounce'",
    "messages": f"message_id in ({ROBINS}, {QUINNS})",
}
"""By source: the landed rows that are delivery logs of DELIVERY."""

ALL_THAT_WAS_SET_ASIDE = datetime(2100, 1, 1)


def write_landing(landing: Path) -> None:
    write_all(landing)
    # One POST that tells of both deliveries.
    both = [
        sendgrid("open", NOON + 5, "quinn@home.example", message_id=str(QUINNS)),
        sendgrid("open", NOON + 6, "sam@home.example", message_id=str(SAMS)),
    ]
    jsonl(landing, "sendgrid/b.jsonl", both)


def due(
    warehouse: Path,
    database: Path,
    *kinds: str,
    statistics_of: Sequence[int] = (),
    set_aside_before: datetime | None = None,
) -> Due:
    """What is due of a warehouse that took in write_landing; database: the published file that is written.

    kinds: what of DELIVERY; without any, its tracking.
    """
    kinds = kinds or (TRACKING,)
    belongs = ((TRACKING, "tracking_logs"), (TRACKING, "access_logs"), (TRACKING, "esp_events"))
    lines = "select '' as source, '' as event_key, '' as kind where false" + "".join(
        f" union all select '{source}', {LINE_FORMATS[source].identity}, '{kind}'"
        f" from {landed(warehouse, source)} where {(BELONGS if kind == TRACKING else LOGS)[source]}"
        for kind, source in (*belongs, (DELIVERY_LOGS, "esp_events"))
        if kind in kinds
    )
    with duckdb.connect(str(database)) as con:
        con.execute(f"create schema core; create schema reports; create table core.lines as {lines}")
        con.execute(
            "create table reports.rpt_clicks as select * from (values"
            f" ({DELIVERY}, 3), ({OTHER_DELIVERY}, 1)) as r (delivery_id, click_count)"
        )
        con.execute("create table reports.rpt_sent as from reports.rpt_clicks")
        con.execute(
            f"create table core.messages as select message_id from {landed(warehouse, 'messages')}"
            f" where {LOGS['messages']}"
        )
        con.execute(
            "create table core.agg_person_clicks as select * from (values"
            f" ({DELIVERY}, '{HER_VISITOR}'), ({DELIVERY}, '{QUINNS_VISITOR}'), ({DELIVERY}, '{ROBIN}'),"
            f" ({OTHER_DELIVERY}, '{HER_VISITOR}')) as r (delivery_id, person_key)"
        )
        count = con.execute("select count(*) from core.lines").fetchall()[0][0]
    gone = PurgedDelivery(DELIVERY, "2024-05-08 00:00:00", count, "2024-05-01 10:00:00", "2024-05-01 12:00:05")
    statistics = [PurgedDelivery(number, "2023-05-08 00:00:00", 0, None, None) for number in statistics_of]
    return Due(
        database,
        {kind: [gone] for kind in kinds if kind in (TRACKING, DELIVERY_LOGS)} | {STATISTICS: statistics},
        TABLES,
        "select source, event_key, kind from published.core.lines",
        {TRACKING: 30, DELIVERY_LOGS: 60, STATISTICS: 90, SET_ASIDE: 30},
        "select message_id from published.core.messages" if DELIVERY_LOGS in kinds else NO_MESSAGES,
        set_aside_before,
    )


def due_of_all_kinds(warehouse: Path, database: Path) -> Due:
    """All of DELIVERY, the statistics of OTHER_DELIVERY, and what was set aside."""
    return due(
        warehouse,
        database,
        TRACKING,
        DELIVERY_LOGS,
        statistics_of=[OTHER_DELIVERY],
        set_aside_before=ALL_THAT_WAS_SET_ASIDE,
    )


def of_it(warehouse: Path, belongs: Mapping[str, str] = BELONGS) -> list[int]:
    """Landed rows that are tracking, or logs, of DELIVERY, by source."""
    counts = ", ".join(
        f"(select count(*) from {landed(warehouse, source)} where {condition})" for source, condition in belongs.items()
    )
    with duckdb.connect() as con:
        return list(con.execute(f"select {counts}").fetchall()[0])
