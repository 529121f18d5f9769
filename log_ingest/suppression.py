"""Recognising erased recipients when their lines or rows arrive again, without keeping who they are.

Belongs here: the key, keyed digests ("marks"), and taking what bears one out of parts, reference rows and lines set
aside. Does not: erasing (erasure), counting what was taken out (the intakes).

A mark is HMAC-SHA256 of a kind and a value under a key of the warehouse, 128 bits of it. The key lies beside the
ledger, not in it, readable by its owner alone: a copy of the ledger tells nobody's address. Where nothing was ever
erased there is no Suppression, and ingest does nothing of this.
"""

import contextlib
import hashlib
import hmac
import os
import re
import secrets
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote

import duckdb

from log_ingest.catalog import LANDED_SCHEMAS, ReferenceEntity
from log_ingest.errors import IngestError
from log_ingest.formats.registry import LINE_FORMATS
from log_ingest.ledger import Commit, Ledger
from log_ingest.set_aside import Aside
from log_ingest.sqltext import literal
from log_ingest.storage import Location

KEY_NAME = "erasure.key"
RAW, ROW = "raw", "row"
"""Kinds of marks of bytes set aside (their md5), and of rows of a table that is read again and again."""
MESSAGE, RECIPIENT, VISITOR, ADDRESS, NAMED = "message", "recipient", "visitor", "address", "named"
"""Kinds of marks of what tells a person. NAMED: how a web page names its visitor, as named_sql gives it."""
_KEY_CHECK = ("key", "check")

PSEUDONYM_FROM = 2**52
"""Ids from here to twice as much stand for erased ones: beyond what platforms give out, exact as doubles."""

_KEY_BYTES = 32
_BLOCK_BYTES = 64
_MARK_CHARACTERS = 32
_ADDRESS = "[0-9A-Za-z.!#$%&'*+/=?^_`{|}~-]+@[0-9A-Za-z.-]+"
_TOKEN = re.compile(f"{_ADDRESS}|[0-9A-Za-z-]+")
_ID = r"-?\b(?:0[xX]|[g-zG-Z])?[0-9a-fA-F]{5,17}\b|\b[0-9]{18,20}\b"
"""What may be an id; the letter before one may be a hexadecimal digit, too."""
_UUID = "[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}"


class Key:
    """A secret of a warehouse, which keyed digests are made with: by default that of the marks."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret
        self._hmac = hmac.new(secret, digestmod="sha256")

    @classmethod
    def load(cls, warehouse_dir: Path, name: str = KEY_NAME, why: str | None = None) -> "Key | None":
        """The key, None where there is none. why: what is said of a file that cannot be read, with IngestError."""
        path, why = warehouse_dir / name, why or _WHY_IT_IS_NEEDED
        try:
            secret = bytes.fromhex(path.read_text("ascii"))
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise IngestError(f"{path} cannot be read; restore it from a backup: {why}") from error
        if len(secret) != _KEY_BYTES:
            raise IngestError(f"{path} is damaged; restore it from a backup: {why}")
        return cls(secret)

    @classmethod
    def make(cls, warehouse_dir: Path, name: str = KEY_NAME) -> "Key":
        """A new key, on disk before it is used, readable by its owner alone."""
        path = warehouse_dir / name
        draft = path.with_suffix(".draft")
        with contextlib.suppress(FileNotFoundError):
            draft.unlink()
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as stream:
            stream.write(secrets.token_hex(_KEY_BYTES))
            stream.flush()
            os.fsync(stream.fileno())
        draft.rename(path)
        key = cls.load(warehouse_dir, name)
        assert key is not None
        return key

    def mark(self, kind: str, value: str) -> tuple[str, str]:
        digest = self._hmac.copy()  # a copy costs less than the key anew, of millions of values
        digest.update(f"{kind}:{value}".encode())
        return kind, digest.hexdigest()[:_MARK_CHARACTERS]

    def check_mark(self) -> tuple[str, str]:
        """Tells whether marks were made with this key."""
        return self.mark(*_KEY_CHECK)

    def define_in(self, con: duckdb.DuckDBPyConnection) -> None:
        """Make mark_of(kind, value), the same in SQL, of a connection."""
        block = self._secret.ljust(_BLOCK_BYTES, b"\0")
        inner, outer = (_blob(bytes(byte ^ pad for byte in block)) for pad in (0x36, 0x5C))
        con.execute(
            f"create or replace temp macro mark_of(kind, value) as left(sha256({outer} || unhex(sha256({inner}"
            f" || encode(kind || ':' || value)))), {_MARK_CHARACTERS})"
        )


_WHY_IT_IS_NEEDED = "without it, erased recipients who arrive again cannot be recognised"


@dataclass
class Dropped:
    """What was taken out of a part. lines: by file, lines of which no row is left; cut: by file, lines that keep rows
    but not their text; pointers: by server, of the lines.
    """

    row_count: int = 0
    lines: Counter[int] = field(default_factory=Counter)
    cut: Counter[int] = field(default_factory=Counter)
    pointers: dict[str, list[int]] = field(default_factory=dict)
    told: dict[str, set[str]] = field(default_factory=dict)
    """By kind of mark: what the rows say of erased recipients besides what they were recognised by."""


class Suppression:
    """The marks of a warehouse, on one connection."""

    def __init__(self, key: Key, ledger: Ledger, con: duckdb.DuckDBPyConnection) -> None:
        self.key, self._con = key, con
        self._marks = set(ledger.marks())
        self._kinds = {kind for kind, _ in self._marks}
        if key.check_mark() not in self._marks:
            raise IngestError(
                f"{KEY_NAME} in the warehouse folder is not the key of {ledger.place}; restore it from a backup:"
                f" {_WHY_IT_IS_NEEDED}"
            )
        key.define_in(con)
        con.execute("create or replace temp table erased_marks (kind varchar, mark varchar)")
        kinds, marks = [kind for kind, _ in self._marks], [mark for _, mark in self._marks]
        con.execute("insert into erased_marks select unnest(?::varchar[]), unnest(?::varchar[])", [kinds, marks])

    @classmethod
    def load(cls, warehouse_dir: Path, ledger: Ledger, con: duckdb.DuckDBPyConnection) -> "Suppression | None":
        """None where nothing was erased. Raises IngestError where the key that the marks need is not there."""
        if not ledger.has_marks():
            return None
        key = Key.load(warehouse_dir)
        if key is None:
            raise IngestError(f"{warehouse_dir / KEY_NAME} is gone; restore it from a backup: {_WHY_IT_IS_NEEDED}")
        return cls(key, ledger, con)

    def add(self, marks: Collection[tuple[str, str]]) -> None:
        """Recognise by further marks from now on, which the ledger has by now."""
        new = sorted(set(marks) - self._marks)
        if new:
            self._marks |= set(new)
            self._kinds |= {kind for kind, _ in new}
            self._con.execute(
                "insert into erased_marks select unnest(?::varchar[]), unnest(?::varchar[])",
                [[kind for kind, _ in new], [mark for _, mark in new]],
            )

    def knows(self, kind: str, value: str) -> bool:
        return self.key.mark(kind, value) in self._marks

    # -- lines

    def drop_lines(self, path: Path, source: str, options: str) -> Dropped:
        """Write a part anew without the rows that bear a mark. options: of COPY."""
        con = self._con
        part = f"read_parquet({literal(str(path))}, file_row_number = true)"
        con.execute("create or replace temp table suppressed (file_row_number bigint)")
        told: dict[str, set[str]] = {}
        for kind, value in carried(source):
            if kind not in self._kinds:
                continue
            con.execute(
                "create or replace temp table bearing as select value from"
                f" (select distinct {value} as value from {part} where {value} is not null)"
                f" where mark_of({literal(kind)}, value) in"
                f" (select mark from erased_marks where kind = {literal(kind)})"
            )
            if con.execute("select count(*) from bearing").fetchall()[0][0]:
                for further, column in told_by(source, kind):
                    found = con.execute(
                        f"select distinct {column} from {part}"
                        f" where {value} in (select value from bearing) and {column} is not null"
                    ).fetchall()
                    told.setdefault(further, set()).update(text for (text,) in found)
                con.execute(
                    f"insert into suppressed select file_row_number from {part}"
                    f" where {value} in (select value from bearing)"
                    " and file_row_number not in (select file_row_number from suppressed)"
                )
        dropped = take_out_in_place(con, path, source, options)
        dropped.told = told
        return dropped

    # -- lines set aside

    def keep_aside(self, rows: Sequence[Aside], commit: Commit, source: str) -> list[Aside]:
        """The rows that bear no mark; the commit counts the others as suppressed. The pieces of a line go together."""
        # A known line that gives one row bears none: drop_lines has seen its row.
        is_seen = LINE_FORMATS[source].gives_one_row
        gone = {
            (row.file_id, row.line_number)
            for row in rows
            if not (is_seen and row.reason == "duplicate") and self.bears_mark(row.raw)
        }
        for file_id, _ in gone:
            commit.takings[file_id].suppressed += 1
            commit.erased_lines[file_id] = commit.erased_lines.get(file_id, 0) + 1
        return [row for row in rows if (row.file_id, row.line_number) not in gone]

    def bears_mark(self, raw: bytes) -> bool:
        """Whether these bytes were erased before, or hold an id, address or visitor of an erased recipient."""
        if self.knows(RAW, hashlib.md5(raw, usedforsecurity=False).hexdigest()):
            return True
        # A mail gateway may have escaped a link once or twice.
        text = unquote(unquote(raw.decode("utf-8", "replace")))
        return any(self.knows(kind, value) for kind, value in _values_in(text))

    def drop_aside(self, path: Path, options: str) -> Counter[int]:
        """Write a part of lines set aside anew without those that bear a mark: as bears_mark, but without ids of few
        digits, which in any request are too often something else. Returns how many were taken out, by file.
        """
        con = self._con
        part = f"read_parquet({literal(str(path))}, file_row_number = true)"
        self._find_tokens(part)
        con.execute(f"""
            create or replace temp table suppressed as
            select file_row_number, file_id from {part}
            where mark_of('{RAW}', md5(raw)) in (select mark from erased_marks where kind = '{RAW}')
            union
            select file_row_number, file_id from (
                select file_row_number, file_id,
                    unnest(regexp_extract_all(raw::varchar, '{_UUID}')) as visitor
                from {part}
            ) where mark_of('{VISITOR}', lower(visitor)) in (select mark from erased_marks where kind = '{VISITOR}')
            union
            select file_row_number, file_id from tokens where token in (select token from bearing)
        """)
        found = Counter(dict(con.execute("select file_id, count(*) from suppressed group by all").fetchall()))
        if found:
            draft = path.with_suffix(".kept")
            con.execute(
                f"copy (select * exclude (file_row_number) from {part} anti join suppressed using (file_row_number)"
                f" order by file_row_number) to {literal(str(draft))} ({options})"
            )
            draft.rename(path)
        return found

    def _find_tokens(self, part: str) -> None:
        """tokens: what may be an id or an address in lines, by line; bearing: those with a mark. Lines are many and
        tokens few: each is looked at once.
        """
        con = self._con
        text = "coalesce(try(decode(raw)), raw::varchar)"
        once = f"coalesce(try(url_decode({text})), {text})"
        plain = f"case when contains({text}, '%') then coalesce(try(url_decode({once})), {once}) else {text} end"
        ids, addresses = literal(f"{_UUID}|{_ID}"), literal(_ADDRESS)
        con.execute(f"""
            create or replace temp table tokens as
            with plain as (select file_row_number, file_id, {plain} as text from {part})
            select file_row_number, file_id, token from (
                -- Of what bounds words, this one counts as a letter.
                select file_row_number, file_id, unnest(regexp_extract_all(replace(text, '_', ' '), {ids})) as token
                from plain
                union all
                select file_row_number, file_id, unnest(regexp_extract_all(text, {addresses}))
                from plain
                where contains(text, '@')
            ) where contains(token, '@') or length(token) < 36
        """)
        tokens = [token for (token,) in con.execute("select distinct token from tokens").fetchall()]
        bearing = [
            token
            for token in tokens
            if any(self.knows(*known) for text in {token, token.lstrip("-")} for known in _values_in(text))
        ]
        con.execute("create or replace temp table bearing as select unnest(?::varchar[]) as token", [bearing])

    # -- reference rows

    def find_rows(self, entity: ReferenceEntity, rows: str) -> list[tuple[int, str, int | None]]:
        """line_number, row_hash and, of a message, its id: of the rows that are about erased recipients."""
        names = {column.name for column in entity.columns}
        conditions = []
        if "recipient_id" in names:
            conditions.append(is_marked_sql(RECIPIENT, "recipient_id::varchar"))
        if "message_id" in names:
            # A row that names a recipient is about that one: the message may be somebody else's by now.
            names_nobody = "coalesce(recipient_id, 0) = 0 and " * ("recipient_id" in names)
            conditions.append(names_nobody + is_marked_sql(MESSAGE, "message_id::varchar"))
        if not conditions:
            return []
        is_known = " or ".join(f"({condition})" for condition in conditions)
        message = "message_id" if "message_id" in names else "null"
        return self._con.execute(
            f"select line_number, row_hash, {message} from {rows} where reason is null and ({is_known}) order by 1"
        ).fetchall()


def take_out_in_place(con: duckdb.DuckDBPyConnection, path: Path, source: str, options: str) -> Dropped:
    """take_out of a part that is not landed yet: what it holds besides takes its place."""
    draft = path.with_suffix(".kept")
    dropped = take_out(con, path, source, draft, options)
    if dropped.row_count:
        draft.rename(path)
    return dropped


def take_out(con: duckdb.DuckDBPyConnection, path: Location, source: str, draft: Path, options: str) -> Dropped:
    """Write to draft what a part of a line source holds besides the rows whose numbers the temp table suppressed
    (file_row_number) has. Nothing is written where there is no such row. options: of COPY.
    """
    part = f"read_parquet({literal(str(path))}, file_row_number = true)"
    dropped = Dropped(con.execute("select count(*) from suppressed").fetchall()[0][0])
    if not dropped.row_count:
        return dropped
    has_line = "line" in LANDED_SCHEMAS[source].names and not LINE_FORMATS[source].gives_one_row
    # What a line told of several people stands in its text: the text goes with the first of them.
    text = (
        " replace (case when (file_id, line_number) not in (select (file_id, line_number) from gone)"
        " then line end as line)"
    )
    con.execute(
        f"create or replace temp table gone as select file_id, line_number, {_position(source)}"
        f" from {part} semi join suppressed using (file_row_number)"
    )
    con.execute(
        f"copy (select * exclude (file_row_number){text if has_line else ''} from {part}"
        f" anti join suppressed using (file_row_number) order by file_row_number)"
        f" to {literal(str(draft))} ({options})"
    )
    for file_id, is_cut, count in con.execute(
        "select file_id, (file_id, line_number) in"
        f" (select (file_id, line_number) from read_parquet({literal(str(draft))})) as is_cut,"
        " count(distinct line_number) from gone group by all"
    ).fetchall():
        (dropped.cut if is_cut else dropped.lines)[file_id] += count
    for server, pointer in con.execute("select server, pointer from gone where pointer is not null").fetchall():
        dropped.pointers.setdefault(server, []).append(pointer)
    return dropped


def carried(source: str) -> Sequence[tuple[str, str]]:
    """Kind and SQL (a text, NULL where there is none) of what tells a person on a landed row of a line source."""
    message = (MESSAGE, "nullif(message_id, 0)::varchar")
    line = (line_kind(source), LINE_FORMATS[source].identity)
    if source == "esp_events":
        return (
            *(message, line, (RECIPIENT, "nullif(recipient_id, 0)::varchar")),
            # An address may be of several recipients: it decides where nothing else says who it is.
            (ADDRESS, f"case when message_id = 0 and recipient_id = 0 then {address_sql('address')} end"),
        )
    return message, line, (VISITOR, "nullif(lower(visitor_id), '')"), (NAMED, named_sql("params"))


def told_by(source: str, kind: str) -> Sequence[tuple[str, str]]:
    """Kind and SQL of what a row of a line source that bears a mark of this kind tells further of the same person."""
    if source == "esp_events":
        message = (MESSAGE, "nullif(message_id, 0)::varchar")
        address = (ADDRESS, address_sql("address"))
        return {MESSAGE: [address], RECIPIENT: [message, address]}.get(kind, [])
    return [(VISITOR, "nullif(lower(visitor_id), '')")] if kind in (MESSAGE, NAMED) else []


def line_kind(source: str) -> str:
    """The kind of the marks of lines that nothing else tells. Of each source: for most there is none to look for."""
    return f"line {source}"


def is_marked_sql(kind: str, value: str) -> str:
    """SQL: whether a text bears a mark, on the connection of a Suppression."""
    return f"mark_of({literal(kind)}, {value}) in (select mark from erased_marks where kind = {literal(kind)})"


def address_sql(column: str) -> str:
    """SQL of an address for comparison; NULL where there is none. As dbt's macro address_key."""
    return f"nullif(lower(trim({column})), '')"


def further_fields_sql(recipients: str) -> str:
    """SQL of recipient_id and named, one row for each further column of landed rows of recipients."""
    return (
        "select recipient_id, lower(entry.key) || '=' || entry.value as named from (select recipient_id,"
        " unnest(map_entries(cast(cast(extra as json) as map(varchar, varchar)))) as entry"
        f" from {recipients} where extra is not null)"
    )


def named_sql(params: str) -> str:
    """SQL of how a web page names its visitor (rcpid): field=value, for comparison; NULL where it does not."""
    encoded = f"regexp_extract({params}, '(?i)(?:^|[?&])rcpid=([^&]*)', 1)"
    text = f"coalesce(try(url_decode(replace({encoded}, '+', ' '))), {encoded})"
    field = f"lower(trim(split_part(ltrim({text}, '@ '), '=', 1)))"
    value = f"trim(substr({text}, instr({text}, '=') + 1))"
    number = f"try_cast({value} as bigint)"
    return (
        f"case when not {params} ilike '%rcpid=%' or instr({text}, '=') = 0 then null"
        f" when {field} in ('id', 'recipient_id') then 'recipient_id='"
        f" || (case when {number} < 0 then {number} + 4294967296 else {number} end)::varchar"
        f" when {field} = 'email' then 'email=' || lower({value}) else {field} || '=' || {value} end"
    )


def _values_in(text: str) -> Iterable[tuple[str, str]]:
    """What a text may hold of the kinds of marks. Ids are decimal, or hex as tracking logs and links write them."""
    for token in _TOKEN.findall(text):
        lower = token.lower()
        if "@" in lower:
            address = lower.rstrip(".")
            # Addresses may hold what separates them from other text in a query or a path.
            yield from ((ADDRESS, text) for text in {address, re.split("[=&?/'{|]", address)[-1]})
        elif "-" in lower:
            yield VISITOR, lower
            if re.fullmatch("-[0-9]{1,10}", lower):
                # As a platform with signed 32-bit ids writes them.
                yield from ((kind, str(int(lower) + 2**32)) for kind in (MESSAGE, RECIPIENT))
        else:
            if lower.isdecimal() and len(lower) <= 20:
                yield MESSAGE, str(int(lower))
                yield RECIPIENT, str(int(lower))
            # A link writes the letter of its content before the message.
            for digits in (lower.removeprefix("0x"), lower[1:] if lower[0].isalpha() else ""):
                if re.fullmatch("[0-9a-f]{5,16}", digits):
                    yield MESSAGE, str(int(digits, 16))


def _position(source: str) -> str:
    return "server, pointer" if LINE_FORMATS[source].has_pointers else "null as server, null as pointer"


def _blob(data: bytes) -> str:
    return "'" + "".join(f"\\x{byte:02X}" for byte in data) + "'::blob"
