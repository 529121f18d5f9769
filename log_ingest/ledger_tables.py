"""The ledger's facts as Parquet beside the landed rows, for readers that do not open the ledger: files, gaps, problems.

Belongs here: those three tables. Does not: batches (landing writes them with every commit), showing them.
"""

from datetime import datetime

import pyarrow as pa

from log_ingest.catalog import LEDGER_SCHEMAS
from log_ingest.landing import Landing
from log_ingest.ledger import TALLY_COLUMNS, Ledger


def write_ledger_tables(landing: Landing, ledger: Ledger) -> None:
    """Write all of LEDGER_SCHEMAS anew. The same ledger gives the same bytes."""
    rows = {"ledger_files": _files(ledger), "ledger_gaps": _gaps(ledger), "ledger_problems": _problems(ledger)}
    for name, schema in LEDGER_SCHEMAS.items():
        landing.write_table(name, pa.Table.from_pylist(rows[name], schema=schema))


def _files(ledger: Ledger) -> list[dict[str, object]]:
    return [
        {
            "source": row["source"],
            "file_id": row["file_id"],
            "source_file": row["name"],
            **{f"{name}_count": row[name] for name in TALLY_COLUMNS},
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
            "source": row["source"],
            "source_file": row["name"],
            "problem": row["problem"],
            "since_at": _time(row["changed_at"]),
        }
        for row in ledger.problem_rows()
    ]


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text).replace(tzinfo=None) if text else None
