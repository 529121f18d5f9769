"""Lines of purged deliveries that arrive late, or again in another file: they are not taken in any more.

Belongs here: telling them. Does not: purging (retention), counting them (take_lines).

A line is of a purged delivery when it names it, when it names a message of it and no delivery, or when it is one of the
purged lines that name neither (pages that a visitor's cookie linked to the delivery, webhook events that only an
address tells): of these a digest of each is kept. What only the models can link to a purged delivery is taken in, shows
in no report, and goes with the next purge.
"""

from pathlib import Path

import duckdb

from log_ingest.catalog import FROZEN
from log_ingest.formats.registry import LINE_FORMATS
from log_ingest.landed_places import LandedPlace
from log_ingest.ledger import Ledger
from log_ingest.sqltext import literal
from log_ingest.suppression import Dropped, take_out_in_place

TRACKING_KINDS = ("open", "click", "unsubscribe")
"""Kinds of webhook events that are acts on a message. The others say what became of it: they are no tracking."""

LINES_FILE = "lines"
"""Of a frozen batch: identities of purged lines that name neither the delivery nor a message of it."""


class LateLines:
    """The purged deliveries of a warehouse, on one connection."""

    def __init__(self, deliveries: list[int], messages: list[str], lines: list[str], con: duckdb.DuckDBPyConnection):
        self._messages, self._lines, self._con = messages, lines, con
        con.execute("create or replace temp table purged_deliveries (delivery_id bigint)")
        con.execute("insert into purged_deliveries select unnest(?::bigint[])", [deliveries])
        self._has_messages = False

    @classmethod
    def load(cls, ledger: Ledger, place: LandedPlace, con: duckdb.DuckDBPyConnection) -> "LateLines | None":
        """None where nothing was purged."""
        deliveries = [row["delivery_id"] for row in ledger.purged_deliveries()]
        if not deliveries:
            return None
        messages = [row["path"] for row in ledger.parts(source="messages") if row["path"].startswith("messages/")]
        frozen = [row["path"] for row in ledger.parts(source=FROZEN)]
        lines = [path for path in frozen if path.endswith(f"/{LINES_FILE}.parquet")]
        return cls(deliveries, _below(place, messages), _below(place, lines), con)

    def drop(self, path: Path, source: str, options: str) -> Dropped:
        """Write a part anew without the lines of purged deliveries. options: of COPY."""
        con = self._con
        part = f"read_parquet({literal(str(path))}, file_row_number = true)"
        identity = LINE_FORMATS[source].identity
        con.execute(
            f"create or replace temp table suppressed as select file_row_number from {part}"
            f" where {is_tracking(source)}"
            f" and {told_by_id(self.messages_sql() if self._names_messages_only(part) else None)}"
        )
        if self._lines:
            # A line that names a delivery was told by that; a webhook event may name another than its message's.
            told = "true" if source == "esp_events" else "delivery_id = 0"
            con.execute(
                f"insert into suppressed select file_row_number from {part} where {told} and {identity} in"
                f" (select identity from read_parquet([{', '.join(self._lines)}]) where source = {literal(source)})"
                " and file_row_number not in (select file_row_number from suppressed)"
            )
        return take_out_in_place(con, path, source, options)

    def _names_messages_only(self, part: str) -> bool:
        found = self._con.execute(f"select 1 from {part} where delivery_id = 0 and message_id <> 0 limit 1").fetchone()
        return found is not None

    def messages_sql(self) -> str:
        """SQL of the messages of purged deliveries: looked up once, where it is needed at all."""
        if not self._has_messages:
            rows = f"read_parquet([{', '.join(self._messages)}], union_by_name = true)" if self._messages else ""
            self._con.execute(
                "create or replace temp table purged_messages as"
                + (
                    f" select distinct message_id from {rows} semi join purged_deliveries using (delivery_id)"
                    if rows
                    else " select 0::bigint as message_id where false"
                )
            )
            self._has_messages = True
        return "select message_id from purged_messages"


def is_tracking(source: str) -> str:
    """SQL that is true of a landed line that is an act on a message or a page."""
    return f"event_kind in ({', '.join(map(literal, TRACKING_KINDS))})" if source == "esp_events" else "true"


def told_by_id(messages: str | None) -> str:
    """SQL that is true of a landed line of a purged delivery (temp table purged_deliveries). messages: of theirs."""
    named = "delivery_id in (select delivery_id from purged_deliveries)"
    return named if messages is None else f"({named} or (delivery_id = 0 and message_id in ({messages})))"


def _below(place: LandedPlace, paths: list[str]) -> list[str]:
    return [literal(str(place.root / path)) for path in paths]
