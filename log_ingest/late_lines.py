"""Lines of purged deliveries that arrive late, or again in another file: they are not taken in any more.

Belongs here: telling them. Does not: purging (retention), counting them (take_lines, land_reference).

A line is of a purged delivery when it names it, when it names a message of it and no delivery, or when it is one of the
purged lines that name neither (pages that a visitor's cookie linked to the delivery, webhook events that only an
address tells): of these a digest of each is kept. What only the models can link to a purged delivery is taken in, shows
in no report, and goes with the next purge.

Of a delivery whose tracking alone is purged, what became of its messages is still taken in. Of one whose delivery logs
are purged as well, nothing is: neither rows of its messages nor any webhook event. A digest of each purged message is
kept, by which lines that name no delivery are told.
"""

from collections.abc import Collection, Sequence
from pathlib import Path

import duckdb

from log_ingest.catalog import FROZEN
from log_ingest.formats.registry import LINE_FORMATS
from log_ingest.frozen import DELIVERY_LOGS, TRACKING, message_digest
from log_ingest.landed_places import LandedPlace
from log_ingest.ledger import SALT, Ledger
from log_ingest.sqltext import literal
from log_ingest.suppression import Dropped, take_out_in_place

TRACKING_KINDS = ("open", "click", "unsubscribe")
"""Kinds of webhook events that are acts on a message. The others say what became of it: they are delivery logs."""

LINES_FILE = "lines"
"""Of a frozen batch: identities of purged lines that name neither the delivery nor a message of it."""

MESSAGES_FILE = "messages"
"""Of a frozen batch: digests of purged messages."""


class LateLines:
    """The purged deliveries of a warehouse, on one connection.

    without_tracking, without_logs: deliveries whose lines, or also messages, are gone. The others: SQL literals of the
    paths of landed messages and of frozen files. Makes the temp tables purged_deliveries, purged_logs (delivery_id).
    """

    def __init__(
        self,
        con: duckdb.DuckDBPyConnection,
        without_tracking: Collection[int],
        without_logs: Collection[int],
        *,
        messages: Sequence[str],
        digests: Sequence[str] = (),
        lines: Sequence[str] = (),
        salt: str = "",
    ) -> None:
        self._messages, self._digests, self._lines, self._con, self._salt = messages, digests, lines, con, salt
        self.has_purged_logs = bool(without_logs)
        for table, deliveries in (("purged_deliveries", without_tracking), ("purged_logs", without_logs)):
            con.execute(f"create or replace temp table {table} (delivery_id bigint)")
            con.execute(f"insert into {table} select unnest(?::bigint[])", [sorted(deliveries)])
        self._has_messages = False

    @classmethod
    def load(cls, ledger: Ledger, place: LandedPlace, con: duckdb.DuckDBPyConnection) -> "LateLines | None":
        """None where nothing was purged."""
        deliveries = [row["delivery_id"] for row in ledger.purged_deliveries(TRACKING)]
        if not deliveries:
            return None
        frozen = [row["path"] for row in ledger.parts(source=FROZEN)]
        return cls(
            con,
            deliveries,
            [row["delivery_id"] for row in ledger.purged_deliveries(DELIVERY_LOGS)],
            messages=landed_messages(ledger, place),
            digests=_below(place, [path for path in frozen if path.endswith(f"/{MESSAGES_FILE}.parquet")]),
            lines=_below(place, [path for path in frozen if path.endswith(f"/{LINES_FILE}.parquet")]),
            salt=ledger.fact(SALT),
        )

    def drop(self, path: Path, source: str, options: str) -> Dropped:
        """Write a part anew without the lines of purged deliveries. options: of COPY."""
        con = self._con
        part = f"read_parquet({literal(str(path))}, file_row_number = true)"
        identity = LINE_FORMATS[source].identity
        names_messages_only = self._names_messages_only(part)
        late = self.told_by_id(names_messages=names_messages_only)
        if source == "esp_events":
            # Of what is no act, only that of deliveries whose logs are gone too.
            late = f"case when {is_tracking(source)} then {late} else {self._told_of_logs(names_messages_only)} end"
        con.execute(f"create or replace temp table suppressed as select file_row_number from {part} where {late}")
        if self._lines:
            # A line that names a delivery was told by that; a webhook event may name another than its message's.
            told = "true" if source == "esp_events" else "delivery_id = 0"
            con.execute(
                f"insert into suppressed select file_row_number from {part} where {told} and {identity} in"
                f" (select identity from read_parquet([{', '.join(self._lines)}]) where source = {literal(source)})"
                " and file_row_number not in (select file_row_number from suppressed)"
            )
        return take_out_in_place(con, path, source, options)

    def told_by_id(self, *, names_messages: bool = True) -> str:
        """SQL that is true of a landed line of a purged delivery. names_messages: lines may name a message alone."""
        named = "delivery_id in (select delivery_id from purged_deliveries)"
        if not names_messages:
            return named
        self._look_up_messages()
        message = f"message_id in (select message_id from purged_messages) or {self._is_purged_message}"
        return f"({named} or (delivery_id = 0 and message_id <> 0 and ({message})))"

    def _told_of_logs(self, names_messages: bool) -> str:
        named = "delivery_id in (select delivery_id from purged_logs)"
        if not names_messages:
            return named
        return f"({named} or (delivery_id = 0 and message_id <> 0 and {self._is_purged_message}))"

    @property
    def _is_purged_message(self) -> str:
        if not self._digests:
            return "false"
        return (
            f"{message_digest('message_id', literal(self._salt))} in"
            f" (select message_digest from read_parquet([{', '.join(self._digests)}]))"
        )

    def _names_messages_only(self, part: str) -> bool:
        found = self._con.execute(f"select 1 from {part} where delivery_id = 0 and message_id <> 0 limit 1").fetchone()
        return found is not None

    def _look_up_messages(self) -> None:
        """Temp table purged_messages, of those that are still landed: made once, where it is needed at all."""
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


def is_tracking(source: str) -> str:
    """SQL that is true of a landed line that is an act on a message or a page."""
    return f"event_kind in ({', '.join(map(literal, TRACKING_KINDS))})" if source == "esp_events" else "true"


def landed_messages(ledger: Ledger, place: LandedPlace) -> list[str]:
    """SQL literals of the paths of all landed messages."""
    parts = [row["path"] for row in ledger.parts(source="messages")]
    return _below(place, [path for path in parts if path.startswith("messages/")])


def _below(place: LandedPlace, paths: list[str]) -> list[str]:
    return [literal(str(place.root / path)) for path in paths]
