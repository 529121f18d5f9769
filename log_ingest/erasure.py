"""Erasing recipients from landed rows: what tells them goes, what aggregates count stays, in one commit.

Belongs here: the rewriting of landed rows, pseudonyms, marks for suppression, the receipt. Does not: finding rows
(subject), recognising who comes again (suppression), or what is above the landed rows, which the caller builds anew.

A row of theirs stays as a row of nobody: each identifier is replaced by a random one of its kind, drawn for this
erasure and written down nowhere beside the old. So the models, which know identifiers only by whether they are equal,
find the same numbers. Texts that a person could be known by are gone: the line, the address of the machine, further
parameters and fields; of the user agent remains what it said of device, system and browser, and the words that decide
whether it is a machine.

Old parts are replaced by new ones through one transaction of the ledger, which also holds the marks and the receipt:
a process that dies leaves everything as it was or everything erased.
"""

import re
import secrets
import sqlite3
import uuid
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import unquote, unquote_plus

import duckdb
import pyarrow as pa

from log_ingest.catalog import FROZEN, LINE_SOURCES, USER_AGENTS_SCHEMA, ReferenceEntity
from log_ingest.errors import IngestError, StorageError
from log_ingest.formats.reference_rows import row_hash_sql
from log_ingest.formats.registry import LINE_FORMATS
from log_ingest.frozen import PERSON, person_digest
from log_ingest.ingest import LEDGER_NAME
from log_ingest.landing import Landing, Unit
from log_ingest.ledger import SALT, Commit, Erasure, Ledger
from log_ingest.ledger_database import LedgerPlace
from log_ingest.ledger_tables import write_ledger_tables
from log_ingest.platform.take_tables import forget_positions
from log_ingest.sqltext import identifier, literal
from log_ingest.storage import Location, reason
from log_ingest.subject import ENTITIES, Identifiers, Subject
from log_ingest.suppression import (
    ADDRESS,
    MESSAGE,
    NAMED,
    PSEUDONYM_FROM,
    RAW,
    RECIPIENT,
    VISITOR,
    Key,
    address_sql,
    line_kind,
    named_sql,
)
from log_ingest.user_agents import ERASED

PENDING = "erasure_pending"
"""The ledger's fact, while anything above the landed rows may still hold what was erased from them."""

KEPT_PARAMETERS = frozenset(("tagid", "jobid", "amount", "article", "ap_category", "ap_deliveryid", "ap_oid", "rcpid"))
"""Parameters that indicators are made of, lower case. All others may say who somebody is."""

_NUMBERS = frozenset(("amount", "ap_deliveryid"))
"""Those that hold a number of something else, which may be written like an id of a recipient."""

_CUT_AT = 64
"""Servers cut what they log of a query string here; the models know a cut value by the length of the whole."""

# What the models tell kinds of soft bounces by, in the answer of the other server, which often names the recipient.
_ANSWER_WORDS = (
    r"[245][.][0-9]{1,3}[.][0-9]{1,3}|mailbox ?full|full mailbox|quota|block|refused|rejected|spam|dns|domain"
)


TOLD_OF_AGENTS = tuple(
    name
    for name in USER_AGENTS_SCHEMA.names
    if name not in ("user_agent", "user_agent_key", "parser_version", "ingested_at")
)


@dataclass(frozen=True)
class MachineSigns:
    """What machine rules look for, and is kept of an erased line.

    In user agents: exact: whole ones, which are public; parts: as they stand; lower_parts: in the lower-case text.
    networks: name, first and last address of ranges whose machines fetch for people.
    """

    exact: frozenset[str] = frozenset()
    parts: tuple[str, ...] = ()
    lower_parts: tuple[str, ...] = ()
    networks: tuple[tuple[str, str, str], ...] = ()

    def found(self, text: str) -> tuple[list[str], list[str]]:
        return [part for part in self.parts if part in text], [
            part for part in self.lower_parts if part in text.lower()
        ]

    def networks_of(self, addresses: Iterable[str]) -> dict[str, str]:
        """By address, where it lies in a network: the first address of that network that there is, which tells nothing
        but the network.
        """
        ranges: dict[int, list[tuple[int, int, str, str]]] = {4: [], 6: []}
        for name, first, last in self.networks:
            begin = ip_address(first)
            ranges[begin.version].append((int(begin), int(ip_address(last)), name, first))
        for of_version in ranges.values():
            of_version.sort()
        found = {}
        for text in addresses:
            try:
                address = ip_address(text)
            except ValueError:
                continue
            among = ranges[address.version]
            place = bisect_right(among, int(address), key=lambda entry: entry[0]) - 1
            if place >= 0 and int(address) <= among[place][1]:
                found[text] = next(first for _, _, name, first in among if name == among[place][2])
        return found


class Mentions:
    """What texts mention of the recipients, and what stands for it: for equal texts the same, of this erasure."""

    def __init__(self, patterns: Iterable[str]) -> None:
        self._patterns = [re.compile(pattern) for pattern in patterns]
        self._stand_ins: dict[str, str] = {}
        self._drawn: set[str] = set()

    def are_in(self, text: str) -> bool:
        """As the rows are searched: also where a mail gateway has escaped the text once or twice."""
        lower = _unescaped(text).lower()
        return any(pattern.search(lower) for pattern in self._patterns)

    def replaced_in(self, text: str, separators: str) -> str:
        """The text with another one for each piece that mentions them; no longer than it was. separators: those of
        pieces, single characters.
        """
        pieces = re.split(f"([{re.escape(separators)}])", text) if separators else [text]
        found = "".join(self._stand_in(piece) if self.are_in(piece) else piece for piece in pieces)
        return self._stand_in(text) if self.are_in(found) else found

    def _stand_in(self, text: str) -> str:
        plain = _unescaped(text)
        while plain not in self._stand_ins:
            drawn = secrets.token_hex(8)[: len(plain)]
            if drawn not in self._drawn and not self.are_in(drawn):
                self._drawn.add(drawn)
                self._stand_ins[plain] = drawn
        return self._stand_ins[plain]


def _unescaped(text: str) -> str:
    return unquote(unquote(text))


@dataclass
class ErasureReport:
    """What was done. erasure: None where all of them were erased before and nothing of them came since.

    files: landing files that their lines or rows came from, which the warehouse never writes to. mentions: by entity,
    reference rows about nobody that mention them and stay as they are.
    """

    erasure: Erasure | None = None
    files: list[str] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    identifier_counts: dict[str, int] = field(default_factory=dict)
    mentions: dict[str, int] = field(default_factory=dict)


def erase(
    warehouse_dir: Path,
    recipients: Collection[int],
    *,
    run_id: str,
    landed_dir: Location | None = None,
    ledger_at: LedgerPlace | None = None,
    resolved: pa.Table | None = None,
    words: MachineSigns | None = None,
    is_dry: bool = False,
    before_commit: Callable[[Identifiers], None] | None = None,
) -> ErasureReport:
    """Erase recipients from the landed rows. The caller holds the warehouse's lock and builds everything above anew.

    resolved: event_key, message_id, url (the link as configured) of webhook events of these recipients.
    before_commit: is told the identifiers in clear, to rid other files of them while they are still known.
    Raises IngestError where nothing is held of one of the recipients and nothing was erased of them before, and where
    files cannot be read or written.
    """
    try:
        with Ledger(ledger_at or warehouse_dir / LEDGER_NAME) as ledger:
            landing = Landing(warehouse_dir, ledger, landed_dir)
            try:
                return _Erasure(landing, ledger, recipients, run_id, resolved, words or MachineSigns()).run(
                    is_dry, before_commit
                )
            finally:
                landing.close()
    except (duckdb.Error, StorageError) as error:
        if is_recorded(ledger_at or warehouse_dir / LEDGER_NAME, run_id):
            raise IngestError(
                f"the erasure is recorded, but what it replaced is not all removed: {reason(error)}; to finish: mtw run"
            ) from error
        raise IngestError(f"the erasure failed and changed no landed row: {reason(error)}") from error
    except sqlite3.Error as error:
        raise IngestError(
            f"the ledger {warehouse_dir / LEDGER_NAME} could not be written ({error}); free space, then erase again"
        ) from error


def is_recorded(place: LedgerPlace, run_id: str) -> bool:
    """Whether an erasure or a purge of this run is in the ledger, so that its landed rows have changed. Where that
    cannot be read, it is not taken as done: to do it again is no harm."""
    try:
        with Ledger(place, read_only=True) as ledger:
            return run_id in {each.run_id for each in ledger.erasures()} | {row["run_id"] for row in ledger.purges()}
    except (duckdb.Error, sqlite3.Error, OSError, IngestError):
        return False


class _Erasure:
    def __init__(
        self,
        landing: Landing,
        ledger: Ledger,
        recipients: Collection[int],
        run_id: str,
        resolved: pa.Table | None,
        words: MachineSigns,
    ) -> None:
        self._landing, self._ledger, self._con = landing, ledger, landing.con
        self._recipients, self._run_id, self._words = sorted(set(recipients)), run_id, words
        self._resolved = resolved

    def run(self, is_dry: bool, before_commit: Callable[[Identifiers], None] | None) -> ErasureReport:
        if len(self._recipients) > 1:
            for recipient in self._recipients:
                self._refuse_unknown(Subject(self._landing, self._ledger, [recipient]), recipient)
        self._subject = subject = Subject(self._landing, self._ledger, self._recipients, self._resolved)
        self._refuse_unknown(subject, self._recipients[0])
        report = ErasureReport(
            counts={name: subject.count(name) for name in _SOURCES}, files=self._files(), mentions=subject.mentions()
        )
        found = subject.identifiers
        report.identifier_counts = {
            name: len(getattr(found, name))
            for name in ("message_ids", "addresses", "visitor_ids", "shared_visitor_ids", "shared_addresses")
        }
        if is_dry or subject.is_empty:
            return report
        key = self._landing.suppression.key if self._landing.suppression else None
        key = key or Key.load(self._landing.warehouse_dir) or Key.make(self._landing.warehouse_dir)
        self._unit: Unit = self._landing.new_unit()
        self._commit = Commit("user_agents", self._run_id)
        self._link()
        self._mentions = Mentions(found.patterns())
        self._replacements = 0
        try:
            self._draw()
            self._mark(key)
            self._rewrite_lines()
            for entity in ENTITIES:
                self._rewrite_reference(entity)
            self._rewrite_set_aside()
            self._rewrite_user_agents()
            self._rewrite_frozen()
            erasure = Erasure(
                str(uuid.uuid4()),
                datetime.now(UTC).isoformat(timespec="seconds"),
                self._run_id,
                len(self._recipients),
                {name: count for name, count in report.counts.items() if count},
            )
            self._commit.erasure = report.erasure = erasure
            self._commit.facts = {PENDING: erasure.erasure_id} | forget_positions(self._ledger)
            if before_commit is not None:
                before_commit(found)
            self._landing.commit(self._unit, self._commit)
        finally:
            self._unit.discard()
        write_ledger_tables(self._landing, self._ledger)
        return report

    def _refuse_unknown(self, subject: Subject, recipient: int) -> None:
        """A mistyped id would otherwise keep a person out for ever whom nobody wanted erased."""
        known = self._landing.suppression
        if subject.is_empty and not (known is not None and known.knows(RECIPIENT, str(recipient))):
            raise IngestError(f"nothing is held of recipient {recipient}; check the id (nothing was erased)")

    def _files(self) -> list[str]:
        found: set[str] = set()
        for name in _SOURCES:
            rows = self._subject.rows(name)
            found |= {
                row[0]
                for row in self._con.execute(
                    f"select distinct source_file from {rows} semi join subject_{name} using (part, row)"
                ).fetchall()
            }
        return sorted(found)

    def _link(self) -> None:
        """resolved_links: the link, as configured, of webhook events that the models found one for."""
        empty = pa.table({"event_key": pa.array([], pa.string()), "url": pa.array([], pa.string())})
        self._con.register("drawn", self._resolved if self._resolved is not None else empty)
        self._con.execute("create or replace temp table resolved_links as select event_key, url from drawn")
        self._con.unregister("drawn")

    # -- pseudonyms

    def _draw(self) -> None:
        con, found = self._con, self._subject.identifiers
        taken = {
            row[0]
            for name, column in (
                ("messages", "message_id"),
                ("messages", "recipient_id"),
                ("recipients", "recipient_id"),
            )
            for row in con.execute(
                f"select distinct {column} from {self._subject.rows(name)} where {column} >= {PSEUDONYM_FROM}"
            ).fetchall()
        }

        def number() -> int:
            while (drawn := PSEUDONYM_FROM + secrets.randbelow(PSEUDONYM_FROM)) in taken:
                pass
            taken.add(drawn)
            return drawn

        self._recipient_map = {old: number() for old in found.recipient_ids}
        self._map("map_recipients", self._recipient_map, pa.int64())
        # In the order of the old ones: where times are equal, models take the greater message.
        drawn = sorted(number() for _ in found.message_ids)
        self._map("map_messages", dict(zip(sorted(found.message_ids), drawn, strict=True)), pa.int64())
        self._map("map_visitors", {old: str(uuid.uuid4()) for old in found.visitor_ids}, pa.string())
        addresses = found.addresses | found.shared_addresses
        self._map("map_addresses", {old: _nobody_at(old) for old in addresses}, pa.string())
        # Likewise in order: events of one moment are told apart by their keys.
        keys = [
            row[0]
            for row in con.execute(
                " union ".join(
                    f"select event_key from {self._subject.rows(source)} semi join subject_{source} using (part, row)"
                    for source in ("access_logs", "esp_events")
                )
                + " order by 1"
            ).fetchall()
        ]
        self._map("map_events", dict(zip(keys, sorted(secrets.token_hex(16) for _ in keys), strict=True)), pa.string())

    def _map(self, name: str, values: dict, kind: pa.DataType) -> None:
        """A temp table (old, new)."""
        table = pa.table({"old": pa.array(list(values), kind), "new": pa.array(list(values.values()), kind)})
        self._con.register("drawn", table)
        self._con.execute(f"create or replace temp table {name} as select * from drawn")
        self._con.unregister("drawn")

    # -- marks

    def _mark(self, key: Key) -> None:
        found, marks = self._subject.identifiers, self._commit.marks
        marks.add(key.check_mark())
        for kind, values in (
            (RECIPIENT, found.recipient_ids),
            (MESSAGE, found.message_ids),
            (ADDRESS, found.addresses),
            (VISITOR, found.visitor_ids),
            (NAMED, found.named),
        ):
            marks |= {key.mark(kind, str(value)) for value in values}
        key.define_in(self._con)
        for source in LINE_FORMATS:
            kind = line_kind(source)
            # What is theirs by an id or a name is recognised by that; a webhook event may be by its address alone.
            told = "is_told" if source == "esp_events" else "is_told and not is_full"
            marks |= {
                (kind, row[0])
                for row in self._con.execute(
                    f"select mark_of({literal(kind)}, {LINE_FORMATS[source].identity})"
                    f" from {self._subject.rows(source)}"
                    f" join (select part, row from subject_{source} where {told}) using (part, row)"
                ).fetchall()
            }
        marks |= {
            (RAW, row[0])
            for row in self._con.execute(
                f"select mark_of('{RAW}', md5(raw)) from {self._subject.rows('set_aside')}"
                " semi join subject_set_aside using (part, row) where octet_length(raw) > 0"
            ).fetchall()
        }

    # -- rewriting

    def _rewrite(self, source: str, select: str, parts: Iterable[str]) -> None:
        """Replace parts by the rows of a SELECT over `stored`, which gives row besides the columns of the source."""
        for part in sorted(parts):
            # In the folder of no source: those are taken over as a whole.
            draft = self._unit.folder / "replacements" / f"{self._replacements}.parquet"
            draft.parent.mkdir(parents=True, exist_ok=True)
            self._replacements += 1
            stored = f"read_parquet({literal(str(self._landing.root / part))}, file_row_number = true)"
            self._con.execute(
                "create or replace temp view stored as select * exclude (file_row_number), file_row_number as row,"
                f" {literal(part)} as part from {stored}"
            )
            count = self._unit.copy(f"select * exclude (row, part) from ({select}) order by row", draft)
            self._unit.replace(part, draft, count)

    def _parts(self, name: str) -> list[str]:
        return [row[0] for row in self._con.execute(f"select distinct part from subject_{name}").fetchall()]

    def _rewrite_lines(self) -> None:
        lines: Counter[int] = Counter()
        self._map_machines()
        agents = self._agents()
        self._map("map_agents", {text: new["user_agent"] for text, new in agents.items()}, pa.string())
        self._new_agents = agents
        self._map_texts()
        for source in LINE_SOURCES:
            name = source.name
            self._map_params(name)
            self._rewrite(name, _LINE_REWRITES[name], self._parts(name))
            lines.update(
                dict(
                    self._con.execute(
                        f"select file_id, count(distinct line_number) from subject_{name} group by all"
                    ).fetchall()
                )
            )
        lines.update(
            dict(
                self._con.execute(
                    "select file_id, count(distinct line_number) from subject_set_aside where source in"
                    f" ({', '.join(map(literal, LINE_FORMATS))}) group by all"
                ).fetchall()
            )
        )
        self._commit.erased_lines = dict(lines)

    def _map_machines(self) -> None:
        """map_ips: of the machines that fetch for people under a user agent that is public, the network remains."""
        shown = " union ".join(
            f"select split_part(ip, ',', 1) as ip from {self._subject.rows(source)} semi join"
            f" (select part, row from subject_{source} where is_full) using (part, row)"
            f" where user_agent in (select unnest(?::varchar[])) and ip is not null"
            for source in LINE_FORMATS
        )
        found = self._con.execute(shown, [sorted(self._words.exact)] * len(LINE_FORMATS)).fetchall()
        self._map("map_ips", self._words.networks_of(ip for (ip,) in found), pa.string())

    def _map_params(self, source: str) -> None:
        """map_params: old parameters and how the page names its visitor, if that is one of them; new parameters."""
        olds, nameds, news = [], [], []
        if source != "esp_events":
            owners = self._named_owners()
            others = (
                "select named from further_fields anti join subject_recipient_ids using (recipient_id) union all"
                f" select 'email=' || {address_sql('email')} from {self._subject.rows('recipients')}"
                " anti join subject_recipient_ids using (recipient_id)"
            )
            rows = self._con.execute(
                "select params, named, named is null and params ilike '%rcpid=%'"
                f" and coalesce({named_sql('params')} in ({others}), false)"
                f" from (select distinct params, named from {self._subject.rows(source)}"
                f" join subject_{source} using (part, row) where params is not null)"
            ).fetchall()
            for params, named, names_another in rows:
                olds.append(params)
                nameds.append(named or "")
                # Nobody's id is 0: of whom it names nothing is known above the landed rows either.
                new_id = owners.get(named, 0) if named is not None else None
                news.append(kept_parameters(params, new_id, self._mentions, names_another=names_another))
        table = pa.table(
            {
                "old": pa.array(olds, pa.string()),
                "named": pa.array(nameds, pa.string()),
                "new": pa.array(news, pa.string()),
            }
        )
        self._con.register("drawn", table)
        self._con.execute("create or replace temp table map_params as select * from drawn")
        self._con.unregister("drawn")

    def _map_texts(self) -> None:
        """map_tags, map_links, map_provider_ids: those that mention them, and what stands for them."""
        for name, source, column, separators in (
            ("map_tags", "access_logs", "tag", "|"),
            ("map_links", "esp_events", "split_part(url, '?', 1)", "/#&=;"),
            ("map_provider_ids", "esp_events", "provider_message_id", ""),
        ):
            found = self._con.execute(
                f"select distinct {column} from {self._subject.rows(source)} semi join subject_{source}"
                f" using (part, row) where {column} is not null"
            ).fetchall()
            texts = [text for (text,) in found if self._mentions.are_in(text)]
            told = {text: self._mentions.replaced_in(text, separators) for text in texts}
            if name == "map_links" and texts:
                # A link that everybody got is found by its page, which says nothing of who followed it.
                pages = f"select {_page('source_url')} from {self._subject.rows('tracked_urls')}"
                declared = self._con.execute(
                    f"select text, split_part(text, '#', 1) from (select unnest(?::varchar[]) as text)"
                    f" where {_page('text')} in ({pages})",
                    [texts],
                ).fetchall()
                told |= {
                    text: page + self._mentions.replaced_in(text.removeprefix(page), separators)
                    for text, page in declared
                }
            self._map(name, told, pa.string())

    def _named_owners(self) -> dict[str | None, int]:
        """The new id of whom a page names, by how it does: the smallest id where several erased ones share it."""
        owners: dict[str | None, int] = {}
        found = self._con.execute(
            "select named, min(recipient_id) from further_fields semi join subject_recipient_ids using (recipient_id)"
            " semi join subject_named using (named) group by named"
            f" union all select 'email=' || {address_sql('email')}, min(recipient_id) from"
            f" {self._subject.rows('recipients')} semi join subject_recipient_ids using (recipient_id) group by 1"
        ).fetchall()
        for named, recipient in found:
            owners[named] = self._recipient_map[recipient]
        for recipient, new in self._recipient_map.items():
            owners[f"recipient_id={recipient}"] = new
        return owners

    def _rewrite_reference(self, entity: ReferenceEntity) -> None:
        names = {column.name for column in entity.columns}
        kept = {
            "recipient_id": "coalesce(map_recipients.new, stored.recipient_id)",
            "message_id": "coalesce(map_messages.new, stored.message_id)",
            "address": "coalesce(map_addresses.new, stored.address)",
            "extra": "null",
        }
        if entity.name == "recipients":
            # Nothing but that there was somebody.
            kept |= {column.name: "null" for column in entity.columns if column.name not in entity.key}
        joins = "".join(
            f" left join {table} on stored.{column} = {table}.old"
            for table, column in (("map_recipients", "recipient_id"), ("map_messages", "message_id"))
            if column in names
        )
        if "address" in names:
            joins += f" left join map_addresses on {address_sql('stored.address')} = map_addresses.old"
        replaced = ", ".join(
            f"case when own.row is null then stored.{identifier(name)} else cast({sql} as {_type(entity, name)}) end"
            f" as {identifier(name)}"
            for name, sql in kept.items()
            if name in names or name == "extra"
        )
        self._rewrite(
            entity.name,
            f"select * exclude (is_own) replace (case when is_own then {row_hash_sql(entity)} else row_hash end"
            " as row_hash)"
            f" from (select stored.* replace ({replaced}), own.row is not null as is_own"
            f" from stored{joins} left join subject_{entity.name} as own using (part, row))",
            self._parts(entity.name),
        )

    def _rewrite_set_aside(self) -> None:
        self._rewrite(
            "set_aside",
            "select stored.* replace ("
            " case when own.row is null then stored.raw else ''::blob end as raw,"
            " case when own.row is null or stored.disposition <> 'quarantined' then stored.reason else 'erased' end"
            " as reason,"
            " case when own.row is null then stored.detail else 'its bytes were erased with a recipient' end as detail)"
            " from stored left join subject_set_aside as own using (part, row)",
            self._parts("set_aside"),
        )

    # -- frozen rows

    def _rewrite_frozen(self) -> None:
        """Rows of purged deliveries know persons by digests: of the new identifiers from now on, as all other rows."""
        salt = self._ledger.fact(SALT)
        frozen = [row["path"] for row in self._ledger.parts(source=FROZEN)]
        parts = [part for part in frozen if PERSON in self._columns(part)] if salt else []
        if not parts:
            return
        persons = (
            "select old, new from map_visitors union all select 'esp-' || old, 'esp-' || new from map_messages"
            " union all select old::varchar, new::varchar from map_recipients"
            " union all select 'recipient ' || old, 'recipient ' || new from map_recipients"
        )
        self._con.execute(
            f"create or replace temp table frozen_persons as select {person_digest('old', literal(salt))} as old,"
            f" {person_digest('new', literal(salt))} as new from ({persons})"
        )
        self._rewrite(
            FROZEN,
            f"select stored.* replace (coalesce(persons.new, stored.{PERSON}) as {PERSON}) from stored"
            f" left join frozen_persons as persons on stored.{PERSON} = persons.old",
            [part for part in parts if self._names_one(part)],
        )

    def _columns(self, part: str) -> list[str]:
        rows = self._con.execute(f"describe select * from read_parquet({literal(str(self._landing.root / part))})")
        return [row[0] for row in rows.fetchall()]

    def _names_one(self, part: str) -> bool:
        stored = f"read_parquet({literal(str(self._landing.root / part))})"
        found = self._con.execute(f"select 1 from {stored} where {PERSON} in (select old from frozen_persons) limit 1")
        return found.fetchone() is not None

    # -- user agents

    def _agents(self) -> dict[str, dict[str, object]]:
        """By the user agent of a row of theirs: the row of user_agents that stands for it from now on."""
        columns = ", ".join(f"agents.{name}" for name in USER_AGENTS_SCHEMA.names if name != "user_agent")
        shown = " union ".join(
            f"select user_agent from {self._subject.rows(source)} semi join"
            f" (select part, row from subject_{source} where is_full) using (part, row)"
            for source in LINE_FORMATS
        )
        # Somebody else's may mention them: then it is replaced wherever it stands.
        every = " union ".join(
            f"select user_agent from {self._subject.rows(source)} semi join subject_{source} using (part, row)"
            for source in LINE_FORMATS
        )
        texts = [text for (text,) in self._con.execute(every).fetchall() if text and self._mentions.are_in(text)]
        self._con.execute("create or replace temp table telling_agents as select unnest(?::varchar[]) as text", [texts])
        found = self._con.execute(
            f"select shown.user_agent, {columns} from"
            f" ({shown} union select text from telling_agents) as shown"
            f" left join (select * from {self._subject.rows('user_agents')} qualify row_number() over"
            " (partition by user_agent order by ingested_at desc, parser_version desc) = 1) as agents"
            " using (user_agent) where shown.user_agent is not null and shown.user_agent <> ''"
        )
        names = ["user_agent", *(name for name in USER_AGENTS_SCHEMA.names if name != "user_agent")]
        rows = [dict(zip(names, row, strict=True)) for row in found.fetchall()]
        return {
            row["user_agent"]: row | {"user_agent": told_of_agent(row, self._words)}
            for row in rows
            if row["user_agent"] not in self._words.exact
        }

    def _rewrite_user_agents(self) -> None:
        """Those that only their rows showed are replaced where they stand; others get a new row beside them."""
        if not self._new_agents:
            return
        news = {old: row["user_agent"] for old, row in self._new_agents.items()}
        still = " union ".join(
            f"select user_agent from {self._subject.rows(source)} where user_agent in (select old from map_agents)"
            f" and (part, row) not in (select (part, row) from subject_{source} where is_full)"
            " and user_agent not in (select text from telling_agents)"
            for source in LINE_FORMATS
        )
        shared = {row[0] for row in self._con.execute(still).fetchall()}
        self._map("map_gone_agents", {old: new for old, new in news.items() if old not in shared}, pa.string())
        self._con.execute(
            "create or replace temp table subject_user_agents as select part, row from"
            f" {self._subject.rows('user_agents')} where user_agent in (select old from map_gone_agents)"
        )
        self._rewrite(
            "user_agents",
            "select stored.* replace (coalesce(gone.new, stored.user_agent) as user_agent,"
            " md5(coalesce(gone.new, stored.user_agent)) as user_agent_key)"
            " from stored left join map_gone_agents as gone on stored.user_agent = gone.old",
            self._parts("user_agents"),
        )
        there = {
            row[0]
            for row in self._con.execute(f"select user_agent from {self._subject.rows('user_agents')}").fetchall()
        } | {new for old, new in news.items() if old not in shared}
        added = {row["user_agent"]: row for old, row in self._new_agents.items() if row["user_agent"] not in there}
        if added:
            table = pa.Table.from_pylist(
                [{name: row[name] for name in USER_AGENTS_SCHEMA.names} for row in added.values()], USER_AGENTS_SCHEMA
            )
            keys = self._con.execute("select md5(unnest(?::varchar[]))", [[str(text) for text in added]]).fetchall()
            place = table.schema.get_field_index("user_agent_key")
            table = table.set_column(place, "user_agent_key", pa.array([key for (key,) in keys], pa.string()))
            self._unit.add_table("user_agents", table)
            self._commit.accepted_count = table.num_rows


_SOURCES = (*LINE_FORMATS, *(entity.name for entity in ENTITIES), "set_aside")

_AFFECTED = "own.row is not null"
_FULL = "coalesce(own.is_full, false)"
_TOLD = "coalesce(own.is_told, false)"
_JOINS = {
    "tracking_logs": "",
    "access_logs": " left join map_events on stored.event_key = map_events.old"
    " left join map_tags on stored.tag = map_tags.old",
    "esp_events": " left join map_events on stored.event_key = map_events.old"
    f" left join map_addresses on {address_sql('stored.address')} = map_addresses.old"
    " left join map_recipients on stored.recipient_id = map_recipients.old"
    " left join resolved_links on stored.event_key = resolved_links.event_key"
    " left join map_links on split_part(stored.url, '?', 1) = map_links.old"
    " left join map_provider_ids on stored.provider_message_id = map_provider_ids.old",
}


def _when(condition: str, value: str, column: str, *others: tuple[str, str]) -> str:
    """SQL of a column that stays as it is where no condition holds. others: conditions with their values."""
    cases = " ".join(f"when {when} then {then}" for when, then in ((condition, value), *others))
    return f"case {cases} else stored.{column} end as {column}"


def _rewritten(source: str, columns: list[str]) -> str:
    visitors = params = ""
    if source != "esp_events":
        visitors = " left join map_visitors on lower(stored.visitor_id) = map_visitors.old"
        params = (
            " left join map_params on stored.params = map_params.old and coalesce(own.named, '') = map_params.named"
        )
        columns = [
            *columns,
            _when(_AFFECTED, "coalesce(map_visitors.new, stored.visitor_id)", "visitor_id"),
            _when(_AFFECTED, "map_params.new", "params"),
        ]
    columns = [
        *columns,
        _when(_AFFECTED, "coalesce(map_messages.new, stored.message_id)", "message_id"),
        _when(
            f"{_FULL} or stored.user_agent in (select text from telling_agents)",
            "coalesce(map_agents.new, stored.user_agent)",
            "user_agent",
        ),
    ]
    return (
        f"select stored.* replace ({', '.join(columns)}) from stored"
        f" left join subject_{source} as own using (part, row){_JOINS[source]}"
        " left join map_messages on stored.message_id = map_messages.old"
        " left join map_agents on stored.user_agent = map_agents.old"
        " left join map_ips on split_part(stored.ip, ',', 1) = map_ips.old and"
        " coalesce(map_agents.new, stored.user_agent) = stored.user_agent"
        f"{visitors}{params}"
    )


_NO_LINE = "(stored.file_id, stored.line_number) in (select (file_id, line_number) from subject_{})"
_LINE_REWRITES = {
    "tracking_logs": _rewritten(
        "tracking_logs",
        [
            # Says so wherever the line is shown, and makes every line, and so every event's key, another one.
            _when(_AFFECTED, "'erased-' || uuid()::varchar", "log_id"),
            _when(f"{_AFFECTED} and map_messages.new is not null", "null", "message_id_text"),
            _when(_FULL, "coalesce(map_ips.new, '')", "ip", (_AFFECTED, "split_part(stored.ip, ',', 1)")),
            _when(_AFFECTED, "null", "forwarded_for"),
            _when(_AFFECTED, "null", "extra"),
        ],
    ),
    "access_logs": _rewritten(
        "access_logs",
        [
            _when(_AFFECTED, "map_events.new", "event_key"),
            _when(_AFFECTED, "null", "line"),
            _when(_AFFECTED, "coalesce(map_tags.new, stored.tag)", "tag"),
            _when(_FULL, "map_ips.new", "ip"),
            _when(_AFFECTED, "null", "forwarded_for"),
        ],
    ),
    "esp_events": _rewritten(
        "esp_events",
        [
            _when(_TOLD, "map_events.new", "event_key"),
            # Of several people in one line, the text is of all of them.
            _when(_NO_LINE.format("esp_events"), "null", "line"),
            _when(_FULL, "null", "provider_event_id"),
            _when(
                *(_FULL, "null", "provider_message_id"),
                (_TOLD, "coalesce(map_provider_ids.new, stored.provider_message_id)"),
            ),
            _when(_FULL, "coalesce(map_recipients.new, stored.recipient_id)", "recipient_id"),
            _when(_FULL, "map_addresses.new", "address"),
            _when(
                *(_FULL, "resolved_links.url", "url"),
                (_TOLD, "coalesce(map_links.new, split_part(stored.url, '?', 1))"),
            ),
            _when(_FULL, "map_ips.new", "ip"),
            _when(
                _TOLD,
                "nullif(array_to_string(regexp_extract_all(lower(stored.bounce_text),"
                f" {literal(_ANSWER_WORDS)}), ' '), '')",
                "bounce_text",
            ),
        ],
    ),
}
"""By line source: the SELECT over `stored` that erases."""


def _page(url: str) -> str:
    """SQL of the page of a link, as dbt's macro link_base but for placeholders, which no link that was followed has."""
    return f"rtrim(lower(trim(split_part(split_part({url}, '?', 1), '#', 1))), '/')"


def kept_parameters(
    params: str, named: int | None, mentions: Mentions | None = None, *, names_another: bool = False
) -> str:
    """A query string without what may say who somebody is. named: the new id of the erased recipient it names, 0:
    nobody knows which. names_another: rcpid is of a recipient who is not erased.

    It stays as long as it was where its last value may have been cut, and does not become so otherwise.
    """
    given = params.split("&")
    kept, is_last_kept = [], False
    for place, parameter in enumerate(given):
        name, _, value = parameter.partition("=")
        wanted = unquote_plus(name).strip().lower()
        is_last_kept = wanted in KEPT_PARAMETERS
        is_telling = mentions is not None and mentions.are_in(value)
        if wanted == "rcpid":
            is_cut = place == len(given) - 1 and len(params) == _CUT_AT
            if named and not is_cut:
                kept.append(f"{name}=recipient_id={named}")
                is_last_kept = False
            elif named is not None or (is_telling and not names_another):
                kept.append(f"{name}=0")  # names somebody, nobody knows whom
                is_last_kept = False
            else:
                kept.append(parameter)
        elif is_last_kept and is_telling and not (wanted in _NUMBERS and "@" not in _unescaped(value)):
            assert mentions is not None
            kept.append(f"{name}={mentions.replaced_in(value, '|')}")
        elif is_last_kept:
            kept.append(parameter)
    if not kept:
        return ""
    text = "&".join(kept)
    if is_last_kept and len(params) >= _CUT_AT:
        return text.rjust(len(params), "&")
    return text if len(text) < _CUT_AT else text + "&"


def told_of_agent(row: dict[str, object], words: MachineSigns) -> str:
    """The text that stands for a user agent: its device, system and browser, and the words of rules in it."""
    text = str(row["user_agent"])
    parts, lower_parts = words.found(text)
    rules = " ".join(dict.fromkeys([*parts, *lower_parts]))
    # All that was read: texts that are equal have to say the same.
    told = [row.get(name) for name in TOLD_OF_AGENTS]
    readable = f"{ERASED}({'; '.join(str(value or '-') for value in told)}) {rules}".rstrip()
    if words.found(readable) == (parts, lower_parts):
        return readable
    # A name of a browser says more than the user agent did: leave the names out.
    return f"{ERASED}{secrets.token_hex(8)} {rules}".rstrip()


def _nobody_at(address: str) -> str:
    """An address of nobody at the same domain, which reports are broken down by."""
    nobody = f"erased-{secrets.token_hex(8)}"
    return f"{nobody}@{address.rsplit('@', 1)[1]}" if "@" in address else nobody


def _type(entity: ReferenceEntity, name: str) -> str:
    kinds = {"id": "bigint", "integer": "bigint", "timestamp": "timestamp", "boolean": "boolean", "text": "varchar"}
    return next((kinds[column.kind] for column in entity.columns if column.name == name), "varchar")
