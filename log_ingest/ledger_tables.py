"""The ledger's facts as Parquet beside the landed rows, for readers that do not open the ledger: files, gaps, problems,
purges.

Belongs here: those tables. Does not: batches (landing writes them with every commit), showing them.
"""

import hashlib
from datetime import datetime

import pyarrow as pa

from log_ingest.catalog import FROZEN, LEDGER_SCHEMAS
from log_ingest.landing import Landing
from log_ingest.ledger import SALT, TALLY_COLUMNS, Ledger

_OF_BATCH = "ledger tables' batch"
"""The fact that says with which batch the tables were written last, and in which form."""


def write_ledger_tables(landing: Landing, ledger: Ledger) -> None:
    """Write all of LEDGER_SCHEMAS anew. The same ledger gives the same bytes."""
    salt = ledger.fact(SALT)
    rows = {
        "ledger_files": _files(ledger),
        "ledger_gaps": _gaps(ledger),
        "ledger_problems": _problems(ledger),
        "ledger_purges": _purges(ledger),
        "ledger_frozen": _frozen(ledger),
        "ledger_salt": [{"salt": salt}] if salt else [],
        "ledger_refusals": [
            {"person_key": person, "refused_at": _time(refused_at)} for person, refused_at in ledger.refusals()
        ],
    }
    for name, schema in LEDGER_SCHEMAS.items():
        landing.write_table(name, pa.Table.from_pylist(rows[name], schema=schema))


def write_tables_of_news(landing: Landing, ledger: Ledger) -> None:
    """The same where a batch has come since. Without one nothing is published, whatever else the ledger has learnt (a
    copy of a file, a damaged archive), and what a rebuild reads has to stay what the published version was made of.
    """
    form = hashlib.sha256(repr(LEDGER_SCHEMAS).encode()).hexdigest()
    newest = f"{ledger.last_batch_id()} {form}"
    if ledger.fact(_OF_BATCH) != newest or not all(landing.place.has(f"{name}.parquet") for name in LEDGER_SCHEMAS):
        write_ledger_tables(landing, ledger)
        ledger.set_fact(_OF_BATCH, newest)


def _files(ledger: Ledger) -> list[dict[str, object]]:
    purged = ledger.purged_of()
    return [
        {
            "source": row["source"],
            "file_id": row["file_id"],
            "source_file": row["name"],
            **{f"{name}_count": row[name] - purged.get(row["file_id"], {}).get(name, 0) for name in TALLY_COLUMNS},
            "purged_count": sum(purged.get(row["file_id"], {}).values()),
            "content_bytes": row["content_bytes"],
            "held_bytes": row["held_bytes"],
            "copy_count": row["copy_count"],
            "first_seen_at": _time(row["first_seen_at"]),
        }
        for row in ledger.files()
    ]


def _gaps(ledger: Ledger) -> list[dict[str, object]]:
    return [
        {
            "server": gap.server,
            "first_missing_pointer": gap.first_missing_pointer,
            "last_missing_pointer": gap.last_missing_pointer,
            "missing_count": gap.missing_count,
            "before_at": _time(gap.before_at),
            "after_at": _time(gap.after_at),
        }
        for gap in ledger.gaps()
    ]


def _problems(ledger: Ledger) -> list[dict[str, object]]:
    return [
        {
            "source": found.source,
            "source_file": found.name,
            "problem": found.problem,
            "since_at": _time(found.since),
        }
        for found in ledger.problems()
    ]


def _purges(ledger: Ledger) -> list[dict[str, object]]:
    return [
        {
            "delivery_id": row["delivery_id"],
            "kind": row["kind"],
            "purged_at": _time(row["purged_at"]),
            "kept_days": row["kept_days"],
            "expired_at": _time(row["expired_at"]),
            "event_count": row["event_count"],
            "first_event_at": _time(row["first_event_at"]),
            "last_event_at": _time(row["last_event_at"]),
        }
        for row in ledger.purged_deliveries()
    ]


def _frozen(ledger: Ledger) -> list[dict[str, object]]:
    paths = [row["path"] for row in ledger.parts() if row["path"].startswith(f"{FROZEN}/")]
    # schema.table of the published file, which erasures may have rewritten (-r…).
    return [
        {"table_name": path.rsplit("/", 1)[1].removesuffix(".parquet").split("-r")[0], "path": path} for path in paths
    ]


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text).replace(tzinfo=None) if text else None
