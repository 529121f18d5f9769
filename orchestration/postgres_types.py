"""DuckDB's types and values in PostgreSQL's terms.

Belongs here: which type a column gets, and the text in which COPY takes its values. Does not: connecting, or knowing
any table.

    same        boolean, integers, real, double precision, numeric, date, time, timestamps, interval, uuid, text
    wider       unsigned integers: the next larger signed type; hugeint: numeric(39,0); utf8 text of an enum: text
    changed     blob: bytea; lists, structs, maps, unions, JSON: json. Nanoseconds end at microseconds

PostgreSQL's text holds no NUL character: U+FFFD stands for it.
"""

import re

from log_ingest.sqltext import identifier

_TYPES = {
    "BOOLEAN": "boolean",
    "TINYINT": "smallint",
    "SMALLINT": "smallint",
    "INTEGER": "integer",
    "BIGINT": "bigint",
    "HUGEINT": "numeric(39,0)",
    "UHUGEINT": "numeric(39,0)",
    "UTINYINT": "smallint",
    "USMALLINT": "integer",
    "UINTEGER": "bigint",
    "UBIGINT": "numeric(20,0)",
    "FLOAT": "real",
    "DOUBLE": "double precision",
    "VARCHAR": "text",
    "UUID": "uuid",
    "DATE": "date",
    "TIME": "time without time zone",
    "TIMESTAMP": "timestamp without time zone",
    "TIMESTAMP_S": "timestamp without time zone",
    "TIMESTAMP_MS": "timestamp without time zone",
    "TIMESTAMP_NS": "timestamp without time zone",
    "TIMESTAMP WITH TIME ZONE": "timestamp with time zone",
    "INTERVAL": "interval",
    "BLOB": "bytea",
    "JSON": "json",
}
_DECIMAL = re.compile(r"DECIMAL\((\d+),(\d+)\)")
_NESTED = re.compile(r".*\[\d*\]$|(STRUCT|MAP|UNION)\(.*", re.DOTALL)
_DATED = {"DATE", "TIMESTAMP", "TIMESTAMP_S", "TIMESTAMP_MS"}


def postgres_type(duckdb_type: str) -> str:
    """The column type, as PostgreSQL itself spells it. What has no counterpart is text."""
    decimal = _DECIMAL.fullmatch(duckdb_type)
    if decimal:
        return f"numeric({decimal[1]},{decimal[2]})"
    return _TYPES.get(duckdb_type) or ("json" if _NESTED.fullmatch(duckdb_type) else "text")


def is_changed(duckdb_type: str) -> bool:
    """Whether people should be told that the type is another one: its values look or behave differently."""
    return postgres_type(duckdb_type) in ("json", "bytea") or (
        duckdb_type == "TIMESTAMP_NS" or (postgres_type(duckdb_type) == "text" and duckdb_type != "VARCHAR")
    )


def copy_line(columns: list[tuple[str, str]]) -> str:
    """DuckDB SQL that makes one line of PostgreSQL's COPY text format of a row; columns: names and DuckDB types."""
    fields = [f"coalesce({_text(identifier(name), kind)}, '\\N')" for name, kind in columns]
    return " || chr(9) || ".join(fields) + " || chr(10)"


def _text(column: str, duckdb_type: str) -> str:
    if duckdb_type == "BLOB":
        # A backslash of the value is written as two.
        return f"'\\\\x' || hex({column})"
    text = f"cast({column} as varchar)"
    if duckdb_type in _DATED:
        # DuckDB writes "0044-01-01 (BC) 00:00:00", PostgreSQL reads "0044-01-01 00:00:00 BC".
        ancient = f"regexp_replace({text}, ' \\(BC\\)(.*)$', '\\1 BC')"
        return f"case when {column} < date '0001-01-01' then {ancient} else {text} end"
    kind = postgres_type(duckdb_type)
    if kind not in ("text", "json"):
        return text
    if kind == "json":
        text = f"cast(to_json({column}) as varchar)"
    text = f"replace({text}, chr(0), chr(65533))"
    for character, escaped in (("'\\'", "\\\\"), ("chr(9)", "\\t"), ("chr(10)", "\\n"), ("chr(13)", "\\r")):
        text = f"replace({text}, {character}, '{escaped}')"
    return text
