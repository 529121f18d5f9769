"""Everything held of a recipient in landed rows, as plain values with where each came from.

Belongs here: reading the rows that log_ingest.subject finds. Does not: finding them, or what lies above them.
"""

import base64
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from log_ingest.catalog import LANDED_SCHEMAS
from log_ingest.formats.registry import LINE_FORMATS
from log_ingest.ingest import LEDGER_NAME
from log_ingest.landing import Landing
from log_ingest.ledger import Ledger
from log_ingest.ledger_database import LedgerPlace
from log_ingest.sqltext import identifier
from log_ingest.storage import Location
from log_ingest.subject import ENTITIES, Subject, line_text
from log_ingest.suppression import RECIPIENT

_PROVENANCE = ("source_file", "line_number", "byte_offset", "ingested_at", "file_modified_at")


def export(
    warehouse_dir: Path, recipient: int, *, landed_dir: Location | None = None, ledger_at: LedgerPlace | None = None
) -> dict[str, Any]:
    """What is held of a recipient: identifiers, and rows by landed source, each with its provenance.

    Rows of others whose text mentions the recipient are given by their text alone. Values are those of JSON. The caller
    holds the warehouse's lock. Raises IngestError where the ledger or the landed rows are unusable.
    """
    with Ledger(ledger_at or warehouse_dir / LEDGER_NAME) as ledger:
        landing = Landing(warehouse_dir, ledger, landed_dir)
        try:
            subject = Subject(landing, ledger, [recipient])
            found = subject.identifiers
            was_erased = landing.suppression is not None and landing.suppression.knows(RECIPIENT, str(recipient))
            return {
                "recipient_id": recipient,
                "was_erased": was_erased,
                "identifiers": {
                    "recipient_id": recipient,
                    "message_ids": sorted(found.message_ids),
                    "addresses": sorted(found.addresses | found.shared_addresses),
                    "addresses_of_others_too": sorted(found.shared_addresses),
                    "visitor_ids": sorted(found.visitor_ids | found.shared_visitor_ids),
                    "visitor_ids_of_others_too": sorted(found.shared_visitor_ids),
                    "names": sorted(found.names),
                },
                "reference": {entity.name: _rows(landing, subject, entity.name) for entity in ENTITIES},
                "events": {source: _rows(landing, subject, source) for source in LINE_FORMATS},
                "set_aside": _rows(landing, subject, "set_aside"),
            }
        finally:
            landing.close()


def plain(value: object) -> Any:
    """A value as JSON has it: times as ISO 8601 (UTC), bytes as text where they are, else base64."""
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return {"base64": base64.b64encode(value).decode()}
    if isinstance(value, Decimal):
        return str(value)
    return value


def _rows(landing: Landing, subject: Subject, source: str) -> list[dict[str, Any]]:
    is_line = source in LINE_FORMATS
    names = [name for name in LANDED_SCHEMAS[source].names if name not in (*_PROVENANCE, "file_id", "line")]
    places = [name for name in _PROVENANCE if name in LANDED_SCHEMAS[source].names]
    columns = [f"stored.{identifier(name)}" for name in (*places, *names)]
    line, wanted = "null as line_text, true as is_full", ""
    if is_line:
        # A line that tells of several people is not handed to one of them: their own part of it is.
        shared = (
            f"select (file_id, line_number) from {subject.rows(source)} where (file_id, line_number) in"
            f" (select (file_id, line_number) from subject_{source})"
            f" and (part, row) not in (select (part, row) from subject_{source} where is_full)"
        )
        text = line_text(source)
        if not LINE_FORMATS[source].gives_one_row:
            text = f"case when (stored.file_id, stored.line_number) not in ({shared}) then {text} end"
        line, wanted = f"{text} as line_text, own.is_full", " where own.is_told"
    rows = landing.con.execute(
        f"select part, {line}, {', '.join(columns)} from {subject.rows(source)} as stored"
        f" join subject_{source} as own using (part, row){wanted} order by source_file, line_number, part, row"
    ).fetchall()
    found = []
    for part, text, is_full, *values in rows:
        read = dict(zip((*places, *names), map(plain, values), strict=True))
        row: dict[str, Any] = {"provenance": {name: read[name] for name in places}}
        row["provenance"]["batch_id"] = int(part.split("/batch_id=")[1].split("/")[0])
        row["provenance"]["landed_file"] = part
        if is_line:
            row["line"] = text
        if is_full:
            row["values"] = {name: read[name] for name in names if read[name] is not None}
        found.append(row)
    return found
