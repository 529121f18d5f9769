"""Ridding text files, SQLite databases and Dagster's PostgreSQL database of identifiers: what Dagster keeps of runs may
quote rows.

Belongs here: replacing identifiers in texts, wherever they lie. Does not: which identifiers, or when.
"""

import re
import sqlite3
from collections.abc import Iterable
from pathlib import Path

import psycopg
from psycopg import sql

from log_ingest.sqltext import identifier
from log_ingest.subject import Identifiers

# Check results quote rows in Markdown, which escapes what is no letter or digit by a backslash, and JSON doubles it.
_ADDRESS = re.compile(
    # Only where one may begin, and no longer than one may be: a long word without an end, as base64 is, would be gone
    # through again from each of its letters.
    r"(?:(?<![^\s\"'<>,;:()\[\]=&|])|(?<=[/?{]))(?:\\*[^\s\"'<>,;:\\()\[\]=&|]){1,320}"
    r"\\*(?:@|%40)(?:\\*[0-9A-Za-z.-])*[0-9A-Za-z]",
    re.IGNORECASE,
)
_BEFORE_AN_ADDRESS = re.compile(r"[/?{]|\\[nrt]")
"""What may stand in an address, and before one in a link; or what JSON makes of the end of a field or a line."""
_MACHINE = re.compile(r"[0-9A-Fa-f]*\\*[.:](?:[0-9A-Fa-f]|\\*[.:])*[0-9A-Fa-f]")
_SIGNED = re.compile(r"(?<![0-9A-Za-z])\\*-[0-9]+(?![0-9A-Za-z])")
_WORD = re.compile(r"[0-9A-Za-z]+(?:\\*-[0-9A-Za-z]+)*")
_SHORTEST = 5
"""Ids of fewer characters are not looked for: nearly all that look like them are something else."""
_SQLITE = b"SQLite format 3\0"
_PATIENCE_SECONDS = 30


def _bare(match: re.Match[str]) -> str:
    return match[0].replace("\\", "").lower()


def _any_of(texts: Iterable[str], within: str = "") -> re.Pattern[str] | None:
    """Any of some texts, the longest first, as they are or with what is no letter or digit escaped."""
    forms = [
        "".join(letter if letter.isalnum() else rf"\\*{re.escape(letter)}" for letter in text)
        for text in sorted(texts, key=len, reverse=True)
    ]
    return re.compile(f"{within}(?:{'|'.join(forms)}){within}") if forms else None


class Scrubber:
    """Replaces the identifiers of recipients in texts: numbers by 0, all else by a word."""

    def __init__(self, identifiers: Identifiers) -> None:
        self._words = {text.lower() for text in identifiers.visitor_ids if len(text) >= _SHORTEST}
        numbers = identifiers.message_ids | identifiers.recipient_ids
        forms = {f"{number:x}" for number in identifiers.message_ids} | {str(number) for number in numbers}
        # As the platform writes them; without the sign it would be somebody else's.
        self._signed = {str(number - 2**32) for number in numbers if 2**31 <= number < 2**32}
        self._numbers = {form for form in forms if len(form) >= _SHORTEST}
        self._addresses = set(identifiers.addresses)
        self._ids = _any_of(text for text in identifiers.provider_ids if len(text) > _SHORTEST)
        self._machines = {text.lower() for text in identifiers.ip_addresses}
        self._names = _any_of((name for name in identifiers.names if len(name) > 1), within=r"\b")

    def clean(self, text: str) -> str:
        """The text without identifiers. Names go where another identifier stands beside them: alone they are words."""
        found = self._ids.sub("erased", text) if self._ids else text
        found = _ADDRESS.sub(self._address, found)
        if self._machines:
            found = _MACHINE.sub(lambda match: "erased" if _bare(match) in self._machines else match[0], found)
        if self._signed:
            found = _SIGNED.sub(lambda match: "0" if _bare(match) in self._signed else match[0], found)
        found = _WORD.sub(self._word, found)
        return self._names.sub("erased", found) if self._names and found != text else found

    def _address(self, match: re.Match[str]) -> str:
        text = match[0]
        for begin in (0, *(found.end() for found in _BEFORE_AN_ADDRESS.finditer(text))):
            if text[begin:].replace("\\", "").lower().replace("%40", "@") in self._addresses:
                return f"{text[:begin]}erased"
        return text

    def _word(self, match: re.Match[str]) -> str:
        text = _bare(match)
        if text in self._words:
            return "erased"
        bare = text.removeprefix("0x").lstrip("0")
        return (
            "0" if bare in self._numbers or (text[1:].lstrip("0") in self._numbers and text[0].isalpha()) else match[0]
        )

    def clean_folder(self, folder: Path) -> int:
        """Clean every file below a folder. Returns how many were changed. Raises OSError or sqlite3.Error."""
        count = 0
        for path in sorted(folder.rglob("*")) if folder.is_dir() else ():
            if not path.is_file() or path.is_symlink() or path.name.endswith(("-wal", "-shm", "-journal")):
                continue
            with path.open("rb") as stream:
                is_database = stream.read(len(_SQLITE)) == _SQLITE
            count += self._clean_database(path) if is_database else self._clean_file(path)
        return count

    def _clean_file(self, path: Path) -> bool:
        # Bytes that are no UTF-8 come back as they were.
        text = path.read_bytes().decode("utf-8", "surrogateescape")
        cleaned = self.clean(text)
        if cleaned != text:
            draft = path.with_name(f".{path.name}.draft")
            draft.write_bytes(cleaned.encode("utf-8", "surrogateescape"))
            draft.replace(path)
        return cleaned != text

    def _clean_database(self, path: Path) -> bool:
        database = sqlite3.connect(path, timeout=_PATIENCE_SECONDS, isolation_level=None)
        try:
            changed = False
            tables = "select name from sqlite_master where type = 'table' and name not like 'sqlite_%'"
            for (table,) in database.execute(tables).fetchall():
                names = [row[1] for row in database.execute(f"pragma table_info({identifier(table)})")]
                for name in names:
                    changed |= self._clean_column(database, identifier(table), identifier(name))
            if changed:
                # Deleted text stays in free pages and in the log until both are written anew.
                database.execute("vacuum")
                if database.execute("pragma wal_checkpoint(truncate)").fetchone()[0]:
                    raise sqlite3.OperationalError(f"{path.name} is open in another process")
            return changed
        finally:
            database.close()

    def _clean_column(self, database: sqlite3.Connection, table: str, column: str) -> bool:
        rows = database.execute(f"select rowid, {column} from {table} where typeof({column}) = 'text'")  # noqa: S608
        news = [(new, rowid) for rowid, text in rows if (new := self.clean(text)) != text]
        database.execute("begin immediate")
        database.executemany(f"update {table} set {column} = ? where rowid = ?", news)  # noqa: S608 (quoted)
        database.execute("commit")
        return bool(news)

    def clean_postgresql(self, url: str) -> int:
        """Clean the texts of every table that the URL's schema holds. Returns how many rows were changed.

        Raises psycopg.Error. Rows that others write meanwhile are left alone: they are of runs that started later.
        """
        count = 0
        with psycopg.connect(url, autocommit=True, connect_timeout=_PATIENCE_SECONDS) as database:
            database.execute(f"set lock_timeout = '{_PATIENCE_SECONDS}s'")
            columns = database.execute(
                "select c.table_name, c.column_name, c.data_type from information_schema.columns c"
                " join information_schema.tables t using (table_schema, table_name)"
                " where c.table_schema = current_schema() and t.table_type = 'BASE TABLE'"
                " and c.data_type in ('text', 'character varying', 'json', 'jsonb') and c.is_generated = 'NEVER'"
            ).fetchall()
            for name, column, kind in columns:
                count += self._clean_postgresql_column(database, name, column, kind)
            for name in sorted({row[0] for row in columns}):
                # Old texts stay in a table's pages until it is written anew; all of them, because an attempt that
                # was ended here has left such pages and finds nothing to change the next time.
                database.execute(sql.SQL("vacuum full {}").format(sql.Identifier(name)))
        return count

    def _clean_postgresql_column(self, database: psycopg.Connection, table: str, column: str, kind: str) -> int:
        names = {"table": sql.Identifier(table), "column": sql.Identifier(column), "kind": sql.SQL(kind)}
        read = sql.SQL("select ctid::text, {column}::text from {table} where {column} is not null").format(**names)
        write = sql.SQL("update {table} set {column} = %s::{kind} where ctid = %s::tid and {column}::text = %s").format(
            **names
        )
        count = 0
        with database.transaction():
            # A cursor of the server: event logs are larger than memory should be.
            with database.cursor("texts") as rows:
                rows.itersize = 1_000
                rows.execute(read)
                changes = [(new, place, text) for place, text in rows if (new := self.clean(text)) != text]
            for change in changes:
                count += database.execute(write, change).rowcount
        return count
