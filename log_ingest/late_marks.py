"""What suppressed lines and rows tell of erased recipients that was not known when they were erased: a new cookie, a
new address. Without a mark of it, what comes with nothing else would land in clear.

Belongs here: which of it becomes a mark: what is nobody else's, as far as landed rows tell. Does not: finding what was
told (suppression, land_reference), or what had landed before, which a repeated erasure finds by the marks (subject).
"""

from collections.abc import Collection, Mapping

from log_ingest.landing import Landing, Unit
from log_ingest.suppression import (
    ADDRESS,
    MESSAGE,
    NAMED,
    PSEUDONYM_FROM,
    VISITOR,
    address_sql,
    further_fields_sql,
    is_marked_sql,
)

_IS_ANOTHERS = f"recipient_id <> 0 and recipient_id < {PSEUDONYM_FROM}"
"""Of landed rows, where erased recipients have other ids."""


def marks_of(landing: Landing, told: Mapping[str, Collection[str]], unit: Unit) -> set[tuple[str, str]]:
    """The marks that told adds, by kind of mark. unit: rows that land with them."""
    suppression = landing.suppression
    assert suppression is not None
    values = {kind: set(some) for kind, some in told.items()}
    values[NAMED] = values.get(NAMED, set()) | {f"email={address}" for address in values.get(ADDRESS, ())}
    marks: set[tuple[str, str]] = set()
    for kind, some in values.items():
        new = sorted(value for value in some if not suppression.knows(kind, value))
        if new:
            marks |= {suppression.key.mark(kind, value) for value in set(new) - _others(landing, kind, new, unit)}
    return marks


def _others(landing: Landing, kind: str, values: list[str], unit: Unit) -> set[str]:
    """Those that tell somebody else, too."""
    selects = {
        # Also where nothing is known of a message: its row may come after its events.
        VISITOR: [
            f"select lower(visitor_id) as value from {landing.rows_of(source, unit)}"
            f" where message_id <> 0 and message_id < {PSEUDONYM_FROM}"
            " and lower(visitor_id) in (select value from told)"
            f" and not {is_marked_sql(MESSAGE, 'message_id::varchar')}"
            for source in ("tracking_logs", "access_logs")
        ],
        MESSAGE: [
            f"select message_id::varchar as value from {landing.rows_of('messages', unit)} where {_IS_ANOTHERS}",
        ],
        ADDRESS: [
            f"select {address_sql('email')} as value from {landing.rows_of('recipients', unit)} where {_IS_ANOTHERS}",
            f"select {address_sql('address')} as value from {landing.rows_of('messages', unit)} where {_IS_ANOTHERS}",
        ],
        NAMED: [
            f"select named as value from ({further_fields_sql(landing.rows_of('recipients', unit))})"
            f" where {_IS_ANOTHERS}",
            f"select 'email=' || {address_sql('email')} as value from {landing.rows_of('recipients', unit)}"
            f" where {_IS_ANOTHERS}",
            f"select 'email=' || {address_sql('address')} as value from {landing.rows_of('messages', unit)}"
            f" where {_IS_ANOTHERS}",
        ],
    }[kind]
    landing.con.execute("create or replace temp table told as select unnest(?::varchar[]) as value", [values])
    found = landing.con.execute(f"select value from told where value in ({' union all '.join(selects)})").fetchall()
    landing.con.execute("drop table told")
    return {value for (value,) in found}
