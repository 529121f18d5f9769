"""The trackinglogd line: 11 tab-separated fields, parsed in vectorised SQL.

Source of the format: the published validity pattern of the redirection server's tracking log, tightened where a
value could not be stored exactly (pointer of more than 16 digits, ids above 63 bits, impossible times).
"""

import re
from collections.abc import Mapping

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from log_ingest.catalog import TRACKING_LOGS_SCHEMA
from log_ingest.formats.line_format import ParseSettings, UsualLines, is_unflagged, terminator_sql, time_flag_sql
from log_ingest.formats.usual_lines import read_fields
from log_ingest.framing import Lines
from log_ingest.sqltext import literal

_HEX = "[0-9a-fA-F]{0,16}"
_FIELDS = (
    ("bad_log_id", "[0-9A-Za-z]0x[0-9A-Fa-f]{1,16}", "log id"),
    ("bad_time", r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,9})?", "time"),
    ("bad_message_id", _HEX, "message id"),
    ("bad_delivery_id", _HEX, "delivery id"),
    ("bad_url_id", _HEX, "URL id"),
    ("bad_forced_delivery_id", "[0-9A-Za-z]*", "forced delivery id"),
    ("bad_visitor_id", "[0-9A-Za-z-]*", "visitor id"),
    ("bad_content_kind", r"[^\t]*", "content kind"),
    ("bad_params", r"[^\t]*", "params"),
    ("bad_user_agent", r"[^\t]*", "user agent"),
    ("bad_ip", r"[0-9a-fA-F.:]*(?:,[^\t]*)?", "IP address"),
)
"""Reason for refusal, pattern, name: of each field. Control characters never get here (framing.unfit)."""

_LOG_ID = re.compile(rb"([0-9A-Za-z])0x([0-9A-Fa-f]{1,16})\t")

# A match without capture groups that may stop behind the visitor id costs a fraction of a match per field; what
# follows is free text, but for the address.
_BEGINNING = "^" + r"\t".join(pattern for _, pattern, _ in _FIELDS[:7]) + r"\t"
_ADDRESS = _FIELDS[10][1]

# How servers write the first five fields, each value in one way only: their text follows from the values and is not
# kept. Then comes the rest of the beginning, so that a line that matches needs no other look.
_USUAL = (
    r"^[0-9A-Za-z]0x[0-9A-F]{16}\t[12][0-9]{3}-[0-9]{2}-[0-9]{2}T(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]\.[0-9]{3}\t"
    r"(?:(?:0|[1-9a-f][0-9a-f]{0,15})\t){3}[0-9A-Za-z]*\t[0-9A-Za-z-]*\t"
)

RAW_FIELDS = (
    *("log_id", "logged_at_text", "message_id_text", "delivery_id_text", "url_id_text", "forced_delivery_id"),
    *("visitor_id", "content_kind", "params", "user_agent", "ip", "forwarded_for", "extra"),
)
"""The landed columns of the line's fields, in its order."""

_TEXT_OF = {
    "log_id": "printf('%s0x%016X', server, pointer)",
    "logged_at_text": "strftime(occurred_at, '%Y-%m-%dT%H:%M:%S.%g')",
    "message_id_text": "lower(hex(message_id))",
    "delivery_id_text": "lower(hex(delivery_id))",
    "url_id_text": "lower(hex(url_id))",
}
"""By column whose text is kept only where it was written in another way: the text of its value."""

# NULL where the line had no such field: concat_ws leaves it out, as the line did.
LINE = "concat_ws(chr(9), {})".format(
    ", ".join(f"coalesce({name}, {_TEXT_OF[name]})" if name in _TEXT_OF else name for name in RAW_FIELDS)
)
"""SQL of a landed row's line, to the letter; dbt's macro tracking_line says the same."""

_DRIFT_LINES = 20
_DRIFT_SHARE = 0.5


class Trackinglogd:
    """The format of tracking_logs, as formats.line_format.LineFormat."""

    has_pointers = True
    gives_one_row = True
    # The whole line: one server that writes a pointer again with another payload gives two events.
    identity = f"md5({LINE})"

    def read_usual(self, lines: Lines, settings: ParseSettings, con: duckdb.DuckDBPyConnection) -> UsualLines:
        read, fields = read_fields(lines, keeps_time=bool(settings.zones))
        landed = {name: fields[name] for name in fields.column_names if name != "logged_at"}
        landed |= _times(fields.select(["server", "logged_at"]), settings, con)
        return UsualLines(read, landed | {"extra": pa.nulls(len(read), pa.string())})

    def accepted_sql(self, lines: str, settings: ParseSettings) -> str:
        return f"select {', '.join(TRACKING_LOGS_SCHEMA.names)} from ({_parsed(lines, settings)}) where is_valid"

    def set_aside_sql(self, lines: str, settings: ParseSettings) -> str:
        needed = len(_FIELDS)
        by_field = "\n".join(
            f"when not regexp_full_match(f[{place}], {literal(pattern)}) then {literal(reason)}"
            for place, (reason, pattern, _) in enumerate(_FIELDS, 1)
        )
        names = " ".join(f"when {literal(reason)} then {literal(name)}" for reason, _, name in _FIELDS)
        return f"""
        with reasons as (
            select
                row,
                case
                    when len(f) < {needed} then 'field_count'
                    {by_field}
                    when pointer is null then 'bad_log_id'
                    when occurred_at is null then 'bad_time'
                    else 'id_out_of_range'
                end as reason,
                len(f) as field_count,
                case when regexp_full_match(f[1], {literal(_FIELDS[0][1])}) then f[1] end as log_id
            from ({_parsed(lines, settings)})
        )
        select
            row,
            'quarantined' as disposition,
            reason,
            case reason
                when 'field_count' then 'has ' || field_count || ' fields, needs {needed}'
                when 'id_out_of_range' then 'an id needs more than 63 bits'
                else 'the ' || case reason {names} end || ' is not of the published form'
            end as detail,
            log_id[1] as server,
            try_cast('0x' || log_id[4:] as bigint) as pointer
        from reasons
        """

    def position(self, beginning: bytes) -> tuple[str | None, int | None]:
        match = _LOG_ID.match(beginning)
        pointer = int(match[2], 16) if match else 0
        return (match[1].decode(), pointer) if match and pointer < 2**63 else (None, None)

    def drift(self, lines: list[bytes]) -> str:
        widths = [line.count(b"\t") + 1 for line in lines]
        wide = [width for width in widths if width > len(_FIELDS) + 1]
        if len(widths) < _DRIFT_LINES or len(wide) < _DRIFT_SHARE * len(widths):
            return ""
        return f"{len(wide)} of its first {len(widths)} lines have {min(wide)} or more fields instead of 11 or 12"


def _parsed(lines: str, settings: ParseSettings) -> str:
    """A SELECT that gives every column of TRACKING_LOGS_SCHEMA, the field list `f`, `row` and `is_valid`."""
    return f"""
    with fields as (
        select *, string_split(line, chr(9)) as f, regexp_matches(line, {literal(_USUAL)}) as is_usual from {lines}
    ),
    begun as (
        select *, case when is_usual then true else regexp_matches(line, {literal(_BEGINNING)}) end as is_begun
        from fields
    ),
    matched as (
        select
            *,
            is_begun and len(f) >= {len(_FIELDS)} and regexp_full_match(f[{len(_FIELDS)}], {literal(_ADDRESS)})
                as is_match
        from begun
    ),
    typed as (
        select
            *,
            f[1][1] as server,
            case when is_match then try_cast('0x' || f[1][4:] as bigint) end as pointer,
            case when is_match then try_cast(f[2] as timestamp) end as logged_at,
            {_id("f[3]")} as message_id,
            {_id("f[4]")} as delivery_id,
            {_id("f[5]")} as url_id
        from matched
    ),
    placed as ({_timed("typed", settings)})
    select
        row, f, file_id, source_file, line_number, {settings.arrived} as ingested_at, byte_offset,
        {terminator_sql()} as terminator,
        {_kept("f[1]")} as log_id,
        {_kept("f[2]") if not settings.zones else "f[2]"} as logged_at_text,  -- a zone's time is not to be turned back
        {_kept("f[3]")} as message_id_text, {_kept("f[4]")} as delivery_id_text, {_kept("f[5]")} as url_id_text,
        f[6] as forced_delivery_id, f[7] as visitor_id, f[8] as content_kind, f[9] as params,
        f[10] as user_agent, f[11] as ip, f[12] as forwarded_for,
        case when len(f) > 12 then array_to_string(f[13:], chr(9)) end as extra,
        server, pointer, occurred_at,
        {_time_flag(settings)} as time_flag,
        message_id, delivery_id, url_id,
        is_match and pointer is not null and logged_at is not null and message_id is not null
            and delivery_id is not null and url_id is not null as is_valid
    from placed
    """


def _timed(lines: str, settings: ParseSettings) -> str:
    return f"select *, {_zoned('logged_at', settings.zones)} as occurred_at from {lines}"


def _time_flag(settings: ParseSettings) -> str:
    return time_flag_sql(settings, _zone_flags("logged_at", settings.zones))


def _times(logged: pa.Table, settings: ParseSettings, con: duckdb.DuckDBPyConnection) -> dict[str, pa.ChunkedArray]:
    """occurred_at and time_flag of lines (server, logged_at). What needs no look costs none."""
    ends = pc.min_max(logged["logged_at"]).as_py()
    if not settings.zones and (not len(logged) or is_unflagged(settings, ends["min"], ends["max"])):
        return {"occurred_at": logged["logged_at"], "time_flag": pa.nulls(len(logged), pa.string())}
    con.register("logged", logged)
    found = con.sql(
        f"select occurred_at, {_time_flag(settings)} as time_flag from ({_timed('logged', settings)})"
    ).to_arrow_table()
    con.unregister("logged")
    return {name: found[name] for name in found.column_names}


def _kept(field: str) -> str:
    return f"case when not is_usual then {field} end"


def _id(field: str) -> str:
    # Without the pattern's guard the cast would take 1_0, and an empty id means unknown.
    return f"case when not is_match then null when {field} = '' then 0 else try_cast('0x' || {field} as bigint) end"


def _zoned(local: str, zones: Mapping[str, str]) -> str:
    if not zones:
        return local
    cases = " ".join(
        f"when {literal(server)} then timezone('UTC', timezone({literal(zone)}, {local}))"
        for server, zone in sorted(zones.items())
    )
    return f"case server {cases} else {local} end"


def _zone_flags(local: str, zones: Mapping[str, str]) -> str:
    """A local time that no clock showed (spring) or that a clock showed twice (autumn) is flagged."""
    flags = []
    for server, zone in sorted(zones.items()):
        name = literal(zone)
        instant = f"timezone({name}, {local})"
        flags.append(
            f"when server = {literal(server)} and timezone({name}, {instant}) <> {local} then 'nonexistent'"
            f" when server = {literal(server)} and (timezone({name}, {instant} - interval 1 hour) = {local}"
            f" or timezone({name}, {instant} + interval 1 hour) = {local}) then 'ambiguous'"
        )
    return "\n".join(flags)
