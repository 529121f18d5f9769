"""Everything that is held of recipients: what tells them, and the landed rows that carry it.

Belongs here: finding identifiers and rows. Does not: what is done with them (export, erasure), or what is known of
them above the landed rows (the caller says, where it matters).

What tells a recipient: the recipient_id; the ids of messages to them; their addresses; visitor ids that no event of
somebody else's message shows; how web pages name them. A visitor id or an address that others share stays theirs: it
is no identifier of this recipient alone, and taking it away would change what is known of the others.
"""

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

import pyarrow as pa

from log_ingest.catalog import LINE_SOURCES, REFERENCE_ENTITIES
from log_ingest.formats.registry import LINE_FORMATS
from log_ingest.formats.trackinglogd import LINE
from log_ingest.landing import Landing
from log_ingest.ledger import Ledger
from log_ingest.sqltext import identifier, literal
from log_ingest.suppression import (
    ADDRESS,
    MESSAGE,
    NAMED,
    PSEUDONYM_FROM,
    RECIPIENT,
    VISITOR,
    address_sql,
    further_fields_sql,
    is_marked_sql,
    named_sql,
)

ENTITIES = tuple(
    entity
    for entity in REFERENCE_ENTITIES
    if {"recipient_id", "message_id"} & {column.name for column in entity.columns}
)
"""The reference entities whose rows are about recipients."""

TEXTS = {
    "tracking_logs": "concat_ws(' ', params, user_agent, ip, forwarded_for, extra)",
    "access_logs": "concat_ws(' ', line, params, tag, user_agent, forwarded_for)",
    "esp_events": "concat_ws(' ', line, url, bounce_text, provider_message_id, user_agent)",
}
"""By line source: the free text of a row, where an identifier may be mentioned."""

_SHORT = 5
"""Ids of fewer characters are looked for where ids stand only: anywhere else they are too often something else."""
_TERMS_AT_ONCE = 400


@dataclass
class Identifiers:
    """What tells the recipients, in clear. shared_…: what others have too. names: first and last names."""

    recipient_ids: set[int] = field(default_factory=set)
    message_ids: set[int] = field(default_factory=set)
    addresses: set[str] = field(default_factory=set)
    shared_addresses: set[str] = field(default_factory=set)
    visitor_ids: set[str] = field(default_factory=set)
    shared_visitor_ids: set[str] = field(default_factory=set)
    ip_addresses: set[str] = field(default_factory=set)
    """Those that only their own lines show."""
    provider_ids: set[str] = field(default_factory=set)
    """By which e-mail service providers know messages to them."""
    names: set[str] = field(default_factory=set)
    named: set[str] = field(default_factory=set)
    """How web pages name them, as suppression.named_sql gives it."""

    def patterns(self) -> list[str]:
        """Regular expressions (RE2, Python) for lower-case text that mentions any of them."""
        numbers = self.recipient_ids | self.message_ids
        decimal = {str(number) for number in numbers} | {
            str(number - 2**32) for number in numbers if 2**31 <= number < 2**32
        }
        hexadecimal = {f"{number:x}" for number in self.message_ids}
        anywhere = {term for term in decimal | hexadecimal if len(term) >= _SHORT}
        anywhere |= {term.lower() for term in self.visitor_ids if len(term) >= _SHORT}
        found = [f"(?:^|[^0-9a-z])(?:[a-z]|0x)?0*(?:{terms})(?:$|[^0-9a-z])" for terms in _alternatives(anywhere)]
        found += [f"(?:^|[^0-9a-z])(?:{terms})(?:$|[^0-9a-z.-])" for terms in _alternatives(self.addresses)]
        for terms in _alternatives({term for term in hexadecimal if len(term) < _SHORT}):
            found += [rf"^[^\t]*\t[^\t]*\t0*(?:{terms})\t", f"id=[a-z]0*(?:{terms}),"]
        for terms in _alternatives({term for term in decimal if len(term) < _SHORT}):
            found.append(rf'"(?:mtw_)?(?:message|recipient)_id"\s*:\s*"?0*(?:{terms})(?:$|[^0-9])')
        return found


class Subject:
    """Recipients and their rows, as temp tables of the landing's connection.

    What tells them: subject_recipient_ids (recipient_id), subject_message_ids (message_id), subject_visitor_ids
    (visitor_id), subject_addresses (address, is_own), subject_named (named); texts in lower case.
    Rows: subject_<source> with part (the ledger's path) and row; of line sources also file_id, line_number, named,
    is_full (the row is theirs; else it is somebody else's, whose text mentions them) and is_told (not
    only the text of a line that tells of several people does); of set_aside also source, file_id, line_number.

    resolved: event_key and message_id (0: unknown) of webhook events whose message was found by address.
    """

    def __init__(
        self, landing: Landing, ledger: Ledger, recipients: Collection[int], resolved: pa.Table | None = None
    ) -> None:
        self.identifiers = Identifiers(set(recipients))
        self._landing, self._ledger, self._con = landing, ledger, landing.con
        self._resolved(resolved)
        self._messages()
        self._addresses()
        self._named()
        self._visitors()
        for source in LINE_SOURCES:
            self._lines(source.name)
        self._ip_addresses()
        self._provider_ids()
        for entity in ENTITIES:
            self._reference(entity.name)
        self._set_aside()

    def rows(self, source: str) -> str:
        """SQL of all landed rows of a source with part (the ledger's path) and row."""
        below = len(str(self._landing.root)) + 2
        return (
            f"(select * exclude (filename, file_row_number), filename[{below}:] as part, file_row_number as row"
            f" from {self._landing.rows_of(source, places=True)})"
        )

    def count(self, source: str) -> int:
        return self._con.execute(f"select count(*) from subject_{source}").fetchall()[0][0]

    @property
    def is_empty(self) -> bool:
        """True where nothing is held of the recipients."""
        return not any(self.count(name) for name in (*LINE_FORMATS, *(entity.name for entity in ENTITIES), "set_aside"))

    # -- identifiers

    @property
    def _were_erased(self) -> bool:
        """Whether one of them was erased before: what came of them since is known by marks, which say of nobody whose
        they are.
        """
        known = self._landing.suppression
        return known is not None and any(known.knows(RECIPIENT, str(one)) for one in self.identifiers.recipient_ids)

    def _table(self, name: str, select: str) -> None:
        self._con.execute(f"create or replace temp table {name} as {select}")

    def _values(self, sql: str) -> set:
        return {row[0] for row in self._con.execute(sql).fetchall() if row[0] is not None}

    def _resolved(self, resolved: pa.Table | None) -> None:
        empty = pa.table({"event_key": pa.array([], pa.string()), "message_id": pa.array([], pa.int64())})
        self._con.register("resolved_events", resolved if resolved is not None else empty)
        self._table("subject_resolved", "select event_key, message_id from resolved_events where message_id <> 0")
        self._con.unregister("resolved_events")
        ids = sorted(self.identifiers.recipient_ids)
        self._con.execute(
            "create or replace temp table subject_recipient_ids as select unnest(?::bigint[]) as recipient_id", [ids]
        )

    def _messages(self) -> None:
        # A message belongs to whom its newest version names.
        self._table(
            "message_owners",
            "select message_id, max_by(recipient_id, (file_modified_at, source_file, line_number)) as recipient_id"
            f" from {self.rows('messages')} group by message_id",
        )
        found = (
            "select message_id from message_owners semi join subject_recipient_ids using (recipient_id)"
            f" union select message_id from {self.rows('esp_events')}"
            " semi join subject_recipient_ids using (recipient_id)"
            " where message_id <> 0 and message_id not in (select message_id from message_owners)"
        )
        if self._were_erased:
            # Sent after an earlier erasure, when their rows were suppressed already.
            for source in LINE_FORMATS:
                found += (
                    f" union select message_id from (select distinct message_id from {self.rows(source)}"
                    f" where message_id not in (0) and message_id < {PSEUDONYM_FROM}"
                    " and message_id not in (select message_id from message_owners anti join subject_recipient_ids"
                    f" using (recipient_id) where recipient_id <> 0 and recipient_id < {PSEUDONYM_FROM}))"
                    f" where {is_marked_sql(MESSAGE, 'message_id::varchar')}"
                )
        self._table("subject_message_ids", f"select message_id from ({found}) where message_id < {PSEUDONYM_FROM}")
        self.identifiers.message_ids = self._values("select message_id from subject_message_ids")

    def _addresses(self) -> None:
        own, is_own_message = (
            "semi join subject_recipient_ids using (recipient_id)",
            "message_id in (select message_id from subject_message_ids)",
        )
        email, address = address_sql("email"), address_sql("address")
        since = ""
        if self._were_erased:
            since = (
                f" union all select address from (select distinct {address} as address from {self.rows('esp_events')}"
                f" where message_id = 0 and recipient_id = 0) where {is_marked_sql(ADDRESS, 'address')}"
            )
        self._table(
            "subject_addresses",
            f"select distinct address from (select {email} as address from {self.rows('recipients')} {own}"
            f" union all select {address} from {self.rows('messages')} where {is_own_message}"
            f" union all select {address} from {self.rows('messages')} {own}"
            f" union all select {address} from {self.rows('esp_events')} where {is_own_message}"
            f" union all select {address} from {self.rows('esp_events')} {own}{since}) where address is not null",
        )
        candidates = "(select address from subject_addresses)"
        others = (
            f"select {email} from {self.rows('recipients')} anti join subject_recipient_ids using (recipient_id)"
            f" where {email} in {candidates} union select {address} from {self.rows('messages')} as messages"
            f" anti join subject_recipient_ids using (recipient_id) where not {is_own_message}"
            f" and {address} in {candidates}"
        )
        self._table("subject_addresses", f"select address, address not in ({others}) as is_own from subject_addresses")
        for is_own, address in self._con.execute("select is_own, address from subject_addresses").fetchall():
            (self.identifiers.addresses if is_own else self.identifiers.shared_addresses).add(address)
        for column in ("first_name", "last_name"):
            self.identifiers.names |= self._values(f"select distinct {column} from {self.rows('recipients')} {own}")

    def _named(self) -> None:
        """How pages name them: by id, and by what no other recipient has too."""
        ids = self.identifiers.recipient_ids
        self.identifiers.named = {f"recipient_id={number}" for number in ids}
        self.identifiers.named |= {f"email={address}" for address in self.identifiers.addresses}
        self._table(
            "further_fields",
            further_fields_sql(self.rows("recipients")),
        )
        own = "recipient_id in (select recipient_id from subject_recipient_ids)"
        self.identifiers.named |= self._values(
            f"select named from further_fields group by named having bool_and({own})"
        )
        if self._were_erased:
            pages = " union ".join(
                f"select {named_sql('params')} as named from {self.rows(source)} where params ilike '%rcpid=%'"
                for source in ("tracking_logs", "access_logs")
            )
            self.identifiers.named |= self._values(
                f"select named from ({pages}) where named is not null and {is_marked_sql(NAMED, 'named')}"
                f" and named not in (select named from further_fields where not {own} and named is not null)"
                f" and named not in (select 'email=' || {address_sql('email')} from {self.rows('recipients')}"
                f" where not {own} and email is not null)"
            )
        self._con.execute(
            "create or replace temp table subject_named as select unnest(?::varchar[]) as named",
            [sorted(self.identifiers.named)],
        )

    def _visitors(self) -> None:
        """Visitors of their messages, or of pages that name them; not where a message of somebody else shows them."""
        visitor = "nullif(lower(visitor_id), '')"
        shown, others = [], []
        for source in ("tracking_logs", "access_logs"):
            rows = self.rows(source)
            shown.append(
                f"select {visitor} as visitor_id from {rows}"
                " where message_id in (select message_id from subject_message_ids)"
                f" or (params ilike '%rcpid=%' and {named_sql('params')} in (select named from subject_named))"
            )
            others.append(
                f"select {visitor} from {rows} where {visitor} in (select visitor_id from visitors_shown)"
                " and message_id in (select message_id from message_owners where message_id not in"
                f" (select message_id from subject_message_ids) and recipient_id < {PSEUDONYM_FROM})"
            )
        if self._were_erased:
            visitors = " union ".join(
                f"select {visitor} as visitor_id from {self.rows(source)}"
                for source in ("tracking_logs", "access_logs")
            )
            shown.append(
                f"select visitor_id from ({visitors}) where visitor_id is not null"
                f" and {is_marked_sql(VISITOR, 'visitor_id')}"
            )
        self._table(
            "visitors_shown",
            f"select distinct visitor_id from ({' union all '.join(shown)}) where visitor_id is not null",
        )
        self._table(
            "visitors_shared",
            " union ".join(others).replace(f"select {visitor} from", f"select {visitor} as visitor_id from"),
        )
        self._table(
            "subject_visitor_ids", "select visitor_id from visitors_shown anti join visitors_shared using (visitor_id)"
        )
        self.identifiers.visitor_ids = self._values("select visitor_id from subject_visitor_ids")
        self.identifiers.shared_visitor_ids = self._values("select visitor_id from visitors_shared")

    # -- rows

    def _lines(self, source: str) -> None:
        theirs = ["message_id in (select message_id from subject_message_ids)"]
        named = "null"
        if source == "esp_events":
            theirs += [
                "recipient_id in (select recipient_id from subject_recipient_ids)",
                f"(message_id = 0 and {address_sql('address')} in"
                " (select address from subject_addresses where is_own))",
                "event_key in (select event_key from subject_resolved where message_id in"
                " (select message_id from subject_message_ids))",
            ]
        else:
            named = f"case when params ilike '%rcpid=%' then {named_sql('params')} end"
            theirs += [
                "nullif(lower(visitor_id), '') in (select visitor_id from subject_visitor_ids)",
                f"(message_id = 0 and {named} in (select named from subject_named))",
            ]
        text = f"lower({TEXTS[source]})"
        decoded = _decoded(text)
        mentions = [f"regexp_matches({decoded}, {literal(pattern)})" for pattern in self.identifiers.patterns()]
        has_several = not LINE_FORMATS[source].gives_one_row
        told = [mention.replace("line, ", "") for mention in mentions] if has_several else []
        mentions += [f"{named} in (select named from subject_named)"] * (source != "esp_events")
        is_full = " or ".join(theirs)
        self._table(
            f"subject_{source}",
            "select part, row, file_id, line_number, is_full,"
            f" {'is_full or is_told' if has_several else 'true'} as is_told,"
            " case when named in (select named from subject_named) then named end as named from ("
            f" select part, row, file_id, line_number, coalesce({is_full}, false) as is_full, {named} as named,"
            f" {' or '.join(mentions) or 'false'} as is_mention, {' or '.join(told) or 'false'} as is_told"
            f" from {self.rows(source)}"
            ") where is_full or is_mention",
        )

    def _ip_addresses(self) -> None:
        """Addresses of machines that only rows of theirs show."""
        ip = "nullif(split_part(ip, ',', 1), '')"
        own = " union ".join(
            f"select {ip} as ip from {self.rows(source)} semi join subject_{source} using (part, row)"
            f" where {ip} is not null and (part, row) in (select (part, row) from subject_{source} where is_full)"
            for source in LINE_FORMATS
        )
        self._table("subject_ips", own)
        others = " union ".join(
            f"select {ip} from {self.rows(source)} where {ip} in (select ip from subject_ips)"
            f" and (part, row) not in (select (part, row) from subject_{source} where is_full)"
            for source in LINE_FORMATS
        )
        self._table("subject_ips", f"select ip from subject_ips where ip not in ({others})")
        self.identifiers.ip_addresses = self._values("select ip from subject_ips")

    def _provider_ids(self) -> None:
        rows = f"{self.rows('esp_events')} semi join (select part, row from subject_esp_events where is_full)"
        self.identifiers.provider_ids = self._values(
            f"select distinct provider_message_id from {rows} using (part, row)"
        )

    def _reference(self, name: str) -> None:
        names = {column.name for entity in ENTITIES if entity.name == name for column in entity.columns}
        theirs = []
        if "recipient_id" in names:
            theirs.append("recipient_id in (select recipient_id from subject_recipient_ids)")
        if "message_id" in names:
            theirs.append("message_id in (select message_id from subject_message_ids)")
        self._table(f"subject_{name}", f"select part, row from {self.rows(name)} where {' or '.join(theirs)}")

    def mentions(self) -> dict[str, int]:
        """Reference rows that are about no recipient and mention them, by entity: a proof's label, a link."""
        found = {}
        for entity in REFERENCE_ENTITIES:
            texts = [column.name for column in entity.columns if column.kind == "text"]
            if entity in ENTITIES or not texts:
                continue
            text = f"lower(concat_ws(' ', {', '.join(map(identifier, texts))}, extra))"
            patterns = self.identifiers.patterns()
            found[entity.name] = self._con.execute(
                f"select count(*) from (select {_decoded(text)} as text from {self.rows(entity.name)})"
                f" where {' or '.join(f'regexp_matches(text, {literal(pattern)})' for pattern in patterns) or 'false'}"
            ).fetchall()[0][0]
        return {name: count for name, count in found.items() if count}

    def _set_aside(self) -> None:
        """Lines that could not be read, or came again, are found by what stands in their bytes."""
        text = r"lower(coalesce(try(decode(raw)), regexp_replace(raw::varchar, '\\x[0-9A-F]{2}', ' ', 'g')))"
        decoded = _decoded(text)
        addresses = {ip.lower() for ip in self.identifiers.ip_addresses}
        patterns = self.identifiers.patterns()
        patterns += [f"(?:^|[^0-9a-z.:])(?:{terms})(?:$|[^0-9a-z.:])" for terms in _alternatives(addresses)]
        found = " or ".join(f"regexp_matches(text, {literal(pattern)})" for pattern in patterns) or "false"
        rows = self.rows("set_aside")
        self._table(
            "mentioned",
            f"select distinct file_id, line_number from (select file_id, line_number, {decoded} as text from {rows})"
            f" where {found}",
        )
        self._table(
            "subject_set_aside",
            f"select part, row, source, file_id, line_number from {rows}"
            " semi join mentioned using (file_id, line_number)",
        )


def _decoded(text: str) -> str:
    """SQL of a text of which a mail gateway may have escaped parts once or twice."""
    return f"coalesce(try(url_decode(coalesce(try(url_decode({text})), {text}))), {text})"


def line_text(source: str) -> str:
    """SQL of the text of a landed row's line."""
    return LINE if source == "tracking_logs" else "line"


def _alternatives(terms: Iterable[str]) -> list[str]:
    ordered = [re.sub(r"([^0-9a-zA-Z@_-])", r"\\\1", term) for term in sorted(terms)]
    return ["|".join(ordered[start : start + _TERMS_AT_ONCE]) for start in range(0, len(ordered), _TERMS_AT_ONCE)]
