"""Backfills: chosen deliveries, or those of some days, are made again from the landed rows by the run that follows.

Belongs here: which deliveries those are, and telling the models (dbt_project/macros/state: touched_deliveries).
Does not: making them, which is the models' work and the same as for rows that arrive.
"""

from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from log_ingest.storage import let_read
from orchestration import build_state
from orchestration.bounded import connected
from orchestration.scope import RunScope
from orchestration.settings import Settings

if TYPE_CHECKING:
    import duckdb

ASKED_FOR = "(asked for)"
"""Stands as a model in state.touched_deliveries; the macros know it by this name."""

_SHOWN = 5


class RemakeError(Exception):
    """No such delivery. The message is one line that says what to do."""


def ask(settings: Settings, scope: RunScope) -> list[int]:
    """Note the deliveries of a scope in the working database; returns their ids, sorted.

    The caller holds the pipeline's lock. Where there is no working database, everything is made anyway: returns [].
    A run that dies afterwards is taken up by the next one. Raises RemakeError for deliveries that nobody knows, and
    for days on which none was sent or active.
    """
    if settings.engine != "duckdb":
        raise RemakeError(
            "on Spark chosen deliveries cannot be made again, all can: remove"
            f" {settings.working_database}, then: mtw run"
        )
    if build_state.last_build(settings) is None:
        return []
    with connected(settings, settings.working_database, read_only=False) as connection:
        let_read(connection, settings.landed_dir)
        found = set(scope.deliveries)
        if unknown := sorted(found - _known(connection, found)):
            some = ", ".join(map(str, unknown[:_SHOWN])) + (" …" if len(unknown) > _SHOWN else "")
            raise RemakeError(f"no such delivery: {some}; the table core.dim_deliveries lists all of them")
        if scope.days:
            active = _active(connection, *scope.days, ZoneInfo(settings.time_zone))
            if not active and not found:
                raise RemakeError(
                    f"no delivery was sent or had an event from {scope.days[0]} to {scope.days[1]}; name other days"
                )
            found |= active
        if not found:
            return []
        # From here on the working database owes these deliveries, whatever becomes of this run.
        build_state.forget_build(settings)
        connection.execute("begin")
        connection.execute(
            "delete from state.touched_deliveries where model = $1 and delivery_id in (select unnest($2::bigint[]))",
            [ASKED_FOR, sorted(found)],
        )
        connection.execute(
            "insert into state.touched_deliveries select $1, unnest($2::bigint[]),"
            " (select run_number + 1 from state.run_window)",
            [ASKED_FOR, sorted(found)],
        )
        connection.execute("commit")
    return sorted(found)


def _known(connection: "duckdb.DuckDBPyConnection", ids: set[int]) -> set[int]:
    rows = connection.execute(
        "select delivery_id from core.dim_deliveries where delivery_id in (select unnest($1::bigint[]))", [sorted(ids)]
    ).fetchall()
    return {number for (number,) in rows}


def _active(connection: "duckdb.DuckDBPyConnection", first: date, last: date, zone: ZoneInfo) -> set[int]:
    """Deliveries sent, or with an event, on these days of the zone; delivery 0 (unknown) is none."""
    begin, end = (
        datetime.combine(day, time(), zone).astimezone(UTC).replace(tzinfo=None)
        for day in (first, last + timedelta(days=1))
    )
    rows = connection.execute(
        "select delivery_id from core.dim_deliveries where sent_at >= $1 and sent_at < $2"
        " union select delivery_id from core.fct_tracking_events where occurred_at >= $1 and occurred_at < $2",
        [begin, end],
    ).fetchall()
    return {number for (number,) in rows if number}
